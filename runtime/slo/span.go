package slo

import (
	"math"
	"math/big"
	"time"
)

// edge is where a window starts now.
type edge struct {
	window           time.Duration
	ring             int // or fromPeriod
	start            int64
	length, observed int64 // ns
}

// fromPeriod is the edge at the start of the period of the calendar.
const fromPeriod = -1

// edgeOf finds the start of a rolling window that ends now.
func (t *Tracker) edgeOf(o *tracked, window time.Duration) edge {
	e := edge{window: window, start: t.clock.now - int64(window)}
	e.ring = reach(t.clock.now, e.start)
	return t.edge(o, e, t.missedAt(e.ring, e.start))
}

// edgeOfObjective finds the start of the window of an objective.
func (t *Tracker) edgeOfObjective(o *tracked) edge {
	c := o.calendar
	if c.period == NoPeriod {
		return t.edgeOf(o, o.Window.Rolling)
	}
	start := min(c.start-t.clock.shift, t.clock.now)
	return t.edge(o, edge{window: time.Duration(t.clock.now - start), ring: fromPeriod, start: start}, c.missed)
}

// edge fills in the length and how much of it was observed, by all parts where the objective is a composite.
func (t *Tracker) edge(o *tracked, e edge, missed int64) edge {
	e.length = t.clock.now - e.start
	for _, p := range o.Parts {
		if part := t.objectives[p.Objective]; part.since > o.since {
			o = part
		}
	}
	start := e.start
	if start < o.since {
		start, missed = o.since, o.before
	}
	e.observed = max(0, min(t.clock.now-start-(t.missedNS-missed), e.length))
	return e
}

// over is what a series counted since an edge.
func (s *series) over(e edge) Sums {
	if e.ring == fromPeriod {
		return s.sum.minus(s.start)
	}
	return s.sum.minus(s.rings.at(e.ring, e.start))
}

// span is what an objective did in a window.
type span struct {
	edge
	Sums
	ppb     uint64
	mean    *big.Rat // of composites: the burn rate; nil without data
	endless bool     // of composites: a part that allows no bad event has one, so that mean has no bound
	parts   bool
}

// span is a window of a series, or of a composite over all its parts.
func (t *Tracker) span(o *tracked, s *series, e edge) span {
	if len(o.Parts) > 0 {
		return t.composite(o, e)
	}
	v := s.over(e)
	v.Bad = min(v.Bad, v.Total)
	return span{edge: e, Sums: v, ppb: o.PPB}
}

// composite is the weighted mean of the burn rates of the parts that have data.
func (t *Tracker) composite(o *tracked, e edge) span {
	whole := span{edge: e, parts: true}
	mean, weights := new(big.Rat), new(big.Int)
	for _, p := range o.Parts {
		part := t.objectives[p.Objective]
		var v Sums
		for _, s := range part.sorted {
			v = v.plus(s.over(e))
		}
		v.Bad = min(v.Bad, v.Total)
		whole.Sums = whole.plus(v)
		if v.Total == 0 || p.Weight == 0 {
			continue
		}
		weights.Add(weights, number(p.Weight))
		if part.PPB == Billion {
			whole.endless = whole.endless || v.Bad > 0
			continue
		}
		spent := number(v.Bad)
		spent.Mul(spent, number(Billion*p.Weight))
		allowed := number(v.Total)
		allowed.Mul(allowed, number(Billion-part.PPB))
		mean.Add(mean, new(big.Rat).SetFrac(spent, allowed))
	}
	if weights.Sign() > 0 {
		whole.mean = mean.Quo(mean, new(big.Rat).SetInt(weights))
	}
	return whole
}

func number(v uint64) *big.Int { return new(big.Int).SetUint64(v) }

// empty tells that there is no data.
func (s *span) empty() bool { return s.parts && s.mean == nil || s.Total == 0 }

// boundless tells that a bad event has no place in any budget.
func (s *span) boundless() bool { return s.endless || !s.parts && s.ppb == Billion && s.Bad > 0 }

// above tells whether the burn rate is more than a factor. Not without data.
func (s *span) above(b Burn) bool {
	switch {
	case s.empty():
		return false
	case s.parts:
		return s.endless || s.mean.Cmp(fraction(b.Num, b.Den)) > 0
	}
	return product(s.Total, b.Num*(Billion-s.ppb)).less(product(s.Bad, Billion*b.Den))
}

// quiet tells whether the burn rate is less than nine tenths of a factor. Not without data.
func (s *span) quiet(b Burn) bool {
	switch {
	case s.empty():
		return false
	case s.parts:
		return !s.endless && s.mean.Cmp(fraction(9*b.Num, 10*b.Den)) < 0
	}
	return s.Bad == 0 || product(s.Bad, 10*Billion*b.Den).less(product(s.Total, 9*b.Num*(Billion-s.ppb)))
}

func fraction(num, den uint64) *big.Rat { return new(big.Rat).SetFrac(number(num), number(den)) }

// burnRate is as BurnRate.
func (s *span) burnRate() uint64 {
	switch {
	case !s.parts:
		return BurnRate(s.Bad, s.Total, s.ppb)
	case s.endless:
		return math.MaxUint64
	case s.mean == nil:
		return 0
	}
	return scaled(s.mean, 1000, false)
}

// budgetLeft is as BudgetLeft.
func (s *span) budgetLeft() int64 {
	switch {
	case !s.parts:
		return BudgetLeft(s.Bad, s.Total, s.ppb)
	case s.endless:
		return math.MinInt64
	case s.mean == nil:
		return 1_000_000
	}
	spent := scaled(s.mean, 1_000_000, true)
	if spent >= math.MaxInt64 {
		return math.MinInt64
	}
	return 1_000_000 - int64(spent)
}

func (s *span) verdict() Verdict {
	switch {
	case s.empty():
		return NoData
	case !s.parts:
		return Judge(s.Bad, s.Total, s.ppb)
	case s.endless || s.mean.Cmp(big.NewRat(1, 1)) > 0:
		return Breached
	}
	return Met
}

// scaled is r*scale as a whole number, at most math.MaxUint64.
func scaled(r *big.Rat, scale uint64, up bool) uint64 {
	n := new(big.Int).Mul(r.Num(), number(scale))
	q, rest := n.QuoRem(n, r.Denom(), new(big.Int))
	if up && rest.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	if !q.IsUint64() {
		return math.MaxUint64
	}
	return q.Uint64()
}

// coverage is the observed part of a window in ppm, rounded down.
func (e edge) coverage() uint32 {
	if e.length <= 0 {
		return 0
	}
	return uint32(product(uint64(e.observed), 1_000_000).over(u128{lo: uint64(e.length)}, false))
}
