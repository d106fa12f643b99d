// Package compiler turns script text into an Object: eBPF programs and the maps, events and layouts that go with them.
//
// It is the façade over parse, check, lower, opt and the back end; -d prints what any of them hands on. A broken
// invariant inside ("BUG: …" panics) is turned into a diagnostic here. Nothing is loaded: that is runtime/engine.
package compiler

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/compiler/opt"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Options says what to compile for.
type Options struct {
	Universe    types.Universe
	Library     ir.Library
	Resolver    types.Resolver
	Config      types.Config
	Environment map[string]string                             // of check.Options
	Params      []string                                      // positional parameters of the script
	Named       map[string]string                             // named parameters
	Import      func(from, path string) (*syntax.File, error) // of check.Options
	Kernel      ir.Kernel
	Backend     backend.Features
	CPUs        int // possible CPUs
	Pid         int // of -p: probes that the kernel does not filter do it themselves; 0 for all processes

	Preempt  bool     // of lower.Options
	Dump     []string // stages to print, of Stages
	DumpTo   io.Writer
	VerifyIR bool // check the IR between passes
}

// Stages are what Options.Dump takes, in order.
func Stages() []string { return []string{"ast", "types", "ir", "opt", "ra", "asm"} }

// Object is a compiled script.
type Object struct {
	Checked *check.Program
	IR      *ir.Program
	Layout  *lower.Layout
	Code    []*backend.Code // of IR.Funcs
}

// Probes is the number of probes the script attaches, begin and end included.
func (o *Object) Probes() int {
	n := 0
	for _, c := range o.Checked.Clauses {
		switch c.Targets[0].Hook.Kind {
		case types.HookTest, types.HookBench: // are run when asked for
		default:
			n += len(c.Targets)
		}
	}
	return n
}

// Check parses and checks a script without compiling it.
func Check(file *source.File, o Options) (prog *check.Program, diags source.Diagnostics) {
	defer recoverBug(file, &diags)
	tree, diags := syntax.Parse(file)
	if o.dumps("ast") {
		syntax.DumpFile(o.DumpTo, tree)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	prog, more := check.Check(tree, check.Options{Universe: o.Universe, Resolver: o.Resolver, Config: o.Config, Params: o.Params, Named: o.Named, Import: o.Import, Environment: o.Environment})
	diags = append(diags, more...)
	if o.dumps("types") && !diags.HasErrors() {
		check.Dump(o.DumpTo, prog)
	}
	return prog, diags
}

// Compile compiles a script. The Object is nil when the diagnostics hold errors.
func Compile(file *source.File, o Options) (obj *Object, diags source.Diagnostics) {
	prog, diags := Check(file, o)
	if diags.HasErrors() {
		return nil, diags
	}
	defer func() {
		if diags.HasErrors() {
			obj = nil
		}
	}()
	defer recoverBug(file, &diags)
	obj = &Object{Checked: prog}
	obj.IR, obj.Layout = lower.Program(prog, lower.Options{Library: o.Library, Kernel: o.Kernel, CPUs: o.CPUs, Pid: o.Pid, Preempt: o.Preempt})
	if o.dumps("ir") {
		fmt.Fprint(o.DumpTo, obj.IR)
	}
	if err := opt.Run(obj.IR, o.VerifyIR); err != nil {
		panic(fmt.Sprintf("BUG: optimise: %v", err))
	}
	if o.dumps("opt") {
		fmt.Fprint(o.DumpTo, obj.IR)
	}
	obj.pinned(file, &diags)
	if diags.HasErrors() {
		return nil, diags
	}
	o.Backend.MapEach = o.Backend.MapEach || o.Kernel.MapEach
	o.Backend.PerCPU = o.Backend.PerCPU || o.Kernel.PerCPU
	for _, f := range obj.IR.Funcs {
		code, err := backend.Compile(obj.IR, f, o.Backend)
		if err == nil && code.Scratch != nil && f.Preemptible && obj.countBusy(f) {
			code, err = backend.Compile(obj.IR, f, o.Backend)
		}
		if err != nil {
			d := diags.Errorf(file, f.Span, "%s", err)
			if limit := (*backend.Limit)(nil); errors.As(err, &limit) {
				d.WithHint("%s", limit.Hint)
			}
			return nil, diags
		}
		if o.dumps("ra") {
			fmt.Fprint(o.DumpTo, code.RA())
		}
		if o.dumps("asm") {
			fmt.Fprintf(o.DumpTo, "func %s %s\n%s", f.Type, f.Hook, code.Asm())
		}
		if code.Scratch != nil {
			obj.IR.Maps = append(obj.IR.Maps, code.Scratch)
		}
		obj.Code = append(obj.Code, code)
	}
	return obj, diags
}

// Pin is the file that the script's iterator is pinned to, "" without one.
func (o *Object) Pin() string {
	for _, c := range o.Checked.Clauses {
		if pin := c.Targets[0].Hook.Pin; pin != "" {
			return pin
		}
	}
	return ""
}

// pinned refuses what a pinned iterator would tell slope, which is not there when it runs.
func (o *Object) pinned(file *source.File, diags *source.Diagnostics) {
	if o.Pin() == "" {
		return
	}
	for _, s := range o.Checked.SLIs {
		diags.Errorf(file, s.Node.Name.Span(), "sli '%s' would be measured where nobody reads it: slope is not there when a pinned iterator runs", s.Name)
	}
	seen := map[source.Span]bool{}
	for _, ev := range o.IR.Events {
		if seen[ev.Span] {
			continue
		}
		seen[ev.Span] = true
		diags.Errorf(file, ev.Span, "nothing but printf() writes to the file of a pinned iterator: the kernel makes its text, and slope is not there").
			WithHint("without the file the script runs once and can do all")
	}
}

// countBusy adds the counter of runs that found no scratch memory, unless it is there; only now it is known that there
// is such memory at all.
func (o *Object) countBusy(f *ir.Func) bool {
	for _, c := range o.IR.Counters {
		if c.Loss == ir.LossScratchBusy {
			return false
		}
	}
	if o.IR.Health == nil {
		o.IR.Health = lower.Health()
		o.IR.Maps = append(o.IR.Maps, o.IR.Health)
	}
	o.IR.Counters = append(o.IR.Counters, &ir.Counter{ID: len(o.IR.Counters), Loss: ir.LossScratchBusy, Span: f.Span})
	o.IR.Health.ValueSize = 8 * len(o.IR.Counters)
	return true
}

func (o *Options) dumps(stage string) bool {
	for _, s := range o.Dump {
		if s == stage || s == "all" {
			return o.DumpTo != nil
		}
	}
	return false
}

// recoverBug turns a broken invariant into a diagnostic; any other panic goes on.
func recoverBug(file *source.File, diags *source.Diagnostics) {
	r := recover()
	if r == nil {
		return
	}
	text := fmt.Sprint(r)
	if !strings.HasPrefix(text, "BUG:") {
		panic(r)
	}
	diags.Errorf(file, source.Span{End: min(int32(len(file.Text)), 1)}, "internal error: %s", text).
		WithHint("this is a bug in slope; please report it with the script")
}
