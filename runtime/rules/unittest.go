package rules

import (
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/yaml"
)

// What a unit test injects: so many events a minute on each host, a part of the budget that a quiet label set spends
// (less than any sensible pace), and how long a service keeps its objective before it slows down.
const (
	perMinute = whole
	calm      = 64
	before    = time.Hour
)

// unit is a unit test being written.
type unit struct {
	yaml.Page
	style Style
	list  []Objective
}

// WriteTest writes a unit test of a rule file for promtool. Each objective's service slows down: the alert must fire, and
// for the slow label set only, and for the composites that it is a part of. Few bad events must be held back and the lack
// of any must be told, where the script asks for it. At last all budgets burn slowly, and nothing may fire.
func WriteTest(w io.Writer, list []Objective, s Style, file string) error {
	if err := Valid(list, s); err != nil {
		return err
	}
	u := unit{style: s, list: list}
	u.Note(0, "Run it with promtool test rules. Written by slope rules --test; do not edit.")
	u.Line(0, "rule_files: [%s]", yaml.Quote(file))
	u.Line(0, "evaluation_interval: 1m")
	u.Line(0, "tests:")
	for _, o := range list {
		alarms := s.names(o).alarms(o)
		if len(alarms) > 0 && len(alarms[0].paces) > 0 && alarms[0].paces[0].threshold(o).Cmp(o.full()) < 0 {
			u.slowDown(o, alarms[0])
			u.few(o)
		} else {
			u.Note(1, "no alert of "+o.Name+" can fire: there is no slow-down to test")
		}
		if o.NoData == check.AlertNoData {
			u.nothing(o, alarms[len(alarms)-1].alert)
		}
	}
	u.quiet()
	if _, err := w.Write(u.Bytes()); err != nil {
		return fmt.Errorf("write unit test: %w", err)
	}
	return nil
}

// slowDown is the part in which all events of two hosts become bad, and stay so until an alert's first pace is reached.
func (u *unit) slowDown(o Objective, first alarm) {
	u.test("a slow-down of " + u.style.names(o).key + " fires")
	length := first.paces[0].takes(o)
	events := uint64(perMinute)
	for _, x := range u.list {
		events = max(events, x.MinEvents)
	}
	all := strconv.FormatUint(events, 10)
	machines := u.machines(o)
	sets := 1
	for _, c := range o.counted() {
		for _, host := range machines {
			u.counters(c, "slow", host, fmt.Sprintf("0+%sx%d", all, (before+length)/time.Minute),
				fmt.Sprintf("0+0x%d %s+%[2]sx%d", before/time.Minute, all, length/time.Minute-1))
			if len(c.By) > 0 {
				sets = 2
				u.counters(c, "quiet", host, fmt.Sprintf("0+%sx%d", all, (before+length)/time.Minute),
					fmt.Sprintf("0+%sx%d", spending(c), (before+length)/time.Minute))
			}
		}
	}
	u.silence(before, o)
	expected := 0
	for _, x := range u.list {
		fed, of := u.fed(x, o), "" // of a composite's part, no labels are fed
		if fed.Sign() == 0 {
			continue
		}
		if x.SLO == o.SLO {
			of = "slow"
		}
		for _, a := range u.style.names(x).alarms(x) {
			if a.alert != first.alert || !slices.ContainsFunc(a.paces, func(p pace) bool {
				return p.reached(x, fed, length) && u.enough(x, o, p, len(machines)*map[bool]int{true: 1, false: sets}[x.SLO == o.SLO], before+length)
			}) {
				continue
			}
			if expected++; expected == 1 {
				u.alerts(before+length, first.alert)
			}
			labels := slices.Clone(a.labels)
			for _, by := range x.By {
				if of != "" {
					labels = append(labels, yaml.Pair{Name: by, Value: of})
				}
			}
			u.fires(labels, u.style.names(x).annotations(x, "100%", func(string) string { return of }, plain))
		}
	}
}

