package edit

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wide are the ranges of runes that take two cells: East Asian wide and full-width, and emoji.
func wide() []rune {
	return []rune{0x1100, 0x115f, 0x231a, 0x231b, 0x2329, 0x232a, 0x23e9, 0x23ec, 0x23f0, 0x23f0, 0x23f3, 0x23f3,
		0x25fd, 0x25fe, 0x2614, 0x2615, 0x2648, 0x2653, 0x267f, 0x267f, 0x2693, 0x2693, 0x26a1, 0x26a1, 0x26aa, 0x26ab,
		0x26bd, 0x26be, 0x26c4, 0x26c5, 0x26ce, 0x26ce, 0x26d4, 0x26d4, 0x26ea, 0x26ea, 0x26f2, 0x26f3, 0x26f5, 0x26f5,
		0x26fa, 0x26fa, 0x26fd, 0x26fd, 0x2705, 0x2705, 0x270a, 0x270b, 0x2728, 0x2728, 0x274c, 0x274c, 0x274e, 0x274e,
		0x2753, 0x2755, 0x2757, 0x2757, 0x2795, 0x2797, 0x27b0, 0x27b0, 0x27bf, 0x27bf, 0x2b1b, 0x2b1c, 0x2b50, 0x2b50,
		0x2b55, 0x2b55, 0x2e80, 0x303e, 0x3041, 0x33ff, 0x3400, 0x4dbf, 0x4e00, 0xa4cf, 0xa960, 0xa97f, 0xac00, 0xd7a3,
		0xf900, 0xfaff, 0xfe10, 0xfe19, 0xfe30, 0xfe6f, 0xff00, 0xff60, 0xffe0, 0xffe6, 0x1f004, 0x1f004, 0x1f0cf, 0x1f0cf,
		0x1f18e, 0x1f18e, 0x1f191, 0x1f19a, 0x1f200, 0x1f320, 0x1f32d, 0x1f335, 0x1f337, 0x1f37c, 0x1f37e, 0x1f393,
		0x1f3a0, 0x1f3ca, 0x1f3cf, 0x1f3d3, 0x1f3e0, 0x1f3f0, 0x1f3f4, 0x1f3f4, 0x1f3f8, 0x1f43e, 0x1f440, 0x1f440,
		0x1f442, 0x1f4fc, 0x1f4ff, 0x1f53d, 0x1f54b, 0x1f54e, 0x1f550, 0x1f567, 0x1f57a, 0x1f57a, 0x1f595, 0x1f596,
		0x1f5a4, 0x1f5a4, 0x1f5fb, 0x1f64f, 0x1f680, 0x1f6c5, 0x1f6cc, 0x1f6cc, 0x1f6d0, 0x1f6d2, 0x1f6d5, 0x1f6df,
		0x1f6eb, 0x1f6ec, 0x1f6f4, 0x1f6fc, 0x1f7e0, 0x1f7eb, 0x1f90c, 0x1f93a, 0x1f93c, 0x1f945, 0x1f947, 0x1f9ff,
		0x1fa70, 0x1faff, 0x20000, 0x3fffd}
}

// Cells is how many cells of the terminal a rune takes.
func Cells(r rune) int {
	switch {
	case r < 0x300:
		if r < ' ' || r >= rubout && r < 0xa0 {
			return 0
		}
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r < 0x1100:
		return 1
	}
	ranges := wide()
	i := sort.Search(len(ranges)/2, func(i int) bool { return ranges[2*i+1] >= r })
	if i < len(ranges)/2 && ranges[2*i] <= r {
		return 2
	}
	return 1
}

// Width is how many cells a text takes, without its escape sequences.
func Width(s string) int {
	n := 0
	for i := 0; i < len(s); {
		if k := sgr(s[i:]); k > 0 {
			i += k
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		n += Cells(r)
		i += size
	}
	return n
}

// sgr is the length of a sequence that sets colours, at the start of s.
func sgr(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	i := 2
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == ';' || s[i] == ':') {
		i++
	}
	if i < len(s) && s[i] == 'm' {
		return i + 1
	}
	return 0
}

// Fit cuts a text to a number of cells and marks the cut. Escape sequences stay whole, and colours end with it.
func Fit(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	var b strings.Builder
	n, coloured := 0, false
	for i := 0; i < len(s); {
		if k := sgr(s[i:]); k > 0 {
			b.WriteString(s[i : i+k])
			i, coloured = i+k, true
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if n+Cells(r) > width-1 {
			break
		}
		n += Cells(r)
		b.WriteString(s[i : i+size])
		i += size
	}
	if width > 0 {
		b.WriteRune('…')
	}
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// Clean makes text fit to be shown: colours stay if wanted, tabs become blanks, every other control character is
// replaced, so that no traced program can move the cursor or set the terminal's title.
func Clean(s string, colours bool) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\n' || c >= rubout {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	col, coloured := 0, false
	for i := 0; i < len(s); {
		if k := sgr(s[i:]); k > 0 {
			if colours {
				b.WriteString(s[i : i+k])
				coloured = s[i:i+k] != "\x1b[0m" && s[i:i+k] != "\x1b[m"
			}
			i += k
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r == '\n':
			if coloured {
				b.WriteString("\x1b[0m")
				coloured = false
			}
			b.WriteRune(r)
			col = 0
			continue
		case r == '\t':
			n := 8 - col%8
			b.WriteString(strings.Repeat(" ", n))
			col += n
			continue
		case r == '\r':
			continue
		case r < ' ':
			b.WriteByte('^')
			r += '@'
		case r == rubout || r >= 0x80 && r < 0xa0 || r == utf8.RuneError && size == 1 || unicode.Is(unicode.Bidi_Control, r):
			r = '\ufffd'
		}
		b.WriteRune(r)
		col += Cells(r)
	}
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// Strip is Clean without colours.
func Strip(s string) string { return Clean(s, false) }
