package stdlib

import (
	"errors"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// callable tells what functions of the kernel programs may call. A Resolver may be one.
type callable interface {
	// KernelFunction tells whether the kernel has a function of the name that programs may call.
	KernelFunction(name string) (bool, error)
	// MayCall tells whether the program of a target may call it.
	MayCall(t *types.Target, name string) (bool, error)
}

// kfuncFuncs ask for functions of the kernel that programs may call.
func kfuncFuncs() []Func {
	ask := func(name, text, example string, of func(k callable, c *types.Call) (bool, error)) Func {
		return Func{
			Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}},
				Pure: true, PerTarget: true, Params: []types.Param{{Name: "name", Kind: types.TextParam}},
				Check: func(c *types.Call) {
					k, ok := c.Resolver.(callable)
					if !ok {
						c.Errorf(-1, "%s(): the kernel's functions are not known here", name)
						return
					}
					yes, err := of(k, c)
					switch {
					case err != nil && !c.Dead:
						c.Errorf(-1, "%s(): %s", name, err)
					case yes:
						c.Fold(1)
					default:
						c.Fold(0)
					}
				},
				Result: func(*types.Call) *types.Type { return types.Boolean }},
			FuncLower: nothing,
		}
	}
	return []Func{
		ask("kfunc_exist", "Whether the kernel itself, without its modules, has a function of the name that BPF programs may call (a kfunc). Known when the script is compiled.",
			`begin { print(kfunc_exist("bpf_task_from_pid")); }`,
			func(k callable, c *types.Call) (bool, error) { return k.KernelFunction(c.Text(0)) }),
		ask("kfunc_allowed", "Whether the program of this probe may call a function of the kernel (a kfunc): the kernel has lists of them for each type of program. Where a probe can become programs of two types, both may. Known when the script is compiled.",
			`tracepoint:sched:sched_switch { if (kfunc_allowed("bpf_task_from_pid")) { @ = count(); } }`,
			func(k callable, c *types.Call) (bool, error) { return k.MayCall(c.Target, c.Text(0)) }),
	}
}

// progTypes are the kernel's types of programs.
var progTypes = map[ir.ProgType]bpf.ProgType{ir.RawTracepoint: bpf.RawTracepoint, ir.TPBTF: bpf.Tracing, ir.Tracepoint: bpf.TracePoint,
	ir.Uprobe: bpf.Kprobe, ir.PerfEvent: bpf.PerfEvent}

// KernelFunction implements callable.
func (m *Machine) KernelFunction(name string) (bool, error) {
	ix, err := m.BTF()
	if err != nil {
		return false, err
	}
	_, err = ix.KernelFunction(name)
	if errors.Is(err, btf.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// MayCall implements callable.
func (m *Machine) MayCall(t *types.Target, name string) (bool, error) {
	if there, err := m.KernelFunction(name); !there {
		return false, err
	}
	kernel := ir.Kernel{TPBTF: m.features.TPBTF() == nil}
	hooks := []types.HookKind{t.Hook.Kind}
	if t.Raw != nil { // which of them serves it the lowering decides, by what the clauses read
		hooks = append(hooks, types.HookRaw)
	}
	for _, h := range hooks {
		err := m.features.KernelFunc(progTypes[kernel.ProgType(h)], name)
		if errors.Is(err, bpf.ErrNotSupported) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
