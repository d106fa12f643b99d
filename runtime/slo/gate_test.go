package slo

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// exactChance is the probability of exactly k of n events at rate num/den.
func exactChance(k, n, num, den int64) *big.Rat {
	r := new(big.Rat).SetInt(new(big.Int).Binomial(n, k))
	power := func(a, e int64) *big.Int { return new(big.Int).Exp(big.NewInt(a), big.NewInt(e), nil) }
	r.Mul(r, new(big.Rat).SetFrac(power(num, k), power(den, k)))
	return r.Mul(r, new(big.Rat).SetFrac(power(den-num, n-k), power(den, n-k)))
}

func near(got, want, tolerance float64) bool {
	return got == want || math.Abs(got-want) <= tolerance*math.Abs(want)
}

// TestTails compares the tails with exact sums of fractions.
func TestTails(t *testing.T) {
	for _, rate := range [][2]int64{{1, 1000}, {1, 100}, {1, 20}, {1, 4}, {1, 2}, {3, 4}, {99, 100}} {
		p := float64(rate[0]) / float64(rate[1])
		for _, n := range []int64{1, 2, 3, 7, 20, 61, 150} {
			below := new(big.Rat)
			for k := range n + 1 {
				c := exactChance(k, n, rate[0], rate[1])
				atLeast, _ := new(big.Rat).Sub(big.NewRat(1, 1), below).Float64()
				atMost, _ := below.Add(below, c).Float64()
				one, _ := c.Float64()
				if one > 1e-280 && !near(chance(uint64(k), uint64(n), p), one, 1e-11) {
					t.Errorf("chance(%d, %d, %v) = %v, want %v", k, n, p, chance(uint64(k), uint64(n), p), one)
				}
				if got := lowerTail(uint64(k), uint64(n), p); atMost > 1e-280 && !near(got, atMost, 1e-11) {
					t.Errorf("lowerTail(%d, %d, %v) = %v, want %v", k, n, p, got, atMost)
				}
				if got := upperTail(uint64(k), uint64(n), p); atLeast > 1e-280 && !near(got, atLeast, 1e-11) {
					t.Errorf("upperTail(%d, %d, %v) = %v, want %v", k, n, p, got, atLeast)
				}
			}
		}
	}
}

// TestTailsOfMany checks that the two tails add up, where the numbers are too large to be summed exactly.
func TestTailsOfMany(t *testing.T) {
	for _, n := range []uint64{1e4, 1e6, 1e9, 1e12} {
		for _, p := range []float64{1e-7, 1e-3, 0.01, 0.3} {
			sd := math.Sqrt(float64(n) * p * (1 - p))
			for _, z := range []float64{-3, -1, -0.01, 0, 0.01, 1, 3} {
				k := uint64(max(0, float64(n)*p+z*sd))
				if sum := lowerTail(k, n, p) + upperTail(k+1, n, p); math.Abs(sum-1) > 1e-9 {
					t.Errorf("the tails of %d of %d at %v add up to %v", k, n, p, sum)
				}
				low, high := sumDown(k, n, p), sumUp(k+1, n, p)
				if math.Abs(z) <= 0.01 && math.Abs(low+high-1) > 1e-6 {
					t.Errorf("the sums of %d of %d at %v add up to %v", k, n, p, low+high)
				}
			}
		}
	}
}

// TestBounds: at a bound the tail is exactly the error; without bad events there is a formula.
func TestBounds(t *testing.T) {
	for _, err := range []float64{0.1, 0.05, 0.01, 0.0001} {
		for _, n := range []uint64{1, 10, 300, 5000, 1e6, 1e9} {
			last := 0.0
			for _, bad := range []uint64{0, 1, 2, 5, 9, 40, 299, 4000, 700000} {
				if bad > n {
					break
				}
				high, low := upperBound(bad, n, err), lowerBound(bad, n, err)
				if bad < n && !near(lowerTail(bad, n, high), err, 1e-6) || bad > 0 && !near(upperTail(bad, n, low), err, 1e-6) {
					t.Errorf("bounds of %d of %d at %v: %v, %v: tails %v, %v", bad, n, err, low, high, upperTail(bad, n, low), lowerTail(bad, n, high))
				}
				if high <= last || low >= high || low > float64(bad)/float64(n) || high < float64(bad)/float64(n) {
					t.Errorf("bounds of %d of %d at %v: %v, %v after %v", bad, n, err, low, high, last)
				}
				last = high
			}
			if got, want := upperBound(0, n, err), -math.Expm1(math.Log(err)/float64(n)); !near(got, want, 1e-9) {
				t.Errorf("upper bound of 0 of %d at %v: %v, want %v", n, err, got, want)
			}
		}
	}
	// Known intervals: 10 of 100 at 95 % two-sided, and the same mirrored.
	if low, high := lowerBound(10, 100, 0.025), upperBound(10, 100, 0.025); !near(low, 0.0490047, 1e-5) || !near(high, 0.1762226, 1e-5) {
		t.Errorf("10 of 100: %v to %v", low, high)
	}
	if low, high := lowerBound(90, 100, 0.025), upperBound(90, 100, 0.025); !near(1-high, 0.0490047, 1e-5) || !near(1-low, 0.1762226, 1e-5) {
		t.Errorf("90 of 100: %v to %v", low, high)
	}
}

