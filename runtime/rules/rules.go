// Package rules writes a script's objectives as a Prometheus rule file, so that a server can judge them over any number
// of hosts from the counters that each of them exports, and a unit test of that file for promtool.
//
// Every ratio is a sum of bad events divided by the sum of all events over one window; no ratio is an average of other
// ratios, and the window of the objective is no exception. Without events there is no ratio, never NaN. From the ratios
// follow the burn rates, the part of the error budget that is left, and two alerts. An alert fires when the budget burns
// too fast over a long window and still does over a short one; how fast is too fast follows from the part of the budget
// that may be spent in the long window.
//
// Invariants: the same objectives give the same bytes. Numbers are fractions of whole numbers and are written exactly.
// An alert that cannot fire is left out, and a comment says why. The package opens no file, and must not look at
// anything but declarations: what probes attach to does not matter here.
// Start at Write; read.go takes the objectives from a script, unittest.go writes the test.
package rules

import (
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

const day = 24 * time.Hour

// Style is how rules and their labels are called.
type Style uint8

// The styles.
const (
	Slope Style = iota
	Sloth       // as Sloth calls them, for its dashboards
)

// ParseStyle reads the name of a style.
func ParseStyle(s string) (Style, bool) {
	switch s {
	case "slope":
		return Slope, true
	case "sloth":
		return Sloth, true
	}
	return 0, false
}

// pace is a speed of burning that alerts: a part of the budget spent in the long window, seen in the short one too.
type pace struct {
	severity    string
	spent       *big.Rat
	short, long time.Duration
}

func paces() []pace {
	return []pace{
		{"page", big.NewRat(2, 100), 5 * time.Minute, time.Hour},
		{"page", big.NewRat(5, 100), 30 * time.Minute, 6 * time.Hour},
		{"ticket", big.NewRat(10, 100), 2 * time.Hour, day},
		{"ticket", big.NewRat(10, 100), 6 * time.Hour, 3 * day},
	}
}

// severities are those of paces, with the names of their alerts.
func severities() []pair {
	return []pair{{"page", "SlopeErrorBudgetPage"}, {"ticket", "SlopeErrorBudgetTicket"}}
}

// factor is the burn rate at which a pace is reached: 14.4 for 2 % in an hour of 30 days.
func (p pace) factor(o Objective) *big.Rat {
	return new(big.Rat).Mul(p.spent, quotient(o.Window, p.long))
}

// threshold is the ratio of bad events at which a pace is reached.
func (p pace) threshold(o Objective) *big.Rat {
	return new(big.Rat).Mul(p.factor(o), o.budget())
}

func (p pace) String() string {
	return fmt.Sprintf("burn over %s and %s", duration(p.long), duration(p.short))
}

// never says why a pace can not be reached, or nothing.
func (p pace) never(o Objective) string {
	switch {
	case o.PPB == whole:
		return "an objective of 100% has no error budget that could burn"
	case p.long >= o.Window:
		return fmt.Sprintf("the window of the objective is only %s", written(o.Window))
	case p.threshold(o).Cmp(big.NewRat(1, 1)) >= 0:
		return fmt.Sprintf("%s times the budget of %s is no less than all events", decimal(p.factor(o)), percent(whole-o.PPB))
	}
	return ""
}

func (o Objective) budget() *big.Rat { return parts(whole - o.PPB) }

// windows are those of the ratios, in rising order.
func (o Objective) windows() []time.Duration {
	out := []time.Duration{5 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, day, 3 * day}
	if !slices.Contains(out, o.Window) {
		out = append(out, o.Window)
	}
	slices.Sort(out)
	return out
}

// duration writes a duration for PromQL: 28 days are 4w.
func duration(d time.Duration) string { return model.Duration(d).String() }

// written is a duration for people: in days where it is whole days.
func written(d time.Duration) string {
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return duration(d)
}

// names are how a style calls what belongs to one objective.
type names struct {
	prefix   string // of all rules
	ratio    string // of ratios, without the window
	days     string
	group    string // in front of the names of groups
	key      string // after them
	by       []string
	labels   []pair
	severity string // the label
	window   string // the label, "" for none
}

func (s Style) names(o Objective) names {
	if s == Sloth {
		id := o.Service + "-" + o.Name
		return names{prefix: "slo:", ratio: "slo:sli_error:ratio_rate", days: "slo:time_period:days", group: "sloth-slo-", key: id, by: o.By,
			labels:   []pair{{"sloth_id", id}, {"sloth_service", o.Service}, {"sloth_slo", o.Name}},
			severity: "sloth_severity", window: "sloth_window"}
	}
	return names{prefix: "slope:slo_", ratio: "slope:slo_error:ratio_rate", days: "slope:slo_window:days", group: "slope-", key: o.SLI + "-" + o.Name,
		by:     append([]string{"slo", "sli"}, o.By...),
		labels: []pair{{"slo", o.Name}, {"sli", o.SLI}}, severity: "severity"}
}

// selector selects one objective's series of a recorded metric.
func (n names) selector(metric string) string {
	return metric + "{" + matchers(n.labels) + "}"
}

func matchers(labels []pair) string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.name + "=" + strconv.Quote(l.value)
	}
	return strings.Join(out, ", ")
}

