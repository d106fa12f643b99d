package export

import (
	"net/http"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

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
}

// Indicator is an sli with its numbers. Scale is nil for a ratio.
type Indicator struct {
	Layout *lower.SLILayout
	Scale  *agg.Scale
	Series []agg.Series
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

// Collector is the one Prometheus collector: every scrape reads everything anew and keeps nothing. Metrics are made
// directly in the exposition's own form, since a histogram here is classic and native in one.
type Collector struct {
	read func() (*Scrape, error)
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector makes a collector that gets its numbers from read, which may be called from several goroutines.
func NewCollector(read func() (*Scrape, error)) *Collector { return &Collector{read} }

// Describe says nothing: which metrics exist depends on the script.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads and sends everything.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	start := time.Now()
	s, err := c.read()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("slope_scrape_error", "The maps could not be read.", nil, nil), err)
		return
	}
	w := writer{ch: ch, s: s}
	for i := range s.Indicators {
		w.indicator(&s.Indicators[i])
	}
	w.health()
	w.gauge("slope_scrape_duration_seconds", "Time it took to read all numbers of this scrape.", time.Since(start).Seconds(), nil)
}

// Handler serves the metrics: as text, as OpenMetrics, or as protobuf, which alone carries native histograms, whichever
// the client asks for; compressed if it likes.
func Handler(c *Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(c) // it describes nothing, so it cannot clash
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, CoalesceGather: true,
		ErrorHandling: promhttp.HTTPErrorOnError})
}

// writer sends the metrics of one scrape.
type writer struct {
	ch chan<- prometheus.Metric
	s  *Scrape
}

// metric is a metric that is already in its exposition form.
type metric struct {
	desc *prometheus.Desc
	out  *dto.Metric
}

func (m metric) Desc() *prometheus.Desc { return m.desc }

func (m metric) Write(out *dto.Metric) error {
	out.Label, out.Counter, out.Gauge, out.Histogram = m.out.Label, m.out.Counter, m.out.Gauge, m.out.Histogram
	return nil
}

// label is a name with its value.
type label struct{ name, value string }

func (w *writer) send(name, help string, labels []label, m *dto.Metric) {
	names := make([]string, len(labels))
	m.Label = make([]*dto.LabelPair, len(labels))
	for i := range labels {
		names[i] = labels[i].name
		m.Label[i] = &dto.LabelPair{Name: &labels[i].name, Value: &labels[i].value}
	}
	sort.Slice(m.Label, func(i, j int) bool { return *m.Label[i].Name < *m.Label[j].Name })
	w.ch <- metric{prometheus.NewDesc(name, help, names, nil), m}
}

func (w *writer) counter(name, help string, v float64, labels []label) {
	w.send(name, help, labels, &dto.Metric{Counter: &dto.Counter{Value: &v}})
}

func (w *writer) gauge(name, help string, v float64, labels []label) {
	w.send(name, help, labels, &dto.Metric{Gauge: &dto.Gauge{Value: &v}})
}

// labels of a series: its own, and those given before.
func (w *writer) labels(l *lower.SLILayout, x agg.Series, before ...label) []label {
	out := before
	values := LabelValues(l, x.Labels, w.s.Values)
	names := labelNames(l.SLI)
	for i := range names {
		value := OtherLabel
		if !x.Other && i < len(values) {
			value = valid(values[i])
		}
		out = append(out, label{names[i], value})
	}
	return out
}

func (w *writer) indicator(in *Indicator) {
	l, s := in.Layout, in.Layout.SLI
	w.gauge("slope_sli_info", "The indicators of the script.", 1, []label{{"doc", valid(s.Doc)}, {"kind", s.Kind.String()},
		{"sli", s.Name}, {"unit", s.Unit.String()}})
	series := w.distinct(in)
	for _, x := range series {
		labels := w.labels(l, x, label{"sli", s.Name})
		w.counter("slope_sli_events_total", "Events that an indicator counted.", float64(x.Words[lower.WordCount]), labels)
		if bad := badWord(l); s.Kind == check.Ratio && bad >= 0 {
			w.counter("slope_sli_bad_events_total", "Events that an indicator counted as bad.", float64(x.Words[bad]), labels)
		}
		if s.Kind == check.Distribution {
			help := s.Doc
			if help == "" {
				help = "Distribution of the indicator " + s.Name + "."
			}
			w.send(HistogramName(s), valid(help), w.labels(l, x), &dto.Metric{Histogram: w.histogram(in, x)})
		}
	}
	for _, o := range l.Objectives {
		if o.SLO == nil {
			continue
		}
		own := []label{{"slo", o.SLO.Name}, {"sli", s.Name}}
		w.gauge("slope_slo_objective_ratio", "Part of the events that the objective wants to be good.", float64(o.SLO.PPB)/1e9, own)
		w.gauge("slope_slo_info", "The objectives of the script.", 1, append(own[:2:2], label{"window", window(o.SLO.Window)}))
		for _, x := range series {
			labels := w.labels(l, x, own[:2:2]...)
			w.counter("slope_slo_events_total", "Events that count for an objective.", float64(x.Words[o.Total]), labels)
			w.counter("slope_slo_bad_events_total", "Events that count for an objective and missed it.", float64(x.Words[o.Bad]), labels)
		}
	}
}

// distinct adds up series that read the same: labels may differ in what is no text, or be called "other".
func (w *writer) distinct(in *Indicator) []agg.Series {
	if len(in.Series) < 2 {
		return in.Series
	}
	out := make([]agg.Series, 0, len(in.Series))
	place := make(map[string]int, len(in.Series))
	for _, x := range in.Series {
		id := ""
		for _, l := range w.labels(in.Layout, x) {
			id += l.value + "\x00"
		}
		at, ok := place[id]
		if !ok {
			place[id] = len(out)
			out = append(out, x)
			continue
		}
		sum := slices.Clone(out[at].Words)
		for i, v := range x.Words {
			sum[i] += v
		}
		out[at].Words = sum
	}
	return out
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

// health sends how well the measuring itself goes.
func (w *writer) health() {
	causes := make([]string, 0, len(w.s.Lost))
	for cause := range w.s.Lost {
		causes = append(causes, cause)
	}
	sort.Strings(causes)
	for _, cause := range causes {
		w.counter("slope_events_lost_total", "Events that were lost or changed, by cause.", float64(w.s.Lost[cause]), []label{{"cause", cause}})
	}
	w.counter("slope_events_handled_total", "Records that the script sent to user space and that were handled.", float64(w.s.Events), nil)
	for _, m := range w.s.Maps {
		labels := []label{{"map", m.Map}}
		w.gauge("slope_map_entries", "Entries of a map.", float64(m.Entries), labels)
		w.gauge("slope_map_capacity_entries", "Entries that a map has room for.", float64(m.Capacity), labels)
	}
	for _, p := range w.s.Probes {
		labels := []label{{"probe", p.Probe}}
		w.counter("slope_probe_runs_total", "Runs of a probe's programs.", float64(p.Runs), labels)
		if p.Seconds >= 0 {
			w.counter("slope_probe_run_seconds_total", "Time spent in a probe's programs, if the kernel keeps it.", p.Seconds, labels)
		}
	}
	w.gauge("slope_probes_attached", "Probes that are attached.", float64(w.s.Attached), nil)
	w.gauge("slope_build_info", "The version of slope.", 1, []label{{"version", w.s.Version}, {"revision", w.s.Revision}})
}
