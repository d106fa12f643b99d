package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The figures of these tests come from the programs under test, which do a known number of things.

const ddArgs = " if=/dev/zero of=/dev/null bs=1 count=100000"

// TestCountReads counts the reads of dd, which reports 100000 of them, through the raw program that serves the system
// call's tracepoint and by a histogram; dd's other reads are of other sizes.
func TestCountReads(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", path+ddArgs, "-e", `
		tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { @n = count(); @sizes = hist(args.count); @by[comm, args.fd] = count(); }
		tracepoint:syscalls:sys_exit_read /comm == "COMM" && args.ret == 1/ { @bytes = sum(args.ret); @stats = stats(args.ret); }`, comm)
	want(t, r, "@n: 100000", "@bytes: 100000", "@by["+comm+", 0]: 100000")
	want(t, r, "@stats: { .count = 100000, .average = 1, .total = 100000 }")
	if got := histTotal(t, r.out, "@sizes:"); got != 100000 {
		t.Errorf("the histogram holds %d reads, want 100000\n%s", got, r.out)
	}
}

var barLine = regexp.MustCompile(`^[[(].*[])]\s+(\d+) \|@*\s*\|$`)

// histTotal adds up the buckets that follow a heading.
func histTotal(t *testing.T, out, heading string) int {
	t.Helper()
	_, rest, ok := strings.Cut(out, heading+"\n")
	if !ok {
		t.Fatalf("no %s in\n%s", heading, out)
	}
	total := 0
	for _, line := range strings.Split(rest, "\n") {
		m := barLine.FindStringSubmatch(line)
		if m == nil {
			break
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// TestPerfTracepoint counts the same event by its perf tracepoint and by the raw tracepoint of the same name.
func TestPerfTracepoint(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", "sh -c 'for i in 1 2 3 4 5 6 7; do "+path+" count=0 2>/dev/null; done'", "-e", `
		tracepoint:sched:sched_process_exec /str(args.filename) == "`+path+`"/ { @perf = count(); }
		tracepoint:sched:sched_process_exec { @raw[comm] = count(); }`, comm)
	want(t, r, "@perf: 7", "@raw["+comm+"]: 7")
}

// TestSpansOfReads measures the same calls as an sli and as a plain distribution: both count all of them.
func TestSpansOfReads(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "--listen", "off", "-c", path+ddArgs, "-e", `
		sli reads[size] { unit = seconds;
			tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { start(tid); @start[tid] = nsecs; }
			tracepoint:syscalls:sys_exit_read /comm == "COMM" && @start[tid]/ { @lat = dist(nsecs - @start[tid]); delete(@start, tid); observe(stop(tid), args.ret); }
		}
		slo fast = 99% of reads <= 10s over 30d;
		slo never = 99% of reads < 0ns over 30d;`, comm)
	if !regexp.MustCompile(`sli reads .*100 000 events · 0 lost`).MatchString(r.out) {
		t.Errorf("not every read was observed:\n%s%s", r.out, r.err)
	}
	if !regexp.MustCompile(`(?s)@lat:.*100 000`).MatchString(r.out) {
		t.Errorf("not every read is in the distribution:\n%s", r.out)
	}
	if !regexp.MustCompile(`fast\s+99 % of reads <= 10s / 30d\s+100\.00 %.* ok\n`).MatchString(r.out) ||
		!regexp.MustCompile(`never\s+99 % of reads < 0ns / 30d\s+0\.00 %.* breached\n`).MatchString(r.out) {
		t.Errorf("wrong verdicts:\n%s", r.out)
	}
}

const cTarget = `
#include <stdint.h>
__attribute__((noinline)) uint64_t work(uint64_t a, uint64_t b) { __asm__ volatile("" ::: "memory"); return a * 2 + b; }
int main(void) { uint64_t s = 0; for (uint64_t i = 0; i < 1000; i++) s += work(i % 4, 1); return s == 0; }
`

func TestUserFunctions(t *testing.T) {
	bin := buildC(t, cTarget)
	r := script(t, "-c", bin, "-e", fmt.Sprintf(`
		uprobe:%[1]s:work { @calls[arg0, arg1] = count(); @at[tid] = nsecs; }
		uretprobe:%[1]s:work { @returns[retval] = count(); if (@at[tid]) { @n = count(); } delete(@at, tid); }`, bin))
	for i := range 4 {
		want(t, r, fmt.Sprintf("@calls[%d, 1]: 250", i), fmt.Sprintf("@returns[%d]: 250", 2*i+1))
	}
	want(t, r, "@n: 1000")
}

// goTarget calls work on growing stacks from many goroutines that move between threads.
const goTarget = `package main

import (
	"runtime"
	"sync"
)

//go:noinline
func work(depth int, name string) int {
	var pad [64]int
	pad[depth%64] = depth
	if depth > 0 {
		return work(depth-1, name) + pad[depth%64]*0
	}
	runtime.Gosched()
	return len(name)
}

func main() {
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			work(i%50, "route"+string(rune('A'+i%3)))
		}()
	}
	wg.Wait()
}
`

// TestGoFunctions counts every call and every return of a Go function once, although stacks grow and move.
func TestGoFunctions(t *testing.T) {
	calls := 0
	for i := range 100 {
		calls += i%50 + 1
	}
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}} {
		bin := build(t, goTarget, flags...)
		r := script(t, "-c", bin, "-e", fmt.Sprintf(`
			uprobe:%[1]s:main.work { @calls = count(); @names[str(arg1, arg2)] = count(); @open[goid]++; }
			goret:%[1]s:main.work { @returns = count(); @value[retval] = count(); @open[goid]--; if (@open[goid] == 0) { @done = count(); delete(@open, goid); } }`, bin))
		want(t, r, fmt.Sprintf("@calls: %d", calls), fmt.Sprintf("@returns: %d", calls), fmt.Sprintf("@value[6]: %d", calls), "@done: 100")
		if strings.Contains(r.out, "@open[") {
			t.Errorf("calls without a return:\n%s", r.out)
		}
	}
}

// TestErrors are the things that go wrong for users: each is one clear message and the right status.
func TestErrors(t *testing.T) {
	goBin := build(t, goTarget)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-e", "begin { foo }"}, 1, "stdin:1:9-12: ERROR: unknown identifier: 'foo'\nbegin { foo }\n        ~~~\n"},
		{[]string{"-e", "begin { @x = cuont(); }"}, 1, "HINT: did you mean 'count'?"},
		{[]string{"-e", "begin { @x = 1 + \"a\"; }"}, 1, "operator '+' wants integers, got 'int8' and 'string[8]'"},
		{[]string{"-e", "begin { $x = ; }"}, 1, "stdin:1:14-15: ERROR: syntax: got ';', want expression"},
		{[]string{"-e", "tracepoint:syscalls:sys_enter_raed { }"}, 1, "did you mean 'sys_enter_read'"},
		{[]string{"-e", "tracepiont:a:b { }"}, 1, "did you mean 'tracepoint'?"},
		{[]string{"-e", "rawtracepoint:no_such_event { }"}, 1, "raw tracepoint not found: no_such_event"},
		{[]string{"-e", "tracepoint:syscalls:sys_exit_read { print(args.retvel); }"}, 1, "unknown field 'retvel' of tracepoint:syscalls:sys_exit_read"},
		{[]string{"-e", "uprobe:" + goBin + ":main.wrok { }"}, 1, "did you mean 'main.work'"},
		{[]string{"-e", "uretprobe:" + goBin + ":main.work { }"}, 1, "HINT: use goret:" + goBin + ":main.work with goid as the key"},
		{[]string{"-e", "goret:/bin/sh:main { }"}, 1, "is not a Go binary"},
		{[]string{"-e", "uprobe:/no/such/binary:f { }"}, 1, "/no/such/binary"},
		{[]string{"/no/such/script.slo"}, 1, "failed to open file '/no/such/script.slo'"},
		{[]string{"-f", "xml", "-e", "begin { }"}, 2, "invalid output format 'xml'"},
		{[]string{"-p", "1", "-c", "true", "-e", "begin { }"}, 2, "-p and -c exclude each other"},
		{[]string{"--no-such-flag"}, 2, "unknown flag"},
		{[]string{}, 2, "got no script"},
		{[]string{"-d", "nothing", "-e", "begin { }"}, 2, "unknown stage 'nothing'"},
		{[]string{"-c", "/no/such/command", "-e", "begin { }"}, 1, "-c"},
		{[]string{"-e", "begin { @x[1] = 1; print(&@x[1]); }"}, 1, "the operator & wants a variable such as $x"},
		{[]string{"-e", "lsm:file_open { }"}, 1, "invalid probe type: lsm"},
	} {
		r := slope(t, c.args...)
		if r.status != c.status || !strings.Contains(r.err, c.want) {
			t.Errorf("slope %q: status %d, want %d, and in the error %q; got\n%s%s", c.args, r.status, c.status, c.want, r.out, r.err)
		}
	}
}

// TestExitStatus checks exit() and that a script of begin alone ends by itself.
func TestExitStatus(t *testing.T) {
	script(t, "-e", "begin { @x = 1; }")
	for _, n := range []int{0, 3, 200} {
		if r := slope(t, "-e", fmt.Sprintf("interval:ms:1 { exit(%d); }", n)); r.status != n {
			t.Errorf("exit(%d) gave status %d\n%s", n, r.status, r.err)
		}
	}
}

// TestMapFull checks that what does not fit is counted and told with the map's name.
func TestMapFull(t *testing.T) {
	r := script(t, "-e", "let @m = hash(4); begin { @m[1] = 1; @m[2] = 1; @m[3] = 1; @m[4] = 1; @m[5] = 1; @m[6] = 1; }")
	if n := strings.Count(r.out, "@m["); n != 4 {
		t.Errorf("the map holds %d keys, want 4\n%s", n, r.out)
	}
	if !strings.Contains(r.err, "@m is full") {
		t.Errorf("the loss is not told: %s", r.err)
	}
}

// TestWildcard attaches many probes as one program.
func TestWildcard(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", path+ddArgs, "-e", `tracepoint:syscalls:sys_enter_* /comm == "COMM"/ { @[probe] = count(); }`, comm)
	m := regexp.MustCompile(`@\[tracepoint:syscalls:sys_enter_write\]: (\d+)`).FindStringSubmatch(r.out)
	if m == nil {
		t.Fatalf("no writes in\n%s", r.out)
	}
	if n, _ := strconv.Atoi(m[1]); n < 100000 || n > 100010 {
		t.Errorf("counted %d writes, want 100000 and dd's report", n)
	}
}
