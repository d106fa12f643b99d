package judge_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
	"github.com/slopebpf/slope/runtime/slo"
	"github.com/slopebpf/slope/stdlib"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

// calls are system calls that nothing else in this process makes: which says whether one is good, who is its label.
func calls(n int, which, who uintptr) {
	for range n {
		unix.RawSyscall(unix.SYS_GETPRIORITY, which, who, 0)
	}
}

const script = `
sli calls[who] { tracepoint:syscalls:sys_enter_getpriority /comm == "judge.test"/ { event(args.which == 0, args.who); } }
slo fine = 99% of calls over 30d { page = burn(10, 1m, 10s); ticket = none; min_events = 10; labels = (team = "shop"); runbook = "https://runbook"; }
slo each = 90% of calls over 30d by who { page = none; ticket = burn(2, 1m, 10s); min_events = 10; }
slo both = all(fine: 1, each: 3) { page = none; ticket = none; }
tracepoint:syscalls:sys_enter_getpgid /burning(fine)/ { @why[kstack(3), comm] = count(); }
alert:fine:page { @paged[args.group] = count(); @rate = burnrate(fine); @left = budget(fine); }
alert:fine:ok { @ok[args.group] = count(); }
alert:each:ticket { @tickets[args.group] = count(); }
`

// run is a script that runs under a judge with a clock of its own.
type run struct {
	t     *testing.T
	obj   *compiler.Object
	eng   *engine.Engine
	judge *judge.Judge
	notes []string
	stop  func()

	mu     sync.Mutex
	now    slo.Instant
	heard  []string
	files  []string
	errors []error

	alerted uint64 // how often alert:fine:ok had run when the last report was written
}

func (r *run) Changed(o *check.SLO, c slo.Change) {
	r.heard = append(r.heard, strings.Join(append([]string{o.Name}, judge.GroupLabels(o, c.Group)...), " ")+" "+judge.StateName(c.To))
}
func (r *run) Gated(o *check.SLO, g engine.GateChange) {
	r.heard = append(r.heard, map[bool]string{true: "attach ", false: "detach "}[g.Attached]+o.Name)
	if g.Attached {
		r.t.Logf("from burn to attached: %s", g.Took)
	}
}
func (r *run) Incident(o *check.SLO, files []string) {
	r.files = append(r.files, files...)
	if o.Name == "fine" {
		r.alerted, _ = r.counts("@ok")
	}
}
func (r *run) Trouble(err error)     { r.errors = append(r.errors, err) }
func (r *run) Handle(b []byte) error { return nil }

func (r *run) clock() slo.Instant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// tick lets so many slots pass, and judges at the end of each.
func (r *run) tick(slots int) {
	for range slots {
		r.mu.Lock()
		r.now.Wall, r.now.Boot = r.now.Wall.Add(10*time.Second), r.now.Boot+10*time.Second
		r.mu.Unlock()
		r.judge.Tick()
	}
}

