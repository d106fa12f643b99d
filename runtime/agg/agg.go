// Package agg reads a script's maps and folds what every CPU holds of an entry into one value.
//
// Algorithm: a Reader hands over key and value bytes; the fold for the map's kind of aggregation (fold.go), chosen once
// per map and instantiated per type, adds up the words of the CPUs into an arena. Nothing is allocated per row.
//
// Invariants: rows hold copies, never the reader's memory; an unkeyed map that was never touched has no row; numbers are
// folded modulo 2^64, as the kernel adds them. Percentiles come from exact ranks: only the place inside a bucket is
// unknown, and it is told with every Quantile.
//
// This package knows neither the kernel nor any output format. Start at Read for maps, ReadSLI for indicators.
package agg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// Reader calls f for every entry of a map. The slices are valid during the call only. The value of a per-CPU map is
// that of every possible CPU, one after the other.
type Reader func(f func(key, value []byte) error) error

// Snapshot is a map at one time.
type Snapshot struct {
	Name  string      // with '@'
	Key   *types.Type // nil for an unkeyed map
	Value *types.Type
	Rows  []Row

	Newest uint64 // of time series: 1 + the last interval that a row has, 0 without one
}

// Row is an entry. Key is laid out as the map's key type says and nil in an unkeyed map.
type Row struct {
	Key   []byte
	Raw   []byte   // a value that is no aggregation, laid out as its type says
	Words []uint64 // an aggregation: count, sum, min, max: the number; avg, stats: sum, count; others as in the kernel
}

// Number reads an 8-byte scalar.
func Number(raw []byte) uint64 { return binary.LittleEndian.Uint64(raw) }

// Read takes a snapshot of one of the script's maps, in no particular order.
func Read(m *ir.Map, read Reader) (*Snapshot, error) {
	s := &Snapshot{Name: m.Name, Key: m.Key, Value: m.Value}
	if m.Value == nil || m.ValueSize <= 0 || m.ValueSize%8 != 0 {
		return nil, fmt.Errorf("read map %s: it holds no values of the script", m.Name)
	}
	var err error
	if m.Value.Kind != types.Aggregate {
		err = readPlain(s, m, read)
	} else {
		err = readAgg(s, m, read)
	}
	if err != nil {
		return nil, fmt.Errorf("read map %s: %w", m.Name, err)
	}
	return s, nil
}

// Row is the row of a key, or one of so many words that are nothing.
func (s *Snapshot) Row(key []byte, words int) Row {
	if at := slices.IndexFunc(s.Rows, func(r Row) bool { return bytes.Equal(r.Key, key) }); at >= 0 {
		return s.Rows[at]
	}
	return Row{Key: key, Words: make([]uint64, words)}
}

// readAgg picks the fold; the loop over the rows then knows its type.
func readAgg(s *Snapshot, m *ir.Map, read Reader) error {
	a := m.Value.Agg
	if m.ValueSize != 8*a.Words {
		return fmt.Errorf("value of %d bytes, want %d words", m.ValueSize, a.Words)
	}
	switch a.Kind {
	case types.CountAgg:
		return collect(s, m, read, adds{n: 1})
	case types.SumAgg:
		return collect(s, m, read, flaggedSum{})
	case types.MinAgg, types.MaxAgg:
		if greatest := a.Kind == types.MaxAgg; a.Signed {
			return collect(s, m, read, extreme[int64]{greatest})
		} else {
			return collect(s, m, read, extreme[uint64]{greatest})
		}
	case types.AvgAgg, types.StatsAgg:
		return collect(s, m, read, adds{n: 2})
	case types.HistAgg, types.LHistAgg, types.DistAgg:
		return collect(s, m, read, adds{n: a.Words})
	case types.TSeriesAgg:
		defer s.findNewest()
		return collect(s, m, read, series{words: a.Words, mode: types.TSeriesMode(a.Args[2]), signed: a.Signed})
	}
	return fmt.Errorf("aggregation of unknown kind %d", a.Kind)
}

