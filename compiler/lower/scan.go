package lower

import (
	"slices"

	"github.com/slopebpf/slope/compiler/ir"
)

// Loops that rows need, such as the search for a string in a string. They are bounded as the loops of scripts are. Where
// the kernel has no may_goto its verifier follows every turn, and keeps in mind one way out of each, of 8192 at most: all
// scans of a function share them.
const (
	scanTurns   = 7000 // of all scans of a function, the turns of the loops around them included
	scanGuessed = 32   // of one inside a loop, when the loop's own bound is chosen
)

// scan is a loop of a row that counts its turns.
type scan struct {
	limit  *ir.Value // a constant
	most   int64     // turns that it can need
	around []*ir.Value
}

// scan lowers a loop whose state is some scalars: turn lowers one turn, and every way through it ends with again, the
// state of the next turn, or with done. What done was given is returned; over stands for it where the loop was left
// before its end. No more than most turns can be needed.
func (f *fn) scan(most int64, start []*ir.Value, over int64, turn func(state []*ir.Value, again, done func(...*ir.Value))) *ir.Value {
	zero := f.zeros(8)
	classes := make([]ir.Class, len(start))
	first := make([]*ir.Value, len(start))
	for i, v := range start {
		classes[i] = ir.Scalar
		first[i] = f.Forget(v, zero)
	}
	head, exit := f.Block(classes...), f.Block(ir.Scalar)
	state := head.Params
	counts := !f.l.opt.Kernel.MayGoto
	var s *scan
	var turns *ir.Value
	if counts {
		s = &scan{limit: f.Const(most), most: most, around: slices.Clone(f.around)}
		first = append(first, f.Const(0))
		turns = f.Param(head, ir.Scalar)
		state = head.Params[:len(start)]
	}
	before := f.cost()
	f.Jump(head, first...)
	f.SetBlock(head)
	begin, left := f.Block(), f.Block()
	if counts {
		f.If(f.Bin(ir.OpULt, turns, s.limit), begin, left)
	} else {
		f.MayGoto(begin, left)
	}
	f.SetBlock(begin)
	turn(state, func(next ...*ir.Value) {
		hidden := make([]*ir.Value, len(next))
		for i, v := range next {
			hidden[i] = f.Forget(v, zero)
		}
		if counts {
			hidden = append(hidden, f.AddImm(turns, 1))
		}
		f.Jump(head, hidden...)
	}, func(result ...*ir.Value) { f.Jump(exit, result...) })
	if counts {
		f.scans = append(f.scans, s)
		if len(f.around) > 0 {
			f.extra += (f.cost() - before) * int(min(most, scanGuessed)-1)
		}
	}
	f.SetBlock(left)
	f.count(ir.LossLoopLimit, nil)
	f.Jump(exit, f.Const(over))
	f.SetBlock(exit)
	return exit.Params[0]
}

// shareScans says how often the counting scans of the function may turn, once the bounds of all loops are known.
func (f *fn) shareScans() {
	runs := int64(0)
	for _, s := range f.scans {
		n := int64(1)
		for _, turns := range s.around {
			n *= max(turns.Imm, 1)
		}
		runs += n
	}
	for _, s := range f.scans {
		s.limit.Imm = min(s.most, max(scanTurns/runs, 1))
	}
}
