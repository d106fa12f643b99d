package stdlib

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/tracefs"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// Machine is what the rows of probe types look things up in: tracefs, the kernel's BTF, executables. Everything is
// opened when first needed. It implements types.Resolver. Close it after compilation.
type Machine struct {
	Registry *Registry
	Pid      int  // of -p, 0 without
	Fentry   bool // serve kprobes by trampolines, also where the kernel has kprobes
	Forced   bool // kprobes are attached in a way that is asked for, so the kernel must have them
	Kprobe   bool // serve fentry and fexit by kprobes, also where the kernel has trampolines

	// Session tells whether one program may serve the entries and returns of functions: those that hooks of a kind are
	// on. Nil: none may.
	Session func(kind types.HookKind) bool

	Verbose func(line string) // told what patterns leave out; may be nil

	// Warn is told what a probe at an attach point does not see; may be nil.
	Warn func(at source.Span, message, hint string)

	features bpf.Features
	fs       *tracefs.FS
	index    *btf.Index
	modules  []*module // nil until they are asked for
	binaries map[string]*symbols.Binary
	rawNames map[string]bool
	enums    map[string]*types.Type // of fields of tracepoints, by name

	doubts          map[string]bool     // arguments of raw tracepoints that may be null, as far as they were tried
	traced          map[string][]string // functions that the kernel lists for tracing, by their module; nil until they are asked for
	kernelFuncs     []string            // sorted
	traceable       bool                // they are those that the kernel lists for tracing
	kernelAddresses map[string]uint64   // of symbols that were asked for

	copied map[string]bool // functions whose copies were sought, by their binary and name: what there is was told

	ids         map[*btf.Index]map[string]uint32 // of functions, for patterns
	trampolines *btf.Trampolines                 // what they take; nil until it is asked for
}

