package slo

import (
	"math/rand/v2"
	"testing"
	"time"
)

// stream is a random series of readings and the truth about it.
type stream struct {
	rng     *rand.Rand
	d       time.Duration // since noon
	shown   Sums          // by the kernel
	truth   Sums
	read    Sums // shown at the last reading
	counted Sums // truth then
	reset   bool // since then
}

func newStream(seed uint64) *stream { return &stream{rng: rand.New(rand.NewPCG(seed, 2))} }

// step waits and counts. Sometimes the wait is a gap, sometimes the counters begin anew.
func (s *stream) step(quick bool) {
	ms := time.Duration(200+s.rng.IntN(20_000)) * time.Millisecond
	switch s.rng.IntN(200) {
	case 0:
		ms = time.Duration(s.rng.IntN(900)) * time.Second
	case 1:
		if !quick {
			ms = time.Duration(s.rng.IntN(30)) * time.Hour
		}
	case 2, 3, 4, 5:
		ms = 10*time.Second - s.d%(10*time.Second) // on a boundary
	}
	s.d += ms
	if s.rng.IntN(100) == 0 && s.truth == s.counted { // else what nobody read is lost
		s.shown, s.reset = Sums{}, true
	}
	n := Sums{Total: uint64(s.rng.IntN(40)), Lost: uint64(s.rng.IntN(3) / 2)}
	if s.rng.IntN(8) == 0 {
		n.Total <<= s.rng.IntN(34)
	}
	if n.Total > 0 && s.rng.IntN(3) == 0 {
		n.Bad = s.rng.Uint64N(n.Total + 1)
	}
	s.shown, s.truth = s.shown.plus(n), s.truth.plus(n)
}

// reading is what the kernel shows. Counters that began anew and are past what was read last cannot be told from ones that
// went on, so such ones are taken to have gone on.
func (s *stream) reading() []Reading {
	d := s.truth.minus(s.counted)
	if s.reset && s.shown.Total >= s.read.Total && s.shown.Bad >= s.read.Bad {
		s.shown.Bad, s.shown.Total = s.read.Bad+d.Bad, s.read.Total+d.Total
	}
	if s.reset && s.shown.Lost >= s.read.Lost {
		s.shown.Lost = s.read.Lost + d.Lost
	}
	s.read, s.counted, s.reset = s.shown, s.truth, false
	return []Reading{{Bad: s.shown.Bad, Total: s.shown.Total, Lost: s.shown.Lost}}
}

// TestWindowsOfRandomReadings compares windows, coverage and states with a model that keeps every reading: with gaps,
// counters that begin anew, readings without the group and readings out of order.
func TestWindowsOfRandomReadings(t *testing.T) {
	n := 30
	if soak() {
		n = 2000
	}
	for seed := range uint64(n) {
		o := Objective{
			Name: "o", PPB: 990_000_000, Window: Window{Rolling: MaxWindow}, NoData: NoDataPolicy(seed % 4),
			Page: []Burn{{3, 2, 5 * time.Minute, 30 * time.Second}}, Ticket: []Burn{{11, 10, time.Hour, 7 * time.Minute}},
		}
		if seed%3 == 0 {
			o.MinEvents = 50
		}
		if seed%7 == 0 {
			o.PPB = Billion
		}
		s, m, tr := newStream(seed), newModel(o), tracker(t, o)
		state := StateOK
		for i := range 2500 {
			if i > 0 {
				s.step(seed%2 == 0)
			}
			var readings []Reading
			if s.rng.IntN(10) > 0 {
				readings = s.reading()
			}
			for _, c := range tr.Observe(at(s.d), readings) {
				if c.From != state || !c.At.Equal(noon.Add(s.d)) {
					t.Fatalf("seed %d: reading %d: got %s -> %s at %s, want from %s", seed, i, c.From, c.To, c.At, state)
				}
				state = c.To
			}
			if s.rng.IntN(10) == 0 && i > 0 {
				if c := tr.Observe(at(s.d-time.Millisecond), one(0, 1)); c != nil {
					t.Fatalf("seed %d: reading %d: a reading out of order changed %+v", seed, i, c)
				}
			}
			m.add(noon.Add(s.d).UnixNano(), s.counted)
			if want := m.decide(); state != want || tr.State(0) != want {
				t.Fatalf("seed %d: reading %d: got %s, want %s", seed, i, state, want)
			}
			for _, w := range []time.Duration{10 * time.Second, 37 * time.Second, 5 * time.Minute, 6 * time.Hour, 25 * time.Hour, 72 * time.Hour, MaxWindow} {
				got, want := tr.Over(0, "", w), m.window(w)
				// A gap that ends inside a slot is spread in it, in ms.
				if coverage := uint32(want.observed / 1000 * 1_000_000 / (want.length / 1000)); got.Sums != want.Sums || got.Coverage != coverage {
					t.Fatalf("seed %d: reading %d after %s: %s: got %+v %d, want %+v %d", seed, i, s.d, w, got.Sums, got.Coverage, want.Sums, coverage)
				}
			}
		}
	}
}

