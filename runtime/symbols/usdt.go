package symbols

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

// USDT is one place of a static probe that a program carries (SystemTap's sys/sdt.h): a nop, and a note in the section
// .note.stapsdt that tells where its arguments are when the nop is reached. A probe may have many places.
type USDT struct {
	Provider, Name string
	Addr           uint64 // as linked
	Offset         uint64 // of the nop in the file
	Semaphore      uint64 // file offset of the counter that arms the probe, 0 without
	Args           []types.Operand
}

const (
	usdtSection = ".note.stapsdt"
	usdtBase    = ".stapsdt.base"
	usdtOwner   = "stapsdt\x00"
	usdtType    = 3
	maxUSDTArgs = 255
	wordIP      = 16 // of the pt_regs
)

// USDT lists the places of static probes in the order of the file, none for a program without. Places outside of what is
// loaded are left out.
func (b *Binary) USDT() ([]USDT, error) {
	s := b.file.Section(usdtSection)
	if s == nil {
		return nil, nil
	}
	notes, err := data(s)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", usdtSection, b.Path, err)
	}
	base := uint64(0)
	if s := b.file.Section(usdtBase); s != nil {
		base = s.Addr
	}
	var out []USDT
	for _, n := range parseUSDT(notes) {
		move := uint64(0) // of a program that was moved after linking, by prelink
		if base != 0 && n.base != 0 {
			move = base - n.base
		}
		u := USDT{Provider: n.provider, Name: n.name, Addr: n.pc + move}
		var ok bool
		if u.Offset, ok = b.fileOffset(u.Addr); !ok {
			continue
		}
		if n.semaphore != 0 {
			if u.Semaphore, ok = b.fileOffset(n.semaphore + move); !ok {
				continue
			}
		}
		for _, a := range strings.Fields(n.args) {
			if len(u.Args) < maxUSDTArgs {
				u.Args = append(u.Args, parseOperand(a, func(name string) (int64, bool) {
					addr, ok := b.symbol(name)
					return int64(addr - u.Addr), ok
				}))
			}
		}
		out = append(out, u)
	}
	return out, nil
}

// usdtNote is a note as the file has it.
type usdtNote struct {
	pc, base, semaphore  uint64
	provider, name, args string
}

// parseUSDT reads a section of notes. What is not a static probe is skipped; at a note that does not fit it ends.
func parseUSDT(notes []byte) []usdtNote {
	const header, addresses = 12, 24
	le := binary.LittleEndian
	var out []usdtNote
	for len(notes) >= header {
		owner, desc, typ := uint64(le.Uint32(notes)), uint64(le.Uint32(notes[4:])), le.Uint32(notes[8:])
		from := header + (owner+3)&^3
		end := from + desc
		if end > uint64(len(notes)) {
			break
		}
		d := notes[from:end]
		if typ == usdtType && string(notes[header:header+owner]) == usdtOwner && desc > addresses {
			n := usdtNote{pc: le.Uint64(d), base: le.Uint64(d[8:]), semaphore: le.Uint64(d[16:])}
			texts := bytes.SplitN(d[addresses:], []byte{0}, 4)
			if len(texts) >= 3 && len(texts[0]) > 0 && len(texts[1]) > 0 {
				n.provider, n.name, n.args = string(texts[0]), string(texts[1]), string(texts[2])
				out = append(out, n)
			}
		}
		notes = notes[min((end+3)&^3, uint64(len(notes))):]
	}
	return out
}

