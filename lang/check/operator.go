package check

import (
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// literalType is the smallest signed type that holds the value; above the int64 range uint64.
func literalType(v uint64) *types.Type {
	switch {
	case v < 1<<7:
		return types.Int8
	case v < 1<<15:
		return types.Int16
	case v < 1<<31:
		return types.Int32
	case v < 1<<63:
		return types.Int64
	}
	return types.Uint64
}

func (c *checker) unary(e *syntax.Unary) *types.Type {
	switch e.Op {
	case "++", "--":
		t := c.readTarget(e.X)
		if t.Kind != types.Invalid && t.Kind != types.Int && t.Kind != types.Pointer {
			c.errorf(e, "operator '%s' wants an integer, got '%s'", e.Op, t)
			return types.Bad
		}
		return t
	case "&":
		if m, is := e.X.(*syntax.Map); is && len(m.Index) == 0 {
			return c.mapAddress(m)
		}
		t := c.expr(e.X)
		v, ok := e.X.(*syntax.Var)
		if !ok {
			c.errorf(e.X, "the operator & wants a variable such as $x, or a whole map such as @x")
			return types.Bad
		}
		if t.Kind == types.Invalid {
			return t
		}
		l := c.info.Locals[v]
		if l.address == nil {
			l.address = types.PointerTo(t, false)
		}
		l.address.Elem = t
		return l.address
	case "*":
		t := c.pointer(e.X)
		switch {
		case t.Kind == types.Invalid:
		case t.Kind == types.Int: // an address
			return types.Uint64
		case t.Kind != types.Pointer:
			c.errorf(e, "cannot dereference a value of type '%s'", t)
		case t.Elem.Memory() == 0:
			c.errorf(e, "cannot dereference a pointer to '%s'", t.Elem)
		default:
			return c.through(t, t.Elem)
		}
		return types.Bad
	}
	t := c.expr(e.X)
	if t.Kind == types.Invalid {
		return t
	}
	if e.Op == "!" {
		c.condition(e.X)
		c.fold(e, e.X, nil, func(x, _ int64) int64 { return truth(x == 0) })
		return types.Boolean
	}
	if !t.Integer() {
		c.errorf(e, "operator '%s' wants an integer, got '%s'", e.Op, t)
		return types.Bad
	}
	if e.Op == "+" {
		c.fold(e, e.X, nil, func(x, _ int64) int64 { return x })
		return t
	}
	if e.Op == "-" {
		c.fold(e, e.X, nil, func(x, _ int64) int64 { return -x })
		return types.IntOf(max(t.Size, literalSize(c, e)), true)
	}
	c.fold(e, e.X, nil, func(x, _ int64) int64 { return ^x })
	return types.IntOf(8, t.Signed)
}

// literalSize is the size of a folded literal, 8 for everything else.
func literalSize(c *checker, e syntax.Expr) int {
	if v, ok := c.info.Consts[e]; ok {
		if v < 0 {
			v = ^v
		}
		return literalType(uint64(v)).Size
	}
	return 8
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// fold records the value of a constant expression.
func (c *checker) fold(e, x, y syntax.Expr, f func(x, y int64) int64) {
	a, ok := c.info.Consts[x]
	b := int64(0)
	if ok && y != nil {
		b, ok = c.info.Consts[y]
	}
	if ok {
		c.info.Consts[e] = f(a, b)
	}
}

func (c *checker) binary(e *syntax.Binary) *types.Type {
	switch e.Op {
	case "&&", "||":
		c.condition(e.L)
		c.side(e.L, e.Op == "&&", func() { c.condition(e.R) })
		l, known := c.info.Consts[e.L]
		if known && (l != 0) == (e.Op == "&&") { // the right side decides
			l, known = c.info.Consts[e.R]
		}
		if known {
			c.info.Consts[e] = truth(l != 0)
		}
		return types.Boolean
	}
	l, r := c.expr(e.L), c.expr(e.R)
	if l.Kind == types.Invalid || r.Kind == types.Invalid {
		return types.Bad
	}
	switch e.Op {
	case "==", "!=", "<", "<=", ">", ">=":
		return c.compare(e, l, r)
	}
	if l.Kind == types.Pointer || r.Kind == types.Pointer {
		return c.pointerArith(e, l, r)
	}
	if !l.Integer() || !r.Integer() {
		c.errorf(e, "operator '%s' wants integers, got '%s' and '%s'", e.Op, l, r)
		return types.Bad
	}
	switch e.Op {
	case "+", "-", "*", "/", "%":
		c.sameSign(e, "arithmetic on", l, r)
	}
	t := c.arith(e.Op, l, r, e.L, e.R)
	c.foldArith(e, t.Signed)
	return t
}

// pointerArith types pointer + n, pointer - n and the distance of two pointers.
func (c *checker) pointerArith(e *syntax.Binary, l, r *types.Type) *types.Type {
	switch {
	case e.Op == "+" && l.Kind == types.Pointer && r.Integer(), e.Op == "-" && l.Kind == types.Pointer && r.Integer():
		return l
	case e.Op == "+" && l.Integer() && r.Kind == types.Pointer:
		return r
	case e.Op == "-" && l.Kind == types.Pointer && l.Equal(r):
		return types.Int64
	}
	c.errorf(e, "operator '%s' does not work on '%s' and '%s'", e.Op, l, r)
	return types.Bad
}

// through is the type of what is read through a pointer: pointers in user memory point into it.
func (c *checker) through(p, t *types.Type) *types.Type {
	if p.User && t.Kind == types.Pointer && !t.User {
		t = types.PointerTo(t.Elem, true)
	}
	if t.Counted {
		return types.CountedText(t, c.prog.Config.MaxStrlen)
	}
	return charsAreText(t)
}

// sameSign warns where one operand has a sign and the other has not; a literal that is not negative goes with both.
func (c *checker) sameSign(e *syntax.Binary, what string, l, r *types.Type) {
	if c.final && l.Kind == types.Int && r.Kind == types.Int && l.Signed != r.Signed && !c.isLiteral(e.L) && !c.isLiteral(e.R) {
		c.warnf(e, "%s integers of different signs: '%s' and '%s' can lead to undefined behavior", what, l, r)
	}
}

// foldArith folds what cannot go wrong; division by zero stays for run time.
func (c *checker) foldArith(e *syntax.Binary, signed bool) {
	if y, ok := c.info.Consts[e.R]; ok && y == 0 && (e.Op == "/" || e.Op == "%") {
		c.warnf(e.R, "division by zero")
		return
	}
	c.fold(e, e.L, e.R, func(x, y int64) int64 {
		switch e.Op {
		case "+":
			return x + y
		case "-":
			return x - y
		case "*":
			return x * y
		case "/":
			if signed {
				return x / y
			}
			return int64(uint64(x) / uint64(y))
		case "%":
			if signed {
				return x % y
			}
			return int64(uint64(x) % uint64(y))
		case "&":
			return x & y
		case "|":
			return x | y
		case "^":
			return x ^ y
		case "<<":
			return x << (uint64(y) & 63)
		case ">>":
			if signed {
				return x >> (uint64(y) & 63)
			}
			return int64(uint64(x) >> (uint64(y) & 63))
		}
		panic("BUG: operator " + e.Op)
	})
}

// mapAddress is the type of & on a map: what the kernel keeps of it.
func (c *checker) mapAddress(m *syntax.Map) *types.Type {
	if c.argument(m, types.MapParam).Kind == types.Invalid {
		return types.Bad
	}
	t, known := c.namedType(m, "struct", "bpf_map")
	if !known {
		t = types.None
	}
	return types.PointerTo(t, false)
}

// arith is the type of an arithmetic result: 64 bits; unsigned when both operands are, where a literal that is not
// negative goes with the other side. Differences are signed, shifts keep the sign of what is shifted. A time of TAI plus or minus a number is one.
func (c *checker) arith(op string, l, r *types.Type, le, re syntax.Expr) *types.Type {
	ls, rs := c.signed(l, le), c.signed(r, re)
	switch op {
	case "-":
		if l.TAI() && !r.TAI() {
			return types.TimeOfTAI(true)
		}
		return types.Int64
	case "+":
		if l.TAI() != r.TAI() {
			return types.TimeOfTAI(ls || rs)
		}
	case "<<", ">>":
		return types.IntOf(8, l.Signed && !(le != nil && c.isLiteral(le)))
	}
	if le != nil && c.isLiteral(le) && c.isLiteral(re) {
		return types.Int64
	}
	return types.IntOf(8, ls || rs)
}

// signed tells whether an operand forces a signed operation.
func (c *checker) signed(t *types.Type, e syntax.Expr) bool {
	return t.Signed && !c.isLiteral(e)
}

// isLiteral tells whether e is a constant that is not negative: it has no sign of its own.
func (c *checker) isLiteral(e syntax.Expr) bool {
	if e == nil {
		return false
	}
	v, ok := c.info.Consts[e]
	return ok && v >= 0
}

func (c *checker) compare(e *syntax.Binary, l, r *types.Type) *types.Type {
	order := e.Op != "==" && e.Op != "!="
	if same, known := c.sameLiteral(e.L, e.R); known && !order && l.Kind == r.Kind && !l.Integer() {
		c.info.Consts[e] = truth(same == (e.Op == "=="))
	}
	switch {
	case l.Integer() && r.Integer():
		c.sameSign(e, "comparison of", l, r)
		ls, rs := c.signed(l, e.L), c.signed(r, e.R)
		c.fold(e, e.L, e.R, func(x, y int64) int64 { return compareConst(e.Op, x, y, ls || rs) })
	case l.Kind == types.String && r.Kind == types.String:
		if order {
			c.errorf(e, "operator '%s' does not work on strings", e.Op).WithHint("strings can be compared with == and !=")
			return types.Bad
		}
	case l.Kind == types.Pointer && r.Kind == types.Pointer, l.Kind == types.Pointer && r.Integer(), l.Integer() && r.Kind == types.Pointer:
	case (l.Kind == types.Stack || l.Kind == types.Late) && l.Equal(r) && !order:
	case l.Kind == types.Buffer && r.Kind == types.Buffer && !order:
	case (l.Kind == types.Array || l.Kind == types.Struct) && l.Equal(r) && storable(l) && !order:
	case l.Kind == types.Tuple && r.Kind == types.Tuple && !order:
		if u, ok := types.Unify(l, r); !ok || u == nil {
			c.errorf(e, "cannot compare '%s' with '%s'", l, r)
			return types.Bad
		}
	default:
		c.errorf(e, "type mismatch for '%s': comparing '%s' with '%s'", e.Op, l, r)
		return types.Bad
	}
	return types.Boolean
}

func compareConst(op string, x, y int64, signed bool) int64 {
	less, equal := uint64(x) < uint64(y), x == y
	if signed {
		less = x < y
	}
	switch op {
	case "==":
		return truth(equal)
	case "!=":
		return truth(!equal)
	case "<":
		return truth(less)
	case "<=":
		return truth(less || equal)
	case ">":
		return truth(!less && !equal)
	}
	return truth(!less)
}

// Signed tells whether a binary operation on these operands is a signed one; lowering asks.
func (i *Info) Signed(l, r syntax.Expr) bool {
	signed := func(e syntax.Expr) bool {
		v, ok := i.Consts[e]
		return i.Type(e).Signed && !(ok && v >= 0)
	}
	return signed(l) || signed(r)
}

func (c *checker) ternary(e *syntax.Ternary) *types.Type {
	c.condition(e.Cond)
	a, b := c.info.Type(e.Cond), types.Bad
	if e.Then != nil {
		c.side(e.Cond, true, func() { a = c.expr(e.Then) })
	}
	c.side(e.Cond, false, func() { b = c.expr(e.Else) })
	return c.either(e, "ternary operator", a, b)
}