// TestStepsOfTheClock compares a tracker whose wall clock is stepped with one whose is not. Steps by multiples of ten
// minutes change nothing but dates. Others move the slots: windows then are right but for a hundredth of their length
// and a slot.
func TestStepsOfTheClock(t *testing.T) {
	for seed := range uint64(12) {
		o := Objective{PPB: 990_000_000, Page: DefaultPage(), Ticket: DefaultTicket()}
		s, plain, stepped := newStream(seed), tracker(t, o), tracker(t, o)
		var ahead time.Duration
		type moment struct {
			d time.Duration
			v Sums
		}
		var all []moment
		for i := range 3000 {
			if i > 0 {
				s.step(seed%2 == 0)
			}
			aligned := seed%3 != 0
			if s.rng.IntN(100) == 0 {
				ahead += time.Duration(s.rng.IntN(200)-100) * 10 * time.Minute
				if !aligned {
					ahead += time.Duration(s.rng.IntN(600_000)) * time.Millisecond
				}
			}
			now := at(s.d)
			readings := s.reading()
			a := plain.Observe(now, readings)
			now.Wall = now.Wall.Add(ahead)
			b := stepped.Observe(now, readings)
			all = append(all, moment{s.d, s.truth})
			if aligned && len(a) != len(b) {
				t.Fatalf("seed %d: reading %d: got %d changes, want %d", seed, i, len(b), len(a))
			}
			if off := stepped.clock.label(stepped.clock.now).Sub(now.Wall).Abs(); off > 5*time.Minute {
				t.Fatalf("seed %d: reading %d: the label is %s off", seed, i, off)
			}
			for _, w := range []time.Duration{time.Minute, time.Hour, 30 * time.Hour, MaxWindow} {
				got := stepped.Over(0, "", w)
				if aligned {
					if want := plain.Over(0, "", w); got != want {
						t.Fatalf("seed %d: reading %d: %s: got %+v, want %+v", seed, i, w, got, want)
					}
					continue
				}
				slack := w/100 + time.Duration(slotOf(w)) + time.Minute
				least, most := uint64(0), s.truth.Total
				for _, m := range all {
					if m.d >= s.d-w+slack && least == 0 {
						least = s.truth.Total - m.v.Total
					}
					if m.d <= s.d-w-slack {
						most = s.truth.Total - m.v.Total
					}
				}
				if got.Total < least || got.Total > most {
					t.Fatalf("seed %d: reading %d after %s: %s: got %d, want %d to %d", seed, i, s.d, w, got.Total, least, most)
				}
			}
		}
	}
}

