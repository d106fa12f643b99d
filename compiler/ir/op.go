package ir

// Op is an operation.
type Op uint8

// Effect says what a pass may do with an unused or repeated instruction.
type Effect uint8

// The effects.
const (
	Pure  Effect = iota // may be removed, merged and moved
	Read                // reads memory: may be removed when unused, merged only when nothing is written between
	Write               // changes memory the program or others see: stays, in order
	Call                // clobbers r1–r5 and has an effect: stays, in order
	Guard               // needed by the kernel's verifier: never removed
)

// The operations. p is a pointer, k a pointer to a key, x and y scalars.
const (
	OpInvalid Op = iota
	OpParam      // a block's parameter
	OpConst      // Imm

	OpAdd // x + y, wrapping; all arithmetic is on 64 bits
	OpSub
	OpMul
	OpUDiv // x / 0 = 0, as the kernel defines it; lowering guards against it first
	OpUMod // x % 0 = x
	OpSDiv // truncating; INT64_MIN / -1 = INT64_MIN
	OpSMod // sign of the dividend
	OpAnd
	OpOr
	OpXor
	OpShl // counts are taken modulo 64
	OpShr // logical
	OpSar // arithmetic
	OpNeg
	OpNot // ~x
	OpExt // the low Width bytes of x, zero- or sign-extended

	OpEq // 1 or 0
	OpNe
	OpULt
	OpULe
	OpSLt
	OpSLe

	OpBound  // x if x <= Imm (unsigned), otherwise Imm
	OpMask   // x & Imm
	OpForget // x, which the kernel's verifier then knows nothing of; p is memory that holds zero

	OpCtx      // the context pointer
	OpSlot     // the address of Slot
	OpMapValue // the address of the only entry of an Array Map
	OpMapPtr   // the address of Map itself, which is only stored
	OpOffset   // p + Imm
	OpIndex    // p + x*Imm; x must be a Bound or Mask
	OpNonNull  // the …OrNull pointer of the NullCheck that leads here, now known not to be null

	OpLoad     // Width bytes at p+Off; on a BTFPtr the result may be a BTFPtr again (Class)
	OpStore    // Width bytes at p+Off = x
	OpZero     // Imm bytes at p+Off = 0; multiples of 8
	OpBytes    // Data at p+Off
	OpCopy     // Imm bytes at p+Off = the bytes at y; multiples of 8, 8-byte aligned
	OpAddMem   // *(u64*)(p+Off) += x, plain: for per-CPU memory
	OpAtomic   // *(u64*)(p+Off) += x, atomic, no result
	OpFetchAdd // the same with the old value as result
	OpCmpXchg  // if *(u64*)(p+Off) == x then = y; the old value

	OpMapLookup    // k: MapValueOrNull
	OpMapUpdate    // k, p (value); Imm is BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2; 0 or -errno
	OpMapDelete    // k; 0 or -errno
	OpMapLookupCPU // k, x (CPU): the value of that CPU, MapValueOrNull (5.19)
	OpMapLen       // how many entries there are (5.13)
	OpMapEach      // p: 8 bytes that hold the offset of the area in Each.Buffer; copies every entry there (5.13)

	OpRead    // p (destination), x (address): Imm bytes from user (Signed false) or kernel (Signed true) memory; 0 or -errno
	OpReadN   // p, x (address), y (size, at most Imm): y bytes, as OpRead
	OpReadStr // p, x (address), y (size, at most Imm, at least 1): NUL-terminated; length with NUL or -errno

	OpStack // p: Imm bytes of return addresses of kernel (Signed true) or user code, the rest zeros; bytes or -errno

	OpRingReserve // Imm bytes: RingPtrOrNull
	OpRingSubmit  // p; Imm is BPF_RB_NO_WAKEUP 1 or BPF_RB_FORCE_WAKEUP 2
	OpRingDiscard // p

	OpHelper // a kernel helper, see Helper

	numOps
)

// opInfo is one row of the op table.
type opInfo struct {
	name   string
	args   int // number of Args, -1 when it varies
	effect Effect
	class  Class // of the result; a dash in comments where it varies
}

