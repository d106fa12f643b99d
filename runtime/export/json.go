package export

import (
	"io"
	"strconv"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// JSON is bpftrace's JSON output, one object per line, with types of our own: dist, loss, sli, slo. Values of an
// indicator are in observed units: nanoseconds, bytes.
type JSON struct {
	out    io.Writer
	values Values
	buf    []byte
	err    error
	scales map[int]*agg.Scale
}

// NewJSON makes a JSON output.
func NewJSON(out io.Writer, v Values) *JSON {
	return &JSON{out: out, values: v, scales: map[int]*agg.Scale{}}
}

var _ Output = (*JSON)(nil)

// Err returns the first error of the writer.
func (j *JSON) Err() error { return j.err }

func (j *JSON) line(b []byte) {
	j.buf = append(b, '\n')
	if j.err == nil {
		_, j.err = j.out.Write(j.buf)
	}
	j.buf = j.buf[:0]
}

// begin starts an object up to its data.
func (j *JSON) begin(kind string) []byte {
	return append(append(append(j.buf[:0], `{"type": "`...), kind...), `", "data": `...)
}

func (j *JSON) counted(kind, name string, n uint64) {
	b := append(append(append(j.buf[:0], `{"type": "`...), kind...), `", "count": `...)
	b = append(append(append(strconv.AppendUint(b, n, 10), `, "data": {"`...), name...), `": `...)
	j.line(append(strconv.AppendUint(b, n, 10), "}}"...))
}

// AttachedProbes tells how many probes run.
func (j *JSON) AttachedProbes(n int) { j.counted("attached_probes", "probes", uint64(n)) }

// LostEvents tells how many records the ring buffer had no room for.
func (j *JSON) LostEvents(n uint64) { j.counted("lost_events", "events", n) }

// Printf writes printed text.
func (j *JSON) Printf(text []byte) { j.line(append(appendQuoted(j.begin("printf"), text), '}')) }

// Time writes a time.
func (j *JSON) Time(text []byte) { j.line(append(appendQuoted(j.begin("time"), text), '}')) }

// Join writes joined texts.
func (j *JSON) Join(text []byte) { j.line(append(appendQuoted(j.begin("join"), text), '}')) }

// Cat writes what is in a file.
func (j *JSON) Cat(text []byte) { j.line(append(appendQuoted(j.begin("cat"), text), '}')) }

// System writes what a command printed.
func (j *JSON) System(text []byte) { j.line(append(appendQuoted(j.begin("syscall"), text), '}')) }

// Diagnose writes an error or a warning with its place.
func (j *JSON) Diagnose(d source.Diagnostic) {
	kind := "errorf"
	if d.Severity == source.Warning {
		kind = "warnf"
	}
	line, col := d.File.Position(d.Span.Start)
	b := append(append(append(j.buf[:0], `{"type": "`...), kind...), `", "msg": `...)
	b = appendQuoted(append(appendQuoted(b, d.Message), `, "filename": `...), d.File.Name)
	b = strconv.AppendInt(append(b, `, "line": `...), int64(line), 10)
	j.line(append(strconv.AppendInt(append(b, `, "col": `...), int64(col), 10), '}'))
}

// Value writes a value.
func (j *JSON) Value(t *types.Type, raw []byte) {
	j.line(append(j.values.AppendJSON(j.begin("value"), t, raw), '}'))
}

// End writes nothing.
func (j *JSON) End() {}

// Map writes a map. An unkeyed map without a value writes nothing.
func (j *JSON) Map(s *agg.Snapshot, top, div int64) {
	if s.Key == nil && len(s.Rows) == 0 {
		return
	}
	s.Sort()
	div = max(div, 1)
	b := append(appendQuoted(append(j.begin(mapType(s.Value)), '{'), s.Name), ": "...)
	if s.Key == nil {
		b = j.appendEntry(b, s, s.Rows[0], div)
	} else {
		b = append(b, '{')
		var key []byte
		keys := j.values
		keys.compact = true
		for i, r := range s.Top(top) {
			if i > 0 {
				b = append(b, ", "...)
			}
			key = keys.AppendKey(key[:0], s.Key, r.Key)
			b = append(appendQuoted(b, key), ": "...)
			b = j.appendEntry(b, s, r, div)
		}
		b = append(b, '}')
	}
	j.line(append(b, "}}"...))
}

// Entry writes a value of a map.
func (j *JSON) Entry(s *agg.Snapshot, r agg.Row) {
	j.line(append(j.appendEntry(j.begin("value"), s, r, 1), '}'))
}

func mapType(t *types.Type) string {
	if t.Kind != types.Aggregate {
		return "map"
	}
	switch t.Agg.Kind {
	case types.AvgAgg, types.StatsAgg:
		return "stats"
	case types.HistAgg, types.LHistAgg:
		return "hist"
	case types.TSeriesAgg:
		return "tseries"
	case types.DistAgg:
		return "dist"
	}
	return "map"
}

func (j *JSON) appendEntry(dst []byte, s *agg.Snapshot, r agg.Row, div int64) []byte {
	typ := s.Value
	if isSeries(typ) {
		return j.values.seriesJSON(dst, s, r)
	}
	if typ.Kind != types.Aggregate {
		if typ.Kind == types.Int {
			return appendJSONInt(dst, divide(agg.Number(r.Raw), div, typ.Signed), typ.Signed)
		}
		return j.values.AppendJSON(dst, typ, r.Raw)
	}
	switch typ.Agg.Kind {
	case types.HistAgg, types.LHistAgg:
		return appendJSONBars(dst, bars(typ.Agg, r.Words, div), typ.Agg.Kind == types.HistAgg)
	case types.DistAgg:
		d := agg.NewDist(j.scale(int(typ.Agg.Args[0])), r.Words)
		dst = appendJSONSummary(append(dst, '{'), NewSummary(d))
		dst = append(dst, `, "buckets": `...)
		return append(appendJSONBuckets(dst, DistBuckets(d, len(d.Buckets)+1)), '}')
	}
	n, signed := single(typ.Agg, r.Words, div)
	if typ.Agg.Kind != types.StatsAgg {
		return appendJSONInt(dst, n, signed)
	}
	dst = appendJSONInt(append(dst, `{"count": `...), r.Words[1], false)
	dst = appendJSONInt(append(dst, `, "average": `...), n, signed)
	return append(appendJSONInt(append(dst, `, "total": `...), r.Words[0], signed), '}')
}

func (j *JSON) scale(schema int) *agg.Scale {
	s := j.scales[schema]
	if s == nil {
		s = agg.NewScale(schema, 1)
		j.scales[schema] = s
	}
	return s
}

// appendJSONBars appends buckets; those of a hist go up to 2^64-1, those of an lhist down to any negative number.
func appendJSONBars(dst []byte, rows []bar, unsigned bool) []byte {
	dst = append(dst, '[')
	for i, b := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		if b.hasLower {
			dst = append(appendJSONInt(append(dst, `"min": `...), uint64(b.lower), !unsigned), ", "...)
		}
		if b.hasUpper {
			dst = append(appendJSONInt(append(dst, `"max": `...), uint64(b.upper), !unsigned || !b.hasLower), ", "...)
		}
		dst = append(strconv.AppendUint(append(dst, `"count": `...), b.count, 10), '}')
	}
	return append(dst, ']')
}