// collect reads every row with one fold.
func collect[F fold](s *Snapshot, m *ir.Map, read Reader, f F) error {
	mem := arena{keySize: keySize(m)}
	stride, width := m.ValueSize, f.width()
	return read(func(key, value []byte) error {
		if len(value) == 0 || len(value)%stride != 0 || len(key) < mem.keySize {
			return fmt.Errorf("entry of %d and %d bytes, want %d and a multiple of %d", len(key), len(value), mem.keySize, stride)
		}
		dst := mem.words(width)
		touched := false
		for ; len(value) > 0; value = value[stride:] {
			if f.add(dst, value[:stride]) {
				touched = true
			}
		}
		if !touched && m.Key == nil {
			return nil
		}
		s.add(Row{Key: mem.key(key), Words: dst})
		return nil
	})
}

// add appends a row. Room doubles: rows are large and append grows long slices by a quarter only.
func (s *Snapshot) add(r Row) {
	if len(s.Rows) == cap(s.Rows) {
		s.Rows = slices.Grow(s.Rows, max(len(s.Rows), 16))
	}
	s.Rows = append(s.Rows, r)
}

// readPlain reads values that are no aggregations. Those of an array are followed by a word that is 1 once assigned.
func readPlain(s *Snapshot, m *ir.Map, read Reader) error {
	mem := arena{keySize: keySize(m)}
	size := m.Value.Memory()
	flagged := m.Kind == ir.Array && m.ValueSize >= size+8
	if m.ValueSize < size {
		return fmt.Errorf("value of %d bytes, want %d", m.ValueSize, size)
	}
	return read(func(key, value []byte) error {
		if len(value) == 0 || len(value)%m.ValueSize != 0 || len(key) < mem.keySize {
			return fmt.Errorf("entry of %d and %d bytes, want %d and %d", len(key), len(value), mem.keySize, m.ValueSize)
		}
		if flagged && Number(value[size:]) == 0 {
			return nil
		}
		raw := mem.bytes(value[:size])
		if m.Kind.PerCPU() {
			foldPlain(raw, m.Value, value[m.ValueSize:], m.ValueSize)
		}
		s.add(Row{Key: mem.key(key), Raw: raw})
		return nil
	})
}

// foldPlain makes one value of what the CPUs hold: numbers are added, of anything else the first that is not zero counts.
func foldPlain(raw []byte, t *types.Type, rest []byte, stride int) {
	if t.Kind == types.Int {
		sum := Number(raw)
		for ; len(rest) >= stride; rest = rest[stride:] {
			sum += Number(rest)
		}
		binary.LittleEndian.PutUint64(raw, sum)
		return
	}
	for ; len(rest) >= stride && allZero(raw); rest = rest[stride:] {
		copy(raw, rest)
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func keySize(m *ir.Map) int {
	if m.Key == nil {
		return 0
	}
	return m.Key.Memory()
}

// arena hands out the memory of many rows from few blocks, each twice as large as the one before.
type arena struct {
	keySize            int
	byteRest           []byte
	wordRest           []uint64
	byteSize, wordSize int // of the last block
}

// The sizes of blocks in bytes, of the first one and of any; a row may need more.
const (
	minBlock = 4 << 10
	maxBlock = 1 << 20
)

func (a *arena) key(b []byte) []byte {
	if a.keySize == 0 {
		return nil
	}
	return a.bytes(b[:a.keySize])
}

func (a *arena) bytes(b []byte) []byte {
	if len(a.byteRest) < len(b) {
		a.byteSize = min(max(2*a.byteSize, min(16*len(b), minBlock)), maxBlock)
		a.byteRest = make([]byte, max(a.byteSize, len(b)))
	}
	out := a.byteRest[:len(b):len(b)]
	a.byteRest = a.byteRest[len(b):]
	copy(out, b)
	return out
}

func (a *arena) words(n int) []uint64 {
	if len(a.wordRest) < n {
		a.wordSize = min(max(2*a.wordSize, min(16*n, minBlock/8)), maxBlock/8)
		a.wordRest = make([]uint64, max(a.wordSize, n))
	}
	out := a.wordRest[:n:n]
	a.wordRest = a.wordRest[n:]
	return out
}
