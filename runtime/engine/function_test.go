package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/symbols"
	"github.com/slopebpf/slope/stdlib"
)

// naps is how many short sleeps the tests make.
const naps = 500

// ignored takes records and does nothing.
type ignored struct{}

func (ignored) Handle([]byte) error { return nil }

// counted reads a map of a script.
func counted(t *testing.T, e *engine.Engine, obj *compiler.Object, name string) *agg.Snapshot {
	t.Helper()
	at := slices.IndexFunc(obj.IR.Maps, func(m *ir.Map) bool { return m.Name == name })
	if at < 0 {
		t.Fatalf("no map %s", name)
	}
	m := obj.IR.Maps[at]
	s, err := agg.Read(m, func(f func(key, value []byte) error) error { return e.Read(m, f) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestKernelFunctions counts the calls of a kernel function, their arguments and results, by every way there is. The
// function sleeps as long as asked: mode 1 is relative time, clock 1 the monotonic one.
func TestKernelFunctions(t *testing.T) {
	napAddress := ""
	if at, err := new(stdlib.Machine).KernelSymbol("hrtimer_nanosleep"); err == nil {
		napAddress = fmt.Sprintf("0x%x", at)
	}
	for name, c := range map[string]struct{ script, keys string }{
		// Several functions are attached by one link, where the kernel has that and can trace all; nobody can probe __sw_hweight64.
		"kprobes":              {`kprobe:hrtimer_nanosleep, kprobe:mount_capable /tid == $1/ { @n[1] = count(); }`, "1"},
		"kretprobes":           {`kretprobe:hrtimer_nanosleep, kretprobe:mount_capable /tid == $1/ { @n[retval] = count(); }`, "0"},
		"one by one":           {`config = { missing_probes = ignore } kprobe:hrtimer_nanosleep, kprobe:__sw_hweight64 /tid == $1/ { @n[1] = count(); }`, "1"},
		"wildcard":             {`kprobe:hrtimer_nanoslee[p], kprobe:vfs_stat* /tid == $1/ { @n[1] = count(); }`, "1"},
		"kprobe":               {`kprobe:hrtimer_nanosleep /tid == $1 && arg2 == 1/ { @n[arg1] = count(); }`, "1"},
		"kprobe at an address": {`kprobe:$2 /tid == $1 && arg2 == 1/ { @n[arg1] = count(); }`, "1"},
		"kprobe by fentry":     {`kprobe:hrtimer_nanosleep /tid == $1 && arg2 == 1/ { @n[arg1] = count(); }`, "1"},
		"fentry by kprobe":     {`fentry:hrtimer_nanosleep /tid == $1 && args.clockid == 1/ { @n[args.mode] = count(); }`, "1"},
		"fexit by kprobe":      {`fexit:hrtimer_nanosleep /tid == $1/ { @n[retval] = count(); }`, "0"},
		"kretprobe":            {`kretprobe:hrtimer_nanosleep /tid == $1/ { @n[retval] = count(); }`, "0"},
		"fentry":               {`fentry:hrtimer_nanosleep /tid == $1 && args.clockid == 1/ { @n[args.mode] = count(); }`, "1"},
		"fexit":                {`fexit:hrtimer_nanosleep /tid == $1 && args.clockid == 1/ { @n[retval] = count(); }`, "0"},

		// By one program for the entry and the return, where the kernel can.
		"session":         {`kprobe:hrtimer_nanosleep /tid == $1 && arg2 == 1/ { @at[tid] = 1; } kretprobe:hrtimer_nanosleep /@at[tid]/ { @n[0] = count(); delete(@at, tid); }`, "0"},
		"sessions":        {`kprobe:hrtimer_nanoslee[p], kprobe:mount_capable /tid == $1/ { @at[tid] = 1; } kretprobe:hrtimer_nanosleep, kretprobe:mount_capable /@at[tid]/ { @n[0] = count(); delete(@at, tid); }`, "0"},
		"func in session": {`kprobe:hrtimer_nanosleep /tid == $1/ { @in[tid] = 1; } kretprobe:hrtimer_nanosleep /@in[tid]/ { @n[func] = count(); delete(@in, tid); }`, "hrtimer_nanosleep"},

		"ustack in kprobe": {`kprobe:hrtimer_nanosleep /tid == $1 && arg2 == 1/ { @s[ustack(3)] = count(); @n[arg1] = count(); }`, "1"},

		"func in kprobe":    {`kprobe:hrtimer_nanosleep /tid == $1/ { @n[func] = count(); }`, "hrtimer_nanosleep"},
		"func in kretprobe": {`kretprobe:hrtimer_nanosleep /tid == $1/ { @n[func] = count(); }`, "hrtimer_nanosleep"},
		"func in fentry":    {`fentry:hrtimer_nanosleep /tid == $1/ { @n[func] = count(); }`, "hrtimer_nanosleep"},
		"func in fexit":     {`fexit:hrtimer_nanosleep /tid == $1/ { @n[func] = count(); }`, "hrtimer_nanosleep"},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // the runtime's other threads sleep too
			defer runtime.UnlockOSThread()
			// With one processor only one of them does. A kretprobe follows as many calls at a time as there are CPUs, two in
			// the machines of the matrix, until 6.2 gave it a larger pool (3b7ddab8a19a).
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			feat := &bpf.Features{}
			bpftest.Require(t, feat.TestRun(), feat.RingBuf())
			reg := stdlib.New()
			byFentry, config := name == "kprobe by fentry", types.DefaultConfig()
			config.Unsafe = strings.Contains(c.script, "$2")
			byKprobe := strings.HasSuffix(name, "by kprobe")
			if (config.Unsafe || byKprobe) && feat.Kprobe() != nil {
				t.Skip(feat.Kprobe())
			}
			machine := &stdlib.Machine{Registry: reg, Fentry: byFentry, Kprobe: byKprobe}
			defer machine.Close()
			session := strings.Contains(name, "session") && feat.KprobeSession() == nil
			if session {
				machine.Session = func(types.HookKind) bool { return true }
			}
			obj, diags := compiler.Compile(source.NewFile("f.slo", c.script), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
				Config: config, Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, FuncIP: feat.FuncIP, Function: machine.Function}, CPUs: runtime.NumCPU(),
				Params: []string{strconv.Itoa(unix.Gettid()), napAddress}})
			if text := fmt.Sprint(diags); feat.FuncIP(false) != nil && strings.Contains(text, "bpf_get_func_ip is there since Linux 5.15") {
				return
			}
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			served, sessions := false, 0
			e, err := engine.Load(obj, engine.Options{Features: feat, Verbose: func(line string) {
				t.Log(line)
				if byKprobe && strings.HasPrefix(line, "attached f") && !strings.Contains(line, "hrtimer_nanosleep, served by k") {
					t.Errorf("not by a kprobe: %s", line)
				}
				if session && strings.HasPrefix(line, "attached") {
					sessions += strings.Count(line, "with its return") * strings.Count(line, "by kprobe_session in ")
				}
				served = served || strings.Contains(line, "attached kprobe:hrtimer_nanosleep, served by fentry:hrtimer_nanosleep by fentry in ")
			}})
			if errors.Is(err, unix.EPERM) || errors.Is(err, bpf.ErrNotSupported) {
				t.Skip(err) // not on every host; the kernel matrix has them
			}
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if e.Missing() == 2 { // nor has it kprobes
				t.Skip("this kernel refuses trampolines")
			}
			ctx, cancel := context.WithCancel(context.Background())
			attached, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- e.Run(ctx, engine.Hooks{Events: ignored{}, Exited: func() bool { return false }, Attached: func() { close(attached) }, Stay: true})
			}()
			select {
			case <-attached:
			case err := <-ended:
				cancel()
				t.Fatal(err)
			}
			for range naps {
				ts := unix.Timespec{Nsec: 1}
				if err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
					t.Fatal(err)
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if session && sessions != 1 {
				t.Errorf("%d links for entry and return, want 1", sessions)
			}
			if byFentry && !served {
				t.Error("it does not say that fentry serves the kprobe")
			}
			kernel, err := symbols.OpenKernel()
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]uint64{}
			s := counted(t, e, obj, "@n")
			for _, row := range s.Rows {
				key := fmt.Sprint(agg.Number(row.Key))
				if s.Key.Kind == types.Late {
					key, _, _ = kernel.Lookup(agg.Number(row.Key))
				}
				seen[key] += row.Words[0]
			}
			total := uint64(0)
			for _, n := range seen {
				total += n // a signal of the runtime may end a sleep with another result
			}
			if total != naps || seen[c.keys] < naps/2 {
				t.Errorf("%s: counted %v, want %d of %s", c.script, seen, naps, c.keys)
			}
		})
	}
	var diags source.Diagnostics
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	_, diags = compiler.Compile(source.NewFile("f.slo", "kprobe:hrtimer_nanoslee { @ = count(); }"), compiler.Options{Universe: reg, Library: reg,
		Resolver: machine, Config: types.DefaultConfig(), CPUs: 1})
	if text := fmt.Sprint(diags); !strings.Contains(text, "the kernel has no function 'hrtimer_nanoslee'") {
		t.Errorf("an unknown function: %s", text)
	}
}

