package rules

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// What a unit test injects: so many events a minute on each host, a part of the budget that a quiet label set spends
// (less than any pace), and how long a service keeps its objective before it slows down.
const (
	perMinute = whole
	calm      = 64
	before    = time.Hour
)

// WriteTest writes a unit test of a rule file for promtool. In one part of it each objective's service slows down: the
// alert must fire, and for the slow label set only. In the other the budget burns slowly and nothing may fire.
func WriteTest(w io.Writer, list []Objective, s Style, file string) error {
	if err := Valid(list, s); err != nil {
		return err
	}
	var p page
	p.note(0, "Run it with promtool test rules. Written by slope rules --test; do not edit.")
	p.line(0, "rule_files: [%s]", quote(file))
	p.line(0, "evaluation_interval: 1m")
	p.line(0, "tests:")
	for _, o := range list {
		if pc, ok := firstPace(o); ok {
			s.slowDown(&p, o, pc)
		} else {
			p.note(1, "no alert of "+o.Name+" can fire: there is no slow-down to test")
		}
		s.quiet(&p, o)
	}
	if _, err := w.Write(p.Bytes()); err != nil {
		return fmt.Errorf("write unit test: %w", err)
	}
	return nil
}

// firstPace is the first pace that can be reached: pages come first.
func firstPace(o Objective) (pace, bool) {
	for _, p := range paces() {
		if p.never(o) == "" {
			return p, true
		}
	}
	return pace{}, false
}

// slowDown is the part in which all events of two hosts become bad, and stay so until the long window is full of them.
func (s Style) slowDown(p *page, o Objective, pc pace) {
	n := s.names(o)
	length := pc.long + 10*time.Minute
	p.test("a slow-down of " + n.key + " fires the " + pc.severity)
	p.series(o, "slow", before+length, fmt.Sprintf("0+0x%d %d+%[2]dx%d", before/time.Minute, int64(perMinute), length/time.Minute))
	if len(o.By) > 0 {
		p.series(o, "quiet", before+length, spending(o, before+length))
	}
	p.line(2, "alert_rule_test:")
	for _, sev := range severities() {
		if sev.name != pc.severity {
			continue
		}
		p.silence(before, sev.value)
		p.line(3, "- eval_time: %s", duration(before+length))
		p.line(4, "alertname: %s", sev.value)
		p.line(4, "exp_alerts:")
		p.line(5, "-")
		labels := append(slices.Clone(n.labels), pair{n.severity, sev.name})
		for _, by := range o.By {
			labels = append(labels, pair{by, "slow"})
		}
		p.pairs(6, "exp_labels", labels)
		p.pairs(6, "exp_annotations", annotations(o, "100%", func(string) string { return "slow" }, func(s string) string { return s }))
	}
}

// quiet is the part in which nothing fires.
func (s Style) quiet(p *page, o Objective) {
	length := before + 10*time.Minute
	p.test("a quiet " + s.names(o).key + " fires nothing")
	p.series(o, "quiet", length, spending(o, length))
	p.line(2, "alert_rule_test:")
	for _, sev := range severities() {
		p.silence(length, sev.value)
	}
}

// test begins one part.
func (p *page) test(name string) {
	p.line(1, "- name: %s", quote(name))
	p.line(2, "interval: 1m")
	p.line(2, "input_series:")
}

// silence wants that an alert does not fire.
func (p *page) silence(at time.Duration, alert string) {
	p.line(3, "- eval_time: %s", duration(at))
	p.line(4, "alertname: %s", alert)
	p.line(4, "exp_alerts: []")
}

// series are the two counters of a label set on two hosts.
func (p *page) series(o Objective, value string, length time.Duration, missed string) {
	for _, host := range []string{"a:9090", "b:9090"} {
		labels := []pair{{"slo", o.Name}, {"sli", o.SLI}}
		for _, by := range o.By {
			labels = append(labels, pair{by, value})
		}
		if !slices.Contains(o.By, "instance") {
			labels = append(labels, pair{"instance", host})
		} else if host[0] != 'a' {
			continue
		}
		for _, m := range [...]pair{
			{"slope_slo_events_total", fmt.Sprintf("0+%dx%d", int64(perMinute), length/time.Minute+1)},
			{"slope_slo_bad_events_total", missed},
		} {
			p.line(3, "- series: %s", quote(m.name+"{"+matchers(labels)+"}"))
			p.line(4, "values: %s", quote(m.value))
		}
	}
}

// spending are the bad events of a label set that keeps its objective.
func spending(o Objective, length time.Duration) string {
	return fmt.Sprintf("0+%dx%d", (whole-o.PPB)/calm, length/time.Minute+1)
}
