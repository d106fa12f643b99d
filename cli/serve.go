package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/supervisor"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	listen    string
	state     string
	incidents string
	outputDir string
	format    string
	logFormat string
	lifecycle bool
	unsafe    bool
	export    exportFlags

	maxOverhead string
}

// newServe is "slope serve".
func newServe(s Streams) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve FILE|DIRECTORY… [flags]",
		Short: "Run many scripts as a service, with one /metrics, and reload them when they change",
		Long: `serve runs scripts until it is told to end: the files given, and every *.slo in the directories given, as they come and
go. Each is replaced when its file changes or on SIGHUP, without losing or doubling an event, as "slope run --watch" does.

The scripts do not hinder each other. One that cannot be compiled, attached or run is told of in the log and in the metrics,
and tried again when it changes and after a time that doubles up to a minute. A script that calls exit() has ended until it changes.

All share one /metrics, where every series has the label script with the name of the file without its ending; so names are
unique, and an sli has no label of that name. The same pages say how things are:
  /-/healthy  200 while the process runs
  /-/ready    200 once every script is attached, or has run to its end, otherwise 503
  /-/reload   POST reloads everything, where --web.enable-lifecycle allows it; 500 if a script cannot be
The first two answer with each script's state, error and probes as JSON.

What scripts print goes to the standard output, each line after the name of its script, or to a file each with --output-dir. The
log goes to the standard error. --max-overhead limits all scripts together, as described for run. On SIGTERM or SIGINT every script is detached, prints what a run prints at its end, and its
history is saved; the exit status is 0.`,
		Example: `  slope serve /etc/slope --state /var/lib/slope
  slope serve checkout.slo network.slo --listen :9435 --log-format json
  slope serve /etc/slope --output-dir /var/log/slope --web.enable-lifecycle`,
		RunE: func(_ *cobra.Command, args []string) error { return s.serve(&f, args) },
	}
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen", "", "serve /metrics on this address, or off (default "+defaultListen+")")
	fl.StringVar(&f.state, "state", "", "keep the histories of the objectives in this directory")
	fl.StringVar(&f.incidents, "incidents", "", "write reports of burning objectives to this directory (default that of --state)")
	fl.StringVar(&f.outputDir, "output-dir", "", "write what each script prints to NAME.out, or NAME.json, in this directory")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text, or json with --output-dir")
	fl.StringVar(&f.logFormat, "log-format", "text", "format of the log: text or json")
	fl.BoolVar(&f.lifecycle, "web.enable-lifecycle", false, "allow a POST to /-/reload")
	fl.StringVar(&f.maxOverhead, "max-overhead", "", overheadHelp)
	fl.BoolVar(&f.unsafe, "unsafe", false, unsafeHelp)
	f.export.add(fl)
	return c
}

func (f *serveFlags) check(args []string) error {
	switch {
	case len(args) == 0:
		return usagef("got no script: give FILEs, or directories with *.slo files")
	case f.format != "text" && f.format != "json":
		return usagef("invalid output format '%s': want text or json", f.format)
	case f.format == "json" && f.outputDir == "":
		return usagef("-f json wants --output-dir: lines of several scripts would be mixed")
	case f.logFormat != "text" && f.logFormat != "json":
		return usagef("invalid log format '%s': want text or json", f.logFormat)
	}
	if _, err := parsePercent(f.maxOverhead); err != nil {
		return err
	}
	for _, l := range f.export.labels {
		if strings.HasPrefix(l, "script=") {
			return usagef("--label: the label 'script' is the name of the script here")
		}
	}
	names := map[string]string{}
	for _, path := range args {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			continue
		}
		name := supervisor.Name(path)
		if other, ok := names[name]; ok {
			return usagef("the scripts %s and %s have the same name '%s'", other, path, name)
		}
		names[name] = path
	}
	return f.export.check(f.listen)
}

// server is a running serve.
type server struct {
	streams Streams
	flags   *serveFlags
	log     *slog.Logger
	scripts *supervisor.Supervisor
	sink    sync.Mutex // one line of the standard output at a time
	keep    *keeper    // nil: no limit

	mu      sync.Mutex
	runners map[string]*runner // those with numbers, by script
	clashes map[string]bool    // metrics that were told of
	ended   []*runner          // at the end: to be closed once the last numbers are pushed
}

