package stdlib

import (
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// void makes a FuncLower of a function without a value.
func void(f func(l ir.Lowering, c *syntax.Call)) ir.FuncLower {
	return ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
		f(l, c)
		return nil
	}}
}

// eventArgs describes arguments by their types.
func eventArgs(l ir.Lowering, args []syntax.Expr) []ir.EventArg {
	out := make([]ir.EventArg, len(args))
	for i, a := range args {
		out[i].Type = l.Type(a)
	}
	return out
}

func outputFuncs() []Func {
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "printf", Text: "Print text. The format is that of C; %s prints any value, %r a buffer.",
					Examples: []string{`begin { printf("hello %s, pid %d\n", comm, pid); }`}},
				Params: formatParams, Check: func(c *types.Call) {
					if c.Target != nil && c.Target.Hook.Pin != "" {
						checkPinned(c)
					} else {
						checkFormat(c)
					}
				},
			},
			FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
				if l.Target().Hook.Pin != "" {
					printPinned(l, c)
				} else {
					emitFormatted(l, c, ir.EventPrintf, ir.NoWakeup)
				}
			}),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "print", Text: "Print a value, or a whole map: its greatest top entries, values divided by div. The histogram, series or statistics under a key are what the map holds when it is printed.",
					Examples: []string{"interval:s:1 { @n = count(); print(@n); }", `begin { print((1, "two")); }`}},
				Params: []types.Param{{Name: "value", Kind: types.PrintableParam}, {Name: "top", Kind: types.LiteralParam, Optional: true},
					{Name: "div", Kind: types.LiteralParam, Optional: true}},
				Check: func(c *types.Call) {
					whole := wholeMap(c.Node.Args[0])
					if len(c.Args) > 1 && whole == nil {
						c.Errorf(1, "print: top and div only work on a whole map")
					}
					if n, ok := c.Const(1); ok && whole != nil && n <= 0 {
						c.Errorf(1, "print: top got %d, want at least 1", n)
					}
					if d, ok := c.Const(2); ok && d <= 0 {
						c.Errorf(2, "print: div got %d, want at least 1", d)
					}
				},
			},
			FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
				if m := wholeMap(c.Args[0]); m != nil {
					ev := &ir.Event{Kind: ir.EventPrintMap, Map: l.Map(m)}
					if len(c.Args) > 1 {
						ev.Top, _ = l.Const(c.Args[1])
					}
					if len(c.Args) > 2 {
						ev.Div, _ = l.Const(c.Args[2])
					}
					l.Emit(ev, nil, ir.ForceWakeup)
					return
				}
				if m, ok := c.Args[0].(*syntax.Map); ok && l.Type(m).Kind == types.Aggregate {
					ev := &ir.Event{Kind: ir.EventPrintMap, Map: l.Map(m)}
					for _, t := range keyTypes(ev.Map.Key, len(m.Index)) {
						ev.Args = append(ev.Args, ir.EventArg{Type: t})
					}
					l.Emit(ev, m.Index, ir.ForceWakeup)
					return
				}
				l.Emit(&ir.Event{Kind: ir.EventPrintValue, Args: eventArgs(l, c.Args[:1])}, c.Args[:1], ir.NoWakeup)
			}),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "time", Text: "Print the time of day; the format is that of strftime(3), %H:%M:%S and a line end unless given.",
					Examples: []string{`interval:s:1 { time("%H:%M:%S tick\n"); }`}},
				Params: []types.Param{{Name: "format", Kind: types.TextParam, Optional: true}},
			},
			FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
				format := "%H:%M:%S\n"
				if len(c.Args) > 0 {
					format = c.Args[0].(*syntax.String).Value
				}
				l.Emit(&ir.Event{Kind: ir.EventTime, Format: format}, nil, ir.NoWakeup)
			}),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "exit", Text: "End the script, with an exit status when given. What was recorded before is printed.",
					Examples: []string{`begin { printf("bye\n"); exit(); }`, "interval:s:5 { exit(3); }"}},
				Params: []types.Param{{Name: "status", Kind: types.IntParam, Optional: true}},
			},
			FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
				l.Emit(&ir.Event{Kind: ir.EventExit, Args: eventArgs(l, c.Args)}, c.Args, ir.ForceWakeup)
				l.Finish()
			}),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "join", Text: "Print an array of strings that ends with a null pointer, such as the arguments of a program, with blanks or separator in between. At most 16 strings of 1023 bytes.",
					Examples: []string{`tracepoint:syscalls:sys_enter_execve { join(args.argv); }`, `tracepoint:syscalls:sys_enter_execve { join(args.argv, ","); }`}},
				Params: []types.Param{{Name: "strings", Kind: types.AddressParam}, {Name: "separator", Kind: types.TextParam, Optional: true}},
			},
			FuncLower: ir.FuncLower{
				Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
					between := " "
					if len(c.Args) > 1 {
						between = c.Args[1].(*syntax.String).Value
					}
					texts := []*types.Type{types.Uint64}
					for range ir.JoinTexts {
						texts = append(texts, types.StringOf(ir.JoinSize))
					}
					ev := &ir.Event{Kind: ir.EventJoin, Format: between, Args: []ir.EventArg{{Type: types.TupleOf(texts...)}}}
					l.Emit(ev, []syntax.Expr{c}, ir.NoWakeup)
					return nil
				},
				Into: joinInto, // of the call itself, into its record
			},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "cat", Text: "Print a file, whose path is given as to printf. At most max_cat_bytes of it.",
					Examples: []string{`interval:s:1 { cat("/proc/loadavg"); }`, `begin { cat("/proc/%d/cmdline", 1); exit(); }`}},
				Params: formatParams, Check: checkFormat,
			},
			FuncLower: formatted(ir.EventCat, ir.ForceWakeup),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "system", Text: "Run a shell command, given as to printf, and print its output. The script waits for it. Needs --unsafe.",
					Examples: []string{`interval:s:5 { system("ps -p %d", pid); }`}},
				Params: formatParams, Check: checkFormat, Unsafe: true,
			},
			FuncLower: formatted(ir.EventSystem, ir.ForceWakeup),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "errorf", Text: "Print an error among the messages, given as to printf, with its place in the script. The script goes on.",
					Examples: []string{`interval:s:1 { errorf("no events for %d seconds", 1); }`}},
				Params: formatParams, Check: checkFormat,
			},
			FuncLower: formatted(ir.EventError, ir.NoWakeup),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "warnf", Text: "Print a warning among the messages, given as to printf, with its place in the script; nothing with --no-warnings.",
					Examples: []string{`tracepoint:syscalls:sys_exit_read /args.ret < 0/ { warnf("%s: error %d", comm, args.ret); }`}},
				Params: formatParams, Check: checkFormat,
			},
			FuncLower: formatted(ir.EventWarning, ir.NoWakeup),
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "assert", Text: "End the script with the exit status 1 and an error, with its place in the script, unless the condition holds.",
					Examples: []string{`begin { assert(sizeof(uint64) == 8, "a word has 8 bytes"); }`}},
				Params: []types.Param{{Name: "condition", Kind: types.AddressParam}, {Name: "message", Kind: types.TextParam}},
			},
			FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
				b := l.Builder()
				l.When(b.Bin(ir.OpEq, l.Scalar(c.Args[0]), b.Const(0)), func() {
					message := strings.ReplaceAll(c.Args[1].(*syntax.String).Value, "%", "%%")
					l.Emit(&ir.Event{Kind: ir.EventError, Format: message}, nil, ir.NoWakeup)
					l.Emit(&ir.Event{Kind: ir.EventExit, Status: 1}, nil, ir.ForceWakeup)
					l.Finish()
				})
			}),
		},
	}
}

