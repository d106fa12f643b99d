package attach

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// UprobeMultiType and UprobeSessionType are the attach types that a program of type Kprobe must be loaded with for
// uprobe_multi and uprobe_session links. For perf uprobes it must be loaded with none.
const (
	UprobeMultiType   = ebpf.AttachType(sys.AttachUprobeMulti)
	UprobeSessionType = ebpf.AttachType(sys.AttachUprobeSession)
)

const uprobeMultiReturn = 1

// Point is a place in a file to attach to.
type Point struct {
	Offset uint64 // in the file, not an address
	RefCtr uint64 // file offset of a USDT semaphore to count up while attached; 0 for none
	Cookie uint64 // what bpf_get_attach_cookie returns there
}

// Uprobe attaches a program to places in an executable or library, for one process (its id) or all (0 or less); with
// ret to the returns of the functions that start there. A program loaded with UprobeMultiType is attached by one
// uprobe_multi link, one without attach type by a perf event per point.
func Uprobe(prog *ebpf.Program, path string, points []Point, pid int, ret bool) (Link, error) {
	target := describe(path, points, "uprobe")
	flags := uint32(0)
	if ret {
		target, flags = describe(path, points, "uretprobe"), uprobeMultiReturn
	}
	if err := check(path, points, pid); err != nil {
		return nil, failed(target, err)
	}
	l, err := uprobeMulti(prog, path, points, pid, sys.AttachUprobeMulti, flags)
	if err == nil {
		return l, nil
	}
	if errors.Is(err, unix.EINVAL) || len(points) == 1 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, sys.ENOTSUPP)) {
		// Not this kernel, or not this program: the perf event tells what is wrong with the place itself.
		l, err = uprobePerf(prog, path, points, pid, ret)
		if err == nil {
			return l, nil
		}
	}
	return nil, failed(target, explain(err))
}

// UprobeSession attaches a program loaded with UprobeSessionType to both the entry and the return of functions.
func UprobeSession(prog *ebpf.Program, path string, points []Point, pid int) (Link, error) {
	target := describe(path, points, "uprobe session")
	if err := check(path, points, pid); err != nil {
		return nil, failed(target, err)
	}
	l, err := uprobeMulti(prog, path, points, pid, sys.AttachUprobeSession, 0)
	if errors.Is(err, unix.EINVAL) {
		if missing := new(bpf.Features).UprobeSession(); missing != nil {
			err = missing
		}
	}
	if err != nil {
		return nil, failed(target, explain(err))
	}
	return l, nil
}

func describe(path string, points []Point, what string) string {
	if len(points) == 1 {
		return fmt.Sprintf("%s %s+%#x", what, path, points[0].Offset)
	}
	return fmt.Sprintf("%s %s (%d places)", what, path, len(points))
}

// check finds what the kernel would answer with a bare EINVAL.
func check(path string, points []Point, pid int) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: the file does not exist", ErrNotFound)
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return fmt.Errorf("%w: it is not a regular file", ErrNotFound)
	case len(points) == 0:
		return fmt.Errorf("%w: no places given", ErrNotFound)
	}
	for _, p := range points {
		if p.Offset >= uint64(st.Size()) {
			return fmt.Errorf("%w: offset %#x is beyond the end of the file", ErrNotFound, p.Offset)
		}
	}
	if pid > 0 {
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("%w: no process %d", ErrNotFound, pid)
		}
	}
	return nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: the process has ended: %w", ErrNotFound, err)
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, sys.ENOTSUPP):
		return fmt.Errorf("the kernel cannot put a probe on this instruction: %w", err)
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel refuses the place (not at an instruction, or not in a mapped file): %w", err)
	}
	return err
}

// uprobeMulti makes one link. The errno is returned as it is.
func uprobeMulti(prog *ebpf.Program, path string, points []Point, pid int, attach, flags uint32) (Link, error) {
	cpath := append([]byte(path), 0)
	offsets := make([]uint64, len(points))
	var refs, cookies []uint64
	for i, p := range points {
		offsets[i] = p.Offset
		if p.RefCtr != 0 {
			refs = make([]uint64, len(points))
		}
		if p.Cookie != 0 {
			cookies = make([]uint64, len(points))
		}
	}
	for i, p := range points {
		if refs != nil {
			refs[i] = p.RefCtr
		}
		if cookies != nil {
			cookies[i] = p.Cookie
		}
	}
	attr := sys.LinkUprobeMultiAttr{ProgFD: uint32(prog.FD()), AttachType: attach, Path: sys.Ptr(cpath),
		Offsets: sys.Ptr(offsets), RefCtrs: sys.Ptr(refs), Cookies: sys.Ptr(cookies), Count: uint32(len(points)),
		MultiFlags: flags, PID: uint32(max(pid, 0))}
	fd, err := sys.BPF(sys.LinkCreate, &attr)
	runtime.KeepAlive(prog)
	if err != nil {
		return nil, err
	}
	how := "uprobe_multi"
	if attach == sys.AttachUprobeSession {
		how = "uprobe_session"
	}
	return &links{fds: []int{fd}, how: how}, nil
}

// uprobePerf opens one perf event per point.
func uprobePerf(prog *ebpf.Program, path string, points []Point, pid int, ret bool) (Link, error) {
	const pmu = "/sys/bus/event_source/devices/uprobe/"
	typ, err := number(pmu+"type", "")
	if errors.Is(err, os.ErrNotExist) {
		return nil, &bpf.FeatureError{Feature: "uprobes", Err: err}
	}
	if err != nil {
		return nil, err
	}
	config := uint64(0)
	if ret {
		bit, err := number(pmu+"format/retprobe", "config:")
		if err != nil {
			return nil, err
		}
		config = 1 << (bit & 63)
	}
	who, cpu := pid, -1
	if pid <= 0 {
		who, cpu = -1, 0 // programs of a uprobe run on all CPUs, whichever the event is on
	}
	l := &links{how: "perf event", path: append([]byte(path), 0)}
	for _, p := range points {
		if p.RefCtr>>32 != 0 {
			l.Close()
			return nil, fmt.Errorf("semaphore offset %#x does not fit a perf event", p.RefCtr)
		}
		attr := unix.PerfEventAttr{Type: uint32(typ), Config: config | p.RefCtr<<32, Sample: 1, Wakeup: 1,
			Ext1: uint64(uintptr(sys.Ptr(l.path))), Ext2: p.Offset}
		if err := l.perfEvent(prog, &attr, who, cpu, p.Cookie); err != nil {
			l.Close()
			return nil, err
		}
	}
	l.path = nil
	return l, nil
}

// number reads a decimal number from a file of sysfs, after a prefix.
func number(path, prefix string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(b)), prefix), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return n, nil
}
