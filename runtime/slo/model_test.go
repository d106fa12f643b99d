package slo

import (
	"math/big"
	"sort"
	"time"
)

// model is the whole history of one series and its exact evaluation: every reading is kept, and every answer is worked
// out from all of them by the rules that the package's comments state. It shares no code with the tracker.
type model struct {
	o       Objective
	gap     int64
	times   []int64
	sums    []Sums
	turns   []int64 // boundaries from here on have the counters of this reading
	missed  []int64 // until this reading
	latches []struct {
		on   bool
		last int64
	}
	// exact evaluates windows to the reading instead of the slot.
	exact bool
}

func newModel(o Objective) *model {
	m := &model{o: o, gap: int64(30 * time.Second)}
	m.latches = make([]struct {
		on   bool
		last int64
	}, len(o.Page)+len(o.Ticket))
	return m
}

// add notes a reading.
func (m *model) add(t int64, v Sums) {
	turn, missed := t, int64(0)
	if n := len(m.times) - 1; n >= 0 {
		missed = m.missed[n]
		if d := t - m.times[n]; d > m.gap {
			missed += d
		} else {
			turn = m.times[n] + (d+1)/2
		}
	}
	m.times, m.sums, m.turns, m.missed = append(m.times, t), append(m.sums, v), append(m.turns, turn), append(m.missed, missed)
}

func (m *model) now() int64 { return m.times[len(m.times)-1] }

// before is the sums at a boundary.
func (m *model) before(t int64) Sums {
	i := sort.Search(len(m.turns), func(i int) bool { return m.turns[i] > t })
	if i == 0 {
		return Sums{}
	}
	return m.sums[i-1]
}

// missedAt is the time missed until a boundary, which grows evenly in a gap.
func (m *model) missedAt(t int64) int64 {
	i := sort.Search(len(m.times), func(i int) bool { return m.times[i] >= t })
	switch {
	case i == len(m.times):
		return m.missed[i-1]
	case i == 0:
		return 0
	case m.missed[i] == m.missed[i-1]:
		return m.missed[i]
	}
	return m.missed[i] - (m.times[i] - t)
}

// between is sums inside a slot, from those at its boundaries.
func between(t, slot int64, at func(t int64) Sums) Sums {
	low := t / slot * slot
	v := at(low)
	if low == t {
		return v
	}
	d := at(low + slot).minus(v)
	part := func(d uint64) uint64 {
		p := new(big.Int).SetUint64(d)
		return p.Mul(p, big.NewInt(t-low)).Div(p, big.NewInt(slot)).Uint64()
	}
	return v.plus(Sums{part(d.Bad), part(d.Total), part(d.Lost)})
}

type modelWindow struct {
	Sums
	length, observed int64
}

func slotOf(w time.Duration) int64 {
	switch {
	case w <= 6*time.Hour:
		return int64(10 * time.Second)
	case w <= 72*time.Hour:
		return int64(time.Minute)
	}
	return int64(10 * time.Minute)
}

func (m *model) window(w time.Duration) modelWindow {
	start, last := m.now()-int64(w), len(m.times)-1
	slot := slotOf(w)
	if m.exact {
		slot = 1
	}
	v := modelWindow{length: int64(w), Sums: m.sums[last].minus(between(start, slot, m.before))}
	v.Bad = min(v.Bad, v.Total)
	missed := int64(0)
	from := max(start, m.times[0])
	if start >= m.times[0] && m.missed[last] > 0 {
		missed = int64(between(start, slot, func(t int64) Sums { return Sums{Bad: uint64(m.missedAt(t)) / 1e6} }).Bad) * 1e6
	}
	v.observed = min(m.now()-from-(m.missed[last]-missed), v.length)
	return v
}

// compare is the sign of the burn rate less num/den.
func (m *model) compare(v modelWindow, num, den uint64) int {
	n := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	left := n(v.Bad)
	left.Mul(left, n(Billion)).Mul(left, n(den))
	right := n(v.Total)
	right.Mul(right, n(Billion-m.o.PPB)).Mul(right, n(num))
	return left.Cmp(right)
}

// decide is the state after the last reading.
func (m *model) decide() State {
	last := len(m.times) - 1
	observed := m.now() - m.missed[last]
	state := StateOK
	for i := range m.latches {
		b, severity, minBad := Burn{}, StatePage, uint64(3)
		if i < len(m.o.Page) {
			b = m.o.Page[i]
		} else {
			b, severity, minBad = m.o.Ticket[i-len(m.o.Page)], StateTicket, 2
		}
		long, short := m.window(b.Long), m.window(b.Short)
		above := func(v modelWindow) bool {
			return v.Total > 0 && m.compare(v, b.Num, b.Den) > 0 || v.Total == 0 && m.o.NoData == NoDataBad
		}
		guard := long.observed >= min(int64(b.Short), long.length)
		bad := m.o.NoData == NoDataBad
		switch {
		case m.o.MinEvents > 0:
			guard = guard && (short.Total >= m.o.MinEvents || bad && short.Total == 0)
		default:
			guard = guard && (long.Bad >= minBad || bad && long.Total == 0)
		}
		if m.o.PPB == Billion && long.Bad > 0 && short.Bad > 0 {
			guard = true
		}
		l := &m.latches[i]
		if guard && above(long) && above(short) {
			l.on, l.last = true, observed
		} else if l.on {
			quiet := short.Total > 0 && (short.Bad == 0 || m.compare(short, 9*b.Num, 10*b.Den) < 0)
			if quiet && 2*short.observed >= short.length || short.Total == 0 && m.o.NoData == NoDataGood ||
				observed-l.last >= int64(b.Short) {
				l.on = false
			}
		}
		if l.on {
			state = max(state, severity)
		}
	}
	if state == StateOK && m.o.NoData == NoDataAlert {
		w := 5 * time.Minute
		for i, b := range append(append([]Burn{}, m.o.Page...), m.o.Ticket...) {
			if i == 0 || b.Short < w {
				w = b.Short
			}
		}
		if v := m.window(w); v.Total == 0 && v.observed >= v.length {
			state = StateNoData
		}
	}
	return state
}
