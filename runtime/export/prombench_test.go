package export

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// manyCounters is 100 000 series of four families.
func manyCounters() *Scrape {
	s := &check.SLI{Name: "answers", Kind: check.Ratio, Labels: []check.Label{{Name: "route", Type: types.StringOf(32)}, {Name: "code", Type: types.Uint64}}}
	o := &check.SLO{Name: "works", SLI: s, PPB: 999_000_000, Window: 30 * 24 * 3600 * 1e9}
	l := &lower.SLILayout{SLI: s, Value: &ir.Map{Key: types.TupleOf(types.StringOf(32), types.Uint64)}, Words: 2,
		Objectives: []lower.ObjectiveWords{{SLO: o, Bad: 1}}}
	in := Indicator{Layout: l}
	for i := range 25_000 {
		key := append(text(fmt.Sprintf("/shop/route/%05d", i/5), 32), text(string(rune(200+i%5)), 8)...)
		in.Series = append(in.Series, agg.Series{Labels: key, Words: []uint64{uint64(i) * 1000, uint64(i)}})
	}
	return scrape(in)
}

// manyHistograms is 3 000 distributions, which are 100 000 series in text: buckets, sum and count of each.
func manyHistograms() *Scrape {
	paths := map[string][]uint64{}
	for i := range 3_000 {
		v := values(100)
		paths[fmt.Sprintf("/route/%d", i)] = v
	}
	return scrape(indicator(paths))
}

func series(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		if line[0] != '#' {
			n++
		}
	}
	return n
}

const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

// BenchmarkScrape is a whole request without the reading of the kernel's maps.
func BenchmarkScrape(b *testing.B) {
	for _, kind := range []struct {
		name string
		s    *Scrape
	}{{"counters", manyCounters()}, {"histograms", manyHistograms()}} {
		for _, form := range []struct{ name, accept, encoding string }{
			{"text", "text/plain", ""}, {"openmetrics", "application/openmetrics-text;version=1.0.0", ""}, {"protobuf", protobuf, ""},
			{"text+gzip", "text/plain", "gzip"}, {"protobuf+gzip", protobuf, "gzip"},
		} {
			b.Run(kind.name+"/"+form.name, func(b *testing.B) {
				h := Handler(NewCollector(func() (*Scrape, error) { return kind.s, nil }, Label{"cluster", "north"}))
				req := httptest.NewRequest("GET", "/metrics", nil)
				req.Header.Set("Accept", form.accept)
				req.Header.Set("Accept-Encoding", form.encoding)
				n := 0
				b.ReportAllocs()
				for b.Loop() {
					rec := httptest.NewRecorder()
					h.ServeHTTP(rec, req)
					if rec.Code != http.StatusOK {
						b.Fatal(rec.Body.String())
					}
					if form.name == "text" {
						n = series(rec.Body.String())
					}
				}
				if n > 0 {
					b.ReportMetric(float64(n), "series")
				}
			})
		}
	}
}

// BenchmarkGather is the collector alone.
func BenchmarkGather(b *testing.B) {
	for name, s := range map[string]*Scrape{"counters": manyCounters(), "histograms": manyHistograms()} {
		b.Run(name, func(b *testing.B) {
			c := NewCollector(func() (*Scrape, error) { return s, nil })
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkExpiry is what --expire adds to a scrape.
func BenchmarkExpiry(b *testing.B) {
	in := manyCounters().Indicators[0]
	e := NewExpiry(time.Hour, time.Now)
	for b.Loop() {
		if len(e.Keep(in.Layout, in.Series)) != len(in.Series) {
			b.Fatal("expired")
		}
	}
}
