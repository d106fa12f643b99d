package check_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// fixture knows begin and end, and raw tracepoints of any name with the arguments below. It asks no kernel.
type fixture struct{ *stdlib.Machine }

func (f fixture) Resolve(p *types.Probe, a *syntax.AttachPoint) ([]*types.Target, error) {
	if len(a.Parts) != 2 || p.Name != "rawtracepoint" {
		return f.Machine.Resolve(p, a)
	}
	args := types.Fields{}
	for i := range 9 {
		args = append(args, types.Field{Name: string("abuiwstyz"[i]), Type: types.Int64, Offset: 8 * i})
	}
	return []*types.Target{{Probe: p, Name: p.Name + ":" + a.Parts[1], Hook: types.Hook{Kind: types.HookRaw, Event: a.Parts[1]},
		Form: types.WordArgs, Goid: -1, Syscall: -1, Args: &types.Type{Kind: types.Struct, Name: a.Parts[1], Layout: args}}}, nil
}

func checked(file *source.File) source.Diagnostics {
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		return diags
	}
	reg := stdlib.New()
	_, more := check.Check(tree, check.Options{Universe: reg, Resolver: fixture{&stdlib.Machine{Registry: reg}}, Config: types.DefaultConfig()})
	return append(diags, more...)
}

var (
	marks   = regexp.MustCompile(`// ERR .*$`)
	pattern = regexp.MustCompile(`ERR "((?:[^"\\]|\\.)*)"`)
)

// TestErrors checks the scripts of the corpus. Every diagnostic must be announced at the end of the line it starts on,
// by an ERR with a regular expression, and every ERR must match one.
func TestErrors(t *testing.T) {
	names, _ := filepath.Glob("testdata/errors/*.slo")
	if len(names) == 0 {
		t.Fatal("no scripts")
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := source.NewFile(filepath.Base(name), string(text))
		want := map[int][]string{}
		for i, line := range strings.Split(string(text), "\n") {
			for _, m := range pattern.FindAllStringSubmatch(marks.FindString(line), -1) {
				want[i+1] = append(want[i+1], m[1])
			}
		}
	next:
		for _, d := range checked(file) {
			line, _ := file.Position(d.Span.Start)
			got := d.Severity.String() + ": " + d.Message
			for i, w := range want[line] {
				if regexp.MustCompile(w).MatchString(got) {
					want[line] = append(want[line][:i], want[line][i+1:]...)
					continue next
				}
			}
			t.Errorf("%s: not expected: %s", file.Place(d.Span), got)
		}
		for line, list := range want {
			for _, w := range list {
				t.Errorf("%s:%d: nothing matches %q", file.Name, line, w)
			}
		}
	}
}

// TestRenderings holds whole diagnostics: underline and hint.
func TestRenderings(t *testing.T) {
	var b strings.Builder
	for _, text := range []string{
		`bigin { }`,
		`begin { prinft("x"); }`,
		`begin { $count = 1; print($coutn); }`,
		`rawtracepoint:x { print(args.c); }`,
		`begin { @a[1] = 1; @a["x"] = 1; }`,
		`begin { @ = lhist(1, 2); }`,
		`begin { printf("%d %s\n", pid); }`,
		`begin { @n[1] = 1; delete(@n); }`,
		"sli lat[route] { unit = seconds; begin { observe(1, \"x\"); } }\nslo fast = 99.9% of lat <= 200 over 30d;",
		"sli lat { unit = seconds; begin { observe(1); } }\nslo fast = 99.9% of lta <= 200ms over 30d;",
		"sli calls[code] { begin { good(); } }",
		"sli calls { begin { good(); } end { observe(5); } }",
		`begin { @ = hist(1); if (@ > 5) { exit(); } }`,
		``,
	} {
		b.WriteString(text + "\n---\n")
		checked(source.NewFile("script", text)).Render(&b, false)
		b.WriteString("======\n")
	}
	const golden = "testdata/renderings.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
