package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// pointerFuncs say in which address space a pointer points.
func pointerFuncs() []Func {
	space := func(name, text, example string, user bool) Func {
		return Func{
			Func: types.Func{
				Doc:  types.Doc{Name: name, Text: text, Examples: []string{example}},
				Pure: true, Params: []types.Param{{Name: "pointer", Kind: types.AddressParam}},
				Result: func(c *types.Call) *types.Type {
					elem := types.None
					if c.Args[0].Kind == types.Pointer {
						elem = c.Args[0].Elem
					}
					return types.PointerTo(elem, user)
				},
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value { return l.Scalar(c.Args[0]) }},
		}
	}
	return []Func{
		space("kptr", "Mark a pointer as one into kernel memory.", "begin { $p = kptr((uint64 *)0); print($p); }", false),
		space("uptr", "Mark a pointer as one into memory of the process.", "begin { $p = uptr((uint64 *)0); print($p); }", true),
	}
}
