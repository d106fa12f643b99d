package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/unwind"
)

// Offsets in the frame that the kernel makes for a signal, from the stack pointer behind its return address on (struct
// rt_sigframe of x86-64): the registers of what was interrupted.
const (
	signalBP = 120
	signalSP = 160
	signalIP = 168
)

// walk is a walk up the stack of the running process by its tables.
type walk struct {
	l       ir.Lowering
	b       *ir.Builder
	process *ir.Value // its words
	rows    *ir.Value
	most    int       // rows
	buf     *ir.Value // for what is read
	frames  *ir.Value
	depth   int
	returns *ir.Returns // nil where return probes cannot be seen through
	hidden  *ir.Value   // the address that they put in the place of others, 0 without any
}

// unwindBuf holds all that one frame reads at once.
const unwindBuf = signalIP + 8 - signalBP

// compat is the code segment of 32-bit code, whose stacks the kernel knows how to read.
const compat = 0x23

// byTables finds return addresses by the tables of package unwind. Those of a process without tables are found by the
// kernel.
func byTables(l ir.Lowering, frames, process *ir.Value, depth int) *ir.Value {
	b, u := l.Builder(), l.Unwind()
	known, unknown, kernel, next := b.Block(ir.MapValue), b.Block(), b.Block(), b.Block(ir.Scalar)
	space := l.Kernel().Space(b)
	if l.Kernel().KnowsSpace() {
		lives, none := b.Block(), b.Block()
		b.If(space, lives, none)
		b.SetBlock(none) // a thread of the kernel
		b.Jump(next, b.Const(0))
		b.SetBlock(lives)
	}
	regs := b.Help(ir.HelperTaskRegs, b.Help(ir.HelperTaskBTF))
	reg := func(word int) *ir.Value { return b.Load(regs, 8*word, 8, false) }
	wide := b.Block()
	b.If(b.Bin(ir.OpEq, reg(wordCS), b.Const(compat)), kernel, wide)
	b.SetBlock(wide)
	w := walk{l: l, b: b, frames: frames, depth: depth, buf: b.Addr(b.Slot("frame", unwindBuf))}
	key := b.Addr(b.Slot("process", 8))
	find := func(pid *ir.Value, otherwise *ir.Block) (process, space *ir.Value) {
		b.Store(key, 0, 8, pid)
		process = b.NullCheck(b.Lookup(u.Processes, key), otherwise)
		return process, b.Load(process, 8*ir.UnwindSpace, 8, false)
	}
	other := b.Block()
	own, of := find(process, other)
	same := b.Block()
	b.If(b.Bin(ir.OpOr, b.Bin(ir.OpEq, of, b.Const(0)), b.Bin(ir.OpEq, of, space)), same, unknown)
	b.SetBlock(same)
	b.Jump(known, own)

	// A process that was just forked has mapped what its parent has.
	b.SetBlock(other)
	if k := l.Kernel(); k.KnowsSpace() && k.Parent != 0 && k.Tgid != 0 && k.PidNS[1] == 0 {
		forked := b.Block()
		parent, of := find(b.Ext(w.word(w.word(b.Help(ir.HelperTask), k.Parent), k.Tgid), 4, false), unknown)
		b.If(b.Bin(ir.OpEq, of, space), forked, unknown)
		b.SetBlock(forked)
		b.Jump(known, parent)
	} else {
		b.Jump(unknown)
	}

	b.SetBlock(unknown)
	l.Count(ir.LossUnwind, nil)
	b.Jump(kernel)
	b.SetBlock(kernel)
	b.Jump(next, b.Stack(frames, 8*depth, false))

	b.SetBlock(known)
	w.process = known.Params[0]
	b.Atomic(w.process, 8*ir.UnwindUsed, b.Const(1))
	w.rows, w.most = b.MapValue(u.Rows), u.Rows.ValueSize/ir.UnwindRow
	if of := l.Kernel().Returns; of != nil {
		if w.returns = of(); w.returns != nil {
			r := w.returns
			w.hidden = w.word(w.word(w.word(b.Help(ir.HelperTask), r.MM), r.Area), r.Address)
		}
	}
	b.Zero(frames, 0, 8*depth)
	n := l.Scan(int64(depth), []*ir.Value{b.Const(0), reg(wordIP), reg(wordSP), reg(wordBP), b.Const(1)}, int64(depth), w.turn)
	b.Jump(next, n)
	b.SetBlock(next)
	return next.Params[0]
}

