package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/symbols"
	"github.com/slopebpf/slope/stdlib"
)

// sunrpc is a module that comes with the kernels of the matrix: it needs no other, has tracepoints, and lets entries of
// a cache be written to a file.
const sunrpc = "modules/sunrpc.ko"

// loadModule loads it, for the time of a test.
func loadModule(t *testing.T) {
	t.Helper()
	f, err := os.Open(sunrpc)
	if err != nil {
		t.Skipf("no module that could be loaded: %v", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		t.Fatalf("load %s: %v", sunrpc, err)
	}
	t.Cleanup(func() {
		if err := unix.DeleteModule("sunrpc", 0); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Errorf("unload module: %v", err)
		}
	})
}

// entries writes entries, for each of which the module calls ip_map_parse and reaches cache_entry_update once.
func entries(t *testing.T, n int) {
	t.Helper()
	f, err := os.OpenFile("/proc/net/rpc/auth.unix.ip/channel", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		if _, err := fmt.Fprintf(f, "nfsd 127.0.%d.%d 9999999999 test\n", i/250, 1+i%250); err != nil {
			t.Fatal(err)
		}
	}
}

// observation is a run of a script and what came of it.
type observation struct {
	compiled func() // happens between compilation and loading
	work     func()
	session  bool // entries and returns are one program, where the kernel can

	counts  map[string]uint64 // @n by the text of its keys
	links   map[string]int    // by their mechanism
	missing int
}

// observe runs a script while work is done, and returns what it counted.
func observe(t *testing.T, script string, work func()) map[string]uint64 {
	t.Helper()
	return (&observation{work: work}).run(t, script).counts
}

