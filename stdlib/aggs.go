package stdlib

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/native"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

const (
	maxHistBits   = 5
	maxLHist      = 1000 // buckets
	defaultSchema = 3
	maxDistSchema = 5
	log2Words     = 65 // octaves of a 64-bit value and one for 0
)

var valueParam = types.Param{Name: "n", Kind: types.IntParam}

// simple is the Agg function of an aggregation with a fixed number of words.
func simple(kind types.AggKind, words int) func(c *types.Call) *types.Agg {
	return func(c *types.Call) *types.Agg {
		a := &types.Agg{Kind: kind, Func: c.Node.Name.Text, Words: words}
		if len(c.Args) > 0 {
			v, literal := c.Const(0) // a literal has no sign of its own
			a.Signed = c.Args[0].Signed && !(literal && v >= 0)
		}
		return a
	}
}

func aggregations() []Func {
	return []Func{
		{
			Func: types.Func{
				Doc: types.Doc{Name: "count", Text: "Count how often this is reached.",
					Examples: []string{"tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }"}},
				Class: types.AggFunc, Agg: simple(types.CountAgg, 1),
			},
			Update: func(l ir.Lowering, _ *types.Agg, p, _ *ir.Value) { l.Add(p, 0, l.Builder().Const(1)) },
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "sum", Text: "Add up a number.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @bytes[comm] = sum(args.count); }"}},
				Class: types.AggFunc, Params: []types.Param{valueParam}, Agg: simple(types.SumAgg, 2),
			},
			Update: func(l ir.Lowering, _ *types.Agg, p, x *ir.Value) {
				l.Add(p, 0, x)
				l.Builder().Store(p, 8, 8, l.Builder().Const(1))
			},
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "min", Text: "Keep the least of all numbers.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @least = min(args.count); }"}},
				Class: types.AggFunc, Params: []types.Param{valueParam}, Agg: simple(types.MinAgg, 2),
			},
			Update: func(l ir.Lowering, a *types.Agg, p, x *ir.Value) { extreme(l, a, p, x, false) },
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "max", Text: "Keep the greatest of all numbers.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @most[pid] = max(args.count); }"}},
				Class: types.AggFunc, Params: []types.Param{valueParam}, Agg: simple(types.MaxAgg, 2),
			},
			Update: func(l ir.Lowering, a *types.Agg, p, x *ir.Value) { extreme(l, a, p, x, true) },
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "avg", Text: "Average a number.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @size = avg(args.count); }"}},
				Class: types.AggFunc, Params: []types.Param{valueParam}, Agg: simple(types.AvgAgg, 2),
			},
			Update: sumAndCount,
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "stats", Text: "Count, average and total of a number.",
					Examples: []string{"tracepoint:raw_syscalls:sys_enter { @ = stats(args.id); }"}},
				Class: types.AggFunc, Params: []types.Param{valueParam}, Agg: simple(types.StatsAgg, 2),
			},
			Update: sumAndCount,
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "hist", Text: "A histogram of powers of two; bits (0 to 5) cut every power into 2^bits equal parts.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @ = hist(args.count); }", "interval:s:1 { @ = hist(rand % 1000, 2); }"}},
				Class:  types.AggFunc,
				Params: []types.Param{valueParam, {Name: "bits", Kind: types.LiteralParam, Optional: true}},
				Check: func(c *types.Call) {
					if k, ok := c.Const(1); ok && (k < 0 || k > maxHistBits) {
						c.Errorf(1, "hist: bits got %d, want 0 to %d", k, maxHistBits)
					}
				},
				Agg: func(c *types.Call) *types.Agg {
					k, _ := c.Const(1)
					a := simple(types.HistAgg, (log2Words-int(k))<<k+1)(c)
					a.Args = []int64{k}
					return a
				},
			},
			Update: histogram,
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "lhist", Text: "A histogram of equal steps from min to max; what lies outside is counted in one bucket on each side.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @ = lhist(args.count, 0, 4096, 256); }"}},
				Class: types.AggFunc,
				Params: []types.Param{valueParam, {Name: "min", Kind: types.LiteralParam}, {Name: "max", Kind: types.LiteralParam},
					{Name: "step", Kind: types.LiteralParam}},
				Check: checkLHist,
				Agg: func(c *types.Call) *types.Agg {
					lo, _ := c.Const(1)
					hi, _ := c.Const(2)
					step, _ := c.Const(3)
					a := simple(types.LHistAgg, int((hi-lo)/step)+2)(c)
					a.Args = []int64{lo, hi, step}
					return a
				},
			},
			Update: linear,
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "tseries", Text: "A series over time: a value for each of the last intervals, whose length is in nanoseconds (100ms, 1s). The value is the last number of the interval, or what the fourth argument says: \"avg\", \"max\", \"min\" or \"sum\".",
					Examples: []string{"config = { unstable_tseries = enable }\ntracepoint:syscalls:sys_enter_read { @ = tseries(args.count, 1s, 20, \"sum\"); }"}},
				Class: types.AggFunc,
				Params: []types.Param{valueParam, {Name: "interval_ns", Kind: types.LiteralParam}, {Name: "intervals", Kind: types.LiteralParam},
					{Name: "kept", Kind: types.TextParam, Optional: true}},
				Check: checkTSeries,
				Agg: func(c *types.Call) *types.Agg {
					interval, _ := c.Const(1)
					n, _ := c.Const(2)
					a := simple(types.TSeriesAgg, types.TSeriesWords*int(n))(c)
					a.Args = []int64{interval, n, int64(tseriesMode(c))}
					return a
				},
			},
			Update: timeSeries,
		},
		{
			Func: types.Func{
				Doc: types.Doc{Name: "dist", Text: "A distribution: exact count, sum and a Prometheus native histogram, from which mean and percentiles are printed. resolution (0 to 5, 3 unless given) is the schema: 2^resolution buckets per power of two.",
					Examples: []string{"tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; }\ntracepoint:syscalls:sys_exit_read /@start[tid]/ { @lat[comm] = dist(nsecs - @start[tid]); delete(@start, tid); }"}},
				Class:  types.AggFunc,
				Params: []types.Param{valueParam, {Name: "resolution", Kind: types.LiteralParam, Optional: true}},
				Check: func(c *types.Call) {
					if s, ok := c.Const(1); ok && (s < 0 || s > maxDistSchema) {
						c.Errorf(1, "dist: resolution got %d, want 0 to %d", s, maxDistSchema)
					}
				},
				Agg: func(c *types.Call) *types.Agg {
					schema, ok := c.Const(1)
					if !ok {
						schema = defaultSchema
					}
					a := simple(types.DistAgg, 2+native.Words(int(schema)))(c)
					a.Args = []int64{schema}
					return a
				},
			},
			Update: func(l ir.Lowering, a *types.Agg, p, x *ir.Value) {
				b := l.Builder()
				if a.Signed {
					x = native.NotNegative(l, x)
				}
				l.Add(p, 0, b.Const(1))
				l.Add(p, 8, x)
				native.Observe(l, p, 16, x, int(a.Args[0]), 1)
			},
		},
	}
}

