package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/engine"
)

// defaultListen is where metrics are served when a script has indicators and nothing else was said.
const defaultListen = "127.0.0.1:9435"

// runFlags are the flags of the root command.
type runFlags struct {
	program    string
	given      bool // -e, be it with an empty program
	pid        int
	command    string
	format     string
	output     string
	buffering  string
	quiet      bool
	noWarnings bool
	verbose    bool
	unsafe     bool
	dryRun     bool
	dump       string
	list       bool
	listen     string
	test       bool
	every      time.Duration
	state      string
	incidents  string
	export     exportFlags
}

// newRun is the root command: run a script.
func newRun(s Streams) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:     "slope [flags] FILE [params] | slope [flags] -e 'program' [params]",
		Short:   "Trace, measure and judge with a bpftrace-style language for service-level indicators",
		Version: Version,
		Long: `slope runs bpftrace programs and .slo scripts: probes, indicators (sli), objectives (slo), and their
export to Prometheus, compiled to eBPF by its own compiler.`,
		Example: `  slope -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }'
  slope checkout.slo                      run a script until Ctrl-C, metrics on ` + defaultListen + `
  slope -f json -o out.json script.slo    bpftrace's JSON lines into a file
  slope -c './server -x' script.slo       start a program once the probes are attached
  slope -l 'tracepoint:sched:*'           list probes
  slope -d ir,asm -e 'begin { @ = 1; }'   print stages of the compiler
  slope explain checkout.slo              show what sli and slo become`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			f.given = c.Flags().Changed("execute")
			return s.run(&f, args)
		},
	}
	fl := c.Flags()
	fl.BoolP("version", "V", false, "print the version")
	fl.StringVarP(&f.program, "execute", "e", "", "run this program text")
	fl.IntVarP(&f.pid, "pid", "p", 0, "trace only this process")
	fl.StringVarP(&f.command, "cmd", "c", "", "run this command, and exit when it ends")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text or json")
	fl.StringVarP(&f.output, "output", "o", "", "write output to this file")
	fl.StringVarP(&f.buffering, "buffering", "B", "line", "output buffering: line, full or none")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print no messages besides the script's output")
	fl.BoolVar(&f.noWarnings, "no-warnings", false, "print no warnings")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print more; with -l, arguments")
	fl.BoolVar(&f.unsafe, "unsafe", false, "allow functions that change the system")
	fl.BoolVar(&f.dryRun, "dry-run", false, "attach, then exit")
	fl.StringVarP(&f.dump, "debug", "d", "", "print stages: ast, types, ir, opt, ra, asm, all")
	fl.BoolVarP(&f.list, "list", "l", false, "list probes that match a pattern")
	fl.DurationVar(&f.every, "every", 0, "print the objectives every so often, such as 10s")
	fl.StringVar(&f.state, "state", "", "keep the history of the objectives in this directory")
	fl.StringVar(&f.incidents, "incidents", "", "write reports of burning objectives to this directory (default that of --state)")
	fl.BoolVar(&f.test, "test", false, "run test probes")
	fl.StringVar(&f.listen, "listen", "", "serve /metrics on this address, or off (default "+defaultListen+" for scripts with an sli)")
	f.export.add(fl)
	return c
}

func (f *runFlags) check(args []string) error {
	switch {
	case f.test:
		return errors.New("--test is not supported by this version of slope")
	case f.format != "text" && f.format != "json":
		return usagef("invalid output format '%s': want text or json", f.format)
	case f.buffering != "line" && f.buffering != "full" && f.buffering != "none":
		return usagef("invalid output buffering '%s': want line, full or none", f.buffering)
	case f.pid != 0 && f.command != "":
		return usagef("-p and -c exclude each other")
	case f.every < 0 || f.every > 0 && f.every < time.Second:
		return usagef("invalid --every %s: want at least 1s", f.every)
	case f.pid < 0:
		return usagef("invalid process ID %d", f.pid)
	case !f.given && len(args) == 0:
		return f.shell()
	}
	return f.export.check(f.listen)
}

// run compiles and runs a script.
func (s Streams) run(f *runFlags, args []string) error {
	if f.list {
		return s.list(f, args)
	}
	if err := f.check(args); err != nil {
		return err
	}
	dump, err := stages(f.dump)
	if err != nil {
		return err
	}
	name := ""
	if !f.given {
		name, args = args[0], args[1:]
	}
	file, err := s.readScript(f.program, name)
	if err != nil {
		return err
	}
	if dump == nil || f.command != "" {
		if err := bpf.CheckPrivileges(); err != nil {
			return err
		}
	}
	warning, err := checkPidNamespace(f.pid, f.command)
	if err != nil {
		return err
	}
	if warning != "" && !f.quiet && !f.noWarnings {
		fmt.Fprintf(s.Err, "WARNING: %s\n", warning)
	}
	if f.pid != 0 {
		if err := unix.Kill(f.pid, 0); errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("no process with ID %d", f.pid)
		}
	}
	var c *child
	pid := f.pid
	if f.command != "" {
		if c, err = startChild(f.command, s); err != nil {
			return err
		}
		defer func() {
			if !c.end() {
				fmt.Fprintf(s.Err, "slope: process %d of -c did not end on SIGTERM and still runs\n", c.pid())
			}
		}()
		pid = c.pid()
	}
	w := newWorkshop(pid)
	defer w.close()
	opt := w.options(args, f.pid) // as in bpftrace, -c limits the probes on functions only
	opt.Dump, opt.DumpTo = dump, s.Out
	obj, diags := compiler.Compile(file, opt)
	s.render(diags, f.noWarnings)
	if obj == nil {
		return exitStatus(1)
	}
	if dump != nil {
		return nil
	}
	if diags := checkExports(obj); diags.HasErrors() {
		return diags
	}
	return s.runObject(f, w, obj, c, pid)
}

