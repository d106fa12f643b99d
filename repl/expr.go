package repl

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/query"
)

// The words of the shell that are no part of the language.
const (
	wordHelp  = "help"
	wordWatch = "watch"
	wordHeat  = "heat"
	wordTop   = "top"
	wordSLO   = "slo"
)

func words() []string { return []string{wordHelp, wordWatch, wordHeat, wordTop, wordSLO} }

// isWord tells whether a line begins with a word of the shell; an objective's declaration does not.
func isWord(line string) bool {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	for _, w := range words() {
		if w == word {
			return word != wordSLO || strings.TrimSpace(rest) == ""
		}
	}
	return false
}

// isExpression tells whether a line is to be computed and not entered: it begins neither with a probe nor with a
// declaration.
func isExpression(u types.Universe, line string) bool {
	for _, t := range syntax.Lex(line) {
		switch t.Kind {
		case syntax.Whitespace, syntax.Comment:
			continue
		case syntax.DeclWord, syntax.DirectiveLine:
			return false
		case syntax.Bad: // of a comment that is open
			return !strings.HasPrefix(t.Text, "/*")
		case syntax.AttachWord:
			n := 0
			for n < len(t.Text) && (t.Text[n] == '_' || t.Text[n] >= '0' && t.Text[n] <= '9' || t.Text[n]|0x20 >= 'a' && t.Text[n]|0x20 <= 'z') {
				n++
			}
			name, rest := t.Text[:n], t.Text[n:]
			if strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "=") || rest == "" && u.Probe(name) != nil || n == 0 && strings.Contains(t.Text, ":") {
				return false
			}
			tail := strings.TrimSpace(line[int(t.Span.End):])
			return !strings.HasPrefix(tail, "{")
		default:
			return true
		}
	}
	return false
}

// evaluate computes a list of expressions and prints the results.
func (sh *shell) evaluate(ctx context.Context, line string) error {
	const before, after = "begin { f(", "); }"
	text := strings.TrimRight(line, "; \n")
	typed := source.NewFile("line", text)
	tree, diags := syntax.Parse(source.NewFile("line", before+text+after))
	if diags.HasErrors() {
		for i := range diags {
			s := &diags[i].Span
			s.Start = min(max(s.Start-int32(len(before)), 0), int32(len(text)))
			s.End = min(max(s.End-int32(len(before)), s.Start), int32(len(text)))
			diags[i].File = typed
		}
		return diags[:1]
	}
	var args []syntax.Expr
	if p, ok := tree.Items[0].(*syntax.Probe); ok && len(tree.Items) == 1 && len(p.Body.Stmts) == 1 {
		if s, ok := p.Body.Stmts[0].(*syntax.ExprStmt); ok {
			if c, ok := s.X.(*syntax.Call); ok {
				args = c.Args
			}
		}
	}
	if len(args) == 0 {
		return errors.New("got no expression; at the prompt stand probes, declarations and expressions over maps, statements stand in a probe: begin { … }")
	}
	prog, err := sh.running()
	if err != nil {
		return err
	}
	e := &query.Evaluator{Source: prog, Universe: sh.machine(), Colour: sh.opt.Colour}
	if e.Rates(args) { // what changes is measured over a second
		for _, a := range args {
			if err := e.Measure(a); err != nil {
				return err
			}
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		e.Elapsed = time.Since(began)
	}
	var out []string
	for _, a := range args {
		v, err := e.Eval(a)
		if err != nil {
			return err
		}
		if v.Kind == query.Printed {
			sh.printf("%s", v.Text)
			continue
		}
		out = append(out, v.String())
	}
	if len(out) > 0 {
		sh.printf("%s\n", strings.Join(out, ", "))
	}
	return nil
}
