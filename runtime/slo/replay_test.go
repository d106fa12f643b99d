package slo

import (
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// workload is a service with a daily rhythm, a little under its budget, that has incidents of 50 times the even burn.
type workload struct {
	rng      *rand.Rand
	incident time.Duration // until when
	next     time.Duration
}

func newWorkload(seed uint64, first time.Duration) *workload {
	return &workload{rng: rand.New(rand.NewPCG(seed, 1)), next: first}
}

// slot is what happens in the 10 s up to d: events and bad ones, for an objective of 99.9 %.
func (w *workload) slot(d time.Duration) (bad, total uint64) {
	if d >= w.next {
		w.incident = d + time.Duration(2+w.rng.IntN(60))*time.Minute
		w.next = w.incident + time.Duration(6+w.rng.IntN(60))*time.Hour
	}
	total = uint64(max(0, 500+400*math.Sin(2*math.Pi*d.Hours()/24)+20*w.rng.NormFloat64()))
	rate := 0.0006
	if d < w.incident {
		rate = 0.05
	}
	mean := float64(total) * rate
	bad = uint64(max(0, mean+math.Sqrt(mean)*w.rng.NormFloat64()+0.5))
	return min(bad, total), total
}

func soak() bool { return os.Getenv("SLOPE_SOAK") != "" }

// TestReplay compares 34 days with exact arithmetic on the whole history. The limits are the table of the package's design:
// windows up to 6 h are exact, a day is off by less than .019 of the even burn, three days by .006, 30 by .0002 while
// no incident crosses the far edge.
func TestReplay(t *testing.T) {
	seeds := []uint64{1}
	if soak() {
		for s := uint64(2); s < 40; s++ {
			seeds = append(seeds, s)
		}
	}
	for _, seed := range seeds {
		replay(t, seed)
	}
}

func replay(t *testing.T, seed uint64) {
	o := Objective{Name: "o", PPB: 999_000_000, Window: Window{Rolling: MaxWindow}, Page: DefaultPage(), Ticket: DefaultTicket()}
	tr, m, exact := tracker(t, o), newModel(o), newModel(o)
	exact.exact = true
	w := newWorkload(seed, 5*24*time.Hour)
	windows := append(StatusWindows(), MaxWindow)
	worst := make([]float64, len(windows))
	var sum Sums
	var state State
	changes, differ, longest := 0, 0, 0
	for i := range 34*24*360 + 1 {
		d := time.Duration(i) * 10 * time.Second
		if i > 0 {
			bad, total := w.slot(d)
			sum.Bad, sum.Total = sum.Bad+bad, sum.Total+total
		}
		for _, c := range tr.Observe(at(d), one(sum.Bad, sum.Total)) {
			state = c.To
			changes++
		}
		now := noon.Add(d).UnixNano()
		m.add(now, sum)
		exact.add(now, sum)
		if want := m.decide(); state != want {
			t.Fatalf("seed %d: after %s: got %s, want %s", seed, d, state, want)
		}
		if want := exact.decide(); state != want {
			differ++
			longest = max(longest, differ)
		} else {
			differ = 0
		}
		if i%11 != 0 {
			continue
		}
		for j, w := range windows {
			got, want := tr.Over(0, "", w), exact.window(w)
			worst[j] = max(worst[j], apart(got.Sums, want.Sums))
			if w <= 6*time.Hour && got.Sums != want.Sums {
				t.Fatalf("seed %d: after %s: %s: got %+v, want %+v", seed, d, w, got.Sums, want.Sums)
			}
		}
	}
	limits := []float64{0, 0, 0, 0, 0, .019, .006, .0002}
	for j, w := range windows {
		t.Logf("seed %d: %s is off by %.5f of the even burn at most", seed, w, worst[j])
		if worst[j] > limits[j] {
			t.Errorf("seed %d: %s is off by %.5f of the even burn, want at most %.5f", seed, w, worst[j], limits[j])
		}
	}
	t.Logf("seed %d: %d changes of state; apart from exact windows for at most %d readings", seed, changes, longest)
	if changes < 20 || longest > 12 {
		t.Errorf("seed %d: got %d changes, %d readings apart, want 20 or more, at most 12", seed, changes, longest)
	}
}

// apart is how far two burn rates of a 99.9 % objective are apart.
func apart(a, b Sums) float64 {
	rate := func(v Sums) *big.Rat {
		if v.Total == 0 {
			return new(big.Rat)
		}
		return big.NewRat(1000*int64(v.Bad), int64(v.Total))
	}
	f, _ := new(big.Rat).Sub(rate(a), rate(b)).Float64()
	return math.Abs(f)
}
