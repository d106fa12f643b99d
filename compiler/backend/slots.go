package backend

import (
	"slices"
	"sort"

	"github.com/slopebpf/slope/compiler/ir"
)

// span is a half-open range of positions.
type span struct{ from, to int32 }

// overlap tells whether two sorted lists of disjoint ranges have a common position.
func overlap(a, b []span) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	a, b = notBefore(a, b[0].from), notBefore(b, a[0].from)
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i].to <= b[j].from:
			i++
		case b[j].to <= a[i].from:
			j++
		default:
			return true
		}
	}
	return false
}

// notBefore leaves out the ranges that end before a position.
func notBefore(list []span, pos int32) []span {
	const few = 8
	if len(list) <= few {
		return list
	}
	return list[sort.Search(len(list), func(i int) bool { return list[i].to > pos }):]
}

// placeSlots gives every slot of list an offset from the start of a frame so that slots that live at the same time
// do not overlap, biggest first, and returns the size of the frame; live is what slotRanges says.
func placeSlots(live map[*ir.Slot][]span, list []*ir.Slot) (map[*ir.Slot]int, int) {
	order := append([]*ir.Slot(nil), list...)
	sort.SliceStable(order, func(i, j int) bool { return order[i].Size > order[j].Size })
	at := make(map[*ir.Slot]int, len(order))
	size := 0
	type place struct {
		off, end int
		whole    span // from the first of live to the last
		live     []span
	}
	var all []*place // by offset
	// Most slots are needed for a moment: only those of the same part of the code can be in their way, and the few that live
	// long.
	const part, few = 256, 4 // positions; parts
	short := map[int32][]*place{}
	var long, near []*place
	insert := func(list []*place, p *place) []*place {
		i := sort.Search(len(list), func(i int) bool { return list[i].off > p.off })
		return slices.Insert(list, i, p)
	}
	for _, s := range order {
		spans := live[s]
		if len(spans) == 0 {
			continue
		}
		off, whole := 0, span{spans[0].from, spans[len(spans)-1].to}
		avoid := func(o *place) { // from the start of the frame: the first gap that is big enough
			if whole.from < o.whole.to && o.whole.from < whole.to && off < o.end && o.off < off+s.Size && overlap(spans, o.live) {
				off = o.end
			}
		}
		first, last := whole.from/part, (whole.to-1)/part
		if last-first >= few {
			for _, o := range all {
				avoid(o)
			}
		} else {
			near = near[:0]
			for n := first; n <= last; n++ {
				near = append(near, short[n]...)
			}
			slices.SortStableFunc(near, func(a, b *place) int { return a.off - b.off })
			for i, j := 0, 0; i < len(near) || j < len(long); {
				if j == len(long) || i < len(near) && near[i].off < long[j].off {
					avoid(near[i])
					i++
				} else {
					avoid(long[j])
					j++
				}
			}
		}
		at[s] = off
		here := &place{off, off + s.Size, whole, spans}
		all = insert(all, here)
		if last-first >= few {
			long = insert(long, here)
		} else {
			for n := first; n <= last; n++ {
				short[n] = append(short[n], here)
			}
		}
		size = max(size, off+s.Size)
	}
	return at, size
}

