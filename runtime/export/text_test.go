package export

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

func ints(n ...int64) []byte {
	var b []byte
	for _, v := range n {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func text(s string, size int) []byte { return append([]byte(s), make([]byte, size-len(s))...) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func aggregate(kind types.AggKind, args ...int64) *types.Type {
	return &types.Type{Kind: types.Aggregate, Agg: &types.Agg{Kind: kind, Args: args, Signed: true}}
}

func unsigned(t *types.Type) *types.Type {
	a := *t.Agg
	a.Signed = false
	return &types.Type{Kind: types.Aggregate, Agg: &a}
}

// buckets sets words: pairs of position and count.
func buckets(size int, pairs ...int) []uint64 {
	w := make([]uint64, size)
	for i := 0; i < len(pairs); i += 2 {
		w[pairs[i]] = uint64(pairs[i+1])
	}
	return w
}

var (
	str8   = types.StringOf(8)
	nested = types.TupleOf(types.Int64, types.TupleOf(types.Int64, str8))
	record = &types.Type{Kind: types.Struct, Name: "r", Size: 12, Layout: types.Fields{
		{Name: "x", Type: types.Int32}, {Name: "y", Type: types.StringOf(8), Offset: 4}}}
	at = strings.Repeat("@", 52)
)

// mapCases are maps with what both outputs print of them.
func mapCases() []mapCase {
	one := func(w ...uint64) []agg.Row { return []agg.Row{{Words: w}} }
	raw := func(b []byte) []agg.Row { return []agg.Row{{Raw: b}} }
	return []mapCase{
		{"int", agg.Snapshot{Name: "@x", Value: types.Int64, Rows: raw(ints(5))}, 0, 0,
			"@x: 5\n", `{"type": "map", "data": {"@x": 5}}`},
		{"negative", agg.Snapshot{Name: "@x", Value: types.Int64, Rows: raw(ints(-5))}, 0, 2,
			"@x: -2\n", `{"type": "map", "data": {"@x": -2}}`},
		{"huge", agg.Snapshot{Name: "@x", Value: types.Uint64, Rows: raw(ints(-1))}, 0, 0,
			"@x: 18446744073709551615\n", `{"type": "map", "data": {"@x": "18446744073709551615"}}`},
		{"anonymous", agg.Snapshot{Name: "@", Value: aggregate(types.CountAgg), Rows: one(3)}, 0, 0,
			"@: 3\n", `{"type": "map", "data": {"@": 3}}`},
		{"keyed", agg.Snapshot{Name: "@c", Key: types.TupleOf(types.Int64, str8), Value: aggregate(types.CountAgg),
			Rows: []agg.Row{{Key: cat(ints(1), text("x", 8)), Words: []uint64{5}}}}, 0, 0,
			"@c[1, x]: 5\n", `{"type": "map", "data": {"@c": {"1,x": 5}}}`},
		{"nested key", agg.Snapshot{Name: "@e", Key: nested, Value: aggregate(types.SumAgg),
			Rows: []agg.Row{{Key: cat(ints(1, 2), text("q", 8)), Words: []uint64{3}}}}, 0, 0,
			"@e[1, (2, q)]: 3\n", `{"type": "map", "data": {"@e": {"1,(2,q)": 3}}}`},
		{"tuple", agg.Snapshot{Name: "@f", Value: types.TupleOf(types.Int64, str8, types.TupleOf(types.Int64, types.Int64)),
			Rows: raw(cat(ints(1), text("a", 8), ints(2, 3)))}, 0, 0,
			"@f: (1, a, (2, 3))\n", `{"type": "map", "data": {"@f": [1,"a",[2,3]]}}`},
		{"record", agg.Snapshot{Name: "@g", Value: record, Rows: raw(cat([]byte{1, 0, 0, 0}, text("z", 12)))}, 0, 0,
			"@g: { .x = 1, .y = z }\n", `{"type": "map", "data": {"@g": {"x": 1, "y": "z"}}}`},
		{"array", agg.Snapshot{Name: "@h", Key: str8, Value: &types.Type{Kind: types.Array, Elem: types.Int8, Len: 4, Size: 4},
			Rows: []agg.Row{{Key: text("k", 8), Raw: []byte{4, 3, 2, 0xff, 0, 0, 0, 0}}}}, 0, 0,
			"@h[k]: [4,3,2,-1]\n", `{"type": "map", "data": {"@h": {"k": [4,3,2,-1]}}}`},
		{"bool", agg.Snapshot{Name: "@j", Value: types.Boolean, Rows: raw(ints(1))}, 0, 0,
			"@j: true\n", `{"type": "map", "data": {"@j": true}}`},
		{"pointer", agg.Snapshot{Name: "@p", Value: types.PointerTo(types.None, false), Rows: raw(ints(0xffff))}, 0, 0,
			"@p: 0xffff\n", `{"type": "map", "data": {"@p": 65535}}`},
		{"stats", agg.Snapshot{Name: "@a", Key: types.Int64, Value: aggregate(types.StatsAgg),
			Rows: []agg.Row{{Key: ints(1), Words: []uint64{12, 2}}}}, 0, 0,
			"@a[1]: { .count = 2, .average = 6, .total = 12 }\n",
			`{"type": "stats", "data": {"@a": {"1": {"count": 2, "average": 6, "total": 12}}}}`},
		{"avg", agg.Snapshot{Name: "@b", Value: aggregate(types.AvgAgg), Rows: one(7, 2)}, 0, 0,
			"@b: 3\n", `{"type": "stats", "data": {"@b": 3}}`},
		{"avg of negatives", agg.Snapshot{Name: "@b", Value: aggregate(types.AvgAgg), Rows: one(^uint64(6), 2)}, 0, 0,
			"@b: -3\n", `{"type": "stats", "data": {"@b": -3}}`},
		{"unsigned max", agg.Snapshot{Name: "@m", Value: unsigned(aggregate(types.MaxAgg)), Rows: one(1<<63, 1)}, 0, 0,
			"@m: 9223372036854775808\n", `{"type": "map", "data": {"@m": 9223372036854775808}}`},
		{"top and div", agg.Snapshot{Name: "@t", Key: types.Int64, Value: aggregate(types.CountAgg), Rows: []agg.Row{
			{Key: ints(1), Words: []uint64{30}}, {Key: ints(2), Words: []uint64{10}}, {Key: ints(3), Words: []uint64{20}}}}, 2, 10,
			"@t[3]: 2\n@t[1]: 3\n", `{"type": "map", "data": {"@t": {"3": 2, "1": 3}}}`},
		{"empty", agg.Snapshot{Name: "@x", Key: types.Int64, Value: types.Int64}, 0, 0, "", `{"type": "map", "data": {"@x": {}}}`},
		{"hist", agg.Snapshot{Name: "@", Value: aggregate(types.HistAgg, 0), Rows: one(buckets(66, 0, 1, 1, 2, 2, 4, 3, 4)...)}, 0, 0,
			"@:\n" +
				"(..., 0)               1 |@@@@@@@@@@@@@                                       |\n" +
				"[0]                    2 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |\n" +
				"[1]                    4 |" + at + "|\n" +
				"[2, 4)                 4 |" + at + "|\n\n",
			`{"type": "hist", "data": {"@": [{"max": -1, "count": 1},{"min": 0, "max": 0, "count": 2},` +
				`{"min": 1, "max": 1, "count": 4},{"min": 2, "max": 3, "count": 4}]}}`},
		{"hist letters", agg.Snapshot{Name: "@", Key: str8, Value: aggregate(types.HistAgg, 0),
			Rows: []agg.Row{{Key: text("a", 8), Words: buckets(66, 11, 3, 12, 1, 13, 0, 14, 2)}}}, 0, 0,
			"@[a]:\n" +
				"[512, 1K)              3 |" + at + "|\n" +
				"[1K, 2K)               1 |@@@@@@@@@@@@@@@@@                                   |\n" +
				"[2K, 4K)               0 |                                                    |\n" +
				"[4K, 8K)               2 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@                  |\n\n",
			`{"type": "hist", "data": {"@": {"a": [{"min": 512, "max": 1023, "count": 3},{"min": 1024, "max": 2047, "count": 1},` +
				`{"min": 2048, "max": 4095, "count": 0},{"min": 4096, "max": 8191, "count": 2}]}}}`},
		{"hist div", agg.Snapshot{Name: "@", Value: aggregate(types.HistAgg, 0), Rows: one(buckets(66, 2, 20)...)}, 0, 10,
			"@:\n[1]                    2 |" + at + "|\n\n", `{"type": "hist", "data": {"@": [{"min": 1, "max": 1, "count": 2}]}}`},
		{"hist with bits", agg.Snapshot{Name: "@", Value: aggregate(types.HistAgg, 2), Rows: one(buckets(253, 8, 1, 9, 1)...)}, 0, 0,
			"@:\n" +
				"[7]                    1 |" + at + "|\n" +
				"[8, 10)                1 |" + at + "|\n\n",
			`{"type": "hist", "data": {"@": [{"min": 7, "max": 7, "count": 1},{"min": 8, "max": 9, "count": 1}]}}`},
		{"hist top", agg.Snapshot{Name: "@", Value: aggregate(types.HistAgg, 0), Rows: one(buckets(66, 65, 1)...)}, 0, 0,
			"@:\n[8E, 16E)              1 |" + at + "|\n\n",
			`{"type": "hist", "data": {"@": [{"min": 9223372036854775808, "max": "18446744073709551615", "count": 1}]}}`},
		{"lhist", agg.Snapshot{Name: "@", Value: aggregate(types.LHistAgg, 0, 100, 10), Rows: one(buckets(12, 0, 1, 1, 1, 2, 0, 3, 2)...)}, 0, 5,
			"@:\n" +
				"(..., 0)               1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |\n" +
				"[0, 10)                1 |@@@@@@@@@@@@@@@@@@@@@@@@@@                          |\n" +
				"[10, 20)               0 |                                                    |\n" +
				"[20, 30)               2 |" + at + "|\n\n",
			`{"type": "hist", "data": {"@": [{"max": -1, "count": 1},{"min": 0, "max": 9, "count": 1},` +
				`{"min": 10, "max": 19, "count": 0},{"min": 20, "max": 29, "count": 2}]}}`},
		{"lhist above", agg.Snapshot{Name: "@h", Value: aggregate(types.LHistAgg, 0, 100, 10), Rows: one(buckets(12, 11, 1)...)}, 0, 0,
			"@h:\n[100, ...)             1 |" + at + "|\n\n", `{"type": "hist", "data": {"@h": [{"min": 100, "count": 1}]}}`},
		{"lhist of ones", agg.Snapshot{Name: "@", Value: aggregate(types.LHistAgg, 0, 5, 1), Rows: one(buckets(7, 4, 1)...)}, 0, 0,
			"@:\n[3]                    1 |" + at + "|\n\n", `{"type": "hist", "data": {"@": [{"min": 3, "max": 3, "count": 1}]}}`},
		{"lhist letters", agg.Snapshot{Name: "@", Value: aggregate(types.LHistAgg, 0, 4<<20, 512<<10), Rows: one(buckets(10, 1, 1, 2, 1)...)}, 0, 0,
			"@:\n[0, 512K)              1 |" + at + "|\n[512K, 1M)             1 |" + at + "|\n\n",
			`{"type": "hist", "data": {"@": [{"min": 0, "max": 524287, "count": 1},{"min": 524288, "max": 1048575, "count": 1}]}}`},
	}
}

type mapCase struct {
	name       string
	s          agg.Snapshot
	top, div   int64
	text, json string
}

func TestTextMaps(t *testing.T) {
	for _, c := range mapCases() {
		var out bytes.Buffer
		NewText(TextOptions{Out: &out}).Map(&c.s, c.top, c.div)
		if out.String() != c.text {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, out.String(), c.text)
		}
	}
}

func TestTextDist(t *testing.T) {
	const schema = 3
	words := make([]uint64, 3+64<<schema+1)
	words[0], words[1], words[2] = 4, 8, 1 // count, sum, zeros
	words[3+0], words[3+8], words[3+19] = 1, 1, 1
	s := &agg.Snapshot{Name: "@lat", Key: str8, Value: aggregate(types.DistAgg, schema), Rows: []agg.Row{{Key: text("dd", 8), Words: words}}}
	var out bytes.Buffer
	NewText(TextOptions{Out: &out}).Map(s, 0, 0)
	b := strings.Repeat("@", 40)
	e := strings.Repeat(" ", 40)
	want := "@lat[dd]:\n" +
		"    count     mean      p50      p90      p99    p99.9      max\n" +
		"        4        2        1        5        5        5        5\n" +
		"[0]                         1 |" + b + "|\n" +
		"[1]                         1 |" + b + "|\n" +
		"[2]                         1 |" + b + "|\n" +
		"[3]                         0 |" + e + "|\n" +
		"[4]                         0 |" + e + "|\n" +
		"[5]                         1 |" + b + "|\n\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTextMessages(t *testing.T) {
	var out, diag bytes.Buffer
	o := NewText(TextOptions{Out: &out, Diag: &diag, Values: Values{MaxStrlen: 16}})
	o.AttachedProbes(1)
	o.AttachedProbes(3)
	o.LostEvents(7)
	o.Printf([]byte("hi\n"))
	o.Time([]byte("00:46:06\n"))
	o.Value(types.TupleOf(types.Int64, str8), cat(ints(1), text("s", 8)))
	o.Value(types.StringOf(16), text("0123456789abcde", 16))
	o.Value(types.StringOf(16), text("0123456789abcd", 16))
	o.Value(types.BufferOf(5), cat(ints(3), []byte{'a', 1, 0xff, 0, 0, 0, 0, 0}))
	o.Value(types.None, nil)
	o.End()
	o.Losses([]Loss{{Cause: "map_full", Map: "@x", Place: "a.slo:1:2", Count: 1200}, {Cause: "ring_full"}})
	if got, want := out.String(), "hi\n00:46:06\n(1, s)\n0123456789abcde..\n0123456789abcd\na\\x01\\xff\nnull\n\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want := "Attached 1 probe\nAttached 3 probes\nLost 7 events\n" +
		"a.slo:1:2: WARNING: 1 200 new keys lost: map @x is full; declare it larger or raise max_map_keys\n"
	if diag.String() != want {
		t.Errorf("got %q, want %q", diag.String(), want)
	}
}

func TestHostileMemory(t *testing.T) {
	for _, typ := range []*types.Type{types.Int64, types.Boolean, str8, nested, record, types.PointerTo(types.None, true),
		{Kind: types.Array, Elem: types.Int32, Len: 3, Size: 12}, {Kind: types.Buffer, Size: 9}, {Kind: types.Late, Late: types.Inet, Size: 24}, {Kind: types.Struct}} {
		for n := range typ.Memory() + 1 {
			Values{MaxStrlen: 4}.AppendText(nil, typ, make([]byte, n))
			Values{MaxStrlen: 4}.AppendJSON(nil, typ, make([]byte, n))
		}
	}
}
