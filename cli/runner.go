package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/supervisor"
)

// runner runs one script, through all generations of its text. A generation is a session; the one that counts is current.
type runner struct {
	streams Streams
	flags   *runFlags
	name    string // of the script, in reports and of its history
	file    string // as diagnostics name it
	text    string // of the first generation
	params  []string
	pid     int // of -p
	limit   int // the process whose functions are probed: of -p or -c
	child   *child
	dump    []string
	host    host
	began   time.Time
	expiry  *export.Expiry // nil: no label set is left out
	out     *output
	board   *engine.Switch // nil: the script is not replaced

	bar    *progress // of the last attaching; nil: nobody sees it
	partly bool      // the kernel measures programs for a part of the time

	current atomic.Pointer[session]
	next    atomic.Pointer[session] // waits to take over
	reading sync.RWMutex            // held for reading by scrapes, so that they see one generation
	ended   chan struct{}           // closed when no generation runs any more
	closing sync.WaitGroup          // of generations that were replaced
}

// host is whom a runner tells what happens. Its calls come from the goroutines of run and of replace.
type host interface {
	diagnose(diags source.Diagnostics) error // what compile fails with if there are errors
	attached(n *session)
	idle()
	reloaded(n *session, took time.Duration)
	format(o export.Output) export.Output // for what is no output of the script
	trouble(err error)                    // that the script goes on with
	governed(n *session, text string)     // something was done to keep to the limit
}

// compile compiles a text. Errors in it have been told.
func (r *runner) compile(file *source.File) (*compiler.Object, *workshop, error) {
	w := newWorkshop(r.limit)
	w.machine.Fentry, w.machine.Kprobe = r.flags.served(attachTrampoline), r.flags.served(attachKprobe)
	w.machine.Forced = r.flags.way("kprobe") != engine.BestWay
	w.machine.Session, w.machine.Verbose = r.flags.session(w.features), r.verbose()
	var noted source.Diagnostics
	if !r.flags.noWarnings {
		w.machine.Warn = func(at source.Span, message, hint string) { noted.Warnf(file, at, "%s", message).WithHint("%s", hint) }
	}
	opt := w.options(r.params, r.pid)
	opt.Dump, opt.DumpTo = r.dump, r.streams.Out
	opt.Config.Unsafe = r.flags.unsafe
	if r.child != nil {
		opt.Config.Child = r.child.pid()
	}
	obj, diags := compiler.Compile(file, opt)
	err := r.host.diagnose(append(noted, diags...))
	if obj != nil && r.dump == nil {
		if exports := checkExports(obj); exports.HasErrors() {
			obj, err = nil, exports
		}
	}
	if obj == nil {
		w.close()
		return nil, nil, err
	}
	return obj, w, nil
}

// verbose prints what -v tells; nil without.
func (r *runner) verbose() func(line string) {
	if !r.flags.verbose || r.flags.quiet {
		return nil
	}
	return func(line string) { fmt.Fprintln(r.streams.Err, line) }
}

// load makes a generation, of which nothing is attached yet.
func (r *runner) load(obj *compiler.Object, w *workshop, before *session) (*session, error) {
	labels, err := r.flags.export.constant(obj.Checked.SLIs)
	if err != nil {
		return nil, err
	}
	for _, e := range obj.Checked.Exports {
		for _, l := range labels {
			if slices.Contains(e.Labels, l.Name) {
				return nil, fmt.Errorf("the label '%s' is one of export %s too", l.Name, e.Map.Name)
			}
		}
	}
	if pin := obj.Pin(); pin != "" && r.child != nil {
		return nil, fmt.Errorf("-c has no use with an iterator that is pinned to %s: slope ends before the command runs", pin)
	}
	opt := engine.Options{Features: w.features, BTF: w.rawID, Pid: r.limit, Switch: r.board, Verbose: r.verbose(), DryRun: r.flags.dryRun}
	opt.Kprobe, opt.Uprobe = r.flags.way("kprobe"), r.flags.way("uprobe")
	opt.Warn = func(d source.Diagnostics) { _ = r.host.diagnose(d) } // none of them is an error
	if r.streams.ErrTerminal && !r.flags.quiet {
		r.bar = &progress{to: r.streams.Err, now: time.Now}
		opt.Progress = r.bar.show
	}
	if before != nil {
		opt.Previous = before.eng
	}
	eng, err := engine.Load(obj, opt)
	if err != nil {
		return nil, err
	}
	n := &session{streams: r.streams, flags: r.flags, obj: obj, eng: eng, out: r.out, began: r.began, script: r.name, wrap: r.host.format,
		taken: make(chan error, 1)}
	if before != nil {
		n.packets = before.packets.share()
	}
	if err := n.setup(); err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	return n, nil
}

