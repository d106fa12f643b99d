package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
)

// report is everything that can be told of a run at one time.
type report struct {
	slis   []export.SLIReport
	slos   []export.SLOReport
	losses []export.Loss
}

// lostEvents is how many records did not fit into the ring buffer.
func (r report) lostEvents() uint64 {
	n := uint64(0)
	for _, l := range r.losses {
		if l.Cause == ir.LossRingFull.String() {
			n += l.Count
		}
	}
	return n
}

// series reads what an indicator recorded.
func (r *session) series(l *lower.SLILayout) ([]agg.Series, error) {
	reader := func(m *ir.Map) agg.Reader {
		return func(f func(key, value []byte) error) error { return r.eng.Read(m, f) }
	}
	return agg.ReadSLI(l, reader(l.Value), reader(l.Other))
}

// scale is the bounds of an indicator's buckets, nil for a ratio.
func (r *session) scale(s *check.SLI) *agg.Scale {
	if s.Kind != check.Distribution {
		return nil
	}
	return agg.NewScale(s.Schema, s.Unit.PerBase())
}

// report reads everything.
func (r *session) report() (report, error) {
	var rep report
	var elapsed time.Duration
	if !r.start.IsZero() { // else it was interrupted while attaching
		elapsed = time.Since(r.start)
	}
	values := r.values
	for _, l := range r.obj.Layout.SLIs {
		series, err := r.series(l)
		if err != nil {
			return rep, err
		}
		missing, err := r.missing(l)
		if err != nil {
			return rep, err
		}
		elapsed := elapsed
		if at, ok := r.since[l.SLI.Name]; ok {
			elapsed = time.Since(at)
		}
		rep.slis = append(rep.slis, export.NewSLIReport(l, series, missing, elapsed, values))
		if r.follows == nil {
			rep.slos = append(rep.slos, export.NewSLOReports(l, series, values, sentence)...)
		}
	}
	if r.follows != nil {
		rep.slos = r.follows.judge.Reports()
	}
	spans, err := r.spanLosses()
	if err != nil {
		return rep, err
	}
	losses, err := r.losses()
	rep.losses = addLosses(spans, losses)
	return rep, err
}

// missing is how many events of an indicator were not counted.
func (r *session) missing(l *lower.SLILayout) (uint64, error) {
	n, _, _, err := judge.Unknown(r.obj, r.eng, l)
	return n + r.carried.missing[l.SLI.Name], err
}

// spanLosses are the spans that did not fit or were pushed out.
func (r *session) spanLosses() ([]export.Loss, error) {
	var out []export.Loss
	for _, l := range r.obj.Layout.SLIs {
		spans, err := r.eng.Spans(l)
		if err != nil {
			return nil, err
		}
		if n := spans.Lost(); n > 0 {
			out = append(out, export.Loss{Cause: ir.LossSpanFull.String(), Map: l.SLI.Name, Count: n})
		}
	}
	return out, nil
}

// losses reads every counter of something lost, besides spans of this generation.
func (r *session) losses() ([]export.Loss, error) {
	own, err := r.ownLosses()
	return addLosses(own, r.carried.losses), err
}

// lossesOf are counted losses as they are printed.
func lossesOf(obj *compiler.Object, counted []engine.Loss) []export.Loss {
	var out []export.Loss
	for _, l := range counted {
		e := export.Loss{Cause: l.Counter.Loss.String(), Place: obj.IR.Source.Place(l.Counter.Span), Count: l.N}
		if l.Counter.Map != nil {
			e.Map = l.Counter.Map.Name
		}
		out = append(out, e)
	}
	return out
}

// ownLosses are those of this generation.
func (r *session) ownLosses() ([]export.Loss, error) {
	counted, damaged, err := r.eng.Losses()
	if err != nil {
		return nil, err
	}
	out := lossesOf(r.obj, counted)
	if damaged > 0 {
		out = append(out, export.Loss{Cause: "damaged", Count: damaged})
	}
	for _, f := range r.eng.PollFailures() {
		out = append(out, export.Loss{Cause: "poll_failed", Place: r.obj.IR.Source.Place(f.Func.Span), Count: f.N, Detail: f.First.Error()})
	}
	programs, err := r.eng.Programs()
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if p.Missed > 0 {
			out = append(out, export.Loss{Cause: "missed", Place: p.Hook, Count: p.Missed})
		}
		if p.Lost > 0 {
			out = append(out, export.Loss{Cause: "unfollowed", Place: p.Hook, Count: p.Lost})
		}
	}
	return out, nil
}

// sentence is an objective as a person reads it: "99.9 % of checkout <= 200ms / 30d".
func sentence(o *check.SLO) string {
	n := o.Node.Sentence
	if n == nil {
		var parts []string
		for _, p := range o.Parts {
			parts = append(parts, fmt.Sprintf("%s: %d", p.SLO.Name, p.Weight))
		}
		return "all(" + strings.Join(parts, ", ") + ")" + windowText(o)
	}
	s := strings.TrimSuffix(n.Objective.Raw, "%") + " % of "
	if n.Minutes {
		s += "minutes of "
	}
	return s + o.SLI.Name + condition(o) + windowText(o)
}

// condition is which events an objective looks at, and when one is good: "[route == "/pay"] <= 200ms".
func condition(o *check.SLO) (s string) {
	if len(o.Filters) > 0 {
		var filters []string
		for _, f := range o.Filters {
			filters = append(filters, syntax.ExprString(f))
		}
		s += "[" + strings.Join(filters, ", ") + "]"
	}
	n := o.Node.Sentence
	if n.Op != "" {
		s += " " + n.Op + " " + syntax.ExprString(n.Limit)
	}
	if n.Where != nil {
		s += " where " + syntax.ExprString(n.Where)
	}
	return s
}

// windowText is the window of an objective: " / 30d".
func windowText(o *check.SLO) string {
	switch {
	case o.Calendar != "":
		return " / " + o.Calendar
	case o.Parts != nil:
		return windowText(o.Parts[0].SLO)
	case o.Node.Sentence.Window != nil && o.Node.Sentence.Window.Length != nil:
		return " / " + o.Node.Sentence.Window.Length.Raw
	}
	return ""
}
