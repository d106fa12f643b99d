package slo

import (
	"math"
	"math/rand/v2"
	"testing"
)

// ever is the exact chance that a service at rate p ever gets a verdict when every event is looked at: a forward recursion
// over the number of bad events, in which what is decided leaves.
func ever(want Outcome, p float64, ppb uint64, e Errors) float64 {
	const events, most = 1500, 400
	alive, decided := []float64{1}, 0.0 // by how many of the events so far were bad
	for n := uint64(1); n <= events; n++ {
		next := make([]float64, min(len(alive)+1, most))
		for k, w := range alive {
			next[k] += w * (1 - p)
			if k+1 < len(next) {
				next[k+1] += w * p
			} else if want == Fail {
				decided += w * p
			}
		}
		// Few bad events pass, many fail: only the ends can leave.
		for k := range next {
			if want == Fail {
				k = len(next) - 1 - k
			}
			if next[k] == 0 {
				continue
			}
			if Early(Counts{Bad: uint64(k), Total: n}, ppb, e) != want {
				break
			}
			decided, next[k] = decided+next[k], 0
		}
		for len(next) > 1 && next[len(next)-1] == 0 {
			next = next[:len(next)-1]
		}
		alive = next
	}
	return decided
}

// TestEarlyProof: a service at or below the limit is seldom ever failed, one at or above it seldom ever passed.
func TestEarlyProof(t *testing.T) {
	for _, c := range []struct {
		ppb        uint64
		confidence float64
	}{{900_000_000, 0.9}, {900_000_000, 0.95}, {990_000_000, 0.95}, {990_000_000, 0.8}} {
		limit, e := float64(Billion-c.ppb)/Billion, ErrorsOf(c.confidence, 1, false)
		for _, factor := range []float64{0.3, 0.9, 1} {
			if failed := ever(Fail, factor*limit, c.ppb, e); failed > 1-c.confidence {
				t.Errorf("at %v of the limit of %d, confidence %v: ever failed with a chance of %v", factor, c.ppb, c.confidence, failed)
			}
		}
		for _, factor := range []float64{1, 1.1, 2} {
			if passed := ever(Pass, factor*limit, c.ppb, e); passed > 1-c.confidence {
				t.Errorf("at %v of the limit of %d, confidence %v: ever passed with a chance of %v", factor, c.ppb, c.confidence, passed)
			}
		}
		if passed := ever(Pass, limit/5, c.ppb, e); passed < 0.9 {
			t.Errorf("at a fifth of the limit of %d: ever passed with a chance of only %v", c.ppb, passed)
		}
	}
}

// TestEarlyOrder checks what the proof for other rates than the limit needs: of equally many events, more bad ones fail
// too, and fewer pass too.
func TestEarlyOrder(t *testing.T) {
	e := ErrorsOf(0.95, 1, false)
	rank := [...]int{Pass: 0, Inconclusive: 1, Fail: 2}
	for _, ppb := range []uint64{500_000_000, 900_000_000, 990_000_000} {
		for n := uint64(1); n < 700; n++ {
			was := Pass
			for k := range n + 1 {
				is := Early(Counts{Bad: k, Total: n}, ppb, e)
				if rank[is] < rank[was] {
					t.Fatalf("%d of %d are %s at %d, %d %s", k-1, n, was, ppb, k, is)
				}
				was = is
			}
		}
	}
	for _, c := range []Counts{{}, {Bad: 9000, Total: 1e6, Missing: 9000}, {Bad: 30, Total: 1000, Missing: 5000}, {Bad: 100, Total: 1000, Doubtful: 95}} {
		if got := Early(c, 990_000_000, e); got != Inconclusive {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if Early(Counts{Bad: 0, Total: 1e6}, 990_000_000, e) != Pass || Early(Counts{Total: 1e6}, Billion, e) != Inconclusive ||
		Early(Counts{Bad: 1, Total: 1}, Billion, e) != Fail {
		t.Error("wrong verdicts at the ends")
	}
}

// TestEarlyDetects finds a service at twice the limit, and one at a third of it, within a few thousand events, looked at
// every ten.
func TestEarlyDetects(t *testing.T) {
	const runs, limit = 200, 0.01
	rng := rand.New(rand.NewPCG(3, 5))
	for want, factor := range map[Outcome]float64{Fail: 2, Pass: 1. / 3} {
		found := 0
		for range runs {
			bad := uint64(0)
			for n := uint64(10); n <= 5000; n += 10 {
				bad += sample(rng, 10, factor*limit)
				if got := Early(Counts{Bad: bad, Total: n}, 990_000_000, ErrorsOf(0.95, 1, false)); got != Inconclusive {
					if got == want {
						found++
					}
					break
				}
			}
		}
		if found < runs*9/10 {
			t.Errorf("%s: found %d of %d", want, found, runs)
		}
	}
	if m := logMixture(2_000_000, 100_000_000, limit); math.IsNaN(m) || m < 1000 {
		t.Errorf("the ratio of many events is e^%v", m)
	}
}
