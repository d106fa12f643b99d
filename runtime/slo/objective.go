package slo

import (
	"errors"
	"fmt"
	"time"
)

// Objective is what the tracker is told of one promise. Name, Key, Window and, but for composites, PPB are needed.
type Objective struct {
	Name string
	// Key is a hash of what is counted: the SLI, the condition, the labels of "by". It is not of the target, the window,
	// the policy or the labels for people: history is kept when those change, and started anew when Key does.
	Key     string
	PPB     uint64 // good events of a billion
	Window  Window
	Grouped bool // "by labels": series appear as they are read. Otherwise there is one, "", from the start

	// Minutes makes the objective count good minutes of wall time instead of events. A minute is bad with any bad event, good
	// with events and none of them bad. One without events follows NoData. One that was observed for less than half of it
	// is only ever counted as bad. MinEvents and the guards then count minutes.
	Minutes bool

	NoData       NoDataPolicy
	MinEvents    uint64 // no alert on fewer events in the short window; 0: the guards of alert.go
	Page, Ticket []Burn // any of them is enough; none: no such alert

	// Parts makes the objective a composite: its burn rate is the weighted mean of theirs. It has no readings, no PPB,
	// no groups and no minutes of its own. Its window is that of its parts.
	Parts []Part
}

// Part is an objective, by its number, in a composite.
type Part struct {
	Objective int
	Weight    uint64
}

// Window is the time over which an objective is promised: a rolling length, or the running period of the calendar.
type Window struct {
	Rolling time.Duration
	Period  Period
	Zone    string // IANA name for the period; "" is UTC
}

// Period is a unit of the calendar.
type Period uint8

// The periods. Weeks start on Monday, as ISO 8601 says.
const (
	NoPeriod Period = iota
	Week
	Month
	Quarter
)

func (p Period) String() string { return [...]string{"rolling", "week", "month", "quarter"}[p] }

// Burn is one condition of an alert: the budget is spent faster than Num/Den times the even pace over Long and over Short.
type Burn struct {
	Num, Den    uint64 // 14.4 is 144/10; both at most MaxFactor
	Long, Short time.Duration
}

// MaxFactor bounds the numbers of a burn factor, so that its tests are products of 128 bits.
const MaxFactor = 1_000_000_000

// DefaultPage and DefaultTicket are the burns of the Site Reliability Workbook, chapter 5, for 30 days: 2 % of the budget
// in an hour, 5 % in six; 10 % in a day, 10 % in three.
func DefaultPage() []Burn {
	return []Burn{{144, 10, time.Hour, 5 * time.Minute}, {6, 1, 6 * time.Hour, 30 * time.Minute}}
}

// DefaultTicket is DefaultPage for tickets.
func DefaultTicket() []Burn {
	return []Burn{{3, 1, 24 * time.Hour, 2 * time.Hour}, {1, 1, 72 * time.Hour, 6 * time.Hour}}
}

// NoDataPolicy is what the absence of events means. It never makes an objective met: without events there is no verdict.
type NoDataPolicy uint8

// The policies, for a window without events (V) and for a minute without events of an objective that counts minutes (M).
const (
	NoDataIgnore NoDataPolicy = iota // V: keeps an alert until it has not fired for its short window. M: counts neither way
	NoDataGood                       // V: ends an alert at once. M: good
	NoDataBad                        // V: burns at the highest rate. M: bad
	NoDataAlert                      // as NoDataIgnore, and the state is StateNoData while the shortest short window is empty
)

// State is what an objective asks of people, from the least to the most urgent.
type State uint8

// The states.
const (
	StateOK State = iota
	StateNoData
	StateTicket
	StatePage
)

func (s State) String() string { return [...]string{"ok", "no data", "ticket", "page"}[s] }

// MaxWindow is the longest rolling window: as far as the coarsest ring reaches. MinWindow is the slot of the finest.
const (
	MaxWindow = 30 * 24 * time.Hour
	MinWindow = 10 * time.Second
)

// check finds what the tracker cannot keep. The checker of the language says it earlier and with a place.
func check(all []Objective) error {
	names := map[string]bool{}
	for i, o := range all {
		if err := o.check(all); err != nil {
			return fmt.Errorf("track objective %d %q: %w", i, o.Name, err)
		}
		if names[o.Name] {
			return fmt.Errorf("track objective %d %q: the name is taken", i, o.Name)
		}
		names[o.Name] = true
	}
	return nil
}

func (o Objective) check(all []Objective) error {
	switch w := o.Window; {
	case w.Period > Quarter || o.NoData > NoDataAlert:
		return errors.New("unknown period or policy")
	case w.Period != NoPeriod:
		if _, err := time.LoadLocation(w.Zone); err != nil {
			return fmt.Errorf("load time zone: %w", err)
		}
	case w.Rolling < MinWindow || w.Rolling > MaxWindow:
		return fmt.Errorf("got a window of %s, want %s to %s", w.Rolling, MinWindow, MaxWindow)
	}
	if o.PPB > Billion {
		return fmt.Errorf("got %d parts per billion", o.PPB)
	}
	for _, b := range o.burns() {
		if b.Num == 0 || b.Den == 0 || b.Num > MaxFactor || b.Den > MaxFactor {
			return fmt.Errorf("got a burn factor of %d/%d, want numbers from 1 to %d", b.Num, b.Den, MaxFactor)
		}
		if b.Short < MinWindow || b.Short > b.Long || b.Long > MaxWindow {
			return fmt.Errorf("got a burn over %s and %s, want %s <= short <= long <= %s", b.Long, b.Short, MinWindow, MaxWindow)
		}
	}
	var weights uint64
	for _, p := range o.Parts {
		switch {
		case p.Objective < 0 || p.Objective >= len(all) || len(all[p.Objective].Parts) > 0:
			return fmt.Errorf("part %d is no plain objective", p.Objective)
		case p.Weight > MaxFactor:
			return fmt.Errorf("got a weight of %d, want at most %d", p.Weight, MaxFactor)
		case all[p.Objective].Window != o.Window:
			return fmt.Errorf("part %q has another window", all[p.Objective].Name)
		}
		weights += p.Weight
	}
	if len(o.Parts) > 0 && (weights == 0 || o.Grouped || o.Minutes) {
		return errors.New("a composite needs weights and has no groups and no minutes of its own")
	}
	return nil
}

// burns are all conditions, those of the page first.
func (o *Objective) burns() []Burn {
	return append(append(make([]Burn, 0, len(o.Page)+len(o.Ticket)), o.Page...), o.Ticket...)
}
