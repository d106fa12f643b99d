package repl

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/repl/edit"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/stdlib"
)

// fakeMachine compiles and runs nothing.
type fakeMachine struct {
	*stdlib.Registry
	probes []string
	fail   error
	texts  []string // of the scripts that were started
	quiet  bool
}

func newFake() *fakeMachine { return &fakeMachine{Registry: stdlib.New()} }

func (m *fakeMachine) Compile(file *source.File) (*compiler.Object, source.Diagnostics) {
	return compiler.Compile(file, compiler.Options{Universe: m.Registry, Library: m.Registry, Resolver: &stdlib.Machine{Registry: m.Registry},
		Config: types.DefaultConfig(), CPUs: 1, Kernel: ir.Kernel{CommOffset: -1}})
}

func (m *fakeMachine) Start(obj *compiler.Object, _ Program, quiet bool) (Program, Swap, error) {
	if m.fail != nil {
		return nil, Swap{}, m.fail
	}
	if m.quiet = quiet; obj == nil {
		return nil, Swap{}, nil
	}
	m.texts = append(m.texts, obj.IR.Source.Text)
	return &fakeProgram{obj: obj}, Swap{}, nil
}

func (m *fakeMachine) Probes(_ string, f func(string) bool) error {
	for _, n := range m.probes {
		if !f(n) {
			break
		}
	}
	return nil
}

func (m *fakeMachine) Fields(*syntax.AttachPoint) ([]types.Field, error) {
	return []types.Field{{Name: "count", Type: types.Uint64}}, nil
}
func (m *fakeMachine) Doctor(io.Writer)                       {}
func (m *fakeMachine) Stages(*source.File, string, io.Writer) {}
func (m *fakeMachine) Close() error                           { return nil }

// fakeProgram has maps that a test fills.
type fakeProgram struct {
	obj  *compiler.Object
	rows map[string][]agg.Row
}

func (p *fakeProgram) Object() *compiler.Object { return p.obj }
func (p *fakeProgram) Snapshot(m *ir.Map) (*agg.Snapshot, error) {
	return &agg.Snapshot{Name: m.Name, Key: m.Key, Value: m.Value, Rows: p.rows[m.Name]}, nil
}
func (p *fakeProgram) Clear(*ir.Map) error                           { return nil }
func (p *fakeProgram) Values() export.Values                         { return export.Values{MaxStrlen: 1024} }
func (p *fakeProgram) Series(*lower.SLILayout) ([]agg.Series, error) { return nil, nil }
func (p *fakeProgram) SLOs() ([]export.SLOReport, error)             { return nil, nil }
func (p *fakeProgram) Losses() ([]export.Loss, error)                { return nil, nil }
func (p *fakeProgram) Stats() ([]engine.ProgramStats, uint64, error) { return nil, 0, nil }
func (p *fakeProgram) Since() time.Time                              { return time.Now() }
func (p *fakeProgram) Exited() <-chan struct{}                       { return nil }
func (p *fakeProgram) Err() error                                    { return nil }
func (p *fakeProgram) Status() int                                   { return 0 }
func (p *fakeProgram) Finish(io.Writer) error                        { return nil }

// enterAll enters lines; each must be fine.
func enterAll(t *testing.T, s *Session, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if _, diags, err := s.Enter(source.NewFile("line", l)); err != nil || diags.HasErrors() {
			t.Fatalf("%s: %v %v", l, err, diags)
		}
	}
}

