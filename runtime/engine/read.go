package engine

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
)

// Read calls f with every entry of a map; a per-CPU value is that of all CPUs, one after the other. The slices are
// valid during the call only. A closed engine has no entries.
func (e *Engine) Read(m *ir.Map, f func(key, value []byte) error) error {
	e.closing.RLock()
	defer e.closing.RUnlock()
	km := e.maps[m]
	if km == nil {
		return nil
	}
	return bpf.ReadAll(km, f)
}

// Clear removes every entry; an unkeyed map becomes unset.
func (e *Engine) Clear(m *ir.Map) error {
	e.setZeroed(m, false)
	if m.Kind.Keyed() {
		return bpf.Clear(e.maps[m])
	}
	return bpf.Zero(e.maps[m])
}

// Zero sets every value to zero and keeps the keys; an unkeyed map stays set if it was.
func (e *Engine) Zero(m *ir.Map) error {
	if m.Kind.Keyed() {
		return bpf.Zero(e.maps[m])
	}
	if m.Kind == ir.Array { // the last word says that it is set
		return e.Read(m, func(_, value []byte) error {
			clear(value[:len(value)-8])
			return e.maps[m].Put(uint32(0), value)
		})
	}
	e.setZeroed(m, true)
	return bpf.Zero(e.maps[m])
}

func (e *Engine) setZeroed(m *ir.Map, zeroed bool) {
	e.zeroing.Lock()
	defer e.zeroing.Unlock()
	e.zeroed[m] = zeroed
}

// Zeroed tells whether zero() was the last thing that happened to an unkeyed aggregation without presence of its own.
func (e *Engine) Zeroed(m *ir.Map) bool {
	e.zeroing.Lock()
	defer e.zeroing.Unlock()
	return e.zeroed[m]
}

// sum adds up the words of a per-CPU value.
func sum(value []byte, words int) []uint64 {
	out := make([]uint64, words)
	for at := 0; at+8*words <= len(value); at += 8 * words {
		for w := range out {
			out[w] += le.Uint64(value[at+8*w:])
		}
	}
	return out
}

// Spans tells what became of an indicator's spans.
type Spans struct {
	Started, Overwritten, Stopped, Missed, Cancelled, Failed uint64
	Open                                                     uint64 // still running
	Evicted                                                  uint64 // started and pushed out by newer ones
}

// Lost is how many events the indicator missed because of its spans: starts that did not fit or were pushed out.
func (s Spans) Lost() uint64 { return s.Failed + s.Evicted }

// Spans reads the span statistics of an indicator. While events flow they are of slightly different moments.
func (e *Engine) Spans(l *lower.SLILayout) (Spans, error) { return ReadSpans(l, e.Read) }

// Reader calls f with every entry of a map, as Engine.Read does.
type Reader func(m *ir.Map, f func(key, value []byte) error) error

// ReadSpans reads the span statistics of an indicator from wherever its maps are.
func ReadSpans(l *lower.SLILayout, read Reader) (Spans, error) {
	var s Spans
	if l.Spans == nil {
		return s, nil
	}
	if err := read(l.Spans, func(_, _ []byte) error { s.Open++; return nil }); err != nil {
		return s, err
	}
	err := read(l.Stats, func(_, value []byte) error {
		w := sum(value, lower.NumSpanStats)
		s.Started, s.Overwritten, s.Stopped = w[lower.SpanStarted], w[lower.SpanOverwritten], w[lower.SpanStopped]
		s.Missed, s.Cancelled, s.Failed = w[lower.SpanMissed], w[lower.SpanCancelled], w[lower.SpanFailed]
		return nil
	})
	gone := s.Overwritten + s.Stopped + s.Cancelled + s.Failed + s.Open
	if s.Started > gone {
		s.Evicted = s.Started - gone
	}
	return s, err
}

// Loss is one counter of the program's health that is not zero.
type Loss struct {
	Counter *ir.Counter
	N       uint64
}

// Losses reads the health counters, and how many records could not be decoded.
func (e *Engine) Losses() (losses []Loss, damaged uint64, err error) {
	losses, err = ReadLosses(e.obj.IR, e.Read)
	return losses, e.damaged.Load(), err
}

// ReadLosses reads the health counters from wherever a program's maps are.
func ReadLosses(p *ir.Program, read Reader) (losses []Loss, err error) {
	if p.Health == nil {
		return nil, nil
	}
	err = read(p.Health, func(_, value []byte) error {
		for i, n := range sum(value, len(p.Counters)) {
			if n > 0 {
				losses = append(losses, Loss{p.Counters[i], n})
			}
		}
		return nil
	})
	return losses, err
}

// Events is how many records of the ring buffer were handed over.
func (e *Engine) Events() uint64 { return e.handled.Load() }

// ProgramStats is how often a program ran and for how long; Runs is 0 unless kernel.bpf_stats_enabled is set.
type ProgramStats struct {
	Hook    string
	Runs    uint64
	Time    time.Duration
	Missed  uint64 // runs that the kernel skipped, because the program was already running on the CPU
	Lost    uint64 // calls and returns of functions that the kernel could not follow
	Enabled bool
}

func (s *ProgramStats) add(k *ebpf.ProgramStats) {
	s.Runs, s.Time, s.Missed = s.Runs+k.RunCount, s.Time+k.Runtime, s.Missed+k.RecursionMisses
}

// Programs reads the kernel's statistics of every program; at a Switch those of its dispatchers, which count all
// generations.
func (e *Engine) Programs() ([]ProgramStats, error) {
	e.closing.RLock()
	defer e.closing.RUnlock()
	var out []ProgramStats
	for _, p := range e.all {
		s, err := p.stats()
		if err != nil {
			return out, fmt.Errorf("read statistics of %s: %w", p.fn.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (p *program) stats() (ProgramStats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := ProgramStats{Hook: p.fn.Hook}
	if p.prog == nil {
		return out, nil
	}
	read := func(prog *ebpf.Program) error {
		s, err := prog.Stats()
		if err == nil {
			out.add(s)
		}
		return err
	}
	err := read(p.prog) // it has none of its own at a dispatcher
	out.Runs, out.Time, out.Missed = out.Runs+p.past.Runs, out.Time+p.past.Time, out.Missed+p.past.Missed
	out.Lost = p.past.Lost
	for _, l := range p.links {
		out.Lost += l.Missed()
		if at, ok := l.(*plug); ok && err == nil {
			err = read(at.port.dispatcher.Program)
		}
	}
	out.Enabled = out.Runs > 0
	return out, err
}

// Stack is the return addresses that are kept under an ID for stacks of so many frames, innermost first.
func (e *Engine) Stack(depth int, id uint64) []uint64 {
	e.closing.RLock()
	defer e.closing.RUnlock()
	m := e.obj.IR.Stacks[depth]
	if m == nil || e.maps[m] == nil {
		return nil
	}
	raw := make([]byte, m.ValueSize)
	if err := e.maps[m].Lookup(id, raw); err != nil {
		return nil
	}
	var out []uint64
	for ; len(raw) > 0; raw = raw[8:] {
		addr := le.Uint64(raw)
		if addr == 0 {
			break
		}
		out = append(out, addr)
	}
	return out
}
