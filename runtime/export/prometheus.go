package export

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

// Scrape is everything one scrape exports, read at one time.
type Scrape struct {
	Values     Values
	Start      time.Time // when counting began; zero for unknown
	Indicators []Indicator
	Events     uint64            // records of the ring buffer that were handled
	Lost       map[string]uint64 // by ir.Loss cause
	Maps       []MapFill
	Probes     []ProbeRuns
	Attached   int
	Version    string
	Revision   string

	Objectives   []ObjectiveStatus // what follows from windows; nil when nobody keeps them
	Exported     []ExportedMap     // the script's plain maps
	PushFailures map[string]uint64 // by target; nil when nothing is pushed
}

// Indicator is an sli with its numbers. Scale is nil for a ratio.
type Indicator struct {
	Layout    *lower.SLILayout
	Scale     *agg.Scale
	Series    []agg.Series
	Unknown   *uint64                 // events whose outcome nobody knows; nil when that is not counted
	Exemplars map[SeriesID][]Exemplar // on a distribution's buckets, or on a ratio's bad events
}

// MapFill is how full a map is.
type MapFill struct {
	Map               string
	Entries, Capacity uint64
}

// ProbeRuns is how often a probe's programs ran. Seconds is negative when the kernel does not keep the time.
type ProbeRuns struct {
	Probe   string
	Runs    uint64
	Seconds float64
}

// Collector makes the metric families: every scrape and every push reads everything anew and keeps nothing. They are
// made directly in the exposition's own form, since a histogram here is classic and native in one, and since a registry
// would check, hash and sort each of what may be a hundred thousand series. What it would check is checked by a test
// that registers a Collector.
type Collector struct {
	read     func() (*Scrape, error)
	constant []Label
}

var (
	_ prometheus.Gatherer  = (*Collector)(nil)
	_ prometheus.Collector = (*Collector)(nil)
)

// NewCollector makes a collector that gets its numbers from read, which may be called from several goroutines. Every
// series gets the constant labels.
func NewCollector(read func() (*Scrape, error), constant ...Label) *Collector {
	return &Collector{read, constant}
}

// Gather implements prometheus.Gatherer. The families are shared with nobody and may be read by several goroutines, but
// not be changed: label sets are shared between metrics.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	start := time.Now()
	s, err := c.read()
	if err != nil {
		return nil, err
	}
	var created *timestamppb.Timestamp
	if !s.Start.IsZero() {
		created = timestamppb.New(s.Start)
	}
	w := writer{f: newFamilies(c.constant, created), s: s}
	for i := range s.Indicators {
		w.indicator(&s.Indicators[i])
	}
	for i := range s.Objectives {
		w.objective(&s.Objectives[i])
	}
	w.health()
	for i := range s.Exported {
		w.exported(&s.Exported[i])
	}
	w.gauge("slope_scrape_duration_seconds", "Time it took to read all numbers of this scrape.", time.Since(start).Seconds())
	return w.f.sorted(), nil
}

// Describe says nothing: which metrics exist depends on the script.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector, for whoever has a registry.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	families, err := c.Gather()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("slope_scrape_error", "The maps could not be read.", nil, nil), err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			names := make([]string, len(m.Label))
			for i, l := range m.Label {
				names[i] = l.GetName()
			}
			ch <- made{prometheus.NewDesc(f.GetName(), f.GetHelp(), names, nil), m}
		}
	}
}

// made is a metric that is already in its exposition form.
type made struct {
	desc *prometheus.Desc
	out  *dto.Metric
}

func (m made) Desc() *prometheus.Desc { return m.desc }

func (m made) Write(out *dto.Metric) error {
	out.Label, out.Counter, out.Gauge, out.Histogram = m.out.Label, m.out.Counter, m.out.Gauge, m.out.Histogram
	return nil
}

// Handler serves the metrics: as text, as OpenMetrics, or as protobuf, which alone carries native histograms, whichever
// the client asks for; compressed if it likes.
func Handler(c prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(c, promhttp.HandlerOpts{EnableOpenMetrics: true, CoalesceGather: true,
		ErrorHandling: promhttp.HTTPErrorOnError})
}