var opTable = [numOps]opInfo{
	OpInvalid:      {"invalid", 0, Guard, Void},
	OpParam:        {"param", 0, Pure, Scalar},
	OpConst:        {"const", 0, Pure, Scalar},
	OpAdd:          {"add", 2, Pure, Scalar},
	OpSub:          {"sub", 2, Pure, Scalar},
	OpMul:          {"mul", 2, Pure, Scalar},
	OpUDiv:         {"udiv", 2, Pure, Scalar},
	OpUMod:         {"umod", 2, Pure, Scalar},
	OpSDiv:         {"sdiv", 2, Pure, Scalar},
	OpSMod:         {"smod", 2, Pure, Scalar},
	OpAnd:          {"and", 2, Pure, Scalar},
	OpOr:           {"or", 2, Pure, Scalar},
	OpXor:          {"xor", 2, Pure, Scalar},
	OpShl:          {"shl", 2, Pure, Scalar},
	OpShr:          {"shr", 2, Pure, Scalar},
	OpSar:          {"sar", 2, Pure, Scalar},
	OpNeg:          {"neg", 1, Pure, Scalar},
	OpNot:          {"not", 1, Pure, Scalar},
	OpExt:          {"ext", 1, Pure, Scalar},
	OpEq:           {"eq", 2, Pure, Scalar},
	OpNe:           {"ne", 2, Pure, Scalar},
	OpULt:          {"ult", 2, Pure, Scalar},
	OpULe:          {"ule", 2, Pure, Scalar},
	OpSLt:          {"slt", 2, Pure, Scalar},
	OpSLe:          {"sle", 2, Pure, Scalar},
	OpBound:        {"bound", 1, Guard, Scalar},
	OpMask:         {"mask", 1, Guard, Scalar},
	OpForget:       {"forget", 2, Guard, Scalar},
	OpCtx:          {"ctx", 0, Pure, Ctx},
	OpSlot:         {"slot", 0, Pure, SlotPtr},
	OpMapValue:     {"mapvalue", 0, Pure, MapValue},
	OpMapPtr:       {"mapptr", 0, Pure, MapValue},
	OpOffset:       {"offset", 1, Pure, Void},
	OpIndex:        {"index", 2, Pure, Void},
	OpNonNull:      {"nonnull", 1, Guard, Void},
	OpLoad:         {"load", 1, Read, Scalar},
	OpStore:        {"store", 2, Write, Void},
	OpZero:         {"zero", 1, Write, Void},
	OpBytes:        {"bytes", 1, Write, Void},
	OpCopy:         {"copy", 2, Write, Void},
	OpAddMem:       {"addmem", 2, Write, Void},
	OpAtomic:       {"atomic", 2, Write, Void},
	OpFetchAdd:     {"fetchadd", 2, Write, Scalar},
	OpCmpXchg:      {"cmpxchg", 3, Write, Scalar},
	OpMapLookup:    {"lookup", 1, Call, MapValueOrNull},
	OpMapUpdate:    {"update", 2, Call, Scalar},
	OpMapDelete:    {"delete", 1, Call, Scalar},
	OpMapLookupCPU: {"lookupcpu", 2, Call, MapValueOrNull},
	OpMapLen:       {"len", 0, Call, Scalar},
	OpMapEach:      {"each", 1, Call, Scalar},
	OpRead:         {"read", 2, Call, Scalar},
	OpReadN:        {"readn", 3, Call, Scalar},
	OpReadStr:      {"readstr", 3, Call, Scalar},
	OpStack:        {"stack", 1, Call, Scalar},
	OpRingReserve:  {"reserve", 0, Call, RingPtrOrNull},
	OpRingSubmit:   {"submit", 1, Call, Void},
	OpRingDiscard:  {"discard", 1, Call, Void},
	OpHelper:       {"helper", -1, Call, Scalar},
}

func (o Op) String() string { return opTable[o].name }

// Effect returns the op's effect. A helper's own effect is in its row: see (*Value).Effect.
func (o Op) Effect() Effect { return opTable[o].effect }