func TestSessionReplaces(t *testing.T) {
	m := newFake()
	s := NewSession(m)
	enterAll(t, s, "interval:s:1 { @a = 1; }", "begin { @b = 2; }", "x=interval:s:1 { @c = 3; }", "INTERVAL:s:1 { @a = 4; }", "config = { max_map_keys = 10 }")
	var got []string
	for _, i := range s.Items() {
		got = append(got, fmt.Sprintf("#%d %s", i.ID, i.Key))
	}
	if want := "#1 probe interval:s:1|#2 probe begin|#3 alias x|#4 config"; strings.Join(got, "|") != want {
		t.Errorf("got %s, want %s", strings.Join(got, "|"), want)
	}
	last := m.texts[len(m.texts)-1]
	if !strings.HasPrefix(last, "config") || strings.Contains(last, "@a = 1") || !strings.Contains(last, "begin /0/ {") {
		t.Errorf("the script:\n%s", last)
	}
	text, err := s.Script()
	if err != nil || strings.Contains(text, "/0/") || !strings.Contains(text, "INTERVAL:s:1 { @a = 4; }") && !strings.Contains(text, "@a = 4;") {
		t.Errorf("saved: %v\n%s", err, text)
	}
	// Two clauses with one name in one entry are one item; so are both replaced by the next entry.
	enterAll(t, s, "begin { @b = 1; } begin /@b == 1/ { @b = 2; }", "interval:s:9 { @z = 1; }")
	last = m.texts[len(m.texts)-1]
	if !strings.Contains(last, "begin /0/ { @b = 1; }") || !strings.Contains(last, "begin /0 && (@b == 1)/ { @b = 2; }") {
		t.Errorf("begin would run again:\n%s", last)
	}
	enterAll(t, s, "interval:s:9 { @z = 2; }")
	if last = m.texts[len(m.texts)-1]; strings.Count(last, "/0/") != 1 || strings.Count(last, "0 && ") != 1 {
		t.Errorf("predicates were put in twice:\n%s", last)
	}
	if _, diags, err := s.Drop([]int{1, 2, 3, 4}); err != nil || diags.HasErrors() {
		t.Errorf("drop: %v %v", err, diags)
	}
	if _, _, err := s.Drop([]int{77}); err == nil {
		t.Error("dropped what is not there")
	}
}

// TestSessionFailure: a line that fails, wherever, changes nothing.
func TestSessionFailure(t *testing.T) {
	m := newFake()
	s := NewSession(m)
	enterAll(t, s, "interval:s:1 { @a = count(); }", "begin { @b = 1; }")
	before, started := fmt.Sprint(s.Items()), len(m.texts)
	for line, want := range map[string]string{
		"interval:s:1 { @a = sum(1); ":    "line:1:29",
		"nosuch:x { }":                    "line:1:1-7",
		"  interval:s:2 { @b = nosuch; }": "line:1:23-29",
		"interval:s:2 { @a = sum(1); }":   "line:1:16",
		"begin { @a = 5; }":               "#1:1:16",
	} {
		_, diags, err := s.Enter(source.NewFile("line", line))
		if err != nil || !diags.HasErrors() {
			t.Errorf("%s: %v %v", line, err, diags)
			continue
		}
		if !strings.Contains(diags.Error(), want) && want != "#1:1:16" {
			t.Errorf("%s: want a place %s:\n%s", line, want, diags.Error())
		}
	}
	m.fail = errors.New("the kernel refuses")
	if _, _, err := s.Enter(source.NewFile("line", "interval:s:3 { }")); !errors.Is(err, m.fail) {
		t.Error(err)
	}
	if _, err := s.Pause(true); !errors.Is(err, m.fail) || s.paused {
		t.Error("paused in spite of a failure")
	}
	if after := fmt.Sprint(s.Items()); after != before || len(m.texts) != started {
		t.Errorf("something has changed: %s, %s", before, after)
	}
}

func TestMore(t *testing.T) {
	s := NewSession(newFake())
	for line, want := range map[string]string{
		"begin {":                    "true 2",
		"begin { if (1) {":           "true 4",
		"begin { }":                  "false 0",
		"sli x {\n  unit = seconds;": "true 2",
		":save":                      "false 0",
		"watch @x":                   "false 0",
		"@x":                         "false 0",
		"slo y = 99% of x":           "true 0",
		"/* comment":                 "true 0",
		"slo":                        "false 0",
		"":                           "false 0",
		"begin { ) }":                "false 0",
	} {
		more, indent := s.More(line)
		if got := fmt.Sprint(more, indent); got != want {
			t.Errorf("%q: got %s, want %s", line, got, want)
		}
	}
}

func TestIsExpression(t *testing.T) {
	u := stdlib.New()
	for line, want := range map[string]bool{"@x": true, "p99(@x), 2": true, "1 + 2": true, "-@x": true, "(1)": true, "foo": true, "\"a\" == \"b\"": true,
		"begin { }": false, "begin": false, "tracepoint:a:b { }": false, "sli x { }": false, "let @x = hash(1);": false, "kprob:x {}": false,
		"nosuch { }": false, "a=interval:s:1 {}": false, "": false} {
		if got := isExpression(u, line); got != want {
			t.Errorf("%q: got %v", line, got)
		}
	}
}

