package push

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	writev2 "github.com/prometheus/client_golang/exp/api/remote/genproto/v2"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxSeries is how many series one request holds at most.
const maxSeries = 5_000

// remoteWrite is a receiver of Prometheus remote write. The protocol's version 2 is tried first; a receiver that refuses
// it, or that takes it and does not confirm that it stored anything, as those of version 1 do, gets version 1 from then on.
type remoteWrite struct {
	api       *remote.API
	own       []label // of the sender: job and instance
	confirmed bool    // that version 2 is understood
	v1        bool
	noNative  bool // the receiver takes no native histograms
	answered  int  // the status of the last answer
}

type label struct{ name, value string }

func newRemoteWrite(c *http.Client, u *url.URL, opt *Options) (*remoteWrite, error) {
	r := &remoteWrite{own: []label{{"job", "slope"}}}
	if opt.Host != "" {
		r.own = append(r.own, label{"instance", opt.Host})
	}
	watched := &http.Client{Transport: watcher{c.Transport, &r.answered}}
	var err error
	r.api, err = remote.NewAPI(u.String(), remote.WithAPIPath(""), remote.WithAPIHTTPClient(watched),
		remote.WithAPIBackoff(remote.BackoffConfig{Min: firstPause, Max: longestPause}))
	return r, err
}

// watcher notes the status of every answer: the client's error has it as text only.
type watcher struct {
	http.RoundTripper
	status *int
}

func (w watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	*w.status = 0
	resp, err := w.RoundTripper.RoundTrip(req)
	if err == nil {
		*w.status = resp.StatusCode
	}
	return resp, err
}

// send sends numbers first and native histograms in requests of their own: a receiver that does not take those refuses
// the whole request.
func (r *remoteWrite) send(ctx context.Context, s *snapshot) error {
	numbers, natives := r.flatten(s)
	if r.noNative {
		natives = nil
	}
	var errs []error
	for _, all := range [][]series{numbers, natives} {
		for part := range slices.Chunk(all, maxSeries) {
			if errs = append(errs, r.write(ctx, part, s.at)); ctx.Err() != nil {
				return errors.Join(errs...)
			}
		}
	}
	return errors.Join(errs...)
}

// errNative is what Prometheus answers, as an error of its own that is worth another try, when they are switched off.
const errNative = "native histograms are disabled"

// write sends one request.
func (r *remoteWrite) write(ctx context.Context, part []series, at time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last error
	retry := remote.WithWriteRetryCallback(func(err error) {
		if last = err; strings.Contains(err.Error(), errNative) {
			cancel()
		}
	})
	if !r.v1 {
		_, err := r.api.Write(ctx, remote.WriteV2MessageType, requestV2(part, at), retry)
		switch {
		case err == nil:
			r.confirmed = true
			return nil
		case !r.confirmed && (r.answered == http.StatusUnsupportedMediaType || r.answered/100 == 2):
			r.v1 = true
		default:
			return r.failed(err, last)
		}
	}
	_, err := r.api.Write(ctx, remote.WriteV1MessageType, requestV1(part, at), retry)
	return r.failed(err, last)
}

// failed makes an error of a try: when the time is over the reason is what the tries before came to.
func (r *remoteWrite) failed(err, last error) error {
	switch {
	case err == nil:
		return nil
	case last != nil && strings.Contains(last.Error(), errNative) || strings.Contains(err.Error(), errNative):
		r.noNative = true
		return errors.New("the receiver takes no native histograms: they are left out, classic buckets are sent")
	case last != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return last
	}
	return err
}

// series is one series with one sample: a number, or a native histogram.
type series struct {
	family    *dto.MetricFamily
	labels    []string // names and values in turn, by name
	value     float64
	native    *dto.Histogram
	exemplars []*dto.Exemplar
	created   int64 // ms; 0 for unknown
}

