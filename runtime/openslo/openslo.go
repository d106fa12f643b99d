// Package openslo writes a script's objectives as OpenSLO v1: a service, the data source, and for each objective an
// indicator, the objective, and an alert policy for each of its burn rates.
//
// An indicator is the ratio of two of the counters that every host exports, as PromQL. What OpenSLO cannot say stands in
// an annotation: the labels an objective is kept by, the short window of a burn rate, the minimum of events. Objectives
// over minutes are time slices of a minute, all of whose samples must be good; composites have weighted objectives.
//
// Invariants: the same objectives give the same bytes. Names become DNS labels, since OpenSLO allows no others; what was
// written is the display name. Numbers are written exactly, but burn rates that are no decimal fraction. An objective
// that OpenSLO does not allow is left out, and a comment says why. The package opens no file. Start at Write.
package openslo

import (
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/rules"
	"github.com/slopebpf/slope/runtime/yaml"
)

// Names of the data source, and of what slope adds in annotations.
const (
	source = "slope"
	prefix = "slope/"
)

// writer writes one file.
type writer struct {
	yaml.Page
	names map[string]string // what is called so, by kind and DNS label
}

// Write writes one file of all objectives. Objectives of one service stay together.
func Write(out io.Writer, list []rules.Objective) error {
	if err := rules.Valid(list, rules.Slope); err != nil {
		return err
	}
	w := writer{names: map[string]string{}}
	w.Note(0, "Objectives in OpenSLO v1. Written by slope openslo; do not edit.")
	w.dataSource()
	services := map[string]bool{}
	for _, o := range list {
		if !services[o.Service] {
			services[o.Service] = true
			if err := w.object("Service", o.Service, nil); err != nil {
				return err
			}
			w.Line(0, "spec:")
			w.Line(1, "description: %s", yaml.Quote("What the script "+o.Service+" measures"))
		}
		if err := w.objective(o); err != nil {
			return err
		}
	}
	if _, err := out.Write(w.Bytes()); err != nil {
		return fmt.Errorf("write OpenSLO: %w", err)
	}
	return nil
}

// object begins an object.
func (w *writer) object(kind, name string, labels []yaml.Pair, annotations ...yaml.Pair) error {
	label := dns(name)
	if old, ok := w.names[kind+" "+label]; ok {
		return fmt.Errorf("'%s' and '%s' are both called %s in OpenSLO: rename one", old, name, label)
	}
	if len(w.names) > 0 { // in front of the first, some readers see an empty document
		w.Line(0, "---")
	}
	w.names[kind+" "+label] = name
	w.Line(0, "apiVersion: openslo/v1")
	w.Line(0, "kind: %s", kind)
	w.meta(0, name, labels, annotations)
	return nil
}

func (w *writer) meta(indent int, name string, labels, annotations []yaml.Pair) {
	w.Line(indent, "metadata:")
	w.Line(indent+1, "name: %s", dns(name))
	if dns(name) != name {
		w.Line(indent+1, "displayName: %s", yaml.Quote(name[:min(len(name), 63)]))
	}
	w.Pairs(indent+1, "labels", labels)
	w.Pairs(indent+1, "annotations", annotations)
}

// dns makes a DNS label of a name.
func dns(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	s := b.String()
	s = strings.Trim(s[:min(len(s), 63)], "-")
	if s == "" {
		return "x"
	}
	return s
}

func (w *writer) dataSource() {
	_ = w.object("DataSource", source, nil) // the first of all names
	w.Line(0, "spec:")
	w.Line(1, "description: %s", yaml.Quote("Counters that slope keeps in the kernel and exports to Prometheus"))
	w.Line(1, "type: ebpf")
	w.Line(1, "connectionDetails:")
	w.Line(2, "exporter: slope")
	w.Line(2, "metricsPath: /metrics")
	w.Line(2, "port: 9435")
}

