package native

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

var units = []uint64{1, 1e3, 1e6, 1e9}

// reference is the bucket's position by big integers: the number of bounds below v, counted from the bucket of 1.
// It compares v^(2^schema) with unit^(2^schema)*2^i and shares nothing with Table but the definition.
type reference struct {
	schema int
	unit   *big.Int
	first  int
}

func newReference(schema int, unit uint64) *reference {
	r := &reference{schema: schema, unit: new(big.Int).Exp(new(big.Int).SetUint64(unit), big.NewInt(1<<schema), nil)}
	r.first = r.index(1)
	return r
}

// index is the least i with v^n <= unit^n * 2^i, the ceiling of a logarithm: the difference of the bit lengths is it
// or one more.
func (r *reference) index(v uint64) int {
	p := new(big.Int).SetUint64(v)
	for range r.schema {
		p.Mul(p, p)
	}
	i := p.BitLen() - r.unit.BitLen() - 1
	for !r.fits(p, i) {
		i++
	}
	return i
}

func (r *reference) fits(p *big.Int, i int) bool {
	if i >= 0 {
		return p.Cmp(new(big.Int).Lsh(r.unit, uint(i))) <= 0
	}
	return new(big.Int).Lsh(p, uint(-i)).Cmp(r.unit) <= 0
}

// values are the places where a mistake would show: around every threshold at every exponent, around every power of
// two and every edge of a step of the table, and random ones of every length.
func values(t *Table, random int) []uint64 {
	var out []uint64
	around := func(v uint64) {
		for d := range uint64(5) {
			if x := v + d - 2; x != 0 {
				out = append(out, x)
			}
		}
	}
	for e := range 64 {
		for _, th := range t.thresholds {
			around(th >> (63 - e))
		}
		around(1 << e)
		for s := range 2 << t.Schema {
			around((1<<63 + uint64(s)<<(62-t.Schema)) >> (63 - e))
		}
	}
	around(math.MaxUint64 - 2)
	rng := rand.New(rand.NewPCG(uint64(t.Schema), t.Unit))
	for range random {
		if x := rng.Uint64() >> rng.IntN(64); x != 0 {
			out = append(out, x)
		}
	}
	return out
}

func each(t *testing.T, f func(t *testing.T, tab *Table, ref *reference)) {
	for schema := 0; schema <= 5; schema++ {
		for _, unit := range units {
			t.Run(fmt.Sprintf("schema %d unit %d", schema, unit), func(t *testing.T) {
				f(t, New(schema, unit), newReference(schema, unit))
			})
		}
	}
}

func TestIndex(t *testing.T) {
	each(t, func(t *testing.T, tab *Table, ref *reference) {
		if tab.First != ref.first {
			t.Fatalf("the first bucket is %d, want %d", tab.First, ref.first)
		}
		bad := 0
		for _, v := range values(tab, 1000) {
			got, want := tab.Index(v), ref.index(v)-ref.first
			if got != want || got < 0 || got >= Buckets(tab.Schema) {
				if bad++; bad < 10 {
					t.Errorf("%d: bucket %d, want %d", v, got, want)
				}
			}
		}
	})
}

// TestBound compares the bounds that are shown with the buckets that are counted into.
func TestBound(t *testing.T) {
	each(t, func(t *testing.T, tab *Table, ref *reference) {
		for i := range Buckets(tab.Schema) {
			want := math.Pow(2, float64(tab.First+i)/float64(int(1)<<tab.Schema))
			if got := tab.Bound(i); math.Abs(got/want-1) > 1e-14 {
				t.Fatalf("bound %d is %g, want %g", i, got, want)
			}
			if i > 0 && tab.Bound(i) <= tab.Bound(i-1) {
				t.Fatalf("bound %d is not above the one before", i)
			}
		}
	})
}

// lowering is the part of ir.Lowering that this package uses, for a program of one function.
type lowering struct {
	ir.Lowering
	b      *ir.Builder
	rodata []*ir.Map
}

func (l *lowering) Builder() *ir.Builder                  { return l.b }
func (l *lowering) Add(p *ir.Value, off int, x *ir.Value) { l.b.AddMem(p, off, x) }

func (l *lowering) Rodata(data string) *ir.Value {
	m := &ir.Map{Name: fmt.Sprintf("rodata%d", len(l.rodata)), Kind: ir.Array, KeySize: 4, ValueSize: len(data), MaxEntries: 1, Init: []byte(data)}
	l.rodata = append(l.rodata, m)
	l.b.Prog.Maps = append(l.b.Prog.Maps, m)
	return l.b.MapValue(m)
}

