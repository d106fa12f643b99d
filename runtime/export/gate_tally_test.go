package export

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// tallyRun feeds a tally with what each second brings.
func tallyRun(l *lower.SLILayout, seconds int, each func(second int) (bad, total uint64)) (*GateTally, []agg.Series) {
	tally := NewGateTally(Values{})
	series := []agg.Series{zone(1, 0, 0)}
	for s := range seconds {
		bad, total := each(s)
		series[0].Words[0] += total
		series[0].Words[1] += bad
		tally.Add(l, series)
		tally.Next(time.Duration(s+1) * time.Second)
	}
	return tally, series
}

// TestTallyBursts: what passes when events are independent does not when they come in bursts, and the report tells.
func TestTallyBursts(t *testing.T) {
	opt := GateOptions{Confidence: 0.95, Sentence: func(*check.SLO) string { return "99 %" }}
	steady, series := tallyRun(gateLayout(), 60, func(int) (uint64, uint64) { return 5, 1000 })
	opt.Tally = steady
	got := NewGateObjectives(gateLayoutOf(steady), series, Unknown{}, opt)
	g := got[0].Groups[0]
	if got[0].Result() != slo.Pass || g.Effect != 1 || g.Warning != "" || len(g.Batches.Bad) != 60 || g.Batches.Seconds != 1 || g.Batches.Events[3] != 1000 {
		t.Errorf("steady: %+v", got[0])
	}
	bursts, series := tallyRun(gateLayout(), 60, func(s int) (uint64, uint64) {
		if s%20 == 7 {
			return 100, 1000
		}
		return 0, 1000
	})
	opt.Tally = bursts
	got = NewGateObjectives(gateLayoutOf(bursts), series, Unknown{}, opt)
	g = got[0].Groups[0]
	if got[0].Result() != slo.Inconclusive || g.Effect < 50 || g.Effective > 1000 || !strings.HasPrefix(got[0].Reason, "bad events come in bursts") {
		t.Errorf("bursts: %+v", got[0])
	}
	text, err := json.Marshal(g)
	if err != nil || !strings.Contains(string(text), `"n_eff":`) || !strings.Contains(string(text), `"batches":{"seconds":1,"events":[1000,`) {
		t.Errorf("%v\n%s", err, text)
	}
}

// gateLayoutOf is the layout whose objectives a tally knows.
func gateLayoutOf(tally *GateTally) *lower.SLILayout {
	l := gateLayout()
	for o := range tally.groups {
		for i := range l.Objectives {
			if l.Objectives[i].SLO.Name == o.Name {
				l.Objectives[i].SLO = o
			}
		}
	}
	return l
}

// TestTallyBounded: batches are joined, and none of their events goes astray.
func TestTallyBounded(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	l := gateLayout()
	tally, series := tallyRun(l, 10_001, func(int) (uint64, uint64) { return rng.Uint64N(3), 3 + rng.Uint64N(50) })
	for _, o := range []struct {
		slo  *check.SLO
		most int
	}{{l.Objectives[0].SLO, maxBatches}, {l.Objectives[1].SLO, maxGroupBatches}} {
		for _, g := range tally.groups[o.slo] {
			if n := len(g.total); n > o.most || n < o.most/2 || agg.Total(g.total) != series[0].Words[0] || agg.Total(g.bad) != series[0].Words[1] {
				t.Errorf("%s: %d batches with %d of %d events", o.slo.Name, n, agg.Total(g.total), series[0].Words[0])
			}
			if b := tally.batches(g); b.Seconds < 2 || b.Seconds*float64(len(b.Bad)) < 10_000 {
				t.Errorf("%d batches of %v s", len(b.Bad), b.Seconds)
			}
		}
		if w := tally.whole(o.slo); agg.Total(w.total) != series[0].Words[0] {
			t.Errorf("%s: the whole has %d events", o.slo.Name, agg.Total(w.total))
		}
	}
	// Groups that begin at other times are put together by time.
	tally = NewGateTally(Values{})
	zones := []agg.Series{zone(1, 0, 0)}
	for s := range 400 {
		if s == 100 {
			zones = append(zones, zone(2, 0, 0))
		}
		for i := range zones {
			zones[i].Words[0] += 10
			zones[i].Words[1] += uint64(s / 300)
		}
		tally.Add(l, zones)
		tally.Next(time.Duration(s+1) * time.Second)
	}
	w := tally.whole(l.Objectives[1].SLO)
	if w.every != 2 || !slices.Equal(w.total[48:52], []uint64{20, 20, 40, 40}) || !slices.Equal(w.bad[149:151], []uint64{0, 4}) {
		t.Errorf("every %d: %v %v", w.every, w.total, w.bad)
	}
}

