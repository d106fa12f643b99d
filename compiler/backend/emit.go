package backend

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/lang/source"
)

// inverse is the jump taken when another one is not; JSet has none.
var inverse = map[asm.JumpOp]asm.JumpOp{
	asm.JEq: asm.JNE, asm.JNE: asm.JEq, asm.JGT: asm.JLE, asm.JLE: asm.JGT, asm.JGE: asm.JLT, asm.JLT: asm.JGE,
	asm.JSGT: asm.JSLE, asm.JSLE: asm.JSGT, asm.JSGE: asm.JSLT, asm.JSLT: asm.JSGE,
}

// emit lays the blocks out one after the other and resolves the jumps. Empty blocks disappear; a branch to the block
// that follows is inverted.
func emit(m *mach, phys func(reg) reg) (asm.Instructions, []source.Span, error) {
	forward := func(b *block) *block {
		for n := 0; b != nil && len(b.insts) == 0 && b.next != nil && n < len(m.blocks); n++ {
			b = b.next
		}
		return b
	}
	reached := map[*block]bool{}
	var visit func(b *block)
	visit = func(b *block) {
		for ; b != nil && !reached[b]; b = b.next {
			reached[b] = true
			b.next, b.other = forward(b.next), forward(b.other)
			if b.other != nil && b.other == b.next {
				b.other = nil
				b.insts = b.insts[:len(b.insts)-1]
			}
			visit(b.other)
		}
	}
	entry := forward(m.blocks[0])
	visit(entry)
	var order []*block
	for _, b := range m.blocks {
		if reached[b] {
			order = append(order, b)
		}
	}
	if order[0] != entry {
		panic("BUG: the entry block is not first")
	}

	var insns asm.Instructions
	var spans []source.Span
	var targets []*block // of the jumps, by instruction
	var slots []int      // offset of every instruction in 8-byte slots
	at := map[*block]int{}
	put := func(ins asm.Instruction, s source.Span, to *block) {
		slots = append(slots, len(spans))
		insns = append(insns, ins)
		targets = append(targets, to)
		for range ins.Width() {
			spans = append(spans, s)
		}
	}
	for i, b := range order {
		var follow *block
		if i+1 < len(order) {
			follow = order[i+1]
		}
		at[b] = len(spans)
		next := b.next
		var last source.Span
		for _, in := range b.insts {
			last = in.span
			ins := in.ins
			if in.dst != noReg {
				ins.Dst = asm.Register(phys(in.dst))
			}
			if in.src != noReg {
				ins.Src = asm.Register(phys(in.src))
			}
			var to *block
			if in.kind == branch {
				to = b.other
				if inv, ok := inverse[ins.OpCode.JumpOp()]; ok && to == follow {
					ins.OpCode = ins.OpCode.SetJumpOp(inv)
					to, next = next, to
				}
			}
			put(ins, in.span, to)
		}
		if next != nil && next != follow {
			put(asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource)}, last, next)
		}
	}
	for i, to := range targets {
		if to == nil {
			continue
		}
		off := at[to] - slots[i] - 1
		if !fits16(int64(off)) {
			return nil, nil, &Limit{Message: fmt.Sprintf("program too large: a jump over %d instructions, the kernel has 32767", off), Hint: "split the probe"}
		}
		insns[i].Offset = int16(off)
	}
	for n, v := range m.callbacks {
		start := len(spans)
		for i := range insns {
			if insns[i].Reference() == callbackRef && insns[i].Constant == int64(n) && insns[i].Src == 0 {
				insns[i].Src, insns[i].Constant = asm.PseudoFunc, int64(start-slots[i]-1)
			}
		}
		for _, ins := range eachCode(v) {
			insns = append(insns, ins)
			for range ins.Width() {
				spans = append(spans, v.Span)
			}
		}
	}
	return insns, spans, nil
}
