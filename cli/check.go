package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// The exit statuses of check. They differ from those of a run, because a CI job acts on them.
const (
	checkFailed       exitStatus = 1
	checkWrong        exitStatus = 2 // command line or script
	checkInconclusive exitStatus = 3
	checkBroken       exitStatus = 4 // not attached, or an error at run time
)

// checkTick is how often the counters are looked at while a run goes.
const checkTick = time.Second

// checkFlags are the flags of check.
type checkFlags struct {
	length       time.Duration
	confidence   string
	inconclusive string
	report       string
	junit        string
	early        bool
	unsafe       bool

	tick    time.Duration
	level   float64 // of confidence
	params  []string
	command []string
}

// newCheck is "slope check".
func newCheck(s Streams) *cobra.Command {
	f := checkFlags{tick: checkTick}
	c := &cobra.Command{
		Use:   "check FILE [params] [--for DURATION] [-- COMMAND args…]",
		Short: "Measure for a while or during a command, and decide every objective: PASS, FAIL or INCONCLUSIVE",
		Long: `check runs a script for a fixed time, while a command runs, or both until the first ends, and then decides each of its
objectives from the exact counts of good and bad events.

The counts are a sample of what the service does, so the verdict comes from Clopper and Pearson's exact bounds on the
rate of bad events, each one-sided with the confidence given: PASS when even the upper bound keeps the objective, FAIL
when even the lower bound breaks it, otherwise INCONCLUSIVE; so is an objective without events, whatever its nodata says.
The confidence holds for each objective by itself. What was lost or still ran at the end counts as bad for PASS and as
good for FAIL. Of an objective by labels, the worst label set decides.

Bad events come in bursts, and then many of them tell little. The counts of each second show it: the bounds are those of
as many independent events as vary as much, and a warning tells when these are less than half. It takes bad events in a
run of 5 seconds or more to see this.

--early looks each second and stops once an objective fails, after 30 seconds at the earliest, or once all pass, after 60,
with a test that may look as often as it likes. Half of the error is for these looks.

An objective of minutes counts whole minutes since the beginning: one bad sample makes a bad minute, and a run shorter
than a minute has none. A composite passes when all its parts pass and fails when all fail; otherwise the bounds on the
weighted mean of their burn rates decide.

The command starts once the probes are attached, which see every process, not only the command's. When the time is up
first, it is sent SIGTERM. How it ends is no verdict; a failure is told.

Exit status:
  0  every objective passed
  1  an objective failed
  2  wrong command line, or an error in the script
  3  no objective failed, one is inconclusive (--inconclusive maps it to 0 or 1)
  4  the probes could not be attached, or an error at run time`,
		Example: `  slope check checkout.slo --for 60s
  slope check checkout.slo --for 10m --early --report out.json --junit out.xml -- make load`,
		RunE: func(c *cobra.Command, args []string) error {
			if n := c.ArgsLenAtDash(); n >= 0 {
				args, f.command = args[:n], args[n:]
				if len(f.command) == 0 {
					return usagef("got no command after --")
				}
			}
			return s.check(&f, args)
		},
	}
	fl := c.Flags()
	fl.DurationVar(&f.length, "for", 0, "measure so long, such as 60s or 10m")
	fl.StringVar(&f.confidence, "confidence", "95%", "how sure a verdict must be: a per cent from 50% up, below 100%")
	fl.StringVar(&f.inconclusive, "inconclusive", "", "take an inconclusive objective as pass or fail in the exit status and in JUnit's report")
	fl.StringVar(&f.report, "report", "", "write a JSON report to this file")
	fl.StringVar(&f.junit, "junit", "", "write a JUnit XML report to this file")
	fl.BoolVar(&f.unsafe, "unsafe", false, unsafeHelp)
	fl.BoolVar(&f.early, "early", false, "stop as soon as an objective fails or all pass")
	return c
}

