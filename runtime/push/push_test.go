package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

// collector collects a distribution with exemplars, a ratio and an exported histogram of bounds only.
func collector() *export.Collector {
	s := &check.SLI{Name: "checkout", Kind: check.Distribution, Unit: check.Seconds, Schema: 3, Labels: []check.Label{{Name: "path", Type: types.StringOf(8)}}}
	o := &check.SLO{Name: "fast", SLI: s, PPB: 999_000_000, Op: "<=", Limit: 200_000_000, Window: 30 * 24 * 3600 * 1e9}
	l := &lower.SLILayout{SLI: s, Value: &ir.Map{Key: types.TupleOf(types.StringOf(8))}, Words: 3 + native.Words(3), Histogram: 3,
		Objectives: []lower.ObjectiveWords{{SLO: o, Bad: 2}}}
	in := export.Indicator{Layout: l, Scale: agg.NewScale(3, 1e9), Exemplars: map[export.SeriesID][]export.Exemplar{}}
	for path, values := range map[string][]uint64{"/a": {0, 1, 5_000_000, 6_000_000, 300_000_000, 90_000_000_000}, "/b": {7}, "/none": nil} {
		w := make([]uint64, l.Words)
		for _, v := range values {
			w[0]++
			w[1] += v
			if v > uint64(o.Limit) {
				w[2]++
			}
			if v == 0 {
				w[3]++
			} else {
				w[4+in.Scale.Index(v)]++
			}
		}
		key := append([]byte(path), make([]byte, 8-len(path))...)
		in.Series = append(in.Series, agg.Series{Labels: key, Words: w})
		if path == "/a" {
			in.Exemplars[export.SeriesID{Labels: string(key)}] = []export.Exemplar{
				{Value: 6_000_000, Time: time.Unix(1_700_000_000, 0), Pid: 12, Trace: "4bf92f3577b34da6a3ce929d0e0e4736"},
				{Value: 90_000_000_000, Pid: 3}}
		}
	}
	r := &check.SLI{Name: "works", Kind: check.Ratio}
	ratio := export.Indicator{Layout: &lower.SLILayout{SLI: r, Value: &ir.Map{}, Words: 2, Objectives: []lower.ObjectiveWords{{Bad: 1}}},
		Series: []agg.Series{{Words: []uint64{10, 3}}}}
	hist := make([]uint64, 66)
	hist[0], hist[1], hist[5] = 2, 1, 4
	plain := export.ExportedMap{Name: "sizes", Kind: export.ExportHistogram, Rows: &agg.Snapshot{Name: "@sizes",
		Value: &types.Type{Kind: types.Aggregate, Agg: &types.Agg{Kind: types.HistAgg, Args: []int64{0}}}, Rows: []agg.Row{{Words: hist}}}}
	scrape := &export.Scrape{Start: time.Unix(1_600_000_000, 0), Indicators: []export.Indicator{in, ratio}, Exported: []export.ExportedMap{plain},
		Lost: map[string]uint64{"ring_full": 0}, Version: "v1"}
	return export.NewCollector(func() (*export.Scrape, error) { return scrape, nil }, export.Label{Name: "cluster", Value: "north"})
}

// once gathers one time, so that a push and a scrape show the same, the duration of the scrape too.
func once(t *testing.T) ([]*dto.MetricFamily, func() ([]*dto.MetricFamily, error)) {
	t.Helper()
	families, err := collector().Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families, func() ([]*dto.MetricFamily, error) { return families, nil }
}

// scraped is what a scrape of families shows, in OpenMetrics: series and their values.
func scraped(t *testing.T, families []*dto.MetricFamily) map[string]string {
	t.Helper()
	var text strings.Builder
	enc := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeOpenMetrics))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]string{}
	for line := range strings.Lines(text.String()) {
		if line[0] == '#' {
			continue
		}
		line, _, _ = strings.Cut(strings.TrimSpace(line), " # ")
		at := strings.LastIndexByte(line, ' ')
		out[line[:at]] = line[at+1:]
	}
	if len(out) < 100 {
		t.Fatalf("only %d series in\n%s", len(out), text.String())
	}
	return out
}

// pushOnce starts and closes a pusher: it pushes at the start, at the end, or both.
func pushOnce(t *testing.T, opt Options) *Pusher {
	t.Helper()
	opt.Interval = time.Hour
	p, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	p.Close()
	return p
}

