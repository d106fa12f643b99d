package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/repl"
	"github.com/slopebpf/slope/repl/edit"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// shell is slope without a script: the interactive shell on a terminal, otherwise the script that comes through a pipe or
// from a file. The error is never nil: it carries the exit status.
func (f *runFlags) shell() error {
	s := Standard()
	stdin := os.Stdin
	if !term.IsTerminal(int(stdin.Fd())) {
		if st, err := stdin.Stat(); err == nil && (st.Mode().IsRegular() || st.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0) {
			text, err := io.ReadAll(stdin)
			if err != nil {
				return fmt.Errorf("read standard input: %w", err)
			}
			if s.In = bytes.NewReader(text); len(bytes.TrimSpace(text)) > 0 {
				return ended(s.run(f, []string{"-"}))
			}
		}
		return usagef("got no script: give a FILE, - for the standard input, -e 'program', or a terminal for the interactive shell")
	}
	switch {
	case f.format != "text" || f.output != "" || f.buffering != "line":
		return usagef("the interactive shell prints text on the terminal: leave out -f, -o and -B")
	case f.command != "" || f.dump != "" || f.dryRun || f.every != 0:
		return usagef("-c, -d, --dry-run and --every need a script: give a FILE or -e 'program'")
	case f.listen != "" && f.listen != "off" || f.export.otlp != "" || f.export.remoteWrite != "" || f.export.systemd:
		return usagef("the interactive shell serves and pushes no metrics: use :save, and run the script")
	}
	if err := bpf.CheckPrivileges(); err != nil {
		return err
	}
	status, err := s.interactive(f)
	if err == nil {
		err = exitStatus(status)
	}
	return err
}

// ended makes an exit status of success, for a caller that must stop there.
func ended(err error) error {
	if err == nil {
		return exitStatus(0)
	}
	return err
}

// interactive runs the shell.
func (s Streams) interactive(f *runFlags) (int, error) {
	colour := s.Terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	out := repl.NewOutput(func(line string) string { return edit.Clean(line, colour) })
	m, err := newReplMachine(s, f, out)
	if err != nil {
		return 1, err
	}
	return repl.Run(repl.Options{In: os.Stdin, Out: os.Stdout, Colour: colour,
		Dumb: os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" || !s.Terminal, Quiet: f.quiet,
		History: historyFile(), Machine: m, Output: out, SaveMaps: saveMaps,
		Banner: "slope " + Version + " · type probes, sli, slo or expressions · :help · Tab completes · Ctrl-D leaves"})
}

// historyFile is where lines are remembered; "" when there is no home.
func historyFile() string {
	if file, ok := os.LookupEnv("SLOPE_HISTORY"); ok {
		return file
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "slope", "history")
}

// saveMaps writes what the shell would print at its end into a file, when nobody can see it.
func saveMaps(write func(io.Writer) error) (string, error) {
	file, err := os.CreateTemp("", "slope-maps-*.txt")
	if err != nil {
		return "", fmt.Errorf("save maps: %w", err)
	}
	err = errors.Join(write(file), file.Close())
	fmt.Fprintf(os.Stderr, "slope: the maps are in %s\n", file.Name())
	return file.Name(), err
}

// replMachine is this machine as the shell sees it.
type replMachine struct {
	*stdlib.Registry
	streams Streams
	flags   *runFlags
	out     io.Writer
	work    *workshop
	options compiler.Options
	turn    *engine.Switch
	old     []*engine.Switch // of generations that failed
	printer *output
	guard   *guard    // holds the maps should the shell crash; nil without one
	stats   io.Closer // keeps the kernel's statistics of programs on
}

func newReplMachine(s Streams, f *runFlags, out io.Writer) (*replMachine, error) {
	w := newWorkshop(f.pid)
	m := &replMachine{Registry: w.registry, streams: s, flags: f, out: out, work: w, options: w.options(nil, f.pid),
		printer: &output{w: out, mode: "line"}}
	m.options.Config.Unsafe = f.unsafe
	var err error
	if m.turn, err = engine.NewSwitch(); err != nil {
		w.close()
		return nil, err
	}
	if m.guard, err = startGuard(s, f); err != nil {
		m.unguarded(err)
	}
	if stats, err := bpf.EnableStats(); err == nil { // without it, :stats shows no times
		m.stats = stats
	}
	return m, nil
}

// unguarded goes on without a guard, and says so.
func (m *replMachine) unguarded(err error) {
	fmt.Fprintf(m.out, "WARNING: %s: what maps hold is lost should the shell crash\n", err)
	m.guard.close()
	m.guard = nil
}

// Close implements repl.Machine.
func (m *replMachine) Close() error {
	err := errors.Join(m.turn.Close(), m.work.close())
	m.guard.close()
	for _, s := range m.old {
		err = errors.Join(err, s.Close())
	}
	if m.stats != nil {
		err = errors.Join(err, m.stats.Close())
	}
	return err
}

// Compile implements repl.Machine.
func (m *replMachine) Compile(file *source.File) (*compiler.Object, source.Diagnostics) {
	obj, diags := compiler.Compile(file, m.options)
	if obj != nil {
		if more := checkExports(obj); more.HasErrors() {
			return nil, append(diags, more...)
		}
	}
	return obj, diags
}

// Stages implements repl.Machine.
func (m *replMachine) Stages(file *source.File, stage string, w io.Writer) {
	o := m.options
	o.Dump, o.DumpTo = []string{stage}, w
	_, diags := compiler.Compile(file, o)
	diags.Render(w, m.streams.Color)
}

// Probes implements repl.Machine. It looks things up by itself, since it runs beside everything else.
func (m *replMachine) Probes(pattern string, f func(string) bool) error {
	own := &stdlib.Machine{Registry: m.Registry}
	err := own.List(pattern, func(l stdlib.Listed) bool { return f(l.Name) })
	return errors.Join(err, own.Close())
}

// Fields implements repl.Machine; it too runs beside everything else.
func (m *replMachine) Fields(a *syntax.AttachPoint) ([]types.Field, error) {
	row := m.Probe(a.Parts[0])
	if row == nil {
		return nil, fmt.Errorf("unknown probe type '%s'", a.Parts[0])
	}
	own := &stdlib.Machine{Registry: m.Registry}
	defer own.Close()
	targets, err := own.Resolve(row, a)
	if err == nil && len(targets) > 0 {
		err = targets[0].ReadDebug()
	}
	if err != nil || len(targets) == 0 || targets[0].Args == nil {
		return nil, err
	}
	return deepFields(targets[0].Args.Layout.Fields(), 3), nil
}

// deepFields looks fields up while what they come from is open, down to a depth.
func deepFields(fields []types.Field, depth int) []types.Field {
	out := make([]types.Field, len(fields))
	for i, f := range fields {
		t := f.Type
		inner := t
		if t.Kind == types.Pointer && t.Elem != nil {
			inner = t.Elem
		}
		if inner.Kind == types.Struct && inner.Layout != nil {
			own := *inner
			own.Layout = types.Fields(nil)
			if depth > 0 {
				own.Layout = types.Fields(deepFields(inner.Layout.Fields(), depth-1))
			}
			if t == inner {
				f.Type = &own
			} else {
				f.Type = types.PointerTo(&own, t.User)
			}
		}
		out[i] = f
	}
	return out
}

// Doctor implements repl.Machine.
func (m *replMachine) Doctor(w io.Writer) {
	s := m.streams
	s.Out = w
	s.doctor(m.work.features)
}
