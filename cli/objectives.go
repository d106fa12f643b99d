package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
	"github.com/slopebpf/slope/runtime/slo"
)

// objectives follows the objectives of a run beside it.
type objectives struct {
	run   *session
	judge *judge.Judge
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// follow prepares the objectives; nil without any. The history is read, and its file held, from here on; where there is a
// generation before, it is taken over from there, which stops following unless that fails.
func (r *session) follow(before *session) (*objectives, error) {
	if len(r.obj.Checked.SLOs) == 0 {
		return nil, nil
	}
	incidents := r.flags.incidents
	if incidents == "" {
		incidents = r.flags.state
	}
	o := &objectives{run: r, stop: func() {}}
	opt := judge.Options{Object: r.obj, Engine: r.eng, Values: r.values, Sentence: sentence, Listener: o,
		State: r.flags.state, Incidents: incidents, Script: r.script}
	if before != nil && before.follows != nil {
		before.follows.pause()
		opt.Previous = before.follows.judge
	}
	j, notes, err := judge.New(opt)
	if err != nil {
		if opt.Previous != nil {
			before.follows.observe()
		}
		return nil, err
	}
	o.judge = j
	for _, n := range notes {
		o.notice(export.Notice{Kind: "history", Text: n})
	}
	return o, nil
}

// attached begins the observation.
func (o *objectives) attached() {
	if o == nil {
		return
	}
	o.judge.Start()
	o.observe()
}

// observe follows the objectives until pause.
func (o *objectives) observe() {
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	o.done.Go(func() { o.judge.Run(ctx) })
	if every := o.run.flags.every; every > 0 {
		o.done.Go(func() { o.printEvery(ctx, every) })
	}
}

// hold stops and resumes the observation where programs that an indicator needs are detached for a while.
func (o *objectives) hold(on bool) {
	if o != nil {
		o.judge.Pause(on)
	}
}

func (o *objectives) pause() {
	o.stop()
	o.done.Wait()
}

// printEvery prints the table on multiples of a time.
func (o *objectives) printEvery(ctx context.Context, every time.Duration) {
	for {
		now := time.Now()
		wait := time.NewTimer(now.Truncate(every).Add(every).Sub(now))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
			o.judge.Tick()
			o.locked(func() {
				o.run.format.SLOs(o.judge.Reports())
				o.run.out.idle()
			})
		}
	}
}

// finish judges a last time, once nothing is attached any more.
func (o *objectives) finish() error {
	if o == nil {
		return nil
	}
	o.pause()
	return o.judge.Finish()
}

func (o *objectives) close() error {
	if o == nil {
		return nil
	}
	o.pause()
	return o.judge.Close()
}

// locked keeps what the objectives print apart from what the script prints.
func (o *objectives) locked(f func()) {
	o.run.out.printing.Lock()
	defer o.run.out.printing.Unlock()
	f()
}

func (o *objectives) notice(n export.Notice) {
	n.Time = time.Now()
	o.locked(func() { o.run.format.Notice(n) })
}

// Changed implements judge.Listener.
func (o *objectives) Changed(s *check.SLO, c slo.Change) {
	text := fmt.Sprintf("%s → %s", c.From, c.To)
	if c.To >= slo.StateTicket {
		text += fmt.Sprintf(" · burns at %s over %s, %s over %s", export.Tenths(int64(min(c.Long.Burn, 1<<60)/100)), short(c.Cause.Long),
			export.Tenths(int64(min(c.Short.Burn, 1<<60)/100)), short(c.Cause.Short))
	}
	text += fmt.Sprintf(" · budget left %s %%", export.Tenths(c.BudgetLeft/1000))
	o.notice(export.Notice{Kind: "alert", SLO: s.Name, Group: judge.GroupLabels(s, c.Group), State: judge.StateName(c.To), Text: text})
}

// Gated implements judge.Listener.
func (o *objectives) Gated(s *check.SLO, g engine.GateChange) {
	what := "detached"
	if g.Attached {
		what = "attached"
	}
	o.notice(export.Notice{Kind: "gate", SLO: s.Name, Text: fmt.Sprintf("%s %d programs in %s", what, g.Programs, g.Took.Round(10*time.Microsecond))})
}

// Incident implements judge.Listener.
func (o *objectives) Incident(s *check.SLO, files []string) {
	o.notice(export.Notice{Kind: "incident", SLO: s.Name, Text: "report: " + strings.Join(files, ", ")})
}

// Trouble implements judge.Listener.
func (o *objectives) Trouble(err error) {
	o.notice(export.Notice{Kind: "trouble", Text: err.Error()})
}

// short writes a duration without zeros at its end: 1h, 30m, 90s.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = strings.TrimSuffix(s, zero[1:])
		}
	}
	return s
}

// status is the objectives for the metrics.
func (o *objectives) status() []export.ObjectiveStatus {
	if o == nil {
		return nil
	}
	return o.judge.Status()
}

// exemplars are the last bad events of an indicator's series.
func exemplars(l *lower.SLILayout, series []agg.Series) map[export.SeriesID][]export.Exemplar {
	out := map[export.SeriesID][]export.Exemplar{}
	now := judge.Now()
	for _, x := range series {
		e, ok := x.Exemplar(l)
		if !ok {
			continue
		}
		out[export.SeriesID{Labels: string(x.Labels), Other: x.Other}] = []export.Exemplar{{Value: e.Value, Pid: int(e.Pid), Tid: int(e.Tid),
			Goid: e.Goid, Trace: e.Trace, Time: now.Wall.Add(time.Duration(e.Time) - now.Boot)}}
	}
	return out
}
