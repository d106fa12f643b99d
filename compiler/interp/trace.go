package interp

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// trace is bpf_trace_printk: the text goes to the end of Machine.Trace. It returns its length, or -EINVAL where the kernel does not
// take the format.
func (r *run) trace(v *ir.Value) int64 {
	format := string(r.read(v.Args[0], 0, r.scalar(v.Args[1])))
	directives, err := types.ParseFormat(strings.TrimSuffix(format, "\x00"))
	if err != nil || !strings.HasSuffix(format, "\x00") {
		return errInvalid
	}
	var b strings.Builder
	args := v.Args[2:]
	for _, d := range directives {
		if d.Verb == "" {
			b.WriteString(d.Literal)
			continue
		}
		if len(args) == 0 {
			return errInvalid
		}
		how := "%" + d.Flags
		if d.Width >= 0 {
			how += fmt.Sprint(d.Width)
		}
		width := uint8(4)
		if d.Length != "" {
			width = 8
		}
		switch d.Verb {
		case "s":
			fmt.Fprintf(&b, how+"s", r.text(args[0]))
		case "d":
			fmt.Fprintf(&b, how+"d", ir.EvalExt(r.scalar(args[0]), width, true))
		case "u":
			fmt.Fprintf(&b, how+"d", uint64(ir.EvalExt(r.scalar(args[0]), width, false)))
		case "x", "X":
			fmt.Fprintf(&b, how+d.Verb, uint64(ir.EvalExt(r.scalar(args[0]), width, false)))
		case "c":
			fmt.Fprintf(&b, how+"s", string([]byte{byte(r.scalar(args[0]))}))
		default:
			return errInvalid
		}
		args = args[1:]
	}
	r.m.Trace = append(r.m.Trace, b.String())
	return int64(b.Len())
}

// text is what a pointer points to, up to its NUL.
func (r *run) text(p *ir.Value) string {
	var b []byte
	for {
		c := r.read(p, int64(len(b)), 1)[0]
		if c == 0 {
			return string(b)
		}
		b = append(b, c)
	}
}
