package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// IncidentVersion is the version of Incident's JSON. It grows when a field changes its meaning or goes.
const IncidentVersion = 1

// Incident is the report of a time in which an objective burned.
type Incident struct {
	Version   int            `json:"version"`
	Script    string         `json:"script"`
	Objective string         `json:"objective"`
	Sentence  string         `json:"sentence"`
	Labels    []check.Pair   `json:"labels,omitempty"`
	Runbook   string         `json:"runbook,omitempty"`
	Began     time.Time      `json:"began"` // when the objective began to burn, as far as its short window tells
	Fired     time.Time      `json:"fired"` // when the first alert fired
	Ended     time.Time      `json:"ended"`
	Ongoing   bool           `json:"ongoing"` // it still burned when the run ended
	Changes   []StateChange  `json:"changes"`
	Budget    BudgetChange   `json:"budget"`
	Bad       uint64         `json:"bad_events"` // from Began to Ended
	Total     uint64         `json:"events"`
	Worst     []WorstLabels  `json:"worst_label_sets,omitempty"`
	Before    *Distribution  `json:"before,omitempty"` // of a distribution: from the start of the run to Began
	During    *Distribution  `json:"during,omitempty"` // from Began to Ended
	Examples  []Example      `json:"examples,omitempty"`
	Maps      []CapturedMap  `json:"captured,omitempty"` // what probes collected that run only while the objective burns
	Stacks    []FoldedStack  `json:"stacks,omitempty"`   // the same, as one line for each stack
	Rates     []WindowStatus `json:"burn_rates"`

	unit check.Unit
}

