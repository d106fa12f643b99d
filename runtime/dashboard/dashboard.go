// Package dashboard writes a Grafana dashboard of a script's objectives.
//
// Each objective has a row: its indicator, the error budget that is left, burn rates with the thresholds of its alerts,
// events, the distribution as a heat map of the native histogram with its quantiles, the state of the alerts, and the
// worst label sets. A last row tells what was lost and how the exporter is.
//
// The queries are over what every host exports, added up over hosts and label sets, so the dashboard needs no rules. Only
// what cannot be added up, minutes and composites, comes from the recorded rules where they are there, otherwise from the
// worst host's own account; so does the budget of a calendar window, which PromQL cannot compute.
//
// Invariants: the same objectives give the same bytes, and the same scripts the same uid, so that importing again replaces
// the dashboard. Panels are those that Grafana brings along. The package opens no file. Start at Write; query.go has the
// queries, grafana.go the parts of Grafana's JSON that are used.
package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/rules"
)

// Write writes the dashboard.
func Write(w io.Writer, title string, list []rules.Objective) error {
	if err := rules.Valid(list, rules.Slope); err != nil {
		return err
	}
	b := builder{}
	for _, o := range list {
		b.objective(query{o})
	}
	b.health()
	var services []string
	for _, o := range list {
		if !slices.Contains(services, o.Service) {
			services = append(services, o.Service)
		}
	}
	if title == "" {
		title = "Objectives of " + strings.Join(services, ", ")
	}
	sum := sha256.Sum256([]byte(strings.Join(services, "\x00")))
	d := dashboard{
		UID: "slope-" + hex.EncodeToString(sum[:8]), Title: title, Tags: []string{"slope", "slo"}, SchemaVersion: schemaVersion, Version: 1,
		Editable: true, Refresh: "1m", Timezone: "browser", Time: span{"now-6h", "now"}, GraphTooltip: 1, Panels: b.panels,
		Templating: templating{variables(list)}, Annotations: annotations{[]any{}}, Links: []any{},
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("write dashboard: %w", err)
	}
	return nil
}

