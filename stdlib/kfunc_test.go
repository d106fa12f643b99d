package stdlib_test

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/simulate"
	"github.com/slopebpf/slope/stdlib"
)

// standing compiles a script without a kernel, as for its tests.
func standing(t *testing.T, script string) (*compiler.Object, source.Diagnostics) {
	t.Helper()
	file := source.NewFile("t.slo", script)
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	r := stdlib.New()
	return compiler.Compile(file, compiler.Options{Universe: r, Library: r, Resolver: stdlib.NewStand(r, tree), Config: types.DefaultConfig(), CPUs: 1,
		Kernel: simulate.Kernel(), VerifyIR: true})
}

// TestFunctionsWithoutKernel: nothing is said about the kernel's functions where there is no kernel.
func TestFunctionsWithoutKernel(t *testing.T) {
	for _, name := range []string{"kfunc_exist", "kfunc_allowed"} {
		_, diags := standing(t, "begin { print("+name+`("bpf_task_from_pid")); }`)
		if !strings.Contains(diags.Error(), "t.slo:1:15-") || !strings.Contains(diags.Error(), name+"(): the kernel's functions are not known here") {
			t.Errorf("%s: got %v", name, diags)
		}
	}
}
