package check

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

// Macros, functions and the macros of C are expanded before anything is checked, in a copy of the tree: every use
// becomes a block with the body in it. Expressions that stand for parameters are put in place as they are, variables of
// the body get names that no script can write, so neither side sees the other's. A function is a block too: its
// parameters are declared with their types, and a return is an assignment and a way out of a loop of one turn.

// maxExpansions bounds the expansions of a script: macros that use others twice grow fast.
const maxExpansions = 20000

type expander struct {
	c       *checker
	macros  map[string][]*syntax.Macro
	fns     map[string]*syntax.Fn
	defines map[string]syntax.Expr
	stack   []string // what is being expanded
	count   int
	full    bool // there were too many
}

// expand replaces the file by one without uses of macros, functions and imports.
func (c *checker) expand() {
	x := &expander{c: c, macros: map[string][]*syntax.Macro{}, fns: map[string]*syntax.Fn{}, defines: map[string]syntax.Expr{}}
	for name, m := range c.cmacros {
		if m != nil {
			x.macros[name] = []*syntax.Macro{m}
		}
	}
	var items []syntax.Item
	for _, it := range c.file.Items {
		switch it := it.(type) {
		case *syntax.Macro:
			x.declareMacro(it)
		case *syntax.Fn:
			if x.fns[it.Name.Text] != nil {
				c.errorf(it.Name, "function '%s' was already declared", it.Name.Text)
			}
			x.fns[it.Name.Text] = it
		}
		items = append(items, it)
	}
	if len(x.macros) == 0 && len(x.fns) == 0 && len(c.ctypes.Names()) == c.ctypes.Predefined() && !c.calls("getopt") {
		c.unknownNamed()
		return
	}
	defer c.unknownNamed()
	file := *c.file
	file.Items = nil
	for _, it := range items {
		switch n := it.(type) {
		case *syntax.Probe:
			file.Items = append(file.Items, syntax.Copy(n, nil, x.edit))
		case *syntax.SLI:
			file.Items = append(file.Items, syntax.Copy(n, nil, x.edit))
		default:
			file.Items = append(file.Items, it)
		}
	}
	c.file = &file
}

// calls tells whether a function is called anywhere in the script.
func (c *checker) calls(name string) bool {
	found := false
	syntax.WalkFile(c.file, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.Call); ok && call.Name.Text == name {
			found = true
		}
		return !found
	})
	return found
}

func (x *expander) declareMacro(m *syntax.Macro) {
	for _, o := range x.macros[m.Name.Text] {
		same := len(o.Params) == len(m.Params)
		for i := range o.Params {
			same = same && fmt.Sprintf("%T", o.Params[i]) == fmt.Sprintf("%T", m.Params[i])
		}
		if same {
			x.c.errorf(m.Name, "macro '%s' was already declared with the same parameters", m.Name.Text)
			return
		}
	}
	x.macros[m.Name.Text] = append(x.macros[m.Name.Text], m)
}

// edit is what stands in the place of an expression, nil when it stays.
func (x *expander) edit(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.Call:
		if e.Name.Text == "getopt" {
			return x.getopt(e)
		}
		return x.call(e, e.Name, e.Args)
	case *syntax.Name:
		if len(x.macros[e.Text]) > 0 && x.match(e.Text, nil) != nil {
			return x.call(e, e, nil)
		}
		return x.define(e)
	case *syntax.TypeExpr:
		return describedBy(e, e.Range, func(n *syntax.Name) syntax.Expr {
			_, isType := x.c.ctypes.Named("", n.Text)
			if text, ok := x.c.ctypes.Macro(n.Text); isType || builtinType(n.Text) != nil || ok && parseExpr(text) == nil {
				return nil
			}
			return x.edit(n)
		})
	}
	return nil
}

