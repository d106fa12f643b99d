package export

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// gateLayout is a ratio by zone with two objectives of 99 %: one of all events, one by zone.
func gateLayout() *lower.SLILayout {
	s := &check.SLI{Name: "answers", Kind: check.Ratio, Labels: []check.Label{{Name: "zone", Type: types.Uint64}}, Limit: 100}
	all := &check.SLO{Name: "all", PPB: 990_000_000, SLI: s}
	zones := &check.SLO{Name: "zones", PPB: 990_000_000, SLI: s, By: []int{0}}
	s.Objectives = []*check.SLO{all, zones}
	return &lower.SLILayout{SLI: s, Words: 3, Value: &ir.Map{Key: types.TupleOf(types.Uint64)},
		Objectives: []lower.ObjectiveWords{{SLO: all, Bad: 1, Total: 0}, {SLO: zones, Bad: 1, Total: 0}}}
}

// zone is the series of one zone; zone 0 is of the label sets beyond the limit.
func zone(n byte, bad, total uint64) agg.Series {
	s := agg.Series{Labels: []byte{n, 0, 0, 0, 0, 0, 0, 0}, Words: []uint64{total, bad, 0}}
	if n == 0 {
		s.Labels, s.Other = nil, true
	}
	return s
}

// TestGateObjectives checks what is made of series: groups, the worst, the reasons.
func TestGateObjectives(t *testing.T) {
	for _, c := range []struct {
		name       string
		series     []agg.Series
		unknown    Unknown
		opt        GateOptions
		all, zones slo.Outcome
		worst      string // of zones
		reason     string // of zones
	}{
		{"nothing", nil, Unknown{}, GateOptions{}, slo.Inconclusive, slo.Inconclusive, "", "no events"},
		{"nothing but losses", nil, Unknown{Missing: 9}, GateOptions{}, slo.Inconclusive, slo.Inconclusive, "", "no events"},
		{"fine", []agg.Series{zone(1, 0, 5000), zone(2, 0, 400)}, Unknown{}, GateOptions{}, slo.Pass, slo.Pass, "zone=2", ""},
		{"one zone fails", []agg.Series{zone(1, 0, 50000), zone(2, 40, 400)}, Unknown{}, GateOptions{}, slo.Pass, slo.Fail, "zone=2", ""},
		{"one zone is small", []agg.Series{zone(1, 0, 5000), zone(2, 0, 4)}, Unknown{}, GateOptions{}, slo.Pass, slo.Inconclusive, "zone=2", "too few events: it takes at least 299"},
		{"a zone without its events", []agg.Series{zone(1, 0, 5000), zone(2, 0, 0)}, Unknown{}, GateOptions{}, slo.Pass, slo.Pass, "zone=1", ""},
		{"close", []agg.Series{zone(1, 10, 1000)}, Unknown{}, GateOptions{}, slo.Inconclusive, slo.Inconclusive, "zone=1", "too close to the objective for so many events"},
		{"zones beyond the limit", []agg.Series{zone(1, 0, 5000), zone(0, 0, 5000)}, Unknown{}, GateOptions{}, slo.Pass, slo.Inconclusive, "zone=other", "label sets beyond the limit of the sli are judged together"},
		{"bad zones beyond the limit", []agg.Series{zone(1, 0, 5000), zone(0, 500, 5000)}, Unknown{}, GateOptions{}, slo.Fail, slo.Fail, "zone=other", ""},
		{"lost", []agg.Series{zone(1, 0, 1000)}, Unknown{Missing: 40}, GateOptions{}, slo.Inconclusive, slo.Inconclusive, "zone=1", "would be PASS, but for 40 events whose outcome is unknown"},
		{"doubtful", []agg.Series{zone(1, 30, 1000)}, Unknown{Doubtful: 29}, GateOptions{}, slo.Inconclusive, slo.Inconclusive, "zone=1", "would be FAIL, but for 29 events whose outcome is unknown"},
		{"interrupted", []agg.Series{zone(1, 0, 5000)}, Unknown{}, GateOptions{Cut: true}, slo.Inconclusive, slo.Inconclusive, "zone=1", "the run was interrupted"},
		{"interrupted and bad", []agg.Series{zone(1, 500, 5000)}, Unknown{}, GateOptions{Cut: true}, slo.Fail, slo.Fail, "zone=1", ""},
		{"early", []agg.Series{zone(1, 500, 5000)}, Unknown{}, GateOptions{Early: true, Stopped: true}, slo.Fail, slo.Fail, "zone=1", ""},
		{"passed early", []agg.Series{zone(1, 0, 5000)}, Unknown{}, GateOptions{Early: true, Stopped: true, Cut: true}, slo.Pass, slo.Pass, "zone=1", ""},
		{"stopped by another", []agg.Series{zone(1, 0, 400)}, Unknown{}, GateOptions{Early: true, Stopped: true}, slo.Inconclusive, slo.Inconclusive, "zone=1", "the run was stopped early by another objective"},
	} {
		c.opt.Confidence, c.opt.Sentence = 0.95, func(o *check.SLO) string { return "99 %" }
		got := NewGateObjectives(gateLayout(), c.series, c.unknown, c.opt)
		if got[0].Result() != c.all || got[1].Result() != c.zones || got[1].Reason != c.reason || strings.Join(got[1].Groups[0].Labels, ",") != c.worst {
			t.Errorf("%s: got %+v", c.name, got)
		}
		if early := GateEarly(gateLayout(), c.series, c.unknown, c.opt); early == slo.Fail && c.zones != slo.Fail || early == slo.Pass && c.zones == slo.Fail {
			t.Errorf("%s: %s early", c.name, early)
		}
		for _, o := range got {
			if o.Outcome != o.Result().String() || o.MinEvents != 299 {
				t.Errorf("%s: %+v", c.name, o)
			}
		}
	}
}