// TestMinutes judges an objective of minutes.
func TestMinutes(t *testing.T) {
	opt := GateOptions{Confidence: 0.5, Sentence: func(*check.SLO) string { return "90 % of minutes" }}
	for _, c := range []struct {
		name     string
		nodata   check.NoData
		seconds  int
		unknown  Unknown
		each     func(s int) (uint64, uint64)
		bad, all uint64
		want     slo.Outcome
		reason   string
	}{
		{"short", check.IgnoreNoData, 59, Unknown{}, func(int) (uint64, uint64) { return 0, 1 }, 0, 0, slo.Inconclusive, "the run was shorter than a minute, and the objective counts minutes"},
		{"silent", check.IgnoreNoData, 130, Unknown{}, func(int) (uint64, uint64) { return 0, 0 }, 0, 0, slo.Inconclusive, "no minute had a sample"},
		{"good", check.IgnoreNoData, 659, Unknown{}, func(int) (uint64, uint64) { return 0, 1 }, 0, 10, slo.Pass, ""},
		{"unknown", check.IgnoreNoData, 659, Unknown{Missing: 4}, func(int) (uint64, uint64) { return 0, 1 }, 0, 10, slo.Inconclusive, "would be PASS, but for 4 events whose outcome is unknown"},
		{"bad", check.IgnoreNoData, 600, Unknown{}, func(s int) (uint64, uint64) { return uint64(s % 2), 1 }, 10, 10, slo.Fail, ""},
		{"one sample", check.IgnoreNoData, 600, Unknown{}, func(s int) (uint64, uint64) { return uint64(0 + s/119*(1-min(s-119, 1))), 1 }, 1, 10, slo.Inconclusive, "too close to the objective for so many minutes"},
		{"pauses", check.IgnoreNoData, 600, Unknown{}, func(s int) (uint64, uint64) { return 0, uint64(s / 60 % 2) }, 0, 5, slo.Inconclusive, "too few minutes: it takes at least 7"},
		{"good pauses", check.GoodNoData, 600, Unknown{}, func(s int) (uint64, uint64) { return 0, uint64(s / 60 % 2) }, 0, 10, slo.Pass, ""},
		{"bad pauses", check.BadNoData, 600, Unknown{}, func(s int) (uint64, uint64) { return 0, uint64(s / 60 % 2) }, 5, 10, slo.Fail, ""},
	} {
		l := gateLayout()
		l.Objectives = l.Objectives[:1]
		l.Objectives[0].SLO.Minutes, l.Objectives[0].SLO.NoData, l.Objectives[0].SLO.PPB = true, c.nodata, 900_000_000
		tally, series := tallyRun(l, c.seconds, c.each)
		opt.Tally = tally
		o := NewGateObjectives(l, series, c.unknown, opt)[0]
		if g := o.Groups[0]; g.Bad != c.bad || g.Total != c.all || o.Result() != c.want || o.Reason != c.reason {
			t.Errorf("%s: %+v", c.name, o)
		}
		if c.want == slo.Fail && o.evidence(0.5) != "observed "+o.Groups[0].Observed+" % of 10 minutes, at most "+slo.BoundText(o.Groups[0].AtMost, o.PPB, true)+" % with 50 % confidence" {
			t.Errorf("%s: %s", c.name, o.evidence(0.5))
		}
	}
}

