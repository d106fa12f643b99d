package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/slopebpf/slope/bpf"
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
	Exited   func() bool // asked after every drain: has the script called exit()?
	Idle     func()      // after every drain, for output that waits
}

// Run runs the script until it exits, ctx ends, or it has nothing to wait for. On return everything is detached, end
// has run, and every record was handed to Events.
func (e *Engine) Run(ctx context.Context, h Hooks) error {
	if err := e.setStart(); err != nil {
		return err
	}
	err := e.runAttached(ctx, h)
	detach := e.Detach()
	if err != nil {
		return errors.Join(err, detach)
	}
	if err := e.run(types.HookEnd); err != nil {
		return errors.Join(err, detach)
	}
	for e.drain(h) > 0 {
	}
	return detach
}

func (e *Engine) runAttached(ctx context.Context, h Hooks) error {
	if err := e.run(types.HookBegin); err != nil {
		return err
	}
	if err := e.attachAll(); err != nil {
		return err
	}
	h.Attached()
	if e.drain(h); h.Exited() || !e.waits() {
		return nil
	}
	timers, stop := e.startTimers(ctx)
	defer stop()
	wake := context.AfterFunc(ctx, func() {
		if e.ring != nil {
			e.ring.Wake()
		}
	})
	defer wake()
	poll := busyPoll
	for ctx.Err() == nil && !h.Exited() {
		if err := timers.err(); err != nil {
			return err
		}
		if e.ring == nil {
			select {
			case <-ctx.Done():
			case <-timers.failed:
			}
			continue
		}
		if err := e.ring.Wait(poll); err != nil {
			return err
		}
		if e.drain(h) > 0 {
			poll = busyPoll
		} else {
			poll = min(2*poll, idlePoll)
		}
	}
	return timers.err()
}

// waits tells whether there is anything but begin and end.
func (e *Engine) waits() bool {
	for _, p := range e.all {
		if k := p.fn.Hooks[0].Kind; k != types.HookBegin && k != types.HookEnd {
			return true
		}
	}
	return false
}

// drain hands over what is in the ring buffer.
func (e *Engine) drain(h Hooks) int {
	if e.ring == nil {
		return 0
	}
	n := e.ring.Drain(func(record []byte) {
		if err := h.Events.Handle(record); err != nil {
			e.damaged.Add(1)
		}
	})
	if h.Idle != nil {
		h.Idle()
	}
	return n
}

// timers runs the interval programs.
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

// startTimers starts a goroutine per interval; stop waits for all of them.
func (e *Engine) startTimers(ctx context.Context) (*timers, func()) {
	t := &timers{failed: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	var running []chan struct{}
	for _, p := range e.all {
		h := &p.fn.Hooks[0]
		if h.Kind != types.HookInterval {
			continue
		}
		done := make(chan struct{})
		running = append(running, done)
		go func() {
			defer close(done)
			tick := time.NewTicker(h.Period)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if _, err := bpf.TestRun(p.prog, nil, -1); err != nil {
					err = fmt.Errorf("run %s: %w", p.fn.Name, err)
					if t.failure.CompareAndSwap(nil, &err) {
						close(t.failed)
					}
					return
				}
			}
		}()
	}
	return t, func() {
		cancel()
		for _, d := range running {
			<-d
		}
	}
}
