package stdlib

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// traceLimit is the kernel's BPF_TRACE_PRINTK_SIZE: how long a text of the trace may be, with its NUL.
const traceLimit = 1024

// traceValues is the kernel's MAX_BPRINTF_BIN_ARGS: how many bytes all values of a text may have.
const traceValues = 512

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
			format := kernelFormat(c.Args[0].(*syntax.String).Value) + "\x00"
			args := []*ir.Value{l.Rodata(format), b.Const(int64(len(format)))}
			share := traceShare(l, c.Args[1:])
			for _, a := range c.Args[1:] {
				if t := l.Type(a); t.Kind == types.String {
					args = append(args, shortened(l, l.Memory(a, t), t.Size, share))
				} else {
					args = append(args, l.Number(a))
				}
			}
			for len(args) < ir.TraceArgs {
				args = append(args, b.Const(0))
			}
			n := b.Help(ir.HelperTrace, args...)
			l.When(b.Bin(ir.OpSLt, n, b.Const(0)), func() { l.Count(ir.LossTrace, nil) })
			l.When(b.Bin(ir.OpSLt, b.Const(traceLimit-1), n), func() { l.Count(ir.LossTruncated, nil) })
		}),
	}}
}

// traceShare is how many bytes a text may have, so that all have room.
func traceShare(l ir.Lowering, args []syntax.Expr) int {
	room, texts := traceValues, 0
	for _, a := range args {
		room -= 8 // a number, or what aligns one
		if l.Type(a).Kind == types.String {
			texts++
		}
	}
	return room / max(texts, 1) &^ 7
}

// shortened is a text of no more than so many bytes, with its NUL: the kernel would cut it and not tell.
func shortened(l ir.Lowering, p *ir.Value, size, most int) *ir.Value {
	if size <= most {
		return p
	}
	b := l.Builder()
	q := b.Addr(b.Slot("short", most))
	b.ReadStr(q, p, b.Const(int64(most)), most, true)
	l.When(b.Load(p, most-1, 1, false), func() { l.Count(ir.LossTruncated, nil) })
	return q
}

// checkTrace wants a format that the kernel takes (bpf_bprintf_prepare in kernel/trace/bpf_trace.c).
func checkTrace(c *types.Call) {
	report, wrong := c.Errorf, false
	c.Errorf = func(i int, format string, args ...any) *source.Diagnostic {
		wrong = true
		return report(i, format, args...)
	}
	if checkFormat(c); wrong {
		return
	}
	directives, _ := types.ParseFormat(c.Text(0))
	at := 1
	for _, d := range directives {
		switch number := strings.Contains("diuxX", d.Verb); {
		case d.Verb == "":
			if i := strings.IndexFunc(d.Literal, func(r rune) bool { return r > 126 || r < ' ' && !strings.ContainsRune("\t\n\v\f\r", r) }); i >= 0 {
				c.Errorf(0, "debugf: the kernel's trace takes ASCII text only, got %q", []rune(d.Literal[i:])[0])
			}
			continue
		case !number && !strings.Contains("csp", d.Verb):
			c.Errorf(0, "debugf: the kernel's trace does not take %%%s", d.Verb).WithHint("%s", traceVerbs)
		case d.Length != "" && (!number || d.Length != "l" && d.Length != "ll"):
			c.Errorf(0, "debugf: the kernel's trace does not take %%%s%s", d.Length, d.Verb).WithHint("%s", traceVerbs)
		case d.Prec >= 0 || d.StarP || d.StarW:
			c.Errorf(0, "debugf: the kernel's trace takes no precision, and a width as a number only").WithHint("%s", traceVerbs)
		case strings.Contains(d.Flags, "#"):
			c.Errorf(0, "debugf: the kernel's trace does not take the flag '#'").WithHint("%s", traceVerbs)
		case d.Verb == "p" && (d.Flags != "" || d.Width >= 0):
			c.Errorf(0, "debugf: the kernel's trace takes no flags or width with %%p").WithHint("%s", traceVerbs)
		case d.Verb == "s" && c.Args[at].Kind != types.String:
			c.Errorf(at, "debugf: %%s expects a string, got '%s'", c.Args[at])
		}
		at++
	}
	if !wrong {
		c.Warnf(-1, "debugf() is for debugging: it is slow, and all programs of the machine write to the one trace").
			WithHint("what it writes is in /sys/kernel/tracing/trace_pipe; printf() prints here")
	}
}

// traceVerbs are what it takes.
const traceVerbs = "it takes %d, %i, %u, %x, %X with l or ll, %c, %p, and %s of strings"

// kernelFormat is a format as the kernel takes it. Its %p would hide the address, and older kernels know no %i.
func kernelFormat(format string) string {
	directives, _ := types.ParseFormat(format)
	var b strings.Builder
	for _, d := range directives {
		switch d.Verb {
		case "":
			b.WriteString(strings.ReplaceAll(d.Literal, "%", "%%"))
			continue
		case "p":
			b.WriteString("0x%llx")
			continue
		case "i":
			d.Verb = "d"
		}
		b.WriteString("%" + d.Flags)
		if d.Width >= 0 {
			b.WriteString(strconv.Itoa(d.Width))
		}
		b.WriteString(d.Length + d.Verb)
	}
	return b.String()
}
