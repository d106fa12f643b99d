package stdlib

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// typeFuncs are known when the script is compiled: they ask for types, or stop the compilation.
func typeFuncs() []Func {
	ask := func(name, text, example string, is func(c *types.Call) bool) Func {
		return Func{
			Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}},
				Pure: true, Params: []types.Param{{Name: "value", Kind: types.AnyParam}},
				Check: func(c *types.Call) {
					if is(c) {
						c.Fold(1)
					} else {
						c.Fold(0)
					}
				},
				Result: func(*types.Call) *types.Type { return types.Boolean }},
			FuncLower: nothing,
		}
	}
	kind := func(k types.Kind) func(c *types.Call) bool {
		return func(c *types.Call) bool { return c.Args[0].Kind == k }
	}
	return []Func{
		ask("is_str", "Whether a value is a string. The value is not evaluated.", `begin { print(is_str(comm)); }`, kind(types.String)),
		ask("is_ptr", "Whether a value is a pointer. The value is not evaluated.", `begin { print(is_ptr((int8 *)0)); }`, kind(types.Pointer)),
		ask("is_array", "Whether a value is an array. The value is not evaluated.", `begin { print(is_array((uint8[8])nsecs)); }`, kind(types.Array)),
		ask("is_integer", "Whether a value is an integer. The value is not evaluated.", `begin { print(is_integer(pid)); }`, kind(types.Int)),
		ask("is_unsigned_integer", "Whether a value is an integer without a sign. The value is not evaluated.", `begin { print(is_unsigned_integer(pid)); }`,
			func(c *types.Call) bool { return c.Args[0].Kind == types.Int && !c.Args[0].Signed }),
		ask("is_literal", "Whether an expression is a literal, such as 1, true or \"text\".", `begin { print(is_literal(1)); }`,
			func(c *types.Call) bool {
				switch c.Node.Args[0].(type) {
				case *syntax.Int, *syntax.Bool, *syntax.String:
					return true
				}
				return false
			}),
		{
			Func: types.Func{Doc: types.Doc{Name: "static_assert", Text: "Stop the compilation with a message unless a condition is known to hold.",
				Examples: []string{`begin { static_assert(sizeof(uint64) == 8, "a word has 8 bytes"); }`}},
				Params: []types.Param{{Name: "condition", Kind: types.LiteralParam}, {Name: "message", Kind: types.TextParam}},
				Check: func(c *types.Call) {
					if v, _ := c.Const(0); v == 0 && !c.Dead {
						c.Errorf(-1, "%s", c.Text(1))
					}
				}},
			FuncLower: nothing,
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "fail", Text: "Stop the compilation with a message, unless the condition of an if around it is known not to hold. The arguments are literals.",
				Examples: []string{`begin { if (sizeof(uint64) != 8) { fail("a word has %d bytes", sizeof(uint64)); } }`}},
				Params: []types.Param{{Name: "format", Kind: types.FormatParam}, {Name: "args", Kind: types.AnyParam, Repeated: true}},
				Check:  checkFail},
			FuncLower: nothing,
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "container_of", Text: "The struct that a pointer to one of its fields points into.",
				Examples: []string{`begin { $p = kptr((uint64 *)0); print(container_of($p, struct task_struct, utime)); }`}},
				Pure: true, Params: []types.Param{{Name: "pointer", Kind: types.AddressParam}, {Name: "type", Kind: types.TypeParam}, {Name: "field", Kind: types.FieldParam}},
				Result: func(c *types.Call) *types.Type {
					return types.PointerTo(c.Args[1], c.Args[0].Kind == types.Pointer && c.Args[0].User)
				}},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				at, _ := l.Const(c.Args[2])
				return l.Builder().AddImm(l.Number(c.Args[0]), -at)
			}},
		},
	}
}

// nothing is the lowering of calls that leave nothing to be done.
var nothing = void(func(ir.Lowering, *syntax.Call) {})

// checkFail formats the message with the literals and reports it.
func checkFail(c *types.Call) {
	report, wrong := c.Errorf, false
	c.Errorf = func(i int, format string, args ...any) *source.Diagnostic {
		wrong = true
		return report(i, format, args...)
	}
	checkFormat(c)
	directives, err := types.ParseFormat(c.Text(0))
	if wrong || err != nil {
		return
	}
	values := make([]any, len(c.Args))
	for i := 1; i < len(c.Args); i++ {
		if v, ok := c.Const(i); ok {
			values[i] = v
		} else if s, ok := c.Node.Args[i].(*syntax.String); ok {
			values[i] = s.Value
		} else {
			c.Errorf(i, "fail() wants literals: it is evaluated when the script is compiled")
			return
		}
	}
	if c.Dead {
		return
	}
	var b strings.Builder
	at := 1
	next := func() any {
		at++
		if at > len(values) {
			return nil
		}
		return values[at-1]
	}
	for _, d := range directives {
		if d.Verb == "" {
			b.WriteString(d.Literal)
			continue
		}
		width, prec := d.Width, d.Prec
		if d.StarW {
			n, _ := next().(int64)
			width = int(n)
		}
		if d.StarP {
			n, _ := next().(int64)
			prec = int(n)
		}
		b.WriteString(formatLiteral(d, width, prec, next()))
	}
	c.Errorf(-1, "%s", b.String())
}

// formatLiteral prints one literal as a directive says.
func formatLiteral(d types.Directive, width, prec int, v any) string {
	format := "%" + d.Flags
	if width >= 0 {
		format += strconv.Itoa(width)
	}
	if prec >= 0 {
		format += "." + strconv.Itoa(prec)
	}
	n, isInt := v.(int64)
	switch d.Verb {
	case "s":
		return fmt.Sprintf(format+"s", fmt.Sprint(v))
	case "u":
		return fmt.Sprintf(format+"d", uint64(n))
	case "x", "X", "o":
		return fmt.Sprintf(format+d.Verb, uint64(n))
	case "p":
		return fmt.Sprintf(format+"s", fmt.Sprintf("0x%x", uint64(n)))
	case "c":
		return fmt.Sprintf(format+"c", rune(n))
	}
	if !isInt {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf(format+"d", n)
}