// describedBy is a sizeof or its like of a bare name, which was read as that of a type, with what stands in the place of the name;
// nil when that stays.
func describedBy(e *syntax.TypeExpr, where syntax.Range, replacement func(*syntax.Name) syntax.Expr) syntax.Expr {
	if e.Type == nil || e.Keyword == "" || !e.Type.Bare() {
		return nil
	}
	out := &syntax.TypeExpr{Range: where, Keyword: e.Keyword, Fields: e.Fields}
	switch r := replacement(&syntax.Name{Range: where, Text: e.Type.Name}).(type) {
	case nil:
		return nil
	case *syntax.Name: // of a type or of anything else
		out.Type = &syntax.TypeRef{Range: r.Range, Name: r.Text}
	case *syntax.TypeExpr:
		if out.X = r; r.Keyword == "" {
			out.Type, out.X = r.Type, r.X
		}
	default:
		out.X = r
	}
	return out
}

// call expands a use of a macro or function.
func (x *expander) call(at syntax.Node, name *syntax.Name, args []syntax.Expr) syntax.Expr {
	fn := x.fns[name.Text]
	if len(x.macros[name.Text]) == 0 && fn == nil {
		if _, defined := x.c.cmacros[name.Text]; defined {
			x.c.errorf(at, "the macro '%s' of C stands for no expression", name.Text).WithHint("macros of the language can have statements: macro NAME(x, y) { … }")
			return &syntax.BadExpr{Range: syntax.Range(at.Span())}
		}
		return nil
	}
	args = syntax.Copy(args, nil, x.edit)
	m := x.match(name.Text, args)
	switch {
	case m == nil && fn == nil:
		if x.c.opt.Universe.Func(name.Text) == nil {
			x.c.errorf(at, "no macro '%s' takes these arguments", name.Text).WithHint("%s", x.signatures(name.Text))
			return &syntax.BadExpr{Range: syntax.Range(at.Span())}
		}
		return nil
	case m == nil && len(args) != len(fn.Params):
		x.c.errorf(at, "%s() got %s, want %d", name.Text, plural(len(args), "argument"), len(fn.Params))
		return &syntax.BadExpr{Range: syntax.Range(at.Span())}
	}
	for _, s := range x.stack {
		if s == name.Text {
			what := "macro"
			if m == nil {
				what = "function"
			}
			x.c.errorf(at, "recursive %s call detected: %s", what, strings.Join(append(x.stack, s), " → "))
			return &syntax.BadExpr{Range: syntax.Range(at.Span())}
		}
	}
	if x.count++; x.count > maxExpansions {
		if !x.full {
			x.c.errorf(at, "too many expansions of macros and functions, the limit is %d", maxExpansions)
		}
		x.full = true
		return &syntax.BadExpr{Range: syntax.Range(at.Span())}
	}
	x.stack = append(x.stack, name.Text)
	defer func() { x.stack = x.stack[:len(x.stack)-1] }()
	where := syntax.Range(at.Span())
	if m != nil {
		return syntax.BlockExpr{Block: x.body(m.Body, m.Params, args, where)}
	}
	return syntax.BlockExpr{Block: x.function(fn, args, where)}
}

// match finds the macro whose parameters fit best: a variable or a map before any expression.
func (x *expander) match(name string, args []syntax.Expr) *syntax.Macro {
	var best *syntax.Macro
	most := -1
	for _, m := range x.macros[name] {
		score := 0
		fits := len(m.Params) == len(args)
		for i := 0; fits && i < len(args); i++ {
			switch m.Params[i].(type) {
			case *syntax.Var:
				_, fits = args[i].(*syntax.Var)
				score++
			case *syntax.Map:
				arg, ok := args[i].(*syntax.Map)
				fits = ok && len(arg.Index) == 0
				score++
			}
		}
		if fits && score > most {
			best, most = m, score
		}
	}
	return best
}

func (x *expander) signatures(name string) string {
	var out []string
	for _, m := range x.macros[name] {
		params := make([]string, len(m.Params))
		for i, p := range m.Params {
			params[i] = syntax.ExprString(p)
		}
		out = append(out, name+"("+strings.Join(params, ", ")+")")
	}
	return strings.Join(out, ", ")
}

