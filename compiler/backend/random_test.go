package backend

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/opt"
	"github.com/slopebpf/slope/lang/source"
)

const outWords = 56

// generator writes a random function that the kernel must accept: straight lines, diamonds, short loops, slots, map
// operations. Every value stays in use to the end, where it is stored, so registers run out.
type generator struct {
	rng   *rand.Rand
	b     *ir.Builder
	hash  *ir.Map
	out   *ir.Map
	vals  []*ir.Value
	slots []*ir.Slot
	ctx   *ir.Value
	forks int

	atomic bool // fetch-and-add is there
}

func generate(seed uint64, atomic bool) *ir.Program {
	g := &generator{atomic: atomic, rng: rand.New(rand.NewPCG(seed, 1))}
	g.hash = &ir.Map{Name: "h", Kind: ir.Hash, KeySize: 8, ValueSize: 64, MaxEntries: 64}
	g.out = &ir.Map{Name: "out", Kind: ir.Array, KeySize: 4, ValueSize: 8 * outWords, MaxEntries: 1}
	p := &ir.Program{Source: source.NewFile("random", ""), Maps: []*ir.Map{g.hash, g.out}}
	p.Ring = &ir.Map{Name: "ring", Kind: ir.RingBuf, MaxEntries: 4096}
	p.Maps = append(p.Maps, p.Ring)
	g.b = ir.NewFunc(p, fmt.Sprintf("f%d", seed), ir.RawTracepoint, "")
	g.b.Func.Preemptible = seed%8 == 0
	g.ctx = g.b.Ctx()
	sizes := []int{8, 8, 16, 64, 64}
	if seed%4 == 0 {
		sizes = append(sizes, 480, 64)
	}
	for i, n := range sizes {
		s := g.b.Slot(fmt.Sprintf("x%d", i), n)
		g.slots = append(g.slots, s)
		g.b.Zero(g.b.Addr(s), 0, s.Size)
	}
	for i := range 1 + g.rng.IntN(8) {
		g.vals = append(g.vals, g.b.Load(g.ctx, 8*i, 8, false))
	}
	for range 10 + g.rng.IntN(60) {
		g.step(0)
	}
	if len(g.vals) > outWords {
		g.vals = g.vals[len(g.vals)-outWords:]
	}
	out := g.b.MapValue(g.out)
	for i, v := range g.vals {
		g.b.Store(out, 8*i, 8, v)
	}
	g.b.Ret(g.b.Const(0))
	return p
}

func (g *generator) val() *ir.Value {
	if g.rng.IntN(4) == 0 {
		switch g.rng.IntN(3) {
		case 0:
			return g.b.Const(boundary[g.rng.IntN(len(boundary))])
		case 1:
			return g.b.Const(int64(g.rng.IntN(100)))
		}
		return g.b.Const(int64(g.rng.Uint64()))
	}
	return g.vals[g.rng.IntN(len(g.vals))]
}

func (g *generator) keep(v *ir.Value) { g.vals = append(g.vals, v) }

func (g *generator) slot() *ir.Slot { return g.slots[g.rng.IntN(len(g.slots))] }

