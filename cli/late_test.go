package cli

import (
	"os"
	"os/user"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

const callsItself = `package main

import (
	"fmt"
	"os"
	"time"
)

var _ = os.Args

//go:noinline
func inner(n uint64) uint64 { return n * 3 }

//go:noinline
func outer(n uint64) uint64 { return inner(n) + 1 }

func main() {
	sum := uint64(0)
	for i := range uint64(50) {
		sum += outer(i)
	}
	fmt.Println(sum)
	time.Sleep(time.Hour) // its functions are looked up while it lives
}
`

// TestFunc names the functions that are probed, at their entry and at their return.
func TestFunc(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	path := build(t, callsItself)
	r := script(t, "-c", path, "-e", `
		uprobe:`+path+`:main.inner, uprobe:`+path+`:main.outer { @[func] = count(); @same = func == func; @n++; }
		goret:`+path+`:main.inner { @ret[func] = count(); @n++; }
		interval:ms:10 /@n == 150/ { printf("%s\n", usym(1)); exit(); }`)
	want(t, r, "@[main.inner]: 50", "@[main.outer]: 50", "@ret[main.inner]: 50", "@same: true", "0x1")

	// A program that has ended: its address in the file is that in memory, unless it is built to be moved.
	ended := strings.Replace(callsItself, "time.Sleep(time.Hour)", "_ = time.Hour", 1)
	path = build(t, ended)
	r = script(t, "-c", path, "-e", `uprobe:`+path+`:main.inner { @[func] = count(); @stack[ustack(2)] = count(); }`)
	want(t, r, "@[main.inner]: 50")
	if !regexp.MustCompile(`@stack\[\n    main\.inner\+\d+\n    main\.(outer|main)\+\d+\n\]: 50\n`).MatchString(r.out) {
		t.Errorf("no stack of a program that has ended in\n%s", r.out)
	}

	// A program that was moved, by a shell that is probed before it becomes the program. It ends once it was told of.
	moved := build(t, strings.Replace(callsItself, "time.Sleep(time.Hour)", "_ = time.Hour\n\tos.ReadFile(os.Args[1])", 1), "-buildmode=pie")
	fifo := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := trace(t, "-c", "sh -c 'exec "+moved+" "+fifo+"'", "-e", `
		uprobe:`+moved+`:main.inner { @[func] = count(); @stack[ustack(1)] = count(); printf("seen\n"); }
		tracepoint:syscalls:sys_enter_execve /comm == "sh"/ { @before[ustack(1)] = count(); }`)
	bpftest.Eventually(t, 10*time.Second, "it is told of", func() bool { return strings.Contains(p.out.String(), "seen") })
	if err := os.WriteFile(fifo, []byte("go"), 0); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
	for _, line := range []string{"@[main.inner]: 50", "    main.inner+"} {
		if !strings.Contains(p.out.String(), line) {
			t.Errorf("a program that was moved: no %q in\n%s", line, p.out.String())
		}
	}
}

// TestLateOfThisMachine compares the user, the time of day and a kernel function with what this process finds itself.
func TestLateOfThisMachine(t *testing.T) {
	before := time.Now().Add(-time.Millisecond)
	r := script(t, "-e", `begin { printf("%s|%s|%s|%s\n", username, strftime("%Y-%m-%dT%H:%M:%S.%f", nsecs), strftime("1%f", 1000000123000), strftime("1%f", 0)); exit(); }`)
	fields := strings.Split(strings.TrimSpace(r.out), "|")
	if len(fields) != 4 {
		t.Fatalf("got %q", r.out)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if fields[0] != u.Username {
		t.Errorf("user: got %q, want %q", fields[0], u.Username)
	}
	at, err := time.ParseInLocation("2006-01-02T15:04:05.000000", fields[1], time.Local)
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("time: got %q, want between %s and now", fields[1], before)
	}
	if !regexp.MustCompile(`^1\d{6}$`).MatchString(fields[2]) || fields[2] == fields[3] {
		t.Errorf("microseconds: got %q and %q", fields[2], fields[3])
	}
	r = script(t, "-e", `tracepoint:timer:hrtimer_start { @[ksym(args.function)] = count(); } interval:ms:200 { exit(); }`)
	if !strings.Contains(r.out, "@[hrtimer_wakeup]: ") && !strings.Contains(r.out, "@[tick_nohz_handler]: ") && !strings.Contains(r.out, "@[tick_sched_timer]: ") {
		t.Errorf("no known function of timers in\n%s", r.out)
	}
}

// TestLateLabels has names, not numbers, in the labels of metrics.
func TestLateLabels(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	p := trace(t, "--listen", "127.0.0.1:0", "-e", `interval:ms:1 { @n[username, buf("ab\n", 3)] = count(); } export @n[user, bytes] as counter "Ticks.";`)
	bpftest.Eventually(t, 10*time.Second, "the series shows", func() bool {
		text, _ := fetch(t, p.address(t), acceptText)
		return strings.Contains(text, `slope_n_total{bytes="ab\\x0a",user="`+u.Username+`"} `)
	})
}