// begin compiles, loads and attaches.
func begin(t *testing.T, text, state string, at time.Time) *run {
	t.Helper()
	features := &bpf.Features{}
	bpftest.Require(t, features.TestRun(), features.RingBuf())
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	obj, diags := compiler.Compile(source.NewFile("judged.slo", text), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
		Config: types.DefaultConfig(), Kernel: machine.Kernel(features), Backend: backend.Features{AtomicFetch: features.AtomicFetch() == nil}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	r := &run{t: t, obj: obj, now: slo.Instant{Wall: at, Boot: time.Hour}}
	var err error
	rawID := func(event string) (uint32, error) {
		ix, err := machine.BTF()
		if err != nil {
			return 0, err
		}
		return ix.RawTracepoint(event)
	}
	if r.eng, err = engine.Load(obj, engine.Options{Features: features, BTF: rawID}); err != nil {
		t.Fatal(err)
	}
	r.judge, r.notes, err = judge.New(judge.Options{Object: obj, Engine: r.eng, Sentence: func(o *check.SLO) string { return o.Name }, Listener: r,
		State: state, Incidents: state, Script: "judged", Clock: r.clock})
	if err != nil {
		r.eng.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	attached, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- r.eng.Run(ctx, engine.Hooks{Events: r, Exited: func() bool { return false }, Attached: func() { close(attached) }, Stay: true})
	}()
	select {
	case <-attached:
	case err := <-ended:
		r.eng.Close()
		t.Fatal(err)
	}
	r.judge.Start()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := r.judge.Finish(); err != nil {
				t.Error(err)
			}
			if err := r.judge.Close(); err != nil {
				t.Error(err)
			}
			if err := r.eng.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// counts is what a map of counts holds: the sum, and by key as it is printed.
func (r *run) counts(name string) (sum uint64, by map[string]uint64) {
	r.t.Helper()
	by = map[string]uint64{}
	for _, m := range r.obj.IR.Maps {
		if m.Name != name {
			continue
		}
		s, err := agg.Read(m, func(f func(key, value []byte) error) error { return r.eng.Read(m, f) })
		if err != nil {
			r.t.Fatal(err)
		}
		for _, row := range s.Rows {
			n := uint64(0)
			if row.Words != nil {
				n = row.Words[0]
			} else {
				n = agg.Number(row.Raw)
			}
			sum += n
			if m.Key != nil {
				by[string(export.Values{}.AppendKey(nil, m.Key, row.Key))] += n
			}
		}
	}
	return sum, by
}

func (r *run) expect(what string, heard ...string) {
	r.t.Helper()
	if got := strings.Join(r.heard, ", "); got != strings.Join(heard, ", ") {
		r.t.Errorf("%s: heard %q, want %q", what, got, strings.Join(heard, ", "))
	}
	if len(r.errors) > 0 {
		r.t.Errorf("%s: %v", what, r.errors)
	}
	r.heard, r.errors = nil, nil
}

var morning = time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)

// TestBurn lets an objective burn and recover: the alert probes run, the gated probe is attached just while it burns, and
// the report of the incident has the exact numbers.
func TestBurn(t *testing.T) {
	dir := t.TempDir()
	r := begin(t, script, dir, morning)
	pgid := func(n int) {
		for range n {
			unix.RawSyscall(unix.SYS_GETPGID, 0, 0, 0)
		}
	}
	calls(1000, 0, 1)
	calls(1000, 0, 2)
	pgid(50)
	r.tick(6)
	r.expect("all is well")

	calls(100, 0, 1)
	calls(50, 1, 1) // bad
	r.tick(1)
	r.expect("burns", "attach fine", "fine page", "each who=1 ticket")
	pgid(77)
	r.tick(1)
	if n, by := r.counts("@why"); n != 77 || len(by) != 1 {
		t.Errorf("the gated probe saw %d calls in %d stacks, want 77 in one", n, len(by))
	}
	if n, by := r.counts("@paged"); n != 1 || by[""] != 1 {
		t.Errorf("@paged: %v", by)
	}
	if _, by := r.counts("@tickets"); len(by) != 1 || by["who=1"] != 1 {
		t.Errorf("@tickets: %v", by)
	}
	// 50 of 150 events in the last 10 s burn a budget of 1 % at 33.333; 50 of 2150 leave -132.5581 % of it.
	if n, _ := r.counts("@rate"); n != 33_333 {
		t.Errorf("burnrate() was %d, want 33333", n)
	}
	if n, _ := r.counts("@left"); int64(n) != -1_325_582 {
		t.Errorf("budget() was %d, want -1325582", int64(n))
	}
	for range 7 {
		calls(500, 0, 1)
		r.tick(1)
	}
	if n, by := r.counts("@ok"); n != 1 {
		t.Errorf("@ok: %v, heard %q", by, r.heard)
	}
	pgid(50)
	if n, _ := r.counts("@why"); n != 77 {
		t.Errorf("the gated probe saw %d calls after the burn, want 77", n)
	}
	if r.alerted != 1 {
		t.Errorf("the alert probe had run %d times when the report was written", r.alerted)
	}
	if len(r.files) < 2 {
		t.Fatalf("no incident was reported: %q", r.files)
	}
	text, err := os.ReadFile(r.files[slicesIndex(r.files, "incident-fine", ".json")])
	if err != nil {
		t.Fatal(err)
	}
	var in judge.Incident
	if err := json.Unmarshal(text, &in); err != nil {
		t.Fatal(err)
	}
	if in.Ongoing || in.Bad != 50 || in.Total < 150 || in.Objective != "fine" || in.Runbook == "" || in.Labels[0].Value != "shop" {
		t.Errorf("the report says %s", text)
	}
	if len(in.Worst) != 1 || in.Worst[0].Labels[0] != "1" || in.Worst[0].Bad != 50 {
		t.Errorf("worst label sets: %+v", in.Worst)
	}
	if len(in.Stacks) != 1 || in.Stacks[0].Count != 77 || len(in.Maps) != 1 || !strings.Contains(in.Maps[0].Text, ": 77") {
		t.Errorf("captured: %+v %+v", in.Stacks, in.Maps)
	}
	if len(in.Examples) != 1 || in.Examples[0].Tid == 0 {
		t.Errorf("examples: %+v", in.Examples)
	}
	page, err := os.ReadFile(r.files[slicesIndex(r.files, "incident-fine", ".md")])
	if err != nil || !strings.Contains(string(page), "50 of") || !strings.Contains(string(page), "# fine burned") {
		t.Errorf("the page: %v\n%s", err, page)
	}
	r.stop()
	if left, _ := filepath.Glob(filepath.Join(dir, "*tmp*")); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}

func slicesIndex(files []string, parts ...string) int {
next:
	for i, f := range files {
		for _, p := range parts {
			if !strings.Contains(f, p) {
				continue next
			}
		}
		return i
	}
	return 0
}

// TestHistory goes on with the counts of an earlier run, also where the target has changed.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	r := begin(t, script, dir, morning)
	calls(900, 0, 1)
	calls(100, 1, 2)
	r.tick(2)
	r.stop()

	changed := strings.Replace(script, "slo fine = 99%", "slo fine = 80%", 1)
	r = begin(t, changed, dir, morning.Add(time.Hour))
	calls(1000, 0, 1)
	r.tick(1)
	for _, rep := range r.judge.Reports() {
		switch {
		case rep.Name == "fine" && (rep.Bad != 100 || rep.Total != 2000 || rep.Compliance != "95.00" || rep.BudgetLeft != 750_000):
			t.Errorf("fine: %+v", rep)
		case rep.Name == "each" && strings.Join(rep.Labels, "") == "who=2" && (rep.Bad != 100 || rep.Total != 100):
			t.Errorf("each: %+v", rep)
		}
	}
	r.stop()

	other := strings.Replace(script, "args.which == 0", "args.which < 9", 1)
	r = begin(t, other, dir, morning.Add(2*time.Hour))
	if len(r.notes) == 0 {
		t.Error("nobody was told that the history of another indicator was set aside")
	}
	calls(10, 0, 1)
	r.tick(1)
	for _, rep := range r.judge.Reports() {
		if rep.Name == "fine" && rep.Total != 10 {
			t.Errorf("fine: %+v", rep)
		}
	}
}

