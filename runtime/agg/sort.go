package agg

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/slopebpf/slope/lang/types"
)

// Sort puts the rows in the order they are printed in: numbers and means ascending, histograms and distributions by
// how many values they hold, everything else by key. Equal values are ordered by key.
func (s *Snapshot) Sort() {
	type place struct {
		order uint64 // compares as the value does
		key   uint64 // the key's first bytes, compare as it does
		row   int32
	}
	byKey := func(a, b Row) int { return CompareKeys(s.Key, a.Key, b.Key) }
	order, ok := s.order()
	if !ok {
		slices.SortStableFunc(s.Rows, byKey)
		return
	}
	places := make([]place, len(s.Rows))
	for i := range s.Rows {
		places[i] = place{order(&s.Rows[i]), prefix(s.Key, s.Rows[i].Key), int32(i)}
	}
	slices.SortFunc(places, func(a, b place) int {
		if c := cmp.Compare(a.order, b.order); c != 0 {
			return c
		}
		if c := cmp.Compare(a.key, b.key); c != 0 {
			return c
		}
		return byKey(s.Rows[a.row], s.Rows[b.row])
	})
	sorted := make([]Row, len(places))
	for i, p := range places {
		sorted[i] = s.Rows[p.row]
	}
	s.Rows = sorted
}

// Top is the rows that print when only n are wanted: the last n; all for 0.
func (s *Snapshot) Top(n int64) []Row {
	if n > 0 && n < int64(len(s.Rows)) {
		return s.Rows[int64(len(s.Rows))-n:]
	}
	return s.Rows
}

// signBit turns signed order into unsigned order.
const signBit = 1 << 63

// order is the number that rows are ordered by; ok is false when they are ordered by key.
func (s *Snapshot) order() (f func(*Row) uint64, ok bool) {
	flip := func(signed bool) uint64 {
		if signed {
			return signBit
		}
		return 0
	}
	if s.Value.Kind == types.Int {
		sign := flip(s.Value.Signed)
		return func(r *Row) uint64 { return Number(r.Raw) ^ sign }, true
	}
	if s.Value.Kind != types.Aggregate {
		return nil, false
	}
	a := s.Value.Agg
	switch a.Kind {
	case types.TSeriesAgg:
		return nil, false
	case types.CountAgg:
		return func(r *Row) uint64 { return r.Words[0] }, true
	case types.SumAgg, types.MinAgg, types.MaxAgg:
		sign := flip(a.Signed)
		return func(r *Row) uint64 { return r.Words[0] ^ sign }, true
	case types.AvgAgg, types.StatsAgg:
		sign := flip(a.Signed)
		return func(r *Row) uint64 { return Average(r.Words[0], r.Words[1], a.Signed) ^ sign }, true
	case types.DistAgg:
		return func(r *Row) uint64 { return r.Words[0] }, true
	default:
		return func(r *Row) uint64 { return Total(r.Words) }, true
	}
}

// Average is the mean as bpftrace prints it: cut towards zero, 0 of nothing.
func Average(sum, count uint64, signed bool) uint64 {
	switch {
	case count == 0:
		return 0
	case signed:
		return uint64(int64(sum) / int64(count))
	}
	return sum / count
}

// Total adds up buckets.
func Total(buckets []uint64) uint64 {
	var n uint64
	for _, b := range buckets {
		n += b
	}
	return n
}

// prefix is a number that orders keys as CompareKeys does, as far as their first 8 bytes decide.
func prefix(t *types.Type, key []byte) uint64 {
	for t != nil && t.Kind == types.Tuple && len(t.Elems) > 0 {
		t = t.Elems[0]
	}
	switch {
	case t == nil || len(key) < 8:
		return 0
	case t.Kind == types.Int && t.Signed:
		return Number(key) ^ signBit
	case t.Scalar():
		return Number(key)
	}
	return binary.BigEndian.Uint64(key)
}

// CompareKeys orders two values of a type: numbers by value, strings by bytes, tuples element by element.
func CompareKeys(t *types.Type, a, b []byte) int {
	if t == nil {
		return 0
	}
	switch t.Kind {
	case types.Int:
		if t.Signed {
			return cmp.Compare(int64(Number(a)), int64(Number(b)))
		}
		return cmp.Compare(Number(a), Number(b))
	case types.Bool, types.Pointer:
		return cmp.Compare(Number(a), Number(b))
	case types.Tuple:
		for _, e := range t.Elems {
			n := e.Memory()
			if c := CompareKeys(e, a[:n], b[:n]); c != 0 {
				return c
			}
			a, b = a[n:], b[n:]
		}
		return 0
	}
	return bytes.Compare(a, b)
}
