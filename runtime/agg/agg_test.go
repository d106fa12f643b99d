package agg

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
)

// words lays out 64-bit words in memory.
func words[I int64 | uint64 | int](w ...I) []byte {
	var b []byte
	for _, v := range w {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

type entry struct{ key, value []byte }

// from reads entries out of one reused buffer, as the kernel's reader does.
func from(entries ...entry) Reader {
	return func(f func(key, value []byte) error) error {
		var key, value []byte
		for _, e := range entries {
			key, value = append(key[:0], e.key...), append(value[:0], e.value...)
			if err := f(key, value); err != nil {
				return err
			}
		}
		return nil
	}
}

func aggMap(key *types.Type, kind types.AggKind, signed bool, words int, args ...int64) *ir.Map {
	m := &ir.Map{Name: "@x", Kind: ir.PerCPUHash, Key: key, ValueSize: 8 * words,
		Value: &types.Type{Kind: types.Aggregate, Agg: &types.Agg{Kind: kind, Args: args, Signed: signed, Words: words}}}
	if key == nil {
		m.Kind = ir.PerCPUArray
	}
	return m
}

func neg(n int64) uint64 { return uint64(-n) }

func TestFoldsOverCPUs(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   types.AggKind
		signed bool
		cpus   []uint64
		words  int
		want   []uint64 // nil: no row
	}{
		{"count", types.CountAgg, false, []uint64{3, 0, 4}, 1, []uint64{7}},
		{"count untouched", types.CountAgg, false, []uint64{0, 0}, 1, nil},
		{"sum", types.SumAgg, true, []uint64{neg(5), 1, 2, 1, 0, 0}, 2, []uint64{neg(3)}},
		{"sum of zero", types.SumAgg, true, []uint64{0, 1, 0, 0}, 2, []uint64{0}},
		{"sum untouched", types.SumAgg, true, []uint64{0, 0, 0, 0}, 2, nil},
		{"min signed", types.MinAgg, true, []uint64{4, 1, neg(2), 1, neg(9), 0}, 2, []uint64{neg(2), 1}},
		{"min unsigned", types.MinAgg, false, []uint64{4, 1, neg(2), 1, 0, 0}, 2, []uint64{4, 1}},
		{"min zero", types.MinAgg, false, []uint64{4, 1, 0, 1}, 2, []uint64{0, 1}},
		{"max signed", types.MaxAgg, true, []uint64{0, 0, neg(2), 1, neg(9), 1}, 2, []uint64{neg(2), 1}},
		{"max unsigned", types.MaxAgg, false, []uint64{4, 1, neg(2), 1}, 2, []uint64{neg(2), 1}},
		{"max untouched", types.MaxAgg, false, []uint64{4, 0, 5, 0}, 2, nil},
		{"avg", types.AvgAgg, true, []uint64{10, 2, neg(4), 1}, 2, []uint64{6, 3}},
		{"stats wraps", types.StatsAgg, false, []uint64{math.MaxUint64, 1, 2, 1}, 2, []uint64{1, 2}},
	} {
		s, err := Read(aggMap(nil, c.kind, c.signed, c.words), from(entry{make([]byte, 4), words(c.cpus...)}))
		if err != nil {
			t.Fatal(c.name, err)
		}
		if c.want == nil {
			if len(s.Rows) != 0 {
				t.Errorf("%s: got %v, want no row", c.name, s.Rows)
			}
			continue
		}
		if len(s.Rows) != 1 || !slices.Equal(s.Rows[0].Words, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, s.Rows, c.want)
		}
		// A keyed map shows zeros too.
		s, err = Read(aggMap(types.Int64, c.kind, c.signed, c.words), from(entry{words(1), words(c.cpus...)}))
		if err != nil || len(s.Rows) != 1 {
			t.Errorf("%s keyed: got %v, %v, want one row", c.name, s.Rows, err)
		}
	}
}

func TestPlainValues(t *testing.T) {
	m := &ir.Map{Name: "@n", Kind: ir.Array, Value: types.Int64, ValueSize: 16}
	for set, want := range []int{0, 1} {
		s, err := Read(m, from(entry{make([]byte, 4), words(0, set)}))
		if err != nil || len(s.Rows) != want {
			t.Errorf("set=%d: got %d rows, %v, want %d", set, len(s.Rows), err, want)
		}
	}
	m = &ir.Map{Name: "@s", Kind: ir.Hash, Key: types.Uint32, Value: types.StringOf(16), ValueSize: 16}
	s, err := Read(m, from(entry{words(1), []byte("one\x00\x00\x00\x00\x00........")}, entry{words(2), make([]byte, 16)}))
	if err != nil || len(s.Rows) != 2 || string(s.Rows[0].Raw[:3]) != "one" {
		t.Errorf("got %v, %v", s, err)
	}
	m = &ir.Map{Name: "@p", Kind: ir.PerCPUHash, Key: types.Uint32, Value: types.Int64, ValueSize: 8}
	s, err = Read(m, from(entry{words(1), words(4, -1, 2)}))
	if err != nil || Number(s.Rows[0].Raw) != 5 {
		t.Errorf("per-CPU number: got %v, %v, want 5", s, err)
	}
}

