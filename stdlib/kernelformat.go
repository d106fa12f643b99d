package stdlib

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// The kernel formats text for its own trace and for the readers of pinned iterators (bpf_bprintf_prepare in
// kernel/trace/bpf_trace.c): a part of what slope formats.

// kernelValues is the kernel's MAX_BPRINTF_BIN_ARGS: how many bytes all values of a text may have.
const kernelValues = 512

// kernelVerbs are the conversions that it has.
const kernelVerbs = "it takes %d, %i, %u, %x, %X with l or ll, %c, %p, and %s of strings"

// checkKernelFormat wants a format that the kernel takes; what is the sentence's subject, such as "debugf: the kernel's trace".
// It tells whether all is well.
func checkKernelFormat(c *types.Call, what string) bool {
	report, wrong := c.Errorf, false
	c.Errorf = func(i int, format string, args ...any) *source.Diagnostic {
		wrong = true
		return report(i, format, args...)
	}
	defer func() { c.Errorf = report }()
	if checkFormat(c); wrong {
		return false
	}
	refuse := func(format string, args ...any) {
		c.Errorf(0, "%s "+format, append([]any{what}, args...)...).WithHint("%s", kernelVerbs)
	}
	directives, _ := types.ParseFormat(c.Text(0))
	at := 1
	for _, d := range directives {
		signed, number := strings.Contains("di", d.Verb), strings.Contains("diuxX", d.Verb)
		switch {
		case d.Verb == "":
			if i := strings.IndexFunc(d.Literal, func(r rune) bool { return r > 126 || r < ' ' && !strings.ContainsRune("\t\n\v\f\r", r) }); i >= 0 {
				c.Errorf(0, "%s takes ASCII text only, got %q", what, []rune(d.Literal[i:])[0])
			}
			continue
		case !number && !strings.Contains("csp", d.Verb):
			refuse("does not take %%%s", d.Verb)
		case d.Length != "" && (!number || d.Length != "l" && d.Length != "ll"):
			refuse("does not take %%%s%s", d.Length, d.Verb)
		case d.Prec >= 0 || d.StarP || d.StarW:
			refuse("takes no precision, and a width as a number only")
		case strings.Contains(d.Flags, "#"):
			refuse("does not take the flag '#'")
		case d.Verb == "p" && (d.Flags != "" || d.Width >= 0):
			refuse("takes no flags or width with %%p")
		case !signed && strings.ContainsAny(d.Flags, "+ "), !number && strings.Contains(d.Flags, "0"):
			refuse("takes the flags '+' and ' ' with %%d and %%i only, and 0 with numbers; got %%%s%s", d.Flags, d.Verb)
		case d.Verb == "s" && c.Args[at].Kind != types.String:
			c.Errorf(at, "%s prints strings by %%s, got '%s'", what, c.Args[at])
		}
		at++
	}
	return !wrong
}

// kernelFormat is a format as the kernel takes it, with its NUL. Its %p would hide the address, and older kernels know no %i.
func kernelFormat(l ir.Lowering, c *syntax.Call) (p, size *ir.Value) {
	directives, _ := types.ParseFormat(c.Args[0].(*syntax.String).Value)
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
	b.WriteByte(0)
	return l.Rodata(b.String()), l.Builder().Const(int64(b.Len()))
}

// kernelArgs are the values of a format: a number, or the address of a text that is short enough for all to have room. The kernel
// would cut it and not tell.
func kernelArgs(l ir.Lowering, args []syntax.Expr) (out []*ir.Value) {
	room, texts := kernelValues, 0
	for _, a := range args {
		room -= 8 // a number, or what aligns a text
		if l.Type(a).Kind == types.String {
			texts++
		}
	}
	share := room / max(texts, 1) &^ 7
	for _, a := range args {
		if t := l.Type(a); t.Kind == types.String {
			out = append(out, shortened(l, l.Memory(a, t), t.Size, share))
		} else {
			out = append(out, l.Number(a))
		}
	}
	return out
}

// shortened is a text of no more than so many bytes, with its NUL.
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
