package query

import (
	"fmt"
	"slices"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/export"
)

// objectiveFunc is a function over an objective: it folds the reports of its groups into one value.
type objectiveFunc struct {
	name string
	fold func(groups []export.SLOReport) Value
}

func sumOf(f func(*export.SLOReport) uint64) func([]export.SLOReport) Value {
	return func(groups []export.SLOReport) (v Value) {
		for i := range groups {
			v.Num += float64(f(&groups[i]))
		}
		return v
	}
}

// objectiveFuncs are all of them. Budgets and burn rates are those of the worst group.
func objectiveFuncs() []objectiveFunc {
	return []objectiveFunc{
		{"bad", sumOf(func(r *export.SLOReport) uint64 { return r.Bad })},
		{"good", sumOf(func(r *export.SLOReport) uint64 { return r.Total - r.Bad })},
		{"total", sumOf(func(r *export.SLOReport) uint64 { return r.Total })},
		{"budget", func(groups []export.SLOReport) Value {
			least := groups[0].BudgetLeft
			for i := range groups {
				least = min(least, groups[i].BudgetLeft)
			}
			return Value{Num: float64(least)}
		}},
		{"burnrate", func(groups []export.SLOReport) Value {
			var most uint64
			for i := range groups {
				most = max(most, groups[i].BurnRate)
			}
			return Value{Num: float64(most)}
		}},
		{"burning", func(groups []export.SLOReport) Value {
			return truth(slices.ContainsFunc(groups, func(r export.SLOReport) bool { return r.State == export.Page || r.State == export.Ticket }))
		}},
		{"state", func(groups []export.SLOReport) Value {
			order := []export.State{export.NoData, export.OK, export.Breached, export.Ticket, export.Page}
			worst := 0
			for i := range groups {
				worst = max(worst, slices.Index(order, groups[i].State))
			}
			return Value{Kind: Text, Text: string(order[worst])}
		}},
	}
}

func objectiveNamed(name string) *objectiveFunc {
	for _, f := range objectiveFuncs() {
		if f.name == name {
			return &f
		}
	}
	return nil
}

// objective computes f(slo) or f(slo, label…): the labels that the objective is kept by choose one of its groups.
func (e *Evaluator) objective(c *syntax.Call, f *objectiveFunc) (Value, error) {
	if len(c.Args) == 0 {
		return wrongf("%s() wants an slo", f.name)
	}
	name, ok := c.Args[0].(*syntax.Name)
	if !ok {
		return wrongf("%s() got '%s', want an slo", f.name, syntax.ExprString(c.Args[0]))
	}
	slos := e.Source.Object().Checked.SLOs
	at := slices.IndexFunc(slos, func(o *check.SLO) bool { return o.Name == name.Text })
	if at < 0 {
		var names []string
		for _, o := range slos {
			names = append(names, o.Name)
		}
		hint := ""
		if near := source.Nearest(name.Text, names); near != "" {
			hint = fmt.Sprintf("; did you mean '%s'?", near)
		}
		return wrongf("there is no slo '%s'%s", name.Text, hint)
	}
	o := slos[at]
	if n := len(c.Args) - 1; n != 0 && n != len(o.By) {
		return wrongf("%s() got %d labels, want none or the %d that %s is kept by", f.name, n, len(o.By), o.Name)
	}
	var labels []string
	for i, a := range c.Args[1:] {
		v, err := e.Eval(a)
		if err != nil {
			return v, err
		}
		v.Unit = check.NoUnit
		labels = append(labels, o.SLI.Labels[o.By[i]].Name+"="+v.String())
	}
	reports, err := e.Source.SLOs()
	if err != nil {
		return Value{}, err
	}
	var groups []export.SLOReport
	for _, r := range reports {
		if r.Name == o.Name && (labels == nil || slices.Equal(r.Labels, labels)) {
			groups = append(groups, r)
		}
	}
	if len(groups) == 0 { // no event had these labels
		groups = []export.SLOReport{{BudgetLeft: 1_000_000, State: export.NoData}}
	}
	return f.fold(groups), nil
}
