package export

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

const limit = 200_000_000 // ns, the threshold of the objective

// indicator is a distribution of seconds over a path, and the values it recorded for every path.
func indicator(paths map[string][]uint64) Indicator {
	s := &check.SLI{Name: "checkout", Doc: "Time to serve one request.", Kind: check.Distribution, Unit: check.Seconds, Schema: 3,
		Labels: []check.Label{{Name: "path", Type: types.StringOf(16)}}}
	o := &check.SLO{Name: "fast", SLI: s, PPB: 999_000_000, Op: "<=", Limit: limit, Window: 30 * 24 * 3600 * 1e9, By: []int{0}}
	l := &lower.SLILayout{SLI: s, Value: &ir.Map{Key: types.TupleOf(types.StringOf(16))}, Words: 3 + native.Words(3), Histogram: 3,
		Objectives: []lower.ObjectiveWords{{SLO: o, Bad: 2}}}
	in := Indicator{Layout: l, Scale: agg.NewScale(3, 1e9)}
	for path, values := range paths {
		w := make([]uint64, l.Words)
		for _, v := range values {
			w[0]++
			w[1] += v
			if v > limit {
				w[2]++
			}
			if v == 0 {
				w[3]++
			} else {
				w[4+in.Scale.Index(v)]++
			}
		}
		in.Series = append(in.Series, agg.Series{Labels: text(path, 16), Words: w})
	}
	slices.SortFunc(in.Series, func(a, b agg.Series) int { return strings.Compare(string(a.Labels), string(b.Labels)) })
	return in
}

func ratio() Indicator {
	s := &check.SLI{Name: "works", Kind: check.Ratio}
	return Indicator{Layout: &lower.SLILayout{SLI: s, Value: &ir.Map{}, Words: 2, Objectives: []lower.ObjectiveWords{{Bad: 1}}},
		Series: []agg.Series{{Words: []uint64{10, 3}}}}
}

func scrape(in ...Indicator) *Scrape {
	return &Scrape{Indicators: in, Start: time.Unix(1000, 0), Lost: map[string]uint64{"ring_full": 1, "map_full": 2}, Attached: 3, Version: "0.1",
		Revision: "abc", Maps: []MapFill{{"@x", 3, 4096}}, Probes: []ProbeRuns{{"tracepoint:a:b", 12, 0.5}, {"begin", 1, -1}}}
}

func get(t *testing.T, s *Scrape, accept string) (*http.Response, []byte) {
	t.Helper()
	h := Handler(NewCollector(func() (*Scrape, error) { return s, nil }))
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", accept)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	body, _ := io.ReadAll(rec.Result().Body)
	if rec.Code != 200 {
		t.Fatalf("got status %d: %s", rec.Code, body)
	}
	return rec.Result(), body
}

func values(n int) []uint64 {
	rng := rand.New(rand.NewPCG(5, 6))
	out := []uint64{0, 1, 1 << 30, 1_000_000_000, limit, limit + 1, math.MaxUint64 >> 20}
	for range n {
		out = append(out, rng.Uint64()>>(20+rng.IntN(40)))
	}
	return out
}

func TestTextExposition(t *testing.T) {
	v := values(1000)
	s := scrape(indicator(map[string][]uint64{"/a": v, "/b\"\n": {5}, "": nil}), ratio())
	_, body := get(t, s, "text/plain")
	problems, err := promlint.New(strings.NewReader(string(body))).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`slope_sli_events_total{path="/a",sli="checkout"} 1007`,
		`slope_sli_bad_events_total{sli="works"} 3`,
		`slope_sli_checkout_seconds_count{path="/a"} 1007`,
		`slope_sli_checkout_seconds_bucket{path="/b\"\n",le="1"} 1`,
		`slope_slo_objective_ratio{sli="checkout",slo="fast"} 0.999`,
		`slope_slo_info{sli="checkout",slo="fast",window="30d"} 1`,
		`slope_sli_info{doc="",kind="ratio",sli="works",unit="none"} 1`,
		`slope_slo_events_total{path="/a",sli="checkout",slo="fast"} 1007`,
		`slope_events_lost_total{cause="map_full"} 2`,
		`slope_map_capacity_entries{map="@x"} 4096`,
		`slope_probe_runs_total{probe="begin"} 1`,
		`slope_probe_run_seconds_total{probe="tracepoint:a:b"} 0.5`,
		`slope_probes_attached 3`,
		`slope_build_info{revision="abc",version="0.1"} 1`,
	} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if strings.Contains(string(body), `seconds_total{probe="begin"}`) || families["slope_scrape_duration_seconds"] == nil {
		t.Errorf("got\n%s", body)
	}
}

