package symbols

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// ErrCode says that a function's instructions could not be decoded.
var ErrCode = errors.New("cannot decode the function's instructions")

// prologueBytes is enough for the longest stack check: a copy of SP, a subtraction, two jumps and a comparison.
const prologueBytes = 64

// endbr64 marks the targets of indirect jumps; it cannot be emulated when probed, what follows mostly can.
const endbr64 = 0xfa1e0ff3

// Entry returns the file offset at which a probe fires once per call with the arguments still in their registers.
// In Go functions that is the instruction after the stack check; where the check is not recognised, and in other
// languages, it is the first instruction, or the one after an endbr64 unless the function jumps back there.
func (b *Binary) Entry(fn Func) (uint64, error) {
	n := uint64(prologueBytes)
	if fn.Size > 0 {
		n = min(n, fn.Size)
	}
	code, err := b.read(fn.Addr, n)
	if err != nil {
		return 0, err
	}
	if b.IsGo() {
		minor, known := minorVersion(b.version)
		if skip := stackCheck(code, known && minor < 17); skip > 0 {
			return fn.FileOffset + uint64(skip), nil
		}
	}
	if len(code) <= 4 || binary.LittleEndian.Uint32(code) != endbr64 || fn.Size > maxFunction {
		return fn.FileOffset, nil
	}
	if code, err = b.read(fn.Addr, max(n, fn.Size)); err != nil || entersAgain(code, 4) {
		return fn.FileOffset, nil
	}
	return fn.FileOffset + 4, nil
}

// stackCheck returns the length of the check at the start of a Go function, 0 when there is none. R14 is the
// goroutine, whose word at 16 is the stack's limit. By the size of the frame the compiler emits
//
//	CMPQ SP, 16(R14);                                  JLS more
//	LEAQ -size(SP), R12;             CMPQ R12, 16(R14); JLS more
//	MOVQ SP, R12; SUBQ $size, R12; JCS more; CMPQ R12, 16(R14); JLS more
//
// and up to Go 1.16, where there is no register for the goroutine, the same with CX after MOVQ (TLS), CX, and other
// registers for R12.
func stackCheck(code []byte, old bool) int {
	compared := false
	limit := func(m x86asm.Mem) bool {
		if old {
			return m.Base == x86asm.RCX && (m.Disp == 16 || m.Disp == 24) && m.Index == 0
		}
		return m.Base == x86asm.R14 && (m.Disp == 16 || m.Disp == 24) && m.Index == 0
	}
	scratch := func(a x86asm.Arg) bool {
		r, ok := a.(x86asm.Reg)
		return ok && (r == x86asm.R12 || old && (r == x86asm.RCX || r == x86asm.RAX || r == x86asm.RSI))
	}
	for at, i := 0, 0; i < 8 && at < len(code); i++ {
		in, err := x86asm.Decode(code[at:], 64)
		if err != nil {
			return 0
		}
		at += in.Len
		switch in.Op {
		case x86asm.LEA, x86asm.SUB, x86asm.MOV:
			if compared || !scratch(in.Args[0]) {
				return 0
			}
		case x86asm.CMP:
			if m, ok := in.Args[1].(x86asm.Mem); ok && limit(m) {
				compared = true
			} else if _, imm := in.Args[1].(x86asm.Imm); !imm || !old { // CMPQ SI, $stackPreempt
				return 0
			}
		case x86asm.JB, x86asm.JE: // the frame is larger than the address; preemption
			if compared || in.Op == x86asm.JE && !old {
				return 0
			}
		case x86asm.JBE:
			if compared && at < len(code) {
				return at
			}
			return 0
		default:
			return 0
		}
	}
	return 0
}

// Exits is how a function ends.
type Exits struct {
	Returns   []uint64 // file offsets of its RET instructions
	TailJumps []uint64 // file offsets of jumps to other functions, which return in its stead
}

// Returns decodes a whole function and lists its RET instructions as file offsets. A panic does not pass them; after
// a recovered one the function returns through one of them.
func (b *Binary) Returns(fn Func) ([]uint64, error) {
	exits, err := b.Exits(fn)
	return exits.Returns, err
}

// Exits decodes a whole function and lists where it returns and where it jumps to another function.
func (b *Binary) Exits(fn Func) (Exits, error) {
	if fn.Size == 0 || fn.Size > maxFunction {
		return Exits{}, fmt.Errorf("decode %s: %w: its size is %d", fn.Name, ErrCode, fn.Size)
	}
	code, err := b.read(fn.Addr, fn.Size)
	if err != nil {
		return Exits{}, err
	}
	if uint64(len(code)) < fn.Size {
		return Exits{}, fmt.Errorf("decode %s: %w: the file ends before it", fn.Name, ErrCode)
	}
	exits, at, err := findExits(code)
	if err != nil {
		return Exits{}, fmt.Errorf("decode %s at +%#x: %w", fn.Name, at, err)
	}
	for _, list := range [][]uint64{exits.Returns, exits.TailJumps} {
		for i := range list {
			list[i] += fn.FileOffset
		}
	}
	return exits, nil
}