func (f *checkFlags) check(args []string) error {
	level, err := strconv.ParseFloat(strings.TrimSuffix(f.confidence, "%"), 64)
	f.level = level / 100
	switch {
	case len(args) == 0:
		return usagef("got no script: give a FILE, or - for the standard input")
	case f.length < 0:
		return usagef("invalid --for %s: want more than 0", f.length)
	case f.length == 0 && f.command == nil:
		return usagef("got neither --for nor a command: how long shall it measure?")
	case err != nil || !(level >= 50 && level < 100):
		return usagef("invalid confidence '%s': want a per cent from 50%% up, below 100%%", f.confidence)
	case f.inconclusive != "" && f.inconclusive != "pass" && f.inconclusive != "fail":
		return usagef("invalid --inconclusive '%s': want pass or fail", f.inconclusive)
	}
	f.params = args[1:]
	if f.command != nil {
		if _, err := exec.LookPath(f.command[0]); err != nil {
			return usagef("command '%s': %w", f.command[0], errors.Unwrap(err))
		}
	}
	for _, path := range []string{f.report, f.junit} { // not only after an hour
		if path == "" {
			continue
		}
		_, missing := os.Lstat(path)
		file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return usagef("open report: %w", err)
		}
		file.Close()
		if missing != nil { // an empty file is no report
			os.Remove(path)
		}
	}
	return nil
}

// mapped is what an inconclusive objective is taken for.
func (f *checkFlags) mapped() slo.Outcome {
	return map[string]slo.Outcome{"": slo.Inconclusive, "pass": slo.Pass, "fail": slo.Fail}[f.inconclusive]
}

// status prints an error, and makes it the exit status given unless it has its own.
func (s Streams) status(err error, status exitStatus) error {
	var own exitStatus
	var usage usageError
	if err == nil || errors.As(err, &own) || errors.As(err, &usage) {
		return err
	}
	s.report(err)
	return status
}

// check compiles a script, runs it and decides.
func (s Streams) check(f *checkFlags, args []string) error {
	if err := f.check(args); err != nil {
		return err
	}
	file, err := s.readScript("", args[0])
	if err != nil {
		return s.status(err, checkWrong)
	}
	if err := bpf.CheckPrivileges(); err != nil {
		return s.status(err, checkBroken)
	}
	w := newWorkshop(0)
	defer w.close()
	o := w.options(f.params, 0)
	o.Config.Unsafe = f.unsafe
	obj, diags := compiler.Compile(file, o)
	s.render(diags, false)
	if obj == nil {
		return checkWrong
	}
	if len(obj.Checked.SLOs) == 0 {
		return s.status(hinted{fmt.Errorf("the script '%s' has no objective to decide", args[0]),
			"add one: slo NAME = 99% of SLI <= 200ms over 30d;"}, checkWrong)
	}
	run := &session{streams: s, flags: &runFlags{format: "text", buffering: "line", quiet: true}, obj: obj, began: time.Now()}
	g := &gate{flags: f, file: file, run: run, tally: export.NewGateTally(export.Values{})}
	return s.status(g.judge(w), checkBroken)
}

// gate is one run of check.
type gate struct {
	flags *checkFlags
	file  *source.File
	run   *session

	child   *child
	endedBy string
	early   atomic.Bool
	tally   *export.GateTally
}