// serve runs scripts until a signal.
func (s Streams) serve(f *serveFlags, args []string) error {
	if err := f.check(args); err != nil {
		return err
	}
	if err := bpf.CheckPrivileges(); err != nil {
		return err
	}
	if f.outputDir != "" {
		if err := os.MkdirAll(f.outputDir, 0o755); err != nil {
			return fmt.Errorf("make output directory: %w", err)
		}
	}
	var handler slog.Handler = slog.NewTextHandler(s.Err, nil)
	if f.logFormat == "json" {
		handler = slog.NewJSONHandler(s.Err, nil)
	}
	v := &server{streams: s, flags: f, log: slog.New(handler), runners: map[string]*runner{}, clashes: map[string]bool{}}
	v.scripts = supervisor.New(supervisor.Options{Paths: args, Suffix: ".slo", Run: v.run, Log: v.log})
	return v.serve()
}

func (v *server) serve() error {
	address := v.flags.listen
	if address == "" {
		address = defaultListen
	}
	listeners, err := v.flags.export.listeners(address)
	if err != nil {
		return err
	}
	limit, err := parsePercent(v.flags.maxOverhead)
	if err != nil {
		return err
	}
	var release func()
	if v.keep, release, err = govern(limit, v.attachedScripts); err != nil {
		closeAll(listeners)
		return err
	}
	defer release()
	e := &exporter{flags: &v.flags.export, start: time.Now(), handlers: v.pages(), logger: v.log,
		pushed: func(url string, err error) {
			v.log.Warn("push failed (told once; slope_push_failures_total counts)", "url", url, "err", err)
		}}
	e.gather = v.gatherer(e)
	addr, stop, err := e.run(listeners)
	if err != nil {
		return err
	}
	ctx, cancel := interruptible()
	defer cancel()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	v.log.Info("slope serves", "version", Version, "address", addr)
	var beside sync.WaitGroup
	beside.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				v.scripts.Reload(ctx) // which logs
			}
		}
	})
	beside.Go(func() { v.notify(ctx) })
	v.scripts.Run(ctx)
	beside.Wait()
	stop()
	v.log.Info("slope ends")
	for _, r := range v.ended {
		err = errors.Join(err, r.close())
	}
	return err
}

// notify tells systemd once everything is attached.
func (v *server) notify(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			daemon.SdNotify(false, daemon.SdNotifyStopping)
			return
		case <-tick.C:
			if _, ready := v.scripts.Status(); ready {
				tick.Stop()
				daemon.SdNotify(false, daemon.SdNotifyReady)
			}
		}
	}
}

// run runs one script from its text to its end.
func (v *server) run(ctx context.Context, sc *supervisor.Script, text string) (err error) {
	f := &runFlags{format: v.flags.format, buffering: "line", state: v.flags.state, incidents: v.flags.incidents, export: v.flags.export, unsafe: v.flags.unsafe}
	f.export.labels = append([]string{"script=" + sc.Name}, f.export.labels...)
	log := v.log.With("script", sc.Name)
	host := &served{server: v, script: sc, log: log}
	r := &runner{streams: Streams{Out: io.Discard, Err: io.Discard}, flags: f, name: sc.Name, file: sc.Path, host: host, began: time.Now()}
	host.runner = r
	obj, w, err := r.compile(source.NewFile(sc.Path, text))
	if err != nil {
		return err
	}
	defer w.close()
	r.partly = v.keep != nil
	out, closeOut, err := v.output(sc.Name)
	if err != nil {
		return err
	}
	r.out = out
	defer func() { err = errors.Join(err, closeOut()) }()
	if r.board, err = engine.NewSwitch(); err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			v.publish(r, false)
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.start(obj, w); err != nil {
		return err
	}
	w.close()
	v.publish(r, true)
	if err := r.run(ctx, sc.Changes()); err != nil {
		return err
	}
	last := r.current.Load()
	if err := last.finish(); err != nil {
		return err
	}
	for _, line := range v.keep.summary(sc.Name) {
		host.governed(last, line)
	}
	if ctx.Err() != nil {
		kept = true // the last push still wants its numbers
		v.mu.Lock()
		v.ended = append(v.ended, r)
		v.mu.Unlock()
	} else if last.status != 0 {
		log.Warn("the script ended by exit()", "status", last.status)
	}
	return nil
}

