package check

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// block types the statements of a block in a scope of its own and returns the type of its result.
func (c *checker) block(b *syntax.Block) *types.Type {
	c.enter()
	for _, s := range b.Stmts {
		c.stmt(s)
	}
	t := types.None
	if b.Result != nil {
		t = c.statementExpr(b.Result)
	}
	c.leave()
	return t
}

// enter begins a scope.
func (c *checker) enter() {
	c.scope = &scope{up: c.scope, vars: map[string]*Local{}}
}

// leave ends a scope and reports what nobody read.
func (c *checker) leave() {
	if c.final {
		for _, v := range c.scope.vars {
			if !v.read && !strings.Contains(v.Decl.Text, "'") {
				c.warnf(v.Decl, "variable '$%s' is assigned and never used", v.Name)
			}
		}
	}
	c.scope = c.scope.up
}

func (c *checker) stmt(s syntax.Stmt) {
	switch s := s.(type) {
	case *syntax.Block:
		c.block(s)
	case *syntax.ExprStmt:
		c.statementExpr(s.X)
	case *syntax.Assign:
		c.assign(s)
	case *syntax.Let:
		c.let(s)
	case *syntax.If:
		c.ifStmt(s)
	case *syntax.Jump:
		c.jump(s)
	case *syntax.Loop:
		c.loop(s)
	case *syntax.For:
		c.forLoop(s)
	case syntax.ImportStmt:
		c.notYet(s.Import, "imports are")
	}
}

func (c *checker) ifStmt(s *syntax.If) {
	c.condition(s.Cond)
	c.side(s.Cond, true, func() { c.block(s.Then) })
	if s.Else != nil {
		c.side(s.Cond, false, func() { c.stmt(s.Else) })
	}
}

// side types what runs where a condition is true, or where it is not.
func (c *checker) side(cond syntax.Expr, when bool, do func()) {
	if v, ok := c.info.Consts[cond]; ok && (v != 0) != when {
		c.dead++
		defer func() { c.dead-- }()
	}
	do()
}

func (c *checker) jump(s *syntax.Jump) {
	switch {
	case s.Keyword != "return":
		if c.loops == 0 {
			c.errorf(s, "%s outside a loop", s.Keyword)
		}
	case s.Value != nil:
		if t := c.expr(s.Value); t.Kind != types.Invalid && !t.Integer() {
			c.errorf(s.Value, "a probe returns an integer, got '%s'", t)
		}
	}
}

// statementExpr is an expression used for its effect; one without effect gets a warning.
func (c *checker) statementExpr(e syntax.Expr) *types.Type {
	switch e := e.(type) {
	case *syntax.Call:
		before := len(c.diags)
		t := c.call(e, true)
		c.info.Types[e] = t
		if f := c.info.Funcs[e]; f != nil && f.Class == types.AggFunc && c.final {
			c.errorf(e, "%s() must be assigned to a map", f.Name).WithHint("for example: @ = %s(…)", f.Name)
		} else if f != nil && f.Pure && c.final && len(c.diags) == before {
			c.warnf(e, "value is not used")
		}
		return t
	case *syntax.Unary:
		if e.Op == "++" || e.Op == "--" {
			return c.expr(e)
		}
	case *syntax.Ternary:
		c.condition(e.Cond)
		if e.Then != nil {
			a, b, t := types.Bad, types.Bad, types.None
			c.side(e.Cond, true, func() { a = c.statementExpr(e.Then) })
			c.side(e.Cond, false, func() { b = c.statementExpr(e.Else) })
			if a.Kind != types.Void && b.Kind != types.Void {
				if u, ok := types.Unify(a, b); ok {
					t = u
				}
			}
			c.info.Types[e] = t
			return t
		}
	case syntax.BlockExpr:
		t := c.block(e.Block)
		c.info.Types[e] = t
		return t
	case syntax.IfExpr:
		c.ifStmt(e.If)
		c.info.Types[e] = types.None
		return types.None
	}
	t := c.expr(e)
	if c.final && t.Kind != types.Invalid && t.Kind != types.Void {
		c.warnf(e, "value is not used")
	}
	return t
}

// assign types target = value and the compound forms.
func (c *checker) assign(s *syntax.Assign) {
	if n, ok := s.Target.(*syntax.Name); ok && n.Text == "_" {
		c.expr(s.Value)
		return
	}
	if s.Op != "=" {
		c.compound(s)
		return
	}
	switch target := s.Target.(type) {
	case *syntax.Map:
		value := c.valueFor(target, s.Value)
		c.assignMap(target, s, value)
		c.shareAgg(target, s.Value)
	case *syntax.Var:
		c.assignVar(target, s, c.expr(s.Value))
	default:
		c.expr(s.Value)
		c.errorf(s.Target, "cannot assign to this expression").WithHint("only variables ($x) and maps (@x) can be assigned")
	}
}

