package lower

import (
	"strconv"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// memory evaluates e into a slot of its own.
func (f *fn) memory(e syntax.Expr, t *types.Type, pad bool) *ir.Value {
	if v, ok := e.(*syntax.Var); ok && f.info.Locals[v].Type.Equal(t) {
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
	switch e := e.(type) {
	case *syntax.String:
		f.text(e.Value, t, p, off, pad)
	case *syntax.Tuple:
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
	case *syntax.Field:
		f.fieldInto(e, from, t, p, off, pad)
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

func (f *fn) builtinInto(e syntax.Expr, from, t *types.Type, p *ir.Value, off int, pad bool) {
	row := f.info.Vars[e]
	low := f.l.opt.Library.VarLower(row.Name)
	f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
		low.Into(f.site(), f.info.Numbers[e], t, p, off, pad)
	})
}

// resized lets write produce a value of type from where t is wanted. A larger t is written in place, the rest zeroed;
// for a smaller one the value is built aside and cut.
func (f *fn) resized(from, t *types.Type, p *ir.Value, off int, pad bool, write func(t *types.Type, p *ir.Value, off int)) {
	if from.Kind != types.String || from.Memory() <= t.Memory() {
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

// convert copies a value in memory to another layout of the same kind.
func (f *fn) convert(p *ir.Value, off int, t *types.Type, src *ir.Value, from *types.Type) {
	switch {
	case t.Kind == types.Tuple:
		at := 0
		for i, e := range t.Elems {
			if e.Scalar() {
				f.Store(p, off, 8, f.Load(src, at, 8, false))
			} else {
				f.convert(p, off, e, f.Offset(src, int64(at)), from.Elems[i])
			}
			off, at = off+e.Memory(), at+from.Elems[i].Memory()
		}
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

// tupleField finds the memory of a tuple's field.
func (f *fn) tupleField(e *syntax.Field) (*ir.Value, int) {
	xt := f.info.Type(e.X)
	n, err := strconv.Atoi(e.Name.Text)
	if err != nil {
		bug("tuple field %s", e.Name.Text)
	}
	off := 0
	for i := 0; i < n; i++ {
		off += xt.Elems[i].Memory()
	}
	if inner, ok := e.X.(*syntax.Field); ok && f.info.Type(inner.X).Kind == types.Tuple {
		p, at := f.tupleField(inner)
		return p, at + off
	}
	return f.memory(e.X, xt, true), off
}

// fieldInto copies a field that is not a scalar: a string of args or of a struct, or part of a tuple.
func (f *fn) fieldInto(e *syntax.Field, from, t *types.Type, p *ir.Value, off int, pad bool) {
	if f.info.Type(e.X).Kind == types.Tuple {
		src, at := f.tupleField(e)
		f.convert(p, off, t, f.Offset(src, int64(at)), from)
		return
	}
	if f.isArgs(e.X) && f.target().Form == types.InputArgs {
		text := func(at ir.Site) string { return at.Cgroup }
		if f.target().Hook.Kind == types.HookAlert {
			text = func(at ir.Site) string { return at.Group }
		}
		f.convert(p, off, t, f.input(&ir.Input{Size: from.Size, Text: text}), from)
		return
	}
	f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
		var addr *ir.Value
		kernel := true
		if f.isArgs(e.X) {
			target := f.target()
			fld, _ := target.Args.Field(e.Name.Text)
			if target.Form != types.RecordArgs {
				bug("string argument of form %d", target.Form)
			}
			addr = f.recordAddr(fld)
		} else {
			xt := f.info.Type(e.X)
			base, fld := f.structField(e, xt)
			addr = f.AddImm(base, int64(fld.Offset))
			kernel = !(xt.Kind == types.Pointer && xt.User)
		}
		f.readString(addr, f.Const(int64(t.Size)), t, p, off, pad, kernel)
	})
}

// recordAddr is the address of a string in a tracepoint's record.
func (f *fn) recordAddr(fld types.Field) *ir.Value {
	if !fld.DataLoc {
		return f.Offset(f.Ctx(), int64(fld.Offset))
	}
	return f.Index(f.Ctx(), f.Mask(f.Load(f.Ctx(), fld.Offset, 4, false), 0xffff), 1)
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

// compareMemory compares strings or tuples for equality, word by word.
func (f *fn) compareMemory(l, r syntax.Expr, yes, no *ir.Block) {
	if s, ok := l.(*syntax.String); ok {
		if _, both := r.(*syntax.String); !both {
			l, r = r, s
		}
	}
	lt, rt := f.info.Type(l), f.info.Type(r)
	if lt.Kind == types.Tuple {
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
