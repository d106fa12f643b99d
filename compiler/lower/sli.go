package lower

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Layout tells user space where the numbers of the script's indicators are.
type Layout struct {
	SLIs []*SLILayout
}

// SLILayout describes the value of one label set: Words words of 8 bytes, per CPU. The first counts events; a
// distribution has its sum next; then the objectives' words; then a distribution's histogram.
type SLILayout struct {
	SLI        *check.SLI
	Value      *ir.Map // keyed by the labels; per-CPU array of one without labels
	Other      *ir.Map // label sets beyond the limit; nil without labels
	Spans      *ir.Map // start times, nil without spans
	Stats      *ir.Map // SpanStats words, nil without spans
	Words      int
	Objectives []ObjectiveWords
	Histogram  int // first word: zeros, then native buckets
}

// The words of a distribution before those of its objectives.
const (
	WordCount = 0
	WordSum   = 1
)

// ObjectiveWords are indexes of words. Total is WordCount unless the objective filters events.
type ObjectiveWords struct {
	SLO   *check.SLO
	Bad   int
	Total int
}

// The words of the span statistics.
const (
	SpanStarted     = iota // start() calls
	SpanOverwritten        // start() on a key whose span was still open
	SpanStopped            // stop() that found its start
	SpanMissed             // stop() without a start
	SpanCancelled          // cancel() that found its start
	SpanFailed             // start() that could not be remembered
	NumSpanStats
)

type sliMaps struct {
	value, other, spans, stats *ir.Map
	layout                     *SLILayout
}

// sliMaps lays out one indicator.
func (l *lowerer) sliMaps(s *check.SLI) {
	lay := &SLILayout{SLI: s, Words: 1}
	if s.Kind == check.Distribution {
		lay.Words = 2
	}
	plain := false // an objective that counts what the verbs call bad, and nothing else
	for _, o := range s.Objectives {
		w := ObjectiveWords{SLO: o, Bad: lay.Words, Total: WordCount}
		lay.Words++
		if len(o.Filters) > 0 {
			w.Total = lay.Words
			lay.Words++
		}
		plain = plain || len(o.Filters) == 0 && o.Where == nil
		lay.Objectives = append(lay.Objectives, w)
	}
	if s.Kind == check.Ratio && !plain { // bad events count without an objective too
		lay.Objectives = append(lay.Objectives, ObjectiveWords{Bad: lay.Words, Total: WordCount})
		lay.Words++
	}
	lay.Histogram = lay.Words
	if s.Kind == check.Distribution {
		lay.Words += native.Words(s.Schema)
	}
	m := &sliMaps{layout: lay}
	m.value = &ir.Map{Name: "sli_" + s.Name, Kind: ir.PerCPUArray, KeySize: 4, MaxEntries: 1, ValueSize: 8 * lay.Words}
	if labels := s.LabelTypes(); labels != nil {
		m.other = &ir.Map{Name: "oth_" + s.Name, Kind: ir.PerCPUArray, KeySize: 4, MaxEntries: 1, ValueSize: 8 * lay.Words}
		m.value.Kind, m.value.Key = ir.PerCPUHash, labels
		m.value.KeySize, m.value.MaxEntries = labels.Memory(), s.Limit
		l.out.Maps = append(l.out.Maps, m.other)
	}
	l.out.Maps = append(l.out.Maps, m.value)
	if s.SpanKey != nil {
		m.spans = &ir.Map{Name: "spn_" + s.Name, Kind: ir.LRUHash, Key: s.SpanKey, Value: types.Uint64,
			KeySize: s.SpanKey.Memory(), ValueSize: 8, MaxEntries: l.in.Config.SpanKeys}
		m.stats = &ir.Map{Name: "sst_" + s.Name, Kind: ir.PerCPUArray, KeySize: 4, MaxEntries: 1, ValueSize: 8 * NumSpanStats}
		l.out.Maps = append(l.out.Maps, m.spans, m.stats)
	}
	lay.Value, lay.Other, lay.Spans, lay.Stats = m.value, m.other, m.spans, m.stats
	l.slis[s] = m
}

