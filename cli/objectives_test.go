package cli

import (
	"regexp"
	"strings"
	"testing"
)

// TestExports puts plain maps into the metrics, with the numbers that the script prints at the end.
func TestExports(t *testing.T) {
	path, comm := ownDD(t)
	p := trace(t, "--listen", "127.0.0.1:0", "-c", "sh -c '"+path+ddArgs+" status=none; exec sleep 60'", "-e", strings.ReplaceAll(`
		tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { @reads[comm] = count(); @size = dist(args.count); @last[comm] = args.count; }
		interval:ms:1 { @ticks++; }
		interval:s:3 { exit(); }
		export @reads[command] as counter "Reads, by command";
		export @size as histogram;
		export @last[command] as gauge;`, "COMM", comm))
	address := p.address(t)
	defer p.wait(t)
	text := ""
	for !strings.Contains(text, `slope_reads_total{command="`+comm+`"} 100000`) { // the test's own time limit ends it
		text, _ = fetch(t, address, acceptOpen)
	}
	for _, line := range []string{"# HELP slope_reads Reads, by command", "# TYPE slope_size histogram", "slope_size_count 100000", "slope_size_sum 100000",
		`slope_last{command="` + comm + `"} 1`} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	if strings.Contains(text, "slope_ticks") {
		t.Error("a map is exported without being asked for")
	}
	r := slope(t, "--dry-run", "-e", `begin { @x = "text"; } export @x as gauge;`)
	if r.status != 1 || !strings.Contains(r.err, "map '@x' cannot be exported: a gauge wants numbers") {
		t.Errorf("a text: %d %s", r.status, r.err)
	}
}

// TestExemplars looks for the bad event of a known process in the metrics.
func TestExemplars(t *testing.T) {
	path, comm := ownDD(t)
	p := trace(t, "--listen", "127.0.0.1:0", "-c", "sh -c '"+path+ddArgs+" status=none; exec sleep 60'", "-e", strings.ReplaceAll(`
		sli reads { unit = seconds;
			tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { start(tid); }
			tracepoint:syscalls:sys_exit_read /comm == "COMM"/ { trace(comm); observe(stop(tid)); } }
		slo never = 99% of reads < 0ns over 30d;
		interval:s:3 { exit(); }`, "COMM", comm))
	address := p.address(t)
	defer p.wait(t)
	exemplar := regexp.MustCompile(`slope_sli_reads_seconds_bucket\{le="[^"]+"\} \d+ # \{pid="(\d+)",tid="(\d+)",trace_id="` + comm + `"\} [0-9.e-]+ [0-9.]+`)
	for {
		text, _ := fetch(t, address, acceptOpen)
		if m := exemplar.FindStringSubmatch(text); m != nil {
			if m[1] != m[2] {
				t.Errorf("dd has one thread, got %q", m[0])
			}
			return
		}
	}
}

// TestObjectiveTable prints the objectives with their burn rates, every second and in the end.
func TestObjectiveTable(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "--listen", "off", "--every", "1s", "-c", "sh -c '"+path+" if=/dev/zero of=/dev/null bs=1 count=1000 status=none; exec sleep 60'", "-e", `
		sli reads { tracepoint:syscalls:sys_exit_read /comm == "COMM"/ { event(args.ret < 0); } }
		sli mem { unit = ratio; poll:1s { level(ratio(read("/proc/meminfo", "MemAvailable"), read("/proc/meminfo", "MemTotal"))); } }
		slo failing = 99% of reads over 30d;
		slo memory = 99% of minutes of mem >= 1% over calendar month;
		slo whole = all(failing: 1);
		interval:s:3 { exit(); }`, comm)
	table := regexp.MustCompile(`(?m)^objective +sli budget left +burn 1h +6h state$`)
	if n := len(table.FindAllString(r.out, -1)); n < 2 {
		t.Errorf("%d tables in\n%s", n, r.out)
	}
	for _, line := range []string{`failing\s+99 % of reads / 30d\s+0\.00 % ░{8}<-999 % +100\.0 +100\.0 (page|breached)`, `memory\s+99 % of minutes of mem >= 1% / month\s+- +- +- +- no data`,
		`whole\s+all\(failing: 1\) / 30d\s+- ░{8}<-999 % +100\.0 +100\.0 (page|breached)`} {
		if !regexp.MustCompile(line).MatchString(r.out) {
			t.Errorf("no line like %s in\n%s", line, r.out)
		}
	}
}
