package cli

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestPercent reads limits.
func TestPercent(t *testing.T) {
	for text, want := range map[string]float64{"": 0, "1%": 0.01, "0.25%": 0.0025, "99.9%": 0.999} {
		if got, err := parsePercent(text); err != nil || math.Abs(got-want) > 1e-9 {
			t.Errorf("%q: got %f, %v", text, got, err)
		}
	}
	for _, text := range []string{"1", "0%", "-1%", "100%", "%", "x%", "NaN%", "1%%"} {
		if _, err := parsePercent(text); err == nil {
			t.Errorf("%q is a limit", text)
		}
	}
	bpftest.Require(t, bpf.CheckPrivileges())
	if r := slope(t, "--max-overhead", "2", "-e", "begin { }"); r.status != 2 || !strings.Contains(r.err, "invalid --max-overhead '2'") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// hotScript has a probe that costs much, one that costs nothing, and an indicator that costs a little.
const hotScript = `
tracepoint:raw_syscalls:sys_enter { @hot[comm, tid, args.id] = count(); @more[comm, args.id] = hist(nsecs); @again = dist(nsecs % 1000); }
tracepoint:sched:sched_process_exit { @cold = count(); }
sli forks { tracepoint:sched:sched_process_fork { event(1 == 1); } }
slo good = 99% of forks over 30d;
`

var overheadMetric = regexp.MustCompile(`(?m)^slope_governor_overhead_ratio(?:\{.*\})? (\S+)$`)

func overhead(t *testing.T, url string) float64 {
	t.Helper()
	body, _ := fetch(t, url, acceptText)
	m := overheadMetric.FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no overhead in\n%s", body)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestOverhead puts a hot probe under load: it is detached, alone, the overhead falls below the limit, and it is told.
func TestOverhead(t *testing.T) {
	load := startReads(t)
	p := trace(t, "run", "--max-overhead", "0.5%", "--listen", "127.0.0.1:0", write(t, "hot.slo", hotScript))
	url := p.address(t)
	load.start(t)
	before := 0.0
	bpftest.Eventually(t, 30*time.Second, "detached", func() bool {
		before = max(before, overhead(t, url))
		return strings.Contains(p.err.String(), "detached ")
	})
	bpftest.Eventually(t, 10*time.Second, "below the limit", func() bool { return overhead(t, url) < 0.005 })
	body, _ := fetch(t, url, acceptText)
	for _, line := range []string{`slope_governor_limit_ratio 0.005`, `slope_governor_detached_programs{script="hot"} 1`, `slope_governor_actions_total{action="detach"} 1`} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %s in\n%s", line, body)
		}
	}
	if strings.Contains(body, "slope_probe_run_seconds_total") {
		t.Error("run times of a part of the time are exported")
	}
	forks := regexp.MustCompile(`(?m)^slope_sli_events_total\{sli="forks"\} (\S+)$`)
	first := forks.FindString(body)
	bpftest.Eventually(t, 10*time.Second, "the indicator goes on", func() bool {
		body, _ := fetch(t, url, acceptText)
		return forks.FindString(body) != first // each round of the load is a process
	})
	p.signal(t, syscall.SIGTERM)
	r := p.wait(t)
	for _, pattern := range []string{`detached sys_enter at .*hot\.slo:2:1.*: it costs [0-9.]+ %, and what is left 0\.\d+ % of 0\.500 % \([0-9.]+.?s\)`,
		`sys_enter at .*hot\.slo:2:1.* was detached once, \d+s in all, to keep the overhead below 0\.500 %: it counted nothing meanwhile\n`} {
		if !regexp.MustCompile(pattern).MatchString(r.err) {
			t.Errorf("nothing like %s in\n%s", pattern, r.err)
		}
	}
	if strings.Contains(r.err, "not observed") || r.status != 0 || !regexp.MustCompile(`sli forks .* events`).MatchString(r.out) {
		t.Errorf("status %d\n%s\n%s", r.status, r.out, r.err)
	}
	if before < 0.005 {
		t.Errorf("the overhead was %f at most", before)
	}
	t.Logf("overhead %.2f %% before, limit 0.5 %%", 100*before)
}

// TestOverheadOfIndicator has nothing but an indicator that is too dear: what it misses is not called good.
func TestOverheadOfIndicator(t *testing.T) {
	load := startReads(t)
	dir := t.TempDir()
	replaceFile(t, dir+"/dear.slo", `sli calls { tracepoint:raw_syscalls:sys_enter { @x[comm, args.id, tid] = hist(nsecs); event(1 == 1); } } slo good = 99% of calls over 30d;`)
	replaceFile(t, dir+"/other.slo", `tracepoint:sched:sched_process_exit { @cold = count(); }`)
	v := serves(t, dir, "--max-overhead", "0.2%")
	v.is(t, true, "dear running", "other running")
	load.start(t)
	v.told(t, "not observed meanwhile: calls", 1)
	bpftest.Eventually(t, 10*time.Second, "below the limit", func() bool { return overhead(t, v.url+"/metrics") < 0.002 })
	events := func() float64 {
		body, _ := fetch(t, v.url+"/metrics", acceptText)
		m := regexp.MustCompile(`(?m)^slope_sli_events_total\{script="dear",sli="calls"\} (\S+)$`).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no events in\n%s", body)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	counted := events()
	bpftest.Eventually(t, 10*time.Second, "some calls", func() bool { return len(read(t, load.dir+"/rounds")) > 3 })
	if n := events(); n != counted {
		t.Errorf("it counts while it is detached: %f, then %f", counted, n)
	}
	if os.Getenv("SLOPE_SOAK") != "" { // without load it comes back, after the time that makes a gap
		load.stop(t)
		bpftest.Eventually(t, 3*time.Minute, "attached again", func() bool { return strings.Contains(v.err.String(), "attached sys_enter at ") })
		bpftest.Eventually(t, 30*time.Second, "it counts again", func() bool { return events() > counted })
	}
	// A new text begins anew: everything is attached.
	replaceFile(t, dir+"/dear.slo", `sli calls { tracepoint:raw_syscalls:sys_enter /args.id < 0/ { event(1 == 1); } } slo good = 99% of calls over 30d;`)
	bpftest.Eventually(t, 10*time.Second, "reloaded", func() bool { _, all := v.scripts(t); return all[0].Reloads == 1 })
	body, _ := fetch(t, v.url+"/metrics", acceptText)
	if !strings.Contains(body, `slope_governor_limit_ratio 0.002`) {
		t.Errorf("got\n%s", body)
	}
	v.signal(t, syscall.SIGTERM)
	r := v.wait(t)
	if r.status != 0 || !strings.Contains(r.err, "was detached once") || !strings.Contains(r.err, "not observed: calls") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
