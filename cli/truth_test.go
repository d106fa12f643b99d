package cli

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// The figures of these tests have another source: strace, or what the kernel counts for itself.

// number finds a number by a pattern with one group.
func number(t *testing.T, text, pattern string) int {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// named runs a script in which COMM, the last argument, is the name of the program to look at.
func named(t *testing.T, args ...string) result {
	t.Helper()
	n := len(args) - 1
	args[n-1] = strings.ReplaceAll(args[n-1], "COMM", args[n])
	return script(t, args[:n]...)
}

// TestAgainstStrace compares every system call of a program with strace's counts.
func TestAgainstStrace(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip(err)
	}
	path, comm := ownDD(t)
	program := path + " if=/dev/zero of=/dev/null bs=10 count=3000"
	file := t.TempDir() + "/strace"
	cmd := exec.Command(strace, append([]string{"-c", "-o", file}, strings.Fields(program)...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("strace: %v\n%s", err, out)
	}
	r := named(t, "-c", program, "-e", `tracepoint:syscalls:sys_enter_* /comm == "COMM"/ { @calls[probe] = count(); }
		tracepoint:raw_syscalls:sys_exit /comm == "COMM" && args.ret < 0 && args.ret >= -4095/ { @errors = count(); }`, comm)
	row := regexp.MustCompile(`(?m)^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(\d+)?\s*(\w+)$`)
	rows := row.FindAllStringSubmatch(read(t, file), -1)
	if len(rows) < 8 {
		t.Fatalf("got no table of strace:\n%s", read(t, file))
	}
	errors := 0
	for _, m := range rows {
		n, _ := strconv.Atoi(m[1])
		failed, _ := strconv.Atoi(m[2])
		if m[3] == "total" {
			errors = failed
			continue
		}
		if m[3] == "execve" {
			continue // slope sees it under the name of before
		}
		name := m[3]
		if name == "fstat" { // as the kernel calls it
			name = "newfstat"
		}
		got := number(t, r.out+fmt.Sprintf("@calls[tracepoint:syscalls:sys_enter_%s]: 0\n", name), `@calls\[tracepoint:syscalls:sys_enter_`+name+`\]: (\d+)`)
		// The program's break depends on where it is loaded: a call more or less.
		if got != n && !(name == "brk" && got-n <= 1 && n-got <= 1) {
			t.Errorf("%s: counted %d, strace %d\n%s", name, got, n, r.out)
		}
	}
	if got := number(t, r.out+"@errors: 0\n", `@errors: (\d+)`); got != errors {
		t.Errorf("counted %d errors, strace %d", got, errors)
	}
}

// TestAgainstProcIO compares reads and writes with what the kernel counts for the process. Both are looked at while the
// process waits for its input, so nothing happens meanwhile.
func TestAgainstProcIO(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	target := exec.Command("sh", "-c", `read x; while read line; do echo "$line"; done </proc/self/status >/dev/null; read y`)
	in, err := target.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	pid := target.Process.Pid
	waits := func() {
		t.Helper()
		bpftest.Eventually(t, 10*time.Second, "the process waits for input", func() bool {
			return strings.HasPrefix(read(t, fmt.Sprintf("/proc/%d/syscall", pid)), "0 0x0 ")
		})
	}
	figures := func() string { return read(t, fmt.Sprintf("/proc/%d/io", pid)) }
	waits()
	before := figures()
	p := trace(t, "-p", strconv.Itoa(pid), "-e", `
		tracepoint:syscalls:sys_exit_read { @reads = count(); if (args.ret > 0) { @rchar = sum(args.ret); } }
		tracepoint:syscalls:sys_exit_write { @writes = count(); if (args.ret > 0) { @wchar = sum(args.ret); } }`)
	in.Write([]byte("\n"))
	bpftest.Eventually(t, 10*time.Second, "the process works", func() bool { return figures() != before })
	waits()
	after := figures()
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	in.Close()
	target.Wait()
	for ours, theirs := range map[string]string{"reads": "syscr", "rchar": "rchar", "writes": "syscw", "wchar": "wchar"} {
		pattern := `(?m)^` + theirs + `: (\d+)`
		got, want := number(t, r.out, `(?m)^@`+ours+`: (\d+)`), number(t, after, pattern)-number(t, before, pattern)
		if got != want || got < 20 {
			t.Errorf("%s: counted %d, the kernel %s %d\n%s", ours, got, theirs, want, r.out)
		}
	}
}

// TestAgainstContextSwitches compares sched_switch with /proc/stat's ctxt, read from within the script's life: before
// it starts counting and after it stopped, so that the kernel's difference is the larger one, and at two moments
// inside of it, so that it is the smaller one.
func TestAgainstContextSwitches(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	switches := func() int { return number(t, read(t, "/proc/stat"), `(?m)^ctxt (\d+)$`) }
	outer := switches()
	p := trace(t, "-e", "rawtracepoint:sched_switch { @ = count(); } tracepoint:sched:sched_switch { @perf = count(); }")
	inner := switches()
	if out, err := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do seq 1000 | cat >/dev/null; done").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inner = switches() - inner
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	outer = switches() - outer
	for _, name := range []string{"@", "@perf"} {
		if got := number(t, r.out, `(?m)^`+name+`: (\d+)$`); got < inner || got > outer {
			t.Errorf("%s: counted %d switches, want from %d to %d", name, got, inner, outer)
		}
	}
	if inner < 20 {
		t.Errorf("only %d switches", inner)
	}
}

// TestAgainstSchedstat compares the number of times a process was given a CPU with its /proc/PID/schedstat.
func TestAgainstSchedstat(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip(err)
	}
	file := t.TempDir() + "/schedstat"
	// While it waits for cat, the shell does not run: its figure stands still.
	r := script(t, "-c", fmt.Sprintf("sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 0.002; done; cat /proc/$$/schedstat >%s'", file), "-e",
		`tracepoint:sched:sched_switch /args.next_pid == @sh/ { @on = count(); }
		tracepoint:sched:sched_process_exec /comm == "sh"/ { @sh = pid; }
		tracepoint:sched:sched_process_exec /comm == "cat"/ { @sh = 0; }`)
	fields := strings.Fields(read(t, file))
	want, _ := strconv.Atoi(fields[2])
	// What the process did as slope, before it became the shell, the kernel counts and the script does not. On a busy machine a
	// child may end before the shell waits for it.
	if got := number(t, r.out, `@on: (\d+)`); got < 4 || got > want {
		t.Errorf("counted %d, the kernel %d", got, want)
	}
}

