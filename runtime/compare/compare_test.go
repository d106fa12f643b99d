package compare

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
)

// run is what a simulated service does in a run: events a second on each of its routes, whose times are lognormal.
type run struct {
	seconds, each int
	factor        float64 // of all times
	bursts        float64 // how much the times of a second hang together
}

// reports simulates runs of a service with three routes and two objectives, one of them by route.
type reports struct {
	rng   *rand.Rand
	scale *agg.Scale
}

func newReports(seed uint64) reports {
	return reports{rand.New(rand.NewPCG(seed, 1)), agg.NewScale(3, 1e9)}
}

func (s reports) report(r run) *export.GateReport {
	schema := 3
	out := &export.GateReport{Version: export.GateVersion, EndedBy: "duration"}
	all := export.GateGroup{Batches: &export.GateBatches{Seconds: 1, Events: make([]uint64, r.seconds), Bad: make([]uint64, r.seconds)}}
	fast := export.GateObjective{Name: "fast", SLI: "checkout", Sentence: "99 % <= 200ms", PPB: 990_000_000}
	sli := export.GateIndicator{Name: "checkout", Kind: "distribution", Unit: "seconds", PerBase: 1e9, Schema: &schema, Better: "lower"}
	for i, route := range []string{"/", "/cart", "/pay"} {
		counts := map[int]uint64{}
		one := export.GateGroup{Labels: []string{"route=" + route}, Batches: &export.GateBatches{Seconds: 1, Events: make([]uint64, r.seconds), Bad: make([]uint64, r.seconds)}}
		for second := range r.seconds {
			shift := math.Exp(r.bursts * s.rng.NormFloat64())
			for range r.each {
				v := uint64(1e7 * float64(i+1) * r.factor * shift * math.Exp(s.rng.NormFloat64()))
				bad := uint64(0)
				if v > 200e6 {
					bad = 1
				}
				counts[s.scale.First+s.scale.Index(v)]++
				one.Total, one.Bad = one.Total+1, one.Bad+bad
				for _, g := range []*export.GateGroup{&all, &one} {
					g.Batches.Events[second]++
					g.Batches.Bad[second] += bad
				}
			}
		}
		all.Total, all.Bad = all.Total+one.Total, all.Bad+one.Bad
		series := export.GateSeries{Labels: []string{route}, Events: one.Total}
		for index, n := range counts {
			series.Buckets = append(series.Buckets, export.GateBucket{Index: index, Count: n})
		}
		sli.Series = append(sli.Series, series)
		fast.Groups = append(fast.Groups, one)
	}
	out.Objectives = []export.GateObjective{fast, {Name: "whole", SLI: "checkout", Sentence: "99 % <= 200ms", PPB: 990_000_000, Groups: []export.GateGroup{all}}}
	out.Indicators = []export.GateIndicator{sli}
	return out
}

// verdicts counts those of a result.
func verdicts(r *Result) map[Verdict]int {
	out := map[Verdict]int{}
	for i := range r.Rows {
		out[r.Rows[i].Verdict]++
	}
	return out
}

// TestAlike compares runs of the same service a thousand times: at most the stated part of them seem to differ in anything.
func TestAlike(t *testing.T) {
	for name, c := range map[string]struct{ a, b run }{
		"equal":        {run{seconds: 20, each: 10, factor: 1}, run{seconds: 20, each: 10, factor: 1}},
		"shorter":      {run{seconds: 40, each: 10, factor: 1}, run{seconds: 10, each: 20, factor: 1}},
		"many are bad": {run{seconds: 20, each: 10, factor: 5}, run{seconds: 20, each: 10, factor: 5}},
		"with bursts":  {run{seconds: 40, each: 10, factor: 3, bursts: 0.3}, run{seconds: 40, each: 10, factor: 3, bursts: 0.3}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newReports(uint64(len(name)))
			const runs, confidence = 1000, 0.95
			wrong := 0
			for range runs {
				if v := verdicts(Compare(s.report(c.a), s.report(c.b), confidence, 0)); v[Worse]+v[Better]+v[Different] > 0 {
					wrong++
				}
			}
			if most := runs*(1-confidence) + 3*math.Sqrt(runs*(1-confidence)*confidence); float64(wrong) > most {
				t.Errorf("%d of %d comparisons of the same service find a difference", wrong, runs)
			}
			t.Logf("%d of %d", wrong, runs)
		})
	}
}

