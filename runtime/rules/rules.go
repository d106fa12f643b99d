// Package rules writes a script's objectives as a Prometheus rule file, so that a server can judge them over any number
// of hosts from the counters that each of them exports, and a unit test of that file for promtool.
//
// Every ratio is a sum of bad events divided by the sum of all events over one window; no ratio is an average of other
// ratios, and the window of the objective is no exception. Where minutes are counted, a rule judges each minute of each
// host, and the ratio is that of bad minutes to all. Without events there is no ratio, never NaN, unless the objective
// says what that means. The ratio of a composite is the weighted mean of its parts' burn rates times its budget, so it is
// treated like any other. From the ratios follow the burn rates, the part of the error budget that is left, and the
// alerts, as the script's policies say.
//
// Invariants: the same objectives give the same bytes. Numbers are fractions of whole numbers and are written exactly.
// An alert that cannot fire is left out, and a comment says why. What PromQL cannot do is said in a comment: a calendar
// window is a rolling one of its length. The package opens no file, and must not look at anything but declarations: what
// probes attach to does not matter here.
// Start at Write; read.go takes the objectives from a script, expr.go writes PromQL, unittest.go the test.
package rules

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/yaml"
)

// Style is how rules and their labels are called.
type Style uint8

// The styles.
const (
	Slope Style = iota
	Sloth       // as Sloth calls them, for its dashboards
	Pyrra       // as Pyrra calls them, for its dashboards
)

// Styles are the names of the styles, in their order.
func Styles() []string { return []string{"slope", "sloth", "pyrra"} }

// ParseStyle reads the name of a style.
func ParseStyle(s string) (Style, bool) {
	i := slices.Index(Styles(), s)
	return Style(max(i, 0)), i >= 0
}

// rule is one rule of a file: a recording or an alert.
type rule struct {
	record, alert string
	expr          string
	wait          time.Duration // of an alert: how long it must be so
	labels        []yaml.Pair
	annotations   []yaml.Pair
}

// group is rules that are evaluated in order. Notes are comments above its rules.
type group struct {
	name, interval string
	notes          []string
	rules          []rule
}

// names are how a style calls what belongs to one objective.
type names struct {
	style    Style
	prefix   string // of all rules
	error    string // of ratios, without the window
	part     string // of burn rates of a composite's parts, without the window
	minute   string // of the verdicts of minutes
	count    string // of numbers of events, without the window
	bad      string // of numbers of bad events
	days     string
	group    string // in front of the names of groups
	key      string // after them
	by       []string
	labels   []yaml.Pair // of the objective
	extra    []yaml.Pair // of the script, on every rule
	severity string      // the label
	window   string      // the label, "" for none
}

func (s Style) names(o Objective) names {
	n := names{style: s, by: o.By}
	for _, l := range o.Labels {
		n.extra = append(n.extra, yaml.Pair(l))
	}
	switch s {
	case Sloth:
		n.key = o.Service + "-" + o.Name
		n.prefix, n.error, n.days, n.group = "slo:", "slo:sli_error:ratio_rate", "slo:time_period:days", "sloth-slo-"
		n.labels = []yaml.Pair{{Name: "sloth_id", Value: n.key}, {Name: "sloth_service", Value: o.Service}, {Name: "sloth_slo", Value: o.Name}}
		n.severity, n.window = "sloth_severity", "sloth_window"
	case Pyrra:
		n.key, n.prefix, n.severity = o.Name, "slope_slo_", "severity"
		if o.Parts == nil {
			n.by = append([]string{"slo"}, o.By...)
		}
		n.labels = []yaml.Pair{{Name: "slo", Value: o.Name}}
		n.error, n.part, n.minute, n.count = "slope_slo_events:burnrate", "slope_slo_part:burnrate", "slope_slo_minutes:bad", "slope_slo_enough:increase"
		n.bad = "slope_slo_enough_bad:increase"
		if o.Minutes {
			n.error = "slope_slo_minutes:burnrate"
		}
		return n
	default:
		n.key, n.prefix, n.group, n.severity = o.key(), "slope:slo_", "slope-", "severity"
		n.error, n.days = "slope:slo_error:ratio_rate", "slope:slo_window:days"
		n.by = append([]string{"slo", "sli"}, o.By...)
		n.labels = o.own()
		if o.SLI == nil {
			n.by, n.labels, n.key = nil, n.labels[:1], o.Name
		}
	}
	n.part, n.minute = n.prefix+"part_burn:ratio_rate", n.prefix+"bad_minute:bool"
	n.count, n.bad = n.prefix+"events:increase", n.prefix+"bad_events:increase"
	return n
}

