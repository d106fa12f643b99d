package ir

import (
	"fmt"
	"strconv"
	"strings"
)

// The text form. One line is one thing; what follows a ';' is a comment; Parse reads what String writes.
//
//	map @start hash key 8 value 8 entries 4096
//	ring events ringbuf entries 65536
//	health losses percpuarray key 4 value 8 entries 1
//	counter 0 map_full @start
//	event 0 printf size 16 "%d"
//
//	func raw_tp read_exit "sys_exit" preemptible
//	slot s0 8 key
//	b0:
//	  v0 = ctx
//	  v1 = load.u8 v0, 8
//	  if v1 → b1 else → b2
//	b1(v2: scalar):
//	  → b1(v2)
//
// Widths are part of the name: load.u4, load.s2, load.btf, store.8, ext.s4; read.user, read.kernel.
// Values without a result have no name.

// String prints the whole program.
func (p *Program) String() string {
	var b strings.Builder
	for _, m := range p.Maps {
		word := "map"
		switch m {
		case p.Ring:
			word = "ring"
		case p.Health:
			word = "health"
		}
		fmt.Fprintf(&b, "%s %s\n", word, m)
	}
	for _, c := range p.Counters {
		fmt.Fprintf(&b, "counter %d %s", c.ID, c.Loss)
		if c.Map != nil {
			b.WriteString(" " + c.Map.Name)
		}
		b.WriteByte('\n')
	}
	for _, e := range p.Events {
		fmt.Fprintf(&b, "event %d %s size %d %q", e.ID, e.Kind, e.Size, e.Format)
		if e.Map != nil {
			b.WriteString(" " + e.Map.Name)
		}
		b.WriteByte('\n')
	}
	for i, f := range p.Funcs {
		if i > 0 || b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.String())
	}
	return b.String()
}

func (k EventKind) String() string {
	return [...]string{"printf", "print", "print_map", "clear", "zero", "time", "exit", "join", "cat", "system", "errorf", "warnf", "note", "unwatch", "packet"}[k]
}

// String prints a map's name and storage.
func (m *Map) String() string {
	s := m.Name + " " + m.Kind.String()
	if m.Kind != RingBuf {
		s += fmt.Sprintf(" key %d value %d", m.KeySize, m.ValueSize)
	}
	s += fmt.Sprintf(" entries %d", m.MaxEntries)
	if m.NoPrealloc {
		s += " noprealloc"
	}
	if m.Mapped {
		s += " mapped"
	}
	return s
}

// String prints a function.
func (f *Func) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "func %s %s %q", f.Type, f.Name, f.Hook)
	if f.Preemptible {
		b.WriteString(" preemptible")
	}
	b.WriteByte('\n')
	for _, s := range f.Slots {
		fmt.Fprintf(&b, "slot s%d %d %s\n", s.ID, s.Size, s.Name)
	}
	for _, blk := range f.Blocks {
		b.WriteString(blk.String())
	}
	return b.String()
}

// String prints a block.
func (blk *Block) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "b%d", blk.ID)
	if len(blk.Params) > 0 {
		parts := make([]string, len(blk.Params))
		for i, v := range blk.Params {
			parts[i] = fmt.Sprintf("v%d: %s", v.ID, v.Class)
		}
		b.WriteString("(" + strings.Join(parts, ", ") + ")")
	}
	b.WriteString(":\n")
	for _, v := range blk.Insts {
		b.WriteString("  " + v.String() + "\n")
	}
	if blk.Term.Kind != TermNone {
		b.WriteString("  " + blk.Term.String() + "\n")
	}
	return b.String()
}

// String prints a terminator.
func (t *Term) String() string {
	switch t.Kind {
	case TermJump:
		return "→ " + target(t.Then, t.ThenArgs)
	case TermIf:
		return fmt.Sprintf("if v%d → %s else → %s", t.Cond.ID, target(t.Then, t.ThenArgs), target(t.Else, t.ElseArgs))
	case TermMayGoto:
		return fmt.Sprintf("maygoto → %s else → %s", target(t.Then, t.ThenArgs), target(t.Else, t.ElseArgs))
	case TermNullCheck:
		return fmt.Sprintf("nullcheck v%d → %s else → %s", t.Cond.ID, target(t.Then, t.ThenArgs), target(t.Else, t.ElseArgs))
	case TermRet:
		return fmt.Sprintf("ret v%d", t.Cond.ID)
	}
	return "none"
}

