package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/bpftest"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

func newMap(t testing.TB, spec MapSpec) *ebpf.Map {
	t.Helper()
	bpftest.Require(t, CheckPrivileges())
	m, err := NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func loadProg(t testing.TB, spec ProgSpec) *ebpf.Program {
	t.Helper()
	bpftest.Require(t, CheckPrivileges())
	p, err := Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestLoadAndRun(t *testing.T) {
	bpftest.Require(t, new(Features).TestRun())
	p := loadProg(t, ProgSpec{Name: "a probe @ 1 with a long name", Type: ebpf.RawTracepoint, Insns: asm.Instructions{
		asm.LoadMem(asm.R0, asm.R1, 8, asm.DWord), asm.JEq.Imm(asm.R0, 42, "out"), asm.Mov.Imm(asm.R0, 1),
		asm.Return().WithSymbol("out")}})
	for arg, want := range map[uint64]uint32{42: 42, 41: 1} {
		for _, cpu := range []int{-1, 0} {
			if got, err := TestRun(p, []uint64{0, arg}, cpu); err != nil || got != want {
				t.Errorf("arg %d on cpu %d: got %d, %v", arg, cpu, got, err)
			}
		}
	}
}

// TestAtomics runs the atomic instructions: the old value comes back and the memory has the new one.
func TestAtomics(t *testing.T) {
	var f Features
	bpftest.Require(t, f.TestRun(), f.AtomicFetch())
	for _, test := range []struct {
		op       asm.AtomicOp
		old, now uint32
	}{{asm.AddAtomic, 3, 8}, {asm.FetchAdd, 5, 8}, {asm.FetchOr, 5, 7}, {asm.FetchAnd, 5, 1}, {asm.Xchg, 5, 3}} {
		p := loadProg(t, ProgSpec{Type: ebpf.RawTracepoint, Insns: asm.Instructions{
			asm.Mov.Imm(asm.R1, 5), asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord), asm.Mov.Imm(asm.R2, 3),
			test.op.Mem(asm.R10, asm.R2, asm.DWord, -8), asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord),
			asm.LSh.Imm(asm.R0, 8), asm.Or.Reg(asm.R0, asm.R2), asm.Return()}})
		if got, err := TestRun(p, nil, -1); err != nil || got != test.now<<8|test.old {
			t.Errorf("%s: got %#x, %v, want %#x", test.op, got, err, test.now<<8|test.old)
		}
	}
}

func TestVerifierError(t *testing.T) {
	bpftest.Require(t, CheckPrivileges())
	ret := func(insns ...asm.Instruction) asm.Instructions { return append(insns, asm.Return()) }
	for _, test := range []struct {
		name, reason string
		spec         ProgSpec
		errno        unix.Errno
		insn         int
		missing      bool
	}{
		{"unset register", "R2 !read_ok", ProgSpec{Type: ebpf.RawTracepoint, Insns: ret(asm.LoadImm(asm.R0, 1<<40, asm.DWord),
			asm.LoadMem(asm.R0, asm.R2, 0, asm.DWord))}, unix.EACCES, 2, false},
		{"unreachable", "unreachable insn 1", ProgSpec{Type: ebpf.RawTracepoint, Insns: asm.Instructions{asm.Ja.Label("end"),
			asm.Mov.Imm(asm.R1, 0), asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return()}}, unix.EINVAL, 1, false},
		{"unknown helper", "invalid func", ProgSpec{Type: ebpf.RawTracepoint, Insns: ret(asm.BuiltinFunc(9999).Call())}, unix.EINVAL, 0, true},
		{"helper of another type", "#26", ProgSpec{Type: ebpf.RawTracepoint, Insns: ret(asm.FnSkbLoadBytes.Call())}, unix.EINVAL, 0, true},
		{"unknown type", "does not offer program type", ProgSpec{Type: 200, Insns: ret(asm.Mov.Imm(asm.R0, 0))}, unix.EINVAL, -1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(test.spec)
			var v *VerifierError
			if !errors.As(err, &v) {
				t.Fatalf("got %v", err)
			}
			if v.Errno != test.errno || v.Insn != test.insn || !strings.Contains(v.Reason, test.reason) || errors.Is(err, ErrNotSupported) != test.missing {
				t.Errorf("got %d at %d %q missing %v\n%s", v.Errno, v.Insn, v.Reason, v.Missing, v.Log)
			}
		})
	}
}

