package cli

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/repl"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
)

// live is a generation of the shell's script: a session that runs beside the prompt.
type live struct {
	*session
	machine *replMachine
	quiet   bool // paused: nothing is attached
	cancel  context.CancelFunc
	next    atomic.Pointer[live] // waits to take over
	done    chan struct{}        // Run has returned
	called  chan struct{}        // the script has called exit(), or failed
	once    sync.Once
	failed  error
	ended   time.Time // when Run failed
	entered time.Time // the first generation
}

// Start implements repl.Machine.
func (m *replMachine) Start(obj *compiler.Object, before repl.Program, quiet bool) (repl.Program, repl.Swap, error) {
	began := time.Now()
	old, _ := before.(*live)
	if obj == nil {
		var swap repl.Swap
		if old == nil {
			return nil, swap, nil
		}
		swap.Losses, _ = old.Losses()
		old.cancel()
		<-old.done
		return nil, swap, errors.Join(old.failed, old.close())
	}
	if quiet {
		repl.Quiet(obj)
	}
	n, err := m.load(obj, old, quiet)
	if err != nil {
		return nil, repl.Swap{}, err
	}
	var swap repl.Swap
	if old == nil {
		if n.follows, err = n.follow(nil); err != nil {
			return nil, swap, errors.Join(err, n.close())
		}
	} else if swap, err = old.handOver(n); err != nil {
		return nil, swap, errors.Join(err, n.close())
	}
	err = n.run()
	if e := m.guard.hold(obj, n.eng.Maps()); e != nil { // the shell is as good without
		m.unguarded(e)
	}
	swap.Took = time.Since(began)
	return n, swap, err
}

// load makes a generation, attached beside the one before.
func (m *replMachine) load(obj *compiler.Object, old *live, quiet bool) (*live, error) {
	opt := engine.Options{Features: m.work.features, BTF: m.work.rawID, Pid: m.flags.pid, Switch: m.turn, Warn: func(d source.Diagnostics) { m.streams.render(d, false) }}
	now := time.Now()
	n := &live{machine: m, quiet: quiet, done: make(chan struct{}), called: make(chan struct{}), entered: now}
	if old != nil {
		n.entered = old.entered
		opt.Previous = old.eng
		if !old.ended.IsZero() {
			revived, err := m.revive(old, &opt)
			if err != nil {
				return nil, err
			}
			defer revived.Close()
		}
	}
	eng, err := engine.Load(obj, opt)
	if err != nil {
		return nil, err
	}
	streams := m.streams
	streams.Out, streams.Err = m.out, m.out
	n.session = &session{streams: streams, flags: m.flags, obj: obj, eng: eng, out: m.printer, began: now, script: "session", taken: make(chan error, 1)}
	if old != nil {
		n.packets = old.packets.share()
	}
	err = n.setup()
	if err == nil && old != nil {
		err = eng.Prepare()
	}
	if err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	return n, nil
}

// revive prepares to follow a generation that failed: nobody turns the switch then, so the next one has to be on the side
// that a new switch runs, which is the first. The result is closed once that is loaded.
func (m *replMachine) revive(old *live, opt *engine.Options) (io.Closer, error) {
	turn, err := engine.NewSwitch()
	if err != nil {
		return nil, err
	}
	m.old = append(m.old, m.turn) // the failed generation may still hold ports of it
	m.turn, opt.Switch = turn, turn
	if old.eng.Side() == 1 {
		return io.NopCloser(nil), nil
	}
	none := *old.obj
	ir := *old.obj.IR
	none.IR, none.Code = &ir, nil
	none.IR.Funcs = nil
	between, err := engine.Load(&none, *opt)
	if err != nil {
		return nil, err
	}
	opt.Previous = between
	return between, nil
}

// handOver lets the next generation take the place of this one, and lets go of this one.
func (l *live) handOver(n *live) (repl.Swap, error) {
	var swap repl.Swap
	l.next.Store(n)
	l.eng.Nudge()
	select {
	case err := <-n.taken:
		if err != nil { // this one runs on
			return swap, err
		}
		if <-l.done; l.eng.Successor() == nil {
			return swap, l.failed
		}
	case <-l.done: // it has failed
		if err := l.following(n); err != nil {
			return swap, err
		}
		swap.Gap = time.Since(l.ended)
	}
	l.once.Do(func() { close(l.called) })
	return swap, errors.Join(n.succeed(l.session), l.close())
}

// following hands the objectives over, before anything else since it can fail.
func (l *live) following(n *live) (err error) {
	n.follows, err = n.follow(l.session)
	return err
}

// takeNext is asked by the engine for the next generation.
func (l *live) takeNext() *engine.Engine {
	n := l.next.Swap(nil)
	if n == nil {
		return nil
	}
	err := l.following(n)
	n.taken <- err
	if err != nil {
		return nil
	}
	return n.eng
}

// Handle implements engine.Events: after exit() a script is silent. Its probes are taken off by the shell.
func (l *live) Handle(record []byte) error {
	if l.exited {
		return nil
	}
	err := l.decoder.Handle(record)
	if l.exited {
		l.once.Do(func() { close(l.called) })
	}
	return err
}

// run starts the loop of the engine and waits until everything is attached.
func (l *live) run() error {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	attached := make(chan struct{})
	go func() {
		defer close(l.done)
		l.failed = l.eng.Run(ctx, engine.Hooks{
			Events: l, Lock: &l.out.printing, Exited: func() bool { return false }, Stay: true, Idle: l.out.idle, Next: l.takeNext,
			Attached: func() {
				if l.start.IsZero() {
					l.start = time.Now()
					l.keep(l.packets.begin())
				}
				l.follows.attached()
				if l.quiet && l.follows != nil {
					l.follows.judge.Pause(true)
				}
				close(attached)
			},
		})
		if l.eng.Successor() == nil && ctx.Err() == nil {
			l.ended = time.Now()
			l.once.Do(func() { close(l.called) })
		}
	}()
	select {
	case <-attached:
		return nil
	case <-l.done:
		return l.failed
	}
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
	return p, l.eng.Events() + l.carried.events, err
}

// Since implements repl.Program.
func (l *live) Since() time.Time { return l.entered }

// Exited implements repl.Program.
func (l *live) Exited() <-chan struct{} { return l.called }

// Err implements repl.Program.
func (l *live) Err() error {
	select {
	case <-l.done:
		return l.failed
	default:
		return nil
	}
}

// Status implements repl.Program.
func (l *live) Status() int { return l.status }

// Finish implements repl.Program.
func (l *live) Finish(out io.Writer) error {
	l.exited = false // end speaks again
	l.cancel()
	<-l.done
	l.out.printing.Lock()
	l.out.w, l.streams.Err = out, out
	if t, ok := l.format.(*export.Text); ok {
		t.Diag = out
	}
	l.out.printing.Unlock()
	err := errors.Join(l.failed, l.finish())
	l.out.flush()
	return errors.Join(err, l.close())
}
