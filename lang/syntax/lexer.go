package syntax

import (
	"strings"
	"unicode/utf8"

	"github.com/slopebpf/slope/lang/source"
)

// Lex splits text into tokens. It never fails and loses nothing: what it cannot read becomes a Bad token.
//
// The one thing that depends on context is where an attach point may stand: at the top level and directly in
// the body of an sli. There a word runs to the next blank, so that paths and Go symbols need no quotes.
func Lex(text string) []Token {
	l := scanner{text: text, item: true, out: make([]Token, 0, len(text)/3+4)}
	for l.pos < len(text) {
		kind, end := l.next(l.pos)
		l.emit(kind, end)
	}
	return l.out
}

type scanner struct {
	text string
	pos  int
	out  []Token

	last, before string // the texts of the last two tokens that are neither blanks nor comments

	depth int  // of braces
	item  bool // an item or one more attach point may start here
	pred  bool // between the slashes of a predicate
	attr  bool // in the parentheses of __attribute__((…))
	paren int  // open parentheses, counted for attr only

	body         string // the declaration whose body we are in, when it is sli or test
	awaitingBody string // the same before its '{'
}

// emit appends a token and keeps the context up to date.
func (l *scanner) emit(kind Kind, end int) {
	text := l.text[l.pos:end]
	l.out = append(l.out, Token{kind, text, source.Span{Start: int32(l.pos), End: int32(end)}})
	l.pos = end
	switch kind {
	case Whitespace, Comment, DirectiveLine:
		return
	case DeclWord:
		l.item = false
		switch text {
		case "sli", "test":
			l.awaitingBody = text
		case "__attribute__":
			l.attr, l.paren = true, 0
		}
	case Op:
		l.operator(text)
	case Ident:
		l.item = false // a property of an sli
	}
	l.before, l.last = l.last, text
}

// base is the depth at which items stand.
func (l *scanner) base() int {
	if l.body == "sli" {
		return 1
	}
	return 0
}

func (l *scanner) operator(text string) {
	switch text {
	case "{":
		if l.depth == l.base() && l.last == "/" {
			l.pred = false
		}
		if l.depth == 0 {
			l.body, l.awaitingBody = l.awaitingBody, ""
		}
		l.depth++
		l.item = l.body == "sli" && l.depth == 1
	case "}":
		l.depth = max(l.depth-1, 0)
		if l.depth == 0 {
			l.body = ""
		}
		l.item = l.depth == l.base() && !l.pred
	case ";":
		if l.depth == l.base() {
			l.item, l.pred, l.awaitingBody = true, false, ""
		}
	case "/":
		if l.item {
			l.item, l.pred = false, true
		}
	case "(":
		l.paren++
	case ")":
		l.paren--
		if l.attr && l.paren <= 0 {
			l.attr = false
			// After the closing brace of a C definition a probe may follow; before it the name does, and that
			// is read as an attach point all the same. The parser of C definitions takes any token.
			l.item = l.depth == 0
		}
	}
}