// judge runs the script and tells the verdict.
func (g *gate) judge(w *workshop) (err error) {
	s, f := g.run.streams, g.flags
	stopped := f.command == nil
	if f.command != nil {
		if g.child, err = startChild(quoteWords(f.command), s); err != nil {
			return err
		}
		defer func() {
			if !stopped {
				g.child.end()
			}
		}()
	}
	out, closeOut, err := s.openOutput(g.run.flags)
	if err != nil {
		return err
	}
	defer func() {
		if e := closeOut(); err == nil {
			err = e
		}
	}()
	eng, err := engine.Load(g.run.obj, engine.Options{Features: w.features, BTF: w.rawID, Warn: func(d source.Diagnostics) { g.run.streams.render(d, false) }})
	if err != nil {
		return err
	}
	defer func() {
		if e := eng.Close(); err == nil {
			err = e
		}
	}()
	w.close()
	g.run.eng, g.run.out = eng, out
	if err := g.run.setup(); err != nil {
		return err
	}
	if err := g.measure(); err != nil {
		return err
	}
	seconds := time.Since(g.run.start).Seconds()
	if g.run.err != nil {
		return g.run.err
	}
	var command *export.GateCommand
	if g.child != nil {
		command = &export.GateCommand{Args: f.command, Status: -1}
		ended := g.endedBy == "command"
		stopped = true
		if !g.child.end() {
			fmt.Fprintf(s.Err, "slope: the command, process %d, did not end on SIGTERM and still runs\n", g.child.pid())
		}
		if ended {
			command.Status = g.child.cmd.ProcessState.ExitCode()
			if !g.child.cmd.ProcessState.Success() {
				fmt.Fprintf(s.Err, "slope: the command ended with %s\n", g.child.cmd.ProcessState)
			}
		}
	}
	rep, err := g.report()
	if err != nil {
		return err
	}
	rep.Seconds, rep.Command = seconds, command
	return g.tell(rep)
}

// measure attaches, and waits for what ends the run: the time, the command, the script's exit(), a signal, a failure.
func (g *gate) measure() error {
	r := g.run
	signalled, cancel := interruptible()
	defer cancel()
	ctx, done := context.WithCancel(signalled)
	defer done()
	var beside sync.WaitGroup
	defer func() {
		done()
		beside.Wait()
	}()
	ended := "exit" // unless something else says so first
	var once sync.Once
	end := func(by string) {
		once.Do(func() { ended = by })
		done()
	}
	var failure atomic.Pointer[error]
	err := r.eng.Run(ctx, engine.Hooks{
		Events: r.decoder, Exited: func() bool { return r.exited }, Idle: r.out.idle,
		Attached: func() {
			r.start = time.Now()
			r.keep(r.packets.begin())
			if g.child != nil {
				g.child.releaseFor(r)
			}
			beside.Go(func() { g.wait(ctx, end) })
			beside.Go(func() {
				if err := g.look(ctx, end); err != nil {
					failure.Store(&err)
					done()
				}
			})
		},
	})
	done()
	beside.Wait()
	if g.endedBy = ended; signalled.Err() != nil {
		g.endedBy = "interrupt"
	}
	if p := failure.Load(); p != nil {
		err = errors.Join(err, *p)
	}
	return err
}

// wait ends the run in time, and shows on a terminal how long it takes.
func (g *gate) wait(ctx context.Context, end func(by string)) {
	s, f := g.run.streams, g.flags
	var up <-chan time.Time
	if f.length > 0 {
		timer := time.NewTimer(f.length)
		defer timer.Stop()
		up = timer.C
	}
	var gone <-chan struct{}
	if g.child != nil {
		gone = g.child.done
	}
	var tick <-chan time.Time
	if s.Terminal {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		tick = ticker.C
		defer fmt.Fprint(s.Err, "\r\x1b[K")
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-up:
			end("duration")
			return
		case <-gone:
			end("command")
			return
		case <-tick:
			text := "measuring for " + time.Since(g.run.start).Round(time.Second).String()
			if f.length > 0 {
				text = max(0, f.length-time.Since(g.run.start)).Round(time.Second).String() + " left"
			}
			fmt.Fprintf(s.Err, "\r\x1b[K%s", text)
		}
	}
}

// readings is what an indicator has recorded until now.
type readings struct {
	layout  *lower.SLILayout
	series  []agg.Series
	unknown export.Unknown
	open    uint64
}

// read reads all indicators and tells the tally.
func (g *gate) read() ([]readings, error) {
	var out []readings
	for _, l := range g.run.obj.Layout.SLIs {
		u, open, err := g.unknown(l)
		if err != nil {
			return nil, err
		}
		series, err := g.run.series(l)
		if err != nil {
			return nil, err
		}
		g.tally.Add(l, series)
		out = append(out, readings{l, series, u, open})
	}
	g.tally.Next(time.Since(g.run.start))
	return out, nil
}