// TestRingStress prints a record for each of 300000 system calls, as fast as they come: what is not printed is told.
func TestRingStress(t *testing.T) {
	const n = 300000
	path, comm := ownDD(t)
	for _, mode := range []string{"line", "full"} {
		r := named(t, "-B", mode, "-c", fmt.Sprintf("%s if=/dev/zero of=/dev/null bs=1 count=%d", path, n), "-e",
			`tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { @n++; printf("%s read %ld of %d\n", comm, @n, args.count); }`, comm)
		printed, last := 0, 0
		for _, l := range lines(r.out) {
			if !strings.HasPrefix(l, comm+" read ") {
				continue
			}
			at, err := strconv.Atoi(strings.Fields(l)[2])
			if err != nil || at <= last || !strings.HasSuffix(l, " of 1") {
				t.Fatalf("after %d: %q", last, l)
			}
			last = at
			printed++
		}
		lost := 0
		if m := regexp.MustCompile(`(?m)^Lost (\d+) events$`).FindStringSubmatch(r.err); m != nil {
			lost, _ = strconv.Atoi(m[1])
		}
		t.Logf("-B %s: %d printed, %d lost", mode, printed, lost)
		if printed+lost != n {
			t.Errorf("-B %s: %d printed and %d lost, want %d together\n%s", mode, printed, lost, n, r.err)
		}
		want(t, r, fmt.Sprintf("@n: %d", n))
	}
}