func appendJSONBuckets(dst []byte, rows []DistBucket) []byte {
	dst = append(dst, '[')
	first := true
	for _, b := range rows {
		if b.Count == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSONInt(append(dst, `{"min": `...), b.Lower, false)
		dst = appendJSONInt(append(dst, `, "max": `...), b.Upper, false)
		dst = append(appendJSONInt(append(dst, `, "count": `...), b.Count, false), '}')
	}
	return append(dst, ']')
}

func appendJSONSummary(dst []byte, s Summary) []byte {
	dst = appendJSONInt(append(dst, `"count": `...), s.Count, false)
	dst = appendJSONInt(append(dst, `, "sum": `...), s.Sum, false)
	for _, v := range [...]struct {
		name string
		v    float64
	}{{"mean", s.Mean}, {"p50", s.P50}, {"p90", s.P90}, {"p99", s.P99}, {"p99.9", s.P999}, {"max", s.Max}} {
		dst = append(append(append(dst, `, "`...), v.name...), `": `...)
		if s.Count == 0 {
			dst = append(dst, "null"...)
			continue
		}
		dst = strconv.AppendFloat(dst, v.v, 'f', -1, 64)
	}
	return dst
}

// Losses writes an object for everything that was lost.
func (j *JSON) Losses(losses []Loss) {
	for _, l := range losses {
		if l.Count == 0 {
			continue
		}
		b := appendQuoted(append(j.begin("loss"), `{"cause": `...), l.Cause)
		b = appendQuoted(append(b, `, "map": `...), l.Map)
		b = appendQuoted(append(b, `, "place": `...), l.Place)
		j.line(append(appendJSONInt(append(b, `, "count": `...), l.Count, false), "}}"...))
	}
}

