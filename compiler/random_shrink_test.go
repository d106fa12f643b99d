package compiler_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

var numbers = regexp.MustCompile(`[0-9]+|'[^']*'`)

// kindOf is what stays the same of a failure while its script shrinks: the phase, and the first error of a script that
// should have been right.
func kindOf(err error) string {
	if err == nil {
		return ""
	}
	phase, _, _ := strings.Cut(err.Error(), "\n")
	phase, _, _ = strings.Cut(phase, ":")
	var diags source.Diagnostics
	if errors.As(err, &diags) {
		for _, d := range diags {
			if d.Severity == source.Error {
				return numbers.ReplaceAllString(phase+": "+d.Message, "")
			}
		}
	}
	return numbers.ReplaceAllString(phase, "")
}

// cut is a piece of a script and what it may become.
type cut struct {
	span source.Span
	to   []string
}

// cuts lists what can be left out of a script, the largest first: clauses, definitions, statements, and expressions,
// which become one of their parts or a literal.
func cuts(text string) []cut {
	file, _ := syntax.Parse(source.NewFile("shrink", text))
	var out []cut
	of := func(n syntax.Node) string { return text[n.Span().Start:n.Span().End] }
	add := func(n syntax.Node, to ...string) {
		if s := n.Span(); s.End > s.Start {
			out = append(out, cut{s, to})
		}
	}
	syntax.WalkFile(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.If:
			add(n, "", of(n.Then))
		case *syntax.For:
			add(n, "", of(n.Body))
		case *syntax.Loop:
			add(n, "", of(n.Body))
		case syntax.Item:
			add(n, "")
		case syntax.Stmt:
			add(n, "")
			if last := len(out) - 1; last >= 0 && strings.HasPrefix(text[n.Span().End:], ";") {
				out[last].span.End++
			}
		case syntax.Expr:
			to := []string{"0", "1", `""`}
			syntax.Walk(n, func(c syntax.Node) bool {
				if e, ok := c.(syntax.Expr); ok && c != syntax.Node(n) {
					to = append(to, of(e), "("+of(e)+")")
					return false
				}
				return true
			})
			add(n, to...)
		}
		return true
	})
	slices.SortStableFunc(out, func(a, b cut) int { return int(b.span.End-b.span.Start) - int(a.span.End-a.span.Start) })
	return out
}

// shrink makes a script smaller as long as it fails in the same way, with at most so many tries.
func shrink(text string, tries int, fails func(text string) error) string {
	kind := kindOf(fails(text))
	smaller := func() bool {
		for _, c := range cuts(text) {
			for _, to := range c.to {
				next := text[:c.span.Start] + to + text[c.span.End:]
				if len(next) >= len(text) {
					continue
				}
				if tries--; tries < 0 {
					return false
				}
				if kindOf(fails(next)) == kind {
					text = next
					return true
				}
			}
		}
		return false
	}
	for kind != "" && smaller() {
	}
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.Trim(l, " ;") == "" })
	return strings.Join(lines, "\n") + "\n"
}

// TestShrink: what does not matter goes, what matters stays.
func TestShrink(t *testing.T) {
	got := shrink("// ctx: 1\nmacro m(x) { x + 1 }\nbegin { $a = 1 + (2 * 3); if ($a == 7) { print((4, 5)); @x = 10 / (3 - m(2)); } }\nend { print(1); }\n", 500,
		func(text string) error {
			if strings.Contains(text, "- m(2)") && strings.Contains(text, "macro m(x) {") {
				return errors.New("wrong: 7")
			}
			return nil
		})
	if want := "// ctx: 1\nmacro m(x) { 0 }\nbegin {  {  0 = 3 - m(2); } }\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
