package syntax

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/slopebpf/slope/lang/source"
)

// parser reads bodies, expressions and types by hand.
//
// An error is a panic with bailout, caught in enter, or at the statement it happened in; nothing else panics.
type parser struct {
	lex      *lexer.PeekingLexer
	problems []problem
	depth    int
	percent  bool // "99.9%" is a literal here
}

type bailout struct{}

// maxChain bounds "a + b + c + …", which is a loop here but as deep as it is long for those who walk the tree.
const maxChain = 1000

// maxProblems is how many errors of one body are worth reading.
const maxProblems = 50

// enter runs f on lex and returns what it complained about; err is set when f gave up.
func enter(lex *lexer.PeekingLexer, percent bool, f func(p *parser)) (list []problem, err error) {
	p := &parser{lex: lex, percent: percent}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(bailout); !ok {
				panic(r)
			}
			list, err = nil, &failure{p.problems}
		}
	}()
	f(p)
	return p.problems, nil
}

// report notes a problem; one place is worth one message.
func (p *parser) report(span source.Span, format string, args ...any) {
	p.note(problem{span: span, message: fmt.Sprintf(format, args...)})
}

func (p *parser) note(pr problem) {
	for _, old := range p.problems {
		if old.span.Start == pr.span.Start {
			return
		}
	}
	if len(p.problems) >= maxProblems {
		return
	}
	p.problems = append(p.problems, pr)
}

// fail reports the next token and gives up on the statement.
func (p *parser) fail(want string) {
	p.note(unexpectedToken(p.lex.Peek(), want))
	panic(bailout{})
}

func (p *parser) deeper() {
	if p.depth++; p.depth > maxDepth {
		p.report(tokenSpan(p.lex.Peek()), "syntax: nested too deeply, the limit is %d levels", maxDepth)
		panic(bailout{})
	}
}

func (p *parser) is(text string) bool {
	t := p.lex.Peek()
	return t.Value == text && (isKind(t, Op) || isKind(t, Keyword) || isKind(t, Ident))
}

func (p *parser) accept(text string) bool {
	if !p.is(text) {
		return false
	}
	p.lex.Next()
	return true
}

func (p *parser) want(text string) {
	if !p.accept(text) {
		p.fail("'" + text + "'")
	}
}

// wantKind returns the next token, which must be of kind k.
func (p *parser) wantKind(k Kind, name string) *lexer.Token {
	if !isKind(p.lex.Peek(), k) {
		p.fail(name)
	}
	return p.lex.Next()
}

func (p *parser) start() int32 { return int32(p.lex.Peek().Pos.Offset) }

// rangeFrom is the range from start to the end of the last token read.
func (p *parser) rangeFrom(start int32) Range { return Range{Start: start, End: endOf(p.lex)} }

// peek2 is the token after the next one.
func (p *parser) peek2() *lexer.Token {
	here := p.lex.MakeCheckpoint()
	p.lex.Next()
	t := p.lex.Peek()
	p.lex.LoadCheckpoint(here)
	return t
}

// precedence of binary operators, as in C: bitwise operators bind less tightly than comparisons.
func precedence(op string) int {
	switch op {
	case "||":
		return 1
	case "&&":
		return 2
	case "|":
		return 3
	case "^":
		return 4
	case "&":
		return 5
	case "==", "!=":
		return 6
	case "<", ">", "<=", ">=":
		return 7
	case "<<", ">>":
		return 8
	case "+", "-":
		return 9
	case "*", "/", "%":
		return 10
	}
	return 0
}

// The levels above the binary operators, for the printer.
const (
	ternaryLevel = 0
	binaryLevel  = 1
	unaryLevel   = 11
	postfixLevel = 12
)

func (p *parser) expr() Expr {
	p.deeper()
	defer func() { p.depth-- }()
	start := p.start()
	cond := p.binary(binaryLevel)
	if !p.accept("?") {
		return cond
	}
	n := &Ternary{Cond: cond}
	if !p.is(":") {
		n.Then = p.expr()
	}
	p.want(":")
	n.Else = p.expr()
	n.Range = p.rangeFrom(start)
	return n
}

// binary climbs: it reads operators that bind at least as tightly as level.
func (p *parser) binary(level int) Expr {
	start := p.start()
	left := p.unary()
	for length := 0; ; length++ {
		op := p.lex.Peek()
		if !isKind(op, Op) {
			return left
		}
		l := precedence(op.Value)
		if l == 0 || l < level {
			return left
		}
		if op.Value == "/" && p.peek2().Value == "{" {
			return left // closes a predicate: a block is never a divisor
		}
		if length == maxChain {
			p.report(tokenSpan(op), "syntax: expression too long, the limit is %d operators in a row", maxChain)
			panic(bailout{})
		}
		p.lex.Next()
		right := p.binary(l + 1)
		left = &Binary{Range: p.rangeFrom(start), Op: op.Value, OpSpan: tokenSpan(op), L: left, R: right}
	}
}

