package compiler_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
)

// TestManyVariables uses more variables at the same time than the kernel's stack holds: an error with a place and a
// hint, for any number of them, and programs where they fit.
func TestManyVariables(t *testing.T) {
	for _, n := range []int{20, 50, 80, 300} {
		var b strings.Builder
		b.WriteString("begin { @y = 1; }\nrawtracepoint:x {\n")
		for i := range n {
			fmt.Fprintf(&b, "$v%d = args.a * %d + args.b;\n", i, i+3)
		}
		b.WriteString("@x = 0;\n")
		for range 2 {
			for i := range n {
				fmt.Fprintf(&b, "@m[%d] = $v%d;\n", i, i)
			}
		}
		b.WriteString("}\n")
		o := options(backend.Features{AtomicFetch: true}, false, -1)
		_, diags := compiler.Compile(source.NewFile("many.slo", b.String()), o)
		o.Resolver.(fixture).Close()
		if n <= 50 {
			if diags.HasErrors() {
				t.Errorf("%d variables: %s", n, diags)
			}
			continue
		}
		if len(diags) != 1 || !strings.Contains(diags[0].Message, "too many values are in use at the same time") || diags[0].Hint == "" {
			t.Fatalf("%d variables: got %v", n, diags)
		}
		if at := b.String()[diags[0].Span.Start:diags[0].Span.End]; at != "rawtracepoint:x" {
			t.Errorf("%d variables: the error is at %q", n, at)
		}
	}
}

// TestScratchBusy runs a preemptible program while all of its scratch memory is taken by others: it does nothing and
// counts; as soon as one area is free it runs.
func TestScratchBusy(t *testing.T) {
	k := useKernel(t)
	bpftest.Require(t, new(bpf.Features).AtomicFetch()) // without, preemption is off and nothing is busy
	text, err := os.ReadFile("testdata/run/scratch.slo")
	if err != nil {
		t.Fatal(err)
	}
	o := options(k.feats["v3"], false, -1)
	o.Preempt = true
	obj, diags := compiler.Compile(source.NewFile("scratch.slo", string(text)), o)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	l, err := load(obj, 0)
	defer l.close()
	if err != nil {
		t.Fatal(err)
	}
	var scratch, health, n *ebpf.Map
	size := 0
	for m, km := range l.maps {
		switch {
		case strings.HasPrefix(m.Name, "scratch_rawtracepoint") || strings.HasPrefix(m.Name, "scratch_x"):
			scratch, size = km, m.ValueSize
		case m == obj.IR.Health:
			health = km
		case m.Name == "@n":
			n = km
		}
	}
	if scratch == nil || health == nil {
		t.Fatal("no scratch memory or no health")
	}
	cpus := ebpf.MustPossibleCPU()
	busy := make([]byte, cpus*size)
	for i := 0; i < len(busy); i += size / 4 {
		busy[i] = 9
	}
	perCPU := func(b []byte) [][]byte { return slices.Collect(slices.Chunk(b, size)) }
	runs := func(areas []byte) (ran, lost uint64) {
		t.Helper()
		if err := scratch.Put(uint32(0), perCPU(areas)); err != nil {
			t.Fatal(err)
		}
		for i, f := range obj.IR.Funcs {
			if f.Hooks[0].Kind == types.HookRaw {
				if _, err := bpf.TestRun(l.progs[i], []uint64{0, 0}, -1); err != nil {
					t.Fatal(err)
				}
			}
		}

		value := make([]byte, 16)
		if err := n.Lookup(uint32(0), &value); err != nil {
			t.Fatal(err)
		}
		counters := make([]byte, obj.IR.Health.ValueSize)
		if err := health.Lookup(uint32(0), &counters); err != nil {
			t.Fatal(err)
		}

		for i, w := range words(counters) {
			if obj.IR.Counters[i].Loss == ir.LossScratchBusy {
				lost += w
			}
		}
		return le.Uint64(value), lost
	}
	if ran, lost := runs(busy); ran != 0 || lost != 1 {
		t.Errorf("all busy: ran %d times, lost %d, want 0 and 1", ran, lost)
	}
	for i := 3 * size / 4; i < len(busy); i += size { // the last area of every CPU
		busy[i] = 0
	}
	for want := range uint64(3) { // it is given back
		if ran, lost := runs(busy); ran != want+1 || lost != 1 {
			t.Errorf("one free: ran %d times, lost %d, want %d and 1", ran, lost, want+1)
		}
	}
}
