package compiler_test

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

var le = binary.LittleEndian

// fixture resolves begin, end and interval as usual; every raw tracepoint has the arguments below, so that tests can
// hand a program any context.
type fixture struct{ *stdlib.Machine }

func (f fixture) Resolve(p *types.Probe, a *syntax.AttachPoint) ([]*types.Target, error) {
	if len(a.Parts) == 3 && a.Parts[1] == "fixture" {
		return []*types.Target{record(p, a.Parts[2])}, nil
	}
	if p.Name == "iter" {
		return []*types.Target{objects(p)}, nil
	}
	if len(a.Parts) != 2 || p.Name != "rawtracepoint" {
		return f.Machine.Resolve(p, a)
	}
	args := types.Fields{}
	for i, t := range []*types.Type{types.Int64, types.Int64, types.Uint64, types.Int32, types.Uint32, types.Int16, types.Uint8, types.Int8, types.Boolean} {
		args = append(args, types.Field{Name: string("abuiwstyz"[i]), Type: t, Offset: 8 * i})
	}
	return []*types.Target{{Probe: p, Name: p.Name + ":" + a.Parts[1], Hook: types.Hook{Kind: types.HookRaw, Event: a.Parts[1]},
		Form: types.WordArgs, Goid: -1, Syscall: -1, Args: &types.Type{Kind: types.Struct, Name: a.Parts[1], Layout: args}}}, nil
}

// objects is an iterator over tasks with a number each.
func objects(p *types.Probe) *types.Target {
	object := func(name string, fields ...types.Field) *types.Type {
		return types.PointerTo(&types.Type{Kind: types.Struct, Name: name, Size: 128, Layout: types.Fields(fields)}, false)
	}
	char := types.IntOf(1, true)
	return &types.Target{Probe: p, Name: p.Name + ":task", Hook: types.Hook{Kind: types.HookIter, Event: "task"}, Form: types.IterArgs, Goid: -1, Syscall: -1,
		Args: &types.Type{Kind: types.Struct, Name: "bpf_iter__task", Layout: types.Fields{
			{Name: "meta", Type: object("bpf_iter_meta", types.Field{Name: "seq", Type: object("seq_file")})},
			{Name: "task", Type: object("task_struct", types.Field{Name: "comm", Type: &types.Type{Kind: types.Array, Elem: char, Len: 16, Size: 16}, Offset: commOffset}), Offset: 8},
			{Name: "fd", Type: types.Uint32, Offset: 16}}}}
}

// record is a tracepoint with fields of every form in its record: the context, of which "// ctx:" gives the words.
func record(p *types.Probe, name string) *types.Target {
	char := types.IntOf(1, true)
	chars := func(n int) *types.Type { return &types.Type{Kind: types.Array, Elem: char, Len: n} }
	return &types.Target{Probe: p, Name: p.Name + ":fixture:" + name, Hook: types.Hook{Kind: types.HookTracepoint, Event: "fixture:" + name},
		Form: types.RecordArgs, Goid: -1, Syscall: -1, Args: &types.Type{Kind: types.Struct, Name: name, Layout: types.Fields{
			{Name: "i", Type: types.Int32, Offset: 8}, {Name: "h", Type: types.IntOf(2, false), Offset: 12},
			{Name: "c", Type: types.Int8, Offset: 14}, {Name: "b", Type: types.Uint8, Offset: 15},
			{Name: "name", Type: chars(16), Offset: 16}, {Name: "text", Type: chars(0), Offset: 32, DataLoc: true},
			{Name: "bits", Type: types.Uint32, Offset: 36, BitOff: 3, BitSize: 5}, {Name: "u", Type: types.Uint64, Offset: 40}}}}
}

const taskAddr, commOffset = 0x1000, 64 // of the task in the interpreter

// options compiles for the fixture; a kernel is only asked by the features.
func options(feat backend.Features, taskBTF bool, comm int) compiler.Options {
	reg := stdlib.New()
	return compiler.Options{Universe: reg, Library: reg, Resolver: fixture{&stdlib.Machine{Registry: reg}}, Config: types.DefaultConfig(),
		Kernel:  ir.Kernel{TaskBTF: taskBTF, CommPadded: taskBTF, CommOffset: comm},
		Backend: feat, CPUs: runtime.NumCPU(), VerifyIR: true}
}

