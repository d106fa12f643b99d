package syntax

import (
	"sync"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"

	"github.com/slopebpf/slope/lang/source"
)

// The grammar of declarations. Each production has a build method that makes the node of the tree.
//
// With look-ahead 0 the first token of an alternative decides, so a list that may end in a comma has to look
// past the comma by hand: "( (?! ',' ')' ) ',' @@ )* ','?". A literal matches a token of any kind by its text.

type (
	gItem interface{ build(*builder) Item }
	gBox  struct {
		Item gItem `parser:"@@"`
	}

	gDirective struct {
		Pos, EndPos lexer.Position
		Text        string `parser:"@Directive"`
	}
	gConfig struct {
		Pos, EndPos lexer.Position
		Props       []*gProperty `parser:"'config' '=' '{' @@* '}'"`
	}
	gProperty struct {
		Pos, EndPos lexer.Position
		Name        *gName  `parser:"@@ '='"`
		Value       *gValue `parser:"@@ (?= ';' | '}') ';'?"`
	}
	gImport struct {
		Pos, EndPos lexer.Position
		Path        *gString     `parser:"'import' @@"`
		Params      []*gArgument `parser:"( '(' ( @@ ( (?! ',' ')' ) ',' @@ )* ','? )? ')' )? ';'"`
	}
	gArgument struct {
		Pos, EndPos lexer.Position
		Name        *gName  `parser:"@@ '='"`
		Value       *gValue `parser:"@@"`
	}
	gMapDecl struct {
		Pos, EndPos lexer.Position
		Map         *gMap  `parser:"'let' @@ '='"`
		Type        *gName `parser:"@@ '('"`
		Max         *gInt  `parser:"@@ ')' ';'"`
	}
	gMacro struct {
		Pos, EndPos lexer.Position
		Name        *gName       `parser:"'macro' @@ '('"`
		Params      []*gMacroArg `parser:"( @@ ( ',' @@ )* )? ')'"`
		Body        *gBlock      `parser:"@@"`
	}
	gFn struct {
		Pos, EndPos lexer.Position
		Name        *gName    `parser:"'fn' @@ '('"`
		Params      []*gFnArg `parser:"( @@ ( ',' @@ )* )? ')'"`
		Result      *gType    `parser:"':' @@"`
		Body        *gBlock   `parser:"@@"`
	}
	gFnArg struct {
		Pos, EndPos lexer.Position
		Name        *gVar  `parser:"@@ ':'"`
		Type        *gType `parser:"@@"`
	}
	gExport struct {
		Pos, EndPos lexer.Position
		Map         *gMap    `parser:"'export' @@"`
		Labels      []*gName `parser:"( '[' @@ ( ',' @@ )* ']' )?"`
		Kind        *gName   `parser:"'as' @@"`
		Help        *gString `parser:"@@? ';'"`
	}
	gTest struct {
		Pos, EndPos lexer.Position
		Name        *gString `parser:"'test' @@"`
		Body        *gBlock  `parser:"@@"`
	}
	gProbe struct {
		Pos, EndPos lexer.Position
		Attach      []*gAttach `parser:"@@ ( (?= ',' Attach ) ',' @@ )* ','?"`
		Pred        *gExpr     `parser:"( '/' @@ '/' )?"`
		Body        *gBlock    `parser:"@@"`
	}
	gSLI struct {
		Pos, EndPos lexer.Position
		Name        *gName    `parser:"'sli' @@"`
		Labels      []*gName  `parser:"( '[' @@ ( ',' @@ )* ']' )?"`
		Doc         *gString  `parser:"@@?"`
		Body        *gSLIBody `parser:"@@"`
	}
	gSLO struct {
		Pos, EndPos lexer.Position
		Name        *gName       `parser:"'slo' @@ '='"`
		Composite   *gComposite  `parser:"(   @@"`
		Sentence    *gSentence   `parser:"  | @@ )"`
		Props       []*gProperty `parser:"( ';' | '{' @@* '}' )"`
	}
	gComposite struct {
		Pos, EndPos lexer.Position
		Parts       []*gWeighted `parser:"'all' '(' @@ ( (?! ',' ')' ) ',' @@ )* ','? ')'"`
	}
	gWeighted struct {
		Pos, EndPos lexer.Position
		Name        *gName `parser:"@@"`
		Weight      *gInt  `parser:"( ':' @@ )?"`
	}
	gSentence struct {
		Pos, EndPos lexer.Position
		Objective   *gPercent `parser:"@@ 'of'"`
		Minutes     bool      `parser:"( (?= 'minutes' 'of') @'minutes' 'of' )?"`
		SLI         *gName    `parser:"@@"`
		Filters     []*gExpr  `parser:"( '[' @@ ( (?! ',' ']' ) ',' @@ )* ','? ']' )?"`
		Op          string    `parser:"( @( '<=' | '>=' | '<' | '>' )"`
		Limit       *gValue   `parser:"  @@"`
		Where       *gExpr    `parser:"| 'where' @@ )?"`
		Window      *gWindow  `parser:"@@"`
		By          []*gName  `parser:"( 'by' @@ ( ',' @@ )* )?"`
	}
	gWindow struct {
		Pos, EndPos lexer.Position
		Over        string   `parser:"@'over'"`
		Length      *gInt    `parser:"( @@"`
		Calendar    string   `parser:"| 'calendar' @( 'month' | 'week' | 'quarter' )"`
		Zone        *gString `parser:"  @@? )"`
	}
)

