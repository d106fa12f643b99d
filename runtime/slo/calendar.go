package slo

import (
	"time"
	_ "time/tzdata" // containers seldom have it
)

// calendar is the running period of an objective. It never moves back by itself: after a step of the clock back over the
// start of the period, the period stays, unless the clock was wrong by more than holdPeriod.
type calendar struct {
	period     Period
	zone       *time.Location
	start, end int64 // ns of wall time
	missed     int64 // of the timeline, at start
}

// holdPeriod is more than a change of time zone or of summer time can be worth.
const holdPeriod = int64(26 * time.Hour)

// bounds are the start of the period that t falls in, and the start of the next.
func (p Period) bounds(t time.Time) (start, end time.Time) {
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, t.Location()) }
	y, m, d := t.Date()
	switch p {
	case Week:
		d -= (int(t.Weekday()) + 6) % 7
		return day(y, m, d), day(y, m, d+7)
	case Month:
		return day(y, m, 1), day(y, m+1, 1)
	}
	m -= (m - 1) % 3
	return day(y, m, 1), day(y, m+3, 1)
}

// set makes the period that of a moment of wall time.
func (c *calendar) set(wall int64) {
	start, end := c.period.bounds(time.Unix(0, wall).In(c.zone))
	c.start, c.end = start.UnixNano(), end.UnixNano()
}
