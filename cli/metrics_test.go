package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

const readsScript = `sli reads[size] { unit = seconds;
	tracepoint:syscalls:sys_enter_read /comm == "dd" && args.count == 1/ { start(tid); @started[tid] = 1; }
	tracepoint:syscalls:sys_exit_read /comm == "dd"/ { observe(stop(tid), args.ret); delete(@started, tid); }
}
sli right { tracepoint:syscalls:sys_exit_read /comm == "dd"/ { event(args.ret == 1); } }
slo fast = 99% of reads <= 1ms over 30d;
slo good = 99% of right over 30d;`

var metricsAddress = regexp.MustCompile(`/metrics on (https?://\S+)`)

// address waits for where a script serves its metrics.
func (p *process) address(t *testing.T) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; { // it is written before what attached waits for, but through another pipe
		if m := metricsAddress.FindStringSubmatch(p.err.String()); m != nil {
			return m[1] + "/metrics"
		}
		if time.Now().After(deadline) {
			t.Fatalf("no address in %q", p.err.String())
		}
		time.Sleep(time.Millisecond)
	}
}

// fetch gets the metrics in the form of an Accept header.
func fetch(t *testing.T, url, accept string) (body, contentType string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %s, %v\n%s", url, resp.Status, err, b)
	}
	return string(b), resp.Header.Get("Content-Type")
}

const (
	acceptText    = "text/plain;version=0.0.4"
	acceptOpen    = "application/openmetrics-text;version=1.0.0"
	acceptProtobf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// TestMetrics scrapes in every form while events flow, and compares the last scrape with the report.
func TestMetrics(t *testing.T) {
	path, comm := ownDD(t)
	p := trace(t, "--listen", "127.0.0.1:0", "-c", "sh -c '"+path+" if=/dev/zero of=/dev/null bs=1 count=100000; exec sleep 100'", "-e", strings.ReplaceAll(readsScript, `"dd"`, `"`+comm+`"`))
	url := p.address(t)
	count := regexp.MustCompile(`(?m)^slope_sli_reads_seconds_count\{size="1"\} (\S+)$`)
	for deadline := time.Now().Add(30 * time.Second); ; {
		text, kind := fetch(t, url, acceptText)
		if !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("text: got %s", kind)
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		open, kind := fetch(t, url, acceptOpen)
		if !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(open, "# EOF\n") {
			t.Errorf("OpenMetrics: got %s\n%s", kind, open)
		}
		nativeHistograms(t, url)
		if t.Failed() {
			t.Fatal(text)
		}
		if m := count.FindStringSubmatch(text); m != nil && (m[1] == "100000" || m[1] == "1e+05") {
			break
		}
		select {
		case <-p.done:
			t.Fatalf("ended early\n%s%s\n%s", p.out.String(), p.err.String(), text)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal(text)
		}
	}
	text, _ := fetch(t, url, acceptText)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	if r.status != 0 {
		t.Fatalf("status %d\n%s", r.status, r.err)
	}
	h := families["slope_sli_reads_seconds"].Metric[0].Histogram
	if h.GetSampleCount() != 100000 || !regexp.MustCompile(`sli reads .*100 000 events · 0 lost`).MatchString(r.out) {
		t.Errorf("got %d observations; the report says\n%s", h.GetSampleCount(), r.out)
	}
	if b := h.Bucket[len(h.Bucket)-1]; b.GetCumulativeCount() != 100000 {
		t.Errorf("the last bucket holds %d", b.GetCumulativeCount())
	}
	if t.Failed() {
		t.Log(text, r.out)
	}
}

// nativeHistograms checks that the buckets of every native histogram add up to its count.
func nativeHistograms(t *testing.T, url string) {
	t.Helper()
	body, kind := fetch(t, url, acceptProtobf)
	if !strings.HasPrefix(kind, "application/vnd.google.protobuf") {
		t.Errorf("protobuf: got %s", kind)
	}
	d := expfmt.NewDecoder(strings.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	native := 0
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, m := range f.Metric {
			h := m.Histogram
			if h == nil || h.Schema == nil {
				continue
			}
			native++
			n, at := h.GetZeroCount(), int64(0)
			for _, delta := range h.PositiveDelta {
				at += delta
				n += uint64(at)
			}
			at = 0
			for _, delta := range h.NegativeDelta {
				at += delta
				n += uint64(at)
			}
			if n != h.GetSampleCount() {
				t.Errorf("%s: the buckets hold %d, the count is %d", f.GetName(), n, h.GetSampleCount())
			}
		}
	}
	if native == 0 && strings.Contains(body, "reads_seconds") {
		t.Error("no native histogram")
	}
}

// TestScrapeAtTheEnd scrapes from several clients while scripts end.
func TestScrapeAtTheEnd(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	for range 3 {
		var out, errs syncBuffer
		done := make(chan int, 1)
		go func() {
			done <- Main([]string{"--listen", "127.0.0.1:0", "-e", `sli n { unit = seconds; interval:ms:1 { observe(nsecs % 1000000); } } interval:ms:60 { exit(); }`},
				Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		}()
		bpftest.Eventually(t, 10*time.Second, "attached", func() bool { return metricsAddress.MatchString(errs.String()) })
		url := metricsAddress.FindStringSubmatch(errs.String())[1] + "/metrics"
		var clients sync.WaitGroup
		transport := &http.Transport{}
		for range 4 {
			clients.Go(func() {
				client := &http.Client{Transport: transport}
				for {
					resp, err := client.Get(url)
					if err != nil {
						return // it has ended
					}
					b, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err == nil && (resp.StatusCode != 200 || !strings.Contains(string(b), "slope_")) {
						t.Errorf("%s\n%s", resp.Status, b)
						return
					}
				}
			})
		}
		if status := <-done; status != 0 {
			t.Errorf("status %d\n%s", status, errs.String())
		}
		clients.Wait()
		transport.CloseIdleConnections()
	}
}

// TestListen checks the addresses of --listen.
func TestListen(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, addr := range []string{taken.Addr().String(), port} {
		r := binary(t, "", "--listen", addr, "-e", "begin { }")
		r.is(t, addr, 1, "", fmt.Sprintf("slope: the address %s for /metrics is in use\nHINT: choose another with --listen 127.0.0.1:PORT, or --listen off for none\n", taken.Addr()))
	}
	if r := binary(t, "", "--listen", "no:such:address", "-e", "begin { }"); r.status != 1 || r.out != "" || !strings.Contains(r.err, "slope: listen for /metrics: ") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
	for _, args := range [][]string{{"--listen", "off"}, {"--listen", "off", "-f", "json"}} {
		p := trace(t, append(args, "-e", "sli n { unit = seconds; interval:ms:1 { observe(1); } }")...)
		if strings.Contains(p.err.String(), "/metrics") || strings.Contains(read(t, fmt.Sprintf("/proc/%d/net/tcp", p.cmd.Process.Pid)), fmt.Sprintf(":%04X ", 9435)) {
			t.Errorf("it listens: %s", p.err.String())
		}
		p.signal(t, syscall.SIGTERM)
		p.wait(t)
	}
	// A script without indicators serves its health when asked to.
	p := trace(t, "--listen", "127.0.0.1:0", "-e", "let @m = hash(2); interval:ms:1 { @m[nsecs] = 1; }")
	bpftest.Eventually(t, 10*time.Second, "a loss is exported", func() bool {
		text, _ := fetch(t, p.address(t), acceptText)
		return regexp.MustCompile(`(?m)^slope_events_lost_total\{cause="map_full"\} [1-9]`).MatchString(text)
	})
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
}
