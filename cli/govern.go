package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/governor"
)

// The governor looks once a second, and measures for a part of it: while the kernel measures, each run of a program costs
// half as much again.
const (
	governEvery   = time.Second
	governMeasure = 200 * time.Millisecond
)

// parsePercent reads the limit of --max-overhead: "1%". Nothing is 0, for no limit.
func parsePercent(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, ok := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v > 0 && v < 100) {
		return 0, usagef("invalid --max-overhead '%s': want a per cent of all CPUs' time above 0%% and below 100%%, such as 1%%", text)
	}
	return v / 100, nil
}

const overheadHelp = "detach programs, and attach them again, so that they take at most this part of all CPUs' time, such as 1%"

// keeper keeps the programs of all scripts below a limit.
type keeper struct {
	*governor.Governor
	scripts func() []*runner
	cpus    int
	spent   map[part]time.Duration // measured by us

	mu       sync.Mutex // guards what follows, and the Governor
	absences map[absentee]*absence
	actions  map[string]int // "attach" and "detach"
}

// part is a program of a generation of a script.
type part struct {
	eng   *engine.Engine
	index int
}

// absentee is a program in words, the same for all generations.
type absentee struct{ script, hook, place string }

// absence is for how long a program was detached.
type absence struct {
	times      int
	total      time.Duration
	since      time.Time // zero: it is attached
	indicators []string
	eng        *engine.Engine
}

// govern begins to keep to a limit; stop ends it. A limit of 0 is none, and a nil keeper.
func govern(limit float64, scripts func() []*runner) (k *keeper, stop func(), err error) {
	if limit == 0 {
		return nil, func() {}, nil
	}
	if !bpf.StatsEnabled() {
		stats, err := bpf.EnableStats()
		if err != nil {
			return nil, nil, hinted{fmt.Errorf("--max-overhead: %w", err), "it takes CAP_SYS_ADMIN, or kernel.bpf_stats_enabled=1"}
		}
		stats.Close()
	}
	k = &keeper{Governor: governor.New(limit), scripts: scripts, cpus: runtime.NumCPU(), absences: map[absentee]*absence{}, actions: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { k.run(ctx) })
	return k, func() {
		cancel()
		done.Wait()
	}, nil
}

func (k *keeper) run(ctx context.Context) {
	told := false
	for {
		if !pause(ctx, governEvery-governMeasure) {
			return
		}
		owners, measured, err := k.measure(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = k.step(owners, measured)
		}
		if err != nil && !told {
			told = true
			for _, r := range k.scripts() {
				r.host.trouble(fmt.Errorf("--max-overhead: %w", err))
			}
		}
	}
}

// pause waits; it tells whether ctx lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// owner is where a program belongs, and what it has cost.
type owner struct {
	run  *runner
	gen  *session
	part engine.Part
}

// look reads all programs.
func (k *keeper) look() (map[part]owner, error) {
	out := map[part]owner{}
	for _, r := range k.scripts() {
		gen := r.current.Load()
		parts, err := gen.eng.Parts()
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			out[part{gen.eng, p.Index}] = owner{r, gen, p}
		}
	}
	return out, nil
}

// measure lets the kernel measure for a while, and adds up what programs cost in it: others may let it measure at other
// times.
func (k *keeper) measure(ctx context.Context) (now map[part]owner, measured time.Duration, err error) {
	if !bpf.StatsEnabled() {
		stats, err := bpf.EnableStats()
		if err != nil {
			return nil, 0, err
		}
		defer func() { err = errors.Join(err, stats.Close()) }()
	}
	before, err := k.look()
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	pause(ctx, governMeasure)
	measured = time.Since(began)
	if now, err = k.look(); err != nil {
		return nil, 0, err
	}
	spent := map[part]time.Duration{}
	for key, o := range now {
		spent[key] = k.spent[key]
		if was, ok := before[key]; ok {
			spent[key] += o.part.Time - was.part.Time
		}
	}
	k.spent = spent
	return now, measured, nil
}

// step decides, and does it.
func (k *keeper) step(owners map[part]owner, measured time.Duration) error {
	var loads []governor.Load
	for key, o := range owners {
		p := o.part
		loads = append(loads, governor.Load{Key: key, SLI: len(p.Indicators) > 0, Held: p.Held, Idle: !p.Attached && !p.Held, Spent: k.spent[key]})
	}
	now := time.Now()
	k.mu.Lock()
	k.forget(now)
	actions := k.Step(now, measured, k.cpus, loads)
	overhead := k.Overhead()
	k.mu.Unlock()
	var failed error
	for _, a := range actions {
		o := owners[a.Key.(part)]
		if len(o.part.Indicators) > 0 && a.Detach {
			o.gen.follows.hold(true) // what comes from now on is not all there is
		}
		began := time.Now()
		if err := o.gen.eng.Hold(o.part.Index, a.Detach); err != nil {
			failed = err
			continue
		}
		k.note(o.run, o.gen, o.part, a, time.Now())
		if !a.Detach && !k.misses(o.gen.eng) {
			o.gen.follows.hold(false)
		}
		o.run.host.governed(o.gen, sayAction(o.gen, o.part, a, overhead, k.Limit(), time.Since(began)))
	}
	return failed
}