// Close closes what was opened.
func (m *Machine) Close() error {
	var errs []error
	if m.fs != nil {
		errs = append(errs, m.fs.Close())
	}
	for _, mod := range m.modules {
		if mod.types != nil {
			errs = append(errs, mod.types.Close())
		}
	}
	if m.index != nil {
		errs = append(errs, m.index.Close())
	}
	for _, b := range m.binaries {
		errs = append(errs, b.Close())
	}
	m.fs, m.index, m.modules, m.binaries, m.ids, m.trampolines = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

func (m *Machine) tracefs() (*tracefs.FS, error) {
	if m.fs != nil {
		return m.fs, nil
	}
	fs, err := tracefs.Open()
	if err != nil {
		return nil, err
	}
	m.fs = fs
	return fs, nil
}

// BTF is the kernel's type information.
func (m *Machine) BTF() (*btf.Index, error) {
	if m.index != nil {
		return m.index, nil
	}
	ix, err := btf.Open()
	if err != nil {
		return nil, err
	}
	m.index = ix
	return ix, nil
}

func (m *Machine) binary(file string) (*symbols.Binary, error) {
	if b := m.binaries[file]; b != nil {
		return b, nil
	}
	b, err := symbols.Open(file)
	if err != nil {
		return nil, err
	}
	if m.binaries == nil {
		m.binaries = map[string]*symbols.Binary{}
	}
	m.binaries[file] = b
	return b, nil
}

// session tells whether a hook on the entry or the return of a function may be one with its counterpart.
func (m *Machine) session(kind types.HookKind) bool { return m.Session != nil && m.Session(kind) }

// Function is the BTF id of a function of the kernel that programs may call, 0 without.
func (m *Machine) Function(name string) int64 {
	ix, err := m.BTF()
	if err != nil {
		return 0
	}
	id, err := ix.KernelFunction(name)
	if err != nil {
		return 0
	}
	return int64(id)
}

// hasRaw tells whether there is a raw tracepoint of the name.
func (m *Machine) hasRaw(event string) bool {
	if m.rawNames != nil {
		return m.rawNames[event]
	}
	ix, err := m.BTF()
	if err != nil {
		return false
	}
	_, err = ix.RawTracepoint(event)
	return err == nil
}

// rawEvents lists all raw tracepoints.
func (m *Machine) rawEvents() map[string]bool {
	if m.rawNames == nil {
		m.rawNames = map[string]bool{}
		if ix, err := m.BTF(); err == nil {
			ix.Each(btf.KindTypedef, func(_ uint32, name string) bool {
				if event, ok := strings.CutPrefix(name, "btf_trace_"); ok {
					m.rawNames[event] = true
				}
				return true
			})
		}
	}
	return m.rawNames
}

// Kernel asks the running kernel for what the lowering can use.
func (m *Machine) Kernel(f *bpf.Features) ir.Kernel {
	k := ir.Kernel{CommOffset: -1, MayGoto: f.MayGoto() == nil, MapEach: f.MapEach() == nil,
		PerCPU: f.PerCPULookup() == nil, TPBTF: f.TPBTF() == nil, TaskBTF: f.TaskBTF() == nil}
	var boot, tai unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) == nil && unix.ClockGettime(unix.CLOCK_TAI, &tai) == nil {
		k.TAI = tai.Nano() - boot.Nano()
	}
	k.PidNS = pidNamespace()
	k.Doubtful = m.doubtful
	k.Returns = m.returns
	if !k.TaskBTF {
		return k
	}
	k.CommPadded = f.CommPadded() == nil
	if ix, err := m.BTF(); err == nil {
		if task, err := ix.Struct(taskStruct); err == nil {
			for name, to := range map[string]*int{commName: &k.CommOffset, "mm": &k.MM, "real_parent": &k.Parent, "tgid": &k.Tgid} {
				if f, ok := task.Field(name); ok {
					*to = f.Offset
				}
			}
			if space, err := ix.Struct("mm_struct"); err == nil {
				if start, ok := space.Field("start_stack"); ok {
					k.StartStack = start.Offset
				}
			}
			if info, ok := task.Field("thread_info"); ok {
				if status, ok := info.Type.Field("status"); ok {
					k.Status = info.Offset + status.Offset
				}
			}
		}
	}
	return k
}

// returns are the offsets of what return probes on user space keep, nil where the kernel has no types of it.
func (m *Machine) returns() *ir.Returns {
	ix, err := m.BTF()
	if err != nil {
		return nil
	}
	known := true
	offset := func(of string, path ...string) (at int) {
		t, err := ix.Struct(of)
		if err != nil {
			known = false
			return 0
		}
		for _, name := range path {
			f, ok := t.Field(name)
			known = known && ok
			at, t = at+f.Offset, f.Type
			if !ok {
				break
			}
		}
		return at
	}
	r := &ir.Returns{MM: offset("task_struct", "mm"), Area: offset("mm_struct", "uprobes_state", "xol_area"), Address: offset("xol_area", "vaddr"),
		Task: offset("task_struct", "utask"), First: offset("uprobe_task", "return_instances"),
		Stack: offset("return_instance", "stack"), Original: offset("return_instance", "orig_ret_vaddr"), Next: offset("return_instance", "next")}
	if !known {
		return nil
	}
	return r
}

// KernelVersion is that of the running kernel.
func (m *Machine) KernelVersion() (major, minor, patch int64) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		_, _ = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d.%d", &major, &minor, &patch) // not all have three
	}
	return major, minor, patch
}

// initPidNamespace is the inode of the initial pid namespace (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const initPidNamespace = 0xeffffffc

// pidNamespace is the pid namespace that slope runs in, zero for the initial one. Probes know others since 5.7.
func pidNamespace() (ns [2]uint64) {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) == nil && st.Ino != initPidNamespace {
		ns = [2]uint64{st.Dev, st.Ino}
	}
	return ns
}

