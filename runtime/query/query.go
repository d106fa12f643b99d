// Package query computes expressions over what a script has counted: maps, indicators and objectives. The shell's prompt and
// the assertions of tests read them.
//
// Numbers are floating-point, with the unit that is known of them. Nothing is estimated: counts and sums are the kernel's
// words, percentiles the geometric middle of the bucket that they lie in. This package changes nothing of what it reads. Start
// at Evaluator.Eval.
package query

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
)

// Value is the result of an expression: a number in a unit, a text, or a map to be printed.
type Value struct {
	Kind      Kind
	Num       float64 // in observed units: nanoseconds, bytes; NaN when there is no data
	Unit      check.Unit
	PerSecond bool
	Text      string
}

// Kind says what a Value is.
type Kind uint8

// The kinds.
const (
	Number  Kind = iota
	Text         // a string
	Printed      // rows of text, ended
)

func (v Value) String() string {
	switch {
	case v.Kind != Number:
		return v.Text
	case math.IsNaN(v.Num):
		return "no data"
	}
	s := ""
	switch {
	case v.Unit != check.NoUnit && v.Num < 0:
		s = "-" + export.Quantity(v.Unit, -v.Num)
	case v.Unit != check.NoUnit:
		s = export.Quantity(v.Unit, v.Num)
	case v.Num == math.Trunc(v.Num) && math.Abs(v.Num) < 1<<53:
		s = strconv.FormatInt(int64(v.Num), 10)
	case math.Abs(v.Num) >= 1000:
		s = strconv.FormatFloat(v.Num, 'f', 1, 64)
	default:
		s = strconv.FormatFloat(v.Num, 'g', 4, 64)
	}
	if v.PerSecond {
		s += "/s"
	}
	return s
}

// Evaluator computes expressions from what the kernel holds.
type Evaluator struct {
	Source   Source
	Universe types.Universe
	Colour   bool             // of maps
	Vars     map[string]Value // $variables, without the dollar; nil where there are none
	Elapsed  time.Duration    // since Measure, 0 without

	Func func(c *syntax.Call) (v Value, ok bool, err error) // more functions; nil for none

	began map[string]float64 // of rate(), by the text of its argument
}

// Source is what expressions read.
type Source interface {
	Object() *compiler.Object
	Values() export.Values
	Snapshot(m *ir.Map) (*agg.Snapshot, error)
	Series(l *lower.SLILayout) ([]agg.Series, error)
	SLOs() ([]export.SLOReport, error)
}

// Rate is the name of the function that needs time.
const Rate = "rate"

// Rates tells whether something that changes is asked for: then Measure wants to be called, and Elapsed to be set, before Eval.
func (e *Evaluator) Rates(args []syntax.Expr) bool {
	found := false
	for _, a := range args {
		syntax.Walk(a, func(n syntax.Node) bool {
			c, ok := n.(*syntax.Call)
			found = found || ok && c.Name.Text == Rate
			return true
		})
	}
	return found
}

// Measure notes where the arguments of rate() begin.
func (e *Evaluator) Measure(x syntax.Expr) error {
	var failed error
	syntax.Walk(x, func(n syntax.Node) bool {
		if c, ok := n.(*syntax.Call); ok && c.Name.Text == Rate && len(c.Args) == 1 && failed == nil {
			var d *Data
			if d, failed = e.Data(c.Args[0]); failed == nil {
				if e.began == nil {
					e.began = map[string]float64{}
				}
				e.began[syntax.ExprString(c.Args[0])] = d.Total()
			}
		}
		return failed == nil
	})
	return failed
}

func wrongf(format string, args ...any) (Value, error) { return Value{}, fmt.Errorf(format, args...) }