// TestComposite weighs the burn rates of its parts.
func TestComposite(t *testing.T) {
	r := begin(t, script, "", morning)
	calls(980, 0, 1)
	calls(20, 1, 1)
	r.tick(1)
	for _, rep := range r.judge.Reports() {
		// fine burns at 2, each at 0.2: (2 + 3*0.2)/4 = 0.65 of the budget.
		if rep.Name == "both" && rep.BudgetLeft != 350_000 {
			t.Errorf("both: %+v", rep)
		}
	}
}

// TestCounters advances by what counters grow and judges a gauge by the minute.
func TestCounters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "numbers")
	put := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("bad 5\ntotal 100\nlevel 7\n")
	r := begin(t, `
sli c { poll:1h { advance(read("`+file+`", "bad"), read("`+file+`", "total")); } }
sli g { poll:1h { level(read("`+file+`", "level")); } }
slo ratio = 90% of c over 1d;
slo level = 90% of minutes of g >= 5 over 1d;
`, "", morning)
	put("bad 7\ntotal 150\nlevel 3\n")
	poll := func() {
		t.Helper()
		if err := r.eng.PollNow(); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	r.tick(6)                         // a minute with a bad value
	put("bad 1\ntotal 10\nlevel 9\n") // the counters were reset
	poll()
	r.tick(6)
	for _, rep := range r.judge.Reports() {
		switch {
		case rep.Name == "ratio" && (rep.Bad != 3 || rep.Total != 60):
			t.Errorf("ratio: %+v", rep)
		case rep.Name == "level" && (rep.Bad != 1 || rep.Total != 2):
			t.Errorf("level: %+v", rep)
		}
	}
	losses, _, err := r.eng.Losses()
	if err != nil || len(losses) != 1 || losses[0].Counter.Loss != ir.LossCounterReset {
		t.Errorf("losses: %v %v", losses, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	poll()
	failures := r.eng.PollFailures()
	if len(failures) != 2 || failures[0].N != 1 || !os.IsNotExist(failures[0].First) {
		t.Errorf("failures: %+v", failures)
	}
}
