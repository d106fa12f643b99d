package export

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/slopebpf/slope/lang/check"
)

// columns is the width of a text on the terminal.
func columns(s string) int { return utf8.RuneCountInString(s) }

// scale is the names of a unit's multiples; each holds `of` times the one before.
type scale struct {
	of   float64
	name string
}

func scales(u check.Unit) []scale {
	switch u {
	case check.Seconds:
		return []scale{{1, "ns"}, {1000, "µs"}, {1000, "ms"}, {1000, "s"}}
	case check.Bytes:
		return []scale{{1, "B"}, {1024, "KiB"}, {1024, "MiB"}, {1024, "GiB"}, {1024, "TiB"}, {1024, "PiB"}, {1024, "EiB"}}
	}
	return []scale{{1, ""}, {1e6, "M"}, {1000, "G"}, {1000, "T"}, {1000, "P"}, {1000, "E"}}
}

// Quantity writes an observed value for people: three significant digits and a unit, or all digits of a whole number
// that is below a million and has no unit.
func Quantity(u check.Unit, v float64) string {
	if u == check.RatioUnit {
		return strconv.FormatFloat(v/10_000, 'f', -1, 64) + " %"
	}
	steps := scales(u)
	i := 0
	for i+1 < len(steps) && rounded(v/steps[i+1].of) >= 1 && (rounded(v) >= steps[i+1].of || i > 0 && rounded(v) >= 1000) {
		i++
		v /= steps[i].of
	}
	s := digits(v, i == 0)
	if steps[i].name != "" {
		s += " " + steps[i].name
	}
	return s
}

// rounded is v to three significant digits.
func rounded(v float64) float64 {
	if v <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-2)
	if unit >= 1 {
		unit = 1
	}
	return math.Round(v/unit) * unit
}

// digits writes three significant digits; whole numbers lose their zeros after the point, and keep all digits before it.
func digits(v float64, whole bool) string {
	if v <= 0 || math.IsNaN(v) {
		return "0"
	}
	if whole && v == math.Trunc(v) || v >= 999.5 {
		return Grouped(uint64(math.Round(v)))
	}
	places := 2
	switch {
	case v >= 99.95:
		places = 0
	case v >= 9.995:
		places = 1
	case v < 0.1:
		places = 3
	}
	s := strconv.FormatFloat(v, 'f', places, 64)
	if whole {
		for places > 0 && (s[len(s)-1] == '0' || s[len(s)-1] == '.') {
			stop := s[len(s)-1] == '.'
			if s = s[:len(s)-1]; stop {
				break
			}
		}
	}
	return s
}

// Counted is a number of things: "1 event", "12 000 events".
func Counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return Grouped(n) + " " + what + "s"
}

// Grouped writes a number with a blank between groups of three digits.
func Grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	out := make([]byte, 0, len(s)+len(s)/3)
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			out = append(out, ' ')
		}
		out = append(out, s[i])
	}
	return string(out)
}
