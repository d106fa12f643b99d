package slo

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestFisher compares with exact sums of fractions.
func TestFisher(t *testing.T) {
	choose := func(n, k uint64) *big.Int {
		if k > n {
			return new(big.Int)
		}
		return new(big.Int).Binomial(int64(n), int64(k))
	}
	for _, c := range [][2]uint64{{1, 1}, {5, 9}, {30, 12}, {80, 80}} {
		for a := range c[0] + 1 {
			for b := range c[1] + 1 {
				if (a+b)%3 == 2 {
					continue
				}
				sum := new(big.Int)
				for k := a; k <= min(c[0], a+b); k++ {
					sum.Add(sum, new(big.Int).Mul(choose(c[0], k), choose(c[1], a+b-k)))
				}
				want, _ := new(big.Rat).SetFrac(sum, choose(c[0]+c[1], a+b)).Float64()
				if got := fisher(a, c[0], b, c[1]); math.Abs(got-want) > 1e-9*want+1e-13 {
					t.Errorf("%d of %d against %d of %d: %v, want %v", a, c[0], b, c[1], got, want)
				}
			}
		}
	}
	// Where numbers are large, the two tails add up.
	for _, n := range []uint64{1e5, 1e7, 1e9} {
		bad := n / 100
		up, down := fisher(bad+bad/1000, n, bad, n), fisher(bad, n, bad+bad/1000+1, n)
		if up <= 0 || up > 0.5 || down < 0.5 || math.Abs(up+down-1) > 0.1 {
			t.Errorf("n %d: %v and %v", n, up, down)
		}
	}
}

// TestDiffer: samples of one rate seldom differ, also when their events come in bursts, and those of another one do.
func TestDiffer(t *testing.T) {
	const runs, err = 2000, 0.05
	rng := rand.New(rand.NewPCG(17, 18))
	for _, c := range []struct{ effect, factor float64 }{{1, 1}, {5, 1}, {1, 1.3}, {5, 2}} {
		worse, better := 0, 0
		for range runs {
			var s [2]Counts
			for i, rate := range [...]float64{0.01, 0.01 * c.factor} {
				bad, total := burst(rng, 60, 500, rate, c.effect)
				s[i] = Counts{Bad: add(bad), Total: add(total), Spread: NewSpread(bad, total)}
			}
			w, b := Differ(s[0], s[1], err)
			if w <= err {
				worse++
			}
			if b <= err {
				better++
			}
		}
		most := allowed(runs, err)
		if better > most || c.factor == 1 && worse > most || c.factor > 1 && worse < runs*8/10 {
			t.Errorf("effect %v, %v times as bad: %d of %d seem worse, %d better", c.effect, c.factor, worse, runs, better)
		}
	}
	if w, b := Differ(Counts{}, Counts{Total: 9, Bad: 9}, err); w != 1 || b != 1 {
		t.Errorf("without events: %v, %v", w, b)
	}
	if w, _ := Differ(Counts{Total: 1000, Missing: 100}, Counts{Total: 1000, Bad: 50}, err); w <= err {
		t.Errorf("what was lost makes a difference of its own: %v", w)
	}
}
