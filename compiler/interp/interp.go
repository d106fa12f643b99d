// Package interp runs the intermediate representation in Go: the oracle that compiled programs are compared with.
//
// A Machine holds the maps and the ring buffer of one program; Run executes one function block by block. It computes
// what the kernel computes (ir.Eval is shared with constant folding), and it is stricter than the kernel in what it
// lets a program do. A pointer is a region and an offset, and every access is checked against the region's bounds.
// Every byte of a slot or of a ring-buffer record knows whether it was written: reading one that was not, or handing
// one to a map as part of a key or value, is an error, as are a pointer that was not checked for null, one to a map
// entry that has been replaced or deleted, and a record that is neither submitted nor discarded. So an error means
// that the kernel's verifier would refuse the program or that a user would see wrong data: always a bug in what made
// the IR.
//
// What lies outside the program (clocks, the current task, memory) comes from an Env; nothing here may ask the kernel.
// IR runs before and after any pass. Start at New and Run; memory.go holds regions, maps.go the maps.
package interp

import (
	"encoding/binary"
	"fmt"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// errno values that helpers return, negated.
const (
	errNoEntry = -2
	errTooBig  = -7
	errFault   = -14
	errExists  = -17
	errInvalid = -22
)

// maxSteps bounds a run, maxTurns how often its loops go on that only the kernel's patience bounds.
const (
	maxSteps = 1 << 22
	maxTurns = 1 << 16
)

const commSize = 16

var le = binary.LittleEndian

// Env is the world around a run.
type Env interface {
	// Helper returns the result of a helper without arguments; of HelperTaskBTF an address.
	Helper(h ir.Helper) int64
	// Task is the address of the task of a number, 0 where there is none.
	Task(pid int64) uint64
	// Comm is the current task's name, padded with NUL.
	Comm() [commSize]byte
	// Stack is the return addresses of kernel or user code, innermost first; nil when there are none.
	Stack(kernel bool) []uint64
	// Read copies memory from an address of the kernel or of user space; false is a fault.
	Read(addr uint64, buf []byte, kernel bool) bool
}

// Record is a submitted ring-buffer record. Init tells which bytes the program wrote.
type Record struct {
	Data []byte
	Init []bool
}

// Machine is the state that outlives a run.
type Machine struct {
	Prog    *ir.Program
	Env     Env
	CPU     int      // the CPU that runs, below CPUs
	CPUs    int      // how many values per-CPU maps have
	Ring    int      // bytes of the ring buffer, headers included; 0 for no limit
	Records []Record // what was submitted
	Trace   []string // what was written to the kernel's trace
	Read    string   // what the reader of a pinned iterator reads

	maps     map[*ir.Map]*Map
	ringUsed int
}

// New makes a machine with empty maps; arrays hold their first values.
func New(p *ir.Program, env Env, cpus int) *Machine {
	return &Machine{Prog: p, Env: env, CPUs: max(cpus, 1), maps: map[*ir.Map]*Map{}}
}

// Map returns the contents of a map.
func (m *Machine) Map(of *ir.Map) *Map {
	if m.maps[of] == nil {
		m.maps[of] = newMap(of, m.CPUs)
	}
	return m.maps[of]
}

// Drain returns the records submitted so far and frees their place in the ring buffer.
func (m *Machine) Drain() []Record {
	out := m.Records
	m.Records, m.ringUsed = nil, 0
	return out
}

// value is the value of an ir.Value: a scalar or address in n, or a pointer into a region (nil: null).
type value struct {
	n   int64
	reg *region
}

// run is the state of one run.
type run struct {
	m     *Machine
	f     *ir.Func
	ctx   *region
	slots map[*ir.Slot]*region
	vals  map[*ir.Value]value
	open  map[*region]bool // reserved records
	tasks map[int64]int    // how often each is referred to
	inst  *ir.Value
	turns int // of loops whose end is not known

	numbered []*region // whose addresses are numbers of the script
}

// fault ends a run from wherever it is; Run turns it into an error.
type fault struct{ err error }

func (r *run) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	at := ""
	if r.inst != nil {
		at = fmt.Sprintf("v%d %s: ", r.inst.ID, r.inst.Op)
		if src := r.m.Prog.Source; src != nil {
			at = src.Place(r.inst.Span) + ": " + at
		}
	}
	panic(fault{fmt.Errorf("run %s: %s%s", r.f.Name, at, text)})
}

