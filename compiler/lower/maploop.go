package lower

import (
	"fmt"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Loops over maps.
//
// The kernel only visits the entries of a map by calling a function back. That function copies them into an area of a
// buffer, and the body is an ordinary loop over the copies: it may change the map and leave as it likes. Every CPU has
// an area, which is taken by a word in it; a run that interrupts another on the same CPU goes without the loop and counts
// that. What leaves the action from inside the loop gives the area back at the action's end.

// eachBytes is how large an area may be.
const eachBytes = 512 << 10

// held is the area of one loop.
type held struct {
	slot *ir.Slot // 1 while it is taken
	each *ir.Each
}

// prepareLoops makes room for what the loops over maps of a clause hold.
func (f *fn) prepareLoops(body *syntax.Block) {
	f.held = map[*syntax.For]*held{}
	f.heldOrder = nil
	syntax.Walk(body, func(n syntax.Node) bool {
		if s, ok := n.(*syntax.For); ok && s.To == nil {
			h := &held{slot: f.Slot("held", 8), each: f.eachOf(f.l.maps[f.info.Maps[s.From.(*syntax.Map)]])}
			f.Store(f.Addr(h.slot), 0, 8, f.Const(0))
			f.held[s] = h
			f.heldOrder = append(f.heldOrder, h)
		}
		return true
	})
}

// eachOf makes the buffer for the entries of a map.
func (f *fn) eachOf(m *ir.Map) *ir.Each {
	e := &ir.Each{Areas: max(f.l.opt.CPUs, 1), Entry: m.KeySize, Values: m.Value.Kind != types.Aggregate}
	if e.Values {
		e.Entry += m.ValueSize
	}
	e.Entries = max(min(m.MaxEntries, eachBytes/e.Entry), 1)
	e.Area = ir.EachFirst + e.Entries*e.Entry
	e.Buffer = &ir.Map{Name: fmt.Sprintf("each%d", f.l.eachs), Kind: ir.Array, KeySize: 4, MaxEntries: 1, ValueSize: e.Area * e.Areas}
	f.l.eachs++
	f.l.out.Maps = append(f.l.out.Maps, e.Buffer)
	return e
}

// area is the current CPU's area, and its offset.
func (f *fn) area(e *ir.Each) (p, offset *ir.Value) {
	cpu := f.Bound(f.Help(ir.HelperCPU), int64(e.Areas-1))
	return f.Index(f.MapValue(e.Buffer), cpu, int64(e.Area)), f.Bin(ir.OpMul, cpu, f.Const(int64(e.Area)))
}

// releaseLoops gives back, at the end of an action, what it still holds.
func (f *fn) releaseLoops() {
	for _, h := range f.heldOrder {
		f.when(f.Load(f.Addr(h.slot), 0, 8, false), func() {
			p, _ := f.area(h.each)
			f.Store(p, ir.EachTaken, 8, f.Const(0))
		})
	}
}

// mapLoop lowers a loop over a map.
func (f *fn) mapLoop(s *syntax.For) {
	m, h := f.l.maps[f.info.Maps[s.From.(*syntax.Map)]], f.held[s]
	e, l := h.each, f.info.Locals[s.Var]
	free, busy, done := f.Block(), f.Block(), f.Block()
	area, offset := f.area(e)
	f.If(f.CmpXchg(area, ir.EachTaken, f.Const(0), f.Const(1)), busy, free)
	f.SetBlock(busy)
	f.count(ir.LossScratchBusy, nil)
	cache, vars := f.cache.save(), f.copyVars()
	skipped := f.Current()

	f.SetBlock(free)
	f.Store(f.Addr(h.slot), 0, 8, f.Const(1))
	f.Store(area, ir.EachCount, 8, f.Const(0))
	f.Store(area, ir.EachMore, 8, f.Const(0))
	at := f.Addr(f.Slot("area", 8))
	f.Store(at, 0, 8, offset)
	f.MapEach(m, at, e)
	f.when(f.Load(area, ir.EachMore, 8, false), func() { f.count(ir.LossLoopLimit, m) })
	n := f.Load(area, ir.EachCount, 8, false)
	f.rangeLoop(f.Const(0), n, []syntax.Node{s.Body}, func(i *ir.Value) {
		entry := f.Index(area, f.Bound(i, int64(e.Entries-1)), int64(e.Entry))
		kv := f.local(l)
		f.Copy(kv, 0, f.Offset(entry, ir.EachFirst), m.KeySize)
		if e.Values {
			f.Copy(kv, m.KeySize, f.Offset(entry, int64(ir.EachFirst+m.KeySize)), m.ValueSize)
		} else {
			f.Store(kv, m.KeySize, 8, f.aggregated(m, kv))
		}
		f.block(s.Body)
	})
	f.Store(area, ir.EachTaken, 8, f.Const(0))
	f.Store(f.Addr(h.slot), 0, 8, f.Const(0))

	// Both ways meet: the variables that the loop changed have two values.
	end := f.Current()
	var there, here []*ir.Value
	for _, v := range f.sortedVars(vars) {
		if a, b := f.vars[v], vars[v]; a != b {
			here, there = append(here, a), append(there, b)
			f.vars[v] = f.Param(done, a.Class)
		}
	}
	for i := range there {
		if there[i].Class != here[i].Class {
			f.SetBlock(skipped)
			there[i] = f.number(there[i])
		}
	}
	f.SetBlock(skipped)
	f.Jump(done, there...)
	f.SetBlock(end)
	f.Jump(done, here...)
	f.SetBlock(done)
	f.cache.restore(cache)
}

// aggregated is the value of an aggregation over all CPUs, as a number; 0 without one.
func (f *fn) aggregated(m *ir.Map, key *ir.Value) *ir.Value {
	agg := m.Value.Agg
	words := f.Addr(f.Slot("aggregated", 16))
	f.Zero(words, 0, 16)
	f.rangeLoop(f.Const(0), f.Const(int64(max(f.l.opt.CPUs, 1))), nil, func(cpu *ir.Value) {
		next := f.Block()
		p := f.NullCheck(f.LookupCPU(m, key, cpu), next)
		add := func(off int) {
			f.Store(words, off, 8, f.Bin(ir.OpAdd, f.Load(words, off, 8, false), f.Load(p, off, 8, false)))
		}
		switch agg.Kind {
		case types.CountAgg:
			add(0)
		case types.SumAgg, types.AvgAgg:
			add(0)
			add(8)
		default:
			f.furthest(agg, words, p)
		}
		f.Jump(next)
		f.SetBlock(next)
	})
	v := f.Load(words, 0, 8, false)
	if agg.Kind != types.AvgAgg {
		return v
	}
	good, none, join := f.Block(), f.Block(), f.Block(ir.Scalar)
	count := f.Load(words, 8, 8, false)
	f.If(count, good, none)
	f.SetBlock(good)
	op := ir.OpUDiv
	if agg.Signed {
		op = ir.OpSDiv
	}
	f.Jump(join, f.Bin(op, v, count))
	f.SetBlock(none)
	f.Jump(join, f.Const(0))
	f.SetBlock(join)
	return join.Params[0]
}

// furthest keeps in words the least or greatest number of two CPUs, where they have one.
func (f *fn) furthest(agg *types.Agg, words, p *ir.Value) {
	less := ir.OpULt
	if agg.Signed {
		less = ir.OpSLt
	}
	f.when(f.Load(p, 8, 8, false), func() {
		x, old := f.Load(p, 0, 8, false), f.Load(words, 0, 8, false)
		if agg.Kind == types.MaxAgg {
			x, old = old, x
		}
		further := f.Bin(less, x, old)
		first := f.Bin(ir.OpEq, f.Load(words, 8, 8, false), f.Const(0))
		f.when(f.Bin(ir.OpOr, further, first), func() {
			f.Store(words, 0, 8, f.Load(p, 0, 8, false))
			f.Store(words, 8, 8, f.Const(1))
		})
	})
}
