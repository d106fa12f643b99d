package export

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

func TestJSONMaps(t *testing.T) {
	for _, c := range mapCases() {
		var out bytes.Buffer
		NewJSON(&out, Values{}).Map(&c.s, c.top, c.div)
		if out.String() != c.json+"\n" {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, out.String(), c.json)
		}
		if !json.Valid(out.Bytes()) {
			t.Errorf("%s: not JSON", c.name)
		}
	}
}

func TestJSONMessages(t *testing.T) {
	var out bytes.Buffer
	o := NewJSON(&out, Values{})
	o.AttachedProbes(2)
	o.LostEvents(7)
	o.Printf([]byte("a\"b\\\n\t\r\x01"))
	o.Time([]byte("00:46:06\n"))
	o.Value(types.TupleOf(types.Int64, str8), cat(ints(1), text("s", 8)))
	o.Value(types.Int64, ints(1<<53+1))
	o.Value(types.BufferOf(4), cat(ints(2), []byte{'a', 0xff, 0, 0, 0, 0, 0, 0}))
	o.End()
	o.Losses([]Loss{{Cause: "map_full", Map: "@x", Place: "a.slo:1:2", Count: 3}})
	o.SLOs([]SLOReport{
		{Name: "fast", SLI: "checkout", Sentence: "99.9 % of checkout <= 200 ms / 30d", PPB: 999_000_000, Total: 1000, Bad: 1,
			Compliance: "99.9", BudgetLeft: 0, State: OK},
		{Name: "x", State: NoData}})
	o.SLIs([]SLIReport{{Name: "works", Kind: check.Ratio, Elapsed: time.Second, Events: 3, Labels: []string{"path"},
		Rows: []SLIRow{{Labels: []string{"/a"}, Bad: 1, Summary: Summary{Count: 3}}, {Other: true}}}})
	want := `{"type": "attached_probes", "count": 2, "data": {"probes": 2}}
{"type": "lost_events", "count": 7, "data": {"events": 7}}
{"type": "printf", "data": "a\"b\\\n\t\r\u0001"}
{"type": "time", "data": "00:46:06\n"}
{"type": "value", "data": [1,"s"]}
{"type": "value", "data": "9007199254740993"}
{"type": "value", "data": [97,-1]}
{"type": "loss", "data": {"cause": "map_full", "map": "@x", "place": "a.slo:1:2", "count": 3}}
{"type": "slo", "data": {"name": "fast", "sli": "checkout", "objective": "99.9 % of checkout <= 200 ms / 30d", "labels": [], "objective_ppb": 999000000, "total": 1000, "bad": 1, "lost": 0, "compliance_percent": 99.9, "budget_left_ppm": 0, "burn_rate_1h_milli": 0, "burn_rate_6h_milli": 0, "coverage_ppm": 0, "state": "ok"}}
{"type": "slo", "data": {"name": "x", "sli": "", "objective": "", "labels": [], "objective_ppb": 0, "total": 0, "bad": 0, "lost": 0, "compliance_percent": null, "budget_left_ppm": null, "burn_rate_1h_milli": 0, "burn_rate_6h_milli": 0, "coverage_ppm": 0, "state": "no data"}}
{"type": "sli", "data": {"name": "works", "kind": "ratio", "unit": "none", "elapsed_ns": 1000000000, "events": 3, "lost": 0, "rows": [{"labels": {"path": "/a"}, "count": 3, "bad": 1},{"labels": {"path": "other"}, "count": 0, "bad": 0}]}}
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestJSONDist(t *testing.T) {
	words := make([]uint64, 3+65)
	words[0], words[1], words[2], words[4] = 3, 4, 1, 2
	s := &agg.Snapshot{Name: "@", Value: aggregate(types.DistAgg, 0), Rows: []agg.Row{{Words: words}}}
	var out bytes.Buffer
	NewJSON(&out, Values{}).Map(s, 0, 0)
	want := `{"type": "dist", "data": {"@": {"count": 3, "sum": 4, "mean": 1.3333333333333333, "p50": 2, "p90": 2, "p99": 2, "p99.9": 2, "max": 2, ` +
		`"buckets": [{"min": 0, "max": 0, "count": 1},{"min": 2, "max": 2, "count": 2}]}}}` + "\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
