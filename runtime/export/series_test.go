package export

import (
	"bytes"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// epochOf is the word of an interval: one more than its number.
func epochOf(at time.Time, interval time.Duration) uint64 {
	return uint64(at.Add(37*time.Second).UnixNano())/uint64(interval) + 1
}

func TestSeries(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 30, 0, 0, time.Local)
	snapshot := func(key *types.Type, interval time.Duration, n int64, signed bool, rows ...agg.Row) *agg.Snapshot {
		a := &types.Agg{Kind: types.TSeriesAgg, Args: []int64{int64(interval), n, 0}, Signed: signed}
		s := &agg.Snapshot{Name: "@t", Key: key, Value: &types.Type{Kind: types.Aggregate, Agg: a}, Rows: rows}
		for _, r := range rows {
			for i := 0; i < len(r.Words); i += types.TSeriesWords {
				s.Newest = max(s.Newest, r.Words[i])
			}
		}
		return s
	}
	tenth, first := 100*time.Millisecond, epochOf(at, 100*time.Millisecond)
	minus := func(n int64) uint64 { return uint64(-n) }
	second := epochOf(at, time.Second)
	utc := at.UTC().Format("2006-01-02 15:04:05")
	for _, c := range []struct {
		name string
		snap *agg.Snapshot
		text string
		json string
	}{
		{"signed", snapshot(nil, tenth, 5, true, agg.Row{Words: []uint64{first, minus(2), 1, first + 1, 0, 1, first + 3, 2, 1}}), `@t:
             -2                                                  2
hh:mm:ss.ms  |___________________________________________________|
09:30:00.000 *                         .                         | -2
09:30:00.100 |                         *                         | 0
09:30:00.200 |                         .                         | -
09:30:00.300 |                         .                         * 2
             v___________________________________________________v
             -2                                                  2

`, `{"type": "tseries", "data": {"@t": [{"interval_start":"` + utc + `.000000000","value":-2},{"interval_start":"` + utc + `.100000000","value":0},{"interval_start":"` + utc + `.200000000","value":null},{"interval_start":"` + utc + `.300000000","value":2}]}}` + "\n"},
		{"zero at the right edge", snapshot(nil, time.Second, 2, true, agg.Row{Words: []uint64{second, minus(1000000000), 1, second + 1, 1, 1}}), `@t:
         -1000000000                                         1
hh:mm:ss |___________________________________________________|
09:30:00 *                                                   . -1000000000
09:30:01 |                                                   * 1
         v___________________________________________________v
         -1000000000                                         1

`, `{"type": "tseries", "data": {"@t": [{"interval_start":"` + utc + `.000000000","value":-1000000000},{"interval_start":"` + at.UTC().Add(time.Second).Format("2006-01-02 15:04:05") + `.000000000","value":1}]}}` + "\n"},
		{"keyed", snapshot(types.Int64, time.Second, 2, false,
			agg.Row{Key: ints(2), Words: []uint64{second, 18446744073709551615, 1, second + 1, 18446744073709551615, 1}},
			agg.Row{Key: ints(1), Words: []uint64{second + 1, 7, 1}}), `@t[1]:
         6                                                   8
hh:mm:ss |___________________________________________________|
09:30:01 |                         *                         | 7
         v___________________________________________________v
         6                                                   8

@t[2]:
         18446744073709551614             18446744073709551615
hh:mm:ss |___________________________________________________|
09:30:00 |                                                   * 18446744073709551615
09:30:01 |                                                   * 18446744073709551615
         v___________________________________________________v
         18446744073709551614             18446744073709551615

`, `{"type": "tseries", "data": {"@t": {"1": [{"interval_start":"` + at.UTC().Add(time.Second).Format("2006-01-02 15:04:05") + `.000000000","value":7}], "2": [{"interval_start":"` + utc + `.000000000","value":18446744073709551615},{"interval_start":"` + at.UTC().Add(time.Second).Format("2006-01-02 15:04:05") + `.000000000","value":18446744073709551615}]}}}` + "\n"},
	} {
		var text, json bytes.Buffer
		values := Values{Names: fakeNames{}}
		NewText(TextOptions{Out: &text, Values: values}).Map(c.snap, 0, 0)
		NewJSON(&json, values).Map(c.snap, 0, 0)
		if text.String() != c.text {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, text.String(), c.text)
		}
		if json.String() != c.json {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, json.String(), c.json)
		}
	}
}
