package ide

import (
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Class is what a part of a text is coloured by.
type Class uint8

// The classes.
const (
	PlainClass Class = iota
	KeywordClass
	ProbeClass
	FuncClass
	BuiltinClass
	VarClass
	NumberClass
	StringClass
	CommentClass
	BadClass
)

// Span is a part of a text with its class.
type Span struct {
	Start, End int
	Class      Class
}

// Colours divides a text into classes; what has none is left out.
func Colours(text string, u types.Universe) []Span {
	var out []Span
	for _, t := range syntax.Lex(text) {
		if c := class(t, u); c != PlainClass {
			out = append(out, Span{int(t.Span.Start), int(t.Span.End), c})
		}
	}
	return out
}

func class(t syntax.Token, u types.Universe) Class {
	switch t.Kind {
	case syntax.AttachWord:
		return ProbeClass
	case syntax.DeclWord, syntax.Keyword, syntax.DirectiveLine:
		return KeywordClass
	case syntax.VarName, syntax.MapName, syntax.PositionalParam:
		return VarClass
	case syntax.Number:
		return NumberClass
	case syntax.Quoted:
		return StringClass
	case syntax.Comment:
		return CommentClass
	case syntax.Bad:
		if strings.HasPrefix(t.Text, `"`) { // it is still being typed
			return StringClass
		}
		return BadClass
	case syntax.Ident:
		if u.Func(t.Text) != nil {
			return FuncClass
		}
		if u.Var(t.Text) != nil {
			return BuiltinClass
		}
	}
	return PlainClass
}
