package push

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// TestOTLP receives a push with the protocol's own types and compares every value with the scrape.
func TestOTLP(t *testing.T) {
	families, gather := once(t)
	want := scraped(t, families)
	got := make(chan *metricspb.MetricsData, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		b, err := io.ReadAll(z)
		m := &metricspb.MetricsData{}
		if err == nil {
			err = proto.Unmarshal(b, m)
		}
		if err != nil || r.URL.Path != "/v1/metrics" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %v: %v", r.URL, r.Header, err)
		}
		got <- m
	}))
	defer srv.Close()
	p := pushOnce(t, Options{OTLP: srv.URL, Gather: gather, Host: "box", Version: "v1", Start: time.Unix(5, 0)})
	if p.Failures()["otlp"] != 0 {
		t.Errorf("failed")
	}
	m := <-got
	resource := map[string]string{}
	for _, kv := range m.ResourceMetrics[0].Resource.Attributes {
		resource[kv.Key] = kv.Value.GetStringValue()
	}
	if resource["service.name"] != "slope" || resource["host.name"] != "box" || resource["service.version"] != "v1" {
		t.Errorf("resource %v", resource)
	}
	shown := map[string]bool{} // what of the scrape was compared
	check := func(what, key string, v float64) {
		t.Helper()
		shown[key] = true
		if f, err := strconv.ParseFloat(want[key], 64); err != nil || f != v {
			t.Errorf("%s: got %v, the scrape has %s = %q", what, v, key, want[key])
		}
	}
	for _, x := range m.ResourceMetrics[0].ScopeMetrics[0].Metrics {
		for _, s := range otlpPoints(t, x) {
			if s.at == 0 || s.cumulative && s.start != uint64(time.Unix(1_600_000_000, 0).UnixNano()) {
				t.Errorf("%s: from %d to %d", x.Name, s.start, s.at)
			}
			for tail, v := range s.values {
				check(x.Name, seriesKey(x.Name+tail, s.labels), v)
			}
		}
		if e := x.GetExponentialHistogram(); e != nil {
			exponentialAgrees(t, families, x.Name, e)
			if x.Unit != "s" {
				t.Errorf("%s: unit %q", x.Name, x.Unit)
			}
		}
	}
	for key := range want { // only the classic buckets of native histograms have no counterpart
		if !shown[key] && !strings.HasPrefix(key, "slope_sli_checkout_seconds_bucket") {
			t.Errorf("%s was not pushed", key)
		}
	}
}

// point is one data point as the series that a scrape shows.
type point struct {
	labels     map[string]string
	values     map[string]float64 // by the tail of the name
	start, at  uint64
	cumulative bool
}

func otlpPoints(t *testing.T, m *metricspb.Metric) (out []point) {
	t.Helper()
	labels := func(of interface{ GetAttributes() []*commonpb.KeyValue }) map[string]string {
		l := map[string]string{}
		for _, a := range of.GetAttributes() {
			l[a.Key] = a.Value.GetStringValue()
		}
		return l
	}
	numbers := func(of []*metricspb.NumberDataPoint, cumulative bool) {
		for _, p := range of {
			out = append(out, point{labels(p), map[string]float64{"": p.GetAsDouble()}, p.StartTimeUnixNano, p.TimeUnixNano, cumulative})
		}
	}
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch d := m.Data.(type) {
	case *metricspb.Metric_Sum:
		if !d.Sum.IsMonotonic || d.Sum.AggregationTemporality != cumulative || !strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%s: %v", m.Name, d.Sum.AggregationTemporality)
		}
		numbers(d.Sum.DataPoints, true)
	case *metricspb.Metric_Gauge:
		numbers(d.Gauge.DataPoints, false)
	case *metricspb.Metric_ExponentialHistogram:
		if d.ExponentialHistogram.AggregationTemporality != cumulative {
			t.Errorf("%s: %v", m.Name, d.ExponentialHistogram.AggregationTemporality)
		}
		for _, p := range d.ExponentialHistogram.DataPoints {
			out = append(out, point{labels(p), map[string]float64{"_count": float64(p.Count), "_sum": p.GetSum()}, p.StartTimeUnixNano, p.TimeUnixNano, true})
		}
	case *metricspb.Metric_Histogram:
		for _, p := range d.Histogram.DataPoints {
			out = append(out, point{labels(p), map[string]float64{"_count": float64(p.Count), "_sum": p.GetSum()}, p.StartTimeUnixNano, p.TimeUnixNano, true})
			n := uint64(0)
			for i, b := range append(p.ExplicitBounds, 0) {
				l := labels(p)
				if l["le"] = bound(b); i == len(p.ExplicitBounds) {
					l["le"] = "+Inf"
				}
				n += p.BucketCounts[i]
				out = append(out, point{l, map[string]float64{"_bucket": float64(n)}, p.StartTimeUnixNano, p.TimeUnixNano, true})
			}
		}
	default:
		t.Errorf("%s: %T", m.Name, m.Data)
	}
	return out
}

