package export

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

func withExemplars() *Scrape {
	in := indicator(map[string][]uint64{"/a": {5_000_000, 6_000_000, 90_000_000_000}})
	of := SeriesID{Labels: string(in.Series[0].Labels)}
	at := time.Unix(2000, 500_000_000)
	in.Exemplars = map[SeriesID][]Exemplar{of: {
		{Value: 6_000_000, Time: at.Add(time.Second), Pid: 12, Tid: 13, Goid: 14, Trace: "4bf92f3577b34da6a3ce929d0e0e4736"},
		{Value: 5_000_000, Time: at}, // older, in the same bucket
		{Value: 90_000_000_000, Pid: 7, Trace: strings.Repeat("x", 130)},
	}}
	r := ratio()
	r.Exemplars = map[SeriesID][]Exemplar{{}: {{Pid: 9, Time: at}}}
	return scrape(in, r)
}

func TestExemplarsInOpenMetrics(t *testing.T) {
	_, body := get(t, withExemplars(), "application/openmetrics-text;version=1.0.0")
	for _, want := range []string{
		`slope_sli_checkout_seconds_bucket{path="/a",le="0.0078125"} 2 # {goid="14",pid="12",tid="13",trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.006 2001.5`,
		`slope_sli_checkout_seconds_bucket{path="/a",le="+Inf"} 3 # {pid="7"} 90.0`,
		`slope_sli_bad_events_total{sli="works"} 3.0 # {pid="9"} 1.0 2000.5`,
	} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no line %s in\n%s", want, body)
		}
	}
	if strings.Count(string(body), " # {") != 3 {
		t.Errorf("want three exemplars in\n%s", body)
	}
	if _, plain := get(t, withExemplars(), "text/plain"); strings.Contains(string(plain), " # {") {
		t.Errorf("text has no exemplars, but\n%s", plain)
	}
}

func TestExemplarsInProtobuf(t *testing.T) {
	resp, body := get(t, withExemplars(), protobuf)
	dec := expfmt.NewDecoder(bytes.NewReader(body), expfmt.ResponseFormat(resp.Header))
	found := 0
	for {
		var f dto.MetricFamily
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch f.GetName() {
		case "slope_sli_checkout_seconds":
			found++
			e := f.Metric[0].Histogram.Exemplars
			if len(e) != 2 || e[0].GetValue() != 0.005 || e[1].GetValue() != 0.006 || e[1].GetTimestamp().GetSeconds() != 2001 {
				t.Errorf("native: got %v", e)
			}
			for _, x := range e {
				runes := 0
				for _, l := range x.Label {
					runes += len([]rune(l.GetName())) + len([]rune(l.GetValue()))
				}
				if runes > 128 {
					t.Errorf("%d runes in %v", runes, x)
				}
			}
		case "slope_sli_bad_events_total":
			found++
			if e := f.Metric[0].Counter.Exemplar; e.GetValue() != 1 || len(e.GetLabel()) != 1 {
				t.Errorf("counter: got %v", e)
			}
		}
	}
	if found != 2 {
		t.Errorf("found %d families", found)
	}
}
