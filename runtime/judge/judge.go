// Package judge follows the objectives of a running script.
//
// Algorithm: on every boundary of a slot of 10 s of wall time it reads the counters of all indicators, adds them up by the
// groups that the objectives are kept by, and hands them to the tracker of runtime/slo, which knows windows, budgets and
// alerts. What follows from the answer happens at once: programs that run only while an objective burns are attached or
// detached, the words that programs read about objectives are stored, alert probes run, incidents are opened and closed.
// Once a minute and at the end the history is saved, if there is a place for it.
//
// Invariants: counters are read from the kernel only, never estimated; every decision is the tracker's; whoever reads the
// status sees the last boundary. A failure to save or to write a report is told and does not end the run.
//
// This package prints nothing: it tells a Listener. Start at New, Start, Run and Finish.
package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// slot is how often objectives are judged; saveEvery how often the history is saved.
const (
	slot      = 10 * time.Second
	saveEvery = time.Minute
)

// Listener is told what happens, on the goroutine of Run.
type Listener interface {
	Changed(o *check.SLO, c slo.Change)
	Gated(o *check.SLO, g engine.GateChange)
	Incident(o *check.SLO, files []string) // a report was written
	Trouble(err error)                     // something failed that the run goes on without
}

// Engine runs the script's programs and holds what they count: engine.Engine in the kernel, simulate.Machine in a test.
type Engine interface {
	Read(m *ir.Map, f func(key, value []byte) error) error
	Inherits(l *lower.SLILayout) bool
	Spans(l *lower.SLILayout) (engine.Spans, error)
	Losses() (losses []engine.Loss, damaged uint64, err error)
	Programs() ([]engine.ProgramStats, error)
	SetObjectives(all []engine.Objective) ([]engine.GateChange, error)
	Alert(objective, state, group string) error
}

// Options is what a judge needs.
type Options struct {
	Object    *compiler.Object
	Engine    Engine
	Values    export.Values
	Sentence  func(*check.SLO) string
	Listener  Listener
	State     string // directory of the history, "" for none
	Incidents string // directory of incident reports, "" for none
	Script    string // name of the script in reports and of the history's file
	Clock     func() slo.Instant
	Previous  *Judge // of the generation before, whose history goes on: see Continue; nil for none
}

// Judge follows the objectives of one run.
type Judge struct {
	opt     Options
	slos    []*check.SLO
	ticking sync.Mutex // held while it reads, judges and acts
	mu      sync.Mutex // guards the tracker
	tracker *slo.Tracker
	store   *slo.Store
	saved   time.Time
	history history
	open    map[int]*incident

	resumed map[string]bool        // objectives that go on from the generation before
	base    map[string]slo.Reading // what maps counted that were not kept
	paused  bool
}

// New prepares the objectives and reads their history. notes say what became of the history that was found.
func New(opt Options) (j *Judge, notes []string, err error) {
	if opt.Clock == nil {
		opt.Clock = Now
	}
	j = &Judge{opt: opt, slos: opt.Object.Checked.SLOs, open: map[int]*incident{}, history: history{keep: opt.Incidents != ""}}
	objectives := make([]slo.Objective, len(j.slos))
	for i, o := range j.slos {
		objectives[i] = objective(o, opt.Object.Checked.File)
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if j.tracker, err = slo.NewTracker(objectives, slo.Options{BootID: strings.TrimSpace(string(boot)), Pinned: opt.Previous != nil}); err != nil {
		return nil, nil, err
	}
	if opt.Previous != nil {
		notes, err := j.takeOver(opt.Previous)
		return j, notes, err
	}
	if opt.State == "" {
		return j, nil, nil
	}
	if j.store, err = slo.OpenStore(opt.State, opt.Script); err != nil {
		return nil, nil, err
	}
	loaded, err := j.store.Load(j.tracker, opt.Clock())
	if err != nil {
		j.store.Close()
		return nil, nil, err
	}
	j.saved = opt.Clock().Wall
	return j, loaded.Notes(), nil
}

// Now is the time on both clocks.
func Now() slo.Instant {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return slo.Instant{Wall: time.Now()}
	}
	return slo.Instant{Wall: time.Now(), Boot: time.Duration(ts.Nano())}
}

