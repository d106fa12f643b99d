package backend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"github.com/slopebpf/slope/compiler/ir"
)

// TestGolden holds the whole output for hand-written functions, and loads each into the kernel.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.ir")
	if err != nil || len(files) == 0 || len(files) > 25 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".ir"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := parse(t, string(text))
			code, err := Compile(p, p.Funcs[0], Features{AtomicFetch: true})
			if err != nil {
				t.Fatal(err)
			}
			again, _ := Compile(p, p.Funcs[0], Features{AtomicFetch: true})
			if code.Asm() != again.Asm() {
				t.Error("compiled twice, got two results")
			}
			if n := int(code.Insns.Size() / 8); n != len(code.Spans) {
				t.Errorf("%d spans for %d slots", len(code.Spans), n)
			}
			golden := strings.TrimSuffix(file, ".ir") + ".asm"
			if *update {
				if err := os.WriteFile(golden, []byte(code.Asm()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := code.Asm(); got != string(want) {
				t.Errorf("got\n%s\nwant\n%s\n%s", got, want, code.RA())
			}
			needKernel(t)
			if typ := p.Funcs[0].Type; typ != ir.RawTracepoint && (typ != ir.Uprobe || features.HaveProgramType(ebpf.Kprobe) != nil) {
				return // needs an attach target to load
			}
			loadFunc(t, p, p.Funcs[0], probed(t)["v3"])
		})
	}
}