// turn goes one frame up. The state is how many frames there are, the registers, and whether the address is that of the
// next instruction to run: it is that of the one behind a call otherwise, which may be another function's.
func (w *walk) turn(state []*ir.Value, again, done func(...*ir.Value)) {
	b := w.b
	n, ip, sp, bp, exact := state[0], state[1], state[2], state[3], state[4]
	over, called, more, end := b.Block(), b.Block(), b.Block(), b.Block()
	b.If(ip, called, over)
	b.SetBlock(over)
	done(n)
	b.SetBlock(called)
	b.Store(b.Index(w.frames, b.Bound(n, int64(w.depth-1)), 8), 0, 8, ip)
	n = b.AddImm(n, 1)
	b.If(b.Bin(ir.OpSLt, n, b.Const(int64(w.depth))), more, end)
	b.SetBlock(more)

	lost := b.Block()
	caller := b.Block(ir.Scalar, ir.Scalar, ir.Scalar, ir.Scalar) // ip, sp, bp, exact
	framed := b.Block()
	rule := w.rule(b.Bin(ir.OpAdd, b.AddImm(ip, -1), exact), framed)
	kinds := []struct {
		kind unwind.Kind
		to   *ir.Block
	}{{unwind.KindStack, b.Block()}, {unwind.KindFrame, b.Block()}, {unwind.KindDeref, b.Block()}, {unwind.KindPLT, b.Block()},
		{unwind.KindSignal, b.Block()}, {unwind.KindNone, framed}, {unwind.KindUnknown, lost}}
	kind := b.Mask(rule, 1<<unwind.KindBits-1)
	for _, k := range kinds {
		other := b.Block()
		b.If(b.Bin(ir.OpEq, kind, b.Const(int64(k.kind))), k.to, other)
		b.SetBlock(other)
	}
	b.Jump(end) // unwind.KindEnd

	signed := func(shift, bits int) *ir.Value {
		return b.Bin(ir.OpSar, b.Bin(ir.OpShl, rule, b.Const(int64(64-shift-bits))), b.Const(int64(64-bits)))
	}
	offset := func() *ir.Value { return b.Bin(ir.OpMul, signed(unwind.CFAShift, unwind.CFABits), b.Const(8)) }
	cfa := b.Block(ir.Scalar)
	b.SetBlock(kinds[0].to)
	b.Jump(cfa, b.Bin(ir.OpAdd, sp, offset()))
	b.SetBlock(kinds[1].to)
	b.Jump(cfa, b.Bin(ir.OpAdd, bp, offset()))
	b.SetBlock(kinds[2].to)
	w.read(b.Bin(ir.OpAdd, bp, offset()), 8, lost)
	b.Jump(cfa, b.Load(w.buf, 0, 8, false))
	b.SetBlock(kinds[3].to)
	pushed := b.Bin(ir.OpULe, signed(unwind.CFAShift, unwind.CFABits), b.Mask(ip, 15))
	b.Jump(cfa, b.AddImm(b.Bin(ir.OpAdd, sp, b.Bin(ir.OpMul, pushed, b.Const(8))), 8))
	b.SetBlock(kinds[4].to)
	w.read(b.AddImm(sp, signalBP), unwindBuf, lost)
	b.Jump(caller, b.Load(w.buf, signalIP-signalBP, 8, false), b.Load(w.buf, signalSP-signalBP, 8, false), b.Load(w.buf, 0, 8, false), b.Const(1))

	// The stack grows downwards, so the frames of callers are above.
	b.SetBlock(cfa)
	at := cfa.Params[0]
	up := b.Block()
	b.If(b.Bin(ir.OpULt, sp, at), up, lost)
	b.SetBlock(up)
	w.read(b.AddImm(at, -8), 8, lost)
	ret := b.Load(w.buf, 0, 8, false)
	saved := signed(unwind.SavedShift, unwind.SavedBits)
	kept, moved, atFrame, atCFA, from := b.Block(), b.Block(), b.Block(), b.Block(), b.Block(ir.Scalar)
	b.If(b.Bin(ir.OpEq, saved, b.Const(0)), kept, moved)
	b.SetBlock(kept)
	b.Jump(caller, ret, at, bp, b.Const(0))
	b.SetBlock(moved)
	b.If(b.Bin(ir.OpEq, saved, b.Const(unwind.SavedAtFrame)), atFrame, atCFA)
	b.SetBlock(atFrame)
	b.Jump(from, bp)
	b.SetBlock(atCFA)
	b.Jump(from, b.Bin(ir.OpAdd, at, b.Bin(ir.OpMul, saved, b.Const(8))))
	b.SetBlock(from)
	w.read(from.Params[0], 8, lost)
	b.Jump(caller, ret, at, b.Load(w.buf, 0, 8, false), b.Const(0))

	// By the frame pointer. It may lead to another stack; the outermost function has none, but for where nobody has called.
	b.SetBlock(framed)
	linked, alone, above := b.Block(), b.Block(), b.Block()
	b.If(bp, linked, alone)
	b.SetBlock(alone)
	b.If(exact, lost, end)
	b.SetBlock(linked)
	b.If(b.Mask(bp, 7), lost, above)
	b.SetBlock(above)
	w.read(bp, 16, lost)
	b.Jump(caller, b.Load(w.buf, 8, 8, false), b.AddImm(bp, 16), b.Load(w.buf, 0, 8, false), b.Const(0))

	b.SetBlock(caller)
	to := w.original(caller.Params[0], b.AddImm(caller.Params[1], -8), lost)
	again(append([]*ir.Value{n, to}, caller.Params[1:]...)...)
	b.SetBlock(lost)
	w.l.Count(ir.LossUnwind, nil)
	b.Jump(end)
	b.SetBlock(end)
	done(n)
}

