package cli

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// goEnds calls work in 100 goroutines one after the other, of which every second ends inside of it.
const goEnds = `package main

import "runtime"

func inlined(n int) int { return n * 3 }

//go:noinline
func work(n int) int {
	if n%2 == 0 {
		runtime.Goexit()
	}
	return inlined(n)
}

func main() {
	for i := range 100 {
		done := make(chan int, 1)
		go func() { defer close(done); done <- work(i) }()
		<-done
	}
}
`

// TestGoroutineEnds measures a function that goroutines end in. Their spans stay open, so that nobody knows how they would
// have ended and the bound is low, unless they are cancelled when the goroutine ends. A function without code of its own is
// told, also of a stripped program.
func TestGoroutineEnds(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}} {
		bin := build(t, goEnds, flags...)
		for cleanup, low := range map[string]string{"": "41.362", "uprobe:" + bin + ":runtime.goexit1 { cancel(goid); @ended = count(); }": "94.184"} {
			file := scriptFile(t, fmt.Sprintf(`sli work { unit = seconds; uprobe:%[1]s:main.work { start(goid); } goret:%[1]s:main.work { observe(stop(goid)); } %[2]s }
				slo fast = 99%% of work < 10s over 30d;`, bin, cleanup))
			r := slope(t, "check", file, "--", bin)
			if want := `100\.000 % of 50, at least ` + regexp.QuoteMeta(low) + " %"; r.status != 3 || !regexp.MustCompile(want).MatchString(strings.ReplaceAll(r.out, "\u00a0", " ")) {
				t.Errorf("%q: want %s, got status %d\n%s%s", cleanup, want, r.status, r.out, r.err)
			}
		}
		r := slope(t, "-e", "uprobe:"+bin+":main.inlined { }")
		if r.status != 1 || !strings.Contains(r.err, "every call of 'main.inlined' in "+bin+" is inlined: it has no code of its own") {
			t.Errorf("status %d\n%s", r.status, r.err)
		}
	}
}

// TestQuietCPU counts by CPU where all but one have no events: their parts of a value are zeros and add nothing.
func TestQuietCPU(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", "taskset -c 0 "+path+ddArgs, "-e", `
		tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { @on[cpu] = count(); @n = count(); @min = min(args.count); @max = max(args.count); @avg = avg(args.count); @h = hist(args.count); @d = dist(args.count); }`, comm)
	want(t, r, "@on[0]: 100000", "@n: 100000", "@min: 1", "@max: 1", "@avg: 1")
	if got := histTotal(t, r.out, "@h:"); got != 100000 || strings.Count(r.out, "@on[") != 1 {
		t.Errorf("the histogram holds %d\n%s", got, r.out)
	}
}
