package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/tracefs"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

// refusing makes the kernel refuse trampolines at a function: by as many programs as it takes, where it takes any.
func refusing(t *testing.T, function string) {
	t.Helper()
	ix, err := btf.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	id, err := ix.Find(function, btf.KindFunc)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		prog, err := bpf.Load(bpf.ProgSpec{Name: "filler", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachBTFID: id,
			Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil { // by policy of the host
			return
		}
		t.Cleanup(func() { prog.Close() })
		link, err := attach.Tracing(prog, "fentry")
		if err != nil {
			return
		}
		t.Cleanup(func() { link.Close() })
	}
	t.Fatal("the kernel takes a hundred programs")
}

// TestRefusedTrampoline has a function whose trampoline the kernel refuses, under every policy.
func TestRefusedTrampoline(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf(), feat.TPBTF())
	refusing(t, "mount_capable") // which nobody calls meanwhile
	for policy, told := range map[string]string{"error": "ERROR", "warn": "WARNING", "ignore": ""} {
		for _, probe := range []string{"fentry:mount_capable", "kprobe:mount_capable"} {
			t.Run(policy+" "+probe[:6], func(t *testing.T) {
				reg := stdlib.New()
				machine := &stdlib.Machine{Registry: reg, Fentry: true}
				defer machine.Close()
				obj, diags := compiler.Compile(source.NewFile("f.slo", "config = { missing_probes = "+policy+" } begin { }\n"+probe+" { @ = count(); }"),
					compiler.Options{Universe: reg, Library: reg, Resolver: machine, Config: types.DefaultConfig(), Kernel: machine.Kernel(feat),
						Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, FuncIP: feat.FuncIP}, CPUs: runtime.NumCPU()})
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				missing := ""
				e, err := engine.Load(obj, engine.Options{Features: feat, Warn: func(d source.Diagnostics) { missing += d.Error() }})
				if err == nil {
					defer e.Close()
					ctx, cancel := context.WithCancel(context.Background())
					err = e.Run(ctx, engine.Hooks{Events: ignored{}, Exited: func() bool { return false }, Attached: cancel, Stay: true})
				}
				if policy == "error" {
					var d source.Diagnostics
					if errors.As(err, &d) {
						missing = d.Error()
					}
				} else if err != nil {
					t.Fatal(err)
				} else if e.Missing() != 1 {
					t.Errorf("%d are missing", e.Missing())
				} else if _, err := e.Programs(); err != nil {
					t.Error(err)
				}
				want := ""
				if told != "" {
					want = "f.slo:2:1-21: " + told + ": this kernel cannot run " + probe
				}
				if !strings.HasPrefix(missing, want) || want == "" && missing != "" {
					t.Errorf("got %q, %v, want %q", missing, err, want)
				}
			})
		}
	}
}

// TestRefusedTogether has an attach point of several functions of which the kernel refuses some: that is told once.
func TestRefusedTogether(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf(), feat.TPBTF())
	for _, f := range []string{"mount_capable", "set_anon_super"} { // on a host without trampolines the third is refused, too
		refusing(t, f)
	}
	for _, policy := range []string{"warn", "error"} {
		reg := stdlib.New()
		machine := &stdlib.Machine{Registry: reg}
		defer machine.Close()
		obj, diags := compiler.Compile(source.NewFile("f.slo", "config = { missing_probes = "+policy+" }\nbegin { }\nfentry:{mount_capable,set_anon_super,vfs_rmdir} { @ = count(); }"),
			compiler.Options{Universe: reg, Library: reg, Resolver: machine, Config: types.DefaultConfig(), Kernel: machine.Kernel(feat),
				Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, FuncIP: feat.FuncIP}, CPUs: runtime.NumCPU()})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		var told []string
		missing := 0
		e, err := engine.Load(obj, engine.Options{Features: feat, Warn: func(d source.Diagnostics) { told = append(told, d.Error()) }})
		if err == nil {
			defer e.Close()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err = e.Run(ctx, engine.Hooks{Events: ignored{}, Exited: func() bool { return false }, Attached: cancel, Stay: true})
			missing = e.Missing()
		}
		if policy == "error" {
			var d source.Diagnostics
			if !errors.As(err, &d) || len(d) != 1 || d[0].Hint != "config = { missing_probes = warn } goes on without what the kernel refuses" {
				t.Errorf("got %v %+v", err, d)
			}
			continue
		}
		want := fmt.Sprintf("f.slo:3:1-48: WARNING: the kernel refuses %d of 3 probes here, the first: this kernel cannot run fentry:", missing)
		if err != nil || len(told) != 1 || !strings.HasPrefix(told[0], want) || missing < 2 {
			t.Errorf("%v: %d missing, told %q, want %q", err, missing, told, want)
		}
	}
}

