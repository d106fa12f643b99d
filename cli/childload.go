package cli

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/symbols"
)

// releaseFor lets the program start. Where the script looks code of processes up, the program is looked at while its libraries
// are mapped, since it may have ended when the first event is handled. Where the kernel does not let it be traced it starts
// nevertheless.
func (c *child) releaseFor(r *session) {
	if slices.ContainsFunc(r.obj.IR.Events, func(e *ir.Event) bool { return e.Kind == ir.EventNote }) {
		done := make(chan struct{})
		go func() { // only the thread that began to trace may go on with it
			defer close(done)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := c.followLoader(func() { r.meet(c.pid()) }); err != nil && r.eng.Unwinds() {
				r.eng.WarnUnwind(fmt.Errorf("the first stacks of the command may be found by frame pointers: look at it while it is loaded: %w", err))
			}
		}()
		<-done
	}
	c.release()
}

// loaderCalls are the system calls that the dynamic loader makes, and the one that it was started by. Another one is the
// program's own, or of code of a library that runs before it.
var loaderCalls = []uint64{unix.SYS_EXECVE, unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_LSEEK, unix.SYS_CLOSE,
	unix.SYS_STAT, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_READLINK,
	unix.SYS_READLINKAT, unix.SYS_GETCWD, unix.SYS_UNAME, unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_ARCH_PRCTL,
	unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_PRLIMIT64, unix.SYS_GETRANDOM, unix.SYS_FCNTL, unix.SYS_PRCTL}

// maxLoaderCalls bounds how long the program is traced, where the loader and the C library are one (musl).
const maxLoaderCalls = 10_000

// followLoader lets the program start, and calls look each time when it has mapped code of another file, until it begins to run
// itself. It is traced meanwhile: nothing is changed in it, so that it lives on should slope end. A program with more
// rights than its user loses them while it is traced, unless the tracer may trace any.
func (c *child) followLoader(look func()) error {
	if s, err := bpf.ReadStanding(); err != nil || !s.Has(unix.CAP_SYS_PTRACE) {
		return errors.Join(err, errors.New("this process does not have CAP_SYS_PTRACE"))
	}
	pid := c.pid()
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	defer unix.PtraceDetach(pid)
	if err := unix.PtraceInterrupt(pid); err != nil {
		return err
	}
	if err := until(pid, unix.PtraceCont, event(unix.PTRACE_EVENT_STOP)); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_TRACESYSGOOD); err != nil {
		return err
	}
	if _, err := c.gate.Write([]byte{1}); err != nil {
		return err
	}
	if err := unix.PtraceCont(pid, 0); err != nil {
		return err
	}
	if err := until(pid, unix.PtraceCont, event(unix.PTRACE_EVENT_EXEC)); err != nil {
		return err
	}
	look()
	seen := symbols.Mappings(pid)
	loader, err := symbols.Loader(pid, seen)
	for calls := 0; err == nil && loader != nil && calls < maxLoaderCalls; calls++ {
		if err = unix.PtraceSyscall(pid, 0); err != nil {
			break
		}
		if err = until(pid, unix.PtraceSyscall, systemCall); err != nil {
			break
		}
		var regs unix.PtraceRegs
		if err = unix.PtraceGetRegs(pid, &regs); err != nil {
			break
		}
		if regs.Orig_rax == unix.SYS_MMAP {
			if now := symbols.Mappings(pid); !slices.Equal(now, seen) {
				seen = now
				look()
			}
		}
		if regs.Rip < loader.Start || regs.Rip >= loader.End || !slices.Contains(loaderCalls, regs.Orig_rax) {
			break
		}
	}
	return err
}

// The ways in which a traced process stops: for an event of the kernel's, and at the begin or end of a system call.
func event(n int) int { return int(unix.SIGTRAP) | n<<8 }

const systemCall = int(unix.SIGTRAP) | 0x80

// errStopped says that somebody else has stopped the process, who is not to be disturbed.
var errStopped = errors.New("it was stopped")

// until lets a process run, by goOn, until it stops in a way. Signals reach it. Its end, which is an error, is left to whoever
// waits for that.
func until(pid int, goOn func(pid, signal int) error, way int) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		const trapped, status = 4, 24 // CLD_TRAPPED, and where si_status is in siginfo_t
		got := int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), status)))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case info.Code != trapped:
			return errors.New("it has ended")
		case got == way:
			return nil
		case got>>8 == unix.PTRACE_EVENT_STOP && got&0xff != int(unix.SIGTRAP):
			return errStopped
		}
		signal := got
		if got>>8 != 0 || got == systemCall {
			signal = 0
		}
		if err := goOn(pid, signal); err != nil {
			return err
		}
	}
}
