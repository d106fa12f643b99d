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

// Counter runs a program of type PerfEvent at every so many events of a counter (PERF_TYPE_…, PERF_COUNT_…): on every
// online CPU, or for one process (its id), whose threads of now are followed.
func Counter(prog *ebpf.Program, typ uint32, event uint64, rate Sampling, pid int) (Link, error) {
	target := fmt.Sprintf("event %d of type %d", event, typ)
	attr := unix.PerfEventAttr{Type: typ, Config: event, Sample: rate.Period}
	switch {
	case rate.Freq > 0 && rate.Period == 0:
		attr.Sample, attr.Bits = rate.Freq, unix.PerfBitFreq
	case rate.Freq > 0 || rate.Period == 0:
		return nil, &Error{target, errors.New("give either a period or a frequency")}
	}
	l, err := everywhere(prog, attr, pid)
	if err != nil && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)) {
		err = &bpf.FeatureError{Feature: "this event of the processor (a virtual machine may have none)", Err: err}
	}
	if err != nil {
		return nil, failed(target, err)
	}
	return l, nil
}

// Watch is an address whose accesses are watched: 1, 2, 4 or 8 bytes, and HW_BREAKPOINT_R, _W or _X.
type Watch struct {
	Address, Len uint64
	Mode         uint32
}

// Watchpoint runs a program of type PerfEvent when an address is accessed: by any process, or by the threads that one has
// now. A processor has few such watchpoints, on x86 four.
func Watchpoint(prog *ebpf.Program, w Watch, pid int) (Link, error) {
	target := fmt.Sprintf("watchpoint %#x", w.Address)
	// The kernel reads bp_addr and bp_len where other events have further configuration.
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_BREAKPOINT, Bp_type: w.Mode, Ext1: w.Address, Ext2: w.Len, Sample: 1, Wakeup: 1}
	l, err := everywhere(prog, attr, pid)
	switch {
	case errors.Is(err, unix.ENOSPC):
		err = fmt.Errorf("all watchpoints of the processor are in use: %w", err)
	case errors.Is(err, unix.EINVAL):
		err = fmt.Errorf("the processor cannot watch this address with this length and mode: %w", err)
	}
	if err != nil {
		return nil, failed(target, err)
	}
	return l, nil
}

// everywhere opens an event on every online CPU, or for every thread that a process has.
func everywhere(prog *ebpf.Program, attr unix.PerfEventAttr, pid int) (*links, error) {
	l := &links{how: "perf event"}
	open := func(pid, cpu int) error {
		a := attr
		err := l.perfEvent(prog, &a, pid, cpu, 0)
		if errors.Is(err, unix.ENODEV) || pid > 0 && errors.Is(err, unix.ESRCH) { // gone since
			return nil
		}
		return err
	}
	if pid > 0 {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: no process %d", ErrNotFound, pid)
		}
		if err != nil {
			return nil, err
		}
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err == nil {
				err = open(tid, -1)
			}
			if err != nil {
				l.Close()
				return nil, fmt.Errorf("of thread %s: %w", t.Name(), err)
			}
		}
	} else {
		online, err := os.ReadFile("/sys/devices/system/cpu/online")
		if err != nil {
			return nil, err
		}
		for _, cpu := range sys.ParseCPUList(string(online)) {
			if err := open(-1, cpu); err != nil {
				l.Close()
				return nil, fmt.Errorf("on CPU %d: %w", cpu, err)
			}
		}
	}
	if len(l.fds) == 0 {
		return nil, fmt.Errorf("%w: no CPU or thread left", ErrNotFound)
	}
	return l, nil
}
