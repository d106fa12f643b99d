package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/internal/sys"
)

const (
	flagSleepable  = 1 << 4
	flagRunOnCPU   = 1
	firstLogBytes  = 64 << 10
	largestLog     = 16 << 20 // what kernels before 5.2 accept
	slotBytes      = 8
	mostFollowed   = 1000000 // instructions that the verifier follows
	maxContextArgs = 12      // words of a raw tracepoint's context
)

// ProgSpec describes a program. Its maps are already associated with the instructions; jumps may still be symbolic.
type ProgSpec struct {
	Name        string
	Type        ebpf.ProgramType
	AttachType  ebpf.AttachType
	AttachBTFID uint32 // the kernel's id of what a tracing program attaches to, or
	AttachProg  uint32 // that of a type of this program, by its id; 0 for the kernel
	AttachMod   string // that of a type of this module; "" for the kernel itself
	Insns       asm.Instructions
	Sleepable   bool
}

// Load loads a program under the licence GPL. It asks for the verifier's log only after a failure; every failure of
// the kernel is a *VerifierError.
func Load(spec ProgSpec) (*ebpf.Program, error) {
	// cilium/ebpf v0.22.0 puts the operation of an atomic instruction into the opcode but not into the bytes: without
	// this a fetch, an exchange and a compare-and-exchange would all run as a plain addition.
	for i := range spec.Insns {
		if op := spec.Insns[i].OpCode.AtomicOp(); op != asm.InvalidAtomic {
			spec.Insns[i].Constant = int64(op >> 8)
		}
	}
	var code bytes.Buffer
	code.Grow(slotBytes * len(spec.Insns))
	if err := spec.Insns.Marshal(&code, binary.LittleEndian); err != nil {
		return nil, fmt.Errorf("encode program %s: %w", spec.Name, err)
	}
	if code.Len() == 0 {
		return nil, fmt.Errorf("load program %s: it is empty", spec.Name)
	}
	fd, err := load(spec, code.Bytes(), nil)
	if errors.Is(err, unix.EPERM) && raiseMemlock() {
		fd, err = load(spec, code.Bytes(), nil)
	}
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", spec.Name, explainLoad(spec, code.Bytes(), err))
	}
	runtime.KeepAlive(spec.Insns) // they hold the maps
	prog, err := ebpf.NewProgramFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", spec.Name, err)
	}
	return prog, nil
}

// load makes one PROG_LOAD, with a log when a buffer is given.
func load(spec ProgSpec, code, log []byte) (int, error) {
	license := []byte("GPL\x00")
	attr := sys.ProgLoadAttr{Type: uint32(spec.Type), InsnCount: uint32(len(code) / slotBytes), Insns: sys.Ptr(code),
		License: sys.Ptr(license), Name: sys.Name(spec.Name), AttachType: uint32(spec.AttachType), AttachBTFID: spec.AttachBTFID}
	if spec.Sleepable {
		attr.Flags |= flagSleepable
	}
	if spec.AttachProg != 0 {
		target, err := ebpf.NewProgramFromID(ebpf.ProgramID(spec.AttachProg))
		if err != nil {
			return -1, err
		}
		defer target.Close()
		attr.AttachProgFD = uint32(target.FD())
	}
	if spec.AttachMod != "" {
		types, err := btf.FindHandle(func(i *btf.HandleInfo) bool { return i.IsKernel && i.Name == spec.AttachMod })
		if err != nil {
			return -1, fmt.Errorf("find the types of module %s: %w", spec.AttachMod, err)
		}
		defer types.Close()
		attr.AttachProgFD = uint32(types.FD())
	}
	done, err := withFuncs(&attr, functions(spec.Insns))
	if err != nil {
		return -1, err
	}
	defer done()
	if len(log) > 0 {
		attr.LogLevel, attr.LogSize, attr.LogBuf = 1, uint32(len(log)), sys.Ptr(log)
	}
	return sys.BPF(sys.ProgLoad, &attr)
}