// SLIs writes an object for every indicator.
func (j *JSON) SLIs(reports []SLIReport) {
	for i := range reports {
		r := &reports[i]
		b := appendQuoted(append(j.begin("sli"), `{"name": `...), r.Name)
		b = appendQuoted(append(b, `, "kind": `...), r.Kind.String())
		b = appendQuoted(append(b, `, "unit": `...), r.Unit.String())
		b = strconv.AppendInt(append(b, `, "elapsed_ns": `...), r.Elapsed.Nanoseconds(), 10)
		b = appendJSONInt(append(b, `, "events": `...), r.Events, false)
		b = appendJSONInt(append(b, `, "lost": `...), r.Lost, false)
		b = append(b, `, "rows": [`...)
		for k := range r.Rows {
			if k > 0 {
				b = append(b, ',')
			}
			b = appendJSONRow(b, r, &r.Rows[k])
		}
		b = append(b, ']')
		if r.Buckets != nil {
			b = appendJSONBuckets(append(b, `, "buckets": `...), r.Buckets)
		}
		j.line(append(b, "}}"...))
	}
}

func appendJSONRow(dst []byte, r *SLIReport, row *SLIRow) []byte {
	dst = append(dst, `{"labels": {`...)
	for i, name := range r.Labels {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		value := OtherLabel
		if !row.Other && i < len(row.Labels) {
			value = row.Labels[i]
		}
		dst = appendQuoted(append(appendQuoted(dst, name), ": "...), value)
	}
	dst = append(dst, `}, `...)
	switch r.Kind {
	case check.Gauge:
		dst = appendJSONInt(append(dst, `"count": `...), row.Summary.Count, false)
		return append(appendJSONInt(append(dst, `, "value": `...), uint64(row.Level), true), '}')
	case check.Ratio, check.Counters:
		dst = appendJSONInt(append(dst, `"count": `...), row.Summary.Count, false)
		return append(appendJSONInt(append(dst, `, "bad": `...), row.Bad, false), '}')
	}
	return append(appendJSONSummary(dst, row.Summary), '}')
}

// SLOs writes an object for every objective.
func (j *JSON) SLOs(reports []SLOReport) {
	for i := range reports {
		r := &reports[i]
		b := appendQuoted(append(j.begin("slo"), `{"name": `...), r.Name)
		b = appendQuoted(append(b, `, "sli": `...), r.SLI)
		b = appendQuoted(append(b, `, "objective": `...), r.Sentence)
		b = append(b, `, "labels": [`...)
		for k, l := range r.Labels {
			if k > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, l)
		}
		b = appendJSONInt(append(b, `], "objective_ppb": `...), r.PPB, false)
		b = appendJSONInt(append(b, `, "total": `...), r.Total, false)
		b = appendJSONInt(append(b, `, "bad": `...), r.Bad, false)
		b = appendJSONInt(append(b, `, "lost": `...), r.Lost, false)
		if r.Compliance == "" {
			b = append(b, `, "compliance_percent": null`...)
		} else {
			b = append(append(b, `, "compliance_percent": `...), r.Compliance...)
		}
		if r.State == NoData {
			b = append(b, `, "budget_left_ppm": null`...)
		} else {
			b = strconv.AppendInt(append(b, `, "budget_left_ppm": `...), r.BudgetLeft, 10)
		}
		b = appendJSONInt(append(b, `, "burn_rate_1h_milli": `...), r.Burn1h, false)
		b = appendJSONInt(append(b, `, "burn_rate_6h_milli": `...), r.Burn6h, false)
		b = strconv.AppendUint(append(b, `, "coverage_ppm": `...), uint64(r.Coverage), 10)
		j.line(append(appendQuoted(append(b, `, "state": `...), string(r.State)), "}}"...))
	}
}
