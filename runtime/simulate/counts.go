package simulate

import (
	"fmt"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// The Machine is a query.Source: what assertions are computed from.

// Object is the script.
func (m *Machine) Object() *compiler.Object { return m.obj }

// Values prints values.
func (m *Machine) Values() export.Values { return m.values }

// Snapshot reads one of the script's maps.
func (m *Machine) Snapshot(x *ir.Map) (*agg.Snapshot, error) {
	s, err := agg.Read(x, m.reader(x))
	if err == nil && len(s.Rows) == 0 && m.zeroed[x] {
		s.Rows = []agg.Row{{Words: make([]uint64, x.ValueSize/8)}}
	}
	return s, err
}

// Series reads an indicator.
func (m *Machine) Series(l *lower.SLILayout) ([]agg.Series, error) {
	return agg.ReadSLI(l, m.reader(l.Value), m.reader(l.Other))
}

// SLOs are the objectives as of now.
func (m *Machine) SLOs() ([]export.SLOReport, error) {
	if m.judge == nil {
		return nil, nil
	}
	m.Judge()
	return m.judge.Reports(), m.trouble
}

func (m *Machine) reader(x *ir.Map) agg.Reader {
	return func(f func(key, value []byte) error) error { return m.Read(x, f) }
}

// The Machine is a judge.Engine: what objectives are judged by.

// Read calls f with every entry of a map.
func (m *Machine) Read(x *ir.Map, f func(key, value []byte) error) error {
	entries := m.interp.Map(x)
	for _, k := range entries.Keys() {
		if err := f([]byte(k), entries.Value(k, 0)); err != nil {
			return err
		}
	}
	return nil
}

// Inherits tells that nothing came before.
func (m *Machine) Inherits(*lower.SLILayout) bool { return false }

// Spans reads what became of an indicator's spans.
func (m *Machine) Spans(l *lower.SLILayout) (engine.Spans, error) { return engine.ReadSpans(l, m.Read) }

// Losses reads what was lost.
func (m *Machine) Losses() (losses []engine.Loss, damaged uint64, err error) {
	losses, err = engine.ReadLosses(m.obj.IR, m.Read)
	return losses, 0, err
}

// Programs has no statistics.
func (m *Machine) Programs() ([]engine.ProgramStats, error) { return nil, nil }

// SetObjectives tells the programs about every slo.
func (m *Machine) SetObjectives(all []engine.Objective) ([]engine.GateChange, error) {
	if x := m.obj.IR.Objectives; x != nil {
		copy(m.single(x), engine.ObjectiveWords(x, all))
	}
	for i, o := range all {
		m.burning[i] = o.Burning
	}
	return nil, nil
}

// Alert runs the alert probes of an objective that enters a state.
func (m *Machine) Alert(objective, state, group string) error {
	for _, f := range m.obj.IR.Funcs {
		if h := &f.Hooks[0]; h.Kind != types.HookAlert || h.Event != objective || h.State != state {
			continue
		}
		for _, in := range f.Inputs {
			if in.Text == nil {
				return fmt.Errorf("%s reads what is not the script's: a test has no such numbers", f.Hook)
			}
			place := m.single(m.obj.IR.Inputs)[in.Offset : in.Offset+in.Size]
			clear(place)
			copy(place[:in.Size-1], in.Text(ir.Site{Group: group}))
		}
		if err := m.run(f, nil); err != nil {
			return err
		}
	}
	return nil
}

// The Machine is a judge.Listener: what happens is seen in the state of the objectives.

// Changed does nothing: alert probes run by themselves.
func (m *Machine) Changed(*check.SLO, slo.Change) {}

// Gated does nothing.
func (m *Machine) Gated(*check.SLO, engine.GateChange) {}

// Incident does nothing: a test writes none.
func (m *Machine) Incident(*check.SLO, []string) {}

// Trouble fails the test.
func (m *Machine) Trouble(err error) { m.keep(err) }
