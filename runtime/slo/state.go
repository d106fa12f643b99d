package slo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// The file of a tracker's state: a magic line, the version, the clocks, the missed time, the objectives with their
// series, and the CRC-32C of all that. Numbers are varints. Points of rings are differences to the point before; most
// take two or three bytes for Total and one for Bad.

const (
	stateMagic   = "slope slo state\n"
	stateVersion = 1
)

// Errors of a state that is not used.
var (
	ErrDamaged = errors.New("the state is damaged")
	ErrNewer   = errors.New("the state was written by a newer version")
)

// saved is a decoded state.
type saved struct {
	bootID     string
	clock      timeline
	missed     rings
	missedNS   int64
	objectives []savedObjective
}

type savedObjective struct {
	name, key  string
	kind       uint64
	period     Period
	zone       string
	start      int64 // of the period
	missed     int64 // until the start of the period
	started    bool
	since      int64
	before     int64
	conditions []condition
	series     []*series
}

// kind are the properties that make a history of another sort, as bits.
func (o *tracked) kind() uint64 {
	return flags(o.Minutes, o.Grouped, len(o.Parts) > 0)
}

type encoder struct{ b []byte }

func (e *encoder) u(v uint64)  { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) i(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) s(v string)  { e.u(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) sums(v Sums) { e.u(v.Bad); e.u(v.Total); e.u(v.Lost) }

func flags(v ...bool) uint64 {
	n := uint64(0)
	for i, b := range v {
		if b {
			n |= 1 << i
		}
	}
	return n
}

func (e *encoder) rings(r *rings) {
	for i := range r {
		e.u(uint64(r[i].len())<<1 | flags(r[i].dropped))
		slot, v := int64(0), Sums{}
		for j := range r[i].chunks {
			c := &r[i].chunks[j]
			for k := range c.points {
				e.point(c.at(k)-slot, c.sums(k).minus(v))
				slot, v = c.at(k), c.sums(k)
			}
		}
	}
}

// point writes how much further a point is than the one before. Its first number is Total with a bit for Bad, and a bit for
// more to come: another slot than the next, Lost, or a Total too large for the bits.
func (e *encoder) point(slots int64, d Sums) {
	large := d.Total >= 1<<61
	odd := slots != 1 || d.Lost != 0 || large
	first := flags(d.Bad != 0, odd)
	if !large {
		first |= d.Total << 2
	}
	e.u(first)
	if odd {
		e.u(uint64(slots)<<2 | flags(d.Lost != 0, large))
	}
	if large {
		e.u(d.Total)
	}
	if d.Lost != 0 {
		e.u(d.Lost)
	}
	if d.Bad != 0 {
		e.u(d.Bad)
	}
}

func (d *decoder) point() (slots uint64, v Sums) {
	slots = 1
	first := d.u()
	v.Total = first >> 2
	if first&2 != 0 {
		more := d.u()
		slots = more >> 2
		if more&2 != 0 {
			v.Total = d.u()
		}
		if more&1 != 0 {
			v.Lost = d.u()
		}
	}
	if first&1 != 0 {
		v.Bad = d.u()
	}
	return slots, v
}

// encode writes the state of a tracker.
func (t *Tracker) encode() []byte {
	e := &encoder{b: []byte(stateMagic)}
	e.u(stateVersion)
	e.s(t.options.BootID)
	e.u(uint64(t.clock.now))
	e.i(t.clock.shift)
	e.u(uint64(t.clock.boot))
	e.u(uint64(t.missedNS))
	e.rings(&t.missed)
	e.u(uint64(len(t.objectives)))
	for _, o := range t.objectives {
		e.s(o.Name)
		e.s(o.Key)
		e.u(o.kind())
		e.u(uint64(o.calendar.period))
		e.s(o.Window.Zone)
		e.i(o.calendar.start)
		e.u(uint64(o.calendar.missed))
		e.u(flags(o.started))
		e.u(uint64(o.since))
		e.u(uint64(o.before))
		e.u(uint64(len(o.conds)))
		for _, c := range o.conds {
			e.u(c.Num)
			e.u(c.Den)
			e.u(uint64(c.Long))
			e.u(uint64(c.Short))
			e.u(uint64(c.severity))
		}
		e.u(uint64(len(o.sorted)))
		for _, s := range o.sorted {
			e.series(s)
		}
	}
	return seal(e.b)
}

func (e *encoder) series(s *series) {
	e.s(s.group)
	for _, v := range [...]Sums{s.raw, s.event, s.sum, s.start, s.close} {
		e.sums(v)
	}
	e.u(uint64(s.seen))
	e.rings(&s.rings)
	e.u(uint64(s.alert.state))
	e.u(uint64(s.alert.since))
	e.u(uint64(s.alert.cause))
	for _, l := range s.alert.latches {
		e.u(flags(l.on))
		e.u(uint64(l.last))
	}
}

// seal appends the sum that tells a whole file.
func seal(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, checksum(b)) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// decoder reads varints. After the first error it reads zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	d.b = nil
}