// lowered is a script as IR that no pass has touched.
func lowered(file *source.File, o compiler.Options) (*compiler.Object, source.Diagnostics) {
	prog, diags := compiler.Check(file, o)
	if diags.HasErrors() {
		return nil, diags
	}
	obj := &compiler.Object{Checked: prog}
	obj.IR, obj.Layout = lower.Program(prog, lower.Options{Library: o.Library, Kernel: o.Kernel, CPUs: o.CPUs})
	return obj, diags
}

// twoWays is a script as IR that no pass has touched, and compiled.
func twoWays(t testing.TB, script string, o compiler.Options) (plain, compiled *compiler.Object) {
	t.Helper()
	file := source.NewFile("t.slo", script)
	compiled, diags := compiler.Compile(file, o)
	plain, _ = lowered(file, o)
	if compiled == nil || plain == nil {
		t.Fatal(diags)
	}
	return plain, compiled
}

// world is the process that the programs see; text are strings in its memory.
type world struct {
	pidTgid, uidGid int64
	comm            [16]byte
	comms           int // offset of comm in a task
	text            [][]byte
	pin             runtime.Pinner
	now             int64
}

func (w *world) Helper(h ir.Helper) int64 {
	switch h {
	case ir.HelperPidTgid:
		return w.pidTgid
	case ir.HelperUidGid:
		return w.uidGid
	case ir.HelperTaskBTF:
		return taskAddr
	case ir.HelperKtimeBoot, ir.HelperKtimeMono:
		w.now += 1000
		return w.now
	}
	return 0
}

func (w *world) Task(pid int64) uint64 {
	if pid == w.pidTgid>>32 {
		return taskAddr
	}
	return 0
}

func (w *world) Comm() [16]byte { return w.comm }

func (w *world) Stack(kernel bool) []uint64 {
	if kernel {
		return []uint64{0xffffffff81000010, 0xffffffff81000020, 0xffffffff81000030}
	}
	return nil
}

func (w *world) Read(addr uint64, buf []byte, kernel bool) bool {
	if kernel {
		at := addr - taskAddr - uint64(w.comms)
		if at < 16 {
			copy(buf, w.comm[at:])
			return true
		}
		return false
	}
	for _, s := range w.text {
		if at := addr - uint64(uintptr(unsafe.Pointer(&s[0]))); at < uint64(len(s)) && at+uint64(len(buf)) <= uint64(len(s)) {
			copy(buf, s[at:])
			return true
		}
	}
	return false
}

