package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/repl"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
)

// live is a generation of the shell's script: a session that runs beside the prompt.
type live struct {
	*session
	cancel   context.CancelFunc
	next     atomic.Pointer[engine.Engine] // to hand over to
	done     chan struct{}                 // Run has returned
	ended    chan struct{}                 // and the script had called exit, or failed
	failed   error
	since    time.Time
	exitedAt time.Time
}

// Start implements repl.Machine.
func (m *replMachine) Start(obj *compiler.Object, before repl.Program, quiet bool) (repl.Program, repl.Swap, error) {
	began := time.Now()
	old, _ := before.(*live)
	if obj == nil {
		swap, err := repl.Swap{}, error(nil)
		if old != nil {
			swap.Losses, _ = old.Losses()
			err = old.stop()
		}
		return nil, swap, err
	}
	if quiet {
		repl.Quiet(obj)
	}
	opt := engine.Options{Features: m.work.features, BTF: m.work.rawID, Pid: m.flags.pid, Switch: m.turn}
	if old != nil {
		opt.Previous = old.eng
	}
	eng, err := engine.Load(obj, opt)
	if err != nil {
		return nil, repl.Swap{}, err
	}
	streams := m.streams
	streams.Out, streams.Err = m.out, m.out
	n := &live{session: &session{streams: streams, flags: m.flags, obj: obj, eng: eng, out: &output{w: m.out, mode: "line"}, began: began},
		done: make(chan struct{}), ended: make(chan struct{}), since: began}
	if old != nil {
		n.since = old.since
	}
	err = n.setup()
	if err == nil && old != nil {
		err = eng.Prepare()
	}
	if err != nil {
		return nil, repl.Swap{}, errors.Join(err, eng.Close())
	}
	var swap repl.Swap
	if old != nil {
		if swap, err = old.handOver(n); err != nil {
			return nil, repl.Swap{}, errors.Join(err, eng.Close())
		}
	}
	err = n.run(m)
	swap.Took = time.Since(began)
	return n, swap, err
}

// handOver lets the next generation take the place of this one, and lets go of this one.
func (l *live) handOver(n *live) (repl.Swap, error) {
	l.next.Store(n.eng)
	l.eng.Nudge()
	<-l.done
	var swap repl.Swap
	if l.eng.Successor() == nil { // it had ended by itself: nothing saw events since
		swap.Gap = time.Since(l.exitedAt)
	}
	losses, err := l.Losses()
	swap.Losses = losses
	return swap, errors.Join(err, l.letGo())
}

// run starts the loop of the engine and waits until everything is attached.
func (l *live) run(m *replMachine) error {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	follows, err := l.follow()
	if err != nil {
		return errors.Join(err, l.eng.Close())
	}
	l.follows = follows
	attached := make(chan struct{})
	go func() {
		defer close(l.done)
		err := l.eng.Run(ctx, engine.Hooks{
			Events: l.decoder, Lock: &l.printing, Exited: func() bool { return l.exited }, Stay: true, Idle: l.out.idle,
			Next: l.next.Load,
			Attached: func() {
				l.start = time.Now()
				l.follows.attached()
				close(attached)
			},
		})
		l.failed = err
		if l.eng.Successor() == nil && ctx.Err() == nil {
			l.exitedAt = time.Now()
			close(l.ended)
			text := "exit() was called: nothing is attached any more; enter something or :resume to go on\n"
			if err != nil {
				text = fmt.Sprintf("the script ended: %s\n", err)
			}
			io.WriteString(m.out, text)
		}
	}()
	select {
	case <-attached:
		return nil
	case <-l.done:
		return l.failed
	}
}

// stop ends the generation without printing anything.
func (l *live) stop() error {
	l.cancel()
	<-l.done
	return errors.Join(l.failed, l.letGo())
}

func (l *live) letGo() error {
	var err error
	if l.follows != nil {
		err = errors.Join(l.follows.finish(), l.follows.close())
	}
	l.cancel()
	return errors.Join(err, l.eng.Close())
}

// Object implements repl.Program.
func (l *live) Object() *compiler.Object { return l.obj }

// Snapshot implements repl.Program.
func (l *live) Snapshot(m *ir.Map) (*agg.Snapshot, error) { return l.snapshot(m) }

// Clear implements repl.Program.
func (l *live) Clear(m *ir.Map) error { return l.eng.Clear(m) }

// Values implements repl.Program.
func (l *live) Values() export.Values { return l.values }

// Series implements repl.Program.
func (l *live) Series(of *lower.SLILayout) ([]agg.Series, error) { return l.series(of) }

// SLOs implements repl.Program.
func (l *live) SLOs() ([]export.SLOReport, error) {
	if l.follows != nil {
		l.follows.judge.Tick()
	}
	r, err := l.report()
	return r.slos, err
}

// Losses implements repl.Program.
func (l *live) Losses() ([]export.Loss, error) { return l.losses() }

// Stats implements repl.Program.
func (l *live) Stats() ([]engine.ProgramStats, uint64, error) {
	p, err := l.eng.Programs()
	return p, l.eng.Events(), err
}

// Since implements repl.Program.
func (l *live) Since() time.Time { return l.since }

// Exited implements repl.Program.
func (l *live) Exited() <-chan struct{} { return l.ended }

// Err implements repl.Program.
func (l *live) Err() error { return l.failed }

// Status implements repl.Program.
func (l *live) Status() int { return l.status }

// Finish implements repl.Program.
func (l *live) Finish(out io.Writer) error {
	l.cancel()
	<-l.done
	l.printing.Lock()
	l.out.w, l.streams.Err = out, out
	if t, ok := l.format.(*export.Text); ok {
		t.Diag = out
	}
	l.printing.Unlock()
	err := l.finish()
	l.out.flush()
	return errors.Join(err, l.follows.close(), l.eng.Close())
}
