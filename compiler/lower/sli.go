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

// SLILayout describes the value of one label set: Words words of 8 bytes, per CPU. The first counts events, of a gauge its
// values; a distribution has its sum next, a gauge its last value and the time of it; then come the objectives' words, the
// exemplar, and a distribution's histogram.
type SLILayout struct {
	SLI        *check.SLI
	Value      *ir.Map // keyed by the labels; per-CPU array of one without labels
	Other      *ir.Map // label sets beyond the limit; nil without labels
	Spans      *ir.Map // start times, nil without spans
	Stats      *ir.Map // SpanStats words, nil without spans
	Counters   *ir.Map // the last numbers of counters, nil unless the indicator is made of such
	Words      int
	Objectives []ObjectiveWords
	Exemplar   int // first word of the last bad event, see below; 0 without
	Histogram  int // first word: zeros, then native buckets
}

// The words before those of the objectives.
const (
	WordCount = 0
	WordSum   = 1 // of a distribution
	WordValue = 1 // of a gauge
	WordTime  = 2 // of a gauge: boot-clock ns
)

// The words of an exemplar, from SLILayout.Exemplar. Its time is 0 while it is written.
const (
	ExemplarTime    = iota // boot-clock ns
	ExemplarPidTgid        // process ID in the upper half, thread ID in the lower
	ExemplarGoid           // 0 outside of Go programs
	ExemplarValue          // of a distribution
	ExemplarTrace          // traceSize bytes, NUL-terminated unless full
	ExemplarWords   = ExemplarTrace + traceSize/8
)

const traceSize = 32

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
	value, other, spans, stats, counters *ir.Map
	layout                               *SLILayout
}

// sliMaps lays out one indicator.
func (l *lowerer) sliMaps(s *check.SLI) {
	lay := &SLILayout{SLI: s, Words: 1}
	switch s.Kind {
	case check.Distribution:
		lay.Words = 2
	case check.Gauge:
		lay.Words = 3
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
	if (s.Kind == check.Ratio || s.Kind == check.Counters) && !plain { // bad events count without an objective too
		lay.Objectives = append(lay.Objectives, ObjectiveWords{Bad: lay.Words, Total: WordCount})
		lay.Words++
	}
	if (s.Kind == check.Ratio || s.Kind == check.Distribution) && len(lay.Objectives) > 0 {
		lay.Exemplar = lay.Words
		lay.Words += ExemplarWords
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
	if s.Kind == check.Counters {
		m.counters = &ir.Map{Name: "cnt_" + s.Name, Kind: ir.Hash, Key: types.Uint64, Value: types.TupleOf(types.Uint64, types.Uint64),
			KeySize: 8, ValueSize: 16, MaxEntries: 1}
		if m.other != nil { // also those beyond the limit
			m.counters.Key, m.counters.KeySize, m.counters.MaxEntries = m.value.Key, m.value.KeySize, max(4*s.Limit, 1024)
		}
		l.out.Maps = append(l.out.Maps, m.counters)
	}
	lay.Value, lay.Other, lay.Spans, lay.Stats, lay.Counters = m.value, m.other, m.spans, m.stats, m.counters
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
	case types.Advance:
		f.advance(e)
	case types.Level:
		f.level(e)
	case types.Trace:
		f.trace(e)
	default:
		bug("verb %d", v)
	}
	return nil
}

// now is the boot clock.
func (f *fn) now() *ir.Value { return f.Help(ir.HelperKtimeBoot) }

func (f *fn) spanKey(e *syntax.Call) (*sliMaps, *ir.Value) {
	m := f.l.slis[f.sli]
	return m, f.keyOf(m.spans, f.sli.SpanKey, f.info.SpanKeys[e])
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
		f.whenValid(next)
		f.record(next, nil, func(p *ir.Value, lay *SLILayout) {
			f.add(p, 8*WordSum, v)
			f.objectives(p, lay, outcome{value: v})
			native.Observe(f.site(), p, 8*lay.Histogram, v, s.Schema, s.Unit.PerBase())
		})
	})
}

