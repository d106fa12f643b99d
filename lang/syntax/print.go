package syntax

import (
	"bytes"
	"io"
	"sort"
	"strings"
)

// Print writes a file in canonical form: one statement a line, tabs, parentheses only where precedence needs
// them. Printing what was printed changes nothing, and the tree stays the same.
//
// Comments are not in the tree. They are printed when the first node after them is (as go/printer does it):
// on its own line, or behind the node before when they shared its line. A comment inside an expression moves
// in front of the statement.
func Print(w io.Writer, f *File) error {
	p := &printer{file: f}
	for _, t := range f.Tokens {
		if t.Kind == Comment {
			p.comments = append(p.comments, t)
		}
	}
	p.fresh = true
	for _, item := range f.Items {
		p.item(item)
		p.trailing(item.Span().End)
	}
	p.lead(int32(len(f.Source.Text)) + 1)
	if p.out.Len() > 0 {
		p.write("\n")
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

// ExprString prints an expression on one line.
func ExprString(e Expr) string {
	p := &printer{}
	p.expr(e, ternaryLevel)
	return p.out.String()
}

// StmtString prints a statement on one line.
func StmtString(s Stmt) string {
	p := &printer{}
	p.stmt(s)
	return p.out.String()
}

// AttachString prints an attach point with its alias.
func AttachString(a *AttachPoint) string {
	if a.Alias != "" {
		return a.Alias + "=" + a.Raw
	}
	return a.Raw
}

type printer struct {
	out      bytes.Buffer
	file     *File // nil: everything on one line, no comments
	comments []Token
	indent   int
	fresh    bool // nothing stands yet in this block or file
	test     bool // in the body of a test
}

func (p *printer) write(parts ...string) {
	for _, s := range parts {
		p.out.WriteString(s)
	}
}

// newLine starts the line of what began at start in the source, after a blank line if there was one.
func (p *printer) newLine(start int32) {
	if p.out.Len() > 0 {
		if !p.fresh && p.blankBefore(start) {
			p.write("\n")
		}
		p.write("\n", strings.Repeat("\t", p.indent))
	}
	p.fresh = false
}

func (p *printer) blankBefore(start int32) bool {
	text := p.file.Source.Text[:start]
	blank := text[len(strings.TrimRight(text, " \t\r\n")):]
	return strings.Count(blank, "\n") > 1
}

// lead prints the comments that stand before end, each on its own line.
func (p *printer) lead(end int32) {
	for len(p.comments) > 0 && p.comments[0].Span.Start < end {
		p.newLine(p.comments[0].Span.Start)
		p.comment()
	}
}

func (p *printer) comment() {
	text := p.comments[0].Text
	if strings.HasPrefix(text, "//") {
		text = strings.TrimRight(text, " \t\r")
	}
	p.write(text)
	p.comments = p.comments[1:]
}

// trailing prints the comments that follow end on the same line.
func (p *printer) trailing(end int32) {
	for len(p.comments) > 0 {
		c := p.comments[0]
		if c.Span.Start < end || strings.Trim(p.file.Source.Text[end:c.Span.Start], " \t\r;,") != "" {
			return
		}
		p.write(" ")
		p.comment()
		if end = c.Span.End; strings.HasPrefix(c.Text, "//") || strings.Contains(c.Text, "\n") {
			return
		}
	}
}

// start prints the comments up to end, those from inside the node too, and begins its line. A blank line
// before the node goes above the comments that move out of it.
func (p *printer) start(n Node, end int32) {
	at := n.Span().Start
	p.lead(at)
	for p.commentBefore(end) {
		p.newLine(at)
		p.comment()
		at = 0
	}
	p.newLine(at)
}

// verbatim prints the source of a node.
func (p *printer) verbatim(n Node) {
	if p.file == nil {
		p.write("…")
		return
	}
	p.write(p.file.Source.Slice(n.Span()))
	for len(p.comments) > 0 && p.comments[0].Span.Start < n.Span().End {
		p.comments = p.comments[1:]
	}
}

func (p *printer) item(item Item) {
	switch n := item.(type) {
	case *Probe:
		p.probe(n)
		return
	case *SLI:
		p.sli(n)
		return
	case *Directive, *CDef, *BadItem:
		p.start(n, n.Span().Start)
		p.verbatim(n)
		return
	case *Config:
		p.start(n, n.Start)
		p.write("config = ")
		p.props(n.Props, n.Start, n.End)
		return
	case *SLO:
		p.slo(n)
		return
	}
	p.start(item, headerEnd(item))
	switch n := item.(type) {
	case *MapDecl:
		p.write("let @", n.Name.Text, " = ", n.Type.Text, "(", n.Max.Raw, ");")
	case *Import:
		p.importDecl(n)
	case *Macro:
		p.write("macro ", n.Name.Text, "(")
		p.list(n.Params)
		p.write(") ")
		p.block(n.Body)
	case *Fn:
		p.write("fn ", n.Name.Text, "(")
		for i, a := range n.Params {
			p.comma(i)
			p.write("$", a.Name.Text, " : ")
			p.typeRef(a.Type)
		}
		p.write(") : ")
		p.typeRef(n.Result)
		p.write(" ")
		p.block(n.Body)
	case *Export:
		p.write("export @", n.Map.Text, labels(n.Labels), " as ", n.Kind.Text)
		if n.Help != nil {
			p.write(" ", quote(n.Help.Value))
		}
		p.write(";")
	case *Test:
		p.test = true
		p.write("test ", quote(n.Name.Value), " ")
		p.block(n.Body)
		p.test = false
	}
}

// headerEnd is where the first block below n opens, or the end of n: comments before it go above n.
func headerEnd(n Node) int32 {
	if r, ok := n.(*resultStmt); ok {
		n = r.Expr
	}
	end := n.Span().End
	Walk(n, func(c Node) bool {
		if b, ok := c.(*Block); ok && b.Start < end {
			end = b.Start
		}
		return true
	})
	return end
}

func (p *printer) probe(n *Probe) {
	for i, a := range n.Attach {
		if i == len(n.Attach)-1 {
			p.start(a, n.Body.Start)
			p.write(AttachString(a))
			break
		}
		p.start(a, a.Start)
		p.write(AttachString(a), ",")
		p.trailing(a.End)
	}
	if n.Pred != nil {
		p.write(" /", p.predicate(n.Pred), "/")
	}
	p.write(" ")
	p.block(n.Body)
}

// predicate keeps "/*" and "/{" apart, which mean something else.
func (p *printer) predicate(x Expr) string {
	text := p.sub(x, ternaryLevel)
	switch text[0] {
	case '*':
		return " " + text
	case '{':
		return "(" + text + ")"
	}
	return text
}

// sub prints an expression into a string, for the places that must look at it first.
func (p *printer) sub(x Expr, level int) string {
	start := p.out.Len()
	p.expr(x, level)
	text := string(p.out.Bytes()[start:])
	p.out.Truncate(start)
	return text
}

func (p *printer) sli(n *SLI) {
	end := n.Name.End
	if n.Doc != nil {
		end = n.Doc.End
	}
	p.start(n, end)
	p.write("sli ", n.Name.Text, labels(n.Labels), " ")
	if n.Doc != nil {
		p.write(quote(n.Doc.Value), " ")
	}
	var members nodes
	addMembers(&members, n)
	if len(members) == 0 && !p.commentBefore(n.End) {
		p.write("{}")
		return
	}
	p.open(end)
	for _, m := range members {
		switch m := m.(type) {
		case *Property:
			p.property(m)
		case *Probe:
			p.probe(m)
			p.trailing(m.End)
		}
	}
	p.close(n.End)
}

// open prints '{' and the comment behind it; after is where the text before the brace ended.
func (p *printer) open(after int32) {
	p.write("{")
	if p.file != nil {
		if i := strings.IndexByte(p.file.Source.Text[after:], '{'); i >= 0 {
			p.trailing(after + int32(i) + 1)
		}
	}
	p.indent++
	p.fresh = true
}

// close prints the comments that are left in a body that ended at end, and '}'.
func (p *printer) close(end int32) {
	p.lead(end)
	p.indent--
	p.fresh = true
	p.newLine(0)
	p.write("}")
}

func (p *printer) commentBefore(end int32) bool {
	return len(p.comments) > 0 && p.comments[0].Span.Start < end
}

func (p *printer) slo(n *SLO) {
	var head Node = n.Sentence
	if n.Sentence == nil {
		head = n.Composite
	}
	end := n.End
	if !isNil(head) {
		end = head.Span().End
	}
	p.start(n, end)
	p.write("slo ", n.Name.Text, " = ")
	switch {
	case n.Sentence != nil:
		p.sentence(n.Sentence)
	case n.Composite != nil:
		p.write("all(")
		for i, part := range n.Composite.Parts {
			p.comma(i)
			p.write(part.Name.Text)
			if part.Weight != nil {
				p.write(": ", part.Weight.Raw)
			}
		}
		p.write(")")
	}
	if len(n.Props) == 0 {
		p.write(";")
		return
	}
	p.write(" ")
	p.props(n.Props, end, n.End)
}

func (p *printer) sentence(n *Sentence) {
	p.write(n.Objective.Raw, " of ")
	if n.Minutes {
		p.write("minutes of ")
	}
	p.write(n.SLI.Text)
	if n.Filters != nil {
		p.write("[")
		p.list(n.Filters)
		p.write("]")
	}
	switch {
	case n.Op != "":
		p.write(" ", n.Op, " ")
		p.expr(n.Limit, ternaryLevel)
	case n.Where != nil:
		p.write(" where ")
		p.expr(n.Where, ternaryLevel)
	}
	p.write(" over ")
	if w := n.Window; w.Length != nil {
		p.write(w.Length.Raw)
	} else {
		p.write("calendar ", w.Calendar)
		if w.Zone != nil {
			p.write(" ", quote(w.Zone.Value))
		}
	}
	for i, name := range n.By {
		if i == 0 {
			p.write(" by ")
		}
		p.comma(i)
		p.write(name.Text)
	}
}

// props prints "{ name = value; … }" that opens after one place in the source and ends at another.
func (p *printer) props(list []*Property, after, end int32) {
	if len(list) == 0 && !p.commentBefore(end) {
		p.write("{}")
		return
	}
	p.open(after)
	for _, prop := range list {
		p.property(prop)
	}
	p.close(end)
}

func (p *printer) property(n *Property) {
	p.start(n, headerEnd(n))
	p.write(n.Name.Text, " = ")
	p.expr(n.Value, ternaryLevel)
	p.write(";")
	p.trailing(n.End)
}

func (p *printer) importDecl(n *Import) {
	p.write("import ", quote(n.Path.Value))
	for i, param := range n.Params {
		if i == 0 {
			p.write(" (")
		}
		p.comma(i)
		p.write(param.Name.Text, " = ")
		p.expr(param.Value, ternaryLevel)
	}
	if len(n.Params) > 0 {
		p.write(")")
	}
	p.write(";")
}

func labels(names []*Name) string {
	if len(names) == 0 {
		return ""
	}
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = n.Text
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// block prints a block. A body of one simple statement stays on one line if it was on one.
func (p *printer) block(n *Block) {
	list := append([]Stmt(nil), n.Stmts...)
	if n.Result != nil {
		list = append(list, &resultStmt{n.Result})
	}
	hasComment := p.file != nil && sort.Search(len(p.comments), func(i int) bool { return p.comments[i].Span.Start >= n.Start }) <
		sort.Search(len(p.comments), func(i int) bool { return p.comments[i].Span.Start >= n.End })
	switch {
	case len(list) == 0 && !hasComment:
		p.write("{}")
	case p.file == nil || len(list) == 1 && !hasComment && p.oneLine(n, list[0]):
		p.write("{ ")
		for i, s := range list {
			if i > 0 {
				p.write(" ")
			}
			p.stmtIn(s, i == len(list)-1)
		}
		p.write(" }")
	default:
		p.open(n.Start)
		for i, s := range list {
			p.start(s, headerEnd(s))
			p.stmtIn(s, i == len(list)-1)
			p.trailing(s.Span().End)
		}
		p.close(n.End)
	}
}

// oneLine tells whether a body stood on one line and holds no other block.
func (p *printer) oneLine(n *Block, s Stmt) bool {
	return !strings.Contains(p.file.Source.Slice(n.Span()), "\n") && headerEnd(s) == s.Span().End
}

// resultStmt is the value of a block among its statements.
type resultStmt struct{ Expr }

func (*resultStmt) stmt() {}
