package stdlib

import (
	"fmt"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

var (
	kernelSymbol = types.LateOf(types.KernelSymbol, "")
	userSymbol   = types.LateOf(types.UserSymbol, "")
)

// symbolFuncs name addresses. The names are looked up when they are printed.
func symbolFuncs() []Func {
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "ksym", Text: "The kernel's function at an address. Its name is looked up when it is printed; the address is printed where it has none.",
					Examples: []string{"tracepoint:timer:hrtimer_start { @[ksym(args.function)] = count(); }"}},
				Pure: true, Params: []types.Param{{Name: "address", Kind: types.AddressParam}},
				Result: func(*types.Call) *types.Type { return kernelSymbol },
			},
			FuncLower: lateWord(0),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "usym", Text: "The function of the current process at an address. Its name is looked up when it is printed; the address is printed where it has none.",
					Examples: []string{"uprobe:libc:malloc { @[usym(arg0)] = count(); }"}},
				Pure: true, Params: []types.Param{{Name: "address", Kind: types.AddressParam}},
				Result: func(*types.Call) *types.Type { return userSymbol },
			},
			FuncLower: ir.FuncLower{Into: func(l ir.Lowering, c *syntax.Call, _ *types.Type, p *ir.Value, off int, _ bool) {
				userSymbolInto(l, l.Scalar(c.Args[0]), p, off)
			}},
		},
	}
}

func userSymbolInto(l ir.Lowering, addr, p *ir.Value, off int) {
	b := l.Builder()
	b.Store(p, off, 8, addr)
	process := b.Bin(ir.OpShr, l.Kernel().PidTgid(b), b.Const(32))
	b.Store(p, off+8, 8, process)
	l.NoteProcess(process)
}

// symbolVars are the variables whose text is looked up when they are printed.
func symbolVars() []Var {
	return []Var{
		{
			Var: types.Var{Doc: types.Doc{Name: "func", Text: "The function that is probed: kprobe, kretprobe, fentry, fexit, uprobe, uretprobe.",
				Examples: []string{"uprobe:libc:malloc { @[func] = count(); }", "kprobe:vfs_read { printf(\"%s\\n\", func); }"}},
				Type: func(t *types.Target, _ int) (*types.Type, error) {
					switch t.Hook.Kind {
					case types.HookKprobe, types.HookKretprobe, types.HookFentry, types.HookFexit:
						return kernelSymbol, nil
					case types.HookUprobe, types.HookUretprobe:
						return userSymbol, nil
					}
					return nil, fmt.Errorf("the probe type %s has no func", t.Probe.Name)
				}},
			VarLower: ir.VarLower{Into: func(l ir.Lowering, _ int, t *types.Type, p *ir.Value, off int, _ bool) {
				var addr *ir.Value
				switch l.Target().Hook.Kind {
				case types.HookKprobe, types.HookUprobe:
					addr = l.Word(wordIP)
				default:
					addr = l.Builder().Help(ir.HelperFuncIP)
				}
				if t.Late == types.UserSymbol {
					userSymbolInto(l, addr, p, off)
				} else {
					l.Builder().Store(p, off, 8, addr)
				}
			}},
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "username", Text: "The name of the user whose ID is uid; looked up when it is printed, empty where there is none.",
				Examples: []string{"tracepoint:syscalls:sys_enter_execve { @[username] = count(); }"}},
				Type: always(types.LateOf(types.UserName, ""))},
			VarLower: ir.VarLower{Into: func(l ir.Lowering, _ int, _ *types.Type, p *ir.Value, off int, _ bool) {
				b := l.Builder()
				b.Store(p, off, 8, b.Ext(b.Help(ir.HelperUidGid), 4, false))
			}},
		},
	}
}
