// Package sys holds the system calls that the packages under bpf share: bpf(2) with the attribute layouts in use, and
// perf_event_open(2). Pointers inside attributes are unsafe.Pointer fields, so the garbage collector and a growing
// stack see them; that makes the layouts right for 64-bit little-endian machines only, which is what slope supports.
//
// It must not interpret errors: the callers know what was asked for. Start at BPF.
package sys

import (
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cmd is a command of bpf(2), numbered as in include/uapi/linux/bpf.h.
type Cmd uintptr

// The commands in use.
const (
	MapCreate         Cmd = 0
	MapLookup         Cmd = 1
	MapUpdate         Cmd = 2
	MapDelete         Cmd = 3
	MapNextKey        Cmd = 4
	ProgLoad          Cmd = 5
	ObjPin            Cmd = 6
	ProgTestRun       Cmd = 10
	ObjInfoByFD       Cmd = 15
	RawTracepointOpen Cmd = 17
	BTFLoad           Cmd = 18
	MapLookupBatch    Cmd = 24
	MapUpdateBatch    Cmd = 26
	MapDeleteBatch    Cmd = 27
	LinkCreate        Cmd = 28
	IterCreate        Cmd = 33
)

// The attach types of link creation in use.
const (
	AttachTraceIter     = 28
	AttachPerfEvent     = 41
	AttachKprobeMulti   = 42
	AttachUprobeMulti   = 48
	AttachKprobeSession = 56
	AttachUprobeSession = 57
)

// ENOTSUPP is the kernel's internal errno that escapes to user space where an operation is missing for a map type.
const ENOTSUPP = unix.Errno(524)

// MapCreateAttr creates a map.
type MapCreateAttr struct {
	Type, KeySize, ValueSize, MaxEntries uint32
	Flags, InnerMapFD, NumaNode          uint32
	Name                                 [16]byte
}

// MapElemAttr names an element of a map. Value is the next key for MapNextKey.
type MapElemAttr struct {
	MapFD uint32
	_     uint32
	Key   unsafe.Pointer
	Value unsafe.Pointer
	Flags uint64
}

// MapBatchAttr names many elements of a map.
type MapBatchAttr struct {
	InBatch, OutBatch unsafe.Pointer
	Keys, Values      unsafe.Pointer
	Count, MapFD      uint32
	ElemFlags, Flags  uint64
}

// ProgLoadAttr loads a program.
type ProgLoadAttr struct {
	Type, InsnCount           uint32
	Insns, License            unsafe.Pointer
	LogLevel, LogSize         uint32
	LogBuf                    unsafe.Pointer
	KernVersion, Flags        uint32
	Name                      [16]byte
	Ifindex, AttachType       uint32
	BTFFD, FuncInfoRecSize    uint32
	FuncInfo                  unsafe.Pointer
	FuncInfoCnt, LineInfoRec  uint32
	LineInfo                  unsafe.Pointer
	LineInfoCnt, AttachBTFID  uint32
	AttachProgFD, CoreReloCnt uint32
}

// BTFLoadAttr loads a BTF blob.
type BTFLoadAttr struct {
	BTF, Log                unsafe.Pointer
	Size, LogSize, LogLevel uint32
	_                       uint32
}

// TestRunAttr runs a program once.
type TestRunAttr struct {
	ProgFD, Retval           uint32
	DataSizeIn, DataSizeOut  uint32
	DataIn, DataOut          unsafe.Pointer
	Repeat, Duration         uint32
	CtxSizeIn, CtxSizeOut    uint32
	CtxIn, CtxOut            unsafe.Pointer
	Flags, CPU, BatchSize, _ uint32
}

// RawTracepointAttr attaches to a raw tracepoint; Name is nil for programs that were loaded with a BTF target.
type RawTracepointAttr struct {
	Name      unsafe.Pointer
	ProgFD, _ uint32
}

// LinkPerfEventAttr attaches a program to a perf event.
type LinkPerfEventAttr struct {
	ProgFD, TargetFD, AttachType, Flags uint32
	Cookie                              uint64
}

// LinkKprobeMultiAttr attaches a program to many functions of the kernel; Syms are pointers to their names.
type LinkKprobeMultiAttr struct {
	ProgFD, TargetFD, AttachType, Flags uint32
	MultiFlags, Count                   uint32
	Syms, Addrs, Cookies                unsafe.Pointer
}

// ObjInfoAttr asks for what is known of an object.
type ObjInfoAttr struct {
	FD, InfoLen uint32
	Info        unsafe.Pointer
}

// The types of links in use.
const (
	LinkPerfEvent   = 7
	LinkKprobeMulti = 8
)

// LinkInfo is what is known of a link; which words mean what depends on its type.
type LinkInfo struct {
	Type, ID, ProgID, _ uint32
	Words               [6]uint64
}

// LinkUprobeMultiAttr attaches a program to many places of a file.
type LinkUprobeMultiAttr struct {
	ProgFD, TargetFD, AttachType, Flags uint32
	Path, Offsets, RefCtrs, Cookies     unsafe.Pointer
	Count, MultiFlags, PID, _           uint32
}

// LinkIterAttr makes an iterator of a program. Info is what IterInfo says, nil for nothing.
type LinkIterAttr struct {
	ProgFD, TargetFD, AttachType, Flags uint32
	Info                                unsafe.Pointer
	InfoLen, _                          uint32
}

// cgroupIter is the kind of iterator over cgroups, and cgroupsBelow its order that has all of them, parents first.
const (
	cgroupIter   = "cgroup"
	cgroupsBelow = 2
)

// IterInfo says which objects of a kind an iterator is over, in the words that the kernel wants for that kind (union
// bpf_iter_link_info): all, or with a pid greater than 0 those of a process.
func IterInfo(kind string, pid int) []uint32 {
	switch {
	case kind == cgroupIter: // order, descriptor and id of the first one: none is the root
		return []uint32{cgroupsBelow, 0, 0, 0}
	case pid > 0: // thread, process, its descriptor
		return []uint32{0, uint32(pid), 0, 0}
	}
	return nil
}

// ObjPinAttr gives an object a file in a bpf filesystem, which keeps it. Path ends with a NUL.
type ObjPinAttr struct {
	Path      unsafe.Pointer
	FD, Flags uint32
}

// IterCreateAttr opens what an iterator gives to its reader.
type IterCreateAttr struct {
	LinkFD, Flags uint32
}

// BPF calls bpf(2) with an attribute of type T; the result is a file descriptor where the command makes one.
// The errno is returned as it is. A load interrupted by a signal is repeated as the kernel asks with EAGAIN.
func BPF[T any](cmd Cmd, attr *T) (int, error) {
	for try := 0; ; try++ {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr))
		runtime.KeepAlive(attr)
		if errno == 0 {
			return int(r), nil
		}
		if (errno == unix.EAGAIN && cmd == ProgLoad || errno == unix.EINTR && cmd != ProgTestRun) && try < 30 {
			continue
		}
		return -1, errno
	}
}

