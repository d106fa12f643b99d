package backend

import (
	"cmp"
	"errors"
	"slices"
	"sort"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// legaliser rewrites a function until selection can take every instruction as it is.
type legaliser struct {
	prog    *ir.Program
	f       *ir.Func
	feat    Features
	scratch *ir.Map
}

var errAtomic = errors.New("the kernel lacks atomic fetch-and-add and compare-and-exchange (5.12)")

func (l *legaliser) run(stack int) error {
	l.splitEdges()
	l.shortCircuit()
	for _, b := range l.f.RPO() {
		for i := 0; i < len(b.Insts); i++ {
			v := b.Insts[i]
			switch v.Op {
			case ir.OpSDiv, ir.OpSMod:
				if !l.nativeDivision(v) {
					i += l.expandDivision(b, i)
				}
			case ir.OpMapEach, ir.OpMapLen:
				if !l.feat.MapEach {
					return &Limit{Message: "this kernel cannot go over the entries of a map", Hint: "bpf_for_each_map_elem is there since Linux 5.13"}
				}
			case ir.OpMapLookupCPU:
				if !l.feat.PerCPU {
					return &Limit{Message: "this kernel cannot read an aggregation in a probe", Hint: "bpf_map_lookup_percpu_elem is there since Linux 5.19; print the whole map instead"}
				}
			case ir.OpHelper:
				if v.Helper == ir.HelperFuncIP && l.feat.FuncIP != nil && l.feat.FuncIP(l.f.Type == ir.Uprobe && l.f.Hooks[0].Kind == types.HookUretprobe) != nil {
					return &Limit{Message: "this kernel cannot tell which function is probed here", Hint: "bpf_get_func_ip is there since Linux 5.15, in a uretprobe since 6.6"}
				}
				if l.feat.Lacks == nil {
					continue
				}
				if why := l.feat.Lacks(v.Helper, l.f.Type); why != "" {
					return &Limit{Message: "this kernel does not offer programs " + v.Helper.String(), Hint: why}
				}
			case ir.OpFetchAdd, ir.OpCmpXchg:
				if !l.feat.AtomicFetch {
					return errAtomic
				}
			}
		}
	}
	l.moveSlots(stack)
	return nil
}

// splitEdges puts a block into every edge of an If that carries arguments: the copies need a place.
func (l *legaliser) splitEdges() {
	split := func(to **ir.Block, args *[]*ir.Value, t *ir.Term) {
		if len(*args) == 0 {
			return
		}
		mid := &ir.Block{ID: len(l.f.Blocks), Term: ir.Term{Kind: ir.TermJump, Then: *to, ThenArgs: *args, Span: t.Span}}
		l.f.Blocks = append(l.f.Blocks, mid)
		*to, *args = mid, nil
	}
	for _, b := range l.f.RPO() {
		if t := &b.Term; t.Kind == ir.TermIf || t.Kind == ir.TermNullCheck || t.Kind == ir.TermMayGoto {
			split(&t.Then, &t.ThenArgs, t)
			split(&t.Else, &t.ElseArgs, t)
		}
	}
}

// shortCircuit makes two branches of one on the conjunction or disjunction of two compares: neither is then needed as
// a number. Strings are compared in this way, word by word.
func (l *legaliser) shortCircuit() {
	uses := map[*ir.Value]int{}
	for _, b := range l.f.RPO() {
		b.Operands(func(_ *ir.Value, arg **ir.Value) { uses[*arg]++ })
	}
	boolean := func(v *ir.Value) bool {
		for (v.Op == ir.OpAnd || v.Op == ir.OpOr) && uses[v] == 1 {
			if !v.Args[1].Op.Compare() {
				return false
			}
			v = v.Args[0]
		}
		return v.Op.Compare()
	}
	dead := map[*ir.Value]bool{}
	for _, b := range l.f.RPO() {
		for t := &b.Term; t.Kind == ir.TermIf && !t.Cond.Op.Compare() && boolean(t.Cond); {
			x, y := t.Cond.Args[0], t.Cond.Args[1]
			mid := &ir.Block{ID: len(l.f.Blocks), Term: ir.Term{Kind: ir.TermIf, Cond: y, Then: t.Then, Else: t.Else, Span: t.Span}}
			l.f.Blocks = append(l.f.Blocks, mid)
			if t.Cond.Op == ir.OpAnd {
				t.Then = mid
			} else {
				t.Else = mid
			}
			dead[t.Cond] = true
			t.Cond = x
		}
	}
	for _, b := range l.f.RPO() {
		b.Insts = slices.DeleteFunc(b.Insts, func(v *ir.Value) bool { return dead[v] })
	}
}

// nativeDivision tells whether the machine's signed division can be used. With a divisor that is not known it is
// not: INT64_MIN / -1 traps on kernels from 6.6 until the verifier learnt to patch it (7c6b8fd9d8ae, 6.12).
func (l *legaliser) nativeDivision(v *ir.Value) bool {
	d := v.Args[1]
	return l.feat.SDiv && d.Op == ir.OpConst && d.Imm != 0 && d.Imm != -1 && int64(int32(d.Imm)) == d.Imm
}

// expandDivision replaces the signed division at b.Insts[i] by an unsigned one between sign corrections; with
// s = x>>63, (x^s)-s is |x|, and the same flips the sign of a result. It returns how many instructions were added.
// Divisors 0 and -1 come out as ir.Eval has them.
func (l *legaliser) expandDivision(b *ir.Block, i int) int {
	v := b.Insts[i]
	ed := ir.Edit(l.prog, l.f, b)
	ed.Span = v.Span
	tail := append([]*ir.Value(nil), b.Insts[i+1:]...)
	term := b.Term
	n := len(b.Insts)
	b.Insts, b.Term = b.Insts[:i:i], ir.Term{}
	flip := func(x, sign *ir.Value) *ir.Value { return ed.Bin(ir.OpSub, ed.Bin(ir.OpXor, x, sign), sign) }
	x, y := v.Args[0], v.Args[1]
	shift := ed.Const(63)
	sx := ed.Bin(ir.OpSar, x, shift)
	ax := flip(x, sx)
	var sy, ay *ir.Value
	if y.Op == ir.OpConst {
		sy, ay = ed.Const(y.Imm>>63), ed.Const((y.Imm^y.Imm>>63)-y.Imm>>63)
	} else {
		sy = ed.Bin(ir.OpSar, y, shift)
		ay = flip(y, sy)
	}
	var res, sign *ir.Value
	if v.Op == ir.OpSDiv {
		res = ed.Bin(ir.OpUDiv, ax, ay)
		switch {
		case y.Op != ir.OpConst:
			sign = ed.Bin(ir.OpXor, sx, sy)
		case y.Imm < 0:
			sign = ed.Un(ir.OpNot, sx)
		default:
			sign = sx
		}
	} else {
		res, sign = ed.Bin(ir.OpUMod, ax, ay), sx
	}
	// v itself becomes the last subtraction, so its users need no change.
	v.Op, v.Args = ir.OpSub, []*ir.Value{ed.Bin(ir.OpXor, res, sign), sign}
	b.Insts = append(append(b.Insts, v), tail...)
	b.Term = term
	return len(b.Insts) - n
}

// scratchAreas is how many runs of a preemptible program may hold scratch memory on one CPU.
const scratchAreas = 4

// perCPUValue is the kernel's PCPU_MIN_UNIT_SIZE: no value of a per-CPU map is larger.
const perCPUValue = 32 << 10

// moveSlots moves the biggest slots to scratch memory until the rest fits into stack bytes.
func (l *legaliser) moveSlots(stack int) {
	order, live := slices.Clone(l.f.Slots), slotRanges(l.f)
	indexed := l.indexedSlots()
	if _, size := placeSlots(live, l.f.Slots); size <= stack && len(indexed) == 0 {
		return
	}
	slices.SortStableFunc(order, func(x, y *ir.Slot) int {
		if indexed[x] != indexed[y] {
			return cmp.Compare(btoi(indexed[y]), btoi(indexed[x]))
		}
		return y.Size - x.Size
	})
	n := len(indexed) + sort.Search(len(order)-len(indexed), func(n int) bool {
		n += len(indexed)
		gone := make(map[*ir.Slot]bool, n)
		for _, s := range order[:n] {
			gone[s] = true
		}
		stay := slices.DeleteFunc(slices.Clone(l.f.Slots), func(s *ir.Slot) bool { return gone[s] })
		_, size := placeSlots(live, stay)
		return size <= stack-8 // 8: the key of the scratch map
	})
	at, size := placeSlots(live, order[:n])
	if size == 0 {
		return
	}
	base, shift := l.enter(size)
	for _, b := range l.f.Blocks {
		for _, v := range b.Insts {
			if v.Op != ir.OpSlot {
				continue
			}
			if off, ok := at[v.Slot]; ok {
				v.Op, v.Class, v.Args, v.Imm, v.Slot = ir.OpOffset, ir.MapValue, []*ir.Value{base}, int64(off+shift), nil
			}
		}
	}
	kept := l.f.Slots[:0]
	for _, s := range l.f.Slots {
		if _, gone := at[s]; !gone {
			kept = append(kept, s)
		}
	}
	l.f.Slots = kept
}

// indexedSlots are the slots that may not be on the stack because the place of an access is not known: kernels before
// 5.12 refuse that. They have no atomic fetch-and-add either.
func (l *legaliser) indexedSlots() map[*ir.Slot]bool {
	out := map[*ir.Slot]bool{}
	if l.feat.AtomicFetch {
		return out
	}
	order := l.f.RPO()
	owner := slotOwners(order)
	for _, b := range order {
		for _, v := range b.Insts {
			if v.Op == ir.OpIndex && v.Args[1].Op != ir.OpConst {
				for _, s := range owner[v] {
					out[s] = true
				}
			}
		}
	}
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// enter puts code before the entry that finds size bytes of scratch; when there are none the function returns 0.
// It returns the address and the offset of the memory from it.
func (l *legaliser) enter(size int) (base *ir.Value, shift int) {
	f := l.f
	m := &ir.Map{Name: "scratch_" + f.Name, Kind: ir.PerCPUArray, KeySize: 4, ValueSize: size, MaxEntries: 1}
	l.scratch = m
	old := f.Blocks[0]
	ed := ir.Edit(l.prog, f, nil)
	ed.Span = f.Span
	entry := ed.Block()
	ed.SetBlock(entry)
	fail := ed.Block()
	areas := f.Preemptible && l.feat.AtomicFetch
	area := size + 8 // the first word is the number of the area plus one while it is taken
	if areas {
		m.ValueSize = scratchAreas * area
	}
	key := ed.Addr(ed.Slot("scratch_key", 4))
	if m.ValueSize > perCPUValue && l.prog.CPUs > 0 {
		m.Kind, m.MaxEntries = ir.Array, l.prog.CPUs
		ed.Store(key, 0, 8, ed.Help(ir.HelperCPU))
	} else {
		ed.Store(key, 0, 8, ed.Const(0))
	}
	if !areas {
		// Without compare-and-exchange the kernel (before 5.12) runs the programs of uprobes with preemption off.
		base = ed.NullCheck(ed.Lookup(m, key), fail)
		ed.Jump(old)
	} else {
		all := ed.NullCheck(ed.Lookup(m, key), fail)
		got := ed.Block(ir.Scalar)
		busy := ed.Block()
		for i := range scratchAreas {
			word := ed.CmpXchg(all, i*area, ed.Const(0), ed.Const(int64(i+1)))
			taken, next := ed.Block(), busy
			if i+1 < scratchAreas {
				next = ed.Block()
			}
			ed.If(word, next, taken)
			ed.SetBlock(taken)
			// Read the number back: to the kernel's verifier it is then unknown, so it follows the rest of the
			// program once and not once per area.
			ed.Jump(got, ed.AddImm(ed.Load(all, i*area, 8, false), -1))
			ed.SetBlock(next)
		}
		if w := l.counter(ir.LossScratchBusy); w != nil {
			ed.Atomic(ed.MapValue(l.prog.Health), 8*w.ID, ed.Const(1))
		}
		ed.Jump(fail)
		ed.SetBlock(got)
		base, shift = ed.Index(all, ed.Mask(got.Params[0], scratchAreas-1), int64(area)), 8
		ed.Jump(old)
		l.leave(old, base)
	}
	ed.SetBlock(fail)
	ed.Ret(ed.Const(0))
	// The entry must be first.
	for i, b := range f.Blocks {
		if b == entry {
			f.Blocks[0], f.Blocks[i] = entry, old
		}
	}
	return base, shift
}

// leave gives the area back at every return reachable from b.
func (l *legaliser) leave(b *ir.Block, base *ir.Value) {
	seen := map[*ir.Block]bool{b: true}
	for list := []*ir.Block{b}; len(list) > 0; list = list[1:] {
		t := list[0].Term // a copy: the block's own is replaced
		if t.Kind == ir.TermRet {
			list[0].Term = ir.Term{}
			ed := ir.Edit(l.prog, l.f, list[0])
			ed.Span = t.Span
			ed.Store(base, 0, 8, ed.Const(0))
			ed.Ret(t.Cond)
		}
		for _, s := range t.Successors() {
			if !seen[s] {
				seen[s] = true
				list = append(list, s)
			}
		}
	}
}

// counter finds the word for a loss in Program.Health.
func (l *legaliser) counter(loss ir.Loss) *ir.Counter {
	for _, c := range l.prog.Counters {
		if c.Loss == loss && l.prog.Health != nil {
			return c
		}
	}
	return nil
}