// productionNames say in messages what participle calls by the names of the types above.
var productionNames = map[string]string{
	"gattach": "attach point", "gblock": "'{'", "gexpr": "expression", "gfnarg": "variable", "gint": "integer",
	"gmacroarg": "variable, map or name", "gmap": "map", "gname": "name", "gargument": "name", "gpercent": "percentage",
	"gproperty": "name", "gslibody": "'{'", "gstring": "string", "gtype": "type", "gvalue": "expression",
	"gvar": "variable", "gweighted": "name", "gwindow": "'over'", "gcomposite": "percentage or 'all'",
	"gsentence": "percentage or 'all'",
}

// items is the parser of one top-level item. It is built on first use: --help never needs it.
var items = sync.OnceValue(func() *participle.Parser[gBox] {
	return participle.MustBuild[gBox](participle.Lexer(symbols{}), participle.UseLookahead(0),
		participle.Union[gItem](gDirective{}, gCDef{}, gConfig{}, gImport{}, gMapDecl{}, gMacro{}, gFn{}, gExport{},
			gTest{}, gSLI{}, gSLO{}, gProbe{}))
})

// members is the parser of one property or probe in the body of an sli.
var members = sync.OnceValue(func() *participle.Parser[gMember] {
	return participle.MustBuild[gMember](participle.Lexer(symbols{}), participle.UseLookahead(0))
})

type gMember struct {
	Property *gProperty `parser:"  @@"`
	Probe    *gProbe    `parser:"| @@"`
}

// symbols tells participle which kinds of tokens there are; it never lexes.
type symbols struct{ lexer.Definition }

func (symbols) Symbols() map[string]lexer.TokenType {
	return map[string]lexer.TokenType{"EOF": lexer.EOF, "Directive": tokenType(DirectiveLine), "Attach": tokenType(AttachWord)}
}

// The leaves, which are read by hand. A leaf that does not fit takes nothing and lets the grammar go on.
type (
	gName     struct{ node *Name }
	gVar      struct{ node *Var }
	gMap      struct{ node *Map }
	gAttach   struct{ node *AttachPoint }
	gInt      struct{ part[*Int] }
	gString   struct{ part[*String] }
	gPercent  struct{ part[*Percent] }
	gExpr     struct{ part[Expr] }
	gValue    struct{ part[Expr] }
	gType     struct{ part[*TypeRef] }
	gBlock    struct{ part[*Block] }
	gMacroArg struct{ node Expr }
	gCDef     struct{ part[*CDef] }
	gSLIBody  struct {
		members []*gMember
		nested  []problem
	}
)

// part is a node with the problems found in it.
type part[N any] struct {
	node     N
	problems []problem
}

func (g *part[N]) read(lex *lexer.PeekingLexer, percent bool, f func(*parser) N) (err error) {
	g.problems, err = enter(lex, percent, func(p *parser) { g.node = f(p) })
	return err
}

// take notes the problems of a part and returns its node.
func take[N any](b *builder, g part[N]) N {
	b.add(g.problems)
	return g.node
}

func (g *gName) Parse(lex *lexer.PeekingLexer) error {
	if !isKind(lex.Peek(), Ident) {
		return participle.NextMatch
	}
	t := lex.Next()
	g.node = &Name{Range(tokenSpan(t)), t.Value}
	return nil
}

func (g *gVar) Parse(lex *lexer.PeekingLexer) error {
	if !isKind(lex.Peek(), VarName) {
		return participle.NextMatch
	}
	g.node = newVar(lex.Next())
	return nil
}

func (g *gMap) Parse(lex *lexer.PeekingLexer) error {
	if !isKind(lex.Peek(), MapName) {
		return participle.NextMatch
	}
	g.node = newMap(lex.Next())
	return nil
}

func (g *gMacroArg) Parse(lex *lexer.PeekingLexer) error {
	switch t := lex.Peek(); kindOf(t) {
	case VarName:
		g.node = newVar(t)
	case MapName:
		g.node = newMap(t)
	case Ident:
		g.node = &Name{Range(tokenSpan(t)), t.Value}
	default:
		return participle.NextMatch
	}
	lex.Next()
	return nil
}

func (g *gInt) Parse(lex *lexer.PeekingLexer) error {
	if !isKind(lex.Peek(), Number) {
		return participle.NextMatch
	}
	return g.read(lex, false, func(p *parser) *Int {
		t := lex.Next()
		return p.newInt(t.Value, tokenSpan(t))
	})
}

func (g *gString) Parse(lex *lexer.PeekingLexer) error {
	if !isKind(lex.Peek(), Quoted) {
		return participle.NextMatch
	}
	return g.read(lex, false, func(p *parser) *String {
		t := lex.Next()
		return p.newString(t.Value, tokenSpan(t))
	})
}

