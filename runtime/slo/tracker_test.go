package slo

import (
	"strings"
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

func TestObjectivesThatCannotBeTracked(t *testing.T) {
	month := Window{Rolling: MaxWindow}
	ok := Objective{Name: "a", PPB: 1, Window: month}
	for _, c := range []struct {
		all  []Objective
		want string
	}{
		{[]Objective{ok, ok}, `track objective 1 "a": the name is taken`},
		{[]Objective{{Name: "b", Window: Window{Rolling: time.Second}}}, "got a window of 1s, want 10s to 720h0m0s"},
		{[]Objective{{Name: "b", Window: Window{Rolling: 91 * 24 * time.Hour}}}, "got a window of 2184h0m0s"},
		{[]Objective{{Name: "b", Window: Window{Period: Month, Zone: "Europe/Nowhere"}}}, "load time zone: "},
		{[]Objective{{Name: "b", Window: Window{Period: 9}}}, "unknown period"},
		{[]Objective{{Name: "b", Window: month, PPB: 2 * Billion}}, "parts per billion"},
		{[]Objective{{Name: "b", Window: month, Page: []Burn{{0, 1, time.Hour, time.Minute}}}}, "got a burn factor of 0/1"},
		{[]Objective{{Name: "b", Window: month, Page: []Burn{{1, 1, time.Minute, time.Hour}}}}, "got a burn over 1m0s and 1h0m0s"},
		{[]Objective{{Name: "b", Window: month, Ticket: []Burn{{1, 1, time.Minute, time.Second}}}}, "got a burn over 1m0s and 1s"},
		{[]Objective{ok, {Name: "b", Parts: []Part{{0, 0}}}}, "a composite needs weights"},
		{[]Objective{ok, {Name: "b", Window: month, Parts: []Part{{1, 1}}}}, "part 1 is no plain objective"},
		{[]Objective{ok, {Name: "b", Window: month, Parts: []Part{{7, 1}}}}, "part 7 is no plain objective"},
		{[]Objective{ok, {Name: "b", Window: Window{Period: Week}, Parts: []Part{{0, 1}}}}, `part "a" has another window`},
	} {
		if _, err := NewTracker(c.all, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got error %v, want %q", err, c.want)
		}
	}
}

func TestMinutes(t *testing.T) {
	for policy, want := range map[NoDataPolicy]Sums{
		NoDataIgnore: {Bad: 2, Total: 6, Lost: 1},
		NoDataGood:   {Bad: 2, Total: 9, Lost: 1},
		NoDataBad:    {Bad: 5, Total: 9, Lost: 1},
		NoDataAlert:  {Bad: 2, Total: 6, Lost: 1},
	} {
		tr := tracker(t, Objective{PPB: 990_000_000, Minutes: true, NoData: policy})
		var v Sums
		for s := time.Duration(0); s <= 29*time.Minute; s += 10 * time.Second {
			switch m := s.Truncate(time.Minute); {
			case s == 10*time.Second:
				v.Total += 3 // minute 1: good
			case s > 0 && s == m && (m == 2*time.Minute || m == 3*time.Minute):
				v.Total++ // on the boundary: of the minute that ends there. Minutes 2 and 3: good
			case s == 3*time.Minute+50*time.Second:
				v.Bad, v.Total = v.Bad+1, v.Total+100 // minute 4: bad
			case s == 4*time.Minute+20*time.Second:
				v.Total, v.Lost = v.Total+1, v.Lost+1 // minute 5: good, or who knows
			case s == 5*time.Minute+10*time.Second:
				s += 20 * time.Minute // minutes 6 to 25 are not observed; in minute 26 an event is bad
				v.Bad, v.Total = v.Bad+1, v.Total+1
			} // minutes 27 to 29: empty
			tr.Observe(at(s), []Reading{{Bad: v.Bad, Total: v.Total, Lost: v.Lost}})
		}
		got := tr.Status(0)[0]
		if got.Over.Sums != want {
			t.Errorf("policy %d: got %+v, want %+v", policy, got.Over.Sums, want)
		}
		if got.Best != Breached || got.WorstPPB != (want.Total-want.Bad-1)*Billion/want.Total || got.Uncertainty == "" {
			t.Errorf("policy %d: got %+v", policy, got)
		}
		if five := tr.Over(0, "", 5*time.Minute); policy == NoDataBad && five.Sums != (Sums{4, 4, 0}) {
			t.Errorf("got %+v in the last five minutes", five)
		}
	}
}

func TestUncertainty(t *testing.T) {
	for _, c := range []struct {
		c    Counts
		ppb  uint64
		want string
	}{
		{Counts{Bad: 7, Total: 10_000}, 999_000_000, ""},
		{Counts{Missing: 7}, 999_000_000, ""},
		{Counts{Bad: 7, Total: 10_000, Missing: 1}, 999_000_000, "99.93 % ± 0.01"},
		{Counts{Bad: 7, Total: 10_000, Missing: 100}, 999_000_000, "99.93 % ± 0.99"},
		{Counts{Bad: 7, Total: 10_000, Doubtful: 100}, 999_000_000, "99.93 % ± 1.00"},
		{Counts{Total: 10_000, Missing: 1}, 999_900_000, "100.00 % ± 0.01"},
		{Counts{Total: 10_000, Missing: 1}, 999_950_000, "100.000 % ± 0.010"},
		{Counts{Total: 1, Missing: 1 << 40}, 999_000_000, "100.00 % ± 100.00"},
	} {
		if got := UncertaintyText(c.c, c.ppb); got != c.want {
			t.Errorf("UncertaintyText(%+v): got %q, want %q", c.c, got, c.want)
		}
	}
	tr := tracker(t, Objective{PPB: 999_000_000})
	tr.Observe(at(0), nil)
	tr.Observe(at(10*time.Second), []Reading{{Bad: 1, Total: 2000, Lost: 10}})
	g := tr.Status(0)[0]
	if g.Verdict != Met || g.Worst != Breached || g.Best != Met || g.WorstPPB != 994_527_363 || g.BestPPB != 999_502_488 || g.Uncertainty != "99.95 % ± 0.50" {
		t.Errorf("got %+v", g)
	}
}

// TestComposite works out a composite by hand: burn rates 2 of weight 3 and 5 of weight 1.
func TestComposite(t *testing.T) {
	burn := []Burn{{275, 100, time.Minute, 10 * time.Second}}
	tr := tracker(t,
		Objective{PPB: 990_000_000, Grouped: true},
		Objective{PPB: 999_000_000},
		Objective{PPB: 999_000_000},
		Objective{Parts: []Part{{0, 3}, {1, 1}, {2, 8}}, Page: burn, MinEvents: 1},
	)
	tr.Observe(at(0), nil)
	if g := tr.Status(3)[0]; g.Verdict != NoData || g.BudgetLeft != 1_000_000 || g.Over.Burn != 0 {
		t.Errorf("without data: got %+v", g)
	}
	readings := []Reading{
		{Objective: 0, Group: "x", Bad: 4, Total: 100}, {Objective: 0, Group: "y", Total: 100}, // 2
		{Objective: 1, Bad: 5, Total: 1000}, // 5
	}
	var changes []Change
	for s := time.Duration(10); s <= 20; s += 10 {
		changes = append(changes, tr.Observe(at(s*time.Second), readings)...)
	}
	g := tr.Status(3)[0]
	if g.Over.Burn != 2750 || g.BudgetLeft != -1_750_000 || g.Verdict != Breached || g.Over.Total != 1200 || g.Over.Coverage != 7 {
		t.Errorf("got %+v", g)
	}
	if len(changes) != 0 {
		t.Errorf("got a page at the factor: %+v", changes)
	}
	readings[0].Bad += 100
	readings[0].Total += 100
	changes = tr.Observe(at(30*time.Second), readings)
	if len(changes) != 1 || changes[0].Objective != 3 || changes[0].To != StatePage || !tr.Burning(3) || tr.Burning(0) {
		t.Errorf("got %+v", changes)
	}
	// A part that allows no bad event has no rate: the first one spends all.
	tr = tracker(t, Objective{PPB: Billion}, Objective{PPB: 990_000_000}, Objective{Parts: []Part{{0, 1}, {1, 1}}, Page: burn})
	tr.Observe(at(0), []Reading{{Total: 5}, {Objective: 1, Total: 5}})
	if g := tr.Status(2)[0]; g.Verdict != Met || g.BudgetLeft != 1_000_000 {
		t.Errorf("got %+v", g)
	}
	if c := tr.Observe(at(10*time.Second), []Reading{{Bad: 1, Total: 6}}); len(c) != 1 || c[0].To != StatePage || c[0].BudgetLeft >= 0 {
		t.Errorf("got %+v", c)
	}
}
