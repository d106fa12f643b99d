package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// cgroups makes that many and returns the ids of these and of the root: the numbers of their directories.
func cgroups(t *testing.T, n int) map[string]bool {
	root := bpftest.FileSystem(t, "cgroup2", "")
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("slope-test-%d-%d", os.Getpid(), i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(dir) })
	}
	out := map[string]bool{}
	dirs, _ := filepath.Glob(filepath.Join(root, fmt.Sprintf("slope-test-%d-*", os.Getpid())))
	for _, dir := range append(dirs, root) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprint(st.Ino)] = true
	}
	return out
}

// TestIterators walks over tasks, their files, cgroups and maps, some of which /proc or the test itself knows too.
func TestIterators(t *testing.T) {
	threads := func() (out []string) {
		dirs, _ := filepath.Glob("/proc/self/task/*")
		for _, d := range dirs {
			out = append(out, filepath.Base(d))
		}
		return out
	}
	before := threads()
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	tree := map[string]bool{}
	if feat.Iterator("cgroup") == nil {
		tree = cgroups(t, 4200) // more than the words of a read are
	}
	for script, check := range map[string]func(seen map[string]bool, printed int) error{
		`iter:task /ctx.task.tgid == $1/ { @n[ctx.task.pid] = count(); printf("%d\n", ctx.task.tgid); }`: func(seen map[string]bool, printed int) error {
			after := threads()
			for _, tid := range before {
				if !seen[tid] && slices.Contains(after, tid) {
					return fmt.Errorf("saw %v, and not the thread %s", seen, tid)
				}
			}
			for tid := range seen {
				if !slices.Contains(before, tid) && !slices.Contains(after, tid) { // threads that Go starts stay
					return fmt.Errorf("saw %s, which is none of the threads %v", tid, after)
				}
			}
			if len(seen) < 2 || printed != len(seen) {
				return fmt.Errorf("saw %d threads and printed %d", len(seen), printed)
			}
			return nil
		},
		`iter:task_file /ctx.task.tgid == $1/ { @n[ctx.fd] = count(); }`: func(seen map[string]bool, _ int) error {
			dirs, _ := filepath.Glob("/proc/self/fd/*")
			if len(seen) < 4 || len(seen) > len(dirs)+3 || !seen["0"] || !seen["2"] {
				return fmt.Errorf("saw files %v, /proc has %v", seen, dirs)
			}
			return nil
		},
		`let @n = percpuhash(8192); iter:cgroup { @n[ctx.cgroup.kn.id] = count(); printf("%d\n", ctx.cgroup.level); }`: func(seen map[string]bool, printed int) error {
			for id := range tree {
				if !seen[id] {
					return fmt.Errorf("saw %d cgroups, and not %s", len(seen), id)
				}
			}
			if printed != len(seen) {
				return fmt.Errorf("saw %d cgroups and printed %d", len(seen), printed)
			}
			return nil
		},
		`iter:bpf_map { @n[ctx.map.id] = count(); }`: func(seen map[string]bool, _ int) error {
			if len(seen) == 0 {
				return fmt.Errorf("saw no map")
			}
			return nil
		},
	} {
		t.Run(regexp.MustCompile(`iter:\w+`).FindString(script), func(t *testing.T) {
			reg := stdlib.New()
			machine := &stdlib.Machine{Registry: reg}
			defer machine.Close()
			obj, diags := compiler.Compile(source.NewFile("f.slo", script), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
				Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil}, CPUs: runtime.NumCPU(),
				Params: []string{fmt.Sprint(os.Getpid())}})
			if diags.HasErrors() {
				if strings.Contains(fmt.Sprint(diags), "the kernel has no iterator") {
					t.Skip(diags)
				}
				t.Fatal(diags)
			}
			e, err := engine.Load(obj, engine.Options{Features: feat})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			r := &records{}
			if err := e.Run(context.Background(), engine.Hooks{Events: r, Exited: func() bool { return false }, Attached: func() {}, Stay: true}); err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, row := range counted(t, e, obj, "@n").Rows {
				seen[fmt.Sprint(agg.Number(row.Key))] = true
			}
			if err := check(seen, int(r.n.Load())); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIteratorsListed makes an iterator of every kind that slope lists.
func TestIteratorsListed(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.Iterator("task"))
	machine := &stdlib.Machine{Registry: stdlib.New()}
	defer machine.Close()
	n := 0
	if err := machine.List("iter:*", func(l stdlib.Listed) bool {
		n++
		if err := feat.Iterator(strings.TrimPrefix(l.Name, "iter:")); err != nil {
			t.Errorf("%s: %v", l.Name, err)
		}
		return true
	}); err != nil || n < 4 {
		t.Errorf("%d iterators, %v", n, err)
	}
}
