package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/poll"
)

// polls is what the runs of poll and alert programs share. Their inputs are in one map, so they run one at a time.
type polls struct {
	mu       sync.Mutex
	inputs   []byte // the value of the map of inputs
	failures map[*ir.Func]*PollFailure
}

// PollFailure is how often a poll probe did not run because something could not be read.
type PollFailure struct {
	Hook  string
	Func  *ir.Func
	N     uint64
	First error
}

// PollFailures are those of all poll probes, in the script's order.
func (e *Engine) PollFailures() []PollFailure {
	e.polls.mu.Lock()
	defer e.polls.mu.Unlock()
	var out []PollFailure
	for _, f := range e.obj.IR.Funcs {
		if p := e.polls.failures[f]; p != nil {
			out = append(out, *p)
		}
	}
	return out
}

// PollNow runs every poll program once.
func (e *Engine) PollNow() error {
	for _, p := range e.all {
		if p.fn.Hooks[0].Kind == types.HookPoll {
			if err := e.pollOnce(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// pollOnce runs a poll program for each cgroup that it is about, or once without any. Where something cannot be read, the
// run is left out and counted.
func (e *Engine) pollOnce(p *program) error {
	h := &p.fn.Hooks[0]
	if h.Path == "" {
		return e.runAt(p, ir.Site{})
	}
	var files []string
	for _, in := range p.fn.Inputs {
		if in.File != "" {
			files = append(files, in.File)
		}
	}
	names, err := poll.Cgroups(h.Path, files)
	if err != nil {
		e.pollFailed(p, err)
		return nil
	}
	for _, name := range names {
		if err := e.runAt(p, ir.Site{Cgroup: name}); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) pollFailed(p *program, err error) {
	e.polls.mu.Lock()
	defer e.polls.mu.Unlock()
	if e.polls.failures == nil {
		e.polls.failures = map[*ir.Func]*PollFailure{}
	}
	f := e.polls.failures[p.fn]
	if f == nil {
		f = &PollFailure{Hook: p.fn.Hook, Func: p.fn, First: err}
		e.polls.failures[p.fn] = f
	}
	f.N++
}

// runAt reads a program's inputs at a site and runs it.
func (e *Engine) runAt(p *program, at ir.Site) error {
	numbers := make([]uint64, len(p.fn.Inputs))
	for i, in := range p.fn.Inputs {
		if in.Number == nil {
			continue
		}
		n, err := in.Number(at)
		if err != nil {
			e.pollFailed(p, err)
			return nil
		}
		numbers[i] = n
	}
	e.closing.RLock()
	defer e.closing.RUnlock()
	if e.maps == nil {
		return nil
	}
	e.polls.mu.Lock()
	defer e.polls.mu.Unlock()
	if m := e.obj.IR.Inputs; m != nil && len(p.fn.Inputs) > 0 {
		if e.polls.inputs == nil {
			e.polls.inputs = make([]byte, m.ValueSize)
		}
		for i, in := range p.fn.Inputs {
			place := e.polls.inputs[in.Offset : in.Offset+in.Size]
			if in.Number != nil {
				le.PutUint64(place, numbers[i])
				continue
			}
			clear(place)
			copy(place[:in.Size-1], in.Text(at))
		}
		if err := e.maps[m].Put(uint32(0), e.polls.inputs); err != nil {
			return fmt.Errorf("store inputs of %s: %w", p.fn.Hook, err)
		}
	}
	if _, err := bpf.TestRun(p.prog, nil, -1); err != nil {
		return fmt.Errorf("run %s: %w", p.fn.Hook, err)
	}
	return nil
}

// Alert runs the alert probes of an objective that enters a state.
func (e *Engine) Alert(objective, state, group string) error {
	for _, p := range e.programs() {
		if h := &p.fn.Hooks[0]; h.Kind == types.HookAlert && h.Event == objective && h.State == state {
			if err := e.runAt(p, ir.Site{Group: group}); err != nil {
				return err
			}
		}
	}
	return nil
}

// programs are those of an engine that is not closed.
func (e *Engine) programs() []*program {
	e.closing.RLock()
	defer e.closing.RUnlock()
	return e.all
}

// Objective is what the programs are told of an slo. Budget is in millionths and BurnRate in thousandths.
type Objective struct {
	Burning  bool
	Budget   int64
	BurnRate int64
}

// GateChange tells that programs were attached or detached because an slo began or ceased to burn.
type GateChange struct {
	Objective int
	Attached  bool
	Programs  int
	Took      time.Duration
}

// ObjectiveWords is the value of the map that programs read objectives from.
func ObjectiveWords(m *ir.Map, all []Objective) []byte {
	value := make([]byte, m.ValueSize)
	for i, o := range all {
		at := value[8*ir.ObjectiveWords*i:]
		if o.Burning {
			le.PutUint64(at[8*ir.ObjectiveBurning:], 1)
		}
		le.PutUint64(at[8*ir.ObjectiveBudget:], uint64(o.Budget))
		le.PutUint64(at[8*ir.ObjectiveBurnRate:], uint64(o.BurnRate))
	}
	return value
}

// SetObjectives tells the programs about every slo of the script, in order, and attaches those that run only while one
// burns. A program that cannot be attached is tried again with the next call.
func (e *Engine) SetObjectives(all []Objective) ([]GateChange, error) {
	e.closing.RLock()
	defer e.closing.RUnlock()
	if e.maps == nil {
		return nil, nil
	}
	if m := e.obj.IR.Objectives; m != nil {
		if err := e.maps[m].Put(uint32(0), ObjectiveWords(m, all)); err != nil {
			return nil, fmt.Errorf("set objectives: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running {
		return nil, nil
	}
	var out []GateChange
	var errs []error
	for i, o := range all {
		began, n := time.Now(), 0
		for _, p := range e.all {
			if p.leftOut() || p.fn.Burning != i || (len(p.links) > 0) == o.Burning || p.isHeld() {
				continue
			}
			if err := e.gate(p, o.Burning); err != nil {
				errs = append(errs, err)
				continue
			}
			n++
		}
		if n > 0 {
			out = append(out, GateChange{Objective: i, Attached: o.Burning, Programs: n, Took: time.Since(began)})
		}
	}
	return out, errors.Join(errs...)
}

// gate attaches a program to all of its hooks, or detaches it.
func (e *Engine) gate(p *program, on bool) error {
	if on {
		defer e.tellRefused()
		if err := e.attachProgram(context.Background(), p, func(int) {}); err != nil {
			return errors.Join(err, e.gate(p, false))
		}
		return nil
	}
	return p.detach()
}
