package engine

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/bpf/bpftest"
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
