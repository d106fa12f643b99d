package main

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
)

// batch is the number of events of one run of a trigger: many for the clock's resolution, few enough that a run mostly
// ends before the next timer interrupt.
const batch = 4000

// triggerFunc is a kernel function for tests of the kernel's own, whose only effect is to fire bpf_trigger_tp with its
// argument.
const triggerFunc = "bpf_modify_return_test_tp"

// trigger fires events.
type trigger struct {
	prog *ebpf.Program
	seed uint64
}

// newTrigger loads a program that calls triggerFunc batch times and returns the nanoseconds between.
func newTrigger(ix *btf.Index, v values) (*trigger, error) {
	id, err := ix.Find(triggerFunc, btf.KindFunc)
	if err != nil {
		return nil, fmt.Errorf("trigger events: %w", err)
	}
	insns := asm.Instructions{
		asm.LoadMem(asm.R8, asm.R1, 0, asm.DWord), // the state of the generator
		asm.Mov.Imm(asm.R9, 0),
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
	}
	body := next(v)
	body[0] = body[0].WithSymbol("loop")
	insns = append(insns, body...)
	insns = append(insns,
		bpf.CallKernel(int64(id)),
		asm.Add.Imm(asm.R9, 1),
		asm.JLT.Imm(asm.R9, batch, "loop"),
		asm.FnKtimeGetNs.Call(),
		asm.Sub.Reg(asm.R0, asm.R7),
		asm.Return())
	prog, err := bpf.Load(bpf.ProgSpec{Name: "trigger", Type: ebpf.Syscall, Insns: insns, Sleepable: true})
	if err != nil {
		return nil, fmt.Errorf("trigger events: %w", err)
	}
	return &trigger{prog: prog, seed: 0x9e3779b97f4a7c15}, nil
}

// next sets r1 to the argument of the next event; r9 counts the events.
func next(v values) asm.Instructions {
	switch v {
	case random: // 30 random bits, shifted right by a random number of places
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R8), asm.LSh.Imm(asm.R1, 13), asm.Xor.Reg(asm.R8, asm.R1),
			asm.Mov.Reg(asm.R1, asm.R8), asm.RSh.Imm(asm.R1, 7), asm.Xor.Reg(asm.R8, asm.R1),
			asm.Mov.Reg(asm.R1, asm.R8), asm.LSh.Imm(asm.R1, 17), asm.Xor.Reg(asm.R8, asm.R1),
			asm.Mov.Reg(asm.R1, asm.R8), asm.RSh.Imm(asm.R1, 34),
			asm.Mov.Reg(asm.R2, asm.R8), asm.And.Imm(asm.R2, 31), asm.RSh.Reg(asm.R1, asm.R2),
		}
	case pairs:
		return asm.Instructions{asm.Mov.Reg(asm.R1, asm.R9), asm.And.Imm(asm.R1, 1), asm.Add.Imm(asm.R1, 1)}
	}
	return asm.Instructions{asm.Mov.Imm(asm.R1, 1000)}
}

// fire runs a batch and returns the nanoseconds of one event.
func (t *trigger) fire() (float64, error) {
	t.seed = t.seed*6364136223846793005 + 1442695040888963407
	ns, err := bpf.TestRun(t.prog, []uint64{t.seed | 1}, -1)
	return float64(ns) / batch, err
}

// least is the best of some runs.
func (t *trigger) least(runs int) (float64, error) {
	best := math.Inf(1)
	for range runs {
		ns, err := t.fire()
		if err != nil {
			return 0, err
		}
		best = min(best, ns)
	}
	return best, nil
}
