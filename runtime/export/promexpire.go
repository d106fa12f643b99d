package export

import (
	"sync"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/runtime/agg"
)

// Expiry leaves out label sets of indicators that have been quiet for long: whose counters have not changed. They
// return, with all they ever counted, when an event comes. It sees changes when it is asked only, so that a label set
// goes at the first scrape that finds it quiet for that long. An indicator's one series without labels stays.
type Expiry struct {
	after time.Duration
	now   func() time.Time

	mu   sync.Mutex
	seen map[*lower.SLILayout]map[SeriesID]lastSeen
}

// lastSeen is what a label set had counted when it last changed, and when that was.
type lastSeen struct {
	sum uint64
	at  time.Time
}

// NewExpiry makes an expiry after a time by a clock.
func NewExpiry(after time.Duration, now func() time.Time) *Expiry {
	return &Expiry{after: after, now: now, seen: map[*lower.SLILayout]map[SeriesID]lastSeen{}}
}

// Keep is the series of an indicator that are not expired, in their order. It may be called from several goroutines.
func (e *Expiry) Keep(l *lower.SLILayout, series []agg.Series) []agg.Series {
	if len(l.SLI.Labels) == 0 {
		return series
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now, before := e.now(), e.seen[l]
	after := make(map[SeriesID]lastSeen, len(series)) // those that the map no longer has are forgotten
	kept := make([]agg.Series, 0, len(series))
	for _, x := range series {
		id, last := SeriesID{string(x.Labels), x.Other}, lastSeen{changed(l, x), now}
		if was, ok := before[id]; ok && was.sum == last.sum {
			last.at = was.at
		}
		after[id] = last
		if now.Sub(last.at) < e.after {
			kept = append(kept, x)
		}
	}
	e.seen[l] = after
	return kept
}

// Succeed goes on with what is known of indicators, by their names, under the layouts of the script's next generation.
func (e *Expiry) Succeed(before, now []*lower.SLILayout) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range before {
		for _, n := range now {
			if n.SLI.Name == b.SLI.Name && e.seen[b] != nil {
				e.seen[n] = e.seen[b]
			}
		}
		delete(e.seen, b)
	}
}

// changed is a number that differs when an event was counted: words only grow.
func changed(l *lower.SLILayout, x agg.Series) uint64 {
	n := x.Words[lower.WordCount]
	for _, o := range l.Objectives {
		n += x.Words[o.Bad]
	}
	return n
}
