package backend

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
)

// allocator assigns machine registers. Intervals are visited in the order of their start; each takes the first
// register of its preference that is free over all of its ranges. When none is, the interval whose next use is
// furthest goes to the stack (all of it: there is no splitting) and the whole is done again with short temporaries
// around its uses.
type allocator struct {
	m      *mach
	frame  int  // bytes of stack used so far
	spills int  // of them those of spilled values
	unsafe bool // a value was spilled whose bound must be known

	live     *liveness
	assigned [10][]*interval
	spilled  []*interval
}

// preference is the order registers are tried in: r0 and the high argument registers first, because the low ones
// are wanted for arguments; r6–r9 last, they are for what lives across calls.
var preference = [...]reg{0, 5, 4, 3, 2, 1, 6, 7, 8, 9}

func (a *allocator) run() {
	plain := make([][]inst, len(a.m.blocks))
	for i, b := range a.m.blocks {
		plain[i] = slices.Clone(b.insts)
	}
	coalesce(a.m, false)
	a.scan()
	if len(a.spilled) > 0 {
		for i, b := range a.m.blocks {
			b.insts = plain[i]
		}
		for round := 0; ; round++ {
			if round > 200 {
				panic("BUG: register allocation does not end")
			}
			coalesce(a.m, true)
			a.scan()
			if len(a.spilled) == 0 {
				break
			}
			before := a.frame
			a.spill()
			a.spills += a.frame - before
			if a.spills > stackSize {
				return // it will never fit, and the values are many
			}
		}
	}
	a.dropCopies()
}

func (a *allocator) scan() {
	a.live = analyse(a.m)
	a.spilled = nil
	var order []*interval
	for _, iv := range a.live.virtual {
		if iv != nil && len(iv.spans) > 0 {
			order = append(order, iv)
		}
	}
	slices.SortStableFunc(order, func(x, y *interval) int { return int(x.start() - y.start()) })
	a.assigned = [10][]*interval{}
	for _, iv := range order {
		for r := range a.assigned {
			a.assigned[r] = slices.DeleteFunc(a.assigned[r], func(o *interval) bool { return o.end() <= iv.start() })
		}
		if r := a.free(iv); r != noReg {
			a.give(iv, r)
		} else {
			a.evict(iv)
		}
	}
}

func (a *allocator) give(iv *interval, r reg) {
	iv.phys = r
	a.assigned[r] = append(a.assigned[r], iv)
}

// free finds a register for all of an interval, those it is copied from and to first.
func (a *allocator) free(iv *interval) reg {
	for _, r := range iv.hints {
		if a.fits(iv, r) {
			return r
		}
	}
	for _, r := range preference {
		if a.fits(iv, r) {
			return r
		}
	}
	return noReg
}

func (a *allocator) fits(iv *interval, r reg) bool {
	if overlap(iv.spans, a.live.fixed[r]) {
		return false
	}
	for _, o := range a.assigned[r] {
		if overlap(iv.spans, o.spans) {
			return false
		}
	}
	return true
}

// distance is how far away the next use of an interval is; uses in loops are nearer, values that can be made again
// without memory further.
func (iv *interval) distance(from int32) int64 {
	d := int64(1) << 40
	for i, at := range iv.reads {
		if at > from {
			d = int64(at-from) << 10
			for range min(iv.depth[i], 4) {
				d /= 10
			}
			break
		}
	}
	if iv.again != nil {
		d *= 4
	}
	return d
}

// evict makes room for cur, or spills it.
func (a *allocator) evict(cur *interval) {
	best, bestDistance := noReg, int64(-1)
	if !cur.temp {
		bestDistance = cur.distance(cur.start())
	}
	for _, r := range preference {
		if overlap(cur.spans, a.live.fixed[r]) {
			continue
		}
		nearest := int64(1) << 62
		for _, o := range a.assigned[r] {
			if overlap(cur.spans, o.spans) {
				d := o.distance(cur.start())
				if o.temp {
					d = -1
				}
				nearest = min(nearest, d)
			}
		}
		if nearest > bestDistance {
			best, bestDistance = r, nearest
		}
	}
	if best == noReg {
		if cur.temp {
			panic(fmt.Sprintf("BUG: no register for the temporary %s", cur.reg))
		}
		a.spilled = append(a.spilled, cur)
		return
	}
	a.assigned[best] = slices.DeleteFunc(a.assigned[best], func(o *interval) bool {
		if overlap(cur.spans, o.spans) {
			o.phys = noReg
			a.spilled = append(a.spilled, o)
			return true
		}
		return false
	})
	a.give(cur, best)
}

// spill gives the spilled intervals a place on the stack, shared where they do not overlap, and rewrites their uses.
func (a *allocator) spill() {
	type place struct {
		off int16
		iv  []*interval
	}
	var places []*place
	homes := map[reg]int16{}
	again := map[reg]*inst{}
	for _, iv := range a.spilled {
		a.unsafe = a.unsafe || a.m.bounded[iv.reg]
		if iv.again != nil && (iv.again.kind == load || !slices.ContainsFunc(a.spilled, func(o *interval) bool { return o.reg == iv.again.src })) {
			in := *iv.again
			again[iv.reg] = &in
			continue
		}
		var home *place
		for _, p := range places {
			if !slices.ContainsFunc(p.iv, func(o *interval) bool { return overlap(o.spans, iv.spans) }) {
				home = p
				break
			}
		}
		if home == nil {
			a.frame += 8
			home = &place{off: int16(-a.frame)}
			places = append(places, home)
		}
		home.iv = append(home.iv, iv)
		homes[iv.reg] = home.off
	}
	for _, b := range a.m.blocks {
		var out []inst
		var near map[reg]reg
		for i, in := range b.insts {
			soon := false // the next instruction reads what this copy writes
			if in.kind == move && i+1 < len(b.insts) {
				b.insts[i+1].uses(func(r reg) { soon = soon || r == in.dst })
			}
			out, near = a.rewrite(out, in, homes, again, near, soon)
		}
		b.insts = dropDeadStores(out, homes)
	}
}

