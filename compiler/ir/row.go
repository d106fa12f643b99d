package ir

import (
	"slices"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Lowering is what the lowering of a clause offers to the rows of stdlib: the builder, the expressions of the script
// as IR values, and the few mechanisms that rows share. Scalars are 64-bit values, extended according to their type.
type Lowering interface {
	Builder() *Builder
	Kernel() *Kernel
	Target() *types.Target
	Config() *types.Config
	CPUs() int // possible CPUs

	Type(e syntax.Expr) *types.Type
	Const(e syntax.Expr) (int64, bool)
	// Notes are what the check of a call found out.
	Notes(c *syntax.Call) []int64

	// Scalar is the value of a scalar expression.
	Scalar(e syntax.Expr) *Value
	// Number is the value of a scalar expression as a plain number, where it may be a pointer that the kernel tracks.
	Number(e syntax.Expr) *Value
	// Tracked is a pointer that the kernel knows the type of, to the struct that e is or points to; nil where e is reached
	// otherwise.
	Tracked(e syntax.Expr) *Value
	// Into writes the value of e, laid out as t, at p+off. With pad, what follows the end of strings is zeroed,
	// as keys need it.
	Into(e syntax.Expr, t *types.Type, p *Value, off int, pad bool)
	// Memory is the address of the value of e, laid out as t, with zeros after the end of strings.
	Memory(e syntax.Expr, t *types.Type) *Value

	// Raw copies size bytes, a scalar up to limit, of a value in memory to dst, whatever they mean; 0 or -errno.
	Raw(e syntax.Expr, dst, size *Value, limit int) *Value

	// Map is the map that a map expression names.
	Map(e *syntax.Map) *Map
	// Key is a pointer to the key made of the expressions. An unkeyed map's key is nil.
	Key(m *Map, keys []syntax.Expr) *Value
	// Find looks a key up and tells whether it is there; the variable then has its value.
	Find(m *Map, key *Value, into *syntax.Var) *Value
	// Touch forgets what is known of the values of a map, after a change.
	Touch(m *Map)

	// Word is the i-th word of the context (raw tracepoints) or the 8 bytes at offset i*8 (registers, records).
	Word(i int) *Value
	// Add adds x to a counter in the value of an aggregation; plainly where nothing can interfere.
	Add(p *Value, off int, x *Value)
	// Rodata is the address of constant data; equal data is kept once.
	Rodata(data string) *Value
	// Global is the address of a word that the engine sets before the start.
	Global(g Global) *Value
	// Objective is the address of the words of an slo, which the engine sets while the script runs.
	Objective(index int64) *Value
	// StackMap keeps the return addresses of stacks of so many frames.
	StackMap(depth int) *Map
	// Unwind are the maps by which callers are found where there are no frame pointers.
	Unwind() *Unwind
	// NoteProcess tells user space of a process whose code it will look up, when the process is first seen.
	NoteProcess(pid *Value)
	// Goid is the ID of the running goroutine, where the target's form is GoArgs.
	Goid() *Value
	// Reader is the struct seq_file of the reader of an iterator.
	Reader() *Value
	// Input is the address of what user space reads before each run of the program.
	Input(in *Input) *Value

	// Emit sends an event; ev's ID, Size and the Offsets of Args are filled in. args go with ev.Args.
	Emit(ev *Event, args []syntax.Expr, flags int64)
	// Record sends an event whose arguments fill writes into the record; ev's ID, Size and the Offsets of Args are filled in before.
	// Where what fill returns is not 0 there is nothing to send.
	Record(ev *Event, flags int64, fill func(p *Value) (failed *Value))
	// Count counts a loss at the current place.
	Count(loss Loss, m *Map)
	// Scan lowers a loop whose state is some scalars. turn lowers one turn; every way through it ends with again, the
	// state of the next turn, or with done, whose number is the result. No more than most turns can be needed; where
	// the kernel allows fewer the result may be over, which is counted.
	Scan(most int64, start []*Value, over int64, turn func(state []*Value, again, done func(...*Value))) *Value
	// When lowers f on a path of its own, taken where cond is not 0, that joins again.
	When(cond *Value, f func())
	// Finish ends the action.
	Finish()
	// Span is the place that is being lowered.
	Span() source.Span
}

// Global names a word of the globals map.
type Global int

// The globals.
const (
	GlobalStart Global = iota // boot-clock ns when the script started
	GlobalTAI                 // ns from the boot clock to the clock of International Atomic Time
	NumGlobals
)

// The words of an objective in Program.Objectives.
const (
	ObjectiveBurning  = iota // 1 while an alert fires
	ObjectiveBudget          // what is left of the error budget, in millionths; negative when overspent
	ObjectiveBurnRate        // over the shortest window of its alerts, in thousandths
	ObjectiveWords
)

// Kernel is what the lowering needs to know of the kernel the program is for.
type Kernel struct {
	TPBTF      bool      // tp_btf programs can be loaded: context words are trusted pointers
	TaskBTF    bool      // bpf_get_current_task_btf exists
	MayGoto    bool      // loops may have an end that the verifier does not know
	MapEach    bool      // bpf_for_each_map_elem exists
	PerCPU     bool      // bpf_map_lookup_percpu_elem exists
	CommPadded bool      // the kernel pads task->comm with NUL
	CommOffset int       // of comm in task_struct, -1 when unknown
	MM         int       // of mm in task_struct, which every program that a process runs has its own of; 0 when unknown
	StartStack int       // of start_stack in mm_struct; 0 when unknown
	Parent     int       // of real_parent in task_struct; 0 when unknown
	Tgid       int       // of tgid in task_struct; 0 when unknown
	TAI        int64     // ns from the boot clock to TAI
	PidNS      [2]uint64 // device and inode of the pid namespace whose numbers count; zero for the initial one
	Status     int       // of thread_info.status in task_struct, which tells 32-bit system calls; 0 when unknown

	// Doubtful tells whether the kernel takes an argument of a raw tracepoint, by its number, for one that may be null, so
	// that it lets no program follow it; nil: none.
	Doubtful func(h *types.Hook, arg int) bool
	// Returns tells where a return probe keeps the address that a function returns to, nil when that is unknown; nil: it is not.
	Returns func() *Returns
}

// mayBeNull are the fields of structs that the kernel's verifier takes for null pointers until they are tested, where it trusts the
// struct (BTF_TYPE_SAFE_…_OR_NULL in kernel/bpf/verifier.c).
var mayBeNull = map[string][]string{"sk_buff": {"sk"}, "request_sock": {"sk"}, "socket": {"sk"}, "mm_struct": {"exe_file"}, "dentry": {"d_inode"},
	"vm_area_struct": {"vm_mm", "vm_file"}}

// MayBeNull tells whether a pointer in a field is such a one in a kind of probe; st is "" where the struct is not known. The area that
// an iterator hands over is not trusted.
func MayBeNull(h types.HookKind, st, field string) bool {
	for name, fields := range mayBeNull {
		if (st == name || st == "") && slices.Contains(fields, field) && (h != types.HookIter || name != "vm_area_struct") {
			return true
		}
	}
	return false
}

// ProgType is the type of the program that a hook calls.
func (k *Kernel) ProgType(h types.HookKind) ProgType {
	switch h {
	case types.HookRaw:
		if k.TPBTF {
			return TPBTF
		}
		return RawTracepoint
	case types.HookTracepoint:
		return Tracepoint
	case types.HookUprobe, types.HookUretprobe, types.HookKprobe, types.HookKretprobe:
		return Uprobe
	case types.HookFentry, types.HookFexit, types.HookIter:
		return TPBTF
	case types.HookProfile, types.HookPerf:
		return PerfEvent
	}
	return RawTracepoint
}

// PidTgid is tgid << 32 | tid of the current task, as the pid namespace numbers them.
func (k *Kernel) PidTgid(b *Builder) *Value {
	if k.PidNS[1] == 0 {
		return b.Help(HelperPidTgid)
	}
	p := b.Addr(b.Slot("ids", 8))
	b.Store(p, 0, 8, b.Const(0)) // in another namespace
	b.Help(HelperNsPidTgid, b.Const(int64(k.PidNS[0])), b.Const(int64(k.PidNS[1])), p)
	return b.Load(p, 0, 8, false)
}

// Returns are offsets in the kernel's structs by which those return addresses are found that return probes on user space have
// replaced: the one address that stands for all of them, and a list of what there was.
type Returns struct {
	MM, Area, Address     int // task_struct.mm, mm_struct.uprobes_state.xol_area, xol_area.vaddr
	Task, First           int // task_struct.utask, uprobe_task.return_instances
	Stack, Original, Next int // of return_instance: stack, orig_ret_vaddr, next
}

// Space tells the address spaces of the current task apart, one for each program that it runs: where its stack began, as in
// /proc/PID/stat. 0 in threads of the kernel, and where it cannot be known.
func (k *Kernel) Space(b *Builder) *Value {
	if !k.KnowsSpace() {
		return b.Const(0)
	}
	return b.Load(b.LoadBTF(b.Help(HelperTaskBTF), k.MM), k.StartStack, 8, false)
}

// KnowsSpace tells whether Space does.
func (k *Kernel) KnowsSpace() bool { return k.TaskBTF && k.MM != 0 && k.StartStack != 0 }

// FuncLower lowers a call. Functions with a scalar result return it; with a string or tuple result they have Into.
type FuncLower struct {
	Scalar func(l Lowering, c *syntax.Call) *Value
	Into   func(l Lowering, c *syntax.Call, t *types.Type, p *Value, off int, pad bool)
}

// VarLower lowers a builtin variable; n is its number (arg3: 3).
type VarLower struct {
	Scalar func(l Lowering, n int) *Value
	Into   func(l Lowering, n int, t *types.Type, p *Value, off int, pad bool)
}

// AggLower updates the value at p of an aggregation with one more argument (nil when it takes none).
type AggLower func(l Lowering, agg *types.Agg, p, x *Value)

// Library finds the lowering of rows by name; stdlib implements it.
type Library interface {
	FuncLower(name string) FuncLower
	VarLower(name string) VarLower
	AggLower(name string) AggLower
}