// all are the labels that the rules set.
func (n names) all(more ...yaml.Pair) []yaml.Pair { return slices.Concat(n.labels, n.extra, more) }

// selects selects one objective's series of a recorded metric.
func (n names) selects(metric string) string { return metric + "{" + matchers(n.labels) + "}" }

// clash is a label of the objective that the rules of a style set themselves.
func (s Style) clash(o Objective) string {
	n := s.names(o)
	taken := map[string]bool{"alertname": true, n.severity: true, n.window: true, "part": o.Parts != nil}
	for _, l := range n.labels {
		taken[l.Name] = true
	}
	if s == Pyrra {
		taken["short"], taken["long"], taken["exhaustion"] = true, true, true
	}
	list := slices.Clone(o.By)
	for _, l := range n.extra {
		list = append(list, l.Name)
	}
	for _, l := range list {
		if taken[l] {
			return l
		}
		taken[l] = true
	}
	return ""
}

// Valid says what keeps objectives from being written in one file.
func Valid(list []Objective, s Style) error {
	seen := map[string]bool{}
	for _, o := range list {
		n := s.names(o)
		counted := "\x00" + o.indicator() + " " + o.Name // the counters do not tell scripts apart, whatever the service
		if seen[n.key] || seen[counted] {
			return fmt.Errorf("slo '%s' of sli '%s' is there twice: got it from two scripts", o.Name, o.indicator())
		}
		seen[n.key], seen[counted] = true, true
		if l := s.clash(o); l != "" {
			return fmt.Errorf("slo '%s' has the label '%s', which the rules set themselves: rename the label", o.Name, l)
		}
	}
	return nil
}

