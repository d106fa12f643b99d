package export

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// everything is a scrape with all that can be exported.
func everything() *Scrape {
	in := indicator(map[string][]uint64{"/a": values(100), "/b": {5}})
	in.Unknown = new(uint64(4))
	in.Exemplars = map[SeriesID][]Exemplar{{Labels: string(in.Series[0].Labels)}: {{Value: 7, Time: time.Unix(2000, 0), Pid: 12, Tid: 13, Goid: 14, Trace: "4bf92f"}}}
	s := scrape(in, ratio())
	s.Objectives = []ObjectiveStatus{{
		SLO: in.Layout.Objectives[0].SLO, Labels: map[string]string{"team": "shop", "slo": "no", "9": "no"},
		Groups: []GroupStatus{
			{By: []string{"/a"}, BudgetRemaining: new(-0.25),
				Windows: []WindowStatus{{5 * time.Minute, new(14.5), new(1.0)}, {time.Hour, new(math.NaN()), new(0.5)}},
				Alerts:  []AlertStatus{{"page", true}, {"ticket", false}}},
			{By: []string{"/b"}},
		},
	}}
	s.Exported = []ExportedMap{
		{Name: "bytes", Help: "Bytes by command.", Kind: ExportCounter, Labels: []string{"comm"},
			Rows: &agg.Snapshot{Name: "@bytes", Key: str8, Value: aggregate(types.SumAgg), Rows: []agg.Row{{Key: text("dd", 8), Words: []uint64{42}}}}},
		{Name: "depth", Kind: ExportGauge,
			Rows: &agg.Snapshot{Name: "@depth", Value: types.Int64, Rows: []agg.Row{{Raw: []byte("\xfe\xff\xff\xff\xff\xff\xff\xff")}}}},
		{Name: "sizes", Kind: ExportHistogram, Labels: []string{"le"},
			Rows: &agg.Snapshot{Name: "@sizes", Key: str8, Value: aggregate(types.HistAgg, 0), Rows: []agg.Row{{Key: text("x", 8), Words: histWords(0, 0, 1, 3, 4, 1<<45)}}}},
	}
	s.PushFailures = map[string]uint64{"otlp": 2}
	return s
}

// histWords are the words of a hist(n, 0).
func histWords(of ...uint64) []uint64 {
	words := make([]uint64, 66)
	for _, v := range of {
		i := 1
		for ; v > 0; v >>= 1 {
			i++
		}
		words[i]++
	}
	return words
}

func TestRegistryAgrees(t *testing.T) {
	c := NewCollector(func() (*Scrape, error) { return everything(), nil }, Label{"cluster", "north"}, Label{"zone", "a"})
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	checked, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := c.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(ours).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if len(ours) != len(checked) {
		t.Fatalf("got %d families, the registry %d", len(ours), len(checked))
	}
	for i, f := range ours {
		if f.GetName() != checked[i].GetName() || len(f.Metric) != len(checked[i].Metric) {
			t.Errorf("family %d is %s with %d metrics, the registry has %s with %d", i, f.GetName(), len(f.Metric), checked[i].GetName(), len(checked[i].Metric))
		}
		for _, m := range f.Metric {
			if !slices.IsSortedFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) }) {
				t.Errorf("%s: labels are not in order: %v", f.GetName(), m.Label)
			}
			if v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum(); math.IsNaN(v) {
				t.Errorf("%s is NaN: %v", f.GetName(), m)
			}
			if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == "cluster" && l.GetValue() == "north" }) {
				t.Errorf("%s has no constant labels: %v", f.GetName(), m)
			}
		}
	}
}

func TestEveryFamily(t *testing.T) {
	_, body := get(t, everything(), "text/plain")
	for _, want := range []string{
		`slope_sli_unknown_events_total{sli="checkout"} 4`,
		`slope_slo_error_budget_remaining_ratio{path="/a",sli="checkout",slo="fast"} -0.25`,
		`slope_slo_burn_rate{path="/a",sli="checkout",slo="fast",window="5m"} 14.5`,
		`slope_slo_window_coverage_ratio{path="/a",sli="checkout",slo="fast",window="5m"} 1`,
		`slope_slo_window_coverage_ratio{path="/a",sli="checkout",slo="fast",window="1h"} 0.5`,
		`slope_slo_alert_state{path="/a",severity="page",sli="checkout",slo="fast"} 1`,
		`slope_slo_alert_state{path="/a",severity="ticket",sli="checkout",slo="fast"} 0`,
		`slope_slo_window_seconds{sli="checkout",slo="fast"} 2.592e+06`,
		`slope_slo_info{sli="checkout",slo="fast",team="shop",window="30d"} 1`,
		`slope_bytes_total{comm="dd"} 42`,
		`slope_depth -2`,
		`slope_sizes_bucket{le_label="x",le="-1"} 0`,
		`slope_sizes_bucket{le_label="x",le="0"} 2`,
		`slope_sizes_bucket{le_label="x",le="1"} 3`,
		`slope_sizes_bucket{le_label="x",le="3"} 4`,
		`slope_sizes_bucket{le_label="x",le="7"} 5`,
		`slope_sizes_bucket{le_label="x",le="7.0368744177663e+13"} 6`,
		`slope_sizes_bucket{le_label="x",le="+Inf"} 6`,
		`# HELP slope_sizes The map @sizes of the script (the sum is an estimate from the buckets).`,
		`slope_push_failures_total{target="otlp"} 2`,
	} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	for _, not := range []string{`burn_rate{path="/a",sli="checkout",slo="fast",window="1h"}`, `budget_remaining_ratio{path="/b"`, "NaN"} {
		if strings.Contains(string(body), not) {
			t.Errorf("there is %s", not)
		}
	}
	if t.Failed() {
		t.Logf("%s", body)
	}
}