func (l *lowerer) layout() *Layout {
	out := &Layout{}
	for _, s := range l.in.SLIs {
		out.SLIs = append(out.SLIs, l.slis[s].layout)
	}
	return out
}

// verb lowers a recording verb; only stop has a value.
func (f *fn) verb(v types.Verb, e *syntax.Call) *ir.Value {
	saved := f.Builder.Span
	f.Builder.Span = e.Span()
	defer func() { f.Builder.Span = saved }()
	switch v {
	case types.Start:
		f.start(e)
	case types.Stop:
		return f.stop(e)
	case types.Cancel:
		f.cancel(e)
	case types.Observe:
		f.observe(e)
	case types.Good:
		f.event(f.Const(1), e.Args)
	case types.BadVerb:
		f.event(f.Const(0), e.Args)
	case types.EventIf:
		f.event(f.scalar(e.Args[0]), e.Args[1:])
	default:
		bug("verb %d", v)
	}
	return nil
}

// now is the boot clock.
func (f *fn) now() *ir.Value { return f.Help(ir.HelperKtimeBoot) }

func (f *fn) spanKey(e *syntax.Call) (*sliMaps, *ir.Value) {
	m := f.l.slis[f.sli]
	return m, f.keyOf(m.spans, f.sli.SpanKey, e.Args)
}

// stat adds one to a span statistic.
func (f *fn) stat(m *sliMaps, word int) {
	next := f.Block()
	p := f.NullCheck(f.Lookup(m.stats, f.zeroKey()), next)
	f.plain = f.l.plain(m.stats, f.Func)
	f.add(p, 8*word, f.Const(1))
	f.plain = false
	f.Jump(next)
	f.SetBlock(next)
}

func (f *fn) start(e *syntax.Call) {
	m, key := f.spanKey(e)
	f.stat(m, SpanStarted)
	fresh, next := f.Block(), f.Block()
	open := f.NullCheck(f.Lookup(m.spans, key), fresh)
	f.Store(open, 0, 8, f.now())
	f.stat(m, SpanOverwritten)
	f.Jump(next)

	f.SetBlock(fresh)
	p := f.Addr(f.Slot("start "+f.sli.Name, 8))
	f.Store(p, 0, 8, f.now())
	f.when(f.Update(m.spans, key, p, ir.UpdateAny), func() { f.stat(m, SpanFailed) })
	f.Jump(next)
	f.SetBlock(next)
}

func (f *fn) stop(e *syntax.Call) *ir.Value {
	m, key := f.spanKey(e)
	missed := f.Block()
	open := f.NullCheck(f.Lookup(m.spans, key), missed)
	started := f.Load(open, 0, 8, false)
	elapsed := f.Bin(ir.OpSub, f.now(), started)
	f.Delete(m.spans, key)
	f.stat(m, SpanStopped)
	after := f.Current()
	f.SetBlock(missed)
	f.stat(m, SpanMissed)
	f.Jump(f.end)
	f.SetBlock(after)
	return elapsed
}

func (f *fn) cancel(e *syntax.Call) {
	m, key := f.spanKey(e)
	next, found := f.Block(), f.Block()
	f.If(f.Delete(m.spans, key), next, found)
	f.SetBlock(found)
	f.stat(m, SpanCancelled)
	f.Jump(next)
	f.SetBlock(next)
}

