package check

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// baseTypes are what typeinfo calls the kinds of types that have no better name.
var baseTypes = map[types.Kind]string{types.Void: "void", types.Bool: "bool", types.Int: "int", types.String: "string", types.Buffer: "buffer",
	types.Tuple: "tuple", types.Struct: "struct", types.Pointer: "pointer", types.Array: "array"}

// typeinfo is the record of what is known of a type: (btf_id, base_type, full_type). It stands for literals, so what is compared
// with it is known when the script is compiled.
func (c *checker) typeinfo(e *syntax.TypeExpr) *types.Type {
	const setting = "unstable_typeinfo"
	if c.final {
		switch c.prog.Config.TypeInfo {
		case types.UnstableError:
			c.errorf(e, "typeinfo may still change and is not enabled").WithHint("config = { %s = enable }", setting)
			return types.Bad
		case types.UnstableWarn:
			c.warnf(e, "typeinfo may still change").WithHint("config = { %s = enable } takes this warning away", setting)
		}
	}
	t := c.aggregated(e.X)
	if t == nil {
		t = c.described(e)
	}
	if t.Kind == types.Invalid {
		return t
	}
	base := baseTypes[t.Kind]
	switch {
	case base == "": // one of its own
		base, _, _ = strings.Cut(t.String(), "(")
	case t.Kind == types.Tuple && t.Names != nil:
		base = "record"
	case t.Union:
		base = "union"
	}
	x := &syntax.Record{Range: e.Range}
	field := func(name string, value syntax.Expr) {
		x.Names = append(x.Names, &syntax.Name{Range: e.Range, Text: name})
		x.Elems = append(x.Elems, value)
	}
	field("btf_id", &syntax.Int{Range: e.Range, Value: uint64(c.typeID(t))})
	field("base_type", &syntax.String{Range: e.Range, Value: base})
	field("full_type", &syntax.String{Range: e.Range, Value: t.String()})
	c.info.Expanded[e] = x // made anew whenever it is typed: the types of variables grow until all is known
	return c.expr(x)
}

// aggregated is the type of what a map aggregates, which is no value; nil of anything else.
func (c *checker) aggregated(e syntax.Expr) *types.Type {
	n, ok := e.(*syntax.Map)
	if !ok {
		return nil
	}
	m := c.maps["@"+n.Text]
	if m == nil || m.Value == nil || m.Value.Kind != types.Aggregate || max(m.Keys, 0) != len(n.Index) {
		return nil
	}
	if len(n.Index) > 0 && m.Key != nil {
		if _, ok := types.Unify(m.Key, c.keyType(n.Index)); !ok {
			return nil // what is wrong is said where it is read
		}
	}
	return m.Value
}

// typeID is the number that the kernel's BTF gives a struct, a union or an enum; 0 for other types.
func (c *checker) typeID(t *types.Type) uint32 {
	src, ok := c.opt.Resolver.(types.Numbers)
	if !ok || t.Name == "" {
		return 0
	}
	keyword := "struct"
	switch {
	case t.Kind == types.Int:
		keyword = "enum"
	case t.Kind != types.Struct:
		return 0
	case t.Union:
		keyword = "union"
	}
	name := strings.TrimPrefix(t.Name, keyword+" ")
	if _, own := c.ctypes.Named(keyword, name); own {
		return 0 // the script's
	}
	id, _ := src.TypeID(keyword, name)
	return id
}

// literal is what an expression stands for where that is written down: a literal, or a part of a typeinfo.
func (c *checker) literal(e syntax.Expr) syntax.Expr {
	switch x := e.(type) {
	case *syntax.Comptime:
		return c.literal(x.X)
	case *syntax.TypeExpr:
		if x.Keyword == "typeinfo" && c.info.Expanded[e] != nil {
			return c.info.Expanded[e]
		}
	case *syntax.Field:
		if r, ok := c.literal(x.X).(*syntax.Record); ok {
			for i, n := range r.Names {
				if n.Text == x.Name.Text {
					return r.Elems[i]
				}
			}
		}
	}
	return e
}

// sameLiteral tells whether two expressions are equal, where both are known.
func (c *checker) sameLiteral(a, b syntax.Expr) (same, known bool) {
	a, b = c.literal(a), c.literal(b)
	switch x := a.(type) {
	case *syntax.String:
		y, ok := b.(*syntax.String)
		return ok && x.Value == y.Value, ok
	case *syntax.Record:
		y, ok := b.(*syntax.Record)
		if !ok || len(x.Elems) != len(y.Elems) {
			return false, false
		}
		same = true
		for i, name := range x.Names {
			j := slices.IndexFunc(y.Names, func(n *syntax.Name) bool { return n.Text == name.Text })
			if j < 0 {
				return false, false
			}
			s, k := c.sameLiteral(x.Elems[i], y.Elems[j])
			if !k {
				return false, false
			}
			same = same && s
		}
		return same, true
	}
	x, ok := c.info.Consts[a]
	y, ok2 := c.info.Consts[b]
	return x == y, ok && ok2
}
