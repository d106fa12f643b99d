package check

import (
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
)

// imports puts the items of imported files before those of the script. Everything in them lies, for messages and
// counters, where the import is written.
func (c *checker) imports() {
	seen := map[string]bool{}
	items, any := c.importItems(c.file.Items, c.file.Source.Name, nil, seen, 0)
	if !any {
		return
	}
	file := *c.file
	file.Items = items
	c.file = &file
}

const maxImports = 16 // of files that import one another

func (c *checker) importItems(items []syntax.Item, from string, at *syntax.Range, seen map[string]bool, depth int) (out []syntax.Item, any bool) {
	for _, it := range items {
		imp, ok := it.(*syntax.Import)
		if !ok {
			if at != nil {
				if _, config := it.(*syntax.Config); config {
					c.errorf(*at, "an imported file may not have a config")
					continue
				}
				it = syntax.Copy(it, at, nil)
			}
			out = append(out, it)
			continue
		}
		any = true
		where := at
		if where == nil {
			where = &imp.Range
		}
		switch {
		case c.opt.Import == nil:
			c.errorf(*where, "imports are not supported here")
			continue
		case depth > maxImports:
			c.errorf(*where, "files import one another too deeply, the limit is %d", maxImports)
			continue
		case len(imp.Params) > 0:
			c.notYet(*where, "parameters of imports are")
			continue
		}
		file, err := c.opt.Import(from, imp.Path.Value)
		if err != nil {
			c.errorf(*where, "cannot import \"%s\": %s", imp.Path.Value, strings.TrimSpace(err.Error()))
			continue
		}
		if seen[file.Source.Name] {
			continue
		}
		seen[file.Source.Name] = true
		more, _ := c.importItems(file.Items, file.Source.Name, where, seen, depth+1)
		out = append(out, more...)
	}
	return out, any
}
