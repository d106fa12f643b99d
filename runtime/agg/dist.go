package agg

import (
	"math"

	"github.com/slopebpf/slope/compiler/native"
)

// Scale is the buckets of a distribution: a Prometheus schema and how many observed units make a base unit. Positions
// count from 0; position p is native bucket First+p.
type Scale struct {
	Schema int
	Unit   uint64
	First  int

	table *native.Table
	upper []uint64 // by position: the greatest integer in that bucket or one before
}

// NewScale computes a scale; it takes about a millisecond, so keep it.
func NewScale(schema int, unit uint64) *Scale {
	t := native.New(schema, unit)
	s := &Scale{Schema: schema, Unit: unit, First: t.First, table: t, upper: make([]uint64, native.Buckets(schema))}
	low := uint64(0)
	for p := range s.upper {
		high := uint64(math.MaxUint64)
		for low < high { // the greatest v with Index(v) <= p; 0 if there is none
			mid := high - (high-low)/2 // more than low
			if s.table.Index(mid) <= p {
				low = mid
			} else {
				high = mid - 1
			}
		}
		s.upper[p] = low
	}
	return s
}

// Range is the integers, in observed units, that fall into a bucket, both bounds included. Narrow buckets among small
// numbers hold none: then lower > upper.
func (s *Scale) Range(position int) (lower, upper uint64) {
	if position > 0 {
		lower = s.upper[position-1]
	}
	return lower + 1, s.upper[position]
}

// Bound is the upper bound of a bucket in base units, as Prometheus computes it.
func (s *Scale) Bound(position int) float64 { return s.table.Bound(position) }

// Index is the position of v > 0.
func (s *Scale) Index(v uint64) int { return s.table.Index(v) }

// Dist is a distribution: exact count and sum, and native buckets. Sum and quantiles are in observed units.
type Dist struct {
	Scale   *Scale
	Count   uint64
	Sum     uint64
	Zeros   uint64
	Buckets []uint64 // by position
}

// NewDist views the words of a dist(): count, sum, zeros, buckets.
func NewDist(scale *Scale, words []uint64) Dist {
	return Dist{Scale: scale, Count: words[0], Sum: words[1], Zeros: words[2], Buckets: words[3:]}
}

// Observed is how many values the buckets hold. While values are being recorded it can differ from Count.
func (d Dist) Observed() uint64 { return d.Zeros + Total(d.Buckets) }

// Mean is the arithmetic mean, from the exact sum; 0 without values.
func (d Dist) Mean() float64 {
	if d.Count == 0 {
		return 0
	}
	return float64(d.Sum) / float64(d.Count)
}

// Quantile finds a quantile, 0 to 1; ok is false without values.
func (d Dist) Quantile(q float64) (at Quantile, ok bool) {
	n := d.Observed()
	if n == 0 {
		return Quantile{}, false
	}
	rank := Rank(q, n)
	if rank <= d.Zeros {
		return Quantile{}, true
	}
	lower, upper := d.Scale.Range(find(d.Buckets, rank-d.Zeros))
	return Quantile{Lower: lower, Upper: upper}, true
}

// Max is the upper bound of the last bucket with a value: the greatest value is at most that.
func (d Dist) Max() uint64 {
	_, last, ok := Filled(d.Buckets)
	if !ok {
		return 0
	}
	return d.Scale.upper[last]
}
