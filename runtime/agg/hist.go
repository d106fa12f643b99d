package agg

import (
	"math"
	"math/bits"
)

// Quantile is where a percentile lies: in the bucket of the integers from Lower to Upper, both included.
type Quantile struct {
	Lower, Upper uint64
	Negative     bool // somewhere below zero; the bounds say nothing
}

// Middle is the geometric middle of the bucket: the guess with the least relative error.
func (q Quantile) Middle() float64 {
	if q.Lower == q.Upper {
		return float64(q.Lower)
	}
	return math.Sqrt(float64(q.Lower)) * math.Sqrt(float64(q.Upper))
}

// Rank is the place of a quantile among n ordered values, from 1: the least rank with rank/n >= q. q counts to nine
// decimal digits, so that 0.999 means 999 of 1000.
func Rank(q float64, n uint64) uint64 {
	const billion = 1_000_000_000
	ppb := uint64(0)
	if q > 0 {
		ppb = min(uint64(math.Round(q*billion)), billion)
	}
	hi, lo := bits.Mul64(ppb, n)
	rank, rest := bits.Div64(hi, lo, billion)
	if rest > 0 {
		rank++
	}
	return max(rank, 1)
}

// find returns the bucket that holds the rank, from 1.
func find(buckets []uint64, rank uint64) int {
	for i, n := range buckets {
		if rank <= n {
			return i
		}
		rank -= n
	}
	return len(buckets) - 1
}

// Hist is a hist(): negatives, 0 … 2^Bits-1, then 2^Bits equal parts of every power of two.
type Hist struct {
	Bits    int
	Buckets []uint64
}

// Range is the integers of a bucket, both bounds included. Bucket 0 is below zero and has none.
func (h Hist) Range(bucket int) (lower, upper uint64) {
	i, k := uint64(bucket-1), uint(h.Bits)
	if i < 1<<k {
		return i, i
	}
	shift := uint(i>>k) - 1
	lower = (1<<k | i&(1<<k-1)) << shift
	return lower, lower + 1<<shift - 1
}

// Quantile finds a quantile, 0 to 1; ok is false without values.
func (h Hist) Quantile(q float64) (at Quantile, ok bool) {
	n := Total(h.Buckets)
	if n == 0 {
		return Quantile{}, false
	}
	i := find(h.Buckets, Rank(q, n))
	if i == 0 {
		return Quantile{Negative: true}, true
	}
	lower, upper := h.Range(i)
	return Quantile{Lower: lower, Upper: upper}, true
}

// LHist is an lhist(): below Min, equal steps, Max and above.
type LHist struct {
	Min, Max, Step int64
	Buckets        []uint64
}

// Filled is the first and the last bucket that is not empty; ok is false when all are.
func Filled(buckets []uint64) (first, last int, ok bool) {
	first = -1
	for i, n := range buckets {
		if n > 0 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	return first, last, first >= 0
}
