// Package ir is the intermediate representation between the typed program and eBPF bytecode.
//
// A Program is a list of maps, events and functions. A Func is a list of blocks with parameters (no phi nodes);
// a block is a list of instructions, each of which is a Value, and one terminator. Scalars are 64-bit values,
// narrower widths live in the types of the language and in loads and stores. Strings, keys and tuples are memory:
// a Slot, a map's value or a ring-buffer record, reached through pointer values. Where a pointer points is its
// Class; Verify rejects misuse before the kernel's verifier would.
//
// What the kernel's verifier needs is an instruction of its own that no pass may remove: NullCheck (a terminator)
// with NonNull, Bound and Mask.
//
// Start at Op (op.go) for what exists and Builder (build.go) for how it is made. This package knows neither the
// kernel nor the syntax tree's meaning; it must not import cilium/ebpf.
package ir

import (
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
)

// Program is everything the back end and the runtime need of one compiled script.
type Program struct {
	Source   *source.File
	Maps     []*Map
	Events   []*Event // Events[i].ID == i; ID is the first word of a ring-buffer record
	Counters []*Counter
	Funcs    []*Func

	Inputs *Map // what user space reads for the programs that it runs: see Input; nil without

	Objectives *Map // ObjectiveWords words for every slo of the script, which the engine sets; nil when no program reads them

	Stacks map[int]*Map // return addresses by the ID of a stack, for each number of frames
	Unwind *Unwind      // what finds callers without frame pointers; nil without

	Ring   *Map // the ring buffer, nil when nothing is sent to user space
	Health *Map // one value of len(Counters) words, nil when nothing is counted

	CPUs int // that the machine can have; not known in the text form
}

// MapKind is the storage of a map, named as the kernel names it.
type MapKind uint8

// The map kinds.
const (
	Hash MapKind = iota
	LRUHash
	PerCPUHash
	LRUPerCPUHash
	Array
	PerCPUArray
	RingBuf
)

func (k MapKind) String() string {
	return [...]string{"hash", "lruhash", "percpuhash", "percpulruhash", "array", "percpuarray", "ringbuf"}[k]
}

// PerCPU tells whether every CPU has its own value.
func (k MapKind) PerCPU() bool { return k == PerCPUHash || k == LRUPerCPUHash || k == PerCPUArray }

// Keyed tells whether entries are created by update and go by delete.
func (k MapKind) Keyed() bool {
	return k == Hash || k == LRUHash || k == PerCPUHash || k == LRUPerCPUHash
}

// Map is one kernel map. Sizes are in bytes; a ring buffer has only MaxEntries, its size.
// Array kinds have a 4-byte key and always one entry here; Array maps can be reached by OpMapValue.
type Map struct {
	Name       string // unique in the program; "@x" for the script's own
	Kind       MapKind
	KeySize    int
	ValueSize  int
	MaxEntries int
	NoPrealloc bool
	Mapped     bool   // user space writes into an Array as into its own memory
	Init       []byte // first value of an Array map, nil for zeros

	// What the script says about it; nil types for maps of the compiler's own.
	Key   *types.Type
	Value *types.Type
}

// EventKind says what user space does with a record.
type EventKind uint8

// The event kinds.
const (
	EventPrintf EventKind = iota
	EventPrintValue
	EventPrintMap
	EventClear
	EventZero
	EventTime
	EventExit
	EventJoin // Format is what stands between the texts: see JoinTexts
	EventCat
	EventSystem
	EventError
	EventWarning
	EventNote    // a process whose code user space will look up: its argument
	EventUnwatch // the watchpoints at an address end: its argument
	EventPacket  // a packet for the file Format: when it was, on the boot clock, how long it is, and its first bytes
	numEvents
)

// The texts of an EventJoin: its argument is a tuple of how many there are and of that many strings, each of as many
// bytes with its NUL; those that are not there are not written.
const (
	JoinTexts = 16
	JoinSize  = 1024
)

// Printf tells whether a record is text of a format.
func (k EventKind) Printf() bool {
	switch k {
	case EventPrintf, EventCat, EventSystem, EventError, EventWarning:
		return true
	}
	return false
}