func TestOutput(t *testing.T) {
	got := make(chan string, 100)
	o := NewOutput(edit.Strip)
	o.Attach(func(s string) { got <- s })
	io.WriteString(o, "a\x1b[2Jb\npart")
	if s := <-got; s != "a^[[2Jb\n" {
		t.Errorf("got %q", s)
	}
	io.WriteString(o, "ial\n")
	if s := <-got; s != "partial\n" {
		t.Errorf("got %q", s)
	}
	const n = 100_000
	began := time.Now()
	for range n {
		io.WriteString(o, "line\n")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%d lines took %v", n, took)
	}
	o.Attach(nil)
	shown := 0
	for len(got) > 0 {
		s := <-got
		shown += strings.Count(s, "line\n")
	}
	total, held := o.Held()
	if total != n+2 || held == 0 || uint64(shown)+held != n {
		t.Errorf("%d lines: %d were shown, %d held back", total, shown, held)
	}
}

// FuzzEnter: whatever is typed, nothing panics, and what failed changes nothing.
func FuzzEnter(f *testing.F) {
	for _, s := range []string{"begin { @x = 1; }", "@x", ":drop 1", "sli a { unit = seconds; interval:s:1 { observe(1) } }", "p99(@x) / 0", "top @x by p99"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s := NewSession(newFake())
		enterAll(t, s, "interval:s:1 { @x = hist(5); @c[comm] = count(); }", "begin { @n = 1; }")
		before := len(s.Items())
		s.More(line)
		if isExpression(s.machine, line) {
			return
		}
		if _, diags, err := s.Enter(source.NewFile("line", line)); (err != nil || diags.HasErrors()) && len(s.Items()) != before {
			t.Error("a failed line changed the session")
		}
		if text, err := s.Script(); err == nil {
			if _, diags := syntax.Parse(source.NewFile("saved", text)); diags.HasErrors() {
				t.Errorf("saved script: %v", diags)
			}
		}
	})
}

// BenchmarkKey is the time from a key to the drawn line, with 100 000 names of probes, colours, hint and completion.
func BenchmarkKey(b *testing.B) {
	m := newFake()
	for i := range 100_000 {
		m.probes = append(m.probes, fmt.Sprintf("tracepoint:system%d:event_%d", i%100, i))
	}
	s := NewSession(m)
	sh := &shell{opt: Options{Machine: m, Colour: true}, session: s, world: newWorld(m, s)}
	sh.world.loading.Wait()
	keys, typed := io.Pipe()
	drawn := make(chan struct{}, 1000)
	e, err := edit.New(edit.Options{Colour: true, Terminal: edit.Terminal{In: keys, Out: writerFunc(func(p []byte) (int, error) {
		drawn <- struct{}{}
		return len(p), nil
	}), Size: func() (int, int) { return 100, 40 }, MakeRaw: func() error { return nil }, Idle: func() error { return nil }, Restore: func() error { return nil }},
		Hooks: edit.Hooks{Complete: sh.complete, Styles: sh.styles, Hint: sh.hint, More: s.More}})
	if err != nil {
		b.Fatal(err)
	}
	go e.ReadLine(Prompt)
	for range 2 {
		<-drawn
	}
	for _, c := range []struct{ name, before, keys string }{
		{"probe name", "tracepoint:system42:event_4", "2\x7f"},
		{"in a call", "tracepoint:system42:event_42 { @x[comm] = hist(", "1\x7f"},
		{"completion", "tracepoint:system42:event_", "\t"},
		{"long line", "begin { " + strings.Repeat("@x[comm] = count(); ", 100), "1\x7f"},
	} {
		b.Run(c.name, func(b *testing.B) {
			io.WriteString(typed, "\x15\x1b[200~"+c.before+"\x1b[201~")
			for wait := true; wait; {
				select {
				case <-drawn:
				case <-time.After(100 * time.Millisecond):
					wait = false
				}
			}
			i := 0
			for b.Loop() {
				io.WriteString(typed, c.keys[i%len(c.keys):i%len(c.keys)+1])
				<-drawn
				i++
			}
		})
	}
	e.Close()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