func sayAction(gen *session, p engine.Part, a governor.Action, overhead, limit float64, took time.Duration) string {
	what := fmt.Sprintf("%s at %s", p.Hook, gen.obj.IR.Source.Place(p.Span))
	switch {
	case a.Detach && len(p.Indicators) > 0:
		what = fmt.Sprintf("detached %s: it costs %s, and what is left %s of %s; not observed meanwhile: %s", what, per(a.Share), per(overhead), per(limit),
			strings.Join(p.Indicators, ", "))
	case a.Detach:
		what = fmt.Sprintf("detached %s: it costs %s, and what is left %s of %s", what, per(a.Share), per(overhead), per(limit))
	case a.Try:
		what = fmt.Sprintf("attached %s to try: it cost %s, and the others take %s of %s", what, per(a.Share), per(overhead), per(limit))
	default:
		what = fmt.Sprintf("attached %s: it cost %s, and the others take %s of %s", what, per(a.Share), per(overhead), per(limit))
	}
	return what + fmt.Sprintf(" (%s)", took.Round(10*time.Microsecond))
}

// per is a share of all CPUs' time in per cent.
func per(share float64) string { return strconv.FormatFloat(100*share, 'f', 3, 64) + " %" }

// note remembers for how long a program was away.
func (k *keeper) note(r *runner, gen *session, p engine.Part, a governor.Action, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := absentee{r.name, p.Hook, gen.obj.IR.Source.Place(p.Span)}
	x := k.absences[key]
	if x == nil {
		x = &absence{}
		k.absences[key] = x
	}
	x.indicators, x.eng = p.Indicators, gen.eng
	if a.Detach {
		k.actions["detach"]++
		x.times, x.since = x.times+1, now
		return
	}
	k.actions["attach"]++
	x.end(now)
}

func (x *absence) end(now time.Time) {
	if !x.since.IsZero() {
		x.total, x.since = x.total+now.Sub(x.since), time.Time{}
	}
}

// forget ends the absences of generations that do not run any more: the next one attaches everything.
func (k *keeper) forget(now time.Time) {
	running := map[*engine.Engine]bool{}
	for _, r := range k.scripts() {
		running[r.current.Load().eng] = true
	}
	for _, x := range k.absences {
		if !running[x.eng] {
			x.end(now)
		}
	}
}

// misses tells whether a program that an indicator needs is detached.
func (k *keeper) misses(eng *engine.Engine) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range k.absences {
		if x.eng == eng && !x.since.IsZero() && len(x.indicators) > 0 {
			return true
		}
	}
	return false
}

// summary is what a script's user has to know at its end: where counts are not complete.
func (k *keeper) summary(script string) (lines []string) {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for key, x := range k.absences {
		if key.script != script {
			continue
		}
		x.end(now)
		times := "once"
		if x.times > 1 {
			times = fmt.Sprint(x.times, " times")
		}
		line := fmt.Sprintf("%s at %s was detached %s, %s in all, to keep the overhead below %s: it counted nothing meanwhile", key.hook, key.place, times,
			x.total.Round(time.Second), per(k.Limit()))
		if len(x.indicators) > 0 {
			line += "; not observed: " + strings.Join(x.indicators, ", ")
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// Describe implements prometheus.Collector: what there is depends on what happened.
func (k *keeper) Describe(chan<- *prom.Desc) {}

// Collect implements prometheus.Collector.
func (k *keeper) Collect(ch chan<- prom.Metric) {
	k.mu.Lock()
	defer k.mu.Unlock()
	send := func(name, help string, kind prom.ValueType, v float64, labels prom.Labels) {
		ch <- prom.MustNewConstMetric(prom.NewDesc(name, help, nil, labels), kind, v)
	}
	send("slope_governor_overhead_ratio", "Part of all CPUs' time that attached programs take, smoothed.", prom.GaugeValue, k.Overhead(), nil)
	send("slope_governor_limit_ratio", "The limit of --max-overhead.", prom.GaugeValue, k.Limit(), nil)
	detached := map[string]int{}
	for key, x := range k.absences {
		if !x.since.IsZero() {
			detached[key.script]++
		} else {
			detached[key.script] += 0
		}
	}
	for _, r := range k.scripts() {
		send("slope_governor_detached_programs", "Programs that are detached to keep to the limit.", prom.GaugeValue, float64(detached[r.name]),
			prom.Labels{"script": r.name})
	}
	for _, action := range []string{"attach", "detach"} {
		send("slope_governor_actions_total", "Programs that were detached, and attached again.", prom.CounterValue, float64(k.actions[action]),
			prom.Labels{"action": action})
	}
}
