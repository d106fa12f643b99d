// Package repl is the interactive shell: what is typed takes effect at once and runs on while the prompt is free.
//
// Algorithm: a Session keeps what was entered as a list of items, each with a number and a name: a clause's attach
// points or alias, the name of an sli, slo, macro. A new entry replaces the items of its names, all items together make
// one script, which is compiled whole. Only when that succeeded, and the new generation is loaded, the old one hands over
// to it; a line that fails changes nothing. Expressions over maps are computed here, from what the kernel holds now.
//
// Invariants: everything typed is either in the script or has no effect; a key never waits for the kernel or the file
// system; what programs print appears as whole lines above the prompt, and what is held back is counted; leaving, in
// whatever way, prints what a script prints at its end.
//
// The terminal is the business of repl/edit, what the language knows at the cursor that of lang/ide, how programs get
// into the kernel that of the Machine, which the command line hands in. Start at Run and Session.Enter.
package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/repl/edit"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
)

// Machine compiles for this machine and runs what was compiled. Its methods are called by one goroutine, but for Probes and Fields.
type Machine interface {
	types.Universe
	Compile(file *source.File) (*compiler.Object, source.Diagnostics)
	// Start runs an object. The program before, nil for none, hands its maps over and is gone then; on an error it runs on.
	// Of an object that is quiet nothing is attached.
	Start(obj *compiler.Object, before Program, quiet bool) (Program, Swap, error)
	// Probes calls f with the probes of this machine that a pattern of Machine.List means. It runs in the background.
	Probes(pattern string, f func(name string) bool) error
	// Fields are those of args at an attach point; they may be looked up.
	Fields(attach *syntax.AttachPoint) ([]types.Field, error)
	Doctor(w io.Writer)
	Stages(file *source.File, stage string, w io.Writer)
	Close() error
}

// Swap is what replacing one generation by the next did.
type Swap struct {
	Took   time.Duration
	Gap    time.Duration // in which no generation saw events; 0 when there was none
	Losses []export.Loss // of the last generation, when none follows
}

// Program is a generation that runs.
type Program interface {
	Object() *compiler.Object
	Snapshot(m *ir.Map) (*agg.Snapshot, error)
	Clear(m *ir.Map) error
	Values() export.Values
	Series(l *lower.SLILayout) ([]agg.Series, error)
	SLOs() ([]export.SLOReport, error)
	Losses() ([]export.Loss, error)
	Stats() (programs []engine.ProgramStats, events uint64, err error)
	Since() time.Time
	Exited() <-chan struct{}    // closed when the script called exit, or failed
	Err() error                 // why, once it is
	Status() int                // of exit
	Finish(out io.Writer) error // ends everything and prints what a script prints at its end
}

// Options is how the shell is set up.
type Options struct {
	In       *os.File
	Out      *os.File
	Colour   bool
	Dumb     bool   // no cursor movement
	History  string // file, "" for none
	Machine  Machine
	Output   *Output // what programs print
	Banner   string
	Quiet    bool
	SaveMaps func(write func(io.Writer) error) (file string, err error) // when the terminal is gone
}

// editor is what reads lines: repl/edit's Editor or Plain.
type editor interface {
	ReadLine(prompt string) (string, error)
	Print(text string)
	Live(ctx context.Context, tick <-chan time.Time, frame func(width, height int) (rows []string, more bool)) error
	Close() error
}

// shell is the loop at the prompt.
type shell struct {
	opt     Options
	ed      editor
	history *edit.History
	session *Session
	world   *world
	quit    bool
	left    bool
	status  int         // of exit()
	warned  bool        // a Ctrl-C on an empty line said how to leave
	hangup  atomic.Bool // the terminal is gone
	width   func() int
	work    sync.Mutex                         // held while a line is obeyed
	cancel  atomic.Pointer[context.CancelFunc] // ends what a line does
}

// Prompt is what stands before a line.
const Prompt = "slope> "

// Run reads and obeys lines until the end, and then prints what a script prints. The status is that of exit.
func Run(o Options) (status int, err error) {
	sh := &shell{opt: o, session: NewSession(o.Machine)}
	sh.world = newWorld(o.Machine, sh.session)
	defer sh.world.close()
	sh.history, err = edit.OpenHistory(o.History)
	if err != nil {
		fmt.Fprintf(o.Out, "WARNING: %s\n", err)
	}
	if err := sh.openEditor(); err != nil {
		return 1, err
	}
	stop := sh.watchSignals()
	defer stop()
	o.Output.Attach(sh.ed.Print)
	if !o.Quiet && o.Banner != "" {
		sh.ed.Print(o.Banner)
	}
	for !sh.quit {
		sh.read()
	}
	return sh.leave()
}

// openEditor opens the line editor, or the plain reader of lines where nothing can be drawn.
func (sh *shell) openEditor() error {
	if sh.opt.Dumb {
		sh.ed = edit.NewPlain(sh.opt.In, sh.opt.Out, sh.session.More)
		sh.width = func() int { return 80 }
		return nil
	}
	t, release := edit.Standard(sh.opt.In, sh.opt.Out)
	e, err := edit.New(edit.Options{Terminal: t, History: sh.history, Colour: sh.opt.Colour, Hooks: edit.Hooks{
		Complete: sh.complete, Styles: sh.styles, Hint: sh.hint, More: sh.session.More,
	}})
	if err != nil {
		release()
		return err
	}
	sh.ed = e
	sh.width = func() int {
		if w, _ := t.Size(); w > 0 {
			return w
		}
		return 80
	}
	return nil
}

