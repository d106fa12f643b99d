// Package lower turns a checked script into IR.
//
// Every (clause, target) pair is placed on a hook, the cheapest place of the kernel that serves it; clauses on one hook
// become one function, one after the other, and hooks with the same clauses share it. Within a clause the IR is built
// straight from the typed tree: scalar variables are values, joined by block parameters; strings, keys and tuples are
// written into memory where they are needed. Keys are built once per action and map values looked up once, as long as
// nothing in between can have changed them (see keyCache).
//
// What single functions, variables and aggregations do is in the rows of stdlib, reached through ir.Library; this
// package knows the statements, operators, maps, events and the verbs of sli bodies. User errors were all found by
// check: anything unexpected here panics with "BUG:". Start at Program.
package lower

import (
	"fmt"
	"slices"
	"sort"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// preallocLimit is how many bytes a hash map may take before its entries are allocated one by one: to allocate 4 MB
// ahead takes 7 ms of the start.
const preallocLimit = 1 << 20

// Options says for whom the program is lowered.
type Options struct {
	Library ir.Library
	Kernel  ir.Kernel
	CPUs    int  // possible CPUs, to judge the size of per-CPU maps
	Pid     int  // only this process, 0 for all
	Preempt bool // every program may be preempted by itself, as those of uprobes: what tests run as raw tracepoints
}

// lowerer is the state of one program.
type lowerer struct {
	opt  Options
	in   *check.Program
	out  *ir.Program
	maps map[*check.Map]*ir.Map
	slis map[*check.SLI]*sliMaps

	rodata    *ir.Map
	rodataAt  map[string]int
	globals   *ir.Map
	zeros     *ir.Map
	noted     *ir.Map // processes that user space was told of
	noteEvent *ir.Event
	eachs     int                    // loops over maps
	usedBy    map[*ir.Map][]*ir.Func // functions that aggregate into a map
	groups    []*group
	losses    map[lossSite]*ir.Counter
}

// Program lowers a checked script.
func Program(in *check.Program, opt Options) (*ir.Program, *Layout) {
	l := &lowerer{opt: opt, in: in, out: &ir.Program{Source: in.File.Source, CPUs: opt.CPUs}, maps: map[*check.Map]*ir.Map{},
		slis: map[*check.SLI]*sliMaps{}, rodataAt: map[string]int{}, usedBy: map[*ir.Map][]*ir.Func{}, losses: map[lossSite]*ir.Counter{}}
	for _, m := range in.Maps {
		l.scriptMap(m)
	}
	for _, s := range in.SLIs {
		l.sliMaps(s)
	}
	groups := l.place()
	l.groups = groups
	for _, g := range groups {
		l.noteAggregations(g)
	}
	for _, m := range l.out.Maps {
		l.prealloc(m)
	}
	for _, g := range groups {
		l.group(g)
	}
	if len(l.out.Counters) > 0 {
		l.out.Health.ValueSize = 8 * len(l.out.Counters)
	}
	for _, m := range l.out.Maps {
		readLayout(m.Key, 0)
		readLayout(m.Value, 0)
	}
	for _, ev := range l.out.Events {
		for _, a := range ev.Args {
			readLayout(a.Type, 0)
		}
	}
	return l.out, l.layout()
}

// scriptMap chooses the storage of one of the script's maps.
func (l *lowerer) scriptMap(m *check.Map) {
	if m.Value == nil {
		return
	}
	out := &ir.Map{Name: m.Name, Key: m.Key, Value: m.Value, KeySize: 4, MaxEntries: 1}
	agg := m.Value.Kind == types.Aggregate
	out.ValueSize = m.Value.Memory()
	if m.Key == nil {
		out.Kind = ir.PerCPUArray
		if !agg {
			out.Kind = ir.Array
			out.ValueSize += 8 // the word that tells whether the map was ever assigned
		}
	} else {
		out.KeySize = m.Key.Memory()
		out.MaxEntries = l.in.Config.MaxMapKeys
		out.Kind = ir.Hash
		if agg {
			out.Kind = ir.PerCPUHash
		}
		switch m.Kind {
		case "lruhash":
			out.Kind = ir.LRUHash
			if agg {
				out.Kind = ir.LRUPerCPUHash
			}
		case "percpulruhash":
			out.Kind = ir.LRUPerCPUHash
		}
		if m.Max > 0 {
			out.MaxEntries = m.Max
		}
	}
	l.maps[m] = out
	l.out.Maps = append(l.out.Maps, out)
}

// prealloc decides whether the entries of a hash map are allocated ahead. Programs on perf events may use no others
// before 6.1.
func (l *lowerer) prealloc(m *ir.Map) {
	if m.Kind != ir.Hash && m.Kind != ir.PerCPUHash {
		return
	}
	for _, f := range l.usedBy[m] {
		if f.Type == ir.PerfEvent {
			return
		}
	}
	per := m.ValueSize
	if m.Kind.PerCPU() {
		per *= max(l.opt.CPUs, 1)
	}
	m.NoPrealloc = m.MaxEntries*(per+m.KeySize+48) > preallocLimit
}

// noteAggregations records which functions write a map, before any is lowered.
func (l *lowerer) noteAggregations(g *group) {
	g.fn = ir.NewFunc(l.out, fmt.Sprintf("%s_%d", hookName(&g.hooks[0]), len(l.out.Funcs)), g.typ, hookText(g.hooks))
	g.fn.Func.Hooks = g.hooks
	g.fn.Func.Burning, g.fn.Func.Clauses = -1, len(g.entries)+len(g.returns)
	if g.burning != nil {
		g.fn.Func.Burning = g.burning.Index
	}
	g.fn.Func.Preemptible = g.fn.Func.Preemptible || l.opt.Preempt
	seen := map[*ir.Map]bool{}
	note := func(m *ir.Map) {
		if m != nil && !seen[m] {
			seen[m] = true
			l.usedBy[m] = append(l.usedBy[m], g.fn.Func)
		}
	}
	for _, e := range slices.Concat(g.entries, g.returns) {
		for _, m := range e.clause.Info.Maps {
			note(l.maps[m])
		}
		if s := e.clause.SLI; s != nil {
			note(l.slis[s].value)
			note(l.slis[s].other)
			note(l.slis[s].stats)
		}
	}
}

// plain tells whether f may add to per-CPU memory of m without an atomic instruction. A raw tracepoint program never
// interrupts itself on a CPU, and perf programs (tracepoint, perf_event) never interrupt each other; uprobe programs
// can be preempted.
func (l *lowerer) plain(m *ir.Map, f *ir.Func) bool {
	perf := true
	for _, u := range l.usedBy[m] {
		if u.Preemptible {
			return false
		}
		perf = perf && (u.Type == ir.Tracepoint || u.Type == ir.PerfEvent)
	}
	return len(l.usedBy[m]) <= 1 || perf
}

// group lowers one function.
func (l *lowerer) group(g *group) {
	f := &fn{Builder: g.fn, l: l, group: g}
	attach := g.entries[0].clause.Probe.Attach
	g.fn.Func.Span = source.Span{Start: attach[0].Span().Start, End: attach[len(attach)-1].Span().End}
	if g.hooks[0].Kind == types.HookTest {
		f.returned = f.Slot("returned", 8)
		f.Store(f.Addr(f.returned), 0, 8, f.Const(0))
	}
	if g.returns == nil {
		f.entries(g.entries)
	} else {
		returning, entering, done := f.Block(), f.Block(), f.Block()
		f.If(f.Help(ir.HelperReturning), returning, entering)
		for _, path := range []struct {
			block   *ir.Block
			entries []*entry
		}{{entering, g.entries}, {returning, g.returns}} {
			f.SetBlock(path.block)
			f.entries(path.entries)
			f.Jump(done)
		}
		f.SetBlock(done)
	}
	f.shareScans()
	f.Builder.Ret(f.result())
}

// entries lowers clauses, one after the other.
func (f *fn) entries(all []*entry) {
	for _, e := range all {
		f.entry(e)
	}
}

// result is what the function returns: for a test what the script returns, which is kept in a slot, and nothing otherwise.
func (f *fn) result() *ir.Value {
	if f.returned == nil {
		return f.Const(0)
	}
	return f.Load(f.Addr(f.returned), 0, 8, false)
}

// fn lowers one function; a fresh action for every clause.
type fn struct {
	*ir.Builder
	l     *lowerer
	group *group

	entryOf   *entry
	info      *check.Info
	sli       *check.SLI
	end       *ir.Block // where the action ends
	vars      map[*check.Local]*ir.Value
	slots     map[*check.Local]*ir.Slot
	kept      map[*check.Local]bool // scalars that live in their slot: see keepInMemory
	fresh     []*check.Local        // those in vars, in the order they came
	loops     []*loop               // around the current place
	held      map[*syntax.For]*held // by the loops over maps
	heldOrder []*held
	cache     keyCache
	labels    map[string]operand // inside the conditions of an sli
	traceID   *ir.Slot           // nil without
	returned  *ir.Slot           // what a test returns, nil elsewhere
	objects   map[int]*ir.Value  // the pointers of an iterator's context, by their offset
	extra     int                // instructions that the verifier follows more than once: see cost
	scans     []*scan            // that count their turns
	around    []*ir.Value        // constants: how often the loops around turn at most, where the verifier follows each turn

	turnsAround int64 // how often the plain loops around turn
	plain       bool  // counters of the value being updated need no atomic instruction
}

// entry lowers one clause: the test for its system calls, its predicate, its body.
func (f *fn) entry(e *entry) {
	f.entryOf, f.info, f.sli = e, e.clause.Info, e.clause.SLI
	f.vars, f.slots = map[*check.Local]*ir.Value{}, map[*check.Local]*ir.Slot{}
	f.cache, f.fresh, f.turnsAround = keyCache{}, nil, 1
	f.keepInMemory(e.clause.Probe)
	f.end = f.Block()
	f.Builder.Span = e.clause.Probe.Span()
	f.prepareLoops(e.clause.Probe.Body)
	f.selectSyscall(e)
	f.selectProcess()
	f.prepareTrace()
	f.selectObject()
	if pred := e.clause.Probe.Pred; pred != nil {
		body := f.Block()
		f.cond(pred, body, f.end)
		f.SetBlock(body)
	}
	f.block(e.clause.Probe.Body)
	f.Jump(f.end)
	f.SetBlock(f.end)
	f.releaseLoops()
}

// selectProcess leaves the action in other processes than -p's. Uprobes are filtered by the kernel, begin, end and
// interval belong to nobody.
func (f *fn) selectProcess() {
	switch f.group.hooks[0].Kind {
	case types.HookRaw, types.HookTracepoint, types.HookProfile, types.HookPerf, types.HookKprobe, types.HookKretprobe,
		types.HookFentry, types.HookFexit:
	default:
		return
	}
	if f.l.opt.Pid == 0 {
		return
	}
	body := f.Block()
	tgid := f.Bin(ir.OpShr, f.l.opt.Kernel.PidTgid(f.Builder), f.Const(32))
	f.If(f.Bin(ir.OpEq, tgid, f.Const(int64(f.l.opt.Pid))), body, f.end)
	f.SetBlock(body)
}

const compatStatus = 2 // TS_COMPAT of arch/x86/include/asm/thread_info.h

const origAx = 120 // offset in the pt_regs of x86-64

// selectSyscall leaves the action unless the system call is one of the entry's.
func (f *fn) selectSyscall(e *entry) {
	form := e.form()
	if form != types.SyscallEnter && form != types.SyscallExit || e.targets[0].Syscall < 0 {
		return
	}
	var nr *ir.Value
	if form == types.SyscallEnter {
		nr = f.Word(1)
	} else {
		nr = f.regs(origAx)
	}
	numbers := make([]int64, len(e.targets))
	for i, t := range e.targets {
		numbers[i] = int64(t.Syscall)
	}
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	body := f.Block()
	f.selectNumber(nr, numbers, body)
	f.SetBlock(body)
	if k := &f.l.opt.Kernel; k.TaskBTF && k.Status > 0 {
		// The numbers of 32-bit system calls mean others; the tracepoints of system calls leave those out, too.
		native := f.Block()
		status := f.Load(f.Help(ir.HelperTaskBTF), k.Status, 4, false)
		f.If(f.Bin(ir.OpAnd, status, f.Const(compatStatus)), f.end, native)
		f.SetBlock(native)
	}
}

// selectNumber is a binary search over constants.
func (f *fn) selectNumber(nr *ir.Value, numbers []int64, found *ir.Block) {
	if len(numbers) == 1 {
		f.If(f.Bin(ir.OpEq, nr, f.Const(numbers[0])), found, f.end)
		return
	}
	mid := len(numbers) / 2
	low, high := f.Block(), f.Block()
	f.If(f.Bin(ir.OpULt, nr, f.Const(numbers[mid])), low, high)
	f.SetBlock(low)
	f.selectNumber(nr, numbers[:mid], found)
	f.SetBlock(high)
	f.selectNumber(nr, numbers[mid:], found)
}

// regs reads a register of the pt_regs that context word 0 points to.
func (f *fn) regs(off int) *ir.Value {
	p := f.wordPointer(0)
	if p.Class == ir.BTFPtr {
		return f.Load(p, off, 8, false)
	}
	return f.readKernel(f.AddImm(p, int64(off)), 8, false)
}

// readKernel reads a scalar from a kernel address.
func (f *fn) readKernel(addr *ir.Value, width int, signed bool) *ir.Value {
	return f.readAt(addr, width, signed, true)
}

// mustRead reads size bytes at an address to p. Memory of a process that cannot be read is counted; where a pointer of the
// kernel leads nowhere, as past the end of a list, there are zeros.
func (f *fn) mustRead(p, addr *ir.Value, size int, kernel bool) {
	failed := f.Read(p, addr, size, kernel)
	if !kernel {
		f.when(failed, func() { f.count(ir.LossReadFault, nil) })
	}
}

func (f *fn) readAt(addr *ir.Value, width int, signed, kernel bool) *ir.Value {
	p := f.Addr(f.Slot("read", 8))
	f.mustRead(p, addr, width, kernel)
	return f.Load(p, 0, width, signed)
}

// readEither reads a scalar from wherever its address is.
func (f *fn) readEither(addr *ir.Value, width int, signed bool) *ir.Value {
	p := f.Addr(f.Slot("read", 8))
	f.Store(p, 0, 8, f.Const(0))
	kernel := f.Bin(ir.OpSLt, addr, f.Const(0))
	f.when(kernel, func() { f.mustRead(p, addr, width, true) })
	f.when(f.Bin(ir.OpEq, kernel, f.Const(0)), func() { f.mustRead(p, addr, width, false) })
	return f.Load(p, 0, width, signed)
}

// wordPointer is context word i as a pointer where the kernel trusts it. Where it may be null the word is copied, which
// makes a number of it: what is read there is then copied too, and 0 where there is nothing.
func (f *fn) wordPointer(i int) *ir.Value {
	if f.Func.Type == ir.TPBTF {
		h, k := &f.group.hooks[0], &f.l.opt.Kernel
		if h.Kind == types.HookRaw && k.Doubtful != nil && k.Doubtful(h, i) {
			return f.readKernel(f.Offset(f.Ctx(), int64(8*i)), 8, false)
		}
		return f.LoadBTF(f.Ctx(), 8*i)
	}
	return f.Word(i)
}

// plainWord is the i-th 8 bytes of the context as a number, also where they are a pointer that the kernel tracks.
func (f *fn) plainWord(i int) *ir.Value {
	if t := f.target(); f.Func.Type == ir.TPBTF && t.Form == types.WordArgs && tracks(t, i) {
		return f.readKernel(f.Offset(f.Ctx(), int64(8*i)), 8, false)
	}
	return f.Word(i)
}

// tracks tells whether the kernel may take a word of the context for a pointer whose type it knows.
func tracks(t *types.Target, i int) bool {
	if t.Result != nil && t.Word == i {
		return t.Result.Kind == types.Pointer
	}
	if t.Args == nil {
		return true
	}
	for _, fld := range t.Args.Layout.Fields() {
		if fld.Offset == 8*i {
			return fld.Type.Kind == types.Pointer
		}
	}
	return false
}

// Word is the i-th 8 bytes of the context.
func (f *fn) Word(i int) *ir.Value { return f.Load(f.Ctx(), 8*i, 8, false) }

// zeroKey is the key of one-entry arrays.
func (f *fn) zeroKey() *ir.Value {
	p := f.Addr(f.Slot("key0", 8))
	f.Store(p, 0, 8, f.Const(0))
	return p
}

// add adds x to a word of a per-CPU value.
func (f *fn) add(p *ir.Value, off int, x *ir.Value) {
	if f.plain {
		f.AddMem(p, off, x)
	} else {
		f.Atomic(p, off, x)
	}
}

// when lowers body where cond is not 0, and joins.
func (f *fn) when(cond *ir.Value, body func()) {
	then, next := f.Block(), f.Block()
	f.If(cond, then, next)
	f.SetBlock(then)
	body()
	f.Jump(next)
	f.SetBlock(next)
}