// machines are as many hosts as it takes for the minutes of an objective to be as many as its alerts want, at least two.
func (u *unit) machines(o Objective) []string {
	out := hosts(o)
	if !slices.ContainsFunc(o.counted(), func(c Objective) bool { return c.Minutes }) {
		return out
	}
	const most = 50
	for p := o.all()[0]; len(out) < most && o.MinEvents > uint64(len(out))*uint64(p.Short/time.Minute-1); {
		out = append(out, fmt.Sprintf("c%d:9090", len(out)))
	}
	return out
}

// enough tells whether an objective has as many events as a pace wants, when those of another one are fed: as many minutes
// as there are, or events without end.
func (u *unit) enough(x, fed Objective, p pace, series int, length time.Duration) bool {
	minutes := 0
	for _, c := range x.counted() {
		switch {
		case !slices.ContainsFunc(fed.counted(), func(f Objective) bool { return f.SLO == c.SLO }):
		case !c.Minutes:
			return true
		default:
			minutes += series * int(min(p.Short, length)/time.Minute)
		}
	}
	return x.MinEvents <= uint64(minutes)
}

// fed is the ratio of an objective when all events of another one are bad, and of the others there are none: 0 when it
// has nothing to do with it.
func (u *unit) fed(x, bad Objective) *big.Rat {
	is := func(p Objective) bool {
		return slices.ContainsFunc(bad.counted(), func(c Objective) bool { return c.SLO == p.SLO })
	}
	if x.Parts == nil {
		if is(x) {
			return x.full()
		}
		return new(big.Rat)
	}
	return x.burn(is)
}

// takes is after how many bad minutes a pace is reached for sure: the short window is full of them, and of what the long
// one sees, which may be less than its length, so many are bad that the ratio is well above the threshold.
func (p pace) takes(o Objective) time.Duration {
	least, _ := new(big.Rat).Quo(p.threshold(o), o.full()).Float64()
	least = (1 + least) / 2
	minutes := time.Duration(before.Minutes()*least/(1-least)) * time.Minute
	return max(p.Short, min(p.Long, minutes)) + 10*time.Minute
}

// reached tells whether both windows of a pace are above its threshold, some minutes after all events became bad.
func (p pace) reached(o Objective, ratio *big.Rat, minutes time.Duration) bool {
	for _, w := range [...]time.Duration{p.Short, p.Long} {
		part := big.NewRat(int64(min(minutes, w)), int64(min(before+minutes, w)))
		if part.Mul(part, ratio).Cmp(p.threshold(o)) <= 0 {
			return false
		}
	}
	return true
}

// few is the part in which there are half as many events as an alert wants, all of them bad; where it does not say so,
// there are two, one of them bad.
func (u *unit) few(o Objective) {
	const at = 4 * time.Minute
	if o.MinEvents == 1 || o.budget().Sign() == 0 {
		return // one minute, or one bad event, would be enough
	}
	u.test("few events of " + u.style.names(o).key + " fire nothing")
	total, bad := 2., 1.
	if o.MinEvents > 0 {
		total = float64(o.MinEvents) / 2 / float64(len(o.counted()))
		bad = total
	}
	for _, c := range o.counted() {
		step := func(n float64) string { return "0x1 " + strconv.FormatFloat(n, 'g', -1, 64) + "x2" }
		u.counters(c, "slow", hosts(c)[0], step(total), step(bad))
		if o.MinEvents == 0 {
			bad = 0 // of the first part only
		}
	}
	u.silence(at, o)
}

// quiet is the part in which no budget burns fast, so that nothing fires.
func (u *unit) quiet() {
	u.test("what is quiet fires nothing")
	length := before + 10*time.Minute
	for _, o := range u.list {
		if o.Parts != nil {
			continue // its parts are in the list
		}
		for _, host := range hosts(o) {
			u.counters(o, "quiet", host, fmt.Sprintf("0+%dx%d", int64(perMinute), length/time.Minute), fmt.Sprintf("0+%sx%d", spending(o), length/time.Minute))
		}
	}
	u.silence(length, Objective{})
}

