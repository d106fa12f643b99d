package slo

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestEarlyProof computes, exactly, the chance that a service at or below the limit is ever failed when every event is
// looked at: a forward recursion over the number of bad events, in which what fails leaves.
func TestEarlyProof(t *testing.T) {
	const events = 1500
	for _, c := range []struct {
		ppb        uint64
		confidence float64
	}{{900_000_000, 0.9}, {900_000_000, 0.95}, {990_000_000, 0.95}, {990_000_000, 0.8}} {
		for _, factor := range []float64{0.3, 0.9, 1} {
			p := factor * float64(Billion-c.ppb) / Billion
			alive, failed := []float64{1}, 0.0 // by how many of the events so far were bad
			for n := uint64(1); n <= events; n++ {
				next := make([]float64, min(len(alive)+1, 400))
				for k, w := range alive {
					next[k] += w * (1 - p)
					if k+1 < len(next) {
						next[k+1] += w * p
					} else {
						failed += w * p
					}
				}
				for k := len(next) - 1; k > 0 && Early(Counts{Bad: uint64(k), Total: n}, c.ppb, c.confidence, 1); k-- {
					failed, next[k] = failed+next[k], 0
				}
				for len(next) > 1 && next[len(next)-1] == 0 {
					next = next[:len(next)-1]
				}
				alive = next
			}
			if failed > 1-c.confidence {
				t.Errorf("at %v of the limit of %d, confidence %v: ever failed with a chance of %v", factor, c.ppb, c.confidence, failed)
			}
		}
	}
}

// TestEarlyUpSet checks what the proof for rates below the limit needs: of equally many events, more bad ones fail too.
func TestEarlyUpSet(t *testing.T) {
	for _, ppb := range []uint64{500_000_000, 900_000_000, 990_000_000} {
		for n := uint64(1); n < 400; n++ {
			was := false
			for k := range n + 1 {
				is := Early(Counts{Bad: k, Total: n}, ppb, 0.95, 1)
				if was && !is {
					t.Fatalf("%d of %d fail at %d, %d do not", k-1, n, ppb, k)
				}
				was = is
			}
		}
	}
	for _, c := range []Counts{{}, {Bad: 0, Total: 1e6}, {Bad: 9000, Total: 1e6}, {Bad: 30, Total: 1000, Missing: 5000}, {Bad: 100, Total: 1000, Doubtful: 95}} {
		if Early(c, 990_000_000, 0.95, 1) {
			t.Errorf("%+v fails", c)
		}
	}
	if !Early(Counts{Bad: 1, Total: 1}, Billion, 0.95, 1) {
		t.Error("a bad event where none is allowed does not fail")
	}
}

// TestEarlyDetects finds a service at twice the limit within a few thousand events, looked at every ten.
func TestEarlyDetects(t *testing.T) {
	const runs, limit = 200, 0.01
	rng := rand.New(rand.NewPCG(3, 5))
	found := 0
	for range runs {
		bad := uint64(0)
		for n := uint64(10); n <= 5000; n += 10 {
			bad += sample(rng, 10, 2*limit)
			if Early(Counts{Bad: bad, Total: n}, 990_000_000, 0.95, 1) {
				found++
				break
			}
		}
	}
	if found < runs*9/10 {
		t.Errorf("found %d of %d violations", found, runs)
	}
	if m := logMixture(2_000_000, 100_000_000, limit); math.IsNaN(m) || m < 1000 {
		t.Errorf("the ratio of many events is e^%v", m)
	}
}
