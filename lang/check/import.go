package check

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

// imports puts the items of imported files before those of the script. Everything in them lies, for messages and
// counters, where the import is written.
func (c *checker) imports() {
	seen := map[string]bool{}
	c.imported = map[syntax.Range]*syntax.Import{}
	c.cOrigins = map[syntax.Node]cOrigin{}
	items, any := c.importItems(c.file.Items, c.file.Source, nil, seen, 0)
	if !any {
		return
	}
	file := *c.file
	file.Items = items
	c.file = &file
}

const maxImports = 16 // of files that import one another

func (c *checker) importItems(items []syntax.Item, from *source.File, at *syntax.Range, seen map[string]bool, depth int) (out []syntax.Item, any bool) {
	for _, it := range items {
		if at != nil {
			if _, config := it.(*syntax.Config); config {
				c.errorf(*at, "an imported file may not have a config")
				continue
			}
			there := it.Span()
			it = syntax.Copy(it, at, nil)
			switch it.(type) {
			case *syntax.CDef, *syntax.Directive:
				c.cOrigins[it] = cOrigin{from, there}
			}
		}
		imp, ok := it.(*syntax.Import)
		if !ok {
			out = append(out, it)
			continue
		}
		any = true
		where := at
		if where == nil {
			where = &imp.Range
			c.imported[imp.Range] = imp
		}
		switch {
		case c.opt.Import == nil:
			c.errorf(*where, "imports are not supported here")
			continue
		case depth > maxImports:
			c.errorf(*where, "files import one another too deeply, the limit is %d", maxImports)
			continue
		}
		file, err := c.opt.Import(from.Name, imp.Path.Value)
		if err != nil {
			c.errorf(*where, "cannot import \"%s\": %s", imp.Path.Value, strings.TrimSpace(err.Error()))
			continue
		}
		key := file.Source.Name
		for _, p := range imp.Params {
			key += "\x00" + p.Name.Text + "=" + syntax.ExprString(p.Value)
		}
		if seen[key] {
			continue
		}
		items, once := file.Items, "\x00"+file.Source.Name
		if seen[once] { // with other parameters
			items = slices.DeleteFunc(slices.Clone(items), func(it syntax.Item) bool { return definesAlways(it, imp.Params) })
		}
		seen[key], seen[once] = true, true
		more, _ := c.importItems(c.withParams(imp, where, items), file.Source, where, seen, depth+1)
		out = append(out, more...)
	}
	return out, any
}

// definesAlways tells whether an item of an imported file is a definition that no parameter stands in.
func definesAlways(it syntax.Item, params []*syntax.Property) bool {
	switch it.(type) {
	case *syntax.Macro, *syntax.Fn, *syntax.MapDecl, *syntax.CDef, *syntax.Directive:
	default:
		return false
	}
	return !slices.ContainsFunc(params, func(p *syntax.Property) bool { return mentions(it, p.Name.Text) })
}

// mentions tells whether there is a variable of a name anywhere below.
func mentions(n syntax.Node, name string) (found bool) {
	syntax.Walk(n, func(n syntax.Node) bool {
		v, ok := n.(*syntax.Var)
		found = found || ok && v.Text == name
		return !found
	})
	return found
}

// withParams puts the parameters of an import in their places in what is imported: $name in attach points and in
// expressions, also those of its own imports. All that are given must be used, and all in attach points must be given.
func (c *checker) withParams(imp *syntax.Import, at *syntax.Range, items []syntax.Item) []syntax.Item {
	values, used := map[string]syntax.Expr{}, map[string]bool{}
	for _, p := range imp.Params {
		if values[p.Name.Text] != nil {
			c.errorf(p.Name, "parameter '%s' is given twice", p.Name.Text)
		}
		values[p.Name.Text] = p.Value
	}
	given := make([]syntax.Item, len(items))
	for i, it := range items {
		c.keepParams(imp, at, values, it)
		given[i] = syntax.Copy(it, nil, func(e syntax.Expr) syntax.Expr {
			v, ok := e.(*syntax.Var)
			if !ok || values[v.Text] == nil {
				return nil
			}
			used[v.Text] = true
			return syntax.Copy(values[v.Text], at, nil)
		})
		syntax.Walk(given[i], func(n syntax.Node) bool {
			a, ok := n.(*syntax.AttachPoint)
			if !ok {
				return true
			}
			for k, part := range a.Parts {
				name, isParam := strings.CutPrefix(part, "$")
				if !isParam || name == "" || name[0] >= '0' && name[0] <= '9' {
					continue
				}
				text, isText := values[name].(*syntax.String)
				switch {
				case values[name] == nil:
					c.errorf(*at, "import \"%s\" wants a parameter '%s'", imp.Path.Value, name).
						WithHint("import \"%s\" (%s = \"…\");", imp.Path.Value, name)
					a.Parts = nil // said; resolving it would only say more
					return false
				case !isText:
					c.errorf(values[name], "parameter '%s' stands in a probe, want a string", name)
				default:
					a.Parts[k] = text.Value
				}
				used[name] = true
			}
			return true
		})
	}
	for _, p := range imp.Params {
		if !used[p.Name.Text] {
			c.errorf(p.Name, "\"%s\" has no parameter '%s'", imp.Path.Value, p.Name.Text)
		}
	}
	return given
}

// keepParams wants no variable of an imported file to have the name of a parameter.
func (c *checker) keepParams(imp *syntax.Import, at *syntax.Range, values map[string]syntax.Expr, it syntax.Item) {
	syntax.Walk(it, func(n syntax.Node) bool {
		var v *syntax.Var
		switch n := n.(type) {
		case *syntax.Let:
			v = n.Name
		case *syntax.For:
			v = n.Var
		case *syntax.Assign:
			v, _ = n.Target.(*syntax.Var)
		}
		if v != nil && values[v.Text] != nil {
			c.errorf(*at, "import \"%s\": '$%s' is a parameter and has a variable's place", imp.Path.Value, v.Text)
		}
		return true
	})
}
