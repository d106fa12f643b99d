package compiler_test

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/tracefs"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
)

// kernelTrace opens the kernel's trace, whether or not tracefs is mounted. Reading it leaves it as it is.
func kernelTrace(t *testing.T) *os.File {
	t.Helper()
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err == nil {
		defer unix.Close(fs)
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		bpftest.Require(t, fmt.Errorf("%w: %w", tracefs.ErrUnavailable, err))
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, "trace", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "trace")
	t.Cleanup(func() { f.Close() })
	return f
}

// TestTrace: what debugf writes is in the kernel's trace, and the interpreter writes the same.
func TestTrace(t *testing.T) {
	k := useKernel(t)
	trace := kernelTrace(t)
	mark := fmt.Sprintf("test%d ", os.Getpid())
	script := strings.ReplaceAll(`begin {
		$s = "text"; @m = "map"; $n = -5;
		debugf("MARK plain 100%%");
		debugf("MARK %s|%s|%s", $s, @m, comm);
		debugf("MARK %6s|%-6s|%s", $s, "lit", probe);
		debugf("MARK %d %u %x", $n, $n, $n);
		debugf("MARK %ld %llu %lX", $n, $n, $n);
		debugf("MARK %05d|%-5d|%+d", 42, 42, 42);
		debugf("MARK %i %c %p", 7, 65, 0xffff);
		$l = "LONG"; debugf("MARK %s", $l); debugf("MARK %s|%d|%s|", $l, 1, $l); debugf("MARK %s", $m);
		if (0) { debugf("MARK never"); }
	}`, "MARK ", mark)
	long := strings.Repeat("0123456789", 70)
	script = strings.NewReplacer("LONG", long, "$m", `"`+long[:503]+`"`).Replace(script) // as long as fits
	comm, _, _ := strings.Cut(string(k.world.comm[:]), "\x00")
	want := []string{"plain 100%", "text|map|" + comm, "  text|lit   |begin", "-5 4294967291 fffffffb", "-5 18446744073709551611 FFFFFFFFFFFFFFFB", "00042|42   |+42", "7 A 0xffff",
		long[:503], long[:239] + "|1|" + long[:239] + "|", long[:503]}
	for i := range want {
		want[i] = mark + want[i]
	}
	for name, feat := range k.feats {
		plain, obj := twoWays(t, script, options(feat, false, -1))
		for _, p := range []*compiler.Object{plain, obj} {
			m := interp.New(p.IR, k.world, 1)
			if _, err := m.Run(p.IR.Funcs[0], nil); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.Trace, want) {
				t.Errorf("interpreted: got %q, want %q", m.Trace, want)
			}
		}
		bpftest.Require(t, (&bpf.Features{}).MapEach()) // of 5.13, as the formats with a width and others
		before := traced(t, trace, mark)
		if _, err := k.run(obj, nil, 0); err != nil {
			t.Fatal(err)
		}
		if got := traced(t, trace, mark)[len(before):]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// traced are the lines of the trace from a mark on.
func traced(t *testing.T, trace *os.File, mark string) (out []string) {
	t.Helper()
	if _, err := trace.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if i := strings.Index(line, mark); i >= 0 {
			out = append(out, strings.TrimSuffix(line[i:], "\n"))
		}
	}
	return out
}

// TestCommOfAnother interprets comm(pid). The kernel answers in programs that it calls: in the corpus of package cli.
func TestCommOfAnother(t *testing.T) {
	k := useKernel(t)
	ix, err := btf.Open()
	bpftest.Require(t, err)
	defer ix.Close()
	task, err := ix.Struct("task_struct")
	if err != nil {
		t.Fatal(err)
	}
	name, _ := task.Field("comm")
	k.world.comms = name.Offset
	_, obj := twoWays(t, `rawtracepoint:f { $c = comm(args.a); @[$c, comm(args.a) == comm] = count(); }`, options(backend.Features{}, false, -1))
	pid := uint64(k.world.pidTgid >> 32)
	out, err := interpret(obj.IR, k.world, [][]uint64{{pid}, {pid + 1}, {pid | 1<<32}, {1<<64 - 1}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for key, n := range out.maps["@"] {
		name, _, _ := strings.Cut(key[:64], "\x00")
		found[fmt.Sprint(name, " ", key[64])] = int(le.Uint64(n))
		if strings.Trim(key[len(name):64], "\x00") != "" {
			t.Errorf("the key %q is not filled up with NULs", key)
		}
	}
	comm, _, _ := strings.Cut(string(k.world.comm[:]), "\x00")
	if want := map[string]int{comm + " 1": 1, "N/A 0": 3}; !maps.Equal(found, want) {
		t.Errorf("got %v, want %v", found, want)
	}
}
