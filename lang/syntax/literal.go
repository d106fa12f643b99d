package syntax

import (
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/slopebpf/slope/lang/source"
)

// overflowText is the message for integers that do not fit into 64 bits.
const overflowText = "overflow error, maximum value is 18446744073709551615"

// durations and sizes are the suffixes that scale a decimal integer.
var (
	durations = map[string]uint64{"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "d": 86400e9}
	sizes     = map[string]uint64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
)

// newInt reads an integer literal. Errors are kept in p and the value is then 0.
func (p *parser) newInt(raw string, span source.Span) *Int {
	n := &Int{Range: Range(span), Raw: raw}
	value, unit, problem := parseInt(raw)
	if problem != "" {
		p.report(span, "%s", problem)
		return n
	}
	n.Value, n.Unit = value, unit
	return n
}

func parseInt(raw string) (value uint64, unit Unit, problem string) {
	base, digits := uint64(10), raw
	switch {
	case strings.HasPrefix(raw, "0x") || strings.HasPrefix(raw, "0X"):
		base, digits = 16, raw[2:]
	case len(raw) > 1 && raw[0] == '0' && (isDigit(raw[1]) || raw[1] == '_'):
		base, digits = 8, raw[1:]
	}
	end, overflow := 0, false
	for ; end < len(digits); end++ {
		c := digits[end]
		if c == '_' {
			continue
		}
		d := digit(c)
		if d >= base {
			if base == 8 && d < 10 {
				return 0, 0, "invalid digit '" + string(c) + "' in octal literal"
			}
			break
		}
		hi, lo := bits.Mul64(value, base)
		sum, carry := bits.Add64(lo, d, 0)
		overflow = overflow || hi != 0 || carry != 0
		value = sum
	}
	if end == 0 {
		return 0, 0, "invalid integer '" + raw + "'"
	}
	if digits[end-1] == '_' {
		return 0, 0, "an integer must not end in '_'"
	}
	suffix := digits[end:]
	if exp, ok := cutExponent(suffix); ok && base == 10 {
		if value < 1 || value > 9 || end != 1 {
			return 0, 0, "the coefficient of an exponent must be 1 to 9, got '" + digits[:end] + "'"
		}
		for ; exp > 0; exp-- {
			hi, lo := bits.Mul64(value, 10)
			if hi != 0 {
				return 0, 0, overflowText
			}
			value = lo
		}
		return value, NoUnit, ""
	}
	scale := uint64(1)
	switch {
	case suffix == "" || isCSuffix(suffix):
	case base == 10 && durations[suffix] != 0:
		scale, unit = durations[suffix], DurationUnit
	case base == 10 && sizes[suffix] != 0:
		scale, unit = sizes[suffix], SizeUnit
	default:
		return 0, 0, "invalid integer suffix '" + suffix + "'"
	}
	hi, lo := bits.Mul64(value, scale)
	if overflow || hi != 0 {
		return 0, 0, overflowText
	}
	return lo, unit, ""
}

func digit(c byte) uint64 {
	switch {
	case isDigit(c):
		return uint64(c - '0')
	case 'a' <= c && c <= 'f':
		return uint64(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return uint64(c-'A') + 10
	}
	return math.MaxUint64
}

// cutExponent reads "e12". More than 99 is as good as 99: it overflows.
func cutExponent(s string) (int, bool) {
	if len(s) < 2 || s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	n := 0
	for i := 1; i < len(s); i++ {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = min(n*10+int(s[i]-'0'), 99)
	}
	return n, true
}

func isCSuffix(s string) bool {
	switch strings.ToLower(s) {
	case "u", "l", "ll", "ul", "ull", "lu", "llu":
		return true
	}
	return false
}

// newString takes the escapes out of a string literal. A bad escape is reported where it stands.
func (p *parser) newString(raw string, span source.Span) *String {
	n := &String{Range: Range(span)}
	body := raw[1 : len(raw)-1]
	var b strings.Builder
	for i := 0; i < len(body); {
		if body[i] != '\\' {
			b.WriteByte(body[i])
			i++
			continue
		}
		value, length, problem := unescape(body[i:])
		if problem != "" {
			start := span.Start + 1 + int32(i)
			p.report(source.Span{Start: start, End: start + int32(length)}, "%s", problem)
		} else {
			b.WriteByte(value)
		}
		i += length
	}
	n.Value = b.String()
	return n
}

// unescape reads the escape at the start of s.
func unescape(s string) (value byte, length int, problem string) {
	if len(s) < 2 {
		return 0, len(s), "invalid escape character"
	}
	switch c := s[1]; {
	case c == 'n':
		return '\n', 2, ""
	case c == 't':
		return '\t', 2, ""
	case c == 'r':
		return '\r', 2, ""
	case c == '"' || c == '\\':
		return c, 2, ""
	case c == 'x':
		v, i := uint64(0), 2
		for ; i < len(s) && i < 4 && digit(s[i]) < 16; i++ {
			v = v*16 + digit(s[i])
		}
		if i == 2 {
			return 0, 2, "invalid escape character, want a hex digit after '\\x'"
		}
		return byte(v), i, ""
	case '0' <= c && c <= '7':
		v, i := uint64(0), 1
		for ; i < len(s) && i < 4 && digit(s[i]) < 8; i++ {
			v = v*8 + digit(s[i])
		}
		if v > 255 {
			return 0, i, "octal escape is above 255"
		}
		return byte(v), i, ""
	}
	_, n := utf8.DecodeRuneInString(s[1:])
	return 0, 1 + n, "invalid escape character"
}

// newPercent reads "99.9%" or, without '%', a decimal, exactly: one part per billion is the seventh decimal
// of a percentage and the ninth of a plain number.
func (p *parser) newPercent(raw string, span source.Span) *Percent {
	n := &Percent{Range: Range(span), Raw: raw}
	number, isPercent := strings.CutSuffix(raw, "%")
	places := 9
	if isPercent {
		places = 7
	}
	whole, fraction, _ := strings.Cut(number, ".")
	fraction = strings.TrimRight(fraction, "0")
	digits := whole + fraction
	switch {
	case whole == "" || strings.Trim(digits, "0123456789") != "":
		p.report(span, "invalid number '%s'", raw)
	case len(fraction) > places:
		p.report(span, "number has more than %d decimals", places)
	case len(strings.TrimLeft(whole, "0")) > 9:
		p.report(span, "number is too large, the limit is 999999999")
	default:
		for _, d := range []byte(digits + strings.Repeat("0", places-len(fraction))) {
			n.PPB = n.PPB*10 + uint64(d-'0')
		}
	}
	return n
}
