package cli

import (
	words "encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler/ir"
)

// releaseFor lets the program start. Where the script looks code of processes up, it is stopped at its own first instruction,
// where its libraries are mapped, and looked at: it may have ended when the first event is handled. Where the kernel does not
// let it be stopped it starts nevertheless.
func (c *child) releaseFor(r *session) {
	if slices.ContainsFunc(r.obj.IR.Events, func(e *ir.Event) bool { return e.Kind == ir.EventNote }) {
		done := make(chan struct{})
		go func() { // only the thread that began to trace may go on with it
			defer close(done)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := c.stopAtEntry(func() { r.meet(c.pid()) }); err != nil && r.eng.Unwinds() {
				r.eng.Warn(fmt.Errorf("the first stacks of the command may be found by frame pointers: stop it at its begin: %w", err))
			}
		}()
		<-done
	}
	c.release()
}

// The debug registers in struct user of x86-64 (asm/user_64.h): an address where the processor stops, and which are in use.
const (
	userDebug0 = 848
	userDebug7 = userDebug0 + 7*8
)

// stopAtEntry lets the program go to its first instruction, and calls look while it is stopped there. It may have been let
// go where there is an error, too.
func (c *child) stopAtEntry(look func()) error {
	pid := c.pid()
	if err := unix.PtraceSeize(pid); err != nil {
		return err
	}
	defer unix.PtraceDetach(pid)
	if err := unix.PtraceInterrupt(pid); err != nil {
		return err
	}
	if err := stopped(pid, func(int) bool { return true }); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACEEXEC); err != nil {
		return err
	}
	if _, err := c.gate.Write([]byte{1}); err != nil {
		return err
	}
	if err := resumed(pid, int(unix.SIGTRAP)|unix.PTRACE_EVENT_EXEC<<8); err != nil {
		return err
	}
	entry, err := entryOf(pid)
	if err != nil {
		return err
	}
	set := func(at, value uint64) error {
		_, err := unix.PtracePokeUser(pid, uintptr(at), words.LittleEndian.AppendUint64(nil, value))
		return err
	}
	const first = 1 // of the debug registers, for this thread, where an instruction is executed
	if err := errors.Join(set(userDebug0, entry), set(userDebug7, first)); err != nil {
		return err
	}
	if err := resumed(pid, int(unix.SIGTRAP)); err != nil {
		return err
	}
	if err := set(userDebug7, 0); err != nil {
		return err
	}
	look()
	return nil
}

// resumed lets the process run until it stops in a way; what else stops it goes on as if nobody looked.
func resumed(pid, way int) error {
	if err := unix.PtraceCont(pid, 0); err != nil {
		return err
	}
	return stopped(pid, func(got int) bool {
		if got == way {
			return true
		}
		signal := got
		if got>>8 != 0 { // an event, not a signal
			signal = 0
		}
		unix.PtraceCont(pid, signal)
		return false
	})
}

// stopped waits until a process stops in a way that is wanted. Its end, which is an error, is left to whoever waits for that.
func stopped(pid int, wanted func(way int) bool) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		const trapped, status = 4, 24 // CLD_TRAPPED, and where si_status is in siginfo_t
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case info.Code != trapped:
			return errors.New("it has ended")
		case wanted(int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), status)))):
			return nil
		}
	}
}

// entryOf is where the program of a process begins.
func entryOf(pid int) (uint64, error) {
	aux, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return 0, err
	}
	const atEntry = 9 // AT_ENTRY
	for ; len(aux) >= 16; aux = aux[16:] {
		if words.LittleEndian.Uint64(aux) == atEntry {
			return words.LittleEndian.Uint64(aux[8:]), nil
		}
	}
	return 0, errors.New("no AT_ENTRY")
}
