package lower

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// memory evaluates e into a slot of its own.
func (f *fn) memory(e syntax.Expr, t *types.Type, pad bool) *ir.Value {
	if v, ok := e.(*syntax.Var); ok && !t.Scalar() && f.info.Locals[v].Type.Equal(t) {
		return f.local(f.info.Locals[v])
	}
	p := f.Addr(f.Slot("tmp", t.Memory()))
	f.into(e, t, p, 0, pad)
	return p
}

// into writes the value of e, laid out as t, at p+off. With pad the bytes after a string's end are zeroed.
func (f *fn) into(e syntax.Expr, t *types.Type, p *ir.Value, off int, pad bool) {
	saved := f.Builder.Span
	f.Builder.Span = e.Span()
	defer func() { f.Builder.Span = saved }()
	from := f.info.Type(e)
	if from.Scalar() {
		f.Store(p, off, 8, f.scalar(e))
		return
	}
	if x := f.info.Expanded[e]; x != nil {
		f.into(x, t, p, off, pad)
		return
	}
	if f.isArgs(e) {
		f.argsInto(e, t, p, off, pad)
		return
	}
	switch e := e.(type) {
	case *syntax.String:
		f.text(e.Value, t, p, off, pad)
	case *syntax.Tuple:
		if len(e.Elems) == 0 {
			f.Zero(p, off, t.Memory())
		}
		for i, x := range e.Elems {
			f.into(x, t.Elems[i], p, off, pad)
			off += t.Elems[i].Memory()
		}
	case *syntax.Var:
		f.convert(p, off, t, f.local(f.info.Locals[e]), from)
	case *syntax.Map:
		f.mapInto(e, t, p, off)
	case *syntax.Ternary:
		f.branch(e.Cond, func() { f.into(e.Then, t, p, off, pad) }, func() { f.into(e.Else, t, p, off, pad) })
	case *syntax.Record:
		f.recordInto(e, t, p, off, pad)
	case *syntax.Field:
		f.fieldInto(e, from, t, p, off, pad)
	case *syntax.Index, *syntax.Unary:
		pl, _ := f.placeOf(e)
		f.copyPlace(pl, from, t, p, off, pad)
	case *syntax.Cast:
		f.castInto(e, from, t, p, off, pad)
	case *syntax.Comptime:
		f.into(e.X, t, p, off, pad)
	case syntax.IfExpr:
		f.ifInto(e.If, t, p, off, pad)
	case syntax.BlockExpr:
		f.scope(e.Block, func() { f.into(e.Block.Result, t, p, off, pad) })
	case *syntax.Name:
		if o, ok := f.labels[e.Text]; ok {
			f.convert(p, off, t, o.v, o.typ)
			return
		}
		f.builtinInto(e, from, t, p, off, pad)
	case *syntax.Call:
		row := f.info.Funcs[e]
		if row == nil {
			f.builtinInto(e, from, t, p, off, pad)
			return
		}
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
			f.l.opt.Library.FuncLower(row.Name).Into(f.site(), e, t, p, off, pad)
		})
	default:
		bug("memory value %T", e)
	}
}

// printed is the type that an expression has where it is printed: the arguments of a probe are a record.
func (f *fn) printed(e syntax.Expr) *types.Type {
	t := f.info.Type(e)
	if f.isArgs(e) {
		t, _ = types.ArgsRecord(f.entryOf.args(), f.entryOf.form(), f.l.in.Config.MaxStrlen)
	}
	return t
}

// argsInto writes all arguments of the probe, laid out as their record.
func (f *fn) argsInto(e syntax.Expr, t *types.Type, p *ir.Value, off int, pad bool) {
	for i, name := range t.Names {
		field := &syntax.Field{X: e, Name: &syntax.Name{Text: name}}
		if ft := t.Elems[i]; ft.Scalar() {
			f.Store(p, off, 8, f.argScalar(field))
		} else {
			f.fieldInto(field, ft, ft, p, off, pad)
		}
		off += t.Elems[i].Memory()
	}
}

