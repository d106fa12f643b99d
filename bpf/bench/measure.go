package main

import (
	"fmt"
	"math"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Cost is what one program costs; nil in an Event means that it could not be measured.
type Cost struct {
	Size
	Nanos float64 // of one event, without the dispatch
}

// Event is a row of the first table.
type Event struct {
	Name             string
	Slope, C, Traced *Cost
}

// program is something that can be attached to the event. attached calls a function meanwhile, on the same thread.
type program interface {
	attached(f func() error) error
	size() (Size, error)
}

// entrant is a program with its best time.
type entrant struct {
	program program
	best    float64
}

// turn attaches the program and lets the trigger run.
func (e *entrant) turn(t *trigger, runs int) error {
	return e.program.attached(func() error {
		ns, err := t.least(runs)
		e.best = min(e.best, ns)
		return err
	})
}

func enter(p program) *entrant { return &entrant{program: p, best: math.Inf(1)} }

// contest is one row with its entrants; those that are missing are nil.
type contest struct {
	row
	slope, c, traced *entrant
}

// events measures all rows.
func (k *kernel) events(opt options) ([]Event, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	defer unix.SchedSetaffinity(0, &before)

	var closers []interface{ Close() error }
	defer func() {
		for _, c := range closers {
			c.Close()
		}
	}()
	load := func(text string) (*script, error) {
		s, err := k.load(text)
		if err == nil {
			closers = append(closers, s)
		}
		return s, err
	}
	empty, err := load(raw + " { }")
	if err != nil {
		return nil, err
	}
	coll, err := compileC()
	if err != nil {
		warn(err)
	}
	if coll != nil {
		defer coll.Close()
	}
	var contests []*contest
	for _, r := range rows() {
		if !strings.Contains(r.name, opt.only) {
			continue
		}
		c := &contest{row: r}
		contests = append(contests, c)
		s, err := load(r.slope)
		if err != nil {
			return nil, err
		}
		c.slope = enter(s)
		if coll != nil {
			prog := coll.Programs[r.c]
			if prog == nil {
				return nil, fmt.Errorf("measure %s: c/programs.c has no function %s", r.name, r.c)
			}
			c.c = enter(compiled{prog})
		}
		if r.trace != "" && traceCommand(r.trace) != nil {
			c.traced = enter(&traced{text: r.trace})
		}
	}
	var base [numValues]*entrant
	for v := range base {
		base[v] = enter(empty)
	}
	if err := k.turns(opt, contests, base, &before); err != nil {
		return nil, err
	}
	tracedBase, err := k.tracedTurns(opt, contests)
	if err != nil {
		warn(err)
		for _, c := range contests {
			c.traced = nil
		}
	}
	return results(contests, base, tracedBase)
}

// turns lets slope's and C's programs take turns, one after the other on each of the CPUs.
func (k *kernel) turns(opt options, contests []*contest, base [numValues]*entrant, cpus *unix.CPUSet) error {
	for round := range opt.rounds {
		if err := pin(cpus, round); err != nil {
			return err
		}
		for v, b := range base {
			if err := b.turn(k.triggers[v], opt.runs); err != nil {
				return err
			}
		}
		for _, c := range contests {
			for _, e := range []*entrant{c.slope, c.c} {
				if e == nil {
					continue
				}
				if err := e.turn(k.triggers[c.values], opt.runs); err != nil {
					return fmt.Errorf("measure %s: %w", c.name, err)
				}
			}
		}
	}
	return nil
}

// tracedTurns measures bpftrace's programs and an empty one of bpftrace's with each kind of values.
func (k *kernel) tracedTurns(opt options, contests []*contest) (base [numValues]*entrant, err error) {
	runs := opt.runs * opt.rounds
	empty := perf + " { }"
	if traceCommand(empty) == nil {
		return base, nil
	}
	for v := range base {
		base[v] = enter(&traced{text: empty})
		if err := base[v].turn(k.triggers[v], runs); err != nil {
			return base, err
		}
	}
	for _, c := range contests {
		if c.traced == nil {
			continue
		}
		if err := c.traced.turn(k.triggers[c.values], runs); err != nil {
			return base, fmt.Errorf("measure %s: %w", c.name, err)
		}
	}
	return base, nil
}

// results takes the empty program's time away.
func results(contests []*contest, base, tracedBase [numValues]*entrant) ([]Event, error) {
	var out []Event
	for _, c := range contests {
		cost := func(e *entrant, base [numValues]*entrant) (*Cost, error) {
			if e == nil {
				return nil, nil
			}
			size, err := e.program.size()
			return &Cost{Size: size, Nanos: c.per * (e.best - base[c.values].best)}, err
		}
		e := Event{Name: c.name}
		var err error
		if e.Slope, err = cost(c.slope, base); err != nil {
			return nil, err
		}
		if e.C, err = cost(c.c, base); err != nil {
			return nil, err
		}
		if e.Traced, err = cost(c.traced, tracedBase); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// pin keeps this thread on one of the CPUs.
func pin(cpus *unix.CPUSet, round int) error {
	which := round % cpus.Count()
	for cpu := 0; ; cpu++ {
		if !cpus.IsSet(cpu) {
			continue
		}
		if which == 0 {
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return fmt.Errorf("measure on CPU %d: %w", cpu, err)
			}
			return nil
		}
		which--
	}
}
