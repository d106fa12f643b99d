package check

import (
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// call types a call; statement tells whether its value is dropped.
func (c *checker) call(e *syntax.Call, statement bool) *types.Type {
	f := c.opt.Universe.Func(e.Name.Text)
	if f == nil {
		if row, n := c.builtin(e.Name.Text); row != nil && (len(e.Args) == 0 || row.Modes != nil) {
			if row.Modes != nil {
				var ok bool
				if n, ok = c.mode(e, row); !ok {
					return types.Bad
				}
			}
			return c.useBuiltin(e, row, n)
		} else if row != nil {
			f = row.Called
		}
	}
	if f == nil {
		d := c.errorf(e.Name, "unknown function: '%s'", e.Name.Text)
		suggest(d, e.Name.Text, append(c.opt.Universe.Names(types.FuncNames), c.opt.Universe.Names(types.AggNames)...))
		for _, a := range e.Args {
			c.expr(a)
		}
		return types.Bad
	}
	c.info.Funcs[e] = f
	if f.Expand != nil {
		return c.expansion(e, f)
	}
	if f.Class == types.VerbFunc {
		c.noteVerb(e, f.Verb)
	}
	tc, ok := c.callArgs(e, f)
	allowed := !f.Unsafe || c.prog.Config.Unsafe
	if allowed && c.final && c.dead == 0 && f.Hooks != nil && !slices.Contains(f.Hooks, c.target.Hook.Kind) {
		c.errorf(e, "%s() cannot be used in a probe of type %s", f.Name, c.target.Probe.Name).WithHint("use it in %s", f.Where)
	}
	if c.final && !allowed {
		c.errorf(e, "%s() is an unsafe function being used in safe mode", f.Name).WithHint("run with --unsafe to allow it")
	}
	if f.Class == types.AggFunc && !statement {
		c.errorf(e, "%s() can only be assigned to a map", f.Name).WithHint("for example: @ = %s(…)", f.Name)
		return types.Bad
	}
	if !ok {
		return types.Bad
	}
	if f.Class == types.VerbFunc {
		return c.verb(e, f, tc)
	}
	if f.Result == nil {
		if !statement {
			c.errorf(e, "%s() has no value", f.Name)
			return types.Bad
		}
		return types.None
	}
	return f.Result(tc)
}

// stands types what stands for an expression.
func (c *checker) stands(e syntax.Expr, made func() syntax.Expr) *types.Type {
	x := c.expanded[e]
	if x == nil {
		x = made()
		c.expanded[e] = x
	}
	c.info.Expanded[e] = x
	t := c.expr(x)
	if v, ok := c.info.Consts[x]; ok {
		c.info.Consts[e] = v
	}
	return t
}

// expansion types a call by what its row makes of it.
func (c *checker) expansion(e *syntax.Call, f *types.Func) *types.Type {
	least, most := arity(f.Params)
	if n := len(e.Args); n < least || most >= 0 && n > most {
		c.errorf(e, "%s() got %s, want %s", f.Name, plural(n, "argument"), wantArgs(least, most)).WithHint("%s", Signature(f))
		return types.Bad
	}
	return c.stands(e, func() syntax.Expr { return f.Expand(e) })
}

// bare types the name of a function that can be called without arguments.
func (c *checker) bare(e *syntax.Name) (t *types.Type, ok bool) {
	f := c.opt.Universe.Func(e.Text)
	if f == nil || f.Class != types.PlainFunc || f.Result == nil && f.Expand == nil {
		return nil, false
	}
	if least, _ := arity(f.Params); least > 0 {
		return nil, false
	}
	return c.stands(e, func() syntax.Expr { return &syntax.Call{Range: e.Range, Name: e} }), true
}

// mode reads the arguments of a variable that takes a mode and a number: kstack(perf, 5).
func (c *checker) mode(e *syntax.Call, row *types.Var) (n int, ok bool) {
	args, named := e.Args, false
	if len(args) > 0 {
		if name, is := args[0].(*syntax.Name); is {
			at := slices.Index(row.Modes, name.Text)
			if at < 0 {
				d := c.errorf(name, "unknown mode '%s' of %s", name.Text, row.Name)
				suggest(d, name.Text, row.Modes)
				if d.Hint == "" {
					d.WithHint("modes: %s", strings.Join(row.Modes, ", "))
				}
				return 0, false
			}
			n, args, named = at*(row.Limit+1), args[1:], true
		}
	}
	if !named {
		n = c.usualMode(e, row)
	}
	if len(args) > 0 && row.Limit > 0 {
		c.expr(args[0])
		v, is := c.info.Consts[args[0]]
		if !is || v < 1 || v > int64(row.Limit) {
			c.errorf(args[0], "%s wants a literal from 1 to %d", row.Name, row.Limit)
			return 0, false
		}
		n, args = n+int(v), args[1:]
	}
	if len(args) > 0 {
		if row.Limit == 0 {
			c.errorf(args[0], "unknown mode of %s", row.Name).WithHint("modes: %s", strings.Join(row.Modes, ", "))
			return 0, false
		}
		c.errorf(args[0], "%s() got too many arguments, want a mode and a limit", row.Name).WithHint("%s([mode][, limit])", row.Name)
		return 0, false
	}
	return n, true
}

// callArgs types the arguments of a call and checks them against the row.
func (c *checker) callArgs(e *syntax.Call, f *types.Func) (*types.Call, bool) {
	tc := &types.Call{Node: e, Config: &c.prog.Config, Dead: c.dead > 0, Target: c.target, Resolver: c.opt.Resolver}
	tc.Const = func(i int) (int64, bool) {
		if i >= len(e.Args) {
			return 0, false
		}
		v, ok := c.info.Consts[e.Args[i]]
		return v, ok
	}
	tc.Map = func(i int) (int, *types.Type) {
		if m, ok := e.Args[i].(*syntax.Map); ok && c.info.Maps[m] != nil {
			return c.info.Maps[m].Keys, c.info.Maps[m].Value
		}
		return -1, nil
	}
	tc.Text = func(i int) string {
		if s, ok := e.Args[i].(*syntax.String); ok {
			return s.Value
		}
		return ""
	}
	tc.Fold = func(v int64) { c.info.Consts[e] = v }
	bad := false
	tc.Warnf = func(i int, format string, args ...any) *source.Diagnostic {
		if i < 0 || i >= len(e.Args) {
			return c.warnf(e, format, args...)
		}
		return c.warnf(e.Args[i], format, args...)
	}
	tc.Errorf = func(i int, format string, args ...any) *source.Diagnostic {
		bad = true
		if i < 0 || i >= len(e.Args) {
			return c.errorf(e, format, args...)
		}
		return c.errorf(e.Args[i], format, args...)
	}
	least, most := arity(f.Params)
	if n := len(e.Args); n < least || most >= 0 && n > most {
		for _, a := range e.Args {
			c.argument(a, types.PrintableParam)
		}
		tc.Errorf(-1, "%s() got %s, want %s", f.Name, plural(n, "argument"), wantArgs(least, most)).WithHint("%s", Signature(f))
		return tc, false
	}
	var owner *Map
	for i, a := range e.Args {
		p := f.Params[min(i, len(f.Params)-1)]
		t := c.argument(a, p.Kind)
		tc.Args = append(tc.Args, t)
		if t.Kind == types.Invalid {
			bad = true
			continue
		}
		if m, ok := a.(*syntax.Map); ok && i == 0 && len(m.Index) == 0 {
			owner = c.info.Maps[m]
		}
		c.checkArgument(tc, i, a, p, t, owner)
	}
	if !bad && f.Check != nil {
		f.Check(tc)
		c.info.Notes[e] = tc.Notes
	}
	return tc, !bad
}

// argument types one argument; maps as a whole are Void.
func (c *checker) argument(a syntax.Expr, kind types.ParamKind) *types.Type {
	switch kind {
	case types.ObjectiveParam:
		return c.objectiveName(a)
	case types.OutParam:
		if _, ok := a.(*syntax.Var); !ok {
			c.expr(a)
			c.errorf(a, "got an expression, want a variable such as $x")
			return types.Bad
		}
		return types.None
	case types.TypeParam:
		return c.typeArgument(a)
	case types.FieldParam:
		return types.None
	}
	m, isMap := a.(*syntax.Map)
	if kind == types.MapParam && !isMap {
		c.expr(a)
		c.errorf(a, "got an expression, want a map such as @x")
		return types.Bad
	}
	if isMap && len(m.Index) == 0 && (kind == types.MapParam || kind == types.PrintableParam) {
		mm := c.mapNamed("@"+m.Text, m.Span())
		c.info.Maps[m] = mm
		if mm.Value == nil && c.final {
			c.errorf(a, "undefined map: %s", mm.Name)
		}
		if mm.Value == nil {
			return types.Bad
		}
		return types.None
	}
	if isMap && kind == types.PrintableParam {
		t := c.mapValue(m)
		if t.Kind == types.Aggregate {
			if v := singleValue(t.Agg); v != nil {
				t = v
			}
		}
		c.info.Types[m] = t
		return t
	}
	return c.expr(a)
}

// objectiveName takes the name of an slo; its constant is the objective's index.
func (c *checker) objectiveName(a syntax.Expr) *types.Type {
	name, ok := a.(*syntax.Name)
	if !ok {
		c.errorf(a, "got an expression, want the name of an slo")
		return types.Bad
	}
	o := c.sloNamed(name.Text)
	if o == nil {
		c.unknownSLO(name, name.Text)
		return types.Bad
	}
	c.info.Consts[a] = int64(o.Index)
	c.info.Types[a] = types.Int64
	return types.Int64
}

// take gives a variable the type of a map's value.
func (c *checker) take(v *syntax.Var, m *Map) {
	t := m.Value
	if t.Kind == types.Aggregate {
		if t = singleValue(t.Agg); t == nil {
			c.errorf(v, "a value of type '%s' is no number", m.Value)
			return
		}
	}
	c.assignVar(v, v, t)
	c.info.Types[v] = c.info.Locals[v].Type
}

// typeArgument is an argument that is a type; a bare name was read as a variable.
func (c *checker) typeArgument(a syntax.Expr) *types.Type {
	switch a := a.(type) {
	case *syntax.TypeExpr:
		if a.Keyword == "" || a.Keyword == "typeof" {
			if a.Type != nil {
				c.info.Types[a] = c.typeOf(a.Type)
			} else {
				c.info.Types[a] = c.expr(a.X)
			}
			return c.info.Types[a]
		}
	case *syntax.Name:
		t := c.typeOf(&syntax.TypeRef{Range: a.Range, Name: a.Text})
		c.info.Types[a] = t
		return t
	}
	c.errorf(a, "got an expression, want a type such as struct file")
	return types.Bad
}

// path are the names of a FieldParam.
func path(e syntax.Expr) ([]*syntax.Name, bool) {
	switch e := e.(type) {
	case *syntax.Name:
		return []*syntax.Name{e}, true
	case *syntax.Field:
		if names, ok := path(e.X); ok {
			return append(names, e.Name), true
		}
	}
	return nil, false
}

// offset is where a field of a field lies in a type.
func (c *checker) offset(t *types.Type, names []*syntax.Name) (int64, bool) {
	at := int64(0)
	for _, name := range names {
		if t.Kind != types.Struct {
			c.errorf(name, "'%s' has no fields", t)
			return 0, false
		}
		f, ok := c.structField(name, t)
		if !ok {
			return 0, false
		}
		at += int64(f.Offset)
		t = f.Type
	}
	return at, true
}

func (c *checker) unknownSLO(at syntax.Node, name string) {
	d := c.errorf(at, "unknown slo '%s'", name)
	var names []string
	for _, o := range c.prog.SLOs {
		names = append(names, o.Name)
	}
	suggest(d, name, names)
}

func (c *checker) checkArgument(tc *types.Call, i int, a syntax.Expr, p types.Param, t *types.Type, owner *Map) {
	f := tc.Node.Name.Text
	switch p.Kind {
	case types.IntParam:
		if !t.Integer() {
			tc.Errorf(i, "%s() got '%s' for '%s', want an integer", f, t, p.Name)
		}
	case types.AddressParam:
		if !t.Scalar() {
			tc.Errorf(i, "%s() got '%s' for '%s', want an address", f, t, p.Name)
		}
	case types.LiteralParam:
		if _, ok := tc.Const(i); !ok || !t.Integer() {
			tc.Errorf(i, "%s() wants an integer literal for '%s'", f, p.Name)
		}
	case types.FieldParam:
		names, ok := path(a)
		if tc.Args[i-1].Kind == types.Invalid {
			return
		}
		if !ok {
			tc.Errorf(i, "%s() got an expression for '%s', want a field such as a.b", f, p.Name)
		} else if at, ok := c.offset(tc.Args[i-1], names); !ok {
			tc.Args[i] = types.Bad
		} else {
			c.info.Consts[a] = at
		}
	case types.OutParam:
		if owner != nil && owner.Value != nil {
			c.take(a.(*syntax.Var), owner)
		}
	case types.FormatParam, types.TextParam:
		if _, ok := a.(*syntax.String); !ok {
			tc.Errorf(i, "%s() wants a string literal for '%s'", f, p.Name)
		}
	case types.KeyParam:
		if owner == nil {
			return
		}
		if owner.Keys == 0 {
			tc.Errorf(i, "map '%s' has no keys", owner.Name)
			return
		}
		c.setKey(owner, a, normalize(t))
	case types.AnyParam, types.PrintableParam:
		if m, ok := a.(*syntax.Map); ok && t.Kind == types.Void && len(m.Index) == 0 {
			return
		}
		if t.Kind == types.Void {
			tc.Errorf(i, "%s() got no value for '%s'", f, p.Name)
		} else if row := c.info.Vars[a]; row != nil && row.Args && t.Kind == types.Struct {
			if _, bad := types.ArgsRecord(t, c.target.Form, c.prog.Config.MaxStrlen); bad != "" {
				why := "is of a type that has no text"
				if field, _ := t.Field(bad); field.Lost != "" {
					why = "cannot be read: " + field.Lost
				}
				tc.Errorf(i, "%s() cannot print the whole args: the field '%s' %s", f, bad, why)
			}
		} else if !storable(t) {
			tc.Errorf(i, "%s() got '%s' for '%s', which cannot be printed by this version of slope", f, t, p.Name)
		}
	}
}

func arity(params []types.Param) (least, most int) {
	for _, p := range params {
		if !p.Optional && !p.Repeated {
			least++
		}
		most++
		if p.Repeated {
			return least, -1
		}
	}
	return least, most
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func wantArgs(least, most int) string {
	switch {
	case most < 0:
		return "at least " + strconv.Itoa(least)
	case least == most:
		return strconv.Itoa(least)
	}
	return strconv.Itoa(least) + " to " + strconv.Itoa(most)
}

// Signature prints how a function is called.
func Signature(f *types.Func) string {
	var b strings.Builder
	b.WriteString(f.Name + "(")
	closing := ")"
	for i, p := range f.Params {
		sep := ""
		if i > 0 {
			sep = ", "
		}
		name := p.Name
		if p.Kind == types.MapParam {
			name = "@" + name
		}
		switch {
		case p.Repeated:
			b.WriteString("[" + sep + name + "…]")
		case p.Optional:
			b.WriteString("[" + sep + name)
			closing = "]" + closing
		default:
			b.WriteString(sep + name)
		}
	}
	return b.String() + closing
}
