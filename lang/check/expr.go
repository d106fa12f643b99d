package check

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/source"
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
		if len(e.Elems) == 0 {
			c.notYet(e, "empty tuples are")
			return types.Bad
		}
		elems := make([]*types.Type, len(e.Elems))
		for i, x := range e.Elems {
			elems[i] = c.value(x)
			if elems[i].Kind == types.Invalid {
				return types.Bad
			}
		}
		return types.TupleOf(elems...)
	case *syntax.Percent:
		c.errorf(e, "percent literals are only allowed in objectives and properties")
	case *syntax.Index:
		c.expr(e.X)
		for _, k := range e.Keys {
			c.expr(k)
		}
		c.notYet(e, "indexing arrays and strings is")
	case *syntax.TypeExpr:
		c.notYet(e, e.Keyword+" is")
	case *syntax.Comptime:
		c.notYet(e, "comptime is")
	case *syntax.Record:
		c.notYet(e, "records are")
	case syntax.IfExpr:
		c.notYet(e.If, "if expressions are")
	case syntax.BlockExpr:
		c.notYet(e.Block, "block expressions are")
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
		d := c.errorf(e, "unknown identifier: '%s'", e.Text)
		suggest(d, e.Text, append(c.opt.Universe.Names(types.VarNames), c.opt.Universe.Names(types.FuncNames)...))
		return types.Bad
	}
	return c.useBuiltin(e, row, n)
}

