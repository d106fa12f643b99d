package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// The address families of Linux.
const (
	familyInet  = 2
	familyInet6 = 10
)

// netFuncs are addresses of networks.
func netFuncs() []Func {
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "ntop", Text: "An IPv4 or IPv6 address, printed as inet_ntop(3) does: ntop(address) or ntop(family, address). The address is a number in network byte order or an array of 4 or 16 bytes, which tells the family unless it is given: 2 (AF_INET) or 10 (AF_INET6).",
					Examples: []string{`tracepoint:sock:inet_sock_set_state { printf("%s\n", ntop(args.daddr)); }`, `begin { print(ntop(2, 0x0100007f)); }`}},
				Pure: true, Params: []types.Param{{Name: "family_or_address", Kind: types.AnyParam}, {Name: "address", Kind: types.AnyParam, Optional: true}},
				Check: func(c *types.Call) {
					last := len(c.Args) - 1
					if last == 1 && !c.Args[0].Integer() {
						c.Errorf(0, "ntop() got '%s' for the address family, want an integer", c.Args[0])
					}
					n, literal := c.Const(0)
					if last == 1 && literal && n != familyInet && n != familyInet6 {
						c.Errorf(0, "ntop() got the address family %d, want 2 (AF_INET) or 10 (AF_INET6)", n)
					}
					t := c.Args[last]
					if size := byteArray(t); !t.Integer() && size != 4 && size != 16 {
						c.Errorf(last, "ntop() got '%s' for the address, want an integer or an array of 4 or 16 bytes", t)
					} else if last == 1 && literal && n == familyInet6 && size != 16 {
						c.Errorf(last, "ntop() got '%s' for the address, want an array of 16 bytes for AF_INET6", t)
					}
				},
				Result: func(*types.Call) *types.Type { return types.LateOf(types.Inet, "") },
			},
			FuncLower: ir.FuncLower{Into: ntopInto},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "macaddr", Text: "A MAC address, an array of 6 bytes, printed as 00:1A:2B:3C:4D:5E.",
					Examples: []string{"begin { print(macaddr((uint8[6])0x5e4d3c2b1a00)); }"}},
				Pure: true, Params: []types.Param{{Name: "address", Kind: types.AnyParam}},
				Check: func(c *types.Call) {
					if byteArray(c.Args[0]) != 6 {
						c.Errorf(0, "macaddr() got '%s' for 'address', want an array of 6 bytes", c.Args[0])
					}
				},
				Result: func(*types.Call) *types.Type { return types.LateOf(types.MACAddress, "") },
			},
			FuncLower: ir.FuncLower{Into: func(l ir.Lowering, c *syntax.Call, _ *types.Type, p *ir.Value, off int, _ bool) {
				l.Builder().Zero(p, off, 8)
				rawInto(l, c.Args[0], p, off, 6)
			}},
		},
	}
}

// byteArray is how many bytes an array of bytes has, 0 for another type. The arrays of char are strings.
func byteArray(t *types.Type) int {
	if t.Kind == types.String || t.Kind == types.Array && t.Elem.Char() {
		return t.Size
	}
	return 0
}

// rawInto copies n bytes of a value in memory to p+off.
func rawInto(l ir.Lowering, e syntax.Expr, p *ir.Value, off, n int) {
	b := l.Builder()
	l.When(l.Raw(e, b.Offset(p, int64(off)), b.Const(int64(n)), n), func() { l.Count(ir.LossReadFault, nil) })
}

func ntopInto(l ir.Lowering, c *syntax.Call, _ *types.Type, p *ir.Value, off int, _ bool) {
	b, last := l.Builder(), c.Args[len(c.Args)-1]
	size := byteArray(l.Type(last))
	family := b.Const(familyInet)
	if len(c.Args) > 1 {
		family = l.Scalar(c.Args[0])
	} else if size == 16 {
		family = b.Const(familyInet6)
	}
	var number *ir.Value
	if size == 0 {
		number = b.Ext(l.Scalar(last), 4, false)
	}
	b.Store(p, off, 8, family)
	b.Zero(p, off+8, 16)
	if number != nil {
		b.Store(p, off+8, 8, number)
	} else {
		rawInto(l, last, p, off+8, size)
	}
}
