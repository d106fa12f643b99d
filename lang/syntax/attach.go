package syntax

import "strings"

// attachEnd finds where the attach point that starts at i ends: at a blank, at ',' '{' '}' ';', and at '/'
// before the first ':' (there it opens a predicate; later it belongs to a path). Quoted parts, Go receivers
// "(*T)", type arguments "[…]" and alternations "{a,b}" stay inside. In the arguments of fire() a ')' ends it too.
func attachEnd(s string, i int, argument bool) int {
	colon := false
	for i < len(s) {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\r', ',', '}', ';':
			return i
		case ')':
			if argument {
				return i
			}
		case '=':
			// "name=kprobe:f" is one word, "name= kprobe:f" two.
			if !colon && (i+1 >= len(s) || !isWord(s[i+1]) && s[i+1] != '*' && s[i+1] != '$' && s[i+1] != '"') {
				return i
			}
		case '/':
			if !colon {
				return i
			}
		case '{':
			n := alternation(s[i:])
			if !colon || n == 0 {
				return i
			}
			i += n - 1
		case '(', '[':
			i += max(bracketed(s[i:]), 1) - 1
		case '"':
			for i++; i < len(s) && s[i] != '"' && s[i] != '\n'; i++ {
				if s[i] == '\\' && i+1 < len(s) && s[i+1] != '\n' {
					i++
				}
			}
			if i >= len(s) || s[i] == '\n' {
				return i
			}
		case ':':
			colon = true
		}
		i++
	}
	return i
}

// alternation returns the length of a leading "{a,b}", or 0. The language has no comma operator, so this
// can never be the start of a body.
func alternation(s string) int {
	comma := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '}' && comma:
			return i + 1
		case c == ',':
			comma = true
		case !isWord(c) && c != '*' && c != '?' && c != '.':
			return 0
		}
	}
	return 0
}

// bracketed returns the length of a leading balanced "(…)" or "[…]" without blanks, or 0.
func bracketed(s string) int {
	var open []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '(':
			open = append(open, ')')
		case '[':
			open = append(open, ']')
		case ')', ']':
			if open[len(open)-1] != c {
				return 0
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i + 1
			}
		case '"', '{', '}', ';', ' ', '\t', '\n', '\r':
			return 0
		}
	}
	return 0
}

// openQuote returns where a quoted part starts that does not end, or -1.
func openQuote(raw string) int {
	open := -1
	for i := 0; i < len(raw); i++ {
		switch {
		case raw[i] == '"' && open < 0:
			open = i
		case raw[i] == '"':
			open = -1
		case raw[i] == '\\' && open >= 0:
			i++
		}
	}
	return open
}

// splitAlias cuts "name=" from the front of an attach point.
func splitAlias(raw string) (alias, rest string) {
	if end := wordEnd(raw, 0); end > 0 && !isDigit(raw[0]) && strings.HasPrefix(raw[end:], "=") {
		return raw[:end], raw[end+1:]
	}
	return "", raw
}

// splitAttach cuts an attach point at ':' outside quotes and brackets, and takes the quotes off.
func splitAttach(raw string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case ':':
			parts = append(parts, part.String())
			part.Reset()
		case '"':
			for i++; i < len(raw) && raw[i] != '"'; i++ {
				if raw[i] == '\\' && i+1 < len(raw) && (raw[i+1] == '"' || raw[i+1] == '\\') {
					i++
				}
				part.WriteByte(raw[i])
			}
		case '(', '[':
			n := max(bracketed(raw[i:]), 1)
			part.WriteString(raw[i : i+n])
			i += n - 1
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}
