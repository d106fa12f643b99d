package check

import (
	"math"
	"sort"
	"strconv"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

// Named is a parameter that a script declares by getopt("name", default, "what it is").
type Named struct {
	Name    string
	Default string
	Flag    bool // true or false, given without a value
	Doc     string
}

// getopt is the value of a named parameter: a literal in the place of the call. Without a default it is a flag.
func (x *expander) getopt(e *syntax.Call) syntax.Expr {
	c := x.c
	bad := &syntax.BadExpr{Range: e.Range}
	if len(e.Args) < 1 || len(e.Args) > 3 {
		c.errorf(e, "getopt() got %s, want 1 to 3", plural(len(e.Args), "argument")).WithHint("getopt(\"name\"[, default[, \"description\"]])")
		return bad
	}
	name, ok := e.Args[0].(*syntax.String)
	if !ok {
		c.errorf(e.Args[0], "getopt() wants a string literal for 'name'")
		return bad
	}
	n := Named{Name: name.Value, Flag: true, Default: "false"}
	if len(e.Args) > 2 {
		doc, ok := e.Args[2].(*syntax.String)
		if !ok {
			c.errorf(e.Args[2], "getopt() wants a string literal for 'description'")
			return bad
		}
		n.Doc = doc.Value
	}
	given, isGiven := c.opt.Named[n.Name]
	var out syntax.Expr = &syntax.Bool{Range: e.Range}
	if len(e.Args) > 1 {
		out = e.Args[1]
	}
	switch def := out.(type) {
	case *syntax.Bool:
		n.Default = strconv.FormatBool(def.Value)
		if isGiven {
			v := given == "" || given == "true" || given == "1"
			if !v && given != "false" && given != "0" {
				c.errorf(e, "invalid value for parameter '%s': got '%s', want true or false", n.Name, given)
				return bad
			}
			out = &syntax.Bool{Range: e.Range, Value: v}
		}
	case *syntax.String:
		n.Flag, n.Default = false, def.Value
		if isGiven {
			out = &syntax.String{Range: e.Range, Value: given}
		}
	default:
		v, ok := intLiteral(out)
		if !ok {
			c.errorf(out, "getopt() wants a literal for 'default': true, false, an integer or a string")
			return bad
		}
		n.Flag, n.Default = false, strconv.FormatInt(v, 10)
		if isGiven {
			if v, ok = parseInt(given); !ok {
				c.errorf(e, "invalid value for parameter '%s': got '%s', want an integer", n.Name, given)
				return bad
			}
		}
		out = literal(v, e.Range)
	}
	for _, o := range c.prog.Named {
		if o.Name == n.Name {
			if o.Default != n.Default || o.Flag != n.Flag {
				c.errorf(e, "parameter '%s' has another default elsewhere", n.Name)
			}
			return out
		}
	}
	c.prog.Named = append(c.prog.Named, n)
	return out
}

func intLiteral(e syntax.Expr) (int64, bool) {
	switch e := e.(type) {
	case *syntax.Int:
		return int64(e.Value), true
	case *syntax.Unary:
		if i, ok := e.X.(*syntax.Int); ok && e.Op == "-" {
			return -int64(i.Value), true
		}
	}
	return 0, false
}

// literal writes a number as a script would.
func literal(v int64, at syntax.Range) syntax.Expr {
	if v >= 0 || v == math.MinInt64 {
		return &syntax.Int{Range: at, Raw: strconv.FormatUint(uint64(v), 10), Value: uint64(v)}
	}
	return &syntax.Unary{Range: at, Op: "-", X: &syntax.Int{Range: at, Raw: strconv.FormatInt(-v, 10), Value: uint64(-v)}}
}

// parseInt reads a number given on the command line; unlike literals it may be binary.
func parseInt(s string) (int64, bool) {
	if v, err := strconv.ParseInt(s, 0, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseUint(s, 0, 64)
	return int64(v), err == nil
}

// unknownNamed reports parameters that the script does not declare.
func (c *checker) unknownNamed() {
	var given []string
	for name := range c.opt.Named {
		given = append(given, name)
	}
	sort.Strings(given)
	for _, name := range given {
		var names []string
		for _, n := range c.prog.Named {
			names = append(names, n.Name)
		}
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if known {
			continue
		}
		d := c.diags.Errorf(c.file.Source, source.Span{End: min(1, int32(len(c.file.Source.Text)))}, "unexpected named parameter: %s", name)
		suggest(d, name, names)
		if d.Hint == "" && len(names) > 0 {
			d.WithHint("named parameters of the script: %v", names)
		}
	}
}
