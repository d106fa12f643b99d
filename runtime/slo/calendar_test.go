package slo

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	for _, c := range []struct{ period, zone, at, start, end string }{
		{"month", "UTC", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{"month", "UTC", "2024-12-31T23:59:59Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"},
		{"month", "Europe/Berlin", "2025-03-31T21:59:59Z", "2025-02-28T23:00:00Z", "2025-03-31T22:00:00Z"},
		{"month", "Europe/Berlin", "2025-03-31T22:00:00Z", "2025-03-31T22:00:00Z", "2025-04-30T22:00:00Z"},
		{"month", "America/New_York", "2025-11-02T05:30:00Z", "2025-11-01T04:00:00Z", "2025-12-01T05:00:00Z"},
		{"week", "UTC", "2025-01-05T23:59:59Z", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"},
		{"week", "Europe/Berlin", "2025-03-30T12:00:00Z", "2025-03-23T23:00:00Z", "2025-03-30T22:00:00Z"}, // 167 h
		{"week", "America/New_York", "2025-10-27T04:00:00Z", "2025-10-27T04:00:00Z", "2025-11-03T05:00:00Z"},
		{"quarter", "UTC", "2024-03-31T23:59:59Z", "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"},
		{"quarter", "Europe/Berlin", "2025-03-31T22:00:00Z", "2025-03-31T22:00:00Z", "2025-06-30T22:00:00Z"},
		{"quarter", "America/New_York", "2025-12-31T12:00:00Z", "2025-10-01T04:00:00Z", "2026-01-01T05:00:00Z"},
		{"month", "America/Santiago", "2024-09-08T03:59:00Z", "2024-09-01T04:00:00Z", "2024-10-01T03:00:00Z"}, // no midnight on the 8th
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		period := map[string]Period{"week": Week, "month": Month, "quarter": Quarter}[c.period]
		start, end := period.bounds(now.In(zone))
		if got := start.UTC().Format(time.RFC3339) + " " + end.UTC().Format(time.RFC3339); got != c.start+" "+c.end {
			t.Errorf("%s of %s in %s: got %s, want %s %s", period, c.at, c.zone, got, c.start, c.end)
		}
	}
}

// whole is GroupStatus.Over of the only group.
func whole(tr *Tracker, objective int) WindowStatus {
	o := tr.objectives[objective]
	v := tr.span(o, o.sorted[0], tr.edgeOfObjective(o))
	return v.status()
}

// TestCalendarWindows runs a year and compares each reading with the sum of the events since the start of the period, which
// is looked for hour by hour with the zone's own calendar, not with the tracker's rule.
func TestCalendarWindows(t *testing.T) {
	for _, zone := range []string{"", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		periods := []Period{Week, Month, Quarter}
		var objectives []Objective
		for _, p := range periods {
			objectives = append(objectives, Objective{Name: p.String(), PPB: 990_000_000, Window: Window{Period: p, Zone: zone}})
		}
		objectives = append(objectives, Objective{Name: "minutes", Minutes: true, PPB: 990_000_000, Window: Window{Period: Month, Zone: zone}})
		tr, err := NewTracker(objectives, Options{Gap: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(8, 9))
		begin := time.Date(2023, 12, 5, 7, 0, 0, 0, time.UTC)
		var bad, total, minutes uint64
		base := make([]Sums, len(periods))
		var minutesBase uint64
		starts := make([]time.Time, len(periods))
		for i := range starts {
			starts[i] = begin
		}
		for now := begin; now.Before(begin.AddDate(1, 3, 0)); now = now.Add(15 * time.Minute) {
			local := now.In(location)
			if local.Hour() == 0 && local.Minute() == 0 && now != begin {
				turned := [...]bool{local.Weekday() == time.Monday, local.Day() == 1, local.Day() == 1 && local.Month()%3 == 1}
				for j := range periods {
					if turned[j] {
						starts[j] = now
					}
				}
			}
			if now != begin {
				n := uint64(rng.IntN(1000)) + 1
				bad, total = bad+rng.Uint64N(n)/50, total+n
				minutes++ // of a quarter of an hour, the one whose end is nearest to the reading has events
			}
			var readings []Reading
			for j := range objectives {
				readings = append(readings, Reading{Objective: j, Bad: bad, Total: total})
			}
			tr.Observe(Instant{now, now.Sub(begin)}, readings)
			for j := range periods {
				if starts[j] == now {
					base[j] = Sums{Bad: bad, Total: total} // up to the boundary belongs to the period before
					if now == begin {
						base[j] = Sums{}
					}
				}
				got := whole(tr, j)
				if want := (Sums{Bad: bad, Total: total}).minus(base[j]); got.Sums != want {
					t.Fatalf("%s in %q at %s: got %+v, want %+v", periods[j], zone, local, got.Sums, want)
				}
				if want := uint32(1_000_000); starts[j] != begin && starts[j] != now && got.Coverage != want {
					t.Fatalf("%s in %q at %s: got a coverage of %d", periods[j], zone, local, got.Coverage)
				}
				if d := now.Sub(starts[j]); starts[j] != begin && got.Window != d {
					t.Fatalf("%s in %q at %s: got %s, want %s", periods[j], zone, local, got.Window, d)
				}
			}
			if starts[1] == now {
				minutesBase = minutes
			}
			if got := whole(tr, 3).Total; got+2 < minutes-minutesBase || got > minutes-minutesBase+1 {
				t.Fatalf("minutes in %q at %s: got %d, want %d", zone, local, got, minutes-minutesBase)
			}
		}
	}
}

// TestCalendarAfterGaps: what was read before the start of the period is not in it, what was read after is.
func TestCalendarAfterGaps(t *testing.T) {
	tr := tracker(t, Objective{PPB: 990_000_000, Window: Window{Period: Month}})
	tr.Observe(at(0), one(0, 10))
	tr.Observe(at(10*time.Second), one(0, 30))
	february := time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC).Sub(noon)
	tr.Observe(at(february+time.Hour), one(0, 100))
	got := tr.Status(0)[0].Over
	if got.Total != 70 || got.Window != time.Hour || got.Coverage != 0 {
		t.Errorf("got %+v", got)
	}
	tr.Observe(at(february+time.Hour+20*time.Second), one(0, 101))
	if got = tr.Status(0)[0].Over; got.Total != 71 || got.Coverage != 5524 {
		t.Errorf("got %+v", got)
	}
}

// TestCalendarAndSteps: a step back over the start of a month leaves it; a clock that was wrong by years is not believed in
// for longer than it is wrong.
func TestCalendarAndSteps(t *testing.T) {
	tr := tracker(t, Objective{PPB: 990_000_000, Window: Window{Period: Month}})
	instant := func(boot time.Duration, wall time.Time) Instant { return Instant{wall, boot} }
	month := time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)
	tr.Observe(instant(0, month.Add(-time.Hour)), nil)
	tr.Observe(instant(time.Hour-10*time.Second, month.Add(-10*time.Second)), one(0, 50))
	tr.Observe(instant(time.Hour, month), one(0, 60))
	tr.Observe(instant(time.Hour+10*time.Second, month.Add(10*time.Second)), one(0, 75))
	if got := tr.Status(0)[0].Over.Total; got != 15 {
		t.Errorf("at the start: got %d", got)
	}
	tr.Observe(instant(time.Hour+20*time.Second, month.Add(-2*time.Hour)), one(0, 80))
	if got := tr.Status(0)[0].Over.Total; got != 20 {
		t.Errorf("after a step back: got %d", got)
	}
	wrong := month.AddDate(40, 0, 0)
	tr.Observe(instant(time.Hour+30*time.Second, wrong), one(0, 90))
	tr.Observe(instant(time.Hour+40*time.Second, wrong.Add(10*time.Second)), one(0, 91))
	if got := tr.Status(0)[0].Over.Total; got != 11 {
		t.Errorf("in another year: got %d", got)
	}
	tr.Observe(instant(time.Hour+50*time.Second, month.Add(50*time.Second)), one(0, 100))
	// The rings have the true start to a slot of 10 s, and to the 5 min that are followed slowly.
	if got := tr.Status(0)[0].Over; got.Total < 40 || got.Total > 100 {
		t.Errorf("after the clock was set right: got %+v", got)
	}
	if got := tr.Over(0, "", 6*time.Hour).Total; got != 100 {
		t.Errorf("steps lost events: got %d", got)
	}
}