// parseOperand reads an argument as the assembler writes it: N@OP, where N is the size in bytes, negative for signed
// numbers, and OP a constant ($5), a register (%rax) or memory (-4(%rbp), 8(%rax,%rbx,4), name+8(%rip)). symbol tells how
// far a symbol is from the probe. What cannot be read, such as a register of floating-point numbers, keeps its text only.
func parseOperand(text string, symbol func(string) (int64, bool)) types.Operand {
	unreadable := types.Operand{Kind: types.UnreadableOperand, Text: text}
	o := types.Operand{Text: text, Base: -1, Index: -1}
	op := text
	if size, rest, ok := strings.Cut(text, "@"); ok {
		n, err := strconv.Atoi(size)
		if err != nil {
			return unreadable
		}
		o.Size, o.Signed, op = max(n, -n), n < 0, rest
	}
	switch {
	case strings.HasPrefix(op, "$"):
		v, err := strconv.ParseInt(op[1:], 0, 64)
		if err != nil {
			u, err := strconv.ParseUint(op[1:], 0, 64)
			if err != nil {
				return unreadable
			}
			v = int64(u)
		}
		o.Kind, o.Value = types.ConstantOperand, v
	case strings.HasPrefix(op, "%"):
		r, ok := gpRegister(op)
		if !ok {
			return unreadable
		}
		o.Kind, o.Base, o.Shift = types.RegisterOperand, r.word, r.shift
		if o.Size == 0 {
			o.Size = r.size
		}
	case strings.HasSuffix(op, ")"):
		disp, regs, ok := strings.Cut(strings.TrimSuffix(op, ")"), "(")
		if !ok || !address(&o, disp, regs, symbol) {
			return unreadable
		}
		o.Kind = types.MemoryOperand
	default:
		return unreadable
	}
	switch o.Size {
	case 0:
		o.Size = 8
	case 1, 2, 4, 8:
	default:
		return unreadable
	}
	return o
}

// address reads a displacement and the registers that are added to it: "base", "base,index" or "base,index,scale".
func address(o *types.Operand, disp, regs string, symbol func(string) (int64, bool)) bool {
	base, rest, indexed := strings.Cut(regs, ",")
	if base != "" {
		r, ok := gpRegister(base)
		if !ok || r.size != 8 {
			return false
		}
		o.Base = r.word
	}
	if indexed {
		index, scale, scaled := strings.Cut(rest, ",")
		r, ok := gpRegister(index)
		if !ok || r.size != 8 || r.word == wordIP {
			return false
		}
		o.Index, o.Scale = r.word, 1
		if scaled {
			n, err := strconv.Atoi(scale)
			if err != nil || n != 1 && n != 2 && n != 4 && n != 8 {
				return false
			}
			o.Scale = n
		}
	}
	for _, term := range terms(disp) {
		number, sign := strings.TrimLeft(term, "+-"), int64(1)
		if strings.Contains(term[:len(term)-len(number)], "-") {
			sign = -1
		}
		term = number
		if n, err := strconv.ParseInt(term, 0, 64); err == nil {
			o.Value += sign * n
			continue
		}
		away, ok := symbol(term)
		if !ok || sign < 0 || o.Base != wordIP { // an address as linked means nothing where the program is loaded elsewhere
			return false
		}
		o.Value += away
	}
	return o.Base >= 0 || o.Index >= 0
}

// terms cuts a sum before its signs; "+-" is one.
func terms(sum string) []string {
	var out []string
	for from, i := 0, 1; i <= len(sum); i++ {
		sign := i < len(sum) && (sum[i] == '+' || sum[i] == '-') && sum[i-1] != '+'
		if i == len(sum) || sign {
			out = append(out, sum[from:i])
			from = i
		}
	}
	return out
}

// gpRegister finds a general register, all or a part of it, by the name that the assembler gives it, with its '%'.
func gpRegister(name string) (part struct{ word, size, shift int }, ok bool) {
	name, ok = strings.CutPrefix(name, "%")
	if !ok {
		return part, false
	}
	for _, r := range Registers() {
		part.word = r.Offset / 8
		switch n := r.Name; {
		case n == "orig_ax", n == "cs", n == "flags", n == "ss":
		case n == "ip":
			if name == "rip" {
				part.size = 8
				return part, true
			}
		case n[0] == 'r': // r8 to r15
			if suffix, ok := strings.CutPrefix(name, n); ok {
				part.size = map[string]int{"": 8, "d": 4, "w": 2, "b": 1, "l": 1}[suffix]
			}
		case name == "r"+n:
			part.size = 8
		case name == "e"+n:
			part.size = 4
		case name == n:
			part.size = 2
		case name == n[:1]+"l" && n[1] == 'x', name == n+"l" && n[1] != 'x':
			part.size = 1
		case name == n[:1]+"h" && n[1] == 'x':
			part.size, part.shift = 1, 8
		}
		if part.size > 0 {
			return part, true
		}
	}
	return part, false
}