func (f *fn) builtinInto(e syntax.Expr, from, t *types.Type, p *ir.Value, off int, pad bool) {
	row := f.info.Vars[e]
	low := f.l.opt.Library.VarLower(row.Name)
	f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
		low.Into(f.site(), f.info.Numbers[e], t, p, off, pad)
	})
}

// fits tells whether a value of type from can be written where one of type t is.
func fits(from, t *types.Type) bool {
	switch from.Kind {
	case types.String:
		return from.Memory() <= t.Memory()
	case types.Buffer:
		return from.Size <= t.Size
	}
	return true
}

// resized lets write produce a value of type from where t is wanted. A larger t is written in place, the rest zeroed;
// for a smaller one the value is built aside and cut.
func (f *fn) resized(from, t *types.Type, p *ir.Value, off int, pad bool, write func(t *types.Type, p *ir.Value, off int)) {
	if fits(from, t) {
		if rest := t.Memory() - from.Memory(); rest > 0 && pad {
			f.Zero(p, off+from.Memory(), rest)
		}
		write(from, p, off)
		return
	}
	tmp := f.Addr(f.Slot("tmp", from.Memory()))
	write(from, tmp, 0)
	f.convert(p, off, t, tmp, from)
}

// text writes a string literal.
func (f *fn) text(s string, t *types.Type, p *ir.Value, off int, pad bool) {
	size := t.Memory()
	if len(s) >= t.Size {
		s = s[:max(t.Size-1, 0)]
		f.count(ir.LossTruncated, nil)
	}
	used := (len(s) + 8) &^ 7 // with at least one NUL
	for len(s) < used {
		s += "\x00"
	}
	f.Bytes(p, off, s)
	if pad && size > used {
		f.Zero(p, off+used, size-used)
	}
}

// recordInto writes a record; the fields may have another order in t.
func (f *fn) recordInto(e *syntax.Record, t *types.Type, p *ir.Value, off int, pad bool) {
	for i, x := range e.Elems {
		name := e.Names[i].Text
		f.into(x, t.Elems[t.Element(name)], p, off+elementOffset(t, name), pad)
	}
}

func (f *fn) ifInto(s *syntax.If, t *types.Type, p *ir.Value, off int, pad bool) {
	side := func(b *syntax.Block) { f.scope(b, func() { f.into(b.Result, t, p, off, pad) }) }
	f.branch(s.Cond, func() { side(s.Then) }, func() {
		if els, ok := s.Else.(*syntax.If); ok {
			f.ifInto(els, t, p, off, pad)
		} else {
			side(s.Else.(*syntax.Block))
		}
	})
}

// castInto is (type)x for a type in memory.
func (f *fn) castInto(e *syntax.Cast, from, t *types.Type, p *ir.Value, off int, pad bool) {
	xt := f.info.Type(e.X)
	switch {
	case from.Kind == types.Array && xt.Kind == types.Int:
		v := f.scalar(e.X)
		switch from.Size {
		case 1, 2, 4, 8:
			v = f.Ext(v, from.Size, false)
		default:
			v = f.Bin(ir.OpAnd, v, f.Const(1<<(8*from.Size)-1))
		}
		f.Store(p, off, 8, v)
	case from.Kind == types.String && xt.Scalar():
		kernel := xt.Kind != types.Pointer || !xt.User
		addr := f.number(f.scalar(e.X))
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
			f.readString(addr, f.Const(int64(t.Size)), t, p, off, pad, kernel)
		})
	case from.Kind == types.String && xt.Kind == types.Array:
		src := f.memory(e.X, xt, true)
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
			f.readString(src, f.Const(int64(min(t.Size, xt.Size+1))), t, p, off, pad, true)
		})
	case from.Kind == types.Buffer && xt.Kind != types.Buffer:
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
			n := min(t.Size, xt.Size)
			f.Zero(p, off, t.Memory())
			f.Store(p, off, 8, f.Const(int64(n)))
			f.rawInto(e.X, p, off+8, n)
		})
	case from.Kind == types.Late && xt.Kind != types.Late:
		f.lateInto(e.X, from, xt, p, off)
	case from.Kind == types.Array && xt.Kind == types.String:
		f.Copy(p, off, f.memory(e.X, xt, true), from.Memory())
	default:
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) { f.into(e.X, t, p, off, pad) })
	}
}