// body copies the body of a macro with its parameters replaced.
func (x *expander) body(b *syntax.Block, params, args []syntax.Expr, where syntax.Range) *syntax.Block {
	vars, maps, names := map[string]syntax.Expr{}, map[string]*syntax.Map{}, map[string]syntax.Expr{}
	for i, p := range params {
		switch p := p.(type) {
		case *syntax.Var:
			vars[p.Text] = args[i]
		case *syntax.Map:
			maps[p.Text] = args[i].(*syntax.Map)
		case *syntax.Name:
			names[p.Text] = args[i]
		}
	}
	mark := fmt.Sprintf("'%d", x.count)
	var edit func(e syntax.Expr) syntax.Expr
	edit = func(e syntax.Expr) syntax.Expr {
		switch e := e.(type) {
		case *syntax.Var:
			if v := vars[e.Text]; v != nil {
				return syntax.Copy(v, nil, nil)
			}
			return &syntax.Var{Range: where, Text: e.Text + mark}
		case *syntax.Map:
			if m := maps[e.Text]; m != nil {
				return &syntax.Map{Range: where, Text: m.Text, Index: syntax.Copy(e.Index, &where, edit)}
			}
		case *syntax.Name:
			if v := names[e.Text]; v != nil {
				return syntax.Copy(v, nil, nil)
			}
			return x.edit(&syntax.Name{Range: where, Text: e.Text})
		case *syntax.TypeExpr:
			return describedBy(e, where, func(n *syntax.Name) syntax.Expr {
				if v := names[n.Text]; v != nil {
					return syntax.Copy(v, nil, nil)
				}
				r, ok := x.edit(&syntax.TypeExpr{Range: where, Keyword: e.Keyword, Type: e.Type}).(*syntax.TypeExpr)
				switch {
				case !ok:
					return nil
				case r.X == nil:
					return &syntax.TypeExpr{Range: where, Type: r.Type}
				}
				return r.X
			})
		case *syntax.Call:
			if e.Name.Text == "getopt" {
				return x.getopt(e)
			}
			if len(x.macros[e.Name.Text]) > 0 || x.fns[e.Name.Text] != nil {
				// The arguments mean what they mean here, before another body gets them.
				call := &syntax.Call{Range: where, Name: e.Name, Args: syntax.Copy(e.Args, &where, edit)}
				return x.call(call, call.Name, call.Args)
			}
		}
		return nil
	}
	return syntax.Copy(b, &where, edit)
}

// function is a call of a function as a block.
func (x *expander) function(fn *syntax.Fn, args []syntax.Expr, where syntax.Range) *syntax.Block {
	mark := fmt.Sprintf("'%d", x.count)
	v := func(name string) *syntax.Var { return &syntax.Var{Range: where, Text: name + mark} }
	body := x.body(fn.Body, nil, nil, where)
	if body.Result != nil {
		body.Stmts = append(body.Stmts, &syntax.ExprStmt{Range: where, X: body.Result})
		body.Result = nil
	}
	out := &syntax.Block{Range: where}
	for i, p := range fn.Params {
		out.Stmts = append(out.Stmts, &syntax.Let{Range: where, Name: v(p.Name.Text), Type: p.Type, Value: args[i]})
	}
	r := returns{where: where, done: func() *syntax.Var { return v("returned") }, c: x.c}
	if fn.Result != nil && (fn.Result.Name != "void" || len(fn.Result.Suffix) > 0) {
		r.value = func() *syntax.Var { return v("result") }
		out.Stmts = append(out.Stmts, &syntax.Let{Range: where, Name: r.value(), Type: fn.Result})
		out.Result = r.value()
	}
	r.block(body, 0)
	if r.inLoop {
		out.Stmts = append(out.Stmts, &syntax.Let{Range: where, Name: r.done(), Value: &syntax.Int{Range: where, Raw: "0"}})
	}
	once := &syntax.Loop{Range: where, Keyword: "unroll", Cond: &syntax.Int{Range: where, Raw: "1", Value: 1}, Body: body}
	out.Stmts = append(out.Stmts, once)
	return out
}

// returns rewrites the returns of a function's body.
type returns struct {
	c      *checker
	where  syntax.Range
	value  func() *syntax.Var // of the result, nil without
	done   func() *syntax.Var // tells the loops around that the function has returned
	inLoop bool
}

