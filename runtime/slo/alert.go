package slo

import "time"

// Alerts.
//
// A condition (a burn of the page or the ticket) fires while the burn rate is above its factor over both of its windows,
// and these guards hold:
//
//   - The time observed in the long window is at least the short window: after a start, nothing is known before.
//   - The short window has MinEvents events. Where MinEvents is 0: the long window has 3 bad events for a page, 2 for a
//     ticket. For a service that meets 99.9 % exactly with one event a minute, the burn of 14.4 over 1 h and 5 min
//     otherwise pages 43 times in 30 days, as one bad event is above it; with 2 bad events, 2.6 times; with 3, 0.1 times.
//   - An objective of 100 % has no guard: any bad event in both windows fires.
//
// Where no data is bad, a window without events is above every factor, and the guard that counts in it does not apply.
//
// A condition that fired holds on until the burn over the short window is below nine tenths of the factor, in a short
// window that was observed for at least half; or until it has not fired for the length of the short window, observed
// time only: an alert neither ends nor begins because nobody looked. A rate that swings around the factor so gives one
// alert.
//
// The state is the worst of the conditions that hold.

// Guards for MinEvents 0.
const (
	minBadPage   = 3
	minBadTicket = 2
)

// condition is a burn with the numbers of its windows in tracked.edges.
type condition struct {
	Burn
	severity    State
	long, short int
}

// latch is a condition of a series.
type latch struct {
	on   bool
	last int64 // when it last fired, in observed time
}

// alert is the state of a series.
type alert struct {
	state   State
	since   int64 // on the timeline
	cause   int   // the condition of the state, where it is one
	latches []latch
}

// Change is a state that changed.
type Change struct {
	Objective   int
	Name, Group string
	From, To    State
	At          time.Time
	Since       time.Time // when From began
	// Cause is the condition that holds, or the one that held last where none does; no factor where there was none.
	Cause       Burn
	Long, Short WindowStatus // over its windows
	BudgetLeft  int64        // of the objective's window, in ppm
	Coverage    uint32       // of the objective's window, in ppm
}

// conditions lists the burns and the windows they need, each once.
func (o *tracked) conditions() {
	window := func(w time.Duration) int {
		for i, e := range o.edges {
			if e.window == w {
				return i
			}
		}
		o.edges = append(o.edges, edge{window: w})
		return len(o.edges) - 1
	}
	for i, b := range o.burns() {
		c := condition{Burn: b, severity: StateTicket, long: window(b.Long), short: window(b.Short)}
		if i < len(o.Page) {
			c.severity = StatePage
		}
		o.conds = append(o.conds, c)
	}
}

// silence is the window whose emptiness is no data.
func (o *tracked) silence() time.Duration {
	w := time.Duration(0)
	for _, c := range o.conds {
		if w == 0 || c.Short < w {
			w = c.Short
		}
	}
	if w == 0 {
		w = 5 * time.Minute
	}
	return w
}

// decide brings all alerts up to date.
func (t *Tracker) decide(changes []Change) []Change {
	observed := t.clock.now - t.missedNS
	for _, o := range t.objectives {
		for i := range o.edges {
			o.edges[i] = t.edgeOf(o, o.edges[i].window)
		}
		var silence edge
		if o.NoData == NoDataAlert {
			silence = t.edgeOf(o, o.silence())
		}
		for _, s := range o.sorted {
			state, cause := StateOK, -1
			for i := range o.conds {
				c, l := &o.conds[i], &s.alert.latches[i]
				if t.hold(o, s, c, l, observed); l.on && c.severity > state {
					state, cause = c.severity, i
				}
			}
			if state == StateOK && o.NoData == NoDataAlert && silence.observed >= silence.length {
				if v := t.span(o, s, silence); v.empty() {
					state = StateNoData
				}
			}
			if cause >= 0 {
				s.alert.cause = cause
			}
			if state != s.alert.state {
				changes = append(changes, t.change(o, s, state))
				s.alert.state, s.alert.since = state, t.clock.now
			}
		}
	}
	return changes
}

// hold brings one condition up to date.
func (t *Tracker) hold(o *tracked, s *series, c *condition, l *latch, observed int64) {
	short := t.span(o, s, o.edges[c.short])
	if !l.on && short.Bad == 0 && o.NoData != NoDataBad {
		return // the usual case
	}
	long := t.span(o, s, o.edges[c.long])
	switch {
	case o.fires(c, &long, &short):
		l.on, l.last = true, observed
	case !l.on:
	case short.quiet(c.Burn) && 2*short.observed >= short.length,
		short.empty() && o.NoData == NoDataGood,
		observed-l.last >= int64(c.Short):
		l.on = false
	}
}

// fires tells whether a condition is true, guards included.
func (o *tracked) fires(c *condition, long, short *span) bool {
	if long.boundless() && short.boundless() {
		return true
	}
	if long.observed < min(int64(c.Short), long.length) {
		return false
	}
	absent := o.NoData == NoDataBad
	minBad := uint64(minBadTicket)
	if c.severity == StatePage {
		minBad = minBadPage
	}
	switch {
	case absent && short.empty(): // what counts in it is met
	case o.MinEvents > 0 && short.Total < o.MinEvents:
		return false
	}
	switch {
	case absent && long.empty():
	case o.MinEvents == 0 && long.Bad < minBad:
		return false
	}
	return (long.above(c.Burn) || absent && long.empty()) && (short.above(c.Burn) || absent && short.empty())
}

// change reports a new state.
func (t *Tracker) change(o *tracked, s *series, to State) Change {
	whole := t.span(o, s, t.edgeOfObjective(o))
	c := Change{
		Objective: o.number, Name: o.Name, Group: s.group, From: s.alert.state, To: to,
		At: t.clock.label(t.clock.now), Since: t.since(s), BudgetLeft: whole.budgetLeft(), Coverage: whole.coverage(),
	}
	if s.alert.cause < len(o.conds) && (to >= StateTicket || s.alert.state >= StateTicket) {
		cond := o.conds[s.alert.cause]
		long, short := t.span(o, s, t.edgeOf(o, cond.Long)), t.span(o, s, t.edgeOf(o, cond.Short))
		c.Cause, c.Long, c.Short = cond.Burn, long.status(), short.status()
	}
	return c
}

// since is when the state of a series began.
func (t *Tracker) since(s *series) time.Time {
	if s.alert.since == 0 {
		return time.Time{}
	}
	return t.clock.label(s.alert.since)
}
