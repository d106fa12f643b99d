package lower

import (
	"fmt"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// readLayout reads the fields of the structs that are printed: once a script is compiled nobody can look them up.
func readLayout(t *types.Type, depth int) {
	switch {
	case t == nil || depth > 16:
	case t.Kind == types.Struct && t.Layout != nil:
		for _, f := range t.Layout.Fields() {
			readLayout(f.Type, depth+1)
		}
	case t.Kind == types.Array:
		readLayout(t.Elem, depth+1)
	case t.Kind == types.Tuple:
		for _, e := range t.Elems {
			readLayout(e, depth+1)
		}
	}
}

func (f *fn) site() ir.Lowering { return site{f} }

// site is fn seen as ir.Lowering; it keeps the builder's own method names apart.
type site struct{ f *fn }

func (s site) Builder() *ir.Builder              { return s.f.Builder }
func (s site) Kernel() *ir.Kernel                { return &s.f.l.opt.Kernel }
func (s site) Target() *types.Target             { return s.f.target() }
func (s site) Type(e syntax.Expr) *types.Type    { return s.f.printed(e) }
func (s site) Const(e syntax.Expr) (int64, bool) { v, ok := s.f.info.Consts[e]; return v, ok }
func (s site) Scalar(e syntax.Expr) *ir.Value    { return s.f.scalar(e) }
func (s site) Number(e syntax.Expr) *ir.Value    { return s.f.number(s.f.scalar(e)) }
func (s site) Into(e syntax.Expr, t *types.Type, p *ir.Value, off int, pad bool) {
	s.f.into(e, t, p, off, pad)
}
func (s site) CPUs() int                                     { return s.f.l.opt.CPUs }
func (s site) Notes(c *syntax.Call) []int64                  { return s.f.info.Notes[c] }
func (s site) Memory(e syntax.Expr, t *types.Type) *ir.Value { return s.f.memory(e, t, true) }
func (s site) Config() *types.Config                         { return &s.f.l.in.Config }
func (s site) Scan(most int64, start []*ir.Value, over int64, turn func(state []*ir.Value, again, done func(...*ir.Value))) *ir.Value {
	return s.f.scan(most, start, over, turn)
}
func (s site) Raw(e syntax.Expr, dst, size *ir.Value, limit int) *ir.Value {
	return s.f.raw(e, dst, size, limit)
}
func (s site) Map(e *syntax.Map) *ir.Map { return s.f.l.maps[s.f.info.Maps[e]] }
func (s site) Key(m *ir.Map, keys []syntax.Expr) *ir.Value {
	if m.Key == nil {
		return nil
	}
	return s.f.key(m, keys)
}
func (s site) Find(m *ir.Map, key *ir.Value, into *syntax.Var) *ir.Value {
	return s.f.find(m, key, s.f.info.Locals[into])
}
func (s site) Tracked(e syntax.Expr) *ir.Value             { return s.f.tracked(e) }
func (s site) Touch(m *ir.Map)                             { s.f.cache.touch(m) }
func (s site) Word(i int) *ir.Value                        { return s.f.plainWord(i) }
func (s site) Add(p *ir.Value, off int, x *ir.Value)       { s.f.add(p, off, x) }
func (s site) Rodata(data string) *ir.Value                { return s.f.rodata(data) }
func (s site) Global(g ir.Global) *ir.Value                { return s.f.global(g) }
func (s site) Objective(index int64) *ir.Value             { return s.f.objectiveWords(index) }
func (s site) Input(in *ir.Input) *ir.Value                { return s.f.input(in) }
func (s site) StackMap(depth int) *ir.Map                  { return s.f.l.stackMap(depth) }
func (s site) Unwind() *ir.Unwind                          { return s.f.unwind() }
func (s site) NoteProcess(pid *ir.Value)                   { s.f.note(pid) }
func (s site) Reader() *ir.Value                           { return s.f.reader() }
func (s site) Goid() *ir.Value                             { return s.f.goid() }
func (s site) Emit(ev *ir.Event, a []syntax.Expr, x int64) { s.f.emit(ev, a, x) }
func (s site) Record(ev *ir.Event, x int64, fill func(*ir.Value) *ir.Value) {
	s.f.declare(ev)
	s.f.send(ev, x, fill)
}
func (s site) Count(loss ir.Loss, m *ir.Map) { s.f.count(loss, m) }
func (s site) When(cond *ir.Value, f func()) { s.f.when(cond, f) }
func (s site) Finish()                       { s.f.Jump(s.f.end) }
func (s site) Span() source.Span             { return s.f.Builder.Span }

func (f *fn) target() *types.Target {
	t := *f.entryOf.targets[0]
	t.Args, t.Form = f.entryOf.args(), f.entryOf.form()
	return &t
}

// rodata finds or adds constant data.
func (f *fn) rodata(data string) *ir.Value {
	l := f.l
	if l.rodata == nil {
		l.rodata = &ir.Map{Name: "rodata", Kind: ir.Array, KeySize: 4, MaxEntries: 1}
		l.out.Maps = append(l.out.Maps, l.rodata)
	}
	at, ok := l.rodataAt[data]
	if !ok {
		at = len(l.rodata.Init)
		l.rodata.Init = append(l.rodata.Init, data...)
		for len(l.rodata.Init)%8 != 0 {
			l.rodata.Init = append(l.rodata.Init, 0)
		}
		l.rodata.ValueSize = len(l.rodata.Init)
		l.rodataAt[data] = at
	}
	return f.Offset(f.MapValue(l.rodata), int64(at))
}

func (f *fn) global(g ir.Global) *ir.Value {
	l := f.l
	if l.globals == nil {
		l.globals = &ir.Map{Name: "globals", Kind: ir.Array, KeySize: 4, MaxEntries: 1, ValueSize: 8 * int(ir.NumGlobals)}
		l.out.Maps = append(l.out.Maps, l.globals)
	}
	return f.Offset(f.MapValue(l.globals), 8*int64(g))
}

// objectiveWords is the address of the words that the engine sets for an slo.
func (f *fn) objectiveWords(index int64) *ir.Value {
	out := f.l.out
	if out.Objectives == nil {
		out.Objectives = &ir.Map{Name: "objectives", Kind: ir.Array, KeySize: 4, MaxEntries: 1,
			ValueSize: 8 * ir.ObjectiveWords * len(f.l.in.SLOs)}
		out.Maps = append(out.Maps, out.Objectives)
	}
	return f.Offset(f.MapValue(out.Objectives), 8*ir.ObjectiveWords*index)
}

// input makes room for what user space reads before each run of the function, and is its address.
func (f *fn) input(in *ir.Input) *ir.Value {
	out := f.l.out
	if out.Inputs == nil {
		out.Inputs = &ir.Map{Name: "inputs", Kind: ir.Array, KeySize: 4, MaxEntries: 1}
		out.Maps = append(out.Maps, out.Inputs)
	}
	in.Offset, in.Span = out.Inputs.ValueSize, f.Builder.Span
	out.Inputs.ValueSize += (in.Size + 7) &^ 7
	f.Func.Inputs = append(f.Func.Inputs, in)
	return f.Offset(f.MapValue(out.Inputs), int64(in.Offset))
}

// How many different stacks are kept, of which those that are allocated before take much memory; as many as max_map_keys, where
// that is more.
const (
	maxStacks     = 16384
	maxStacksPerf = maxStacks / 4
	mostStacks    = 1 << 16
)

// stackMap keeps return addresses by their hash.
func (l *lowerer) stackMap(depth int) *ir.Map {
	if m := l.out.Stacks[depth]; m != nil {
		return m
	}
	m := &ir.Map{Name: fmt.Sprintf("stacks%d", depth), Kind: ir.Hash, KeySize: 8, ValueSize: 8 * depth, MaxEntries: max(maxStacks, l.in.Config.MaxMapKeys), NoPrealloc: true}
	for _, g := range l.groups {
		if g.typ == ir.PerfEvent { // see prealloc
			m.NoPrealloc, m.MaxEntries = false, min(max(maxStacksPerf, l.in.Config.MaxMapKeys), mostStacks)
		}
	}
	l.out.Maps = append(l.out.Maps, m)
	if l.out.Stacks == nil {
		l.out.Stacks = map[int]*ir.Map{}
	}
	l.out.Stacks[depth] = m
	return m
}

// unwind makes the maps by which callers are found, once.
func (f *fn) unwind() *ir.Unwind {
	l := f.l
	if l.out.Unwind == nil {
		l.out.Unwind = &ir.Unwind{
			Processes: &ir.Map{Name: "unwind processes", Kind: ir.Hash, KeySize: 8, ValueSize: 8 * ir.UnwindWords, MaxEntries: ir.UnwindProcesses, NoPrealloc: true},
			Rows:      &ir.Map{Name: "unwind rows", Kind: ir.Array, KeySize: 4, ValueSize: ir.UnwindRow * l.in.Config.UnwindRows, MaxEntries: 1, Mapped: true},
			Span:      f.Builder.Span,
		}
		l.out.Maps = append(l.out.Maps, l.out.Unwind.Processes, l.out.Unwind.Rows)
	}
	return l.out.Unwind
}

// goid is the ID of the running goroutine. Go's calling convention keeps the current g in R14, at the entry and at every
// RET.
func (f *fn) goid() *ir.Value {
	const r14 = 1 // word of the pt_regs of x86-64
	p := f.Addr(f.Slot("goid", 8))
	f.Read(p, f.AddImm(f.Word(r14), int64(f.target().Goid)), 8, false)
	return f.Load(p, 0, 8, false)
}

// zeros is memory of at least size bytes that is never written.
func (f *fn) zeros(size int) *ir.Value {
	l := f.l
	if l.zeros == nil {
		l.zeros = &ir.Map{Name: "zeros", Kind: ir.Array, KeySize: 4, MaxEntries: 1}
		l.out.Maps = append(l.out.Maps, l.zeros)
	}
	l.zeros.ValueSize = max(l.zeros.ValueSize, (size+7)&^7)
	return f.MapValue(l.zeros)
}

// Health is the map of the counters of losses.
func Health() *ir.Map {
	return &ir.Map{Name: "health", Kind: ir.Array, KeySize: 4, MaxEntries: 1}
}

// lossSite is what has a counter of its own.
type lossSite struct {
	loss ir.Loss
	m    *ir.Map
	at   source.Span
}

// count adds one to a health counter.
func (f *fn) count(loss ir.Loss, m *ir.Map) {
	l := f.l
	if l.out.Health == nil {
		l.out.Health = Health()
		l.out.Maps = append(l.out.Maps, l.out.Health)
	}
	site := lossSite{loss, m, f.Builder.Span}
	c := l.losses[site]
	if c == nil {
		c = &ir.Counter{ID: len(l.out.Counters), Loss: loss, Map: m, Span: f.Builder.Span}
		l.out.Counters = append(l.out.Counters, c)
		l.losses[site] = c
	}
	f.Atomic(f.MapValue(l.out.Health), 8*c.ID, f.Const(1))
}