// extreme keeps x if nothing was kept yet or x lies further out.
func extreme(l ir.Lowering, a *types.Agg, p, x *ir.Value, greatest bool) {
	b := l.Builder()
	less := ir.OpULt
	if a.Signed {
		less = ir.OpSLt
	}
	keep, compare, next := b.Block(), b.Block(), b.Block()
	b.If(b.Load(p, 8, 8, false), compare, keep)
	b.SetBlock(compare)
	old := b.Load(p, 0, 8, false)
	if greatest {
		b.If(b.Bin(less, old, x), keep, next)
	} else {
		b.If(b.Bin(less, x, old), keep, next)
	}
	b.SetBlock(keep)
	b.Store(p, 0, 8, x)
	b.Store(p, 8, 8, b.Const(1))
	b.Jump(next)
	b.SetBlock(next)
}

func sumAndCount(l ir.Lowering, _ *types.Agg, p, x *ir.Value) {
	l.Add(p, 0, x)
	l.Add(p, 8, l.Builder().Const(1))
}

// histogram adds to bucket 0 for negative numbers, 1+v for v < 2^k, else to the part of its power of two:
// 1 + (e-k+1)*2^k + the k bits after the highest, where e is the position of the highest bit.
func histogram(l ir.Lowering, a *types.Agg, p, x *ir.Value) {
	b := l.Builder()
	k := a.Args[0]
	bump := func(position *ir.Value) { // after bucket 0
		l.Add(b.Index(p, b.Bound(position, int64(a.Words-2)), 8), 8, b.Const(1))
	}
	next := b.Block()
	if a.Signed {
		negative, positive := b.Block(), b.Block()
		b.If(b.Bin(ir.OpSLt, x, b.Const(0)), negative, positive)
		b.SetBlock(negative)
		l.Add(p, 0, b.Const(1))
		b.Jump(next)
		b.SetBlock(positive)
	}
	if k == 0 { // no branch, as there is none to predict in numbers of any magnitude
		bump(native.Length(l, x, a.Signed))
	} else {
		small, large := b.Block(), b.Block()
		b.If(b.Bin(ir.OpULt, x, b.Const(1<<k)), small, large)
		b.SetBlock(small)
		bump(x)
		b.Jump(next)
		b.SetBlock(large)
		e := native.Log2(l, x)
		part := b.Bin(ir.OpAnd, b.Bin(ir.OpShr, x, b.AddImm(e, -k)), b.Const(1<<k-1))
		octave := b.Bin(ir.OpShl, b.AddImm(e, 1-k), b.Const(k))
		bump(b.Bin(ir.OpAdd, octave, part))
	}
	b.Jump(next)
	b.SetBlock(next)
}