// explainLoad loads once more, with a log, and says what the kernel had against the program.
func explainLoad(spec ProgSpec, code []byte, first error) error {
	log := make([]byte, firstLogBytes)
	fd, err := load(spec, code, log)
	for errors.Is(err, unix.ENOSPC) && !hasEnd(log) {
		if len(log) == largestLog || errors.Is(first, unix.E2BIG) || errors.Is(first, unix.EFAULT) { // it is long because the program is
			clear(log)
			break
		}
		log = make([]byte, 4*len(log))
		fd, err = load(spec, code, log)
	}
	if err == nil { // it was refused for lack of memory, or something else that has passed
		unix.Close(fd)
		err = first
	}
	if errors.Is(err, unix.ENOSPC) {
		err = first
	}
	if i := bytes.IndexByte(log, 0); i >= 0 {
		log = log[:i]
	}
	errno, _ := err.(unix.Errno)
	e := &VerifierError{Errno: errno, Log: string(log), Slots: len(code) / slotBytes, Always: probeProgType(spec) != nil}
	e.Insn, e.Reason = ParseLog(e.Log)
	if e.Insn >= e.Slots {
		e.Insn = -1
	}
	if e.Reason != "" {
		if missing := missingHelper(e.Reason); missing != "" {
			e.Missing = &FeatureError{Feature: missing, Err: errors.New(e.Reason)}
		}
		return e
	}
	switch {
	case errno == unix.EPERM:
		e.Reason = "the kernel does not permit it"
		if p := CheckPrivileges(); p != nil {
			e.Reason = p.Error()
			e.Missing = p
		} else if !e.Always {
			e.Reason += ", although it permits other programs of this type"
		} else {
			e.Reason += fmt.Sprintf(" for %s, whatever it does (a policy: lockdown, an LSM or the host's)", spec.kind())
			e.Missing = &FeatureError{Feature: spec.kind(), Err: errno}
		}
	case errno == unix.E2BIG && e.Slots > mostFollowed:
		e.Reason = fmt.Sprintf("%d instructions are too many for this kernel", e.Slots)
	case errno == unix.E2BIG:
		e.Reason = fmt.Sprintf("its %d instructions are too complex for this kernel: there are too many ways through its loops and branches", e.Slots)
	case errno == unix.EFAULT: // what older kernels say where branches wait for their turn that are too many
		e.Reason = "the kernel gave up on it, as where its branches are too complex"
	case errno == unix.EINVAL && e.Always:
		e.Reason = "this kernel does not offer " + spec.kind()
		e.Missing = &FeatureError{Feature: spec.kind(), Err: errno}
	case errno == unix.EINVAL:
		e.Reason = "the kernel does not accept how it is to be loaded (name, flags, attach target)"
	case errno == unix.ENOENT:
		e.Reason = "what it attaches to is not in the kernel's BTF"
	}
	return e
}

// hasEnd tells whether a log that is too long has its end, as kernels since 6.4 leave it, where the reason is.
func hasEnd(log []byte) bool {
	i := bytes.IndexByte(log, 0)
	return i > 0 && bytes.Contains(log[max(i-1024, 0):i], []byte("\nprocessed "))
}

// kind names the program type and how it is attached.
func (s ProgSpec) kind() string {
	name := "program type " + s.Type.String()
	if s.AttachType != 0 {
		name += " attached as " + s.AttachType.String()
	}
	return name
}

// probeProgType loads "return 0" in the same way.
func probeProgType(spec ProgSpec) error {
	insns := []byte{0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0}
	spec.Name = "probe"
	fd, err := load(spec, insns, nil)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// TestRun runs a raw tracepoint program once with ctx as its context and returns its result. The program reads
// context words that are missing as zero. cpu chooses the CPU; -1 stays on the caller's thread.
func TestRun(prog *ebpf.Program, ctx []uint64, cpu int) (ret uint32, err error) {
	words := slices.Clone(ctx)
	for len(words) < maxContextArgs {
		words = append(words, 0)
	}
	attr := sys.TestRunAttr{ProgFD: uint32(prog.FD()), CtxIn: sys.Ptr(words), CtxSizeIn: uint32(8 * len(words))}
	if cpu >= 0 {
		attr.Flags, attr.CPU = flagRunOnCPU, uint32(cpu)
	}
	if _, err := sys.BPF(sys.ProgTestRun, &attr); err != nil {
		return 0, fmt.Errorf("run program: %w", err)
	}
	runtime.KeepAlive(prog)
	return attr.Retval, nil
}
