package export

import (
	"cmp"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

// histogram makes one metric that is a classic and a native histogram. Count is that of the buckets, so that everything
// in it agrees even though events go on while it is read.
func (w *writer) histogram(m *dto.MetricFamily, labels []*dto.LabelPair, in *Indicator, p *classicPlan, words []uint64) *dto.Histogram {
	d := agg.Series{Words: words}.Dist(in.Layout, in.Scale)
	h := w.f.histogram(m, labels, d.Observed(), float64(d.Sum)/float64(in.Scale.Unit))
	h.Bucket = w.f.classicBuckets(p.bounds)
	p.fill(h.Bucket, d, words)
	makeNative(h, d)
	return h
}

// makeNative makes a histogram a native one too. Nothing is observed between zero and one unit, so the zero bucket may end
// where the first bucket begins.
func makeNative(h *dto.Histogram, d agg.Dist) {
	schema, threshold, zeros := int32(d.Scale.Schema), math.Ldexp(1, floorLog2(d.Scale)), d.Zeros
	h.Schema, h.ZeroThreshold, h.ZeroCount = &schema, &threshold, &zeros
	nativeBuckets(h, d)
}

// floorLog2 is the exponent of the power of two at or below the lower bound of the first bucket.
func floorLog2(s *agg.Scale) int {
	return (s.First - 1) >> s.Schema
}

// nativeBuckets writes the buckets as spans, runs without long gaps, and differences.
func nativeBuckets(h *dto.Histogram, d agg.Dist) {
	const gap = 2 // empty buckets that cost no more than a new span
	var last int64
	end := 0 // index after the last bucket written
	for p, n := range d.Buckets {
		if n == 0 {
			continue
		}
		index := d.Scale.First + p
		spans := h.PositiveSpan
		if len(spans) == 0 || index-end > gap {
			offset := int32(index - end)
			h.PositiveSpan = append(spans, &dto.BucketSpan{Offset: &offset, Length: new(uint32)})
		} else {
			for ; end < index; end++ {
				h.PositiveDelta = append(h.PositiveDelta, -last)
				last = 0
				*spans[len(spans)-1].Length++
			}
		}
		h.PositiveDelta = append(h.PositiveDelta, int64(n)-last)
		last = int64(n)
		*h.PositiveSpan[len(h.PositiveSpan)-1].Length++
		end = index + 1
	}
	if len(h.PositiveSpan) == 0 {
		h.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32), Length: new(uint32)}}
	}
}

// classicRange is the exponents of the powers of two that become classic buckets.
func classicRange(u check.Unit) (first, last int) {
	switch u {
	case check.Seconds:
		return -20, 6 // about 1 µs to 64 s
	case check.Bytes:
		return 6, 34 // 64 B to 16 GiB
	}
	return 0, 30
}

// classicPlan is the classic buckets of an indicator: at powers of two of the base unit, where native buckets end too,
// and at the thresholds of the objectives, whose counts the kernel kept exactly.
type classicPlan struct {
	bounds []float64
	upto   []int // by bound: how many native buckets end at it or before
	bad    []int // by bound: the word that counts what is beyond it, or 0
}

// newClassicPlan makes a plan with the powers of two from first to last, exponents.
func newClassicPlan(first, last int, scale *agg.Scale, objectives []lower.ObjectiveWords) *classicPlan {
	type bound struct {
		le        float64
		upto, bad int
	}
	var all []bound
	for e := first; e <= last; e++ {
		all = append(all, bound{le: math.Ldexp(1, e), upto: max(e<<scale.Schema-scale.First+1, 0)})
	}
	for _, o := range objectives {
		// Only a plain "value <= limit" on all events counts exactly what le means.
		if o.SLO == nil || o.SLO.Op != "<=" || o.SLO.Where != nil || o.Total != lower.WordCount || o.SLO.Limit < 0 {
			continue
		}
		all = append(all, bound{le: float64(o.SLO.Limit) / float64(scale.Unit), bad: o.Bad})
	}
	slices.SortStableFunc(all, func(a, b bound) int {
		if c := cmp.Compare(a.le, b.le); c != 0 {
			return c
		}
		return cmp.Compare(b.bad, a.bad) // an exact one comes first, and stays
	})
	all = slices.CompactFunc(all, func(a, b bound) bool { return a.le == b.le })
	p := &classicPlan{}
	for _, b := range all {
		p.bounds, p.upto, p.bad = append(p.bounds, b.le), append(p.upto, b.upto), append(p.bad, b.bad)
	}
	return p
}

// fill counts. Counts that were read while events went on are kept in order.
func (p *classicPlan) fill(to []*dto.Bucket, d agg.Dist, words []uint64) {
	total, running, at, n := d.Observed(), d.Zeros, 0, uint64(0)
	for i, b := range to {
		var count uint64
		if bad := p.bad[i]; bad > 0 {
			all := words[lower.WordCount]
			count = all - min(words[bad], all)
		} else {
			for upto := min(p.upto[i], len(d.Buckets)); at < upto; at++ {
				running += d.Buckets[at]
			}
			count = running
		}
		n = min(max(n, count), total)
		*b.CumulativeCount = n
	}
}
