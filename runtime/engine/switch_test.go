package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// records counts the records of a ring buffer; those of all generations are one stream.
type records struct{ n atomic.Uint64 }

func (r *records) Handle([]byte) error { r.n.Add(1); return nil }

// generations runs the texts of one script, one after the other.
type generations struct {
	t       *testing.T
	board   *engine.Switch
	machine *stdlib.Machine
	reg     *stdlib.Registry
	feat    *bpf.Features
	tpbtf   bool

	now     *engine.Engine
	obj     *compiler.Object
	next    atomic.Pointer[engine.Engine]
	records records
	ended   chan error
	stop    context.CancelFunc
	ctx     context.Context
}

func newGenerations(t *testing.T) *generations {
	t.Helper()
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	board, err := engine.NewSwitch()
	if err != nil {
		t.Fatal(err)
	}
	reg := stdlib.New()
	g := &generations{t: t, board: board, reg: reg, machine: &stdlib.Machine{Registry: reg}, feat: feat, tpbtf: true}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g
}

// load compiles and loads a text after the present generation.
func (g *generations) load(text string) (*engine.Engine, *compiler.Object) {
	g.t.Helper()
	kernel := g.machine.Kernel(g.feat)
	kernel.TPBTF = kernel.TPBTF && g.tpbtf
	obj, diags := compiler.Compile(source.NewFile("g.slo", text), compiler.Options{Universe: g.reg, Library: g.reg, Resolver: g.machine,
		Config: types.DefaultConfig(), Kernel: kernel, Backend: backend.Features{AtomicFetch: g.feat.AtomicFetch() == nil}, CPUs: runtime.NumCPU()})
	if diags.HasErrors() {
		g.t.Fatal(diags)
	}
	e, err := engine.Load(obj, engine.Options{Features: g.feat, Switch: g.board, Previous: g.now, BTF: func(event string) (uint32, error) {
		ix, err := g.machine.BTF()
		if err != nil {
			return 0, err
		}
		return ix.RawTracepoint(event)
	}})
	if err != nil {
		g.t.Fatal(err)
	}
	return e, obj
}

// run begins a generation and waits until it is attached.
func (g *generations) run(e *engine.Engine, obj *compiler.Object) {
	g.t.Helper()
	attached, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- e.Run(g.ctx, engine.Hooks{Events: &g.records, Exited: func() bool { return false }, Stay: true, Attached: func() { close(attached) },
			Next: func() *engine.Engine { return g.next.Swap(nil) }})
	}()
	select {
	case <-attached:
	case err := <-ended:
		g.t.Fatal(err)
	}
	g.now, g.obj, g.ended = e, obj, ended
}

// replace is one reload. It tells how long the old generation took to hand over.
func (g *generations) replace(text string) time.Duration {
	g.t.Helper()
	old := g.now
	e, obj := g.load(text)
	if err := e.Prepare(); err != nil {
		g.t.Fatal(err)
	}
	g.next.Store(e)
	began := time.Now()
	old.Nudge()
	if err := <-g.ended; err != nil {
		g.t.Fatal(err)
	}
	took := time.Since(began)
	if old.Successor() != e {
		g.t.Fatal("it has not handed over")
	}
	g.run(e, obj)
	if err := old.Close(); err != nil {
		g.t.Fatal(err)
	}
	return took
}

// end ends the last generation and leaves its maps to be read.
func (g *generations) end() {
	g.t.Helper()
	g.stop()
	if err := <-g.ended; err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		for _, close := range []func() error{g.now.Close, g.board.Close, g.machine.Close} {
			if err := close(); err != nil {
				g.t.Error(err)
			}
		}
	})
}

// sum adds up the first word of every entry of a map.
func (g *generations) sum(name string) (n uint64) {
	g.t.Helper()
	for _, r := range counted(g.t, g.now, g.obj, name).Rows {
		if len(r.Words) > 0 {
			n += r.Words[0]
		} else {
			n += binary.LittleEndian.Uint64(r.Raw)
		}
	}
	return n
}

