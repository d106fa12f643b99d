// Package backend turns one function of the intermediate representation into eBPF instructions.
//
// The way of a function, in the order of the files:
//
//	legalise.go  a private copy is rewritten: edges with arguments get blocks of their own, signed division is
//	             expanded for kernels that lack it, slots that do not fit on the stack move to per-CPU scratch
//	slots.go     slots with disjoint lifetimes share stack bytes
//	select*.go   every IR instruction becomes machine instructions on virtual registers; constants, slot addresses,
//	             map references and offsets are folded into their users, compares into branches
//	live.go      liveness as lists of ranges, holes included
//	coalesce.go  copies whose two sides never live at the same time disappear
//	alloc.go     linear scan over the ranges. The two classes need no flag: the fixed ranges of calls occupy r0–r5,
//	             so whatever lives across one finds only r6–r9 free. When nothing is free the value whose next use is
//	             furthest is spilled, or recomputed if that is cheap, and the scan starts again
//	emit.go      jumps are laid out and resolved
//
// Invariants: the same input gives the same bytes. Every instruction has the span of the IR instruction it comes
// from. Physical registers live only inside a block, from the copy into an argument register to the call, or from the
// call to the copy out of r0; r10 is the frame pointer. The program handed in is not changed.
//
// The package must not talk to the kernel: what the kernel can do is in Features. Start at Compile.
package backend

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

// Features says what the instruction set of the target kernel has beyond version 3.
type Features struct {
	SDiv        bool // signed division and modulo (6.6)
	MovSX       bool // sign-extending moves and loads (6.6)
	LongJumps   bool // over more than 32767 instructions (6.6)
	MapEach     bool // bpf_for_each_map_elem (5.13)
	PerCPU      bool // bpf_map_lookup_percpu_elem (5.19)
	AtomicFetch bool // atomic fetch-and-add, compare-and-exchange (5.12)

	Function func(name string) int64                 // BTF id of a function of the kernel that scripts call; nil: the code is not to be loaded
	FuncIP   func(user bool) error                   // whether bpf_get_func_ip is there, for functions of the kernel or of programs; nil: it is
	Lacks    func(h ir.Helper, t ir.ProgType) string // why programs of a type cannot use a helper, "" when they can; nil: all can
}

// Code is a compiled function.
type Code struct {
	Func    *ir.Func
	Insns   asm.Instructions // jumps are resolved; loads of maps carry a reference, the map's name
	Spans   []source.Span    // one per 8-byte slot; a 64-bit load takes two
	Scratch *ir.Map          // the per-CPU scratch map the function needs, or nil
	Stack   int              // bytes of stack used

	ra func() string
}

// RA prints the machine code on virtual registers and where they were put.
func (c *Code) RA() string { return c.ra() }

// Asm prints the instructions, one a line after its offset in 8-byte slots.
func (c *Code) Asm() string {
	var b strings.Builder
	n := 0
	for i := range c.Insns {
		ins := &c.Insns[i]
		fmt.Fprintf(&b, "%4d: %s\n", n, formatInsn(ins, n))
		n += int(ins.Width())
	}
	return b.String()
}

// stackSize is the kernel's MAX_BPF_STACK.
const stackSize = 512

// Limit is an error about a limit of the kernel that a script can be kept within.
type Limit struct {
	Message string
	Hint    string
}

func (l *Limit) Error() string { return l.Message }

// Compile compiles one function. Errors are about limits of the kernel; a broken function is a bug and panics.
func Compile(p *ir.Program, f *ir.Func, feat Features) (*Code, error) {
	for reserve := 0; ; {
		code, need, err := compile(p, f, feat, reserve)
		if err != nil {
			return nil, err
		}
		if need <= stackSize {
			return code, nil
		}
		// Spilled values did not fit beside the slots: leave them more room and let more slots go to scratch.
		if reserve >= stackSize {
			return nil, tooMany(need)
		}
		reserve = min(stackSize, reserve+need-stackSize+32)
	}
}

func tooMany(need int) error {
	return &Limit{Message: fmt.Sprintf("too many values are in use at the same time: %d bytes of stack needed, the kernel has %d", need, stackSize),
		Hint: "keep some of the variables in maps, use each soon after it is set, or split the probe"}
}

// compile leaves reserve bytes of stack to spilled values and returns how much stack is needed.
func compile(p *ir.Program, f *ir.Func, feat Features, reserve int) (*Code, int, error) {
	code := &Code{Func: f}
	f = f.Clone()
	l := legaliser{prog: p, f: f, feat: feat}
	if err := l.run(stackSize - reserve); err != nil {
		return nil, 0, err
	}
	code.Scratch = l.scratch

	frame, size := placeSlots(slotRanges(f), f.Slots)
	m := selectFunc(p, f, feat, frame, false)
	a := &allocator{m: m, frame: size}
	a.run()
	if a.unsafe && a.spills <= stackSize {
		m = selectFunc(p, f, feat, frame, true)
		a = &allocator{m: m, frame: size}
		a.run()
	}
	code.Stack, code.ra = a.frame, a.print
	if a.spills > stackSize {
		return nil, 0, tooMany(a.spills)
	}
	if a.frame > stackSize {
		return nil, a.frame, nil
	}
	var err error
	code.Insns, code.Spans, err = emit(m, a.phys, feat)
	return code, a.frame, err
}