func (g *generator) step(depth int) {
	b := g.b
	width := 1 << g.rng.IntN(4)
	switch n := g.rng.IntN(24); n {
	default:
		op := ir.OpAdd + ir.Op(g.rng.IntN(int(ir.OpSLe-ir.OpAdd)+1))
		switch {
		case op == ir.OpExt:
			g.keep(b.Ext(g.val(), width, g.rng.IntN(2) == 0))
		case op == ir.OpNeg || op == ir.OpNot:
			g.keep(b.Un(op, g.val()))
		default:
			g.keep(b.Bin(op, g.val(), g.val()))
		}
	case 10, 11:
		s := g.slot()
		b.Store(b.Offset(b.Addr(s), int64(width*g.rng.IntN(s.Size/width))), 0, width, g.val())
	case 12, 13:
		s := g.slot()
		g.keep(b.Load(b.Addr(s), width*g.rng.IntN(s.Size/width), width, g.rng.IntN(2) == 0))
	case 14:
		x := b.Mask(g.val(), 7)
		if g.rng.IntN(2) == 0 {
			x = b.Bound(g.val(), 7)
		}
		p := b.Index(b.MapValue(g.out), x, 8)
		b.AddMem(b.Offset(p, 8), 16, g.val())
		g.keep(b.Load(p, 24, width, false))
	case 15:
		x := b.Bound(g.val(), 3)
		p := b.Index(b.Addr(g.slots[4]), x, 16)
		b.Store(p, 8, 8, g.val())
		g.keep(b.Load(p, 0, 8, false))
	case 16:
		g.lookup(depth)
	case 17:
		key := g.key()
		g.keep(b.Update(g.hash, key, b.Addr(g.slots[3+g.rng.IntN(2)]), int64(g.rng.IntN(3))))
	case 18:
		g.keep(b.Delete(g.hash, g.key()))
	case 19:
		g.keep(b.Help(ir.HelperUidGid))
	case 20:
		if depth < 2 && g.forks < 6 {
			g.forks++
			g.diamond(depth)
		}
	case 21:
		b.Copy(b.Addr(g.slots[3]), 0, b.Addr(g.slots[4]), 8*(1+g.rng.IntN(8)))
		b.Bytes(b.Addr(g.slots[2]), 0, "abc")
		if len(g.slots) > 5 {
			b.Copy(b.Addr(g.slots[5]), 16, b.Addr(g.slots[5]), 16)
		}
	case 22:
		g.keep(b.Read(b.Addr(g.slots[2]), g.b.Const(0), 8, true))
	case 23:
		if g.rng.IntN(2) == 0 {
			g.record()
			return
		}
		if depth == 0 && g.forks < 6 {
			g.forks++
			g.loop()
		}
	}
}

func (g *generator) key() *ir.Value {
	key := g.b.Addr(g.slots[g.rng.IntN(2)])
	g.b.Store(key, 0, 8, g.b.Bin(ir.OpAnd, g.val(), g.b.Const(3)))
	return key
}

func (g *generator) lookup(depth int) {
	b := g.b
	if g.forks++; g.forks > 8 {
		return
	}
	join := b.Block(ir.Scalar)
	null := b.Block()
	p := b.NullCheck(b.Lookup(g.hash, g.key()), null)
	b.AddMem(p, 8, g.val())
	b.Atomic(p, 16, g.val())
	x := g.val()
	if g.atomic {
		x = b.FetchAdd(p, 24, x)
	}
	if g.rng.IntN(2) == 0 {
		b.Store(p, 32, 4, g.val())
	}
	b.Jump(join, b.Bin(ir.OpXor, x, b.Load(p, 32, 8, false)))
	b.SetBlock(null)
	b.Jump(join, g.val())
	b.SetBlock(join)
	g.keep(join.Params[0])
}

func (g *generator) record() {
	b := g.b
	if g.forks++; g.forks > 8 {
		return
	}
	join := b.Block()
	p := b.NullCheck(b.Reserve(32), join)
	b.Store(p, 0, 8, g.val())
	b.Help(ir.HelperComm, b.Offset(p, 8))
	b.Copy(p, 24, b.Addr(g.slots[4]), 8)
	if g.rng.IntN(3) == 0 {
		b.Discard(p)
	} else {
		b.Submit(p, ir.NoWakeup)
	}
	b.Jump(join)
	b.SetBlock(join)
}

func (g *generator) diamond(depth int) {
	b := g.b
	then, els := b.Block(), b.Block()
	join := b.Block(ir.Scalar, ir.Scalar)
	cond := g.val()
	if g.rng.IntN(2) == 0 {
		cond = b.Bin(ir.OpSLt, g.val(), cond)
		for range g.rng.IntN(3) {
			op := []ir.Op{ir.OpAnd, ir.OpOr}[g.rng.IntN(2)]
			cond = b.Bin(op, cond, b.Bin(ir.OpEq+ir.Op(g.rng.IntN(6)), g.val(), g.val()))
		}
	}
	if g.rng.IntN(2) == 0 { // cond && val
		right, no, end := b.Block(), b.Block(), b.Block(ir.Scalar)
		b.If(cond, right, no)
		b.SetBlock(right)
		b.Jump(end, b.Bin(ir.OpULt, g.val(), g.val()))
		b.SetBlock(no)
		b.Jump(end, b.Const(0))
		b.SetBlock(end)
		cond = end.Params[0]
	}
	b.If(cond, then, els)
	have := len(g.vals)
	for _, side := range []*ir.Block{then, els} {
		b.SetBlock(side)
		for range g.rng.IntN(6) {
			g.step(depth + 1)
		}
		b.Jump(join, g.val(), g.val())
		g.vals = slices.Clone(g.vals[:have])
	}
	b.SetBlock(join)
	g.keep(join.Params[0])
	g.keep(join.Params[1])
}

