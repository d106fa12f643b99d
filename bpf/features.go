package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// ErrNotSupported is what every *FeatureError is.
var ErrNotSupported = errors.New("not supported by this kernel")

// FeatureError names a feature that the running kernel does not offer.
type FeatureError struct {
	Feature string
	Err     error // what the kernel answered
}

// Error names the feature and the kernel's answer.
func (e *FeatureError) Error() string {
	if e.Err == nil {
		return e.Feature + ": " + ErrNotSupported.Error()
	}
	return fmt.Sprintf("%s: %s: %s", e.Feature, ErrNotSupported, e.Err)
}

// Is makes errors.Is(err, ErrNotSupported) true.
func (e *FeatureError) Is(target error) bool { return target == ErrNotSupported }

// Unwrap returns the kernel's answer.
func (e *FeatureError) Unwrap() error { return e.Err }

// Features tells what the running kernel offers. Every method tries once, when it is first called, and returns nil or
// the reason why not: a *FeatureError, or a *PrivilegeError when nothing can be tried. The zero value is ready, and
// safe for concurrent use.
type Features struct {
	mu    sync.Mutex
	known map[string]error
}

// probe runs a trial once and wraps its error.
func (f *Features) probe(feature string, try func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err, ok := f.known[feature]
	if ok {
		return err
	}
	if err = try(); err != nil {
		if p := CheckPrivileges(); p != nil && errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%s: %w", feature, p)
		} else {
			err = &FeatureError{Feature: feature, Err: err}
		}
	}
	if f.known == nil {
		f.known = map[string]error{}
	}
	f.known[feature] = err
	return err
}

// tryLoad loads and drops a program.
func tryLoad(spec ProgSpec) error {
	spec.Name = "probe"
	spec.Insns = append(spec.Insns, asm.Mov.Imm(asm.R0, 0), asm.Return())
	p, err := Load(spec)
	if err == nil {
		p.Close()
	}
	return err
}

// Helper tells whether programs of a type may call a helper. The trial passes no arguments, so it looks only for the
// verifier's words that the helper is not there.
func (f *Features) Helper(t ebpf.ProgramType, fn asm.BuiltinFunc) error {
	return f.probe(fmt.Sprintf("helper %s in %s programs", fn, t), func() error {
		return known(tryLoad(ProgSpec{Type: t, Insns: asm.Instructions{fn.Call()}}))
	})
}

// known tells of the refusal of a call whether it is one for the arguments alone, not of the helper in what the program is
// attached to ("helper call is not allowed in probe").
func known(err error) error {
	var v *VerifierError
	if errors.As(err, &v) && v.Missing == nil && v.Log != "" && !strings.Contains(v.Reason, "not allowed") {
		return nil
	}
	return err
}

// ProgType is a type of programs, as the kernel has them.
type ProgType = ebpf.ProgramType

// The types of the programs that scripts become.
const (
	RawTracepoint = ebpf.RawTracepoint
	Tracing       = ebpf.Tracing
	TracePoint    = ebpf.TracePoint
	Kprobe        = ebpf.Kprobe
	PerfEvent     = ebpf.PerfEvent
)

// KernelFunc tells whether programs of a type may call a function of the kernel, by its name. The trial passes no arguments:
// what the verifier says about those, or about what the function gives, means that the function itself is allowed.
func (f *Features) KernelFunc(t ProgType, name string) error {
	return f.probe(fmt.Sprintf("kernel function %s in %s programs", name, t), func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		id, err := ix.KernelFunction(name)
		if err != nil {
			return err
		}
		spec := ProgSpec{Type: t, Insns: asm.Instructions{CallKernel(int64(id))}}
		if t == ebpf.Tracing {
			spec.AttachType = ebpf.AttachTraceRawTp
			if spec.AttachBTFID, err = ix.RawTracepoint("sys_enter"); err != nil {
				return err
			}
		}
		err = tryLoad(spec)
		var v *VerifierError
		if errors.As(err, &v) && strings.Contains(v.Reason, "must be sleepable") {
			return err
		}
		return known(err)
	})
}

// CallKernel is a call of a function of the kernel by its BTF id.
func CallKernel(id int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: id}
}

// DPath tells about the helper that writes the path of a file, in iterators (5.12).
func (f *Features) DPath() error {
	return f.traced(asm.FnDPath, ebpf.AttachTraceIter, func(ix *btf.Index) (uint32, error) { return ix.Find("bpf_iter_task_file", btf.KindFunc) })
}

