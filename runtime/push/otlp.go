package push

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxPoints is how many data points one request holds at most: collectors refuse requests of more than some megabytes.
const maxPoints = 10_000

// otlp is a receiver of OTLP over HTTP. The request is a MetricsData message, which the protocol defines to be the same
// on the wire as ExportMetricsServiceRequest; that type's package would bring gRPC along.
type otlp struct {
	client   *http.Client
	url      string
	resource *resourcepb.Resource
	scope    *commonpb.InstrumentationScope
	start    uint64
}

func newOTLP(c *http.Client, u *url.URL, opt *Options) *otlp {
	o := &otlp{client: c, url: u.String(), resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", "slope")}},
		scope: &commonpb.InstrumentationScope{Name: "slope", Version: opt.Version}}
	if opt.Host != "" {
		o.resource.Attributes = append(o.resource.Attributes, text("host.name", opt.Host))
	}
	if opt.Version != "" {
		o.resource.Attributes = append(o.resource.Attributes, text("service.version", opt.Version))
	}
	if !opt.Start.IsZero() {
		o.start = uint64(opt.Start.UnixNano())
	}
	return o
}

// send sends everything in as many requests as it takes. A request that fails does not keep the others from being sent.
func (o *otlp) send(ctx context.Context, s *snapshot) error {
	var errs []error
	for _, m := range o.requests(s) {
		b, err := proto.Marshal(m)
		if err == nil {
			err = o.post(ctx, b)
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// requests converts the families.
func (o *otlp) requests(s *snapshot) []*metricspb.MetricsData {
	var out []*metricspb.MetricsData
	var metrics []*metricspb.Metric
	points := 0
	flush := func() {
		if points > 0 {
			out = append(out, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{Resource: o.resource,
				ScopeMetrics: []*metricspb.ScopeMetrics{{Scope: o.scope, Metrics: metrics}}}}})
		}
		metrics, points = nil, 0
	}
	for _, f := range s.families {
		for rest := f.Metric; len(rest) > 0; {
			n := min(len(rest), maxPoints-points)
			metrics = append(metrics, o.metric(f, rest[:n], uint64(s.at.UnixNano())))
			rest = rest[n:]
			if points += n; points == maxPoints {
				flush()
			}
		}
	}
	flush()
	return out
}

// metric converts some metrics of a family: counters are cumulative sums, native histograms exponential ones.
func (o *otlp) metric(f *dto.MetricFamily, of []*dto.Metric, at uint64) *metricspb.Metric {
	m := &metricspb.Metric{Name: f.GetName(), Description: f.GetHelp(), Unit: unit(f.GetName())}
	numbers := func() []*metricspb.NumberDataPoint {
		points := make([]*metricspb.NumberDataPoint, len(of))
		for i, x := range of {
			p := &metricspb.NumberDataPoint{Attributes: attributes(x.Label), TimeUnixNano: at}
			v := x.GetGauge().GetValue()
			if c := x.Counter; c != nil {
				v, p.StartTimeUnixNano = c.GetValue(), o.since(c.CreatedTimestamp)
				if c.Exemplar != nil {
					p.Exemplars = exemplars([]*dto.Exemplar{c.Exemplar}, at)
				}
			}
			p.Value = &metricspb.NumberDataPoint_AsDouble{AsDouble: v}
			points[i] = p
		}
		return points
	}
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch {
	case f.GetType() == dto.MetricType_COUNTER:
		m.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{DataPoints: numbers(), AggregationTemporality: cumulative, IsMonotonic: true}}
	case f.GetType() != dto.MetricType_HISTOGRAM:
		m.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: numbers()}}
	case of[0].Histogram.Schema != nil: // all of a family are of one kind
		h := &metricspb.ExponentialHistogram{AggregationTemporality: cumulative}
		for _, x := range of {
			h.DataPoints = append(h.DataPoints, o.exponential(x, at))
		}
		m.Data = &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: h}
	default:
		h := &metricspb.Histogram{AggregationTemporality: cumulative}
		for _, x := range of {
			h.DataPoints = append(h.DataPoints, o.explicit(x, at))
		}
		m.Data = &metricspb.Metric_Histogram{Histogram: h}
	}
	return m
}

// exponential converts a native histogram. Both kinds have the same buckets, (base^i, base^(i+1)], and 2^schema of them
// per power of two; Prometheus calls a bucket by its upper bound and OpenTelemetry by its lower one, hence one less.
func (o *otlp) exponential(m *dto.Metric, at uint64) *metricspb.ExponentialHistogramDataPoint {
	h := m.Histogram
	p := &metricspb.ExponentialHistogramDataPoint{Attributes: attributes(m.Label), StartTimeUnixNano: o.since(h.CreatedTimestamp),
		TimeUnixNano: at, Count: h.GetSampleCount(), Sum: h.SampleSum, Scale: h.GetSchema(), ZeroCount: h.GetZeroCount(),
		ZeroThreshold: h.GetZeroThreshold(), Exemplars: exemplars(h.Exemplars, at)}
	index, deltas, count := int32(0), h.PositiveDelta, int64(0)
	var counts []uint64
	for _, s := range h.PositiveSpan {
		if len(counts) > 0 {
			counts = append(counts, make([]uint64, s.GetOffset())...)
		}
		index += s.GetOffset()
		for range s.GetLength() {
			if count, deltas = count+deltas[0], deltas[1:]; p.Positive == nil {
				p.Positive = &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: index - 1}
			}
			counts = append(counts, uint64(count))
			index++
		}
	}
	if p.Positive != nil {
		p.Positive.BucketCounts = counts
	}
	return p
}

