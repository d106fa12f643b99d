// Package simulate runs a script in the interpreter: events come from its test blocks, time from a clock that only they move,
// and no kernel is asked.
//
// Algorithm: a Machine holds the maps of one run. Fire runs the programs of a probe with the context that the test's values
// make, then hands what they wrote to the ring buffer to the handler that a real run has. Between two events the clock goes
// from one thing to the next: interval probes when they are due, and every 10 s the judge, which sees the Machine as it sees
// an engine. So budgets, alerts and probes that depend on them are those of a real run.
//
// Invariants: the same test gives the same result, to the byte, everywhere. What the interpreter refuses is an error, never a
// wrong result. Start at Run; machine.go is a run, process.go the world around it, counts.go what it counted, test.go what test
// blocks mean.
package simulate

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/events"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
	"github.com/slopebpf/slope/runtime/slo"
)

var le = binary.LittleEndian

// The clocks at the beginning of a test: Monday, the first day of a week, a month and a quarter; an hour after boot.
var (
	firstWall = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	firstBoot = time.Hour
)

// slot is how often objectives are judged.
const slot = 10 * time.Second

// Machine is one run of a script.
type Machine struct {
	obj    *compiler.Object
	interp *interp.Machine
	*process

	decoder *events.Handler
	output  bytes.Buffer
	text    *export.Text
	values  export.Values
	exited  bool

	judge   *judge.Judge     // nil without objectives
	judged  bool             // nothing has happened since it looked
	burning []bool           // by objective
	zeroed  map[*ir.Map]bool // unkeyed maps that zero() was the last to change, as an engine knows them
	due     []time.Duration
	runs    int64 // of interval probes
	trouble error // the first failure of something that runs by itself
}

// New prepares a run and runs the script's begin probes.
func New(obj *compiler.Object, sentence func(*check.SLO) string) (*Machine, error) {
	m := &Machine{obj: obj, process: newProcess(), burning: make([]bool, len(obj.Checked.SLOs)), zeroed: map[*ir.Map]bool{}}
	m.interp = interp.New(obj.IR, m.process, 1)
	m.values = export.Values{MaxStrlen: obj.Checked.Config.MaxStrlen, Names: names{}}
	m.text = export.NewText(export.TextOptions{Out: &m.output, Diag: &m.output, Values: m.values})
	var err error
	if m.decoder, err = events.New(obj.IR.Events, events.Options{Sink: m.text, Host: m, Values: m.values, Now: m.wall}); err != nil {
		return nil, err
	}
	for _, x := range obj.IR.Maps {
		if x.Name == "globals" {
			le.PutUint64(m.single(x)[8*ir.GlobalStart:], uint64(firstBoot))
		}
	}
	if len(obj.Checked.SLOs) > 0 {
		if m.judge, _, err = judge.New(judge.Options{Object: obj, Engine: m, Values: m.values, Sentence: sentence, Listener: m, Clock: m.instant}); err != nil {
			return nil, err
		}
	}
	m.due = make([]time.Duration, len(obj.IR.Funcs))
	for i, f := range obj.IR.Funcs {
		m.due[i] = f.Hooks[0].Period
	}
	if err := m.runKind(types.HookBegin); err != nil {
		return nil, err
	}
	if m.judge != nil {
		m.judge.Start()
	}
	return m, nil
}

func (m *Machine) wall() time.Time { return firstWall.Add(m.now) }

func (m *Machine) instant() slo.Instant { return slo.Instant{Wall: m.wall(), Boot: firstBoot + m.now} }