// Eval computes an expression.
func (e *Evaluator) Eval(x syntax.Expr) (Value, error) {
	switch x := x.(type) {
	case *syntax.Int:
		v := Value{Num: float64(x.Value)}
		switch x.Unit {
		case syntax.DurationUnit:
			v.Unit = check.Seconds
		case syntax.SizeUnit:
			v.Unit = check.Bytes
		}
		return v, nil
	case *syntax.Bool:
		if x.Value {
			return Value{Num: 1}, nil
		}
		return Value{}, nil
	case *syntax.String:
		return Value{Text: x.Value, Kind: Text}, nil
	case *syntax.Var:
		v, ok := e.Vars[x.Text]
		if !ok {
			return wrongf("variable $%s has no value here", x.Text)
		}
		return v, nil
	case *syntax.Map, *syntax.Name:
		d, err := e.Data(x)
		if err != nil {
			return Value{}, err
		}
		return d.value(e)
	case *syntax.Call:
		return e.call(x)
	case *syntax.Unary:
		v, err := e.number(x.X)
		switch {
		case err != nil:
			return v, err
		case math.IsNaN(v.Num):
			return noData(), nil
		case x.Op == "-":
			v.Num = -v.Num
			return v, nil
		case x.Op == "!":
			return truth(v.Num == 0), nil
		case x.Op == "~" && !whole(v.Num):
			return wrongf("'~' wants a whole number of up to 53 bits")
		case x.Op == "~":
			return Value{Num: float64(^int64(v.Num)), Unit: v.Unit}, nil
		}
	case *syntax.Binary:
		return e.binary(x)
	case *syntax.Ternary:
		c, err := e.number(x.Cond)
		switch {
		case err != nil:
			return c, err
		case math.IsNaN(c.Num):
			return noData(), nil
		case c.Num == 0:
			return e.Eval(x.Else)
		case x.Then == nil:
			return c, nil
		}
		return e.Eval(x.Then)
	case *syntax.Tuple:
		if len(x.Elems) == 1 {
			return e.Eval(x.Elems[0])
		}
	}
	return wrongf("'%s' cannot be computed: numbers, maps, sli, p99(…), bad(…) and the like can", syntax.ExprString(x))
}

// noData is what operators make of a number that is not known.
func noData() Value { return Value{Num: math.NaN()} }

func truth(b bool) Value {
	if b {
		return Value{Num: 1}
	}
	return Value{}
}

func (e *Evaluator) number(x syntax.Expr) (Value, error) {
	v, err := e.Eval(x)
	if err == nil && v.Kind != Number {
		return wrongf("'%s' is not a number", syntax.ExprString(x))
	}
	return v, err
}

// exact is where floating-point numbers cease to be exact integers.
const exact = 1 << 53

// whole tells whether a number is an integer that is exact.
func whole(n float64) bool { return math.Abs(n) < exact && n == math.Trunc(n) }

func (e *Evaluator) binary(x *syntax.Binary) (Value, error) {
	l, err := e.Eval(x.L)
	if err != nil {
		return l, err
	}
	r, err := e.Eval(x.R)
	if err != nil {
		return r, err
	}
	if l.Kind == Text && r.Kind == Text && (x.Op == "==" || x.Op == "!=") {
		return truth((l.Text == r.Text) == (x.Op == "==")), nil
	}
	if l.Kind != Number || r.Kind != Number {
		return wrongf("'%s' of what are not both numbers", x.Op)
	}
	switch {
	case x.Op == "&&", x.Op == "||":
		return logical(x.Op, l.Num, r.Num), nil
	case math.IsNaN(l.Num) || math.IsNaN(r.Num):
		return noData(), nil
	}
	out := Value{Unit: l.Unit, PerSecond: l.PerSecond}
	if l.Unit == check.NoUnit {
		out.Unit = r.Unit
	}
	switch x.Op {
	case "+":
		out.Num = l.Num + r.Num
	case "-":
		out.Num = l.Num - r.Num
	case "*":
		out.Num = l.Num * r.Num
	case "/":
		out.Num = l.Num / r.Num
		if l.Unit == r.Unit && l.Unit != check.NoUnit {
			out.Unit = check.NoUnit
		}
		if l.PerSecond && r.PerSecond {
			out.PerSecond = false
		}
		if r.Num == 0 {
			return wrongf("division by zero: '%s' is 0", syntax.ExprString(x.R))
		}
	case "%":
		if r.Num == 0 {
			return wrongf("division by zero: '%s' is 0", syntax.ExprString(x.R))
		}
		out.Num = math.Mod(l.Num, r.Num)
	case "<<", ">>", "&", "|", "^":
		if !whole(l.Num) || !whole(r.Num) {
			return wrongf("'%s' wants whole numbers of up to 53 bits", x.Op)
		}
		out.Num = float64(bits(x.Op, int64(l.Num), int64(r.Num)))
	case "<":
		return truth(l.Num < r.Num), nil
	case "<=":
		return truth(l.Num <= r.Num), nil
	case ">":
		return truth(l.Num > r.Num), nil
	case ">=":
		return truth(l.Num >= r.Num), nil
	case "==":
		return truth(l.Num == r.Num), nil
	case "!=":
		return truth(l.Num != r.Num), nil
	default:
		return wrongf("'%s' cannot be computed", x.Op)
	}
	return out, nil
}

