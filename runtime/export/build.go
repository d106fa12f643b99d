package export

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// NewSLIReport makes a report of what an indicator recorded. lost is how many events it missed.
func NewSLIReport(l *lower.SLILayout, series []agg.Series, lost uint64, elapsed time.Duration, v Values) SLIReport {
	s := l.SLI
	r := SLIReport{Name: s.Name, Doc: s.Doc, Kind: s.Kind, Unit: s.Unit, Elapsed: elapsed, Lost: lost}
	for _, label := range s.Labels {
		r.Labels = append(r.Labels, label.Name)
	}
	var scale *agg.Scale
	if s.Kind == check.Distribution {
		scale = agg.NewScale(s.Schema, s.Unit.PerBase())
	}
	all := agg.Series{Words: make([]uint64, l.Words)}
	for _, one := range series {
		count := one.Words[lower.WordCount]
		if count == 0 {
			continue
		}
		for i, w := range one.Words {
			all.Words[i] += w
		}
		row := SLIRow{Other: one.Other, Labels: LabelValues(l, one.Labels, v), Summary: Summary{Count: count}}
		if scale != nil {
			row.Summary = NewSummary(one.Dist(l, scale))
		} else if s.Kind == check.Gauge {
			row.Level = int64(one.Words[lower.WordValue])
		} else if bad := badWord(l); bad >= 0 {
			row.Bad = one.Words[bad]
		}
		r.Rows = append(r.Rows, row)
	}
	r.Events = all.Words[lower.WordCount]
	if scale != nil && r.Events > 0 {
		r.Buckets = DistBuckets(all.Dist(l, scale), maxBars)
	}
	return r
}

// badWord is where a ratio counts bad events whatever an objective adds: the word of the first objective that counts
// all events by the verb alone, -1 when there is none.
func badWord(l *lower.SLILayout) int {
	for _, o := range l.Objectives {
		if o.Total == lower.WordCount && (o.SLO == nil || o.SLO.Where == nil && o.SLO.Op == "") {
			return o.Bad
		}
	}
	return -1
}

// LabelValues prints the labels of a key, one text per label; nil for no key.
func LabelValues(l *lower.SLILayout, key []byte, v Values) []string {
	if key == nil || l.Value.Key == nil {
		return nil
	}
	out := make([]string, 0, len(l.Value.Key.Elems))
	for _, t := range l.Value.Key.Elems {
		n := min(t.Memory(), len(key))
		out = append(out, string(v.AppendText(nil, t, key[:n])))
		key = key[n:]
	}
	return out
}

// NewSLOReports makes the reports of an indicator's objectives: one for each, or for each combination of the labels
// that it is kept by. sentence writes an objective as the script does.
func NewSLOReports(l *lower.SLILayout, series []agg.Series, v Values, sentence func(*check.SLO) string) []SLOReport {
	var out []SLOReport
	for _, o := range l.Objectives {
		if o.SLO == nil {
			continue
		}
		first, place := len(out), map[string]int{}
		for _, x := range series {
			labels := byLabels(l, o.SLO, x, v)
			id := strings.Join(labels, "\x00")
			at, ok := place[id]
			if !ok {
				at = len(out)
				place[id], out = at, append(out, SLOReport{Labels: labels})
			}
			out[at].Bad += x.Words[o.Bad]
			out[at].Total += x.Words[o.Total]
		}
		if len(out) == first { // nothing was recorded: the objective is told all the same
			out = append(out, SLOReport{})
		}
		for i := first; i < len(out); i++ {
			r := &out[i]
			r.Name, r.SLI, r.Sentence, r.PPB = o.SLO.Name, l.SLI.Name, sentence(o.SLO), o.SLO.PPB
			r.Judge()
		}
	}
	return out
}

// byLabels is the labels that an objective is kept by, as name=value.
func byLabels(l *lower.SLILayout, o *check.SLO, x agg.Series, v Values) []string {
	if len(o.By) == 0 {
		return nil
	}
	all := LabelValues(l, x.Labels, v)
	out := make([]string, len(o.By))
	for i, at := range o.By {
		out[i] = l.SLI.Labels[at].Name + "=" + OtherLabel
		if !x.Other && at < len(all) {
			out[i] = l.SLI.Labels[at].Name + "=" + all[at]
		}
	}
	return out
}

// Judge fills in what follows from Bad, Total and PPB.
func (r *SLOReport) Judge() {
	r.Compliance = slo.Compliance(r.Bad, r.Total, r.PPB)
	r.BudgetLeft = slo.BudgetLeft(r.Bad, r.Total, r.PPB)
	r.State = [...]State{slo.NoData: NoData, slo.Met: OK, slo.Breached: Breached}[slo.Judge(r.Bad, r.Total, r.PPB)]
}