// formatParams are those of functions that print text as printf does.
var formatParams = []types.Param{{Name: "format", Kind: types.FormatParam}, {Name: "args", Kind: types.AnyParam, Repeated: true}}

// formatted lowers a call of such a function to an event.
func formatted(kind ir.EventKind, flags int64) ir.FuncLower {
	return void(func(l ir.Lowering, c *syntax.Call) { emitFormatted(l, c, kind, flags) })
}

func emitFormatted(l ir.Lowering, c *syntax.Call, kind ir.EventKind, flags int64) {
	format := c.Args[0].(*syntax.String).Value
	l.Emit(&ir.Event{Kind: kind, Format: format, Args: eventArgs(l, c.Args[1:])}, c.Args[1:], flags)
}

// joinInto writes how many strings there are, and the strings.
func joinInto(l ir.Lowering, c *syntax.Call, _ *types.Type, p *ir.Value, off int, _ bool) {
	b := l.Builder()
	array, kernel := l.Scalar(c.Args[0]), kernelAddress(l, l.Type(c.Args[0]))
	pointer := b.Addr(b.Slot("pointer", 8))
	end := b.Block()
	for i := range ir.JoinTexts + 1 {
		b.Store(p, off, 8, b.Const(int64(i)))
		l.When(b.Read(pointer, b.AddImm(array, int64(8*i)), 8, kernel), func() { l.Count(ir.LossReadFault, nil) })
		addr, more := b.Load(pointer, 0, 8, false), b.Block()
		b.If(addr, more, end)
		b.SetBlock(more)
		if i == ir.JoinTexts { // there is no room for another one
			l.Count(ir.LossTruncated, nil)
			break
		}
		n := b.ReadStr(b.Offset(p, int64(off+8+i*ir.JoinSize)), addr, b.Const(ir.JoinSize), ir.JoinSize, kernel)
		l.When(b.Bin(ir.OpSLt, n, b.Const(0)), func() { l.Count(ir.LossReadFault, nil) })
		l.When(b.Bin(ir.OpEq, n, b.Const(ir.JoinSize)), func() { l.Count(ir.LossTruncated, nil) })
	}
	b.Jump(end)
	b.SetBlock(end)
}

