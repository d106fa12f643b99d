package backend

import (
	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/compiler/ir"
)

// callbackRef marks the loads of addresses of functions until these are placed.
const callbackRef = "callback"

// eachCode is the function that bpf_for_each_map_elem calls with the map, a key, its value and the pointer of OpMapEach:
// it copies the entry to the next place of the area. How many there are is kept in the buffer, not on the stack: there
// the kernel's verifier would follow the number from call to call.
func eachCode(v *ir.Value) asm.Instructions {
	if v.Op == ir.OpMapLen { // the helper counts
		return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	}
	e := v.Each
	jump := func(op asm.JumpOp, r asm.Register, n int64, over int) asm.Instruction {
		return asm.Instruction{OpCode: op.Op(asm.ImmSource), Dst: r, Constant: n, Offset: int16(over)}
	}
	var code asm.Instructions
	code = append(code,
		asm.LoadMem(asm.R5, asm.R4, 0, asm.DWord),
		jump(asm.JGT, asm.R5, int64(e.Area*(e.Areas-1)), 0),
		asm.LoadMapValue(asm.R1, 0, 0).WithReference(e.Buffer.Name),
		asm.Add.Reg(asm.R1, asm.R5),
		asm.LoadMem(asm.R5, asm.R1, ir.EachCount, asm.DWord),
		jump(asm.JGE, asm.R5, int64(e.Entries), 0),
		asm.Mov.Reg(asm.R0, asm.R5),
		asm.Add.Imm(asm.R0, 1),
		asm.StoreMem(asm.R1, ir.EachCount, asm.R0, asm.DWord),
		asm.Mul.Imm(asm.R5, int32(e.Entry)),
		asm.Add.Reg(asm.R1, asm.R5),
	)
	off := int16(ir.EachFirst)
	move := func(from asm.Register, size int) {
		for i := 0; i < size; i += 8 {
			code = append(code, asm.LoadMem(asm.R0, from, int16(i), asm.DWord), asm.StoreMem(asm.R1, off, asm.R0, asm.DWord))
			off += 8
		}
	}
	move(asm.R2, v.Map.KeySize)
	if e.Values {
		move(asm.R3, v.Map.ValueSize)
	}
	full := len(code) + 2
	code = append(code,
		asm.Mov.Imm(asm.R0, 0), asm.Return(),
		asm.Mov.Imm(asm.R0, 1),
		asm.StoreMem(asm.R1, ir.EachMore, asm.R0, asm.DWord),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 1), asm.Return(),
	)
	// The jumps, in instructions of 8 bytes: the load of the map's value takes two.
	code[5].Offset = int16(full - 6)
	code[1].Offset = int16(full + 3 - 2 + 1)
	return code
}
