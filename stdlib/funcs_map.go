package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

var mapParam = types.Param{Name: "map", Kind: types.MapParam}

func mapFuncs() []Func {
	async := func(kind ir.EventKind) ir.FuncLower {
		return void(func(l ir.Lowering, c *syntax.Call) {
			l.Emit(&ir.Event{Kind: kind, Map: l.Map(c.Args[0].(*syntax.Map))}, nil, ir.ForceWakeup)
		})
	}
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "clear", Text: "Remove every entry of a map. Happens in user space, in order with what is printed.",
					Examples: []string{"interval:s:1 { @n = count(); print(@n); clear(@n); }"}},
				Params: []types.Param{mapParam},
			},
			FuncLower: async(ir.EventClear),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "zero", Text: "Set every value of a map to zero and keep its keys. Happens in user space, in order with what is printed.",
					Examples: []string{"interval:s:1 { @n[cpu] = count(); print(@n); zero(@n); }"}},
				Params: []types.Param{mapParam},
			},
			FuncLower: async(ir.EventZero),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "delete", Text: "Remove one entry of a map; true if it was there. delete(@x[k]) is accepted too.",
					Examples: []string{"begin { @x[1] = 5; delete(@x, 1); }"}},
				Params: []types.Param{{Name: "map", Kind: types.PrintableParam}, {Name: "key", Kind: types.KeyParam, Optional: true}},
				Check:  checkDelete,
				Result: func(*types.Call) *types.Type { return types.Boolean },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				e := c.Args[0].(*syntax.Map)
				m := l.Map(e)
				keys := e.Index
				if len(c.Args) > 1 {
					keys = c.Args[1:]
				}
				if m.Key == nil {
					p := b.MapValue(m)
					was := b.Load(p, m.ValueSize-8, 8, false)
					b.Zero(p, 0, m.ValueSize)
					return was
				}
				key := l.Key(m, keys)
				r := b.Delete(m, key)
				l.Touch(m)
				return b.Bin(ir.OpEq, r, b.Const(0))
			}},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "has_key", Text: "Tell whether a map has an entry for a key.",
					Examples: []string{`begin { @x[1] = 5; if (has_key(@x, 1)) { printf("yes\n"); } }`}},
				Pure: true, Params: []types.Param{mapParam, {Name: "key", Kind: types.KeyParam}},
				Result: func(*types.Call) *types.Type { return types.Boolean },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				m := l.Map(c.Args[0].(*syntax.Map))
				key := l.Key(m, c.Args[1:])
				missing, join := b.Block(), b.Block(ir.Scalar)
				b.NullCheck(b.Lookup(m, key), missing)
				b.Jump(join, b.Const(1))
				b.SetBlock(missing)
				b.Jump(join, b.Const(0))
				b.SetBlock(join)
				return join.Params[0]
			}},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "find", Text: "Tell whether a map has an entry for a key; if so, the variable gets its value.",
					Examples: []string{`tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; }
tracepoint:syscalls:sys_exit_read { if (find(@start, tid, $start)) { @ = hist(nsecs - $start); delete(@start, tid); } }`}},
				Params: []types.Param{mapParam, {Name: "key", Kind: types.KeyParam}, {Name: "variable", Kind: types.OutParam}},
				Result: func(*types.Call) *types.Type { return types.Boolean },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				m := l.Map(c.Args[0].(*syntax.Map))
				return l.Find(m, l.Key(m, c.Args[1:2]), c.Args[2].(*syntax.Var))
			}},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "len", Text: "How many entries a map has, or how many frames a stack has.",
					Examples: []string{`interval:s:1 { @x[pid] = 1; printf("%d\n", len(@x)); }`, `profile:hz:99 { @ = hist(len(ustack)); }`}},
				Pure: true, Params: []types.Param{{Name: "map", Kind: types.PrintableParam}},
				Check:  checkLen,
				Result: func(*types.Call) *types.Type { return types.Int64 },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				if m, ok := c.Args[0].(*syntax.Map); ok && len(m.Index) == 0 {
					return l.Builder().MapLen(l.Map(m))
				}
				return stackLen(l, c.Args[0])
			}},
		},
	}
}

// checkLen takes a map with keys or a stack.
func checkLen(c *types.Call) {
	if _, ok := c.Node.Args[0].(*syntax.Map); ok && c.Args[0].Kind == types.Void {
		if keys, _ := c.Map(0); keys == 0 {
			c.Errorf(0, "len() got a map without keys, want one with keys, or a stack")
		}
	} else if c.Args[0].Kind != types.Stack {
		c.Errorf(0, "len() got '%s', want a map with keys, or a stack", c.Args[0])
	}
}

// stackLen is how many frames of a stack were kept, at most as many as it prints. The words after the last are zeros.
func stackLen(l ir.Lowering, e syntax.Expr) *ir.Value {
	b, t := l.Builder(), l.Type(e)
	depth := t.Kept()
	missing, join := b.Block(), b.Block(ir.Scalar)
	frames := b.NullCheck(b.Lookup(l.StackMap(depth), l.Memory(e, t)), missing)
	n, step := b.Const(0), 1
	for step*2 <= depth {
		step *= 2
	}
	for ; step > 0; step /= 2 { // is the frame so much further on there?
		at := b.AddImm(n, int64(step-1))
		word := b.Load(b.Index(frames, b.Bound(at, int64(depth-1)), 8), 0, 8, false)
		some := b.Bin(ir.OpShr, b.Bin(ir.OpOr, word, b.Un(ir.OpNeg, word)), b.Const(63))
		inside := b.Bin(ir.OpShr, b.AddImm(at, int64(-depth)), b.Const(63))
		n = b.Bin(ir.OpAdd, n, b.Bin(ir.OpMul, b.Const(int64(step)), b.Bin(ir.OpAnd, some, inside)))
	}
	b.Jump(join, b.Bound(n, int64(t.Len)))
	b.SetBlock(missing)
	b.Jump(join, b.Const(0))
	b.SetBlock(join)
	return join.Params[0]
}

// checkDelete takes delete(@m, key), delete(@m[key]) and delete(@scalar).
func checkDelete(c *types.Call) {
	m, ok := c.Node.Args[0].(*syntax.Map)
	if !ok {
		c.Errorf(0, "delete: got an expression, want a map such as @x")
		return
	}
	if len(m.Index) > 0 && len(c.Args) > 1 {
		c.Errorf(1, "delete: got the key twice").WithHint("write delete(@%s, key)", m.Text)
	}
	if len(m.Index) > 0 || len(c.Args) > 1 {
		return
	}
	switch keys, value := c.Map(0); {
	case keys > 0:
		c.Errorf(0, "delete: got no key for map '@%s'", m.Text).WithHint("write delete(@%s, key), or clear(@%s) to remove all", m.Text, m.Text)
	case value != nil && value.Kind == types.Aggregate:
		c.Errorf(0, "delete: an aggregation without a key is cleared with clear(@%s)", m.Text)
	}
}
