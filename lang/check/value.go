package check

import (
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// tuple types "(a, b)", "(a,)" and "()".
func (c *checker) tuple(e *syntax.Tuple) *types.Type {
	elems, ok := c.values(e.Elems)
	if !ok {
		return types.Bad
	}
	return types.TupleOf(elems...)
}

// record types "(name = x, …)".
func (c *checker) record(e *syntax.Record) *types.Type {
	elems, ok := c.values(e.Elems)
	if !ok {
		return types.Bad
	}
	names := make([]string, len(e.Names))
	for i, n := range e.Names {
		names[i] = n.Text
	}
	return types.RecordOf(names, elems)
}

func (c *checker) values(list []syntax.Expr) (out []*types.Type, ok bool) {
	ok = true
	for _, x := range list {
		t := c.value(x)
		ok = ok && t.Kind != types.Invalid
		out = append(out, t)
	}
	return out, ok
}

// blockValue types a block that stands where a value is wanted.
func (c *checker) blockValue(b *syntax.Block) *types.Type {
	if b.Result == nil {
		c.block(b)
		c.errorf(b, "the block has no value").WithHint("its last expression, without a ';', is its value")
		return types.Bad
	}
	c.enter()
	for _, s := range b.Stmts {
		c.stmt(s)
	}
	t := c.value(b.Result)
	c.leave()
	return t
}

// ifValue types an if that stands where a value is wanted.
func (c *checker) ifValue(s *syntax.If) *types.Type {
	c.condition(s.Cond)
	a, b := types.Bad, types.Bad
	c.side(s.Cond, true, func() { a = c.blockValue(s.Then) })
	c.side(s.Cond, false, func() {
		switch els := s.Else.(type) {
		case *syntax.Block:
			b = c.blockValue(els)
		case *syntax.If:
			b = c.ifValue(els)
			c.info.Types[syntax.IfExpr{If: els}] = b
		default:
			c.errorf(s, "an if without else has no value")
		}
	})
	return c.either(s, "if expression", a, b)
}

// either is the type of a value that comes from one of two places.
func (c *checker) either(at syntax.Node, what string, a, b *types.Type) *types.Type {
	if a.Kind == types.Invalid || b.Kind == types.Invalid {
		return types.Bad
	}
	t, ok := types.Unify(normalize(a), normalize(b))
	if !ok {
		c.errorf(at, "%s must return the same type: got '%s' and '%s'", what, a, b)
		return types.Bad
	}
	return t
}

// comptime wants a value that is known now.
func (c *checker) comptime(e *syntax.Comptime) *types.Type {
	t := c.expr(e.X)
	if t.Kind == types.Invalid {
		return t
	}
	if v, ok := c.info.Consts[e.X]; ok {
		c.info.Consts[e] = v
		return t
	}
	switch c.literal(e.X).(type) {
	case *syntax.String, *syntax.Record:
		return t
	}
	c.errorf(e.X, "unable to evaluate the expression at compile time")
	return types.Bad
}

// index types x[i] on anything but a map.
func (c *checker) index(e *syntax.Index) *types.Type {
	t := c.expr(e.X)
	if t.Kind == types.Int {
		t = c.pointed(e.X, t)
	}
	var k *types.Type
	for _, key := range e.Keys {
		k = c.expr(key)
	}
	if t.Kind == types.Invalid || k.Kind == types.Invalid {
		return types.Bad
	}
	if len(e.Keys) != 1 {
		c.errorf(e, "got %d indexes, want 1", len(e.Keys))
		return types.Bad
	}
	if !k.Integer() {
		c.errorf(e.Keys[0], "an index must be an integer, got '%s'", k)
		return types.Bad
	}
	n, constant := c.info.Consts[e.Keys[0]]
	limit := -1
	elem := t.Elem
	switch t.Kind {
	case types.Tuple:
		if !constant || n < 0 || n >= int64(len(t.Elems)) {
			c.errorf(e.Keys[0], "a tuple wants a constant index from 0 to %d", len(t.Elems)-1)
			return types.Bad
		}
		return t.Elems[n]
	case types.String:
		elem, limit = types.Int8, t.Size
	case types.Array:
		limit = t.Len
	case types.Pointer:
		if t.Elem.Size == 0 {
			c.errorf(e, "cannot index a pointer to '%s'", t.Elem)
			return types.Bad
		}
	default:
		c.errorf(e, "cannot index a value of type '%s'", t)
		return types.Bad
	}
	if constant && limit > 0 && (n < 0 || n >= int64(limit)) {
		c.errorf(e, "the index %d is out of bounds for '%s'", n, t)
		return types.Bad
	}
	return c.through(t, elem)
}

// charsAreText is the type of an expression that reads memory: arrays of char are strings.
func charsAreText(t *types.Type) *types.Type {
	if t.Kind == types.Array && t.Elem.Kind == types.Int && t.Elem.Size == 1 && t.Elem.Signed && t.Len > 0 {
		return types.StringOf(t.Len)
	}
	return t
}

// cast types (type)x.
func (c *checker) cast(e *syntax.Cast) *types.Type {
	from := c.expr(e.X)
	to := c.typeOf(e.Type)
	if from.Kind == types.Invalid || to.Kind == types.Invalid {
		return types.Bad
	}
	refuse := func() *types.Type {
		c.errorf(e, "cannot cast from '%s' to '%s'", from, to)
		return types.Bad
	}
	switch to.Kind {
	case types.Int:
		if from.Kind == types.Array && from.Size <= 8 {
			return to
		}
		if !from.Scalar() {
			return refuse()
		}
		c.fold(e, e.X, nil, func(x, _ int64) int64 { return truncate(x, to) })
	case types.Bool:
		if !from.Scalar() {
			return refuse()
		}
		c.fold(e, e.X, nil, func(x, _ int64) int64 { return truth(x != 0) })
	case types.Pointer:
		if !from.Scalar() {
			return refuse()
		}
		if from.Kind == types.Pointer && from.User != to.User {
			to = types.PointerTo(to.Elem, from.User)
		}
	case types.String:
		switch {
		case to.Size == 0 && from.Kind == types.String:
			return from
		case to.Size == 0 && from.Kind == types.Array:
			return types.StringOf(from.Len + 1)
		case to.Size == 0:
			return types.StringOf(c.prog.Config.MaxStrlen)
		case from.Kind != types.String && from.Kind != types.Pointer && from.Kind != types.Int && !(from.Kind == types.Array && from.Elem.Char()):
			return refuse()
		}
	case types.Buffer:
		switch {
		case to.Size == 0:
			c.errorf(e, "got a buffer without a size, want buffer[1] to buffer[%d]", maxArray)
			return types.Bad
		case from.Kind != types.String && from.Kind != types.Array && from.Kind != types.Buffer:
			return refuse()
		}
	case types.Late:
		if !castsLate(from, to) {
			return refuse()
		}
	case types.Array:
		if to.Len < 0 {
			to = types.ArrayOf(to.Elem, from.Size/to.Elem.Size)
		}
		literal := c.isConstant(e.X)
		switch {
		case to.Elem.Kind != types.Int && to.Elem.Kind != types.Bool:
			return refuse()
		case from.Kind == types.Int && (to.Size == from.Size || to.Size <= 8 && (literal || from.Size == 8)):
		case (from.Kind == types.Array || from.Kind == types.String && to.Elem.Char()) && from.Size == to.Size:
		default:
			return refuse()
		}
	default:
		return refuse()
	}
	return to
}

// castsLate tells whether a value can be taken for one that user space makes text of.
func castsLate(from, to *types.Type) bool {
	bytes := 0
	if from.Kind == types.String || from.Kind == types.Array {
		bytes = from.Size
	}
	switch to.Late {
	case types.Inet:
		return from.Integer() || bytes == 4 || bytes == 16 || from.Equal(to)
	case types.MACAddress:
		return bytes == 6 || from.Equal(to)
	case types.KernelSymbol, types.UserName:
		return from.Scalar() || from.Equal(to)
	}
	return from.Equal(to)
}

func (c *checker) isConstant(e syntax.Expr) bool {
	_, ok := c.info.Consts[e]
	return ok
}

// truncate is what an integer type keeps of a number.
func truncate(x int64, t *types.Type) int64 {
	shift := uint(64 - 8*t.Size)
	if t.Signed {
		return x << shift >> shift
	}
	return int64(uint64(x) << shift >> shift)
}
