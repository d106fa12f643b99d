package slo

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"time"
)

// Sums are counters: events that were bad, all events with a known outcome, events whose outcome is unknown. Those are not
// in Total, except that an objective over minutes counts a minute that may have been bad in Total, as good, and in Lost.
type Sums struct{ Bad, Total, Lost uint64 }

func (a Sums) minus(b Sums) Sums { return Sums{a.Bad - b.Bad, a.Total - b.Total, a.Lost - b.Lost} }
func (a Sums) plus(b Sums) Sums  { return Sums{a.Bad + b.Bad, a.Total + b.Total, a.Lost + b.Lost} }

// within tells that no counter is above that of b.
func (a Sums) within(b Sums) bool { return a.Bad <= b.Bad && a.Total <= b.Total && a.Lost <= b.Lost }

// resolution is a ring of a series: a point each slot, as far back as span.
type resolution struct{ slot, span int64 }

// resolutions are the rings, from the finest. Every slot divides the next.
var resolutions = [...]resolution{
	{int64(10 * time.Second), int64(6 * time.Hour)},
	{int64(time.Minute), int64(72 * time.Hour)},
	{int64(10 * time.Minute), int64(MaxWindow)},
}

// rings hold the history of one series.
type rings [len(resolutions)]ring

// put notes that the sums are v from t on: at every boundary of a slot from then on.
func (r *rings) put(t int64, v Sums) {
	for i, res := range resolutions {
		slot := ceilDiv(t, res.slot)
		r[i].put(slot, v, slot-res.span/res.slot-2)
	}
}

// reach is the finest ring that reaches back to start.
func reach(now, start int64) int {
	ring := 0
	for ring < len(resolutions)-1 && now-start > resolutions[ring].span {
		ring++
	}
	return ring
}

// at is the sums at a moment. Between two boundaries what happened is taken as spread evenly, rounded down.
func (r *rings) at(ring int, moment int64) Sums {
	size := resolutions[ring].slot
	slot := floorDiv(moment, size)
	v, then := r[ring].around(slot)
	if past := uint64(moment - slot*size); past > 0 && v != then {
		part := func(d uint64) uint64 {
			p := product(d, past)
			q, _ := bits.Div64(p.hi, p.lo, uint64(size)) // fits: past is less than size
			return q
		}
		d := then.minus(v)
		v = v.plus(Sums{part(d.Bad), part(d.Total), part(d.Lost)})
	}
	return v
}

// ring is one resolution of one series: the sums at the boundaries at which they changed. A boundary without a point has
// the sums of the point before it, so time in which nothing happened or nobody looked costs nothing.
//
// Points are offsets of 32 bits in chunks, 16 bytes a point; what does not fit starts another chunk. A chunk is dropped
// when the next one reaches to the horizon.
type ring struct {
	chunks  []chunk
	dropped bool // there was history before the first chunk
}

type chunk struct {
	slot   int64 // of the first point
	base   Sums
	points []point
}

// point is how much further than its chunk the slot and the sums are.
type point struct{ slot, bad, total, lost uint32 }

const chunkPoints = 128

func (c *chunk) sums(i int) Sums {
	p := c.points[i]
	return c.base.plus(Sums{uint64(p.bad), uint64(p.total), uint64(p.lost)})
}

func (c *chunk) at(i int) int64 { return c.slot + int64(c.points[i].slot) }

func (c *chunk) offset(slot int64, v Sums) (point, bool) {
	d := v.minus(c.base)
	fits := slot-c.slot <= math.MaxUint32 && max(d.Bad, d.Total, d.Lost) <= math.MaxUint32
	return point{uint32(slot - c.slot), uint32(d.Bad), uint32(d.Total), uint32(d.Lost)}, fits
}

// put sets the sums from slot on. Slots do not go back; the last one may be set again.
func (r *ring) put(slot int64, v Sums, horizon int64) {
	n := len(r.chunks)
	if n > 0 {
		c := &r.chunks[n-1]
		if last := c.at(len(c.points) - 1); slot <= last {
			slot = last
			c.points = c.points[:len(c.points)-1]
		}
		if p, fits := c.offset(slot, v); fits && len(c.points) < chunkPoints {
			c.points = append(c.points, p)
			return
		}
		if len(c.points) == 0 {
			r.chunks = r.chunks[:n-1]
		}
	}
	var points []point
	old := 0
	for old+1 < len(r.chunks) && r.chunks[old+1].slot <= horizon {
		points = r.chunks[old].points[:0]
		old++
	}
	if old > 0 {
		r.chunks, r.dropped = slices.Delete(r.chunks, 0, old), true
	}
	r.chunks = append(r.chunks, chunk{slot, v, append(points, point{})})
}

// around is the sums at a boundary, and at the next. At one before all that is known they are those of the first that is.
func (r *ring) around(slot int64) (v, next Sums) {
	i := sort.Search(len(r.chunks), func(i int) bool { return r.chunks[i].slot > slot })
	if i == 0 {
		switch {
		case r.dropped:
			v = r.chunks[0].sums(0)
			return v, v
		case len(r.chunks) > 0 && r.chunks[0].slot == slot+1:
			next = r.chunks[0].sums(0)
		}
		return v, next
	}
	c := &r.chunks[i-1]
	low, high := 0, len(c.points) // points[low] is not after slot, points[high] is
	for d := slot - c.slot; high-low > 1; {
		if mid := (low + high) / 2; int64(c.points[mid].slot) <= d {
			low = mid
		} else {
			high = mid
		}
	}
	v = c.sums(low)
	switch {
	case high < len(c.points):
	case i < len(r.chunks):
		c, high = &r.chunks[i], 0
	default:
		return v, v
	}
	if c.at(high) != slot+1 {
		return v, v
	}
	return v, c.sums(high)
}

// len is how many points there are.
func (r *ring) len() int {
	n := 0
	for i := range r.chunks {
		n += len(r.chunks[i].points)
	}
	return n
}
