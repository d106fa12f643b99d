package check

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// expr types an expression and records the type.
func (c *checker) expr(e syntax.Expr) *types.Type {
	t := c.exprType(e)
	c.info.Types[e] = t
	return t
}

// condition types an expression that is tested against zero.
func (c *checker) condition(e syntax.Expr) {
	t := c.expr(e)
	switch t.Kind {
	case types.Int, types.Bool, types.Pointer, types.Invalid:
	default:
		c.errorf(e, "got a condition of type '%s', want an integer, bool or pointer", t)
	}
}

func (c *checker) exprType(e syntax.Expr) *types.Type {
	switch e := e.(type) {
	case *syntax.Int:
		c.info.Consts[e] = int64(e.Value)
		return literalType(e.Value)
	case *syntax.Bool:
		if e.Value {
			c.info.Consts[e] = 1
		} else {
			c.info.Consts[e] = 0
		}
		return types.Boolean
	case *syntax.String:
		return types.StringOf((len(e.Value) + 8) &^ 7)
	case *syntax.Name:
		return c.name(e)
	case *syntax.Var:
		return c.local(e)
	case *syntax.Positional:
		return c.positional(e)
	case *syntax.Map:
		return c.readMap(e)
	case *syntax.Unary:
		return c.unary(e)
	case *syntax.Binary:
		return c.binary(e)
	case *syntax.Ternary:
		return c.ternary(e)
	case *syntax.Field:
		return c.field(e)
	case *syntax.Call:
		return c.call(e, false)
	case *syntax.Cast:
		return c.cast(e)
	case *syntax.Tuple:
		return c.tuple(e)
	case *syntax.Percent:
		c.errorf(e, "percent literals are only allowed in objectives and properties")
	case *syntax.Index:
		return c.index(e)
	case *syntax.TypeExpr:
		return c.typeExpr(e)
	case *syntax.Comptime:
		return c.comptime(e)
	case *syntax.Record:
		return c.record(e)
	case syntax.IfExpr:
		return c.ifValue(e.If)
	case syntax.BlockExpr:
		return c.blockValue(e.Block)
	}
	return types.Bad
}

// value types an expression that must have a value which can be stored.
func (c *checker) value(e syntax.Expr) *types.Type {
	t := c.expr(e)
	if t.Kind != types.Invalid && !storable(t) {
		c.errorf(e, "got type '%s', want a value", t)
		return types.Bad
	}
	return t
}

func (c *checker) name(e *syntax.Name) *types.Type {
	if t := c.labels[e.Text]; t != nil {
		return t
	}
	if c.labels != nil {
		names := make([]string, 0, len(c.labels))
		for n := range c.labels {
			names = append(names, n)
		}
		d := c.errorf(e, "unknown name '%s' in the condition of an objective", e.Text)
		suggest(d, e.Text, names)
		if d.Hint == "" {
			d.WithHint("known here: value and the labels of the sli")
		}
		return types.Bad
	}
	row, n := c.builtin(e.Text)
	if row == nil {
		if t := c.constant(e); t != nil {
			return t
		}
		if t, ok := c.bare(e); ok {
			return t
		}
		d := c.errorf(e, "unknown identifier: '%s'", e.Text)
		suggest(d, e.Text, append(c.opt.Universe.Names(types.VarNames), c.opt.Universe.Names(types.FuncNames)...))
		return types.Bad
	}
	return c.useBuiltin(e, row, n+c.usualMode(e, row))
}

// usualMode is the number of a stack that names no mode.
func (c *checker) usualMode(e syntax.Expr, row *types.Var) int {
	if row.Limit == 0 {
		return 0
	}
	mode, last := c.prog.Config.StackMode, len(row.Modes)-1
	if mode > last {
		c.warnf(e, "%s has no mode 'build_id': it is printed in mode '%s'", row.Name, row.Modes[last])
		mode = last
	}
	return mode * (row.Limit + 1)
}