func checkLHist(c *types.Call) {
	lo, _ := c.Const(1)
	hi, _ := c.Const(2)
	step, _ := c.Const(3)
	switch {
	case step <= 0:
		c.Errorf(3, "lhist: step got %d, want at least 1", step)
	case hi <= lo:
		c.Errorf(2, "lhist: max got %d, want more than min, %d", hi, lo)
	case uint64(hi-lo)/uint64(step) > maxLHist:
		c.Errorf(-1, "lhist: too many buckets, got %d, want at most %d", uint64(hi-lo)/uint64(step), maxLHist)
	case (hi-lo)%step != 0:
		c.Errorf(3, "lhist: step %d does not divide the range from %d to %d", step, lo, hi)
	}
}

func linear(l ir.Lowering, a *types.Agg, p, x *ir.Value) {
	b := l.Builder()
	lo, hi, step := a.Args[0], a.Args[1], a.Args[2]
	less := ir.OpULt
	if a.Signed || lo < 0 {
		less = ir.OpSLt
	}
	below, from, above, inside, next := b.Block(), b.Block(), b.Block(), b.Block(), b.Block()
	if !a.Signed && lo < 0 { // what is negative as an int64 is a very large number
		small := b.Block()
		b.If(b.Bin(ir.OpSLt, x, b.Const(0)), above, small)
		b.SetBlock(small)
	}
	b.If(b.Bin(less, x, b.Const(lo)), below, from)
	b.SetBlock(below)
	l.Add(p, 0, b.Const(1))
	b.Jump(next)
	b.SetBlock(from)
	b.If(b.Bin(less, x, b.Const(hi)), inside, above)
	b.SetBlock(above)
	l.Add(p, 8*(a.Words-1), b.Const(1))
	b.Jump(next)
	b.SetBlock(inside)
	position := b.Bin(ir.OpUDiv, b.Bin(ir.OpSub, x, b.Const(lo)), b.Const(step))
	l.Add(b.Index(p, b.Bound(position, int64(a.Words-2)), 8), 8, b.Const(1))
	b.Jump(next)
	b.SetBlock(next)
}