func (d *decoder) u() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("it ends in a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) i() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("it ends in a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// upTo reads a number of at most limit.
func (d *decoder) upTo(limit uint64) uint64 {
	v := d.u()
	if v > limit {
		d.fail("a number is out of range")
		return 0
	}
	return v
}

func (d *decoder) ns(limit int64) int64 { return int64(d.upTo(uint64(max(limit, 0)))) }
func (d *decoder) flag() bool           { return d.upTo(1) == 1 }
func (d *decoder) sums() Sums           { return Sums{d.u(), d.u(), d.u()} }

// count reads how many items of at least size bytes follow.
func (d *decoder) count(size int) int {
	n := d.u()
	if n > uint64(len(d.b)/size) {
		d.fail("more items are told of than fit")
		return 0
	}
	return int(n)
}

func (d *decoder) s() string {
	n := d.count(1)
	v := string(d.b[:n])
	d.b = d.b[n:]
	return v
}

// rings reads points that grow up to a limit.
func (d *decoder) rings(now int64, limit Sums) (r rings) {
	for i, res := range resolutions {
		n := d.u()
		r[i].dropped = n&1 == 1
		last, slot, v := ceilDiv(now, res.slot), int64(0), Sums{}
		for k := uint64(0); k < n>>1 && d.err == nil; k++ {
			slots, moved := d.point()
			if slots > uint64(last-slot) || k > 0 && slots == 0 || !moved.within(limit.minus(v)) {
				d.fail("a point is out of order")
				break
			}
			slot, v = slot+int64(slots), v.plus(moved)
			r[i].put(slot, v, math.MinInt64)
		}
		if r[i].dropped && len(r[i].chunks) == 0 {
			d.fail("a ring has no points")
		}
	}
	return r
}

// decode reads a state and believes nothing of it that the tracker relies on.
func decode(b []byte) (*saved, error) {
	end := len(b) - crc32.Size
	if end < len(stateMagic) || string(b[:len(stateMagic)]) != stateMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	}
	if checksum(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("%w: its sum is wrong", ErrDamaged)
	}
	d := &decoder{b: b[len(stateMagic):end]}
	if version := d.u(); version > stateVersion {
		return nil, fmt.Errorf("%w: %d, want at most %d", ErrNewer, version, stateVersion)
	}
	f := &saved{bootID: d.s()}
	f.clock = timeline{started: true, now: d.ns(maxTime), shift: d.i(), boot: d.ns(math.MaxInt64)}
	if f.clock.shift%alignment != 0 || f.clock.shift > maxTime || f.clock.shift < -maxTime {
		d.fail("the clock is out of range")
	}
	now := f.clock.now
	f.missedNS = d.ns(now)
	f.missed = d.rings(now, Sums{Bad: uint64(f.missedNS / int64(time.Millisecond))})
	for range d.count(12) {
		f.objectives = append(f.objectives, d.objective(now, f.missedNS))
		if d.err != nil {
			break
		}
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail("more follows")
	}
	return f, d.err
}

