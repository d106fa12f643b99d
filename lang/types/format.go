package types

import (
	"fmt"
	"strings"
)

// Directive is a piece of a printf format: literal text, or a conversion.
type Directive struct {
	Literal string // text to copy; the conversion's fields are then empty
	Flags   string // of "-+ #0"
	Width   int    // -1 when absent
	Prec    int    // -1 when absent
	StarW   bool   // the width is an argument
	StarP   bool   // the precision is an argument
	Length  string // h, hh, l, ll, j, z, t, L
	Verb    string // d i o u x X c s p, r rx rh (buffers)
	Start   int    // byte offset in the format
}

const formatVerbs = "diouxXcspr"

// ParseFormat splits a format as printf(3) does, with bpftrace's buffer conversions. Offsets in errors are bytes.
func ParseFormat(format string) ([]Directive, error) {
	var out []Directive
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			out = append(out, Directive{Literal: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(format); {
		if format[i] != '%' {
			lit.WriteByte(format[i])
			i++
			continue
		}
		d := Directive{Width: -1, Prec: -1, Start: i}
		j := i + 1
		for j < len(format) && strings.IndexByte("-+ #0", format[j]) >= 0 {
			d.Flags += format[j : j+1]
			j++
		}
		d.Width, d.StarW, j = formatNumber(format, j)
		if j < len(format) && format[j] == '.' {
			if d.Prec, d.StarP, j = formatNumber(format, j+1); d.Prec < 0 && !d.StarP {
				d.Prec = 0
			}
		}
		for j < len(format) && strings.IndexByte("hlLjzt", format[j]) >= 0 {
			d.Length += format[j : j+1]
			j++
		}
		if j >= len(format) {
			return nil, fmt.Errorf("format ends inside a conversion")
		}
		if format[j] == '%' {
			lit.WriteByte('%')
			i = j + 1
			continue
		}
		if strings.HasPrefix(format[j:], "gr") {
			return nil, fmt.Errorf("unsupported format specifier: gr (flags of memory allocations; %%x prints the number)")
		}
		if strings.IndexByte(formatVerbs, format[j]) < 0 {
			return nil, fmt.Errorf("unsupported format specifier: %s", format[j:j+1])
		}
		d.Verb = format[j : j+1]
		j++
		if d.Verb == "r" && j < len(format) && (format[j] == 'x' || format[j] == 'h') {
			d.Verb += format[j : j+1]
			j++
		}
		flush()
		out = append(out, d)
		i = j
	}
	flush()
	return out, nil
}

// formatNumber reads digits or '*' at i; n is -1 without digits.
func formatNumber(s string, i int) (n int, star bool, next int) {
	if i < len(s) && s[i] == '*' {
		return -1, true, i + 1
	}
	n = -1
	for i < len(s) && s[i] >= '0' && s[i] <= '9' && n < 1<<20 {
		n = max(n, 0)*10 + int(s[i]-'0')
		i++
	}
	return n, false, i
}

// Accepts tells whether a value of type t may be printed by the directive.
func (d Directive) Accepts(t *Type) bool {
	switch d.Verb {
	case "s":
		return t.Kind != Void
	case "r", "rx", "rh":
		return t.Kind == Buffer || t.Kind == String || t.Kind == Array
	default:
		return t.Kind == Int || t.Kind == Bool || t.Kind == Pointer
	}
}
