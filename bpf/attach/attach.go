// Package attach connects loaded programs to what happens in the kernel and in processes: raw tracepoints, typed
// tracepoints, perf tracepoints, user functions, and a sampling clock.
//
// Every function tries the newest mechanism first and falls back where the kernel does not have it: a perf event is
// joined by a BPF link or, before 5.15, by an ioctl; user functions by uprobe_multi or, before 6.6, by one perf event
// each. What comes back is one Link, whatever it took.
//
// Invariants. On an error nothing stays attached and no descriptor stays open. Errors are *Error and say which of the
// three it is: nothing there to attach to (ErrNotFound), not permitted (bpf.ErrPrivilege), or not offered by this
// kernel (bpf.ErrNotSupported).
//
// The package must not load programs, resolve symbols or choose a mechanism for a script. Closing one perf event
// takes the kernel 50 to 120 ms and is serialised there; its program is off in microseconds, as raw tracepoints are, and
// uprobe_multi links in milliseconds: so there are Stop and Close. Start at RawTracepoint and Uprobe.
package attach

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// Link is an attached program. Stop detaches it: on return no run of it begins any more. Close frees what Stop leaves, which
// takes the kernel long where that is perf events, and stops before where nobody has.
type Link interface {
	io.Closer
	Stop() error
	Mechanism() string // what the kernel calls the way it is attached
	Missed() uint64    // calls and returns of functions of the kernel that it could not follow, where it tells (6.7); also once closed
}

// ErrNotFound says that there is nothing of that name or place to attach to.
var ErrNotFound = errors.New("nothing to attach to")

// Error is why something could not be attached.
type Error struct {
	Target string // "raw tracepoint sched_switch"
	Err    error
}

// Error names the target and the reason.
func (e *Error) Error() string { return "attach " + e.Target + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// failed makes an Error; permission is explained by the missing capability where one is missing.
func failed(target string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if p := bpf.CheckPrivileges(); p != nil {
			err = fmt.Errorf("%w: %w", p, err)
		} else if n := paranoid(); n != "" {
			err = fmt.Errorf("%w (kernel.perf_event_paranoid is %s)", err, n)
		}
	}
	return &Error{Target: target, Err: err}
}

func paranoid() string {
	b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil || len(b) == 0 {
		return ""
	}
	return string(b[:len(b)-1])
}

// links are many descriptors as one Link: those that hold the program, and the perf events that are nothing without them.
type links struct {
	fds    []int
	events []int
	how    string
	path   []byte // what the kernel reads during perf_event_open: kept here so that it is on the heap and stays in place
	past   uint64 // what was missed until it was stopped
}

func (l *links) add(fd int) { l.fds = append(l.fds, fd) }

// Mechanism implements Link.
func (l *links) Mechanism() string { return l.how }

// Missed implements Link. The kernel counts what its pool of return addresses had no room for, and what happened inside
// of a probe.
func (l *links) Missed() uint64 {
	n := l.past
	const missedOfMulti, missedOfEvent = 2, 4 // words, by struct bpf_link_info
	for _, fd := range l.fds {
		var info sys.LinkInfo
		attr := sys.ObjInfoAttr{FD: uint32(fd), InfoLen: uint32(unsafe.Sizeof(info)), Info: unsafe.Pointer(&info)}
		if _, err := sys.BPF(sys.ObjInfoByFD, &attr); err != nil { // a perf event, or a kernel that tells nothing
			continue
		}
		kind := uint32(info.Words[0])
		switch {
		case info.Type == sys.LinkKprobeMulti:
			n += info.Words[missedOfMulti]
		case info.Type == sys.LinkPerfEvent && (kind == perfKprobe || kind == perfKretprobe):
			n += info.Words[missedOfEvent]
		}
	}
	return n
}

// The kinds of perf events (enum bpf_perf_event_type) that count what they missed.
const (
	perfKprobe    = 3
	perfKretprobe = 4
)

// Stop implements Link; a second call does nothing.
func (l *links) Stop() error {
	l.past = l.Missed()
	return closeAll(&l.fds)
}

// Close implements Link; a second call does nothing.
func (l *links) Close() error { return errors.Join(l.Stop(), closeAll(&l.events)) }

func closeAll(fds *[]int) error {
	var errs []error
	for _, fd := range slices.Backward(*fds) {
		errs = append(errs, unix.Close(fd))
	}
	*fds = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}

