package slo

import "math"

// Two samples are compared by Fisher's exact test: if both have the same rate, then given how many events are bad in all,
// those of one sample are hypergeometric. Nothing is approximated, so it is right for three bad events and for a million.

// Differ is how likely two samples are, or any that differ more, when the second has no higher rate of bad events than the
// first (worse), and when it has no lower one (better). What is unknown of them is taken for what makes them alike, and
// events that come in bursts for the fewer independent ones that they are worth; err is the error that is aimed at.
func Differ(a, b Counts, err float64) (worse, better float64) {
	if a.Total == 0 || b.Total == 0 {
		return 1, 1
	}
	tail := func(fewer, more Counts) float64 {
		k, n := fewer.Spread.atWorst(fewer.most(), fewer.all(), err)
		l, m := more.Spread.atBest(more.least(), more.all(), err)
		return fisher(l, m, k, n)
	}
	return tail(a, b), tail(b, a)
}

// fisher is the chance that a sample of n events has at least bad ones, if the other one's are as likely to be bad.
func fisher(bad, n, otherBad, otherN uint64) float64 {
	all, sum := n+otherN, bad+otherBad
	if n == 0 || otherN == 0 || sum == 0 || sum == all || bad == 0 {
		return 1
	}
	most := min(n, sum)
	mean := float64(n) / float64(all) * float64(sum)
	p := float64(sum) / float64(all)
	// at is the chance of exactly k (Loader 2000: three binomial chances, in which nothing large cancels).
	at := func(k uint64) float64 { return chance(k, n, p) * chance(sum-k, otherN, p) / chance(sum, all, p) }
	step := func(k uint64) float64 { // from k to k+1
		return float64(n-k) / float64(k+1) * float64(sum-k) / float64(otherN-(sum-k)+1)
	}
	if float64(bad) >= mean {
		term, total := 1.0, 1.0
		for k := bad; k < most && term > total*negligible; k++ {
			term *= step(k)
			total += term
		}
		return min(total*at(bad), 1)
	}
	least := uint64(0)
	if sum > otherN {
		least = sum - otherN
	}
	if bad <= least {
		return 1
	}
	term, total := 1.0, 1.0 // all that is below, downwards
	for k := bad - 1; k > least && term > total*negligible; k-- {
		term /= step(k - 1)
		total += term
	}
	return max(1-total*at(bad-1), 0)
}

// AtMost and AtLeast are the chances of at most or at least k of n independent events at a rate.
func AtMost(k, n uint64, rate float64) float64 { return lowerTail(k, n, rate) }

// AtLeast is the other tail of AtMost.
func AtLeast(k, n uint64, rate float64) float64 { return upperTail(k, n, rate) }

// Shrunk is a count out of a sample, made that of the sample's independent events: rounded up or down.
func (s Spread) Shrunk(k, n uint64, err float64, up bool) (uint64, uint64) {
	e := s.Effective(n, err)
	if n == 0 || e >= float64(n) {
		return k, n
	}
	x := float64(k) / float64(n) * e
	if up {
		return uint64(math.Ceil(x)), uint64(math.Ceil(e))
	}
	return uint64(x), uint64(math.Ceil(e))
}