func (p *parser) unary() Expr {
	t := p.lex.Peek()
	if isKind(t, Op) {
		switch t.Value {
		case "++", "--", "&", "*", "-", "+", "!", "~":
			p.deeper()
			defer func() { p.depth-- }()
			p.lex.Next()
			x := p.unary()
			return &Unary{Range: p.rangeFrom(int32(t.Pos.Offset)), Op: t.Value, X: x}
		}
	}
	start := p.start()
	return p.postfix(start, p.primary())
}

func (p *parser) postfix(start int32, x Expr) Expr {
	for {
		t := p.lex.Peek()
		if !isKind(t, Op) {
			return x
		}
		switch t.Value {
		case ".", "->":
			if _, number := x.(*Int); number {
				p.fail("operator or ';'") // there are no fractions
			}
			p.lex.Next()
			f := p.lex.Peek()
			if !isKind(f, Ident) && !isKind(f, Number) {
				p.fail("field name")
			}
			p.lex.Next()
			name := &Name{Range(tokenSpan(f)), f.Value}
			if isKind(f, Number) && strings.Trim(f.Value, "0123456789") != "" {
				p.report(tokenSpan(f), "syntax: got '%s', want field name or tuple index", f.Value)
			}
			x = &Field{p.rangeFrom(start), x, t.Value == "->", name}
		case "[":
			p.lex.Next()
			keys := p.list("]")
			if len(keys) == 0 {
				p.report(tokenSpan(t), "syntax: got '[]', want a key in the brackets")
				keys = []Expr{&BadExpr{Range(tokenSpan(t))}}
			}
			if m, ok := x.(*Map); ok && m.Index == nil {
				x = &Map{p.rangeFrom(start), m.Text, keys}
			} else {
				x = &Index{p.rangeFrom(start), x, keys}
			}
		case "++", "--":
			p.lex.Next()
			x = &Unary{p.rangeFrom(start), t.Value, true, x}
		default:
			return x
		}
		// Chains are loops here but recursion for everyone who walks the tree.
		if p.depth++; p.depth > maxDepth {
			p.report(tokenSpan(t), "syntax: nested too deeply, the limit is %d levels", maxDepth)
			panic(bailout{})
		}
		defer func() { p.depth-- }()
	}
}

// list reads expressions up to the closing token. A trailing comma is allowed.
func (p *parser) list(closing string) []Expr {
	var out []Expr
	for !p.is(closing) {
		out = append(out, p.expr())
		if !p.accept(",") {
			break
		}
	}
	p.want(closing)
	return out
}

func (p *parser) primary() Expr {
	t := p.lex.Peek()
	span := tokenSpan(t)
	switch kindOf(t) {
	case Number:
		if percent := p.percentLiteral(false); percent != nil {
			return percent
		}
		p.lex.Next()
		return p.newInt(t.Value, span)
	case Quoted:
		p.lex.Next()
		return p.newString(t.Value, span)
	case VarName:
		p.lex.Next()
		return newVar(t)
	case MapName:
		p.lex.Next()
		return newMap(t)
	case PositionalParam:
		p.lex.Next()
		return p.positional(t.Value, span)
	case Ident:
		p.lex.Next()
		name := &Name{Range(span), t.Value}
		if p.is("(") {
			return p.call(name)
		}
		return name
	case Keyword:
		return p.keyword(t)
	case Op:
		switch t.Value {
		case "{":
			return BlockExpr{p.block()}
		case "(":
			return p.paren()
		}
	}
	p.fail("expression")
	return nil
}

func newVar(t *lexer.Token) *Var { return &Var{Range(tokenSpan(t)), t.Value[1:]} }
func newMap(t *lexer.Token) *Map { return &Map{Range: Range(tokenSpan(t)), Text: t.Value[1:]} }

func (p *parser) positional(text string, span source.Span) Expr {
	if text == "$#" {
		return &Positional{Range(span), 0}
	}
	n, err := strconv.Atoi(text[1:])
	switch {
	case err != nil:
		p.report(span, "parameter number '%s' is too large", text)
	case n == 0:
		p.report(span, "parameters start at '$1', got '%s'", text)
	default:
		return &Positional{Range(span), n}
	}
	return &BadExpr{Range(span)}
}

func (p *parser) keyword(t *lexer.Token) Expr {
	start := int32(t.Pos.Offset)
	switch t.Value {
	case "true", "false":
		p.lex.Next()
		return &Bool{Range(tokenSpan(t)), t.Value == "true"}
	case "if":
		return IfExpr{p.ifStmt()}
	case "sizeof", "offsetof", "typeof", "typeinfo":
		p.lex.Next()
		return p.typeExpr(t.Value, start)
	case "struct", "union", "enum":
		n := &TypeExpr{Type: p.typeRef()}
		n.Range = p.rangeFrom(start)
		return n
	case "comptime":
		p.deeper()
		defer func() { p.depth-- }()
		p.lex.Next()
		x := p.unary()
		return &Comptime{p.rangeFrom(start), x}
	}
	p.fail("expression")
	return nil
}

