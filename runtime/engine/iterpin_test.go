package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/interp"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// oneTask is a world in which every int is the pid, and everything else 0.
type oneTask struct{ pid uint64 }

func (oneTask) Helper(ir.Helper) int64 { return 0 }
func (oneTask) Task(int64) uint64      { return 0 }
func (oneTask) Comm() (comm [16]byte)  { return }
func (oneTask) Stack(bool) []uint64    { return nil }
func (w oneTask) Read(_ uint64, buf []byte, _ bool) bool {
	var word [8]byte
	if len(buf) < 8 { // or it is how much the reader has
		binary.LittleEndian.PutUint64(word[:], w.pid)
	}
	copy(buf, word[:])
	return true
}

// TestPinnedIterator: the file of a pinned iterator has the threads that /proc has, whoever reads it and when, and its text is what
// the interpreter makes. It is there until it is removed.
func TestPinnedIterator(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.Iterator("task"))
	dir := bpftest.FileSystem(t, "bpf", "")
	file := filepath.Join(dir, "threads")
	long := strings.Repeat("0123456789", 70)
	script := `iter:task:` + file + ` /ctx.task.tgid == $1/ {
		$s = "text"; $n = -5; @m = "map"; $l = "LONG";
		printf("%d|%5d|%-5d|%05d|%+d|%x|%lX|%c|%s|%-6s|%s|%p|100%%", $1, 42, 42, 42, 42, $n, $n, 65, $s, "lit", @m, 0xffff);
		printf("|%s|%s|", $l, $l); printf("%s\n", $l);
	}`
	script = strings.ReplaceAll(script, "LONG", long)
	want := fmt.Sprintf("%d|   42|42   |00042|+42|fffffffb|FFFFFFFFFFFFFFFB|A|text|lit   |map|0xffff|100%%|%s|%[2]s|%s\n", os.Getpid(), long[:247], long[:503])
	if feat.MapEach() != nil { // of 5.13, as most of the formats are
		script = `iter:task:` + file + ` /ctx.task.tgid == $1/ { $s = "text"; @m = "map"; printf("%d|%s|%lX|%s\n", $1, $s, -5, @m); }`
		want = fmt.Sprintf("%d|text|FFFFFFFFFFFFFFFB|map\n", os.Getpid())
	}

	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	compile := func(script string) (*compiler.Object, source.Diagnostics) {
		return compiler.Compile(source.NewFile("f.slo", script), compiler.Options{Universe: reg, Library: reg, Resolver: machine, VerifyIR: true,
			Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil}, CPUs: runtime.NumCPU(),
			Params: []string{fmt.Sprint(os.Getpid())}})
	}
	run := func(obj *compiler.Object) error {
		e, err := engine.Load(obj, engine.Options{Features: feat})
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Run(context.Background(), engine.Hooks{Events: &records{}, Exited: func() bool { return false }, Attached: func() {}})
	}
	obj, diags := compile(script)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	m := interp.New(obj.IR, oneTask{uint64(os.Getpid())}, 1)
	if _, err := m.Run(obj.IR.Funcs[0], []uint64{1, 2}); err != nil || m.Read != want {
		t.Errorf("interpreted: %v, got %q, want %q", err, m.Read, want)
	}

	if err := run(obj); err != nil {
		t.Fatal(err)
	}
	obj, _ = compile(script)
	if err := run(obj); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "to be removed before") {
		t.Errorf("pinned twice: %v", err)
	}
	threads := func() int {
		dirs, _ := filepath.Glob("/proc/self/task/*")
		return len(dirs)
	}
	for range 2 {
		before := threads()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(strings.Lines(string(text)))
		if len(lines) < before || len(lines) > threads() || slices.ContainsFunc(lines, func(l string) bool { return l != want }) { // threads of Go stay
			t.Errorf("%d lines of %d threads:\n%s", len(lines), before, text)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}

	// Nothing is counted twice where the text of all does not fit into one read.
	numbered := filepath.Join(dir, "numbered")
	obj, diags = compile(`iter:task:` + numbered + ` { $l = "` + long[:120] + `"; @n++; printf("%d|%s\n", @n, $l); for $i : 0..8 { printf("%s\n", $l); } }`)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if err := run(obj); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(numbered)
	if err != nil {
		t.Fatal(err)
	}
	objects := 0
	for line := range strings.Lines(string(text)) {
		if n, _, is := strings.Cut(line, "|"); is {
			if objects++; n != fmt.Sprint(objects) {
				t.Fatalf("object %d has the number %s", objects, n)
			}
		}
	}
	if objects < 40 || strings.Count(string(text), "\n") != 9*objects {
		t.Errorf("%d objects, %d lines", objects, strings.Count(string(text), "\n"))
	}
	if err := os.Remove(numbered); err != nil {
		t.Fatal(err)
	}

	for script, want := range map[string]string{
		"iter:task:" + t.TempDir() + "/x { }":   "is in no bpf filesystem",
		"iter:task:" + dir + "/nowhere/x { }":   "no directory " + dir + "/nowhere",
		"iter:nosuch:" + file + " { }":          "no iterator over 'nosuch'",
		"iter:task:/ { }":                       "no name of a file",
		"iter:task:x:y { }":                     "may have a file, got 3 part(s)",
		"iter:task:x { print(1); }":             "nothing but printf() writes",
		"iter:task:a.b { }":                     "a bpf filesystem takes no '.' in names",
		"iter:task:x/ { }":                      "no name of a file",
		"iter:task:x* { }":                      "wildcards are not allowed",
		"sli a { iter:task:x { good(); } }":     "sli 'a' would be measured where nobody reads it",
		"iter:task:" + dir + " { }":             "is a directory",
		"iter:task:x { @[kstack] = count(); }":  "", // in the map, which nobody reads
		`iter:task:x { printf("%s", kstack); }`: "prints strings by %s, got 'kstack_t'",
		`iter:task:x { printf("%d%d%d%d%d%d%d%d%d%d%d%d%d", 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4); }`: "got 13 values, a line of a pinned iterator has at most 12",
		`iter:task:x { printf("é"); }`: "ASCII text only, got 'é'",
	} {
		obj, diags := compile(script)
		got := fmt.Sprint(diags)
		if obj != nil && want != "" {
			got = fmt.Sprint(run(obj))
		}
		if !strings.Contains(got, want) || want == "" && diags.HasErrors() {
			t.Errorf("%s: got %s, want %s", script, got, want)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if left = slices.DeleteFunc(left, func(f string) bool { return strings.HasSuffix(f, ".debug") }); len(left) > 0 { // but for the kernel's own
		t.Errorf("left: %v", left)
	}
}
