package syntax

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// stmtIn prints a statement of a block. A last if or block whose value is not the value of the block needs a
// ';', or it would become it.
func (p *printer) stmtIn(s Stmt, last bool) {
	p.stmt(s)
	switch s := s.(type) {
	case *If:
		if last && hasValue(s) {
			p.write(";")
		}
	case *Block:
		if last && s.Result != nil {
			p.write(";")
		}
	}
}

func (p *printer) stmt(s Stmt) {
	switch n := s.(type) {
	case *resultStmt:
		p.statementExpr(n.Expr, true)
	case *ExprStmt:
		p.statementExpr(n.X, false)
		p.write(";")
	case *Block:
		p.block(n)
	case *Assign:
		p.statementExpr(n.Target, false)
		p.write(" ", n.Op, " ")
		p.expr(n.Value, ternaryLevel)
		p.write(";")
	case *Let:
		p.write("let $", n.Name.Text)
		if n.Type != nil {
			p.write(" : ")
			p.typeRef(n.Type)
		}
		if n.Value != nil {
			p.write(" = ")
			p.expr(n.Value, ternaryLevel)
		}
		p.write(";")
	case *If:
		p.ifStmt(n)
	case *Loop:
		p.write(n.Keyword, " (")
		p.expr(n.Cond, ternaryLevel)
		p.write(") ")
		p.block(n.Body)
	case *For:
		p.write("for ($", n.Var.Text, " : ")
		if p.expr(n.From, unaryLevel); n.To != nil {
			p.write("..")
			p.expr(n.To, unaryLevel)
		}
		p.write(") ")
		p.block(n.Body)
	case *Jump:
		p.write(n.Keyword)
		if n.Value != nil {
			p.write(" ")
			p.expr(n.Value, ternaryLevel)
		}
		p.write(";")
	case ImportStmt:
		p.importDecl(n.Import)
	case *BadStmt:
		p.verbatim(n)
	}
}

// statementExpr prints an expression where a statement starts. An if or a block there would be read as a
// statement, so it stands in parentheses, unless it becomes the value of its block anyway.
func (p *printer) statementExpr(x Expr, isResult bool) {
	least := ternaryLevel
	switch n := x.(type) {
	case IfExpr:
		if !isResult || !hasValue(n.If) {
			least = postfixLevel
		}
	case BlockExpr:
		if !isResult || n.Result == nil {
			least = postfixLevel
		}
	}
	p.expr(x, least)
}

func (p *printer) ifStmt(n *If) {
	p.write("if (")
	p.expr(n.Cond, ternaryLevel)
	p.write(") ")
	p.block(n.Then)
	switch e := n.Else.(type) {
	case *If:
		p.write(" else ")
		p.ifStmt(e)
	case *Block:
		p.write(" else ")
		p.block(e)
	}
}

func (p *printer) comma(i int) {
	if i > 0 {
		p.write(", ")
	}
}

func (p *printer) list(list []Expr) {
	for i, x := range list {
		p.comma(i)
		p.expr(x, ternaryLevel)
	}
}

// level is how tightly an expression binds.
func level(x Expr) int {
	switch x := x.(type) {
	case *Ternary:
		return ternaryLevel
	case IfExpr, BlockExpr:
		return ternaryLevel
	case *Binary:
		return precedence(x.Op)
	case *Unary:
		if x.Postfix {
			return postfixLevel
		}
		return unaryLevel
	case *Cast, *Comptime:
		return unaryLevel
	}
	return postfixLevel
}