func (g *gPercent) Parse(lex *lexer.PeekingLexer) error {
	if !isKind(lex.Peek(), Number) {
		return participle.NextMatch
	}
	return g.read(lex, true, func(p *parser) *Percent {
		first := *lex.Peek()
		at := tokenSpan(&first)
		n := p.percentLiteral(true)
		if n == nil || n.Raw[len(n.Raw)-1] != '%' {
			p.report(at, "syntax: got '%s', want percentage", first.Value)
			panic(bailout{})
		}
		return n
	})
}

func (g *gExpr) Parse(lex *lexer.PeekingLexer) error  { return g.read(lex, false, (*parser).expr) }
func (g *gValue) Parse(lex *lexer.PeekingLexer) error { return g.read(lex, true, (*parser).expr) }
func (g *gType) Parse(lex *lexer.PeekingLexer) error  { return g.read(lex, false, (*parser).typeRef) }

func (g *gBlock) Parse(lex *lexer.PeekingLexer) error {
	if lex.Peek().Value != "{" {
		return participle.NextMatch
	}
	return g.read(lex, false, (*parser).block)
}

// Parse reads "[name =] attach".
func (g *gAttach) Parse(lex *lexer.PeekingLexer) error {
	t := lex.Peek()
	if !isKind(t, AttachWord) {
		return participle.NextMatch
	}
	start := int32(t.Pos.Offset)
	lex.Next()
	alias, raw := splitAlias(t.Value)
	if alias == "" && lex.Peek().Value == "=" && wordEnd(raw, 0) == len(raw) && !isDigit(raw[0]) {
		alias = raw
		lex.Next()
		if !isKind(lex.Peek(), AttachWord) {
			return &failure{[]problem{unexpectedToken(lex.Peek(), "attach point")}}
		}
		raw = lex.Next().Value
	}
	if i := openQuote(raw); i >= 0 {
		end := endOf(lex)
		return &failure{[]problem{{span: source.Span{Start: end - int32(len(raw)-i), End: end}, message: "syntax: unterminated string"}}}
	}
	g.node = &AttachPoint{Range{Start: start, End: endOf(lex)}, alias, raw, splitAttach(raw)}
	return nil
}

// Parse reads a C definition as one piece: a later stage knows C.
func (g *gCDef) Parse(lex *lexer.PeekingLexer) error {
	first := lex.Peek()
	if !isKind(first, DeclWord) {
		return participle.NextMatch
	}
	switch first.Value {
	case "struct", "union", "enum", "typedef":
	default:
		return participle.NextMatch
	}
	return g.read(lex, false, func(p *parser) *CDef {
		n := &CDef{Keyword: first.Value}
		start := p.start()
		for !p.lex.Peek().EOF() && p.lex.Peek().Value != "{" && p.lex.Peek().Value != ";" {
			p.lex.Next()
		}
		depth := 0
		for p.lex.Peek().Value != ";" || depth > 0 {
			t := p.lex.Peek()
			if t.EOF() {
				p.fail("'}'")
			}
			p.lex.Next()
			if t.Value == "{" {
				depth++
			} else if t.Value == "}" {
				if depth--; depth == 0 && n.Keyword != "typedef" {
					break
				}
			}
		}
		for p.lex.Peek().Value == "__attribute__" {
			p.lex.Next()
			if p.lex.Peek().Value != "(" || !p.skipParens() {
				p.fail("'('")
			}
		}
		if p.lex.Peek().Value == ";" {
			p.lex.Next()
		}
		n.Range = p.rangeFrom(start)
		return n
	})
}

// Parse reads the body of an sli member by member, so that one bad member does not hide the others.
func (g *gSLIBody) Parse(lex *lexer.PeekingLexer) error {
	if lex.Peek().Value != "{" {
		return participle.NextMatch
	}
	lex.Next()
	for {
		t := lex.Peek()
		switch {
		case t.Value == "}":
			lex.Next()
			return nil
		case t.EOF() || isKind(t, DeclWord):
			g.nested = append(g.nested, unexpectedToken(t, "'}'"))
			return nil
		}
		cursor := lex.RawCursor()
		m, err := guarded(members().ParseFromLexer, lex)
		if err == nil {
			g.members = append(g.members, m)
			continue
		}
		g.nested = append(g.nested, problems(err, lex, "property or probe")...)
		skipMember(lex, cursor)
	}
}

// skipMember is skipItem within the body of an sli: it stops at the '}' that closes it.
func skipMember(lex *lexer.PeekingLexer, from lexer.RawCursor) {
	depth := openBraces(lex, from)
	for progress := lex.RawCursor() == from; ; progress = false {
		t := lex.Peek()
		if t.EOF() || !progress && startsLine(lex) || isKind(t, DeclWord) || depth == 0 && t.Value == "}" {
			return
		}
		if lex.Next(); endsSkip(t, &depth) {
			return
		}
	}
}

func span(pos, end lexer.Position) Range {
	return Range(source.Span{Start: int32(pos.Offset), End: int32(end.Offset)})
}
