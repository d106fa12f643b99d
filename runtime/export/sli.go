package export

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
)

// screen is the width that tables keep to.
const screen = 80

// column widths of a distribution: count, then mean, percentiles and max.
const (
	countWidth = 9
	valueWidth = 9
)

// appendDistHeader appends the names of the columns, after a label column.
func appendDistHeader(dst []byte, indent, label int) []byte {
	dst = appendRepeated(dst, ' ', indent+label)
	dst = padLeft(dst, "count", countWidth)
	for _, name := range [...]string{"mean", "p50", "p90", "p99", "p99.9", "max"} {
		dst = padLeft(dst, name, valueWidth)
	}
	return append(dst, '\n')
}

func appendDistRow(dst []byte, label string, width int, s Summary, u check.Unit) []byte {
	dst = padRight(dst, label, width)
	dst = padLeft(dst, Grouped(s.Count), countWidth)
	for _, v := range [...]float64{s.Mean, s.P50, s.P90, s.P99, s.P999, s.Max} {
		text := "-"
		if s.Count > 0 {
			text = Quantity(u, v)
		}
		dst = padLeft(dst, text, valueWidth)
	}
	return append(dst, '\n')
}

// distBarWidth is the number of signs of the longest bar of a distribution.
const distBarWidth = 40

// appendDistBars appends a row for every bucket.
func appendDistBars(dst []byte, rows []DistBucket, u check.Unit, indent int) []byte {
	var most uint64
	labels, width := make([]string, len(rows)), 20
	for i, b := range rows {
		most = max(most, b.Count)
		labels[i] = bucketLabel(b, u)
		width = max(width, columns(labels[i]))
	}
	for i, b := range rows {
		dst = padRight(appendRepeated(dst, ' ', indent), labels[i], width)
		dst = append(padLeft(dst, Grouped(b.Count), countWidth), " |"...)
		dst = append(appendBar(dst, b.Count, most, distBarWidth), "|\n"...)
	}
	return dst
}

func bucketLabel(b DistBucket, u check.Unit) string {
	if b.Lower == b.Upper {
		return "[" + Quantity(u, float64(b.Lower)) + "]"
	}
	return "[" + Quantity(u, float64(b.Lower)) + ", " + Quantity(u, float64(b.Upper)+1) + ")"
}

// SLIs prints a block for every indicator.
func (t *Text) SLIs(reports []SLIReport) {
	for i := range reports {
		t.buf = t.appendSLI(t.buf, &reports[i])
	}
	t.flush(t.Out)
}

func (t *Text) appendSLI(dst []byte, r *SLIReport) []byte {
	left := "sli " + r.Name
	if r.Doc != "" {
		left += "  " + r.Doc
	}
	right := Elapsed(r.Elapsed) + " · " + Grouped(r.Events) + " events · " + Grouped(r.Lost) + " lost"
	if r.Events == 1 {
		right = strings.Replace(right, "1 events", "1 event", 1)
	}
	if columns(left) > screen-columns(right)-2 { // two lines then
		dst = append(append(dst, shorten(left, screen)...), '\n')
		left = ""
	}
	dst = padRight(dst, left, screen-columns(right))
	if r.Lost > 0 {
		dst = t.colour(dst, yellow, right)
	} else {
		dst = append(dst, right...)
	}
	dst = append(dst, '\n')
	switch r.Kind {
	case check.Ratio, check.Counters:
		return append(appendCountRows(dst, r, "bad", func(row *SLIRow) string { return Grouped(row.Bad) }), '\n')
	case check.Gauge:
		return append(appendCountRows(dst, r, "value", func(row *SLIRow) string { return Level(r.Unit, row.Level) }), '\n')
	}
	const indent, table = 2, countWidth + 6*valueWidth
	label := screen - indent - table
	dst = appendDistHeader(dst, indent, label)
	for i := range r.Rows {
		name := rowLabel(&r.Rows[i])
		dst = appendRepeated(dst, ' ', indent)
		if columns(name) >= label { // too long for the column: a line of its own
			dst = append(append(dst, shorten(name, screen-indent)...), '\n')
			dst, name = appendRepeated(dst, ' ', indent), ""
		}
		dst = appendDistRow(dst, name, label, r.Rows[i].Summary, r.Unit)
	}
	if len(r.Buckets) > 0 {
		dst = append(dst, '\n')
		dst = appendDistBars(dst, r.Buckets, r.Unit, indent)
	}
	return append(dst, '\n')
}

// appendCountRows appends a row for each label set: how many events or samples, and one more number.
func appendCountRows(dst []byte, r *SLIReport, name string, number func(*SLIRow) string) []byte {
	const indent, label = 2, 48
	dst = appendRepeated(dst, ' ', indent+label)
	dst = append(padLeft(padLeft(dst, "count", 15), name, 15), '\n')
	for i := range r.Rows {
		row := &r.Rows[i]
		dst = padRight(appendRepeated(dst, ' ', indent), shorten(rowLabel(row), label-1), label)
		dst = padLeft(dst, Grouped(row.Summary.Count), 15)
		dst = append(padLeft(dst, number(row), 15), '\n')
	}
	return dst
}

// Level writes the value of a gauge, which may be negative.
func Level(u check.Unit, v int64) string {
	if v < 0 {
		return "-" + Quantity(u, -float64(v))
	}
	return Quantity(u, float64(v))
}

// rowLabel names a label set by its values.
func rowLabel(r *SLIRow) string {
	if r.Other {
		return "(other)"
	}
	return strings.Join(r.Labels, ", ")
}

// shorten cuts a text to a width and marks the cut.
func shorten(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:max(width-1, 0)]) + "…"
}

// Elapsed writes how long something ran.
func Elapsed(d time.Duration) string {
	switch {
	case d < time.Minute:
		return Tenths(int64(d/(100*time.Millisecond))) + " s"
	case d < time.Hour:
		return d.Truncate(time.Second).String()
	}
	s := d.Truncate(time.Minute).String()
	return strings.TrimSuffix(s, "0s")
}