// publish adds the numbers of a script to the metrics, or takes them away.
func (v *server) publish(r *runner, on bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if on {
		v.runners[r.name] = r
	} else if v.runners[r.name] == r {
		delete(v.runners, r.name)
	}
}

// attachedScripts are the scripts with numbers.
func (v *server) attachedScripts() []*runner {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*runner
	for _, name := range slices.Sorted(maps.Keys(v.runners)) {
		out = append(out, v.runners[name])
	}
	return out
}

// output is where a script prints.
func (v *server) output(name string) (*output, func() error, error) {
	if v.flags.outputDir == "" {
		w := &prefixed{to: v.streams.Out, mu: &v.sink, prefix: name + ": "}
		o := &output{w: w, mode: "line"}
		return o, func() error { o.flush(); return w.Close() }, nil
	}
	ending := ".out"
	if v.flags.format == "json" {
		ending = ".json"
	}
	file, err := os.OpenFile(filepath.Join(v.flags.outputDir, name+ending), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("open output: %w", err)
	}
	o := &output{w: file, mode: "line"}
	return o, func() error { o.flush(); return errors.Join(o.err, file.Close()) }, nil
}

// served is the host of a script of serve.
type served struct {
	*runner
	server *server
	script *supervisor.Script
	log    *slog.Logger
	mute   sync.Once // of the error of the output
	first  bool      // was attached
}

func (h *served) diagnose(diags source.Diagnostics) error {
	var errs source.Diagnostics
	for _, d := range diags {
		if d.Severity == source.Error {
			errs = append(errs, d)
		} else {
			h.log.Warn("warning of the compiler", "warning", d.Error())
		}
	}
	return errs
}

func (h *served) idle() {
	h.out.idle()
	if h.out.err != nil { // nobody reads it; the numbers still count
		h.mute.Do(func() { h.log.Error("output cannot be written", "err", h.out.err) })
	}
}

func (h *served) attached(n *session) {
	if !h.first {
		h.first, n.start = true, time.Now()
	}
	n.follows.attached()
	h.script.Attached(n.eng.Attached())
	if pin := n.eng.Pinned(); pin != "" {
		h.log.Info("iterator pinned", "file", pin)
	}
}

func (h *served) reloaded(*session, time.Duration) {}

func (h *served) format(o export.Output) export.Output { return &logged{o, h.log} }

// trouble is an error that the script goes on with.
func (h *served) trouble(err error) { h.log.Error("trouble", "err", err) }

func (h *served) governed(_ *session, text string) { h.log.Warn(text, "kind", "governor") }

// logged is an output whose messages go to the log.
type logged struct {
	export.Output
	log *slog.Logger
}

func (l *logged) AttachedProbes(int) {}

func (l *logged) Notice(n export.Notice) {
	attrs := []any{"kind", n.Kind}
	if n.SLO != "" {
		attrs = append(attrs, "slo", n.SLO)
	}
	for _, g := range n.Group {
		attrs = append(attrs, "group", g)
	}
	level := slog.LevelInfo
	if n.Kind == "trouble" || n.State == "page" || n.State == "ticket" {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, n.Text, attrs...)
}

func (l *logged) Diagnose(d source.Diagnostic) {
	level := slog.LevelError
	if d.Severity == source.Warning {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, d.Message, "place", d.File.Place(d.Span))
}

func (l *logged) LostEvents(uint64) {} // it is among the losses

func (l *logged) Losses(losses []export.Loss) {
	for _, x := range losses {
		l.log.Warn("something was lost", "cause", x.Cause, "map", x.Map, "place", x.Place, "count", x.Count)
	}
}

// prefixed writes whole lines, each after a prefix.
type prefixed struct {
	to     io.Writer
	mu     *sync.Mutex
	prefix string
	line   []byte // begun
	out    []byte
}

func (w *prefixed) Write(p []byte) (int, error) {
	for _, c := range p {
		w.line = append(w.line, c)
		if c == '\n' {
			w.out = append(append(w.out, w.prefix...), w.line...)
			w.line = w.line[:0]
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.to.Write(w.out)
	w.out = w.out[:0]
	return len(p), err
}

// Close ends the last line.
func (w *prefixed) Close() error {
	if len(w.line) == 0 {
		return nil
	}
	_, err := w.Write([]byte{'\n'})
	return err
}