// writer makes the metrics of one scrape.
type writer struct {
	f *families
	s *Scrape
}

func (w *writer) counter(name, help string, v float64, labels ...Label) {
	w.f.counter(w.f.family(name, help, dto.MetricType_COUNTER), w.f.only(labels...), v)
}

func (w *writer) gauge(name, help string, v float64, labels ...Label) {
	w.f.gauge(w.f.family(name, help, dto.MetricType_GAUGE), w.f.only(labels...), v)
}

// row is a series with the labels that it has of its own.
type row struct {
	words     []uint64
	columns   []*dto.LabelPair
	exemplars []Exemplar
}

// rows makes the labels of an indicator's series, and adds up series that read the same: labels may differ in what is
// no text, or be called "other".
func (w *writer) rows(in *Indicator, names []string) []row {
	out := make([]row, 0, len(in.Series))
	place := make(map[string]int, len(in.Series))
	var id []byte
	for _, x := range in.Series {
		columns := w.f.labelSets.many(len(names))
		values := LabelValues(in.Layout, x.Labels, w.s.Values)
		id = id[:0]
		for i := range names {
			value := OtherLabel
			if !x.Other && i < len(values) {
				value = valid(values[i])
			}
			columns[i] = w.f.pair(&names[i], value)
			id = append(append(id, value...), 0)
		}
		var exemplars []Exemplar
		if in.Exemplars != nil {
			exemplars = in.Exemplars[SeriesID{string(x.Labels), x.Other}]
		}
		at, again := place[string(id)]
		if !again {
			place[string(id)] = len(out)
			out = append(out, row{x.Words, columns, exemplars})
			continue
		}
		sum := make([]uint64, len(x.Words))
		for i, v := range x.Words {
			sum[i] = out[at].words[i] + v
		}
		out[at].words = sum
		out[at].exemplars = append(out[at].exemplars[:len(out[at].exemplars):len(out[at].exemplars)], exemplars...)
	}
	return out
}

func (w *writer) indicator(in *Indicator) {
	l, s, f := in.Layout, in.Layout.SLI, w.f
	own := Label{"sli", s.Name}
	w.gauge("slope_sli_info", "The indicators of the script.", 1, Label{"doc", valid(s.Doc)}, Label{"kind", s.Kind.String()}, own,
		Label{"unit", s.Unit.String()})
	if in.Unknown != nil {
		w.counter("slope_sli_unknown_events_total", "Events of an indicator whose outcome is not known.", float64(*in.Unknown), own)
	}
	names := labelNames(s)
	rows := w.rows(in, names)
	if len(rows) > 0 {
		plan := f.plan([]Label{own}, names...)
		events := f.family("slope_sli_events_total", "Events that an indicator counted.", dto.MetricType_COUNTER)
		var bads *dto.MetricFamily
		bad := badWord(l)
		if (s.Kind == check.Ratio || s.Kind == check.Counters) && bad >= 0 {
			bads = f.family("slope_sli_bad_events_total", "Events that an indicator counted as bad.", dto.MetricType_COUNTER)
		}
		for _, x := range rows {
			labels := f.labels(plan, x.columns)
			f.counter(events, labels, float64(x.words[lower.WordCount]))
			if bads != nil {
				c := f.counter(bads, labels, float64(x.words[bad]))
				if n := len(x.exemplars); n > 0 {
					c.Exemplar = x.exemplars[n-1].message(1)
				}
			}
		}
		switch s.Kind {
		case check.Distribution:
			w.distribution(in, names, rows)
		case check.Gauge:
			w.level(in, names, rows)
		}
	}
	for _, o := range l.Objectives {
		if o.SLO == nil {
			continue
		}
		own := []Label{{"slo", o.SLO.Name}, own}
		w.gauge("slope_slo_objective_ratio", "Part of the events that the objective wants to be good.", float64(o.SLO.PPB)/1e9, own...)
		w.gauge("slope_slo_window_seconds", "Length of the objective's rolling window.", o.SLO.Nominal().Seconds(), own...)
		w.gauge("slope_slo_info", "The objectives of the script.", 1, w.infoLabels(o.SLO, own)...)
		if len(rows) == 0 {
			continue
		}
		plan := f.plan(own, names...)
		events := f.family("slope_slo_events_total", "Events that count for an objective.", dto.MetricType_COUNTER)
		bads := f.family("slope_slo_bad_events_total", "Events that count for an objective and missed it.", dto.MetricType_COUNTER)
		for _, x := range rows {
			labels := f.labels(plan, x.columns)
			f.counter(events, labels, float64(x.words[o.Total]))
			f.counter(bads, labels, float64(x.words[o.Bad]))
		}
	}
}

