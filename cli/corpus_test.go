package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/cli/corpus"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/simulate"
)

// TestCorpus holds every line of the checklist against its script: parsed, printed and parsed again, refused or compiled, run
// in the interpreter and in the kernel.
func TestCorpus(t *testing.T) {
	chapters, err := corpus.Read("testdata/corpus")
	if err != nil {
		t.Fatal(err)
	}
	live := bpf.CheckPrivileges() == nil
	if !live {
		t.Log("not run in the kernel: no privileges")
	}
	for _, ch := range chapters {
		for _, c := range ch.Cases {
			t.Run(fmt.Sprintf("%s:%d", c.File, c.Line), func(t *testing.T) {
				corpusPrints(t, &c)
				if c.Refused == "" && !c.Kernel && !c.Load {
					corpusInterpret(t, &c)
				}
				if live {
					corpusRun(t, &c)
				}
			})
		}
	}
	if !live {
		bpftest.Require(t, bpf.CheckPrivileges())
	}
}

// corpusPrints prints the tree and parses that again.
func corpusPrints(t *testing.T, c *corpus.Case) {
	tree, diags := syntax.Parse(source.NewFile("stdin", c.Script))
	if diags.HasErrors() {
		return // said when it runs
	}
	syntax.WalkFile(tree, func(n syntax.Node) bool {
		if s := n.Span(); s.Start < 0 || s.End > int32(len(c.Script)) || s.Start > s.End {
			t.Errorf("%T at %v, outside of the script", n, s)
		}
		return true
	})
	text := printed(t, tree)
	again, diags := syntax.Parse(source.NewFile("stdin", text))
	if diags.HasErrors() {
		t.Fatalf("%s: printed, it does not parse: %s\n%s", c.Title, diags, text)
	}
	if twice := printed(t, again); twice != text {
		t.Errorf("%s: printed twice it is\n%s\nand not\n%s", c.Title, twice, text)
	}
}

// filled drops the empty ones.
func filled(text string) (out []string) {
	for _, l := range strings.Split(text, "\n") {
		if l != "" {
			out = append(out, l)
		}
	}
	return out
}

// corpusOut compares output with what is expected.
func corpusOut(t *testing.T, c *corpus.Case, where, out string) {
	if c.Match != "" {
		if !regexp.MustCompile(`(?s)^(?:` + c.Match + `)$`).MatchString(strings.Join(filled(out), "\n")) {
			t.Errorf("%s: %s: got\n%s\nwant a match of %s", c.Title, where, out, c.Match)
		}
		return
	}
	if got, want := strings.Join(filled(out), "\n"), strings.Join(c.Out, "\n"); got != want {
		t.Errorf("%s: %s: got\n%s\nwant\n%s", c.Title, where, got, want)
	}
}

func corpusInterpret(t *testing.T, c *corpus.Case) {
	w := newWorkshop(0)
	defer w.close()
	o := w.options(c.Args, 0)

	o.CPUs, o.Kernel, o.VerifyIR = 1, simulate.Kernel(), true
	obj, diags := compiler.Compile(source.NewFile("stdin", c.Script), o)
	if obj == nil {
		t.Fatalf("%s: %s", c.Title, diags)
	}
	out, err := simulate.Script(context.Background(), obj, sentence)
	if err != nil {
		t.Fatalf("%s: interpreted: %s", c.Title, err)
	}
	corpusOut(t, c, "interpreted", out)
}

func corpusRun(t *testing.T, c *corpus.Case) {
	file := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(file, []byte(c.Script), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--listen", "off"}
	if c.Load {
		args = append(args, "--dry-run")
	} else {
		args = append(args, "-q")
	}
	if c.Unsafe {
		args = append(args, "--unsafe")
	}
	if args = append(args, file); len(c.Args) > 0 {
		args = append(append(args, "--"), c.Args...)
	}
	r := slope(t, args...)
	if c.Refused != "" {
		if r.status != 1 || !strings.Contains(r.err, c.Refused) {
			t.Errorf("%s: status %d, want a refusal with %q\n%s%s", c.Title, r.status, c.Refused, r.out, r.err)
		}
		return
	}
	if r.status != c.Status {
		t.Errorf("%s: status %d, want %d\n%s", c.Title, r.status, c.Status, r.err)
	}
	if c.Warning != "" && (!strings.Contains(r.err, "WARNING") || !strings.Contains(r.err, c.Warning)) {
		t.Errorf("%s: want a warning with %q\n%s", c.Title, c.Warning, r.err)
	}
	if c.Warning == "" && strings.Contains(r.err, "WARNING") {
		t.Errorf("%s: %s", c.Title, r.err)
	}
	if !c.Load {
		corpusOut(t, c, "in the kernel", r.out)
	}
}

func printed(t *testing.T, tree *syntax.File) string {
	var b strings.Builder
	if err := syntax.Print(&b, tree); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
