package stdlib_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/stdlib"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

// without are the rows that have no example, and why.
var without = map[string]string{
	"goid":  "its example needs a Go program, see the live tests",
	"usdt":  "its example needs a program with static probes, see the live tests",
	"goret": "its example needs a Go program, see the live tests",

	"percpu_kaddr": "kernels without CONFIG_KALLSYMS_ALL tell no variables, see the kernel matrix",
	"uaddr":        "its example needs a program with a variable, see the live tests",
	"cgroupid":     "not every machine has a cgroup of a known path, see the live tests",
	"override":     "not every kernel lets functions return early",
}

// row is what all rows have, and the text that says what kind of row it is.
type row struct {
	kind string
	types.Doc
}

func rows(r *stdlib.Registry) []row {
	var out []row
	for _, class := range []types.NameClass{types.FuncNames, types.AggNames, types.VerbNames} {
		for _, n := range r.Names(class) {
			out = append(out, row{"function", r.Func(n).Doc})
		}
	}
	for _, n := range r.Names(types.VarNames) {
		out = append(out, row{"variable", r.Var(n).Doc})
	}
	for _, n := range r.Names(types.ProbeNames) {
		out = append(out, row{"probe type", r.Probe(n).Doc})
	}
	return out
}

// TestRows looks at the columns of every row.
func TestRows(t *testing.T) {
	r := stdlib.New()
	seen := map[string]string{}
	for _, row := range rows(r) {
		if row.Name == "" || row.Text == "" {
			t.Errorf("%s %q: no name or text", row.kind, row.Name)
		}
		if first := row.Text[:1]; first != strings.ToUpper(first) || !strings.HasSuffix(row.Text, ".") {
			t.Errorf("%s %s: the text is not a sentence: %s", row.kind, row.Name, row.Text)
		}
		if other := seen[row.Name]; other != "" {
			t.Errorf("%s is the name of a %s and of a %s", row.Name, other, row.kind)
		}
		seen[row.Name] = row.kind
		if row.Since != "" && !slices.ContainsFunc(bpf.Capabilities(), func(c bpf.Capability) bool { return c.Name == row.Since }) {
			t.Errorf("%s %s: the table of capabilities has no %q", row.kind, row.Name, row.Since)
		}
		if reason := without[row.Name]; (reason != "") == (strings.Join(row.Examples, "") != "") {
			t.Errorf("%s %s: has %d examples, exempt: %q", row.kind, row.Name, len(row.Examples), reason)
		}
		for _, e := range row.Examples {
			if e != "" && !strings.Contains(e, row.Name) {
				t.Errorf("%s %s: its example does not use it: %s", row.kind, row.Name, e)
			}
		}
	}
	for _, n := range r.Names(types.ProbeNames) {
		p := r.Probe(n)
		if len(p.Forms) == 0 || !strings.HasPrefix(p.Forms[0], n) {
			t.Errorf("probe type %s: bad forms %q", n, p.Forms)
		}
		for _, a := range p.Aliases {
			upper := strings.ToUpper(a)
			if a == "u" {
				upper = a // U is usdt
			}
			if r.Probe(a) != p || r.Probe(upper) != p {
				t.Errorf("alias %s is not %s", a, n)
			}
		}
	}
	for _, n := range r.Names(types.VarNames) {
		low := r.VarLower(n)
		v := r.Var(n)
		if called := r.FuncLower(n); v.Called != nil && (v.Called.Name != n || v.Called.Result == nil || called.Scalar == nil && called.Into == nil) {
			t.Errorf("variable %s: bad function of the name", n)
		}
		if v.Type == nil || low.Scalar == nil && low.Into == nil && !v.Args {
			t.Errorf("variable %s: no type or no lowering", n)
		}
	}
	for _, class := range []types.NameClass{types.FuncNames, types.AggNames, types.VerbNames} {
		for _, n := range r.Names(class) {
			f, low := r.Func(n), r.FuncLower(n)
			ok := map[types.FuncClass]bool{types.PlainFunc: low.Scalar != nil || low.Into != nil,
				types.AggFunc: f.Agg != nil && r.AggLower(n) != nil, types.VerbFunc: f.Verb != types.NoVerb}[f.Class]
			if !ok {
				t.Errorf("function %s: no lowering", n)
			}
			s := check.Signature(f)
			if !strings.HasPrefix(s, n+"(") || strings.Count(s, "(") != strings.Count(s, ")") || strings.Count(s, "[") != strings.Count(s, "]") {
				t.Errorf("function %s: signature %s", n, s)
			}
			for i, p := range f.Params {
				if p.Name == "" || !strings.Contains(s, p.Name) || p.Repeated && i != len(f.Params)-1 {
					t.Errorf("function %s: parameter %d is wrong", n, i)
				}
			}
		}
	}
}