func TestLongLog(t *testing.T) {
	bpftest.Require(t, CheckPrivileges())
	var insns asm.Instructions
	for range 3000 {
		insns = append(insns, asm.Mov.Imm(asm.R0, 0))
	}
	insns = append(insns, asm.Mov.Reg(asm.R0, asm.R5), asm.Return())
	_, err := Load(ProgSpec{Type: ebpf.RawTracepoint, Insns: insns})
	var v *VerifierError
	if !errors.As(err, &v) || v.Insn != 3000 || v.Reason != "R5 !read_ok" {
		t.Fatalf("got %v", err)
	}
	log := make([]byte, firstLogBytes)
	var code bytes.Buffer
	if err := insns.Marshal(&code, binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
	if _, err := load(ProgSpec{Type: ebpf.RawTracepoint}, code.Bytes(), log); !errors.Is(err, unix.ENOSPC) {
		return // before 5.12 it is short
	}
	if ends := hasEnd(log); ends != (len(v.Log) < firstLogBytes) || ends != strings.Contains(string(log), "R5 !read_ok") {
		t.Errorf("the log has its end: %t; %d bytes were taken", ends, len(v.Log))
	}
}

func fill(t *testing.T, m *ebpf.Map, n int, perCPU bool) {
	t.Helper()
	cpus, err := PossibleCPUs()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		var value any = uint64(i * 100)
		if perCPU {
			values := make([]uint64, cpus)
			for c := range values {
				values[c] = uint64(i*100 + c)
			}
			value = values
		}
		// A map that is not preallocated takes entries from a small reserve, which the kernel fills up meanwhile.
		for deadline := time.Now().Add(5 * time.Second); ; {
			err := m.Put(uint64(i), value)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.ENOMEM) || time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}

func TestReadAll(t *testing.T) {
	cpus, err := PossibleCPUs()
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash} {
		for _, noBatch := range []bool{false, true} {
			t.Run(fmt.Sprint(typ, noBatch), func(t *testing.T) {
				const n = 6000
				perCPU := typ == ebpf.PerCPUHash
				m := newMap(t, MapSpec{Name: "@x", Type: typ, KeySize: 8, ValueSize: 8, MaxEntries: 20000, NoPrealloc: typ != ebpf.LRUHash})
				fill(t, m, n, perCPU)
				r, err := NewReader(m)
				if err != nil {
					t.Fatal(err)
				}
				r.noBatch = noBatch
				seen := map[uint64]bool{}
				if err := r.All(func(key, value []byte) error {
					k := binary.LittleEndian.Uint64(key)
					seen[k] = true
					for c := range len(value) / 8 {
						if v := binary.LittleEndian.Uint64(value[8*c:]); v != k*100+uint64(c) {
							return fmt.Errorf("key %d cpu %d: got %d", k, c, v)
						}
					}
					if perCPU != (len(value) == 8*cpus) && cpus > 1 {
						return fmt.Errorf("got %d bytes", len(value))
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if len(seen) != n || r.noBatch != noBatch {
					t.Fatalf("got %d keys, noBatch %v", len(seen), r.noBatch)
				}
				if err := Zero(m); err != nil {
					t.Fatal(err)
				}
				count := 0
				ReadAll(m, func(_, value []byte) error {
					count++
					for _, b := range value {
						if b != 0 {
							t.Fatal("not zeroed")
						}
					}
					return nil
				})
				if count != n {
					t.Fatalf("after zero: got %d keys", count)
				}
				if err := Clear(m); err != nil {
					t.Fatal(err)
				}
				ReadAll(m, func(_, _ []byte) error { t.Error("not empty"); return errors.New("stop") })
			})
		}
	}
}

func TestArrays(t *testing.T) {
	for _, typ := range []ebpf.MapType{ebpf.Array, ebpf.PerCPUArray} {
		m := newMap(t, MapSpec{Name: "a", Type: typ, KeySize: 4, ValueSize: 12, MaxEntries: 3})
		r, err := NewReader(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, noBatch := range []bool{false, true} {
			r.noBatch = noBatch
			n := 0
			if err := r.All(func(key, value []byte) error {
				if binary.LittleEndian.Uint32(key) != uint32(n) || len(value) != r.ValueBytes() {
					t.Errorf("%s: got key %x, %d bytes", typ, key, len(value))
				}
				n++
				return nil
			}); err != nil || n != 3 {
				t.Errorf("%s noBatch=%v: got %d, %v", typ, noBatch, n, err)
			}
		}
		if err := Clear(m); err != nil {
			t.Error(err)
		}
	}
	stop := errors.New("stop")
	m := newMap(t, MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 3})
	if err := ReadAll(m, func(_, _ []byte) error { return stop }); err != stop {
		t.Error(err)
	}
}

func TestNewMapErrors(t *testing.T) {
	bpftest.Require(t, CheckPrivileges())
	if _, err := NewMap(MapSpec{Name: "x", Type: 250, KeySize: 4, ValueSize: 4, MaxEntries: 1}); !errors.Is(err, ErrNotSupported) {
		t.Errorf("unknown type: got %v", err)
	}
	if _, err := NewMap(MapSpec{Name: "x", Type: ebpf.Hash, KeySize: 0, ValueSize: 4, MaxEntries: 1}); !errors.Is(err, unix.EINVAL) || errors.Is(err, ErrNotSupported) {
		t.Errorf("no key: got %v", err)
	}
}

// producer submits n records of 16 bytes (a counter and a constant) per run.
func producer(t testing.TB, ring *ebpf.Map, n, flags int32) *ebpf.Program {
	return loadProg(t, ProgSpec{Name: "producer", Type: ebpf.RawTracepoint, Insns: asm.Instructions{
		asm.Mov.Imm(asm.R9, 0),
		asm.StoreMem(asm.R10, -16, asm.R9, asm.DWord).WithSymbol("loop"), asm.Mov.Imm(asm.R1, 77),
		asm.StoreMem(asm.R10, -8, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, ring.FD()), asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -16), asm.Mov.Imm(asm.R3, 16),
		asm.Mov.Imm(asm.R4, flags), asm.FnRingbufOutput.Call(), asm.JNE.Imm(asm.R0, 0, "full"),
		asm.Add.Imm(asm.R9, 1), asm.JLT.Imm(asm.R9, n, "loop"),
		asm.Mov.Reg(asm.R0, asm.R9).WithSymbol("full"), asm.Return()}})
}

func TestRing(t *testing.T) {
	bpftest.Require(t, new(Features).RingBuf(), new(Features).TestRun())
	m := newMap(t, MapSpec{Name: "events", Type: ebpf.RingBuf, MaxEntries: 4096})
	r, err := OpenRing(m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := producer(t, m, 100, 1)
	for round := range 10 { // 2400 bytes each: wraps around
		if n, err := TestRun(p, nil, -1); err != nil || n != 100 {
			t.Fatal(n, err)
		}
		i := uint64(0)
		n := r.Drain(func(b []byte) {
			if len(b) != 16 || binary.LittleEndian.Uint64(b) != i || b[8] != 77 {
				t.Fatalf("round %d record %d: got %x", round, i, b)
			}
			i++
		})
		if n != 100 || r.Damaged != 0 {
			t.Fatalf("got %d records, %d damaged", n, r.Damaged)
		}
	}
	records := 0
	count := func([]byte) { records++ }
	run := testing.AllocsPerRun(20, func() { TestRun(p, nil, -1) })
	r.Drain(count)
	both := testing.AllocsPerRun(20, func() {
		TestRun(p, nil, -1)
		r.Drain(count)
	})
	if both > run || records < 2000 {
		t.Errorf("got %v allocations with Drain, %v without, %d records", both, run, records)
	}
}

func TestRingWait(t *testing.T) {
	bpftest.Require(t, new(Features).RingBuf(), new(Features).TestRun())
	m := newMap(t, MapSpec{Name: "events", Type: ebpf.RingBuf, MaxEntries: 4096})
	r, err := OpenRing(m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	start := time.Now()
	if err := r.Wait(3 * time.Millisecond); err != nil || time.Since(start) < 3*time.Millisecond {
		t.Errorf("returned after %s, %v", time.Since(start), err)
	}
	done := make(chan error)
	go func() { done <- r.Wait(-1) }()
	if err := r.Wake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p := producer(t, m, 5, 0)
	if _, err := TestRun(p, nil, -1); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(-1); err != nil { // level-triggered: the records are there
		t.Fatal(err)
	}
	if n := r.Drain(func([]byte) {}); n != 5 {
		t.Fatalf("got %d", n)
	}
	if _, err := OpenRing(newMap(t, MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})); err == nil {
		t.Error("opened an array as a ring buffer")
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c'}, uint64(0), uint64(16))
	f.Add([]byte{0, 0, 0, 0x40}, uint64(56), uint64(64))
	f.Add([]byte{0xff, 0xff, 0xff, 0x3f}, uint64(8), uint64(1<<40))
	f.Fuzz(func(t *testing.T, seed []byte, cons, prod uint64) {
		const size = 64
		words := make([]uint64, 2*size/8) // aligned
		data := make([]byte, 0, 2*size)
		for i := range words {
			var w [8]byte
			if len(seed) > 0 {
				for j := range w {
					w[j] = seed[(8*i+j)%size%len(seed)]
				}
			}
			data = append(data, w[:]...)
		}
		next, n, damaged := decode(data, size-1, cons, prod, size/8, func(b []byte) {
			if len(b) > size {
				t.Fatalf("record of %d bytes", len(b))
			}
		})
		busy := prod-cons <= size && cons%8 == 0 && data[cons%size+3]&0x80 != 0
		if next == cons && cons != prod && !busy {
			t.Fatalf("no progress from %d to %d", cons, prod)
		}
		if next != prod && next-cons > prod-cons {
			t.Fatalf("went to %d, beyond %d", next, prod)
		}
		if n > size/8 || damaged > 1 {
			t.Fatal(n, damaged)
		}
	})
}

func TestParseLog(t *testing.T) {
	for _, test := range []struct {
		name, log, reason string
		insn              int
	}{
		{"6.18", "0: R1=ctx() R10=fp0\n; probe.slo:3 @x = arg2 @ :0\n0: (b7) r0 = 0                        ; R0=0\n1: (79) r0 = *(u64 *)(r2 +0)\nR2 !read_ok\nprocessed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n", "R2 !read_ok", 1},
		{"5.10", "; x\n0: (bf) r6 = r1\n1: (85) call bpf_get_current_pid_tgid#14\nlast_idx 1 first_idx 0\nregs=1 stack=0 before 1: (85) call bpf\n2: (79) r1 = *(u64 *)(r6 +8)\n R0=inv(id=0) R6=ctx(id=0,off=0,imm=0) R10=fp0\ninvalid bpf_context access off=8 size=8\nprocessed 3 insns\n", "invalid bpf_context access off=8 size=8", 2},
		{"branches", "0: (b7) r0 = 0\n1: (55) if r1 != 0x0 goto pc+1\n R0=0\n2: (95) exit\n\nfrom 1 to 3: R0=0 R1=inv R10=fp0\n3: (61) r1 = *(u32 *)(r0 +0)\nR0 invalid mem access 'inv'\nprocessed 4 insns (limit 1000000)\n", "R0 invalid mem access 'inv'", 3},
		{"before the walk", "unreachable insn 7\nprocessed 0 insns\n", "unreachable insn 7", 7},
		{"range", "jump out of range from insn 3 to 90\n", "jump out of range from insn 3 to 90", 3},
		{"unknown helper", "0: (85) call unknown#216\ninvalid func unknown#216\n", "invalid func unknown#216", 0},
		{"access", "5: (71) r1 = *(u8 *)(r0 +8)\ninvalid access to map value, value_size=8 off=8 size=1\nR0 min value is outside of the allowed memory range\nprocessed 6 insns\n", "invalid access to map value, value_size=8 off=8 size=1", 5},
		{"too large", "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns (limit 1000000)\n", "BPF program is too large. Processed 1000001 insn", -1},
		{"too large at a jump", "104: (71) r5 = *(u8 *)(r8 +0)         ; R5=scalar()\n105: (25) if r5 > 0x40 goto pc+318 BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns (limit 1000000) max_states_per_insn 28\n", "BPF program is too large. Processed 1000001 insn", 105},
		{"empty", "", "", -1},
		{"success", "0: (b7) r0 = 0\n1: (95) exit\nprocessed 2 insns\n", "", -1},
	} {
		if insn, reason := ParseLog(test.log); insn != test.insn || reason != test.reason {
			t.Errorf("%s: got %d %q, want %d %q", test.name, insn, reason, test.insn, test.reason)
		}
	}
}

func FuzzParseLog(f *testing.F) {
	f.Add("0: (b7) r0 = 0\nR2 !read_ok\n")
	f.Fuzz(func(t *testing.T, log string) {
		if insn, reason := ParseLog(log); insn < -1 || strings.Contains(reason, "\n") {
			t.Fatal(insn, reason)
		}
	})
}

func TestPrivileges(t *testing.T) {
	const bpfPerfmon = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON
	for _, test := range []struct {
		s    Standing
		want string
	}{
		{Standing{effective: 1 << unix.CAP_SYS_ADMIN, last: 40}, ""},
		{Standing{effective: bpfPerfmon, last: 40}, ""},
		{Standing{effective: 1 << unix.CAP_BPF, last: 40, unprivileged: "2"}, "tracing needs root, or CAP_PERFMON, which this process does not have (kernel.unprivileged_bpf_disabled is 2)"},
		{Standing{last: 40}, "tracing needs root, or CAP_BPF and CAP_PERFMON, which this process does not have"},
		{Standing{last: 37}, "tracing needs root, or CAP_SYS_ADMIN, which this process does not have"},
		{Standing{effective: ^uint64(0), last: 40, Lockdown: "confidentiality"}, "tracing needs root (kernel lockdown is in confidentiality mode: reading kernel memory is refused even to root)"},
	} {
		got := ""
		if err := test.s.Check(); err != nil {
			got = err.Error()
			if !errors.Is(err, ErrPrivilege) {
				t.Errorf("%v is not ErrPrivilege", err)
			}
		}
		if got != test.want {
			t.Errorf("%+v: got %q, want %q", test.s, got, test.want)
		}
	}
}

func TestFeatures(t *testing.T) {
	bpftest.Require(t, CheckPrivileges())
	var f Features
	for name, probe := range map[string]func() error{"UprobeMulti": f.UprobeMulti, "UprobeSession": f.UprobeSession,
		"AtomicFetch": f.AtomicFetch, "SDiv": f.SDiv, "TaskBTF": f.TaskBTF, "TPBTF": f.TPBTF, "AttachCookie": f.AttachCookie,
		"RingBuf": f.RingBuf, "BatchPerCPU": f.BatchPerCPU, "CommPadded": f.CommPadded, "Loop": f.Loop, "Fentry": f.Fentry,
		"Kprobe": f.Kprobe, "PerfLink": f.PerfLink, "TestRun": f.TestRun} {
		start := time.Now()
		err := probe()
		t.Logf("%-14s %8s %v", name, time.Since(start).Round(time.Microsecond), err)
		if again := probe(); again != err {
			t.Errorf("%s: got %v, then %v", name, err, again)
		}
		if err != nil && !errors.Is(err, ErrNotSupported) {
			t.Errorf("%s: %v is not ErrNotSupported", name, err)
		}
	}
	if err := f.Helper(ebpf.RawTracepoint, asm.BuiltinFunc(9999)); !errors.Is(err, ErrNotSupported) {
		t.Error(err)
	}
	if err := f.Helper(ebpf.RawTracepoint, asm.FnMapLookupElem); err != nil {
		t.Error(err)
	}
}

// TestCommUnchanged checks that the probe gives the thread its name back.
func TestCommUnchanged(t *testing.T) {
	bpftest.Require(t, new(Features).TestRun())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := content("/proc/thread-self/comm")
	new(Features).CommPadded()
	if after := content("/proc/thread-self/comm"); after != before {
		t.Errorf("got %q, want %q", after, before)
	}
}

func BenchmarkLoad(b *testing.B) {
	bpftest.Require(b, CheckPrivileges())
	for b.Loop() {
		p, err := Load(ProgSpec{Name: "x", Type: ebpf.RawTracepoint, Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}

func BenchmarkNewMap(b *testing.B) {
	bpftest.Require(b, CheckPrivileges())
	for b.Loop() {
		m, err := NewMap(MapSpec{Name: "x", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