// Effect returns what a pass may do with this instruction.
func (v *Value) Effect() Effect {
	if v.Op == OpHelper {
		return helperTable[v.Helper].effect
	}
	return opTable[v.Op].effect
}

// IsCall tells whether the instruction clobbers the caller-saved registers r1–r5.
func (v *Value) IsCall() bool {
	switch v.Op {
	case OpHelper, OpMapLookup, OpMapUpdate, OpMapDelete, OpMapLookupCPU, OpMapLen, OpMapEach, OpRead, OpReadN, OpReadStr, OpStack, OpRingReserve, OpRingSubmit, OpRingDiscard:
		return true
	}
	return false
}

// Helper is a helper of the kernel's, or a function of the kernel that programs may call (a kfunc).
type Helper uint8

// The helpers.
const (
	HelperNone         Helper = iota
	HelperKtimeBoot           // ns since boot, suspend included
	HelperKtimeMono           // ns since boot
	HelperKtimeTAI            // ns of TAI (6.1)
	HelperPidTgid             // tgid << 32 | tid of the current task, in the initial pid namespace
	HelperNsPidTgid           // x (device), x (inode), p: 8 bytes, tid and tgid of the current task in that pid namespace; 0 or -errno
	HelperUidGid              // gid << 32 | uid
	HelperCPU                 // the current CPU's number
	HelperNode                // the current CPU's NUMA node
	HelperJiffies             // jiffies64 (5.6)
	HelperCgroup              // id of the current task's cgroup of version 2
	HelperRandom              // 32 random bits
	HelperComm                // p: 16 bytes of the current task's name; padded with NUL
	HelperTask                // the current task's address
	HelperTaskBTF             // the current task: BTFPtr
	HelperTaskRegs            // b (task): the registers of user space that the task entered the kernel with: BTFPtr (5.15)
	HelperCookie              // the attach cookie
	HelperFuncIP              // the address of the function that is probed (5.15)
	HelperSeqWrite            // b (seq), p: gives IterMark bytes to the reader of an iterator
	HelperSeqPrintf           // b (seq), p (format), s, p (a word for each value: for %s the address of the text), s: gives text to the reader of an iterator; 0 or -errno
	HelperSignal              // x: a signal for the current process; 0 or -errno
	HelperSignalThread        // the same for the current thread
	HelperOverride            // x: what the probed function returns instead of being run
	HelperPath                // b (struct path), p: PathBytes bytes, the path first; its length with the NUL or -errno
	HelperSocketCookie        // b (struct sock): the number that the kernel gives the socket
	HelperReturning           // whether a program at the entry and the return of functions runs for the return (6.10)
	HelperWriteUser           // x (address), p, s: writes memory of the process; 0 or -errno
	HelperTaskFromPid         // x: the task of that number in the initial pid namespace, to be released: BTFPtrOrNull (6.2)
	HelperTaskRelease         // b (task)
	HelperTrace               // p (format), s, and what it formats, a pointer for %s: writes to the kernel's trace; its length or -errno
	numHelpers
)

// IterMark is how many bytes HelperSeqWrite gives to the reader of an iterator.
const IterMark = 8

// TraceArgs is how many arguments HelperTrace takes; those that the format does not name are 0.
const TraceArgs = 5

// PathBytes is the kernel's PATH_MAX.
const PathBytes = 4096

type helperInfo struct {
	name   string
	args   string // a letter for each: p a pointer, b a BTFPtr, x a scalar, s how many bytes the pointer before it reaches, a a scalar or a pointer
	effect Effect
	class  Class
	once   bool // gives the same value during one run: CSE may merge it
	bytes  int  // that a pointer must reach and the helper writes

	context  bool   // takes the context before the arguments: the back end passes it
	function string // of the kernel, by its name in BTF; "" for a helper
	truth    bool   // gives a bool, of which only the lowest byte is set
	acquires bool   // gives a reference that is to be released on every way
	releases bool   // takes such a one, and it is gone
}