// variables are the data source, the hosts, and every label of the indicators.
func variables(list []rules.Objective) []variable {
	out := []variable{{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus", Current: &current{}}}
	seen := map[string]bool{"datasource": true}
	add := func(name, query string) {
		if seen[name] {
			return
		}
		seen[name] = true
		out = append(out, variable{Name: name, Label: name, Type: "query", Query: query, Definition: query, Datasource: prometheus(),
			Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".*", Current: &current{Text: []string{"All"}, Value: []string{"$__all"}}})
	}
	add("instance", "label_values(slope_build_info, instance)")
	for _, o := range list {
		for _, l := range o.Exported {
			add(l, "label_values("+(query{o}).selects(totalMetric)+", "+l+")")
		}
	}
	return out
}

// builder places panels on a grid of 24 columns.
type builder struct {
	panels  []panel
	x, y, h int
}

func (b *builder) row(title string) {
	b.newline()
	b.panels = append(b.panels, panel{ID: len(b.panels) + 1, Type: "row", Title: title, GridPos: grid{H: 1, W: 24, X: 0, Y: b.y}})
	b.y++
}

func (b *builder) newline() { b.x, b.y, b.h = 0, b.y+b.h, 0 }

// add places a panel beside the last one, or below it where there is no room.
func (b *builder) add(width, height int, p panel) {
	if b.x+width > 24 {
		b.newline()
	}
	p.ID, p.GridPos, p.Datasource = len(b.panels)+1, grid{H: height, W: width, X: b.x, Y: b.y}, prometheus()
	for i := range p.Targets {
		p.Targets[i].RefID, p.Targets[i].Datasource = string(rune('A'+i)), prometheus()
		if !p.Targets[i].Instant {
			p.Targets[i].Range = true
		}
	}
	if p.FieldConfig == nil {
		p.FieldConfig = &fieldConfig{Overrides: []override{}}
	}
	b.panels = append(b.panels, p)
	b.x, b.h = b.x+width, max(b.h, height)
}

// objective is the row of one objective.
func (b *builder) objective(q query) {
	b.row(q.Name + ": " + q.Text)
	goal, things := rules.Percent(q.Goal()), "events"
	if q.Minutes {
		goal, things = goal+" of the minutes", "samples"
	}
	budget := fields("percentunit", step{"red", nil}, step{"yellow", number(0)}, step{"green", number(0.25)})
	budget.Defaults.Max = number(1)
	b.add(4, 6, panel{Type: "gauge", Title: "Error budget left", Description: "Of the window of " + q.over() + q.budgetNote(),
		Targets: []target{{Expr: q.budgetLeft(), Instant: true}}, FieldConfig: withMin(budget, 0), Options: reduce()})
	b.add(4, 6, panel{Type: "stat", Title: "Alert", Description: "The worst state that a host reports",
		Targets:     []target{{Expr: "max by (severity) (" + q.selects("slope_slo_alert_state") + ")", LegendFormat: "{{severity}}", Instant: true}},
		FieldConfig: mapped(fields("none", step{"green", nil}, step{"red", number(1)}), map[string]string{"0": "ok", "1": "firing"}), Options: reduce()})
	if q.Parts == nil {
		b.add(8, 6, panel{Type: "timeseries", Title: "Good " + things, Description: "The objective wants " + goal,
			Targets:     []target{{Expr: q.good(), LegendFormat: "good"}, {Expr: "vector(" + q.goal() + ")", LegendFormat: "objective"}},
			FieldConfig: fields("percentunit")})
	}
	b.add(8, 6, panel{Type: "timeseries", Title: "Burn rates", Description: "1 spends the budget exactly in the window; alerts fire above their threshold in both windows of a pair",
		Targets: q.burns(), FieldConfig: withMin(fields("none"), 0)})
	if q.Parts == nil {
		b.add(8, 7, panel{Type: "timeseries", Title: "Events", Targets: []target{
			{Expr: q.sum("rate", totalMetric), LegendFormat: "all"}, {Expr: q.sum("rate", badMetric), LegendFormat: "bad"}}, FieldConfig: withMin(fields("ops"), 0)})
		b.indicator(q)
		if len(q.Exported) > 0 {
			b.add(8, 7, panel{Type: "table", Title: "Worst label sets", Description: "By their part of bad events, in the time shown",
				Targets: []target{{Expr: q.worst(), Instant: true, Format: "table"}}, FieldConfig: fields("percentunit"), Options: map[string]any{"showHeader": true}})
		}
	}
	b.newline()
}

// indicator shows the values that an indicator records, if it does.
func (b *builder) indicator(q query) {
	name, unit := export.HistogramName(q.SLI), [...]string{check.NoUnit: "none", check.Seconds: "s", check.Bytes: "bytes", check.RatioUnit: "percentunit"}[q.SLI.Unit]
	switch q.SLI.Kind {
	case check.Distribution:
		b.add(8, 7, panel{Type: "heatmap", Title: "Distribution of " + q.SLI.Name, Description: "From the native histogram: scrape it as protobuf",
			Targets: []target{{Expr: "sum(increase(" + q.values(name) + "[$__rate_interval]))", Format: "heatmap"}},
			Options: map[string]any{"calculate": false, "yAxis": map[string]any{"unit": unit}, "cellGap": 1, "color": map[string]any{"mode": "scheme", "scheme": "Oranges", "steps": 64}}})
		var quantiles []target
		for _, p := range []struct{ q, name string }{{"0.5", "p50"}, {"0.9", "p90"}, {"0.99", "p99"}, {"0.999", "p99.9"}} {
			quantiles = append(quantiles, target{Expr: "histogram_quantile(" + p.q + ", sum(rate(" + q.values(name) + "[$__rate_interval])))", LegendFormat: p.name})
		}
		b.add(8, 7, panel{Type: "timeseries", Title: "Quantiles of " + q.SLI.Name, Targets: quantiles, FieldConfig: withMin(fields(unit), 0)})
	case check.Gauge:
		b.add(8, 7, panel{Type: "timeseries", Title: q.SLI.Name, Targets: []target{{Expr: q.values(name), LegendFormat: "{{instance}}"}}, FieldConfig: fields(unit)})
	}
}

// health is the row of what was lost, and of the exporter itself.
func (b *builder) health() {
	const on = `{instance=~"$instance"}`
	b.row("slope itself")
	b.add(8, 6, panel{Type: "timeseries", Title: "Lost events", Description: "What was lost or changed, by cause: nothing is lost silently",
		Targets: []target{{Expr: "sum by (cause) (rate(slope_events_lost_total" + on + "[$__rate_interval]))", LegendFormat: "{{cause}}"}}, FieldConfig: withMin(fields("ops"), 0)})
	b.add(8, 6, panel{Type: "timeseries", Title: "Events of unknown outcome",
		Targets: []target{{Expr: "sum by (sli) (rate(slope_sli_unknown_events_total" + on + "[$__rate_interval]))", LegendFormat: "{{sli}}"}}, FieldConfig: withMin(fields("ops"), 0)})
	b.add(8, 6, panel{Type: "timeseries", Title: "Observed part of the windows", Description: "Below 1, a host has not looked that long",
		Targets: []target{{Expr: "min by (window) (slope_slo_window_coverage_ratio" + on + ")", LegendFormat: "{{window}}"}}, FieldConfig: withMin(fields("percentunit"), 0)})
	b.add(8, 6, panel{Type: "timeseries", Title: "Fill of the maps", Targets: []target{
		{Expr: "max by (map) (slope_map_entries" + on + " / slope_map_capacity_entries" + on + ")", LegendFormat: "{{map}}"}}, FieldConfig: withMin(fields("percentunit"), 0)})
	b.add(8, 6, panel{Type: "timeseries", Title: "Probes", Targets: []target{
		{Expr: "sum by (instance) (slope_probes_attached" + on + ")", LegendFormat: "{{instance}}"}}, FieldConfig: withMin(fields("none"), 0)})
	b.add(8, 6, panel{Type: "timeseries", Title: "Time of a scrape", Targets: []target{
		{Expr: "max by (instance) (slope_scrape_duration_seconds" + on + ")", LegendFormat: "{{instance}}"}}, FieldConfig: withMin(fields("s"), 0)})
}
