package ide

import (
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
)

// spot is where the cursor is.
type spot struct {
	word string // what has been typed of the word at the cursor
	from int    // where it starts

	before []syntax.Token // tokens before the word, blanks and comments left out
	decl   string         // the declaration that the cursor is in: sli, slo, config, …; "" in a probe
	depth  int            // of braces
	sli    bool           // in the body of an sli, or of one of its probes
	attach []string       // attach points of the probe that the cursor is in, or behind
	open   []openCall     // calls and brackets around the cursor, outermost first
	item   bool           // an item or attach point may start here
	text   bool           // in a string or comment
}

// openCall is a bracket before the cursor that is not closed. name is "" where it is no call.
type openCall struct {
	name    string
	bracket string
	arg     int
}

// base is the depth at which items stand.
func (s *spot) base() int {
	if s.sli {
		return 1
	}
	return 0
}

// find reads the tokens before the cursor.
func find(text string, offset int) *spot {
	offset = min(max(offset, 0), len(text))
	tokens := syntax.Lex(text[:offset])
	s := &spot{from: offset, item: true}
	if n := len(tokens); n > 0 {
		switch last := tokens[n-1]; last.Kind {
		case syntax.AttachWord, syntax.DeclWord, syntax.Keyword, syntax.Ident, syntax.VarName, syntax.PositionalParam, syntax.MapName, syntax.Number:
			s.word, s.from = last.Text, int(last.Span.Start)
			tokens = tokens[:n-1]
		case syntax.Comment:
			s.text = strings.HasPrefix(last.Text, "//")
		case syntax.Bad:
			if last.Text == "$" {
				s.word, s.from = last.Text, int(last.Span.Start)
				tokens = tokens[:n-1]
				break
			}
			s.text = last.Text[0] == '"' || strings.HasPrefix(last.Text, "/*")
		}
	}
	ended := false // the list of attach points: the next one begins another probe
	for _, t := range tokens {
		switch t.Kind {
		case syntax.Whitespace, syntax.Comment, syntax.DirectiveLine:
			continue
		case syntax.AttachWord:
			if ended {
				s.attach, ended = nil, false
			}
			s.attach = append(s.attach, t.Text)
			s.item = false
		case syntax.DeclWord:
			s.decl, s.item, s.attach = t.Text, false, nil
		case syntax.Op:
			s.operator(t.Text, &ended)
		default:
			s.item = false
		}
		s.before = append(s.before, t)
	}
	return s
}

func (s *spot) operator(op string, ended *bool) {
	switch op {
	case "{":
		if s.depth == 0 && s.decl == "sli" {
			s.sli = true
		}
		s.depth++
		s.open = nil
		s.item = s.sli && s.depth == 1
	case "}":
		s.depth = max(s.depth-1, 0)
		s.open = nil
		if s.depth == 0 {
			s.decl, s.sli = "", false
		}
		*ended = s.depth <= s.base()
		s.item = s.depth <= s.base()
	case ";":
		s.open = nil
		if s.depth == 0 {
			s.decl = ""
		}
		s.item = s.depth <= s.base()
		*ended = *ended || s.item
	case "(", "[":
		o := openCall{bracket: op}
		if n := len(s.before); op == "(" && n > 0 && s.before[n-1].Kind == syntax.Ident {
			o.name = s.before[n-1].Text
		}
		s.open = append(s.open, o)
	case ")", "]":
		if len(s.open) > 0 {
			s.open = s.open[:len(s.open)-1]
		}
	case ",":
		if len(s.open) > 0 {
			s.open[len(s.open)-1].arg++
		} else if s.depth == s.base() && s.decl == "" {
			s.item = true
		}
	default:
		s.item = false
	}
}

// last is the text of the nth token before the word, from 1.
func (s *spot) last(n int) string {
	if n > len(s.before) {
		return ""
	}
	return s.before[len(s.before)-n].Text
}
