package export

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// families builds the metric families of one scrape. A scrape may hold a hundred thousand series, so nothing is
// computed per series that can be computed per family: the order of the labels is a plan, label values are made once
// and shared between the families that repeat them, and everything lives in blocks.
//
// What it hands out is read only once it is handed out: label sets are shared between metrics.
type families struct {
	list     []*dto.MetricFamily
	byName   map[string]*dto.MetricFamily
	constant []Label                // on every series
	created  *timestamppb.Timestamp // of every counter and histogram; nil for unknown

	counters   slab[counterCell]
	gauges     slab[gaugeCell]
	histograms slab[histogramCell]
	buckets    slab[bucketCell]
	pairs      slab[pairCell]
	bucketSets slab[*dto.Bucket]
	labelSets  slab[*dto.LabelPair]
}

func newFamilies(constant []Label, created *timestamppb.Timestamp) *families {
	return &families{byName: map[string]*dto.MetricFamily{}, constant: constant, created: created}
}

// The cells hold a message together with what its fields point to.
type (
	counterCell struct {
		metric dto.Metric
		body   dto.Counter
		value  float64
	}
	gaugeCell struct {
		metric dto.Metric
		body   dto.Gauge
		value  float64
	}
	histogramCell struct {
		metric dto.Metric
		body   dto.Histogram
		count  uint64
		sum    float64
	}
	bucketCell struct {
		body  dto.Bucket
		count uint64
	}
	pairCell struct {
		body  dto.LabelPair
		value string
	}
)

// slab hands out values from blocks.
type slab[T any] struct{ rest []T }

const slabSize = 512

func (s *slab[T]) one() *T {
	if len(s.rest) == 0 {
		s.rest = make([]T, slabSize)
	}
	x := &s.rest[0]
	s.rest = s.rest[1:]
	return x
}

func (s *slab[T]) many(n int) []T {
	if len(s.rest) < n {
		s.rest = make([]T, max(n, slabSize))
	}
	x := s.rest[:n:n]
	s.rest = s.rest[n:]
	return x
}

// family finds or makes a family.
func (f *families) family(name, help string, kind dto.MetricType) *dto.MetricFamily {
	m := f.byName[name]
	if m == nil {
		m = &dto.MetricFamily{Name: &name, Help: &help, Type: &kind}
		f.byName[name] = m
		f.list = append(f.list, m)
	}
	return m
}

// fresh is a name that no family has yet.
func (f *families) fresh(name, tail string) string {
	for f.byName[name] != nil {
		name += tail
	}
	return name
}

// sorted is all families by name.
func (f *families) sorted() []*dto.MetricFamily {
	slices.SortFunc(f.list, func(a, b *dto.MetricFamily) int { return strings.Compare(*a.Name, *b.Name) })
	return f.list
}

func (f *families) counter(m *dto.MetricFamily, labels []*dto.LabelPair, v float64) *dto.Counter {
	c := f.counters.one()
	c.value = v
	c.body.Value, c.body.CreatedTimestamp = &c.value, f.created
	c.metric.Label, c.metric.Counter = labels, &c.body
	m.Metric = append(m.Metric, &c.metric)
	return &c.body
}

func (f *families) gauge(m *dto.MetricFamily, labels []*dto.LabelPair, v float64) {
	c := f.gauges.one()
	c.value = v
	c.body.Value = &c.value
	c.metric.Label, c.metric.Gauge = labels, &c.body
	m.Metric = append(m.Metric, &c.metric)
}

// histogram appends a metric with count and sum; the caller fills in buckets.
func (f *families) histogram(m *dto.MetricFamily, labels []*dto.LabelPair, count uint64, sum float64) *dto.Histogram {
	c := f.histograms.one()
	c.count, c.sum = count, sum
	c.body.SampleCount, c.body.SampleSum, c.body.CreatedTimestamp = &c.count, &c.sum, f.created
	c.metric.Label, c.metric.Histogram = labels, &c.body
	m.Metric = append(m.Metric, &c.metric)
	return &c.body
}

// classicBuckets makes the buckets of a histogram with these bounds; the counts are to be filled in.
func (f *families) classicBuckets(bounds []float64) []*dto.Bucket {
	out := f.bucketSets.many(len(bounds))
	for i := range out {
		c := f.buckets.one()
		c.body.CumulativeCount, c.body.UpperBound = &c.count, &bounds[i]
		out[i] = &c.body
	}
	return out
}

// pair makes a label; the name is shared.
func (f *families) pair(name *string, value string) *dto.LabelPair {
	c := f.pairs.one()
	c.value = value
	c.body.Name, c.body.Value = name, &c.value
	return &c.body
}

// labelPlan is how the labels of a family come together in order of their names: those that all series share, and
// columns, of which every series has its own.
type labelPlan struct {
	shared []*dto.LabelPair
	from   []int // by place: index of shared, or ^index of the column
}

// plan orders the constant labels, a family's own and the names of columns. Of labels with one name the family's own or
// the column stays.
func (f *families) plan(own []Label, columns ...string) *labelPlan {
	p := &labelPlan{}
	names := make([]string, 0, len(f.constant)+len(own)+len(columns))
	share := func(l Label) {
		names = append(names, l.Name)
		p.from = append(p.from, len(p.shared))
		p.shared = append(p.shared, &dto.LabelPair{Name: &l.Name, Value: &l.Value})
	}
	for i, name := range columns {
		names = append(names, name)
		p.from = append(p.from, ^i)
	}
	for _, l := range own {
		share(l)
	}
	for _, l := range f.constant {
		if !slices.Contains(names, l.Name) {
			share(l)
		}
	}
	name := func(at int) string {
		if at < 0 {
			return columns[^at]
		}
		return *p.shared[at].Name
	}
	slices.SortFunc(p.from, func(a, b int) int { return strings.Compare(name(a), name(b)) })
	return p
}

// labels puts the labels of a series together.
func (f *families) labels(p *labelPlan, columns []*dto.LabelPair) []*dto.LabelPair {
	out := f.labelSets.many(len(p.from))
	for i, at := range p.from {
		if at < 0 {
			out[i] = columns[^at]
		} else {
			out[i] = p.shared[at]
		}
	}
	return out
}

// only puts the labels of a series together that has no columns.
func (f *families) only(own ...Label) []*dto.LabelPair { return f.labels(f.plan(own), nil) }