// logical computes && and ||: one side may decide, otherwise both must be known.
func logical(op string, l, r float64) Value {
	for _, n := range [...]float64{l, r} {
		if decides := op == "||"; !math.IsNaN(n) && (n != 0) == decides {
			return truth(decides)
		}
	}
	if math.IsNaN(l) || math.IsNaN(r) {
		return noData()
	}
	return truth(op == "&&")
}

func bits(op string, a, b int64) int64 {
	switch op {
	case "<<":
		return a << (uint64(b) & 63)
	case ">>":
		return a >> (uint64(b) & 63)
	case "&":
		return a & b
	case "|":
		return a | b
	}
	return a ^ b
}

// Percentile is p50, p99, p999.
func Percentile(name string) (q float64, ok bool) {
	if !regexp.MustCompile(`^p[1-9][0-9]{0,5}$`).MatchString(name) {
		return 0, false
	}
	n, err := strconv.Atoi(name[1:])
	return float64(n) / math.Pow10(len(name)-1), err == nil
}

// call computes a function over data or an objective.
func (e *Evaluator) call(c *syntax.Call) (Value, error) {
	name := c.Name.Text
	if e.Func != nil {
		if v, ok, err := e.Func(c); ok || err != nil {
			return v, err
		}
	}
	if f := objectiveNamed(name); f != nil {
		return e.objective(c, f)
	}
	if len(c.Args) != 1 {
		return wrongf("%s() wants one argument here, got %d", name, len(c.Args))
	}
	q, isPercentile := Percentile(name)
	if !isPercentile && Measure(name) == nil && name != Rate {
		if f := e.Universe.Func(name); f != nil {
			return wrongf("%s() stands in a probe; here there are p50() to p999(), %s", name, strings.Join(functions(), ", "))
		}
		return wrongf("unknown function '%s'; here there are p50() to p999(), %s", name, strings.Join(functions(), ", "))
	}
	d, err := e.Data(c.Args[0])
	if err != nil {
		return Value{}, err
	}
	switch {
	case isPercentile:
		s, err := d.Spread()
		if err != nil {
			return wrongf("%s() of %s: %w", name, d.Name, err)
		}
		return Value{Num: s.Quantile(q), Unit: d.Unit}, nil
	case name == Rate && e.Elapsed == 0:
		return wrongf("rate() is only measured at the prompt")
	case name == Rate:
		v := Value{Num: (d.Total() - e.began[syntax.ExprString(c.Args[0])]) / e.Elapsed.Seconds(), PerSecond: true}
		if d.Sums() {
			v.Unit = d.Unit
		}
		return v, nil
	}
	return Measure(name)(d)
}

// mapText prints rows as a script does.
func (d *Data) mapText(colour bool) string {
	var b bytes.Buffer
	export.NewText(export.TextOptions{Out: &b, Values: d.Values, Colour: colour}).Map(d.Snap, 0, 0)
	if b.Len() == 0 {
		return d.Name + ": empty\n"
	}
	return b.String()
}
