package types

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

// Universe is what exists besides the language itself. The checker and the lowering receive one, as a resolver
// receives its predeclared names; the rows behind it live in stdlib. A nil row means that the name is unknown.
type Universe interface {
	Func(name string) *Func
	Var(name string) *Var
	Probe(name string) *Probe // by name or alias, in any case
	Names(class NameClass) []string
}

// NameClass selects names for completion and did-you-mean.
type NameClass uint8

// The name classes.
const (
	FuncNames NameClass = iota
	AggNames
	VerbNames
	VarNames
	ProbeNames
)

// Doc is what every row tells about itself.
type Doc struct {
	Name     string
	Text     string   // one or more sentences
	Examples []string // whole scripts that check and compile
	Since    string   // the capability of the kernel that it needs (package bpf), "" for none
}

// ParamKind says what an argument must be.
type ParamKind uint8

// The parameter kinds.
const (
	AnyParam       ParamKind = iota // any value
	IntParam                        // an integer or bool
	AddressParam                    // an integer or pointer
	LiteralParam                    // an integer constant
	FormatParam                     // a string literal with directives for the arguments that follow
	TextParam                       // a string literal
	MapParam                        // a map as a whole: @x
	KeyParam                        // a key of the map before it
	PrintableParam                  // a map as a whole or any value
	OutParam                        // a variable that takes a value of the map before it
	TypeParam                       // a type
	FieldParam                      // a field of the type before it: a, or a.b
	ObjectiveParam                  // the name of an slo; its constant is the objective's index
)

// Param is one parameter of a function.
type Param struct {
	Name     string
	Kind     ParamKind
	Optional bool
	Repeated bool // only the last one: any number, also none
	Word     bool // a positional parameter here is its text, not a number
}

// FuncClass says where a function may stand.
type FuncClass uint8

// The function classes.
const (
	PlainFunc FuncClass = iota
	AggFunc             // only as the value assigned to a map
	VerbFunc            // only inside the body of an sli
)

// Verb is what a VerbFunc does to its sli.
type Verb uint8

// The verbs.
const (
	NoVerb  Verb = iota
	Start        // remember now under the key
	Stop         // the ns since Start, which is forgotten; ends the action without one
	Cancel       // forget
	Observe      // one event with a value
	Good         // one good event
	BadVerb      // one bad event
	EventIf      // one event, good when the condition holds
	Advance      // cumulative counters
	Level        // a gauge
	Trace        // the trace ID of the events that the action records
)

// Func is the row of a function as the checker sees it.
type Func struct {
	Doc
	Class     FuncClass
	Verb      Verb
	Gate      bool // a probe whose whole predicate is a call of it is only attached while it is true
	Unsafe    bool // changes the system: needs Config.Unsafe
	Pure      bool // does nothing but give a value
	PerTarget bool // what Check finds out is about one target: a probe has a clause for each
	Params    []Param
	Hooks     []HookKind                       // the kinds of probes that it may stand in, nil for all
	Where     string                           // what probes these are, for a hint
	Result    func(c *Call) *Type              // nil: no value
	Check     func(c *Call)                    // further checks, with c.Errorf; may be nil
	Expand    func(c *syntax.Call) syntax.Expr // what the call stands for, in the language itself; nil for most

	// For an AggFunc: what it keeps, once Check found nothing to say.
	Agg func(c *Call) *Agg
}

// Call is a call being checked.
type Call struct {
	Node     *syntax.Call
	Args     []*Type // Void for maps as a whole
	Const    func(i int) (int64, bool)
	Map      func(i int) (keys int, value *Type)                        // of an argument that is a map; keys is -1 while it is not known
	Errorf   func(i int, format string, args ...any) *source.Diagnostic // i is an argument, -1 the whole call
	Warnf    func(i int, format string, args ...any) *source.Diagnostic
	Config   *Config
	Target   *Target // of the probe
	Resolver Resolver
	Fold     func(v int64)      // the value is known: the call is not made
	Text     func(i int) string // of an argument that is a string literal
	Dead     bool               // the condition of an if around it is known to be false
	Notes    []int64            // what Check found out for Result and the lowering
}