// Event describes one kind of ring-buffer record. A record is a u64 event ID followed by Size-8 bytes;
// Args say where the arguments stand in the whole record and how to read them.
type Event struct {
	ID     int
	Kind   EventKind
	Format string     // of those that print text, time, join
	Map    *Map       // print, clear, zero
	Top    int64      // print of a map: how many entries, 0 for all
	Div    int64      // print of a map: divide values by, 0 for 1
	Status int        // exit without an argument
	Args   []EventArg // print of a map: the key whose value is printed, none for all
	Size   int        // of the whole record, a multiple of 8
	Span   source.Span
}

// EventArg is one argument in a record. Scalars take 8 bytes, strings their type's size.
type EventArg struct {
	Type   *types.Type
	Offset int
}

// Loss says why something was lost; every counter of a program has one.
type Loss uint8

// The losses that programs count.
const (
	LossRingFull     Loss = iota // a record did not fit into the ring buffer
	LossMapFull                  // a new key did not fit into a map
	LossSpanFull                 // the start of a span was evicted or did not fit
	LossScratchBusy              // no scratch memory was free on this CPU
	LossTruncated                // a string was longer than its type or its label
	LossOverLimit                // a label set beyond the limit went to "other"; not a loss of the event
	LossDivideByZero             // a division by zero gave 1
	LossReadFault                // memory could not be read
	LossNegative                 // a negative value was observed as 0
	LossLoopLimit                // a loop was left before its end: it had more turns than the kernel allows
	LossSignal                   // a signal could not be sent
	LossTrace                    // the kernel did not take a text for its trace
	LossCounterReset             // a counter went back to 0; what it counted since the last look before is not known
	LossUnwind                   // the callers of a stack were not all found, or by frame pointers: see Unwind
	LossStackFull                // there was no room for one more stack that differs from all others
	LossPacketCut                // a packet was longer than what is kept of it
	LossPacketFault              // a packet could not be read: none is written
	NumLosses
)

func (l Loss) String() string {
	return [...]string{"ring_full", "map_full", "span_full", "scratch_busy", "truncated", "over_limit", "divide_by_zero", "read_fault", "negative", "loop_limit", "signal_failed", "trace_failed", "counter_reset", "not_unwound",
		"stack_full", "packet_cut", "packet_fault"}[l]
}

// Counter is one word of Program.Health: how often something was lost, and where.
type Counter struct {
	ID   int
	Loss Loss
	Map  *Map        // for map_full, span_full, over_limit
	Span source.Span // the place in the script
}

// ProgType is the kernel's program type a Func is loaded as.
type ProgType uint8

// The program types.
const (
	RawTracepoint ProgType = iota // ctx: args as u64 words; also begin, end and interval, run by BPF_PROG_TEST_RUN
	TPBTF                         // ctx as RawTracepoint, pointers in it are trusted BTF pointers
	Tracepoint                    // ctx: the record of the tracepoint's format
	Uprobe                        // ctx: pt_regs; loaded as BPF_PROG_TYPE_KPROBE
	PerfEvent                     // ctx: bpf_perf_event_data, starts with pt_regs
)

func (t ProgType) String() string {
	return [...]string{"raw_tp", "tp_btf", "tracepoint", "uprobe", "perf_event"}[t]
}

// Func is one BPF program.
type Func struct {
	Name        string
	Type        ProgType
	Hook        string       // what the program is attached to, for printing: "sys_exit", "tracepoint:sched:sched_switch"
	Hooks       []types.Hook // where the engine attaches it
	Preemptible bool         // may be preempted by another run of itself on the same CPU (uprobes)
	Clauses     int          // of the script that it runs at a hook
	Burning     int          // attached only while the slo of this index burns; -1 always
	Inputs      []*Input     // read before each run
	Blocks      []*Block
	Slots       []*Slot
	Span        source.Span

	nextValue int
}

// Input is a number or a text that user space reads before each run of a poll or alert program, and stores at Offset in
// the value of Program.Inputs.
type Input struct {
	Offset int
	Size   int                           // 8 for a number, the capacity of a text
	Number func(at Site) (uint64, error) // or
	Text   func(at Site) string
	File   string // a file of cgroups that it reads, "" for none
	Span   source.Span
}

