package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// prometheus is a running Prometheus.
type prometheus struct {
	process *process
	url     string
}

// requirePrometheus skips without Debian's package.
func requirePrometheus(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		bpftest.Require(t, errors.New("prometheus is not installed"))
	}
	return path
}

// startPrometheus starts a real Prometheus on loopback with a configuration, and waits until it is ready. It keeps its
// data in a directory of the test and ends with it.
func startPrometheus(t *testing.T, config string) *prometheus {
	t.Helper()
	path := requirePrometheus(t, "prometheus")
	file := write(t, "prometheus.yml", config)
	for range 5 { // another process may take the port before it listens
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		p := &prometheus{url: "http://" + addr, process: start(t, exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+t.TempDir(),
			"--web.listen-address="+addr, "--enable-feature=native-histograms,exemplar-storage", "--web.enable-remote-write-receiver", "--log.level=warn"))}
		ended := false
		bpftest.Eventually(t, 20*time.Second, "prometheus is ready", func() bool {
			select {
			case <-p.process.done:
				ended = true
				return true
			default:
			}
			status, _ := p.get("/-/ready")
			return status == http.StatusOK
		})
		if !ended {
			return p
		}
		if log := p.process.err.String(); !strings.Contains(log, "address already in use") {
			t.Fatalf("prometheus ended\n%s", log)
		}
	}
	t.Fatal("no free port")
	return nil
}

// get asks Prometheus; the status is 0 when it does not answer.
func (p *prometheus) get(path string) (status int, body []byte) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(p.url + path)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// query evaluates an expression now: values by series, written as in an exposition, labels in order. Native histograms
// themselves have no value; ask for histogram_count and the like.
func (p *prometheus) query(t *testing.T, expr string) map[string]float64 {
	t.Helper()
	status, body := p.get("/api/v1/query?query=" + url.QueryEscape(expr))
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  []any
			}
		}
		Error string
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		t.Fatalf("query %s: status %d, %v\n%s%s", expr, status, err, body, p.process.err.String())
	}
	out := map[string]float64{}
	for _, r := range answer.Data.Result {
		if len(r.Value) != 2 {
			continue
		}
		v, err := strconv.ParseFloat(r.Value[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		out[seriesOf(r.Metric)] = v
	}
	return out
}

// eventually waits until an expression has one value, and that holds.
func (p *prometheus) eventually(t *testing.T, expr string, holds func(float64) bool) {
	t.Helper()
	p.within(t, 15*time.Second, expr, holds)
}

// within is eventually with a time of its own.
func (p *prometheus) within(t *testing.T, limit time.Duration, expr string, holds func(float64) bool) {
	t.Helper()
	var last map[string]float64
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		last = p.query(t, expr)
		if v := slices.Collect(maps.Values(last)); len(v) == 1 && holds(v[0]) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays %v\n%s", expr, last, p.process.err.String())
		}
	}
}

// seriesOf writes labels as an exposition does; those that a scrape or a sender adds are left out.
func seriesOf(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if k != "__name__" && k != "job" && k != "instance" {
			out = append(out, fmt.Sprintf("%s=%q", k, labels[k]))
		}
	}
	return labels["__name__"] + "{" + strings.Join(out, ",") + "}"
}

func is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// exposed reads the series of a text exposition whose names have a prefix, by seriesOf.
func exposed(t *testing.T, text, prefix string) map[string]float64 {
	t.Helper()
	label := regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*")`)
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		line, _, _ = strings.Cut(strings.TrimSpace(line), " # ")
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		name, rest, _ := strings.Cut(line[:at], "{")
		labels := map[string]string{"__name__": name}
		for _, m := range label.FindAllStringSubmatch(rest, -1) {
			value, err := strconv.Unquote(m[2])
			if err != nil {
				t.Fatal(err)
			}
			if value != "" { // which is no label
				labels[m[1]] = value
			}
		}
		out[seriesOf(labels)] = v
	}
	return out
}

