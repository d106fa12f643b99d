package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// objectiveFuncs read what the engine knows of the script's objectives. Of an objective by labels the worst group counts.
func objectiveFuncs() []Func {
	const objective = "sli calls { tracepoint:raw_syscalls:sys_exit { event(args.ret >= 0); } }\nslo fine = 90% of calls over 1d;\n"
	read := func(name, text, example string, gate bool, word int, result *types.Type) Func {
		return Func{
			Func: types.Func{
				Doc:  types.Doc{Name: name, Text: text, Examples: []string{objective + example}},
				Pure: true, Gate: gate, Params: []types.Param{{Name: "slo", Kind: types.ObjectiveParam}},
				Result: func(*types.Call) *types.Type { return result },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				index, _ := l.Const(c.Args[0])
				return l.Builder().Load(l.Objective(index), 8*word, 8, false)
			}},
		}
	}
	return []Func{
		read("burning", "Whether an objective burns: one of its alerts fires. A probe whose whole predicate is burning(x) is only attached while x burns.",
			"tracepoint:raw_syscalls:sys_exit /burning(fine)/ { @why[comm] = count(); }", true, ir.ObjectiveBurning, types.Boolean),
		read("budget", "What is left of an objective's error budget, in millionths; negative when it is overspent.",
			"interval:s:10 { printf(\"%d ppm left\\n\", budget(fine)); }", false, ir.ObjectiveBudget, types.Int64),
		read("burnrate", "How fast an objective's error budget burns over the shortest window of its alerts, in thousandths: at 1000 it is just used up at the end of the window.",
			"interval:s:10 { print(burnrate(fine)); }", false, ir.ObjectiveBurnRate, types.Int64),
	}
}
