// Package syntax turns the text of a script into a tree and prints trees as text.
//
// Start at Parse. It lexes the whole text first (Lex, lossless), then reads one item after the other. The
// shapes of declarations are a participle grammar (grammar.go); bodies, expressions and types are read by
// hand with precedence climbing (stmt.go, expr.go), entered from the grammar through its Parseable hook.
// Rules that make better messages when checked on a finished tree are in validate.go.
//
// Invariants:
//   - Parse always returns a File. What could not be read is a BadItem, BadStmt or BadExpr, each with at
//     least one error in the diagnostics; after an error reading goes on at the next statement or item.
//   - The texts of File.Tokens joined are the source; comments live only there.
//   - Spans are byte offsets and nest: a child lies inside its parent.
//   - The grammar runs with look-ahead 0, so an error is always reported at the token that is wrong.
//
// It must not resolve names, expand alternations or parameters, or know any provider's rules: the
// checker does, and imports this package.
package syntax

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"

	"github.com/slopebpf/slope/lang/source"
)

// maxDepth bounds the nesting of blocks and expressions, so that no input can exhaust the stack.
const maxDepth = 200

// Parse reads a script. The tree is never nil; see Diagnostics.HasErrors and Diagnostics.Incomplete.
func Parse(file *source.File) (*File, source.Diagnostics) {
	b := &builder{file: file}
	f := &File{Source: file, Tokens: Lex(file.Text)}
	lex := newPeekingLexer(f.Tokens, len(file.Text))
	for !lex.Peek().EOF() {
		f.Items = append(f.Items, b.item(lex))
	}
	validate(f, &b.diags)
	return f, b.diags.Sort()
}

// problem is an error that waits for the file it belongs to: participle's hooks have no room for more context.
type problem struct {
	span    source.Span
	message string
	hint    string
	atEOF   bool
}

// failure carries the problems of a part that could not be read through participle.
type failure struct{ problems []problem }

func (f *failure) Error() string { return f.problems[len(f.problems)-1].message }

// builder turns what the grammar read into items of the tree.
type builder struct {
	file  *source.File
	diags source.Diagnostics
}

func (b *builder) add(problems []problem) {
	for _, p := range problems {
		d := b.diags.Errorf(b.file, p.span, "%s", p.message)
		d.Hint, d.AtEOF = p.hint, p.atEOF
	}
}

// item reads one item, or skips to the next one after an error.
func (b *builder) item(lex *lexer.PeekingLexer) Item {
	start := *lex.Peek()
	cursor := lex.RawCursor()
	box, err := guarded(items().ParseFromLexer, lex)
	if err == nil {
		return box.Item.build(b)
	}
	b.add(problems(err, lex, "probe or declaration"))
	skipItem(lex, cursor)
	return &BadItem{Range{Start: int32(start.Pos.Offset), End: endOf(lex)}}
}

// guarded runs a participle parser and turns a panic in it, which only a fault in the grammar can cause,
// into an error at the place it happened.
func guarded[T any](parse func(*lexer.PeekingLexer, ...participle.ParseOption) (*T, error), lex *lexer.PeekingLexer) (box *T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = participle.Errorf(lex.Peek().Pos, "cannot parse this")
		}
	}()
	return parse(lex, participle.AllowTrailing(true))
}

// skipItem advances to where the next item may start. from is where the broken one started.
func skipItem(lex *lexer.PeekingLexer, from lexer.RawCursor) {
	depth := openBraces(lex, from)
	for progress := lex.RawCursor() == from; ; progress = false {
		t := lex.Peek()
		if t.EOF() || !progress && startsLine(lex) {
			return
		}
		if lex.Next(); endsSkip(t, &depth) {
			return
		}
	}
}

// startsLine tells that an item may start at the next token and stands first on its line: on the same line
// it is more likely a part of what is broken.
func startsLine(lex *lexer.PeekingLexer) bool {
	t := lex.Peek()
	if isKind(t, DeclWord) {
		return true
	}
	between := lex.Range(lex.RawCursor(), lex.RawCursor()+1)
	return isKind(t, AttachWord) && isKind(&between[0], Whitespace) && strings.Contains(between[0].Value, "\n")
}

// openBraces counts the braces that were opened since from and are still open.
func openBraces(lex *lexer.PeekingLexer, from lexer.RawCursor) int {
	depth := 0
	for _, t := range lex.Range(from, lex.RawCursor()) {
		countBrace(&t, &depth)
	}
	return depth
}