// SocketCookie tells about the number of a socket, in programs with typed arguments (5.12).
func (f *Features) SocketCookie() error {
	return f.traced(asm.FnGetSocketCookie, ebpf.AttachTraceRawTp, func(ix *btf.Index) (uint32, error) { return ix.RawTracepoint("sys_enter") })
}

// traced tells about a helper of programs that are typed by what they are attached to.
func (f *Features) traced(fn asm.BuiltinFunc, t ebpf.AttachType, find func(*btf.Index) (uint32, error)) error {
	return f.probe(fmt.Sprintf("helper %s in typed programs", fn), func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		id, err := find(ix)
		if err != nil {
			return err
		}
		return known(tryLoad(ProgSpec{Type: ebpf.Tracing, AttachType: t, AttachBTFID: id, Insns: asm.Instructions{fn.Call()}}))
	})
}

// AtomicFetch tells about atomic instructions that return the old value (5.12). Where programs can be run on demand
// the value is looked at too.
func (f *Features) AtomicFetch() error {
	return f.probe("atomic fetch-and-add", func() error {
		prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.RawTracepoint, Insns: asm.Instructions{
			asm.Mov.Imm(asm.R0, 5), asm.StoreMem(asm.R10, -8, asm.R0, asm.DWord), asm.Mov.Imm(asm.R0, 3),
			asm.FetchAdd.Mem(asm.R10, asm.R0, asm.DWord, -8), asm.Return()}})
		if err != nil {
			return err
		}
		defer prog.Close()
		if old, err := TestRun(prog, nil, -1); err == nil && old != 5 {
			return fmt.Errorf("it returns %d instead of 5", old)
		}
		return nil
	})
}

// SDiv tells about signed division and the other instructions of instruction set version 4 (6.6).
func (f *Features) SDiv() error {
	return f.probe("signed division", func() error {
		return tryLoad(ProgSpec{Type: ebpf.RawTracepoint, Insns: asm.Instructions{asm.Mov.Imm(asm.R1, 4), asm.SDiv.Imm(asm.R1, 2)}})
	})
}

// TaskBTF tells about bpf_get_current_task_btf, whose result can be read without a helper (5.11).
func (f *Features) TaskBTF() error {
	return f.Helper(ebpf.RawTracepoint, asm.FnGetCurrentTaskBtf)
}

// TaskRegs tells about bpf_task_pt_regs (5.15).
func (f *Features) TaskRegs() error {
	return f.Helper(ebpf.RawTracepoint, asm.FnTaskPtRegs)
}

// Loop tells about the helper bpf_loop (5.17).
func (f *Features) Loop() error { return f.Helper(ebpf.RawTracepoint, asm.FnLoop) }

// MayGoto tells about loops whose end the verifier does not know, which the kernel leaves when they take too long (6.9).
func (f *Features) MayGoto() error {
	return f.probe("loops without a known end (may_goto)", func() error {
		return tryLoad(ProgSpec{Type: ebpf.RawTracepoint, Insns: asm.Instructions{
			{OpCode: asm.OpCode(0xe5), Offset: 1}, {OpCode: asm.Ja.Op(asm.ImmSource), Offset: -2}}})
	})
}

// KtimeTAI tells about the helper bpf_ktime_get_tai_ns (6.1).
func (f *Features) KtimeTAI() error { return f.Helper(ebpf.RawTracepoint, asm.FnKtimeGetTaiNs) }

// WriteUser tells about the helper that writes memory of processes.
func (f *Features) WriteUser() error { return f.Helper(ebpf.Kprobe, asm.FnProbeWriteUser) }

// Override tells about the helper that lets functions of the kernel return early.
func (f *Features) Override() error { return f.Helper(ebpf.Kprobe, asm.FnOverrideReturn) }

// MapEach tells about the helper bpf_for_each_map_elem (5.13).
func (f *Features) MapEach() error { return f.Helper(ebpf.RawTracepoint, asm.FnForEachMapElem) }

// PerCPULookup tells about the helper bpf_map_lookup_percpu_elem (5.19).
func (f *Features) PerCPULookup() error {
	return f.Helper(ebpf.RawTracepoint, asm.FnMapLookupPercpuElem)
}

// AttachCookie tells about a value per attach point that the program can read (5.15).
func (f *Features) AttachCookie() error { return f.Helper(ebpf.Kprobe, asm.FnGetAttachCookie) }

