package stdlib

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

const lastSignal = 64

// signalHooks are the probes in whose process a signal means something.
var signalHooks = []types.HookKind{types.HookRaw, types.HookTracepoint, types.HookProfile, types.HookPerf, types.HookUprobe, types.HookUretprobe,
	types.HookKprobe, types.HookKretprobe, types.HookFentry, types.HookFexit}

// unsafeFuncs change the process that a probe finds itself in.
func unsafeFuncs() []Func {
	sends := func(name, text string, h ir.Helper) Func {
		return Func{
			Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{`uprobe:libc:abort { ` + name + `("SIGSTOP"); }`}},
				Unsafe: true, Hooks: signalHooks, Where: "a probe of the kernel or of a program, such as kprobe or uprobe",
				Params: []types.Param{{Name: "number", Kind: types.AnyParam}},
				Check: func(c *types.Call) {
					n, ok := c.Const(0)
					if s, text := c.Node.Args[0].(*syntax.String); text {
						if n, ok = int64(unix.SignalNum("SIG"+strings.TrimPrefix(s.Value, "SIG"))), true; n == 0 {
							c.Errorf(0, "unknown signal '%s'", s.Value)
							return
						}
						c.Notes = []int64{n}
						return
					}
					if !c.Args[0].Integer() || ok && (n < 1 || n > lastSignal) {
						c.Errorf(0, "%s() accepts a string literal or a positive integer", name)
					}
				}},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				var n *ir.Value
				if notes := l.Notes(c); notes != nil {
					n = b.Const(notes[0])
				} else {
					n = l.Scalar(c.Args[0])
				}
				l.When(b.Help(h, n), func() { l.Count(ir.LossSignal, nil) })
				return nil
			}},
		}
	}
	return []Func{
		sends("signal", "Send a signal to the process that is traced: a name such as \"SIGSTOP\", or a number. Needs --unsafe.", ir.HelperSignal),
		sends("signal_thread", "Send a signal to the thread that is traced: a name such as \"SIGSTOP\", or a number. Needs --unsafe.", ir.HelperSignalThread),
		{
			Func: types.Func{Doc: types.Doc{Name: "override", Text: "Let the probed function of the kernel return a number instead of being run, where the kernel allows it (CONFIG_BPF_KPROBE_OVERRIDE). Needs --unsafe.", Since: "override()"},
				Unsafe: true, Hooks: []types.HookKind{types.HookKprobe}, Where: "a kprobe", Params: []types.Param{{Name: "rc", Kind: types.IntParam}}},
			FuncLower: void(func(l ir.Lowering, c *syntax.Call) { l.Builder().Help(ir.HelperOverride, l.Scalar(c.Args[0])) }),
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "write_user", Text: "Write a value to an address of the process that is traced, at most length bytes of it; whether that worked. Needs --unsafe.",
				Examples: []string{`tracepoint:syscalls:sys_enter_getcpu { $x = 0; if (!write_user(args.cpup, $x, 4)) { @failed = count(); } }`}, Since: "write_user()"},
				Unsafe: true, Hooks: signalHooks, Where: "a probe of the kernel or of a program, such as kprobe or uprobe",
				Params: []types.Param{{Name: "address", Kind: types.AddressParam}, {Name: "value", Kind: types.AnyParam}, {Name: "length", Kind: types.LiteralParam}},
				Check: func(c *types.Call) {
					if n, _ := c.Const(2); n < 1 || n > int64(bytesOf(pointee(c.Args[1]))) {
						c.Errorf(2, "write_user() got %d for 'length', want 1 to %d: the size of '%s'", n, bytesOf(pointee(c.Args[1])), pointee(c.Args[1]))
					}
				},
				Result: func(*types.Call) *types.Type { return types.Boolean }},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				dst := l.Number(c.Args[0])
				n, _ := l.Const(c.Args[2])
				e := c.Args[1]
				write := func(src *ir.Value) *ir.Value {
					return b.Bin(ir.OpEq, b.Help(ir.HelperWriteUser, dst, src, b.Const(n)), b.Const(0))
				}
				t := l.Type(e)
				if pointee(t) == t {
					return write(l.Memory(e, t))
				}
				src := b.Addr(b.Slot("written", int(n+7)&^7)) // what the pointer points to
				unread, read, done := b.Block(), b.Block(), b.Block(ir.Scalar)
				b.If(b.Read(src, l.Number(e), int(n), true), unread, read)
				b.SetBlock(read)
				b.Jump(done, write(src))
				b.SetBlock(unread)
				b.Jump(done, b.Const(0))
				b.SetBlock(done)
				return done.Params[0]
			}},
		},
	}
}

// pointee is what a pointer to a variable points to, and any other value itself.
func pointee(t *types.Type) *types.Type {
	if t.Kind == types.Pointer && !t.User && t.Elem.Size > 0 {
		return t.Elem
	}
	return t
}