// observe records one value.
func (f *fn) observe(e *syntax.Call) {
	s := f.sli
	v := f.scalar(e.Args[0])
	if f.info.Type(e.Args[0]).Signed {
		v = native.NotNegative(f.site(), v)
	}
	next := f.Block()
	f.withLabels(v, e.Args[1:], func() {
		if s.Valid != nil {
			ok := f.Block()
			f.cond(s.Valid, ok, next)
			f.SetBlock(ok)
		}
		f.record(next, func(p *ir.Value, lay *SLILayout) {
			f.add(p, 8*WordSum, v)
			for _, o := range lay.Objectives {
				f.objective(p, o, v, nil)
			}
			native.Observe(f.site(), p, 8*lay.Histogram, v, s.Schema, s.Unit.PerBase())
		})
	})
}

// event records one good or bad event.
func (f *fn) event(good *ir.Value, labels []syntax.Expr) {
	next := f.Block()
	f.withLabels(nil, labels, func() {
		f.record(next, func(p *ir.Value, lay *SLILayout) {
			for _, o := range lay.Objectives {
				f.objective(p, o, nil, good)
			}
		})
	})
}

// withLabels evaluates the labels, and names them and the value for the conditions of the sli.
func (f *fn) withLabels(value *ir.Value, labels []syntax.Expr, body func()) {
	s := f.sli
	named := map[string]operand{}
	if t := s.LabelTypes(); t != nil {
		p := f.Addr(f.Slot("labels "+s.Name, t.Memory()))
		off := 0
		for i, e := range labels {
			f.into(e, s.Labels[i].Type, p, off, true)
			o := operand{typ: s.Labels[i].Type}
			if o.typ.Scalar() {
				o.v = f.Load(p, off, 8, false)
			} else {
				o.v = f.Offset(p, int64(off))
			}
			named[s.Labels[i].Name] = o
			off += o.typ.Memory()
		}
		named[""] = operand{v: p, typ: t} // the whole key
	}
	if value != nil {
		named["value"] = operand{v: value, typ: types.Uint64}
	}
	info := f.info
	f.info, f.labels = s.Info, named
	body()
	f.info, f.labels = info, nil
}

// record finds the words of the label set, counts the event and lets body do the rest; it goes on at next.
func (f *fn) record(next *ir.Block, body func(p *ir.Value, lay *SLILayout)) {
	m := f.l.slis[f.sli]
	var p *ir.Value
	if m.other == nil {
		p = f.NullCheck(f.Lookup(m.value, f.zeroKey()), next)
	} else {
		found := f.Block(ir.MapValue)
		p = f.lookupOrInit(m.value, f.labels[""].v, func() {
			f.count(ir.LossOverLimit, m.value)
			f.Jump(found, f.NullCheck(f.Lookup(m.other, f.zeroKey()), next))
		})
		f.Jump(found, p)
		f.SetBlock(found)
		p = found.Params[0]
	}
	f.plain = f.l.plain(m.value, f.Func)
	f.add(p, 8*WordCount, f.Const(1))
	body(p, m.layout)
	f.plain = false
	f.Jump(next)
	f.SetBlock(next)
}

// objective counts the event in one objective: only if all filters hold, and as bad unless its condition does.
func (f *fn) objective(p *ir.Value, w ObjectiveWords, value, good *ir.Value) {
	after := f.Block()
	o := w.SLO
	bad := f.Block()
	if o != nil {
		for _, e := range o.Filters {
			next := f.Block()
			f.cond(e, next, after)
			f.SetBlock(next)
		}
		if w.Total != WordCount {
			f.add(p, 8*w.Total, f.Const(1))
		}
	}
	if good != nil {
		next := f.Block()
		f.If(good, next, bad)
		f.SetBlock(next)
	}
	if o != nil && o.Op != "" {
		next := f.Block()
		f.If(f.compare(o.Op, value, f.Const(o.Limit), false), next, bad)
		f.SetBlock(next)
	}
	if o != nil && o.Where != nil {
		f.cond(o.Where, after, bad)
	} else {
		f.Jump(after)
	}
	f.SetBlock(bad)
	f.add(p, 8*w.Bad, f.Const(1))
	f.Jump(after)
	f.SetBlock(after)
}