func countBrace(t *lexer.Token, depth *int) {
	switch t.Value {
	case "{":
		*depth++
	case "}":
		*depth = max(*depth-1, 0)
	}
}

// endsSkip tells whether a broken item or member ends with t.
func endsSkip(t *lexer.Token, depth *int) bool {
	countBrace(t, depth)
	return *depth == 0 && (t.Value == "}" || t.Value == ";")
}

// problems turns an error of participle into ours. want names what may stand at the start of the production.
func problems(err error, lex *lexer.PeekingLexer, want string) []problem {
	var f *failure
	if errors.As(err, &f) {
		return f.problems
	}
	var unexpected *participle.UnexpectedTokenError
	if errors.As(err, &unexpected) {
		if expected := expectation(unexpected.Message()); expected != "" {
			want = expected
		}
		return []problem{unexpectedToken(&unexpected.Unexpected, want)}
	}
	at := *lex.Peek()
	message := "syntax: cannot parse this"
	var positioned participle.Error
	if errors.As(err, &positioned) {
		at.Pos = positioned.Position()
	}
	return []problem{{span: tokenSpan(&at), message: message}}
}

// unexpectedToken words "got X, want Y".
func unexpectedToken(t *lexer.Token, want string) problem {
	p := problem{span: tokenSpan(t), atEOF: t.EOF()}
	switch {
	case t.EOF():
		p.message = "syntax: got end of file, want " + want
	case kindOf(t) == Bad && t.Value[0] == '"':
		p.message = "syntax: unterminated string"
	case kindOf(t) == Bad && strings.HasPrefix(t.Value, "/*"):
		p.message, p.atEOF = "syntax: unterminated comment", true
	case kindOf(t) == Bad:
		p.message = fmt.Sprintf("syntax: invalid character %q", t.Value)
	case kindOf(t) == Quoted:
		p.message = "syntax: got string, want " + want
	default:
		text, _, _ := strings.Cut(t.Value, "\n")
		p.message = fmt.Sprintf("syntax: got '%s', want %s", text, want)
	}
	return p
}

// expectation takes the first thing out of participle's "(expected …)" and says it in plain words.
func expectation(message string) string {
	_, expected, ok := strings.Cut(message, "(expected ")
	if !ok {
		return ""
	}
	expected = strings.TrimLeft(expected, "( ")
	if strings.HasPrefix(expected, `"`) {
		if literal, _, ok := strings.Cut(expected[1:], `"`); ok {
			return "'" + literal + "'"
		}
	}
	word := expected[:wordEnd(expected, 0)]
	return productionNames[strings.ToLower(word)]
}

// participle sees our tokens with kind k as type -2-k: -1 is its end of file.
func tokenType(k Kind) lexer.TokenType    { return lexer.EOF - 1 - lexer.TokenType(k) }
func kindOf(t *lexer.Token) Kind          { return Kind(lexer.EOF - 1 - t.Type) }
func isKind(t *lexer.Token, k Kind) bool  { return t.Type == tokenType(k) }
func endOf(lex *lexer.PeekingLexer) int32 { return int32(lex.RawPeek().Pos.Offset) }

func tokenSpan(t *lexer.Token) source.Span {
	start := int32(t.Pos.Offset)
	return source.Span{Start: start, End: start + int32(len(t.Value))}
}

// tokenSlice hands our tokens to participle.
type tokenSlice struct {
	tokens []Token
	end    int
}

func (s *tokenSlice) Next() (lexer.Token, error) {
	if len(s.tokens) == 0 {
		return lexer.EOFToken(lexer.Position{Offset: s.end}), nil
	}
	t := s.tokens[0]
	s.tokens = s.tokens[1:]
	return lexer.Token{Type: tokenType(t.Kind), Value: t.Text, Pos: lexer.Position{Offset: int(t.Span.Start)}}, nil
}

// newPeekingLexer cannot fail: tokenSlice returns no errors. A '#' line inside a body stays visible, to be an error.
func newPeekingLexer(tokens []Token, end int) *lexer.PeekingLexer {
	lex, err := lexer.Upgrade(&tokenSlice{tokens, end}, tokenType(Whitespace), tokenType(Comment))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return lex
}
