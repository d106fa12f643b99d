package backend

import (
	"slices"

	"github.com/cilium/ebpf/asm"
)

// coalesce gives the two sides of a copy one register where they never live at the same time, innermost loops first,
// and removes the copies. Before that it exchanges the operands of a commutative operation when the copied one is
// still needed afterwards and the other one is not.
//
// With pressure, what can be made again is left alone when it lives across a call: joined with a copy that is changed
// it would have to be spilled to memory.
func coalesce(m *mach, pressure bool) {
	l := analyse(m)
	if exchange(m, l) {
		l = analyse(m)
	}
	same := make([]reg, m.nreg)
	for i := range same {
		same[i] = firstVirtual + reg(i)
	}
	find := func(r reg) reg {
		for r.virtual() && same[r-firstVirtual] != r {
			up := &same[r-firstVirtual]
			if up.virtual() {
				*up = same[*up-firstVirtual] // or the ways would get long
			}
			r = *up
		}
		return r
	}
	deepest := 0
	for _, b := range m.blocks {
		deepest = max(deepest, b.depth)
	}
	for depth := deepest; depth >= 0; depth-- {
		for _, b := range m.blocks {
			if b.depth != depth {
				continue
			}
			for i := range b.insts {
				in := &b.insts[i]
				if in.kind != move || !in.dst.virtual() || !in.src.virtual() {
					continue
				}
				d, s := find(in.dst), find(in.src)
				if d == s || m.temp[d] || m.temp[s] {
					continue
				}
				x, y := l.virtual[d-firstVirtual], l.virtual[s-firstVirtual]
				if overlap(x.spans, y.spans) || pressure && y.again != nil && overlap(y.spans, l.fixed[0]) {
					continue
				}
				x.spans = unite(x.spans, y.spans)
				same[s-firstVirtual] = d
				m.bounded[d] = m.bounded[d] || m.bounded[s]
			}
		}
	}
	for _, b := range m.blocks {
		b.insts = slices.DeleteFunc(b.insts, func(in inst) bool {
			return in.kind == move && find(in.dst) == find(in.src)
		})
		for i := range b.insts {
			in := &b.insts[i]
			in.dst, in.src = find(in.dst), find(in.src)
		}
	}
}

// unite merges two lists of ranges that do not overlap.
func unite(a, b []span) []span {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y span) int { return int(x.from - y.from) })
	out := all[:1]
	for _, s := range all[1:] {
		if last := &out[len(out)-1]; last.to == s.from {
			last.to = s.to
		} else {
			out = append(out, s)
		}
	}
	return out
}

// exchange turns "d = x; d op= y" into "d = y; d op= x" where that saves the copy, and tells whether it did.
func exchange(m *mach, l *liveness) (some bool) {
	at := int32(0)
	for _, b := range m.blocks {
		for i := range b.insts {
			if i > 0 {
				mv, op := &b.insts[i-1], &b.insts[i]
				if mv.kind == move && commutes(op) && op.dst == mv.dst && op.src.virtual() && mv.src.virtual() && op.src != mv.dst &&
					l.virtual[mv.src-firstVirtual].at(at+1) && !l.virtual[op.src-firstVirtual].at(at+1) {
					mv.src, op.src = op.src, mv.src
					some = true
				}
			}
			at += 2
		}
	}
	return some
}

func commutes(in *inst) bool {
	op := in.ins.OpCode
	if in.kind != plain || op.Class() != asm.ALU64Class || op.Source() != asm.RegSource {
		return false
	}
	switch op.ALUOp() {
	case asm.Add, asm.Mul, asm.And, asm.Or, asm.Xor:
		return true
	}
	return false
}