func TestDamagedEntries(t *testing.T) {
	m := aggMap(types.Int64, types.AvgAgg, true, 2)
	for _, e := range []entry{{words(1), nil}, {words(1), words(1, 2, 3)}, {nil, words(1, 2)}, {words(1), []byte{1}}} {
		if _, err := Read(m, from(e)); err == nil {
			t.Errorf("%v: no error", e)
		}
	}
	if _, err := Read(&ir.Map{Name: "events", Kind: ir.RingBuf}, from()); err == nil {
		t.Error("a map without a type: no error")
	}
}

func TestSort(t *testing.T) {
	key := func(s string) []byte { return append([]byte(s), make([]byte, 8-len(s))...) }
	order := func(s *Snapshot) (out string) {
		s.Sort()
		for _, r := range s.Rows {
			out += string(r.Key[:1])
		}
		return out
	}
	ints := &Snapshot{Key: types.StringOf(8), Value: types.Int64, Rows: []Row{
		{Key: key("a"), Raw: words(5)}, {Key: key("d"), Raw: words(1)}, {Key: key("b"), Raw: words(-7)}, {Key: key("c"), Raw: words(1)}}}
	if got := order(ints); got != "bcda" {
		t.Errorf("ints: got %s, want bcda", got)
	}
	if top := ints.Top(2); len(top) != 2 || top[1].Key[0] != 'a' {
		t.Errorf("top: got %v", top)
	}
	texts := &Snapshot{Key: types.TupleOf(types.Int64, types.StringOf(8)), Value: types.StringOf(8), Rows: []Row{
		{Key: append(words(2), "a......."...)}, {Key: append(words(-1), "z......."...)}, {Key: append(words(2), "A......."...)}}}
	texts.Sort()
	if int64(Number(texts.Rows[0].Key)) != -1 || texts.Rows[1].Key[8] != 'A' {
		t.Errorf("by key: got %v", texts.Rows)
	}
	hists := &Snapshot{Key: types.StringOf(8), Value: aggMap(nil, types.HistAgg, false, 66, 0).Value, Rows: []Row{
		{Key: key("a"), Words: []uint64{9, 0}}, {Key: key("b"), Words: []uint64{1, 7}}}}
	if got := order(hists); got != "ba" {
		t.Errorf("hists: got %s, want ba", got)
	}
	means := &Snapshot{Key: types.StringOf(8), Value: aggMap(nil, types.AvgAgg, true, 2).Value, Rows: []Row{
		{Key: key("a"), Words: []uint64{90, 3}}, {Key: key("b"), Words: []uint64{80, 1}}, {Key: key("c"), Words: []uint64{neg(80), 1}}}}
	if got := order(means); got != "cab" {
		t.Errorf("means: got %s, want cab", got)
	}
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		q    float64
		n    uint64
		want uint64
	}{{0, 10, 1}, {1, 10, 10}, {0.5, 10, 5}, {0.5, 11, 6}, {0.999, 1000, 999}, {0.99, 300, 297}, {0.99, 301, 298}, {0.999, 999, 999},
		{1, math.MaxUint64, math.MaxUint64}, {-3, 5, 1}, {7, 5, 5}, {0.07, 100, 7}, {math.NaN(), 5, 1}} {
		if got := Rank(c.q, c.n); got != c.want {
			t.Errorf("Rank(%v, %d): got %d, want %d", c.q, c.n, got, c.want)
		}
	}
}

// slot is the bucket of a hist() by the definition in the contract.
func slot(v uint64, k int) int {
	if v < 1<<k {
		return 1 + int(v)
	}
	e := 63
	for v>>e == 0 {
		e--
	}
	return 1 + (e-k+1)<<k + int(v>>(e-k)&(1<<k-1))
}

