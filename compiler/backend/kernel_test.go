package backend

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func parse(t testing.TB, text string) *ir.Program {
	t.Helper()
	p, err := ir.Parse(source.NewFile("test.ir", text))
	if err != nil {
		t.Fatal(err)
	}
	if err := ir.VerifyAll(p); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// needKernel skips where raw tracepoint programs cannot be loaded.
func needKernel(t testing.TB) {
	t.Helper()
	bpftest.Require(t, new(bpf.Features).TestRun())
	_ = rlimit.RemoveMemlock()
}

// probed returns the instruction sets the kernel can run, by name: v3 always, v4 where it is there.
func probed(t testing.TB) map[string]Features {
	t.Helper()
	needKernel(t)
	out := map[string]Features{"v3": {}}
	p := parse(t, "map m array key 4 value 8 entries 1\nfunc raw_tp f \"\"\nb0:\n v0 = mapvalue m\n v1 = const 1\n v2 = fetchadd v0, 0, v1\n ret v2\n")
	code, err := Compile(p, p.Funcs[0], Features{AtomicFetch: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(mapSpec(p.Maps[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := code.Insns[0].AssociateMap(m); err != nil {
		t.Fatal(err)
	}
	if prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: code.Insns, License: "GPL"}); err == nil {
		prog.Close()
		out["v3"] = Features{AtomicFetch: true}
	}
	if new(bpf.Features).SDiv() == nil {
		out["v4"] = Features{AtomicFetch: true, SDiv: true, MovSX: true, LongJumps: true}
	}
	return out
}

// loaded is a program in the kernel with its maps.
type loaded struct {
	prog *ebpf.Program
	maps map[string]*ebpf.Map
	code *Code
}

func mapSpec(m *ir.Map) *ebpf.MapSpec {
	typ := map[ir.MapKind]ebpf.MapType{ir.Hash: ebpf.Hash, ir.LRUHash: ebpf.LRUHash, ir.PerCPUHash: ebpf.PerCPUHash,
		ir.LRUPerCPUHash: ebpf.LRUCPUHash, ir.Array: ebpf.Array, ir.PerCPUArray: ebpf.PerCPUArray, ir.RingBuf: ebpf.RingBuf}[m.Kind]
	return &ebpf.MapSpec{Type: typ, KeySize: uint32(m.KeySize), ValueSize: uint32(m.ValueSize), MaxEntries: uint32(m.MaxEntries)}
}

func loadFunc(t testing.TB, p *ir.Program, f *ir.Func, feat Features) *loaded {
	t.Helper()
	code, err := Compile(p, f, feat)
	if err != nil {
		t.Fatal(err)
	}
	maps := p.Maps
	if code.Scratch != nil {
		maps = append(maps[:len(maps):len(maps)], code.Scratch)
	}
	l := &loaded{maps: map[string]*ebpf.Map{}, code: code}
	insns := append(code.Insns[:0:0], code.Insns...)
	for _, m := range maps {
		em, err := ebpf.NewMap(mapSpec(m))
		if err != nil {
			t.Fatalf("map %s: %v", m.Name, err)
		}
		t.Cleanup(func() { em.Close() })
		l.maps[m.Name] = em
		for i := range insns {
			if insns[i].Reference() == m.Name {
				if err := insns[i].AssociateMap(em); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	typ := ebpf.RawTracepoint
	if f.Type == ir.Uprobe {
		typ = ebpf.Kprobe
	}
	l.prog, err = bpf.Load(bpf.ProgSpec{Name: "test", Type: typ, Insns: insns})
	if err != nil {
		log := err.Error()
		if ve := (*bpf.VerifierError)(nil); errors.As(err, &ve) {
			log = ve.Log
		}
		if lines := strings.Split(log, "\n"); len(lines) > 60 {
			log = strings.Join(lines[len(lines)-60:], "\n")
		}
		t.Fatalf("%s\n%s\n%s\n%s", f, code.RA(), code.Asm(), log)
	}
	t.Cleanup(func() { l.prog.Close() })
	return l
}

func (l *loaded) run(t testing.TB, ctx ...uint64) uint32 {
	t.Helper()
	ret, err := l.prog.Run(&ebpf.RunOptions{Context: ctx})
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	return ret
}

// words reads the only value of an array map.
func (l *loaded) words(t testing.TB, name string) []uint64 {
	t.Helper()
	m := l.maps[name]
	out := make([]uint64, m.ValueSize()/8)
	if err := m.Lookup(uint32(0), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