// TestMinEvents checks the known sizes of samples without a bad event, by the formula and by the verdict.
func TestMinEvents(t *testing.T) {
	for _, c := range []struct{ ppb, at95, at99 uint64 }{
		{900_000_000, 29, 44}, {950_000_000, 59, 90}, {990_000_000, 299, 459}, {995_000_000, 598, 919}, {999_000_000, 2995, 4603}, {999_900_000, 29956, 46050},
	} {
		for conf, want := range map[float64]uint64{0.95: c.at95, 0.99: c.at99} {
			if got := MinEvents(c.ppb, conf); got != want {
				t.Errorf("MinEvents(%d, %v) = %d, want %d", c.ppb, conf, got, want)
			}
			if Decide(Counts{Total: want}, c.ppb, ErrorsOf(conf, 1, false)).Outcome != Pass || Decide(Counts{Total: want - 1}, c.ppb, ErrorsOf(conf, 1, false)).Outcome != Inconclusive {
				t.Errorf("the verdict on %d events at %d, %v does not turn at the known size", want, c.ppb, conf)
			}
		}
	}
	if MinEvents(Billion, 0.95) != 0 || MinEvents(0, 0.95) != 1 {
		t.Error("wrong sizes at the ends")
	}
}

// TestDecideEdges are the verdicts that need no arithmetic.
func TestDecideEdges(t *testing.T) {
	for _, c := range []struct {
		c    Counts
		ppb  uint64
		want Outcome
	}{
		{Counts{}, 990_000_000, Inconclusive},
		{Counts{Missing: 10}, 990_000_000, Inconclusive},
		{Counts{}, 0, Inconclusive},
		{Counts{Total: 1e9}, Billion, Inconclusive}, // no sample proves that there is never a bad event
		{Counts{Total: 1e9, Bad: 1}, Billion, Fail},
		{Counts{Total: 10, Bad: 10}, 0, Pass},
		{Counts{Total: 10, Bad: 10}, 990_000_000, Fail},
		{Counts{Total: 10, Bad: 100}, 990_000_000, Fail}, // counters read while they count
		{Counts{Total: 1000}, 990_000_000, Pass},
		{Counts{Total: 1000, Missing: 10}, 990_000_000, Inconclusive},
		{Counts{Total: 1000, Doubtful: 10}, 990_000_000, Inconclusive},
		{Counts{Total: 1000, Doubtful: 5000}, 990_000_000, Inconclusive},
		{Counts{Total: 1000, Bad: 30}, 990_000_000, Fail},
		{Counts{Total: 1000, Bad: 30, Missing: 2000}, 990_000_000, Inconclusive},
		{Counts{Total: 1000, Bad: 30, Doubtful: 25}, 990_000_000, Inconclusive},
	} {
		d := Decide(c.c, c.ppb, ErrorsOf(0.95, 1, false))
		if d.Outcome != c.want || d.AtLeast > d.AtMost {
			t.Errorf("Decide(%+v, %d) = %+v, want %s", c.c, c.ppb, d, c.want)
		}
	}
	if !Fail.Worse(Inconclusive) || !Inconclusive.Worse(Pass) || Pass.Worse(Pass) || Pass.Worse(Fail) {
		t.Error("wrong order of outcomes")
	}
}

// TestDecideMonotone: another bad event, a lost event, a higher confidence, another group never help.
func TestDecideMonotone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		c := Counts{Total: 1 + rng.Uint64N(5000), Missing: rng.Uint64N(3) * rng.Uint64N(20), Doubtful: rng.Uint64N(3) * rng.Uint64N(20)}
		c.Bad = rng.Uint64N(1 + c.Total/20)
		ppb := []uint64{900_000_000, 990_000_000, 999_000_000}[rng.IntN(3)]
		d := Decide(c, ppb, ErrorsOf(0.95, 1, false))
		limit := float64(Billion-ppb) / Billion
		if d.Outcome == Pass && 1-d.AtLeast > limit*(1+1e-12) || d.Outcome == Fail && 1-d.AtMost <= limit {
			t.Fatalf("%+v at %d: %+v contradicts itself", c, ppb, d)
		}
		worse := c
		worse.Bad = min(worse.Bad+1, worse.Total)
		if w := Decide(worse, ppb, ErrorsOf(0.95, 1, false)); d.Outcome.Worse(w.Outcome) || w.AtLeast > d.AtLeast {
			t.Fatalf("%+v: %+v, with one more bad event %+v", c, d, w)
		}
		unknown := c
		unknown.Missing, unknown.Doubtful = unknown.Missing+rng.Uint64N(9), unknown.Doubtful+rng.Uint64N(9)
		for _, w := range []Decision{Decide(unknown, ppb, ErrorsOf(0.95, 1, false)), Decide(c, ppb, ErrorsOf(0.99, 1, false))} {
			if w.Outcome != d.Outcome && w.Outcome != Inconclusive || w.AtLeast > d.AtLeast || w.AtMost < d.AtMost {
				t.Fatalf("%+v: %+v, knowing less %+v", c, d, w)
			}
		}
		if w := Decide(c, ppb, ErrorsOf(0.95, 8, false)); w.Outcome == Fail && d.Outcome != Fail || w.AtLeast != d.AtLeast || w.AtMost < d.AtMost {
			t.Fatalf("%+v: %+v, as one of 8 groups %+v", c, d, w)
		}
	}
}

