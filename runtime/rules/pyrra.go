package rules

import (
	"fmt"
	"time"

	"github.com/slopebpf/slope/runtime/yaml"
)

// pyrra are the groups as Pyrra writes them: increases, burn rates with an alert for each pair of windows, and the generic
// names that its dashboards look for. What Pyrra calls a burn rate is the part of bad events.
func (n names) pyrra(o Objective) (out []group) {
	if o.Minutes {
		out = append(out, n.minutes(o, o.Name+"-minutes"))
	}
	var total, bad string // over the window, all label sets together
	w := duration(o.window())
	if o.Parts == nil {
		g := group{name: o.Name + "-increase", interval: "2m30s"}
		for _, m := range []struct {
			to           *string
			record, expr string
		}{
			{&total, "slope_slo_events:increase", sum(n.by, "increase(%s[%s])", o.selects(totalMetric), w)},
			{&bad, "slope_slo_bad_events:increase", sum(n.by, "increase(%s[%s])", o.selects(badMetric), w)},
			{&total, "slope_slo_minutes:count", sum(n.by, "count_over_time(%s[%s])", o.selects(n.minute), w)},
			{&bad, "slope_slo_minutes:sum", sum(n.by, "sum_over_time(%s[%s])", o.selects(n.minute), w)},
		} {
			if minute := m.record[:len("slope_slo_m")] == "slope_slo_m"; minute == o.Minutes {
				*m.to = "sum(" + n.selects(m.record+w) + ")"
				g.rules = append(g.rules, rule{record: m.record + w, expr: m.expr, labels: n.all()})
			}
		}
		out = append(out, g)
	}
	main := group{name: o.Name, notes: append([]string{"slo " + o.Name + " = " + o.Text}, o.notes()...)}
	slow := group{name: o.Name + "-long", interval: "2m"}
	n.ratios(o, &main, &slow)
	main.notes = append(main.notes, o.alertNotes()...)
	for _, a := range n.alarms(o) {
		main.rules = append(main.rules, a.rule)
	}
	out = append(out, main)
	if len(slow.rules) > 0 {
		out = append(out, slow)
	}
	generic := group{name: o.Name + "-generic"}
	add := func(record, expr string) {
		generic.rules = append(generic.rules, rule{record: record, expr: expr, labels: n.all()})
	}
	add("pyrra_objective", "vector("+decimal(o.Goal())+")")
	add("pyrra_window", fmt.Sprintf("vector(%d)", o.window()/time.Second))
	switch {
	case o.Parts == nil:
		add("pyrra_availability", "1 - "+bad+" / ("+total+" > 0)")
	case o.budget().Sign() > 0:
		add("pyrra_availability", "1 - "+n.selects(n.error+w))
	}
	if o.Parts == nil { // a composite has no events of its own
		for _, m := range [...]yaml.Pair{{Name: "pyrra_requests:rate5m", Value: totalMetric}, {Name: "pyrra_errors:rate5m", Value: badMetric}} {
			add(m.Name, sum(nil, "rate(%s[5m])", o.selects(m.Value)))
		}
	}
	return append(out, generic)
}