// watchSignals ends the shell in order when the terminal or the system wants it to.
func (sh *shell) watchSignals() (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if s == os.Interrupt { // of a line that is being obeyed: it ends, and nothing else
					if stop := sh.cancel.Load(); stop != nil {
						(*stop)()
					}
					continue
				}
				if s == syscall.SIGHUP {
					sh.hangup.Store(true)
				}
				sh.ed.Close() // reading a line then ends
				if stop := sh.cancel.Load(); stop != nil {
					(*stop)()
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// read reads one line and does it.
func (sh *shell) read() {
	line, err := sh.ed.ReadLine(Prompt)
	switch {
	case errors.Is(err, edit.ErrInterrupt):
		sh.interrupted(line)
		return
	case errors.Is(err, edit.ErrFailed):
		sh.recoverEditor(err)
		return
	case err != nil: // the end, or a terminal that is gone
		if !errors.Is(err, io.EOF) {
			sh.hangup.Store(true)
		}
		sh.quit = true
		return
	}
	sh.warned = false
	if strings.TrimSpace(line) == "" {
		return
	}
	if err := sh.history.Add(line); err != nil {
		sh.printf("WARNING: %s\n", err)
	}
	sh.guarded(line)
}

// interrupted handles Ctrl-C: with text it drops the line, without it leaves at the second.
func (sh *shell) interrupted(line string) {
	switch {
	case strings.TrimSpace(line) != "":
	case sh.warned:
		sh.quit = true
		return
	default:
		sh.printf("Ctrl-C again, Ctrl-D or :quit leaves\n")
	}
	sh.warned = strings.TrimSpace(line) == ""
}

// recoverEditor goes on without drawing: what runs must not be lost because of the front end.
func (sh *shell) recoverEditor(err error) {
	e, ok := sh.ed.(*edit.Editor)
	if !ok {
		sh.quit = true
		return
	}
	e.Close()
	sh.ed = edit.NewPlain(e.Rest(), sh.opt.Out, sh.session.More)
	sh.opt.Output.Attach(sh.ed.Print)
	sh.printf("%s; going on without it. This is a bug in slope\n", err)
}

// guarded obeys a line; a panic is told and ends nothing.
func (sh *shell) guarded(line string) {
	defer func() {
		if r := recover(); r != nil {
			sh.printf("internal error: %v\nHINT: this is a bug in slope; everything runs on\n", r)
			if os.Getenv("SLOPE_TRACE") != "" {
				sh.printf("%s", debug.Stack())
			}
		}
	}()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sh.cancel.Store(&stop)
	defer sh.cancel.Store(nil)
	sh.work.Lock()
	defer sh.work.Unlock()
	before := sh.session.Program()
	sh.obey(ctx, line)
	if p := sh.session.Program(); p != nil && p != before {
		go sh.awaitExit(p)
	}
}

// awaitExit takes the probes off when the script has called exit(), or has failed. What it counted stays.
func (sh *shell) awaitExit(p Program) {
	<-p.Exited()
	sh.work.Lock()
	defer sh.work.Unlock()
	if sh.session.Program() != p || sh.left {
		return
	}
	if err := p.Err(); err != nil {
		sh.printf("the script has ended: %s\nenter something to go on; what it counted is kept\n", err)
		return
	}
	if sh.session.paused {
		return
	}
	if _, err := sh.session.Pause(true); err != nil {
		sh.report(err)
		return
	}
	sh.status, sh.session.exited = p.Status(), true
	if h := iterator(p.Object()); h != nil {
		done := "all objects were gone through; :resume does it again"
		if h.Pin != "" {
			done = "pinned to " + h.Pin + ", which stays until it is removed"
		}
		sh.printf("%s, :drop makes room for other probes\n", done)
		return
	}
	sh.printf("exit() was called: nothing is attached any more; :resume or the next entry goes on\n")
}

// iterator is what a script is attached to that is an iterator, which ends by itself; nil of another.
func iterator(o *compiler.Object) *types.Hook {
	for _, c := range o.Checked.Clauses {
		if h := &c.Targets[0].Hook; h.Kind == types.HookIter {
			return h
		}
	}
	return nil
}

func (sh *shell) printf(format string, args ...any) {
	sh.ed.Print(edit.Clean(fmt.Sprintf(format, args...), sh.opt.Colour))
}

// leave ends everything and prints what a script prints. From here on Ctrl-C kills.
func (sh *shell) leave() (status int, err error) {
	sh.work.Lock()
	defer sh.work.Unlock()
	sh.left = true
	signal.Reset(os.Interrupt)
	sh.ed.Close()
	p := sh.session.Program()
	if p == nil {
		return 0, sh.opt.Machine.Close()
	}
	finish := func(w io.Writer) error {
		sh.opt.Output.Attach(nil)
		return p.Finish(w)
	}
	if sh.hangup.Load() && sh.opt.SaveMaps != nil {
		_, err = sh.opt.SaveMaps(finish)
	} else {
		err = finish(sh.opt.Out)
	}
	return max(sh.status, p.Status()), errors.Join(err, sh.opt.Machine.Close())
}
