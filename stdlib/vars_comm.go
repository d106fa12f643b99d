package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// What the kernel calls a task and its name.
const (
	taskStruct = "task_struct"
	commName   = "comm"
)

// The capacities of the name of the current thread, TASK_COMM_LEN of the kernel, and of that of another, as bpftrace has it.
const (
	commSize      = 16
	otherCommSize = 64
)

// taskHooks are those whose programs the kernel lets ask for a task by its number.
var taskHooks = append([]types.HookKind{types.HookTracepoint, types.HookProfile, types.HookPerf}, trackedHooks...)

func commVar() Var {
	return Var{
		Var: types.Var{Doc: types.Doc{Name: commName, Text: "Name of the current thread. comm(thread) is the name of another, by its ID in the initial pid namespace, as pid(init) and tid(init) are: N/A where there is none. " +
			"The kernel tells it in tracepoint, rawtracepoint, fentry, fexit, profile, software and hardware probes and in iterators.",
			Examples: []string{"tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }", "tracepoint:signal:signal_generate { @[comm(args.pid)] = count(); }"}},
			Type: always(types.StringOf(commSize)),
			Called: &types.Func{Doc: types.Doc{Name: commName, Since: "comm(pid)"},
				Pure: true, Hooks: taskHooks, Where: "a tracepoint, rawtracepoint, fentry, fexit, profile, software or hardware probe, or an iterator",
				Params: []types.Param{{Name: "thread", Kind: types.IntParam}}, Check: checkOtherComm,
				Result: func(*types.Call) *types.Type { return types.StringOf(otherCommSize) }}},
		VarLower:    ir.VarLower{Into: commInto},
		CalledLower: ir.FuncLower{Into: otherCommInto},
	}
}

// commInto copies the task's name: two loads where the kernel keeps it padded, otherwise the helper.
func commInto(l ir.Lowering, _ int, _ *types.Type, p *ir.Value, off int, _ bool) {
	b, k := l.Builder(), l.Kernel()
	if k.TaskBTF && k.CommPadded && k.CommOffset >= 0 {
		task := b.Help(ir.HelperTaskBTF)
		b.Store(p, off, 8, b.Load(task, k.CommOffset, 8, false))
		b.Store(p, off+8, 8, b.Load(task, k.CommOffset+8, 8, false))
		return
	}
	b.Zero(p, off, commSize) // from 5.17 to 6.1 the helper leaves what follows the NUL as it was
	dst := p
	if off != 0 {
		dst = b.Offset(p, int64(off))
	}
	b.Help(ir.HelperComm, dst)
}

// checkOtherComm notes where a task has its name.
func checkOtherComm(c *types.Call) {
	c.Notes = []int64{0}
	src, ok := c.Resolver.(types.Source)
	if !ok {
		return // a test, which has no kernel
	}
	if pidNamespace() != [2]uint64{} {
		c.Warnf(-1, "slope runs in a pid namespace, and %s() takes IDs of the initial one", commName).WithHint("pid(init) and tid(init) are such")
	}
	if task, ok := src.Named("struct", taskStruct); ok {
		if f, ok := task.Field(commName); ok {
			c.Notes[0] = int64(f.Offset)
			return
		}
	}
	c.Errorf(-1, "%s() of another thread needs the kernel's types, which are not there", commName).WithHint("kernels built with CONFIG_DEBUG_INFO_BTF have them")
}

// otherCommInto copies the name of a task that it asks the kernel for. The kernels that tell it keep names padded.
func otherCommInto(l ir.Lowering, c *syntax.Call, t *types.Type, p *ir.Value, off int, _ bool) {
	b, at := l.Builder(), int(l.Notes(c)[0])
	id := l.Scalar(c.Args[0])
	id = b.Bin(ir.OpMul, id, b.Bin(ir.OpULt, id, b.Const(1<<31))) // the kernel would take the lower half; no thread has the ID 0
	b.Zero(p, off, t.Memory())
	none, done := b.Block(), b.Block()
	task := b.NullCheck(b.Help(ir.HelperTaskFromPid, id), none)
	for i := 0; i < commSize; i += 8 {
		b.Store(p, off+i, 8, b.Load(task, at+i, 8, false))
	}
	b.Help(ir.HelperTaskRelease, task)
	b.Jump(done)
	b.SetBlock(none)
	b.Bytes(p, off, "N/A\x00")
	b.Jump(done)
	b.SetBlock(done)
}