// keyTypes are the types of the expressions that make a key.
func keyTypes(key *types.Type, n int) []*types.Type {
	if n == 1 {
		return []*types.Type{key}
	}
	return key.Elems
}

// wholeMap is the map when e is one without a key, nil otherwise.
func wholeMap(e syntax.Expr) *syntax.Map {
	if m, ok := e.(*syntax.Map); ok && len(m.Index) == 0 {
		return m
	}
	return nil
}

func checkFormat(c *types.Call) {
	name := c.Node.Name.Text
	directives, err := types.ParseFormat(c.Node.Args[0].(*syntax.String).Value)
	if err != nil {
		c.Errorf(0, "%s: %s", name, err)
		return
	}
	want := 0
	for _, d := range directives {
		if d.Verb == "" {
			continue
		}
		if d.StarW {
			want++
		}
		if d.StarP {
			want++
		}
		want++
	}
	got := len(c.Args) - 1
	if got != want {
		few := "not enough"
		if got > want {
			few = "too many"
		}
		c.Errorf(-1, "%s: %s arguments for format string (%d supplied, %d expected)", name, few, got, want)
		return
	}
	at := 1
	for _, d := range directives {
		if d.Verb == "" {
			continue
		}
		for _, star := range []bool{d.StarW, d.StarP} {
			if star {
				if !c.Args[at].Integer() {
					c.Errorf(at, "%s: '*' wants an integer, got '%s'", name, c.Args[at])
				}
				at++
			}
		}
		if m, ok := c.Node.Args[at].(*syntax.Map); ok && c.Args[at].Kind == types.Void {
			c.Errorf(at, "%s: cannot print the whole map @%s with %%%s", name, m.Text, d.Verb).WithHint("use print(@%s)", m.Text)
		} else if !d.Accepts(c.Args[at]) {
			c.Errorf(at, "%s: %%%s expects a value of another type, got '%s'", name, d.Verb, c.Args[at])
		}
		at++
	}
}