// Lacks tells why the running kernel does not let programs of a type call a helper, "" when it does.
func Lacks(f *bpf.Features) func(ir.Helper, ir.ProgType) string {
	return func(h ir.Helper, t ir.ProgType) string {
		var err error
		why := ""
		switch h {
		case ir.HelperKtimeTAI:
			err, why = f.KtimeTAI(), "it is there since Linux 6.1; nsecs(sw_tai) works on older kernels"
		case ir.HelperWriteUser:
			err, why = f.WriteUser(), "a kernel that is locked down refuses it"
		case ir.HelperPath:
			err, why = f.DPath(), "path() is there since Linux 5.12"
		case ir.HelperSocketCookie:
			err, why = f.SocketCookie(), "socket_cookie() is there since Linux 5.12"
		case ir.HelperTaskFromPid:
			err = f.KernelFunc(progTypes[t], h.Function())
			why = "comm(pid) is there since Linux 6.2 in rawtracepoint, fentry and iter probes, with the kernel's BTF, and since 6.12 in those of tracepoints and performance counters"
		case ir.HelperTaskRegs:
			err, why = errors.Join(f.TaskRegs(), f.MayGoto()), "dw_ustack is there since Linux 6.9; ustack finds the calls by frame pointers"
		case ir.HelperOverride:
			err, why = f.Override(), "it needs CONFIG_BPF_KPROBE_OVERRIDE"
		}
		if err == nil {
			return ""
		}
		return why
	}
}

// Resolve implements types.Resolver.
func (m *Machine) Resolve(p *types.Probe, a *syntax.AttachPoint) ([]*types.Target, error) {
	row := m.Registry.probes[p.Name]
	var out []*types.Target
	var absent []error
	for _, parts := range alternatives(a.Parts) {
		targets, err := row.resolve(m, p, parts)
		m.warnOfCopies(targets, a.Span())
		var re *types.ResolveError
		switch {
		case errors.As(err, &re) && re.Missing:
			absent = append(absent, err)
		case err != nil:
			return nil, err
		}
		out = append(out, targets...)
	}
	return out, errors.Join(absent...)
}

// alternatives expands {a,b} in the parts of an attach point.
func alternatives(parts []string) [][]string {
	for i, p := range parts {
		open := strings.IndexByte(p, '{')
		end := strings.IndexByte(p, '}')
		if open < 0 || end < open {
			continue
		}
		var out [][]string
		for _, alt := range strings.Split(p[open+1:end], ",") {
			next := append([]string(nil), parts...)
			next[i] = p[:open] + alt + p[end+1:]
			out = append(out, alternatives(next)...)
		}
		return out
	}
	return [][]string{parts}
}

// wild tells whether a part is a pattern.
func wild(s string) bool { return strings.ContainsAny(s, "*?[") }

// match is shell matching in which '*' also matches '/'.
func match(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}

// wrong makes a ResolveError.
func wrong(part int, hint, format string, args ...any) *types.ResolveError {
	return &types.ResolveError{Part: part, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// missing makes a ResolveError for what the attach point names and is not there.
func missing(part int, hint, format string, args ...any) *types.ResolveError {
	e := wrong(part, hint, format, args...)
	e.Missing = true
	return e
}

// closest returns up to three names near to got.
func closest(got string, names []string) string {
	var starts, contains []string
	for _, n := range names {
		switch {
		case len(got) > 3 && strings.HasPrefix(n, got[:len(got)-1]):
			starts = append(starts, n)
		case len(got) > 4 && (strings.Contains(n, got) || strings.Contains(got, n) && len(n) > 4):
			contains = append(contains, n)
		}
	}
	near := append(starts, contains...)
	if n := source.Nearest(got, names); n != "" && len(near) == 0 {
		near = []string{n}
	}
	if len(near) == 0 {
		return ""
	}
	return "did you mean '" + strings.Join(near[:min(len(near), 3)], "', '") + "'?"
}