// Write writes the rule file.
func Write(w io.Writer, list []Objective, s Style) error {
	if err := Valid(list, s); err != nil {
		return err
	}
	var p yaml.Page
	p.Note(0, "Objectives over all hosts, from the counters that slope exports. Written by slope rules; do not edit.")
	p.Line(0, "groups:")
	for _, o := range list {
		for _, g := range s.groups(o) {
			g.write(&p)
		}
	}
	if _, err := w.Write(p.Bytes()); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

func (g group) write(p *yaml.Page) {
	p.Line(1, "- name: %s", yaml.Quote(g.name))
	if g.interval != "" {
		p.Line(2, "interval: %s", g.interval)
	}
	for _, n := range g.notes {
		p.Note(2, n)
	}
	if len(g.rules) == 0 {
		p.Line(2, "rules: []")
		return
	}
	p.Line(2, "rules:")
	for _, r := range g.rules {
		if r.alert != "" {
			p.Line(3, "- alert: %s", r.alert)
		} else {
			p.Line(3, "- record: %s", r.record)
		}
		p.Text(4, "expr", r.expr)
		if r.wait > 0 {
			p.Line(4, "for: %s", duration(r.wait))
		}
		p.Pairs(4, "labels", r.labels)
		p.Pairs(4, "annotations", r.annotations)
	}
}

// groups are the rules of one objective. Long windows read many samples and change slowly: they have a slower group.
func (s Style) groups(o Objective) []group {
	n := s.names(o)
	if s == Pyrra {
		return n.pyrra(o)
	}
	var out []group
	if o.Minutes {
		out = append(out, n.minutes(o, n.group+"minutes-"+n.key))
	}
	quick := group{name: n.group + "sli-recordings-" + n.key, notes: append([]string{"slo " + o.Name + " = " + o.Text}, o.notes()...)}
	slow := group{name: n.group + "sli-long-recordings-" + n.key, interval: "2m"}
	n.ratios(o, &quick, &slow)
	meta := group{name: n.group + "meta-recordings-" + n.key, rules: n.meta(o)}
	if o.budget().Sign() == 0 {
		meta.notes = []string{"an objective of 100% has no error budget, so there is no burn rate"}
	}
	alerts := group{name: n.group + "alerts-" + n.key}
	for _, a := range n.alarms(o) {
		alerts.rules = append(alerts.rules, a.rule)
	}
	alerts.notes = o.alertNotes()
	out = append(out, quick)
	if len(slow.rules) > 0 {
		out = append(out, slow)
	}
	return append(out, meta, alerts)
}

// notes are what a reader of an objective's rules must know.
func (o Objective) notes() (out []string) {
	if o.Calendar != "" {
		zone := o.Zone
		if zone == "" {
			zone = "UTC"
		}
		out = append(out, fmt.Sprintf("PromQL cannot look back to the beginning of a calendar %s in %s: the budget here is that of the last %s.", o.Calendar, zone, written(o.window())),
			"Burn rates and alerts do not depend on that.")
	}
	if o.Minutes {
		out = append(out, "A minute of a host is bad when one of its samples is. The minutes here are those between two evaluations,",
			"not those of the host's clock, so counts may differ from the host's own by a minute at each end of an outage.")
	}
	switch o.NoData {
	case check.GoodNoData:
		out = append(out, "nodata = good: a window without events, of hosts that export the objective, is good.")
	case check.BadNoData:
		out = append(out, "nodata = bad: a window without events, of hosts that export the objective, is bad.")
	}
	for _, p := range o.Parts {
		if p.SLO.PPB == whole {
			out = append(out, "slo "+p.SLO.Name+" of 100% has no error budget and is left out of the composite.")
		}
	}
	return out
}

func (o Objective) alertNotes() (out []string) {
	for _, severity := range severities() {
		_, notes := o.paces(severity)
		out = append(out, notes...)
	}
	return out
}

// minutes is the group that judges minutes; it must be evaluated each minute.
func (n names) minutes(o Objective, name string) group {
	return group{name: name, interval: "1m", rules: []rule{{record: n.minute, expr: n.verdict(o)}}}
}

// ratios are the ratios of all windows, and what the alerts need besides them.
func (n names) ratios(o Objective, quick, slow *group) {
	guarded, bad := o.guarded()
	for _, w := range o.windows() {
		to := quick
		if w >= day {
			to = slow
		}
		labels := n.all()
		if n.window != "" {
			labels = n.all(yaml.Pair{Name: n.window, Value: duration(w)})
		}
		expr := ""
		if o.Parts == nil {
			expr = n.ratio(o, n.by, w)
		} else if parts := o.burning(); len(parts) == 0 {
			continue
		} else {
			for _, p := range parts {
				to.rules = append(to.rules, rule{record: n.part + duration(w), labels: slices.Concat(n.labels, []yaml.Pair{{Name: "part", Value: p.Name}}),
					expr: "(\n" + n.ratio(p.Objective, nil, w) + "\n) / " + atom(p.budget())})
			}
			expr = n.composed(o, w)
		}
		to.rules = append(to.rules, rule{record: n.error + duration(w), labels: labels, expr: expr})
		if slices.Contains(guarded, w) {
			name := n.count
			if bad {
				name = n.bad
			}
			to.rules = append(to.rules, rule{record: name + duration(w), labels: n.all(), expr: n.grown(o, bad, w)})
		}
	}
}

// meta are the rules that say what the objective is, and how far its budget is used.
func (n names) meta(o Objective) []rule {
	out := []rule{
		{record: n.prefix + "objective:ratio", expr: "vector(" + decimal(o.Goal()) + ")", labels: n.all()},
		{record: n.prefix + "error_budget:ratio", expr: "vector(" + decimal(o.budget()) + ")", labels: n.all()},
		{record: n.days, expr: "vector(" + decimal(quotient(o.window(), day)) + ")", labels: n.all()},
	}
	if o.budget().Sign() > 0 {
		burn := func(w time.Duration) string { return n.selects(n.error+duration(w)) + " / " + atom(o.budget()) }
		out = append(out,
			rule{record: n.prefix + "current_burn_rate:ratio", expr: burn(current), labels: n.all()},
			rule{record: n.prefix + "period_burn_rate:ratio", expr: burn(o.window()), labels: n.all()},
			rule{record: n.prefix + "period_error_budget_remaining:ratio", expr: "1 - " + n.selects(n.prefix+"period_burn_rate:ratio"), labels: n.all()})
	}
	if n.style == Sloth {
		goal := strings.TrimSuffix(percent(o.Goal()), "%")
		out = append(out, rule{record: "sloth_slo_info", expr: "vector(1)", labels: n.all(yaml.Pair{Name: "sloth_mode", Value: "slope-rules"},
			yaml.Pair{Name: "sloth_objective", Value: goal}, yaml.Pair{Name: "sloth_spec", Value: "slope"})})
	}
	return out
}
