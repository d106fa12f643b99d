package export

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// BuildSLI makes the report of an indicator from its series. scale may be nil for a ratio.
func BuildSLI(l *lower.SLILayout, series []agg.Series, scale *agg.Scale, v Values, elapsed time.Duration, lost uint64) SLIReport {
	s := l.SLI
	r := SLIReport{Name: s.Name, Doc: s.Doc, Kind: s.Kind, Unit: s.Unit, Elapsed: elapsed, Lost: lost}
	for _, label := range s.Labels {
		r.Labels = append(r.Labels, label.Name)
	}
	all := agg.Series{Words: make([]uint64, l.Words)}
	for _, x := range series {
		for i, w := range x.Words {
			all.Words[i] += w
		}
		row := SLIRow{Labels: LabelValues(s, x.Labels, v), Other: x.Other}
		if s.Kind == check.Distribution {
			row.Summary = newSummary(x.Dist(l, scale))
		} else {
			row.Summary.Count = x.Words[lower.WordCount]
			if bad := badWord(l); bad >= 0 {
				row.Bad = x.Words[bad]
			}
		}
		r.Rows = append(r.Rows, row)
	}
	r.Events = all.Words[lower.WordCount]
	if s.Kind == check.Distribution {
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

// LabelValues writes a label set as text, one value per label; nil for none.
func LabelValues(s *check.SLI, labels []byte, v Values) []string {
	if labels == nil {
		return nil
	}
	out := make([]string, 0, len(s.Labels))
	for _, l := range s.Labels {
		n := min(l.Type.Memory(), len(labels))
		out = append(out, strings.ToValidUTF8(string(v.AppendText(nil, l.Type, labels[:n])), "\uFFFD"))
		labels = labels[n:]
	}
	return out
}

// BuildSLOs makes the reports of an indicator's objectives: one for each, or for each combination of the labels that it
// is kept by. sentence writes an objective as the script does.
func BuildSLOs(l *lower.SLILayout, series []agg.Series, v Values, sentence func(*check.SLO) string) []SLOReport {
	var out []SLOReport
	for _, o := range l.Objectives {
		if o.SLO == nil {
			continue
		}
		first := len(out)
		place := map[string]int{}
		if len(o.SLO.By) == 0 {
			out = append(out, SLOReport{})
			place[""] = first
		}
		for _, x := range series {
			labels := byLabels(o.SLO, x, v)
			id := strings.Join(labels, "\x00")
			at, ok := place[id]
			if !ok {
				at = len(out)
				place[id], out = at, append(out, SLOReport{Labels: labels})
			}
			out[at].Bad += x.Words[o.Bad]
			out[at].Total += x.Words[o.Total]
		}
		for i := first; i < len(out); i++ {
			r := &out[i]
			r.Name, r.SLI, r.Sentence, r.PPB = o.SLO.Name, l.SLI.Name, sentence(o.SLO), o.SLO.PPB
			r.Judge()
		}
	}
	return out
}

// byLabels is the values of the labels that an objective is kept by.
func byLabels(o *check.SLO, x agg.Series, v Values) []string {
	if len(o.By) == 0 {
		return nil
	}
	all := LabelValues(o.SLI, x.Labels, v)
	out := make([]string, len(o.By))
	for i, at := range o.By {
		out[i] = OtherLabel
		if at < len(all) {
			out[i] = all[at]
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