// FuncIP tells about the address of the probed function: of the kernel (5.15), or of a program (6.6, as attaching to many
// places of one).
func (f *Features) FuncIP(user bool) error {
	if user {
		return f.UprobeMulti()
	}
	return f.Helper(ebpf.Kprobe, asm.FnGetFuncIp)
}

// RingBuf tells about BPF ring buffers (5.8).
func (f *Features) RingBuf() error {
	return f.probe("ring buffers", func() error { return probeMapType(ebpf.RingBuf) })
}

// BatchPerCPU tells about reading per-CPU hashes and arrays many entries at a time (5.13).
func (f *Features) BatchPerCPU() error {
	return f.probe("batch lookup in per-CPU maps", func() error {
		for _, t := range []ebpf.MapType{ebpf.PerCPUHash, ebpf.PerCPUArray} {
			m, err := NewMap(MapSpec{Name: "probe", Type: t, KeySize: 4, ValueSize: 8, MaxEntries: 1})
			if err != nil {
				return err
			}
			defer m.Close()
			r, err := NewReader(m)
			if err != nil {
				return err
			}
			if done, err := r.batch(func(_, _ []byte) error { return nil }); !done || err != nil {
				return errors.Join(unix.EOPNOTSUPP, err)
			}
		}
		return nil
	})
}

// TPBTF tells about raw tracepoints with typed arguments (5.5, and BTF compiled in).
func (f *Features) TPBTF() error {
	return f.probe("typed raw tracepoints (tp_btf)", func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		id, err := ix.RawTracepoint("sys_enter")
		if err != nil {
			return err
		}
		return tryLoad(ProgSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachBTFID: id})
	})
}

// Fentry tells about programs at the entry of kernel functions through trampolines (5.5).
func (f *Features) Fentry() error {
	return f.probe("function entry programs (fentry)", func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		id, err := ix.Find("vfs_read", btf.KindFunc)
		if err != nil {
			return err
		}
		return tryLoad(ProgSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachBTFID: id})
	})
}

// Kprobe tells about probes on kernel instructions.
func (f *Features) Kprobe() error {
	return f.probe("kprobes", func() error {
		_, err := os.Stat("/sys/bus/event_source/devices/kprobe/type")
		return err
	})
}

// KprobeMulti tells about attaching to many functions of the kernel with one link (5.18, and fprobes compiled in).
func (f *Features) KprobeMulti() error {
	return f.probe("kprobe_multi links", func() error { return tryKprobeLink(sys.AttachKprobeMulti) })
}

// KprobeSession tells about one program for the entry and the return of functions of the kernel (6.10, and fprobes
// compiled in).
func (f *Features) KprobeSession() error {
	return f.probe("kprobe_session links", func() error { return tryKprobeLink(sys.AttachKprobeSession) })
}

// tryKprobeLink attaches to a function that no kernel has.
func tryKprobeLink(attach uint32) error {
	prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.Kprobe, AttachType: ebpf.AttachType(attach),
		Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		return err
	}
	defer prog.Close()
	names := []unsafe.Pointer{sys.Ptr([]byte("no such function\x00"))}
	attr := sys.LinkKprobeMultiAttr{ProgFD: uint32(prog.FD()), AttachType: attach, Syms: sys.Ptr(names), Count: 1}
	fd, err := sys.BPF(sys.LinkCreate, &attr)
	if err == nil {
		unix.Close(fd)
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// ReturnStacks tells whether the kernel keeps the return addresses of probed functions on a stack of each task (6.14).
// Before, it has a pool for each link: while more calls are under way, a kprobe_session misses their entries too.
func (f *Features) ReturnStacks() error {
	return f.probe("return addresses by task", func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		fprobe, err := ix.Struct("fprobe")
		if err != nil {
			return err
		}
		if _, pool := fprobe.Field("rethook"); pool {
			return errors.New("it keeps them in a pool")
		}
		return nil
	})
}

// Missed tells whether the kernel says how many calls and returns of its functions it could not follow (6.7).
func (f *Features) Missed() error {
	return f.probe("counts of missed calls", func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		info, err := ix.Struct("bpf_link_info")
		if err != nil {
			return err
		}
		multi, ok := info.Field("kprobe_multi")
		if ok {
			_, ok = multi.Type.Field("missed")
		}
		if !ok {
			return errors.New("its links do not have them")
		}
		return nil
	})
}

