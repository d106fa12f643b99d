package syntax

// block reads "{ … }". A statement that cannot be read becomes a BadStmt and reading goes on after it.
func (p *parser) block() *Block {
	if !p.is("{") {
		p.fail("'{'")
	}
	p.deeper()
	defer func() { p.depth-- }()
	start := p.start()
	n := &Block{}
	p.lex.Next()
	closed := true // the last statement ended in ';'
	for {
		t := p.lex.Peek()
		switch {
		case p.accept("}"):
			n.Range = p.rangeFrom(start)
			if !closed {
				n.promote()
			}
			return n
		case t.EOF() || isKind(t, AttachWord) || isKind(t, DeclWord):
			// An item can start here only because the lexer saw that a '}' is missing.
			p.note(unexpectedToken(t, "'}'"))
			n.Range = p.rangeFrom(start)
			return n
		case p.accept(";"):
			closed = true
			continue
		}
		var s Stmt
		s, closed = p.recovered()
		n.Stmts = append(n.Stmts, s)
	}
}

// promote makes a last expression without ';' the value of the block. An if or a block counts as an
// expression when every branch has a value.
func (n *Block) promote() {
	last := len(n.Stmts) - 1
	switch s := n.Stmts[last].(type) {
	case *ExprStmt:
		n.Result = s.X
	case *If:
		if !hasValue(s) {
			return
		}
		n.Result = IfExpr{s}
	case *Block:
		if s.Result == nil {
			return
		}
		n.Result = BlockExpr{s}
	default:
		return
	}
	n.Stmts = n.Stmts[:last]
}

// hasValue tells whether every branch of an if ends in a value.
func hasValue(n *If) bool {
	if n.Then == nil || n.Then.Result == nil {
		return false
	}
	switch e := n.Else.(type) {
	case *If:
		return hasValue(e)
	case *Block:
		return e.Result != nil
	}
	return false
}

// recovered reads a statement; on an error it skips to the end of it.
func (p *parser) recovered() (s Stmt, closed bool) {
	start, depth := p.start(), p.depth
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(bailout); !ok {
				panic(r)
			}
			p.depth = depth
			p.skipStmt()
			s, closed = &BadStmt{p.rangeFrom(start)}, true
		}
	}()
	return p.stmt()
}

// skipStmt advances past the ';' or '}' that ends the statement, or to the '}' that closes its block.
func (p *parser) skipStmt() {
	depth := 0
	for {
		t := p.lex.Peek()
		if t.EOF() || isKind(t, AttachWord) || isKind(t, DeclWord) {
			return
		}
		switch t.Value {
		case "{":
			depth++
		case "}":
			if depth == 0 {
				return
			}
			if depth--; depth == 0 && p.peek2().Value != "else" {
				p.lex.Next()
				p.accept(";")
				return
			}
		case ";":
			if depth == 0 {
				p.lex.Next()
				return
			}
		}
		p.lex.Next()
	}
}

// stmt reads a statement and its ';'. closed tells whether there was one.
func (p *parser) stmt() (s Stmt, closed bool) {
	t := p.lex.Peek()
	start := p.start()
	if isKind(t, Keyword) {
		switch t.Value {
		case "if":
			s := p.ifStmt()
			return s, p.accept(";")
		case "while", "unroll":
			p.lex.Next()
			n := &Loop{Keyword: t.Value, Cond: p.expr()}
			n.Body = p.block()
			n.Range = p.rangeFrom(start)
			return n, p.accept(";")
		case "for":
			s := p.forStmt()
			return s, p.accept(";")
		case "break", "continue", "return":
			p.lex.Next()
			n := &Jump{Keyword: t.Value}
			if t.Value == "return" && !p.is(";") && !p.is("}") {
				n.Value = p.expr()
			}
			n.Range = p.rangeFrom(start)
			return n, p.endStmt()
		case "let":
			s := p.let()
			return s, p.endStmt()
		case "import":
			p.lex.Next()
			path := p.wantKind(Quoted, "path")
			n := &Import{Path: p.newString(path.Value, tokenSpan(path))}
			n.Range = p.rangeFrom(start)
			return ImportStmt{n}, p.endStmt()
		}
	}
	if p.is("{") {
		s := p.block()
		return s, p.accept(";")
	}
	x := p.expr()
	if op := p.lex.Peek(); isKind(op, Op) && isAssignment(op.Value) {
		p.lex.Next()
		value := p.expr()
		n := &Assign{p.rangeFrom(start), x, op.Value, value}
		return n, p.endStmt()
	}
	n := &ExprStmt{p.rangeFrom(start), x} // wider than x when x stands in parentheses
	return n, p.endStmt()
}

func isAssignment(op string) bool {
	switch op {
	case "=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=":
		return true
	}
	return false
}

// endStmt wants ';' or the '}' that closes the block.
func (p *parser) endStmt() bool {
	if p.accept(";") {
		return true
	}
	if !p.is("}") {
		p.fail("';' or '}'")
	}
	return false
}

func (p *parser) let() *Let {
	start := p.start()
	p.lex.Next()
	n := &Let{Name: newVar(p.wantKind(VarName, "variable"))}
	if p.accept(":") {
		n.Type = p.typeRef()
	}
	if p.accept("=") {
		n.Value = p.expr()
	}
	n.Range = p.rangeFrom(start)
	return n
}

func (p *parser) ifStmt() *If {
	p.deeper() // "else if" chains recurse too
	defer func() { p.depth-- }()
	start := p.start()
	p.lex.Next()
	n := &If{Cond: p.expr()}
	n.Then = p.block()
	if p.accept("else") {
		if p.is("if") {
			n.Else = p.ifStmt()
		} else {
			n.Else = p.block()
		}
	}
	n.Range = p.rangeFrom(start)
	return n
}

func (p *parser) forStmt() *For {
	start := p.start()
	p.lex.Next()
	paren := p.accept("(")
	n := &For{Var: newVar(p.wantKind(VarName, "loop variable"))}
	p.want(":")
	n.From = p.expr()
	if p.accept("..") {
		n.To = p.expr()
	}
	if paren {
		p.want(")")
	}
	n.Body = p.block()
	n.Range = p.rangeFrom(start)
	return n
}