// objective is a declaration as the tracker wants it.
func objective(o *check.SLO, file *syntax.File) slo.Objective {
	out := slo.Objective{Name: o.Name, Key: key(o, file), PPB: o.PPB, Grouped: len(o.By) > 0, Minutes: o.Minutes,
		MinEvents: o.MinEvents, NoData: slo.NoDataPolicy(o.NoData), Page: burns(o.Page), Ticket: burns(o.Ticket),
		Window: slo.Window{Rolling: time.Duration(o.Window), Zone: o.Zone}}
	switch o.Calendar {
	case "week":
		out.Window.Period = slo.Week
	case "month":
		out.Window.Period = slo.Month
	case "quarter":
		out.Window.Period = slo.Quarter
	}
	for _, p := range o.Parts {
		out.Parts = append(out.Parts, slo.Part{Objective: p.SLO.Index, Weight: p.Weight})
	}
	return out
}

func burns(list []check.Burn) []slo.Burn {
	var out []slo.Burn
	for _, b := range list {
		out = append(out, slo.Burn{Num: b.Num, Den: b.Den, Long: b.Long, Short: b.Short})
	}
	return out
}

// key is a hash of what an objective counts: its indicator and its condition, blanks left aside. Its target, its window
// and its alerts are not part of it: when they change, the history is kept.
func key(o *check.SLO, file *syntax.File) string {
	h := sha256.New()
	if o.SLI != nil {
		span := o.SLI.Node.Span()
		fmt.Fprintln(h, strings.Join(strings.Fields(file.Source.Text[span.Start:span.End]), " "))
		for _, f := range o.Filters {
			fmt.Fprintln(h, "filter", syntax.ExprString(f))
		}
		if o.Where != nil {
			fmt.Fprintln(h, "where", syntax.ExprString(o.Where))
		}
		fmt.Fprintln(h, o.Op, o.Limit, o.By, o.Minutes)
	}
	for _, p := range o.Parts {
		fmt.Fprintln(h, p.SLO.Name, p.Weight, key(p.SLO, file))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Start begins the observation: the probes are attached from now on.
func (j *Judge) Start() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tracker.Observe(j.opt.Clock(), nil)
}

// Run judges on every boundary of a slot until ctx ends.
func (j *Judge) Run(ctx context.Context) {
	for {
		now := j.opt.Clock().Wall
		wait := time.NewTimer(now.Truncate(slot).Add(slot).Sub(now))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
			j.Tick()
		}
	}
}

// Tick reads, judges, and does what follows.
func (j *Judge) Tick() {
	j.ticking.Lock()
	defer j.ticking.Unlock()
	changes, err := j.observe()
	if err != nil {
		j.opt.Listener.Trouble(err)
		return
	}
	j.tell()
	for _, c := range changes {
		o := j.slos[c.Objective]
		j.opt.Listener.Changed(o, c)
		if err := j.opt.Engine.Alert(o.Name, StateName(c.To), j.groupText(o, c.Group)); err != nil {
			j.opt.Listener.Trouble(err)
		}
		j.follow(o, c) // which may take its time to write a report
	}
	if j.store != nil && j.opt.Clock().Wall.Sub(j.saved) >= saveEvery {
		j.save()
	}
}

// Finish judges a last time, writes the reports of incidents that are still open, and saves the history.
func (j *Judge) Finish() error {
	j.Pause(false)
	j.ticking.Lock()
	defer j.ticking.Unlock()
	changes, err := j.observe()
	if err != nil {
		return err
	}
	for _, c := range changes {
		j.opt.Listener.Changed(j.slos[c.Objective], c)
		j.follow(j.slos[c.Objective], c)
	}
	for index := range j.open {
		j.closeIncident(index)
	}
	if j.store != nil {
		j.save()
	}
	return nil
}

// Close lets go of the history's file.
func (j *Judge) Close() error {
	if j.store == nil {
		return nil
	}
	return j.store.Close()
}

func (j *Judge) save() {
	j.mu.Lock()
	err := j.store.Save(j.tracker)
	j.mu.Unlock()
	j.saved = j.opt.Clock().Wall
	if err != nil {
		j.opt.Listener.Trouble(err)
	}
}

// observe reads all counters and hands them to the tracker.
func (j *Judge) observe() ([]slo.Change, error) {
	readings, err := j.read()
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.paused {
		return nil, nil
	}
	return j.tracker.Observe(j.opt.Clock(), readings), nil
}

