package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

var le = binary.LittleEndian

// Events takes the records of the ring buffer, in order.
type Events interface {
	Handle(record []byte) error
}

// Poll intervals of the ring buffer: records are written without a wakeup, so the reader looks by itself, often while
// there is something to read and less so when idle. What must be seen at once (exit, print of a map) does wake it.
const (
	busyPoll = time.Millisecond
	idlePoll = 32 * time.Millisecond
)

// Hooks are called during Run, all on its goroutine.
type Hooks struct {
	Events   Events
	Attached func()      // once everything is attached
	Exited   func() bool // asked after every record: has the script called exit()?
	Idle     func()      // after every drain, for output that waits
	Stay     bool        // wait for the context also where a script has nothing but begin and end
	Lock     sync.Locker // held while records are handed over; may be nil

	// Next is asked now and then, and after Nudge: the prepared engine of the next generation to hand over to, nil to go
	// on. It may be nil, without a Switch.
	Next func() *Engine
}

// detachGrace bounds the wait for programs that were running when they were detached.
const detachGrace = 100 * time.Millisecond

// Run runs the script until it exits, ctx ends, or it has nothing to wait for. On return everything is detached, end
// has run, and every record was handed to Events, but for those between exit() and end: after exit() a script is silent.
// Where the engine has handed over to the next generation (see Successor), end has not run and programs stay.
func (e *Engine) Run(ctx context.Context, h Hooks) error {
	if !e.prepared {
		if err := e.setStart(); err != nil {
			return err
		}
	}
	for e.prepared && len(e.signals) > 0 { // the generation before had them
		<-e.signals
	}
	next, err := e.runAttached(ctx, h)
	if err == nil && next != nil {
		if err = e.handOver(next, h); err == nil {
			e.successor = next
			return nil
		}
	}
	return e.end(h, err)
}

// Successor is the generation that Run has handed over to, nil where it has ended.
func (e *Engine) Successor() *Engine { return e.successor }

// end takes everything off the kernel, and runs end where nothing has failed.
func (e *Engine) end(h Hooks, err error) error {
	if err == nil {
		err = e.PollNow() // counters are counted to the end
	}
	detach := e.Detach()
	if err != nil {
		return errors.Join(err, detach)
	}
	e.drainAll(h, h.Exited) // before end runs: where the script has exited, what came after is dropped
	if err := e.run(types.HookEnd); err != nil {
		return errors.Join(err, detach)
	}
	e.drainAll(h, never)
	return detach
}

func never() bool { return false }

// drainAll empties the ring buffer when no program is attached any more. One may still be running on another CPU, with
// a record reserved: that record is waited for.
func (e *Engine) drainAll(h Hooks, drop func() bool) {
	for deadline := time.Now().Add(detachGrace); e.ring != nil; {
		if e.drain(h, drop) > 0 {
			continue
		}
		if !e.ring.Pending() || time.Now().After(deadline) {
			return
		}
		runtime.Gosched()
	}
}

// Nudge makes Run ask for the next generation now.
func (e *Engine) Nudge() {
	select {
	case e.nudged <- struct{}{}:
	default: // it will ask anyway
	}
	e.closing.RLock()
	defer e.closing.RUnlock()
	if e.ring != nil {
		e.ring.Wake() // or it asks when it has waited for records
	}
}

func (e *Engine) runAttached(ctx context.Context, h Hooks) (*Engine, error) {
	if !e.prepared {
		if err := e.run(types.HookBegin); err != nil {
			return nil, err
		}
		if err := e.attachAll(ctx); ctx.Err() != nil {
			return nil, nil // interrupted before all was attached: end as usual
		} else if err != nil {
			return nil, err
		}
	}
	if err := e.PollNow(); err != nil { // what counters count from
		return nil, err
	}
	h.Attached()
	if e.drain(h, h.Exited); h.Exited() || !h.Stay && !e.waits() || e.Pinned() != "" {
		return nil, nil
	}
	if it := e.iterator(); it != nil {
		return nil, e.iterate(ctx, it, h)
	}
	timers, stop, err := e.startTimers()
	if err != nil {
		return nil, err
	}
	defer stop()
	if e.ring != nil {
		woken := make(chan struct{})
		wake := context.AfterFunc(ctx, func() {
			defer close(woken)
			e.ring.Wake()
		})
		defer func() {
			if !wake() {
				<-woken // or it would write to a descriptor that is closed by then
			}
		}()
	}
	poll := busyPoll
	for ctx.Err() == nil && !h.Exited() {
		if err := timers.err(); err != nil {
			return nil, err
		}
		if h.Next != nil {
			if next := h.Next(); next != nil {
				return next, nil
			}
		}
		if e.ring == nil {
			select {
			case <-ctx.Done():
			case <-timers.failed:
			case <-e.nudged:
			}
			continue
		}
		if err := e.ring.Wait(poll); err != nil {
			return nil, err
		}
		if e.drain(h, h.Exited) > 0 {
			poll = busyPoll
		} else {
			poll = min(2*poll, idlePoll)
		}
	}
	return nil, timers.err()
}