// Site is what a run of a poll or alert program is about.
type Site struct {
	Cgroup string // its path below the root of the hierarchies
	Group  string // of an alert: the labels of the objective's group
}

// Block is a straight line of instructions with parameters and one terminator.
type Block struct {
	ID     int
	Params []*Value
	Insts  []*Value
	Term   Term
}

// TermKind is how a block ends.
type TermKind uint8

// The terminators.
const (
	TermNone      TermKind = iota // not yet ended; Verify rejects it
	TermJump                      // to Then(ThenArgs)
	TermIf                        // Cond != 0: Then(ThenArgs), otherwise Else(ElseArgs)
	TermNullCheck                 // Cond, an …OrNull pointer, is not null: Then, whose first instruction is NonNull(Cond); otherwise Else
	TermMayGoto                   // Then; Else once the kernel has no more patience with the loop (6.9)
	TermRet                       // Cond is the result
)

// Term is a terminator.
type Term struct {
	Kind               TermKind
	Cond               *Value
	Then, Else         *Block
	ThenArgs, ElseArgs []*Value
	Span               source.Span
}

// Successors returns the blocks a block may continue with.
func (t *Term) Successors() []*Block {
	switch t.Kind {
	case TermJump:
		return []*Block{t.Then}
	case TermIf, TermNullCheck, TermMayGoto:
		return []*Block{t.Then, t.Else}
	}
	return nil
}

// Slot is memory of one run of the program, on the stack or, when it does not fit, in per-CPU scratch.
// Size is a multiple of 8; slots are 8-byte aligned and hold garbage until written.
type Slot struct {
	ID   int
	Name string // for printing: the variable or what it serves as
	Size int

	Pinned bool // its address is a number of the script, so that it may be read anywhere
}

// Class is what a value is, and for pointers where it points.
type Class uint8

// The classes.
const (
	Void           Class = iota
	Scalar               // 64 bits; user-space and kernel addresses are scalars too, reached by Read only
	Ctx                  // the program's context
	SlotPtr              // into a Slot
	MapValue             // into a map's value
	MapValueOrNull       // result of MapLookup
	RingPtr              // into a reserved ring-buffer record
	RingPtrOrNull        // result of RingReserve
	BTFPtr               // trusted or untrusted BTF pointer: loads cannot fault, read as 0 instead
	BTFPtrOrNull         // one that the kernel says may be null
)

func (c Class) String() string {
	return [...]string{"void", "scalar", "ctx", "slot", "mapvalue", "mapvalue_or_null", "ring", "ring_or_null", "btf", "btf_or_null"}[c]
}

// Pointer tells whether values of the class may be the base of a Load or Store (or, …OrNull, become one).
func (c Class) Pointer() bool { return c >= Ctx }

// MayBeNull tells whether values of the class go nowhere but to a NullCheck.
func (c Class) MayBeNull() bool {
	return c == MapValueOrNull || c == RingPtrOrNull || c == BTFPtrOrNull
}

// nonNull is the class once a NullCheck was passed.
func (c Class) nonNull() Class {
	switch c {
	case RingPtrOrNull:
		return RingPtr
	case BTFPtrOrNull:
		return BTFPtr
	}
	return MapValue
}

// Each says where OpMapEach copies the entries of a map. The buffer has an area for every CPU, which starts with three
// words: taken, how many entries were copied, and whether some did not fit. The entries follow: keys, with their values
// where Values is set.
type Each struct {
	Buffer  *Map
	Area    int // bytes
	Areas   int
	Entry   int // bytes
	Entries int
	Values  bool
}

// The words of an area, in bytes.
const (
	EachTaken = 8 * iota
	EachCount
	EachMore
	EachFirst
)

// Value is an instruction and its result. Which fields count depends on the Op (see the table in op.go).
type Value struct {
	ID     int
	Op     Op
	Class  Class
	Args   []*Value
	Imm    int64
	Off    int32 // byte offset of a memory access from its base pointer
	Width  uint8 // bytes of a memory access or extension: 1, 2, 4, 8
	Signed bool  // of Load and Ext: sign-extend
	Map    *Map
	Slot   *Slot
	Helper Helper
	Each   *Each
	Data   string // Bytes: what to store, a multiple of 8 long
	Span   source.Span
}
