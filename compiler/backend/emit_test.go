package backend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

// far is more instructions than a jump of 16 bits can go over.
const far = 1<<15 + 10

// filler is a block of so many instructions that change nothing but r3.
func filler(n int) *block {
	b := &block{}
	for range n {
		b.insts = append(b.insts, done(asm.Mov.Imm(asm.R3, 0)))
	}
	return b
}

// done is an instruction whose registers are chosen.
func done(ins asm.Instruction) inst { return inst{ins: ins, dst: noReg, src: noReg} }

// returns is a block that ends the program with a result.
func returns(n int32) *block {
	end := done(asm.Return())
	end.kind = exit
	return &block{insts: []inst{done(asm.Mov.Imm(asm.R0, n)), end}}
}

// emitted loads what emit makes of blocks into the kernel.
func emitted(t *testing.T, blocks ...*block) *ebpf.Program {
	t.Helper()
	insns, spans, err := emit(&mach{blocks: blocks}, func(r reg) reg { return r }, Features{LongJumps: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(spans) != len(insns) { // each takes one slot here
		t.Errorf("%d positions of %d instructions", len(spans), len(insns))
	}
	prog, err := bpf.Load(bpf.ProgSpec{Name: "test", Type: ebpf.RawTracepoint, Insns: insns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}

// TestJumps has the kernel run each conditional jump over few instructions and over many, forward and back, and go on
// where it is not taken.
func TestJumps(t *testing.T) {
	needKernel(t)
	bpftest.Require(t, new(bpf.Features).SDiv()) // which long jumps came with
	const y = 6
	taken := map[asm.JumpOp]func(x int64) bool{
		asm.JEq: func(x int64) bool { return x == y }, asm.JNE: func(x int64) bool { return x != y },
		asm.JGT: func(x int64) bool { return uint64(x) > y }, asm.JLE: func(x int64) bool { return uint64(x) <= y },
		asm.JGE: func(x int64) bool { return uint64(x) >= y }, asm.JLT: func(x int64) bool { return uint64(x) < y },
		asm.JSGT: func(x int64) bool { return x > y }, asm.JSLE: func(x int64) bool { return x <= y },
		asm.JSGE: func(x int64) bool { return x >= y }, asm.JSLT: func(x int64) bool { return x < y },
		asm.JSet: func(x int64) bool { return x&y != 0 },
	}
	for op, holds := range taken {
		for _, n := range []int{5, far} {
			for _, back := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s over %d, back %v", op, n, back), func(t *testing.T) {
					yes, no, between := returns(22), returns(11), filler(n)
					jump := done(asm.Instruction{OpCode: op.Op(asm.ImmSource), Dst: asm.R2, Constant: y})
					jump.kind = branch
					test := &block{insts: []inst{jump}, other: yes, next: between}
					start := &block{insts: []inst{done(asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord))}, next: test}
					between.next = no
					blocks := []*block{start, test, between, no, yes}
					if back { // over the filler to yes, and to the filler by a plain jump
						blocks = []*block{start, yes, between, no, test}
					}
					prog := emitted(t, blocks...)
					for _, x := range []int64{y - 1, y, y + 1, 1, -1, 0} {
						want := uint32(11)
						if holds(x) {
							want = 22
						}
						if got, err := prog.Run(&ebpf.RunOptions{Context: []int64{x}}); err != nil || got != want {
							t.Errorf("%d: returned %d, %v, want %d", x, got, err, want)
						}
					}
				})
			}
		}
	}
}

// TestFarMayGoto leaves a loop by may_goto, over more than its jump can go.
func TestFarMayGoto(t *testing.T) {
	needKernel(t)
	bpftest.Require(t, new(bpf.Features).MayGoto())
	leave := done(asm.Instruction{OpCode: mayGoto})
	leave.kind = branch
	differs := done(asm.Instruction{OpCode: asm.JEq.Op(asm.ImmSource), Dst: asm.R2, Constant: 0x1234})
	differs.kind = branch
	out, odd, between := returns(22), returns(11), filler(far)
	head := &block{insts: []inst{leave}, other: out}
	body := &block{insts: []inst{differs}, other: between, next: head}
	head.next, between.next = body, odd
	start := &block{insts: []inst{done(asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord))}, next: head}
	prog := emitted(t, start, head, body, between, odd, out)
	for x, want := range map[int64]uint32{0x1234: 11, 1: 22} {
		if got, err := prog.Run(&ebpf.RunOptions{Context: []int64{x}}); err != nil || got != want {
			t.Errorf("%d: returned %d, %v, want %d", x, got, err, want)
		}
	}
}

// TestCallbacks calls the functions that stand behind the program's own code, from its begin and from its end.
func TestCallbacks(t *testing.T) {
	needKernel(t)
	bpftest.Require(t, new(bpf.Features).MapEach())
	h := &ir.Map{Name: "h", Kind: ir.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 64}
	g := &ir.Map{Name: "g", Kind: ir.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 64}
	p := &ir.Program{Source: source.NewFile("callbacks", ""), Maps: []*ir.Map{h, g}}
	b := ir.NewFunc(p, "callbacks", ir.RawTracepoint, "")
	y := b.Load(b.Ctx(), 0, 8, false)
	first := b.MapLen(h)
	for i := range int64(1000) {
		y = b.AddImm(b.Bin(ir.OpMul, y, b.Const(3)), i)
	}
	b.Ret(b.Bin(ir.OpAdd, b.Bin(ir.OpAdd, b.Bin(ir.OpMul, first, b.Const(100)), b.MapLen(g)), b.Bin(ir.OpAnd, y, b.Const(0))))
	l := loadFunc(t, p, p.Funcs[0], Features{MapEach: true})
	for name, n := range map[string]uint64{"h": 3, "g": 5} {
		for i := range n {
			if err := l.maps[name].Put(i, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := l.run(t, 1); got != 305 {
		t.Errorf("got %d, want 305: maps of 3 and 5 entries", got)
	}
}

// TestLoops holds what loops says against what can be reached: of random graphs no block that runs again after itself is
// left out, and where nothing goes back none is in.
func TestLoops(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 1))
	inside := 0
	for range 2000 {
		blocks, num := make([]*ir.Block, 1+rnd.IntN(8)), map[*ir.Block]int{}
		for i := range blocks {
			blocks[i] = &ir.Block{ID: i}
			num[blocks[i]] = i
		}
		any := func() *ir.Block { return blocks[rnd.IntN(len(blocks))] }
		back := false
		for i, b := range blocks {
			switch rnd.IntN(3) {
			case 0:
				b.Term = ir.Term{Kind: ir.TermJump, Then: any()}
			case 1:
				b.Term = ir.Term{Kind: ir.TermIf, Then: any(), Else: any()}
			}
			for _, s := range b.Term.Successors() {
				back = back || num[s] <= i
			}
		}
		got := loops(blocks, num)
		for i, b := range blocks {
			seen := map[*ir.Block]bool{}
			for todo := slices.Clone(b.Term.Successors()); len(todo) > 0; todo = todo[1:] {
				if s := todo[0]; !seen[s] {
					seen[s] = true
					todo = append(todo, s.Term.Successors()...)
				}
			}
			if seen[b] {
				inside++
			}
			if seen[b] && !got[i] || !back && got[i] {
				t.Fatalf("block %d of %v: it can be reached from itself: %v; loops says %v", i, blocks, seen[b], got[i])
			}
		}
	}
	if inside < 1000 {
		t.Errorf("only %d blocks were in a loop", inside)
	}
}
