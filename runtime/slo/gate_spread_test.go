package slo

import (
	"math"
	"math/rand/v2"
	"testing"
)

// gamma draws from a gamma distribution of a shape (Marsaglia and Tsang 2000).
func gamma(rng *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(rng, shape+1) * math.Pow(rng.Float64(), 1/shape)
	}
	d := shape - 1./3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v = v * v * v; v > 0 && math.Log(rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// burst draws batches of n events each whose rate of bad ones is beta distributed around p, so that the events of a batch
// hang together: their design effect is that given.
func burst(rng *rand.Rand, batches int, n uint64, p, effect float64) (bad, total []uint64) {
	rate := p
	for range batches {
		if effect > 1 {
			size := float64(n-1)/(effect-1) - 1
			x, y := gamma(rng, p*size), gamma(rng, (1-p)*size)
			rate = x / (x + y)
		}
		b := uint64(0)
		if rate > 1e-12 {
			b = sample(rng, n, min(rate, 1-1e-9))
		}
		bad, total = append(bad, b), append(total, n)
	}
	return bad, total
}

func add(list []uint64) (sum uint64) {
	for _, n := range list {
		sum += n
	}
	return sum
}

// TestSpread measures known design effects.
func TestSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, effect := range []float64{1, 2, 5, 20} {
		sum := 0.0
		for range 50 {
			e, _ := designEffect2(burst(rng, 600, 1000, 0.02, effect))
			sum += e / 50
		}
		if !near(sum, effect, 0.06) {
			t.Errorf("a design effect of %v is measured as %v", effect, sum)
		}
	}
	// Batches that go in pairs: joined by twos they show it.
	bad, total := burst(rng, 300, 1000, 0.02, 5)
	var twice, of []uint64
	for i := range bad {
		twice, of = append(twice, bad[i], bad[i]), append(of, total[i], total[i])
	}
	if one, two := NewSpread(bad, total).Effect, NewSpread(twice, of).Effect; two < 1.7*one {
		t.Errorf("effect %v of single batches, %v of pairs", one, two)
	}
	for _, c := range []struct{ bad, total []uint64 }{
		{}, {[]uint64{0, 0, 0, 0, 0, 0}, []uint64{9, 9, 9, 9, 9, 9}}, {[]uint64{9, 9, 9, 9, 9, 9}, []uint64{9, 9, 9, 9, 9, 9}},
		{[]uint64{1, 2, 3, 4}, []uint64{9, 9, 9, 9}}, {[]uint64{1, 2, 3, 4, 0, 0}, []uint64{9, 9, 9, 9, 0, 0}},
	} {
		if s := NewSpread(c.bad, c.total); s != (Spread{}) || s.Effective(100, 0.05) != 100 {
			t.Errorf("%v of %v: %+v", c.bad, c.total, s)
		}
	}
	if e := (Spread{2, 1000}).Effective(1000, 0.05); !near(e, 500, 0.01) {
		t.Errorf("1000 events with an effect of 2 are worth %v", e)
	}
	if n, of := (Spread{4, 100}).atWorst(10, 1000, 0.05); n != 3 || of > 250 {
		t.Errorf("got %d of %d", n, of)
	}
	if n, of := (Spread{4, 100}).atBest(10, 1000, 0.05); n != 2 || of > 250 {
		t.Errorf("got %d of %d", n, of)
	}
}

func designEffect2(bad, total []uint64) (float64, int) { return designEffect(bad, total, 1) }

// TestStudent compares with tables.
func TestStudent(t *testing.T) {
	for _, c := range []struct{ z, df, want float64 }{
		{1.6449, 4, 2.1318}, {1.6449, 9, 1.8331}, {1.6449, 59, 1.6711}, {2.3263, 4, 3.7469}, {2.3263, 20, 2.5280}, {3.0902, 9, 4.2968},
	} {
		if got := student(c.z, c.df); !near(got, c.want, 0.01) {
			t.Errorf("student(%v, %v) = %v, want %v", c.z, c.df, got, c.want)
		}
	}
}

// allowed is how many of the runs may be wrong: three standard deviations above the error that is stated.
func allowed(runs int, err float64) int {
	return int(float64(runs)*err + 3*math.Sqrt(float64(runs)*err*(1-err)))
}

// TestDistributions gates services whose latencies have a known distribution, with the limit below, at and above the
// quantile that the objective promises.
func TestDistributions(t *testing.T) {
	const runs, ppb, conf, events = 2000, 980_000_000, 0.95, 600
	rng := rand.New(rand.NewPCG(11, 12))
	lognormal := func() float64 { return math.Exp(rng.NormFloat64()) }
	pareto := func() float64 { return math.Pow(1-rng.Float64(), -1/1.5) }
	bimodal := func() float64 {
		if rng.Float64() < 0.04 {
			return 100 + 100*rng.Float64()
		}
		return 10 * rng.Float64()
	}
	for name, d := range map[string]struct {
		draw     func() float64
		quantile func(q float64) float64
	}{
		"lognormal": {lognormal, func(q float64) float64 { return math.Exp(math.Sqrt2 * math.Erfinv(2*q-1)) }},
		"pareto":    {pareto, func(q float64) float64 { return math.Pow(1-q, -1/1.5) }},
		"bimodal":   {bimodal, func(q float64) float64 { return 100 + 100*(q-0.96)/0.04 }},
	} {
		for _, quantile := range []float64{0.99, 0.98, 0.97} { // the limit is met with room, just met, and missed
			limit, wrong, right := d.quantile(quantile), 0, 0
			for range runs {
				bad := uint64(0)
				for range events {
					if d.draw() > limit {
						bad++
					}
				}
				switch got := Decide(Counts{Bad: bad, Total: events}, ppb, ErrorsOf(conf, 1, false)).Outcome; {
				case got == Fail && quantile >= 0.98, got == Pass && quantile < 0.98:
					wrong++
				case got != Inconclusive:
					right++
				}
			}
			if wrong > allowed(runs, 1-conf) {
				t.Errorf("%s at p%v: %d of %d verdicts are wrong", name, 100*quantile, wrong, runs)
			}
			if quantile != 0.98 && right < runs/4 {
				t.Errorf("%s at p%v: only %d of %d verdicts", name, 100*quantile, right, runs)
			}
		}
	}
}