func gateReport() *GateReport {
	o := GateOptions{Confidence: 0.95, Sentence: func(o *check.SLO) string { return "99 % <= 5ms" }}
	series := []agg.Series{zone(1, 0, 50000), zone(2, 40, 400), zone(3, 0, 5)}
	l := gateLayout()
	l.SLI.Objectives[0].Name = `a<"&`
	r := &GateReport{Version: GateVersion, Start: time.Unix(0, 0), Seconds: 1.5, Confidence: 0.95, Script: GateScript{File: "x.slo"},
		Objectives: NewGateObjectives(l, series, Unknown{}, o),
		Indicators: []GateIndicator{NewGateIndicator(l, series, nil, Unknown{}, 3, Values{})},
		Losses:     NewGateLosses([]Loss{{Cause: "ring_full", Count: 2}})}
	few := NewGateObjectives(gateLayout(), series[2:], Unknown{}, o)
	r.Objectives = append(r.Objectives, few[0])
	r.Outcome = r.Result().String()
	return r
}

// TestGateText checks the lines that people read.
func TestGateText(t *testing.T) {
	var out bytes.Buffer
	if err := GateText(&out, gateReport().Objectives, 0.95, false); err != nil {
		t.Fatal(err)
	}
	want := `a<"&     99 % <= 5ms                           observed 99.920 % of 50 405, at least 99.896 % with 95 % confidence                          PASS
zones    99 % <= 5ms · zone=2 (worst of 3)    observed 90.000 % of 400, at most 92.965 % with 95 % confidence                              FAIL
all      99 % <= 5ms                          observed 100.000 % of 5, at least 54.928 % and at most 100.000 %, each with 95 % confidence    INCONCLUSIVE
         too few events: it takes at least 299
`
	if got := out.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	lines := strings.Split(out.String(), "\n")
	if column(lines[0], "PASS") != column(lines[1], "FAIL") || column(lines[1], "FAIL") != column(lines[2], "INCONCLUSIVE") {
		t.Errorf("the verdicts do not stand below one another:\n%s", out.String())
	}
}

// column is where a text begins, in columns of the terminal.
func column(line, text string) int { return columns(line[:strings.Index(line, text)]) }

// TestGateMachines reads the JSON and the XML back.
func TestGateMachines(t *testing.T) {
	r := gateReport()
	var out bytes.Buffer
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var back GateReport
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Outcome != "FAIL" || len(back.Objectives) != 3 || len(back.Objectives[1].Groups) != 3 || back.Indicators[0].Open != 3 ||
		*back.Indicators[0].Series[1].Bad != 40 || back.Losses[0].Text != "2 events lost: the ring buffer was full" {
		t.Errorf("wrong JSON:\n%s", out.String())
	}
	for mapped, want := range map[slo.Outcome][3]int{slo.Inconclusive: {1, 1, 0}, slo.Fail: {2, 0, 0}, slo.Pass: {1, 0, 1}} {
		out.Reset()
		if err := r.JUnit(&out, mapped); err != nil {
			t.Fatal(err)
		}
		var suites junitSuites
		if err := xml.Unmarshal(out.Bytes(), &suites); err != nil {
			t.Fatal(err)
		}
		s := suites.Suite
		var counted [3]int
		var names []string
		for _, c := range s.Cases {
			names = append(names, c.Name)
			for i, result := range []*junitResult{c.Failure, c.Error, c.Skipped} {
				if result != nil {
					counted[i]++
				}
			}
		}
		if [3]int{s.Failures, s.Errors, s.Skipped} != want || counted != want || s.Tests != 3 {
			t.Errorf("inconclusive as %s: %+v", mapped, s)
		}
		if !slices.Equal(names, []string{`a<"&: 99 % <= 5ms`, "zones: 99 % <= 5ms · zone=2 (worst of 3)", "all: 99 % <= 5ms"}) {
			t.Errorf("wrong names %q", names)
		}
	}
}