func (d *decoder) objective(now, missed int64) savedObjective {
	o := savedObjective{name: d.s(), key: d.s(), kind: d.u(), period: Period(d.upTo(uint64(Quarter))), zone: d.s(), start: d.i()}
	if o.start > maxTime || o.start < -maxTime {
		d.fail("a period is out of range")
	}
	o.missed, o.started, o.since, o.before = d.ns(missed), d.flag(), d.ns(now), d.ns(missed)
	for range d.count(5) {
		b := Burn{Num: d.u(), Den: d.u(), Long: time.Duration(d.ns(math.MaxInt64)), Short: time.Duration(d.ns(math.MaxInt64))}
		o.conditions = append(o.conditions, condition{Burn: b, severity: State(d.upTo(uint64(StatePage)))})
	}
	for range d.count(23) {
		s := &series{group: d.s()}
		for _, v := range [...]*Sums{&s.raw, &s.event, &s.sum, &s.start, &s.close} {
			*v = d.sums()
		}
		s.next = s.event
		s.seen = d.ns(now)
		if !s.start.within(s.sum) || !s.close.within(s.event) || o.kind&flags(true) == 0 && s.sum != s.event {
			d.fail("counters go back")
		}
		s.rings = d.rings(now, s.sum)
		s.alert = alert{state: State(d.upTo(uint64(StatePage))), since: d.ns(now), cause: int(d.upTo(math.MaxInt32))}
		for range o.conditions {
			s.alert.latches = append(s.alert.latches, latch{d.flag(), d.ns(now)})
		}
		if d.err != nil {
			break
		}
		o.series = append(o.series, s)
	}
	return o
}

// compare says what becomes of objectives, each list in the order of the tracker's or the state's.
func (l *Loaded) compare(t *Tracker, f *saved) {
	now := map[string]bool{}
	for _, o := range t.objectives {
		now[o.Name] = true
		switch was := f.find(o.Name); {
		case was == nil:
			l.Fresh = append(l.Fresh, o.Name)
		case !o.continues(was):
			l.Archived = append(l.Archived, o.Name)
		default:
			l.Resumed = append(l.Resumed, o.Name)
		}
	}
	for _, o := range f.objectives {
		if !now[o.name] {
			l.Dropped = append(l.Dropped, o.name)
		}
	}
}

func (f *saved) find(name string) *savedObjective {
	for i := range f.objectives {
		if f.objectives[i].name == name {
			return &f.objectives[i]
		}
	}
	return nil
}

func (o *tracked) continues(was *savedObjective) bool {
	return was.key == o.Key && was.kind == o.kind()
}

// resume takes over a state, before the first reading.
func (t *Tracker) resume(f *saved, at Instant) {
	rebooted := f.bootID != t.options.BootID || f.bootID == "" || int64(at.Boot) < f.clock.boot
	t.clock, t.missed, t.missedNS = f.clock, f.missed, f.missedNS
	t.clock.rebooted, t.resumed, t.continued = rebooted, true, t.options.Pinned && !rebooted
	for _, o := range t.objectives {
		if was := f.find(o.Name); was != nil && o.continues(was) {
			o.resume(was, t.continued)
		}
	}
}

func (o *tracked) resume(was *savedObjective, continued bool) {
	o.started, o.since, o.before = was.started, was.since, was.before
	if c := &o.calendar; was.period == c.period && was.zone == o.Window.Zone && c.period != NoPeriod && was.started {
		// Where the period has changed since, or the time zone's rules have, the next reading finds out.
		start, end := c.period.bounds(time.Unix(0, was.start).In(c.zone))
		if start.UnixNano() == was.start {
			c.start, c.end, c.missed = was.start, end.UnixNano(), was.missed
		}
	}
	for _, s := range was.series {
		latches, cause := make([]latch, len(o.conds)), len(o.conds)
		for i, c := range o.conds {
			for j, w := range was.conditions {
				if w.Burn != c.Burn || w.severity != c.severity {
					continue
				}
				latches[i] = s.alert.latches[j]
				if s.alert.cause == j {
					cause = i
				}
			}
		}
		s.alert.latches, s.alert.cause = latches, cause
		if !continued {
			s.raw = Sums{}
		}
		*o.group(s.group) = *s
	}
}
