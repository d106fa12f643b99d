package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/yaml"
)

// The counters that every host exports.
const (
	totalMetric = "slope_slo_events_total"
	badMetric   = "slope_slo_bad_events_total"
)

// matchers are label matchers.
func matchers(labels []yaml.Pair) string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.Name + "=" + promQuote(l.Value)
	}
	return strings.Join(out, ", ")
}

// promQuote writes a string for PromQL.
func promQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "�")) + `"`
}

// own are the labels by which an objective's counters are found.
func (o Objective) own() []yaml.Pair {
	return []yaml.Pair{{Name: "slo", Value: o.Name}, {Name: "sli", Value: o.indicator()}}
}

// select selects the series of a metric that are an objective's.
func (o Objective) selects(metric string) string { return metric + "{" + matchers(o.own()) + "}" }

// sum adds up by labels.
func sum(by []string, format string, args ...any) string {
	clause := ""
	if len(by) > 0 {
		clause = "by (" + strings.Join(by, ", ") + ") "
	}
	return "sum " + clause + "(" + fmt.Sprintf(format, args...) + ")"
}

// ratio is the part of bad events, or of bad minutes, over a window. Without events there is none, unless the objective
// says what that is: then the window is good or bad as a whole.
func (n names) ratio(o Objective, by []string, w time.Duration) string {
	if o.Minutes {
		series := o.selects(n.minute)
		return sum(by, "sum_over_time(%s[%s])", series, duration(w)) + "\n/\n" + sum(by, "count_over_time(%s[%s])", series, duration(w))
	}
	rate := func(metric string) string { return sum(by, "rate(%s[%s])", o.selects(metric), duration(w)) }
	return rate(badMetric) + "\n/\n(" + rate(totalMetric) + " > 0)" + silent(o, rate(totalMetric))
}

// silent is what a time without events is, given how many there are.
func silent(o Objective, total string) string {
	switch o.NoData {
	case check.GoodNoData:
		return "\nor\n(" + total + " == 0)"
	case check.BadNoData:
		return "\nor\n(" + total + " == 0) + 1"
	}
	return ""
}

// verdict is whether the last minute of a host was bad, for an objective that counts minutes: one bad sample is enough.
// It compares counters with themselves a minute ago, so minutes evaluated one after another share no sample and miss
// none; a counter that fell began anew, and its value is the difference.
func (n names) verdict(o Objective) string {
	by := "without (" + strings.Join(o.dropped(), ", ") + ") "
	if len(o.dropped()) == 0 {
		by = "without () "
	}
	grown := func(metric string) string {
		s := o.selects(metric)
		return fmt.Sprintf("sum %s(%s - %[2]s offset 1m >= 0 or %[2]s and %[2]s offset 1m)", by, s)
	}
	return "(" + grown(badMetric) + " > bool 0)\nand\n(" + grown(totalMetric) + " > 0)" + silent(o, grown(totalMetric))
}

// dropped are the exported labels that an objective is not kept by.
func (o Objective) dropped() (out []string) {
	by := map[string]bool{}
	for _, l := range o.By {
		by[l] = true
	}
	for _, l := range o.Exported {
		if !by[l] {
			out = append(out, l)
		}
	}
	return out
}

// composed is the ratio of a composite: the mean of its parts' burn rates, by their weights, times its budget. Parts
// without events do not count, and parts without a budget can not burn.
func (n names) composed(o Objective, w time.Duration) string {
	var burn, weight []string
	for _, p := range o.burning() {
		series := n.part + duration(w) + "{" + matchers(append(n.labels[:len(n.labels):len(n.labels)], yaml.Pair{Name: "part", Value: p.Name})) + "}"
		burn = append(burn, fmt.Sprintf("%s * %d", series, p.weight))
		weight = append(weight, fmt.Sprintf("%s * 0 + %d", series, p.weight))
	}
	return atom(o.budget()) + " *\nsum(" + strings.Join(burn, " or ") + ")\n/\nsum(" + strings.Join(weight, " or ") + ")"
}

// counters are the series of a metric of an objective, or of all parts of a composite.
func (o Objective) counters(format, metric string) string {
	var out []string
	for _, c := range o.counted() {
		out = append(out, fmt.Sprintf(format, c.selects(metric)))
	}
	return strings.Join(out, " or ")
}

// grown is how much an objective's events, or its minutes, have grown in a window, or the bad ones of them: about, as
// increase() extrapolates a little. Of a composite it is that of its parts.
func (n names) grown(o Objective, bad bool, w time.Duration) string {
	var out []string
	for _, c := range o.counted() {
		f, metric := "increase", totalMetric
		switch {
		case c.Minutes && bad:
			f, metric = "sum_over_time", n.minute
		case c.Minutes:
			f, metric = "count_over_time", n.minute
		case bad:
			metric = badMetric
		}
		out = append(out, fmt.Sprintf("%s(%s[%s])", f, c.selects(metric), duration(w)))
	}
	return sum(n.by, "%s", strings.Join(out, " or "))
}

// noDataAfter is how long nothing must be counted until that is told, and how long it must stay so.
const noDataAfter = 10 * time.Minute

// noData is true while no host counts an event, or none exports the objective. It looks at all label sets together, since
// one of them may well have nothing to do.
func (o Objective) noData() string {
	return "sum(" + o.counters("rate(%s["+duration(noDataAfter)+"])", totalMetric) + ") == 0\nor\nabsent(sum(" + o.counters("%s", totalMetric) + "))"
}

// TotalQuery and BadQuery are PromQL for all events of an objective on all hosts, and for the bad ones, as counters.
func (o Objective) TotalQuery() string { return sum(nil, "%s", o.selects(totalMetric)) }

// BadQuery is the other of TotalQuery.
func (o Objective) BadQuery() string { return sum(nil, "%s", o.selects(badMetric)) }