// read reads all counters.
func (j *Judge) read() ([]slo.Reading, error) {
	var readings []slo.Reading
	for _, l := range j.opt.Object.Layout.SLIs {
		series, err := j.series(l)
		if err != nil {
			return nil, err
		}
		missing, _, _, err := Unknown(j.opt.Object, j.opt.Engine, l)
		if err != nil {
			return nil, err
		}
		j.history.note(l, series, j.opt.Clock().Wall)
		readings = append(readings, j.readings(l, series, missing)...)
	}
	return readings, nil
}

func (j *Judge) series(l *lower.SLILayout) ([]agg.Series, error) {
	reader := func(m *ir.Map) agg.Reader {
		return func(f func(key, value []byte) error) error { return j.opt.Engine.Read(m, f) }
	}
	return agg.ReadSLI(l, reader(l.Value), reader(l.Other))
}

// readings adds up an indicator's counters by the groups of each of its objectives. Nobody knows to which group a lost
// event belongs, so each counts all of them.
func (j *Judge) readings(l *lower.SLILayout, series []agg.Series, missing uint64) []slo.Reading {
	var out []slo.Reading
	for _, w := range l.Objectives {
		if w.SLO == nil {
			continue
		}
		first, place := len(out), map[string]int{}
		for _, x := range series {
			group := strings.Join(j.groupValues(l, w.SLO, x), "\x00")
			at, ok := place[group]
			if !ok {
				at = len(out)
				place[group], out = at, append(out, slo.Reading{Objective: w.SLO.Index, Group: group, Lost: missing})
			}
			out[at].Bad += x.Words[w.Bad]
			out[at].Total += x.Words[w.Total]
		}
		if len(out) == first && len(w.SLO.By) == 0 {
			out = append(out, slo.Reading{Objective: w.SLO.Index, Lost: missing})
		}
		for i := first; i < len(out); i++ {
			b := j.base[baseKey(w.SLO, out[i].Group)]
			out[i].Bad, out[i].Total, out[i].Lost = out[i].Bad+b.Bad, out[i].Total+b.Total, out[i].Lost+b.Lost
		}
	}
	return out
}

// groupValues are the values of the labels that an objective is kept by.
func (j *Judge) groupValues(l *lower.SLILayout, o *check.SLO, x agg.Series) []string {
	if len(o.By) == 0 {
		return nil
	}
	all := export.LabelValues(l, x.Labels, j.opt.Values)
	out := make([]string, len(o.By))
	for i, at := range o.By {
		out[i] = export.OtherLabel
		if !x.Other && at < len(all) {
			out[i] = all[at]
		}
	}
	return out
}

// GroupLabels are the labels of a group as name=value.
func GroupLabels(o *check.SLO, group string) []string {
	if len(o.By) == 0 {
		return nil
	}
	values := strings.Split(group, "\x00")
	out := make([]string, 0, len(values))
	for i, at := range o.By {
		if i < len(values) {
			out = append(out, o.SLI.Labels[at].Name+"="+values[i])
		}
	}
	return out
}

func (j *Judge) groupText(o *check.SLO, group string) string {
	return strings.Join(GroupLabels(o, group), ", ")
}

// StateName is a state as alert probes name it.
func StateName(s slo.State) string {
	return map[slo.State]string{slo.StateOK: "ok", slo.StateNoData: "nodata", slo.StateTicket: "ticket", slo.StatePage: "page"}[s]
}

// tell hands the state of every objective to the programs.
func (j *Judge) tell() {
	all := make([]engine.Objective, len(j.slos))
	j.mu.Lock()
	for i, o := range j.slos {
		all[i] = engine.Objective{Burning: j.tracker.Burning(i), Budget: j.tracker.BudgetLeft(i),
			BurnRate: int64(min(j.tracker.BurnRate(i, shortest(o)), 1<<62))}
	}
	j.mu.Unlock()
	gates, err := j.opt.Engine.SetObjectives(all)
	for _, g := range gates {
		j.opt.Listener.Gated(j.slos[g.Objective], g)
	}
	if err != nil {
		j.opt.Listener.Trouble(err)
	}
}

// shortest is the shortest window of an objective's alerts.
func shortest(o *check.SLO) time.Duration {
	out := 5 * time.Minute
	for i, b := range append(append([]check.Burn(nil), o.Page...), o.Ticket...) {
		if i == 0 || b.Short < out {
			out = b.Short
		}
	}
	return out
}