func TestNew(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"http://[::1", "invalid URL: "}, {"localhost:4318", "want http://HOST"}, {"ftp://a", "invalid URL 'ftp://a'"},
		{"http://user:secret@/x", "invalid URL 'http://user:xxxxx@/x'"}, {"http://user:secret@h:x", "invalid URL: "},
	} {
		for _, opt := range []Options{{OTLP: c.url}, {RemoteWrite: c.url}} {
			if _, err := New(opt); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v, want %s", c.url, err, c.want)
			}
		}
	}
	if p, err := New(Options{}); p != nil || err != nil {
		t.Errorf("without a target: got %v, %v", p, err)
	}
	for in, want := range map[string]string{"http://h": "/usual", "http://h/": "/usual", "http://h/x/y": "/x/y"} {
		if u, err := endpoint(in, "/usual"); err != nil || u.Path != want {
			t.Errorf("%s: got %v, %v", in, u, err)
		}
	}
}

// TestRetry is refused at first; what is refused for good is not sent again.
func TestRetry(t *testing.T) {
	families, _ := once(t)
	for _, c := range []struct {
		status, tries int
		fails         bool
	}{{http.StatusServiceUnavailable, 2, false}, {http.StatusBadRequest, 1, true}} {
		for _, kind := range []string{"otlp", "remote_write"} {
			var tries atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tries.Add(1) == 1 {
					http.Error(w, "not\nnow", c.status)
					return
				}
				w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "1")
			}))
			target := single(t, kind, srv)
			err := target.send(context.Background(), &snapshot{families[:1], time.Now()})
			if int(tries.Load()) != c.tries || (err != nil) != c.fails {
				t.Errorf("%s, %d: %d tries, %v", kind, c.status, tries.Load(), err)
			}
			if err != nil && !strings.Contains(plain(err).Error(), "400 Bad Request: not now") {
				t.Errorf("%s: got %v", kind, plain(err))
			}
			srv.Close()
		}
	}
}

// single is the target of a pusher that has only one.
func single(t *testing.T, kind string, srv *httptest.Server) *target {
	t.Helper()
	opt := Options{OTLP: srv.URL}
	if kind != "otlp" {
		opt = Options{RemoteWrite: srv.URL}
	}
	p, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return p.targets[0]
}

// TestFailures counts and tells failures, the first one only, and ends in time although a receiver hangs.
func TestFailures(t *testing.T) {
	_, gather := once(t)
	hang := make(chan struct{})
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(hang)
	dead := httptest.NewServer(nil)
	dead.Close()
	var mu sync.Mutex
	var told []string
	p, err := New(Options{Gather: gather, OTLP: strings.Replace(srv.URL, "http://", "http://me:secret@", 1), RemoteWrite: dead.URL, Interval: 50 * time.Millisecond,
		Failed: func(url string, err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s: %s", url, err))
		}})
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	bpftest.Eventually(t, 10*time.Second, "failures", func() bool {
		f := p.Failures()
		return f["otlp"] >= 2 && f["remote_write"] >= 2
	})
	began := time.Now()
	p.Close()
	if took := time.Since(began); took > lastPush+time.Second {
		t.Errorf("the end took %s", took)
	}
	if len(told) != 2 || strings.Contains(strings.Join(told, "\n"), "secret") || !strings.Contains(strings.Join(told, "\n"), "me:xxxxx@") ||
		!strings.Contains(strings.Join(told, "\n"), "connection refused") {
		t.Errorf("got %q", told)
	}
}

// TestGatherFails counts a push that had no numbers.
func TestGatherFails(t *testing.T) {
	p := pushOnce(t, Options{OTLP: "http://127.0.0.1:1", Gather: func() ([]*dto.MetricFamily, error) { return nil, errors.New("map gone") }})
	if f := p.Failures()["otlp"]; f < 1 {
		t.Errorf("got %d failures", f)
	}
}

// TestNewestWins has a receiver that is slower than the interval: what waits is replaced.
func TestNewestWins(t *testing.T) {
	families, _ := once(t)
	var gathered, sent atomic.Int64
	first := make(chan struct{})
	p := &Pusher{opt: Options{Interval: time.Millisecond, Gather: func() ([]*dto.MetricFamily, error) {
		gathered.Add(1)
		return families, nil
	}}, client: &http.Client{Transport: &http.Transport{}}}
	p.add("slow", nil, func(ctx context.Context, s *snapshot) error {
		if sent.Add(1) == 1 {
			<-first
		}
		return nil
	})
	p.Start()
	bpftest.Eventually(t, 10*time.Second, "gathered often", func() bool { return gathered.Load() > 20 })
	if n := sent.Load(); n != 1 {
		t.Errorf("%d pushes at a time", n)
	}
	close(first)
	bpftest.Eventually(t, 10*time.Second, "sent again", func() bool { return sent.Load() > 1 })
	p.Close()
	if sent.Load() >= gathered.Load() {
		t.Errorf("sent %d of %d", sent.Load(), gathered.Load())
	}
}