// objectsAtOnce is how many objects an iterator walks over before the records are taken out of the ring buffer.
const objectsAtOnce = 32

// iterator is the script's, nil without.
func (e *Engine) iterator() *attach.Iterator {
	for _, p := range e.all {
		for _, l := range p.links {
			if it, ok := l.(*attach.Iterator); ok {
				return it
			}
		}
	}
	return nil
}

// Pinned is the file of the script's iterator, "" without one that is pinned.
func (e *Engine) Pinned() string {
	if e.opt.DryRun {
		return ""
	}
	return e.obj.Pin()
}

// iterate runs the script for every object that the kernel has.
func (e *Engine) iterate(ctx context.Context, it *attach.Iterator, h Hooks) error {
	for ctx.Err() == nil && !h.Exited() {
		err := it.Next(objectsAtOnce * ir.IterMark)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e.drain(h, h.Exited)
	}
	return nil
}

// waits tells whether there is anything but begin and end.
func (e *Engine) waits() bool {
	for _, p := range e.all {
		switch p.fn.Hooks[0].Kind {
		case types.HookBegin, types.HookEnd, types.HookTest, types.HookBench:
		default:
			return true
		}
	}
	return false
}

// drain hands over what is in the ring buffer, and drops what comes once drop is true.
func (e *Engine) drain(h Hooks, drop func() bool) int {
	if e.ring == nil {
		return 0
	}
	if h.Lock != nil {
		h.Lock.Lock()
		defer h.Lock.Unlock()
	}
	before := e.ring.Damaged
	n := e.ring.Drain(func(record []byte) {
		if drop() {
			return
		}
		if err := h.Events.Handle(record); err != nil {
			e.damaged.Add(1)
		}
	})
	e.handled.Add(uint64(n))
	e.damaged.Add(e.ring.Damaged - before)
	if h.Idle != nil {
		h.Idle()
	}
	return n
}

// timers runs the programs of intervals, polls and signals.
type timers struct {
	failure atomic.Pointer[error]
	failed  chan struct{}
}

func (t *timers) err() error {
	if p := t.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail keeps the first error.
func (t *timers) fail(err error) {
	if t.failure.CompareAndSwap(nil, &err) {
		close(t.failed)
	}
}

// startTimers starts a goroutine per interval and one for signals; stop waits for all of them. The clock is the kernel's, since Go's tickers
// are no finer than a millisecond. A tick that comes while the program runs is not made up for, as with a perf event.
func (e *Engine) startTimers() (t *timers, stop func(), err error) {
	t = &timers{failed: make(chan struct{})}
	var clocks []*os.File
	var running sync.WaitGroup
	over := make(chan struct{})
	stop = func() {
		close(over)
		for _, c := range clocks {
			c.Close()
		}
		running.Wait()
	}
	if e.signals != nil {
		running.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-e.signals:
					if err := e.run(types.HookSignal); err != nil {
						t.fail(err)
						return
					}
				}
			}
		})
	}
	for _, p := range e.all {
		h := &p.fn.Hooks[0]
		run := func() error { return e.pollOnce(p) }
		switch h.Kind {
		case types.HookInterval:
			run = func() error {
				_, err := bpf.TestRun(p.prog, nil, -1)
				return err
			}
		case types.HookPoll:
		default:
			continue
		}
		clock, err := newClock(h.Period)
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("start %s: %w", p.fn.Name, err)
		}
		clocks = append(clocks, clock)
		running.Go(func() {
			if err := tick(clock, run); err != nil {
				t.fail(fmt.Errorf("run %s: %w", p.fn.Name, err))
			}
		})
	}
	return t, stop, nil
}

// newClock is a timer of the kernel: each read waits for the next tick.
func newClock(period time.Duration) (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make timer: %w", err)
	}
	every := unix.NsecToTimespec(int64(period))
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set timer: %w", err)
	}
	return os.NewFile(uintptr(fd), "timer"), nil
}

// tick runs something at each tick until the clock is closed.
func tick(clock *os.File, run func() error) error {
	var ticks [8]byte
	for {
		if _, err := clock.Read(ticks[:]); errors.Is(err, os.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		if err := run(); err != nil {
			return err
		}
	}
}