func (c *checker) useBuiltin(e syntax.Expr, row *types.Var, n int) *types.Type {
	c.info.Vars[e] = row
	t, err := row.Type(c.target, n)
	if err != nil {
		if !row.Debug || c.lacking != c.clause { // once for all that debug information does not tell
			c.errorf(e, "%s", err)
		}
		if row.Debug {
			c.lacking = c.clause
		}
		return types.Bad
	}
	if row.Once && c.loops > 0 && c.final {
		c.errorf(e, "%s cannot be used in a loop", row.Name).WithHint("keep it in a variable before the loop: $calls = %s;", row.Name)
	}
	if row.Numbered || row.Modes != nil {
		c.info.Numbers[e] = n
	}
	if row.PerProbe {
		for _, target := range c.clause.Targets {
			o, err := row.Type(target, n)
			if u, ok := types.Unify(t, o); ok && err == nil {
				t = u
			}
		}
	}
	return t
}

// builtin finds a variable's row; arg0 is the row "arg" with the number 0.
func (c *checker) builtin(name string) (*types.Var, int) {
	if row := c.opt.Universe.Var(name); row != nil && !row.Numbered {
		return row, 0
	}
	stem := strings.TrimRight(name, "0123456789")
	if stem == name || stem == "" {
		return nil, 0
	}
	n, err := strconv.Atoi(name[len(stem):])
	if row := c.opt.Universe.Var(stem); row != nil && row.Numbered && err == nil {
		return row, n
	}
	return nil, 0
}

func (c *checker) local(e *syntax.Var) *types.Type {
	l := c.lookupLocal(e.Text)
	if l == nil {
		d := c.errorf(e, "undefined or undeclared variable: '$%s'", e.Text)
		var names []string
		for sc := c.scope; sc != nil; sc = sc.up {
			for n := range sc.vars {
				names = append(names, "$"+n)
			}
		}
		suggest(d, "$"+e.Text, names)
		if imp := c.imported[e.Range]; imp != nil && !mentions(imp, e.Text) { // what it is given is its user's own
			d.WithHint("a parameter of \"%s\" is given as (%s = …)", imp.Path.Value, e.Text)
		}
		return types.Bad
	}
	l.read = true
	c.info.Locals[e] = l
	return l.Type
}

// positional parameters are integers when they look like one.
func (c *checker) positional(e *syntax.Positional) *types.Type {
	if e.N == 0 {
		c.info.Consts[e] = int64(len(c.opt.Params))
		return types.Int64
	}
	if e.N > len(c.opt.Params) {
		c.info.Consts[e] = 0
		return types.Int64
	}
	v, ok := parseInt(c.opt.Params[e.N-1])
	if !ok {
		c.errorf(e, "positional parameter $%d is '%s', want an integer", e.N, c.opt.Params[e.N-1]).
			WithHint("use str($%d) for text", e.N)
		return types.Bad
	}
	c.info.Consts[e] = v
	return types.Int64
}

// pointer types an expression; the struct that it points to is looked up where only its name was known.
func (c *checker) pointer(e syntax.Expr) *types.Type {
	t := c.expr(e)
	if t.Kind == types.Pointer && t.Elem.Kind == types.Struct && t.Elem.Layout == nil {
		if st, ok := c.namedType(e, "struct", t.Elem.Name); ok && st.Kind != types.Invalid {
			t = types.PointerTo(st, t.User)
			c.info.Types[e] = t
		}
	}
	return t
}

