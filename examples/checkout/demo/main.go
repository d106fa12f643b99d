// Demo runs the whole road once: it starts the checkout service and slope with checkout.slo on it, sends load for a
// while, and compares what slope measured from outside with what the load generator saw itself.
//
//	demo [-for 10s] [-rate 300] [-seed 1] SLOPE CHECKOUT SCRIPT
//
// Everything it starts listens on loopback and ends with it. It exits with 1 when the two sides disagree by more than
// one bucket of a Prometheus native histogram of schema 3 (9 %), or by a single request.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/slopebpf/slope/compiler/native"
)

const metricsAddr = "127.0.0.1:19435"

type options struct {
	length                 time.Duration
	rate                   int
	seed                   uint64
	slope, service, script string
}

func main() {
	var o options
	flag.DurationVar(&o.length, "for", 10*time.Second, "how long to send load")
	flag.IntVar(&o.rate, "rate", 300, "requests per second")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the load and the latencies")
	flag.Parse()
	if flag.NArg() != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo [flags] SLOPE CHECKOUT SCRIPT")
		os.Exit(2)
	}
	o.slope, o.service, o.script = flag.Arg(0), flag.Arg(1), flag.Arg(2)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	service := command(ctx, o.service, "-seed", fmt.Sprint(o.seed), "-for", (o.length + time.Minute).String())
	out, err := service.StdoutPipe()
	if err != nil {
		return err
	}
	if err := service.Start(); err != nil {
		return fmt.Errorf("start the service: %w", err)
	}
	defer end(service)
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the service's address: %w", err)
	}

	tracer := command(ctx, o.slope, "--listen", metricsAddr, o.script)
	tracer.Stderr = os.Stderr
	tracer.Env = append(os.Environ(), "__BPFTRACE_NOTIFY_PROBES_ATTACHED=1")
	screen, err := tracer.StdoutPipe()
	if err != nil {
		return err
	}
	if err := tracer.Start(); err != nil {
		return fmt.Errorf("start slope: %w", err)
	}
	defer end(tracer)
	lines := bufio.NewReader(screen)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "__BPFTRACE_NOTIFY_PROBES_ATTACHED") {
		return fmt.Errorf("slope did not attach: %v", err)
	}

	fmt.Printf("sending %d requests per second for %s to http://%s …\n\n", o.rate, o.length, strings.TrimSpace(addr))
	seen := load(ctx, "http://"+strings.TrimSpace(addr), o)
	families, text, err := scrape()
	if err != nil {
		return err
	}
	if err := tracer.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("stop slope: %w", err)
	}
	if _, err := io.Copy(os.Stdout, lines); err != nil {
		return err
	}
	if err := tracer.Wait(); err != nil {
		return fmt.Errorf("slope: %w", err)
	}
	fmt.Println("\n/metrics")
	fmt.Println(text)
	return compare(families, seen)
}

// command is a child process that is interrupted when ctx ends.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 5 * time.Second
	return c
}

// end stops a child process that may still run.
func end(c *exec.Cmd) {
	if c.ProcessState == nil {
		c.Process.Signal(os.Interrupt)
		c.Wait()
	}
}

// result is what the load generator saw on one route.
type result struct {
	values       []time.Duration
	failed, sent int
}

// load sends requests at a steady rate, each on its own, and times them.
func load(ctx context.Context, base string, o options) map[string]*result {
	ctx, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	r := rand.New(rand.NewPCG(o.seed, 2))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	results := map[string]*result{"/cart": {}, "/cart/pay": {}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(o.rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return results
		case <-tick.C:
		}
		route := "/cart"
		if r.IntN(4) == 0 {
			route = "/cart/pay"
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			began := time.Now()
			resp, err := client.Get(base + route)
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			res := results[route]
			res.sent++
			if err != nil {
				fmt.Fprintln(os.Stderr, "demo: request:", err)
				return
			}
			resp.Body.Close()
			res.values = append(res.values, took)
			if resp.StatusCode >= 500 {
				res.failed++
			}
		}()
	}
}

