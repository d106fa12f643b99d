package export

import (
	"fmt"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// ExportKind is what a plain map becomes.
type ExportKind uint8

// The kinds.
const (
	ExportCounter ExportKind = iota
	ExportGauge
	ExportHistogram
)

// String is the word of the language for a kind.
func (k ExportKind) String() string {
	return [...]string{ExportCounter: "counter", ExportGauge: "gauge", ExportHistogram: "histogram"}[k]
}

// ExportedMap is one of the script's maps that is exported. A counter gets the tail _total when it has none. Values are
// as the script recorded them. A hist() or lhist() keeps no sum: that of its histogram is an estimate from the middles
// of its buckets, and HELP says so; that of a dist() is exact, and it is a native histogram too.
type ExportedMap struct {
	Name   string // without slope_
	Help   string
	Kind   ExportKind
	Labels []string // names of the parts of the key, in order; fewer than parts: the others are called key, key_2, …
	Rows   *agg.Snapshot
	Scale  *agg.Scale // of a dist(); nil computes it anew, a millisecond each time
}

// CheckExport tells why a map of these values cannot be exported as a kind; name is that of the metric, without slope_.
func CheckExport(name string, kind ExportKind, value *types.Type) error {
	if clean := sanitise(name); clean != name || strings.HasPrefix(name, "_") || name == "" {
		return fmt.Errorf("invalid metric name '%s': want letters, digits and single underscores", name)
	}
	for _, own := range [...]string{"sli_", "slo_", "events_", "map_", "probe_", "push_", "scrape_", "probes_attached", "build_info"} {
		if strings.HasPrefix(name, own) {
			return fmt.Errorf("the metric name '%s' is reserved: slope's own metrics begin with slope_%s", name, own)
		}
	}
	if kind == ExportHistogram {
		if value.Kind == types.Aggregate {
			switch value.Agg.Kind {
			case types.HistAgg, types.LHistAgg, types.DistAgg:
				return nil
			}
		}
		return fmt.Errorf("a histogram wants hist(), lhist() or dist(), got '%s'", value)
	}
	if value.Kind != types.Aggregate {
		if value.Kind == types.Int {
			return nil
		}
		return fmt.Errorf("a %s wants numbers, got '%s'", kind, value)
	}
	switch value.Agg.Kind {
	case types.CountAgg, types.SumAgg:
		return nil
	case types.MinAgg, types.MaxAgg, types.AvgAgg, types.StatsAgg:
		if kind == ExportGauge {
			return nil
		}
		return fmt.Errorf("a counter wants count(), sum() or a number that only grows, got '%s'", value)
	}
	return fmt.Errorf("a %s wants numbers, got '%s'", kind, value)
}

// exported makes the family of a map. What CheckExport refuses has no metrics.
func (w *writer) exported(m *ExportedMap) {
	s := m.Rows
	if CheckExport(m.Name, m.Kind, s.Value) != nil || len(s.Rows) == 0 {
		return
	}
	name, help := "slope_"+m.Name, m.Help
	kind := [...]dto.MetricType{ExportCounter: dto.MetricType_COUNTER, ExportGauge: dto.MetricType_GAUGE, ExportHistogram: dto.MetricType_HISTOGRAM}[m.Kind]
	if help == "" {
		help = "The map " + s.Name + " of the script."
	}
	if m.Kind == ExportHistogram && s.Value.Agg.Kind != types.DistAgg {
		help = strings.TrimSuffix(help, ".") + " (the sum is an estimate from the buckets)."
	}
	if m.Kind == ExportCounter && !strings.HasSuffix(name, "_total") {
		name += "_total"
	}
	family := w.f.family(w.f.fresh(name, "_map"), valid(help), kind)
	names, parts := exportLabels(m.Labels, s.Key)
	plan := w.f.plan(nil, names...)
	fill := w.filler(m)
	columns := make([]*dto.LabelPair, len(names))
	for i := range s.Rows {
		r := &s.Rows[i]
		key := r.Key
		for i, t := range parts {
			n := min(t.Memory(), len(key))
			columns[i] = w.f.pair(&names[i], valid(string(w.s.Values.AppendText(nil, t, key[:n]))))
			key = key[n:]
		}
		fill(family, w.f.labels(plan, columns), r)
	}
}

// exportLabels names the parts of a key.
func exportLabels(given []string, key *types.Type) (names []string, parts []*types.Type) {
	switch {
	case key == nil:
		return nil, nil
	case key.Kind == types.Tuple:
		parts = key.Elems
	default:
		parts = []*types.Type{key}
	}
	names = make([]string, len(parts))
	for i := range names {
		switch {
		case i < len(given):
			names[i] = given[i]
		case i == 0:
			names[i] = "key"
		default:
			names[i] = fmt.Sprintf("key_%d", i+1)
		}
	}
	return LabelNames(names), parts
}

// filler makes the metric of a row.
func (w *writer) filler(m *ExportedMap) func(*dto.MetricFamily, []*dto.LabelPair, *agg.Row) {
	t := m.Rows.Value
	switch m.Kind {
	case ExportCounter:
		return func(f *dto.MetricFamily, labels []*dto.LabelPair, r *agg.Row) { w.f.counter(f, labels, number(t, r)) }
	case ExportGauge:
		return func(f *dto.MetricFamily, labels []*dto.LabelPair, r *agg.Row) { w.f.gauge(f, labels, number(t, r)) }
	}
	switch a := t.Agg; a.Kind {
	case types.DistAgg:
		scale := m.Scale
		if scale == nil {
			scale = agg.NewScale(int(a.Args[0]), 1)
		}
		p := newClassicPlan(0, histBounds, scale, nil)
		return func(f *dto.MetricFamily, labels []*dto.LabelPair, r *agg.Row) {
			d := agg.NewDist(scale, r.Words)
			h := w.f.histogram(f, labels, d.Observed(), float64(d.Sum))
			h.Bucket = w.f.classicBuckets(p.bounds)
			p.fill(h.Bucket, d, nil)
			makeNative(h, d)
		}
	default:
		b := newIntegerBounds(a, m.Rows.Rows)
		return func(f *dto.MetricFamily, labels []*dto.LabelPair, r *agg.Row) {
			h := w.f.histogram(f, labels, agg.Total(r.Words), b.sum(r.Words))
			h.Bucket = w.f.classicBuckets(b.bounds)
			b.fill(h.Bucket, r.Words)
		}
	}
}

// number is the value of a row that has one; of stats the mean.
func number(t *types.Type, r *agg.Row) float64 {
	n, signed := uint64(0), t.Signed
	if t.Kind == types.Aggregate {
		a := t.Agg
		if a.Kind == types.AvgAgg || a.Kind == types.StatsAgg {
			if r.Words[1] == 0 {
				return 0
			}
			return signedFloat(r.Words[0], a.Signed) / float64(r.Words[1])
		}
		n, signed = r.Words[0], a.Signed && a.Kind != types.CountAgg
	} else {
		n = agg.Number(r.Raw)
	}
	return signedFloat(n, signed)
}

func signedFloat(n uint64, signed bool) float64 {
	if signed {
		return float64(int64(n))
	}
	return float64(n)
}

// integerBounds is the classic buckets of a hist or lhist: they hold whole numbers, so one that ends before n has the
// bound n-1. Of a hist only the powers of two are bounds, from 1 to at least 2^40, so that the bounds of a metric stay
// the same while it runs.
type integerBounds struct {
	bounds []float64
	last   []int     // by bound: the last of the map's buckets that belongs to it
	middle []float64 // by bucket of the map
}

const histBounds = 40 // powers of two that are always there

func newIntegerBounds(a *types.Agg, rows []agg.Row) *integerBounds {
	b := &integerBounds{}
	add := func(last int, bound float64) {
		b.bounds, b.last = append(b.bounds, bound), append(b.last, last)
	}
	if a.Kind == types.LHistAgg {
		low, high, step := a.Args[0], a.Args[1], a.Args[2]
		buckets := len(rows[0].Words)
		for i := range buckets - 1 {
			add(i, float64(min(low+int64(i)*step, high)-1))
		}
		b.middle = make([]float64, buckets)
		for i := range b.middle {
			b.middle[i] = float64(low) + (float64(i)-0.5)*float64(step) - 0.5
		}
		b.middle[0], b.middle[buckets-1] = float64(low)-1, float64(high)
		return b
	}
	h, most := agg.Hist{Bits: int(a.Args[0])}, 0
	for i := range rows {
		if _, last, ok := agg.Filled(rows[i].Words); ok {
			most = max(most, last)
		}
	}
	b.middle = make([]float64, len(rows[0].Words))
	b.middle[0] = -1
	add(0, -1)
	power := uint64(1) // of two: the next bound is one less
	for i := 1; i < len(b.middle); i++ {
		lower, upper := h.Range(i)
		b.middle[i] = float64(lower)/2 + float64(upper)/2
		if upper+1 < power || i == len(b.middle)-1 {
			continue
		}
		if power > 1<<histBounds && i > most {
			break
		}
		add(i, float64(upper))
		if power = (upper + 1) << 1; power == 0 {
			break
		}
	}
	return b
}

// sum estimates the sum of the values.
func (b *integerBounds) sum(words []uint64) float64 {
	sum := 0.0
	for i, n := range words {
		if n > 0 {
			sum += float64(n) * b.middle[i]
		}
	}
	return sum
}

func (b *integerBounds) fill(to []*dto.Bucket, words []uint64) {
	n, at := uint64(0), 0
	for i, last := range b.last {
		for ; at <= last; at++ {
			n += words[at]
		}
		*to[i].CumulativeCount = n
	}
}
