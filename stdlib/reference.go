package stdlib

import (
	"fmt"
	"io"
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
)

//go:generate go run ./refgen ../docs/reference.md

// Reference writes the reference of all rows as Markdown, by kind and name.
func Reference(w io.Writer) {
	fmt.Fprint(w, "# Reference\n\nGenerated from the rows of stdlib by `make generate`.\n")
	heading := func(text string) { fmt.Fprintf(w, "\n## %s\n", text) }
	entry := func(title string, d types.Doc, more ...string) {
		fmt.Fprintf(w, "\n### %s\n\n%s\n", title, d.Text)
		for _, m := range more {
			fmt.Fprintf(w, "\n%s\n", m)
		}
		for _, e := range d.Examples {
			if e != "" {
				fmt.Fprintf(w, "\n```\n%s\n```\n", e)
			}
		}
	}
	r := New()
	heading("Probes")
	for _, name := range r.names[types.ProbeNames] {
		p := r.probes[name]
		forms := "Forms: `" + strings.Join(p.Forms, "`, `") + "`."
		if len(p.Aliases) > 0 {
			forms += " Short: `" + strings.Join(p.Aliases, "`, `") + "`."
		}
		entry(p.Name, p.Doc, forms)
	}
	heading("Variables")
	for _, name := range r.names[types.VarNames] {
		v := r.vars[name]
		if v.Numbered {
			name += "0, " + name + "1, …"
		}
		entry(name, v.Doc)
	}
	for _, class := range []struct {
		title string
		names types.NameClass
	}{{"Functions", types.FuncNames}, {"Aggregations", types.AggNames}, {"Verbs of an sli", types.VerbNames}} {
		heading(class.title)
		for _, name := range r.names[class.names] {
			f := r.funcs[name]
			entry(check.Signature(&f.Func), f.Doc)
		}
	}
}