// lateInto is (type)x for a type of late values.
func (f *fn) lateInto(x syntax.Expr, from, xt *types.Type, p *ir.Value, off int) {
	at := off
	if from.Late == types.Inet {
		const inet, inet6 = 2, 10
		family := int64(inet)
		if xt.Size == 16 {
			family = inet6
		}
		f.Store(p, off, 8, f.Const(family))
		at += 8
	}
	if xt.Scalar() {
		v := f.number(f.scalar(x))
		if from.Late == types.Inet {
			v = f.Ext(v, 4, false)
			f.Zero(p, at+8, 8)
		}
		f.Store(p, at, 8, v)
		return
	}
	f.Zero(p, at, from.Memory()-(at-off))
	f.rawInto(x, p, at, xt.Size)
}

// rawInto copies n bytes of a value in memory to p+off.
func (f *fn) rawInto(x syntax.Expr, p *ir.Value, off, n int) {
	failed := f.raw(x, f.Offset(p, int64(off)), f.Const(int64(n)), n)
	f.when(failed, func() { f.count(ir.LossReadFault, nil) })
}

// convert copies a value in memory to another layout of the same kind.
func (f *fn) convert(p *ir.Value, off int, t *types.Type, src *ir.Value, from *types.Type) {
	switch {
	case t.Kind == types.Tuple && len(t.Elems) > 0:
		for i, e := range t.Elems {
			j, at := i, 0
			if t.Names != nil {
				j = from.Element(t.Names[i])
			}
			for _, x := range from.Elems[:j] {
				at += x.Memory()
			}
			if e.Scalar() {
				f.Store(p, off, 8, f.Load(src, at, 8, false))
			} else {
				f.convert(p, off, e, f.Offset(src, int64(at)), from.Elems[j])
			}
			off += e.Memory()
		}
	case t.Kind == types.Buffer && !fits(from, t): // what follows its bytes is zeros
		length := f.Load(src, 0, 8, false)
		f.Store(p, off, 8, f.Bound(length, int64(t.Size)))
		f.Copy(p, off+8, f.Offset(src, 8), t.Memory()-8)
		if rest := t.Size % 8; rest > 0 {
			last := off + t.Memory() - 8
			f.Store(p, last, 8, f.Bin(ir.OpAnd, f.Load(p, last, 8, false), f.Const(1<<(8*rest)-1)))
		}
		f.when(f.Bin(ir.OpULt, f.Const(int64(t.Size)), length), func() { f.count(ir.LossTruncated, nil) })
	case from.Memory() <= t.Memory():
		f.Copy(p, off, src, from.Memory())
		if rest := t.Memory() - from.Memory(); rest > 0 {
			f.Zero(p, off+from.Memory(), rest)
		}
	default: // a string is cut; its last byte must be NUL
		f.Copy(p, off, src, t.Memory())
		f.cut(p, off, t)
	}
}

// cut ends a string at its capacity and counts when that loses something.
func (f *fn) cut(p *ir.Value, off int, t *types.Type) {
	last := off + t.Memory() - 1
	f.when(f.Load(p, last, 1, false), func() {
		f.Store(p, last, 1, f.Const(0))
		f.count(ir.LossTruncated, nil)
	})
}

// mapInto copies a map's value; zeros where there is none.
func (f *fn) mapInto(e *syntax.Map, t *types.Type, p *ir.Value, off int) {
	m := f.l.maps[f.info.Maps[e]]
	if m.Key == nil {
		f.convert(p, off, t, f.MapValue(m), m.Value)
		return
	}
	missing, join := f.Block(), f.Block()
	key := f.key(m, e.Index) // built here, it dominates the join
	cache := f.cache.save()
	v := f.lookupKey(m, e, key, missing)
	f.convert(p, off, t, v, m.Value)
	f.Jump(join)
	f.SetBlock(missing)
	f.Zero(p, off, t.Memory())
	f.Jump(join)
	f.SetBlock(join)
	f.cache.restore(cache)
}

