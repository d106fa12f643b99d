package slo

import (
	"testing"
	"time"
)

// noon is a Wednesday, and a boundary of all slots.
var noon = time.Date(2025, 1, 15, 12, 0, 0, 0, time.UTC)

// at is an instant so long after noon, on a machine that was booted an hour before.
func at(d time.Duration) Instant { return Instant{Wall: noon.Add(d), Boot: time.Hour + d} }

func tracker(t testing.TB, o ...Objective) *Tracker {
	t.Helper()
	for i := range o {
		if o[i].Name == "" {
			o[i].Name = string(rune('a' + i))
		}
		if o[i].Window == (Window{}) && len(o[i].Parts) == 0 {
			o[i].Window.Rolling = MaxWindow
		}
	}
	tr, err := NewTracker(o, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func one(bad, total uint64) []Reading { return []Reading{{Bad: bad, Total: total}} }

func TestPage(t *testing.T) {
	tr := tracker(t, Objective{PPB: 999_000_000, Page: DefaultPage(), Ticket: DefaultTicket()})
	var bad, total uint64
	var changes []Change
	for s := time.Duration(0); s <= 3*time.Hour; s += 10 * time.Second {
		if s > 0 {
			total += 100
		}
		if s > time.Hour && s <= time.Hour+10*time.Minute {
			bad += 20
		}
		changes = append(changes, tr.Observe(at(s), one(bad, total))...)
	}
	if len(changes) == 0 {
		t.Fatal("no changes")
	}
	for _, c := range changes {
		t.Logf("%s: %s -> %s (%d/%d, long %d, short %d) left %d", c.At.Format(time.TimeOnly), c.From, c.To, c.Cause.Num, c.Cause.Den, c.Long.Burn, c.Short.Burn, c.BudgetLeft)
	}
	for _, g := range tr.Status(0) {
		t.Logf("%+v", g)
	}
}
