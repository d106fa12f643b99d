package attach_test

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/tracefs"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

// counter is a program that counts its runs in this process, and what it has counted.
type counter struct {
	prog *ebpf.Program
	m    *ebpf.Map
	t    testing.TB
}

// count loads a counting program. only is run first and may jump to "out".
func count(t testing.TB, spec bpf.ProgSpec, only ...asm.Instruction) *counter {
	t.Helper()
	return countIn(t, os.Getpid(), spec, only...)
}

// countIn counts in another process.
func countIn(t testing.TB, pid int, spec bpf.ProgSpec, only ...asm.Instruction) *counter {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	m, err := bpf.NewMap(bpf.MapSpec{Name: "count", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	spec.Name = "count"
	spec.Insns = append(only,
		asm.FnGetCurrentPidTgid.Call(), asm.RSh.Imm(asm.R0, 32), asm.JNE.Imm(asm.R0, int32(pid), "out"),
		asm.LoadMapValue(asm.R1, m.FD(), 0), asm.Mov.Imm(asm.R2, 1), asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return())
	prog, err := bpf.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return &counter{prog, m, t}
}

func (c *counter) get() (n uint64) {
	c.t.Helper()
	if err := bpf.ReadAll(c.m, func(_, v []byte) error { n = binary.LittleEndian.Uint64(v); return nil }); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// exactly attaches, makes 1000 calls, detaches, makes 1000 more, and expects exactly the first to be counted.
func (c *counter) exactly(link attach.Link, err error, call func()) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	for range 1000 {
		call()
	}
	if err := link.Close(); err != nil {
		c.t.Fatal(err)
	}
	for range 1000 {
		call()
	}
	if n := c.get(); n != 1000 {
		c.t.Errorf("got %d of 1000", n)
	}
	if err := link.Close(); err != nil {
		c.t.Errorf("second close: %v", err)
	}
}

func getppid() { unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) }

// isGetppid reads the number of the system call from the context of a raw sys_enter.
func isGetppid() asm.Instruction { return asm.LoadMem(asm.R6, asm.R1, 8, asm.DWord) }

func TestRawTracepoint(t *testing.T) {
	c := count(t, bpf.ProgSpec{Type: ebpf.RawTracepoint}, isGetppid(), asm.JNE.Imm(asm.R6, unix.SYS_GETPPID, "out"))
	start := time.Now()
	link, err := attach.RawTracepoint(c.prog, "sys_enter")
	t.Logf("attach %s", time.Since(start))
	c.exactly(link, err, getppid)
	if _, err := attach.RawTracepoint(c.prog, "no_such_event"); !errors.Is(err, attach.ErrNotFound) {
		t.Error(err)
	}
}

func TestTracing(t *testing.T) {
	bpftest.Require(t, new(bpf.Features).TPBTF())
	start := time.Now()
	ix, err := btf.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	id, err := ix.RawTracepoint("sys_enter")
	if err != nil {
		t.Fatal(err)
	}
	looked := time.Since(start)
	c := count(t, bpf.ProgSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachBTFID: id},
		isGetppid(), asm.JNE.Imm(asm.R6, unix.SYS_GETPPID, "out"))
	link, err := attach.Tracing(c.prog, "tp_btf")
	t.Logf("BTF %s, all %s", looked, time.Since(start))
	c.exactly(link, err, getppid)
}

func TestTracepoint(t *testing.T) {
	c := count(t, bpf.ProgSpec{Type: ebpf.TracePoint})
	fs, err := tracefs.Open()
	bpftest.Require(t, err)
	defer fs.Close()
	start := time.Now()
	f, err := fs.Format("syscalls", "sys_enter_getppid")
	if err != nil {
		t.Fatal(err)
	}
	link, err := attach.Tracepoint(c.prog, f.ID)
	t.Logf("format and attach %s", time.Since(start))
	c.exactly(link, err, getppid)
	if _, err := attach.Tracepoint(c.prog, 1<<30); !errors.Is(err, attach.ErrNotFound) {
		t.Error(err)
	}
}

// calls keeps probed from being a function without effect.
var calls int