// flatten makes the series of all families as a scrape would: histograms become their classic series, and one native
// series besides.
func (r *remoteWrite) flatten(s *snapshot) (numbers, natives []series) {
	for _, f := range s.families {
		name := f.GetName()
		for _, m := range f.Metric {
			one := func(tail string, v float64, of *dto.Exemplar, created *timestamppb.Timestamp, more ...label) {
				x := series{family: f, labels: r.labels(name+tail, m.Label, more...), value: v, created: millis(created)}
				if of != nil {
					x.exemplars = []*dto.Exemplar{of}
				}
				numbers = append(numbers, x)
			}
			switch h := m.Histogram; {
			case m.Counter != nil:
				one("", m.Counter.GetValue(), m.Counter.Exemplar, m.Counter.CreatedTimestamp)
			case h == nil:
				one("", m.Gauge.GetValue(), nil, nil)
			default:
				for _, b := range h.Bucket {
					if !math.IsInf(b.GetUpperBound(), 1) {
						one("_bucket", float64(b.GetCumulativeCount()), b.Exemplar, h.CreatedTimestamp, label{"le", bound(b.GetUpperBound())})
					}
				}
				var beyond *dto.Exemplar
				if n := len(h.Bucket); n > 0 && math.IsInf(h.Bucket[n-1].GetUpperBound(), 1) {
					beyond = h.Bucket[n-1].Exemplar
				}
				one("_bucket", float64(h.GetSampleCount()), beyond, h.CreatedTimestamp, label{"le", "+Inf"})
				one("_sum", h.GetSampleSum(), nil, h.CreatedTimestamp)
				one("_count", float64(h.GetSampleCount()), nil, h.CreatedTimestamp)
				if h.Schema != nil {
					natives = append(natives, series{family: f, labels: r.labels(name, m.Label), native: h, exemplars: h.Exemplars, created: millis(h.CreatedTimestamp)})
				}
			}
		}
	}
	return numbers, natives
}

// labels puts a series' labels together, by name. What the series has itself goes before the sender's job and instance.
func (r *remoteWrite) labels(name string, of []*dto.LabelPair, more ...label) []string {
	all := append(make([]label, 0, len(of)+len(more)+len(r.own)+1), label{"__name__", name})
	for _, l := range of {
		all = append(all, label{l.GetName(), l.GetValue()})
	}
	all = append(all, more...)
	for _, l := range r.own {
		if !slices.ContainsFunc(all, func(x label) bool { return x.name == l.name }) {
			all = append(all, l)
		}
	}
	// A label without a value is none, and receivers refuse it.
	all = slices.DeleteFunc(all, func(l label) bool { return l.value == "" })
	slices.SortFunc(all, func(a, b label) int { return strings.Compare(a.name, b.name) })
	out := make([]string, 0, 2*len(all))
	for _, l := range all {
		out = append(out, l.name, l.value)
	}
	return out
}

// bound writes le as Prometheus keeps it: as OpenMetrics does, with a point.
func bound(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, "e.") {
		s += ".0"
	}
	return s
}

func millis(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return t.AsTime().UnixMilli()
}

// histogram converts a native histogram; the message is the same in both versions of the protocol.
func (s *series) histogram(at time.Time) *writev2.Histogram {
	h := s.native
	out := &writev2.Histogram{Count: &writev2.Histogram_CountInt{CountInt: h.GetSampleCount()}, Sum: h.GetSampleSum(), Schema: h.GetSchema(),
		ZeroThreshold: h.GetZeroThreshold(), ZeroCount: &writev2.Histogram_ZeroCountInt{ZeroCountInt: h.GetZeroCount()},
		PositiveDeltas: h.PositiveDelta, Timestamp: at.UnixMilli()}
	for _, span := range h.PositiveSpan {
		if span.GetLength() > 0 {
			out.PositiveSpans = append(out.PositiveSpans, &writev2.BucketSpan{Offset: span.GetOffset(), Length: span.GetLength()})
		}
	}
	return out
}

func exemplarTime(e *dto.Exemplar, at time.Time) int64 {
	if e.Timestamp != nil {
		return e.Timestamp.AsTime().UnixMilli()
	}
	return at.UnixMilli()
}

func exemplarLabels(e *dto.Exemplar) []string {
	var out []string
	for _, l := range e.Label { // they are made in order of their names
		out = append(out, l.GetName(), l.GetValue())
	}
	return out
}

