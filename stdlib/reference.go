package stdlib

import (
	"fmt"
	"io"
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
)

//go:generate go run ./refgen ../docs/reference.md

// Reference writes the reference of all rows as Markdown.
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
	heading("Probes")
	for _, rows := range [][]Probe{specialProbes(), kernelProbes(), userProbes(), perfProbes(), functionProbes(), objectiveProbes()} {
		for _, p := range rows {
			forms := "Forms: `" + strings.Join(p.Forms, "`, `") + "`."
			if len(p.Aliases) > 0 {
				forms += " Short: `" + strings.Join(p.Aliases, "`, `") + "`."
			}
			entry(p.Name, p.Doc, forms)
		}
	}
	heading("Variables")
	for _, v := range variables() {
		name := v.Name
		if v.Numbered {
			name += "0, " + name + "1, …"
		}
		entry(name, v.Doc)
	}
	functions := func(title string, groups ...[]Func) {
		heading(title)
		for _, rows := range groups {
			for i := range rows {
				entry(check.Signature(&rows[i].Func), rows[i].Doc)
			}
		}
	}
	functions("Functions", outputFuncs(), mapFuncs(), memoryFuncs(), pointerFuncs(), objectiveFuncs(), pollFuncs())
	functions("Aggregations", aggregations())
	functions("Verbs of an sli", verbs())
}
