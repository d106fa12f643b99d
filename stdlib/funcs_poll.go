package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/poll"
)

// million is the parts that ratios are counted in.
const million = 1_000_000

// pollFuncs read, in user space, what the kernel or a service counts itself. Their arguments are literals: everything is
// read before the probe runs, which does not run when something could not be read.
func pollFuncs() []Func {
	text := func(name string) types.Param { return types.Param{Name: name, Kind: types.TextParam} }
	optional := func(name string, kind types.ParamKind) types.Param {
		return types.Param{Name: name, Kind: kind, Optional: true}
	}
	reader := func(name, doc, example string, params []types.Param, check func(c *types.Call), input func(args []string, scale int64) *ir.Input) Func {
		return Func{
			Func: types.Func{
				Doc: types.Doc{Name: name, Text: doc, Examples: []string{example}}, Params: params, Hooks: []types.HookKind{types.HookPoll}, Where: "a poll probe, such as poll:1s",
				Check:  check,
				Result: func(*types.Call) *types.Type { return types.Uint64 },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				var args []string
				scale := int64(1)
				for _, a := range c.Args {
					if s, ok := a.(*syntax.String); ok {
						args = append(args, s.Value)
					} else if n, ok := l.Const(a); ok {
						scale = n
					}
				}
				in := input(args, scale)
				in.Size = 8
				return l.Builder().Load(l.Input(in), 0, 8, false)
			}},
		}
	}
	argument := func(args []string, i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	loopback := func(c *types.Call) {
		if err := poll.CheckURL(c.Node.Args[0].(*syntax.String).Value); err != nil {
			c.Errorf(0, "%s() %s", c.Node.Name.Text, err)
		}
	}
	return []Func{
		reader("cgstat", "A number from a file of the cgroup that a poll probe is about, or of the root: the value of a key, or of a file that holds one number. \"max\" is the greatest integer. Finds the file in cgroup v1 and v2.",
			"sli throttled[cgroup] { poll:1s:cgroup:/* { advance(cgstat(\"cpu.stat\", \"nr_throttled\"), cgstat(\"cpu.stat\", \"nr_periods\"), args.name); } }",
			[]types.Param{text("file"), optional("key", types.TextParam)}, nil,
			func(args []string, _ int64) *ir.Input {
				return &ir.Input{File: args[0], Number: func(at ir.Site) (uint64, error) {
					return poll.Cgroup(at.Cgroup, args[0], argument(args, 1))
				}}
			}),
		reader("read", "A number from a file, multiplied by scale: the value of a key (\"MemFree\", \"Tcp RetransSegs\"), or the first number. Sizes in kB become bytes.",
			"poll:1s { @free = read(\"/proc/meminfo\", \"MemFree\"); @load = read(\"/proc/loadavg\", \"\", 100); }",
			[]types.Param{text(pathName), optional("key", types.TextParam), optional("scale", types.LiteralParam)}, nil,
			func(args []string, scale int64) *ir.Input {
				return &ir.Input{Number: func(ir.Site) (uint64, error) { return poll.File(args[0], argument(args, 1), scale) }}
			}),
		reader("psi", "Pressure stall information of a cgroup's poll probe, or of the machine: psi(\"memory\", \"some\", \"avg10\") in millionths of the time, \"total\" in microseconds.",
			"poll:1s { @stall = psi(\"memory\", \"some\", \"avg10\"); }",
			[]types.Param{text("resource"), text("kind"), text("field")}, func(c *types.Call) {
				for i, known := range [][]string{{"cpu", "memory", "io", "irq"}, {"some", "full"}, {"avg10", "avg60", "avg300", "total"}} {
					got, found := c.Node.Args[i].(*syntax.String).Value, false
					for _, k := range known {
						found = found || k == got
					}
					if !found {
						c.Errorf(i, "psi() got '%s', want one of %q", got, known)
					}
				}
			},
			func(args []string, _ int64) *ir.Input {
				return &ir.Input{Number: func(at ir.Site) (uint64, error) { return poll.Pressure(at.Cgroup, args[0], args[1], args[2]) }}
			}),
		reader("prom", "The value of a Prometheus metric on loopback, multiplied by scale; series that match are added up: prom(\"http://127.0.0.1:9100/metrics\", \"node_load1\", 100).",
			"poll:10s { @sent = prom(\"http://127.0.0.1:9100/metrics\", \"node_network_transmit_bytes_total{device='eth0'}\"); }",
			[]types.Param{text("url"), text("series"), optional("scale", types.LiteralParam)}, func(c *types.Call) {
				loopback(c)
				if _, err := poll.ParseSeries(c.Node.Args[1].(*syntax.String).Value); err != nil {
					c.Errorf(1, "prom() %s", err)
				}
			},
			func(args []string, scale int64) *ir.Input {
				return &ir.Input{Number: func(ir.Site) (uint64, error) { return poll.Prometheus(args[0], args[1], scale) }}
			}),
		reader("expvar", "A number from a JSON document on loopback, such as that of Go's expvar, multiplied by scale: expvar(\"http://127.0.0.1:6060/debug/vars\", \"memstats.NumGC\").",
			"poll:10s { @gc = expvar(\"http://127.0.0.1:6060/debug/vars\", \"memstats.NumGC\"); }",
			[]types.Param{text("url"), text(pathName), optional("scale", types.LiteralParam)}, loopback,
			func(args []string, scale int64) *ir.Input {
				return &ir.Input{Number: func(ir.Site) (uint64, error) { return poll.JSON(args[0], args[1], scale) }}
			}),
		{
			Func: types.Func{
				Doc: types.Doc{Name: "ratio", Text: "The number a divided by b in millionths, as an sli with unit = ratio takes it. Both are unsigned.",
					Examples: []string{"poll:10s { @used = ratio(read(\"/proc/meminfo\", \"MemFree\"), read(\"/proc/meminfo\", \"MemTotal\")); }"}},
				Pure: true, Params: []types.Param{{Name: "a", Kind: types.IntParam}, {Name: "b", Kind: types.IntParam}},
				Result: func(*types.Call) *types.Type { return types.Uint64 },
			},
			FuncLower: ir.FuncLower{Scalar: ratioOf},
		},
	}
}

