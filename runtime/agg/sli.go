package agg

import (
	"fmt"
	"slices"

	"github.com/slopebpf/slope/compiler/lower"
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

// Dist views the distribution in the words of a series.
func (s Series) Dist(l *lower.SLILayout, scale *Scale) Dist {
	return Dist{Scale: scale, Count: s.Words[lower.WordCount], Sum: s.Words[lower.WordSum],
		Zeros: s.Words[l.Histogram], Buckets: s.Words[l.Histogram+1:]}
}
