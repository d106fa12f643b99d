package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// textFuncs are functions whose values become text when they are printed.
func textFuncs() []Func {
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "buf", Text: "Bytes at an address, of an array or of a string: length of them, or all of an array. At most max_strlen. Printed with printable characters as they are, the others as \\xNN; see %r, %rx and %rh of printf.",
					Examples: []string{`tracepoint:syscalls:sys_enter_write /args.fd == 1/ { printf("%r\n", buf(args.buf, args.count)); }`}},
				Pure: true, Params: []types.Param{{Name: "data", Kind: types.AnyParam}, {Name: "length", Kind: types.IntParam, Optional: true}},
				Check: func(c *types.Call) {
					t := c.Args[0]
					switch {
					case !t.Scalar() && t.Kind != types.String && t.Kind != types.Array:
						c.Errorf(0, "buf() got '%s' for 'data', want an address, an array or a string", t)
					case len(c.Args) == 1 && t.Kind != types.Array:
						c.Errorf(-1, "buf() wants a length for a value of type '%s'", t).WithHint("buf(data, length)")
					}
					if n, ok := c.Const(1); ok && n < 0 {
						c.Errorf(1, "buf() got the length %d, want at least 0", n)
					} else if ok && n > int64(c.Config.MaxStrlen) {
						c.Errorf(1, "buf() got the length %d, want at most %d", n, c.Config.MaxStrlen).WithHint("the configuration key max_strlen allows for more")
					}
				},
				Result: func(c *types.Call) *types.Type {
					size := c.Config.MaxStrlen
					if n, ok := c.Const(1); ok {
						size = int(n)
					}
					if t := c.Args[0]; !t.Scalar() {
						size = min(size, t.Size)
					}
					return types.BufferOf(max(size, 1))
				},
			},
			FuncLower: ir.FuncLower{Into: bufInto},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "strftime", Text: "The time of day that nanoseconds of the boot clock, or a value of nsecs(tai), stand for, as strftime(3) writes it in the local time zone; %f is the microseconds.",
					Examples: []string{`interval:s:1 { printf("%s\n", strftime("%H:%M:%S.%f", nsecs)); }`}},
				Pure: true, Params: []types.Param{{Name: "format", Kind: types.TextParam}, {Name: "nanoseconds", Kind: types.IntParam}},
				Result: func(c *types.Call) *types.Type {
					format, _ := c.Node.Args[0].(*syntax.String)
					clock := types.Timestamp
					if c.Args[1].TAI() {
						clock = types.TAITimestamp
					}
					return types.LateOf(clock, format.Value)
				},
			},
			FuncLower: lateWord(1),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "cgroup_path", Text: "The path of a cgroup by its ID in every hierarchy, as \"unified:/system.slice\"; only in hierarchies whose name matches filter, where it is given.",
					Examples: []string{`begin { print(cgroup_path(1)); }`}},
				Pure: true, Params: []types.Param{{Name: "id", Kind: types.IntParam}, {Name: "filter", Kind: types.TextParam, Optional: true}},
				Result: func(c *types.Call) *types.Type {
					filter := "*"
					if len(c.Args) > 1 {
						s, _ := c.Node.Args[1].(*syntax.String)
						filter = s.Value
					}
					return types.LateOf(types.CgroupPath, filter)
				},
			},
			FuncLower: lateWord(0),
		},
	}
}

// lateWord lowers to the i-th argument, a number that user space makes text of.
func lateWord(i int) ir.FuncLower {
	return ir.FuncLower{Into: func(l ir.Lowering, c *syntax.Call, _ *types.Type, p *ir.Value, off int, _ bool) {
		l.Builder().Store(p, off, 8, l.Scalar(c.Args[i]))
	}}
}

// bufInto writes how many bytes there are, and the bytes.
func bufInto(l ir.Lowering, c *syntax.Call, t *types.Type, p *ir.Value, off int, _ bool) {
	b, at := l.Builder(), l.Type(c.Args[0])
	size := b.Const(int64(t.Size))
	var addr *ir.Value
	if at.Scalar() {
		addr = l.Scalar(c.Args[0])
	}
	if len(c.Args) > 1 {
		if n, constant := l.Const(c.Args[1]); constant {
			size = b.Const(min(n, int64(t.Size)))
		} else {
			length := l.Scalar(c.Args[1])
			size = b.Bound(length, int64(t.Size)) // a negative length is a very large one
			l.When(b.Bin(ir.OpULt, b.Const(int64(t.Size)), length), func() { l.Count(ir.LossTruncated, nil) })
		}
	}
	b.Zero(p, off, t.Memory())
	b.Store(p, off, 8, size)
	var failed *ir.Value
	if dst := b.Offset(p, int64(off+8)); at.Scalar() {
		failed = b.ReadN(dst, addr, size, t.Size, kernelAddress(l, at))
	} else {
		failed = l.Raw(c.Args[0], dst, size, t.Size)
	}
	l.When(failed, func() { l.Count(ir.LossReadFault, nil) })
}
