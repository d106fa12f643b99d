package export

import (
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

// histogram makes one metric that is a classic and a native histogram. Count is that of the buckets, so that everything
// in it agrees even though events go on while it is read.
func (w *writer) histogram(in *Indicator, x agg.Series) *dto.Histogram {
	d := x.Dist(in.Layout, in.Scale)
	unit := float64(in.Scale.Unit)
	count, sum, schema := d.Observed(), float64(d.Sum)/unit, int32(in.Scale.Schema)
	// Nothing is observed between zero and one unit, so the zero bucket may end where the first bucket begins.
	threshold := math.Ldexp(1, floorLog2(in.Scale))
	zeros := d.Zeros
	h := &dto.Histogram{SampleCount: &count, SampleSum: &sum, Schema: &schema, ZeroThreshold: &threshold, ZeroCount: &zeros,
		Bucket: classic(in, d, x)}
	if !w.s.Start.IsZero() {
		h.CreatedTimestamp = timestamppb.New(w.s.Start)
	}
	nativeBuckets(h, d)
	return h
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

// bucket is a classic bucket: how many values were at most le.
type bucket struct {
	le    float64
	count uint64
	exact bool // from an objective's counters
}

// classic makes the classic buckets: at powers of two of the base unit, where native buckets end too, and at the
// thresholds of the objectives, whose counts the kernel kept exactly. Counts that were read while events went on are
// kept in order.
func classic(in *Indicator, d agg.Dist, x agg.Series) []*dto.Bucket {
	s := in.Layout.SLI
	var all []bucket
	first, last := classicRange(s.Unit)
	running, p := d.Zeros, 0
	for e := first; e <= last; e++ {
		for ; p < len(d.Buckets) && d.Scale.First+p <= e<<d.Scale.Schema; p++ {
			running += d.Buckets[p]
		}
		all = append(all, bucket{le: math.Ldexp(1, e), count: running})
	}
	for _, o := range in.Layout.Objectives {
		// Only a plain "value <= limit" on all events counts exactly what le means.
		if o.SLO == nil || o.SLO.Op != "<=" || o.SLO.Where != nil || o.Total != lower.WordCount || o.SLO.Limit < 0 {
			continue
		}
		total, bad := x.Words[lower.WordCount], x.Words[o.Bad]
		all = append(all, bucket{le: float64(o.SLO.Limit) / float64(d.Scale.Unit), count: total - min(bad, total), exact: true})
	}
	slices.SortStableFunc(all, func(a, b bucket) int {
		switch {
		case a.le < b.le:
			return -1
		case a.le > b.le:
			return 1
		case a.exact && !b.exact:
			return -1
		case b.exact && !a.exact:
			return 1
		}
		return 0
	})
	all = slices.CompactFunc(all, func(a, b bucket) bool { return a.le == b.le })
	out := make([]*dto.Bucket, len(all))
	n, total := uint64(0), d.Observed()
	for i := range all {
		n = min(max(n, all[i].count), total)
		count, le := n, all[i].le
		out[i] = &dto.Bucket{CumulativeCount: &count, UpperBound: &le}
	}
	return out
}

// HistogramName is the metric of a distribution: its name and its unit.
func HistogramName(s *check.SLI) string {
	name := "slope_sli_" + sanitise(s.Name)
	if s.Unit != check.NoUnit && !strings.HasSuffix(name, "_"+s.Unit.String()) {
		name += "_" + s.Unit.String()
	}
	return name
}

// sanitise makes a part of a metric's or label's name: letters, digits and single underscores.
func sanitise(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b = append(b, c)
		} else if len(b) == 0 || b[len(b)-1] != '_' {
			b = append(b, '_')
		}
	}
	return string(b)
}

// LabelNames are the names that an indicator's labels have in the metrics. Names that mean something else there, or
// that two labels would share, get a tail.
func LabelNames(labels []string) []string {
	taken := map[string]bool{"le": true, "quantile": true, "sli": true, "slo": true}
	out := make([]string, len(labels))
	for i, l := range labels {
		name := strings.TrimLeft(sanitise(l), "_")
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			name = "label_" + name
		}
		for base, n := name, 2; taken[name]; n++ {
			if name = base + "_label"; taken[name] {
				name = base + "_label" + strconv.Itoa(n)
			}
		}
		taken[name] = true
		out[i] = name
	}
	return out
}

func labelNames(s *check.SLI) []string {
	labels := make([]string, len(s.Labels))
	for i, l := range s.Labels {
		labels[i] = l.Name
	}
	return LabelNames(labels)
}

// valid makes a text that the exposition accepts.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
