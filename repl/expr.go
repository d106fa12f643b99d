package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/export"
)

// The words of the shell that are no part of the language.
const (
	wordHelp  = "help"
	wordWatch = "watch"
	wordHeat  = "heat"
	wordTop   = "top"
	wordSLO   = "slo"
)

func words() []string { return []string{wordHelp, wordWatch, wordHeat, wordTop, wordSLO} }

// isWord tells whether a line begins with a word of the shell; an objective's declaration does not.
func isWord(line string) bool {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	for _, w := range words() {
		if w == word {
			return word != wordSLO || strings.TrimSpace(rest) == ""
		}
	}
	return false
}

// isExpression tells whether a line is to be computed and not entered: it begins neither with a probe nor with a
// declaration.
func isExpression(u types.Universe, line string) bool {
	for _, t := range syntax.Lex(line) {
		switch t.Kind {
		case syntax.Whitespace, syntax.Comment:
			continue
		case syntax.DeclWord, syntax.DirectiveLine:
			return false
		case syntax.Bad: // of a comment that is open
			return !strings.HasPrefix(t.Text, "/*")
		case syntax.AttachWord:
			n := 0
			for n < len(t.Text) && (t.Text[n] == '_' || t.Text[n] >= '0' && t.Text[n] <= '9' || t.Text[n]|0x20 >= 'a' && t.Text[n]|0x20 <= 'z') {
				n++
			}
			name, rest := t.Text[:n], t.Text[n:]
			if strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "=") || rest == "" && u.Probe(name) != nil || n == 0 && strings.Contains(t.Text, ":") {
				return false
			}
			tail := strings.TrimSpace(line[int(t.Span.End):])
			return !strings.HasPrefix(tail, "{")
		default:
			return true
		}
	}
	return false
}

// value is the result of an expression: a number in a unit, a text, or a map to be printed.
type value struct {
	num  float64
	unit check.Unit
	per  bool // per second
	text string
	is   kind
}

type kind uint8

const (
	number kind = iota
	textual
	printed // text is rows, ended
)

func (v value) String() string {
	switch {
	case v.is != number:
		return v.text
	case math.IsNaN(v.num):
		return "no data"
	}
	s := ""
	switch {
	case v.unit != check.NoUnit && v.num < 0:
		s = "-" + export.Quantity(v.unit, -v.num)
	case v.unit != check.NoUnit:
		s = export.Quantity(v.unit, v.num)
	case v.num == math.Trunc(v.num) && math.Abs(v.num) < 1<<53:
		s = strconv.FormatInt(int64(v.num), 10)
	case math.Abs(v.num) >= 1000:
		s = strconv.FormatFloat(v.num, 'f', 1, 64)
	default:
		s = strconv.FormatFloat(v.num, 'g', 4, 64)
	}
	if v.per {
		s += "/s"
	}
	return s
}

