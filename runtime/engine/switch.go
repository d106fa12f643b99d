package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// Switch is what the generations of a script share, so that one can replace another while events flow and each event is
// seen by exactly one.
//
// Algorithm: what is attached to a hook is not a program of the script but a dispatcher (bpf.Dispatcher), which continues
// in the program of the side that one word names. Generations take the two sides in turn: the new one puts its programs on
// the free side of every hook that it has in common with the old one, attaches dispatchers to its own hooks, where the
// free side does nothing yet, and then the word is written. Nothing is ever attached or detached in between, and a run
// reads the word once, so no event is lost and none is counted twice. Two programs that are both attached and both look
// at the word could not do that: the switch may come between the two for the same event.
//
// The guard of the kernel that a program does not interrupt itself is the dispatcher's, so it also keeps programs of two
// generations on one hook apart, and plain additions to per-CPU memory stay safe. What is left: a map that moves to
// another hook in the new text, and an interrupt with that hook in the middle of an addition of the old program, in the
// instant of the switch, could lose that one addition.
//
// An Engine without a Switch attaches its programs directly and pays nothing for this. Its methods may be called from any
// goroutine.
type Switch struct {
	word *ebpf.Map

	mu     sync.Mutex
	side   int
	ports  map[string]*port
	closed bool
}

// port is a dispatcher on a hook.
type port struct {
	dispatcher *bpf.Dispatcher
	link       attach.Link

	mu   sync.Mutex // after that of the Switch
	used [bpf.Sides]bool
	dead bool // taken off its hook
}

// NewSwitch makes a switch without hooks.
func NewSwitch() (*Switch, error) {
	word, err := bpf.NewSide()
	if err != nil {
		return nil, err
	}
	return &Switch{word: word, ports: map[string]*port{}}, nil
}

// Close frees the switch. The engines on it are closed by then.
func (s *Switch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.word.Close()
}

// choose lets the programs of a side run.
func (s *Switch) choose(side int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := bpf.SetSide(s.word, side); err != nil {
		return err
	}
	s.side = side
	return nil
}

// plug is a program of a side at a port. It is an attach.Link: Close takes it off, and what is attached to the hook with
// it where nothing else is left there.
type plug struct {
	sw      *Switch
	key     string
	port    *port
	side    int
	program *program
	noted   ebpf.ProgramStats // what is in the program's past already
	lost    uint64            // the same of what its port's link missed
}

// note adds the statistics of the dispatcher, as far as they are new, to those of the program. Its mutex is locked.
func (p *plug) note() {
	s, err := p.port.dispatcher.Program.Stats()
	if err != nil {
		return
	}
	past := &p.program.past
	past.Runs += s.RunCount - p.noted.RunCount
	past.Time += s.Runtime - p.noted.Runtime
	past.Missed += s.RecursionMisses - p.noted.RecursionMisses
	p.noted = *s
	lost := p.Missed()
	past.Lost += lost
	p.lost += lost
}

// plug puts a program on its side of a hook.
func (s *Switch) plug(e *Engine, p *program, h *types.Hook) (attach.Link, error) {
	key := portKey(p, h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("attach: BUG: the switch is closed")
	}
	o := s.ports[key]
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
	}
	switch {
	case o != nil && !o.dead && o.used[e.side]:
		return nil, fmt.Errorf("attach: BUG: two programs on %s", key)
	case o == nil, o.dead:
		d, err := bpf.NewDispatcher(p.spec, s.word)
		if err != nil {
			return nil, err
		}
		o = &port{dispatcher: d}
	}
	err := o.dispatcher.Set(e.side, p.prog)
	if err == nil && o.link == nil {
		o.link, err = attachTo(o.dispatcher.Program, p.fn.Type, h, e.opt.Pid)
	}
	if err != nil {
		if s.ports[key] != o {
			o.dispatcher.Close()
		}
		return nil, err
	}
	o.used[e.side] = true
	s.ports[key] = o
	return &plug{sw: s, key: key, port: o, side: e.side, program: p}, nil
}

// Mechanism implements attach.Link.
func (p *plug) Mechanism() string { return p.port.link.Mechanism() + " and a dispatcher" }

// Missed implements attach.Link: what is not in the program's past.
func (p *plug) Missed() uint64 { return p.port.link.Missed() - p.lost }

// Stop implements attach.Link: the dispatcher has no program on this side any more.
func (p *plug) Stop() error { return p.port.dispatcher.Clear(p.side) }

// Close implements attach.Link.
func (p *plug) Close() error {
	last, err := p.leave()
	if last {
		p.sw.mu.Lock()
		defer p.sw.mu.Unlock()
		if p.sw.ports[p.key] == p.port { // or there is a new one
			delete(p.sw.ports, p.key)
		}
	}
	return err
}

// leave takes the program off the port, and the port off its hook where nothing else uses it, which may take 100 ms.
func (p *plug) leave() (last bool, err error) {
	o := p.port
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used[p.side] = false
	last = o.used == [bpf.Sides]bool{}
	err = o.dispatcher.Clear(p.side)
	if last {
		o.dead = true
		err = errors.Join(err, o.link.Close())
	}
	p.program.mu.Lock()
	p.note()
	p.program.mu.Unlock()
	if last {
		err = errors.Join(err, o.dispatcher.Close())
	}
	return last, err
}

// portKey tells hooks apart across generations. A binary that was replaced under its name is another one: probes on the old
// file see nothing of the new.
func portKey(p *program, h *types.Hook) string {
	key := fmt.Sprintf("%d %+v %s", p.fn.Type, *h, p.burning)
	if h.Kind == types.HookUprobe || h.Kind == types.HookUretprobe {
		if st, err := os.Stat(h.Path); err == nil {
			if sys, ok := st.Sys().(*syscall.Stat_t); ok {
				key += fmt.Sprint(" file ", sys.Dev, " ", sys.Ino)
			}
			key += fmt.Sprint(" ", st.Size(), " ", st.ModTime().UnixNano())
		}
	}
	return key
}

// Prepare runs begin, where the text of it is new, and attaches everything to the side that does not run yet. The
// generation before, of which Load was told, goes on. Run then waits for nothing.
func (e *Engine) Prepare() error {
	if !e.inherits("globals") {
		if err := e.setStart(); err != nil {
			return err
		}
	}
	if e.beginsAnew() {
		if err := e.run(types.HookBegin); err != nil {
			return err
		}
	}
	if err := e.attachAll(context.Background()); err != nil {
		return err
	}
	e.prepared = true
	return nil
}

// handOver lets the next generation take the place of this one, and hands over the last records. Programs stay at their
// ports, where nothing runs them, until Close.
func (e *Engine) handOver(next *Engine, h Hooks) error {
	if err := e.opt.Switch.choose(next.side); err != nil {
		return err
	}
	if err := bpf.Quiesce(); err != nil { // then drainAll's time has to do
		e.drainAll(h, h.Exited)
	} else {
		for e.drain(h, h.Exited) > 0 {
		}
	}
	for _, m := range e.obj.IR.Maps {
		for _, o := range next.obj.IR.Maps {
			if o.Name == m.Name && next.inherits(o.Name) {
				next.setZeroed(o, e.Zeroed(m))
			}
		}
	}
	return nil
}

// Side is 0 or 1: which side of its Switch the engine is on.
func (e *Engine) Side() int { return e.side }

// burningName is the objective that gates a program, "" for none: over generations its index may change.
func burningName(e *Engine, f *ir.Func) string {
	if f.Burning < 0 {
		return ""
	}
	return e.obj.Checked.SLOs[f.Burning].Name
}