// whenValid goes on only with values that count.
func (f *fn) whenValid(next *ir.Block) {
	if f.sli.Valid == nil {
		return
	}
	ok := f.Block()
	f.cond(f.sli.Valid, ok, next)
	f.SetBlock(ok)
}

// event records one good or bad event.
func (f *fn) event(good *ir.Value, labels []syntax.Expr) {
	next := f.Block()
	f.withLabels(nil, labels, func() {
		f.record(next, nil, func(p *ir.Value, lay *SLILayout) { f.objectives(p, lay, outcome{good: good}) })
	})
}

// advance records what cumulative counters grew by since they were last seen with these labels. Calls with the same labels
// must not run at the same time; a poll probe's never do.
func (f *fn) advance(e *syntax.Call) {
	m := f.l.slis[f.sli]
	bad, total := f.scalar(e.Args[0]), f.scalar(e.Args[1])
	next := f.Block()
	f.withLabels(nil, e.Args[2:], func() {
		key := f.zeroKey()
		if m.other != nil {
			key = f.labels[""].v
		}
		first, reset, grown, counted := f.Block(), f.Block(), f.Block(), f.Block(ir.Scalar, ir.Scalar)
		old := f.NullCheck(f.Lookup(m.counters, key), first)
		wasBad, wasTotal := f.Load(old, 0, 8, false), f.Load(old, 8, 8, false)
		f.Store(old, 0, 8, bad)
		f.Store(old, 8, 8, total)
		f.If(f.Bin(ir.OpOr, f.Bin(ir.OpULt, bad, wasBad), f.Bin(ir.OpULt, total, wasTotal)), reset, grown)

		f.SetBlock(first)
		now := f.Addr(f.Slot("counters "+f.sli.Name, 16))
		f.Store(now, 0, 8, bad)
		f.Store(now, 8, 8, total)
		f.when(f.Update(m.counters, key, now, ir.UpdateAny), func() { f.count(ir.LossMapFull, m.counters) })
		f.Jump(next)

		f.SetBlock(reset)
		f.count(ir.LossCounterReset, m.counters)
		f.Jump(counted, bad, total)

		f.SetBlock(grown)
		f.Jump(counted, f.Bin(ir.OpSub, bad, wasBad), f.Bin(ir.OpSub, total, wasTotal))

		f.SetBlock(counted)
		n := counted.Params[1]
		some, excess, within, fits := f.Block(), f.Block(), f.Block(), f.Block(ir.Scalar)
		f.If(n, some, next)
		f.SetBlock(some)
		f.If(f.Bin(ir.OpULt, n, counted.Params[0]), excess, within)
		f.SetBlock(excess)
		f.Jump(fits, n)
		f.SetBlock(within)
		f.Jump(fits, counted.Params[0])
		f.SetBlock(fits)
		f.record(next, n, func(p *ir.Value, lay *SLILayout) {
			f.objectives(p, lay, outcome{bad: fits.Params[0], total: n})
		})
	})
}

// level records the value of a gauge.
func (f *fn) level(e *syntax.Call) {
	v := f.scalar(e.Args[0])
	next := f.Block()
	f.withLabels(v, e.Args[1:], func() {
		f.whenValid(next)
		f.record(next, nil, func(p *ir.Value, lay *SLILayout) {
			f.Store(p, 8*WordValue, 8, v)
			f.Store(p, 8*WordTime, 8, f.now())
			f.objectives(p, lay, outcome{value: v})
		})
	})
}

// prepareTrace makes room for the trace ID where the clause has one.
func (f *fn) prepareTrace() {
	f.traceID = nil
	for _, row := range f.info.Funcs {
		if row.Verb == types.Trace && f.traceID == nil {
			f.traceID = f.Slot("trace", traceSize)
			f.Zero(f.Addr(f.traceID), 0, traceSize)
		}
	}
}