// nothing is the part in which events end, and another in which there never were any.
func (u *unit) nothing(o Objective, alert string) {
	end := before + 3*noDataAfter
	for _, events := range []bool{true, false} {
		if events {
			u.test("when events end, " + u.style.names(o).key + " fires")
			for _, c := range o.counted() {
				u.counters(c, "quiet", "a:9090", fmt.Sprintf("0+1x%d %[1]d+0x%[2]d", before/time.Minute, (end-before)/time.Minute), fmt.Sprintf("0+0x%d", end/time.Minute))
			}
			u.silence(before, o)
		} else {
			u.test("without hosts, " + u.style.names(o).key + " fires")
		}
		u.alerts(end, alert)
		for _, x := range u.list { // the others have no events either
			if x.NoData == check.AlertNoData {
				alarms := u.style.names(x).alarms(x)
				u.fires(alarms[len(alarms)-1].labels, x.noDataAnnotations(plain))
			}
		}
	}
}

func plain(s string) string { return s }

// test begins one part.
func (u *unit) test(name string) {
	u.Line(1, "- name: %s", yaml.Quote(name))
	u.Line(2, "interval: 1m")
	u.Line(2, "input_series:")
}

// silence wants that no alert of an objective fires; without a name, none at all.
func (u *unit) silence(at time.Duration, o Objective) {
	labels := []yaml.Pair{{Name: "alertstate", Value: "firing"}}
	if o.SLO != nil {
		labels = append(labels, u.style.names(o).labels...)
	}
	u.Line(2, "promql_expr_test:")
	u.Line(3, "- expr: %s", yaml.Quote("ALERTS{"+matchers(labels)+"}"))
	u.Line(4, "eval_time: %s", duration(at))
	u.Line(4, "exp_samples: []")
}

// alerts begins the list of the alerts of one name that must fire.
func (u *unit) alerts(at time.Duration, alert string) {
	u.Line(2, "alert_rule_test:")
	u.Line(3, "- eval_time: %s", duration(at))
	u.Line(4, "alertname: %s", alert)
	u.Line(4, "exp_alerts:")
}

func (u *unit) fires(labels, annotations []yaml.Pair) {
	u.Line(5, "-")
	u.Pairs(6, "exp_labels", labels)
	u.Pairs(6, "exp_annotations", annotations)
}

// hosts are those that an objective's counters are on: two, unless it is kept by host.
func hosts(o Objective) []string {
	if slices.Contains(o.By, "instance") {
		return []string{"a:9090"}
	}
	return []string{"a:9090", "b:9090"}
}

// counters are the two counters of a label set on one host.
func (u *unit) counters(o Objective, value, host, total, bad string) {
	labels := o.own()
	for _, by := range o.By {
		labels = append(labels, yaml.Pair{Name: by, Value: value})
	}
	if !slices.Contains(o.By, "instance") {
		labels = append(labels, yaml.Pair{Name: "instance", Value: host})
	}
	for _, m := range [...]yaml.Pair{{Name: totalMetric, Value: total}, {Name: badMetric, Value: bad}} {
		u.Line(3, "- series: %s", yaml.Quote(m.Name+"{"+matchers(labels)+"}"))
		u.Line(4, "values: %s", yaml.Quote(m.Value))
	}
}

// spending is how many events a minute a label set that keeps its objective spoils: none of one that counts minutes,
// since one bad event spoils a minute.
func spending(o Objective) string {
	if o.Minutes {
		return "0"
	}
	n := new(big.Rat).Mul(o.budget(), big.NewRat(perMinute, calm))
	f, _ := n.Float64()
	return strconv.FormatUint(uint64(f), 10)
}
