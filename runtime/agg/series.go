package agg

import (
	"encoding/binary"
	"slices"

	"github.com/slopebpf/slope/lang/types"
)

// series merges time series, interval by interval: of two CPUs the newer interval counts, and of the same one both.
type series struct {
	words  int
	mode   types.TSeriesMode
	signed bool
}

func (f series) width() int { return f.words }

func (f series) add(dst []uint64, cpu []byte) bool {
	touched := false
	for i := 0; i < len(dst); i += types.TSeriesWords {
		d := dst[i : i+types.TSeriesWords]
		var w [types.TSeriesWords]uint64
		for k := range w {
			w[k] = binary.LittleEndian.Uint64(cpu[8*(i+k):])
		}
		switch {
		case w[0] == 0:
			continue
		case w[0] > d[0]:
			copy(d, w[:])
		case w[0] == d[0]:
			f.merge(d, w)
		}
		touched = true
	}
	return touched
}

// merge adds what another CPU has of the same interval.
func (f series) merge(d []uint64, w [types.TSeriesWords]uint64) {
	less := d[1] < w[1]
	if f.signed {
		less = int64(d[1]) < int64(w[1])
	}
	switch f.mode {
	case types.TSeriesLast:
		if w[2] > d[2] {
			copy(d, w[:])
		}
	case types.TSeriesAvg, types.TSeriesSum:
		d[1] += w[1]
		d[2] += w[2]
	case types.TSeriesMax:
		if less {
			d[1] = w[1]
		}
	case types.TSeriesMin:
		if !less {
			d[1] = w[1]
		}
	}
}

func (s *Snapshot) findNewest() {
	for i := range s.Rows {
		for w := s.Rows[i].Words; len(w) > 0; w = w[types.TSeriesWords:] {
			s.Newest = max(s.Newest, w[0])
		}
	}
}

// Point is an interval of a time series: its number since the epoch of TAI. OK is false where nothing was recorded.
type Point struct {
	Interval uint64
	Value    uint64
	OK       bool
}

// Series lists the intervals of a row from the first that it has of those that the snapshot shows, which are the last
// ones of all rows.
func (s *Snapshot) Series(r Row) []Point {
	a := s.Value.Agg
	if s.Newest == 0 {
		return nil
	}
	n := uint64(a.Args[1])
	last := s.Newest - 1
	first := last - min(n-1, last)
	var out []Point
	for w := r.Words; len(w) > 0; w = w[types.TSeriesWords:] {
		if w[0] == 0 || w[0]-1 < first {
			continue
		}
		p := Point{Interval: w[0] - 1, Value: w[1], OK: true}
		if types.TSeriesMode(a.Args[2]) == types.TSeriesAvg {
			p.Value = Average(w[1], w[2], a.Signed)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return []Point{{Interval: last}}
	}
	slices.SortFunc(out, func(a, b Point) int { return int(int64(a.Interval - b.Interval)) })
	full := out[:1:1]
	for next := out[1:]; full[len(full)-1].Interval < last; {
		p := Point{Interval: full[len(full)-1].Interval + 1}
		if len(next) > 0 && next[0].Interval == p.Interval {
			p, next = next[0], next[1:]
		}
		full = append(full, p)
	}
	return full
}