// original is the return address that was at a place of the stack, where a return probe may have put another.
func (w *walk) original(ret, place *ir.Value, lost *ir.Block) *ir.Value {
	if w.returns == nil {
		return ret
	}
	b, r := w.b, w.returns
	some, hidden, plain, found, next := b.Block(), b.Block(), b.Block(), b.Block(), b.Block(ir.Scalar)
	b.If(ret, some, plain)
	b.SetBlock(some)
	b.If(b.Bin(ir.OpEq, ret, w.hidden), hidden, plain)
	b.SetBlock(plain)
	b.Jump(next, ret)
	b.SetBlock(hidden)
	const most = 64 // the kernel's MAX_URETPROBE_DEPTH
	first := w.word(w.word(b.Help(ir.HelperTask), r.Task), r.First)
	was := w.l.Scan(most+1, []*ir.Value{first}, 0, func(state []*ir.Value, again, done func(...*ir.Value)) {
		at := state[0]
		some, none, here, other := b.Block(), b.Block(), b.Block(), b.Block()
		b.If(at, some, none)
		b.SetBlock(none)
		done(b.Const(0))
		b.SetBlock(some)
		b.If(b.Bin(ir.OpEq, w.word(at, r.Stack), place), here, other)
		b.SetBlock(here)
		done(w.word(at, r.Original))
		b.SetBlock(other)
		again(w.word(at, r.Next))
	})
	b.If(was, found, lost)
	b.SetBlock(found)
	b.Jump(next, was)
	b.SetBlock(next)
	return next.Params[0]
}

