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
func emit(m *mach, phys func(reg) reg, feat Features) (asm.Instructions, []source.Span, error) {
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

	l := layout{order: order, phys: phys, far: map[int]bool{}}
	for l.lay() {
	}
	if d := max(l.unreached, -l.unreached); d != 0 && !feat.LongJumps {
		return nil, nil, &Limit{Message: fmt.Sprintf("program too large: a jump over %d instructions, this kernel has 32767", d), Hint: "kernels since 6.6 jump further; split the probe"}
	}
	insns, spans := l.insns, l.spans
	for n, v := range m.callbacks {
		start := len(spans)
		for i := range insns {
			if insns[i].Reference() == callbackRef && insns[i].Constant == int64(n) && insns[i].Src == 0 {
				insns[i].Src, insns[i].Constant = asm.PseudoFunc, int64(start-l.slots[i]-1)
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

// longJump is the unconditional jump with a distance of 32 bits.
const longJump = asm.OpCode(asm.Jump32Class) | asm.OpCode(asm.Ja)

// layout is the code of a function, block after block.
type layout struct {
	order     []*block
	phys      func(reg) reg
	far       map[int]bool // jumps, in the order of the code, that need a long one
	unreached int          // how far one of them is

	insns   asm.Instructions
	spans   []source.Span // of every 8-byte slot
	slots   []int         // offset of every instruction in slots
	targets []*block      // of the jumps, by instruction
}

func (l *layout) put(ins asm.Instruction, s source.Span, to *block) {
	l.slots = append(l.slots, len(l.spans))
	l.insns = append(l.insns, ins)
	l.targets = append(l.targets, to)
	for range ins.Width() {
		l.spans = append(l.spans, s)
	}
}

// jump puts a jump; what goes too far goes around a long one.
func (l *layout) jump(ins asm.Instruction, s source.Span, to *block, far bool) {
	switch inv, ok := inverse[ins.OpCode.JumpOp()]; {
	case !far:
		l.put(ins, s, to)
		return
	case ins.OpCode.JumpOp() == asm.Ja:
	case ok:
		ins.OpCode, ins.Offset = ins.OpCode.SetJumpOp(inv), 1
		l.put(ins, s, nil)
	default:
		ins.Offset = 1
		l.put(ins, s, nil)
		l.put(asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource), Offset: 1}, s, nil)
	}
	l.put(asm.Instruction{OpCode: longJump}, s, to)
}

// lay lays the blocks out and tells whether that has to be done again, because more jumps are long ones.
func (l *layout) lay() (again bool) {
	l.insns, l.spans, l.slots, l.targets = nil, nil, nil, nil
	at := map[*block]int{}
	var jumps []int // the instruction that has the distance, by jump
	for i, b := range l.order {
		var follow *block
		if i+1 < len(l.order) {
			follow = l.order[i+1]
		}
		at[b] = len(l.spans)
		next := b.next
		jump := func(ins asm.Instruction, s source.Span, to *block) {
			l.jump(ins, s, to, l.far[len(jumps)])
			jumps = append(jumps, len(l.insns)-1)
		}
		var last source.Span
		for _, in := range b.insts {
			last = in.span
			ins := in.ins
			if in.dst != noReg {
				ins.Dst = asm.Register(l.phys(in.dst))
			}
			if in.src != noReg {
				ins.Src = asm.Register(l.phys(in.src))
			}
			if in.kind != branch {
				l.put(ins, in.span, nil)
				continue
			}
			to := b.other
			if inv, ok := inverse[ins.OpCode.JumpOp()]; ok && to == follow {
				ins.OpCode = ins.OpCode.SetJumpOp(inv)
				to, next = next, to
			}
			jump(ins, in.span, to)
		}
		if next != nil && next != follow {
			jump(asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource)}, last, next)
		}
	}
	for n, i := range jumps {
		off := at[l.targets[i]] - l.slots[i] - 1
		switch {
		case l.insns[i].OpCode == longJump:
			l.insns[i].Constant = int64(off)
		case fits16(int64(off)):
			l.insns[i].Offset = int16(off)
		default:
			l.far[n], l.unreached, again = true, off, true
		}
	}
	return again
}