// ratioOf is a*10^6/b. Where the product would not fit, b is divided instead; a b of 0 is counted as a division by zero
// and gives 1, as every such division does.
func ratioOf(l ir.Lowering, c *syntax.Call) *ir.Value {
	b := l.Builder()
	x, y := l.Scalar(c.Args[0]), l.Scalar(c.Args[1])
	l.When(b.Bin(ir.OpEq, y, b.Const(0)), func() { l.Count(ir.LossDivideByZero, nil) })
	none, some, large, small, done := b.Block(), b.Block(), b.Block(), b.Block(), b.Block(ir.Scalar)
	b.If(y, some, none)
	b.SetBlock(none)
	b.Jump(done, b.Const(1))
	b.SetBlock(some)
	b.If(b.Bin(ir.OpULt, x, b.Const(1<<44)), small, large)
	b.SetBlock(small)
	b.Jump(done, b.Bin(ir.OpUDiv, b.Bin(ir.OpMul, x, b.Const(million)), y))
	b.SetBlock(large)
	part := b.AddImm(b.Bin(ir.OpUDiv, y, b.Const(million)), 0)
	tiny, fine := b.Block(), b.Block()
	b.If(part, fine, tiny)
	b.SetBlock(tiny) // more than 2^44 times as much: no ratio that anybody compares
	b.Jump(done, b.Const(1<<62))
	b.SetBlock(fine)
	b.Jump(done, b.Bin(ir.OpUDiv, x, part))
	b.SetBlock(done)
	return done.Params[0]
}
