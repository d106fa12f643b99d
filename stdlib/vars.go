package stdlib

import (
	"errors"
	"fmt"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// The offsets in the pt_regs of x86-64, in words of 8 bytes.
const (
	wordR15 = iota
	wordR14
	wordR13
	wordR12
	wordBP
	wordBX
	wordR11
	wordR10
	wordR9
	wordR8
	wordAX
	wordCX
	wordDX
	wordSI
	wordDI
	wordOrigAX
	wordIP
	wordCS
	wordFlags
	wordSP
	wordSS
)

// argWords are the registers that hold arguments, in order.
var (
	cArgWords  = []int{wordDI, wordSI, wordDX, wordCX, wordR8, wordR9}
	goArgWords = []int{wordAX, wordBX, wordCX, wordDI, wordSI, wordR8, wordR9, wordR10, wordR11}
)

// always is the type of a variable that exists in every probe.
func always(t *types.Type) func(*types.Target, int) (*types.Type, error) {
	return func(*types.Target, int) (*types.Type, error) { return t, nil }
}

// helper lowers to a plain helper call.
func helper(h ir.Helper) ir.VarLower {
	return ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value { return l.Builder().Help(h) }}
}

// half lowers to 32 bits of a helper's result.
func half(h ir.Helper, high bool) ir.VarLower {
	return ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value {
		b := l.Builder()
		v := b.Help(h)
		if high {
			return b.Bin(ir.OpShr, v, b.Const(32))
		}
		return b.Ext(v, 4, false)
	}}
}

func scalarVar(name, text, example string, t *types.Type, low ir.VarLower) Var {
	return Var{Var: types.Var{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}}, Type: always(t)}, VarLower: low}
}

// identifies gives a variable its role.
func identifies(r types.Role, v Var) Var {
	v.Role = r
	return v
}