// TestEarlyTally: a run that goes well stops once that is certain, and not before bursts can have shown.
func TestEarlyTally(t *testing.T) {
	opt := GateOptions{Confidence: 0.95, Early: true, Sentence: func(*check.SLO) string { return "" }}
	for want, bad := range map[slo.Outcome]uint64{slo.Pass: 1, slo.Fail: 30, slo.Inconclusive: 10} {
		l, at := gateLayout(), 0
		tally := NewGateTally(Values{})
		opt.Tally = tally
		series := []agg.Series{zone(1, 0, 0)}
		for s := 1; s <= 200 && at == 0; s++ {
			series[0].Words[0] += 1000
			series[0].Words[1] += bad
			tally.Add(l, series)
			tally.Next(time.Duration(s) * time.Second)
			if o := GateEarly(l, series, Unknown{}, opt); o == want && o != slo.Inconclusive {
				at = s
			} else if o != slo.Inconclusive {
				t.Errorf("%d bad of 1000: %s after %d s", bad, o, s)
			}
		}
		if least := map[slo.Outcome]int{slo.Pass: 60, slo.Fail: 30}[want]; at < least || at > 2*least {
			t.Errorf("%s after %d s", want, at)
		}
	}
}

// TestComposite decides composites of two parts.
func TestComposite(t *testing.T) {
	a, b := &check.SLO{Name: "a", PPB: 990_000_000}, &check.SLO{Name: "b", PPB: 900_000_000}
	both := &check.SLO{Name: "both", Parts: []check.Part{{SLO: a, Weight: 3}, {SLO: b, Weight: 1}}}
	part := func(name string, ppb, bad, total uint64) GateObjective {
		c := slo.Counts{Bad: bad, Total: total}
		return GateObjective{Name: name, PPB: ppb, whole: c, outcome: slo.Decide(c, ppb, slo.ErrorsOf(0.95, 1, false)).Outcome}
	}
	for _, c := range []struct {
		name    string
		badA, a uint64
		badB, b uint64
		opt     GateOptions
		want    slo.Outcome
		burn    float64
		reason  string
	}{
		{"both pass", 0, 1000, 0, 1000, GateOptions{}, slo.Pass, 0, ""},
		{"both fail", 500, 1000, 500, 1000, GateOptions{}, slo.Fail, 38.75, ""},
		{"the light part fails", 0, 10000, 2000, 10000, GateOptions{}, slo.Pass, 0.5, ""},
		{"the heavy part fails", 500, 10000, 0, 10000, GateOptions{}, slo.Fail, 3.75, ""},
		{"close", 100, 10000, 1000, 10000, GateOptions{}, slo.Inconclusive, 1, "its parts are too close to their objectives for so many events"},
		{"no events", 0, 10000, 0, 0, GateOptions{}, slo.Inconclusive, 0, "no events of b"},
		{"stopped", 0, 10000, 2000, 10000, GateOptions{Stopped: true}, slo.Inconclusive, 0.5, "the run was stopped early by another objective"},
		{"cut", 0, 10000, 2000, 10000, GateOptions{Cut: true}, slo.Inconclusive, 0.5, "the run was interrupted"},
	} {
		c.opt.Confidence = 0.95
		o := NewGateComposite(both, []GateObjective{part("a", a.PPB, c.badA, c.a), part("b", b.PPB, c.badB, c.b)}, c.opt)
		if o.Result() != c.want || o.Reason != c.reason || o.Composite.Observed < c.burn-1e-9 || o.Composite.Observed > c.burn+1e-9 ||
			o.Composite.AtLeast > c.burn || o.Composite.AtMost < c.burn {
			t.Errorf("%s: %+v %+v", c.name, o, o.Composite)
		}
		if o.Sentence != "all(a: 3, b: 1)" || o.subject() != o.Sentence || !strings.HasPrefix(o.evidence(0.95), "burns ") {
			t.Errorf("%s: %s, %s", c.name, o.subject(), o.evidence(0.95))
		}
	}
	// Parts without a budget are left out.
	whole := &check.SLO{Name: "w", Parts: []check.Part{{SLO: &check.SLO{Name: "z", PPB: slo.Billion}, Weight: 1}}}
	if o := NewGateComposite(whole, []GateObjective{part("z", slo.Billion, 0, 10)}, GateOptions{Confidence: 0.95}); o.Result() != slo.Inconclusive || o.Reason != "no part has an error budget" {
		t.Errorf("%+v", o)
	}
}