// It has no stack check, also under the race detector: where the stack grows, the first instruction runs twice.
//
//go:noinline
//go:norace
func probed(n int) int {
	calls += n
	return n * 3
}

// entry is the file offset of probed in this test's executable.
func entry(t *testing.T) uint64 {
	t.Helper()
	pc := uint64(reflect.ValueOf(probed).Pointer())
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && pc >= p.Vaddr && pc < p.Vaddr+p.Filesz {
			return pc - p.Vaddr + p.Off
		}
	}
	t.Skip("the test was built as a position-independent executable")
	return 0
}

func TestUprobe(t *testing.T) {
	off := entry(t)
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	var f bpf.Features
	for _, test := range []struct {
		name    string
		needs   func() error
		attach  ebpf.AttachType
		pid     int
		ret     bool
		session bool
	}{
		{"multi", f.UprobeMulti, attach.UprobeMultiType, 0, false, false},
		{"multi of a process", f.UprobeMulti, attach.UprobeMultiType, os.Getpid(), false, false},
		{"perf", f.AttachCookie, 0, 0, false, false},
		{"perf of a process", f.AttachCookie, 0, os.Getpid(), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bpftest.Require(t, test.needs())
			c := count(t, bpf.ProgSpec{Type: ebpf.Kprobe, AttachType: test.attach},
				asm.FnGetAttachCookie.Call(), asm.JNE.Imm(asm.R0, 4711, "out"))
			start := time.Now()
			link, err := attach.Uprobe(c.prog, exe, []attach.Point{{Offset: off, Cookie: 4711}}, test.pid, test.ret)
			t.Logf("attach %s", time.Since(start))
			c.exactly(link, err, func() { probed(1) })
		})
	}
}

func TestUprobeErrors(t *testing.T) {
	c := count(t, bpf.ProgSpec{Type: ebpf.Kprobe})
	before := bpftest.Descriptors()
	for name, try := range map[string]func() error{
		"missing file": func() error {
			_, err := attach.Uprobe(c.prog, "/no/such/file", []attach.Point{{Offset: 1}}, 0, false)
			return err
		},
		"directory": func() error { _, err := attach.Uprobe(c.prog, "/", []attach.Point{{}}, 0, false); return err },
		"no points": func() error { _, err := attach.Uprobe(c.prog, "/proc/self/exe", nil, 0, false); return err },
		"no process": func() error {
			_, err := attach.Uprobe(c.prog, "/proc/self/exe", []attach.Point{{Offset: 1}}, 1<<22+1, false)
			return err
		},
		"beyond the end": func() error {
			_, err := attach.Uprobe(c.prog, "/proc/self/exe", []attach.Point{{Offset: 1 << 40}}, 0, false)
			return err
		},
	} {
		if err := try(); !errors.Is(err, attach.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The second place is refused: nothing may stay attached.
	off := entry(t)
	if _, err := attach.Uprobe(c.prog, "/proc/self/exe", []attach.Point{{Offset: off}, {Offset: off, RefCtr: 1 << 40}}, 0, false); err == nil {
		t.Error("attached with an impossible semaphore")
	}
	probed(1)
	if n := c.get(); n != 0 {
		t.Errorf("half attached: got %d", n)
	}
	after := bpftest.Descriptors()
	for kind, n := range after {
		if n > before[kind] {
			t.Errorf("%d more %s", n-before[kind], kind)
		}
	}
}

func TestCPUClock(t *testing.T) {
	for name, rate := range map[string]attach.Sampling{"period": {Period: 1e6}, "frequency": {Freq: 997}} {
		t.Run(name, func(t *testing.T) {
			c := count(t, bpf.ProgSpec{Type: ebpf.PerfEvent})
			start := time.Now()
			link, err := attach.CPUClock(c.prog, rate)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("attach %s", time.Since(start))
			bpftest.Eventually(t, 10*time.Second, "5 samples of this process", func() bool {
				for i := range 1000000 {
					probed(i)
				}
				return c.get() >= 5
			})
			if err := link.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	c := count(t, bpf.ProgSpec{Type: ebpf.PerfEvent})
	if _, err := attach.CPUClock(c.prog, attach.Sampling{}); err == nil {
		t.Error("attached without a rate")
	}
}