// RawTracepoint attaches a program of type RawTracepoint to an event by its name, without its system: "sched_switch".
func RawTracepoint(prog *ebpf.Program, name string) (Link, error) {
	target := "raw tracepoint " + name
	cname := append([]byte(name), 0)
	attr := sys.RawTracepointAttr{Name: sys.Ptr(cname), ProgFD: uint32(prog.FD())}
	fd, err := sys.BPF(sys.RawTracepointOpen, &attr)
	runtime.KeepAlive(prog)
	if errors.Is(err, unix.ENOENT) {
		return nil, &Error{target, fmt.Errorf("%w: the kernel has no such event", ErrNotFound)}
	}
	if err != nil {
		return nil, failed(target, err)
	}
	return &links{fds: []int{fd}, how: "raw_tracepoint"}, nil
}

// Tracing attaches a program to the target it was loaded for by its BTF id: a typed raw tracepoint, or the entry or
// return of a kernel function. how is the mechanism by its name: tp_btf, fentry, fexit.
func Tracing(prog *ebpf.Program, how string) (Link, error) {
	fd, err := sys.BPF(sys.RawTracepointOpen, &sys.RawTracepointAttr{ProgFD: uint32(prog.FD())})
	runtime.KeepAlive(prog)
	if err == sys.ENOTSUPP {
		err = &bpf.FeatureError{Feature: "trampolines for tracing programs", Err: err}
	}
	if err != nil {
		return nil, failed("tracing program "+prog.String(), err)
	}
	return &links{fds: []int{fd}, how: how}, nil
}

// Tracepoint attaches a program of type TracePoint to an event by the id in its format.
func Tracepoint(prog *ebpf.Program, id uint64) (Link, error) {
	target := fmt.Sprintf("tracepoint %d", id)
	l := &links{how: "perf event"}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Sample: 1, Wakeup: 1}
	// The CPU is a formality: programs of a tracepoint run on all of them.
	if err := l.perfEvent(prog, &attr, -1, 0, 0); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: the kernel has no event with this id (%w)", ErrNotFound, err)
		}
		return nil, failed(target, err)
	}
	return l, nil
}

// perfEvent opens a perf event, joins the program to it and enables it. On an error it leaves l as it was.
func (l *links) perfEvent(prog *ebpf.Program, attr *unix.PerfEventAttr, pid, cpu int, cookie uint64) error {
	event, err := sys.PerfEventOpen(attr, pid, cpu)
	if err != nil {
		return fmt.Errorf("open perf event: %w", err)
	}
	link, err := sys.BPF(sys.LinkCreate, &sys.LinkPerfEventAttr{ProgFD: uint32(prog.FD()), TargetFD: uint32(event),
		AttachType: sys.AttachPerfEvent, Cookie: cookie})
	if errors.Is(err, unix.EINVAL) { // perhaps a kernel before 5.15
		if cookie != 0 {
			unix.Close(event)
			return &bpf.FeatureError{Feature: "cookies of perf events", Err: err}
		}
		if e := unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); e == nil {
			err, link = nil, -1
		} else {
			err = e
		}
	}
	runtime.KeepAlive(prog)
	if err == nil {
		if err = unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil && link >= 0 {
			unix.Close(link)
		}
	}
	if err != nil {
		unix.Close(event)
		return fmt.Errorf("join program to perf event: %w", err)
	}
	if link < 0 { // the event itself holds the program
		l.add(event)
		return nil
	}
	l.add(link)
	l.events = append(l.events, event)
	return nil
}

// Sampling is the rate of a sampling event: either of the two.
type Sampling struct {
	Period uint64 // of a clock in nanoseconds, else in events
	Freq   uint64 // per second and CPU
}

// CPUClock runs a program of type PerfEvent on every online CPU at the given rate, busy or idle.
func CPUClock(prog *ebpf.Program, rate Sampling) (Link, error) {
	return Software(prog, unix.PERF_COUNT_SW_CPU_CLOCK, rate)
}

// Software runs a program of type PerfEvent on a software event (PERF_COUNT_SW_…) on every online CPU.
func Software(prog *ebpf.Program, event uint64, rate Sampling) (Link, error) {
	return Counter(prog, unix.PERF_TYPE_SOFTWARE, event, rate, 0)
}