// clash is a label of the objective that the rules of a style set themselves.
func (s Style) clash(o Objective) string {
	n := s.names(o)
	own := []string{"alertname", n.severity, n.window}
	for _, l := range n.labels {
		own = append(own, l.name)
	}
	for _, by := range o.By {
		if slices.Contains(own, by) {
			return by
		}
	}
	return ""
}

// Valid says what keeps objectives from being written in one file.
func Valid(list []Objective, s Style) error {
	seen := map[string]bool{}
	for _, o := range list {
		n := s.names(o)
		counted := "\x00" + o.SLI + " " + o.Name // the counters do not tell scripts apart, whatever the service
		if seen[n.key] || seen[counted] {
			return fmt.Errorf("slo '%s' of sli '%s' is there twice: got it from two scripts", o.Name, o.SLI)
		}
		seen[n.key], seen[counted] = true, true
		if l := s.clash(o); l != "" {
			return fmt.Errorf("slo '%s' is by the label '%s', which the rules set themselves: rename the label", o.Name, l)
		}
	}
	return nil
}

// Write writes the rule file.
func Write(w io.Writer, list []Objective, s Style) error {
	if err := Valid(list, s); err != nil {
		return err
	}
	var p page
	p.note(0, "Objectives over all hosts, from the counters that slope exports. Written by slope rules; do not edit.")
	p.line(0, "groups:")
	for _, o := range list {
		for _, g := range s.groups(o) {
			p.line(1, "- name: %s", quote(g.name))
			if g.interval != "" {
				p.line(2, "interval: %s", g.interval)
			}
			for _, n := range g.notes {
				p.note(2, n)
			}
			if len(g.rules) == 0 {
				p.line(2, "rules: []")
				continue
			}
			p.line(2, "rules:")
			for _, r := range g.rules {
				p.rule(3, r)
			}
		}
	}
	if _, err := w.Write(p.Bytes()); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

// groups are the rules of one objective. Long windows read many samples and change slowly: they have a slower group.
func (s Style) groups(o Objective) []group {
	n := s.names(o)
	quick := group{name: n.group + "sli-recordings-" + n.key, notes: []string{"slo " + o.Name + " = " + o.Text}}
	slow := group{name: n.group + "sli-long-recordings-" + n.key, interval: "2m"}
	for _, w := range o.windows() {
		if r := n.ratioRule(o, w); w < day {
			quick.rules = append(quick.rules, r)
		} else {
			slow.rules = append(slow.rules, r)
		}
	}
	meta := group{name: n.group + "meta-recordings-" + n.key, rules: n.meta(o)}
	if s == Sloth {
		meta.rules = append(meta.rules, rule{record: "sloth_slo_info", expr: "vector(1)", labels: append(slices.Clone(n.labels),
			pair{"sloth_mode", "slope-rules"}, pair{"sloth_objective", strings.TrimSuffix(percent(o.PPB), "%")}, pair{"sloth_spec", "slope"})})
	}
	if o.PPB == whole {
		meta.notes = []string{"an objective of 100% has no error budget, so nothing burns"}
	}
	return []group{quick, slow, meta, n.alerts(o)}
}

// ratioRule is the part of bad events over a window.
func (n names) ratioRule(o Objective, w time.Duration) rule {
	rate := func(metric string) string {
		by := ""
		if len(n.by) > 0 {
			by = "by (" + strings.Join(n.by, ", ") + ") "
		}
		return fmt.Sprintf("sum %s(rate(%s{%s}[%s]))", by, metric, matchers([]pair{{"slo", o.Name}, {"sli", o.SLI}}), duration(w))
	}
	labels := n.labels
	if n.window != "" {
		labels = append(slices.Clone(labels), pair{n.window, duration(w)})
	}
	return rule{record: n.ratio + duration(w), labels: labels,
		expr: rate("slope_slo_bad_events_total") + "\n/\n(" + rate("slope_slo_events_total") + " > 0)"}
}

// meta are the rules that say what the objective is, and how far its budget is used.
func (n names) meta(o Objective) []rule {
	days := quotient(o.Window, day)
	out := []rule{
		{record: n.prefix + "objective:ratio", expr: "vector(" + decimal(parts(o.PPB)) + ")", labels: n.labels},
		{record: n.prefix + "error_budget:ratio", expr: "vector(" + decimal(o.budget()) + ")", labels: n.labels},
		{record: n.days, expr: "vector(" + decimal(days) + ")", labels: n.labels},
	}
	if o.PPB == whole {
		return out
	}
	burn := func(w time.Duration) string {
		return n.selector(n.ratio+duration(w)) + " / " + decimal(o.budget())
	}
	return append(out,
		rule{record: n.prefix + "current_burn_rate:ratio", expr: burn(5 * time.Minute), labels: n.labels},
		rule{record: n.prefix + "period_burn_rate:ratio", expr: burn(o.Window), labels: n.labels},
		rule{record: n.prefix + "period_error_budget_remaining:ratio", expr: "1 - " + n.selector(n.prefix+"period_burn_rate:ratio"), labels: n.labels})
}

// alerts are the two alerts, each of the paces that can be reached.
func (n names) alerts(o Objective) group {
	g := group{name: n.group + "alerts-" + n.key}
	for _, s := range severities() {
		var arms []string
		for _, p := range paces() {
			if p.severity != s.name {
				continue
			}
			if why := p.never(o); why != "" {
				g.notes = append(g.notes, fmt.Sprintf("no %s for %s: %s", s.name, p, why))
				continue
			}
			g.notes = append(g.notes, fmt.Sprintf("%s at %s times the rate that spends the budget: %s", s.name, decimal(p.factor(o)), p))
			arms = append(arms, "(\n  "+n.exceeds(o, p, p.short)+"\n  and\n  "+n.exceeds(o, p, p.long)+"\n)")
		}
		if len(arms) > 0 {
			g.rules = append(g.rules, rule{alert: s.value, expr: strings.Join(arms, "\nor\n"),
				labels: append(slices.Clone(n.labels), pair{n.severity, s.name}), annotations: annotations(o, "{{ $value | humanizePercentage }}", label, literal)})
		}
	}
	return g
}

// exceeds is the condition that the ratio over a window is above a pace's threshold.
func (n names) exceeds(o Objective, p pace, w time.Duration) string {
	c := fmt.Sprintf("%s > %s", n.selector(n.ratio+duration(w)), decimal(p.threshold(o)))
	if n.window != "" {
		return "max without (" + n.window + ") (" + c + ")"
	}
	return c
}

// label is a label's value in an annotation.
func label(name string) string { return "{{ $labels." + name + " }}" }

// literal is text in an annotation that is no template.
func literal(s string) string { return strings.ReplaceAll(s, "{{", `{{ "{{" }}`) }

// annotations are those of an alert, given the text of its value and of a label, and how other text is written.
func annotations(o Objective, value string, label, literal func(string) string) []pair {
	where := ""
	for i, by := range o.By {
		where += [...]string{" (", ", "}[min(i, 1)] + by + " " + label(by)
	}
	if where != "" {
		where += ")"
	}
	out := []pair{
		{"summary", "The error budget of " + o.Name + where + " burns too fast"},
		{"description", value + " of the events of " + o.SLI + where + " are bad now; the objective wants " + percent(o.PPB) + " to be good over " + written(o.Window)},
	}
	if o.Runbook != "" {
		out = append(out, pair{"runbook_url", literal(o.Runbook)})
	}
	return out
}
