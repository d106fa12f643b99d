package simulate_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/simulate"
	"github.com/slopebpf/slope/stdlib"
)

// FuzzTest runs the tests of any script: nothing panics, no internal error is told, and every run ends soon after its
// context.
func FuzzTest(f *testing.F) {
	f.Add(checkout + `test "a" {` + request("1", "/pay", "400ms") + ` assert(bad(fast) == 1); wait(1d); }`)
	f.Add(`rawtracepoint:x { @[arg0] = count(); @h = hist(arg1); } test "b" { for ($i : 0..9) { fire(rawtracepoint:x, arg0 = $i); } assert(@[3] == 1 && len(@) == 9); }`)
	f.Add(`interval:ms:1 { @n++; } test "c" { let $x = 1; while ($x < 3) { $x += 1; } wait(1h); }`)
	f.Add(`begin { printf("hi\n"); exit(); } test "d" { assert(printed("hi\n")); }`)
	f.Add(`begin { @ = 1; } test "e" { for ($i : 0..9223372036854775807) { } }`)
	f.Add(`begin { @ = 1; } test "f" { for ($i : 0..9223372036854775807) { if ($i / 0 == 1 % 0) { assert(-9223372036854775808 / -1); } } }`)
	f.Fuzz(func(t *testing.T, script string) {
		if len(script) > 1<<12 {
			return
		}
		file := source.NewFile("t.slo", script)
		tree, diags := syntax.Parse(file)
		if diags.HasErrors() {
			return
		}
		reg := stdlib.New()
		stand := stdlib.NewStand(reg, tree)
		obj, diags := compiler.Compile(file, compiler.Options{Universe: reg, Library: reg, Resolver: stand, Config: types.DefaultConfig(), CPUs: 1,
			Kernel: simulate.Kernel(), Backend: backend.Features{AtomicFetch: true}})
		for _, d := range diags {
			if strings.Contains(d.Message, "internal error") {
				t.Fatalf("%s\n%s", d.Message, script)
			}
		}
		if diags.HasErrors() || obj == nil {
			return
		}
		for _, test := range obj.Checked.Tests {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			start := time.Now()
			_, err := simulate.Run(ctx, test, simulate.Options{Object: obj, Stage: stand, Sentence: func(*check.SLO) string { return "" }})
			cancel()
			if err != nil && ctx.Err() == nil {
				t.Fatalf("%v\n%s", err, script)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Fatalf("ran %s after its context\n%s", d, script)
			}
		}
	})
}
