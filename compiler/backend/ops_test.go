package backend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler/ir"
)

var boundary = []int64{0, 1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
	math.MaxInt64, math.MinInt64, math.MinInt64 + 1, -1, -2, -7, -128, -32768, -2147483648, -2147483649}

// TestScalarOps runs every scalar operation in the kernel: both operands from the context, and the second constant.
func TestScalarOps(t *testing.T) {
	needKernel(t)
	rng := rand.New(rand.NewPCG(1, 2))
	values := append([]int64(nil), boundary...)
	for range 10 {
		values = append(values, int64(rng.Uint64()), int64(rng.Uint32()))
	}
	var ops []ir.Op
	for op := ir.OpAdd; op <= ir.OpSLe; op++ {
		if op.Scalar() {
			ops = append(ops, op)
		}
	}
	for name, feat := range probed(t) {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, "map out array key 4 value %d entries 1\nfunc raw_tp ops \"\"\nb0:\n v0 = ctx\n v1 = load.u8 v0, 0\n v2 = load.u8 v0, 8\n v3 = mapvalue out\n", 8*(len(ops)+6))
			n := 4
			for i, op := range ops {
				y := ", v2"
				if op == ir.OpNeg || op == ir.OpNot {
					y = ""
				}
				fmt.Fprintf(&b, " v%d = %s v1%s\n store.8 v3, %d, v%d\n", n, op, y, 8*i, n)
				n++
			}
			for i, ext := range []string{"u1", "u2", "u4", "s1", "s2", "s4"} {
				fmt.Fprintf(&b, " v%d = ext.%s v1\n store.8 v3, %d, v%d\n", n, ext, 8*(len(ops)+i), n)
				n++
			}
			fmt.Fprintf(&b, " v%d = const 0\n ret v%d\n", n, n)
			p := parse(t, b.String())
			l := loadFunc(t, p, p.Funcs[0], feat)
			for _, x := range values {
				for _, y := range values {
					l.run(t, uint64(x), uint64(y))
					got := l.words(t, "out")
					for i, op := range ops {
						if want := uint64(ir.Eval(op, x, y)); got[i] != want {
							t.Errorf("%s(%#x, %#x): got %#x, want %#x", op, x, y, got[i], want)
						}
					}
					for i, w := range []uint8{1, 2, 4, 1, 2, 4} {
						if want := uint64(ir.EvalExt(x, w, i >= 3)); got[len(ops)+i] != want {
							t.Errorf("ext %d %v of %#x: got %#x, want %#x", w, i >= 3, x, got[len(ops)+i], want)
						}
					}
				}
			}
		})
	}
}

// TestConstOps has a constant operand on either side.
func TestConstOps(t *testing.T) {
	needKernel(t)
	for name, feat := range probed(t) {
		t.Run(name, func(t *testing.T) {
			for op := ir.OpAdd; op <= ir.OpSLe; op++ {
				if !op.Scalar() || op == ir.OpNeg || op == ir.OpNot {
					continue
				}
				var b strings.Builder
				fmt.Fprintf(&b, "map out array key 4 value %d entries 1\nfunc raw_tp ops \"\"\nb0:\n v0 = ctx\n v1 = load.u8 v0, 0\n v3 = mapvalue out\n", 16*len(boundary))
				n := 4
				for i, c := range boundary {
					fmt.Fprintf(&b, " v%d = const %d\n v%d = %s v1, v%d\n store.8 v3, %d, v%d\n", n, c, n+1, op, n, 16*i, n+1)
					fmt.Fprintf(&b, " v%d = %s v%d, v1\n store.8 v3, %d, v%d\n", n+2, op, n, 16*i+8, n+2)
					n += 3
				}
				fmt.Fprintf(&b, " v%d = const 0\n ret v%d\n", n, n)
				p := parse(t, b.String())
				l := loadFunc(t, p, p.Funcs[0], feat)
				for _, x := range boundary {
					l.run(t, uint64(x))
					got := l.words(t, "out")
					for i, c := range boundary {
						if want := uint64(ir.Eval(op, x, c)); got[2*i] != want {
							t.Errorf("%s(%#x, const %#x): got %#x, want %#x", op, x, c, got[2*i], want)
						}
						if want := uint64(ir.Eval(op, c, x)); got[2*i+1] != want {
							t.Errorf("%s(const %#x, %#x): got %#x, want %#x", op, c, x, got[2*i+1], want)
						}
					}
				}
			}
		})
	}
}