func (c *checker) useBuiltin(e syntax.Expr, row *types.Var, n int) *types.Type {
	c.info.Vars[e] = row
	t, err := row.Type(c.target, n)
	if err != nil {
		c.errorf(e, "%s", err)
		return types.Bad
	}
	if row.Numbered {
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
	v, err := strconv.ParseInt(c.opt.Params[e.N-1], 0, 64)
	if err != nil {
		c.errorf(e, "positional parameter $%d is '%s', want an integer", e.N, c.opt.Params[e.N-1]).
			WithHint("use str($%d) for text", e.N)
		return types.Bad
	}
	c.info.Consts[e] = v
	return types.Int64
}

// mapRef resolves a map and checks its keys.
func (c *checker) mapRef(e *syntax.Map) *Map {
	m := c.mapNamed("@"+e.Text, e.Span())
	c.info.Maps[e] = m
	n := len(e.Index)
	if m.Keys < 0 {
		m.Keys, c.changed = n, true
	}
	if m.Keys != n {
		if m.Keys == 0 {
			c.errorf(e, "map '%s' is used with a key here and without one elsewhere", m.Name)
		} else if n == 0 {
			c.errorf(e, "map '%s' is used without a key here and with one elsewhere", m.Name)
		} else if m.Keys == 1 || n == 1 {
			return c.keyed(e, m) // @m[(a,b)] and @m[a,b] are the same
		} else {
			c.errorf(e, "map '%s' has %d keys here and %d elsewhere", m.Name, n, m.Keys)
		}
		return nil
	}
	if n == 0 {
		return m
	}
	return c.keyed(e, m)
}

func (c *checker) keyed(e *syntax.Map, m *Map) *Map {
	key := c.keyType(e.Index)
	if key.Kind == types.Invalid || !c.setKey(m, e, key) {
		return nil
	}
	return m
}

// keyType is the type of one or several key expressions.
func (c *checker) keyType(keys []syntax.Expr) *types.Type {
	elems := make([]*types.Type, len(keys))
	for i, k := range keys {
		elems[i] = normalize(c.value(k))
		if elems[i].Kind == types.Invalid {
			return types.Bad
		}
	}
	if len(elems) == 1 {
		return elems[0]
	}
	return types.TupleOf(elems...)
}

func (c *checker) setKey(m *Map, at syntax.Node, key *types.Type) bool {
	if key.Kind == types.Aggregate {
		c.errorf(at, "value of type '%s' cannot be a key", key)
		return false
	}
	if m.Key == nil {
		m.Key, c.changed = key, true
		return true
	}
	t, ok := types.Unify(m.Key, key)
	if !ok {
		c.errorf(at, "argument mismatch for %s: trying to access with arguments: '%s' when map expects arguments: '%s'", m.Name, key, m.Key)
		return false
	}
	if !t.Equal(m.Key) {
		m.Key, c.changed = t, true
	}
	return true
}

// readMap types the value of a map. The values of an aggregation are only merged in user space.
func (c *checker) readMap(e *syntax.Map) *types.Type {
	t := c.mapValue(e)
	if t.Kind == types.Aggregate {
		if c.final {
			c.errorf(e, "single values of aggregations are not supported by this version of slope").
				WithHint("print the whole map: print(@%s)", e.Text)
		}
		return types.Bad
	}
	return t
}

// mapValue is the type of a map's value, whatever it is.
func (c *checker) mapValue(e *syntax.Map) *types.Type {
	m := c.mapRef(e)
	if m == nil {
		return types.Bad
	}
	if m.Value == nil {
		if c.final {
			d := c.errorf(e, "undefined map: %s", m.Name)
			var names []string
			for _, o := range c.prog.Maps {
				if o.Value != nil {
					names = append(names, o.Name)
				}
			}
			suggest(d, m.Name, names)
		}
		return types.Bad
	}
	return m.Value
}

func (c *checker) unary(e *syntax.Unary) *types.Type {
	switch e.Op {
	case "++", "--":
		t := c.readTarget(e.X)
		if t.Kind != types.Invalid && t.Kind != types.Int {
			c.errorf(e, "operator '%s' wants an integer, got '%s'", e.Op, t)
			return types.Bad
		}
		return t
	case "&", "*":
		c.expr(e.X)
		c.notYet(e, "the operator "+e.Op+" is")
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
		c.condition(e.R)
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
		c.notYet(e, "arithmetic on pointers is")
		return types.Bad
	}
	if !l.Integer() || !r.Integer() {
		c.errorf(e, "operator '%s' wants integers, got '%s' and '%s'", e.Op, l, r)
		return types.Bad
	}
	t := c.arith(e.Op, l, r, e.L, e.R)
	c.foldArith(e, t.Signed)
	return t
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

// arith is the type of an arithmetic result: 64 bits; unsigned when both operands are, where a literal that is not
// negative goes with the other side. Differences are signed, shifts keep the sign of what is shifted.
func (c *checker) arith(op string, l, r *types.Type, le, re syntax.Expr) *types.Type {
	ls, rs := c.signed(l, le), c.signed(r, re)
	switch op {
	case "-":
		return types.Int64
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
	switch {
	case l.Integer() && r.Integer():
		ls, rs := c.signed(l, e.L), c.signed(r, e.R)
		c.fold(e, e.L, e.R, func(x, y int64) int64 { return compareConst(e.Op, x, y, ls || rs) })
	case l.Kind == types.String && r.Kind == types.String:
		if order {
			c.errorf(e, "operator '%s' does not work on strings", e.Op).WithHint("strings can be compared with == and !=")
			return types.Bad
		}
	case l.Kind == types.Pointer && r.Kind == types.Pointer, l.Kind == types.Pointer && r.Integer(), l.Integer() && r.Kind == types.Pointer:
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
	a := c.info.Type(e.Cond)
	if e.Then != nil {
		a = c.expr(e.Then)
	}
	b := c.expr(e.Else)
	if a.Kind == types.Invalid || b.Kind == types.Invalid {
		return types.Bad
	}
	t, ok := types.Unify(normalize(a), normalize(b))
	if !ok {
		c.errorf(e, "ternary operator must return the same type: got '%s' and '%s'", a, b)
		return types.Bad
	}
	return t
}

func (c *checker) field(e *syntax.Field) *types.Type {
	t := c.expr(e.X)
	if t.Kind == types.Pointer && t.Elem.Kind == types.Struct {
		t = t.Elem
	}
	switch t.Kind {
	case types.Invalid:
		return t
	case types.Tuple:
		n, err := strconv.Atoi(e.Name.Text)
		if err != nil || n >= len(t.Elems) {
			c.errorf(e.Name, "invalid tuple field '%s': the tuple has %d fields", e.Name.Text, len(t.Elems))
			return types.Bad
		}
		return t.Elems[n]
	case types.Struct:
		f, ok := t.Field(e.Name.Text)
		if !ok {
			c.unknownField(e, t)
			return types.Bad
		}
		return c.fieldType(f)
	}
	c.errorf(e, "cannot access field '%s' of type '%s'", e.Name.Text, t)
	return types.Bad
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

func (c *checker) unknownField(e *syntax.Field, t *types.Type) {
	var names []string
	for _, f := range t.Layout.Fields() {
		names = append(names, f.Name)
	}
	owner := t.String()
	if c.target.Args == t {
		owner = c.target.Name
	}
	d := c.errorf(e.Name, "unknown field '%s' of %s", e.Name.Text, owner)
	suggest(d, e.Name.Text, names)
	list := "fields: " + strings.Join(names, ", ")
	if len(names) > 24 {
		list = "fields: " + strings.Join(names[:24], ", ") + ", …"
	}
	if d.Hint != "" {
		list = d.Hint + " " + list
	}
	d.WithHint("%s", list)
}

func (c *checker) cast(e *syntax.Cast) *types.Type {
	t := c.expr(e.X)
	size, signed, ok := castType(e.Type)
	if !ok {
		c.notYet(e.Type, "casts to '"+c.file.Source.Slice(e.Type.Span())+"' are")
		return types.Bad
	}
	if t.Kind == types.Invalid {
		return t
	}
	if !t.Scalar() {
		c.errorf(e, "cannot cast from '%s' to '%s'", t, types.IntOf(size, signed))
		return types.Bad
	}
	to := types.IntOf(size, signed)
	c.fold(e, e.X, nil, func(x, _ int64) int64 {
		shift := uint(64 - 8*size)
		if signed {
			return x << shift >> shift
		}
		return int64(uint64(x) << shift >> shift)
	})
	return to
}

// castType resolves the integer types of the language.
func castType(t *syntax.TypeRef) (size int, signed, ok bool) {
	if t.Keyword != "" || len(t.Suffix) > 0 || t.Typeof != nil {
		return 0, false, false
	}
	name := strings.TrimSuffix(t.Name, "_t")
	signed = !strings.HasPrefix(name, "u")
	switch strings.TrimPrefix(name, "u") {
	case "int8":
		size = 1
	case "int16":
		size = 2
	case "int32":
		size = 4
	case "int64":
		size = 8
	default:
		return 0, false, false
	}
	return size, signed, true
}

// call types a call; statement tells whether its value is dropped.
func (c *checker) call(e *syntax.Call, statement bool) *types.Type {
	f := c.opt.Universe.Func(e.Name.Text)
	if f == nil {
		if row, n := c.builtin(e.Name.Text); row != nil && len(e.Args) == 0 {
			return c.useBuiltin(e, row, n)
		}
		d := c.errorf(e.Name, "unknown function: '%s'", e.Name.Text)
		suggest(d, e.Name.Text, append(c.opt.Universe.Names(types.FuncNames), c.opt.Universe.Names(types.AggNames)...))
		for _, a := range e.Args {
			c.expr(a)
		}
		return types.Bad
	}
	c.info.Funcs[e] = f
	tc, ok := c.callArgs(e, f)
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

// callArgs types the arguments of a call and checks them against the row.
func (c *checker) callArgs(e *syntax.Call, f *types.Func) (*types.Call, bool) {
	tc := &types.Call{Node: e, Config: &c.prog.Config}
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
	bad := false
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
	}
	return tc, !bad
}

// argument types one argument; maps as a whole are Void.
func (c *checker) argument(a syntax.Expr, kind types.ParamKind) *types.Type {
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
		c.info.Types[m] = t
		return t
	}
	return c.expr(a)
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
		} else if t.Kind == types.Struct || t.Kind == types.Array {
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
