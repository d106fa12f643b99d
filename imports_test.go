package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/slopebpf/slope"

// allowed says what of the project each folder may import, besides itself. A folder covers those below it unless they
// have a line of their own.
var allowed = map[string][]string{
	"":                       {"cli"},
	"cli":                    {"lang", "compiler", "runtime", "bpf", "stdlib", "repl"},
	"cli/docgen":             {"cli"},
	"cli/corpus":             {},
	"lang/source":            {},
	"lang/syntax":            {"lang/source"},
	"lang/types":             {"lang/source", "lang/syntax"},
	"lang/cdecl":             {"lang/types"},
	"lang/check":             {"lang/source", "lang/syntax", "lang/types", "lang/cdecl"},
	"lang/ide":               {"lang/source", "lang/syntax", "lang/types", "lang/check"},
	"repl":                   {"lang", "compiler", "runtime", "repl"},
	"repl/edit":              {},
	"repl/ptytest":           {},
	"lang/vet":               {"lang/source", "lang/syntax", "lang/types", "lang/check"},
	"compiler":               {"lang", "compiler"},
	"compiler/ir":            {"lang/source", "lang/syntax", "lang/types"},
	"compiler/opt":           {"compiler/ir", "lang/source", "lang/types"},
	"compiler/interp":        {"compiler/ir", "lang/source", "lang/types"},
	"compiler/backend":       {"compiler/ir", "lang/source", "lang/types"},
	"compiler/native":        {"compiler/ir"},
	"compiler/lower":         {"compiler/ir", "compiler/native", "lang"},
	"bpf":                    {"lang/types", "bpf"},
	"bpf/bench":              {"lang", "compiler", "bpf", "stdlib", "runtime"},
	"bpf/vmtest":             {"lang/types", "bpf", "stdlib"},
	"runtime/agg":            {"lang/types", "lang/check", "compiler/ir", "compiler/lower", "compiler/native"},
	"runtime/events":         {"lang/types", "compiler/ir", "runtime/export", "runtime/agg"},
	"runtime/export":         {"lang", "compiler/ir", "compiler/lower", "compiler/native", "runtime/agg", "runtime/slo"},
	"runtime/push":           {},
	"runtime/slo":            {"lang/check"},
	"runtime/symbols":        {"lang/source", "lang/types"},
	"runtime/unwind":         {"compiler/ir", "runtime/symbols"},
	"runtime/poll":           {},
	"runtime/supervisor":     {},
	"runtime/governor":       {},
	"runtime/flame":          {},
	"runtime/judge":          {"lang", "compiler", "runtime/agg", "runtime/engine", "runtime/export", "runtime/slo"},
	"runtime/query":          {"lang", "compiler", "runtime/agg", "runtime/export"},
	"runtime/simulate":       {"lang", "compiler", "runtime/agg", "runtime/engine", "runtime/events", "runtime/export", "runtime/judge", "runtime/query", "runtime/slo"},
	"runtime/rules":          {"lang", "runtime/export", "runtime/yaml"},
	"runtime/pcap":           {},
	"runtime/yaml":           {},
	"runtime/dashboard":      {"lang/check", "runtime/export", "runtime/rules"},
	"runtime/openslo":        {"lang/check", "runtime/rules", "runtime/yaml"},
	"runtime/compare":        {"lang/check", "runtime/export", "runtime/slo"},
	"runtime/engine":         {"lang", "compiler", "bpf", "runtime/agg", "runtime/poll", "runtime/symbols", "runtime/unwind"},
	"stdlib":                 {"stdlib", "lang", "compiler/ir", "compiler/native", "bpf", "runtime/symbols", "runtime/unwind", "runtime/poll", "runtime/agg", "runtime/export"},
	"scripts":                {},
	"examples/checkout":      {"compiler/native"},
	"examples/checkout/demo": {"compiler/native"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(all) < 15 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// rule finds the line for a folder: its own or that of the closest folder above.
func rule(folder string) ([]string, bool) {
	for {
		if r, ok := allowed[folder]; ok {
			return r, true
		}
		cut := strings.LastIndexByte(folder, '/')
		if cut < 0 {
			return nil, false
		}
		folder = folder[:cut]
	}
}

// TestImports proves that imports run one way, and that cilium/ebpf/asm stays in the back end and in bpf.
func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		may, ok := rule(folder)
		if !ok && folder != "" {
			t.Errorf("%s has no line in this test", folder)
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/cilium/ebpf") {
				inBPF := folder == "bpf" || strings.HasPrefix(folder, "bpf/")
				switch {
				case inBPF, folder == "compiler/backend" && imp == "github.com/cilium/ebpf/asm":
				case folder == "runtime/engine" && imp == "github.com/cilium/ebpf":
				default:
					t.Errorf("%s imports %s", folder, imp)
				}
			}
			to, own := strings.CutPrefix(imp, module+"/")
			if !own {
				continue
			}
			fine := to == folder || strings.HasPrefix(to, folder+"/") && folder != ""
			for _, m := range may {
				fine = fine || to == m || strings.HasPrefix(to, m+"/")
			}
			if !fine {
				t.Errorf("%s must not import %s", folder, to)
			}
			for _, top := range []string{"lang", "compiler", "runtime"} {
				if to == "stdlib" && strings.HasPrefix(folder, top) {
					t.Errorf("%s must not import stdlib: it is handed a universe", folder)
				}
			}
		}
	}
}
