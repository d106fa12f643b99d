package export

import (
	"strconv"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// bar is a bucket of a histogram: the integers from lower to upper, both included, where it has such a bound.
type bar struct {
	lower, upper       int64
	hasLower, hasUpper bool
	label              string // as it stands in front of the row
	count              uint64
}

// bars lists the buckets from the first to the last that is not empty. Counts of a hist are divided, of an lhist not.
func bars(a *types.Agg, words []uint64, div int64) []bar {
	if a.Kind == types.LHistAgg {
		return linearBars(agg.LHist{Min: a.Args[0], Max: a.Args[1], Step: a.Args[2], Buckets: words})
	}
	h := agg.Hist{Bits: int(a.Args[0]), Buckets: words}
	first, last, ok := agg.Filled(words)
	if !ok {
		return nil
	}
	out := make([]bar, 0, last-first+1)
	for i := first; i <= last; i++ {
		b := bar{count: words[i] / uint64(div), hasLower: i > 0, hasUpper: true}
		switch single := 2 << h.Bits; {
		case i == 0:
			b.upper, b.label = -1, "(..., 0)"
		case i <= single:
			b.lower, b.upper = int64(i-1), int64(i-1)
			b.label = "[" + strconv.Itoa(i-1) + "]"
		default:
			lower, upper := h.Range(i)
			b.lower, b.upper = int64(lower), int64(upper)
			b.label = "[" + binaryLabel(i-1, h.Bits) + ", " + binaryLabel(i, h.Bits) + ")"
		}
		out = append(out, b)
	}
	return out
}

// binaryLabel is the lower bound of the bucket after the index-th, a factor of 2^10 written as a letter when the width
// of the bucket contains it.
func binaryLabel(index, bits int) string {
	n := uint64(1) << bits
	if uint64(index) < 2*n {
		return strconv.Itoa(index)
	}
	power := index>>bits - 1
	s := strconv.FormatUint((n|uint64(index)&(n-1))<<(power%10), 10)
	if power >= 10 {
		s += "KMGTPE"[power/10-1 : power/10]
	}
	return s
}

func linearBars(h agg.LHist) []bar {
	first, last, ok := agg.Filled(h.Buckets)
	if !ok {
		return nil
	}
	out := make([]bar, 0, last-first+1)
	for i := first; i <= last; i++ {
		lower := h.Min + int64(i-1)*h.Step
		upper := lower + h.Step
		b := bar{lower: lower, upper: upper - 1, hasLower: i > 0, hasUpper: i < len(h.Buckets)-1, count: h.Buckets[i]}
		switch {
		case !b.hasLower:
			b.label = "(..., " + linearLabel(h.Min, h.Step) + ")"
		case !b.hasUpper:
			b.label = "[" + linearLabel(h.Max, h.Step) + ", ...)"
		case h.Step == 1:
			b.label = "[" + strconv.FormatInt(lower, 10) + "]"
		default:
			b.label = "[" + linearLabel(lower, h.Step) + ", " + linearLabel(upper, h.Step) + ")"
		}
		out = append(out, b)
	}
	return out
}

// linearLabel writes factors of 1024 as letters when the step is one.
func linearLabel(n, step int64) string {
	const kilo, mega = 1 << 10, 1 << 20
	switch {
	case step%kilo != 0 || n == 0 || n%kilo != 0:
		return strconv.FormatInt(n, 10)
	case n%mega == 0:
		return strconv.FormatInt(n/mega, 10) + "M"
	}
	return strconv.FormatInt(n/kilo, 10) + "K"
}

// barWidth is the number of signs of the longest bar of bpftrace's histograms.
const barWidth = 52

// appendBars appends the rows of a histogram.
func appendBars(dst []byte, rows []bar) []byte {
	var most uint64
	for _, b := range rows {
		most = max(most, b.count)
	}
	for _, b := range rows {
		dst = padRight(dst, b.label, 16)
		dst = padLeft(dst, strconv.FormatUint(b.count, 10), 8)
		dst = append(dst, " |"...)
		dst = appendBar(dst, b.count, most, barWidth)
		dst = append(dst, "|\n"...)
	}
	return dst
}

// appendBar appends a bar and the blanks up to width. The fraction is computed in single precision, as bpftrace does.
func appendBar(dst []byte, n, most uint64, width int) []byte {
	filled := 0
	if most > 0 {
		filled = min(int(float32(n)/float32(most)*float32(width)), width)
	}
	return appendRepeated(appendRepeated(dst, '@', filled), ' ', width-filled)
}

func appendRepeated(dst []byte, c byte, n int) []byte {
	for range n {
		dst = append(dst, c)
	}
	return dst
}

// padRight and padLeft fill up with blanks to a width in characters.
func padRight(dst []byte, s string, width int) []byte {
	return appendRepeated(append(dst, s...), ' ', width-columns(s))
}

func padLeft(dst []byte, s string, width int) []byte {
	return append(appendRepeated(dst, ' ', width-columns(s)), s...)
}
