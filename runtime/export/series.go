package export

import (
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// seriesWidth is that of a graph, its borders included.
const seriesWidth = 53

func isSeries(t *types.Type) bool {
	return t.Kind == types.Aggregate && t.Agg.Kind == types.TSeriesAgg
}

// moment is when an interval of a time series begins.
func (v Values) moment(a *types.Agg, interval uint64) time.Time {
	at := time.Unix(0, int64(interval)*a.Args[0])
	if v.Names != nil {
		at = at.Add(-v.Names.TAI())
	}
	return at
}

// seriesUnit is the coarsest unit that the length of an interval is a multiple of, and its digits behind the second.
func seriesUnit(ns int64) (name string, digits int) {
	switch {
	case ns%1e9 == 0:
		return "", 0
	case ns%1e6 == 0:
		return "ms", 3
	case ns%1e3 == 0:
		return "us", 6
	}
	return "ns", 9
}

// appendSeries appends a graph: time goes down, values go to the right.
func (v Values) appendSeries(dst []byte, s *agg.Snapshot, r agg.Row) []byte {
	a, points := s.Value.Agg, s.Series(r)
	if len(points) == 0 {
		return append(dst, "<no data>"...)
	}
	low, high, some := seriesRange(points, a.Signed)
	label := func(n uint64) string {
		if !some {
			return "null"
		}
		return string(appendInt(nil, n, a.Signed))
	}
	unit, digits := "", 0
	if len(points) > 1 {
		unit, digits = seriesUnit(a.Args[0])
	}
	format, width := "hh:mm:ss", len("hh:mm:ss")
	if digits > 0 {
		format, width = format+"."+unit, width+1+digits
	}
	bounds := func() {
		dst = appendCell(append(dst, strings.Repeat(" ", width+1)...), label(low), 21, true)
		dst = append(appendCell(dst, label(high), seriesWidth-21, false), '\n')
	}
	bounds()
	dst = append(appendCell(dst, format, width+1, true), "|"+strings.Repeat("_", seriesWidth-2)+"|\n"...)
	zero := 0
	if a.Signed && int64(low) < 0 && int64(high) > 0 {
		zero = share(seriesWidth, -low, high-low)
	}
	for _, p := range points {
		at := v.moment(a, p.Interval)
		dst = at.AppendFormat(dst, "15:04:05")
		if digits > 0 {
			dst = append(dst, '.')
			dst = appendDigits(dst, at.Nanosecond()/int(math.Pow10(9-digits)), digits, '0')
		}
		dst = append(dst, ' ')
		line := []byte("|" + strings.Repeat(" ", seriesWidth-2) + "|")
		if zero > 0 {
			line[zero] = '.'
		}
		value := "-"
		if p.OK {
			line[share(seriesWidth-1, p.Value-low, high-low)] = '*'
			value = label(p.Value)
		}
		dst = append(append(append(append(dst, line...), ' '), value...), '\n')
	}
	dst = append(dst, strings.Repeat(" ", width+1)+"v"+strings.Repeat("_", seriesWidth-2)+"v\n"...)
	bounds()
	return dst
}

// share is the part of a width that n is of all: exact, so that it is less than the width where n is less than all.
func share(width, n, all uint64) int {
	hi, lo := bits.Mul64(width, n)
	at, _ := bits.Div64(hi, lo, all)
	return int(at)
}

// seriesRange is the least and the greatest value, or one less and one more where all are the same; some is false
// without any.
func seriesRange(points []agg.Point, signed bool) (low, high uint64, some bool) {
	less := func(a, b uint64) bool { return a < b }
	least, greatest := uint64(0), uint64(math.MaxUint64)
	if signed {
		less = func(a, b uint64) bool { return int64(a) < int64(b) }
		least, greatest = 1<<63, math.MaxInt64
	}
	for _, p := range points {
		if !p.OK {
			continue
		}
		if !some || less(p.Value, low) {
			low = p.Value
		}
		if !some || less(high, p.Value) {
			high = p.Value
		}
		some = true
	}
	if low == high {
		if low != least {
			low--
		}
		if high != greatest {
			high++
		}
	}
	return low, high, some
}

// appendCell appends text in a column.
func appendCell(dst []byte, text string, width int, left bool) []byte {
	fill := strings.Repeat(" ", max(width-len(text), 0))
	if left {
		return append(append(dst, text...), fill...)
	}
	return append(append(dst, fill...), text...)
}

// seriesJSON appends the intervals with their values.
func (v Values) seriesJSON(dst []byte, s *agg.Snapshot, r agg.Row) []byte {
	a := s.Value.Agg
	dst = append(dst, '[')
	for i, p := range s.Series(r) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"interval_start":"`...)
		dst = v.moment(a, p.Interval).UTC().AppendFormat(dst, "2006-01-02 15:04:05.000000000")
		dst = append(dst, `","value":`...)
		if p.OK {
			dst = appendInt(dst, p.Value, a.Signed)
		} else {
			dst = append(dst, "null"...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
