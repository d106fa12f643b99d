// Package governor decides which programs to take off the kernel, so that all together cost no more than a share of the
// machine's time.
//
// Algorithm: each step gets how long every program has run, as the kernel counts it, and makes it a share of the time of all
// CPUs, smoothed over a few steps. Where the sum is above the limit for some steps in a row, the dearest programs are
// detached, one after the other, until what is left fits: first those that no indicator needs, and only then the others.
// They come back when there is room again, indicators first and one at a time: after a short while where the cost that they
// had fits, and otherwise, since nobody knows what a detached program would cost now, for a try after a time that doubles
// with each try that fails.
//
// Nothing is sampled: counts are exact while a program is attached, and it is known and told when it is not.
//
// Invariants: what an indicator needs is detached only when nothing else is left to detach; a program that an indicator
// needs stays away long enough for the gap to be seen as one (SLIHold). The package measures nothing and attaches nothing,
// and has no clock: the same steps give the same actions. Start at New and Step.
package governor

import (
	"slices"
	"time"
)

// The settings. Steps are made once a second.
const (
	smooth   = 0.4 // weight of the last step
	grace    = 3   // steps above the limit in a row before something is detached
	room     = 0.8 // of the limit: what is attached again has to fit below
	settle   = 5   // steps after an action before something is attached
	tries    = 60 * time.Second
	maxTries = 30 * time.Minute
	proven   = 5 * time.Minute // attached so long, a program is no try any more
	hold     = 10 * time.Second
	trifle   = 0.001 // of the limit: what costs less is not worth detaching

	// SLIHold is the shortest time for which what an indicator needs is detached: longer than the gap of 30 s from which on
	// an objective counts time as not observed, and the 10 s until it is looked at.
	SLIHold = 60 * time.Second
)

// Load is what one program has cost.
type Load struct {
	Key   any           // tells programs apart; comparable
	SLI   bool          // an indicator needs it
	Held  bool          // it is detached by an action
	Idle  bool          // it is not attached for another reason
	Spent time.Duration // in the program so far, while that was measured
}

// Action is a decision about a program.
type Action struct {
	Key    any
	Detach bool    // otherwise attach
	Share  float64 // of all CPUs' time, that it costs, or did
	Try    bool    // attached although that cost would not fit
}

// Governor is the state of the decisions.
type Governor struct {
	limit    float64
	programs map[any]*program
	overhead float64
	over     int // steps above the limit
	quiet    int // steps since the last action
}

type program struct {
	spent    time.Duration
	share    float64 // smoothed
	sli      bool
	held     bool
	idle     bool
	since    time.Time // held or attached
	wait     time.Duration
	attempts int
	seen     bool
}

// New makes a governor of a limit: 0.01 is one per cent of the time of all CPUs.
func New(limit float64) *Governor { return &Governor{limit: limit, programs: map[any]*program{}} }

// Limit is what New was given.
func (g *Governor) Limit() float64 { return g.limit }

// Overhead is the smoothed share of all programs that are attached.
func (g *Governor) Overhead() float64 { return g.overhead }

// Step takes in what all programs have cost until now. Their time was measured for so long since the last step.
func (g *Governor) Step(now time.Time, measured time.Duration, cpus int, loads []Load) []Action {
	for _, p := range g.programs {
		p.seen = false
	}
	for _, l := range loads {
		p := g.programs[l.Key]
		if p == nil {
			p = &program{spent: l.Spent, since: now, wait: tries}
			g.programs[l.Key] = p
		}
		p.seen, p.sli, p.idle = true, l.SLI, l.Idle
		if l.Held != p.held { // an action that failed
			p.held = l.Held
		}
		if !p.held && measured > 0 {
			share := float64(max(l.Spent-p.spent, 0)) / float64(measured) / float64(max(cpus, 1))
			p.share += smooth * (share - p.share)
		}
		p.spent = l.Spent
	}
	g.overhead = 0
	for key, p := range g.programs {
		switch {
		case !p.seen:
			delete(g.programs, key)
		case !p.held:
			g.overhead += p.share
			if p.attempts > 0 && now.Sub(p.since) >= proven {
				p.attempts, p.wait = 0, tries
			}
		}
	}
	g.quiet++
	if g.overhead <= g.limit {
		g.over = 0
		return g.attach(now, loads)
	}
	if g.over++; g.over < grace {
		return nil
	}
	return g.detach(now, loads)
}

// detach takes programs off until what is left fits.
func (g *Governor) detach(now time.Time, loads []Load) []Action {
	var attached []any
	for _, l := range loads {
		if p := g.programs[l.Key]; !p.held && !p.idle && p.share > trifle*g.limit {
			attached = append(attached, l.Key)
		}
	}
	slices.SortStableFunc(attached, func(a, b any) int {
		x, y := g.programs[a], g.programs[b]
		switch {
		case x.sli != y.sli && x.sli:
			return 1
		case x.sli != y.sli:
			return -1
		case x.share > y.share:
			return -1
		case x.share < y.share:
			return 1
		}
		return 0
	})
	var out []Action
	for _, key := range attached {
		if g.overhead <= g.limit {
			break
		}
		p := g.programs[key]
		p.held, p.since = true, now
		if p.attempts > 0 {
			p.wait = min(2*p.wait, maxTries)
		}
		g.overhead -= p.share
		out = append(out, Action{Key: key, Detach: true, Share: p.share})
	}
	g.over, g.quiet = 0, 0
	return out
}

// attach lets one program come back, where there is room.
func (g *Governor) attach(now time.Time, loads []Load) []Action {
	if g.quiet < settle || g.overhead > room*g.limit {
		return nil
	}
	var best *Action
	bestSLI := false
	for _, l := range loads {
		p := g.programs[l.Key]
		if !p.held {
			continue
		}
		away, short := now.Sub(p.since), hold
		if p.sli {
			short = SLIHold
		}
		fits := g.overhead+p.share <= room*g.limit
		if away < short || !fits && away < p.wait {
			continue
		}
		if best == nil || p.sli && !bestSLI || p.sli == bestSLI && p.share < best.Share {
			best, bestSLI = &Action{Key: l.Key, Share: p.share, Try: !fits}, p.sli
		}
	}
	if best == nil {
		return nil
	}
	p := g.programs[best.Key]
	p.held, p.since, p.share = false, now, 0
	p.attempts++
	g.quiet = 0
	return []Action{*best}
}
