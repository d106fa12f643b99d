package backend

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/opt"
	"github.com/slopebpf/slope/lang/source"
)

// bigProgram counts by n keys, each in a slot of its own, some turns of a loop long.
func bigProgram(n, turns int) *ir.Program {
	m := &ir.Map{Name: "h", Kind: ir.PerCPUHash, KeySize: 8, ValueSize: 8, MaxEntries: 64}
	p := &ir.Program{Source: source.NewFile("big", ""), Maps: []*ir.Map{m}}
	b := ir.NewFunc(p, "big", ir.RawTracepoint, "")
	ctx := b.Ctx()
	turn, end := b.Block(ir.Scalar), b.Block()
	b.Jump(turn, b.Const(0))
	b.SetBlock(turn)
	again := b.AddImm(turn.Params[0], 1)
	for i := range n {
		key, one := b.Slot("key", 8), b.Slot("one", 8)
		b.Store(b.Addr(key), 0, 8, b.AddImm(b.Load(ctx, i%8*8, 8, false), int64(i)))
		null, done := b.Block(), b.Block()
		b.AddMem(b.NullCheck(b.Lookup(m, b.Addr(key)), null), 0, b.Const(1))
		b.Jump(done)
		b.SetBlock(null)
		b.Store(b.Addr(one), 0, 8, b.Const(1))
		b.Update(m, b.Addr(key), b.Addr(one), ir.UpdateNoExist)
		b.Jump(done)
		b.SetBlock(done)
	}
	if turns > 1 {
		more := b.Block()
		b.If(b.Bin(ir.OpULt, again, b.Const(int64(turns))), more, end)
		b.SetBlock(more)
		b.Jump(turn, again)
	} else {
		b.Jump(end)
	}
	b.SetBlock(end)
	b.Ret(b.Const(0))
	return p
}

// TestBigLoop: slots that are needed all through a loop cost no more than others.
func TestBigLoop(t *testing.T) {
	start := time.Now()
	p := bigProgram(1500, 3)
	code, err := Compile(p, p.Funcs[0], Features{LongJumps: true})
	if err != nil {
		t.Fatal(err)
	}
	limit := 5 * time.Second
	if os.Getenv("KERNEL_MATRIX") != "" {
		limit *= 8 // the processor is emulated
	}
	if d := time.Since(start); d > limit {
		t.Errorf("%d instructions took %v", len(code.Insns), d)
	}
}

// TestBig: the time to compile must not grow with the square of the program.
func TestBig(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	p := bigProgram(400, 1)
	start := time.Now()
	if err := opt.Run(p, false); err != nil {
		t.Fatal(err)
	}
	optimised := time.Since(start)
	code, err := Compile(p, p.Funcs[0], Features{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d instructions, stack %d: optimised in %v, compiled in %v", len(code.Insns), code.Stack, optimised, time.Since(start)-optimised)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	needKernel(t)
	loadFunc(t, p, p.Funcs[0], Features{})
}

// TestLongJumps jumps over more instructions than a jump of 16 bits can: always, and on a condition.
func TestLongJumps(t *testing.T) {
	m := &ir.Map{Name: "h", Kind: ir.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 64}
	p := &ir.Program{Source: source.NewFile("long", ""), Maps: []*ir.Map{m}}
	b := ir.NewFunc(p, "long", ir.RawTracepoint, "")
	x := b.Load(b.Ctx(), 0, 8, false)
	odd, two, other, rest, missing := b.Block(), b.Block(), b.Block(), b.Block(), b.Block()
	b.If(b.Bin(ir.OpEq, b.Bin(ir.OpAnd, x, b.Const(1)), b.Const(0)), rest, odd)
	b.SetBlock(rest)
	b.If(b.Bin(ir.OpNe, x, b.Const(2)), other, two)
	b.SetBlock(other)
	key := b.Addr(b.Slot("key", 8))
	b.Store(key, 0, 8, x)
	value := b.Load(b.NullCheck(b.Lookup(m, key), missing), 0, 8, false)
	y, want := b.Bin(ir.OpAdd, x, value), int64(4+1)
	for i := range int64(20000) {
		y = b.AddImm(b.Bin(ir.OpMul, y, b.Const(3)), i)
		want = want*3 + i
	}
	b.Ret(b.Bin(ir.OpAnd, y, b.Const(0xffff)))
	b.SetBlock(two)
	b.Ret(b.Const(22))
	b.SetBlock(missing)
	b.Ret(b.Const(33))
	b.SetBlock(odd)
	b.Ret(b.Const(11))
	if _, err := Compile(p, p.Funcs[0], Features{}); err == nil || !strings.Contains(err.Error(), "a jump over 4000") {
		t.Errorf("without long jumps: got %v", err)
	}
	feat, ok := probed(t)["v4"]
	if !ok {
		t.Skip("the kernel has no long jumps (6.6)")
	}
	l := loadFunc(t, p, p.Funcs[0], feat)
	if err := l.maps["h"].Put(uint64(4), uint64(1)); err != nil {
		t.Fatal(err)
	}
	for x, want := range map[uint64]uint32{1: 11, 2: 22, 4: uint32(want & 0xffff), 6: 33} {
		if got := l.run(t, x); got != want {
			t.Errorf("%d: got %d, want %d", x, got, want)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	p := bigProgram(10, 1)
	for b.Loop() {
		if _, err := Compile(p, p.Funcs[0], Features{}); err != nil {
			b.Fatal(err)
		}
	}
}