func TestQuantilesAgainstSortedData(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for k := range 6 {
		scale := NewScale(k, 1_000_000_000)
		for range 20 {
			n := 1 + rng.IntN(300)
			values := make([]uint64, n)
			h := Hist{Bits: k, Buckets: make([]uint64, (65-k)<<k+1)}
			d := Dist{Scale: scale, Buckets: make([]uint64, native.Buckets(k))}
			for i := range values {
				v := rng.Uint64() >> rng.IntN(64)
				if rng.IntN(10) == 0 {
					v = 0
				}
				values[i] = v
				h.Buckets[slot(v, k)]++
				d.Count, d.Sum = d.Count+1, d.Sum+v
				if v == 0 {
					d.Zeros++
				} else {
					d.Buckets[scale.Index(v)]++
				}
			}
			slices.Sort(values)
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
				want := values[Rank(q, uint64(n))-1]
				for what, at := range map[string]Quantile{"hist": first(h.Quantile(q)), "dist": first(d.Quantile(q))} {
					if want < at.Lower || want > at.Upper {
						t.Fatalf("%s k=%d q=%v: got [%d, %d], want %d inside", what, k, q, at.Lower, at.Upper, want)
					}
					if m := at.Middle(); m < float64(at.Lower)*(1-1e-15) || m > float64(at.Upper)*(1+1e-15) {
						t.Fatalf("%s: middle %v of [%d, %d]", what, m, at.Lower, at.Upper)
					}
				}
			}
			if last := values[n-1]; last > d.Max() || last > 0 && d.Scale.Index(last) != d.Scale.Index(d.Max()) {
				t.Fatalf("max: got %d, want at least %d in the same bucket", d.Max(), last)
			}
		}
	}
}

func first(q Quantile, ok bool) Quantile {
	if !ok {
		panic("no values")
	}
	return q
}

func TestEmptyAndNegative(t *testing.T) {
	h := Hist{Buckets: make([]uint64, 66)}
	if _, ok := h.Quantile(0.5); ok {
		t.Error("a quantile of nothing")
	}
	h.Buckets[0] = 1
	if q, ok := h.Quantile(0.5); !ok || !q.Negative {
		t.Errorf("negatives: got %v, %v", q, ok)
	}
	d := Dist{Scale: NewScale(3, 1), Buckets: make([]uint64, native.Buckets(3))}
	if _, ok := d.Quantile(0.5); ok || d.Mean() != 0 || d.Max() != 0 {
		t.Error("a distribution of nothing")
	}
}

func TestScaleRanges(t *testing.T) {
	for schema := range 6 {
		for _, unit := range []uint64{1, 1_000_000_000} {
			s := NewScale(schema, unit)
			next := uint64(1)
			for p := range native.Buckets(schema) {
				lo, hi := s.Range(p)
				if lo > hi {
					continue
				}
				if hi == lo-1 || lo != next || s.Index(lo) != p || s.Index(hi) != p {
					if lo == 0 { // beyond the greatest integer
						continue
					}
					t.Fatalf("schema %d unit %d position %d: got [%d, %d]", schema, unit, p, lo, hi)
				}
				next = hi + 1
			}
			if next != 0 {
				t.Errorf("schema %d unit %d: ranges end at %d", schema, unit, next-1)
			}
		}
	}
}

func TestReadSLI(t *testing.T) {
	l := &lower.SLILayout{SLI: &check.SLI{Name: "s"}, Words: 3, Value: &ir.Map{Key: types.StringOf(8)}, Other: &ir.Map{}}
	value := from(entry{[]byte("/cart\x00\x00\x00"), words(1, 2, 3, 10, 20, 30)}, entry{[]byte("/a\x00\x00\x00\x00\x00\x00"), words(1, 1, 1, 0, 0, 0)})
	got, err := ReadSLI(l, value, from(entry{make([]byte, 4), words(0, 0, 0, 5, 0, 1)}))
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	want := "[/a [1 1 1] false] [/cart [11 22 33] false] [ [5 0 1] true] "
	text := ""
	for _, s := range got {
		text += fmt.Sprintf("[%s %v %v] ", trim(s.Labels), s.Words, s.Other)
	}
	if text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if got, err = ReadSLI(l, from(), from(entry{make([]byte, 4), words(0, 0, 0)})); err != nil || len(got) != 0 {
		t.Errorf("without events: got %v, %v", got, err)
	}
	if _, err = ReadSLI(l, from(entry{make([]byte, 8), words(1)}), from()); err == nil {
		t.Error("short value: no error")
	}
}

func trim(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func BenchmarkRead(b *testing.B) {
	const n = 100_000
	entries := make([]entry, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range entries {
		entries[i] = entry{words(rng.Uint64(), uint64(i)), words(rng.Uint64N(1000), rng.Uint64N(1000), 0, 7)}
	}
	m := aggMap(types.TupleOf(types.Uint64, types.Uint64), types.CountAgg, false, 1)
	read := from(entries...)
	for _, sorted := range []bool{false, true} {
		b.Run(fmt.Sprintf("sort=%v", sorted), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, err := Read(m, read)
				if err != nil || len(s.Rows) != n {
					b.Fatal(err)
				}
				if sorted {
					s.Sort()
				}
			}
		})
	}
}

func BenchmarkNewScale(b *testing.B) {
	for b.Loop() {
		NewScale(3, 1_000_000_000)
	}
}