// evaluate computes a list of expressions and prints the results.
func (sh *shell) evaluate(ctx context.Context, line string) error {
	const before, after = "begin { f(", "); }"
	text := strings.TrimRight(line, "; \n")
	typed := source.NewFile("line", text)
	tree, diags := syntax.Parse(source.NewFile("line", before+text+after))
	if diags.HasErrors() {
		for i := range diags {
			s := &diags[i].Span
			s.Start = min(max(s.Start-int32(len(before)), 0), int32(len(text)))
			s.End = min(max(s.End-int32(len(before)), s.Start), int32(len(text)))
			diags[i].File = typed
		}
		return diags[:1]
	}
	var args []syntax.Expr
	if p, ok := tree.Items[0].(*syntax.Probe); ok && len(tree.Items) == 1 && len(p.Body.Stmts) == 1 {
		if s, ok := p.Body.Stmts[0].(*syntax.ExprStmt); ok {
			if c, ok := s.X.(*syntax.Call); ok {
				args = c.Args
			}
		}
	}
	if len(args) == 0 {
		return errors.New("got no expression; at the prompt stand probes, declarations and expressions over maps, statements stand in a probe: begin { … }")
	}
	prog, err := sh.running()
	if err != nil {
		return err
	}
	e := &evaluator{ctx: ctx, prog: prog, universe: sh.machine(), colour: sh.opt.Colour, began: map[string]float64{}}
	if e.rates(args) { // what changes is measured over a second
		for _, a := range args {
			if err := e.measure(a); err != nil {
				return err
			}
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		e.elapsed = time.Since(began)
	}
	var out []string
	for _, a := range args {
		v, err := e.eval(a)
		if err != nil {
			return err
		}
		if v.is == printed {
			sh.printf("%s", v.text)
			continue
		}
		out = append(out, v.String())
	}
	if len(out) > 0 {
		sh.printf("%s\n", strings.Join(out, ", "))
	}
	return nil
}

// evaluator computes expressions from what the kernel holds.
type evaluator struct {
	ctx      context.Context
	prog     Program
	universe types.Universe
	colour   bool
	began    map[string]float64 // of rate(), by the text of its argument
	elapsed  time.Duration
}

const rateName = "rate"

// rates tells whether something that changes is asked for.
func (e *evaluator) rates(args []syntax.Expr) bool {
	found := false
	for _, a := range args {
		syntax.Walk(a, func(n syntax.Node) bool {
			c, ok := n.(*syntax.Call)
			found = found || ok && c.Name.Text == rateName
			return true
		})
	}
	return found
}

// measure notes where the arguments of rate() begin.
func (e *evaluator) measure(x syntax.Expr) error {
	var failed error
	syntax.Walk(x, func(n syntax.Node) bool {
		if c, ok := n.(*syntax.Call); ok && c.Name.Text == rateName && len(c.Args) == 1 && failed == nil {
			var d *data
			if d, failed = e.data(c.Args[0]); failed == nil {
				e.began[syntax.ExprString(c.Args[0])] = d.total()
			}
		}
		return failed == nil
	})
	return failed
}

func wrongf(format string, args ...any) (value, error) { return value{}, fmt.Errorf(format, args...) }

func (e *evaluator) eval(x syntax.Expr) (value, error) {
	switch x := x.(type) {
	case *syntax.Int:
		v := value{num: float64(x.Value)}
		switch x.Unit {
		case syntax.DurationUnit:
			v.unit = check.Seconds
		case syntax.SizeUnit:
			v.unit = check.Bytes
		}
		return v, nil
	case *syntax.Bool:
		if x.Value {
			return value{num: 1}, nil
		}
		return value{}, nil
	case *syntax.String:
		return value{text: x.Value, is: textual}, nil
	case *syntax.Map, *syntax.Name:
		d, err := e.data(x)
		if err != nil {
			return value{}, err
		}
		return d.value(e)
	case *syntax.Call:
		return e.call(x)
	case *syntax.Unary:
		v, err := e.number(x.X)
		switch {
		case err != nil:
			return v, err
		case x.Op == "-":
			v.num = -v.num
			return v, nil
		case x.Op == "!":
			return truth(v.num == 0), nil
		}
	case *syntax.Binary:
		return e.binary(x)
	case *syntax.Ternary:
		c, err := e.number(x.Cond)
		switch {
		case err != nil:
			return c, err
		case c.num == 0:
			return e.eval(x.Else)
		case x.Then == nil:
			return c, nil
		}
		return e.eval(x.Then)
	case *syntax.Tuple:
		if len(x.Elems) == 1 {
			return e.eval(x.Elems[0])
		}
	}
	return wrongf("'%s' cannot be computed at the prompt: numbers, maps, sli, p99(…), rate(…) and the like can", syntax.ExprString(x))
}

func truth(b bool) value {
	if b {
		return value{num: 1}
	}
	return value{}
}

func (e *evaluator) number(x syntax.Expr) (value, error) {
	v, err := e.eval(x)
	if err == nil && v.is != number {
		return wrongf("'%s' is not a number", syntax.ExprString(x))
	}
	return v, err
}

func (e *evaluator) binary(x *syntax.Binary) (value, error) {
	l, err := e.eval(x.L)
	if err != nil {
		return l, err
	}
	r, err := e.eval(x.R)
	if err != nil {
		return r, err
	}
	if l.is == textual && r.is == textual && (x.Op == "==" || x.Op == "!=") {
		return truth((l.text == r.text) == (x.Op == "==")), nil
	}
	if l.is != number || r.is != number {
		return wrongf("'%s' of what are not both numbers", x.Op)
	}
	out := value{unit: l.unit, per: l.per}
	if l.unit == check.NoUnit {
		out.unit = r.unit
	}
	switch x.Op {
	case "+":
		out.num = l.num + r.num
	case "-":
		out.num = l.num - r.num
	case "*":
		out.num = l.num * r.num
	case "/":
		out.num = l.num / r.num
		if l.unit == r.unit && l.unit != check.NoUnit {
			out.unit = check.NoUnit
		}
		if l.per && r.per {
			out.per = false
		}
		if r.num == 0 {
			return wrongf("division by zero: '%s' is 0", syntax.ExprString(x.R))
		}
	case "%":
		if r.num == 0 {
			return wrongf("division by zero: '%s' is 0", syntax.ExprString(x.R))
		}
		out.num = math.Mod(l.num, r.num)
	case "<":
		return truth(l.num < r.num), nil
	case "<=":
		return truth(l.num <= r.num), nil
	case ">":
		return truth(l.num > r.num), nil
	case ">=":
		return truth(l.num >= r.num), nil
	case "==":
		return truth(l.num == r.num), nil
	case "!=":
		return truth(l.num != r.num), nil
	case "&&":
		return truth(l.num != 0 && r.num != 0), nil
	case "||":
		return truth(l.num != 0 || r.num != 0), nil
	default:
		return wrongf("'%s' cannot be computed at the prompt", x.Op)
	}
	return out, nil
}

// percentile is p50, p99, p999.
func percentile(name string) (q float64, ok bool) {
	if !regexp.MustCompile(`^p[1-9][0-9]{0,5}$`).MatchString(name) {
		return 0, false
	}
	n, err := strconv.Atoi(name[1:])
	return float64(n) / math.Pow10(len(name)-1), err == nil
}

// call computes the functions of the shell.
func (e *evaluator) call(c *syntax.Call) (value, error) {
	name := c.Name.Text
	if len(c.Args) != 1 {
		return wrongf("%s() wants one argument here, got %d", name, len(c.Args))
	}
	q, isPercentile := percentile(name)
	if !isPercentile && measureNamed(name) == nil && name != rateName {
		if f := e.universe.Func(name); f != nil {
			return wrongf("%s() stands in a probe; at the prompt there are p50() to p999(), %s", name, strings.Join(measureNames(), ", "))
		}
		return wrongf("unknown function '%s'; at the prompt there are p50() to p999(), %s", name, strings.Join(measureNames(), ", "))
	}
	d, err := e.data(c.Args[0])
	if err != nil {
		return value{}, err
	}
	switch {
	case isPercentile:
		s, err := d.spread()
		if err != nil {
			return wrongf("%s() of %s: %w", name, d.name, err)
		}
		return value{num: s.quantile(q), unit: d.unit}, nil
	case name == rateName:
		v := value{num: (d.total() - e.began[syntax.ExprString(c.Args[0])]) / e.elapsed.Seconds(), per: true}
		if d.sums() {
			v.unit = d.unit
		}
		return v, nil
	}
	return measureNamed(name)(d)
}

// evalKey is the text of a key as a map prints it.
func (e *evaluator) evalKey(keys []syntax.Expr) (string, error) {
	var parts []string
	for _, k := range keys {
		if t, ok := k.(*syntax.Tuple); ok {
			inner, err := e.evalKey(t.Elems)
			if err != nil {
				return "", err
			}
			parts = append(parts, inner)
			continue
		}
		v, err := e.eval(k)
		if err != nil {
			return "", err
		}
		v.unit = check.NoUnit
		parts = append(parts, v.String())
	}
	return strings.Join(parts, ", "), nil
}

// mapText prints rows as a script does.
func (d *data) mapText(colour bool) string {
	var b bytes.Buffer
	export.NewText(export.TextOptions{Out: &b, Values: d.values, Colour: colour}).Map(d.snap, 0, 0)
	if b.Len() == 0 {
		return d.name + ": empty\n"
	}
	return b.String()
}
