package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/simulate"
	"github.com/slopebpf/slope/stdlib"
)

// testFlags are the flags of test.
type testFlags struct {
	run     string
	verbose bool
	format  string
	params  []string // of the scripts
}

// newTest is "slope test".
func newTest(s Streams) *cobra.Command {
	var f testFlags
	c := &cobra.Command{
		Use:   "test [flags] FILE... [-- params]",
		Short: "Run the test blocks of scripts, without a kernel",
		Long: `Run the test blocks of scripts. Each test begins with empty maps, its events are those that it fires, and time passes
only where it says so; interval probes, objectives, alerts and the probes that depend on them follow its clock. The programs
run in slope's interpreter, the same that its compiler is tested against: no privileges and no kernel are needed, and the same
test gives the same result everywhere.

  fire(PROBE, NAME = VALUE, …)  an event of a probe that the script has. NAME is a field of args, arg0 and so on, retval,
                                goid, pid, tid, uid, gid, cpu, cgroup, comm (of the process, and of args where the script
                                reads args.pid and so on), or at: when it happens, since the test began
  wait(DURATION)                time passes
  assert(CONDITION)             over maps (@x[1] == 2), indicators (count(s), p99(s)), objectives (bad(o), good(o), total(o),
                                budget(o), burnrate(o), burning(o), state(o)) and printed("text")
  $x = …; for ($i : 0..9) { … } if (…) { … }

The machine has one node, and jiffies of 4 ms. poll probes do not run: what they read is not the test's; and a program that
reads curtask or func fails the test.

The exit status is 0 when all tests pass, 1 otherwise.`,
		Example: `  slope test checkout.slo
  slope test --run budget -v scripts/*.slo
  slope test gofunc.slo -- ./server main.handle`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				files, f.params = files[:n], files[n:]
			}
			return s.test(cmd.Context(), &f, files)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.run, "run", "", "run only the tests whose name matches this regular expression")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "name every test, and show what its script prints")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text or json")
	return c
}

func (s Streams) test(ctx context.Context, f *testFlags, files []string) error {
	chosen, err := regexp.Compile(f.run)
	switch {
	case len(files) == 0:
		return usagef("test: got no script")
	case err != nil:
		return usagef("invalid --run '%s': %s", f.run, err)
	case f.format != "text" && f.format != "json":
		return usagef("invalid output format '%s': want text or json", f.format)
	}
	failed := false
	for _, name := range files {
		ok, err := s.testFile(ctx, f, name, chosen)
		if err != nil {
			return err
		}
		failed = failed || !ok
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

// testFile runs the tests of one script.
func (s Streams) testFile(ctx context.Context, f *testFlags, name string, chosen *regexp.Regexp) (ok bool, err error) {
	file, err := s.readScript("", name)
	if err != nil {
		return false, fmt.Errorf("test: %w", err)
	}
	began := time.Now()
	obj, stand, diags := compileTest(file, f.params)
	s.render(diags, true) // warnings would be of the stand-in's types
	if obj == nil {
		return false, nil
	}
	passed, ran := 0, 0
	for _, t := range obj.Checked.Tests {
		if !chosen.MatchString(t.Name.Value) {
			continue
		}
		ran++
		start := time.Now()
		r, err := simulate.Run(ctx, t, simulate.Options{Object: obj, Stage: stand, Sentence: sentence})
		if err != nil {
			return false, err
		}
		good := len(r.Failures) == 0
		if good {
			passed++
		}
		if f.format == "json" {
			err = s.testJSON(file.Name, t, r, obj, time.Since(start))
		} else {
			s.testText(f, t, r, obj, time.Since(start))
		}
		if err != nil {
			return false, err
		}
	}
	if f.format == "text" {
		switch {
		case ran == 0:
			fmt.Fprintf(s.Out, "?    %s  no tests to run\n", file.Name)
		case passed == ran:
			fmt.Fprintf(s.Out, "ok   %s  %d of %d tests passed in %s\n", file.Name, passed, ran, milliseconds(time.Since(began)))
		default:
			fmt.Fprintf(s.Out, "FAIL %s  %d of %d tests passed in %s\n", file.Name, passed, ran, milliseconds(time.Since(began)))
		}
	}
	return passed == ran, nil
}

// compileTest compiles a script for the interpreter, with its tests as the only events. The stand-in for the machine is only
// known once the script has been read, so it is read twice.
func compileTest(file *source.File, params []string) (*compiler.Object, *stdlib.Stand, source.Diagnostics) {
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	reg := stdlib.New()
	stand := stdlib.NewStand(reg, tree)
	positional, named := parameters(params)
	config := types.DefaultConfig()
	config.Unsafe = true // commands are printed, not run
	obj, diags := compiler.Compile(file, compiler.Options{Universe: reg, Library: reg, Resolver: stand, Config: config, Params: positional, Named: named, Import: importFile,
		CPUs: 1, Kernel: simulate.Kernel(), Backend: backend.Features{AtomicFetch: true}})
	return obj, stand, diags
}

func (s Streams) testText(f *testFlags, t *syntax.Test, r *simulate.Result, obj *compiler.Object, took time.Duration) {
	word := "PASS"
	if len(r.Failures) > 0 {
		word = "FAIL"
	}
	if f.verbose && r.Output != "" {
		fmt.Fprint(s.Out, r.Output)
	}
	if word == "FAIL" || f.verbose {
		fmt.Fprintf(s.Out, "--- %s: %s (%d events, %s of its clock, %s)\n", word, t.Name.Value, r.Fired, r.Lasted, milliseconds(took))
	}
	r.Failures.Render(s.Out, s.Color)
	for _, l := range lossesOf(obj, r.Losses) {
		fmt.Fprintf(s.Out, "%s: WARNING: %s\n", l.Place, export.Explain(l))
	}
}

// testJSON writes a result in the form of bpftrace's tests.
func (s Streams) testJSON(file string, t *syntax.Test, r *simulate.Result, obj *compiler.Object, took time.Duration) error {
	type result struct {
		File     string   `json:"file"`
		Passed   bool     `json:"passed"`
		Events   int      `json:"events"`
		Duration int64    `json:"duration"` // ns
		Failures []string `json:"failures,omitempty"`
		Losses   []string `json:"losses,omitempty"`
		Output   string   `json:"output,omitempty"`
	}
	out := result{File: file, Passed: len(r.Failures) == 0, Events: r.Fired, Duration: took.Nanoseconds(), Output: r.Output}
	for _, d := range r.Failures {
		out.Failures = append(out.Failures, d.Error())
	}
	for _, l := range lossesOf(obj, r.Losses) {
		out.Losses = append(out.Losses, l.Place+": "+export.Explain(l))
	}
	e := json.NewEncoder(s.Out)
	e.SetEscapeHTML(false)
	return e.Encode(map[string]any{"type": "test_result", "data": map[string]result{t.Name.Value: out}})
}
