package judge_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
)

const handed = `sli calls { tracepoint:syscalls:sys_enter_getpriority /comm == "judge.test"/ { event(args.which == 0); } }
slo fine = 99% of calls over 30d { page = burn(10, 1m, 10s); ticket = none; min_events = 10; }
`

// coverage is the part of five minutes that was observed.
func (r *run) coverage() float64 {
	r.t.Helper()
	for _, w := range r.judge.Status()[0].Groups[0].Windows {
		if w.Window == 5*time.Minute {
			return *w.Coverage
		}
	}
	r.t.Fatalf("no window of five minutes in %+v", r.judge.Status())
	return 0
}

// TestPause does not observe for a while: that time is not observed, and what was counted before counts.
func TestPause(t *testing.T) {
	r := begin(t, handed, "", morning)
	calls(100, 0, 1)
	r.tick(6)
	if c := r.coverage(); math.Abs(c-0.2) > 0.001 {
		t.Errorf("a minute of five was observed, got %f", c)
	}
	calls(10, 0, 1) // until the pause begins they count as well
	r.judge.Pause(true)
	r.tick(5)
	r.judge.Pause(false)
	r.tick(1)
	if c := r.coverage(); math.Abs(c-0.2) > 0.001 {
		t.Errorf("after a minute of pause %f of five minutes is observed", c)
	}
	r.tick(3)
	if c := r.coverage(); math.Abs(c-0.3) > 0.001 {
		t.Errorf("half a minute later %f of five minutes is observed", c)
	}
	if o := r.judge.Reports()[0]; o.Total != 110 || o.Bad != 0 || o.State != export.OK {
		t.Errorf("got %+v", o)
	}
}

// TestTakeOver hands the history of a judge to that of the next generation, whose maps begin at 0: totals, alert and incident go
// on, and no time is missed.
func TestTakeOver(t *testing.T) {
	dir := t.TempDir()
	old := begin(t, handed, "", morning)
	calls(800, 0, 1)
	calls(200, 1, 1) // bad
	old.tick(1)
	old.expect("it burns", "fine page")

	next := begin(t, handed+"slo more = 50% of calls over 7d { page = none; ticket = none; }", "", old.clock().Wall)
	j, notes, err := judge.New(judge.Options{Object: next.obj, Engine: next.eng, Sentence: func(o *check.SLO) string { return o.Name }, Listener: next,
		Incidents: dir, Script: "next", Clock: old.clock, Previous: old.judge})
	if err != nil || len(notes) > 0 {
		t.Fatal(err, notes)
	}
	// Both see these calls, but only what the old one counted until it is read for the last time is its own.
	if err := j.Continue(old.judge); err != nil {
		t.Fatal(err)
	}
	j.Start()
	if o := j.Reports()[0]; o.Total != 1000 || o.State != export.Page {
		t.Errorf("handed over: got %+v", o)
	}
	calls(50, 0, 1)
	next.judge = j
	tick := func() {
		old.mu.Lock()
		old.now.Wall, old.now.Boot = old.now.Wall.Add(10*time.Second), old.now.Boot+10*time.Second
		old.mu.Unlock()
		j.Tick()
	}
	tick()
	if o := j.Reports()[0]; o.Total != 1050 || o.Bad != 200 {
		t.Errorf("got %+v", o)
	}
	for range 8 {
		calls(50, 0, 1)
		tick()
	}
	if got := strings.Join(next.heard, ", "); got != "fine ok" {
		t.Errorf("heard %q", got)
	}
	if c := next.coverage(); math.Abs(c-1.0/3) > 0.001 {
		t.Errorf("no time of 100 s was missed, got %f of five minutes", c)
	}
	if o := j.Reports()[1]; o.Total != 450 {
		t.Errorf("the new objective counted %d of 450", o.Total)
	}
}
