package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// trackedHooks are those whose arguments are pointers that the kernel knows the type of.
var trackedHooks = []types.HookKind{types.HookFentry, types.HookFexit, types.HookIter, types.HookRaw}

// pathName is a function, its parameter and the struct that this is, and parameters of others.
const pathName = "path"

// objectFuncs ask the kernel about its own objects. It answers only where it knows that a pointer leads to one: what is
// reached from the arguments of a probe.
func objectFuncs() []Func {
	return []Func{
		{
			Func: types.Func{Doc: types.Doc{Name: pathName, Text: "The path of a struct path of the kernel, such as args.file.f_path; size is the capacity of the text, max_strlen unless given. In iterators, and in functions that the kernel allows it in (filp_close, vfs_truncate, security_file_open and others).",
				Examples: []string{`iter:task_file { @[path(ctx.file.f_path)] = count(); }`}, Since: "path()"},
				Pure: true, Hooks: trackedHooks[:3], Where: "an iterator or an fentry probe", Params: []types.Param{{Name: pathName, Kind: types.AnyParam}, {Name: "size", Kind: types.LiteralParam, Optional: true}},
				Check: func(c *types.Call) {
					checkTracked(c, pathName)
					if n, given := c.Const(1); given && (n < 1 || n > ir.PathBytes) {
						c.Errorf(1, "path() got the size %d, want 1 to %d", n, ir.PathBytes)
					}
				},
				Result: func(c *types.Call) *types.Type {
					if n, given := c.Const(1); given && n > 0 {
						return types.StringOf(int(n))
					}
					return types.StringOf(c.Config.MaxStrlen)
				}},
			FuncLower: ir.FuncLower{Into: pathInto},
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "socket_cookie", Text: "The number that the kernel gives a socket, a struct sock, for as long as the machine runs.",
				Examples: []string{`rawtracepoint:tcp_destroy_sock { @[socket_cookie(args.sk)] = count(); }`}, Since: "socket_cookie()"},
				Pure: true, Hooks: trackedHooks, Where: "a rawtracepoint, an fentry probe or an iterator", Params: []types.Param{{Name: "sock", Kind: types.AnyParam}},
				Check:  func(c *types.Call) { checkTracked(c, "sock") },
				Result: func(*types.Call) *types.Type { return types.Uint64 }},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				sk := l.Tracked(c.Args[0])
				if sk == nil {
					l.Count(ir.LossReadFault, nil)
					return b.Const(0)
				}
				return b.Help(ir.HelperSocketCookie, sk)
			}},
		},
	}
}

// checkTracked wants the first argument to be a struct of the kernel that is reached from the arguments of the probe.
func checkTracked(c *types.Call, name string) {
	t := c.Args[0]
	if t.Kind == types.Pointer {
		t = t.Elem
	}
	if t.Kind != types.Struct || t.Name != name {
		c.Errorf(0, "%s() got '%s', want a 'struct %s' or a pointer to one", c.Node.Name.Text, c.Args[0], name)
		return
	}
	e := c.Node.Args[0]
	for {
		field, ok := e.(*syntax.Field)
		if !ok {
			break
		}
		e = field.X
		if _, direct := e.(*syntax.Name); !direct && ir.MayBeNull(c.Target.Hook.Kind, "", field.Name.Text) {
			c.Errorf(0, "%s(): the kernel takes '%s' of a struct for a pointer that may be null, which it does not follow", c.Node.Name.Text, field.Name.Text).
				WithHint("use a probe that has it among its own arguments")
			return
		}
	}
	if _, builtin := e.(*syntax.Name); !builtin {
		c.Errorf(0, "%s() wants what is reached from args or ctx by fields alone: the kernel follows no other pointers", c.Node.Name.Text)
	}
}

// pathInto lets the kernel write the path into memory of its own, since the kernel leaves other bytes after its end.
func pathInto(l ir.Lowering, c *syntax.Call, t *types.Type, p *ir.Value, off int, pad bool) {
	b := l.Builder()
	b.Zero(p, off, t.Memory())
	path := l.Tracked(c.Args[0])
	if path == nil {
		l.Count(ir.LossReadFault, nil)
		return
	}
	text := b.Addr(b.Slot(pathName, ir.PathBytes))
	n := b.Help(ir.HelperPath, path, text)
	l.When(b.Bin(ir.OpSLt, n, b.Const(0)), func() { l.Count(ir.LossReadFault, nil) })
	l.When(b.Bin(ir.OpSLt, b.Const(0), n), func() {
		l.When(b.Bin(ir.OpSLt, b.Const(int64(t.Size)), n), func() { l.Count(ir.LossTruncated, nil) })
		dst := p
		if off != 0 {
			dst = b.Offset(p, int64(off))
		}
		b.ReadStr(dst, text, b.Const(int64(t.Size)), t.Size, true)
	})
}
