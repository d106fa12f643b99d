package agg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
)

// Series is the words of one label set of an indicator, added up over the CPUs; lower.SLILayout says what they mean.
type Series struct {
	Labels []byte // laid out as the map's key type says; nil without labels and for Other
	Other  bool   // the label sets beyond the limit together
	Words  []uint64
}

// ReadSLI reads an indicator, ordered by labels, Other last. other is not called when the indicator has no labels. An
// indicator without labels always has one series; the series of the other label sets is there only with events.
func ReadSLI(l *lower.SLILayout, value, other Reader) ([]Series, error) {
	var out []Series
	mem := arena{keySize: keySize(l.Value)}
	add := func(beyond bool) func(key, value []byte) error {
		return func(key, value []byte) error {
			if len(value) == 0 || len(value)%(8*l.Words) != 0 || !beyond && len(key) < mem.keySize {
				return fmt.Errorf("entry of %d and %d bytes, want %d and a multiple of %d", len(key), len(value), mem.keySize, 8*l.Words)
			}
			s := Series{Other: beyond, Words: mem.words(l.Words)}
			if touched := Sum(s.Words, value); beyond && !touched {
				return nil
			}
			if l.SLI.Kind == check.Gauge {
				latest(s.Words, value, lower.WordValue, lower.WordTime, lower.WordTime)
			}
			if at := l.Exemplar; at > 0 {
				latest(s.Words, value, at, at+lower.ExemplarWords-1, at+lower.ExemplarTime)
			}
			if !beyond {
				s.Labels = mem.key(key)
			}
			out = append(out, s)
			return nil
		}
	}
	if err := value(add(false)); err != nil {
		return nil, fmt.Errorf("read sli %s: %w", l.SLI.Name, err)
	}
	slices.SortStableFunc(out, func(a, b Series) int { return CompareKeys(l.Value.Key, a.Labels, b.Labels) })
	if l.Other != nil {
		if err := other(add(true)); err != nil {
			return nil, fmt.Errorf("read sli %s: %w", l.SLI.Name, err)
		}
	}
	return out, nil
}

// latest replaces the words from first to last, which are no sums, by those of the CPU whose word of time is the greatest.
func latest(words []uint64, value []byte, first, last, time int) {
	var newest uint64
	clear(words[first : last+1])
	for size := 8 * len(words); len(value) > 0; value = value[size:] {
		t := Number(value[8*time:])
		if t <= newest {
			continue
		}
		newest = t
		for w := first; w <= last; w++ {
			words[w] = Number(value[8*w:])
		}
	}
}

// Exemplar is the last event that was bad for an objective.
type Exemplar struct {
	Time     uint64 // boot-clock ns
	Pid, Tid uint32
	Goid     uint64 // 0 outside of Go programs
	Value    uint64 // of a distribution, in observed units
	Trace    string // "" when the script gives none
}

// Exemplar is the series' last bad event, false without one.
func (s Series) Exemplar(l *lower.SLILayout) (Exemplar, bool) {
	if l.Exemplar == 0 || s.Words[l.Exemplar+lower.ExemplarTime] == 0 {
		return Exemplar{}, false
	}
	w := s.Words[l.Exemplar:]
	e := Exemplar{Time: w[lower.ExemplarTime], Pid: uint32(w[lower.ExemplarPidTgid] >> 32), Tid: uint32(w[lower.ExemplarPidTgid]),
		Goid: w[lower.ExemplarGoid], Value: w[lower.ExemplarValue]}
	var id []byte
	for _, part := range w[lower.ExemplarTrace:lower.ExemplarWords] {
		id = binary.LittleEndian.AppendUint64(id, part)
	}
	text, _, _ := bytes.Cut(id, []byte{0})
	e.Trace = string(text)
	return e, true
}

// Dist views the distribution in the words of a series.
func (s Series) Dist(l *lower.SLILayout, scale *Scale) Dist {
	return Dist{Scale: scale, Count: s.Words[lower.WordCount], Sum: s.Words[lower.WordSum],
		Zeros: s.Words[l.Histogram], Buckets: s.Words[l.Histogram+1:]}
}
