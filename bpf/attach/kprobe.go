package attach

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// Kprobe attaches a program of type Kprobe, loaded without attach type, to a function of the kernel: to an instruction of
// it, or with ret to its returns.
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
	l := &links{path: append([]byte(function), 0)}
	attr := unix.PerfEventAttr{Type: uint32(typ), Config: config, Sample: 1, Wakeup: 1,
		Ext1: uint64(uintptr(sys.Ptr(l.path))), Ext2: offset}
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
