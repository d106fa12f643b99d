package slo

import (
	"strconv"
	"time"
)

// WindowStatus is what happened in a window that ends now.
type WindowStatus struct {
	Window time.Duration
	Sums
	Burn     uint64 // as BurnRate, in thousandths; 0 without events
	Coverage uint32 // observed part of the window, in ppm, rounded down
}

// GroupStatus is all about a group of an objective.
type GroupStatus struct {
	Group string
	// Over is the objective's window; of a composite, the sums of its parts. A period of the calendar is as long as it has
	// lasted.
	Over       WindowStatus
	Verdict    Verdict
	BudgetLeft int64 // as BudgetLeft, in ppm
	// Burns are the rates over StatusWindows.
	Burns []WindowStatus
	State State
	Since time.Time // zero where the state has not changed yet
	// Worst and Best are the verdicts if all lost events were bad, or good; WorstPPB and BestPPB the good parts per billion,
	// rounded down and up. They are those of Over where nothing was lost. A composite has none.
	Worst, Best       Verdict
	WorstPPB, BestPPB uint64
	Uncertainty       string // see UncertaintyText
}

// StatusWindows are the windows of GroupStatus.Burns.
func StatusWindows() []time.Duration {
	const h = time.Hour
	return []time.Duration{5 * time.Minute, 30 * time.Minute, h, 2 * h, 6 * h, 24 * h, 72 * h}
}

// Status is where an objective stands at the last reading, by group. It is empty before the first reading.
func (t *Tracker) Status(objective int) []GroupStatus {
	if !t.clock.started {
		return nil
	}
	o := t.objectives[objective]
	whole := t.edgeOfObjective(o)
	var edges []edge
	for _, w := range StatusWindows() {
		edges = append(edges, t.edgeOf(o, w))
	}
	var all []GroupStatus
	for _, s := range o.sorted {
		v := t.span(o, s, whole)
		g := GroupStatus{
			Group: s.group, Over: v.status(), Verdict: v.verdict(), BudgetLeft: v.budgetLeft(),
			State: s.alert.state, Since: t.since(s),
		}
		for _, e := range edges {
			w := t.span(o, s, e)
			g.Burns = append(g.Burns, w.status())
		}
		if !v.parts {
			r := v.possible(o.Minutes)
			g.Worst, g.Best = Judge(r.most, r.all, o.PPB), Judge(r.least, r.all, o.PPB)
			g.WorstPPB, g.BestPPB = parts(r.most, r.all, Billion, false), parts(r.least, r.all, Billion, true)
			if v.Lost > 0 {
				g.Uncertainty = r.text(v.Bad, v.Total, o.PPB)
			}
		}
		all = append(all, g)
	}
	return all
}

// Over is what a group did in the last w, up to MaxWindow. Of a composite the group is "".
func (t *Tracker) Over(objective int, group string, w time.Duration) WindowStatus {
	o := t.objectives[objective]
	s := o.series[group]
	if s == nil || !t.clock.started {
		return WindowStatus{Window: w}
	}
	v := t.span(o, s, t.edgeOf(o, max(MinWindow, min(w, MaxWindow))))
	return v.status()
}

// Burning tells whether any group of an objective is in StateTicket or StatePage.
func (t *Tracker) Burning(objective int) bool { return t.State(objective) >= StateTicket }

// State is the worst state of the groups of an objective.
func (t *Tracker) State(objective int) State {
	worst := StateOK
	for _, s := range t.objectives[objective].sorted {
		worst = max(worst, s.alert.state)
	}
	return worst
}

// BudgetLeft is the least budget that a group has left, in ppm. All is left where there are no events.
func (t *Tracker) BudgetLeft(objective int) int64 {
	o, left := t.objectives[objective], int64(1_000_000)
	if !t.clock.started {
		return left
	}
	e := t.edgeOfObjective(o)
	for _, s := range o.sorted {
		v := t.span(o, s, e)
		left = min(left, v.budgetLeft())
	}
	return left
}

// BurnRate is the highest rate at which a group spends its budget over the last w, up to MaxWindow, in thousandths.
func (t *Tracker) BurnRate(objective int, w time.Duration) uint64 {
	o, rate := t.objectives[objective], uint64(0)
	if !t.clock.started {
		return 0
	}
	e := t.edgeOf(o, max(MinWindow, min(w, MaxWindow)))
	for _, s := range o.sorted {
		v := t.span(o, s, e)
		rate = max(rate, v.burnRate())
	}
	return rate
}

func (s *span) status() WindowStatus {
	return WindowStatus{Window: s.window, Sums: s.Sums, Burn: s.burnRate(), Coverage: s.coverage()}
}

// possible is how many of all events may have been bad.
type possible struct{ least, most, all uint64 }

func (s *span) possible(minutes bool) possible {
	if minutes {
		return possible{s.Bad, s.Bad + min(s.Lost, s.Total-s.Bad), s.Total}
	}
	return possible{s.Bad, s.Bad + s.Lost, s.Total + s.Lost}
}

// parts is the share of good events, in parts of scale; 0 without events.
func parts(bad, total, scale uint64, up bool) uint64 {
	if total == 0 {
		return 0
	}
	return product(total-bad, scale).over(u128{lo: total}, up)
}

// UncertaintyText is the per cent of good events, as Compliance writes it, and how far off it may be at most for what is
// not known: "99.93 % ± 0.01". It is empty where all is known, or nothing was counted.
func UncertaintyText(c Counts, ppb uint64) string {
	if c.Missing == 0 && c.Doubtful == 0 {
		return ""
	}
	return possible{c.least(), c.most(), c.all()}.text(min(c.Bad, c.Total), c.Total, min(ppb, Billion))
}

func (r possible) text(bad, total, ppb uint64) string {
	if total == 0 {
		return ""
	}
	digits, one := digits(ppb), uint64(1)
	for range digits {
		one *= 10
	}
	middle := parts(bad, total, 100*one, false)
	low, high := parts(r.most, r.all, 100*one, false), parts(r.least, r.all, 100*one, true)
	off := strconv.FormatUint(max(middle-low, high-middle), 10)
	for len(off) <= digits {
		off = "0" + off
	}
	point := len(off) - digits
	return percentDown(bad, total, digits) + " % ± " + off[:point] + "." + off[point:]
}