// objective writes an objective with all that belongs to it.
func (w *writer) objective(o rules.Objective) error {
	for _, part := range parts(o) {
		if part.PPB == billion {
			w.Note(0, "slo "+o.Name+" = "+o.Text+" is left out: OpenSLO knows no objective of 100%")
			return nil
		}
	}
	var labels []yaml.Pair
	for _, l := range o.Labels {
		labels = append(labels, yaml.Pair{Name: strings.Trim(l.Name, "_"), Value: l.Value})
	}
	if o.Parts == nil {
		if err := w.indicator(o, labels); err != nil {
			return err
		}
	}
	policies, err := w.policies(o, labels)
	if err != nil {
		return err
	}
	if err := w.object("SLO", o.Name, labels, annotations(o)...); err != nil {
		return err
	}
	w.Line(0, "spec:")
	w.Line(1, "description: %s", yaml.Quote(short(o.Text)))
	w.Line(1, "service: %s", dns(o.Service))
	if o.Parts == nil {
		w.Line(1, "indicatorRef: %s", dns(o.Name))
	}
	if err := w.window(o); err != nil {
		return err
	}
	method := "Occurrences"
	if o.Minutes {
		method = "Timeslices"
	}
	w.Line(1, "budgetingMethod: %s", method)
	w.Line(1, "objectives:")
	for i, part := range parts(o) {
		w.Line(2, "- displayName: %s", yaml.Quote(part.Name))
		w.Line(3, "target: %s", share(part.PPB))
		if o.Minutes {
			w.Line(3, "timeSliceTarget: 1")
			w.Line(3, "timeSliceWindow: 1m")
		}
		if o.Parts != nil {
			w.Line(3, "indicatorRef: %s", dns(part.Name))
			w.Line(3, "compositeWeight: %d", o.Parts[i].Weight)
		}
	}
	if len(policies) > 0 {
		w.Line(1, "alertPolicies:")
		for _, p := range policies {
			w.Line(2, "- alertPolicyRef: %s", dns(p))
		}
	}
	return nil
}

const billion = 1_000_000_000

// parts are the objectives that an objective has in OpenSLO: itself, or those of a composite.
func parts(o rules.Objective) (out []*check.SLO) {
	for _, p := range o.Parts {
		out = append(out, p.SLO)
	}
	if out == nil {
		out = []*check.SLO{o.SLO}
	}
	return out
}

// annotations say what OpenSLO cannot.
func annotations(o rules.Objective) (out []yaml.Pair) {
	add := func(name, value string) {
		if value != "" {
			out = append(out, yaml.Pair{Name: prefix + name, Value: value})
		}
	}
	add("by", strings.Join(o.By, ","))
	if o.MinEvents > 0 {
		add("min-events", fmt.Sprint(o.MinEvents))
	}
	if o.NoData != check.IgnoreNoData {
		add("nodata", o.NoData.String())
	}
	add("runbook", o.Runbook)
	return out
}

// indicator writes the ratio of an objective's counters.
func (w *writer) indicator(o rules.Objective, labels []yaml.Pair) error {
	if err := w.object("SLI", o.Name, labels, yaml.Pair{Name: prefix + "sli", Value: o.SLI.Name}); err != nil {
		return err
	}
	w.Line(0, "spec:")
	if doc := o.SLI.Doc; doc != "" {
		w.Line(1, "description: %s", yaml.Quote(short(doc)))
	}
	w.Line(1, "ratioMetric:")
	w.Line(2, "counter: true")
	for _, m := range [...]struct{ name, query string }{{"bad", o.BadQuery()}, {"total", o.TotalQuery()}} {
		w.Line(2, "%s:", m.name)
		w.Line(3, "metricSource:")
		w.Line(4, "metricSourceRef: %s", source)
		w.Line(4, "type: Prometheus")
		w.Line(4, "spec:")
		w.Line(5, "query: %s", yaml.Quote(m.query))
	}
	return nil
}