// block rewrites a block and tells whether there is a return in it; loops counts the function's own loops around.
func (r *returns) block(b *syntax.Block, loops int) bool {
	found := false
	var out []syntax.Stmt
	for _, s := range b.Stmts {
		switch s := s.(type) {
		case *syntax.Jump:
			if s.Keyword != "return" {
				out = append(out, s)
				continue
			}
			found = true
			switch {
			case s.Value != nil && r.value == nil:
				r.c.errorf(r.where, "a function without a result returns a value")
			case s.Value == nil && r.value != nil:
				r.c.errorf(r.where, "a function with a result returns no value")
			case s.Value != nil:
				out = append(out, &syntax.Assign{Range: r.where, Target: r.value(), Op: "=", Value: s.Value})
			}
			if loops > 0 {
				r.inLoop = true
				out = append(out, &syntax.Assign{Range: r.where, Target: r.done(), Op: "=", Value: &syntax.Int{Range: r.where, Raw: "1", Value: 1}})
			}
			out = append(out, &syntax.Jump{Range: r.where, Keyword: "break"})
			continue
		case *syntax.Block:
			found = r.block(s, loops) || found
		case *syntax.If:
			found = r.branch(s, loops) || found
		case *syntax.Loop:
			out = append(out, s)
			out = r.after(out, r.block(s.Body, loops+1), &found)
			continue
		case *syntax.For:
			out = append(out, s)
			out = r.after(out, r.block(s.Body, loops+1), &found)
			continue
		}
		out = append(out, s)
	}
	b.Stmts = out
	if f, ok := b.Result.(syntax.IfExpr); ok {
		found = r.branch(f.If, loops) || found
	}
	return found
}

func (r *returns) branch(s *syntax.If, loops int) bool {
	found := r.block(s.Then, loops)
	switch els := s.Else.(type) {
	case *syntax.If:
		found = r.branch(els, loops) || found
	case *syntax.Block:
		found = r.block(els, loops) || found
	}
	return found
}

// after leaves the next loop out once an inner one has returned.
func (r *returns) after(out []syntax.Stmt, returned bool, found *bool) []syntax.Stmt {
	if !returned {
		return out
	}
	*found = true
	return append(out, &syntax.If{Range: r.where, Cond: r.done(),
		Then: &syntax.Block{Range: r.where, Stmts: []syntax.Stmt{&syntax.Jump{Range: r.where, Keyword: "break"}}}})
}

// define expands an object-like macro of C.
func (x *expander) define(e *syntax.Name) syntax.Expr {
	text, ok := x.c.ctypes.Macro(e.Text)
	if !ok {
		return nil
	}
	for _, s := range x.stack {
		if s == "#"+e.Text {
			return nil // as in C, a macro is not expanded in itself
		}
	}
	value, seen := x.defines[e.Text]
	if !seen {
		value = parseExpr(text)
		x.defines[e.Text] = value
	}
	if m := x.c.cmacros[e.Text]; value == nil && m != nil {
		x.c.errorf(e, "the macro '%s' takes arguments", e.Text).WithHint("%s", x.signatures(e.Text))
		return &syntax.BadExpr{Range: e.Range}
	}
	if value == nil {
		x.c.errorf(e, "the macro '%s' has no value: '%s'", e.Text, text)
		return &syntax.BadExpr{Range: e.Range}
	}
	x.stack = append(x.stack, "#"+e.Text)
	defer func() { x.stack = x.stack[:len(x.stack)-1] }()
	if r := x.edit(value); r != nil {
		return r
	}
	return syntax.Copy(value, &e.Range, x.edit)
}

// parseExpr reads an expression from text, nil when it is none.
func parseExpr(text string) syntax.Expr {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	file, diags := syntax.Parse(source.NewFile("define", "begin { _ = ("+text+"); }"))
	if diags.HasErrors() || len(file.Items) != 1 {
		return nil
	}
	p, ok := file.Items[0].(*syntax.Probe)
	if !ok || len(p.Body.Stmts) != 1 {
		return nil
	}
	if a, ok := p.Body.Stmts[0].(*syntax.Assign); ok {
		return a.Value
	}
	return nil
}