// TestCorrelated gates services whose bad events come in bursts within a second: both verdicts stay within the stated
// error where the rate is exactly the limit, which they would not without the design effect.
func TestCorrelated(t *testing.T) {
	const runs, ppb, limit, conf, batches = 2000, 990_000_000, 0.01, 0.95, 60
	rng := rand.New(rand.NewPCG(13, 14))
	for _, c := range []struct {
		n      uint64
		effect float64
	}{{1000, 1}, {1000, 2}, {1000, 5}, {1000, 20}, {100, 2}, {100, 5}} {
		var got, naive [3]int
		for range runs {
			bad, total := burst(rng, batches, c.n, limit, c.effect)
			sample := Counts{Bad: add(bad), Total: add(total)}
			naive[Decide(sample, ppb, ErrorsOf(conf, 1, false)).Outcome]++
			sample.Spread = NewSpread(bad, total)
			got[Decide(sample, ppb, ErrorsOf(conf, 1, false)).Outcome]++
		}
		if most := allowed(runs, 1-conf); got[Pass] > most || got[Fail] > most {
			t.Errorf("%d a second, effect %v: %d PASS, %d FAIL of %d at the limit, allowed %d", c.n, c.effect, got[Pass], got[Fail], runs, most)
		}
		if most := allowed(runs, 1-conf); c.effect > 2 && (naive[Pass] < most || naive[Fail] < most) {
			t.Errorf("%d a second, effect %v: without the effect only %d PASS, %d FAIL", c.n, c.effect, naive[Pass], naive[Fail])
		}
	}
	// It still decides what is clear.
	var clear [2][3]int
	for range 200 {
		for i, factor := range []float64{0.5, 2} {
			bad, total := burst(rng, batches, 1000, factor*limit, 5)
			clear[i][Decide(Counts{Bad: add(bad), Total: add(total), Spread: NewSpread(bad, total)}, ppb, ErrorsOf(conf, 1, false)).Outcome]++
		}
	}
	if clear[0][Pass] < 190 || clear[1][Fail] < 190 {
		t.Errorf("at half the limit %v, at twice %v", clear[0], clear[1])
	}
}

// TestEarlyCorrelated looks each second, as check --early does, at events that are independent and at such that come in
// bursts within a second or of several seconds.
func TestEarlyCorrelated(t *testing.T) {
	const runs, ppb, limit, conf, batches = 2000, 990_000_000, 0.01, 0.95, 150
	rng := rand.New(rand.NewPCG(15, 16))
	e := ErrorsOf(conf, 1, true)
	for _, c := range []struct {
		n            uint64
		effect, rate float64
		hold         int
	}{{100, 1, 1, 1}, {1000, 1, 1, 1}, {1000, 2, 1, 1}, {1000, 5, 1, 1}, {1000, 20, 1, 1}, {100, 2, 1, 1}, {1000, 2, 1, 5}, {1000, 5, 1, 5},
		{1000, 1, 0.4, 1}, {1000, 1, 2.5, 1}, {1000, 5, 0.3, 1}, {1000, 5, 3, 1}} {
		var got [3]int
		for range runs {
			bad, total := burst(rng, batches/c.hold, c.n*uint64(c.hold), c.rate*limit, 1+(c.effect-1)*float64(c.hold))
			if c.hold > 1 { // a rate holds for several seconds
				bad, total = dealt(rng, bad, total, c.hold)
			}
			got[earlyBatches(bad, total, ppb, e)]++
		}
		most := allowed(runs, 1-conf)
		if c.rate >= 1 && got[Pass] > most || c.rate <= 1 && got[Fail] > most {
			t.Errorf("%+v: %d PASS, %d FAIL of %d, allowed %d", c, got[Pass], got[Fail], runs, most)
		}
		if c.rate < 0.5 && got[Pass] < runs*9/10 || c.rate > 2 && got[Fail] < runs*9/10 {
			t.Errorf("%+v: it is blind: %v", c, got)
		}
	}
}

// dealt deals the events of each batch to several ones at random.
func dealt(rng *rand.Rand, bad, total []uint64, into int) (b, n []uint64) {
	for i := range bad {
		at := len(b)
		for range into {
			b, n = append(b, 0), append(n, total[i]/uint64(into))
		}
		for left := bad[i]; left > 0; {
			if to := at + rng.IntN(into); b[to] < n[to] {
				b[to]++
				left--
			}
		}
	}
	return b, n
}

// earlyBatches looks after each batch, as a run does, and stops at the first verdict.
func earlyBatches(bad, total []uint64, ppb uint64, e Errors) Outcome {
	var c Counts
	for i := range total {
		c.Bad, c.Total = c.Bad+bad[i], c.Total+total[i]
		c.Spread = NewSpread(bad[:i+1], total[:i+1])
		if o := EarlyAfter(c, ppb, e, i+1); o != Inconclusive {
			return o
		}
	}
	return Inconclusive
}
