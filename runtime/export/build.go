package export

import (
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

// NewSLIReport makes a report of what an indicator recorded. lost is how many events its spans lost.
func NewSLIReport(l *lower.SLILayout, series []agg.Series, lost uint64, elapsed time.Duration, v Values) SLIReport {
	s := l.SLI
	r := SLIReport{Name: s.Name, Doc: s.Doc, Kind: s.Kind, Unit: s.Unit, Elapsed: elapsed, Lost: lost}
	for _, label := range s.Labels {
		r.Labels = append(r.Labels, label.Name)
	}
	var scale *agg.Scale
	var all agg.Dist
	if s.Kind == check.Distribution {
		scale = agg.NewScale(s.Schema, s.Unit.PerBase())
		all = agg.NewDist(scale, make([]uint64, l.Words-l.Histogram+2))
	}
	for _, one := range series {
		count := one.Words[lower.WordCount]
		if count == 0 {
			continue
		}
		r.Events += count
		row := SLIRow{Other: one.Other, Labels: LabelValues(l, one.Labels, v), Summary: Summary{Count: count}}
		if scale != nil {
			d := one.Dist(l, scale)
			row.Summary = newSummary(d)
			all.Count, all.Sum, all.Zeros = all.Count+d.Count, all.Sum+d.Sum, all.Zeros+d.Zeros
			for i, n := range d.Buckets {
				all.Buckets[i] += n
			}
		} else {
			row.Bad = one.Words[l.Objectives[0].Bad]
		}
		r.Rows = append(r.Rows, row)
	}
	if scale != nil && r.Events > 0 {
		r.Buckets = DistBuckets(all, maxBars)
	}
	return r
}

// LabelValues prints the labels of a key.
func LabelValues(l *lower.SLILayout, key []byte, v Values) []string {
	if key == nil || l.Value.Key == nil {
		return nil
	}
	var out []string
	off := 0
	for _, t := range l.Value.Key.Elems {
		out = append(out, string(v.AppendText(nil, t, key[off:off+t.Memory()])))
		off += t.Memory()
	}
	return out
}