// TestSlower finds a service that got a fifth slower, and one that got faster.
func TestSlower(t *testing.T) {
	s := newReports(9)
	const runs = 40
	found := map[Verdict]int{}
	for range runs {
		before, after := s.report(run{seconds: 60, each: 60, factor: 1}), s.report(run{seconds: 60, each: 60, factor: 1.2})
		slower, faster := Compare(before, after, 0.95, 0), Compare(after, before, 0.95, 0)
		found[slower.Outcome]++
		found[faster.Outcome]++
		if verdicts(slower)[Better] > 0 || verdicts(faster)[Worse] > 0 {
			t.Errorf("the wrong direction: %v, %v", verdicts(slower), verdicts(faster))
		}
	}
	if found[Worse] < runs*95/100 || found[Better] < runs*95/100 {
		t.Errorf("found %v in %d runs each", found, runs)
	}
}

// TestTolerance has differences that are significant and too small to matter.
func TestTolerance(t *testing.T) {
	s := newReports(10)
	before, after := s.report(run{seconds: 60, each: 2000, factor: 1}), s.report(run{seconds: 60, each: 2000, factor: 1.03})
	for _, pair := range [][2]*export.GateReport{{before, after}, {after, before}} {
		a, b := *pair[0], *pair[1]
		a.Objectives, b.Objectives = nil, nil // of a tail as thin as theirs a little time makes much
		strict, mild := Compare(&a, &b, 0.95, 0), Compare(&a, &b, 0.95, 0.1)
		if strict.Outcome != Worse && strict.Outcome != Better || mild.Outcome != Slight || verdicts(mild)[Worse]+verdicts(mild)[Better] > 0 {
			t.Errorf("%v without a tolerance, %v with one", verdicts(strict), verdicts(mild))
		}
		same := 0 // significant, though both quantiles are in one bucket
		for i := range strict.Rows {
			if r := &strict.Rows[i]; r.Change != nil && *r.Change == 0 && r.P <= 0.05 {
				same++
			}
		}
		if verdicts(strict)[Slight] > 0 || same == 0 {
			t.Errorf("%v without a tolerance, of which %d are in one bucket", verdicts(strict), same)
		}
	}
	much := s.report(run{seconds: 60, each: 2000, factor: 1.3})
	if r := Compare(before, much, 0.95, 0.1); r.Outcome != Worse || verdicts(r)[Slight] > 0 {
		t.Errorf("a third more: %v", verdicts(r))
	}
}

// TestQuantiles compares the bounds of quantiles with how often they hold.
func TestQuantiles(t *testing.T) {
	s := newReports(4)
	const runs, err = 1000, 0.05
	for _, q := range []float64{0.5, 0.9, 0.99} {
		z := map[float64]float64{0.5: 0, 0.9: 1.2815516, 0.99: 2.3263479}[q]
		truth := 1e-2 * math.Exp(z)
		outside := 0
		for range runs {
			r := s.report(run{seconds: 1, each: 500, factor: 1})
			d := newDist(&r.Indicators[0].Series[0], burstiness(r, "none"))
			_, l, h, known := d.quantile(q, err)
			low, _ := bounds(l, 3)
			_, high := bounds(h, 3)
			if !known || truth < low || truth > high {
				outside++
			}
		}
		if float64(outside) > runs*2*err {
			t.Errorf("p%v is outside of its bounds in %d of %d runs", 100*q, outside, runs)
		}
	}
	d := newDist(&export.GateSeries{Zeros: 5, Buckets: []export.GateBucket{{Index: 3, Count: 2}, {Index: -8, Count: 3}}}, burstiness(&export.GateReport{}, ""))
	if d.n != 10 || d.below(zero) != 5 || d.below(-9) != 5 || d.below(-8) != 8 || d.below(2) != 8 || d.below(9) != 10 {
		t.Errorf("%+v", d)
	}
}

