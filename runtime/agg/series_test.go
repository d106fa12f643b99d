package agg

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// TestSeries merges what two CPUs have of three intervals: the first of them twice, the second once, and of the third the
// newer one, since the older one has the same place. The third word is a time, or of an average how many values there are.
func TestSeries(t *testing.T) {
	const three = 3
	a, b := []uint64{11, 5, 100, 12, 7, 50, 10, 9, 40}, []uint64{11, 3, 200, 0, 0, 0, 13, 8, 60}
	averageA, averageB := []uint64{11, 50, 4, 12, 70, 2, 10, 9, 1}, []uint64{11, 30, 1, 0, 0, 0, 13, 81, 9}
	for mode, want := range map[types.TSeriesMode]string{
		types.TSeriesLast: "[{10 3 true} {11 7 true} {12 8 true}]",
		types.TSeriesMax:  "[{10 5 true} {11 7 true} {12 8 true}]",
		types.TSeriesMin:  "[{10 3 true} {11 7 true} {12 8 true}]",
		types.TSeriesSum:  "[{10 8 true} {11 7 true} {12 8 true}]",
		types.TSeriesAvg:  "[{10 16 true} {11 35 true} {12 9 true}]", // 80/5, 70/2, 81/9
	} {
		a, b := a, b
		if mode == types.TSeriesAvg {
			a, b = averageA, averageB
		}
		agg := &types.Agg{Kind: types.TSeriesAgg, Args: []int64{1e9, three, int64(mode)}, Words: three * types.TSeriesWords}
		m := &ir.Map{Name: "@x", KeySize: 4, ValueSize: 8 * agg.Words, Value: &types.Type{Kind: types.Aggregate, Agg: agg}}
		s, err := Read(m, func(f func(key, value []byte) error) error {
			var raw []byte
			for _, w := range append(a[:len(a):len(a)], b...) {
				raw = binary.LittleEndian.AppendUint64(raw, w)
			}
			return f(make([]byte, 4), raw)
		})
		if err != nil || len(s.Rows) != 1 || s.Newest != 13 {
			t.Fatalf("%d: got %v, %v", mode, s, err)
		}
		if got := fmt.Sprint(s.Series(s.Rows[0])); got != want {
			t.Errorf("%d: got %s, want %s", mode, got, want)
		}
	}
}

// TestSeriesGaps shows the intervals up to the last one of all rows, those without a value too.
func TestSeriesGaps(t *testing.T) {
	s := &Snapshot{Value: &types.Type{Kind: types.Aggregate, Agg: &types.Agg{Kind: types.TSeriesAgg, Args: []int64{1e9, 4, 0}}}, Newest: 21}
	for _, c := range []struct {
		words []uint64
		want  string
	}{
		{[]uint64{18, 5, 1, 20, 6, 1, 0, 0, 0, 0, 0, 0}, "[{17 5 true} {18 0 false} {19 6 true} {20 0 false}]"},
		{[]uint64{17, 5, 1, 21, 6, 1}, "[{20 6 true}]"},
		{[]uint64{3, 5, 1}, "[{20 0 false}]"},
	} {
		if got := fmt.Sprint(s.Series(Row{Words: c.words})); got != c.want {
			t.Errorf("%v: got %s, want %s", c.words, got, c.want)
		}
	}
	if got := (&Snapshot{Value: s.Value}).Series(Row{}); got != nil {
		t.Errorf("without any: got %v", got)
	}
}