// maxTSeries is how many intervals a time series has at most: the kernel's limit to the value that a CPU has of a map is
// 32 KiB.
const maxTSeries = 32 << 10 / (8 * types.TSeriesWords)

// tseriesModes are the names of a types.TSeriesMode, in order; the first has none.
const tseriesModes = "- avg max min sum"

// tseriesMode is the mode that a call asks for, -1 for an unknown one.
func tseriesMode(c *types.Call) types.TSeriesMode {
	if len(c.Args) < 4 {
		return types.TSeriesLast
	}
	name, _ := c.Node.Args[3].(*syntax.String)
	if at := slices.Index(strings.Fields(tseriesModes), name.Value); at > 0 {
		return types.TSeriesMode(at)
	}
	return -1
}

func checkTSeries(c *types.Call) {
	interval, _ := c.Const(1)
	n, _ := c.Const(2)
	switch {
	case c.Config.TSeries == types.UnstableError:
		c.Errorf(-1, "tseries() may still change and is not enabled").WithHint("config = { unstable_tseries = enable }")
	case interval <= 0:
		c.Errorf(1, "tseries: interval got %d, want at least 1", interval)
	case n <= 0 || n > maxTSeries:
		c.Errorf(2, "tseries: intervals got %d, want 1 to %d", n, maxTSeries)
	case tseriesMode(c) < 0:
		c.Errorf(3, "tseries: kept got an unknown word, want one of avg, max, min, sum")
	case c.Config.TSeries == types.UnstableWarn:
		c.Warnf(-1, "tseries() may still change").WithHint("config = { unstable_tseries = enable } takes this warning away")
	}
}

// timeSeries records a value in its interval; what is there of an older one is overwritten.
func timeSeries(l ir.Lowering, a *types.Agg, p, x *ir.Value) {
	b := l.Builder()
	interval, n, mode := a.Args[0], a.Args[1], types.TSeriesMode(a.Args[2])
	now := b.Bin(ir.OpAdd, b.Help(ir.HelperKtimeBoot), b.Load(l.Global(ir.GlobalTAI), 0, 8, false))
	number := b.Bin(ir.OpUDiv, now, b.Const(interval))
	p = b.Index(p, b.Bound(b.Bin(ir.OpUMod, number, b.Const(n)), n-1), 8*types.TSeriesWords)
	number = b.AddImm(number, 1)
	fresh, known, next := b.Block(), b.Block(), b.Block()
	keep := func() {
		b.Store(p, 8, 8, x)
		b.Jump(next)
	}
	b.If(b.Bin(ir.OpULt, b.Load(p, 0, 8, false), number), fresh, known)
	b.SetBlock(fresh)
	b.Store(p, 0, 8, number)
	b.Store(p, 16, 8, b.Const(1))
	if mode == types.TSeriesLast {
		b.Store(p, 16, 8, now)
	}
	keep()

	b.SetBlock(known)
	switch mode {
	case types.TSeriesLast:
		b.Store(p, 16, 8, now)
		keep()
	case types.TSeriesAvg, types.TSeriesSum:
		l.Add(p, 8, x)
		l.Add(p, 16, b.Const(1))
		b.Jump(next)
	default:
		less, old := ir.OpULt, b.Load(p, 8, 8, false)
		if a.Signed {
			less = ir.OpSLt
		}
		further := b.Block()
		if mode == types.TSeriesMax {
			b.If(b.Bin(less, old, x), further, next)
		} else {
			b.If(b.Bin(less, x, old), further, next)
		}
		b.SetBlock(further)
		keep()
	}
	b.SetBlock(next)
}
