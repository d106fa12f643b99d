// Package yaml writes YAML for the files that slope generates.
//
// A Page is text that grows line by line; who writes it knows the structure and says how deep each line is. All that the
// package knows of YAML is how a string is quoted, so that any string survives, and how a comment stays one.
// It reads nothing: what is written here is checked in tests by the programs that it is for. Start at Page.
package yaml

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Pair is an entry of a mapping.
type Pair struct{ Name, Value string }

// Page is YAML text being written.
type Page struct{ bytes.Buffer }

// Line writes a line, indented by two blanks a step.
func (p *Page) Line(indent int, format string, args ...any) {
	fmt.Fprintf(p, "%s%s\n", strings.Repeat("  ", indent), fmt.Sprintf(format, args...))
}

// Note writes a comment of one line, whatever is in it.
func (p *Page) Note(indent int, text string) {
	p.Line(indent, "# %s", strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�")))
}

// Pairs writes a mapping under a title, or nothing when it is empty. Names must be plain.
func (p *Page) Pairs(indent int, title string, list []Pair) {
	if len(list) == 0 {
		return
	}
	p.Line(indent, "%s:", title)
	for _, x := range list {
		p.Line(indent+1, "%s: %s", x.Name, Quote(x.Value))
	}
}

// Text writes a string of several lines under a name as a block, of one line as a quoted string.
func (p *Page) Text(indent int, name, text string) {
	lines := strings.Split(text, "\n")
	if len(lines) == 1 {
		p.Line(indent, "%s: %s", name, Quote(text))
		return
	}
	p.Line(indent, "%s: |-", name)
	for _, l := range lines {
		p.Line(indent+1, "%s", l)
	}
}

// control tells what cannot stand in a plain line.
func control(r rune) bool {
	return r < ' ' || r == 0x7f || r == 0x85 || r == 0xfeff || r == 0x2028 || r == 0x2029
}

// Quote writes a string: in single quotes, or in double quotes when it needs escapes.
func Quote(s string) string {
	if s != "" && utf8.ValidString(s) && strings.IndexFunc(s, control) < 0 {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "�") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case control(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
