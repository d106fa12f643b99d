package slo

import "time"

// Instant is a moment on two clocks. Wall can be stepped by whoever sets the clock; Boot is the time since the boot, suspend
// included (CLOCK_BOOTTIME), and runs on.
type Instant struct {
	Wall time.Time
	Boot time.Duration
}

// timeline is the time of the rings, in ns. It agrees with the wall clock but is moved by the boot clock, so it never goes
// back and never jumps while the machine is up:
//
//   - Where the wall clock is ahead or behind by no more than half of alignment, the timeline follows at up to 1 % more
//     or less than the pace of the boot clock.
//   - A larger step changes the label only: shift takes the next multiple of alignment, which every slot divides, and what
//     is left is followed as above. History keeps its distance from now, and calendars use the new date at once.
//   - Across a reboot there is only the wall clock. Where it went back, no time has passed.
type timeline struct {
	started  bool
	now      int64
	shift    int64 // wall time is now + shift; a multiple of alignment
	boot     int64 // the boot clock at now
	rebooted bool  // boot is from an earlier boot
}

const (
	alignment = int64(10 * time.Minute)
	maxTime   = 1 << 62 // in the year 2116; leaves room for sums
)

// advance moves to an instant. It is refused where it comes out of order.
func (l *timeline) advance(at Instant) bool {
	wall, boot := nanoseconds(at.Wall), max(int64(at.Boot), 0)
	if !l.started {
		*l = timeline{started: true, now: wall, boot: boot}
		return true
	}
	elapsed := boot - l.boot
	if l.rebooted {
		elapsed = max(wall-l.wall(), 0)
	}
	if elapsed < 0 {
		return false
	}
	elapsed = min(elapsed, maxTime-l.now)
	ahead := wall - (l.wall() + elapsed)
	if ahead > alignment/2 || ahead < -alignment/2 {
		step := floorDiv(ahead+alignment/2, alignment) * alignment
		l.shift += step
		ahead -= step
	}
	l.now = min(l.now+elapsed+max(-elapsed/100, min(ahead, elapsed/100)), maxTime)
	l.boot, l.rebooted = boot, false
	return true
}

func (l *timeline) wall() int64 { return l.now + l.shift }

// label is the wall time of a moment of the timeline.
func (l *timeline) label(t int64) time.Time { return time.Unix(0, t+l.shift).UTC() }

func nanoseconds(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 0:
		return 0
	case s >= maxTime/int64(time.Second):
		return maxTime
	}
	return t.UnixNano()
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func ceilDiv(a, b int64) int64 { return -floorDiv(-a, b) }
