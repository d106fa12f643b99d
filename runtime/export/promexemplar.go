package export

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Exemplar is one event as an example of those of a series. What is zero or empty is not known.
type Exemplar struct {
	Value uint64    // in observed units: nanoseconds, bytes; of a ratio nothing
	Time  time.Time // wall clock; without it no native histogram takes the exemplar
	Pid   int
	Tid   int
	Goid  uint64
	Trace string // the id of a trace, as text
}

// SeriesID tells whose exemplars they are: the label set as agg.Series has it.
type SeriesID struct {
	Labels string // its bytes
	Other  bool
}

// maxExemplarRunes is what OpenMetrics allows the names and values of an exemplar's labels together.
const maxExemplarRunes = 128

// maxNativeExemplars is how many a native histogram keeps; Prometheus keeps about as many per bucket layout.
const maxNativeExemplars = 10

// message makes the exposition's form of an exemplar with a value in base units.
func (e *Exemplar) message(value float64) *dto.Exemplar {
	out := &dto.Exemplar{Value: &value}
	if !e.Time.IsZero() {
		out.Timestamp = timestamppb.New(e.Time)
	}
	runes := 0
	add := func(name, text string) {
		if n := len(name) + utf8.RuneCountInString(text); text != "" && runes+n <= maxExemplarRunes { // half an id is of no use
			runes += n
			out.Label = append(out.Label, &dto.LabelPair{Name: &name, Value: &text})
		}
	}
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	add("goid", number(e.Goid))
	add("pid", number(uint64(max(e.Pid, 0))))
	add("tid", number(uint64(max(e.Tid, 0))))
	add("trace_id", valid(e.Trace))
	return out
}

// attach puts exemplars on a histogram: the latest of every classic bucket on that bucket, and those with a time on the
// native histogram, oldest first.
func attach(h *dto.Histogram, exemplars []Exemplar, unit float64) {
	if len(exemplars) == 0 {
		return
	}
	byTime := slices.Clone(exemplars)
	slices.SortStableFunc(byTime, func(a, b Exemplar) int { return a.Time.Compare(b.Time) })
	for i := range byTime {
		m := byTime[i].message(float64(byTime[i].Value) / unit)
		at, _ := slices.BinarySearchFunc(h.Bucket, *m.Value, func(b *dto.Bucket, v float64) int {
			if b.GetUpperBound() < v {
				return -1
			}
			return 1
		})
		if at == len(h.Bucket) { // beyond the last bound: the bucket that is otherwise left out
			h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: h.SampleCount, UpperBound: new(math.Inf(1))})
		}
		h.Bucket[at].Exemplar = m
		if m.Timestamp != nil && h.Schema != nil {
			h.Exemplars = append(h.Exemplars, m)
		}
	}
	if n := len(h.Exemplars); n > maxNativeExemplars {
		h.Exemplars = h.Exemplars[n-maxNativeExemplars:]
	}
}
