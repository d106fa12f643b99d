package backend

import (
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/opt"
	"github.com/slopebpf/slope/lang/source"
)

// bigProgram counts by n keys, each in a slot of its own.
func bigProgram(n int) *ir.Program {
	m := &ir.Map{Name: "h", Kind: ir.PerCPUHash, KeySize: 8, ValueSize: 8, MaxEntries: 64}
	p := &ir.Program{Source: source.NewFile("big", ""), Maps: []*ir.Map{m}}
	b := ir.NewFunc(p, "big", ir.RawTracepoint, "")
	ctx := b.Ctx()
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
	b.Ret(b.Const(0))
	return p
}

// TestBig: the time to compile must not grow with the square of the program.
func TestBig(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	p := bigProgram(400)
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

func BenchmarkCompile(b *testing.B) {
	p := bigProgram(10)
	for b.Loop() {
		if _, err := Compile(p, p.Funcs[0], Features{}); err != nil {
			b.Fatal(err)
		}
	}
}
