package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	prom "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/supervisor"
)

// pages are those besides /metrics.
func (v *server) pages() map[string]http.Handler {
	pages := map[string]http.Handler{
		"GET /-/healthy": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { v.tell(w, true) }),
		"GET /-/ready":   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { v.tell(w, false) }),
		"POST /-/reload": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "lifecycle API is not enabled: start slope with --web.enable-lifecycle", http.StatusForbidden)
		}),
	}
	if v.flags.lifecycle {
		pages["POST /-/reload"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := v.scripts.Reload(r.Context()); err != nil {
				http.Error(w, fmt.Sprintf("not everything is reloaded:\n%s", err), http.StatusInternalServerError)
			}
		})
	}
	return pages
}

// tell answers with the state of all scripts.
func (v *server) tell(w http.ResponseWriter, healthy bool) {
	all, ready := v.scripts.Status()
	if all == nil {
		all = []supervisor.Status{}
	}
	w.Header().Set("Content-Type", "application/json")
	if !ready && !healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.Encode(struct {
		Version string              `json:"version"`
		Ready   bool                `json:"ready"`
		Scripts []supervisor.Status `json:"scripts"`
	}{Version, ready, all})
}

// gatherer makes the metrics of all scripts, and of serving them.
func (v *server) gatherer(e *exporter) prom.Gatherer {
	labels, _ := v.flags.export.constant(nil) // checked before
	collectors := []prom.Collector{&fleetMetrics{v, e}}
	if v.keep != nil {
		collectors = append(collectors, v.keep)
	}
	own := ownMetrics(labels, collectors...)
	return prom.GathererFunc(func() ([]*dto.MetricFamily, error) {
		v.mu.Lock()
		runners := maps.Clone(v.runners)
		v.mu.Unlock()
		families, err := own()
		if err != nil {
			return nil, err
		}
		all := [][]*dto.MetricFamily{families}
		for _, name := range slices.Sorted(maps.Keys(runners)) {
			r := runners[name]
			labels, err := r.flags.export.constant(nil)
			if err == nil {
				var of []*dto.MetricFamily
				if of, err = export.NewCollector(r.scrape, labels...).Gather(); err == nil {
					all = append(all, of)
				}
			}
			if err != nil { // the others have their numbers
				v.log.Error("script cannot be read", "script", name, "err", err)
			}
		}
		merged, clashes := export.Merge(all...)
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, name := range clashes {
			if !v.clashes[name] {
				v.clashes[name] = true
				v.log.Error("scripts export a metric of one name with different types; that of the first is served", "metric", name)
			}
		}
		return merged, nil
	})
}

// ownMetrics gathers metrics that are about no script's numbers, with the constant labels.
func ownMetrics(labels []export.Label, collectors ...prom.Collector) func() ([]*dto.MetricFamily, error) {
	own := prom.NewPedanticRegistry()
	own.MustRegister(collectors...)
	constant := make([]*dto.LabelPair, len(labels))
	for i := range labels {
		constant[i] = &dto.LabelPair{Name: &labels[i].Name, Value: &labels[i].Value}
	}
	return func() ([]*dto.MetricFamily, error) {
		families, err := own.Gather()
		for _, f := range families {
			for _, m := range f.Metric {
				m.Label = append(m.Label, constant...)
				slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
			}
		}
		return families, err
	}
}

// fleetMetrics are the metrics about the scripts themselves.
type fleetMetrics struct {
	server   *server
	exporter *exporter
}

// Describe implements prometheus.Collector: what there is depends on the scripts.
func (f *fleetMetrics) Describe(chan<- *prom.Desc) {}

// Collect implements prometheus.Collector.
func (f *fleetMetrics) Collect(ch chan<- prom.Metric) {
	send := func(name, help string, kind prom.ValueType, v float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		ch <- prom.MustNewConstMetric(prom.NewDesc(name, help, names, nil), kind, v, values...)
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	all, ready := f.server.scripts.Status()
	send("slope_ready", "Whether every script is attached, or has run to its end.", prom.GaugeValue, flag(ready))
	send("slope_scripts", "Scripts that are known.", prom.GaugeValue, float64(len(all)))
	for _, s := range all {
		for _, state := range supervisor.States() {
			send("slope_script_state", "Whether a script is in a state: 1, or 0.", prom.GaugeValue, flag(s.State == state), "script", s.Name, "state", string(state))
		}
		send("slope_script_starts_total", "Starts of a script, with those that failed.", prom.CounterValue, float64(s.Starts), "script", s.Name)
		send("slope_script_reloads_total", "New texts of a script while it ran.", prom.CounterValue, float64(s.Reloads), "result", "ok", "script", s.Name)
		send("slope_script_reloads_total", "New texts of a script while it ran.", prom.CounterValue, float64(s.Refused), "result", "failed", "script", s.Name)
		send("slope_script_last_reload_successful", "Whether the last text of a script runs.", prom.GaugeValue, flag(s.Good), "script", s.Name)
		if !s.Reloaded.IsZero() {
			send("slope_script_last_reload_success_timestamp_seconds", "When a text of a script took effect last.", prom.GaugeValue,
				float64(s.Reloaded.UnixMilli())/1000, "script", s.Name)
		}
	}
	failures := f.exporter.failures()
	for _, target := range slices.Sorted(maps.Keys(failures)) {
		send("slope_push_failures_total", "Pushes that a target did not get.", prom.CounterValue, float64(failures[target]), "target", target)
	}
}