func (g *generator) loop() {
	b := g.b
	head := b.Block(ir.Scalar, ir.Scalar, ir.Scalar)
	body, end := b.Block(), b.Block()
	b.Jump(head, b.Const(0), g.val(), g.val())
	b.SetBlock(head)
	i, x, y := head.Params[0], head.Params[1], head.Params[2]
	b.If(b.Bin(ir.OpULt, i, b.Const(int64(1+g.rng.IntN(4)))), body, end)
	b.SetBlock(body)
	have := len(g.vals)
	g.vals = append(g.vals, x, y, i)
	z := b.Bin(ir.OpMul, g.val(), x)
	b.Jump(head, b.AddImm(i, 1), y, z)
	g.vals = g.vals[:have]
	b.SetBlock(end)
	g.keep(x)
	g.keep(y)
}

// TestRandom compiles random functions as they are and optimised, for both instruction sets, loads all into the
// kernel and compares what they leave behind.
func TestRandom(t *testing.T) {
	feats := probed(t)
	runtime.LockOSThread()
	n := uint64(100)
	if testing.Short() {
		n = 20
	}
	spilled, scratch, before, after := 0, 0, 0, 0
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var want string
			for _, variant := range []string{"v3", "v4", "v3 optimised", "v4 optimised"} {
				feat, ok := feats[variant[:2]]
				if !ok {
					continue
				}
				p := generate(seed, feat.AtomicFetch)
				if err := ir.VerifyAll(p); err != nil {
					t.Fatalf("%v\n%s", err, p)
				}
				if len(variant) > 2 {
					if err := opt.Run(p, true); err != nil {
						t.Fatalf("%v\n%s", err, p)
					}
				}
				l := loadFunc(t, p, p.Funcs[0], feat)
				if l.code.Scratch != nil {
					scratch++
				}
				if l.code.Stack > 170 {
					spilled++
				}
				if variant == "v3" {
					before += len(l.code.Insns)
				} else if variant == "v3 optimised" {
					after += len(l.code.Insns)
				}
				got := l.result(t, seed)
				if want == "" {
					want = got
				} else if got != want {
					t.Fatalf("%s differs\n%s\n%s\n%s\nwant %s\ngot  %s", variant, p, l.code.RA(), l.code.Asm(), want, got)
				}
			}
		})
	}
	t.Logf("%d with scratch, %d with many spills, %d instructions, %d optimised", scratch, spilled, before, after)
	if n > 100 && (spilled == 0 || scratch == 0) {
		t.Error("the generator spills nothing")
	}
}

// result runs the program a few times and prints what it leaves in its maps.
func (l *loaded) result(t *testing.T, seed uint64) string {
	rng := rand.New(rand.NewPCG(seed, 2))
	s := ""
	for range 6 {
		ctx := make([]uint64, 8)
		for i := range ctx {
			switch rng.IntN(3) {
			case 0:
				ctx[i] = uint64(boundary[rng.IntN(len(boundary))])
			case 1:
				ctx[i] = uint64(rng.IntN(20))
			case 2:
				ctx[i] = rng.Uint64()
			}
		}
		s += fmt.Sprintln(l.run(t, ctx...), l.words(t, "out"))
	}
	entries := map[uint64]string{}
	var key uint64
	value := make([]byte, 64)
	for it := l.maps["h"].Iterate(); it.Next(&key, &value); {
		entries[key] = fmt.Sprintf("%x", value)
	}
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		s += fmt.Sprintln(k, entries[k])
	}
	return s
}