// look reads the counters each second, less often where that takes long, and with --early ends the run once its verdict
// is certain.
func (g *gate) look(ctx context.Context, end func(by string)) error {
	timer := time.NewTimer(g.flags.tick)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		all, err := g.read()
		if err != nil {
			return err
		}
		const share = 10 // of the time may be spent reading
		timer.Reset(max(g.flags.tick-time.Since(began), (share-1)*time.Since(began)))
		if g.flags.early && g.certain(all) {
			g.early.Store(true)
			end("early")
			return nil
		}
	}
}

// certain tells whether an objective fails or all pass.
func (g *gate) certain(all []readings) bool {
	passed := true
	for _, r := range all {
		switch export.GateEarly(r.layout, r.series, r.unknown, g.options()) {
		case slo.Fail:
			return true
		case slo.Inconclusive:
			passed = false
		}
	}
	return passed
}

func (g *gate) options() export.GateOptions {
	return export.GateOptions{Confidence: g.flags.level, Sentence: gateSentence, Tally: g.tally, Early: g.flags.early,
		Stopped: g.early.Load(), Cut: g.endedBy == "interrupt"}
}

// report reads everything and decides.
func (g *gate) report() (*export.GateReport, error) {
	r := g.run
	sum := sha256.Sum256([]byte(g.file.Text))
	rep := &export.GateReport{Version: export.GateVersion, Slope: Version, Kernel: kernelName(), Start: r.start, EndedBy: g.endedBy,
		Script:     export.GateScript{File: g.file.Name, SHA256: hex.EncodeToString(sum[:]), Params: g.flags.params},
		Confidence: g.flags.level, Objectives: []export.GateObjective{}, Indicators: []export.GateIndicator{}}
	readings, err := g.read()
	if err != nil {
		return nil, err
	}
	for _, x := range readings {
		rep.Objectives = append(rep.Objectives, export.NewGateObjectives(x.layout, x.series, x.unknown, g.options())...)
		rep.Indicators = append(rep.Indicators, export.NewGateIndicator(x.layout, x.series, r.scale(x.layout.SLI), x.unknown, x.open, export.Values{}))
	}
	for _, o := range r.obj.Checked.SLOs {
		if o.Parts != nil {
			rep.Objectives = append(rep.Objectives, export.NewGateComposite(o, rep.Objectives, g.options()))
		}
	}
	rep.Outcome = rep.Result().String()
	all, err := r.report()
	if err != nil {
		return nil, err
	}
	rep.Losses = export.NewGateLosses(all.losses)
	r.format.Losses(all.losses)
	return rep, r.format.Err()
}

// tell prints the verdicts and writes the reports.
func (g *gate) tell(rep *export.GateReport) error {
	s, f := g.run.streams, g.flags
	g.run.out.flush()
	if err := export.GateText(s.Out, rep.Objectives, rep.Confidence, s.Color && s.Terminal); err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	for _, one := range []struct {
		path  string
		write func(*os.File) error
	}{
		{f.report, func(w *os.File) error { return rep.JSON(w) }},
		{f.junit, func(w *os.File) error { return rep.JUnit(w, f.mapped()) }},
	} {
		if one.path == "" {
			continue
		}
		file, err := os.Create(one.path)
		if err != nil {
			return fmt.Errorf("open report: %w", err)
		}
		if err := errors.Join(one.write(file), file.Close()); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		fmt.Fprintf(s.Out, "report: %s\n", one.path)
	}
	result := rep.Result()
	if result == slo.Inconclusive {
		result = f.mapped()
	}
	switch result {
	case slo.Pass:
		return nil
	case slo.Fail:
		return checkFailed
	}
	return checkInconclusive
}

// gateSentence is an objective without its indicator and its window, which a gate's run replaces: "99.9 % <= 200ms".
func gateSentence(o *check.SLO) string {
	n := o.Node.Sentence
	s := strings.TrimSuffix(n.Objective.Raw, "%") + " %"
	if o.Minutes {
		s += " of minutes"
	}
	return s + condition(o)
}

// kernelName is the running kernel's release and machine.
func kernelName() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

// quoteWords writes words so that splitWords reads them as they are.
func quoteWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(out, " ")
}
