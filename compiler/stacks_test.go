package compiler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/export"
)

// TestStacksKept: as many different stacks are kept as a map may have keys, but no fewer than usual. Where programs are on perf
// events the memory is allocated before, and there is a bound, which the advice of who comes to it knows.
func TestStacksKept(t *testing.T) {
	for probe, sizes := range map[string]map[int]int{
		"begin":         {1: 16384, 16384: 16384, 100000: 100000},
		"profile:hz:99": {1: 4096, 4096: 4096, 16384: 16384, 65536: 65536, 100000: 65536},
	} {
		for keys, want := range sizes {
			text := fmt.Sprintf("config = { max_map_keys = %d } %s { @[kstack] = count(); } begin { @b[kstack] = count(); }", keys, probe)
			obj, diags := compiler.Compile(source.NewFile("s.slo", text), options(backend.Features{}, false, -1))
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			for _, m := range obj.IR.Stacks {
				if m.MaxEntries != want || m.NoPrealloc != (probe == "begin") {
					t.Errorf("%s, %d keys: room for %d stacks, allocated later %t, want %d", probe, keys, m.MaxEntries, m.NoPrealloc, want)
				}
				advice := export.Explain(export.Loss{Cause: ir.LossStackFull.String(), Count: 1})
				if bounded := m.MaxEntries < keys; bounded && !strings.HasSuffix(advice, fmt.Sprintf("use up to %d", m.MaxEntries)) {
					t.Errorf("%d keys: room for %d stacks, and the advice is: %s", keys, m.MaxEntries, advice)
				}
			}
			if len(obj.IR.Stacks) != 1 {
				t.Errorf("%d maps of stacks", len(obj.IR.Stacks))
			}
		}
	}
}

// calls are a world whose stacks all differ.
type calls struct {
	*world
	n uint64
}

func (c *calls) Stack(bool) []uint64 {
	c.n++
	return []uint64{0xffffffff81000000 + c.n}
}

// TestStacksFull has more different stacks than there is room for: they are counted, and are stacks of no calls.
func TestStacksFull(t *testing.T) {
	plain, obj := twoWays(t, "rawtracepoint:x { @[kstack] = count(); }", options(backend.Features{}, false, -1))
	for _, p := range []*compiler.Object{plain, obj} {
		for _, m := range p.IR.Stacks {
			m.MaxEntries = 2
		}
		m := interp.New(p.IR, &calls{world: someWorld()}, 1)
		for range 5 {
			if _, err := m.Run(p.IR.Funcs[0], make([]uint64, 12)); err != nil {
				t.Fatal(err)
			}
		}
		lost := map[string]uint64{}
		for _, n := range p.IR.Counters {
			if v := le.Uint64(m.Map(p.IR.Health).Value("\x00\x00\x00\x00", 0)[8*n.ID:]); v > 0 {
				lost[n.Loss.String()] = v
			}
		}
		if len(lost) != 1 || lost["stack_full"] != 3 {
			t.Errorf("lost %v", lost)
		}
	}
}
