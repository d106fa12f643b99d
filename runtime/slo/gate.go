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
// Events come in bursts, and a sample of bursts tells less than its number of events. Given how the events spread over the
// seconds of the run (gate_spread.go), both bounds are those of the sample of independent events that varies as much.
//
// A run may be looked at while it goes (Early). Then half of either error is for all those looks together, the other
// half for the end.
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
	Spread     Spread // the zero value takes the events for independent
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

// Errors are the chances that a verdict may be wrong.
type Errors struct{ Pass, Fail float64 }

// ErrorsOf divides the error that a confidence leaves: that of FAIL among the groups that an objective is judged by, and
// both in halves when the run is looked at while it goes.
func ErrorsOf(confidence float64, groups int, early bool) Errors {
	e := Errors{1 - confidence, (1 - confidence) / float64(max(groups, 1))}
	if early {
		e.Pass, e.Fail = e.Pass/2, e.Fail/2
	}
	return e
}

// Decide judges a sample against an objective of ppb good parts per billion.
func Decide(c Counts, ppb uint64, e Errors) Decision {
	if c.Total == 0 {
		return Decision{AtMost: 1}
	}
	ppb = min(ppb, Billion)
	limit := float64(Billion-ppb) / Billion
	most, mostOf := c.Spread.atWorst(c.most(), c.all(), e.Pass)
	least, leastOf := c.Spread.atBest(c.least(), c.all(), e.Fail)
	d := Decision{AtLeast: 1 - upperBound(most, mostOf, e.Pass), AtMost: 1 - lowerBound(least, leastOf, e.Fail)}
	// The verdict comes from the tails themselves, not from the bounds, which are searched for and rounded.
	switch goal := float64(ppb) / Billion; {
	case limit >= 1 || mostOf > 0 && lowerTail(most, mostOf, limit) <= e.Pass:
		d.Outcome, d.AtLeast = Pass, max(d.AtLeast, goal)
	case upperTail(least, leastOf, limit) < e.Fail:
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

// Early tells during a run what a sample already proves, whenever and however often it is asked. With a chance of at most
// e.Fail does it ever say FAIL of a service that meets the objective, with at most e.Pass ever PASS of one that does not.
//
// It is the likelihood ratio of a Beta(1, (1-p)/p) mixture of rates against a rate r: a martingale if r is the service's,
// which exceeds 1/error at any time with a chance of at most error (Ville). The rates at which it does not are a
// confidence sequence. Above the share of bad events the ratio grows with r, and below it falls. So when it is above
// 1/error at the limit p, all rates that would make the verdict wrong are excluded as well: those above p when less than
// the share p of the events is bad, those below when more is.
func Early(c Counts, ppb uint64, e Errors) Outcome {
	ppb = min(ppb, Billion)
	if c.Total == 0 {
		return Inconclusive
	}
	p := float64(Billion-ppb) / Billion
	bad, n := c.Spread.atBest(c.least(), c.all(), e.Fail)
	switch {
	case ppb == Billion && bad > 0:
		return Fail
	case ppb == Billion || ppb == 0:
		return Inconclusive
	case float64(bad) > p*float64(n) && logMixture(bad, n, p) >= -math.Log(e.Fail):
		return Fail
	}
	bad, n = c.Spread.atWorst(c.most(), c.all(), e.Pass)
	if float64(bad) < p*float64(n) && logMixture(bad, n, p) >= -math.Log(e.Pass) {
		return Pass
	}
	return Inconclusive
}

// logMixture is the logarithm of the ratio of Early at the limit.
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

// ObservedText is the per cent of good events, rounded down, with as many digits as BoundText writes at least. It is empty
// without events.
func ObservedText(bad, total, ppb uint64) string {
	if total == 0 {
		return ""
	}
	return percentDown(min(bad, total), total, digits(min(ppb, Billion))+1)
}

// BoundText writes a bound of Decision in per cent, AtLeast rounded down and AtMost up, with one digit more than the
// objective has, and as many more as it takes to tell it from the objective.
func BoundText(bound float64, ppb uint64, up bool) string {
	ppb = min(ppb, Billion)
	goal := float64(ppb) / Billion
	for digits := digits(ppb) + 1; ; digits++ {
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
