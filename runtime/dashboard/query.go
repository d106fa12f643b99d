package dashboard

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/runtime/rules"
)

// The counters that every host exports.
const (
	totalMetric = "slope_slo_events_total"
	badMetric   = "slope_slo_bad_events_total"
)

// query writes PromQL for one objective.
type query struct{ rules.Objective }

// quote writes a string for PromQL; names in a script have nothing to escape.
func quote(s string) string { return `"` + s + `"` }

// filter is the choice of hosts and label sets on the dashboard.
func (q query) filter() string {
	out := `instance=~"$instance"`
	for _, l := range q.Exported {
		if l != "instance" && l != "datasource" { // which are variables of their own
			out += ", " + l + `=~"$` + l + `"`
		}
	}
	return out
}

// selects selects an objective's series on the hosts and of the label sets that are chosen.
func (q query) selects(metric string) string {
	out := metric + "{slo=" + quote(q.Name) + ", "
	if q.SLI != nil {
		out += "sli=" + quote(q.SLI.Name) + ", "
	}
	return out + q.filter() + "}"
}

// values selects the values of an objective's indicator.
func (q query) values(metric string) string { return metric + "{" + q.filter() + "}" }

// sum adds up a function of a counter over the interval of a point.
func (q query) sum(function, metric string) string {
	return "sum(" + function + "(" + q.selects(metric) + "[$__rate_interval]))"
}

// ratio is the part of bad events over a window.
func (q query) ratio(window string) string {
	return "sum(rate(" + q.selects(badMetric) + "[" + window + "])) / (sum(rate(" + q.selects(totalMetric) + "[" + window + "])) > 0)"
}

// recorded tells whether what an objective counts cannot be added up over hosts without the rules.
func (q query) recorded() bool { return q.Minutes || q.Parts != nil }

// rule selects a recorded series, over all label sets.
func (q query) rule(name string) string { return name + "{slo=" + quote(q.Name) + "}" }

// good is the part of good events; where minutes are counted, of good samples.
func (q query) good() string { return "1 - " + q.ratio("$__rate_interval") }

func (q query) goal() string { return rules.Decimal(q.Goal()) }

// budget is the part of events that may be bad, to divide by.
func (q query) budget() string {
	s := rules.Decimal(q.Budget())
	if strings.Contains(s, " ") {
		return "(" + s + ")"
	}
	return s
}

func (q query) over() string {
	if q.Calendar != "" {
		return "a calendar " + q.Calendar
	}
	return rules.Duration(q.Nominal())
}

func (q query) budgetNote() string {
	switch {
	case q.Calendar != "":
		return ", of the worst host"
	case q.recorded():
		return ", from the recorded rules, without them of the worst host"
	}
	return ", of all hosts and label sets chosen"
}

// budgetLeft is the part of the error budget that is left.
func (q query) budgetLeft() string {
	host := "min(" + q.selects("slope_slo_error_budget_remaining_ratio") + ")"
	switch {
	case q.Budget().Sign() == 0 || q.Calendar != "":
		return host
	case q.recorded():
		return "min(" + q.rule("slope:slo_period_error_budget_remaining:ratio") + ") or " + host
	}
	return "1 - " + q.ratio(rules.Duration(q.Nominal())) + " / " + q.budget()
}

// burns are the burn rates over the windows of the alerts, and where those fire.
func (q query) burns() (out []target) {
	seen := map[time.Duration]bool{}
	for _, b := range append(q.Page[:len(q.Page):len(q.Page)], q.Ticket...) {
		for _, w := range [...]time.Duration{b.Short, b.Long} {
			if seen[w] {
				continue
			}
			seen[w] = true
			out = append(out, target{Expr: q.burn(w), LegendFormat: rules.Duration(w)})
		}
	}
	if len(out) == 0 {
		out = append(out, target{Expr: q.burn(time.Hour), LegendFormat: "1h"})
	}
	for _, b := range q.Page {
		out = append(out, target{Expr: "vector(" + b.Factor() + ")", LegendFormat: "page " + rules.Duration(b.Long) + " and " + rules.Duration(b.Short)})
	}
	for _, b := range q.Ticket {
		out = append(out, target{Expr: "vector(" + b.Factor() + ")", LegendFormat: "ticket " + rules.Duration(b.Long) + " and " + rules.Duration(b.Short)})
	}
	return out
}

func (q query) burn(w time.Duration) string {
	host := "max(" + strings.TrimSuffix(q.selects("slope_slo_burn_rate"), "}") + `, window="` + window(w) + `"})`
	switch {
	case q.Budget().Sign() == 0:
		return host
	case q.recorded():
		return "max(" + q.rule("slope:slo_error:ratio_rate"+rules.Duration(w)) + ") / " + q.budget() + " or " + host
	}
	return q.ratio(rules.Duration(w)) + " / " + q.budget()
}

// window is how the exporter writes a window: in days, where PromQL has weeks.
func window(w time.Duration) string {
	if s := rules.Duration(w); !strings.ContainsAny(s, "wy") {
		return s
	}
	return strings.TrimSuffix(rules.Duration(w/(24*time.Hour)*time.Hour), "h") + "d"
}

// worst are the label sets with the largest part of bad events.
func (q query) worst() string {
	by := "sum by (" + strings.Join(q.Exported, ", ") + ") (increase("
	return "topk(10, " + by + q.selects(badMetric) + "[$__range])) / (" + by + q.selects(totalMetric) + "[$__range])) > 0))"
}
