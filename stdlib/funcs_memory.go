package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

func memoryFuncs() []Func {
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "str", Text: "The string at an address: up to its NUL, or of a given length as Go keeps strings. At most max_strlen bytes, NUL included.",
					Examples: []string{`tracepoint:syscalls:sys_enter_openat { printf("%s\n", str(args.filename)); }`}},
				Pure: true, Params: []types.Param{{Name: "address", Kind: types.AnyParam, Word: true}, {Name: "length", Kind: types.IntParam, Optional: true}},
				Check: func(c *types.Call) {
					if !c.Args[0].Scalar() && c.Args[0].Kind != types.String {
						c.Errorf(0, "str() got '%s' for 'address', want an address", c.Args[0])
					}
				},
				Result: func(c *types.Call) *types.Type {
					size := c.Config.MaxStrlen
					if n, ok := c.Const(1); ok && n >= 0 && n+1 < int64(size) {
						size = int(n) + 1
					}
					return types.StringOf(size)
				},
			},
			FuncLower: ir.FuncLower{Into: strInto},
		},
	}
}

// kernelAddress tells whether a value of a scalar type is an address of the kernel.
func kernelAddress(l ir.Lowering, t *types.Type) bool {
	switch l.Target().Hook.Kind { // a number there is an argument of a function of the kernel
	case types.HookKprobe, types.HookKretprobe, types.HookFentry, types.HookFexit:
		return t.Kind != types.Pointer || !t.User
	}
	return t.Kind == types.Pointer && !t.User
}

func strInto(l ir.Lowering, c *syntax.Call, t *types.Type, p *ir.Value, off int, pad bool) {
	b := l.Builder()
	at := l.Type(c.Args[0])
	if !at.Scalar() { // already a string
		if at.Size <= t.Size || len(c.Args) < 2 {
			l.Into(c.Args[0], t, p, off, pad)
			return
		}
		// As much as the script wants of it: what it cuts is not lost.
		b.Copy(p, off, l.Memory(c.Args[0], at), t.Memory())
		last := off + t.Memory() - 8
		kept := (t.Size - 1) % 8
		b.Store(p, last, 8, b.Bin(ir.OpAnd, b.Load(p, last, 8, false), b.Const(1<<(8*kept)-1)))
		return
	}
	addr := l.Scalar(c.Args[0])
	// cut tells, from the length that was read, whether the string may go on: it fills the capacity, or more was asked
	// for. A length that the script gives as a constant is what it wants.
	size, cut := b.Const(int64(t.Size)), fills(b, t)
	if len(c.Args) > 1 {
		if n, constant := l.Const(c.Args[1]); !constant {
			// length+1 for the NUL, at most the capacity; a negative length is a very large one.
			length := l.Scalar(c.Args[1])
			size = b.AddImm(b.Bound(length, int64(t.Size-1)), 1)
			cut = func(*ir.Value) *ir.Value { return b.Bin(ir.OpULt, b.Const(int64(t.Size-1)), length) }
		} else if n >= 0 && n < int64(t.Size) {
			size, cut = b.Const(n+1), nil
		}
	}
	if pad {
		b.Zero(p, off, t.Memory())
	}
	dst := p
	if off != 0 {
		dst = b.Offset(p, int64(off))
	}
	readString(l, at, dst, addr, size, t, cut)
}

// fills tells whether a length that was read fills the capacity of a string.
func fills(b *ir.Builder, t *types.Type) func(*ir.Value) *ir.Value {
	return func(n *ir.Value) *ir.Value { return b.Bin(ir.OpEq, n, b.Const(int64(t.Size))) }
}

// readString copies the string at an address of type at to dst, a string of type t; size is its capacity or less. What
// could not be read is counted, and what cut says of the length: that there was more. The result is the length with the
// NUL, negative after a fault.
func readString(l ir.Lowering, at *types.Type, dst, addr, size *ir.Value, t *types.Type, cut func(*ir.Value) *ir.Value) *ir.Value {
	b := l.Builder()
	n := b.ReadStr(dst, addr, size, t.Size, kernelAddress(l, at))
	l.When(b.Bin(ir.OpSLt, n, b.Const(0)), func() { l.Count(ir.LossReadFault, nil) })
	if cut != nil {
		l.When(cut(n), func() { l.Count(ir.LossTruncated, nil) })
	}
	return n
}