// sliData is what -f json tells of an indicator at the end.
type sliData struct {
	Name   string
	Events float64
	Rows   []struct {
		Count float64
		P99   float64
	}
}

func finalSLI(t *testing.T, out, name string) sliData {
	t.Helper()
	for line := range strings.Lines(out) {
		var x struct {
			Type string
			Data json.RawMessage
		}
		var d sliData
		if json.Unmarshal([]byte(line), &x) == nil && x.Type == "sli" && json.Unmarshal(x.Data, &d) == nil && d.Name == name {
			return d
		}
	}
	t.Fatalf("no sli %s in\n%s", name, out)
	return sliData{}
}

// loaded starts readsScript with a load of 100 000 reads and waits until all of them were counted.
func loaded(t *testing.T, args ...string) (p *process, address string) {
	t.Helper()
	path, comm := ownDD(t)
	p = trace(t, append(args, "-f", "json", "--listen", "127.0.0.1:0", "-c", "sh -c '"+path+ddArgs+"; exec sleep 100'",
		"-e", strings.ReplaceAll(readsScript, `"dd"`, `"`+comm+`"`))...)
	address = p.address(t)
	bpftest.Eventually(t, 30*time.Second, "all reads were counted", func() bool {
		text, _ := fetch(t, address, acceptText)
		for _, n := range exposed(t, text, "slope_sli_reads_seconds_count") {
			return n == 100000
		}
		return false
	})
	return p, address
}

// TestPrometheusScrapes has a real Prometheus scrape a real run and compares what it stored with slope's own numbers.
func TestPrometheusScrapes(t *testing.T) {
	requirePrometheus(t, "prometheus")
	p, address := loaded(t)
	prom := startPrometheus(t, fmt.Sprintf(`
global: {scrape_interval: 250ms}
scrape_configs:
- job_name: slope
  static_configs: [{targets: ["%s"]}]
`, strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/metrics")))
	prom.eventually(t, "up", is(1))
	prom.eventually(t, "histogram_count(slope_sli_reads_seconds)", is(100000))
	text, _ := fetch(t, address, acceptText)
	own := exposed(t, text, "slope_sl")
	stored := prom.query(t, `{__name__=~"slope_sl.*"}`)
	compared := 0
	for series, v := range own {
		if strings.HasPrefix(series, "slope_sli_reads_seconds") { // Prometheus took the native histogram
			continue
		}
		if compared++; stored[series] != v {
			t.Errorf("%s: prometheus has %v, slope %v", series, stored[series], v)
		}
	}
	if compared < 10 {
		t.Errorf("compared %d series of\n%s", compared, text)
	}
	quantile := prom.query(t, "histogram_quantile(0.99, slope_sli_reads_seconds)")
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	d := finalSLI(t, r.out, "reads")
	if d.Events != 100000 || stored[`slope_sli_events_total{size="1",sli="reads"}`] != d.Events {
		t.Errorf("slope counted %v, prometheus has %v", d.Events, stored)
	}
	for _, v := range quantile {
		if bucket := math.Abs(math.Log2(v/(d.Rows[0].P99/1e9))) * 8; bucket > 1 {
			t.Errorf("p99: prometheus says %v s, slope %v ns: %.2f buckets apart", v, d.Rows[0].P99, bucket)
		}
	}
	if len(quantile) != 1 {
		t.Errorf("quantile %v", quantile)
	}
	prom.eventually(t, "up", is(0)) // slope has ended
}

// TestPromtool has Prometheus' own tool read the real output.
func TestPromtool(t *testing.T) {
	tool := requirePrometheus(t, "promtool")
	_, address := loaded(t, "--label", "cluster=north")
	text, _ := fetch(t, address, acceptText)
	if !strings.Contains(text, `slope_sli_events_total{cluster="north",size="1",sli="reads"} 100000`) {
		t.Errorf("no constant label in\n%s", text)
	}
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || out.Len() > 0 {
		t.Errorf("promtool: %v\n%s\n%s", err, out.String(), text)
	}
}
