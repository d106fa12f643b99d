package slo

import (
	"math"
	"strconv"
)

// A gate decides from a sample whether the service behind it meets an objective. "p99 <= X" is the statement that at
// most 1 % of the events are bad, so the counts of events answer it: no quantile is estimated.
//
// Algorithm: the exact bounds of Clopper and Pearson (Biometrika 26, 1934) on the rate of bad events, each of them
// one-sided at the whole confidence. One side is right because no rate can make both verdicts wrong: above the limit only
// a PASS is, at or below it only a FAIL. What was not counted is taken for bad where PASS is decided and for good where
// FAIL is. Of several groups (an objective kept by labels) all must pass, which needs no correction, and one that fails
// is enough, so the error that a FAIL may have is divided among them (Bonferroni).
//
// This is where floating point enters the package; the observed numbers stay exact.

// Outcome is what a gate decides.
type Outcome uint8

// The outcomes. The worst of several is Fail, then Inconclusive.
const (
	Inconclusive Outcome = iota
	Pass
	Fail
)

func (o Outcome) String() string { return [...]string{"INCONCLUSIVE", "PASS", "FAIL"}[o] }

// Worse tells whether a is worse news than b.
func (o Outcome) Worse(b Outcome) bool {
	rank := [...]int{Inconclusive: 1, Pass: 0, Fail: 2}
	return rank[o] > rank[b]
}

// Counts is a sample.
type Counts struct {
	Bad, Total uint64
	Missing    uint64 // events that happened and are not in Total; nobody knows how many of them were bad
	Doubtful   uint64 // events in Total that may be good or bad, whatever they were counted as
}

// most and least are the bad events at worst and at best, of all events.
func (c Counts) most() uint64 {
	bad := min(c.Bad, c.Total)
	return bad + min(c.Doubtful, c.Total-bad) + c.Missing
}

func (c Counts) least() uint64 {
	bad := min(c.Bad, c.Total)
	return bad - min(c.Doubtful, bad)
}

func (c Counts) all() uint64 { return c.Total + c.Missing }

// Decision is what a gate says of one sample. AtLeast and AtMost bound the rate of good events, each with the whole
// confidence; without events they are 0 and 1.
type Decision struct {
	Outcome         Outcome
	AtLeast, AtMost float64
}

// Decide judges a sample against an objective of ppb good parts per billion. confidence is between 0 and 1; groups is
// how many samples the objective is judged by, at least 1.
func Decide(c Counts, ppb uint64, confidence float64, groups int) Decision {
	if c.Total == 0 {
		return Decision{AtMost: 1}
	}
	ppb = min(ppb, Billion)
	limit := float64(Billion-ppb) / Billion
	passError := 1 - confidence
	failError := passError / float64(max(groups, 1))
	d := Decision{
		AtLeast: 1 - upperBound(c.most(), c.all(), passError),
		AtMost:  1 - lowerBound(c.least(), c.all(), failError),
	}
	// The verdict comes from the tails themselves, not from the bounds, which are searched for and rounded.
	switch goal := float64(ppb) / Billion; {
	case limit >= 1 || lowerTail(c.most(), c.all(), limit) <= passError:
		d.Outcome, d.AtLeast = Pass, max(d.AtLeast, goal)
	case upperTail(c.least(), c.all(), limit) < failError:
		d.Outcome, d.AtMost = Fail, min(d.AtMost, math.Nextafter(goal, 0))
	}
	return d
}

// MinEvents is how many events it takes to pass at all: a sample of so many without a bad one does. 0 means that no
// sample is enough, because the objective allows no bad event.
func MinEvents(ppb uint64, confidence float64) uint64 {
	ppb = min(ppb, Billion)
	switch ppb {
	case Billion:
		return 0
	case 0:
		return 1
	}
	n := uint64(math.Log1p(-confidence) / math.Log(float64(ppb)/Billion))
	for lowerTail(0, n, float64(Billion-ppb)/Billion) > 1-confidence {
		n++
	}
	return max(n, 1)
}

// Early tells during a run whether a sample already fails, whenever and however often it is asked: with a chance of at
// most 1-confidence does it ever say so of a service that meets the objective.
//
// It is the likelihood ratio of a Beta(1, (1-p)/p) mixture of rates against the limit p, a martingale at the limit,
// which exceeds 1/error at any time with a chance of at most error (Ville). For a lower rate than p: while more than
// the share p of the events is bad, one more bad event among as many makes the ratio larger, so "above 1/error with
// more than p bad" can only become less likely when events get better.
func Early(c Counts, ppb uint64, confidence float64, groups int) bool {
	ppb = min(ppb, Billion)
	bad, n := c.least(), c.all()
	if bad == 0 {
		return false
	}
	if ppb == Billion {
		return true
	}
	p := float64(Billion-ppb) / Billion
	if ppb == 0 || float64(bad) <= p*float64(n) {
		return false
	}
	return logMixture(bad, n, p) >= math.Log(float64(max(groups, 1))/(1-confidence))
}

// logMixture is the logarithm of the ratio of Early.
func logMixture(bad, n uint64, p float64) float64 {
	s, f, b := float64(bad), float64(n-bad), (1-p)/p
	return logBeta(1+s, b+f) - logBeta(1, b) - s*math.Log(p) - f*math.Log1p(-p)
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// BoundText writes a bound of Decision in per cent, AtLeast rounded down and AtMost up, with one digit more than the
// objective has, and as many more as it takes to tell it from the objective.
func BoundText(bound float64, ppb uint64, up bool) string {
	ppb = min(ppb, Billion)
	digits := 7
	for p := ppb; digits > 2 && p%10 == 0; p /= 10 {
		digits--
	}
	goal := float64(ppb) / Billion
	for digits++; ; digits++ {
		one := math.Pow10(digits + 2)
		x := math.Floor(bound * one)
		if up {
			x = math.Ceil(bound * one)
		}
		if crossed := (x/one >= goal) != (bound >= goal); !crossed || digits >= 12 {
			return strconv.FormatFloat(max(0, min(x/one, 1))*100, 'f', digits, 64)
		}
	}
}
