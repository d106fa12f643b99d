package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

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

// TestIterators walks over tasks, their files and maps, some of which /proc or the test itself knows too.
func TestIterators(t *testing.T) {
	threads := func() (out []string) {
		dirs, _ := filepath.Glob("/proc/self/task/*")
		for _, d := range dirs {
			out = append(out, filepath.Base(d))
		}
		return out
	}
	before := threads()
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
		`iter:bpf_map { @n[ctx.map.id] = count(); }`: func(seen map[string]bool, _ int) error {
			if len(seen) == 0 {
				return fmt.Errorf("saw no map")
			}
			return nil
		},
	} {
		t.Run(strings.Fields(script)[0], func(t *testing.T) {
			feat := &bpf.Features{}
			bpftest.Require(t, feat.TestRun(), feat.RingBuf())
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
