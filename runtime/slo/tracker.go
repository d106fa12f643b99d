package slo

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Tracker keeps the history of objectives and answers what it means now: windows, budgets, burn rates, alerts, coverage.
//
// Algorithm: each series (objective and group) has one set of counters that never go back, summed from what the kernel
// shows, and rings of their values at the boundaries of slots of wall time (ring.go): 10 s for 6 h, 1 min for 3 d, 10 min
// for 30 d. A window is the difference between the counters now and at its start, in the finest ring that reaches there:
// exact where the start is a boundary; inside a slot its events are taken as spread evenly, so at most a quarter of a
// slot's worth is off, and that only where their rate changes in it. A period of the calendar is the difference to the
// counters at its start, which are kept, so it is exact at any length. What counters were at a boundary is what the
// reading nearest to it showed.
//
// Time is a timeline of its own (clock.go). Between two readings more than Gap apart nothing was observed: the counters
// count as unchanged up to the later reading, and the time as missed, which is a series of its own, in ms. The coverage of
// a window is its length less what was missed and less what was before the first reading. The first reading of a
// tracker that resumes (store.go) ends such a gap, however short.
//
// Invariants: counters of a series never go back; a window of up to 6 h is exact at boundaries of 10 s; decisions are
// integer arithmetic; without events there is no verdict; the same readings give the same answers.
//
// Memory is 16 bytes a point: up to 10,800 points, 185 KB a series after 30 days of events in every slot; 2 KB after a
// minute; a series in which little happens has few points. A series that the kernel does not show for 30 days, and that
// counts for nothing any more, is forgotten.
//
// The tracker has no clock, no lock and no goroutine: the caller hands in time, and one caller at a time. To begin, hand in
// a reading without readings when the probes are attached: coverage starts there.
type Tracker struct {
	clock      timeline
	objectives []*tracked
	options    Options
	missed     rings // Sums.Bad is the time that was not observed, in ms
	missedNS   int64 // all of it, in whole ms
	resumed    bool  // the next reading is the first one after a start from a file
	continued  bool  // and the kernel's counters went on meanwhile
	pruned     int64
}

// Options are the settings of a tracker.
type Options struct {
	// Gap is the longest time between two readings that counts as observed; 0 is 30 s.
	Gap time.Duration
	// BootID tells boots apart (/proc/sys/kernel/random/boot_id), so that a saved boot clock is used in its boot only.
	BootID string
	// Pinned says that the kernel's counters outlive the process, so that those of a saved state go on in the same boot,
	// observed throughout. Otherwise they begin at 0 with each process.
	Pinned bool
}

// Reading is what the kernel shows of one group now: counters since some beginning. A counter that goes down has begun
// anew and is added on top. At most one reading for a group at a time.
type Reading struct {
	Objective        int
	Group            string // label values joined by \x00
	Bad, Total, Lost uint64 // Lost: events that happened, are not in Total and may have been bad
}

// tracked is an objective with its series.
type tracked struct {
	Objective
	number   int
	conds    []condition
	edges    []edge // where the windows of conds start now
	calendar calendar
	started  bool
	since    int64 // first observed
	before   int64 // time missed until then
	series   map[string]*series
	sorted   []*series
}

// series is a group of an objective.
type series struct {
	group string
	raw   Sums // what the kernel showed last
	next  Sums // events, this reading included
	event Sums // events, up to the reading before
	sum   Sums // what the objective counts: event, or minutes
	start Sums // sum at the start of the period
	close Sums // event at the end of the last minute
	rings rings
	seen  int64 // when the kernel showed it last
	alert alert
}

// interval is the time between two readings.
type interval struct {
	from, to int64
	turn     int64 // boundaries from here on have the counters of the later reading
	missed   bool
}