// start makes the first generation, and reads the history of its objectives.
func (r *runner) start(obj *compiler.Object, w *workshop) error {
	r.keepExpiry()
	first, err := r.load(obj, w, nil)
	if err != nil {
		return err
	}
	r.current.Store(first)
	first.follows, err = first.follow(nil)
	return err
}

// run runs a loaded generation and those that replace it, until the script ends or ctx does. Nothing is attached any more
// when it returns; the last generation is current, to be read and closed.
func (r *runner) run(ctx context.Context, texts <-chan supervisor.Change) error {
	r.ended = make(chan struct{})
	var reloading sync.WaitGroup
	reloading.Go(func() { r.reloads(texts) })
	var err error
	for {
		cur := r.current.Load()
		err = cur.eng.Run(ctx, engine.Hooks{
			Events: cur.decoder, Lock: &r.out.printing, Exited: func() bool { return cur.exited }, Stay: r.child != nil,
			Idle: r.host.idle, Attached: func() { r.host.attached(cur) }, Next: func() *engine.Engine { return r.takeNext(cur) },
		})
		if cur.eng.Successor() == nil {
			break
		}
		if err := r.tookOver(cur); err != nil {
			r.current.Load().keep(err)
		}
	}
	close(r.ended)
	reloading.Wait()
	if n := r.next.Swap(nil); n != nil {
		n.taken <- errEnded
	}
	r.closing.Wait()
	return err
}

// close closes the last generation and frees what all shared.
func (r *runner) close() error {
	var errs []error
	if cur := r.current.Load(); cur != nil {
		errs = append(errs, cur.close())
	}
	if r.board != nil {
		errs = append(errs, r.board.Close())
	}
	return errors.Join(errs...)
}

// errEnded tells that a script ended before its new text took over.
var errEnded = errors.New("the script has ended")

// reloads replaces the script by each text that comes.
func (r *runner) reloads(texts <-chan supervisor.Change) {
	for {
		select {
		case <-r.ended:
			return
		case t := <-texts:
			t.Told(r.replace(t.Text))
		}
	}
}

// replace compiles and attaches a text beside the one that runs, and lets it take over. On an error the old one runs on.
func (r *runner) replace(text string) (err error) {
	defer func() {
		if p := recover(); p != nil { // what runs goes on
			err = fmt.Errorf("BUG: reload: %v", p)
		}
	}()
	r.closing.Wait() // its side of the switch has to be free
	began := time.Now()
	obj, w, err := r.compile(source.NewFile(r.file, text))
	if err != nil {
		return err
	}
	defer w.close()
	cur := r.current.Load()
	n, err := r.load(obj, w, cur)
	if err != nil {
		return err
	}
	if err := n.eng.Prepare(); err != nil {
		return errors.Join(err, n.close())
	}
	r.next.Store(n)
	cur.eng.Nudge()
	select {
	case err = <-n.taken:
	case <-r.ended:
		if r.next.CompareAndSwap(n, nil) {
			err = errEnded
		} else {
			err = <-n.taken
		}
	}
	if err != nil {
		return errors.Join(err, n.close())
	}
	r.host.reloaded(n, time.Since(began))
	return nil
}

// takeNext is asked by the running generation for its successor. Objectives are handed over before the switch, since
// that can fail: then the old generation goes on with them.
func (r *runner) takeNext(cur *session) *engine.Engine {
	n := r.next.Swap(nil)
	if n == nil {
		return nil
	}
	var err error
	if n.follows, err = n.follow(cur); err != nil {
		n.taken <- err
		return nil
	}
	r.next.Store(n) // for tookOver
	return n.eng
}

