package compiler_test

import (
	"fmt"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
)

// TestStacksKept: as many different stacks are kept as a map may have keys, but no fewer than usual.
func TestStacksKept(t *testing.T) {
	for keys, want := range map[int]int{1: 16384, 16384: 16384, 100000: 100000} {
		text := fmt.Sprintf("config = { max_map_keys = %d } begin { @[kstack] = count(); }", keys)
		obj, diags := compiler.Compile(source.NewFile("s.slo", text), options(backend.Features{}, false, -1))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		for _, m := range obj.IR.Stacks {
			if m.MaxEntries != want {
				t.Errorf("%d keys: room for %d stacks, want %d", keys, m.MaxEntries, want)
			}
		}
		if len(obj.IR.Stacks) != 1 {
			t.Errorf("%d maps of stacks", len(obj.IR.Stacks))
		}
	}
}
