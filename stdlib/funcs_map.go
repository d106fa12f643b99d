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
				Params: []types.Param{mapParam, {Name: "key", Kind: types.KeyParam}},
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
	}
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