// TestGroupsByOwnNames keeps an objective by labels that the metrics of its windows have of their own.
func TestGroupsByOwnNames(t *testing.T) {
	s := &check.SLI{Name: "n", Kind: check.Ratio, Labels: []check.Label{{Name: "severity"}, {Name: "window"}}}
	o := ObjectiveStatus{SLO: &check.SLO{Name: "o", SLI: s, By: []int{0, 1}}, Groups: []GroupStatus{{By: []string{"x", "y"},
		Windows: []WindowStatus{{Window: time.Hour, BurnRate: new(1.0)}}, Alerts: []AlertStatus{{"page", true}}}}}
	_, body := get(t, &Scrape{Objectives: []ObjectiveStatus{o}}, "text/plain")
	for _, want := range []string{`slope_slo_alert_state{severity="page",severity_label="x",sli="n",slo="o",window_label="y"} 1`,
		`slope_slo_burn_rate{severity_label="x",sli="n",slo="o",window="1h",window_label="y"} 1`} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no line %s in\n%s", want, body)
		}
	}
}

func TestCheckExport(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  ExportKind
		value *types.Type
		want  string // part of the error, "" for none
	}{
		{"bytes", ExportCounter, aggregate(types.SumAgg), ""},
		{"bytes", ExportCounter, types.Int64, ""},
		{"bytes", ExportGauge, aggregate(types.AvgAgg), ""},
		{"bytes", ExportHistogram, aggregate(types.LHistAgg, 0, 10, 1), ""},
		{"bytes", ExportCounter, aggregate(types.MaxAgg), "a counter wants"},
		{"bytes", ExportHistogram, aggregate(types.CountAgg), "a histogram wants"},
		{"bytes", ExportGauge, str8, "a gauge wants numbers"},
		{"a b", ExportCounter, types.Int64, "invalid metric name 'a b'"},
		{"sli_x", ExportCounter, types.Int64, "is reserved"},
	} {
		err := CheckExport(c.name, c.kind, c.value)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s %s: got %v, want %q", c.name, c.kind, c.value, err, c.want)
		}
	}
}

// TestIntegerHistograms compares the buckets of exported maps with the values.
func TestIntegerHistograms(t *testing.T) {
	linear := make([]uint64, 7) // lhist(n, 10, 60, 10)
	of := []uint64{0, 9, 10, 19, 20, 59, 60, 1000}
	for _, v := range of {
		switch {
		case v < 10:
			linear[0]++
		case v >= 60:
			linear[6]++
		default:
			linear[1+(v-10)/10]++
		}
	}

	scale := agg.NewScale(3, 1)
	words := make([]uint64, 2+native.Words(3))
	for _, v := range of {
		words[0]++
		words[1] += v
		if v == 0 {
			words[2]++
		} else {
			words[3+scale.Index(v)]++
		}
	}
	for _, c := range []struct {
		name  string
		value *types.Type
		words []uint64
	}{
		{"lhist", aggregate(types.LHistAgg, 10, 60, 10), linear},
		{"hist", aggregate(types.HistAgg, 0), histWords(of...)},
		{"dist", aggregate(types.DistAgg, 3), words},
	} {
		s := scrape()
		s.Exported = []ExportedMap{{Name: c.name, Kind: ExportHistogram, Rows: &agg.Snapshot{Name: "@", Value: c.value, Rows: []agg.Row{{Words: c.words}}}}}
		families, err := NewCollector(func() (*Scrape, error) { return s, nil }).Gather()
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "slope_"+c.name })
		if at < 0 {
			t.Fatalf("no metric of %s", c.name)
		}
		h := families[at].Metric[0].Histogram
		for _, b := range h.Bucket {
			n := uint64(0)
			for _, v := range of {
				if float64(v) <= b.GetUpperBound() {
					n++
				}
			}
			if b.GetCumulativeCount() != n {
				t.Errorf("%s: le %v: got %d, want %d", c.name, b.GetUpperBound(), b.GetCumulativeCount(), n)
			}
		}
		if h.GetSampleCount() != uint64(len(of)) || len(h.Bucket) < 6 || (h.Schema != nil) != (c.name == "dist") {
			t.Errorf("%s: got %v", c.name, h)
		}
		if c.name == "dist" && h.GetSampleSum() != 1177 {
			t.Errorf("%s: sum %v", c.name, h.GetSampleSum())
		}
	}
}