// requestV2 encodes a part for version 2, in which texts are symbols and series tell what they are.
func requestV2(part []series, at time.Time) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	q := &writev2.Request{Timeseries: make([]*writev2.TimeSeries, len(part))}
	kinds := map[dto.MetricType]writev2.Metadata_MetricType{dto.MetricType_COUNTER: writev2.Metadata_METRIC_TYPE_COUNTER,
		dto.MetricType_GAUGE: writev2.Metadata_METRIC_TYPE_GAUGE, dto.MetricType_HISTOGRAM: writev2.Metadata_METRIC_TYPE_HISTOGRAM}
	for i := range part {
		s := &part[i]
		t := &writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(s.labels, nil), CreatedTimestamp: s.created,
			Metadata: &writev2.Metadata{Type: kinds[s.family.GetType()], HelpRef: symbols.Symbolize(s.family.GetHelp())}}
		if s.native != nil {
			t.Histograms = []*writev2.Histogram{s.histogram(at)}
		} else {
			t.Samples = []*writev2.Sample{{Value: s.value, Timestamp: at.UnixMilli()}}
		}
		for _, e := range s.exemplars {
			t.Exemplars = append(t.Exemplars, &writev2.Exemplar{LabelsRefs: symbols.SymbolizeLabels(exemplarLabels(e), nil),
				Value: e.GetValue(), Timestamp: exemplarTime(e, at)})
		}
		q.Timeseries[i] = t
	}
	q.Symbols = symbols.Symbols()
	return q
}

// encoded is a message that is already in its wire form, for the client.
type encoded []byte

// Size implements what the client wants of a message.
func (e encoded) Size() int { return len(e) }

// MarshalToSizedBuffer implements what the client wants of a message.
func (e encoded) MarshalToSizedBuffer(to []byte) (int, error) {
	if len(to) != len(e) {
		return 0, fmt.Errorf("encode: got room for %d bytes, want %d", len(to), len(e))
	}
	return copy(to, e), nil
}

// requestV1 encodes a part for version 1, prometheus.WriteRequest: its Go types come with all of Prometheus, and it is
// this small:
//
//	WriteRequest { repeated TimeSeries timeseries = 1; }
//	TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; repeated Exemplar exemplars = 3; repeated Histogram histograms = 4; }
//	Label        { string name = 1; string value = 2; }
//	Sample       { double value = 1; int64 timestamp = 2; }
//	Exemplar     { repeated Label labels = 1; double value = 2; int64 timestamp = 3; }
func requestV1(part []series, at time.Time) encoded {
	var out, t, inner, l []byte
	nested := func(to []byte, n protowire.Number, message []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, n, protowire.BytesType), message)
	}
	labels := func(to []byte, of []string) []byte {
		for i := 0; i < len(of); i += 2 {
			l = protowire.AppendString(protowire.AppendTag(l[:0], 1, protowire.BytesType), of[i])
			l = protowire.AppendString(protowire.AppendTag(l, 2, protowire.BytesType), of[i+1])
			to = nested(to, 1, l)
		}
		return to
	}
	sample := func(to []byte, first protowire.Number, v float64, ms int64) []byte {
		to = protowire.AppendFixed64(protowire.AppendTag(to, first, protowire.Fixed64Type), math.Float64bits(v))
		return protowire.AppendVarint(protowire.AppendTag(to, first+1, protowire.VarintType), uint64(ms))
	}
	for i := range part {
		s := &part[i]
		t = labels(t[:0], s.labels)
		if s.native == nil {
			inner = sample(inner[:0], 1, s.value, at.UnixMilli())
			t = nested(t, 2, inner)
		}
		for _, e := range s.exemplars {
			inner = sample(labels(inner[:0], exemplarLabels(e)), 2, e.GetValue(), exemplarTime(e, at))
			t = nested(t, 3, inner)
		}
		if s.native != nil {
			if b, err := s.histogram(at).MarshalVT(); err == nil { // it cannot fail: every field is set
				t = nested(t, 4, b)
			}
		}
		out = nested(out, 1, t)
	}
	return out
}
