package stdlib

import (
	"math/bits"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// maxErrno is the highest error number that the kernel hides in a pointer (MAX_ERRNO of include/linux/err.h).
const maxErrno = 4095

func numberFuncs() []Func {
	return []Func{
		{
			Func: types.Func{Doc: types.Doc{Name: "bswap", Text: "An integer with its bytes in the other order.", Examples: []string{`begin { printf("%x\n", bswap((uint16)0x1234)); }`}},
				Pure: true, Params: []types.Param{{Name: "n", Kind: types.IntParam}},
				Check: func(c *types.Call) {
					if v, ok := c.Const(0); ok {
						c.Fold(int64(bits.ReverseBytes64(uint64(v)) >> (64 - 8*c.Args[0].Size)))
					}
				},
				Result: func(c *types.Call) *types.Type { return types.IntOf(c.Args[0].Size, false) }},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				return swap(l.Builder(), l.Scalar(c.Args[0]), l.Type(c.Args[0]).Size)
			}},
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "is_err", Text: "Whether a pointer is an error number, as functions of the kernel return them.",
				Examples: []string{`kretprobe:getname_flags /is_err(retval)/ { @ = count(); }`}},
				Pure: true, Params: []types.Param{{Name: "pointer", Kind: types.AddressParam}},
				Result: func(*types.Call) *types.Type { return types.Boolean }},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				return b.Bin(ir.OpULe, b.Const(-maxErrno), l.Number(c.Args[0]))
			}},
		},
	}
}

// swap reverses the bytes of an integer: neighbours change places, then pairs, then halves.
func swap(b *ir.Builder, v *ir.Value, size int) *ir.Value {
	v = b.Ext(v, size, false)
	for _, s := range []struct {
		bits int
		mask int64
	}{{8, 0x00ff00ff00ff00ff}, {16, 0x0000ffff0000ffff}, {32, 0x00000000ffffffff}} {
		if s.bits >= 8*size {
			break
		}
		mask, by := b.Const(s.mask), b.Const(int64(s.bits))
		v = b.Bin(ir.OpOr, b.Bin(ir.OpShl, b.Bin(ir.OpAnd, v, mask), by), b.Bin(ir.OpAnd, b.Bin(ir.OpShr, v, by), mask))
	}
	return v
}
