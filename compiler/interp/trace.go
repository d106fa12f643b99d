package interp

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// trace is bpf_trace_printk: the text goes to the end of Machine.Trace. It returns its length, or -EINVAL where the kernel does not
// take the format.
func (r *run) trace(v *ir.Value) int64 {
	args := v.Args[2:]
	text, ok := r.format(r.read(v.Args[0], 0, r.scalar(v.Args[1])), len(args), func(i int) value { return r.val(args[i]) })
	if !ok {
		return errInvalid
	}
	r.m.Trace = append(r.m.Trace, text)
	return int64(len(text))
}

// format makes the kernel's text of a format with its NUL, and of values; false where the kernel does not take it.
func (r *run) format(format []byte, values int, nth func(int) value) (string, bool) {
	directives, err := types.ParseFormat(strings.TrimSuffix(string(format), "\x00"))
	if err != nil || !bytes.HasSuffix(format, []byte{0}) {
		return "", false
	}
	var b strings.Builder
	at := 0
	for _, d := range directives {
		if d.Verb == "" {
			b.WriteString(d.Literal)
			continue
		}
		if at == values {
			return "", false
		}
		arg := nth(at)
		at++
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
			fmt.Fprintf(&b, how+"s", r.text(arg))
		case "d":
			fmt.Fprintf(&b, how+"d", ir.EvalExt(arg.n, width, true))
		case "u":
			fmt.Fprintf(&b, how+"d", uint64(ir.EvalExt(arg.n, width, false)))
		case "x", "X":
			fmt.Fprintf(&b, how+d.Verb, uint64(ir.EvalExt(arg.n, width, false)))
		case "c":
			fmt.Fprintf(&b, how+"s", string([]byte{byte(arg.n)}))
		default:
			return "", false
		}
	}
	return b.String(), true
}

// text is what a pointer or an address points to, up to its NUL.
func (r *run) text(p value) string {
	p = r.own(p)
	if p.reg == nil {
		r.fail("the text at %#x is not the program's", p.n)
	}
	rest := p.reg.data[min(p.n, int64(len(p.reg.data))):]
	n := bytes.IndexByte(rest, 0)
	if n < 0 {
		r.fail("a text in %s has no end", p.reg.name)
	}
	for i := p.n; p.reg.state != nil && i <= p.n+int64(n); i++ {
		if p.reg.state[i] != written {
			r.fail("byte %d of %s was never written", i, p.reg.name)
		}
	}
	return string(rest[:n])
}