// StateChange is a change of an alert's state.
type StateChange struct {
	At         time.Time `json:"at"`
	Group      []string  `json:"group,omitempty"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	BurnMilli  uint64    `json:"burn_rate_milli"` // over the long window of the alert
	LongWindow string    `json:"long_window,omitempty"`
	Factor     string    `json:"factor,omitempty"`
}

// BudgetChange is what is left of the error budget, in millionths.
type BudgetChange struct {
	Before int64 `json:"before_ppm"`
	After  int64 `json:"after_ppm"`
}

// WorstLabels is a label set with its bad events from Began to Ended.
type WorstLabels struct {
	Labels []string `json:"labels"`
	Bad    uint64   `json:"bad_events"`
	Total  uint64   `json:"events"`
}

// Distribution is numbers in observed units: nanoseconds, bytes.
type Distribution struct {
	Events  uint64   `json:"events"`
	Mean    float64  `json:"mean"`
	P50     float64  `json:"p50"`
	P90     float64  `json:"p90"`
	P99     float64  `json:"p99"`
	P999    float64  `json:"p99.9"`
	Max     float64  `json:"max"`
	Buckets []Bucket `json:"buckets"`
}

// Bucket is the values from Lower to Upper, both included.
type Bucket struct {
	Lower uint64 `json:"lower"`
	Upper uint64 `json:"upper"`
	Count uint64 `json:"count"`
}

// Example is a bad event.
type Example struct {
	Labels []string `json:"labels,omitempty"`
	Pid    uint32   `json:"pid"`
	Tid    uint32   `json:"tid"`
	Goid   uint64   `json:"goid,omitempty"`
	Value  uint64   `json:"value,omitempty"`
	Trace  string   `json:"trace_id,omitempty"`
}

// CapturedMap is a map as it is printed.
type CapturedMap struct {
	Name string `json:"map"`
	Text string `json:"text"`
}

// FoldedStack is one stack on a line, outermost call first, user code before the kernel's.
type FoldedStack struct {
	Map   string `json:"map"`
	Stack string `json:"stack"`
	Count uint64 `json:"count"`
}

// WindowStatus is the burn rate over a window at the end of the incident.
type WindowStatus struct {
	Window string `json:"window"`
	Milli  uint64 `json:"burn_rate_milli"`
	Bad    uint64 `json:"bad_events"`
	Total  uint64 `json:"events"`
}

// incident is one that is not over.
type incident struct {
	began, fired time.Time
	budget       int64
	changes      []StateChange
}

// follow opens, continues and closes the incident of an objective.
func (j *Judge) follow(o *check.SLO, c slo.Change) {
	if j.opt.Incidents == "" {
		return
	}
	in := j.open[o.Index]
	if in == nil {
		if c.To < slo.StateTicket {
			return
		}
		in = &incident{began: c.At.Add(-c.Cause.Short), fired: c.At, budget: c.BudgetLeft}
		j.open[o.Index] = in
	}
	change := StateChange{At: c.At, Group: GroupLabels(o, c.Group), From: c.From.String(), To: c.To.String(), BurnMilli: c.Long.Burn}
	if c.Cause.Den > 0 {
		change.LongWindow, change.Factor = c.Cause.Long.String(), check.Burn{Num: c.Cause.Num, Den: c.Cause.Den}.Factor()
	}
	in.changes = append(in.changes, change)
	j.mu.Lock()
	over := !j.tracker.Burning(o.Index)
	j.mu.Unlock()
	if over {
		j.closeIncident(o.Index)
	}
}

// closeIncident writes the report.
func (j *Judge) closeIncident(index int) {
	o, in := j.slos[index], j.open[index]
	delete(j.open, index)
	rep, err := j.incident(o, in)
	if err == nil {
		var files []string
		if files, err = rep.write(j.opt.Incidents); err == nil {
			j.opt.Listener.Incident(o, files)
			return
		}
	}
	j.opt.Listener.Trouble(fmt.Errorf("report the incident of slo '%s': %w", o.Name, err))
}

// incident collects everything that is known.
func (j *Judge) incident(o *check.SLO, in *incident) (*Incident, error) {
	now := j.opt.Clock().Wall
	rep := &Incident{Version: IncidentVersion, Script: j.opt.Script, Objective: o.Name, Sentence: j.opt.Sentence(o), Labels: o.Labels,
		Runbook: o.Runbook, Began: in.began.UTC(), Fired: in.fired.UTC(), Ended: now.UTC(), Changes: in.changes}
	j.mu.Lock()
	rep.Ongoing = j.tracker.Burning(o.Index)
	rep.Budget = BudgetChange{Before: in.budget, After: j.tracker.BudgetLeft(o.Index)}
	for _, g := range j.tracker.Status(o.Index) {
		if len(o.By) > 0 {
			break // each group has its own; the changes tell them
		}
		for _, w := range g.Burns {
			rep.Rates = append(rep.Rates, WindowStatus{w.Window.String(), w.Burn, w.Bad, w.Total})
		}
	}
	j.mu.Unlock()
	if err := j.counts(rep, o, in); err != nil {
		return nil, err
	}
	return rep, j.captured(rep, o)
}

// counts fills in what the indicator of an objective counted before and during the incident.
func (j *Judge) counts(rep *Incident, o *check.SLO, in *incident) error {
	l, w, ok := j.layoutOf(o)
	if !ok {
		return nil
	}
	rep.unit = l.SLI.Unit
	first, began, last := j.history.start(l), j.history.before(l, in.began), j.history.last(l)
	rep.Bad, rep.Total = last.words[w.Bad]-began.words[w.Bad], last.words[w.Total]-began.words[w.Total]
	for id, words := range last.labels {
		x := WorstLabels{Bad: words[w.Bad], Total: words[w.Total], Labels: []string{export.OtherLabel}}
		if was := began.labels[id]; was != nil {
			x.Bad, x.Total = x.Bad-was[w.Bad], x.Total-was[w.Total]
		}
		if id != otherLabels {
			x.Labels = export.LabelValues(l, []byte(id), j.opt.Values)
		}
		if x.Bad > 0 && len(l.SLI.Labels) > 0 {
			rep.Worst = append(rep.Worst, x)
		}
	}
	slices.SortFunc(rep.Worst, func(a, b WorstLabels) int {
		if a.Bad != b.Bad {
			return int(min(b.Bad, 1<<62)) - int(min(a.Bad, 1<<62))
		}
		return strings.Compare(strings.Join(a.Labels, "\x00"), strings.Join(b.Labels, "\x00"))
	})
	rep.Worst = rep.Worst[:min(len(rep.Worst), 10)]
	if l.SLI.Kind == check.Distribution {
		scale := agg.NewScale(l.SLI.Schema, l.SLI.Unit.PerBase())
		rep.Before, rep.During = distribution(difference(l, first, began).Dist(l, scale)), distribution(difference(l, began, last).Dist(l, scale))
	}
	series, err := j.series(l)
	if err != nil {
		return err
	}
	for _, x := range series {
		e, ok := x.Exemplar(l)
		id := string(x.Labels)
		if x.Other {
			id = otherLabels
		}
		if was := began.labels[id]; !ok || was != nil && was[l.Exemplar+lower.ExemplarTime] == e.Time {
			continue
		}
		rep.Examples = append(rep.Examples, Example{Labels: export.LabelValues(l, x.Labels, j.opt.Values), Pid: e.Pid, Tid: e.Tid, Goid: e.Goid,
			Value: e.Value, Trace: e.Trace})
	}
	return nil
}

func distribution(d agg.Dist) *Distribution {
	s := export.NewSummary(d)
	out := &Distribution{Events: d.Count, Mean: s.Mean, P50: s.P50, P90: s.P90, P99: s.P99, P999: s.P999, Max: s.Max, Buckets: []Bucket{}}
	const rows = 40
	for _, b := range export.DistBuckets(d, rows) {
		out.Buckets = append(out.Buckets, Bucket(b))
	}
	return out
}

// captured reads the maps that are filled by probes which run only while the objective burns.
func (j *Judge) captured(rep *Incident, o *check.SLO) error {
	names := map[string]bool{}
	for _, c := range j.opt.Object.Checked.Clauses {
		if c.Burning != o {
			continue
		}
		for m := range c.Info.Maps {
			names["@"+m.Text] = true
		}
	}
	for _, m := range j.opt.Object.IR.Maps {
		if !names[m.Name] || m.Value == nil {
			continue
		}
		s, err := agg.Read(m, func(f func(key, value []byte) error) error { return j.opt.Engine.Read(m, f) })
		if err != nil {
			return err
		}
		if len(s.Rows) == 0 {
			continue
		}
		var text bytes.Buffer
		out := export.NewText(export.TextOptions{Out: &text, Values: j.opt.Values})
		const rows = 20
		out.Map(s, rows, 0)
		rep.Maps = append(rep.Maps, CapturedMap{m.Name, strings.Trim(text.String(), "\n")})
		rep.Stacks = append(rep.Stacks, j.folded(m, s)...)
	}
	return nil
}

// folded are the stacks in the keys of a map of counts, the most frequent first.
func (j *Judge) folded(m *ir.Map, s *agg.Snapshot) []FoldedStack {
	if m.Key == nil || m.Value.Kind != types.Aggregate {
		return nil
	}
	elems := []*types.Type{m.Key}
	if m.Key.Kind == types.Tuple {
		elems = m.Key.Elems
	}
	var out []FoldedStack
	for _, row := range s.Rows {
		var rest, user, kernel []string
		raw := row.Key
		for _, t := range elems {
			part := raw[:t.Memory()]
			raw = raw[t.Memory():]
			switch {
			case t.Kind != types.Stack:
				rest = append(rest, string(j.opt.Values.AppendText(nil, t, part)))
			case t.User:
				user = append(user, j.opt.Values.Folded(t, part))
			default:
				kernel = append(kernel, j.opt.Values.Folded(t, part))
			}
		}
		if len(user)+len(kernel) == 0 {
			return nil
		}
		parts := slices.DeleteFunc(append(append(rest, user...), kernel...), func(s string) bool { return s == "" })
		out = append(out, FoldedStack{m.Name, strings.Join(parts, ";"), row.Words[0]})
	}
	slices.SortStableFunc(out, func(a, b FoldedStack) int { return int(min(b.Count, 1<<62)) - int(min(a.Count, 1<<62)) })
	const most = 100
	return out[:min(len(out), most)]
}

// write stores the report as JSON and as Markdown, and tells where.
func (rep *Incident) write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	base := filepath.Join(dir, "incident-"+rep.Objective+"-"+rep.Fired.Format("20060102T150405Z"))
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return nil, err
	}
	files := []string{base + ".json", base + ".md"}
	return files, errors.Join(os.WriteFile(files[0], append(text, '\n'), 0o644), os.WriteFile(files[1], rep.markdown(), 0o644))
}