// TestText shows what people read, of a comparison that has every verdict.
func TestText(t *testing.T) {
	s := newReports(5)
	a, b := s.report(run{seconds: 30, each: 40, factor: 1}), s.report(run{seconds: 30, each: 40, factor: 2})
	a.Objectives = append(a.Objectives, export.GateObjective{Name: "gone", SLI: "checkout", Sentence: "99 %"}, export.GateObjective{Name: "other", SLI: "checkout", Sentence: "99 % <= 1s"})
	b.Objectives = append(b.Objectives, export.GateObjective{Name: "other", SLI: "checkout", Sentence: "99 % <= 2s"})
	b.Indicators[0].Series = b.Indicators[0].Series[:2]
	r := Compare(a, b, 0.95, 0)
	var out bytes.Buffer
	if err := r.Text(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"fast · route=/pay bad events 2.", " more by ", "gone bad events not comparable: it is not in the second report", "other bad events not comparable: it reads otherwise in the second report",
		"checkout · / p50 9.", " slower by 1", "p99.9 ", "too few events", "distribution slower (significant): ", "% fewer within 1",
		"sli checkout: 1 label sets are in one report only", "WORSE: of ", " with 95 % confidence for all together",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	out.Reset()
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Outcome != Worse || back.Comparisons != r.Comparisons || len(back.Rows) != len(r.Rows) {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestOutcomes are those that are decided by what is in the reports.
func TestOutcomes(t *testing.T) {
	s := newReports(6)
	usual := run{seconds: 30, each: 100, factor: 1}
	few := run{seconds: 1, each: 5, factor: 1}
	for _, c := range []struct {
		name   string
		a, b   run
		change func(a, b *export.GateReport)
		want   Verdict
	}{
		{"the same", usual, usual, func(_, _ *export.GateReport) {}, Same},
		{"few", few, few, func(_, _ *export.GateReport) {}, TooFew},
		{"stopped early", usual, usual, func(_, b *export.GateReport) { b.EndedBy = "early" }, Incomparable},
		{"nothing", usual, usual, func(a, b *export.GateReport) {
			a.Objectives, a.Indicators, b.Objectives, b.Indicators = nil, nil, nil, nil
		}, Incomparable},
		{"a new objective", usual, usual, func(a, _ *export.GateReport) { a.Objectives = a.Objectives[1:] }, Incomparable},
		{"another unit", usual, usual, func(a, _ *export.GateReport) { a.Indicators[0].Unit = "bytes" }, Incomparable},
		{"slower, unclear what is better", usual, run{seconds: 30, each: 100, factor: 1.5}, func(a, b *export.GateReport) {
			a.Objectives, b.Objectives, a.Indicators[0].Better = nil, nil, ""
		}, Different},
		{"slower is better", usual, run{seconds: 30, each: 100, factor: 1.5}, func(a, b *export.GateReport) {
			a.Objectives, b.Objectives, a.Indicators[0].Better = nil, nil, "higher"
		}, Better},
	} {
		a, b := s.report(c.a), s.report(c.b)
		c.change(a, b)
		if r := Compare(a, b, 0.95, 0); r.Outcome != c.want {
			t.Errorf("%s: %s, want %s: %+v", c.name, r.Outcome, c.want, verdicts(r))
		}
	}
	for text, want := range map[string]string{"": "no report", "[]": "no report", "{}": "no report", `{"version":99,"objectives":[]}`: "got version 99 of the report"} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
