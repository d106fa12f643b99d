package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// traceLimit is the kernel's BPF_TRACE_PRINTK_SIZE: how long a text of the trace may be, with its NUL.
const traceLimit = 1024

// traceFuncs write to the kernel's own trace.
func traceFuncs() []Func {
	value := types.Param{Name: "value", Kind: types.AnyParam, Optional: true}
	return []Func{{
		Func: types.Func{Doc: types.Doc{Name: "debugf", Text: "Write a line to the kernel's trace, /sys/kernel/tracing/trace_pipe, for debugging: it is slower than printf() and all programs of the machine share the trace. " +
			"At most three values, numbers by %d, %i, %u, %x, %X and %c, of 64 bits with l or ll, addresses by %p, texts by %s; a width but no precision. ASCII only, and 512 bytes of values: texts are cut to what the kernel takes, and counted. Before Linux 5.15 it may take no width, %X, %c or %%, and one text of 64 bytes.",
			Examples: []string{`begin { debugf("hello %s, pid %d", comm, pid); }`}},
			Params: []types.Param{{Name: "format", Kind: types.FormatParam}, value, value, value}, Check: checkTrace},
		FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
			b := l.Builder()
			format, size := kernelFormat(l, c)
			args := append([]*ir.Value{format, size}, kernelArgs(l, c.Args[1:])...)
			for len(args) < ir.TraceArgs {
				args = append(args, b.Const(0))
			}
			n := b.Help(ir.HelperTrace, args...)
			l.When(b.Bin(ir.OpSLt, n, b.Const(0)), func() { l.Count(ir.LossTrace, nil) })
			l.When(b.Bin(ir.OpSLt, b.Const(traceLimit-1), n), func() { l.Count(ir.LossTruncated, nil) })
		}),
	}}
}

// checkTrace wants a format that the kernel takes.
func checkTrace(c *types.Call) {
	if checkKernelFormat(c, "debugf: the kernel's trace") {
		c.Warnf(-1, "debugf() is for debugging: it is slow, and all programs of the machine write to the one trace").
			WithHint("what it writes is in /sys/kernel/tracing/trace_pipe; printf() prints here")
	}
}