// render prints diagnostics, warnings only when wanted.
func (s Streams) render(diags source.Diagnostics, noWarnings bool) {
	for _, d := range diags {
		if d.Severity == source.Error || !noWarnings {
			d.Render(s.Err, s.Color)
		}
	}
}

// runObject loads, attaches and waits.
func (s Streams) runObject(f *runFlags, w *workshop, obj *compiler.Object, c *child, pid int) (err error) {
	began := time.Now()
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
	eng, err := engine.Load(obj, engine.Options{Features: w.features, BTF: w.rawID, Pid: pid})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()
	w.close() // what compiling opened is not needed any more

	run := &session{streams: s, flags: f, obj: obj, eng: eng, out: out, began: began}
	if err := run.setup(); err != nil {
		return err
	}
	if run.follows, err = run.follow(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.follows.close()) }()
	addr, stop, err := run.listen()
	if err != nil {
		return err
	}
	defer stop()

	ctx, cancel := interruptible()
	defer cancel()
	gone, unwatch, err := watchProcess(f.pid, c)
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
	err = eng.Run(ctx, engine.Hooks{
		Events: run.decoder, Lock: &run.printing, Exited: func() bool { return run.exited }, Stay: c != nil,
		Idle: func() {
			if out.idle(); out.err != nil {
				done() // nobody reads what comes
			}
		},
		Attached: func() {
			run.attached(addr)
			if f.dryRun {
				done()
			} else if c != nil {
				c.release()
			}
		},
	})
	if err != nil {
		return err
	}
	if err := run.finish(); err != nil {
		return err
	}
	if run.status != 0 {
		return exitStatus(run.status)
	}
	return nil
}

// interruptible is a context that the first SIGINT or SIGTERM ends; the second kills as usual. Meanwhile SIGPIPE is an
// error of the write, so that a reader who leaves ends the script in order.
func interruptible() (context.Context, func()) {
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, func() {
		stop()
		signal.Stop(pipe)
	}
}

// watchProcess closes the channel when the process of -p or the child of -c has ended; stop ends the watching.
func watchProcess(pid int, c *child) (gone <-chan struct{}, stop func(), err error) {
	if c != nil {
		return c.done, func() {}, nil
	}
	ended := make(chan struct{})
	if pid == 0 {
		return ended, func() {}, nil
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		err := raw.Read(func(fd uintptr) bool { // called again each time the descriptor becomes readable
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err == nil {
			close(ended)
		}
	}()
	return ended, func() {
		file.Close()
		<-stopped
	}, nil
}

// output is a buffered writer with the flushing that -B asks for.
type output struct {
	w    io.Writer
	buf  []byte
	mode string
	err  error
}

const fullBuffer = 64 << 10

// Write implements io.Writer; an error of the writer below sticks.
func (o *output) Write(p []byte) (int, error) {
	o.buf = append(o.buf, p...)
	if o.mode == "none" || len(o.buf) >= fullBuffer {
		o.flush()
	}
	return len(p), o.err
}

func (o *output) flush() {
	if len(o.buf) > 0 && o.err == nil {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
}

// idle is called when everything that happened was written: with -B line it shows now.
func (o *output) idle() {
	if o.mode != "full" {
		o.flush()
	}
}

func (s Streams) openOutput(f *runFlags) (*output, func() error, error) {
	o := &output{w: s.Out, mode: f.buffering}
	if f.output == "" {
		return o, func() error { o.flush(); return o.err }, nil
	}
	file, err := os.Create(f.output)
	if err != nil {
		return nil, nil, fmt.Errorf("open output: %w", err)
	}
	o.w = file
	return o, func() error {
		o.flush()
		if err := file.Close(); o.err == nil {
			o.err = err
		}
		return o.err
	}, nil
}

// listenOn opens the address of the metrics.
func listenOn(addr string) (net.Listener, error) {
	if _, err := strconv.ParseUint(addr, 10, 16); err == nil {
		addr = "127.0.0.1:" + addr
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, hinted{fmt.Errorf("the address %s for /metrics is in use", addr),
			"choose another with --listen 127.0.0.1:PORT, or --listen off for none"}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for /metrics: %w", err)
	}
	return l, nil
}