// word turns a word of a "// ctx:" line into a number; a quoted one becomes the address of a string, quoted ones with *
// before each the address of an array of such addresses that ends with a null pointer.
func (w *world) word(t testing.TB, s string) uint64 {
	if list, ok := strings.CutPrefix(s, "*"); ok {
		var b []byte
		for _, one := range strings.Split(list, "*") {
			b = le.AppendUint64(b, w.word(t, one))
		}
		b = le.AppendUint64(b, 0)
		w.pin.Pin(&b[0])
		w.text = append(w.text, b)
		return uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	if strings.HasPrefix(s, `"`) {
		text, err := strconv.Unquote(s)
		if err != nil {
			t.Fatalf("ctx: %s: %v", s, err)
		}
		b := append([]byte(text), 0)
		w.pin.Pin(&b[0])
		w.text = append(w.text, b)
		return uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return uint64(n)
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		t.Fatalf("ctx: %v", err)
	}
	return n
}

// outcome is what a script leaves behind.
type outcome struct {
	maps    map[string]map[string][]byte // by map and key: the values of the one CPU used
	records [][]byte
	results []int64
}

// sequence calls run for every function in the order of a life: begin, one round per context, end.
func sequence(funcs []*ir.Func, ctxs [][]uint64, run func(i int, ctx []uint64)) {
	of := func(kind types.HookKind, ctx []uint64) {
		for i, f := range funcs {
			if f.Hooks[0].Kind == kind {
				run(i, ctx)
			}
		}
	}
	of(types.HookBegin, nil)
	for _, ctx := range ctxs {
		of(types.HookRaw, ctx)
		of(types.HookTracepoint, ctx)
		of(types.HookIter, ctx)
	}
	of(types.HookEnd, nil)
}

// interpret runs a program in the interpreter; ring is the size of the ring buffer, 0 for one that never fills.
func interpret(p *ir.Program, w *world, ctxs [][]uint64, ring int) (*outcome, error) {
	out := &outcome{maps: map[string]map[string][]byte{}}
	m := interp.New(p, w, 1)
	m.Ring = ring
	var first error
	sequence(p.Funcs, ctxs, func(i int, ctx []uint64) {
		words := make([]uint64, 12)
		copy(words, ctx)
		ret, err := m.Run(p.Funcs[i], words)
		if err != nil && first == nil {
			first = err
		}
		out.results = append(out.results, ret)
	})
	for _, rec := range m.Drain() {
		out.records = append(out.records, rec.Data)
	}
	for _, im := range p.Maps {
		if im.Kind == ir.RingBuf || im.ValueSize == 0 {
			continue
		}
		vals := map[string][]byte{}
		for _, k := range m.Map(im).Keys() {
			vals[k] = m.Map(im).Value(k, 0)
		}
		out.maps[im.Name] = vals
	}
	return out, first
}

// kernel is the machine the tests run on: pinned to one CPU and one thread.
type kernel struct {
	feats map[string]backend.Features
	may   bool // may_goto
	cpu   int
	world *world
}

// useKernel skips without a kernel that runs programs. The goroutine stays on its thread, the thread on its CPU.
func useKernel(t testing.TB) *kernel { return useCPU(t, 0) }

// useCPU is useKernel on the nth of the CPUs that this process may use.
func useCPU(t testing.TB, nth int) *kernel {
	t.Helper()
	f := &bpf.Features{}
	bpftest.Require(t, f.TestRun(), f.RingBuf())
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	k := &kernel{feats: map[string]backend.Features{"v3": {AtomicFetch: f.AtomicFetch() == nil}}}
	for nth %= before.Count(); nth > 0 || !before.IsSet(k.cpu); k.cpu++ {
		if before.IsSet(k.cpu) {
			nth--
		}
	}
	one.Set(k.cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	})
	if f.SDiv() == nil {
		k.feats["v4"] = backend.Features{AtomicFetch: true, SDiv: true, MovSX: true, LongJumps: true}
	}
	k.may = f.MayGoto() == nil
	for name, feat := range k.feats {
		feat.MapEach, feat.PerCPU = f.MapEach() == nil, f.PerCPULookup() == nil
		k.feats[name] = feat
	}
	k.world = thisProcess(t, k)
	return k
}