// level makes the gauge of an indicator: its last value, in the base unit.
func (w *writer) level(in *Indicator, names []string, rows []row) {
	s := in.Layout.SLI
	help := s.Doc
	if help == "" {
		help = "Level of the indicator " + s.Name + "."
	}
	levels := w.f.family(HistogramName(s), valid(help), dto.MetricType_GAUGE)
	plan := w.f.plan(nil, names...)
	for _, x := range rows {
		w.f.gauge(levels, w.f.labels(plan, x.columns), float64(int64(x.words[lower.WordValue]))/float64(s.Unit.PerBase()))
	}
}

// distribution makes the histograms of an indicator.
func (w *writer) distribution(in *Indicator, names []string, rows []row) {
	s := in.Layout.SLI
	help := s.Doc
	if help == "" {
		help = "Distribution of the indicator " + s.Name + "."
	}
	m := w.f.family(w.f.fresh(HistogramName(s), "_"+s.Unit.String()), valid(help), dto.MetricType_HISTOGRAM)
	first, last := classicRange(s.Unit)
	plan, buckets := w.f.plan(nil, names...), newClassicPlan(first, last, in.Scale, in.Layout.Objectives)
	for _, x := range rows {
		h := w.histogram(m, w.f.labels(plan, x.columns), in, buckets, x.words)
		attach(h, x.exemplars, float64(in.Scale.Unit))
	}
}

// window writes a rolling window with the largest unit that divides it.
func window(ns uint64) string {
	for _, u := range [...]struct {
		ns   uint64
		name string
	}{{24 * 3600 * 1e9, "d"}, {3600 * 1e9, "h"}, {60 * 1e9, "m"}} {
		if ns > 0 && ns%u.ns == 0 {
			return strconv.FormatUint(ns/u.ns, 10) + u.name
		}
	}
	return strconv.FormatFloat(float64(ns)/1e9, 'g', -1, 64) + "s"
}

// health makes how well the measuring itself goes.
func (w *writer) health() {
	for _, cause := range slices.Sorted(maps.Keys(w.s.Lost)) {
		w.counter("slope_events_lost_total", "Events that were lost or changed, by cause.", float64(w.s.Lost[cause]), Label{"cause", cause})
	}
	w.counter("slope_events_handled_total", "Records that the script sent to user space and that were handled.", float64(w.s.Events))
	for _, m := range w.s.Maps {
		label := Label{"map", m.Map}
		w.gauge("slope_map_entries", "Entries of a map.", float64(m.Entries), label)
		w.gauge("slope_map_capacity_entries", "Entries that a map has room for.", float64(m.Capacity), label)
	}
	for _, p := range w.s.Probes {
		label := Label{"probe", p.Probe}
		w.counter("slope_probe_runs_total", "Runs of a probe's programs.", float64(p.Runs), label)
		if p.Seconds >= 0 {
			w.counter("slope_probe_run_seconds_total", "Time spent in a probe's programs, if the kernel keeps it.", p.Seconds, label)
		}
	}
	for _, target := range slices.Sorted(maps.Keys(w.s.PushFailures)) {
		w.counter("slope_push_failures_total", "Pushes that a target did not get.", float64(w.s.PushFailures[target]), Label{"target", target})
	}
	w.gauge("slope_probes_attached", "Probes that are attached.", float64(w.s.Attached))
	w.gauge("slope_build_info", "The version of slope.", 1, Label{"version", w.s.Version}, Label{"revision", w.s.Revision})
}
