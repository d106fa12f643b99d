package attach

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// KprobeMultiType and KprobeSessionType are the attach types that a program of type Kprobe must be loaded with for
// KprobeMulti and KprobeSession.
const (
	KprobeMultiType   = ebpf.AttachType(sys.AttachKprobeMulti)
	KprobeSessionType = ebpf.AttachType(sys.AttachKprobeSession)
)

const kprobeMultiReturn = 1

// KprobeMulti attaches a program loaded with KprobeMultiType to the entries of many functions of the kernel at once, or with
// ret to their returns: all or none. Functions that cannot be traced are refused, those of modules are not found by their
// names. All may be addresses: 0x and hexadecimal digits.
func KprobeMulti(prog *ebpf.Program, functions []string, ret bool) (Link, error) {
	attr := sys.LinkKprobeMultiAttr{AttachType: sys.AttachKprobeMulti}
	if ret {
		attr.MultiFlags = kprobeMultiReturn
	}
	return kprobeMulti(prog, functions, attr, "kprobe_multi")
}

// KprobeSession attaches a program loaded with KprobeSessionType to both the entries and the returns of functions of the
// kernel: all or none.
func KprobeSession(prog *ebpf.Program, functions []string) (Link, error) {
	return kprobeMulti(prog, functions, sys.LinkKprobeMultiAttr{AttachType: sys.AttachKprobeSession}, "kprobe_session")
}

func kprobeMulti(prog *ebpf.Program, functions []string, attr sys.LinkKprobeMultiAttr, how string) (Link, error) {
	target := fmt.Sprintf("%s (%d functions)", how, len(functions))
	if len(functions) == 1 {
		target = how + " " + functions[0]
	}
	names, addresses := make([]unsafe.Pointer, len(functions)), make([]uint64, len(functions))
	byAddress := true
	for i, f := range functions {
		names[i] = sys.Ptr(append([]byte(f), 0))
		at, err := strconv.ParseUint(f, 0, 64)
		addresses[i], byAddress = at, byAddress && err == nil
	}
	attr.ProgFD, attr.Count = uint32(prog.FD()), uint32(len(functions))
	if byAddress {
		attr.Addrs = sys.Ptr(addresses)
	} else {
		attr.Syms = sys.Ptr(names)
	}
	fd, err := sys.BPF(sys.LinkCreate, &attr)
	runtime.KeepAlive(prog)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("%w: the kernel lacks one of the functions, or cannot trace it: %w", ErrNotFound, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		err = &bpf.FeatureError{Feature: how + " links", Err: err}
	}
	if err != nil {
		return nil, failed(target, err)
	}
	return &links{fds: []int{fd}, how: how}, nil
}

// Kprobe attaches a program of type Kprobe, loaded without attach type, to a function of the kernel: to an instruction of
// it, or with ret to its returns. A function may be an address: 0x and hexadecimal digits.
func Kprobe(prog *ebpf.Program, function string, offset uint64, ret bool) (Link, error) {
	target := "kprobe " + function
	if ret {
		target = "kretprobe " + function
	}
	if offset > 0 {
		target += "+" + strconv.FormatUint(offset, 10)
	}
	const pmu = "/sys/bus/event_source/devices/kprobe/"
	typ, err := number(pmu+"type", "")
	if errors.Is(err, os.ErrNotExist) {
		err = &bpf.FeatureError{Feature: "kprobes", Err: err}
	}
	if err != nil {
		return nil, failed(target, err)
	}
	config := uint64(0)
	if ret {
		bit, err := number(pmu+"format/retprobe", "config:")
		if err != nil {
			return nil, failed(target, err)
		}
		config = 1 << (bit & 63)
	}
	l := &links{how: "perf event", path: append([]byte(function), 0)}
	attr := unix.PerfEventAttr{Type: uint32(typ), Config: config, Sample: 1, Wakeup: 1}
	if strings.HasPrefix(function, "0x") {
		if attr.Ext2, err = strconv.ParseUint(function, 0, 64); err != nil {
			return nil, failed(target, err)
		}
		attr.Ext2 += offset
	} else {
		attr.Ext1, attr.Ext2 = uint64(uintptr(sys.Ptr(l.path))), offset
	}
	err = l.perfEvent(prog, &attr, -1, 0, 0) // on all CPUs, whichever the event is on
	l.path = nil
	switch {
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("%w: the kernel has no such function: %w", ErrNotFound, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EILSEQ), errors.Is(err, unix.EADDRNOTAVAIL):
		err = fmt.Errorf("the kernel does not let this place be probed: %w", err)
	}
	if err != nil {
		return nil, failed(target, err)
	}
	return l, nil
}
