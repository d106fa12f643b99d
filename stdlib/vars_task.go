package stdlib

import (
	"fmt"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// curtask is the name of the variable, which functions of tasks stand for.
const curtask = "curtask"

// The clocks of nsecs, the usual one first.
const (
	clockBoot = iota
	clockMonotonic
	clockTAI
	clockSoftTAI
)

const (
	nsecsName = "nsecs"
	pidName   = "pid"
)

// taskVars are variables about the running task, its process and the machine.
func taskVars() []Var {
	ids := func(name, text, example string, high bool) Var {
		return Var{
			Var: types.Var{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}},
				Role: types.ThreadRole, Modes: []string{"curr_ns", "init"}, Type: always(types.Uint32)},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, mode int) *ir.Value {
				b := l.Builder()
				var both *ir.Value
				if mode == 0 {
					both = l.Kernel().PidTgid(b)
				} else {
					both = b.Help(ir.HelperPidTgid)
				}
				if high {
					return b.Bin(ir.OpShr, both, b.Const(32))
				}
				return b.Ext(both, 4, false)
			}},
		}
	}
	constant := func(name, text, example string, t *types.Type, value func(l ir.Lowering) int64) Var {
		return scalarVar(name, text, example, t, ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value { return l.Builder().Const(value(l)) }})
	}
	return []Var{
		ids(pidName, "Process ID (the kernel's tgid): pid, or pid(init) as the initial pid namespace numbers it.",
			"tracepoint:raw_syscalls:sys_enter { @[pid] = count(); }", true),
		ids("tid", "Thread ID (the kernel's pid): tid, or tid(init) as the initial pid namespace numbers it.",
			"tracepoint:raw_syscalls:sys_enter { @[tid] = count(); }", false),
		{
			Var: types.Var{Doc: types.Doc{Name: nsecsName, Text: "Nanoseconds since boot, time asleep included; the same throughout one action. " +
				"nsecs(monotonic) leaves out time asleep, nsecs(tai) is International Atomic Time since 1970, nsecs(sw_tai) the same as slope knows it at the start, for kernels before 6.1.",
				Examples: []string{"begin { printf(\"%llu\\n\", nsecs); }", "begin { printf(\"%llu\\n\", nsecs(sw_tai)); }"}},
				Role: types.MomentRole, Modes: []string{"boot", "monotonic", "tai", "sw_tai"},
				Type: func(_ *types.Target, clock int) (*types.Type, error) {
					if clock == clockTAI || clock == clockSoftTAI {
						return types.TimeOfTAI(false), nil
					}
					return types.Uint64, nil
				}},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, clock int) *ir.Value {
				b := l.Builder()
				switch clock {
				case clockMonotonic:
					return b.Help(ir.HelperKtimeMono)
				case clockTAI:
					return b.Help(ir.HelperKtimeTAI)
				case clockSoftTAI:
					return b.AddImm(b.Help(ir.HelperKtimeBoot), l.Kernel().TAI)
				}
				return b.Help(ir.HelperKtimeBoot)
			}},
		},
		scalarVar(curtask, "The running task of the kernel: curtask.pid, curtask.real_parent.comm.", "tracepoint:raw_syscalls:sys_enter { @[curtask.prio] = count(); }",
			types.PointerTo(&types.Type{Kind: types.Struct, Name: taskStruct}, false),
			ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value {
				if l.Kernel().TaskBTF {
					return l.Builder().Help(ir.HelperTaskBTF)
				}
				return l.Builder().Help(ir.HelperTask)
			}}),
		scalarVar("cgroup", "ID of the current task's cgroup of version 2.", "tracepoint:raw_syscalls:sys_enter { @[cgroup] = count(); }", types.Uint64, helper(ir.HelperCgroup)),
		scalarVar("numaid", "Number of the NUMA node of the CPU.", "tracepoint:raw_syscalls:sys_enter { @[numaid] = count(); }", types.Uint32, helper(ir.HelperNode)),
		identifies(types.MomentRole, scalarVar("jiffies", "The kernel's count of timer ticks.", "interval:s:1 { printf(\"%llu\\n\", jiffies); }", types.Uint64, helper(ir.HelperJiffies))),
		constant("ncpus", "How many CPUs the machine can have.", "begin { printf(\"%d\\n\", ncpus); }", types.Uint64, func(l ir.Lowering) int64 { return int64(l.CPUs()) }),
		constant("cpid", "Process ID of the command of -c; 0 without one.", "tracepoint:raw_syscalls:sys_enter /pid == cpid/ { @ = count(); }", types.Uint32,
			func(l ir.Lowering) int64 { return int64(l.Config().Child) }),
		constant("has_cpid", "Whether there is a command of -c.", "begin { if (has_cpid) { printf(\"%d\\n\", pid); } }", types.Boolean,
			func(l ir.Lowering) int64 {
				if l.Config().Child != 0 {
					return 1
				}
				return 0
			}),
		{
			Var: types.Var{Doc: types.Doc{Name: "usermode", Text: "Whether the CPU ran code of a process, not of the kernel: 1 or 0.", Examples: []string{"profile:hz:99 { @[usermode] = count(); }"}},
				Args: true,
				Type: func(t *types.Target, _ int) (*types.Type, error) {
					if !hasRegisters(t) {
						return nil, fmt.Errorf("usermode does not exist in a %s probe", t.Probe.Name)
					}
					return types.Uint8, nil
				}},
			VarLower: ir.VarLower{Scalar: func(l ir.Lowering, _ int) *ir.Value {
				b := l.Builder()
				const ring = 3 // of the code segment
				return b.Bin(ir.OpEq, b.Bin(ir.OpAnd, l.Word(wordCS), b.Const(ring)), b.Const(ring))
			}},
		},
		{
			Var: types.Var{Doc: types.Doc{Name: "probetype", Text: "The probe's type, such as kprobe or tracepoint; special for begin and end.", Examples: []string{"interval:s:1, profile:hz:1 { @[probetype] = count(); }"}},
				PerProbe: true,
				Type: func(t *types.Target, _ int) (*types.Type, error) {
					return types.StringOf((len(probeType(t)) + 8) &^ 7), nil
				}},
			VarLower: ir.VarLower{Into: func(l ir.Lowering, _ int, t *types.Type, p *ir.Value, off int, pad bool) {
				literalInto(l, probeType(l.Target()), t, p, off, pad)
			}},
		},
	}
}