// runKind runs the programs of hooks that have no name.
func (m *Machine) runKind(kind types.HookKind) error {
	for _, f := range m.obj.IR.Funcs {
		if f.Hooks[0].Kind == kind {
			if err := m.run(f, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// run runs a program once and does what it asks for.
func (m *Machine) run(f *ir.Func, ctx []uint64) error {
	m.judged, m.lacks = false, nil
	if _, err := m.interp.Run(f, ctx); err != nil {
		return err
	}
	if m.lacks != nil {
		return fmt.Errorf("the probe at %s reads %w, which a test does not have", m.obj.IR.Source.Place(f.Span), m.lacks)
	}
	for _, r := range m.interp.Drain() {
		if m.exited && f.Hooks[0].Kind != types.HookEnd {
			return nil
		}
		if err := m.decoder.Handle(r.Data); err != nil {
			return err
		}
	}
	return nil
}

// Fire runs the programs of a probe, in the script's order. Those that only run while an objective burns run then.
func (m *Machine) Fire(probe string, ctx []uint64) error {
	for _, f := range m.obj.IR.Funcs {
		if f.Burning >= 0 && !m.burning[f.Burning] || m.exited {
			continue
		}
		for i := range f.Hooks {
			if f.Hooks[i].Event == probe {
				if err := m.run(f, ctx); err != nil {
					return err
				}
				break
			}
		}
	}
	return m.trouble
}

// Advance moves the clock to a time since the beginning.
func (m *Machine) Advance(ctx context.Context, to time.Duration) error {
	for m.now < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		next := to
		if m.judge != nil {
			next = min(next, m.now.Truncate(slot)+slot)
		}
		for i, f := range m.obj.IR.Funcs {
			if f.Hooks[0].Kind == types.HookInterval && !m.exited {
				next = min(next, m.due[i])
			}
		}
		m.now = next
		for i, f := range m.obj.IR.Funcs {
			if f.Hooks[0].Kind == types.HookInterval && m.due[i] == m.now && !m.exited {
				m.due[i] += f.Hooks[0].Period
				m.runs++
				if err := m.run(f, nil); err != nil {
					return err
				}
			}
		}
		if m.judge != nil && m.now%slot == 0 {
			m.Judge()
		}
		if m.trouble != nil {
			return m.trouble
		}
	}
	return nil
}

// ahead is how often interval probes run until a time, if the script does not exit.
func (m *Machine) ahead(to time.Duration) (n int64) {
	for i, f := range m.obj.IR.Funcs {
		if h := &f.Hooks[0]; h.Kind == types.HookInterval && !m.exited && m.due[i] <= to {
			n += 1 + int64((to-m.due[i])/h.Period)
		}
	}
	return n
}

// Judge brings what is known of the objectives up to now.
func (m *Machine) Judge() {
	if m.judge != nil && (!m.judged || m.now%slot == 0) {
		m.judge.Tick()
		m.judged = true
	}
}

// Finish runs the script's end probes and prints its maps, as a run does at its end.
func (m *Machine) Finish() error {
	if err := m.runKind(types.HookEnd); err != nil {
		return err
	}
	m.text.End()
	for _, x := range m.obj.IR.Maps {
		if x.Name[0] != '@' || x.Value == nil || m.obj.Checked.Config.HideMaps {
			continue
		}
		s, err := m.Snapshot(x)
		if err != nil {
			return err
		}
		if len(s.Rows) > 0 {
			m.text.Map(s, 0, 0)
		}
	}
	return m.text.Err()
}

// Script runs a script without a test: its begin probes, its interval probes until it exits, for a day at most, and its end
// probes. The result is what it prints.
func Script(ctx context.Context, obj *compiler.Object, sentence func(*check.SLO) string) (string, error) {
	m, err := New(obj, sentence)
	if err != nil {
		return "", err
	}
	waits := false
	for _, f := range obj.IR.Funcs {
		waits = waits || f.Hooks[0].Kind == types.HookInterval
	}
	for waits && !m.exited && m.now < 24*time.Hour && ctx.Err() == nil {
		if err := m.Advance(ctx, m.now+time.Second); err != nil {
			return "", err
		}
	}
	if err := m.Finish(); err != nil {
		return "", err
	}
	return m.Output(), ctx.Err()
}

// Output is what the script has printed.
func (m *Machine) Output() string { return m.output.String() }

// single is the value of a map without keys.
func (m *Machine) single(x *ir.Map) []byte {
	return m.interp.Map(x).Value(string(make([]byte, x.KeySize)), 0)
}

// PrintMap implements events.Host.
func (m *Machine) PrintMap(x *ir.Map, top, div int64) {
	s, err := m.Snapshot(x)
	m.keep(err)
	if err == nil {
		m.text.Map(s, top, div)
	}
}

// PrintEntry implements events.Host.
func (m *Machine) PrintEntry(x *ir.Map, key []byte) {
	s, err := m.Snapshot(x)
	m.keep(err)
	if err == nil {
		m.text.Entry(s, s.Row(key, x.ValueSize/8))
	}
}

// keep remembers the first failure of something that runs by itself.
func (m *Machine) keep(err error) {
	if m.trouble == nil {
		m.trouble = err
	}
}

// Clear implements events.Host.
func (m *Machine) Clear(x *ir.Map) {
	m.zeroed[x] = false
	if !x.Kind.Keyed() {
		clear(m.single(x))
		return
	}
	for _, k := range m.interp.Map(x).Keys() {
		m.interp.Map(x).Delete(k)
	}
}

// Zero implements events.Host.
func (m *Machine) Zero(x *ir.Map) {
	m.zeroed[x] = !x.Kind.Keyed() && x.Kind != ir.Array
	for _, k := range m.interp.Map(x).Keys() {
		value := m.interp.Map(x).Value(k, 0)
		if x.Kind == ir.Array {
			value = value[:len(value)-8] // the last word says that it is set
		}
		clear(value)
	}
}

// Cat implements events.Host: a test reads no file, what would be read is printed.
func (m *Machine) Cat(path string) { fmt.Fprintf(&m.output, "cat %s\n", path) }

// System implements events.Host: a test runs no command, it is printed.
func (m *Machine) System(command string) { fmt.Fprintf(&m.output, "system %s\n", command) }

// Unwatch implements events.Host: nothing is watched in a test.
func (m *Machine) Unwatch(uint64) {}

// Message implements events.Host.
func (m *Machine) Message(e *ir.Event, text string) {
	fmt.Fprintf(&m.output, "%s: %s\n", m.obj.IR.Source.Place(e.Span), text)
}

// Note implements events.Host: a test has no code to look up.
func (m *Machine) Note(int) {}

// Exit implements events.Host.
func (m *Machine) Exit(int) { m.exited = true }