// TestRingFull stops the reader, so that the ring buffer fills: the loss is exported, and told to the last record.
func TestRingFull(t *testing.T) {
	const n = 300000
	bpftest.Require(t, bpf.CheckPrivileges())
	path, comm := ownDD(t)
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "--listen", "127.0.0.1:0", "-c", fmt.Sprintf("%s if=/dev/zero of=/dev/null bs=1 count=%d", path, n), "-e",
		fmt.Sprintf(`tracepoint:syscalls:sys_enter_read /comm == "%s" && args.count == 1/ { printf("%%100d\n", 1); @n = count(); }`, comm))
	cmd.Stdout = w
	p := start(t, cmd)
	w.Close()
	p.attached(t)
	lost := regexp.MustCompile(`(?m)^slope_events_lost_total\{cause="ring_full"\} ([1-9]\S*)$`)
	bpftest.Eventually(t, 20e9, "the loss is exported", func() bool {
		text, _ := fetch(t, p.address(t), acceptText)
		return lost.MatchString(text)
	})
	printed, buf, rest := 0, make([]byte, 1<<20), ""
	for {
		k, err := pipe.Read(buf)
		if err != nil {
			break
		}
		text := rest + string(buf[:k])
		at := strings.LastIndexByte(text, '\n') + 1
		printed += strings.Count(text[:at], "1\n")
		rest = text[at:]
	}
	pipe.Close()
	r := p.wait(t)
	told := number(t, r.err, `(?m)^Lost (\d+) events$`)
	if printed+told != n || told == 0 || r.status != 0 {
		t.Errorf("status %d: %d printed and %d lost, want %d together\n%s", r.status, printed, told, n, r.err)
	}
	if !strings.Contains(r.err, "events lost: the ring buffer was full") {
		t.Errorf("the loss is not explained: %s", r.err)
	}
}

// TestBounds are strings and maps that end: what does not fit is cut with a mark, or counted.
func TestBounds(t *testing.T) {
	long := strings.Repeat("0123456789", 300)
	r := script(t, "-c", "cat /no/"+long[:1500], "-e", `tracepoint:syscalls:sys_enter_openat /comm == "cat"/ { printf("%s\n", str(args.filename)); @[str(args.filename, 7)] = count(); }`)
	want(t, r, "/no/"+long[:1019]+"..")
	if !strings.Contains(r.out, "@[/no/012") {
		t.Errorf("no key of 7 bytes:\n%s", r.out)
	}
	path, comm := ownDD(t)
	r = named(t, "-c", path+" if=/dev/zero of=/dev/null bs=1 count=1000", "-e",
		`let @m = percpuhash(100); tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { @n++; @m[@n] = count(); }`, comm)
	if got := strings.Count(r.out, "@m["); got != 100 || !strings.Contains(r.err, "900 new keys lost: map @m is full") {
		t.Errorf("%d keys, want 100, and 900 lost:\n%s", got, r.err)
	}
}

// TestEverySecond is the idiom of printing and clearing a map at each tick: no count is lost or doubled.
func TestEverySecond(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", path+ddArgs, "-e", `tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { @all = count(); @n[comm] = count(); @z[comm] = count(); }
		interval:ms:7 { print(@z); zero(@z); printf("--\n"); }`, comm)
	if n := strings.Count(r.out, "--\n"); n < 3 {
		t.Errorf("%d ticks", n)
	}
	total := 0
	for _, m := range regexp.MustCompile(`@z\[dd\d+\]: (\d+)`).FindAllStringSubmatch(r.out, -1) {
		n, _ := strconv.Atoi(m[1])
		total += n
	}
	// print and zero are two steps, done in user space after the record was read, as in bpftrace: what is counted between
	// them is in no print. It must be little.
	if all := number(t, r.out, `@all: (\d+)`); all != 100000 || total > all || total < all*8/10 {
		t.Errorf("printed %d of %d\n%s", total, all, r.out)
	}
}

// TestIntervals ticks finer than a millisecond, and never more often than it should.
func TestIntervals(t *testing.T) {
	r := script(t, "-e", "interval:us:100 { @fine++; } interval:ms:1 { @ms++; } interval:ms:500 { exit(); }")
	for _, c := range []struct {
		name        string
		least, most int // how many are late on a busy machine is not ours to say, but a coarse clock would show
	}{{"fine", 1000, 5000}, {"ms", 250, 500}} {
		if got := number(t, r.out, `(?m)^@`+c.name+`: (\d+)`); got < c.least || got > c.most+c.most/50 {
			t.Errorf("%s: ticked %d times in half a second, want from %d to %d", c.name, got, c.least, c.most)
		}
	}
}