// probeType is the name of a probe's type, as bpftrace has it.
func probeType(t *types.Target) string {
	switch t.Hook.Kind {
	case types.HookBegin, types.HookEnd:
		return "special"
	}
	return t.Probe.Name
}

// literalInto writes a string that is known.
func literalInto(l ir.Lowering, text string, t *types.Type, p *ir.Value, off int, pad bool) {
	used := (len(text) + 8) &^ 7
	l.Builder().Bytes(p, off, text+"\x00")
	if rest := t.Memory() - used; rest > 0 && pad {
		l.Builder().Zero(p, off+used, rest)
	}
}

// hasRegisters tells whether the context of a probe is registers.
func hasRegisters(t *types.Target) bool {
	switch t.Hook.Kind {
	case types.HookUprobe, types.HookUretprobe, types.HookKprobe, types.HookKretprobe, types.HookProfile, types.HookPerf:
		return true
	}
	return false
}

// taskFuncs are about a task, the running one unless another is given. They stand for fields of it.
func taskFuncs() []Func {
	row := func(name, text string, cast string, fields ...string) Func {
		return Func{
			Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{"tracepoint:raw_syscalls:sys_enter { @[" + name + "] = count(); }"}},
				Params: []types.Param{{Name: "task", Kind: types.AddressParam, Optional: true}},
				Expand: func(c *syntax.Call) syntax.Expr {
					var x syntax.Expr = &syntax.Name{Range: c.Range, Text: curtask}
					if len(c.Args) > 0 {
						x = c.Args[0]
					}
					for _, f := range fields {
						x = &syntax.Field{Range: c.Range, X: x, Name: &syntax.Name{Range: c.Range, Text: f}}
					}
					if cast != "" {
						x = &syntax.Cast{Range: c.Range, Type: &syntax.TypeRef{Range: c.Range, Name: cast}, X: x}
					}
					return x
				}},
			FuncLower: nothing,
		}
	}
	return []Func{
		row("ppid", "Process ID of the parent, of the running task or of another.", "uint32", "real_parent", "tgid"),
		row("pcomm", "Name of the parent, of the running task or of another.", "", "real_parent", commName),
		row("leader_comm", "Name of the first thread of the process, of the running task or of another.", "", "group_leader", commName),
		row("leader_tid", "Thread ID of the first thread of the process, of the running task or of another.", "uint32", "group_leader", "pid"),
	}
}