// trace keeps the trace ID for the exemplars of the action.
func (f *fn) trace(e *syntax.Call) {
	p := f.Addr(f.traceID)
	f.Zero(p, 0, traceSize)
	f.into(e.Args[0], types.StringOf(traceSize), p, 0, true)
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
		named["value"] = operand{v: value, typ: types.IntOf(8, s.Kind == check.Gauge)}
	}
	info := f.info
	f.info, f.labels = s.Info, named
	body()
	f.info, f.labels = info, nil
}

// record finds the words of the label set, counts n events (nil: one) and lets body do the rest; it goes on at next.
func (f *fn) record(next *ir.Block, n *ir.Value, body func(p *ir.Value, lay *SLILayout)) {
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
	if n == nil {
		n = f.Const(1)
	}
	f.add(p, 8*WordCount, n)
	body(p, m.layout)
	f.plain = false
	f.Jump(next)
	f.SetBlock(next)
}

// outcome is what is recorded: one event with a value, one that is good or not, or so many of which some were bad.
type outcome struct{ value, good, bad, total *ir.Value }

// objectives counts an outcome in every objective, and keeps an exemplar of an event that was bad for one.
func (f *fn) objectives(p *ir.Value, lay *SLILayout, out outcome) {
	var missed *ir.Value
	for _, w := range lay.Objectives {
		m := f.objective(p, w, out)
		if missed != nil {
			m = f.Bin(ir.OpOr, missed, m)
		}
		missed = m
	}
	if lay.Exemplar > 0 {
		f.when(missed, func() { f.exemplar(p, 8*lay.Exemplar, out.value) })
	}
}

// objective counts an outcome in one objective: only if all filters hold, and as bad unless its condition does. The result
// is 1 when it was bad.
func (f *fn) objective(p *ir.Value, w ObjectiveWords, out outcome) *ir.Value {
	after := f.Block(ir.Scalar)
	zero, one := f.Const(0), f.Const(1)
	total, missed := out.total, out.total // how many there are, and how many are bad when the condition does not hold
	if total == nil {
		total, missed = one, one
	}
	o := w.SLO
	bad := f.Block()
	if o != nil {
		for _, e := range o.Filters {
			next, skip := f.Block(), f.Block()
			f.cond(e, next, skip)
			f.SetBlock(skip)
			f.Jump(after, zero)
			f.SetBlock(next)
		}
		if w.Total != WordCount {
			f.add(p, 8*w.Total, total)
		}
	}
	if out.good != nil {
		next := f.Block()
		f.If(out.good, next, bad)
		f.SetBlock(next)
	}
	if o != nil && o.Op != "" {
		next := f.Block()
		f.If(f.compare(o.Op, out.value, f.Const(o.Limit), f.sli.Kind == check.Gauge), next, bad)
		f.SetBlock(next)
	}
	if o != nil && o.Where != nil {
		next := f.Block()
		f.cond(o.Where, next, bad)
		f.SetBlock(next)
	}
	if out.bad != nil {
		f.add(p, 8*w.Bad, out.bad)
	}
	f.Jump(after, zero)
	f.SetBlock(bad)
	f.add(p, 8*w.Bad, missed)
	f.Jump(after, one)
	f.SetBlock(after)
	return after.Params[0]
}

// exemplar keeps who was behind a bad event.
func (f *fn) exemplar(p *ir.Value, off int, value *ir.Value) {
	at := func(word int) int { return off + 8*word }
	f.Store(p, at(ExemplarTime), 8, f.Const(0))
	f.Store(p, at(ExemplarPidTgid), 8, f.l.opt.Kernel.PidTgid(f.Builder))
	goid := f.Const(0)
	if t := f.target(); t.Form == types.GoArgs && t.Goid >= 0 {
		goid = f.goid()
	}
	f.Store(p, at(ExemplarGoid), 8, goid)
	if value == nil {
		value = f.Const(0)
	}
	f.Store(p, at(ExemplarValue), 8, value)
	if f.traceID != nil {
		f.Copy(p, at(ExemplarTrace), f.Addr(f.traceID), traceSize)
	} else {
		f.Zero(p, at(ExemplarTrace), traceSize)
	}
	f.Store(p, at(ExemplarTime), 8, f.now())
}