// TestErrorRates adds up, exactly, the chances of all samples on which the gate is wrong.
func TestErrorRates(t *testing.T) {
	const ppb, limit = 980_000_000, 0.02
	for _, conf := range []float64{0.9, 0.95, 0.99} {
		for _, n := range []uint64{50, 149, 400, 3000} {
			pass, fail := 0.0, 0.0
			for k := range n + 1 {
				switch Decide(Counts{Bad: k, Total: n}, ppb, ErrorsOf(conf, 1, false)).Outcome {
				case Pass: // wrong just above the limit
					pass += chance(k, n, limit)
				case Fail:
					fail += chance(k, n, limit)
				}
				if chance(k, n, limit) < 1e-15 && float64(k) > limit*float64(n) {
					break
				}
			}
			if pass > 1-conf+1e-9 || fail > 1-conf+1e-9 {
				t.Errorf("n %d, confidence %v: false PASS %v, false FAIL %v", n, conf, pass, fail)
			}
		}
	}
}

// sample draws how many of n events are bad at rate p, by the gaps between bad ones.
func sample(rng *rand.Rand, n uint64, p float64) uint64 {
	bad, at := uint64(0), 0.0
	for {
		at += 1 + math.Floor(math.Log(1-rng.Float64())/math.Log1p(-p))
		if at > float64(n) {
			return bad
		}
		bad++
	}
}

// TestSimulation runs gates on services whose rate is known: below, at and above the limit.
func TestSimulation(t *testing.T) {
	const runs, ppb, limit, conf = 2000, 990_000_000, 0.01, 0.95
	rng := rand.New(rand.NewPCG(20, 26))
	// Three standard deviations above the error that is allowed.
	allowed := int(runs*(1-conf) + 3*math.Sqrt(runs*(1-conf)*conf))
	for _, n := range []uint64{300, 1000, 3000, 10000} {
		for _, factor := range []float64{0.25, 0.5, 0.9, 1, 1.1, 1.5, 2, 3} {
			var got [3]int
			for range runs {
				got[Decide(Counts{Bad: sample(rng, n, factor*limit), Total: n}, ppb, ErrorsOf(conf, 1, false)).Outcome]++
			}
			if factor <= 1 && got[Fail] > allowed || factor > 1 && got[Pass] > allowed {
				t.Errorf("n %d at %v of the limit: %d PASS, %d FAIL of %d, allowed %d wrong", n, factor, got[Pass], got[Fail], runs, allowed)
			}
			if n == 10000 && (factor == 0.5 && got[Pass] < runs*99/100 || factor == 2 && got[Fail] < runs*99/100) {
				t.Errorf("n %d at %v of the limit: the gate is blind: %v", n, factor, got)
			}
		}
	}
	// An objective kept by 20 labels fails as seldom as one that is not.
	wrong := 0
	for range runs {
		for range 20 {
			if Decide(Counts{Bad: sample(rng, 1000, limit), Total: 1000}, ppb, ErrorsOf(conf, 20, false)).Outcome == Fail {
				wrong++
				break
			}
		}
	}
	if wrong > allowed {
		t.Errorf("%d of %d objectives with 20 groups fail at the limit, allowed %d", wrong, runs, allowed)
	}
}

func TestBoundText(t *testing.T) {
	for _, c := range []struct {
		bound float64
		ppb   uint64
		up    bool
		want  string
	}{
		{0.99955432, 999_000_000, false, "99.955"},
		{0.99955432, 999_000_000, true, "99.956"},
		{0.9989999, 999_000_000, true, "99.89999"},
		{0.9989996, 999_000_000, true, "99.89996"},
		{0.9990001, 999_000_000, false, "99.900"},
		{0.999, 999_000_000, false, "99.900"},
		{0, 990_000_000, false, "0.000"},
		{1, 990_000_000, true, "100.000"},
		{0.5, 500_000_000, false, "50.000"},
		{0.99999951, 999_999_500, false, "99.999951"},
	} {
		if got := BoundText(c.bound, c.ppb, c.up); got != c.want {
			t.Errorf("BoundText(%v, %d, %v) = %s, want %s", c.bound, c.ppb, c.up, got, c.want)
		}
	}
}