// NewTracker makes a tracker without history.
func NewTracker(objectives []Objective, options Options) (*Tracker, error) {
	objectives = slices.Clone(objectives)
	for i, o := range objectives {
		if len(o.Parts) > 0 && o.Window == (Window{}) && o.Parts[0].Objective >= 0 && o.Parts[0].Objective < len(objectives) {
			objectives[i].Window = objectives[o.Parts[0].Objective].Window
		}
	}
	if err := check(objectives); err != nil {
		return nil, err
	}
	if options.Gap <= 0 {
		options.Gap = 30 * time.Second
	}
	t := &Tracker{options: options}
	for i, o := range objectives {
		k := &tracked{Objective: o, number: i, series: map[string]*series{}}
		if o.Window.Period != NoPeriod {
			zone, err := time.LoadLocation(o.Window.Zone)
			if err != nil {
				return nil, fmt.Errorf("load time zone: %w", err)
			}
			k.calendar = calendar{period: o.Window.Period, zone: zone}
		}
		k.conditions()
		if !o.Grouped {
			k.group("")
		}
		t.objectives = append(t.objectives, k)
	}
	return t, nil
}

// group finds or makes the series of a group.
func (o *tracked) group(name string) *series {
	s := o.series[name]
	if s == nil {
		s = &series{group: name, alert: alert{latches: make([]latch, len(o.conds))}}
		o.series[name] = s
		at, _ := slices.BinarySearchFunc(o.sorted, name, func(s *series, name string) int { return strings.Compare(s.group, name) })
		o.sorted = slices.Insert(o.sorted, at, s)
	}
	return s
}

// Observe takes in what the kernel shows at an instant and returns the states that changed, in the order of objectives
// and groups. A group that is not shown keeps its counters. An instant before the last one changes nothing: what came
// out of order must not be taken for counters that went down.
func (t *Tracker) Observe(at Instant, readings []Reading) []Change {
	first, from := !t.clock.started, t.clock.now
	if !t.clock.advance(at) {
		return nil
	}
	if first {
		from = t.clock.now
	}
	now := t.clock.now
	step := interval{from: from, to: now, turn: from + (now-from+1)/2, missed: first || now-from > int64(t.options.Gap)}
	if t.resumed {
		step.missed, t.resumed = !t.continued, false
	}
	if step.missed {
		step.turn = now
		t.miss(from, now)
	}
	for _, r := range readings {
		t.objectives[r.Objective].group(r.Group).read(r, now)
	}
	for _, o := range t.objectives {
		if !o.started {
			o.started, o.since, o.before = true, now, t.missedNS
		}
		turned, start := t.turnPeriod(o, step)
		for _, s := range o.sorted {
			t.move(o, s, step, turned, start)
		}
	}
	changes := t.decide(nil)
	if now-t.pruned > int64(time.Hour) {
		t.pruned = now
		changes = t.prune(changes)
	}
	return changes
}

// read adds what a counter shows.
func (s *series) read(r Reading, now int64) {
	shown, since := Sums{min(r.Bad, r.Total), r.Total, r.Lost}, s.raw
	if shown.Total < since.Total || shown.Bad < since.Bad {
		since.Bad, since.Total = 0, 0
	}
	if shown.Lost < since.Lost {
		since.Lost = 0
	}
	s.next, s.raw, s.seen = s.next.plus(shown.minus(since)), shown, now
}

// miss notes that nothing was observed from one moment to another. Boundaries in between get their part of it, those that
// no ring reaches any more do not.
func (t *Tracker) miss(from, to int64) {
	if to <= from {
		return
	}
	// Rounded up, so that all after the gap reads as observed in full.
	const ms = int64(time.Millisecond)
	whole := ceilDiv(to-from, ms) * ms
	milli := func(d int64) Sums { return Sums{Bad: uint64((t.missedNS + d) / ms)} }
	for i, res := range resolutions {
		last := ceilDiv(to, res.slot)
		horizon := last - res.span/res.slot - 2
		for slot := max(ceilDiv(from, res.slot), horizon); slot < last; slot++ {
			t.missed[i].put(slot, milli(slot*res.slot-from), horizon)
		}
		t.missed[i].put(last, milli(whole), horizon)
	}
	t.missedNS += whole
}

