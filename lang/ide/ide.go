// Package ide answers what an editor asks about a script that is being written: what may stand at the cursor, how a
// function is called, what a name is, how a text is coloured. The interactive shell and editors share it.
//
// Algorithm: everything is decided from the tokens before the cursor, not from the tree: the text is unfinished by nature.
// One pass over them (spot.go) finds in which declaration, probe and call the cursor is. What exists besides the language
// comes from a World.
//
// Invariants: plain data in and out; no file, no kernel, no state; an answer takes microseconds, so it may be asked for on
// every key; any text and any offset have an answer. Offsets are in bytes.
//
// Start at Complete and Signature.
package ide

import (
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// World is what exists besides the text. It answers from memory: what it does not know yet does not exist.
type World interface {
	Universe() types.Universe
	// Probes are the probes whose full names begin with a prefix, in order, at most limit, and how many more there are.
	Probes(prefix string, limit int) (names []string, more int)
	// Fields are those of args at an attach point; nil when they are not known.
	Fields(attach string) []types.Field
	Maps() []Map
	SLIs() []SLI
	SLOs() []string
}

// Map is a map of the script.
type Map struct {
	Name       string // with '@'
	Key, Value *types.Type
}

// SLI is an indicator of the script.
type SLI struct {
	Name, Doc string
	Labels    []string
}

// Kind says what a name is.
type Kind uint8

// The kinds of names.
const (
	KeywordName Kind = iota
	ProbeName
	FuncName
	VarName
	MapName
	FieldName
	SLIName
	SLOName
	LabelName
)

// Item is a completion: Text replaces the text from List.From to the cursor.
type Item struct {
	Text   string
	Kind   Kind
	Detail string // a signature, a type
	Doc    string // one line
}

// List is the completions at a cursor.
type List struct {
	From  int
	Items []Item
	More  int // that were left out
}

// Call is the innermost call that the cursor is in.
type Call struct {
	Label string // "print(value[, top[, div]])"
	Doc   string // one line
	Param int    // index of the argument at the cursor
}

// Signature is the call that the cursor is in.
func Signature(text string, offset int, w World) (Call, bool) {
	s := find(text, offset)
	for i := len(s.open) - 1; i >= 0; i-- {
		f := w.Universe().Func(s.open[i].name)
		if v := w.Universe().Var(s.open[i].name); f == nil && v != nil && v.Called != nil {
			f = &types.Func{Doc: v.Doc, Params: v.Called.Params}
		}
		if f != nil {
			return Call{Label: check.Signature(f), Doc: Sentence(f.Text), Param: s.open[i].arg}, true
		}
	}
	return Call{}, false
}

// Hover tells what the name at an offset is; "" for nothing.
func Hover(text string, offset int, w World) (title, doc string) {
	for _, t := range syntax.Lex(text) {
		if int(t.Span.Start) > offset || offset >= int(t.Span.End) {
			continue
		}
		switch t.Kind {
		case syntax.MapName:
			for _, m := range w.Maps() {
				if m.Name == t.Text {
					return m.Name + ": " + mapType(m), ""
				}
			}
		case syntax.Ident, syntax.AttachWord:
			name, _, _ := strings.Cut(t.Text, ":")
			return Describe(name, w)
		}
	}
	return "", ""
}

// Describe tells what a name is: a function, variable, type of probes, map, indicator or objective.
func Describe(name string, w World) (title, doc string) {
	u := w.Universe()
	if f := u.Func(name); f != nil {
		return check.Signature(f), f.Text
	}
	if v := u.Var(name); v != nil {
		return v.Name, v.Text
	}
	if p := u.Probe(name); p != nil {
		return strings.Join(p.Forms, ", "), p.Text
	}
	for _, s := range w.SLIs() {
		if s.Name == name {
			return "sli " + s.Name + labels(s.Labels), s.Doc
		}
	}
	for _, m := range w.Maps() {
		if m.Name == name {
			return m.Name + ": " + mapType(m), ""
		}
	}
	return "", ""
}

func labels(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "[" + strings.Join(names, ", ") + "]"
}

func mapType(m Map) string {
	if m.Value == nil {
		return "?"
	}
	if m.Key == nil {
		return m.Value.String()
	}
	return "[" + m.Key.String() + "] " + m.Value.String()
}

// Sentence is the first sentence of a text.
func Sentence(text string) string {
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i+1]
	}
	return text
}

// Attach is the first attach point of the probe whose action or predicate the cursor is in, "" elsewhere.
func Attach(text string, offset int) string {
	s := find(text, offset)
	if len(s.attach) == 0 || s.depth <= s.base() {
		return ""
	}
	_, point, ok := strings.Cut(s.attach[0], "=")
	if ok && !strings.Contains(s.attach[0][:len(s.attach[0])-len(point)], ":") {
		return point
	}
	return s.attach[0]
}