// TestRefusedByTypes asks the kernel for trampolines at functions whose types are out of the ordinary: it refuses those that the
// types say it refuses, and no others.
func TestRefusedByTypes(t *testing.T) {
	feat := &bpf.Features{}
	if err := feat.Fentry(); err != nil {
		t.Skip(err) // not on every host; the kernel matrix has them
	}
	fs, err := tracefs.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	traced, err := fs.Functions()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(traced[""])
	ix, err := btf.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ix.Close()
	take := ix.Trampolines()
	const each = 6 // functions of a sort
	tried := map[string]int{}
	ix.Each(btf.KindFunc, func(id uint32, name string) bool {
		f, err := ix.FuncOf(id)
		if err != nil {
			t.Fatal(err)
		}
		why := take.Refuse(f)
		sort := why
		switch {
		case why == "" && f.Words > 6:
			sort = "many"
		case why == "" && f.Words > len(f.Args):
			sort = "structs"
		case why == "":
			return true
		}
		if _, listed := slices.BinarySearch(traced[""], name); !listed || tried[sort] == each {
			return true
		}
		tried[sort]++
		var link attach.Link
		prog, err := bpf.Load(bpf.ProgSpec{Name: "empty", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachBTFID: id,
			Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err == nil {
			link, err = attach.Tracing(prog, "fentry")
			prog.Close()
		}
		if err == nil {
			link.Close()
		}
		if (err == nil) != (why == "") {
			t.Errorf("%s %s: the kernel says: %v", name, cmp.Or(why, "has a trampoline"), err)
		}
		return true
	})
	t.Log(tried)
	if len(tried) < 3 || tried["takes any number of arguments"] == 0 {
		t.Errorf("tried %v", tried)
	}
}

// goneLater is a folder with names of this test's program, of which a1, a2 and c1 exist until gone is called.
func goneLater(t *testing.T) (dir string, gone func()) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"a1", "a2", "b1", "c1", "d1"} {
		if err := os.Symlink(os.Args[0], dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	return dir, func() {
		for _, name := range []string{"a1", "a2", "c1"} {
			if err := os.Remove(dir + "/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// loaded compiles and loads a script, and keeps what it is told.
func loaded(t *testing.T, text string, told *[]string) *engine.Engine {
	t.Helper()
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	t.Cleanup(func() { machine.Close() })
	obj, diags := compiler.Compile(source.NewFile("f.slo", text), compiler.Options{Universe: reg, Library: reg, Resolver: machine, Config: types.DefaultConfig(),
		Kernel: machine.Kernel(feat), Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, FuncIP: feat.FuncIP}, CPUs: runtime.NumCPU()})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	e, err := engine.Load(obj, engine.Options{Features: feat, Warn: func(d source.Diagnostics) { *told = append(*told, d.Error()) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// attached runs an engine until all of its probes are attached, and leaves them there.
func attached(e *engine.Engine) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return e.Run(ctx, engine.Hooks{Events: ignored{}, Exited: func() bool { return false }, Attached: cancel, Stay: true})
}

// TestRefusedByPoint has attach points whose file is gone when they are attached: each is told of once, with how many of its places
// are refused; what to do about it is told where there are others.
func TestRefusedByPoint(t *testing.T) {
	const work = `:"github.com/slopebpf/slope/runtime/engine_test.work" { @ = count(); }`
	const hint = "config = { missing_probes = warn } goes on without what the kernel refuses"
	for _, c := range []struct {
		policy, first, second string   // files of attach points
		want                  []string // in order of the lines
		missing               int
		hint                  string
	}{
		{"warn", "a?", "c1", []string{`^f.slo:3:1-\d+: WARNING: the kernel refuses 2 of 2 probes here, the first: attach uprobe`, `^f.slo:4:1-\d+: WARNING: attach uprobe`}, 3, ""},
		{"warn", "[bc]1", "[ad]?", []string{`^f.slo:3:1-\d+: WARNING: attach uprobe`, `^f.slo:4:1-\d+: WARNING: the kernel refuses 2 of 3 probes here, the first: attach uprobe`}, 3, ""},
		{"ignore", "[bc]1", "a1", nil, 2, ""},
		{"error", "b1", "c1", []string{`^f.slo:4:1-\d+: ERROR: attach uprobe`}, 0, ""},
		{"error", "b1", "[cd]1", []string{`^f.slo:4:1-\d+: ERROR: attach uprobe`}, 0, hint},
	} {
		dir, gone := goneLater(t)
		var told []string
		e := loaded(t, fmt.Sprintf("config = { missing_probes = %s }\nbegin { }\nuprobe:%s/%s%s\nuprobe:%[2]s/%[5]s%[4]s", c.policy, dir, c.first, work, c.second), &told)
		gone()
		err := attached(e)
		var d source.Diagnostics
		if errors.As(err, &d) && c.policy == "error" {
			if told = append(told, d.Error()); d[0].Hint != c.hint {
				t.Errorf("%+v: the hint is %q", c, d[0].Hint)
			}
		} else if err != nil {
			t.Errorf("%+v: %v", c, err)
		} else if e.Missing() != c.missing {
			t.Errorf("%+v: %d are missing", c, e.Missing())
		}
		slices.Sort(told)
		if !slices.EqualFunc(told, c.want, func(got, want string) bool { return regexp.MustCompile(want).MatchString(got) }) {
			t.Errorf("%+v: told %q", c, told)
		}
	}
}

// TestRefusedWhileBurning has a probe that is attached once an objective burns, and then is refused: that is told then.
func TestRefusedWhileBurning(t *testing.T) {
	dir, gone := goneLater(t)
	var told []string
	e := loaded(t, `config = { missing_probes = warn }
sli calls { interval:s:100 { event(1 == 1); } }
slo works = 99% of calls over 30d;
uprobe:`+dir+`/c1:"github.com/slopebpf/slope/runtime/engine_test.work" /burning(works)/ { @ = count(); }`, &told)
	gone()
	running := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- e.Run(ctx, engine.Hooks{Events: ignored{}, Exited: func() bool { return false }, Attached: func() { close(running) }, Stay: true})
	}()
	select {
	case <-running:
	case err := <-ended:
		t.Fatal(err)
	}
	if len(told) > 0 {
		t.Errorf("told %q before it burns", told)
	}
	if _, err := e.SetObjectives([]engine.Objective{{Burning: true}}); err != nil {
		t.Fatal(err)
	}
	if want := "f.slo:4:1-"; len(told) != 1 || !strings.HasPrefix(told[0], want) || !strings.Contains(told[0], "WARNING: attach uprobe") || e.Missing() != 1 {
		t.Errorf("told %q, %d are missing", told, e.Missing())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
