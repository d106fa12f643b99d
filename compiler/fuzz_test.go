package compiler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
)

// FuzzCompile takes any text through the compiler: nothing may panic or report an internal error, and what
// type-checks must be accepted by the kernel's verifier, where there is one.
func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/run/*.slo", "../lang/check/testdata/errors/*.slo", "../lang/syntax/testdata/*.slo"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
			if strings.Contains(pattern, "errors") { // one diagnostic hides the others: line by line
				for _, line := range strings.Split(string(text), "\n") {
					f.Add(line)
				}
			}
		}
	}
	for seed := range uint64(20) {
		f.Add(script(seed))
	}
	feat := &bpf.Features{}
	kernel := feat.TestRun() == nil && feat.RingBuf() == nil && feat.AtomicFetch() == nil
	f.Fuzz(func(t *testing.T, text string) {
		o := options(backend.Features{AtomicFetch: true, MapEach: feat.MapEach() == nil, PerCPU: feat.PerCPULookup() == nil}, false, -1)
		o.Kernel.MayGoto = feat.MayGoto() == nil
		defer o.Resolver.(fixture).Close()
		obj, diags := compiler.Compile(source.NewFile("fuzz", text), o)
		for _, d := range diags {
			if strings.Contains(d.Message, "internal error") {
				t.Fatalf("%s\n%s", d.Message, text)
			}
		}
		if obj == nil || !kernel || !loadable(obj) {
			return
		}
		l, err := load(obj, 0)
		l.close()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, text, obj.IR)
		}
	})
}

// loadable tells whether the object has raw tracepoint programs only, and maps of a reasonable size.
func loadable(obj *compiler.Object) bool {
	for _, fn := range obj.IR.Funcs {
		if fn.Type != 0 {
			return false
		}
	}
	total := 0
	for _, m := range obj.IR.Maps {
		if !m.NoPrealloc {
			total += m.MaxEntries * (m.KeySize + m.ValueSize + 64)
		}
		if m.KeySize > 512 || m.ValueSize > 1<<15 {
			return false
		}
	}
	return total < 64<<20
}
