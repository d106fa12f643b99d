package syntax

import "strconv"

// startsType tells whether the next token can be the first of a type.
func (p *parser) startsType() bool {
	t := p.lex.Peek()
	switch kindOf(t) {
	case Ident:
		return !t.EOF() && !isRawBuiltin(t.Value)
	case Keyword:
		return t.Value == "struct" || t.Value == "union" || t.Value == "enum" || t.Value == "typeof"
	}
	return false
}

// skipType advances over what looks like a type, without reading it: trying and reading again would take
// exponential time in nested typeof.
func (p *parser) skipType() bool {
	if !p.startsType() {
		return false
	}
	t := p.lex.Next()
	switch {
	case t.Value == "typeof":
		if !p.is("(") || !p.skipParens() {
			return false
		}
	case isKind(t, Keyword):
		if !isKind(p.lex.Peek(), Ident) {
			return false
		}
		p.lex.Next()
		for p.separator() != "" {
			if !isKind(p.lex.Peek(), Ident) {
				return false
			}
			p.lex.Next()
		}
	}
	for {
		switch {
		case p.accept("*"):
		case p.accept("["):
			if isKind(p.lex.Peek(), Number) {
				p.lex.Next()
			}
			if !p.accept("]") {
				return false
			}
		default:
			return true
		}
	}
}

// separator reads what stands between a package or namespace and a name in it: "." or "::", "" for neither.
func (p *parser) separator() string {
	switch {
	case p.accept("."):
		return "."
	case p.is(":") && p.peek2().Value == ":":
		p.lex.Next()
		p.lex.Next()
		return "::"
	}
	return ""
}

// skipParens advances over a balanced parenthesis.
func (p *parser) skipParens() bool {
	for depth := 0; ; {
		t := p.lex.Next()
		switch {
		case t.EOF():
			return false
		case t.Value == "(":
			depth++
		case t.Value == ")":
			if depth--; depth == 0 {
				return true
			}
		}
	}
}

func (p *parser) typeRef() *TypeRef {
	start := p.start()
	if !p.startsType() {
		p.fail("type")
	}
	p.deeper()
	defer func() { p.depth-- }()
	n := &TypeRef{}
	t := p.lex.Next()
	switch {
	case t.Value == "typeof":
		p.want("(")
		inner, x := p.typeOrExpr(")", true)
		p.want(")")
		if n.Typeof = x; inner != nil {
			*n = *inner // typeof(struct s *) is that type
		}
	case isKind(t, Keyword):
		n.Keyword = t.Value
		n.Name = p.wantKind(Ident, "name of the "+t.Value).Value
		for sep := p.separator(); sep != ""; sep = p.separator() {
			n.Name += sep + p.wantKind(Ident, "name of the "+t.Value).Value
		}
	default:
		n.Name = t.Value
	}
	for {
		switch {
		case p.accept("*"):
			n.Suffix = append(n.Suffix, TypeSuffix{Pointer: true})
		case p.is("["):
			n.Suffix = append(n.Suffix, TypeSuffix{Len: p.arrayLen()})
		default:
			n.Range = p.rangeFrom(start)
			return n
		}
	}
}

// arrayLen reads "[N]" or "[]".
func (p *parser) arrayLen() int {
	p.lex.Next()
	if p.accept("]") {
		return -1
	}
	t := p.wantKind(Number, "array length")
	value, unit, problem := parseInt(t.Value)
	if problem == "" && (unit != NoUnit || value > 1<<30) {
		problem = "invalid array length '" + t.Value + "', the limit is " + strconv.Itoa(1<<30)
	}
	if problem != "" {
		p.report(tokenSpan(t), "%s", problem)
		value = 0
	}
	p.want("]")
	return int(value)
}

// typeOrExpr reads a type when the closing token follows it, else an expression. A bare name could be either:
// nameIsExpr decides.
func (p *parser) typeOrExpr(closing string, nameIsExpr bool) (*TypeRef, Expr) {
	here := p.lex.MakeCheckpoint()
	bare := nameIsExpr && isKind(p.lex.Peek(), Ident) && p.peek2().Value == closing
	isType := !bare && p.skipType() && p.is(closing)
	p.lex.LoadCheckpoint(here)
	if isType {
		return p.typeRef(), nil
	}
	return nil, p.expr()
}

// typeExpr reads the parenthesis after sizeof, offsetof, typeof or typeinfo.
func (p *parser) typeExpr(keyword string, start int32) Expr {
	n := &TypeExpr{Keyword: keyword}
	p.want("(")
	closing := ")"
	if keyword == "offsetof" {
		closing = ","
	}
	n.Type, n.X = p.typeOrExpr(closing, false)
	if keyword == "offsetof" {
		p.want(",")
		for {
			t := p.wantKind(Ident, "field name")
			n.Fields = append(n.Fields, &Name{Range(tokenSpan(t)), t.Value})
			if !p.accept(".") {
				break
			}
		}
	}
	p.want(")")
	n.Range = p.rangeFrom(start)
	return n
}