// valueFor types what is assigned to a map: the one place where aggregations may stand.
func (c *checker) valueFor(m *syntax.Map, e syntax.Expr) *types.Type {
	call, ok := e.(*syntax.Call)
	if !ok {
		return c.expr(e)
	}
	f := c.opt.Universe.Func(call.Name.Text)
	if f == nil || f.Class != types.AggFunc {
		return c.expr(e)
	}
	tc, ok := c.callArgs(call, f)
	c.info.Funcs[call] = f
	if !ok {
		return types.Bad
	}
	agg := f.Agg(tc)
	c.info.Aggs[call] = agg
	t := &types.Type{Kind: types.Aggregate, Name: agg.Func, Agg: agg}
	c.info.Types[call] = t
	return t
}

// shareAgg makes all calls that write one map the same aggregation: signed as soon as one of the values is.
func (c *checker) shareAgg(target *syntax.Map, value syntax.Expr) {
	call, ok := value.(*syntax.Call)
	if !ok {
		return
	}
	agg, m := c.info.Aggs[call], c.info.Maps[target]
	if agg == nil || m == nil || m.Value == nil || m.Value.Kind != types.Aggregate || !m.Value.Agg.Equal(agg) {
		return
	}
	m.Value.Agg.Signed = m.Value.Agg.Signed || agg.Signed
	c.info.Aggs[call] = m.Value.Agg
}

// compound types target op= value.
func (c *checker) compound(s *syntax.Assign) {
	value := c.expr(s.Value)
	target := c.readTarget(s.Target)
	if target.Kind == types.Invalid || value.Kind == types.Invalid {
		return
	}
	moves := target.Kind == types.Pointer && value.Integer() && (s.Op == "+=" || s.Op == "-=")
	if moves {
		return
	}
	if !target.Integer() || !value.Integer() {
		c.errorf(s, "operator '%s' wants integers, got '%s' and '%s'", s.Op, target, value)
		return
	}
	if m, ok := s.Target.(*syntax.Map); ok {
		c.assignMap(m, s, c.arith(s.Op[:len(s.Op)-1], target, value, nil, s.Value))
	}
}

// readTarget types the old value of what ++ or op= changes; a map that does not exist yet starts from 0.
func (c *checker) readTarget(e syntax.Expr) *types.Type {
	if m, ok := e.(*syntax.Map); ok {
		mm := c.mapRef(m)
		if mm == nil {
			return types.Bad
		}
		if mm.Value == nil {
			c.setMapValue(mm, m, types.Int64)
		}
		c.info.Types[m] = mm.Value
		return mm.Value
	}
	if _, ok := e.(*syntax.Var); !ok {
		c.errorf(e, "cannot assign to this expression").WithHint("only variables ($x) and maps (@x) can be assigned")
		return types.Bad
	}
	return c.expr(e)
}

// assignMap fixes or widens the type of a map by an assignment.
func (c *checker) assignMap(n *syntax.Map, at syntax.Node, value *types.Type) {
	m := c.mapRef(n)
	if m == nil || value.Kind == types.Invalid {
		return
	}
	if value.Kind == types.Void {
		c.errorf(at, "got no value to assign to map '%s'", m.Name)
		return
	}
	c.setMapValue(m, at, value)
	c.info.Types[n] = m.Value
}

func (c *checker) setMapValue(m *Map, at syntax.Node, value *types.Type) {
	value = normalize(value)
	if !storable(value) {
		c.errorf(at, "value of type '%s' cannot be kept in a map", value)
		return
	}
	if m.Value == nil {
		m.Value, c.changed = value, true
		return
	}
	t, ok := types.Unify(m.Value, value)
	if !ok {
		c.errorf(at, "type mismatch for %s: trying to assign value of type '%s' when map already contains a value of type '%s'", m.Name, value, m.Value)
		return
	}
	if !t.Equal(m.Value) {
		m.Value, c.changed = t, true
	}
}

// storable tells whether values of the type can be kept in maps and keys.
func storable(t *types.Type) bool {
	switch t.Kind {
	case types.Tuple:
		for _, e := range t.Elems {
			if !storable(e) {
				return false
			}
		}
		return true
	case types.Array:
		return t.Size > 0 && t.Size <= types.MaxValue && t.Elem.Kind != types.Invalid
	case types.Struct:
		return t.Size > 0 && t.Size <= types.MaxValue && t.Layout != nil && !t.Args
	case types.Void:
		return false
	}
	return true
}

