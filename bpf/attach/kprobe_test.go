package attach_test

import (
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestKprobeSession has many threads in a function at the same time. A kernel that keeps return addresses in a pool misses
// calls, and a session their entries too: that is why slope makes none of its own accord there.
func TestKprobeSession(t *testing.T) {
	f := new(bpf.Features)
	bpftest.Require(t, bpf.CheckPrivileges())
	if err := f.KprobeSession(); err != nil {
		t.Skip(err) // also where everything else is required: not every kernel is built with it
	}
	const threads, dx = 1000, 96 // the third argument, in the pt_regs of x86-64
	c := count(t, bpf.ProgSpec{Type: ebpf.Kprobe, AttachType: attach.KprobeSessionType},
		asm.LoadMem(asm.R6, asm.R1, dx, asm.DWord), asm.JNE.Imm(asm.R6, unix.CLOCK_BOOTTIME, "out"))
	link, err := attach.KprobeSession(c.prog, []string{"hrtimer_nanosleep"})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			left := unix.NsecToTimespec(int64(2 * time.Second))
			for unix.ClockNanosleep(unix.CLOCK_BOOTTIME, 0, &left, &left) == unix.EINTR {
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d", c.get(), threads)
	if missed := link.Missed(); (c.get()+missed < threads) || missed > 0 && f.ReturnStacks() == nil {
		t.Errorf("counted %d entries of %d, and %d that were missed", c.get(), threads, missed)
	}
	if all, stacks := c.get() >= threads, f.ReturnStacks(); all != (stacks == nil) {
		t.Errorf("counted %d entries of %d; return addresses by task: %v", c.get(), threads, stacks)
	}
}