// policies writes an alert policy for each burn rate, since OpenSLO allows one condition each, and returns their names.
func (w *writer) policies(o rules.Objective, labels []yaml.Pair) (names []string, err error) {
	for _, s := range []struct {
		severity string
		burns    []check.Burn
	}{{"page", o.Page}, {"ticket", o.Ticket}} {
		for i, b := range s.burns {
			long, err := shorthand(b.Long)
			if err != nil {
				return nil, fmt.Errorf("slo '%s': %w", o.Name, err)
			}
			name := fmt.Sprintf("%s-%s-%d", o.Name, s.severity, i+1)
			names = append(names, name)
			w.target(s.severity)
			if err := w.object("AlertPolicy", name, labels); err != nil {
				return nil, err
			}
			w.Line(0, "spec:")
			w.Line(1, "alertWhenBreaching: true")
			w.Line(1, "alertWhenResolved: true")
			w.Line(1, "alertWhenNoData: %t", o.NoData == check.AlertNoData)
			w.Line(1, "conditions:")
			w.Line(2, "- kind: AlertCondition")
			w.meta(3, name, nil, []yaml.Pair{{Name: prefix + "short-window", Value: rules.Duration(b.Short)}})
			w.Line(3, "spec:")
			w.Line(4, "severity: %s", s.severity)
			w.Line(4, "condition:")
			w.Line(5, "kind: burnrate")
			w.Line(5, "op: gt")
			w.Line(5, "threshold: %s", factor(b))
			w.Line(5, "lookbackWindow: %s", long)
			w.Line(1, "notificationTargets:")
			w.Line(2, "- targetRef: %s", s.severity)
		}
	}
	return names, nil
}

// target writes whom the alerts of a severity are for, once; who that is, is for the Alertmanager to know.
func (w *writer) target(severity string) {
	if w.object("AlertNotificationTarget", severity, nil) != nil {
		return // it is there
	}
	w.Line(0, "spec:")
	w.Line(1, "target: alertmanager")
	w.Line(1, "description: %s", yaml.Quote("Receiver of alerts with the label severity="+severity))
}

// window writes the time window. Calendar periods are counted from a day on which a week, a month and a quarter begin.
func (w *writer) window(o rules.Objective) error {
	w.Line(1, "timeWindow:")
	if o.Calendar == "" {
		length, err := shorthand(o.Nominal())
		if err != nil {
			return fmt.Errorf("slo '%s': %w", o.Name, err)
		}
		w.Line(2, "- duration: %s", length)
		w.Line(3, "isRolling: true")
		return nil
	}
	zone := o.Zone
	if zone == "" {
		zone = "UTC"
	}
	w.Line(2, "- duration: %s", map[string]string{"week": "1w", "month": "1M", "quarter": "1Q"}[o.Calendar])
	w.Line(3, "isRolling: false")
	w.Line(3, "calendar:")
	w.Line(4, "startTime: '2024-01-01 00:00:00'")
	w.Line(4, "timeZone: %s", yaml.Quote(zone))
	return nil
}

// shorthand writes a duration as OpenSLO does: a whole number of one unit, at least minutes.
func shorthand(d time.Duration) (string, error) {
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.length == 0 {
			return fmt.Sprintf("%d%s", d/u.length, u.name), nil
		}
	}
	return "", fmt.Errorf("got a window of %s, OpenSLO knows whole minutes only", d)
}

// share writes parts per billion as a part.
func share(ppb uint64) string {
	s := strings.TrimRight(fmt.Sprintf("0.%09d", ppb), "0")
	if strings.HasSuffix(s, ".") {
		return s + "0"
	}
	return s
}

// factor writes a burn rate.
func factor(b check.Burn) string {
	r := new(big.Rat).SetFrac(new(big.Int).SetUint64(b.Num), new(big.Int).SetUint64(b.Den))
	return strings.TrimSuffix(strings.TrimRight(r.FloatString(9), "0"), ".")
}

// short cuts a description to what OpenSLO allows.
func short(s string) string {
	const most = 1050
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
