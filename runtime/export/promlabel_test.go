package export

import (
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
)

func TestParseLabel(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"cluster=north", ""}, {"_x=a=b", ""}, {"job=ü", ""},
		{"cluster", "want NAME=VALUE"}, {"=x", "invalid label name ''"}, {"a-b=x", "invalid label name 'a-b'"}, {"9a=x", "invalid label name '9a'"},
		{"__name__=x", "'__name__' is reserved"}, {"le=1", "'le' is reserved"}, {"quantile=1", "reserved"}, {"sli=1", "reserved"},
		{"slo=1", "reserved"}, {"window=1", "reserved"}, {"a=", "has no value"}, {"a=\xff", "not valid UTF-8"},
	} {
		l, err := ParseLabel(c.text)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, %v, want %q", c.text, l, err, c.want)
		}
		if err == nil && l.Name+"="+l.Value != c.text {
			t.Errorf("%q: got %v", c.text, l)
		}
	}
	slis := []*check.SLI{{Name: "n", Labels: []check.Label{{Name: "path"}, {Name: "le"}}}}
	for _, c := range []struct {
		labels []Label
		want   string
	}{
		{[]Label{{"a", "1"}, {"b", "1"}}, ""},
		{[]Label{{"a", "1"}, {"a", "2"}}, "the label 'a' is given twice"},
		{[]Label{{"path", "1"}}, "the label 'path' is one of sli n too"},
		{[]Label{{"le_label", "1"}}, "the label 'le_label' is one of sli n too"},
	} {
		if err := CheckLabels(c.labels, slis); (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%v: got %v, want %q", c.labels, err, c.want)
		}
	}
}

func TestHistogramsWithOneName(t *testing.T) {
	a, b := indicator(map[string][]uint64{"/a": {1}}), indicator(map[string][]uint64{"/a": {1, 2}})
	b.Layout.SLI.Name, b.Layout.Objectives = "checkout_seconds", nil
	_, body := get(t, scrape(a, b), "text/plain")
	for _, want := range []string{`slope_sli_checkout_seconds_count{path="/a"} 1`, `slope_sli_checkout_seconds_seconds_count{path="/a"} 2`} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no line %s in\n%s", want, body)
		}
	}
	if got := HistogramName(&check.SLI{Name: "bad_events"}); got != "slope_sli_bad_events_values" {
		t.Errorf("got %s, the name of a counter", got)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Unix(0, 0)
	e := NewExpiry(time.Minute, func() time.Time { return now })
	in := indicator(map[string][]uint64{"/a": {1}, "/b": {1}})
	in.Series = append(in.Series, agg.Series{Other: true, Words: make([]uint64, in.Layout.Words)})
	keep := func(want string) {
		t.Helper()
		got := ""
		for _, x := range e.Keep(in.Layout, in.Series) {
			if x.Other {
				got += "other "
			} else {
				got += LabelValues(in.Layout, x.Labels, Values{})[0] + " "
			}
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("after %s: got %s, want %s", now.Sub(time.Unix(0, 0)), got, want)
		}
	}
	keep("/a /b other")
	now = now.Add(59 * time.Second)
	keep("/a /b other")
	in.Series[1].Words[0]++
	keep("/a /b other")
	now = now.Add(time.Second)
	keep("/b")
	now = now.Add(time.Hour)
	keep("")
	in.Series[0].Words[2]++ // only an objective's word changed
	in.Series[2].Words[0]++
	keep("/a other")
	in.Series = in.Series[1:] // the script deleted it
	keep("other")
	in.Series = append(indicator(map[string][]uint64{"/a": {1}}).Series, in.Series...)
	keep("/a other")

	alone := ratio()
	for range 2 {
		if got := e.Keep(alone.Layout, alone.Series); len(got) != 1 {
			t.Error("a series without labels expired")
		}
		now = now.Add(time.Hour)
	}
}
