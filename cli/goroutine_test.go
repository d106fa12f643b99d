package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
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
	for runtime.NumGoroutine() > 1 { // what is deferred runs before the end
		runtime.Gosched()
	}
}
`

// TestGoroutineEnds measures a function that goroutines end in. Their spans are cancelled when the goroutine ends, by the script or
// else by slope, so that they are not taken for such that nobody knows the end of, which makes the bound low: as where the goroutine
// is only a part of the key. A function without code of its own is told, also of a stripped program.
func TestGoroutineEnds(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}} {
		bin := build(t, goEnds, flags...)
		for _, c := range []struct {
			key, more, low string
			ends           int // clauses at the end of goroutines
		}{
			{"goid", "", "94.184", 1},
			{"goid", "uprobe:" + bin + ":runtime.goexit1 { cancel(goid); @ended = count(); }", "94.184", 1},
			{"goid, 1", "", "41.362", 0},
		} {
			file := scriptFile(t, fmt.Sprintf(`sli work { unit = seconds; uprobe:%[1]s:main.work { start(%[2]s); } goret:%[1]s:main.work { observe(stop(%[2]s)); } %[3]s }
				slo fast = 99%% of work < 10s over 30d;`, bin, c.key, c.more))
			r := slope(t, "check", file, "--", bin)
			if want := `100\.000 % of 50, at least ` + regexp.QuoteMeta(c.low) + " %"; r.status != 3 || !regexp.MustCompile(want).MatchString(strings.ReplaceAll(r.out, "\u00a0", " ")) {
				t.Errorf("%+v: want %s, got status %d\n%s%s", c, want, r.status, r.out, r.err)
			}
			if r := slope(t, "explain", file); r.status != 0 || strings.Count(r.out, "runtime.goexit1\n{") != c.ends {
				t.Errorf("%+v: status %d\n%s%s", c, r.status, r.out, r.err)
			}
		}
		r := slope(t, "-e", "uprobe:"+bin+":main.inlined { }")
		if r.status != 1 || !strings.Contains(r.err, "every call of 'main.inlined' in "+bin+" is inlined: it has no code of its own") {
			t.Errorf("status %d\n%s", r.status, r.err)
		}
	}
}

// TestInlinedCalls probes functions that have code of their own, and copies in some of those that call them: that is told once for
// each that the script names, of Go programs by their function table, of others by the debug information where the script needs it.
func TestInlinedCalls(t *testing.T) {
	golang := build(t, `package main

import "os"

func small(n int) int { return n*3 + 1 }

//go:noinline
func never(n int) int { return n * 5 }

//go:noinline
func one(n int) int { return small(n) + never(n) }

//go:noinline
func two(n int) int { return small(n) - 1 }

var table = []func(int) int{never, small}

func main() { os.Exit(one(1) + two(2) + table[len(os.Args)](3)) }
`, "-ldflags=-s -w")
	c := buildC(t, `
int work(int n) { __asm__ volatile("" ::: "memory"); return n * 3; }
__attribute__((noinline)) int never(int n) { __asm__ volatile(""); return n * 5; }
__attribute__((noinline)) int caller(int n) { return work(n) ^ never(n); }
int (*volatile other)(int) = work;
int main(int argc, char **argv) { return caller(argc) + other(argc); }
`, "-O2", "-finline", "-g")
	inGo := "2 functions have a copy of 'main.small' of " + golang + " instead of a call, which is not seen: main.one, main.two"
	inC := "1 function has a copy of 'work' of " + c + " instead of a call, which is not seen: caller"
	for probe, want := range map[string]string{
		"uprobe:" + golang + ":main.small":                                      inGo,
		"goret:" + golang + ":main.small":                                       inGo,
		"uprobe:" + golang + ":main.small { } goret:" + golang + ":main.small":  inGo,
		"uprobe:" + golang + ":main.small+4":                                    "",
		"uprobe:" + golang + ":main.sm*":                                        "",
		"uprobe:" + golang + ":main.never":                                      "",
		"uprobe:" + c + ":work { print(args.n) } uprobe:" + c + ":work":         inC,
		"uretprobe:" + c + ":work { print(args.retval) } uprobe:" + c + ":work": inC,
		"uprobe:" + c + ":work":                                                 "",
		"uprobe:" + c + ":never { print(args.n) } uprobe:" + c + ":never":       "",
	} {
		r := slope(t, "-d", "types", "-e", probe+" { }")
		if told := strings.Count(r.err, "WARNING"); r.status != 0 || told != min(len(want), 1) || !strings.Contains(r.err, want) {
			t.Errorf("%s: status %d, want %q\n%s", probe, r.status, want, r.err)
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

// TestGoroutinesOfProcesses measures two processes of a program, whose goroutines have the same IDs: the end of one in a process is
// none of that in the other.
func TestGoroutinesOfProcesses(t *testing.T) {
	bin := build(t, `package main

import (
	"fmt"
	"os"
	"sync"
)

//go:noinline
func work(wait func()) int { wait(); return len(os.Args) }

func main() {
	var inside, all sync.WaitGroup
	if len(os.Args) > 1 {
		for range 200 {
			all.Go(func() {})
		}
		all.Wait()
		return
	}
	release := make(chan bool)
	for range 20 {
		inside.Add(1)
		all.Go(func() { work(func() { inside.Done(); <-release }) })
	}
	inside.Wait()
	fmt.Println("inside")
	os.Stdin.Read(make([]byte, 1))
	close(release)
	all.Wait()
}
`)
	file := scriptFile(t, fmt.Sprintf(`sli work { unit = seconds; uprobe:%[1]s:main.work { start(goid); } goret:%[1]s:main.work { observe(stop(goid)); } }`, bin))
	s := trace(t, "run", "--listen", "off", file)
	var processes []*exec.Cmd
	var ends []io.WriteCloser
	for range 2 {
		cmd := exec.Command(bin)
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
		processes, ends = append(processes, cmd), append(ends, in)
	}
	if err := exec.Command(bin, "short").Run(); err != nil { // its goroutines end while those of the same IDs are inside
		t.Error(err)
	}
	for i, cmd := range processes {
		ends[i].Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	s.signal(t, syscall.SIGINT)
	if r := s.wait(t); r.status != 0 || !strings.Contains(r.out, "40 events · 0 lost") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}