// TestSmallStepIsFollowed: after a step of 2 s the slots are those of the wall clock again within 200 s.
func TestSmallStepIsFollowed(t *testing.T) {
	for _, step := range []time.Duration{2 * time.Second, -2 * time.Second} {
		tr := tracker(t, Objective{PPB: 990_000_000})
		for i := range 60 {
			now := at(time.Duration(i) * 5 * time.Second)
			if i > 10 {
				now.Wall = now.Wall.Add(step)
			}
			before := tr.clock.now
			tr.Observe(now, nil)
			off := now.Wall.Sub(tr.clock.label(tr.clock.now)).Abs()
			if i > 0 && tr.clock.now <= before || i == 11 && off != 2*time.Second-50*time.Millisecond || i > 51 && off != 0 || tr.clock.shift != 0 {
				t.Fatalf("step %s: reading %d: moved by %d, %s off", step, i, tr.clock.now-before, off)
			}
		}
		if c := tr.Over(0, "", 5*time.Minute).Coverage; c < 970_000 {
			t.Errorf("step %s: got a coverage of %d ppm", step, c)
		}
	}
}

func TestResets(t *testing.T) {
	tr := tracker(t, Objective{PPB: 990_000_000, Grouped: true})
	want := Sums{}
	for i, r := range []struct{ bad, total, lost, bad2, total2, lost2 uint64 }{
		{1, 10, 0, 1, 10, 0},
		{3, 20, 1, 3, 20, 1},
		{1, 25, 1, 4, 45, 1},  // bad went down: the counters began anew, total too
		{1, 5, 2, 5, 50, 2},   // total went down
		{9, 7, 0, 11, 52, 2},  // bad above total is total; lost began anew without an event
		{7, 7, 3, 11, 52, 5},  // lost is a counter of its own
		{8, 20, 3, 12, 65, 5}, //
	} {
		tr.Observe(at(time.Duration(i)*time.Second), []Reading{{Group: "g", Bad: r.bad, Total: r.total, Lost: r.lost}})
		want = Sums{r.bad2, r.total2, r.lost2}
		if got := tr.Over(0, "g", time.Minute).Sums; got != want {
			t.Errorf("reading %d: got %+v, want %+v", i, got, want)
		}
	}
	if got := tr.Over(0, "no such group", time.Minute).Sums; got != (Sums{}) {
		t.Errorf("got %+v of a group that is not there", got)
	}
}

func TestForgottenGroups(t *testing.T) {
	tr := tracker(t, Objective{PPB: 990_000_000, Grouped: true}, Objective{PPB: 990_000_000, Grouped: true, Window: Window{Period: Quarter}})
	tr.Observe(at(0), []Reading{{Group: "old", Total: 5}, {Group: "new", Total: 5}, {Objective: 1, Group: "old", Total: 5}})
	var total uint64 = 5
	for h := range 24 * 130 {
		total++
		tr.Observe(at(time.Duration(h)*time.Hour), []Reading{{Group: "new", Total: total}})
		old := len(tr.Status(0)) + len(tr.Status(1))
		if d := h / 24; d < 30 && old != 3 || d > 31 && d < 70 && old != 2 || d > 121 && old != 1 {
			t.Fatalf("day %d: got %d groups", h/24, old)
		}
	}
}

// TestMemory measures a series after 34 days of events in every slot, and one after a minute.
func TestMemory(t *testing.T) {
	size := func(r *rings) int {
		n := 0
		for i := range r {
			n += 56 * cap(r[i].chunks)
			for _, c := range r[i].chunks {
				n += 16 * cap(c.points)
			}
		}
		return n
	}
	tr := tracker(t, Objective{PPB: 999_000_000})
	for i := range uint64(34 * 24 * 360) {
		tr.Observe(at(time.Duration(i)*10*time.Second), one(i/10, i*500))
		if n := size(&tr.objectives[0].series[""].rings); i == 6 && n > 2048 {
			t.Errorf("a series takes %d bytes after a minute, want at most 2 KB", n)
		}
	}
	n, missed := size(&tr.objectives[0].series[""].rings), size(&tr.missed)
	t.Logf("a series takes %d bytes, missed time %d; the file %d", n, missed, len(tr.encode()))
	if n > 190_000 || missed > 1000 {
		t.Errorf("a series takes %d bytes, missed time %d; want at most 190 KB, 1 KB", n, missed)
	}
	if n := len(tr.encode()); n > 36_000 {
		t.Errorf("a state takes %d bytes", n)
	}
}