// tookOver finishes what takeNext began: the new generation runs, and the old one counts no more.
func (r *runner) tookOver(old *session) error {
	n := r.next.Swap(nil)
	r.reading.Lock()
	err := n.succeed(old)
	if r.expiry != nil {
		r.expiry.Succeed(old.obj.Layout.SLIs, n.obj.Layout.SLIs)
	}
	r.current.Store(n)
	r.reading.Unlock()
	r.closing.Go(func() {
		if err := old.close(); err != nil {
			r.host.trouble(err)
		}
	})
	n.taken <- nil // from now on there may be a next one
	return err
}

// runObject loads, attaches and waits.
func (s Streams) runObject(r *runner, w *workshop, obj *compiler.Object) (err error) {
	f := r.flags
	r.began = time.Now()
	out, closeOut, err := s.openOutput(f)
	if err != nil {
		return err
	}
	defer func() {
		// What could not be written has said so already; and who reads no more wants to hear nothing.
		if e := closeOut(); errors.Is(e, unix.EPIPE) {
			err = exitStatus(128 + int(unix.SIGPIPE))
		} else if e != nil && !errors.Is(err, e) {
			err = errors.Join(err, e)
		}
	}()
	r.out = out
	if f.watch {
		if r.board, err = engine.NewSwitch(); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(obj, w); err != nil {
		return err
	}
	w.close() // what compiling opened is not needed any more
	limit, err := parsePercent(f.maxOverhead)
	if err != nil {
		return err
	}
	keep, release, err := govern(limit, func() []*runner { return []*runner{r} })
	if err != nil {
		return err
	}
	defer release()
	r.partly = keep != nil
	addr, stop, err := r.listen(keep)
	if err != nil {
		return err
	}
	defer stop()

	ctx, cancel := interruptible()
	defer cancel()
	gone, unwatch, err := watchProcess(f.pid, r.child)
	if err != nil {
		return err
	}
	defer unwatch()
	ctx, done := context.WithCancel(ctx)
	defer done()
	go func() {
		select {
		case <-gone:
			done()
		case <-ctx.Done():
		}
	}()
	r.host = &console{runner: r, addr: addr, done: done}
	var texts chan supervisor.Change
	if f.watch {
		texts = make(chan supervisor.Change)
		stop := r.watch(texts)
		defer stop()
	}
	err = r.run(ctx, texts)
	r.bar.clear()
	if err != nil {
		return err
	}
	release()
	last := r.current.Load()
	if err := last.finish(); err != nil {
		return err
	}
	for _, line := range keep.summary(r.name) {
		last.notice("governor", line)
	}
	if last.status != 0 {
		return exitStatus(last.status)
	}
	return nil
}

// console is the host of a script that a person runs.
type console struct {
	*runner
	addr  string
	done  func() // ends the run
	first bool   // was attached
}

func (t *console) diagnose(diags source.Diagnostics) error {
	t.streams.render(diags, t.flags.noWarnings)
	return exitStatus(1)
}

func (t *console) format(o export.Output) export.Output { return o }

func (t *console) trouble(err error) { fmt.Fprintf(t.streams.Err, "slope: %s\n", err) }

func (t *console) idle() {
	if t.out.idle(); t.out.err != nil {
		t.done() // nobody reads what comes
	}
}

func (t *console) governed(n *session, text string) { n.notice("governor", text) }

func (t *console) attached(n *session) {
	if t.first {
		n.follows.attached()
		return
	}
	t.first = true
	n.attached(t.addr)
	if t.flags.dryRun {
		t.done()
	} else if t.child != nil {
		t.child.releaseFor(n)
	}
}

func (t *console) reloaded(n *session, took time.Duration) {
	n.notice("reload", fmt.Sprintf("%s is reloaded in %s: %d probes", t.file, milliseconds(took), n.eng.Attached()))
}

// notice prints a line about the run.
func (r *session) notice(kind, text string) {
	r.out.printing.Lock()
	defer r.out.printing.Unlock()
	r.format.Notice(export.Notice{Kind: kind, Time: time.Now(), Text: text})
	r.out.idle()
}