// run runs a script. What neither this host nor a kernel without the feature can load is skipped.
func (o *observation) run(t *testing.T, script string) *observation {
	t.Helper()
	o.links = map[string]int{}
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.RingBuf())
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	if o.session && feat.KprobeSession() == nil {
		machine.Session = func(types.HookKind) bool { return true }
	}
	obj, diags := compiler.Compile(source.NewFile("f.slo", script), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
		Config: types.DefaultConfig(), Kernel: machine.Kernel(feat), CPUs: runtime.NumCPU(),
		Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, FuncIP: feat.FuncIP, Function: machine.Function}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if o.compiled != nil {
		o.compiled()
	}
	e, err := engine.Load(obj, engine.Options{Features: feat, Verbose: func(line string) {
		t.Log(line)
		if _, by, ok := strings.Cut(line, " by "); ok && strings.HasPrefix(line, "attached ") {
			mechanism, _, _ := strings.Cut(by, " in ")
			o.links[mechanism]++
		}
	}, BTF: func(event string) (uint32, error) {
		ix, err := machine.BTF()
		if err != nil {
			return 0, err
		}
		return ix.RawTracepoint(event)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = e.Run(ctx, engine.Hooks{Events: &records{}, Exited: func() bool { return false }, Attached: func() { o.work(); cancel() }, Stay: true})
	if err != nil {
		t.Fatal(err)
	}
	o.missing = e.Missing()
	kernel, err := symbols.OpenKernel()
	if err != nil {
		t.Fatal(err)
	}
	o.counts = map[string]uint64{}
	for _, m := range obj.IR.Maps {
		if m.Name != "@n" {
			continue
		}
		s, err := agg.Read(m, func(f func(key, value []byte) error) error { return e.Read(m, f) })
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range s.Rows {
			if s.Key.Kind == types.Late {
				name, _, _ := kernel.Lookup(agg.Number(row.Key))
				o.counts[name] += row.Words[0]
				continue
			}
			key, _, _ := bytes.Cut(row.Key, []byte{0})
			o.counts[string(key)] += row.Words[0]
		}
	}
	return o
}

// TestModules probes functions and tracepoints of a module, with its types.
func TestModules(t *testing.T) {
	loadModule(t)
	modules, err := btf.Modules()
	typed := err == nil && len(modules) > 0
	const n = 50
	for _, c := range []struct {
		script, key string
		typed       bool // needs the module's types
		calls       uint64
	}{
		{`tracepoint:sunrpc:cache_entry_update { @n[str(args.name, 32)] = count(); }`, "auth.unix.ip", false, n},
		{`kprobe:sunrpc:ip_map_parse { @n["f"] = count(); }`, "f", false, n},
		{`kprobe:ip_map_parse { @n["f"] = count(); }`, "f", false, n},
		{`kprobe:ip_map_parse { @n[probe] = count(); }`, "kprobe:ip_map_parse", false, n},
		{`kprobe:sunrpc:ip_map_parse+0 { @n[probe] = count(); }`, "kprobe:sunrpc:ip_map_parse", false, n},
		{`kprobe:sunrpc:ip_map_pars? { @n["f"] = count(); }`, "f", false, n},
		{`kprobe:sunrpc:ip_map_pars*, kprobe:sunrpc:ip_map_alloc { @n["f"] = count(); }`, "f", false, 2 * n},
		{`kprobe:sun*:ip_map_parse { @n["f"] = count(); }`, "f", false, n},
		{`kprobe:*:ip_map_parse { @n["f"] = count(); }`, "f", false, n},
		{`kprobe:sunrpc:ip_map_parse, kprobe:vmlinux:vfs_stat* { @n["f"] = count(); }`, "f", false, n},
		{`kretprobe:*:ip_map_parse { @n["f"] = count(); }`, "f", false, n},
		{`fentry:*:ip_map_parse { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`fentry:sunrpc:svc_p*, fentry:sunrpc:ip_map_parse { @n["f"] = count(); }`, "f", true, n}, // svc_printk is variadic
		{`fentry:sunrpc:ip_map_* /probe == "fentry:sunrpc:ip_map_parse"/ { @n["f"] = count(); }`, "f", true, n},
		{`kretprobe:sunrpc:ip_map_parse /retval == 0/ { @n["f"] = count(); }`, "f", false, n},
		{`kprobe:sunrpc:ip_map_parse { @n[str(((struct cache_detail *)arg0)->name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`rawtracepoint:sunrpc:cache_entry_update { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`rawtracepoint:cache_entry_update { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`rawtracepoint:sunrpc:cache_entry_updat* { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`fentry:sunrpc:ip_map_parse { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`fentry:ip_map_parse { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
		{`fexit:sunrpc:ip_map_pars* /retval == 0/ { @n[str(args.cd.name, 32)] = count(); }`, "auth.unix.ip", true, n},
	} {
		t.Run(c.script, func(t *testing.T) {
			if c.typed && !typed {
				if text := compileError(c.script); !strings.Contains(text, "since Linux 5.11") && !strings.Contains(text, "cache") && !strings.Contains(text, "ip_map_parse") {
					t.Errorf("without types of modules: %s", text)
				}
				return
			}
			got := observe(t, c.script, func() { entries(t, n) })
			if got[c.key] != c.calls || len(got) != 1 {
				t.Errorf("counted %v, want %d of %q", got, c.calls, c.key)
			}
		})
	}
	for script, want := range map[string]string{
		"kprobe:sunrpx:ip_map_parse { }":                      "no module 'sunrpx' of the kernel is loaded",
		"kprobe:sunrpc:ip_map_pars { }":                       "the module 'sunrpc' has no function 'ip_map_pars'",
		"fentry:sunrpc:ip_map_pars { }":                       "the module 'sunrpc' has no function 'ip_map_pars'",
		"rawtracepoint:sunrpx:cache_entry_update { }":         "no module 'sunrpx' of the kernel is loaded",
		"tracepoint:sunrpc:cache_entry_updat { }":             "tracepoint not found: sunrpc:cache_entry_updat",
		"kprobe:vmlinux:ip_map_parse { }":                     "the kernel has no function 'ip_map_parse'",
		"fentry:vmlinux:ip_map_parse { }":                     "the kernel has no function 'ip_map_parse'",
		"kprobe:*:ip_map_pars { }":                            "no function of the kernel matches 'ip_map_pars'",
		"kprobe:sunrpc:no_such_* { @ = count(); }":            "no function of the kernel matches 'no_such_*'",
		"rawtracepoint:vmlinux:cache_entry_update { @ = 1; }": "raw tracepoint not found: cache_entry_update",
	} {
		if text := compileError(script); !strings.Contains(text, want) || text == "" {
			t.Errorf("%s: %s, want %q", script, text, want)
		}
	}
}

// TestModuleWhole probes every function of a module that can be probed, as a pattern means.
func TestModuleWhole(t *testing.T) {
	loadModule(t)
	const n = 20
	pattern := "*"
	if new(bpf.Features).KprobeMulti() != nil {
		pattern = "*cache*" // all take a minute one by one; some of these cannot be traced either
	}
	for _, probe := range []string{"kprobe", "kretprobe"} {
		t.Run(probe, func(t *testing.T) {
			script := fmt.Sprintf(`%[1]s:sunrpc:%[2]s { @n["all"] = count(); } %[1]s:sunrpc:ip_map_parse { @n["f"] = count(); }`, probe, pattern)
			got := observe(t, script, func() { entries(t, n) })
			if got["f"] != n || got["all"] <= n {
				t.Errorf("counted %v, want %d of f, and more of all", got, n)
			}
		})
	}
}

// TestModuleLinks attaches to functions of the kernel and of a module by one link for each of the two.
func TestModuleLinks(t *testing.T) {
	loadModule(t)
	feat := &bpf.Features{}
	const n = 20
	for _, c := range []struct {
		script, mechanism string
		feature           error
	}{
		{`kprobe:vfs_stat*, kprobe:sunrpc:ip_map_* { @n[func] = count(); }`, "kprobe_multi", feat.KprobeMulti()},
		{`kretprobe:vfs_stat*, kretprobe:sunrpc:ip_map_* { @n[func] = count(); }`, "kprobe_multi", feat.KprobeMulti()},
		{`kprobe:vfs_stat*, kprobe:sunrpc:ip_map_* { @in = count(); } kretprobe:vfs_stat*, kretprobe:sunrpc:ip_map_* { @n[func] = count(); }`,
			"kprobe_session", feat.KprobeSession()},
	} {
		t.Run(c.script, func(t *testing.T) {
			if c.feature != nil {
				return // TestModules attaches to them one by one
			}
			o := (&observation{work: func() { entries(t, n) }, session: c.mechanism == "kprobe_session"}).run(t, c.script)
			if o.counts["ip_map_parse"] != n {
				t.Errorf("counted %v, want %d of ip_map_parse", o.counts, n)
			}
			if len(o.links) != 1 || o.links[c.mechanism] != 2 {
				t.Errorf("links %v, want 2 of %s", o.links, c.mechanism)
			}
		})
	}
}

// TestModuleGone unloads a module after a script for its functions was compiled: they are missed, those of the kernel are not.
func TestModuleGone(t *testing.T) {
	loadModule(t)
	o := &observation{compiled: func() {
		if err := unix.DeleteModule("sunrpc", 0); err != nil {
			t.Fatal(err)
		}
	}, work: func() {
		if err := unix.Stat("/", &unix.Stat_t{}); err != nil {
			t.Fatal(err)
		}
	}}
	o.run(t, `config = { missing_probes = ignore } kprobe:sunrpc:ip_map_*, kprobe:vfs_stat*, kprobe:vfs_getattr* { @n["stat"] = count(); }`)
	if o.counts["stat"] == 0 || o.missing < 3 {
		t.Errorf("counted %v with %d missing, want stat, without the functions of the module", o.counts, o.missing)
	}
}

// TestModuleListed lists what probes on functions of a module would be attached to: each name that is listed can be attached to.
func TestModuleListed(t *testing.T) {
	loadModule(t)
	modules, err := btf.Modules()
	typed := err == nil && len(modules) > 0
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	list := func(pattern string) (names, args []string) {
		t.Helper()
		if err := machine.List(pattern, func(l stdlib.Listed) bool {
			names = append(names, l.Name)
			args = l.Args()
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return names, args
	}
	for _, c := range []struct {
		pattern, name string
		typed         bool   // needs the module's types
		arg           string // the first, where types are known
	}{
		{"kprobe:sunrpc:ip_map_parse", "kprobe:sunrpc:ip_map_parse", false, "struct cache_detail * cd"},
		{"kprobe:sunrpc:ip_map_pars*", "kprobe:sunrpc:ip_map_parse", false, "struct cache_detail * cd"},
		{"kprobe:*:ip_map_parse", "kprobe:sunrpc:ip_map_parse", false, "struct cache_detail * cd"},
		{"kprobe:ip_map_parse", "kprobe:sunrpc:ip_map_parse", false, "struct cache_detail * cd"},
		{"kretprobe:ip_map_parse", "kretprobe:sunrpc:ip_map_parse", false, "int32 retval"},
		{"fentry:*:ip_map_parse", "fentry:sunrpc:ip_map_parse", true, "struct cache_detail * cd"},
		{"fentry:ip_map_parse", "fentry:sunrpc:ip_map_parse", true, "struct cache_detail * cd"},
		{"fexit:sun*:ip_map_{parse,none}", "fexit:sunrpc:ip_map_parse", true, "struct cache_detail * cd"},
		{"kprobe:ip_map_pars*", "", false, ""}, // a pattern alone is of the kernel itself
		{"kprobe:vmlinux:ip_map_parse", "", false, ""},
		{"kprobe:sunrpc:no_such", "", false, ""},
		{"fentry:sunrpc:svc_printk", "", false, ""}, // it is variadic
		{"kprobe:vfs_read", "kprobe:vfs_read", false, ""},
		{"fentry:vmlinux:vfs_rea[d]", "fentry:vfs_read", false, "struct file * file"},
	} {
		names, args := list(c.pattern)
		want := c.name
		if c.typed && !typed {
			want = ""
		}
		if strings.Join(names, " ") != want {
			t.Errorf("%s: listed %q, want %q", c.pattern, names, want)
		} else if want != "" && (typed || strings.Contains(c.name, "vfs_")) && c.arg != "" && (len(args) == 0 || args[0] != c.arg) {
			t.Errorf("%s: arguments %q, want %q", c.pattern, args, c.arg)
		}
	}
	anywhere, _ := list("*ip_map_parse")
	for _, probe := range []string{"kprobe", "kretprobe", "fentry", "fexit"} {
		names, _ := list(probe + ":sunrpc:*")
		if whole, _ := list(probe + ":sunrpc"); !slices.Equal(whole, names) {
			t.Errorf("%s:sunrpc lists %d, want %d", probe, len(whole), len(names))
		}
		if !typed && strings.HasPrefix(probe, "f") {
			if len(names) > 0 {
				t.Errorf("without types of modules: %q", names)
			}
			continue
		}
		if len(names) < 200 {
			t.Errorf("%s:sunrpc:* lists %d functions", probe, len(names))
		}
		for i := 0; i < len(names); i += len(names)/3 + 1 {
			if text := compileError(names[i] + " { @ = count(); }"); text != "" {
				t.Error(text)
			}
		}
		if !slices.Contains(anywhere, probe+":sunrpc:ip_map_parse") {
			t.Errorf("*ip_map_parse lists %q", anywhere)
		}
	}
}

// compileError is what is wrong with a script, "" for nothing.
func compileError(script string) string {
	reg := stdlib.New()
	machine := &stdlib.Machine{Registry: reg}
	defer machine.Close()
	_, diags := compiler.Compile(source.NewFile("f.slo", script), compiler.Options{Universe: reg, Library: reg, Resolver: machine,
		Config: types.DefaultConfig(), CPUs: 1})
	if !diags.HasErrors() {
		return ""
	}
	return fmt.Sprint(diags)
}

// TestModuleUnloaded unloads a module while its functions are probed: the kernel lets it go or does not, and the script goes on
// and ends as usual.
func TestModuleUnloaded(t *testing.T) {
	for _, script := range []string{
		`kprobe:sunrpc:ip_map_parse { @n["f"] = count(); } tracepoint:raw_syscalls:sys_enter { @n["all"] = count(); }`,
		`tracepoint:sunrpc:cache_entry_update { @n["f"] = count(); } tracepoint:raw_syscalls:sys_enter { @n["all"] = count(); }`,
	} {
		t.Run(script[:strings.IndexByte(script, ' ')], func(t *testing.T) {
			loadModule(t)
			var gone error
			got := observe(t, script, func() {
				entries(t, 10)
				gone = unix.DeleteModule("sunrpc", 0)
				unix.Getppid()
			})
			if got["f"] != 10 || got["all"] == 0 {
				t.Errorf("counted %v, want 10 of f, and system calls", got)
			}
			t.Logf("unload while attached: %v", gone)
		})
	}
}