// word reads a word of the kernel, 0 where it cannot.
func (w *walk) word(p *ir.Value, off int) *ir.Value {
	w.b.Read(w.buf, w.b.AddImm(p, int64(off)), 8, true)
	return w.b.Load(w.buf, 0, 8, false)
}

// read reads memory of the process into buf.
func (w *walk) read(addr *ir.Value, size int, failed *ir.Block) {
	ok := w.b.Block()
	w.b.If(w.b.Bin(ir.OpSLt, w.b.Read(w.buf, addr, size, false), w.b.Const(0)), failed, ok)
	w.b.SetBlock(ok)
}

// rule finds the rule for an address; where there is none the way goes on at none.
func (w *walk) rule(addr *ir.Value, none *ir.Block) *ir.Value {
	b := w.b
	mapping := func(i *ir.Value) *ir.Value {
		return b.Index(b.Offset(w.process, 8*ir.UnwindFirst), b.Bound(i, ir.UnwindMappings-1), 8*ir.MappingWords)
	}
	i := w.search(b.Load(w.process, 8*ir.UnwindCount, 8, false), ir.UnwindMappings, addr, func(i *ir.Value) *ir.Value {
		return b.Load(mapping(i), 8*ir.MappingStart, 8, false)
	})
	after, inside, nowhere := b.Block(), b.Block(), b.Block()
	b.If(b.Bin(ir.OpEq, i, b.Const(0)), nowhere, after)
	b.SetBlock(after)
	m := mapping(b.AddImm(i, -1))
	b.If(b.Bin(ir.OpULt, addr, b.Load(m, 8*ir.MappingEnd, 8, false)), inside, nowhere)
	b.SetBlock(nowhere)
	b.Jump(none)

	b.SetBlock(inside)
	linked := b.Bin(ir.OpSub, addr, b.Load(m, 8*ir.MappingBias, 8, false))
	first := b.Load(m, 8*ir.MappingRow, 8, false)
	row := func(j *ir.Value) *ir.Value {
		return b.Load(b.Index(w.rows, b.Bound(b.Bin(ir.OpAdd, first, j), int64(w.most-1)), ir.UnwindRow), 0, 8, false)
	}
	j := w.search(b.Load(m, 8*ir.MappingRows, 8, false), w.most, linked, func(j *ir.Value) *ir.Value {
		return b.Bin(ir.OpShr, row(j), b.Const(32))
	})
	found := b.Block()
	b.If(b.Bin(ir.OpEq, j, b.Const(0)), none, found)
	b.SetBlock(found)
	return b.Ext(row(b.AddImm(j, -1)), 4, false)
}

// search finds how many of n sorted numbers, most at most, are not greater than x.
func (w *walk) search(n *ir.Value, most int, x *ir.Value, number func(i *ir.Value) *ir.Value) *ir.Value {
	b, turns := w.b, int64(1)
	for ; most > 0; most /= 2 {
		turns++
	}
	return w.l.Scan(turns, []*ir.Value{b.Const(0), n}, 0, func(state []*ir.Value, again, done func(...*ir.Value)) {
		low, high := state[0], state[1]
		open, found, left, right := b.Block(), b.Block(), b.Block(), b.Block()
		b.If(b.Bin(ir.OpULt, low, high), open, found)
		b.SetBlock(found)
		done(low)
		b.SetBlock(open)
		middle := b.Bin(ir.OpShr, b.Bin(ir.OpAdd, low, high), b.Const(1))
		b.If(b.Bin(ir.OpULe, number(middle), x), right, left)
		b.SetBlock(right)
		again(b.AddImm(middle, 1), high)
		b.SetBlock(left)
		again(low, middle)
	})
}
