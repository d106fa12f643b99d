package engine

import (
	"fmt"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/lang/types"
)

// Proof is a test or a benchmark of the script: a program that the engine runs when it is asked to.
type Proof struct {
	Name string // as the script has it
	p    *program
	e    *Engine
}

// Proofs are those of a kind, HookTest or HookBench, in the script's order.
func (e *Engine) Proofs(kind types.HookKind) []Proof {
	var out []Proof
	for _, p := range e.programs() {
		if h := &p.fn.Hooks[0]; h.Kind == kind {
			out = append(out, Proof{h.Event, p, e})
		}
	}
	return out
}

// Run runs it once and hands over the records that it wrote. ret is what the script returned.
func (p Proof) Run(h Hooks) (ret int32, took time.Duration, err error) {
	began := time.Now()
	n, err := bpf.TestRun(p.p.prog, nil, -1)
	took = time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("run %s: %w", p.p.fn.Hook, err)
	}
	p.e.drain(h, never)
	return int32(n), took, nil
}

// minBench is how long a benchmark runs at least, by the kernel's account.
const minBench = time.Millisecond

// Bench runs it once, twice, four times and so on until the last round took a millisecond, and returns the time of one run
// by the kernel's statistics of programs, which must be on. Records are dropped.
func (p Proof) Bench(h Hooks) (each time.Duration, runs uint64, err error) {
	for n := 1; ; n *= 2 {
		before, err := p.p.stats()
		if err != nil {
			return 0, 0, fmt.Errorf("read statistics of %s: %w", p.p.fn.Hook, err)
		}
		for range n {
			if _, err := bpf.TestRun(p.p.prog, nil, -1); err != nil {
				return 0, 0, fmt.Errorf("run %s: %w", p.p.fn.Hook, err)
			}
			p.e.drain(h, func() bool { return true })
		}
		after, err := p.p.stats()
		if err != nil {
			return 0, 0, fmt.Errorf("read statistics of %s: %w", p.p.fn.Hook, err)
		}
		took, ran := after.Time-before.Time, after.Runs-before.Runs
		if took >= minBench {
			return took / time.Duration(ran), ran, nil
		}
		if ran == 0 {
			return 0, 0, fmt.Errorf("run %s: the kernel counts no runs of programs", p.p.fn.Hook)
		}
	}
}