// UprobeMulti tells about attaching to many places of a file with one link (6.6).
func (f *Features) UprobeMulti() error {
	return f.probe("uprobe_multi links", func() error { return tryUprobeLink(sys.AttachUprobeMulti) })
}

// UprobeSession tells about one program for a function's entry and return (6.13).
func (f *Features) UprobeSession() error {
	return f.probe("uprobe_session links", func() error { return tryUprobeLink(sys.AttachUprobeSession) })
}

// tryUprobeLink attaches to a directory: a kernel that knows the link answers EBADF, another EINVAL.
func tryUprobeLink(attach uint32) error {
	prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.Kprobe, AttachType: ebpf.AttachType(attach),
		Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		return err
	}
	defer prog.Close()
	path, offsets := []byte("/\x00"), []uint64{0}
	attr := sys.LinkUprobeMultiAttr{ProgFD: uint32(prog.FD()), AttachType: attach, Path: sys.Ptr(path),
		Offsets: sys.Ptr(offsets), Count: 1}
	fd, err := sys.BPF(sys.LinkCreate, &attr)
	if err == nil {
		unix.Close(fd)
	}
	if errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}

// PerfLink tells about links to perf events, which carry cookies (5.15); without them the ioctl serves.
func (f *Features) PerfLink() error {
	return f.probe("perf event links", func() error {
		prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.TracePoint,
			Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			return err
		}
		defer prog.Close()
		attr := sys.LinkPerfEventAttr{ProgFD: uint32(prog.FD()), TargetFD: ^uint32(0), AttachType: sys.AttachPerfEvent}
		fd, err := sys.BPF(sys.LinkCreate, &attr)
		if err == nil {
			unix.Close(fd)
		}
		if errors.Is(err, unix.EBADF) {
			return nil
		}
		return err
	})
}

// TestRun tells about running raw tracepoint programs on demand (5.10).
func (f *Features) TestRun() error {
	return f.probe("test runs of raw tracepoint programs", func() error {
		prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.RawTracepoint,
			Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			return err
		}
		defer prog.Close()
		_, err = TestRun(prog, nil, -1)
		return err
	})
}

// CommPadded tells whether the kernel fills a task's name with NULs to its 16 bytes, so that it can be used as a key
// without looking for its end. It gives this thread a long and then a short name and looks at what is left.
func (f *Features) CommPadded() error {
	return f.probe("padded task names", func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		task, err := ix.Struct("task_struct")
		if err != nil {
			return err
		}
		comm, ok := task.Field("comm")
		if !ok {
			return btf.ErrNotFound
		}
		got, err := readComm(int32(comm.Offset))
		if err != nil {
			return err
		}
		if rest := bytes.TrimLeft(got[1:], "\x00"); got[0] != 'b' || len(rest) > 0 {
			return fmt.Errorf("after the name %q the kernel keeps %q", "b", got[1:])
		}
		return nil
	})
}

// readComm renames this thread twice and reads its name as the kernel keeps it.
func readComm(offset int32) (name [16]byte, err error) {
	m, err := NewMap(MapSpec{Name: "probe", Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1})
	if err != nil {
		return name, err
	}
	defer m.Close()
	prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.RawTracepoint, Insns: asm.Instructions{
		asm.FnGetCurrentTask.Call(),
		asm.Mov.Reg(asm.R3, asm.R0), asm.Add.Imm(asm.R3, offset),
		asm.LoadMapValue(asm.R1, m.FD(), 0), asm.Mov.Imm(asm.R2, 16),
		asm.FnProbeReadKernel.Call(),
		asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		return name, err
	}
	defer prog.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var pin runtime.Pinner // Prctl takes numbers: what they point to must not move with the stack
	defer pin.Unpin()
	buffer := new([16]byte)
	pin.Pin(buffer)
	rename := func(n [16]byte) error {
		*buffer = n
		return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(buffer)), 0, 0, 0)
	}
	if err := unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(buffer)), 0, 0, 0); err != nil {
		return name, err
	}
	old := *buffer
	defer rename(old)
	if err := errors.Join(rename([16]byte([]byte("aaaaaaaaaaaaaaa\x00"))), rename([16]byte{'b'})); err != nil {
		return name, err
	}
	if _, err := TestRun(prog, nil, -1); err != nil {
		return name, err
	}
	err = ReadAll(m, func(_, value []byte) error {
		copy(name[:], value)
		return nil
	})
	return name, err
}