// Run executes a function with the words of its context and returns its result.
func (m *Machine) Run(f *ir.Func, ctx []uint64) (ret int64, err error) {
	data := make([]byte, 8*len(ctx))
	for i, w := range ctx {
		le.PutUint64(data[8*i:], w)
	}
	r := &run{m: m, f: f, ctx: &region{name: "context", data: data, readOnly: true}, slots: map[*ir.Slot]*region{},
		vals: map[*ir.Value]value{}, open: map[*region]bool{}, tasks: map[int64]int{}}
	defer func() {
		if p := recover(); p != nil {
			ft, ok := p.(fault)
			if !ok {
				panic(p)
			}
			err = ft.err
		}
	}()
	ret = r.blocks()
	r.inst = nil
	for rec := range r.open {
		r.fail("the record %s is neither submitted nor discarded", rec.name)
	}
	for _, held := range r.tasks {
		if held != 0 {
			r.fail("a task is not released")
		}
	}
	return ret, nil
}

// blocks follows the terminators.
func (r *run) blocks() int64 {
	b := r.f.Blocks[0]
	for steps := 0; ; {
		for _, v := range b.Insts {
			if steps++; steps > maxSteps {
				r.fail("more than %d steps", maxSteps)
			}
			r.inst = v
			r.vals[v] = r.eval(v)
		}
		r.inst = nil
		t := &b.Term
		to, args := t.Then, t.ThenArgs
		switch t.Kind {
		case ir.TermRet:
			return r.val(t.Cond).n
		case ir.TermJump:
		case ir.TermIf:
			if r.val(t.Cond).n == 0 {
				to, args = t.Else, t.ElseArgs
			}
		case ir.TermMayGoto:
			if r.turns++; r.turns > maxTurns {
				to, args = t.Else, t.ElseArgs
			}
		case ir.TermNullCheck:
			if r.null(t.Cond) {
				to, args = t.Else, t.ElseArgs
			}
		default:
			r.fail("b%d has no end", b.ID)
		}
		if len(args) != len(to.Params) {
			r.fail("b%d → b%d: got %d arguments, want %d", b.ID, to.ID, len(args), len(to.Params))
		}
		passed := make([]value, len(args))
		for i, a := range args {
			passed[i] = r.val(a)
		}
		for i, p := range to.Params {
			r.vals[p] = passed[i]
		}
		b = to
		if steps++; steps > maxSteps {
			r.fail("more than %d steps", maxSteps)
		}
	}
}

func (r *run) val(v *ir.Value) value {
	x, ok := r.vals[v]
	if !ok {
		r.fail("v%d has no value yet", v.ID)
	}
	return x
}

// null tells whether a pointer that may be null is.
func (r *run) null(v *ir.Value) bool {
	p := r.val(v)
	return p.reg == nil && (v.Class != ir.BTFPtrOrNull || p.n == 0)
}

// scalar is an operand that is a number; kernel addresses count as numbers.
func (r *run) scalar(v *ir.Value) int64 {
	x := r.val(v)
	if x.reg != nil || v.Class.Pointer() && v.Class != ir.BTFPtr {
		r.fail("v%d is a pointer, want a number", v.ID)
	}
	return x.n
}

// eval executes one instruction.
func (r *run) eval(v *ir.Value) value {
	num := func(n int64) value { return value{n: n} }
	arg := func(i int) int64 { return r.scalar(v.Args[i]) }
	switch v.Op {
	case ir.OpConst:
		return num(v.Imm)
	case ir.OpNeg, ir.OpNot:
		return num(ir.Eval(v.Op, arg(0), 0))
	case ir.OpExt:
		return num(ir.EvalExt(arg(0), v.Width, v.Signed))
	case ir.OpBound:
		return num(ir.EvalBound(arg(0), v.Imm))
	case ir.OpMask:
		return num(arg(0) & v.Imm)
	case ir.OpForget:
		return num(arg(0) + int64(le.Uint64(r.read(v.Args[1], 0, ir.IterMark))))
	case ir.OpCtx:
		return value{reg: r.ctx}
	case ir.OpSlot:
		return value{reg: r.slot(v.Slot)}
	case ir.OpMapValue:
		return value{reg: r.m.Map(v.Map).lookup(r, make([]byte, v.Map.KeySize))}
	case ir.OpMapPtr:
		return value{reg: r.m.Map(v.Map).self}
	case ir.OpOffset, ir.OpIndex:
		p := r.val(v.Args[0])
		by := v.Imm
		if v.Op == ir.OpIndex {
			by *= arg(1)
		}
		return value{reg: p.reg, n: p.n + by}
	case ir.OpNonNull:
		if r.null(v.Args[0]) {
			r.fail("the pointer is null")
		}
		return r.val(v.Args[0])
	case ir.OpHelper:
		return num(r.helper(v))
	}
	if v.Op.Scalar() {
		return num(ir.Eval(v.Op, arg(0), arg(1)))
	}
	return r.memory(v)
}