// exponentialAgrees compares the buckets with those of the families: OpenTelemetry's bucket i is Prometheus' i+1.
func exponentialAgrees(t *testing.T, families []*dto.MetricFamily, name string, e *metricspb.ExponentialHistogram) {
	t.Helper()
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for i, m := range f.Metric {
			h, p := m.Histogram, e.DataPoints[i]
			want := map[int32]int64{}
			index, at, n := int32(0), 0, int64(0)
			for _, s := range h.PositiveSpan {
				index += s.GetOffset()
				for range s.GetLength() {
					n += h.PositiveDelta[at]
					if n > 0 {
						want[index-1] = n
					}
					at, index = at+1, index+1
				}
			}
			got, total := 0, p.ZeroCount
			for i, n := range p.Positive.GetBucketCounts() {
				total += n
				if n > 0 {
					got++
					if want[p.Positive.Offset+int32(i)] != int64(n) {
						t.Errorf("bucket %d: got %d, want %d", p.Positive.Offset+int32(i), n, want[p.Positive.Offset+int32(i)])
					}
				}
			}
			if got != len(want) || total != p.Count || p.Scale != 3 || p.ZeroThreshold != h.GetZeroThreshold() || p.ZeroCount != h.GetZeroCount() {
				t.Errorf("got %v, want %v", p, h)
			}
			if m.Label[len(m.Label)-1].GetValue() == "/a" {
				x := p.Exemplars
				if len(x) != 1 || x[0].GetAsDouble() != 0.006 || len(x[0].TraceId) != 16 || x[0].FilteredAttributes[0].Key != "pid" ||
					x[0].TimeUnixNano != uint64(time.Unix(1_700_000_000, 0).UnixNano()) {
					t.Errorf("exemplars %v", x)
				}
			}
		}
	}
}

// TestOTLPParts splits what is too large for one request.
func TestOTLPParts(t *testing.T) {
	kind, name := dto.MetricType_GAUGE, "slope_many"
	f := &dto.MetricFamily{Name: &name, Type: &kind}
	for range 2*maxPoints + 1 {
		f.Metric = append(f.Metric, &dto.Metric{Gauge: &dto.Gauge{Value: new(1.0)}})
	}
	other := "slope_one"
	families := []*dto.MetricFamily{f, {Name: &other, Type: &kind, Metric: f.Metric[:1]}}
	got := newOTLP(nil, mustEndpoint(t, "http://h"), &Options{}).requests(&snapshot{families, time.Now()})
	sizes := []int{}
	for _, r := range got {
		n := 0
		for _, m := range r.ResourceMetrics[0].ScopeMetrics[0].Metrics {
			n += len(m.GetGauge().DataPoints)
		}
		sizes = append(sizes, n)
	}
	if len(sizes) != 3 || sizes[0] != maxPoints || sizes[1] != maxPoints || sizes[2] != 2 {
		t.Errorf("got %v", sizes)
	}
}

// TestOTLPPartial reads what a receiver refused although it said 200.
func TestOTLPPartial(t *testing.T) {
	partial := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)
	partial = protowire.AppendString(protowire.AppendTag(partial, 2, protowire.BytesType), "too old")
	answer := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) }))
	defer srv.Close()
	families, _ := once(t)
	err := single(t, "otlp", srv).send(context.Background(), &snapshot{families, time.Now()})
	if err == nil || err.Error() != "the receiver refused 5 data points: too old" {
		t.Errorf("got %v", err)
	}
	if err := rejected([]byte("\xff\xff\xff")); err != nil {
		t.Errorf("nonsense: got %v", err)
	}
}
