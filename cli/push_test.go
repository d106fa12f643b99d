package cli

import (
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestPushes has a real run push to a real Prometheus and to an OTLP receiver, and compares with /metrics and with the
// report of the end.
func TestPushes(t *testing.T) {
	requirePrometheus(t, "prometheus")
	prom := startPrometheus(t, "global: {}\n")
	last := make(chan *metricspb.MetricsData, 1000)
	otlp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		b, err := io.ReadAll(z)
		m := &metricspb.MetricsData{}
		if err == nil {
			err = proto.Unmarshal(b, m)
		}
		if err != nil {
			t.Error(err)
		}
		last <- m
	}))
	defer otlp.Close()
	p, address := loaded(t, "--otlp", otlp.URL, "--remote-write", prom.url, "--push-interval", "250ms", "--label", "cluster=north")
	text, _ := fetch(t, address, acceptOpen)
	own := exposed(t, text, "slope_sl")
	if len(own) < 40 {
		t.Errorf("%d series in\n%s", len(own), text)
	}
	prom.eventually(t, `slope_sli_events_total{sli="reads"}`, is(100000))
	prom.eventually(t, `histogram_count(slope_sli_reads_seconds)`, is(100000))
	stored := prom.query(t, `{__name__=~"slope_sl.*"}`)
	for series, v := range own {
		if got, ok := stored[series]; !ok || got != v {
			t.Errorf("%s: prometheus has %v, slope %v", series, got, v)
		}
	}
	if failures := exposed(t, text, "slope_push_failures_total"); len(failures) != 2 || failures[`slope_push_failures_total{cluster="north",target="otlp"}`] != 0 {
		t.Errorf("failures: %v", failures)
	}
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	if r.status != 0 || strings.Contains(r.err, "WARNING") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	var m *metricspb.MetricsData
	for len(last) > 0 {
		m = <-last
	}
	d := finalSLI(t, r.out, "reads")
	found := 0
	for _, x := range m.ResourceMetrics[0].ScopeMetrics[0].Metrics {
		switch x.Name {
		case "slope_sli_reads_seconds":
			found++
			h := x.GetExponentialHistogram().DataPoints[0]
			rank, upper := uint64(math.Ceil(0.99*float64(h.Count))), 0.0
			n := h.ZeroCount
			for i, c := range h.Positive.BucketCounts {
				if n += c; n >= rank {
					upper = math.Exp2(float64(h.Positive.Offset+int32(i)+1) / math.Exp2(float64(h.Scale)))
					break
				}
			}
			if apart := math.Log2(upper/(d.Rows[0].P99/1e9)) * math.Exp2(float64(h.Scale)); h.Count != 100000 || math.Abs(apart) > 1 {
				t.Errorf("%d observations, p99 up to %v s, slope says %v ns", h.Count, upper, d.Rows[0].P99)
			}
		case "slope_sli_events_total":
			for _, s := range x.GetSum().DataPoints {
				if slices.ContainsFunc(s.Attributes, func(a *commonpb.KeyValue) bool { return a.Key == "sli" && a.Value.GetStringValue() == "reads" }) {
					found++
					if s.GetAsDouble() != d.Events {
						t.Errorf("%v events, slope says %v", s.GetAsDouble(), d.Events)
					}
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("found %d of 2 in %v", found, m)
	}
	quantile := prom.query(t, "histogram_quantile(0.99, slope_sli_reads_seconds)")
	for _, v := range quantile {
		if apart := math.Log2(v/(d.Rows[0].P99/1e9)) * 8; math.Abs(apart) > 1 {
			t.Errorf("p99: prometheus says %v s, slope %v ns", v, d.Rows[0].P99)
		}
	}
}

// refusing is an address where nobody listens, and that nobody else gets meanwhile.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
}

// TestPushFails tells a dead receiver once, counts, and ends in time.
func TestPushFails(t *testing.T) {
	p := trace(t, "--listen", "127.0.0.1:0", "--otlp", "http://me:secret@"+refusing(t), "--push-interval", "200ms", "-e", "interval:s:100 { }")
	address := p.address(t)
	bpftest.Eventually(t, 10*time.Second, "three failures", func() bool {
		text, _ := fetch(t, address, acceptText)
		return exposed(t, text, "slope_push_failures_total")[`slope_push_failures_total{target="otlp"}`] >= 3
	})
	began := time.Now()
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s to end", took)
	}
	if r.status != 0 || strings.Count(r.err, "WARNING: push to http://me:xxxxx@") != 1 || !strings.Contains(r.err, "connection refused") || strings.Contains(r.err, "secret") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
