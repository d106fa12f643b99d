package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper serves requests that take 20 ms each, or 60 while it is told to be slow: SIGUSR1 slows it down,
// SIGUSR2 ends that.
const sleeper = `package main

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

func main() {
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
	took := int64(20_000_000)
	for {
		select {
		case s := <-c:
			took = map[os.Signal]int64{syscall.SIGUSR1: 60_000_000, syscall.SIGUSR2: 20_000_000}[s]
		default:
		}
		t := syscall.Timespec{Nsec: took}
		syscall.Syscall6(syscall.SYS_CLOCK_NANOSLEEP, 1, 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0) // the runtime itself uses nanosleep
	}
}
`

// TestAlert lets a service slow down: the rules that "slope rules" writes make a real Prometheus page and stop, slope's own
// judgement does the same, and slope reports the incident.
func TestAlert(t *testing.T) {
	requirePrometheus(t, "prometheus")
	service := build(t, sleeper)
	comm := filepath.Base(service)[:min(15, len(filepath.Base(service)))]
	dir := t.TempDir()
	script := filepath.Join(dir, "service.slo")
	text := strings.ReplaceAll(`
sli requests "Time of a request" { unit = seconds;
	tracepoint:syscalls:sys_enter_clock_nanosleep /comm == "COMM"/ { start(tid); }
	tracepoint:syscalls:sys_exit_clock_nanosleep /comm == "COMM"/ { observe(stop(tid)); }
}
slo fast = 95% of requests <= 40ms over 1h { page = burn(2, 20s, 10s); ticket = none; min_events = 5; }
tracepoint:syscalls:sys_enter_clock_nanosleep /burning(fast)/ { if (comm == "COMM") { @why[ustack(6)] = count(); } }
alert:fast:page { printf("paged\n"); }
alert:fast:ok { printf("over\n"); }
`, "COMM", comm)
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(dir, "rules.yaml")
	if r := slope(t, "rules", "-o", rules, script); r.status != 0 {
		t.Fatalf("rules: %s%s", r.out, r.err)
	}
	s := start(t, exec.Command(service))
	p := trace(t, "--listen", "127.0.0.1:0", "--incidents", dir, script)
	target := strings.TrimSuffix(strings.TrimPrefix(p.address(t), "http://"), "/metrics")
	prom := startPrometheus(t, fmt.Sprintf(`
global: {scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs: [{job_name: slope, static_configs: [{targets: [%q]}]}]
`, rules, target))
	const firing = `count(ALERTS{alertname="SlopeErrorBudgetPage", alertstate="firing", slo="fast", severity="page"}) or vector(0)`
	const own = `slope_slo_alert_state{slo="fast", severity="page"}`
	prom.eventually(t, `slope:slo_events:increase10s{slo="fast"}`, func(v float64) bool { return v > 20 })
	prom.eventually(t, firing, is(0))
	prom.eventually(t, own, is(0))

	s.signal(t, syscall.SIGUSR1)
	began := time.Now()
	prom.eventually(t, firing, is(1))
	t.Logf("Prometheus pages after %s", time.Since(began).Round(time.Millisecond))
	prom.within(t, 25*time.Second, own, is(1))
	t.Logf("slope pages after %s", time.Since(began).Round(time.Millisecond))

	s.signal(t, syscall.SIGUSR2)
	began = time.Now()
	prom.within(t, 40*time.Second, firing, is(0))
	t.Logf("Prometheus stops after %s", time.Since(began).Round(time.Millisecond))
	prom.within(t, 40*time.Second, own, is(0))
	t.Logf("slope stops after %s", time.Since(began).Round(time.Millisecond))

	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	for _, line := range []string{"paged", "over"} {
		if !strings.Contains(r.out, line+"\n") {
			t.Errorf("no %q in\n%s", line, r.out)
		}
	}
	reports, err := filepath.Glob(filepath.Join(dir, "incident-fast-*.md"))
	if err != nil || len(reports) != 1 {
		t.Fatalf("reports: %q, %v\n%s", reports, err, r.err)
	}
	page := read(t, reports[0])
	if !strings.Contains(page, "main.main") || !strings.Contains(page, "## Distribution before and during") {
		t.Errorf("the report does not name the function that sleeps:\n%s", page)
	}
}