// Config is the part of the configuration that types depend on.
type Config struct {
	Child      int // the process of -c, 0 without
	MaxStrlen  int // capacity of str(), with the NUL
	MaxMapKeys int
	LabelLen   int // capacity of a label's string, with the NUL
	SpanKeys   int // entries of an sli's span map
	MaxCat     int // bytes that are printed of a file
	TSeries    Unstable
	TypeInfo   Unstable
	MaxProbes  int // functions of the kernel that are attached to by a program each
	UnwindRows int // rows of tables of dw_ustack that there is room for, of 8 bytes
	RingSize   int // bytes of the ring buffer, a power of two of at least RingPage
	Missing    MissingPolicy
	HideMaps   bool // no maps are printed at the end
	Mangled    bool // functions of C++ and Rust are printed as they are called in the file
	StackMode  int  // of stacks that name none
	Unsafe     bool // functions that change the system are allowed
}

// Unstable says what using a feature is that may still change.
type Unstable uint8

// What it is.
const (
	UnstableWarn Unstable = iota
	UnstableEnable
	UnstableError
)

// Licenses are those under which a program may call everything the kernel offers. Programs are loaded under the GPL.
func Licenses() []string {
	return []string{"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
}

// StackModes are the ways to print a stack, the usual one first; the last is for code of files.
func StackModes() []string { return []string{"bpftrace", "perf", RawStack, "build_id"} }

// RawStack is the mode that prints addresses alone.
const RawStack = "raw"

// RingPage is the size of a page of a ring buffer.
const RingPage = 4096

// MissingPolicy says what becomes of a script with a probe that does not exist, or cannot be attached.
type MissingPolicy uint8

// The policies, by the names they have in a script.
const (
	MissingError  MissingPolicy = iota // it does not run
	MissingWarn                        // it runs without, and that is told
	MissingIgnore                      // it runs without
)

// MissingPolicies are the names of the policies, in their order.
func MissingPolicies() []string { return []string{"error", "warn", "ignore"} }

// DefaultConfig is what holds without a config block.
func DefaultConfig() Config {
	return Config{MaxStrlen: 1024, MaxMapKeys: 4096, LabelLen: 64, SpanKeys: 16384, MaxCat: 10240, MaxProbes: 1024, UnwindRows: 1 << 21, RingSize: 4 << 20, TypeInfo: UnstableError}
}

// Role says what a variable identifies, for lints and for the end of spans.
type Role uint8

// The roles.
const (
	NoRole        Role = iota
	ThreadRole         // a thread, or a process
	MomentRole         // a moment, or chance
	GoroutineRole      // a goroutine
)

// Var is the row of a builtin variable. A Numbered one is written with a number: arg0, arg1.
type Var struct {
	Doc
	Numbered bool
	Args     bool                                  // reads the probe's arguments
	Debug    bool                                  // reads those that debug information tells of
	Varies   bool                                  // differs at every use within one action
	PerProbe bool                                  // differs from target to target: the probe's name
	Role     Role                                  // what it identifies
	Within   string                                // the variable of what it identifies something in; "" where it does so by itself
	Modes    []string                              // may be called with one of these names, a number up to Limit, or both:
	Limit    int                                   // n is then the number plus Limit+1 times the mode's index
	Once     bool                                  // it takes so long that it cannot be used in a loop
	Type     func(t *Target, n int) (*Type, error) // the error says why it does not exist in such a probe
	Called   *Func                                 // the function that it is where it has arguments; nil for most
	Pointer  func(t *Target) *Type                 // what a number is where it is used as a pointer; nil: it is none
}

// Probe is the row of a probe type.
type Probe struct {
	Doc
	Aliases []string
	Forms   []string // "tracepoint:subsystem:event"
	Alone   bool     // must be the only probe of a script
}

// Resolver finds what an attach point stands for on this machine.
type Resolver interface {
	// Resolve expands an attach point; the error is a *ResolveError or concerns the whole attach point. Of {a,b} some may
	// be missing: the error then joins one for each, and the targets are the others.
	Resolve(p *Probe, a *syntax.AttachPoint) ([]*Target, error)
}

// ResolveError tells which part of an attach point is wrong (0 is the probe type, -1 all of it).
type ResolveError struct {
	Part    int
	Missing bool // the attach point is well formed, but there is no such thing
	Message string
	Hint    string
}

func (e *ResolveError) Error() string { return e.Message }

// HookKind says how the kernel or the runtime calls a program.
type HookKind uint8

// The hook kinds.
const (
	HookBegin HookKind = iota
	HookEnd
	HookInterval
	HookProfile
	HookRaw        // a raw tracepoint: Event
	HookTracepoint // a perf tracepoint: ID
	HookUprobe     // Path and Points, entry or any instruction
	HookUretprobe  // Path and Points, function return
	HookPoll       // Period and Path: the pattern of cgroups, "" for none
	HookAlert      // Event: the objective, State: the state that it enters
	HookTest       // Event: its name; the value that it returns is its result
	HookBench      // Event: its name
	HookPerf       // an event of the performance counters: Perf
	HookKprobe     // Event: a function of the kernel, and Offset into it
	HookKretprobe  // Event: a function of the kernel returns
	HookFentry     // Event: a function of the kernel, and ID: its BTF id
	HookFexit      // the same, when it returns
	HookSignal     // Event: a signal that slope gets
	HookIter       // Event: a kind of the kernel's objects, and ID: the BTF id of their iterator; once for each, then the script ends
)

// Hook is one place a program is attached to; programs with equal keys are merged.
type Hook struct {
	Kind   HookKind
	Event  string        // raw tracepoint or function of the kernel, after its module and ':' where it is in one; or "subsystem:event"
	State  string        // of an alert
	ID     uint64        // of a tracepoint in tracefs, or of a type
	Prog   uint32        // id of the BPF program that Event is a function of, 0 for the kernel
	Period time.Duration // interval, profile
	Path   string        // of the binary, or the pattern of cgroups
	Points []Point
	Offset uint64 // into a function of the kernel

	Address uint64 // of a function of a module, 0 where it is not known
	Traced  bool   // the function may be one of many that are attached to at once
	Asked   string // the probe that the script has, where another kind serves it: "kprobe:f"
	// Session says of an entry or a return that one program may serve both, where a script has both; once programs are
	// lowered, that it does, and the hook is the entry.
	Session bool
	Perf    PerfEvent
	Pin     string // of an iterator: the file whose readers it runs for; "" where slope is the reader
	OneRead bool   // of an iterator: the kernel does not go on where a read of it has ended, so one read is over all objects
}

// PerfEvent is an event of the kernel's or the processor's counters, or a watched address.
type PerfEvent struct {
	Type, Config uint64 // as perf_event_open takes them
	Count        uint64 // the program runs at every so many
	Address, Len uint64 // of a watched address; 0 otherwise
	Mode         uint32 // of a watched address: HW_BREAKPOINT_R, _W, _X
}

// Point is one address in a binary.
type Point struct {
	Offset uint64 // in the file
	RefCtr uint64 // file offset of a USDT semaphore, 0 for none
	Name   string // of what is there, for people; "" where it has none
}

// Same tells whether two are one, whatever they are called.
func (p Point) Same(o Point) bool { return p.Offset == o.Offset && p.RefCtr == o.RefCtr }

// Places tells people where in a program a hook is: the functions, or the offsets of what has no name, as long as they are few.
func (h *Hook) Places() string {
	const few = 4
	var names []string
	for _, p := range h.Points {
		name := ":" + p.Name
		if p.Name == "" {
			name = fmt.Sprintf("+%#x", p.Offset)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if len(names) > few {
			names = nil
			break
		}
	}
	text := h.Path + strings.Join(names, ", ")
	if n := len(h.Points); n > 1 && n != len(names) {
		text += fmt.Sprintf(" (%d places)", n)
	}
	return text
}

// ArgsForm says where the fields of args and argN are found.
type ArgsForm uint8

// The forms of arguments.
const (
	NoArgs       ArgsForm = iota
	RecordArgs            // at their offsets in the tracepoint's record, which is the context
	WordArgs              // field i is context word Offset/8
	SyscallEnter          // field i is argument register Offset/8 of the pt_regs in context word 0
	SyscallExit           // ret is context word 1, the number is orig_ax of the pt_regs in context word 0
	CArgs                 // registers of the System V calling convention; the fields of args are at Target.Places
	GoArgs                // registers of Go's calling convention; the fields of args are at Target.Places
	InputArgs             // texts that the engine stores before each run
	PlacedArgs            // where Target.Operands says
	IterArgs              // field i is context word Offset/8; the action runs only where no pointer but the first is null
)

// Given is a value that a test gives an event: a number, a text where Text is not nil, or the fields of a struct where Fields is
// not nil.
type Given struct {
	Number uint64
	Text   *string
	Fields map[string]Given
}

// OperandKind says how an operand is read.
type OperandKind uint8

// The kinds of operands.
const (
	UnreadableOperand OperandKind = iota // by no means, such as a register of floating-point numbers
	ConstantOperand                      // Value
	RegisterOperand                      // Base, from the bit Shift on
	MemoryOperand                        // user memory at Base + Index*Scale + Value
)

// Operand says where a program keeps an argument of a static probe when it reaches it.
type Operand struct {
	Kind        OperandKind
	Size        int // in bytes: 1, 2, 4 or 8
	Signed      bool
	Value       int64
	Base, Index int // words of the pt_regs, -1 for none
	Scale       int
	Shift       int
	Text        string // as the program notes it
}

// Same tells whether one code reads both.
func (o Operand) Same(p Operand) bool {
	o.Text, p.Text = "", ""
	return o == p
}

// Piece is a part of an argument that one place holds: what is there goes to the byte At of the argument's value.
type Piece struct {
	At int
	Operand
}

// Debug is the debug information of the program that a target is in. It is read when it is asked for.
type Debug interface {
	// Args are the arguments of the target's function or, where it returns, what it gives; places as in Target.
	Args() (args *Type, places [][]Piece, err error)
	// Result is what retval is where it is used as a pointer, nil when that is not known.
	Result() *Type
	// Named returns a type by its whole name, nil where there is none of the name; keyword is struct, union, enum, or empty.
	Named(keyword, name string) (*Type, error)
	// Shortened is the same without namespaces or packages. The error says which types could be meant.
	Shortened(keyword, name string) (*Type, error)
	// Constant returns the value of an enumerator and the enum that it belongs to.
	Constant(name string) (v int64, t *Type, ok bool)
}

// Target is one concrete probe.
type Target struct {
	Probe    *Probe
	Name     string // in full: "tracepoint:syscalls:sys_enter_read"
	Hook     Hook
	Args     *Type // struct, nil without fields
	Form     ArgsForm
	Return   bool                    // retval exists
	Unsafe   string                  // why it is allowed with --unsafe only, "" where it always is
	Result   *Type                   // of retval, where it is a word of the context; nil for a register
	Word     int                     // that word
	Goid     int                     // offset of the goroutine's id in runtime.g, -1 when unknown or not Go
	GoEnd    func() (*Target, error) // where a goroutine of the program ends; nil where Goid is not known
	Syscall  int                     // system-call number for SyscallEnter and SyscallExit, -1 for all
	Operands []Operand               // of PlacedArgs
	Places   [][]Piece               // of CArgs and GoArgs: where the fields of Args are, by their Offset/8
	Debug    Debug                   // nil where there is no program
	Raw      *Raw                    // the raw tracepoint that serves the same event more cheaply, nil when none does
}

// SamePlace tells whether two targets are the same point of a program.
func (t *Target) SamePlace(o *Target) bool {
	return t.Hook.Kind == o.Hook.Kind && t.Hook.Event == o.Hook.Event && t.Hook.Path == o.Hook.Path && slices.EqualFunc(t.Hook.Points, o.Hook.Points, Point.Same)
}

// ReadDebug fills in Args and Places from the debug information, where that is what has them.
func (t *Target) ReadDebug() (err error) {
	if t.Args == nil && t.Debug != nil {
		t.Args, t.Places, err = t.Debug.Args()
	}
	return err
}

// Raw is a cheaper way to serve a tracepoint.
type Raw struct {
	Event string
	Args  *Type // nil: the raw event serves only where no field is read
	Form  ArgsForm
}