// TestKernelFunctionsOfStructs reads arguments, and what is returned, behind a struct by value, which takes two words of the
// context: sock_setsockopt(sock, level, op, sockptr_t optval, optlen).
func TestKernelFunctionsOfStructs(t *testing.T) {
	feat := &bpf.Features{}
	if err := feat.Fentry(); err != nil {
		t.Skip(err) // not on every host; the kernel matrix has them
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, script := range []string{
		`fentry:sock_setsockopt { @n[str(args.optlen == 7 ? "7" : "other")] = count(); }`,
		`fentry:sock_setsockopt { @n[str(args.optval.is_kernel || args.optlen != 7 || (uint64)args.optval.user != (uint64)args.optval.kernel || args.optval.user == 0 ? "other" : "7")] = count(); }`,
		`fexit:sock_setsockopt { @n[str(retval == -92 && args.optlen == 7 ? "7" : "other")] = count(); }`,
	} {
		if text := compileError(script); strings.Contains(text, "takes a struct by value, which trampolines know since Linux 6.1") {
			continue
		}
		got := observe(t, script, func() { // no option has the number
			if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, 9999, uintptr(unsafe.Pointer(new([8]byte))), 7, 0); errno == 0 {
				t.Error("the kernel takes it")
			}
		})
		if got["7"] != 1 || len(got) != 1 {
			t.Errorf("%s: counted %v", script, got)
		}
	}
}
