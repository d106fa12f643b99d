package export

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// GateTally remembers how the events of a run's objectives spread over its time: in batches of a second, and in minutes
// for objectives that count those. When there are too many batches, neighbours are joined.
//
// Add every indicator's series, then call Next: about once a second, and at the end.
type GateTally struct {
	values Values
	groups map[*check.SLO]map[string]*tallied
	took   time.Duration // the time of all batches
	closed int           // batches

	minutes int // that are complete
}

// The most batches that are kept: of an objective, and of one that is kept by labels for each of its groups.
const (
	maxBatches      = 3600
	maxGroupBatches = 360
)

// tallied is one group of an objective. The last batch is open.
type tallied struct {
	labels              []string
	seenBad, seenTotal  uint64
	bad, total          []uint64
	every               int // closed batches that one of these covers
	minuteBad, minuteOf uint64
	badMinutes, minutes uint64
}

// NewGateTally is the tally of a run that begins now.
func NewGateTally(v Values) *GateTally {
	return &GateTally{values: v, groups: map[*check.SLO]map[string]*tallied{}}
}

// Add takes the counts of an indicator as they are now.
func (t *GateTally) Add(l *lower.SLILayout, series []agg.Series) {
	for _, w := range l.Objectives {
		if w.SLO == nil {
			continue
		}
		all := t.groups[w.SLO]
		if all == nil {
			all = map[string]*tallied{}
			t.groups[w.SLO] = all
		}
		for _, g := range gateGroups(l, w, series, Unknown{}, t.values) {
			id := strings.Join(g.Labels, "\x00")
			if g.Total == 0 && len(w.SLO.By) > 0 {
				continue
			}
			one := all[id]
			if one == nil {
				one = &tallied{labels: g.Labels, every: 1}
				all[id] = one
			}
			one.reach(t.closed)
			// Counters that are read while they count can show less than before, by little.
			bad, total := max(g.Bad, one.seenBad)-one.seenBad, max(g.Total, one.seenTotal)-one.seenTotal
			one.seenBad, one.seenTotal = one.seenBad+bad, one.seenTotal+total
			last := len(one.total) - 1
			one.bad[last], one.total[last] = one.bad[last]+bad, one.total[last]+total
			one.minuteBad, one.minuteOf = one.minuteBad+bad, one.minuteOf+total
		}
	}
}

// reach opens the batch after so many closed ones.
func (g *tallied) reach(closed int) {
	for len(g.total) <= closed/g.every {
		g.bad, g.total = append(g.bad, 0), append(g.total, 0)
	}
}

// join makes one batch of every two.
func join(list []uint64) []uint64 {
	for i := range list {
		if i%2 == 0 {
			list[i/2] = list[i]
		} else {
			list[i/2] += list[i]
		}
	}
	return list[:(len(list)+1)/2]
}

// Next ends a batch, when so much of the run's time has passed.
func (t *GateTally) Next(now time.Duration) {
	t.took = now
	for t.minutes < int(now/time.Minute) {
		t.minutes++
		for o, all := range t.groups {
			for _, g := range all {
				g.minute(o.NoData)
			}
		}
	}
	t.closed++
	for o, all := range t.groups {
		most := maxBatches
		if len(o.By) > 0 {
			most = maxGroupBatches
		}
		for _, g := range all {
			if len(g.total) >= most {
				g.bad, g.total, g.every = join(g.bad), join(g.total), 2*g.every
			}
		}
	}
}

// minute judges a minute that is over: one bad sample makes it bad, and without samples it is what the objective says.
func (g *tallied) minute(empty check.NoData) {
	switch {
	case g.minuteOf > 0:
		g.minutes++
		if g.minuteBad > 0 {
			g.badMinutes++
		}
	case empty == check.GoodNoData:
		g.minutes++
	case empty == check.BadNoData:
		g.minutes, g.badMinutes = g.minutes+1, g.badMinutes+1
	}
	g.minuteBad, g.minuteOf = 0, 0
}

// group is what a group of an objective spread over; nil without a tally or without events.
func (t *GateTally) group(o *check.SLO, labels []string) *tallied {
	if t == nil {
		return nil
	}
	return t.groups[o][strings.Join(labels, "\x00")]
}

// whole is all groups of an objective together.
func (t *GateTally) whole(o *check.SLO) *tallied {
	if t == nil {
		return nil
	}
	var out *tallied
	for _, g := range t.groups[o] {
		if out == nil {
			out = &tallied{every: g.every}
		}
		out.badMinutes, out.minutes = out.badMinutes+g.badMinutes, out.minutes+g.minutes
		for out.every < g.every {
			out.bad, out.total, out.every = join(out.bad), join(out.total), 2*out.every
		}
		for i := range g.total {
			for at := i * g.every / out.every; len(out.total) <= at; {
				out.bad, out.total = append(out.bad, 0), append(out.total, 0)
			}
			out.bad[i*g.every/out.every] += g.bad[i]
			out.total[i*g.every/out.every] += g.total[i]
		}
	}
	return out
}

// spread is the design effect of a group's events.
func (g *tallied) spread() slo.Spread {
	if g == nil {
		return slo.Spread{}
	}
	return slo.NewSpread(g.bad, g.total)
}

// GateBatches is how the events of a group spread over the run. The last batch may be shorter.
type GateBatches struct {
	Seconds float64  `json:"seconds"` // that a batch takes, on average
	Events  []uint64 `json:"events"`
	Bad     []uint64 `json:"bad"`
}

// batches are those of a group, for the report.
func (t *GateTally) batches(g *tallied) *GateBatches {
	if g == nil || len(g.total) == 0 || t.closed == 0 {
		return nil
	}
	return &GateBatches{t.took.Seconds() / float64(t.closed) * float64(g.every), g.total, g.bad}
}