// expr prints x, in parentheses when it binds less tightly than least.
func (p *printer) expr(x Expr, least int) {
	if level(x) < least {
		p.write("(")
		defer p.write(")")
	}
	switch n := x.(type) {
	case *Name:
		p.write(n.Text)
	case *Var:
		p.write("$", n.Text)
	case *Positional:
		if n.N == 0 {
			p.write("$#")
		} else {
			fmt.Fprintf(&p.out, "$%d", n.N)
		}
	case *Map:
		p.write("@", n.Text)
		if n.Index != nil {
			p.write("[")
			p.list(n.Index)
			p.write("]")
		}
	case *Int:
		if n.Raw == "" { // made by the compiler
			fmt.Fprint(&p.out, n.Value)
		}
		p.write(n.Raw)
	case *String:
		p.write(quote(n.Value))
	case *Bool:
		fmt.Fprint(&p.out, n.Value)
	case *Percent:
		p.write(n.Raw)
	case *Unary:
		p.unary(n)
	case *Binary:
		l := precedence(n.Op)
		p.expr(n.L, l)
		p.write(" ", n.Op, " ")
		p.expr(n.R, l+1)
	case *Ternary:
		p.expr(n.Cond, binaryLevel)
		if n.Then == nil {
			p.write(" ?: ")
		} else {
			p.write(" ? ")
			p.expr(n.Then, ternaryLevel)
			p.write(" : ")
		}
		p.expr(n.Else, ternaryLevel)
	case *Field:
		p.operand(n.X)
		if n.Arrow {
			p.write("->", n.Name.Text)
		} else {
			p.write(".", n.Name.Text)
		}
	case *Index:
		if m, ok := n.X.(*Map); ok && m.Index == nil {
			p.write("(@", m.Text, ")") // or it would be a key of the map
		} else {
			p.operand(n.X)
		}
		p.write("[")
		p.list(n.Keys)
		p.write("]")
	case *Call:
		p.call(n)
	case *Cast:
		p.write("(")
		p.typeRef(n.Type)
		p.write(")")
		p.expr(n.X, unaryLevel)
	case *TypeExpr:
		p.typeExpr(n)
	case *Comptime:
		p.write("comptime ")
		p.expr(n.X, unaryLevel)
	case *Tuple:
		p.write("(")
		p.list(n.Elems)
		if len(n.Elems) == 1 {
			p.write(",")
		}
		p.write(")")
	case *Record:
		p.write("(")
		p.fields(n)
		p.write(")")
	case IfExpr:
		p.ifStmt(n.If)
	case BlockExpr:
		p.block(n.Block)
	case *BadExpr:
		p.verbatim(n)
	}
}

// operand prints what a postfix operator stands behind. A number takes parentheses: "1.x" is not a field.
func (p *printer) operand(x Expr) {
	_, isInt := x.(*Int)
	_, isPercent := x.(*Percent)
	if isInt || isPercent {
		p.write("(", p.sub(x, ternaryLevel), ")")
		return
	}
	p.expr(x, postfixLevel)
}

func (p *printer) unary(n *Unary) {
	if n.Postfix {
		p.expr(n.X, postfixLevel)
		p.write(n.Op)
		return
	}
	p.write(n.Op)
	// "- -x" must not become "--x".
	if text := p.sub(n.X, unaryLevel); text[0] == n.Op[0] {
		p.write(" ", text)
	} else {
		p.write(text)
	}
}

func (p *printer) call(n *Call) {
	p.write(n.Name.Text, "(")
	if n.Name.Text != "fire" {
		p.list(n.Args)
		p.write(")")
		return
	}
	for i, x := range n.Args {
		p.comma(i)
		s, isString := x.(*String)
		r, isRecord := x.(*Record)
		switch {
		case p.test && i == 0 && isString && isAttachText(s.Value):
			p.write(s.Value)
		case isRecord && i == len(n.Args)-1:
			p.fields(r)
		default:
			p.expr(x, ternaryLevel)
		}
	}
	p.write(")")
}

// isAttachText tells whether the lexer reads text as an attach point after "fire(".
func isAttachText(text string) bool {
	if text == "" || !isWord(text[0]) || isDigit(text[0]) || attachEnd(text, 0, true) != len(text) {
		return false
	}
	return strings.Contains(text, ":") || edgeProbes[text]
}

func (p *printer) fields(n *Record) {
	for i, name := range n.Names {
		p.comma(i)
		p.write(name.Text, " = ")
		p.expr(n.Elems[i], ternaryLevel)
	}
}

func (p *printer) typeExpr(n *TypeExpr) {
	if n.Keyword == "" {
		p.typeRef(n.Type)
		return
	}
	p.write(n.Keyword, "(")
	if n.Type != nil {
		p.typeRef(n.Type)
	} else {
		p.expr(n.X, ternaryLevel)
	}
	for i, f := range n.Fields {
		if i == 0 {
			p.write(", ")
		} else {
			p.write(".")
		}
		p.write(f.Text)
	}
	p.write(")")
}

func (p *printer) typeRef(n *TypeRef) {
	switch {
	case n.Typeof != nil:
		p.write("typeof(")
		p.expr(n.Typeof, ternaryLevel)
		p.write(")")
	case n.Keyword != "":
		p.write(n.Keyword, " ", n.Name)
	default:
		p.write(n.Name)
	}
	if len(n.Suffix) > 0 && n.Suffix[0].Pointer {
		p.write(" ")
	}
	p.write(suffixString(n.Suffix))
}

func suffixString(list []TypeSuffix) string {
	var b strings.Builder
	for _, s := range list {
		switch {
		case s.Pointer:
			b.WriteByte('*')
		case s.Len < 0:
			b.WriteString("[]")
		default:
			fmt.Fprintf(&b, "[%d]", s.Len)
		}
	}
	return b.String()
}

// quote writes a string literal. Text that can be printed stays as it is, the rest becomes escapes.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && n == 1 || !unicode.IsPrint(r):
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
	return b.String()
}
