package export

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/slopebpf/slope/lang/check"
)

// ObjectiveStatus is what is known of one objective over its windows. What is nil is not known, or there were no events
// to know it from: such series are left out of the metrics, since a number that is none breaks sums and alerts.
type ObjectiveStatus struct {
	SLO    *check.SLO
	Labels map[string]string // the objective's own, for slope_slo_info only
	Groups []GroupStatus     // one without By for an objective that is not kept by labels
}

// GroupStatus is the numbers of one group of an objective.
type GroupStatus struct {
	By              []string // values of the labels that SLO.By names, in that order, as LabelValues prints them
	BudgetRemaining *float64 // ratio: 1 is the whole error budget of the objective's window, 0 none, below that overspent
	Windows         []WindowStatus
	Alerts          []AlertStatus
}

// WindowStatus is what a group did in a rolling window.
type WindowStatus struct {
	Window   time.Duration
	BurnRate *float64 // how many times as fast as the objective allows the error budget was spent; 1 uses it up in time
	Coverage *float64 // ratio: the part of the window for which there are counts
}

// AlertStatus tells whether an alert fires.
type AlertStatus struct {
	Severity string // page or ticket
	Firing   bool
}

// objective makes the metrics of a status.
func (w *writer) objective(o *ObjectiveStatus) {
	var all []string
	sli := "" // a composite has none
	if o.SLO.SLI != nil {
		all, sli = labelNames(o.SLO.SLI), o.SLO.SLI.Name
	}
	names := make([]string, len(o.SLO.By))
	for i, at := range o.SLO.By {
		names[i] = all[at]
		for names[i] == "window" || names[i] == "severity" || i > 0 && slices.Contains(names[:i], names[i]) { // these metrics have their own
			names[i] += "_label"
		}
	}
	own := []Label{{"slo", o.SLO.Name}, {"sli", sli}}
	plans := map[Label]*labelPlan{}
	for i := range o.Groups {
		g := &o.Groups[i]
		columns := make([]*dto.LabelPair, len(names))
		for i := range names {
			value := OtherLabel
			if i < len(g.By) {
				value = valid(g.By[i])
			}
			columns[i] = w.f.pair(&names[i], value)
		}
		set := func(name, help string, v *float64, more Label) {
			if v == nil || math.IsNaN(*v) { // whoever divided 0 by 0 knows nothing either
				return
			}
			plan := plans[more]
			if plan == nil {
				labels := own
				if more.Name != "" {
					labels = append(own[:2:2], more)
				}
				plan = w.f.plan(labels, names...)
				plans[more] = plan
			}
			w.f.gauge(w.f.family(name, help, dto.MetricType_GAUGE), w.f.labels(plan, columns), *v)
		}
		set("slope_slo_error_budget_remaining_ratio", "Part of the error budget of the objective's window that is left.", g.BudgetRemaining, Label{})
		for _, x := range g.Windows {
			in := Label{"window", window(uint64(x.Window))}
			set("slope_slo_burn_rate", "How many times as fast as the objective allows the error budget was spent in a window.", x.BurnRate, in)
			set("slope_slo_window_coverage_ratio", "Part of a window for which there are counts.", x.Coverage, in)
		}
		for _, a := range g.Alerts {
			v := 0.0
			if a.Firing {
				v = 1
			}
			set("slope_slo_alert_state", "Whether the alert of an objective fires: 1, or 0.", &v, Label{"severity", a.Severity})
		}
	}
}

// objectiveWindow names an objective's window.
func objectiveWindow(o *check.SLO) string {
	if o.Calendar != "" {
		return "calendar " + o.Calendar
	}
	return window(o.Window)
}

// infoLabels are the labels of slope_slo_info: what the objective has of its own comes last and replaces nothing.
func (w *writer) infoLabels(o *check.SLO, own []Label) []Label {
	out := append(own[:len(own):len(own)], Label{"window", objectiveWindow(o)})
	for i := range w.s.Objectives {
		if w.s.Objectives[i].SLO != o {
			continue
		}
		of := w.s.Objectives[i].Labels
		for _, k := range slices.Sorted(maps.Keys(of)) {
			name := strings.TrimLeft(sanitise(k), "_")
			taken := func(l Label) bool { return l.Name == name }
			if labelName(name) && !slices.ContainsFunc(out, taken) && !slices.ContainsFunc(w.f.constant, taken) {
				out = append(out, Label{name, valid(of[k])})
			}
		}
	}
	return out
}