var helperTable = [numHelpers]helperInfo{
	HelperNone:         {name: "none", effect: Guard},
	HelperKtimeBoot:    {name: "ktime_get_boot_ns", effect: Read, class: Scalar, once: true},
	HelperKtimeMono:    {name: "ktime_get_ns", effect: Read, class: Scalar, once: true},
	HelperKtimeTAI:     {name: "ktime_get_tai_ns", effect: Read, class: Scalar, once: true},
	HelperPidTgid:      {name: "get_current_pid_tgid", effect: Read, class: Scalar, once: true},
	HelperNsPidTgid:    {name: "get_ns_current_pid_tgid", args: "xxp", effect: Call, class: Scalar, bytes: 8},
	HelperUidGid:       {name: "get_current_uid_gid", effect: Read, class: Scalar, once: true},
	HelperCPU:          {name: "get_smp_processor_id", effect: Read, class: Scalar},
	HelperNode:         {name: "get_numa_node_id", effect: Read, class: Scalar},
	HelperJiffies:      {name: "jiffies64", effect: Read, class: Scalar},
	HelperCgroup:       {name: "get_current_cgroup_id", effect: Read, class: Scalar, once: true},
	HelperRandom:       {name: "get_prandom_u32", effect: Read, class: Scalar},
	HelperComm:         {name: "get_current_comm", args: "p", effect: Call, class: Scalar, bytes: 16},
	HelperTask:         {name: "get_current_task", effect: Read, class: Scalar, once: true},
	HelperTaskBTF:      {name: "get_current_task_btf", effect: Read, class: BTFPtr, once: true},
	HelperTaskRegs:     {name: "task_pt_regs", args: "b", effect: Read, class: BTFPtr, once: true},
	HelperCookie:       {name: "get_attach_cookie", effect: Read, class: Scalar, once: true, context: true},
	HelperFuncIP:       {name: "get_func_ip", effect: Read, class: Scalar, once: true, context: true},
	HelperSeqWrite:     {name: "seq_write", args: "bp", effect: Call, class: Scalar, bytes: IterMark},
	HelperSeqPrintf:    {name: "seq_printf", args: "bpsps", effect: Call, class: Scalar},
	HelperSignal:       {name: "send_signal", args: "x", effect: Call, class: Scalar},
	HelperSignalThread: {name: "send_signal_thread", args: "x", effect: Call, class: Scalar},
	HelperOverride:     {name: "override_return", args: "x", effect: Call, class: Scalar, context: true},
	HelperPath:         {name: "d_path", args: "bp", effect: Call, class: Scalar, bytes: PathBytes},
	HelperSocketCookie: {name: "get_socket_ptr_cookie", args: "b", effect: Call, class: Scalar},
	HelperReturning:    {name: "session_is_return", effect: Read, class: Scalar, once: true, context: true, function: "bpf_session_is_return", truth: true},
	HelperWriteUser:    {name: "probe_write_user", args: "xps", effect: Call, class: Scalar},
	HelperTaskFromPid:  {name: "task_from_pid", args: "x", effect: Call, class: BTFPtrOrNull, function: "bpf_task_from_pid", acquires: true},
	HelperTaskRelease:  {name: "task_release", args: "b", effect: Call, class: Void, function: "bpf_task_release", releases: true},
	HelperTrace:        {name: "trace_printk", args: "psaaa", effect: Call, class: Scalar},
}

func (h Helper) String() string { return helperTable[h].name }

// Once tells whether the helper gives the same value during one run of the program.
func (h Helper) Once() bool { return helperTable[h].once }

// Context tells whether the helper takes the context before its arguments.
func (h Helper) Context() bool { return helperTable[h].context }

// Function is the name of the function of the kernel that is called, "" for a helper.
func (h Helper) Function() string { return helperTable[h].function }

// Truth tells whether the result is a bool, of which only the lowest byte is set.
func (h Helper) Truth() bool { return helperTable[h].truth }

// Writes is how many bytes the helper writes at the pointer that it takes.
func (h Helper) Writes() int { return helperTable[h].bytes }
