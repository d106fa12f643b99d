package slo

import "math"

// Spread is how much more the rate of bad events varies from one batch of a sample to the next than that of independent
// events would. A batch is what happened in a second, or in several.
//
// Algorithm: the variance of a ratio of sums over clusters, divided by the binomial variance, is the design effect (Kish,
// Survey Sampling, 1965). Batches are also joined by twos, fours and so on while enough remain, and the largest effect
// counts: events that hang together for longer than a second show only there. A sample is then as good as one of n over
// the effect independent events, corrected for the effect being measured on few batches (Korn and Graubard, Survey
// Methodology 24, 1998). An effect below 1 is taken for 1: nobody has events that are better than independent.
type Spread struct {
	Effect  float64 // at least 1; 0 for unknown
	Batches int     // with events, of which Effect is known
}

// The fewest batches that an effect is measured on, and the fewest that are left where batches are joined.
const (
	MinBatches    = 5
	joinedBatches = 15
)

// NewSpread measures the design effect. It is unknown with less than MinBatches batches of events, without bad events,
// and without good ones: then nothing can be seen to vary.
func NewSpread(bad, total []uint64) Spread {
	var out Spread
	for width := 1; ; width *= 2 {
		effect, batches := designEffect(bad, total, width)
		if batches < MinBatches || width > 1 && batches < joinedBatches {
			return out
		}
		if effect = max(effect, 1); effect > out.Effect {
			out = Spread{effect, batches}
		}
	}
}

// designEffect takes so many batches together. Without bad or without good events it has no batches.
func designEffect(bad, total []uint64, width int) (effect float64, batches int) {
	var b, n, squares float64
	for i := range total {
		b, n = b+float64(min(bad[i], total[i])), n+float64(total[i])
	}
	if b == 0 || b == n {
		return 0, 0
	}
	p := b / n
	for i := 0; i < len(total); i += width {
		var some, of float64
		for j := i; j < min(i+width, len(total)); j++ {
			some, of = some+float64(min(bad[j], total[j])), of+float64(total[j])
		}
		if of > 0 {
			squares += (some - p*of) * (some - p*of)
			batches++
		}
	}
	k := float64(batches)
	return squares * k / max(k-1, 1) / (n * p * (1 - p)), batches
}

// Effective is of how many independent events a sample of n is worth, at most n; err is the error of the bound.
func (s Spread) Effective(n uint64, err float64) float64 {
	if s.Effect == 0 {
		return float64(n)
	}
	z := math.Sqrt2 * math.Erfinv(1-2*err)
	t := student(z, float64(s.Batches-1))
	return float64(n) / max(1, s.Effect*(t/z)*(t/z))
}

// atWorst and atBest shrink a sample to that of independent events, in whole events, rounded towards more bad ones or
// towards fewer.
func (s Spread) atWorst(bad, n uint64, err float64) (uint64, uint64) {
	if s.Effect == 0 || n == 0 {
		return bad, n
	}
	e := s.Effective(n, err)
	of := math.Floor(e)
	return uint64(min(math.Ceil(float64(bad)/float64(n)*e), of)), uint64(of)
}

func (s Spread) atBest(bad, n uint64, err float64) (uint64, uint64) {
	if s.Effect == 0 || n == 0 {
		return bad, n
	}
	e := s.Effective(n, err)
	return uint64(float64(bad) / float64(n) * e), uint64(math.Ceil(e))
}

// student is the quantile of Student's t at which the normal distribution's is z (the expansion of Cornish and Fisher,
// within 1 % from 4 degrees of freedom on for errors of a thousandth and more).
func student(z, df float64) float64 {
	z2 := z * z
	t := z + z*(z2+1)/(4*df) + z*(5*z2*z2+16*z2+3)/(96*df*df) + z*(3*z2*z2*z2+19*z2*z2+17*z2-15)/(384*df*df*df)
	return t + z*(79*z2*z2*z2*z2+776*z2*z2*z2+1482*z2*z2-1920*z2-945)/(92160*df*df*df*df)
}

// After how many batches an early verdict is given. A run that began within a burst, or between two, must have seen that
// bad events come in bursts. A PASS needs more, since before the first burst everything looks well.
const (
	failAfter = 30
	passAfter = 60
)

// EarlyAfter is Early of a run after so many batches: nothing is said too early for Counts.Spread to mean something.
func EarlyAfter(c Counts, ppb uint64, e Errors, batches int) Outcome {
	if batches < failAfter {
		return Inconclusive
	}
	o := Early(c, ppb, e)
	if o == Pass && batches < passAfter {
		return Inconclusive
	}
	return o
}
