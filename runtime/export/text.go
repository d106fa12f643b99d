package export

import (
	"io"
	"strconv"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// Text is bpftrace's text output, with tables for what bpftrace does not have.
type Text struct {
	TextOptions
	buf []byte
	err error
	// scales of the distributions printed so far, by schema
	scales map[int]*agg.Scale
}

// TextOptions is where text goes and how.
type TextOptions struct {
	Out    io.Writer
	Diag   io.Writer // what is not the script's output: probes attached, losses; nil for nowhere
	Values Values
	Colour bool
}

// NewText makes a text output.
func NewText(o TextOptions) *Text { return &Text{TextOptions: o, scales: map[int]*agg.Scale{}} }

var _ Output = (*Text)(nil)

// Err returns the first error of the writers.
func (t *Text) Err() error { return t.err }

func (t *Text) flush(w io.Writer) {
	if w != nil && t.err == nil && len(t.buf) > 0 {
		_, t.err = w.Write(t.buf)
	}
	t.buf = t.buf[:0]
}

// AttachedProbes tells how many probes run.
func (t *Text) AttachedProbes(n int) {
	t.buf = strconv.AppendInt(append(t.buf, "Attached "...), int64(n), 10)
	t.buf = append(t.buf, " probe"...)
	if n != 1 {
		t.buf = append(t.buf, 's')
	}
	t.buf = append(t.buf, '\n')
	t.flush(t.Diag)
}

// Printf prints text as it is.
func (t *Text) Printf(text []byte) {
	t.buf = append(t.buf, text...)
	t.flush(t.Out)
}

// Time prints text as it is.
func (t *Text) Time(text []byte) { t.Printf(text) }

// Join prints text and a line end.
func (t *Text) Join(text []byte) {
	t.buf = append(append(t.buf, text...), '\n')
	t.flush(t.Out)
}

// Cat prints text as it is.
func (t *Text) Cat(text []byte) { t.Printf(text) }

// System prints what a command printed, and a line end.
func (t *Text) System(text []byte) { t.Join(text) }

// Diagnose prints a diagnostic among the messages.
func (t *Text) Diagnose(d source.Diagnostic) {
	if t.Diag != nil {
		d.Render(t.Diag, t.Colour)
	}
}

// Value prints a value and a line end.
func (t *Text) Value(typ *types.Type, raw []byte) {
	t.buf = append(t.Values.AppendText(t.buf, typ, raw), '\n')
	t.flush(t.Out)
}

// End separates the events from the maps.
func (t *Text) End() {
	t.buf = append(t.buf, "\n\n"...)
	t.flush(t.Out)
}

// LostEvents tells how many records the ring buffer had no room for.
func (t *Text) LostEvents(n uint64) {
	t.buf = strconv.AppendUint(append(t.buf, "Lost "...), n, 10)
	t.buf = append(t.buf, " events\n"...)
	t.flush(t.Diag)
}

// Map prints a map.
func (t *Text) Map(s *agg.Snapshot, top, div int64) {
	s.Sort()
	div = max(div, 1)
	for _, r := range s.Top(top) {
		t.buf = append(t.buf, s.Name...)
		if s.Key != nil {
			t.buf = append(t.Values.AppendKey(append(t.buf, '['), s.Key, r.Key), ']')
		}
		t.buf = append(t.buf, ':')
		if isSeries(s.Value) {
			t.buf = append(t.Values.appendSeries(append(t.buf, '\n'), s, r), '\n')
			continue
		}
		t.buf = t.appendEntry(t.buf, s.Value, r, div)
	}
	t.flush(t.Out)
}

// Entry prints a value of a map.
func (t *Text) Entry(s *agg.Snapshot, r agg.Row) {
	if isSeries(s.Value) {
		t.buf = append(t.Values.appendSeries(t.buf, s, r), '\n')
	} else {
		t.buf = append(t.buf, t.appendEntry(nil, s.Value, r, 1)[1:]...)
	}
	t.flush(t.Out)
}

// appendEntry appends a value after "@name:".
func (t *Text) appendEntry(dst []byte, typ *types.Type, r agg.Row, div int64) []byte {
	if typ.Kind == types.Aggregate {
		switch typ.Agg.Kind {
		case types.HistAgg, types.LHistAgg:
			return append(appendBars(append(dst, '\n'), bars(typ.Agg, r.Words, div)), '\n')
		case types.DistAgg:
			d := agg.NewDist(t.scale(int(typ.Agg.Args[0])), r.Words)
			dst = appendDistHeader(append(dst, '\n'), 0, 0)
			dst = appendDistRow(dst, "", 0, NewSummary(d), check.NoUnit)
			return append(appendDistBars(dst, DistBuckets(d, maxBars), check.NoUnit, 0), '\n')
		}
	}
	dst = append(dst, ' ')
	return append(t.appendNumber(dst, typ, r, div), '\n')
}

// scale returns the scale of plain distributions of a schema.
func (t *Text) scale(schema int) *agg.Scale {
	s := t.scales[schema]
	if s == nil {
		s = agg.NewScale(schema, 1)
		t.scales[schema] = s
	}
	return s
}

// appendNumber appends a value of one line.
func (t *Text) appendNumber(dst []byte, typ *types.Type, r agg.Row, div int64) []byte {
	if typ.Kind != types.Aggregate {
		if typ.Kind == types.Int && div != 1 {
			return appendInt(dst, divide(agg.Number(r.Raw), div, typ.Signed), typ.Signed)
		}
		return t.Values.AppendText(dst, typ, r.Raw)
	}
	n, signed := single(typ.Agg, r.Words, div)
	if typ.Agg.Kind != types.StatsAgg {
		return appendInt(dst, n, signed)
	}
	dst = strconv.AppendUint(append(dst, "{ .count = "...), r.Words[1], 10)
	dst = appendInt(append(dst, ", .average = "...), n, signed)
	dst = appendInt(append(dst, ", .total = "...), r.Words[0], signed)
	return append(dst, " }"...)
}

// single is the number of an aggregation that has one; of stats the average.
func single(a *types.Agg, words []uint64, div int64) (n uint64, signed bool) {
	signed = a.Signed && a.Kind != types.CountAgg
	n = words[0]
	if a.Kind == types.AvgAgg || a.Kind == types.StatsAgg {
		n = agg.Average(words[0], words[1], signed)
	}
	return divide(n, div, signed), signed
}

func divide(n uint64, div int64, signed bool) uint64 {
	if signed {
		return uint64(int64(n) / div)
	}
	return n / uint64(div)
}
