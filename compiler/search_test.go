package compiler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
)

// TestManySearches loads programs that search the longest strings often, in loops too, for kernels without may_goto:
// the kernel's verifier follows each search turn by turn.
func TestManySearches(t *testing.T) {
	k := useKernel(t)
	search := `if (strcontains($s, "/etc/")) { @n++; } if (strstr($s, $t) > strlen($t)) { @m++; }`
	for name, body := range map[string]string{
		"one":       search,
		"many":      strings.Repeat(search, 12),
		"plain":     "for ($i : 0..16) { " + search + " }",
		"counted":   "for ($i : 0..args.b) { " + search + " }",
		"nested":    "for ($i : 0..args.b) { for ($j : 0..4) { " + search + " } }",
		"condition": "while (strcontains($s, $t) && @n < 5) { @n++; }",
		"concat":    `$u = str_concat($s, $t); for ($i : 0..args.b) { if (memcmp($u, $s, args.i) == 0) { @n++; } }`,
	} {
		t.Run(name, func(t *testing.T) {
			file := source.NewFile(name, "rawtracepoint:x { $s = str(args.a); $t = str(args.u); "+body+" }")
			for _, may := range []bool{false, true} {
				if may && !k.may {
					continue
				}
				o := options(k.feats["v3"], false, -1)
				o.Kernel.MayGoto = may
				obj, diags := compiler.Compile(file, o)
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				start := time.Now()
				l, err := load(obj, 0)
				l.close()
				if err != nil {
					t.Errorf("may_goto %t: %v", may, err)
				}
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("may_goto %t: loading took %s", may, took)
				} else {
					t.Logf("may_goto %t: %s", may, took)
				}
			}
		})
	}
}