// missedAt is the time missed until a moment.
func (t *Tracker) missedAt(ring int, moment int64) int64 {
	return int64(t.missed.at(ring, moment).Bad) * int64(time.Millisecond)
}

// turnPeriod begins a new period where it is time to. It tells whether it did, and the moment on the timeline.
func (t *Tracker) turnPeriod(o *tracked, step interval) (bool, int64) {
	c := &o.calendar
	if c.period == NoPeriod {
		return false, 0
	}
	wall := t.clock.wall()
	switch {
	case c.end == 0 || wall < c.start-holdPeriod:
		// The first reading, or another window, or the clock was wrong. The rings know the counters at the start of the
		// period to a slot, or the oldest there are.
		c.set(wall)
		t.restart(o)
		return false, 0
	case wall < c.end:
		return false, 0
	}
	c.set(wall)
	start := min(max(c.start-t.clock.shift, step.from), step.to)
	c.missed = t.missedNS
	if step.missed {
		c.missed -= step.to - start
	}
	return true, start
}

// restart takes the counters at the start of the period from the rings.
func (t *Tracker) restart(o *tracked) {
	start := o.calendar.start - t.clock.shift
	ring := reach(t.clock.now, start)
	o.calendar.missed = t.missedAt(ring, start)
	for _, s := range o.sorted {
		s.start = s.rings.at(ring, start)
	}
}

// move brings a series to the end of an interval. turned says that a period began at start.
func (t *Tracker) move(o *tracked, s *series, step interval, turned bool, start int64) {
	at := func(boundary int64) Sums {
		if boundary >= step.turn {
			return s.next
		}
		return s.event
	}
	if !o.Minutes {
		if turned {
			s.start = at(start)
		}
		if s.next != s.event {
			s.sum = s.next
			s.rings.put(step.turn, s.sum)
		}
		s.event = s.next
		return
	}
	const minute = int64(time.Minute)
	for b := (floorDiv(step.from, minute) + 1) * minute; b <= step.to; b += minute {
		if turned && start < b {
			s.start, turned = s.sum, false
		}
		old := s.sum
		if s.closeMinute(at(b), t.observedMinute(o, b), o.NoData); s.sum != old {
			s.rings.put(b, s.sum)
		}
		if next := floorDiv(step.to, minute) * minute; step.missed && b < next-minute {
			b = next - minute // nothing of the minutes in between was observed
		}
	}
	if turned {
		s.start = s.sum
	}
	s.event = s.next
}

// observedMinute is how much of the minute before a boundary was observed.
func (t *Tracker) observedMinute(o *tracked, boundary int64) time.Duration {
	from := max(boundary-int64(time.Minute), o.since)
	missed := t.missedAt(0, boundary) - t.missedAt(0, from)
	return time.Duration(boundary - from - missed)
}

// closeMinute judges the minute that ends with so many events.
func (s *series) closeMinute(end Sums, observed time.Duration, policy NoDataPolicy) {
	d := end.minus(s.close)
	s.close = end
	enough := observed >= time.Minute/2
	switch {
	case d.Bad > 0:
		s.sum.Bad++
		s.sum.Total++
	case !enough:
	case d.Lost > 0:
		s.sum.Total++
		s.sum.Lost++
	case d.Total > 0 || policy == NoDataGood:
		s.sum.Total++
	case policy == NoDataBad:
		s.sum.Bad++
		s.sum.Total++
	}
}

// prune forgets series that say nothing any more.
func (t *Tracker) prune(changes []Change) []Change {
	for _, o := range t.objectives {
		if !o.Grouped {
			continue
		}
		o.sorted = slices.DeleteFunc(o.sorted, func(s *series) bool {
			unseen := t.clock.now - s.seen
			counts := o.calendar.period != NoPeriod && s.sum != s.start && unseen < 4*int64(MaxWindow)
			if unseen <= int64(MaxWindow) || counts {
				return false
			}
			if s.alert.state != StateOK {
				changes = append(changes, t.change(o, s, StateOK))
			}
			delete(o.series, s.group)
			return true
		})
	}
	return changes
}
