package engine

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
)

// missing is a link that the kernel tells of that it missed calls, until it is stopped and while it is being stopped.
type missing struct {
	attach.Link
	missed, late uint64
	stopping     func()
}

func (m *missing) Missed() uint64 { return m.missed }

func (m *missing) Close() error { return nil }

func (m *missing) Stop() error {
	if m.stopping != nil {
		m.stopping()
	}
	m.missed += m.late
	return nil
}

// dispatched is a program at a port, whose dispatcher runs when it is asked to.
func dispatched(t *testing.T, p *program, link attach.Link) (at *plug, run func(n int)) {
	t.Helper()
	bpftest.Require(t, new(bpf.Features).TestRun())
	board, err := NewSwitch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { board.Close() })
	d, err := bpf.NewDispatcher(bpf.ProgSpec{Name: "d", Type: ebpf.RawTracepoint}, board.word)
	if err != nil {
		t.Fatal(err)
	}
	o := &port{dispatcher: d, link: link}
	o.used[0] = true
	stats, err := bpf.EnableStats()
	bpftest.Require(t, err)
	t.Cleanup(func() { stats.Close() })
	return &plug{sw: board, key: "k", port: o, program: p}, func(n int) {
		t.Helper()
		for range n {
			if _, err := bpf.TestRun(d.Program, []uint64{0}, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestMissedOnce takes a program off its links one by one: what each of them missed, also while it was being stopped, is counted
// once and at no time forgotten.
func TestMissedOnce(t *testing.T) {
	p := &program{}
	direct, port, stays := &missing{missed: 3, late: 2}, &missing{missed: 10, late: 7}, &missing{missed: 100}
	at, _ := dispatched(t, p, port)
	direct.stopping = func() {
		if p.past.Lost != 3+10 {
			t.Errorf("while they are stopped %d were missed", p.past.Lost)
		}
		port.missed += port.late // which its own program notes when it leaves
	}
	gone, kept := &types.Hook{}, &types.Hook{}
	p.links, p.hooks = []attach.Link{direct, stays, at}, []*types.Hook{gone, kept, gone}
	if err := p.takeOff(func(h *types.Hook) bool { return h == gone }); err != nil {
		t.Fatal(err)
	}
	if p.past.Lost != 5+10 || len(p.links) != 1 || p.links[0] != stays || len(p.hooks) != 1 || p.hooks[0] != kept {
		t.Errorf("%d were missed, on %v", p.past.Lost, p.links)
	}
	if err := p.free(); err != nil {
		t.Fatal(err)
	}
	if p.past.Lost != 5+17 {
		t.Errorf("%d were missed once the links are closed", p.past.Lost)
	}
	if err := p.detach(); err != nil || p.past.Lost != 5+17+100 || len(p.links) != 0 {
		t.Errorf("%d were missed at the end, %v", p.past.Lost, err)
	}
}

// TestNotedOnce notes what a dispatcher did and what its link missed more than once: each adds what is new.
func TestNotedOnce(t *testing.T) {
	p := &program{}
	link := &missing{missed: 4}
	at, run := dispatched(t, p, link)
	defer at.port.dispatcher.Close()
	for _, c := range []struct {
		runs, misses int
		all          ProgramStats
	}{
		{3, 0, ProgramStats{Runs: 3, Lost: 4}},
		{0, 0, ProgramStats{Runs: 3, Lost: 4}},
		{2, 5, ProgramStats{Runs: 5, Lost: 9}},
		{0, 1, ProgramStats{Runs: 5, Lost: 10}},
	} {
		run(c.runs)
		link.missed += uint64(c.misses)
		if want := c.all.Lost - p.past.Lost; at.Missed() != want {
			t.Errorf("%d misses are new, want %d", at.Missed(), want)
		}
		before := p.past.Time
		at.note()
		if p.past.Runs != c.all.Runs || p.past.Lost != c.all.Lost || at.Missed() != 0 || (p.past.Time > before) != (c.runs > 0) {
			t.Errorf("%+v after %d runs and %d misses more, %d not noted", p.past, c.runs, c.misses, at.Missed())
		}
	}
}

// TestBounded has functions that are attached to together, or by a link each: of these a script may have so many.
func TestBounded(t *testing.T) {
	feat := &bpf.Features{}
	kprobes := func(n int) (f *ir.Func) {
		f = &ir.Func{Type: ir.Uprobe, Span: source.Span{Start: 0, End: 3}}
		for range n {
			f.Hooks = append(f.Hooks, types.Hook{Kind: types.HookKprobe, Event: "f", Traced: true})
		}
		return f
	}
	uprobes := func(n int) *ir.Func {
		return &ir.Func{Type: ir.Uprobe, Span: source.Span{Start: 4, End: 7}, Hooks: []types.Hook{{Kind: types.HookUprobe, Path: "p", Points: make([]types.Point, n)}}}
	}
	others := &ir.Func{Type: ir.TPBTF, Hooks: make([]types.Hook, 20)}
	untraced := kprobes(11)
	untraced.Hooks[0].Traced = false
	lacks := func(has func() error, otherwise string) string {
		if err := has(); err != nil {
			return "(" + err.Error() + ")"
		}
		return otherwise
	}
	for name, c := range map[string]struct {
		opt   Options
		funcs []*ir.Func
		want  string
	}{
		"few kprobes":         {Options{Kprobe: SingleWay}, []*ir.Func{kprobes(10)}, ""},
		"single kprobes":      {Options{Kprobe: SingleWay}, []*ir.Func{kprobes(11)}, "f.slo:1:1-4: ERROR: got 11 places, each of which needs a link of its own (as --attach says): the limit is 10"},
		"kprobes, one each":   {Options{Kprobe: SingleWay}, []*ir.Func{kprobes(5), kprobes(5), others, kprobes(2)}, "got 12 places"},
		"kprobes and uprobes": {Options{Kprobe: SingleWay, Uprobe: SingleWay}, []*ir.Func{kprobes(6), uprobes(5), uprobes(1)}, "f.slo:1:5-8: ERROR: got 12 places"},
		"replaced kprobes":    {Options{Switch: &Switch{}}, []*ir.Func{kprobes(11)}, "(so that the script can be replaced while it runs)"},
		"kprobes together":    {Options{Kprobe: MultiWay}, []*ir.Func{kprobes(11)}, ""},
		"kprobes as can be":   {Options{}, []*ir.Func{kprobes(11)}, lacks(feat.KprobeMulti, "")},
		"untraced kprobes":    {Options{}, []*ir.Func{untraced}, lacks(feat.KprobeMulti, "(the kernel does not trace them together)")},
		"single uprobes":      {Options{Uprobe: SingleWay}, []*ir.Func{uprobes(11)}, "f.slo:1:5-8: ERROR: got 11 places"},
		"uprobes together":    {Options{Uprobe: MultiWay, Kprobe: SingleWay, Switch: &Switch{}}, []*ir.Func{uprobes(11), kprobes(10)}, ""},
		"uprobes as can be":   {Options{}, []*ir.Func{uprobes(11)}, lacks(feat.UprobeMulti, "")},
		"nothing of these":    {Options{}, []*ir.Func{others}, ""},
	} {
		c.opt.Features = feat
		e := &Engine{opt: c.opt, obj: &compiler.Object{Checked: &check.Program{Config: types.Config{MaxProbes: 10}},
			IR: &ir.Program{Source: source.NewFile("f.slo", "one two"), Funcs: c.funcs}}}
		got := ""
		if err := e.bounded(); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