func (r *run) helper(v *ir.Value) int64 {
	switch v.Helper {
	case ir.HelperComm:
		comm := r.m.Env.Comm()
		copy(r.write(v.Args[0], 0, commSize), comm[:])
		return 0
	case ir.HelperNsPidTgid: // the world has one namespace
		le.PutUint64(r.write(v.Args[2], 0, 8), uint64(r.m.Env.Helper(ir.HelperPidTgid)))
		return 0
	case ir.HelperPath: // the world has no files
		clear(r.write(v.Args[1], 0, ir.PathBytes))
		return r.m.Env.Helper(ir.HelperPath)
	case ir.HelperTaskFromPid:
		task := int64(r.m.Env.Task(int64(int32(r.scalar(v.Args[0])))))
		if task != 0 {
			r.tasks[task]++
		}
		return task
	case ir.HelperTaskRelease:
		task := r.scalar(v.Args[0])
		if r.tasks[task]--; r.tasks[task] < 0 {
			r.fail("a task is released that is not held")
		}
		return 0
	case ir.HelperTrace:
		return r.trace(v)
	case ir.HelperSeqPrintf:
		words := r.read(v.Args[3], 0, r.scalar(v.Args[4]))
		text, ok := r.format(r.read(v.Args[1], 0, r.scalar(v.Args[2])), len(words)/8, func(i int) value { return value{n: int64(le.Uint64(words[8*i:]))} })
		if !ok {
			return errInvalid
		}
		r.m.Read += text
		return 0
	case ir.HelperSeqWrite: // what the reader of an iterator sees is none of the program's output
		r.read(v.Args[1], 0, ir.IterMark)
		return 0
	}
	return r.m.Env.Helper(v.Helper)
}

// memory executes the instructions that touch memory, maps and the ring buffer.
func (r *run) memory(v *ir.Value) value {
	off := int64(v.Off)
	size := v.Imm
	switch v.Op {
	case ir.OpLoad:
		return value{n: r.load(v)}
	case ir.OpStore:
		var b [8]byte
		if p := r.val(v.Args[1]); p.reg != nil {
			le.PutUint64(b[:], r.address(p.reg)+uint64(p.n))
		} else {
			le.PutUint64(b[:], uint64(r.scalar(v.Args[1])))
		}
		copy(r.write(v.Args[0], off, int64(v.Width)), b[:v.Width])
	case ir.OpZero:
		clear(r.write(v.Args[0], off, size))
	case ir.OpBytes:
		copy(r.write(v.Args[0], off, int64(len(v.Data))), v.Data)
	case ir.OpCopy:
		r.copy(v, off, size)
	case ir.OpAddMem, ir.OpAtomic, ir.OpFetchAdd:
		old := int64(le.Uint64(r.read(v.Args[0], off, 8)))
		le.PutUint64(r.write(v.Args[0], off, 8), uint64(old+r.scalar(v.Args[1])))
		return value{n: old}
	case ir.OpCmpXchg:
		old := int64(le.Uint64(r.read(v.Args[0], off, 8)))
		if old == r.scalar(v.Args[1]) {
			le.PutUint64(r.write(v.Args[0], off, 8), uint64(r.scalar(v.Args[2])))
		}
		return value{n: old}
	case ir.OpMapLookup:
		return value{reg: r.m.Map(v.Map).lookup(r, r.read(v.Args[0], 0, int64(v.Map.KeySize)))}
	case ir.OpMapLookupCPU:
		cpu := r.scalar(v.Args[1])
		m := r.m.Map(v.Map)
		vals := m.entries[string(r.read(v.Args[0], 0, int64(v.Map.KeySize)))]
		if cpu < 0 || cpu >= int64(len(vals)) {
			return value{}
		}
		return value{reg: vals[cpu]}
	case ir.OpMapLen:
		return value{n: int64(len(r.m.Map(v.Map).entries))}
	case ir.OpMapEach:
		r.each(v)
	case ir.OpMapUpdate:
		key := r.read(v.Args[0], 0, int64(v.Map.KeySize))
		val := r.read(v.Args[1], 0, int64(v.Map.ValueSize))
		return value{n: r.m.Map(v.Map).update(r, key, val, v.Imm)}
	case ir.OpMapDelete:
		return value{n: r.m.Map(v.Map).remove(r.read(v.Args[0], 0, int64(v.Map.KeySize)))}
	case ir.OpRead:
		return value{n: r.probeRead(v, v.Imm)}
	case ir.OpReadN:
		size := r.scalar(v.Args[2])
		if size < 0 || size > v.Imm {
			r.fail("a size of %d, want 0 to %d", size, v.Imm)
		}
		return value{n: r.probeRead(v, size)}
	case ir.OpReadStr:
		return value{n: r.probeReadStr(v)}
	case ir.OpStack:
		return value{n: r.stack(v)}
	case ir.OpRingReserve:
		return value{reg: r.reserve(size)}
	case ir.OpRingSubmit, ir.OpRingDiscard:
		r.finish(v)
	default:
		r.fail("unknown operation")
	}
	return value{}
}

