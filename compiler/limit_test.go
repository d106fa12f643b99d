package compiler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
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
