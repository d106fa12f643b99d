package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/supervisor"
)

// defaultListen is where metrics are served when a script has indicators and nothing else was said.
const defaultListen = "127.0.0.1:9435"

// runFlags are the flags of the root command and of run.
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
	attach     []string
	unsafe     bool
	dryRun     bool
	dump       string
	list       bool
	listen     string
	test       bool
	bench      bool
	every      time.Duration
	state      string
	incidents  string
	watch      bool
	export     exportFlags

	maxOverhead string
}

const unsafeHelp = "allow functions and probes that change the system"

// newBpftrace is the root command without its subcommands: bpftrace's command line, which runs a script.
func newBpftrace(s Streams) *cobra.Command {
	var f runFlags
	c := s.runCommand(&f, &cobra.Command{
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
  slope explain checkout.slo              show what sli and slo become
  slope serve /etc/slope                  run many scripts, and reload them when they change`,
	})
	new(borrowed).add(s, c, &f)
	return c
}

// newRun is "slope run".
func newRun(s Streams) *cobra.Command {
	return s.runCommand(new(runFlags), &cobra.Command{
		Use:   "run [flags] FILE [params] | run [flags] -e 'program' [params]",
		Short: "Run a script until it ends or is interrupted",
		Long: `run runs a script: it is what slope does with a FILE and no subcommand, with the same flags.

With --watch the script is replaced while it runs when its file changes, however that is done: written in place, renamed
over, or by the swap of a symbolic link as in a Kubernetes ConfigMap; and on SIGHUP also when it has not changed (without
--watch a SIGHUP ends the script, as when its terminal is closed). A text with errors is told of, and the one that runs
goes on. Otherwise the new programs are attached beside the old ones and take over at one instant: no event is lost and
none is counted twice.

What is kept: maps of the same name, type and size; an sli whose text, and the conditions of whose objectives, are the
same, with its counters in the metrics; spans that run; the history of objectives by their name, as over a restart.
begin runs again when its text is new or a map that it fills was not kept; end runs when the script ends. Programs run
through a dispatcher, which costs them some 10 ns per event.

With --max-overhead the time that programs run is measured, as a part of the time of all CPUs. Where it is above the limit for
some seconds, the dearest programs are detached: first those that no sli needs. They come back when there is room again, and
are tried from time to time. Nothing is sampled, so counts are exact while a program is attached. It is told when one is detached and
attached, and at the end for how long; an objective whose sli needs it takes that time as not observed, never as good.`,
		Example: `  slope run checkout.slo
  slope run --watch --state /var/lib/slope checkout.slo
  slope run -f json -o out.json script.slo`,
	})
}

// runCommand makes a command that runs a script.
func (s Streams) runCommand(f *runFlags, c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		f.given = c.Flags().Changed("execute")
		return s.run(f, args)
	}
	fl := c.Flags()
	fl.StringVarP(&f.program, "execute", "e", "", "run this program text")
	fl.VarP((*pidFlag)(&f.pid), "pid", "p", "trace only this process")
	fl.StringVarP(&f.command, "cmd", "c", "", "run this command, and exit when it ends")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text or json")
	fl.StringVarP(&f.output, "output", "o", "", "write output to this file")
	fl.StringVarP(&f.buffering, "buffering", "B", "line", "output buffering: line, full or none")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print no messages but of what is lost or went wrong")
	fl.BoolVar(&f.noWarnings, "no-warnings", false, "print no warnings")
	fl.BoolP("warnings", "k", true, "print warnings, and what failed in a probe: as always")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "print more; with -l, arguments")
	fl.StringSliceVar(&f.attach, "attach", nil, "how to attach a type of probe: kprobe=fentry, fentry=kprobe, kprobe=single, kprobe=multi, kprobe=session, and the same for uprobe")
	fl.BoolVar(&f.unsafe, "unsafe", false, unsafeHelp)
	fl.BoolVar(&f.dryRun, "dry-run", false, "attach, then exit")
	fl.StringVarP(&f.dump, "debug", "d", "", "print stages: ast, types, ir, opt, ra, asm, all")
	fl.BoolVarP(&f.list, "list", "l", false, "list probes that match a pattern")
	fl.DurationVar(&f.every, "every", 0, "print the objectives every so often, such as 10s")
	fl.StringVar(&f.state, "state", "", "keep the history of the objectives in this directory")
	fl.StringVar(&f.incidents, "incidents", "", "write reports of burning objectives to this directory (default that of --state)")
	fl.BoolVar(&f.watch, "watch", false, "replace the script while it runs when its file changes, or on SIGHUP")
	fl.StringVar(&f.maxOverhead, "max-overhead", "", overheadHelp)
	fl.BoolVar(&f.test, "test", false, "run the script's test probes, and nothing else of it")
	fl.BoolVar(&f.bench, "bench", false, "measure the script's bench probes, and run nothing else of it")
	fl.StringVar(&f.listen, "listen", "", "serve /metrics on this address, or off (default "+defaultListen+" for scripts with an sli)")
	f.export.add(fl)
	return c
}

func (f *runFlags) overheadError() error {
	_, err := parsePercent(f.maxOverhead)
	return err
}

func (f *runFlags) check(args []string) error {
	switch {
	case f.test && f.bench:
		return usagef("--test and --bench exclude each other")
	case f.format != "text" && f.format != "json":
		return usagef("invalid output format '%s': want text or json", f.format)
	case f.buffering != "line" && f.buffering != "full" && f.buffering != "none":
		return usagef("invalid output buffering '%s': want line, full or none", f.buffering)
	case f.pid != 0 && f.command != "":
		return usagef("-p and -c exclude each other")
	case f.every < 0 || f.every > 0 && f.every < time.Second:
		return usagef("invalid --every %s: want at least 1s", f.every)
	case f.attachError() != nil:
		return f.attachError()
	case f.overheadError() != nil:
		return f.overheadError()
	case f.watch && (f.given || len(args) > 0 && args[0] == "-"):
		return usagef("--watch wants a script that is a file")
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
	if s.script != nil {
		f.given = true
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
	file, err := s.script, error(nil)
	if file == nil {
		file, err = s.readScript(f.program, name)
	}
	if err != nil {
		return err
	}
	if dump == nil || f.command != "" {
		if err := bpf.CheckPrivileges(); err != nil {
			return err
		}
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
	// As in bpftrace, -c limits the probes on functions only.
	r := &runner{streams: s, flags: f, name: supervisor.Name(file.Name), file: file.Name, text: file.Text, params: args, pid: f.pid, limit: pid, child: c, dump: dump}
	r.host = &console{runner: r}
	obj, w, err := r.compile(file)
	if err != nil {
		return err
	}
	defer w.close()
	if dump != nil {
		return nil
	}
	if f.test || f.bench {
		return s.proofs(r, w, obj)
	}
	return s.runObject(r, w, obj)
}

// render prints diagnostics, warnings only when wanted.
func (s Streams) render(diags source.Diagnostics, noWarnings bool) {
	for _, d := range diags {
		if d.Severity == source.Error || !noWarnings {
			d.Render(s.Err, s.Color)
		}
	}
}
