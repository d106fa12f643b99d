package judge

import (
	"sort"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

// historySlots is how many boundaries are remembered: more than half an hour, the short window of the slowest page by
// default. What an incident that began earlier counted is told from the oldest.
const historySlots = 200

// history remembers, for incident reports, what indicators had counted at the last boundaries.
type history struct {
	keep bool
	of   map[*lower.SLILayout][]snapshot
}

// snapshot is an indicator at a boundary.
type snapshot struct {
	at     time.Time
	words  []uint64            // of all label sets together
	labels map[string][]uint64 // by label set: the words up to the time of the exemplar, or to the histogram
}

// otherLabels stands for the label sets beyond the limit.
const otherLabels = "\x00other"

func (h *history) note(l *lower.SLILayout, series []agg.Series, at time.Time) {
	if !h.keep {
		return
	}
	if h.of == nil {
		h.of = map[*lower.SLILayout][]snapshot{}
	}
	s := snapshot{at: at, words: make([]uint64, l.Words), labels: make(map[string][]uint64, len(series))}
	head := l.Histogram
	if l.Exemplar > 0 {
		head = l.Exemplar + lower.ExemplarTime + 1
	}
	for _, x := range series {
		for i, w := range x.Words {
			s.words[i] += w
		}
		id := string(x.Labels)
		if x.Other {
			id = otherLabels
		}
		s.labels[id] = append([]uint64(nil), x.Words[:head]...)
	}
	list := append(h.of[l], s)
	if len(list) > historySlots {
		list = append(list[:0], list[1:]...)
	}
	h.of[l] = list
}

// carry takes over the snapshots of an indicator's generation before, whose counters go on.
func (h *history) carry(l *lower.SLILayout, list []snapshot) {
	if h.of == nil {
		h.of = map[*lower.SLILayout][]snapshot{}
	}
	h.of[l] = list
}

// start is the beginning of the run, when nothing was counted.
func (h *history) start(l *lower.SLILayout) snapshot { return snapshot{words: make([]uint64, l.Words)} }

// before is the last snapshot that is not after a time, or the start.
func (h *history) before(l *lower.SLILayout, at time.Time) snapshot {
	list := h.of[l]
	i := sort.Search(len(list), func(i int) bool { return list[i].at.After(at) })
	if i == 0 {
		return h.start(l)
	}
	return list[i-1]
}

func (h *history) last(l *lower.SLILayout) snapshot {
	if list := h.of[l]; len(list) > 0 {
		return list[len(list)-1]
	}
	return h.start(l)
}

// difference is what was counted between two snapshots, as a series.
func difference(l *lower.SLILayout, from, to snapshot) agg.Series {
	out := agg.Series{Words: make([]uint64, l.Words)}
	for i := range out.Words {
		if to.words[i] >= from.words[i] {
			out.Words[i] = to.words[i] - from.words[i]
		}
	}
	return out
}

// layoutOf finds where an objective is counted.
func (j *Judge) layoutOf(o *check.SLO) (*lower.SLILayout, lower.ObjectiveWords, bool) {
	for _, l := range j.opt.Object.Layout.SLIs {
		for _, w := range l.Objectives {
			if w.SLO == o {
				return l, w, true
			}
		}
	}
	return nil, lower.ObjectiveWords{}, false
}