// next finds the token that starts at i.
func (l *scanner) next(i int) (Kind, int) {
	s := l.text
	c := s[i]
	switch {
	case isBlank(c):
		for i < len(s) && isBlank(s[i]) {
			i++
		}
		return Whitespace, i
	case strings.HasPrefix(s[i:], "//"):
		return Comment, lineEnd(s, i)
	case strings.HasPrefix(s[i:], "/*"):
		if n := strings.Index(s[i+2:], "*/"); n >= 0 {
			return Comment, i + 2 + n + 2
		}
		return Bad, len(s)
	case c == '#' && strings.TrimLeft(s[lineStart(s, i):i], " \t") == "":
		end := lineEnd(s, i)
		for end+1 < len(s) && strings.HasSuffix(strings.TrimSuffix(s[i:end], "\r"), "\\") {
			end = lineEnd(s, end+1)
		}
		return DirectiveLine, end
	case c == '"':
		return stringEnd(s, i)
	case isWord(c) && !isDigit(c):
		return l.word(i)
	case l.item && (c == '*' || c == '$' || isDigit(c)):
		if end := attachEnd(s, i, false); end > i {
			return AttachWord, end
		}
		return Bad, i + 1
	case isDigit(c):
		return Number, wordEnd(s, i)
	case c == '@':
		return MapName, wordEnd(s, i+1)
	case c == '$':
		return dollar(s, i)
	}
	for _, op := range operators {
		if strings.HasPrefix(s[i:], op) {
			return Op, i + len(op)
		}
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return Bad, i + n
}

// word reads what starts with a letter: what it is depends on where it stands.
func (l *scanner) word(i int) (Kind, int) {
	s := l.text
	end := wordEnd(s, i)
	word := s[i:end]
	if !l.item && l.restarts(i, end) {
		l.depth, l.item, l.pred = min(l.depth, l.base()), true, false
	}
	if l.item {
		if l.body == "sli" && isProperty(s, end) {
			return Ident, end
		}
		if declWords[word] && !strings.HasPrefix(s[end:], ":") || contextualWords[word] && opensDecl(s, end) {
			return DeclWord, end
		}
		if i = attachEnd(s, i, false); i < end {
			i = end
		}
		return AttachWord, i
	}
	if l.body == "test" && l.last == "(" && l.before == "fire" {
		if far := attachEnd(s, i, true); strings.Contains(s[i:far], ":") || edgeProbes[word] {
			return AttachWord, max(far, end)
		}
	}
	if bodyKeywords[word] && l.last != "." && l.last != "->" {
		return Keyword, end
	}
	return Ident, end
}

// restarts tells that the word at the start of a line can only begin a new item, so that a '}' or ';' is
// missing above. This keeps one forgotten brace from spoiling the rest of the file.
func (l *scanner) restarts(start, end int) bool {
	s := l.text
	if start > 0 && s[start-1] != '\n' {
		return false
	}
	word, rest := s[start:end], strings.TrimLeft(s[end:], " \t")
	switch {
	case providers[word]:
		return strings.HasPrefix(s[end:], ":")
	case edgeProbes[word]:
		return strings.HasPrefix(rest, "{")
	case contextualWords[word] || word == "macro" || word == "fn":
		return opensDecl(s, end)
	}
	return false
}

// isProperty tells whether the word that ends at end is the name of a property ("unit = …") and not the
// alias of an attach point ("name=kprobe:…").
func isProperty(s string, end int) bool {
	i := skipBlank(s, end)
	if i >= len(s) || s[i] != '=' || strings.HasPrefix(s[i:], "==") {
		return false
	}
	i = skipBlank(s, i+1)
	j := wordEnd(s, i)
	return !(j > i && strings.HasPrefix(s[j:], ":"))
}

// opensDecl tells whether a name, a string or a map follows.
func opensDecl(s string, end int) bool {
	i := skipBlank(s, end)
	if i == end || i >= len(s) {
		return false
	}
	return s[i] == '"' || s[i] == '@' || isWord(s[i]) && !isDigit(s[i])
}

func stringEnd(s string, i int) (Kind, int) {
	for i++; i < len(s) && s[i] != '\n'; i++ {
		switch {
		case s[i] == '"':
			return Quoted, i + 1
		case s[i] == '\\' && i+1 < len(s) && s[i+1] != '\n':
			i++
		}
	}
	return Bad, i
}

func dollar(s string, i int) (Kind, int) {
	switch {
	case i+1 < len(s) && s[i+1] == '#':
		return PositionalParam, i + 2
	case i+1 < len(s) && isDigit(s[i+1]):
		for i++; i < len(s) && isDigit(s[i]); i++ {
		}
		return PositionalParam, i
	}
	if end := wordEnd(s, i+1); end > i+1 {
		return VarName, end
	}
	return Bad, i + 1
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isWord(c byte) bool {
	return c == '_' || isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func wordEnd(s string, i int) int {
	for i < len(s) && isWord(s[i]) {
		i++
	}
	return i
}

func skipBlank(s string, i int) int {
	for i < len(s) && isBlank(s[i]) {
		i++
	}
	return i
}

func lineStart(s string, i int) int { return strings.LastIndexByte(s[:i], '\n') + 1 }

func lineEnd(s string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(s)
}