// Ptr is the address of a slice's first byte, nil for an empty one.
func Ptr[T any](b []T) unsafe.Pointer {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Pointer(unsafe.SliceData(b))
}

// Name turns a name into what the kernel takes for an object: at most 15 bytes of letters, digits, dot and underscore.
func Name(name string) (out [16]byte) {
	n := 0
	for i := 0; i < len(name) && n < 15; i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' {
			out[n] = c
			n++
		} else if c != '@' {
			out[n] = '_'
			n++
		}
	}
	return out
}

// PerfEventOpen opens a perf event; the descriptor closes on exec.
func PerfEventOpen(attr *unix.PerfEventAttr, pid, cpu int) (int, error) {
	attr.Size = uint32(unsafe.Sizeof(*attr))
	return unix.PerfEventOpen(attr, pid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// ParseCPUList counts and lists the CPUs of a list as in /sys/devices/system/cpu/online: "0-3,5".
func ParseCPUList(s string) []int {
	var out []int
	for _, part := range strings.Split(strings.TrimSpace(s), ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, ok := number(lo)
		if !ok {
			continue
		}
		b := a
		if isRange {
			if b, ok = number(hi); !ok {
				continue
			}
		}
		for c := a; c <= b && len(out) < 1<<14; c++ {
			out = append(out, c)
		}
	}
	return out
}

func number(s string) (int, bool) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<20 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(s) > 0
}
