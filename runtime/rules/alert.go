package rules

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/yaml"
)

// alarm is an alert and the paces that make it fire; without paces it tells that there are no events.
type alarm struct {
	rule
	paces []pace
}

// alarms are the alerts of an objective. slope and Sloth have one for each severity, Pyrra one for each pace.
func (n names) alarms(o Objective) (out []alarm) {
	var every []pace
	for _, severity := range severities() {
		paces, _ := o.paces(severity)
		if len(paces) == 0 {
			continue
		}
		every = append(every, paces...)
		name := map[string]string{"page": "SlopeErrorBudgetPage", "ticket": "SlopeErrorBudgetTicket"}[severity]
		if n.style == Pyrra {
			for _, p := range paces {
				out = append(out, n.alarm(o, "ErrorBudgetBurn", []pace{p}, yaml.Pair{Name: "short", Value: duration(p.Short)},
					yaml.Pair{Name: "long", Value: duration(p.Long)}, yaml.Pair{Name: "exhaustion", Value: duration(p.exhaustion(o))}))
			}
			continue
		}
		out = append(out, n.alarm(o, name, paces))
	}
	if o.NoData == check.AlertNoData {
		a := alarm{rule: rule{alert: "SlopeNoEvents", expr: o.noData(), wait: noDataAfter, labels: n.all(n.urgency("ticket")),
			annotations: o.noDataAnnotations(literal)}}
		if n.style == Pyrra {
			a.alert = "SLOMetricAbsent"
		}
		if len(every) > 0 {
			a.labels = n.all(n.urgency(every[0].severity)) // as urgent as its most urgent alert
		}
		out = append(out, a)
	}
	return out
}

// urgency is the label of a severity.
func (n names) urgency(severity string) yaml.Pair {
	if n.style == Pyrra {
		severity = map[string]string{"page": "critical", "ticket": "warning"}[severity]
	}
	return yaml.Pair{Name: n.severity, Value: severity}
}

func (n names) alarm(o Objective, name string, paces []pace, labels ...yaml.Pair) alarm {
	var arms []string
	for _, p := range paces {
		arm := n.exceeds(o, p, p.Short) + "\n  and\n  " + n.exceeds(o, p, p.Long)
		if _, _, least := o.guard(p); least != "" {
			arm += "\n  and\n  " + n.enough(o, p)
		}
		arms = append(arms, "(\n  "+arm+"\n)")
	}
	return alarm{paces: paces, rule: rule{alert: name, expr: strings.Join(arms, "\nor\n"),
		labels: n.all(append(labels, n.urgency(paces[0].severity))...), annotations: n.annotations(o, "{{ $value | humanizePercentage }}", label, literal)}}
}

// exceeds is the condition that the ratio over a window is above a pace's threshold.
func (n names) exceeds(o Objective, p pace, w time.Duration) string {
	return n.bare(n.selects(n.error+duration(w)) + " > " + decimal(p.threshold(o)))
}

// bare drops the label that tells windows apart, so that conditions on several can be joined.
func (n names) bare(condition string) string {
	if n.window == "" {
		return condition
	}
	return "max without (" + n.window + ") (" + condition + ")"
}

// enough is the condition that there are as many events, or bad ones, as an alert wants. No events at all are no low
// traffic where that is declared bad.
func (n names) enough(o Objective, p pace) string {
	bad, w, least := o.guard(p)
	count := n.selects(n.count + duration(w))
	if bad {
		count = n.selects(n.bad + duration(w))
	}
	c := count + " >= " + least
	if o.NoData != check.BadNoData || o.Parts != nil {
		return c
	}
	if bad { // all of none are bad
		return "(" + c + " or " + n.bare(n.selects(n.error+duration(w))+" == 1") + ")"
	}
	return "(" + c + " or " + count + " == 0)"
}

// label is a label's value in an annotation.
func label(name string) string { return "{{ $labels." + name + " }}" }

// literal is text in an annotation that is no template.
func literal(s string) string { return strings.ReplaceAll(s, "{{", `{{ "{{" }}`) }

// what is counted, in words.
func (o Objective) counts() string {
	if o.Minutes {
		return "minutes"
	}
	return "events"
}

// annotations are those of an alert, given the text of its value and of a label, and how other text is written.
func (n names) annotations(o Objective, value string, label, literal func(string) string) []yaml.Pair {
	where := ""
	for i, by := range o.By {
		where += [...]string{" (", ", "}[min(i, 1)] + by + " " + label(by)
	}
	if where != "" {
		where += ")"
	}
	over := written(o.window())
	if o.Calendar != "" {
		over = "a calendar " + o.Calendar
	}
	text := ""
	switch {
	case o.Parts != nil:
		var parts []string
		for _, p := range o.Parts {
			parts = append(parts, p.SLO.Name)
		}
		text = "Taken together, " + strings.Join(parts, ", ") + " spend their error budgets of " + over + " too fast"
	case n.style == Pyrra: // whose alerts look at other windows each
		text = "Too many " + o.counts() + " of " + o.indicator() + where + " are bad; the objective wants " + percent(parts(o.PPB)) + " to be good over " + over
	default:
		text = value + " of the " + o.counts() + " of " + o.indicator() + where + " are bad now; the objective wants " + percent(parts(o.PPB)) + " to be good over " + over
	}
	out := []yaml.Pair{{Name: "summary", Value: "The error budget of " + o.Name + where + " burns too fast"}, {Name: "description", Value: text}}
	return append(out, o.runbook(literal)...)
}

func (o Objective) noDataAnnotations(literal func(string) string) []yaml.Pair {
	return append([]yaml.Pair{{Name: "summary", Value: "Nothing is counted for " + o.Name},
		{Name: "description", Value: "No host has counted an event of " + o.Name + " for " + duration(2*noDataAfter) + ", or none exports it: nobody knows whether it is met"}},
		o.runbook(literal)...)
}

func (o Objective) runbook(literal func(string) string) []yaml.Pair {
	if o.Runbook == "" {
		return nil
	}
	return []yaml.Pair{{Name: "runbook_url", Value: literal(o.Runbook)}}
}
