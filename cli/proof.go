package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
)

// proofs runs the test or bench probes of a script, and nothing else of it. Tests pass when they return 0, report no error
// and do not exit with a status; where one fails the exit status is 1.
func (s Streams) proofs(r *runner, w *workshop, obj *compiler.Object) (err error) {
	out, closeOut, err := s.openOutput(r.flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeOut()) }()
	r.out, r.began = out, time.Now()
	run, err := r.load(obj, w, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.close()) }()
	p := prover{session: run}
	kind := types.HookTest
	if r.flags.bench {
		kind = types.HookBench
		stats, err := bpf.EnableStats()
		if err != nil {
			return fmt.Errorf("count time of programs: %w", err)
		}
		defer stats.Close()
	}
	list := run.eng.Proofs(kind)
	if len(list) == 0 {
		return fmt.Errorf("the script has no %s probes", map[types.HookKind]string{types.HookTest: "test", types.HookBench: "bench"}[kind])
	}
	if kind == types.HookBench {
		return p.benchmarks(list)
	}
	return p.tests(list)
}

// prover runs proofs; it is the engine.Events that see their errors.
type prover struct{ *session }

// Handle implements engine.Events.
func (p *prover) Handle(record []byte) error { return p.decoder.Handle(record) }

func (p *prover) hooks() engine.Hooks {
	return engine.Hooks{Events: p, Lock: &p.out.printing, Idle: p.out.idle}
}

func (p *prover) tests(list []engine.Proof) error {
	p.text("[==========] Running %s.\n", export.Counted(uint64(len(list)), "test"))
	var failed []string
	for _, t := range list {
		p.exited, p.status, p.errors = false, 0, 0
		p.text("[ RUN      ] %s\n", t.Name)
		ret, took, err := t.Run(p.hooks())
		if err != nil {
			return err
		}
		word := "      OK"
		passed := ret == 0 && p.errors == 0 && p.status == 0
		if !passed {
			word, failed = " FAILED ", append(failed, t.Name)
		}
		p.text("[ %s ] %s (%s)\n", word, t.Name, milliseconds(took))
		p.json("test_result", t.Name, `{"passed": %t, "time": %d}`, passed, took.Nanoseconds())
	}
	p.text("[==========] %s ran.\n[  PASSED  ] %s.\n", export.Counted(uint64(len(list)), "test"), export.Counted(uint64(len(list)-len(failed)), "test"))
	for _, name := range failed {
		p.text("[  FAILED  ] %s\n", name)
	}
	p.out.idle()
	if len(failed) > 0 {
		return exitStatus(1)
	}
	return nil
}

func (p *prover) benchmarks(list []engine.Proof) error {
	width := len("Benchmark")
	for _, b := range list {
		width = max(width, len(b.Name))
	}
	p.text("%-*s  %10s  %10s\n", width, "Benchmark", "Time (ns)", "Iterations")
	for _, b := range list {
		each, runs, err := b.Bench(p.hooks())
		if err != nil {
			return err
		}
		p.text("%-*s  %10d  %10d\n", width, b.Name, each.Nanoseconds(), runs)
		p.json("benchmark_result", b.Name, `{"time": %d, "iterations": %d}`, each.Nanoseconds(), runs)
	}
	p.out.idle()
	return nil
}

// text prints where the output is text, json where it is that. Names of probes need no quoting; times are in nanoseconds.
func (p *prover) text(format string, args ...any) {
	if p.flags.format == "text" {
		fmt.Fprintf(p.out, format, args...)
	}
}

func (p *prover) json(kind, name, format string, args ...any) {
	if p.flags.format == "json" {
		fmt.Fprintf(p.out, `{"type": "%s", "data": {"%s": `+format+"}}\n", append([]any{kind, name}, args...)...)
	}
}