// reserve takes a record of the ring buffer, null when it is full.
func (r *run) reserve(size int64) *region {
	need := int(size+8+7) &^ 7
	if r.m.Ring > 0 && r.m.ringUsed+need > r.m.Ring-1 {
		return nil
	}
	r.m.ringUsed += need
	rec := newRegion(fmt.Sprintf("record of %d bytes", size), int(size))
	r.open[rec] = true
	return rec
}

func (r *run) finish(v *ir.Value) {
	p := r.val(v.Args[0])
	if p.reg == nil || p.n != 0 || !r.open[p.reg] {
		r.fail("not the start of an open record")
	}
	delete(r.open, p.reg)
	p.reg.gone = "submitted"
	if v.Op == ir.OpRingDiscard {
		return
	}
	rec := Record{Data: p.reg.data, Init: make([]bool, len(p.reg.data))}
	for i, s := range p.reg.state {
		rec.Init[i] = s == written
	}
	if err := r.m.checkRecord(rec); err != nil {
		r.fail("%s", err)
	}
	r.m.Records = append(r.m.Records, rec)
}

// checkRecord makes sure that user space can read every argument of an event.
func (m *Machine) checkRecord(rec Record) error {
	if len(m.Prog.Events) == 0 {
		return nil // IR written by hand
	}
	if len(rec.Data) < 8 {
		return fmt.Errorf("a record of %d bytes", len(rec.Data))
	}
	id := le.Uint64(rec.Data)
	if id >= uint64(len(m.Prog.Events)) {
		return fmt.Errorf("no event %d", id)
	}
	ev := m.Prog.Events[id]
	if len(rec.Data) != ev.Size {
		return fmt.Errorf("event %d has %d bytes, want %d", id, len(rec.Data), ev.Size)
	}
	for i, a := range ev.Args {
		if ev.Kind == ir.EventJoin { // of the texts only as many as there are
			a.Type = types.TupleOf(a.Type.Elems[:1+le.Uint64(rec.Data[a.Offset:])]...)
		}
		if err := readable(rec, a.Type, a.Offset); err != nil {
			return fmt.Errorf("argument %d of event %d: %w", i, id, err)
		}
	}
	return nil
}

// readable tells whether the bytes of a value that user space looks at were written: a string's up to its NUL.
func readable(rec Record, t *types.Type, off int) error {
	switch t.Kind {
	case types.Tuple:
		for _, e := range t.Elems {
			if err := readable(rec, e, off); err != nil {
				return err
			}
			off += e.Memory()
		}
		return nil
	case types.String:
		for i := off; i < off+t.Memory(); i++ {
			if !rec.Init[i] {
				return fmt.Errorf("byte %d of a string was not written", i-off)
			}
			if rec.Data[i] == 0 {
				return nil
			}
		}
		return fmt.Errorf("a string without NUL")
	}
	for i := off; i < off+t.Memory(); i++ {
		if !rec.Init[i] {
			return fmt.Errorf("byte %d was not written", i-off)
		}
	}
	return nil
}