// explicit converts a histogram of bounds only.
func (o *otlp) explicit(m *dto.Metric, at uint64) *metricspb.HistogramDataPoint {
	h := m.Histogram
	p := &metricspb.HistogramDataPoint{Attributes: attributes(m.Label), StartTimeUnixNano: o.since(h.CreatedTimestamp), TimeUnixNano: at,
		Count: h.GetSampleCount(), Sum: h.SampleSum}
	before := uint64(0)
	for _, b := range h.Bucket {
		p.ExplicitBounds = append(p.ExplicitBounds, b.GetUpperBound())
		p.BucketCounts = append(p.BucketCounts, b.GetCumulativeCount()-before)
		before = b.GetCumulativeCount()
	}
	p.BucketCounts = append(p.BucketCounts, p.Count-before)
	return p
}

// since is when a counter began.
func (o *otlp) since(created *timestamppb.Timestamp) uint64 {
	if created == nil {
		return o.start
	}
	return uint64(created.AsTime().UnixNano())
}

func text(k, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
}

func attributes(labels []*dto.LabelPair) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, len(labels))
	for i, l := range labels {
		out[i] = text(l.GetName(), l.GetValue())
	}
	return out
}

// exemplars converts exemplars; a trace id that is one of OpenTelemetry's, 16 bytes in hexadecimal, becomes one.
func exemplars(of []*dto.Exemplar, at uint64) []*metricspb.Exemplar {
	var out []*metricspb.Exemplar
	for _, e := range of {
		x := &metricspb.Exemplar{TimeUnixNano: at, Value: &metricspb.Exemplar_AsDouble{AsDouble: e.GetValue()}}
		if e.Timestamp != nil {
			x.TimeUnixNano = uint64(e.Timestamp.AsTime().UnixNano())
		}
		for _, l := range e.Label {
			if id, err := hex.DecodeString(l.GetValue()); l.GetName() == "trace_id" && err == nil && len(id) == 16 {
				x.TraceId = id
			} else {
				x.FilteredAttributes = append(x.FilteredAttributes, text(l.GetName(), l.GetValue()))
			}
		}
		out = append(out, x)
	}
	return out
}

// unit is that of a metric's name, as UCUM has it.
func unit(name string) string {
	name = strings.TrimSuffix(name, "_total")
	for _, u := range [...]struct{ tail, unit string }{{"_seconds", "s"}, {"_bytes", "By"}, {"_ratio", "1"}} {
		if strings.HasSuffix(name, u.tail) {
			return u.unit
		}
	}
	return ""
}

// The pauses between tries: doubled from the first to the longest, and each somewhere in its upper half.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
)

// post sends one request until it is accepted, refused for good, or the time is over.
func (o *otlp) post(ctx context.Context, body []byte) error {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(body)
	z.Close()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		again, after, err := o.try(ctx, packed.Bytes())
		if err == nil || !again {
			return err
		}
		wait := max(after, pause/2+rand.N(pause/2))
		if end, ok := ctx.Deadline(); ok && time.Now().Add(wait).After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// try sends one request once. again tells whether another try makes sense, and when the receiver wants it.
func (o *otlp) try(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("User-Agent", "slope")
	resp, err := o.client.Do(req)
	if err != nil {
		return true, 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return true, 0, err
	case resp.StatusCode/100 == 2:
		return false, 0, rejected(answer)
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, time.Duration(seconds) * time.Second, fmt.Errorf("the receiver answered %s: %s", resp.Status, printable(answer))
}

// rejected reads an ExportMetricsServiceResponse: field 1 is a partial success, with the number of refused data points
// as field 1 and a message as field 2.
func rejected(answer []byte) error {
	partial, _ := field(answer, 1)
	_, n := field(partial, 1)
	if n == 0 {
		return nil
	}
	message, _ := field(partial, 2)
	return fmt.Errorf("the receiver refused %d data points: %s", n, printable(message))
}

// field finds a field of a message: its bytes, or its number.
func field(b []byte, want protowire.Number) ([]byte, uint64) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, 0
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return nil, 0
		}
		if number == want && kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			return v, 0
		}
		if number == want && kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(b)
			return nil, v
		}
		b = b[n:]
	}
	return nil, 0
}

// printable is the part of an answer that is text: errors come as a google.rpc.Status, whose text is readable inside.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '\uFFFD' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), " "))
}