func TestProtobufExposition(t *testing.T) {
	v := values(5000)
	resp, body := get(t, scrape(indicator(map[string][]uint64{"/a": v, "/none": nil})),
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	dec := expfmt.NewDecoder(strings.NewReader(string(body)), expfmt.ResponseFormat(resp.Header))
	var h, none *dto.Histogram
	for {
		var f dto.MetricFamily
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if f.GetName() == "slope_sli_checkout_seconds" {
			h, none = f.Metric[0].Histogram, f.Metric[1].Histogram
		}
	}
	if h == nil {
		t.Fatal("no histogram")
	}
	var sum uint64
	for _, x := range v {
		sum += x
	}
	if h.GetSampleCount() != uint64(len(v)) || h.GetSampleSum() != float64(sum)/1e9 || h.GetCreatedTimestamp().GetSeconds() != 1000 {
		t.Errorf("got %d values, sum %v", h.GetSampleCount(), h.GetSampleSum())
	}
	// Every native bucket against the values themselves.
	got, total, index, at, last := map[int]int{}, int(h.GetZeroCount()), 0, 0, int64(0)
	for _, s := range h.PositiveSpan {
		index += int(s.GetOffset())
		for range s.GetLength() {
			last += h.PositiveDelta[at]
			got[index] = int(last)
			total += int(last)
			at, index = at+1, index+1
		}
	}
	if at != len(h.PositiveDelta) || total != len(v) {
		t.Errorf("got %d of %d differences, %d of %d values", at, len(h.PositiveDelta), total, len(v))
	}
	table, want := native.New(3, 1e9), map[int]int{}
	for _, x := range v {
		if x > 0 {
			want[table.First+table.Index(x)]++
		}
	}
	for i, n := range want {
		if got[i] != n {
			t.Errorf("native bucket %d: got %d, want %d", i, got[i], n)
		}
	}
	// Every classic bucket against the values themselves.
	before, exact := uint64(0), false
	for _, b := range h.Bucket {
		n := uint64(0)
		for _, x := range v {
			if x == 0 || new(rat).le(x, b.GetUpperBound()) {
				n++
			}
		}
		if b.GetCumulativeCount() != n || n < before {
			t.Errorf("le %v: got %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), n)
		}
		before, exact = n, exact || b.GetUpperBound() == 0.2
	}
	if !exact {
		t.Error("no bucket at the threshold of the objective")
	}
	if none.GetSampleCount() != 0 || len(none.PositiveSpan) != 1 || none.PositiveSpan[0].GetLength() != 0 {
		t.Errorf("empty histogram: got %v", none)
	}
}

// rat compares nanoseconds with seconds exactly where le is a power of two, or the threshold.
type rat struct{}

func (*rat) le(ns uint64, le float64) bool {
	if le == 0.2 {
		return ns <= limit
	}
	return float64(ns) <= le*1e9 // both exact below 2^53
}

func TestGzip(t *testing.T) {
	h := Handler(NewCollector(func() (*Scrape, error) { return scrape(), nil }))
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("got %v", rec.Header())
	}
}

func TestScrapeError(t *testing.T) {
	h := Handler(NewCollector(func() (*Scrape, error) { return nil, errors.New("map gone") }))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), "map gone") {
		t.Errorf("got %d, %s", rec.Code, rec.Body)
	}
}

func TestLikeSeriesAreAddedUp(t *testing.T) {
	in := indicator(map[string][]uint64{"other": {1}})
	in.Series = append(in.Series, agg.Series{Other: true, Words: slices.Clone(in.Series[0].Words)})
	if _, body := get(t, scrape(in), "text/plain"); !strings.Contains(string(body), `slope_sli_events_total{path="other",sli="checkout"} 2`) {
		t.Errorf("got\n%s", body)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name string
		unit check.Unit
		want string
	}{{"a-b..c", check.NoUnit, "slope_sli_a_b_c"}, {"lat", check.Seconds, "slope_sli_lat_seconds"}, {"lat_seconds", check.Seconds, "slope_sli_lat_seconds"},
		{"rx", check.Bytes, "slope_sli_rx_bytes"}} {
		if got := HistogramName(&check.SLI{Name: c.name, Unit: c.unit}); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	s := &check.SLI{}
	for _, n := range []string{"le", "sli", "__x", "7", "sli_label", "p-q", "p_q"} {
		s.Labels = append(s.Labels, check.Label{Name: n})
	}
	want := "le_label sli_label x label_7 sli_label_label p_q p_q_label"
	if got := strings.Join(labelNames(s), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBuild(t *testing.T) {
	in := indicator(map[string][]uint64{"/a": {limit, limit + 1}, "/b": {1, 2}})
	r := NewSLIReport(in.Layout, in.Series, 0, time.Second, Values{})
	if r.Events != 4 || len(r.Rows) != 2 || r.Rows[0].Labels[0] != "/a" || r.Rows[0].Summary.Mean != limit+0.5 || len(r.Buckets) == 0 || len(r.Buckets) > maxBars {
		t.Errorf("got %+v", r)
	}
	slos := NewSLOReports(in.Layout, in.Series, Values{}, func(*check.SLO) string { return "sentence" })
	if len(slos) != 2 || slos[0].State != Breached || slos[0].Compliance != "50.00" || slos[1].State != OK || slos[1].Labels[0] != "path=/b" {
		t.Errorf("got %+v", slos)
	}
	in.Layout.Objectives[0].SLO.By = nil
	if slos = NewSLOReports(in.Layout, nil, Values{}, func(*check.SLO) string { return "" }); len(slos) != 1 || slos[0].State != NoData {
		t.Errorf("without series: got %+v", slos)
	}
}