// findExits walks over the code, instruction by instruction. Offsets are from its start.
func findExits(code []byte) (exits Exits, at int, err error) {
	for at < len(code) {
		in, err := step(code[at:])
		if err != nil {
			return Exits{}, at, err
		}
		next := at + in.size
		if in.ret {
			exits.Returns = append(exits.Returns, uint64(at))
		}
		if target := next + in.jump; in.always && (target < 0 || target >= len(code)) {
			exits.TailJumps = append(exits.TailJumps, uint64(at))
		}
		at = next
	}
	return exits, at, nil
}

// Instruction finds the instruction of a function that an offset lies in, by where it and the next one begin.
func (b *Binary) Instruction(fn Func, offset uint64) (from, next uint64, err error) {
	size := fn.Size
	if size == 0 { // of assembly
		const longest = 15
		size = offset + longest
	}
	if size > maxFunction || offset >= size {
		return 0, 0, fmt.Errorf("decode %s: %w: its size is %d", fn.Name, ErrCode, fn.Size)
	}
	code, err := b.read(fn.Addr, size)
	for err == nil && next <= offset {
		var in instruction
		if next >= uint64(len(code)) {
			return 0, 0, fmt.Errorf("decode %s: %w: the file ends before it", fn.Name, ErrCode)
		}
		in, err = step(code[next:])
		from, next = next, next+uint64(in.size)
	}
	return from, next, err
}

// entersAgain tells whether a jump of a function leads to an offset in it; when the code cannot be decoded it may.
func entersAgain(code []byte, offset int) bool {
	for at := 0; at < len(code); {
		in, err := step(code[at:])
		if at += in.size; err != nil || in.jumps && at+in.jump == offset {
			return true
		}
	}
	return false
}

// instruction is what is known of one: its length, whether it returns, and how far behind its end it jumps, if it does,
// always or on a condition.
type instruction struct {
	size               int
	ret, jumps, always bool
	jump               int
}

// step decodes one instruction.
func step(code []byte) (instruction, error) {
	if n := vectorLength(code); n > 0 {
		return instruction{size: n}, nil
	}
	in, err := x86asm.Decode(code, 64)
	if err != nil || in.Op == 0 {
		if n := legacyLength(code); n > 0 {
			return instruction{size: n}, nil
		}
		return instruction{}, ErrCode
	}
	out := instruction{size: in.Len, ret: in.Op == x86asm.RET}
	if rel, ok := in.Args[0].(x86asm.Rel); ok && in.Op != x86asm.CALL {
		out.jumps, out.always, out.jump = true, in.Op == x86asm.JMP, int(rel)
	}
	return out, nil
}

// vectorLength is the length of an instruction with a VEX or EVEX prefix, which x86asm does not know, or 0.
func vectorLength(code []byte) int {
	if len(code) < 4 {
		if len(code) == 3 && code[0] == 0xc5 && code[2] == 0x77 {
			return 3
		}
		return 0
	}
	var space byte // of opcodes: 1 is 0F, 2 is 0F38, 3 is 0F3A
	at := 0
	switch code[0] {
	case 0xc5:
		space, at = 1, 2
	case 0xc4:
		space, at = code[1]&0x1f, 3
	case 0x62:
		space, at = code[1]&7, 4
	default:
		return 0
	}
	if at >= len(code) {
		return 0
	}
	op := code[at]
	at++
	if space == 1 && op == 0x77 && code[0] != 0x62 { // VZEROUPPER, VZEROALL
		return at
	}
	imm := 0
	if space == 3 || space == 1 && (op >= 0x70 && op <= 0x73 || op == 0xc2 || op >= 0xc4 && op <= 0xc6) {
		imm = 1
	}
	return modRM(code, at, imm)
}

// legacyLength is the length of an instruction without such a prefix that x86asm does not know: those of the maps
// 0F38 and 0F3A, and of 0F with a ModRM byte.
func legacyLength(code []byte) int {
	at := 0
	for at < len(code) && at < 14 {
		switch c := code[at]; {
		case c == 0x66, c == 0xf2, c == 0xf3, c == 0x2e, c == 0x36, c == 0x3e, c == 0x26, c == 0x64, c == 0x65, c&0xf0 == 0x40:
			at++
			continue
		}
		break
	}
	if at+2 >= len(code) || code[at] != 0x0f {
		return 0
	}
	switch op := code[at+1]; {
	case op == 0x38:
		return modRM(code, at+3, 0)
	case op == 0x3a:
		return modRM(code, at+3, 1)
	case op == 0x0b: // UD2
		return at + 2
	case op == 0x01, op == 0x0d, op >= 0x10 && op <= 0x1f, op == 0xae, op == 0xb8, op == 0xb9, op == 0xc7, op == 0xff:
		return modRM(code, at+2, 0)
	}
	return 0
}

// modRM adds the length of a ModRM byte with what belongs to it, and of an immediate; 0 when the code ends before.
func modRM(code []byte, at, imm int) int {
	if at >= len(code) {
		return 0
	}
	m := code[at]
	at++
	mod, rm := m>>6, m&7
	if mod != 3 {
		if rm == 4 {
			if at >= len(code) {
				return 0
			}
			if mod == 0 && code[at]&7 == 5 {
				at += 4
			}
			at++
		}
		switch {
		case mod == 1:
			at++
		case mod == 2, mod == 0 && rm == 5:
			at += 4
		}
	}
	if at += imm; at > len(code) || at > 15 {
		return 0
	}
	return at
}