func (c *checker) field(e *syntax.Field) *types.Type {
	t := c.pointed(e.X, c.pointer(e.X))
	owner := t
	if t.Kind == types.Pointer && t.Elem.Kind == types.Struct {
		t = t.Elem
	}
	if t.Kind == types.Struct && t.Size == 0 && t.Layout == nil {
		c.errorf(e, "'%s' has no known fields", t).WithHint("%s", c.undefined())
		return types.Bad
	}
	switch t.Kind {
	case types.Invalid:
		return t
	case types.Tuple:
		if t.Names != nil {
			if i := t.Element(e.Name.Text); i >= 0 {
				if v, known := c.info.Consts[c.literal(e)]; known {
					c.info.Consts[e] = v
				}
				return t.Elems[i]
			}
			d := c.errorf(e.Name, "unknown field '%s' of the record", e.Name.Text)
			suggest(d, e.Name.Text, t.Names)
			return types.Bad
		}
		n, err := strconv.Atoi(e.Name.Text)
		if err != nil || n >= len(t.Elems) {
			c.errorf(e.Name, "invalid tuple field '%s': the tuple has %d fields", e.Name.Text, len(t.Elems))
			return types.Bad
		}
		return t.Elems[n]
	case types.Struct:
		f, ok := c.structField(e.Name, t)
		if !ok {
			return types.Bad
		}
		return c.through(owner, c.fieldType(f))
	}
	c.errorf(e, "cannot access field '%s' of type '%s'", e.Name.Text, t)
	return types.Bad
}

// pointed is the type of something that is used as a pointer or a struct: of a number its row may know what it leads to, and a
// text that has just been read from a struct is that struct.
func (c *checker) pointed(e syntax.Expr, t *types.Type) *types.Type {
	as := t
	if row := c.info.Vars[e]; row != nil && row.Pointer != nil && t.Kind == types.Int {
		as = row.Pointer(c.target)
	}
	if t.Counted && t.Kind == types.String && c.inMemory(e) {
		as = t.Elem
	}
	if as == nil || as == t {
		return t
	}
	c.info.Types[e] = as
	return as
}

// inMemory tells whether an expression reads memory that a struct, an array or a pointer says the type of.
func (c *checker) inMemory(e syntax.Expr) bool {
	switch e := e.(type) {
	case *syntax.Field:
		k := c.info.Types[e.X].Kind
		return k == types.Struct || k == types.Pointer
	case *syntax.Index:
		return c.info.Types[e.X].Kind != types.Tuple
	case *syntax.Unary:
		return e.Op == "*"
	}
	return false
}

// fieldType is the type of an expression that reads a field: arrays of char are strings.
func (c *checker) fieldType(f types.Field) *types.Type {
	t := f.Type
	if t.Kind != types.Array || t.Elem.Kind != types.Int || t.Elem.Size != 1 || !t.Elem.Signed {
		return t
	}
	if f.DataLoc {
		return types.StringOf((c.prog.Config.MaxStrlen + 7) &^ 7)
	}
	return types.StringOf(t.Len)
}

// structField is a field of a struct that can be read.
func (c *checker) structField(name *syntax.Name, t *types.Type) (f types.Field, ok bool) {
	if f, ok = t.Field(name.Text); !ok {
		c.unknownField(name, t)
	} else if ok = f.Lost == ""; !ok {
		c.errorf(name, "'%s' of %s cannot be read: %s", f.Name, c.owner(t), f.Lost)
	}
	return f, ok
}

// owner is what has the fields of a struct: the probe has the arguments.
func (c *checker) owner(t *types.Type) string {
	if c.target != nil && c.target.Args == t {
		return c.target.Name
	}
	return t.String()
}

func (c *checker) unknownField(name *syntax.Name, t *types.Type) {
	if t.Layout == nil {
		c.errorf(name, "'%s' has no known fields", t).WithHint("%s", c.undefined())
		return
	}
	var names []string
	for _, f := range t.Layout.Fields() {
		names = append(names, f.Name)
	}
	d := c.errorf(name, "unknown field '%s' of %s", name.Text, c.owner(t))
	if len(names) == 0 {
		d.WithHint("it has no fields")
		return
	}
	suggest(d, name.Text, names)
	list := "fields: " + strings.Join(names, ", ")
	if len(names) > 24 {
		list = "fields: " + strings.Join(names[:24], ", ") + ", …"
	}
	if d.Hint != "" {
		list = d.Hint + " " + list
	}
	d.WithHint("%s", list)
}