// scrape reads /metrics twice: with native histograms, and as text to show.
func scrape() (map[string]*dto.MetricFamily, string, error) {
	get := func(accept string) (*http.Response, error) {
		req, err := http.NewRequest(http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", accept)
		return http.DefaultClient.Do(req)
	}
	resp, err := get("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
	if err != nil {
		return nil, "", fmt.Errorf("scrape: %w", err)
	}
	defer resp.Body.Close()
	families := map[string]*dto.MetricFamily{}
	for dec := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header)); ; {
		var f dto.MetricFamily
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, "", fmt.Errorf("decode /metrics: %w", err)
		}
		families[f.GetName()] = &f
	}
	plain, err := get("text/plain")
	if err != nil {
		return nil, "", fmt.Errorf("scrape: %w", err)
	}
	defer plain.Body.Close()
	body, err := io.ReadAll(plain.Body)
	if err != nil {
		return nil, "", fmt.Errorf("read /metrics: %w", err)
	}
	var kept []string
	for _, line := range strings.Split(string(body), "\n") {
		if strings.HasPrefix(line, "slope_s") && !strings.Contains(line, "_bucket{") {
			kept = append(kept, "  "+line)
		}
	}
	return families, strings.Join(kept, "\n"), nil
}

// compare puts the two sides next to each other, in buckets of the histogram that both are put into.
func compare(families map[string]*dto.MetricFamily, seen map[string]*result) error {
	f := families["slope_sli_checkout_seconds"]
	if f == nil {
		return errors.New("slope exported no slope_sli_checkout_seconds")
	}
	table := native.New(3, 1e9)
	wrong := 0
	fmt.Println("slope (in the service, by uprobes) beside the load generator (over HTTP)")
	fmt.Println("                        slope   load generator   difference")
	for _, route := range []string{"/cart", "/cart/pay"} {
		var h *dto.Histogram
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "route" && l.GetValue() == route {
					h = m.Histogram
				}
			}
		}
		if h == nil {
			return fmt.Errorf("slope saw no request to %s", route)
		}
		own := buckets(table, seen[route].values)
		theirs := decode(h)
		count := uint64(len(seen[route].values))
		fmt.Printf("  %-10s count %8d %12d %12d requests\n", route, h.GetSampleCount(), count, int64(h.GetSampleCount())-int64(count))
		if h.GetSampleCount() != count {
			wrong++
		}
		for _, q := range []float64{0.5, 0.9, 0.99} {
			a, b := quantile(theirs, h.GetSampleCount(), q), quantile(own, count, q)
			fmt.Printf("  %-10s p%-4g %9s %12s %12d buckets\n", route, q*100, show(a), show(b), a-b)
			if a-b > 1 || b-a > 1 {
				wrong++
			}
		}
	}
	var failed, sent int
	for _, r := range seen {
		failed, sent = failed+r.failed, sent+r.sent
	}
	bad := 0.0
	if f := families["slope_slo_bad_events_total"]; f != nil {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "slo" && l.GetValue() == "works" {
					bad += m.GetCounter().GetValue()
				}
			}
		}
	}
	fmt.Printf("  errors           %8.0f %12d %12.0f requests of %d\n", bad, failed, bad-float64(failed), sent)
	if int(bad) != failed {
		wrong++
	}
	if wrong > 0 {
		return fmt.Errorf("%d figures differ by more than one bucket or request", wrong)
	}
	fmt.Println("every count is the same, every percentile within one bucket (9 %)")
	return nil
}

// buckets counts values by the index of their native bucket.
func buckets(t *native.Table, values []time.Duration) map[int]uint64 {
	out := map[int]uint64{}
	for _, v := range values {
		out[t.First+t.Index(uint64(v))]++
	}
	return out
}

// decode turns the spans and deltas of a native histogram into counts by index.
func decode(h *dto.Histogram) map[int]uint64 {
	out := map[int]uint64{}
	index, count, at := 0, int64(0), 0
	for _, s := range h.PositiveSpan {
		index += int(s.GetOffset())
		for range s.GetLength() {
			count += h.PositiveDelta[at]
			out[index] = uint64(count)
			at, index = at+1, index+1
		}
	}
	return out
}

// quantile is the index of the bucket that holds the value of a rank.
func quantile(buckets map[int]uint64, count uint64, q float64) int {
	rank := uint64(math.Ceil(q * float64(count)))
	low, high := math.MaxInt, math.MinInt
	for i := range buckets {
		low, high = min(low, i), max(high, i)
	}
	for i := low; i <= high; i++ {
		if rank <= buckets[i] {
			return i
		}
		rank -= buckets[i]
	}
	return high
}

// show prints the upper bound of a bucket.
func show(index int) string {
	return time.Duration(math.Exp2(float64(index)/8) * 1e9).Round(10 * time.Microsecond).String()
}