func variables() []Var {
	return []Var{
		scalarVar("uid", "User ID.", "tracepoint:raw_syscalls:sys_enter { @[uid] = count(); }", types.Uint32, half(ir.HelperUidGid, false)),
		scalarVar("gid", "Group ID.", "tracepoint:raw_syscalls:sys_enter { @[gid] = count(); }", types.Uint32, half(ir.HelperUidGid, true)),
		scalarVar("cpu", "Number of the CPU.", "tracepoint:raw_syscalls:sys_enter { @[cpu] = count(); }", types.Uint32, helper(ir.HelperCPU)),
		identifies(types.MomentRole, scalarVar("elapsed", "Nanoseconds since the script started.", "interval:s:1 { printf(\"%llu\\n\", elapsed); }", types.Uint64,
			ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value {
				b := l.Builder()
				return b.Bin(ir.OpSub, b.Help(ir.HelperKtimeBoot), b.Load(l.Global(ir.GlobalStart), 0, 8, false))
			}})),
		{
			Var: types.Var{Doc: types.Doc{Name: "rand", Text: "A random 32-bit number.", Examples: []string{"interval:ms:100 { @ = lhist(rand % 100, 0, 100, 10); }"}},
				Type: always(types.Uint32), Varies: true, Role: types.MomentRole},
			VarLower: helper(ir.HelperRandom),
		},
		commVar(),
		{
			Var: types.Var{Doc: types.Doc{Name: "probe", Text: "Full name of the probe.", Examples: []string{"tracepoint:syscalls:sys_enter_read, tracepoint:syscalls:sys_enter_write { @[probe] = count(); }"}},
				PerProbe: true,
				Type: func(t *types.Target, _ int) (*types.Type, error) {
					return types.StringOf((len(t.Name) + 8) &^ 7), nil
				}},
			VarLower: ir.VarLower{Into: func(l ir.Lowering, _ int, t *types.Type, p *ir.Value, off int, pad bool) {
				literalInto(l, l.Target().Name, t, p, off, pad)
			}},
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "args", Text: "The fields of the probe's event: args.name. In a uprobe the arguments of the function, and in a uretprobe or goret what it returns (args.retval; in Go by its names, args.r0, args.r1 and so on without), with the types that the program's debug information gives them.", Examples: []string{"tracepoint:syscalls:sys_enter_read { @ = sum(args.count); }"}},
				Args: true, Debug: true,
				Type: func(t *types.Target, _ int) (*types.Type, error) {
					if err := t.ReadDebug(); err != nil {
						return nil, fmt.Errorf("args: %w", err)
					}
					if t.Args == nil || t.Form == types.IterArgs {
						return nil, fmt.Errorf("the probe type %s has no args here", t.Probe.Name)
					}
					return t.Args, nil
				}},
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "ctx", Text: "The context: of an iterator ctx.meta and the object, such as ctx.task; elsewhere the registers, as a pointer.",
				Examples: []string{`iter:task { @[ctx.task.comm] = count(); }`, "profile:hz:99 { @[((struct pt_regs *)ctx).ip] = count(); }"}},
				Args: true, Type: contextType},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value { return l.Builder().Ctx() }}, // of registers
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "arg", Text: "Arguments by number: arg0, arg1, … from the registers of the calling convention, or the words of a raw tracepoint.",
				Examples: []string{"rawtracepoint:sys_enter { @[arg1] = count(); }"}},
				Numbered: true, Args: true, Type: argType},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, n int) *ir.Value {
				switch l.Target().Form {
				case types.CArgs:
					return l.Word(cArgWords[n])
				case types.GoArgs:
					return l.Word(goArgWords[n])
				case types.PlacedArgs:
					return placedArg(l, n)
				}
				return l.Word(n)
			}},
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "retval", Text: "The value a function returns: a number, also where retval->field reads what it points to by the program's debug information.", Examples: []string{"uretprobe:libc:read { @ = hist(retval); }"}},
				Args: true,
				Type: func(t *types.Target, _ int) (*types.Type, error) {
					if !t.Return {
						return nil, fmt.Errorf("retval does not exist in a %s probe", t.Probe.Name)
					}
					if t.Result != nil {
						return t.Result, nil
					}
					return types.Uint64, nil
				},
				Pointer: func(t *types.Target) *types.Type {
					if t.Result != nil || t.Debug == nil {
						return nil
					}
					return t.Debug.Result()
				}},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value {
				t := l.Target()
				if t.Result == nil {
					return l.Word(wordAX)
				}
				v := l.Word(wordAX)
				if t.Form == types.WordArgs {
					v = l.Word(t.Word)
				}
				if t.Result.Kind == types.Int && t.Result.Size < 8 {
					v = l.Builder().Ext(v, t.Result.Size, t.Result.Signed)
				}
				return v
			}},
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "goid", Text: "ID of the goroutine. The right key for spans in a Go program, whose goroutines move between threads: start(goid), stop(goid) and cancel(goid) have the process in the key, too, since processes number theirs alike; a map needs it by [pid, goid]. One that ends inside of a function does not return from it: an sli that calls start(goid) has a probe of its own at the end of goroutines, uprobe:BINARY:runtime.goexit1, which forgets the span and costs each end a microsecond, unless its body has one there.",
				Examples: nil},
				Args: true, Role: types.GoroutineRole, Within: pidName, Type: goidType},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value { return l.Goid() }},
		},
	}
}

func argType(t *types.Target, n int) (*types.Type, error) {
	limit := 0
	switch t.Form {
	case types.CArgs:
		limit = len(cArgWords)
	case types.GoArgs:
		limit = len(goArgWords)
	case types.PlacedArgs:
		return placedType(t, n)
	case types.WordArgs:
		limit = 12
		if t.Args != nil {
			limit = len(t.Args.Layout.Fields())
		}
	}
	if limit == 0 {
		return nil, fmt.Errorf("arg%d does not exist in a %s probe", n, t.Probe.Name)
	}
	if n >= limit {
		return nil, fmt.Errorf("arg%d does not exist: the highest is arg%d", n, limit-1)
	}
	return types.Int64, nil
}

func goidType(t *types.Target, _ int) (*types.Type, error) {
	switch {
	case t.Form != types.GoArgs:
		return nil, errors.New("goid only exists in uprobe and goret probes of Go programs")
	case t.Goid < 0:
		return nil, fmt.Errorf("goid: the place of the goroutine's ID in %s is not known", t.Hook.Path)
	}
	return types.Uint64, nil
}
