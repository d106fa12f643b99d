package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// What a generation inherits is kernel maps: both use one map, so nothing is copied and no event falls between. A map is
// the same when the numbers in it mean the same, which is decided from the texts.

// heirs finds the maps of the generation before that this one goes on with, by its own maps.
func (e *Engine) heirs(before *Engine) map[*ir.Map]*ir.Map {
	was := map[string]*ir.Map{}
	for _, m := range before.obj.IR.Maps {
		was[m.Name] = m
	}
	changed := changedIndicators(before.obj, e.obj)
	out := map[*ir.Map]*ir.Map{}
	for _, m := range e.obj.IR.Maps {
		o := was[m.Name]
		if o != nil && sameMap(o, m) && !changed[m.Name] && e.keeps(before, m) {
			out[m] = o
		}
	}
	return out
}

// sameMap compares what the kernel sees and what the script calls the contents.
func sameMap(a, b *ir.Map) bool {
	return a.Kind == b.Kind && a.KeySize == b.KeySize && a.ValueSize == b.ValueSize && a.MaxEntries == b.MaxEntries &&
		(a.NoPrealloc == b.NoPrealloc || b.NoPrealloc) && sameType(a.Key, b.Key) && sameType(a.Value, b.Value)
}

func sameType(a, b *types.Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Kind == types.Aggregate && b.Kind == types.Aggregate {
		return a.Agg.Equal(b.Agg) && a.Agg.Signed == b.Agg.Signed
	}
	return a.Equal(b)
}

// keeps tells which kinds of maps have something to keep: those of the script, of its indicators and of its stacks, the
// time of its start, and the counters of losses where they are the same.
func (e *Engine) keeps(before *Engine, m *ir.Map) bool {
	switch {
	case m == e.obj.IR.Health:
		return slices.EqualFunc(before.obj.IR.Counters, e.obj.IR.Counters, func(a, b *ir.Counter) bool {
			return a.Loss == b.Loss && a.Span == b.Span && (a.Map == nil) == (b.Map == nil) && (a.Map == nil || a.Map.Name == b.Map.Name)
		}) && before.obj.IR.Source.Text == e.obj.IR.Source.Text
	case m.Name == "globals", strings.HasPrefix(m.Name, "stacks"), m.Name[0] == '@' && m.Value != nil:
		return true
	}
	for _, l := range e.obj.Layout.SLIs {
		for _, own := range indicatorMaps(l) {
			if own == m {
				return true
			}
		}
	}
	return false
}

func indicatorMaps(l *lower.SLILayout) []*ir.Map {
	return []*ir.Map{l.Value, l.Other, l.Counters, l.Spans, l.Stats}
}

// changedIndicators are the names of the maps of indicators that count something else than before. The spans that run
// are no counts: they are kept as long as their keys are the same.
func changedIndicators(before, now *compiler.Object) map[string]bool {
	was := map[string]string{}
	for _, l := range before.Layout.SLIs {
		was[l.SLI.Name] = indicatorText(before, l)
	}
	out := map[string]bool{}
	for _, l := range now.Layout.SLIs {
		if was[l.SLI.Name] == indicatorText(now, l) {
			continue
		}
		for _, m := range []*ir.Map{l.Value, l.Other, l.Counters} {
			if m != nil {
				out[m.Name] = true
			}
		}
	}
	return out
}

// indicatorText is what the words of an indicator mean: its own text, blanks left aside, and the conditions of its
// objectives. Their targets, windows and alerts are not part of it.
func indicatorText(obj *compiler.Object, l *lower.SLILayout) string {
	var b strings.Builder
	b.WriteString(plain(obj.IR.Source, l.SLI.Node.Span()))
	fmt.Fprint(&b, "\n", l.Words, l.Exemplar, l.Histogram)
	for _, w := range l.Objectives {
		fmt.Fprint(&b, "\n", w.Bad, w.Total)
		if w.SLO == nil {
			continue
		}
		fmt.Fprint(&b, w.SLO.Op, w.SLO.Limit)
		for _, f := range w.SLO.Filters {
			b.WriteString(" filter " + syntax.ExprString(f))
		}
		if w.SLO.Where != nil {
			b.WriteString(" where " + syntax.ExprString(w.SLO.Where))
		}
	}
	return b.String()
}

// plain is a part of a script with single blanks.
func plain(file *source.File, span source.Span) string {
	return strings.Join(strings.Fields(file.Text[span.Start:span.End]), " ")
}

// clone makes a handle of its own for a map of the engine.
func (e *Engine) clone(m *ir.Map) (*ebpf.Map, error) {
	e.closing.RLock()
	defer e.closing.RUnlock()
	km, err := e.maps[m].Clone()
	if err == nil && km == nil {
		err = fmt.Errorf("it is closed")
	}
	if err != nil {
		return nil, fmt.Errorf("keep map %s: %w", m.Name, err)
	}
	return km, nil
}

// inherits tells whether the engine goes on with a map of the generation before.
func (e *Engine) inherits(name string) bool { return e.inherited[name] }

// Inherits tells whether an indicator goes on with the counters of the generation before.
func (e *Engine) Inherits(l *lower.SLILayout) bool { return e.inherited[l.Value.Name] }

// beginsAnew tells whether begin has to run although a generation before did: its text is another one, or a map that it
// fills has not been kept.
func (e *Engine) beginsAnew() bool {
	before := e.opt.Previous
	if before == nil || beginText(before.obj) != beginText(e.obj) {
		return true
	}
	for _, c := range e.obj.Checked.Clauses {
		if !isBegin(c.Targets) {
			continue
		}
		for _, m := range c.Info.Maps {
			if !e.inherited[m.Name] {
				return true
			}
		}
	}
	return false
}

func isBegin(targets []*types.Target) bool {
	return slices.ContainsFunc(targets, func(t *types.Target) bool { return t.Hook.Kind == types.HookBegin })
}

func beginText(obj *compiler.Object) string {
	var b strings.Builder
	for _, c := range obj.Checked.Clauses {
		if isBegin(c.Targets) {
			b.WriteString(plain(obj.IR.Source, c.Probe.Span()) + "\n")
		}
	}
	return b.String()
}