// dropDeadStores removes stores of spilled values that are overwritten in the same block before they are read.
func dropDeadStores(list []inst, homes map[reg]int16) []inst {
	ours, over := map[int16]bool{}, map[int16]bool{}
	for _, off := range homes {
		ours[off] = true
	}
	keep := make([]bool, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		in := &list[i]
		off := in.ins.Offset
		keep[i] = true
		switch {
		case !ours[off]:
		case in.dst == fp:
			keep[i] = !over[off]
			over[off] = true
		case in.src == fp && in.kind == plain:
			delete(over, off)
		}
	}
	out := list[:0]
	for i, in := range list {
		if keep[i] {
			out = append(out, in)
		}
	}
	return out
}

// rewrite appends in with its spilled registers replaced by temporaries. Near are the temporaries of the instruction
// before: this one goes on with them. It returns its own.
func (a *allocator) rewrite(out []inst, in inst, homes map[reg]int16, again map[reg]*inst, near map[reg]reg, soon bool) ([]inst, map[reg]reg) {
	if in.dstDef && again[in.dst] != nil {
		return out, nil // made where it is used
	}
	// A copy from or to the stack is the load or store itself.
	if in.kind == move {
		_, held := near[in.src]
		from, isFrom := homes[in.src]
		to, isTo := homes[in.dst]
		switch {
		case isFrom && !isTo && !held:
			return append(out, reload(in.dst, from, in)), nil
		case isTo && !isFrom && !soon && again[in.src] == nil:
			return append(out, store(in.src, to, in)), nil
		}
		if ld := again[in.src]; ld != nil && !isTo {
			in.kind, in.ins, in.src = ld.kind, ld.ins, ld.src
			return append(out, in), nil
		}
	}
	if in.kind == load && homes[in.dst] != 0 && in.ins.OpCode == asm.Mov.Op(asm.ImmSource) {
		in.ins = asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord), Offset: homes[in.dst], Constant: in.ins.Constant}
		in.kind, in.dst, in.dstDef, in.dstUse = plain, fp, false, true
		return append(out, in), nil
	}
	temps, kept := map[reg]reg{}, map[reg]reg{}
	temp := func(r reg) reg {
		t, ok := temps[r]
		if !ok {
			t = a.m.newReg()
			a.m.temp[t] = true
			temps[r] = t
		}
		return t
	}
	var after []inst
	src, dst := in.src, in.dst
	fix := func(r reg, use, def bool) reg {
		if ld := again[r]; ld != nil {
			if _, ok := temps[r]; !ok {
				c := *ld
				c.dst, c.span = temp(r), in.span
				out = append(out, c)
			}
			return temp(r)
		}
		off, ok := homes[r]
		if !ok {
			return r
		}
		if t, ok := near[r]; ok && use {
			temps[r] = t
		}
		if _, loaded := temps[r]; use && !loaded {
			out = append(out, reload(temp(r), off, in))
		}
		if def {
			after = append(after, store(temp(r), off, in))
		}
		kept[r] = temp(r)
		return kept[r]
	}
	if src != noReg {
		in.src = fix(src, true, in.srcDef)
	}
	if dst != noReg {
		in.dst = fix(dst, in.dstUse, in.dstDef)
	}
	return append(append(out, in), after...), kept
}

func reload(t reg, off int16, like inst) inst {
	return inst{ins: asm.Instruction{OpCode: asm.LoadMemOp(asm.DWord), Offset: off}, dst: t, src: fp, dstDef: true, span: like.span}
}

func store(t reg, off int16, like inst) inst {
	return inst{ins: asm.Instruction{OpCode: asm.StoreMemOp(asm.DWord), Offset: off}, dst: fp, src: t, dstUse: true, span: like.span}
}

func (a *allocator) phys(r reg) reg {
	if !r.virtual() {
		return r
	}
	p := a.live.virtual[r-firstVirtual].phys
	if p == noReg {
		panic(fmt.Sprintf("BUG: %s has no register", r))
	}
	return p
}

// print shows the ranges of the virtual registers and the code, both with the register each one got.
func (a *allocator) print() string {
	var b strings.Builder
	for _, iv := range a.live.virtual {
		if iv == nil || len(iv.spans) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s in %s:", iv.reg, iv.phys)
		for _, s := range iv.spans {
			fmt.Fprintf(&b, " [%d,%d)", s.from, s.to)
		}
		if iv.temp {
			b.WriteString(" spill")
		}
		b.WriteByte('\n')
	}
	return b.String() + a.m.dump(func(r reg) string {
		if r.virtual() {
			return fmt.Sprintf("%s:%s", r, a.phys(r))
		}
		return r.String()
	})
}

// dropCopies removes copies from a register to itself.
func (a *allocator) dropCopies() {
	for _, b := range a.m.blocks {
		b.insts = slices.DeleteFunc(b.insts, func(in inst) bool {
			return in.kind == move && a.phys(in.dst) == a.phys(in.src)
		})
	}
}
