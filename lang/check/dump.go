package check

import (
	"fmt"
	"io"
	"sort"

	"github.com/slopebpf/slope/lang/syntax"
)

// Dump prints the side tables: maps, indicators, and the type of every expression of every clause.
func Dump(w io.Writer, p *Program) {
	for _, m := range p.Maps {
		if m.Key != nil {
			fmt.Fprintf(w, "map %s[%s]: %s\n", m.Name, m.Key, m.Value)
		} else {
			fmt.Fprintf(w, "map %s: %s\n", m.Name, m.Value)
		}
	}
	for _, s := range p.SLIs {
		fmt.Fprintf(w, "sli %s: %s in %s", s.Name, s.Kind, s.Unit)
		for _, l := range s.Labels {
			fmt.Fprintf(w, ", %s %s", l.Name, l.Type)
		}
		fmt.Fprintln(w)
	}
	for _, o := range p.SLOs {
		fmt.Fprintf(w, "slo %s: %d ppb of %s\n", o.Name, o.PPB, o.SLI.Name)
	}
	for _, c := range p.Clauses {
		fmt.Fprintf(w, "probe %s", c.Targets[0].Name)
		if n := len(c.Targets); n > 1 {
			fmt.Fprintf(w, " and %d more", n-1)
		}
		fmt.Fprintln(w)
		var exprs []syntax.Expr
		for e := range c.Info.Types {
			exprs = append(exprs, e)
		}
		sort.Slice(exprs, func(i, j int) bool {
			a, b := exprs[i].Span(), exprs[j].Span()
			return a.Start < b.Start || a.Start == b.Start && a.End > b.End
		})
		for _, e := range exprs {
			fmt.Fprintf(w, "  %s: %s", syntax.ExprString(e), c.Info.Types[e])
			if v, ok := c.Info.Consts[e]; ok {
				fmt.Fprintf(w, " = %d", v)
			}
			fmt.Fprintln(w)
		}
	}
}
