package export

import (
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

// SLIReport is what is known of an indicator.
type SLIReport struct {
	Name    string
	Doc     string
	Kind    check.SLIKind
	Unit    check.Unit
	Labels  []string // their names
	Elapsed time.Duration
	Events  uint64
	Lost    uint64
	Rows    []SLIRow
	Buckets []DistBucket // of all rows together; nil for a ratio
}

// SLIRow is one label set. Values are in observed units (nanoseconds, bytes).
type SLIRow struct {
	Labels  []string // values, as SLIReport.Labels; nil for the label sets beyond the limit and without labels
	Other   bool
	Bad     uint64 // of a ratio and of counters
	Level   int64  // of a gauge: the last value; Summary.Count is how many there were
	Summary Summary
}

// OtherLabel is the value of every label in the series of the label sets beyond the limit.
const OtherLabel = "other"

// Summary is the numbers of a distribution; of a ratio only Count.
type Summary struct {
	Count               uint64
	Sum                 uint64
	Mean                float64
	P50, P90, P99, P999 float64
	Max                 float64
}

// DistBucket is the values from Lower to Upper, both included, in observed units.
type DistBucket struct {
	Lower, Upper uint64
	Count        uint64
}

// NewSummary computes the numbers of a distribution.
func NewSummary(d agg.Dist) Summary {
	s := Summary{Count: d.Count, Sum: d.Sum, Mean: d.Mean(), Max: float64(d.Max())}
	for _, p := range [...]struct {
		q  float64
		to *float64
	}{{0.5, &s.P50}, {0.9, &s.P90}, {0.99, &s.P99}, {0.999, &s.P999}} {
		at, _ := d.Quantile(p.q)
		*p.to = at.Middle()
	}
	return s
}

// maxBars is how many rows a distribution's histogram gets at most.
const maxBars = 20

// DistBuckets lists the buckets from the first to the last that is not empty, joining neighbours two by two until there
// are at most limit.
func DistBuckets(d agg.Dist, limit int) []DistBucket {
	first, last, ok := agg.Filled(d.Buckets)
	var out []DistBucket
	if d.Zeros > 0 {
		out = append(out, DistBucket{Count: d.Zeros})
	}
	if !ok {
		return out
	}
	// At level l, native bucket i goes to ceil(i/2^l): the bounds of the coarser schema.
	group := func(p, level int) int { return (d.Scale.First + p + 1<<level - 1) >> level }
	level := 0
	for group(last, level)-group(first, level)+1+len(out) > max(limit, 2) {
		level++
	}
	for p := first; p <= last; {
		g := group(p, level)
		b := DistBucket{}
		from := max(g<<level-1<<level+1-d.Scale.First, 0)
		b.Lower, _ = d.Scale.Range(from)
		for ; p < len(d.Buckets) && group(p, level) == g; p++ {
			_, b.Upper = d.Scale.Range(p)
			b.Count += d.Buckets[p]
		}
		if b.Lower > b.Upper && b.Count == 0 {
			continue // too narrow for a whole number
		}
		out = append(out, b)
	}
	return out
}