// normalize widens the integers of a stored type to 64 bits, which is how they are laid out.
func normalize(t *types.Type) *types.Type {
	switch t.Kind {
	case types.Int:
		switch {
		case t.Enum != nil:
			return &types.Type{Kind: types.Int, Size: 8, Signed: t.Signed, Name: t.Name, Enum: t.Enum}
		case t.TAI():
			return t
		}
		return types.IntOf(8, t.Signed)
	case types.String:
		return types.StringOf((t.Size + 7) &^ 7)
	case types.Tuple:
		elems := make([]*types.Type, len(t.Elems))
		for i, e := range t.Elems {
			elems[i] = normalize(e)
		}
		return &types.Type{Kind: types.Tuple, Names: t.Names, Elems: elems}
	}
	return t
}

// let declares a variable.
func (c *checker) let(s *syntax.Let) {
	if !c.free(s.Name) {
		return
	}
	if s.Type != nil {
		c.letTyped(s)
		return
	}
	if s.Value == nil {
		c.declareLocal(s.Name, types.Bad).open = true
		return
	}
	t := c.expr(s.Value)
	if t.Kind != types.Invalid && !storable(t) {
		c.errorf(s, "value of type '%s' cannot be kept in a variable", t)
		t = types.Bad
	}
	c.declareLocal(s.Name, t)
}

func (c *checker) declareLocal(n *syntax.Var, t *types.Type) *Local {
	key := localKey{c.clause, n}
	l := c.locals[key]
	if l == nil {
		l = &Local{ID: len(c.locals), Name: spelled(n.Text), Type: normalize(t), Decl: n}
		c.locals[key] = l
		c.changed = true
	}
	c.scope.vars[n.Text] = l
	c.info.Locals[n] = l
	c.growLocal(l, n, t)
	return l
}

// spelled is the name of a variable as the script has it, without what an expansion added.
func spelled(name string) string {
	name, _, _ = strings.Cut(name, "'")
	return name
}

// letTyped declares a variable of a type that the script gives.
func (c *checker) letTyped(s *syntax.Let) {
	t := c.typeOf(s.Type)
	value := types.Bad
	if s.Value != nil {
		value = c.expr(s.Value)
	}
	fixed := true
	switch {
	case t.Kind == types.String && t.Size == 0:
		t, fixed = types.StringOf(8), false
	case t.Kind != types.Invalid && !storable(t):
		c.errorf(s.Type, "a variable cannot have the type '%s'", t)
		t = types.Bad
	case t.Kind == types.Tuple:
		fixed = false
	}
	l := c.declareLocal(s.Name, types.Bad)
	if l.Type.Kind == types.Invalid && t.Kind != types.Invalid {
		l.Type, l.Declared, c.changed = t, fixed, true
		if t.Kind == types.String {
			l.Type = types.StringOf((t.Size + 7) &^ 7)
		}
	}
	if s.Value != nil {
		c.keepIn(l, s.Value, value)
	}
}

// keepIn checks that a variable can take the value of an expression.
func (c *checker) keepIn(l *Local, e syntax.Expr, t *types.Type) {
	if v, ok := c.info.Consts[e]; ok && l.Declared && l.Type.Kind == types.Int && t.Kind == types.Int && c.final &&
		(truncate(v, l.Type) != v || v < 0 && l.Type.Signed != t.Signed) {
		text := strconv.FormatInt(v, 10)
		if !t.Signed {
			text = strconv.FormatUint(uint64(v), 10)
		}
		c.errorf(e, "type mismatch for $%s: the value %s does not fit into '%s'", l.Name, text, l.Type)
		return
	}
	c.growLocal(l, e, t)
}

func (c *checker) growLocal(l *Local, at syntax.Node, t *types.Type) {
	if t.Kind == types.Invalid {
		return
	}
	if l.Type.Kind == types.Invalid { // nothing was known of it so far
		l.Type, c.changed = normalize(t), true
		return
	}
	u, ok := types.Unify(l.Type, normalize(t))
	if ok && l.Declared {
		ok = u.Kind == l.Type.Kind && (l.Type.Kind != types.Array || u.Equal(l.Type))
		u = l.Type
	}
	if !ok {
		c.errorf(at, "type mismatch for $%s: trying to assign value of type '%s' when variable already contains a value of type '%s'", l.Name, t, l.Type)
		return
	}
	if !u.Equal(l.Type) {
		l.Type, c.changed = u, true
	}
}

func (c *checker) lookupLocal(name string) *Local {
	for sc := c.scope; sc != nil; sc = sc.up {
		if l := sc.vars[name]; l != nil {
			return l
		}
	}
	return nil
}

func (c *checker) assignVar(n *syntax.Var, at syntax.Node, t *types.Type) {
	if t.Kind != types.Invalid && !storable(t) {
		c.errorf(at, "value of type '%s' cannot be kept in a variable", t)
		t = types.Bad
	}
	l := c.lookupLocal(n.Text)
	if l == nil {
		c.declareLocal(n, t)
		return
	}
	c.info.Locals[n] = l
	if s, ok := at.(*syntax.Assign); ok && l.Declared {
		c.keepIn(l, s.Value, t)
		return
	}
	c.growLocal(l, at, t)
}
