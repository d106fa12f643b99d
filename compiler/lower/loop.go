package lower

import (
	"slices"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
)

// Loops.
//
// Every kernel that slope runs on follows a loop whose end it can compute, turn by turn (5.3). So a loop over few
// constant turns is a plain loop. Any other needs a bound: where the kernel has may_goto (6.9) that is an instruction
// which leaves the loop when the kernel's patience is at an end, and the kernel's verifier looks at the body a few times
// only; elsewhere it is a counter, whose limit is what the verifier can be asked to follow. Turns beyond the bound are
// lost and counted.
//
// The verifier forgets what it knows of a number between two turns only while it has not relied on it. What a loop
// changes is therefore forgotten at every turn: zero from memory is added to it.

const (
	plainTurns  = 1024   // of a plain loop, those around it included
	verifyShare = 200000 // instructions that the verifier follows in all the loops of a program
	leastTurns  = 16     // whatever the body is
	mostTurns   = 1024   // of a loop that counts
)

// loop is a loop that is being lowered. The parameters of both blocks are the variables it carries.
type loop struct {
	vars       []*check.Local
	next, exit *ir.Block
}

// turns says how a loop is kept within bounds.
type turns struct {
	plain bool
	most  int64 // of a plain loop
}

// repeat lowers a loop. test ends the current block: to the turn's begin or to done; step returns what the loop counts
// with from one turn to the next.
func (f *fn) repeat(n turns, parts []syntax.Node, count, end *ir.Value, test func(i, end *ir.Value, turn, done *ir.Block), body func(i *ir.Value)) {
	vars, kept := f.changedIn(parts)
	l := &loop{vars: vars}
	zero := f.zeros(8)
	forgetKept := func() {
		for _, v := range kept {
			if !n.plain {
				p := f.local(v)
				f.Store(p, 0, 8, f.Forget(f.Load(p, 0, 8, false), zero))
			}
		}
	}
	hide := func(v *ir.Value) *ir.Value {
		if v.Class != ir.Scalar {
			return v
		}
		return f.Forget(v, zero)
	}
	if !n.plain && end != nil { // a loop inside another compares it with the same numbers each time
		end = hide(end)
	}
	forgetKept()
	carried := func() []*ir.Value {
		out := make([]*ir.Value, len(l.vars))
		for i, v := range l.vars {
			out[i] = f.vars[v]
		}
		return out
	}
	classes := make([]ir.Class, len(l.vars))
	start := carried()
	for i := range start {
		start[i] = f.number(start[i])
		classes[i] = start[i].Class
		start[i] = hide(start[i])
	}
	mayGoto := f.l.opt.Kernel.MayGoto && !n.plain
	counts := !mayGoto && !n.plain
	var limit *ir.Value
	head := f.Block(classes...)
	if count != nil {
		if mayGoto {
			count = hide(count)
		}
		start = append(start, count)
		count = f.Param(head, ir.Scalar)
	}
	var turnsSoFar *ir.Value
	if counts {
		start = append(start, f.Const(0))
		limit, turnsSoFar = f.Const(0), f.Param(head, ir.Scalar)
	}
	switch {
	case counts:
		f.around = append(f.around, limit)
	case n.plain:
		f.around = append(f.around, f.Const(n.most))
	default:
		f.around = append(f.around, nil)
	}
	l.next, l.exit = f.Block(classes...), f.Block(classes...)
	f.Jump(head, start...)

	before := f.cost()
	f.cache.forget()
	cache := f.cache.save()
	outer := f.turnsAround
	if n.plain {
		f.turnsAround *= max(n.most, 1)
	}
	f.SetBlock(head)
	f.take(l, head)
	turn, done := f.Block(), f.Block()
	test(count, end, turn, done)
	atTest := f.copyVars() // of what the condition changed
	f.SetBlock(turn)
	begin, over := f.Block(), f.Block()
	switch {
	case mayGoto:
		f.MayGoto(begin, over)
	case counts:
		f.If(f.Bin(ir.OpULt, turnsSoFar, limit), begin, over)
	default:
		f.Jump(begin)
	}
	f.SetBlock(begin)
	f.loops = append(f.loops, l)
	if i := count; i != nil && counts {
		body(hide(i))
	} else {
		body(i)
	}
	f.loops = f.loops[:len(f.loops)-1]
	f.Jump(l.next, f.carried(l)...)

	f.SetBlock(l.next)
	f.take(l, l.next)
	forgetKept()
	again := carried()
	for i := range again {
		if !n.plain { // or one branch on an equality would make a chain of known numbers
			again[i] = hide(again[i])
		}
	}
	if count != nil {
		next := f.AddImm(count, 1)
		if mayGoto {
			next = hide(next)
		}
		again = append(again, next)
	}
	if counts {
		again = append(again, f.AddImm(turnsSoFar, 1))
	}
	f.Jump(head, again...)
	cost := f.cost() - before
	f.turnsAround = outer
	f.around = f.around[:len(f.around)-1]
	most := n.most
	if counts {
		most = max(min(mostTurns, int64(verifyShare/(f.l.loops(f.group)*cost))/outer), 1)
		if len(f.loops) > 0 {
			most = min(most, 64)
		}
		most = max(most, leastTurns)
		limit.Imm = most
	}
	if !mayGoto {
		f.extra += cost * int(most-1)
	}

	f.cache.restore(cache)
	f.vars = atTest
	f.SetBlock(over)
	if !n.plain {
		f.count(ir.LossLoopLimit, nil)
	}
	f.Jump(l.exit, f.carried(l)...)
	f.SetBlock(done)
	f.Jump(l.exit, f.carried(l)...)
	f.SetBlock(l.exit)
	f.take(l, l.exit)
	f.cache.restore(cache)
}