// reloads is how often tests reload: 30 times, or 1000 times under SLOPE_SOAK.
func reloads() int {
	if os.Getenv("SLOPE_SOAK") != "" {
		return 1000
	}
	return 30
}

// beLoad makes the test binary a process that calls getpriority from so many threads until its input ends, and then tells
// how often.
const beLoad = "SLOPE_TEST_LOAD"

func TestMain(m *testing.M) {
	if threads, err := strconv.Atoi(os.Getenv(beLoad)); err == nil {
		var done atomic.Bool
		var calls, sum atomic.Uint64
		var all sync.WaitGroup
		for range threads {
			all.Go(func() {
				for !done.Load() {
					for range 100 {
						unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0)
					}
					sum.Add(work(100))
					calls.Add(100)
				}
			})
		}
		io.Copy(io.Discard, os.Stdin)
		done.Store(true)
		all.Wait()
		fmt.Println(calls.Load())
		os.Exit(0)
	}
	bpftest.Main(m)
}

// load is such a process.
type load struct {
	pid  int
	stop func() uint64
}

// startLoad starts it, stopped: go lets it call.
func startLoad(t *testing.T, threads int) *load {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `kill -STOP $$; exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", beLoad, threads))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return &load{cmd.Process.Pid, func() uint64 {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(out.String()), 10, 64)
		if err != nil || n == 0 {
			t.Fatalf("it told %q", out.String())
		}
		return n
	}}
}

func (l *load) start(t *testing.T) {
	t.Helper()
	bpftest.Eventually(t, 10*time.Second, "the load is stopped", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.pid))
		return strings.Contains(string(b), ") T ")
	})
	syscall.Kill(l.pid, syscall.SIGCONT)
}

// work is a function to probe.
//
//go:noinline
func work(n uint64) uint64 { return n*n + 1 }

// TestNothingIsLostOrCountedTwice reloads under load, with the text changing each time, and compares what was counted with
// what was done: in a per-CPU map, a shared map, an indicator, a printf, at an entry and a return that belong together, and
// through every kind of hook that has the event.
func TestNothingIsLostOrCountedTwice(t *testing.T) {
	for name, tpbtf := range map[string]bool{"tp_btf": true, "raw_tp": false} {
		t.Run(name, func(t *testing.T) {
			g := newGenerations(t)
			g.tpbtf = tpbtf
			l := startLoad(t, 2)
			text := func(n int) string {
				s := fmt.Sprintf(`
tracepoint:syscalls:sys_enter_getpriority /pid == %[1]d/ { @n = count(); @by[args.which, tid] = count(); @shared++; @start[tid] = nsecs; }
tracepoint:syscalls:sys_exit_getpriority /pid == %[1]d && @start[tid]/ { @ns = dist(nsecs - @start[tid]); @pairs++; delete(@start, tid); }
sli calls[who] { tracepoint:syscalls:sys_enter_getpriority /pid == %[1]d/ { event(args.which == 0, args.who); } }
sli spans { unit = seconds; tracepoint:syscalls:sys_enter_getpriority /pid == %[1]d/ { start(tid); } tracepoint:syscalls:sys_exit_getpriority /pid == %[1]d/ { observe(stop(tid)); } }
slo good = 9%[2]d%% of calls over 30d;
uprobe:%[3]s:"github.com/slopebpf/slope/runtime/engine_test.work" { @works++; @work = count(); }
tracepoint:syscalls:sys_enter_getpriority /pid == %[1]d && @shared %% 64 == 0/ { printf("%%d\n", %[2]d); }
`, l.pid, n%10, os.Args[0])
				if n%2 == 1 { // hooks come and go
					s += "tracepoint:sched:sched_switch { @switches = count(); } tracepoint:sched:sched_wakeup { @wakeups[args.pid] = count(); }"
				}
				return s
			}
			g.run(g.load(text(0)))
			l.start(t)
			var slowest time.Duration
			n := reloads()
			for i := range n {
				slowest = max(slowest, g.replace(text(i+1)))
			}
			want := l.stop()
			g.end()
			for _, m := range []string{"@n", "@by", "@shared", "@pairs", "@works", "@work", "sli_calls"} {
				got, want := uint64(0), want
				if strings.HasPrefix(m, "@work") {
					want /= 100
				}
				if m == "sli_calls" {
					series, err := agg.ReadSLI(g.obj.Layout.SLIs[0], g.reader("sli_calls"), g.reader("oth_calls"))
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range series {
						got += s.Words[0]
					}
				} else {
					got = g.sum(m)
				}
				if got != want {
					t.Errorf("%s: counted %d of %d calls, %d too many", m, got, want, int64(got-want))
				}
			}
			spans, err := g.now.Spans(g.obj.Layout.SLIs[1])
			if err != nil || spans.Started != want || spans.Stopped != want || spans.Missed != 0 || spans.Lost() != 0 {
				t.Errorf("spans: %+v, %v", spans, err)
			}
			if losses, damaged, err := g.now.Losses(); err != nil || damaged > 0 || len(losses) > 0 {
				t.Errorf("losses: %v, %d, %v", losses, damaged, err)
			}
			t.Logf("%d reloads under %d calls: 0 lost, 0 twice; %d records; the slowest handover took %s", n, want, g.records.n.Load(), slowest)
		})
	}
}

func (g *generations) reader(name string) agg.Reader {
	for _, m := range g.obj.IR.Maps {
		if m.Name == name {
			return func(f func(key, value []byte) error) error { return g.now.Read(m, f) }
		}
	}
	g.t.Fatalf("no map %s", name)
	return nil
}

// TestInherited tells which maps a changed text goes on with.
func TestInherited(t *testing.T) {
	g := newGenerations(t)
	first := `begin { @a = 5; @b["x"] = 7; @c = 9; @l = lhist(3, 0, 10, 1); printf("begin\n"); }
sli n { interval:s:100 { event(1 == 1); } } sli v { unit = seconds; interval:s:100 { observe(5); } } slo s = 99% of v <= 1s over 30d;
interval:s:100 { @a++; @b["x"]++; @c++; @l = lhist(3, 0, 10, 1); }`
	g.run(g.load(first))
	bpftest.Eventually(t, 5*time.Second, "begin runs", func() bool { return g.records.n.Load() == 1 })
	for _, c := range []struct {
		what       string
		old, new   string
		begins     bool
		a, b, c, l uint64
		sliN, sliV bool
	}{
		{"the same text", "", "", false, 5, 7, 9, 1, true, true},
		{"a comment", "begin {", "// nothing\nbegin {", false, 5, 7, 9, 1, true, true},
		{"another target and window", "99% of v <= 1s over 30d", "99.9% of v <= 1s over 7d", false, 5, 7, 9, 1, true, true},
		{"another condition", "v <= 1s", "v <= 2s", false, 5, 7, 9, 1, true, false},
		{"another size", "begin {", "let @b = hash(5); begin {", true, 5, 7, 9, 2, true, true},
		{"another histogram", "0, 10, 1)", "0, 100, 1)", true, 5, 7, 9, 1, true, true},
		{"another begin", "@c = 9;", "@c = 10;", true, 5, 7, 10, 2, true, true},
	} {
		before := g.records.n.Load()
		g.replace(strings.ReplaceAll(first, c.old, c.new))
		if c.old == "" {
			g.replace(first)
		}
		for m, want := range map[string]uint64{"@a": c.a, "@b": c.b, "@c": c.c} {
			if got := g.sum(m); got != want {
				t.Errorf("%s: %s is %d, want %d", c.what, m, got, want)
			}
		}
		for i, want := range []bool{c.sliN, c.sliV} {
			if l := g.obj.Layout.SLIs[i]; g.now.Inherits(l) != want {
				t.Errorf("%s: sli %s inherits: %t", c.what, l.SLI.Name, !want)
			}
		}
		g.replace(first) // by now all records of the changed text are there
		if want := before + 2; c.begins {
			bpftest.Eventually(t, 5*time.Second, c.what+": begin runs, there and back", func() bool { return g.records.n.Load() == want })
		} else if got := g.records.n.Load(); got != before {
			t.Errorf("%s: begin ran", c.what)
		}
	}
	g.end()
}