// fieldInto copies a field that is not a scalar: a string of args or of a struct, or part of a tuple.
func (f *fn) fieldInto(e *syntax.Field, from, t *types.Type, p *ir.Value, off int, pad bool) {
	if f.isArgs(e.X) && f.target().Form == types.InputArgs {
		text := func(at ir.Site) string { return at.Cgroup }
		if f.target().Hook.Kind == types.HookAlert {
			text = func(at ir.Site) string { return at.Group }
		}
		f.convert(p, off, t, f.input(&ir.Input{Size: from.Size, Text: text}), from)
		return
	}
	pl, _ := f.fieldPlace(e)
	f.copyPlace(pl, from, t, p, off, pad)
}

// readString copies a NUL-terminated string from an address.
func (f *fn) readString(addr, size *ir.Value, t *types.Type, p *ir.Value, off int, pad, kernel bool) {
	if pad {
		f.Zero(p, off, t.Memory())
	}
	dst := p
	if off != 0 {
		dst = f.Offset(p, int64(off))
	}
	f.ReadStr(dst, addr, size, t.Size, kernel) // on a fault the kernel zeroes dst
}

// readCounted copies a text whose address and length lie at a place. What is longer than t is cut, and counted.
func (f *fn) readCounted(pl place, t *types.Type, p *ir.Value, off int, pad bool) {
	addr, length := f.loadPlace(pl, types.Uint64, types.Field{}), f.loadPlace(pl.at(8, true), types.Uint64, types.Field{})
	if pad {
		f.Zero(p, off, t.Memory())
	} else {
		f.Zero(p, off, 8)
	}
	f.when(length, func() { // the address of none may be anything
		dst := p
		if off != 0 {
			dst = f.Offset(p, int64(off))
		}
		most := int64(t.Size - 1)
		n := f.ReadStr(dst, addr, f.AddImm(f.Bound(length, most), 1), t.Size, false)
		f.when(f.Bin(ir.OpSLt, n, f.Const(0)), func() { f.count(ir.LossReadFault, nil) })
		f.when(f.Bin(ir.OpULt, f.Const(most), length), func() { f.count(ir.LossTruncated, nil) })
	})
}

// compareMemory compares strings or tuples for equality, word by word.
func (f *fn) compareMemory(l, r syntax.Expr, yes, no *ir.Block) {
	if s, ok := l.(*syntax.String); ok {
		if _, both := r.(*syntax.String); !both {
			l, r = r, s
		}
	}
	lt, rt := f.info.Type(l), f.info.Type(r)
	if lt.Kind == types.Tuple || lt.Kind == types.Buffer {
		lt, _ = types.Unify(lt, rt)
		rt = lt
	}
	a := f.memory(l, lt, true)
	size := min(lt.Memory(), rt.Memory())
	var b *ir.Value
	text := ""
	if s, ok := r.(*syntax.String); ok {
		text = s.Value
		for len(text) < size {
			text += "\x00"
		}
		if len(s.Value) >= lt.Memory() { // longer than anything the left can hold
			f.Jump(no)
			return
		}
	} else {
		b = f.memory(r, rt, true)
	}
	for off := 0; off < size; off += 8 {
		x := f.Load(a, off, 8, false)
		var y *ir.Value
		if b == nil {
			word := int64(0)
			for i := 7; i >= 0; i-- {
				word = word<<8 | int64(text[off+i])
			}
			y = f.Const(word)
		} else {
			y = f.Load(b, off, 8, false)
		}
		next := f.Block()
		f.If(f.Bin(ir.OpEq, x, y), next, no)
		f.SetBlock(next)
	}
	f.Jump(yes)
}