// call reads the arguments of a call. fire() of test blocks has an attach point first and named arguments
// last; they become a String and a Record.
func (p *parser) call(name *Name) Expr {
	start := name.Start
	p.lex.Next()
	n := &Call{Name: name}
	if name.Text != "fire" {
		n.Args = p.list(")")
		n.Range = p.rangeFrom(start)
		return n
	}
	for !p.is(")") {
		t := p.lex.Peek()
		switch {
		case isKind(t, AttachWord):
			p.lex.Next()
			n.Args = append(n.Args, &String{Range(tokenSpan(t)), t.Value})
		case isKind(t, Ident) && p.peek2().Value == "=":
			n.Args = append(n.Args, p.recordFields(p.start()))
		default:
			n.Args = append(n.Args, p.expr())
		}
		if !p.accept(",") {
			break
		}
	}
	p.want(")")
	n.Range = p.rangeFrom(start)
	return n
}

// recordFields reads "name = x, …" without its parentheses.
func (p *parser) recordFields(start int32) *Record {
	n := &Record{}
	for {
		name := p.wantKind(Ident, "field name")
		p.want("=")
		n.Names = append(n.Names, &Name{Range(tokenSpan(name)), name.Value})
		n.Elems = append(n.Elems, p.expr())
		n.Range = p.rangeFrom(start)
		if !p.is(",") || !isKind(p.peek2(), Ident) {
			return n
		}
		p.lex.Next()
	}
}

// paren reads what starts with '(': a tuple, a record, a cast or a group.
func (p *parser) paren() Expr {
	start := p.start()
	p.lex.Next()
	if p.accept(")") {
		return &Tuple{Range: p.rangeFrom(start)}
	}
	if isKind(p.lex.Peek(), Ident) && p.peek2().Value == "=" {
		n := p.recordFields(start)
		p.accept(",")
		p.want(")")
		n.Range = p.rangeFrom(start)
		return n
	}
	if cast := p.cast(start); cast != nil {
		return cast
	}
	first := p.expr()
	if p.accept(",") {
		elems := append([]Expr{first}, p.list(")")...)
		return &Tuple{p.rangeFrom(start), elems}
	}
	p.want(")")
	return first
}

// cast reads "type) x" after '(', or nothing. "(name)" is a cast only when an expression follows and the
// name is not a builtin value, so that "(nsecs) - 1" is a difference.
func (p *parser) cast(start int32) Expr {
	here := p.lex.MakeCheckpoint()
	isCast := p.skipType() && p.accept(")") && p.startsExpr()
	p.lex.LoadCheckpoint(here)
	if !isCast {
		return nil
	}
	p.deeper()
	defer func() { p.depth-- }()
	t := p.typeRef()
	p.want(")")
	x := p.unary()
	return &Cast{p.rangeFrom(start), t, x}
}

func (p *parser) startsExpr() bool {
	t := p.lex.Peek()
	switch kindOf(t) {
	case Number, Quoted, VarName, MapName, PositionalParam, Ident:
		return !t.EOF()
	case Keyword:
		switch t.Value {
		case "true", "false", "if", "sizeof", "offsetof", "typeof", "typeinfo", "comptime":
			return true
		}
	case Op:
		switch t.Value {
		case "(", "-", "!", "~", "*", "&":
			return true
		}
	}
	return false
}

// percentLiteral reads "99.9%", "100%" or the decimal "14.4" where properties may hold them. The parts must
// touch, and after '%' no operand may follow: "10 % 3" and "10%3" are remainders,
// unless the caller is sure.
func (p *parser) percentLiteral(sure bool) *Percent {
	if !p.percent {
		return nil
	}
	here := p.lex.MakeCheckpoint()
	start := p.start()
	text := p.lex.Next().Value
	touches := func() bool { return p.lex.RawPeek() == p.lex.Peek() }
	if touches() && p.is(".") {
		p.lex.Next()
		if touches() && isKind(p.lex.Peek(), Number) {
			text += "." + p.lex.Next().Value
		} else {
			text = ""
		}
	}
	decimal := p.lex.MakeCheckpoint()
	if touches() && p.accept("%") && (sure || !p.startsExpr() || p.endsPercent()) {
		return p.newPercent(text+"%", source.Span(p.rangeFrom(start)))
	}
	p.lex.LoadCheckpoint(decimal)
	if strings.Contains(text, ".") {
		return p.newPercent(text, source.Span(p.rangeFrom(start)))
	}
	p.lex.LoadCheckpoint(here)
	return nil
}

// endsPercent tells whether the next token goes on after a percentage although it could start an operand.
func (p *parser) endsPercent() bool {
	switch p.lex.Peek().Value {
	case "of", "over", "by", "where", "-", "&", "*":
		return true
	}
	return false
}

// isRawBuiltin tells the builtin values that the parser itself knows, which can never be types.
func isRawBuiltin(s string) bool {
	switch s {
	case "args", "ctx", "kstack", "nsecs", "pid", "tid", "ustack", "retval", "goid":
		return true
	}
	rest, ok := strings.CutPrefix(s, "arg")
	if !ok {
		rest, ok = strings.CutPrefix(s, "sarg")
	}
	return strings.HasPrefix(s, "__builtin_") || ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}