// cost is an estimate of how many instructions the kernel's verifier follows so far.
func (f *fn) cost() int { return 4*f.Builder.Values() + 40*len(f.Func.Blocks) + f.extra }

// loops counts the loops of a program that lie in no other.
func (l *lowerer) loops(g *group) int {
	n := 0
	for _, e := range g.entries {
		syntax.Walk(e.clause.Probe.Body, func(x syntax.Node) bool {
			switch x.(type) {
			case *syntax.Loop, *syntax.For:
				n++
				return false
			}
			return true
		})
	}
	return max(n, 1)
}

// take sets the carried variables to the parameters of a block.
func (f *fn) take(l *loop, b *ir.Block) {
	for i, v := range l.vars {
		f.vars[v] = b.Params[i]
	}
}

// carried are the values of the variables that a loop carries, at a jump to one of its blocks.
func (f *fn) carried(l *loop) []*ir.Value {
	out := make([]*ir.Value, len(l.vars))
	for i, v := range l.vars {
		out[i] = f.number(f.vars[v])
	}
	return out
}

// changedIn finds the scalar variables from outside that the parts of a loop assign to: those that are values, and
// those that are kept in memory.
func (f *fn) changedIn(parts []syntax.Node) (out, kept []*check.Local) {
	seen := map[*check.Local]bool{}
	note := func(e syntax.Node) {
		v, ok := e.(*syntax.Var)
		if !ok {
			return
		}
		l := f.info.Locals[v]
		switch {
		case l == nil || seen[l]:
		case f.vars[l] != nil:
			out = append(out, l)
		case f.kept[l] && f.slots[l] != nil:
			kept = append(kept, l)
		}
		seen[l] = true
	}
	for _, p := range parts {
		syntax.Walk(p, func(n syntax.Node) bool {
			note(f.assigned(n))
			return true
		})
	}
	for _, list := range [][]*check.Local{out, kept} {
		slices.SortFunc(list, func(a, b *check.Local) int { return a.ID - b.ID })
	}
	return out, kept
}

// loopStmt lowers while and unroll.
func (f *fn) loopStmt(s *syntax.Loop) {
	if s.Keyword == "unroll" {
		f.rangeLoop(f.Const(0), f.Const(f.info.Consts[s.Cond]), []syntax.Node{s.Body}, func(*ir.Value) { f.block(s.Body) })
		return
	}
	f.repeat(turns{}, []syntax.Node{s.Cond, s.Body}, nil, nil, func(_, _ *ir.Value, turn, done *ir.Block) {
		f.cond(s.Cond, turn, done)
	}, func(*ir.Value) { f.block(s.Body) })
}

// forStmt lowers a loop over a range or a map.
func (f *fn) forStmt(s *syntax.For) {
	if s.To == nil {
		f.mapLoop(s)
		return
	}
	from := f.scalar(s.From)
	to := f.scalar(s.To)
	l := f.info.Locals[s.Var]
	f.rangeLoop(from, to, []syntax.Node{s.Body}, func(i *ir.Value) {
		f.setVariable(l, i)
		f.block(s.Body)
		f.drop(l)
	})
}

func (f *fn) rangeLoop(from, to *ir.Value, parts []syntax.Node, body func(i *ir.Value)) {
	n := turns{}
	if from.Op == ir.OpConst && to.Op == ir.OpConst {
		n.most = max(to.Imm-from.Imm, 0)
		n.plain = from.Imm < to.Imm && n.most > 0 && n.most*f.turnsAround <= plainTurns || from.Imm >= to.Imm
	}
	f.repeat(n, parts, from, to, func(i, to *ir.Value, turn, done *ir.Block) {
		f.If(f.Bin(ir.OpSLt, i, to), turn, done)
	}, body)
}

// jump lowers break, continue and return.
func (f *fn) jump(s *syntax.Jump) {
	switch s.Keyword {
	case "break":
		l := f.loops[len(f.loops)-1]
		f.Jump(l.exit, f.carried(l)...)
	case "continue":
		l := f.loops[len(f.loops)-1]
		f.Jump(l.next, f.carried(l)...)
	default:
		if s.Value != nil && f.returned != nil {
			f.Store(f.Addr(f.returned), 0, 8, f.scalar(s.Value))
		} else if s.Value != nil {
			f.effect(s.Value)
		}
		f.Jump(f.end)
	}
}
