package rules

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// pair is a label or an annotation.
type pair struct{ name, value string }

// rule is one rule of a file: a recording or an alert.
type rule struct {
	record, alert string
	expr          string
	labels        []pair
	annotations   []pair
}

// group is rules that are evaluated in order. Notes are comments above its rules.
type group struct {
	name, interval string
	notes          []string
	rules          []rule
}

// page is YAML text being written.
type page struct{ bytes.Buffer }

func (p *page) line(indent int, format string, args ...any) {
	fmt.Fprintf(p, "%s%s\n", strings.Repeat("  ", indent), fmt.Sprintf(format, args...))
}

func (p *page) note(indent int, text string) {
	p.line(indent, "# %s", strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�")))
}

func (p *page) pairs(indent int, title string, list []pair) {
	if len(list) == 0 {
		return
	}
	p.line(indent, "%s:", title)
	for _, x := range list {
		p.line(indent+1, "%s: %s", x.name, quote(x.value))
	}
}

func (p *page) rule(indent int, r rule) {
	if r.alert != "" {
		p.line(indent, "- alert: %s", r.alert)
	} else {
		p.line(indent, "- record: %s", r.record)
	}
	if lines := strings.Split(r.expr, "\n"); len(lines) == 1 {
		p.line(indent+1, "expr: %s", quote(r.expr))
	} else {
		p.line(indent+1, "expr: |-")
		for _, l := range lines {
			p.line(indent+2, "%s", l)
		}
	}
	p.pairs(indent+1, "labels", r.labels)
	p.pairs(indent+1, "annotations", r.annotations)
}

// quote writes a string for YAML: in single quotes, or in double quotes when it needs escapes.
func quote(s string) string {
	plain := s != "" && utf8.ValidString(s)
	for _, r := range s {
		plain = plain && r >= ' ' && r != 0x7f && r != 0x85 && r != 0xfeff && r != 0x2028 && r != 0x2029
	}
	if plain {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "�") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == 0x85 || r == 0xfeff || r == 0x2028 || r == 0x2029:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