// indexProgram returns the position for the value in context word 0; a histogram in the map "h" counts it too.
func indexProgram(schema int, unit uint64) (*ir.Program, *ir.Map) {
	p := &ir.Program{}
	hist := &ir.Map{Name: "h", Kind: ir.Array, KeySize: 4, ValueSize: 8 * Words(schema), MaxEntries: 1}
	p.Maps = []*ir.Map{hist}
	l := &lowering{b: ir.NewFunc(p, "native", ir.RawTracepoint, "")}
	l.b.Func.Hooks = []types.Hook{{Kind: types.HookRaw}}
	v := l.b.Load(l.b.Ctx(), 0, 8, false)
	Observe(l, l.b.MapValue(hist), 0, v, schema, unit)
	positive, zero := l.b.Block(), l.b.Block()
	l.b.If(v, positive, zero)
	l.b.SetBlock(positive)
	l.b.Ret(EmitIndex(l, v, schema, unit))
	l.b.SetBlock(zero)
	l.b.Ret(l.b.Const(-1))
	return p, hist
}

type noEnv struct{ interp.Env }

func TestEmitIndexInterp(t *testing.T) {
	each(t, func(t *testing.T, tab *Table, ref *reference) {
		p, hist := indexProgram(tab.Schema, tab.Unit)
		if err := ir.VerifyAll(p); err != nil {
			t.Fatal(err)
		}
		m := interp.New(p, noEnv{}, 1)
		for _, im := range p.Maps {
			m.Map(im)
		}
		want := make([]uint64, Words(tab.Schema))
		run := func(v uint64) int64 {
			got, err := m.Run(p.Funcs[0], []uint64{v})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		run(0)
		want[0]++
		vals := values(tab, 100)
		for i := 0; i < len(vals); i += 1 + len(vals)/2000 {
			pos := ref.index(vals[i]) - ref.first
			if got := run(vals[i]); got != int64(pos) {
				t.Fatalf("%d: bucket %d, want %d", vals[i], got, pos)
			}
			want[1+pos]++
		}
		for i, w := range want {
			if got := binary.LittleEndian.Uint64(m.Map(hist).Value("\x00\x00\x00\x00", 0)[8*i:]); got != w {
				t.Fatalf("word %d counts %d, want %d", i, got, w)
			}
		}
	})
}

// TestEmitIndexKernel runs the generated code in the kernel: no value may land in another bucket.
func TestEmitIndexKernel(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun())
	total := 0
	each(t, func(t *testing.T, tab *Table, ref *reference) {
		p, hist := indexProgram(tab.Schema, tab.Unit)
		code, err := backend.Compile(p, p.Funcs[0], backend.Features{})
		if err != nil {
			t.Fatal(err)
		}
		maps := map[string]*ebpf.Map{}
		for _, im := range p.Maps {
			km, err := bpf.NewMap(bpf.MapSpec{Name: im.Name, Type: ebpf.Array, KeySize: 4, ValueSize: im.ValueSize, MaxEntries: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer km.Close()
			if im.Init != nil {
				if err := km.Put(uint32(0), im.Init); err != nil {
					t.Fatal(err)
				}
			}
			maps[im.Name] = km
		}
		for i := range code.Insns {
			if ins := &code.Insns[i]; ins.IsLoadFromMap() {
				if err := ins.AssociateMap(maps[ins.Reference()]); err != nil {
					t.Fatal(err)
				}
			}
		}
		prog, err := bpf.Load(bpf.ProgSpec{Name: "native", Type: ebpf.RawTracepoint, Insns: code.Insns})
		if err != nil {
			t.Fatal(err)
		}
		defer prog.Close()
		want := make([]uint64, Words(tab.Schema))
		vals := values(tab, 2000)
		step := 1
		if testing.Short() {
			step = 1 + len(vals)/2000
		}
		bad := 0
		for i := 0; i < len(vals); i += step {
			pos := ref.index(vals[i]) - ref.first
			got, err := bpf.TestRun(prog, vals[i:i+1], -1)
			if err != nil {
				t.Fatal(err)
			}
			if int(got) != pos {
				if bad++; bad < 10 {
					t.Errorf("%d: bucket %d, want %d", vals[i], got, pos)
				}
			}
			want[1+pos]++
			total++
		}
		raw, err := maps[hist.Name].LookupBytes(uint32(0))
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := binary.LittleEndian.Uint64(raw[8*i:]); got != w {
				t.Errorf("word %d counts %d, want %d", i, got, w)
			}
		}
	})
	t.Logf("%d runs in the kernel", total)
}