// slotRanges computes where each slot may hold something that is still needed: some access comes before on a path
// from the entry and some access after. Any use of an address derived from the slot is an access.
func slotRanges(f *ir.Func) map[*ir.Slot][]span {
	order := f.RPO()
	owner := slotOwners(order)
	type edge struct{ first, last int32 }
	access := make([]map[*ir.Slot]edge, len(order))
	start := make([]int32, len(order)+1)
	num := map[*ir.Block]int{}
	for i, b := range order {
		num[b] = i
		access[i] = map[*ir.Slot]edge{}
		start[i+1] = start[i] + int32(len(b.Insts)) + 1
		at := start[i]
		touch := func(v *ir.Value) {
			for _, s := range owner[v] {
				e, ok := access[i][s]
				if !ok {
					e.first = at
				}
				e.last = at
				access[i][s] = e
			}
		}
		for _, v := range b.Insts {
			if v.Op != ir.OpOffset && v.Op != ir.OpIndex {
				for _, a := range v.Args {
					touch(a)
				}
			}
			at++
		}
		for _, a := range b.Term.ThenArgs {
			touch(a)
		}
		for _, a := range b.Term.ElseArgs {
			touch(a)
		}
	}
	spans := make(map[*ir.Slot][]span, len(f.Slots))
	list := f.Slots[:0:0] // those that are not needed in one block alone
	around := loops(order, num)
	only := map[*ir.Slot]int{} // the block that accesses it; -1 when several do
	for i := range order {
		for s := range access[i] {
			if _, other := only[s]; other || around[i] {
				only[s] = -1
				continue
			}
			only[s] = i
		}
	}
	for _, s := range f.Slots {
		switch i, used := only[s]; {
		case s.Pinned:
			spans[s] = []span{{0, start[len(order)]}}
		case used && i >= 0:
			e := access[i][s]
			spans[s] = []span{{e.first, e.last + 1}}
		case used:
			list = append(list, s)
		}
	}
	// By number in list: accessed in the block, on some way to it, on some way from its end.
	index := make(map[*ir.Slot]int, len(list))
	for i, s := range list {
		index[s] = i
	}
	words := (len(list) + 63) / 64
	here, before, after := make([]bitset, len(order)), make([]bitset, len(order)), make([]bitset, len(order))
	for i := range order {
		here[i], before[i], after[i] = make(bitset, words), make(bitset, words), make(bitset, words)
		for s := range access[i] {
			if n, ok := index[s]; ok {
				here[i].set(n)
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for i, b := range order {
			for _, succ := range b.Term.Successors() {
				changed = before[num[succ]].add(before[i], here[i]) || changed
			}
		}
		for i := len(order) - 1; i >= 0; i-- {
			for _, succ := range order[i].Term.Successors() {
				j := num[succ]
				changed = after[i].add(after[j], here[j]) || changed
			}
		}
	}
	ranges := make([][]span, len(list))
	for i := range order {
		some := make(bitset, words)
		for w := range some {
			some[w] = here[i][w] | before[i][w]&after[i][w]
		}
		some.each(func(n int) {
			e, ok := access[i][list[n]]
			if !ok || before[i].has(n) {
				e.first = start[i]
			}
			if !ok || after[i].has(n) {
				e.last = start[i+1] - 1
			}
			if k := len(ranges[n]); k > 0 && ranges[n][k-1].to == e.first { // on from the block before
				ranges[n][k-1].to = e.last + 1
			} else {
				ranges[n] = append(ranges[n], span{e.first, e.last + 1})
			}
		})
	}
	for n, s := range list {
		spans[s] = ranges[n]
	}
	return spans
}

// loops tells which blocks may run again after themselves.
func loops(order []*ir.Block, num map[*ir.Block]int) []bool {
	out := make([]bool, len(order))
	for i, b := range order {
		for _, s := range b.Term.Successors() {
			for j := num[s]; j <= i; j++ {
				out[j] = true
			}
		}
	}
	return out
}

// slotOwners finds the slots each pointer may point into.
func slotOwners(order []*ir.Block) map[*ir.Value][]*ir.Slot {
	owner := map[*ir.Value][]*ir.Slot{}
	for changed := true; changed; {
		changed = false
		join := func(to *ir.Value, from []*ir.Slot) {
			for _, s := range from {
				have := false
				for _, o := range owner[to] {
					have = have || o == s
				}
				if !have {
					owner[to], changed = append(owner[to], s), true
				}
			}
		}
		for _, b := range order {
			for _, v := range b.Insts {
				switch v.Op {
				case ir.OpSlot:
					join(v, []*ir.Slot{v.Slot})
				case ir.OpOffset, ir.OpIndex:
					join(v, owner[v.Args[0]])
				}
			}
			for i, a := range b.Term.ThenArgs {
				join(b.Term.Then.Params[i], owner[a])
			}
			for i, a := range b.Term.ElseArgs {
				join(b.Term.Else.Params[i], owner[a])
			}
		}
	}
	return owner
}