func target(b *Block, args []*Value) string {
	s := "b" + strconv.Itoa(b.ID)
	if len(args) > 0 {
		parts := make([]string, len(args))
		for i, v := range args {
			parts[i] = "v" + strconv.Itoa(v.ID)
		}
		s += "(" + strings.Join(parts, ", ") + ")"
	}
	return s
}

// String prints an instruction.
func (v *Value) String() string {
	var parts []string
	for _, f := range opSyntax(v.Op, len(v.Args)) {
		switch f {
		case fieldImm:
			parts = append(parts, strconv.FormatInt(v.Imm, 10))
		case fieldOff:
			parts = append(parts, strconv.Itoa(int(v.Off)))
		case fieldMap:
			parts = append(parts, v.Map.Name)
		case fieldSlot:
			parts = append(parts, "s"+strconv.Itoa(v.Slot.ID))
		case fieldData:
			parts = append(parts, strconv.Quote(v.Data))
		case fieldHelper:
			parts = append(parts, v.Helper.String())
		default:
			parts = append(parts, "v"+strconv.Itoa(v.Args[f].ID))
		}
	}
	s := v.Op.String() + v.suffix()
	if len(parts) > 0 {
		s += " " + strings.Join(parts, ", ")
	}
	if v.Class != Void {
		s = fmt.Sprintf("v%d = %s", v.ID, s)
	}
	return s
}

// suffix is what the name says about width, sign and address space.
func (v *Value) suffix() string {
	sign := "u"
	if v.Signed {
		sign = "s"
	}
	switch v.Op {
	case OpLoad:
		if v.Class != Scalar {
			return "." + v.Class.String()
		}
		return "." + sign + strconv.Itoa(int(v.Width))
	case OpExt:
		return "." + sign + strconv.Itoa(int(v.Width))
	case OpStore:
		return "." + strconv.Itoa(int(v.Width))
	case OpRead, OpReadN, OpReadStr, OpStack:
		if v.Signed {
			return ".kernel"
		}
		return ".user"
	}
	return ""
}

// field is what stands at one place of an instruction's text: the index of an argument, or one of these.
type field int

const (
	fieldImm field = -1 - iota
	fieldOff
	fieldMap
	fieldSlot
	fieldData
	fieldHelper
)

// opSyntax lists the fields of an operation in the order they are written.
func opSyntax(op Op, args int) []field {
	switch op {
	case OpConst, OpRingReserve:
		return []field{fieldImm}
	case OpBound, OpMask, OpOffset, OpRingSubmit:
		return []field{0, fieldImm}
	case OpIndex:
		return []field{0, 1, fieldImm}
	case OpSlot:
		return []field{fieldSlot}
	case OpMapValue, OpMapPtr:
		return []field{fieldMap}
	case OpLoad:
		return []field{0, fieldOff}
	case OpStore, OpAddMem, OpAtomic, OpFetchAdd:
		return []field{0, fieldOff, 1}
	case OpCmpXchg:
		return []field{0, fieldOff, 1, 2}
	case OpZero:
		return []field{0, fieldOff, fieldImm}
	case OpBytes:
		return []field{0, fieldOff, fieldData}
	case OpCopy:
		return []field{0, fieldOff, 1, fieldImm}
	case OpMapLookupCPU:
		return []field{fieldMap, 0, 1}
	case OpMapLen:
		return []field{fieldMap}
	case OpMapLookup, OpMapDelete, OpMapEach:
		return []field{fieldMap, 0}
	case OpMapUpdate:
		return []field{fieldMap, 0, 1, fieldImm}
	case OpStack:
		return []field{0, fieldImm}
	case OpRead:
		return []field{0, 1, fieldImm}
	case OpReadN, OpReadStr:
		return []field{0, 1, 2, fieldImm}
	}
	var out []field
	if op == OpHelper {
		out = append(out, fieldHelper)
	}
	for i := range args {
		out = append(out, field(i))
	}
	return out
}