// TestReference has every row in the reference.
func TestReference(t *testing.T) {
	var b strings.Builder
	stdlib.Reference(&b)
	r := stdlib.New()
	for class := range types.ProbeNames + 1 {
		for _, name := range r.Names(class) {
			if !regexp.MustCompile(`(?m)^### ` + regexp.QuoteMeta(name) + `(0, |\(|$)`).MatchString(b.String()) {
				t.Errorf("no section for %s (%d)", name, class)
			}
		}
	}
}

func TestSignatures(t *testing.T) {
	r := stdlib.New()
	for name, want := range map[string]string{
		"printf": "printf(format[, args…])", "print": "print(value[, top[, div]])", "exit": "exit([status])",
		"clear": "clear(@map)", "delete": "delete(map[, key])", "lhist": "lhist(n, min, max, step)", "count": "count()", "start": "start([key…])",
	} {
		if got := check.Signature(r.Func(name)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// TestExamples takes every example through the whole compiler, and where it can into the kernel.
func TestExamples(t *testing.T) {
	r := stdlib.New()
	feat := &bpf.Features{}
	m := &stdlib.Machine{Registry: r}
	defer m.Close()
	_, noBTF := m.BTF()
	config := types.DefaultConfig()
	config.Unsafe, config.TSeries = true, types.UnstableEnable
	for _, row := range rows(r) {
		for i, text := range row.Examples {
			if text == "" {
				continue
			}
			name := row.Name
			if i > 0 {
				name += fmt.Sprint(" ", i)
			}
			t.Run(name, func(t *testing.T) {
				file := source.NewFile(row.Name, text)
				tree, diags := syntax.Parse(file)
				if len(diags) > 0 {
					t.Fatal(diags)
				}
				once := printed(t, tree)
				again, diags := syntax.Parse(source.NewFile(row.Name, once))
				if len(diags) > 0 {
					t.Fatalf("printed: %v", diags)
				}
				if twice := printed(t, again); once != twice {
					t.Errorf("printing is not stable:\n%s\n%s", once, twice)
				}
				bpftest.Require(t, noBTF, feat.TestRun(), feat.RingBuf())
				for _, tp := range []bool{false, feat.TPBTF() == nil} {
					obj, diags := compiler.Compile(file, compiler.Options{Universe: r, Library: r, Resolver: m, Config: config,
						Kernel:  ir.Kernel{TPBTF: tp, CommOffset: -1, MapEach: feat.MapEach() == nil, MayGoto: feat.MayGoto() == nil},
						Backend: backend.Features{AtomicFetch: feat.AtomicFetch() == nil, Function: m.Function, Lacks: stdlib.Lacks(feat)}, CPUs: 1, VerifyIR: true})
					for _, d := range diags {
						if strings.Contains(d.Message, "no such executable or library") {
							bpftest.Require(t, d) // a machine of the kernel matrix has no libc
						}
						if strings.Contains(d.Message, "does not offer programs") {
							t.Skip(d) // not every kernel has every helper: the matrix has them all
						}
						if strings.Contains(d.Message, "cannot go over the entries") {
							bpftest.Require(t, feat.MapEach())
						}
						if d.Severity == source.Warning && strings.Contains(d.Message, "is for debugging") {
							continue // whoever calls it is told so
						}
						t.Error(d)
					}
					if obj == nil {
						return
					}
					e, err := engine.Load(obj, engine.Options{Features: feat, BTF: func(event string) (uint32, error) {
						ix, err := m.BTF()
						if err != nil {
							return 0, err
						}
						return ix.RawTracepoint(event)
					}})
					if err != nil {
						if errors.Is(err, unix.EPERM) && strings.Contains(err.Error(), "trampolines refuse it") {
							t.Skip(err) // hosts may forbid trampolines; the kernel matrix loads them
						}
						t.Error(err)
						continue
					}
					if err := e.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func printed(t *testing.T, f *syntax.File) string {
	var b bytes.Buffer
	if err := syntax.Print(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elsewhere are string literals that are a row's name and mean something else, by file.
var elsewhere = map[string][]string{
	// The IR's own words: operations, events, program types.
	"compiler/ir/ir.go":        {"ctx", "tracepoint", "uprobe"},
	"compiler/ir/op.go":        {"ctx", "delete", "len", "read", "zero"},
	"compiler/ir/parse.go":     {"event", "func"},
	"compiler/ir/print.go":     {"cat", "clear", "errorf", "exit", "join", "print", "printf", "system", "time", "unwatch", "warnf", "zero"},
	"compiler/backend/mach.go": {"exit"},
	// The names of functions in the kernel, by hook.
	"compiler/lower/group.go": {"alert", "begin", "bench", "test", "end", "interval", "poll", "profile", "uprobe", "uretprobe"},
	"compiler/lower/lower.go": {"read"},
	"compiler/lower/site.go":  {"goid"},
	// A slot, the words of declarations, the value of a limit that there is none.
	"compiler/lower/sli.go": {"trace"},
	"lang/check/program.go": {"alert", "bad", "good", "ratio"},
	"lang/check/sli.go":     {"ratio"},
	"lang/check/test.go":    {"assert"},
	"cli/corpus/corpus.go":  {"args"},
	"runtime/poll/poll.go":  {"cgroup", "max"},
	"lang/check/config.go":  {"strlen"},
	"lang/cdecl/headers.go": {"signal"},
	// The parser must tell a builtin in brackets from a cast, and the attach points of probes from other items.
	"lang/syntax/stmt.go":  {"path"},
	"lang/syntax/expr.go":  {"arg", "args", "ctx", "goid", "kstack", "nsecs", "pid", "retval", "tid", "ustack"},
	"lang/syntax/token.go": {"iter", "self", "bench", "test", "fentry", "fexit", "kprobe", "kretprobe", "hardware", "software", "watchpoint", "alert", "bad", "poll", "begin", "end", "goret", "interval", "profile", "rawtracepoint", "tracepoint", "uprobe", "uretprobe", "usdt"},
	// Words of the kernel, and of the API to it.
	"bpf/features.go":          {"comm", "probe"},
	"bpf/load.go":              {"probe"},
	"bpf/capabilities.go":      {"probe"},
	"bpf/internal/sys/sys.go":  {"cgroup"},
	"bpf/btf/func.go":          {"arg"},
	"bpf/attach/uprobe.go":     {"uprobe", "uretprobe"},
	"compiler/lower/iter.go":   {"count"},
	"runtime/symbols/goid.go":  {"goid"},
	"stdlib/syscalls_amd64.go": {"exit", "poll", "read", "time", "uprobe", "uretprobe"},
	// Parameters of functions, resources of the kernel, forms of attach points.
	"stdlib/aggs.go":             {"max", "min"},
	"stdlib/verbs.go":            {"bad", "good"},
	"stdlib/funcs_output.go":     {"args"},
	"stdlib/funcs_poll.go":       {"cpu"},
	"stdlib/funcs_packet.go":     {"len"}, // a field of packets
	"stdlib/probes_perf.go":      {"cpu"},
	"stdlib/probes_objective.go": {"args", "cgroup"},
	"stdlib/funcs_type.go":       {"args"},
	"stdlib/vars_task.go":        {"pid"},
	"stdlib/funcs_kernel.go":     {"cpu"},
	"stdlib/probes_special.go":   {"begin", "end", "interval", "profile", "signal"},
	// Words of the output formats, of a flag, of an emulator's option, and of what an objective counts.
	"runtime/export/json.go":           {"cat", "dist", "errorf", "hist", "join", "max", "printf", "stats", "time", "tseries", "warnf"},
	"runtime/export/sli.go":            {"bad", "count", "max"},
	"runtime/export/prometheus.go":     {"probe"},
	"cli/run.go":                       {"bench", "pid", "test"},
	"cli/bpftrace.go":                  {"bench", "test"},
	"cli/proof.go":                     {"bench", "test"},
	"cli/rules.go":                     {"test"},
	"lang/syntax/lexer.go":             {"test"},
	"bpf/bench/clang.go":               {"bench"},
	"cli/serve.go":                     {"count"},
	"cli/list.go":                      {"pid"},
	"runtime/supervisor/supervisor.go": {"path"},
	"runtime/dashboard/dashboard.go":   {"bad", "good"},
	"runtime/openslo/openslo.go":       {"bad"},
	"runtime/flame/flame.go":           {"count"},
	"cli/flame.go":                     {"pid"},
	"cli/objectives.go":                {"alert"},
	"runtime/export/promexemplar.go":   {"goid", "pid", "tid"},
	"runtime/export/promlabel.go":      {"probe"},
	"runtime/engine/attach.go":         {"fentry", "fexit"},
	"cli/attach.go":                    {"kprobe", "uprobe"},
	"cli/runner.go":                    {"kprobe", "uprobe"},
	"cli/check.go":                     {"exit", "fail"},
	"bpf/vmtest/main.go":               {"max", "test"},
	"bpf/bench/slope.go":               {"self"},
	"compiler/explain.go":              {"good"},
	"stdlib/probes_iter.go":            {"cgroup"}, // a kind of the kernel's objects
	// What an event of a test may be given, and who its process is.
	"stdlib/stand.go":          {"arg", "args", "goid", "retval"},
	"stdlib/standprogram.go":   {"len", "str"}, // the fields of a string of Go
	"runtime/simulate/test.go": {"cgroup", "comm", "cpu", "gid", "pid", "tid", "uid"},
	// Functions over counted data and objectives, and commands of the shell.
	"runtime/query/data.go":      {"avg", "count", "event", "len", "max", "min", "sum"},
	"runtime/query/objective.go": {"bad", "budget", "burning", "burnrate", "good"},
	"repl/look.go":               {"count"},
	"repl/commands.go":           {"clear", "stats"},
}

// TestNames makes sure that a row's name is written in its row only.
func TestNames(t *testing.T) {
	names := map[string]bool{}
	for _, row := range rows(stdlib.New()) {
		names[row.Name] = true
	}
	found := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if _, ok := n.(*ast.ImportSpec); ok {
				return false
			}
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && names[s] {
					where := filepath.ToSlash(path[len(".."+"/"):])
					found[s] = append(found[s], where)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range names {
		own := 0
		for _, where := range found[name] {
			switch inside := strings.HasPrefix(where, "stdlib/"); {
			case inside:
				own++
			case !slices.Contains(elsewhere[where], name):
				t.Errorf("%s is a string literal in %s", name, where)
			}
		}
		for where, list := range elsewhere {
			if strings.HasPrefix(where, "stdlib/") && slices.Contains(list, name) {
				own--
			}
		}
		if own != 1 {
			t.Errorf("%s is in %d places of stdlib, want 1: %v", name, own, found[name])
		}
	}
	for where, list := range elsewhere {
		for _, name := range list {
			if !slices.Contains(found[name], where) {
				t.Errorf("%s is exempt in %s and not there", name, where)
			}
		}
	}
}