// thisProcess asks the kernel who runs the programs: in a container the numbers are not those of getpid.
func thisProcess(t testing.TB, k *kernel) *world {
	p := &ir.Program{}
	m := &ir.Map{Name: "who", Kind: ir.Array, KeySize: 4, ValueSize: 32, MaxEntries: 1}
	p.Maps = []*ir.Map{m}
	b := ir.NewFunc(p, "who", ir.RawTracepoint, "")
	b.Func.Hooks = []types.Hook{{Kind: types.HookBegin}}
	out, s := b.MapValue(m), b.Slot("comm", 16)
	b.Store(out, 0, 8, b.Help(ir.HelperPidTgid))
	b.Store(out, 8, 8, b.Help(ir.HelperUidGid))
	b.Zero(b.Addr(s), 0, 16) // some kernels leave what follows the NUL as it was
	b.Help(ir.HelperComm, b.Addr(s))
	b.Copy(out, 16, b.Addr(s), 16)
	b.Ret(b.Const(0))
	code, err := backend.Compile(p, b.Func, backend.Features{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.run(&compiler.Object{IR: p, Code: []*backend.Code{code}}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	v := got.maps["who"]["\x00\x00\x00\x00"]
	w := &world{pidTgid: int64(le.Uint64(v)), uidGid: int64(le.Uint64(v[8:])), comms: commOffset}
	copy(w.comm[:], v[16:])
	return w
}

// loaded is an object in the kernel.
type loaded struct {
	progs []*ebpf.Program
	maps  map[*ir.Map]*ebpf.Map
}

func (l *loaded) close() {
	for _, p := range l.progs {
		p.Close()
	}
	for _, m := range l.maps {
		m.Close()
	}
}

// load loads an object as the engine does, raw tracepoint programs only.
func load(obj *compiler.Object, ring int) (*loaded, error) {
	l := &loaded{maps: map[*ir.Map]*ebpf.Map{}}
	kinds := [...]ebpf.MapType{ir.Hash: ebpf.Hash, ir.LRUHash: ebpf.LRUHash, ir.PerCPUHash: ebpf.PerCPUHash,
		ir.LRUPerCPUHash: ebpf.LRUCPUHash, ir.Array: ebpf.Array, ir.PerCPUArray: ebpf.PerCPUArray, ir.RingBuf: ebpf.RingBuf}
	byName := map[string]*ebpf.Map{}
	for _, m := range obj.IR.Maps {
		if m.ValueSize == 0 && m.Kind != ir.RingBuf {
			continue
		}
		spec := bpf.MapSpec{Name: m.Name, Type: kinds[m.Kind], KeySize: m.KeySize, ValueSize: m.ValueSize, MaxEntries: m.MaxEntries, NoPrealloc: m.NoPrealloc, Mapped: m.Mapped}
		if m.Kind == ir.RingBuf {
			spec.MaxEntries = cmp.Or(ring, 1<<16)
		}
		if byName[m.Name] != nil {
			return l, fmt.Errorf("two maps are called %s", m.Name)
		}
		km, err := bpf.NewMap(spec)
		if err != nil {
			return l, err
		}
		l.maps[m], byName[m.Name] = km, km
		if m.Init != nil {
			if err := km.Put(uint32(0), m.Init); err != nil {
				return l, err
			}
		}
	}
	for i, c := range obj.Code {
		for j := range c.Insns {
			if ins := &c.Insns[j]; ins.IsLoadFromMap() {
				if err := ins.AssociateMap(byName[ins.Reference()]); err != nil {
					return l, err
				}
			}
		}
		prog, err := bpf.Load(bpf.ProgSpec{Name: obj.IR.Funcs[i].Name, Type: ebpf.RawTracepoint, Insns: c.Insns})
		if err != nil {
			return l, err
		}
		l.progs = append(l.progs, prog)
	}
	return l, nil
}

// run runs an object in the kernel. The ring buffer is read after every program, or in the end when its size is given.
func (k *kernel) run(obj *compiler.Object, ctxs [][]uint64, size int) (*outcome, error) {
	l, err := load(obj, size)
	defer l.close()
	if err != nil {
		return nil, err
	}
	out := &outcome{maps: map[string]map[string][]byte{}}
	var ring *bpf.Ring
	if obj.IR.Ring != nil {
		if ring, err = bpf.OpenRing(l.maps[obj.IR.Ring]); err != nil {
			return nil, err
		}
		defer ring.Close()
	}
	drain := func() {
		if ring != nil {
			ring.Drain(func(rec []byte) { out.records = append(out.records, append([]byte(nil), rec...)) })
		}
	}
	sequence(obj.IR.Funcs, ctxs, func(i int, ctx []uint64) {
		ret, e := bpf.TestRun(l.progs[i], ctx, -1)
		if e != nil {
			err = e
		}
		out.results = append(out.results, int64(int32(ret)))
		if size == 0 {
			drain()
		}
	})
	drain()
	for m, km := range l.maps {
		if m.Kind == ir.RingBuf {
			continue
		}
		vals := map[string][]byte{}
		size := (m.ValueSize + 7) &^ 7
		if e := bpf.ReadAll(km, func(key, value []byte) error {
			if m.Kind.PerCPU() {
				value = value[k.cpu*size:]
			}
			vals[string(key)] = append([]byte(nil), value[:m.ValueSize]...)
			return nil
		}); e != nil {
			err = e
		}
		out.maps[m.Name] = vals
	}
	return out, err
}

// taskComm is the offset of comm in the running kernel's task_struct; -1 when it cannot be found.
var taskComm = sync.OnceValue(func() int {
	m := &stdlib.Machine{}
	defer m.Close()
	ix, err := m.BTF()
	if err != nil {
		return -1
	}
	args, err := ix.RawTracepointArgs("sched_switch")
	if err != nil {
		return -1
	}
	for _, a := range args {
		if a.Type.Kind == types.Pointer && a.Type.Elem.Kind == types.Struct {
			if f, ok := a.Type.Elem.Field("comm"); ok {
				return f.Offset
			}
		}
	}
	return -1
})
