package simulate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/query"
)

// Stage makes events: what a probe finds in its context. stdlib.Stand is one.
type Stage interface {
	Canonical(probe string) string
	Context(t *types.Target, values map[string]types.Given, memory func([]byte) uint64) ([]uint64, error)
}

// Options is what Run needs besides the test.
type Options struct {
	Object   *compiler.Object // compiled with the Stage as its resolver, for one CPU
	Stage    Stage
	Sentence func(*check.SLO) string
}

// Result is what became of a test.
type Result struct {
	Failures source.Diagnostics // assertions that do not hold, and what could not be done
	Output   string             // what the script printed
	Losses   []engine.Loss      // what the script lost
	Fired    int                // events
	Lasted   time.Duration      // by the test's clock
}

// errStop ends a test that cannot go on; why is in the failures.
var errStop = fmt.Errorf("test cannot go on")

// maxTurns bounds the statements of a test.
const maxTurns = 10_000_000

// maxRuns bounds the runs of interval probes in a test: a month of seconds, twice.
const maxRuns = 5_000_000

// Run runs a test from empty maps.
func Run(ctx context.Context, test *syntax.Test, opt Options) (*Result, error) {
	r := &runner{ctx: ctx, opt: opt, file: opt.Object.Checked.File.Source, out: &Result{}, vars: map[string]query.Value{}}
	m, err := New(opt.Object, opt.Sentence)
	if err != nil {
		return nil, err
	}
	r.m = m
	r.query = &query.Evaluator{Source: m, Universe: opt.Object.Checked.Universe, Vars: r.vars, Func: r.printed}
	if err := r.block(test.Body); err != nil && err != errStop {
		return nil, err
	}
	if err := m.Finish(); err != nil {
		r.fail(test, "%s", err)
	}
	r.out.Output, r.out.Lasted = m.Output(), m.now
	r.out.Losses, _, err = m.Losses()
	return r.out, err
}

// runner executes the statements of a test.
type runner struct {
	ctx   context.Context
	opt   Options
	file  *source.File
	m     *Machine
	query *query.Evaluator
	vars  map[string]query.Value
	turns int
	out   *Result
}

func (r *runner) fail(at syntax.Node, format string, args ...any) *source.Diagnostic {
	return r.out.Failures.Errorf(r.file, at.Span(), format, args...)
}

// stop fails and ends the test.
func (r *runner) stop(at syntax.Node, format string, args ...any) error {
	r.fail(at, format, args...)
	return errStop
}

func (r *runner) block(b *syntax.Block) error {
	for _, s := range b.Stmts {
		if err := r.stmt(s); err != nil {
			return err
		}
	}
	if b.Result != nil {
		return r.call(b.Result.(*syntax.Call))
	}
	return nil
}

// turn counts a statement, or a turn of a loop.
func (r *runner) turn(s syntax.Stmt) error {
	if r.turns++; r.turns > maxTurns {
		return r.stop(s, "test runs more than %d statements", maxTurns)
	}
	if r.turns%1024 == 0 {
		return r.ctx.Err()
	}
	return nil
}

func (r *runner) stmt(s syntax.Stmt) error {
	if err := r.turn(s); err != nil {
		return err
	}
	switch s := s.(type) {
	case *syntax.ExprStmt:
		return r.call(s.X.(*syntax.Call))
	case *syntax.Let:
		return r.assign(s.Name.Text, s.Value)
	case *syntax.Assign:
		v := s.Target.(*syntax.Var)
		if op := strings.TrimSuffix(s.Op, "="); op != "" {
			return r.assign(v.Text, &syntax.Binary{Range: s.Range, Op: op, L: v, R: s.Value})
		}
		return r.assign(v.Text, s.Value)
	case *syntax.For:
		from, err := r.number(s.From)
		if err != nil {
			return err
		}
		to, err := r.number(s.To)
		if err != nil {
			return err
		}
		for i := from; i < to; i++ {
			if err := r.turn(s); err != nil { // a body may have no statements
				return err
			}
			r.vars[s.Var.Text] = query.Value{Num: i}
			if err := r.block(s.Body); err != nil {
				return err
			}
		}
		return nil
	case *syntax.If:
		n, err := r.number(s.Cond)
		switch {
		case err != nil:
			return err
		case n != 0:
			return r.block(s.Then)
		case s.Else != nil:
			return r.stmt(s.Else)
		}
		return nil
	case *syntax.Block:
		return r.block(s)
	}
	return r.stop(s, "this is no statement of a test")
}

func (r *runner) assign(name string, x syntax.Expr) error {
	v, err := r.query.Eval(x)
	if err != nil {
		return r.stop(x, "%s", err)
	}
	r.vars[name] = v
	return nil
}

func (r *runner) number(x syntax.Expr) (float64, error) {
	v, err := r.query.Eval(x)
	switch {
	case err != nil:
		return 0, r.stop(x, "%s", err)
	case v.Kind != query.Number || math.IsNaN(v.Num):
		return 0, r.stop(x, "got '%s', want a number", v)
	}
	return v.Num, nil
}

// call executes fire(), wait() or assert().
func (r *runner) call(c *syntax.Call) error {
	switch c.Name.Text {
	case check.FireName:
		return r.fire(c)
	case check.WaitName:
		d, err := r.number(c.Args[0])
		if err != nil {
			return err
		}
		if !(d >= 0 && d < math.MaxInt64/2) {
			return r.stop(c.Args[0], "got '%s', want how long to wait", syntax.ExprString(c.Args[0]))
		}
		return r.advance(c, r.m.now+time.Duration(d))
	}
	return r.assert(c.Args[0])
}

func (r *runner) advance(at syntax.Node, to time.Duration) error {
	if n := r.m.runs + r.m.ahead(to); n > maxRuns {
		r.fail(at, "interval probes would have run %d times by then, want at most %d in a test", n, maxRuns).WithHint("let less time pass")
		return errStop
	}
	for r.m.now < to { // in steps, so that it can be interrupted
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if err := r.m.Advance(r.ctx, min(to, r.m.now+time.Hour)); err != nil {
			return r.stop(at, "%s", err)
		}
	}
	return nil
}

// fire makes one event happen.
func (r *runner) fire(c *syntax.Call) error {
	probe := c.Args[0].(*syntax.String)
	name := r.opt.Stage.Canonical(probe.Value)
	target, known := r.target(name)
	switch {
	case target == nil && known:
		return r.stop(probe, "%s cannot be fired: begin, end, interval and alert probes run by themselves, poll probes not in a test", name)
	case target == nil:
		d := r.fail(probe, "the script has no probe %s", name)
		if near := source.Nearest(name, r.probes()); near != "" {
			d.WithHint("did you mean '%s'?", near)
		}
		return errStop
	}
	values := map[string]types.Given{}
	r.m.identify()
	threads := false
	for _, a := range c.Args[1:] {
		record := a.(*syntax.Record)
		for i, n := range record.Names {
			v, err := r.given(record.Elems[i])
			if err != nil {
				return err
			}
			switch n.Text {
			case check.AtName:
				at := time.Duration(v.Number)
				if v.Text != nil || v.Fields != nil {
					return r.stop(record.Elems[i], "at got no number, want a time")
				}
				if at < r.m.now {
					return r.stop(record.Elems[i], "got %s, and the clock is at %s already", syntax.ExprString(record.Elems[i]), r.m.now)
				}
				if err := r.advance(c, at); err != nil {
					return err
				}
				continue
			case "comm":
				if v.Text == nil {
					return r.stop(record.Elems[i], "comm got a number, want a text")
				}
				r.m.comm = [16]byte{}
				copy(r.m.comm[:15], *v.Text)
			case "pid", "tid", "uid", "gid", "cpu", "cgroup":
				if v.Text != nil {
					return r.stop(record.Elems[i], "%s got a text, want a number", n.Text)
				}
				*map[string]*uint64{"pid": &r.m.pid, "tid": &r.m.tid, "uid": &r.m.uid, "gid": &r.m.gid, "cpu": &r.m.cpu, "cgroup": &r.m.cgroup}[n.Text] = v.Number
				threads = threads || n.Text == "tid"
			default:
				values[n.Text] = v
				continue
			}
			if _, field := target.Args.Field(n.Text); field { // the process's, and that of args
				values[n.Text] = v
			}
		}
	}
	if !threads {
		r.m.tid = r.m.pid
	}
	ctx, err := r.opt.Stage.Context(target, values, r.m.Put)
	if err != nil {
		return r.stop(c, "%s", err)
	}
	r.out.Fired++
	if err := r.m.Fire(name, ctx); err != nil {
		return r.stop(c, "%s", err)
	}
	return nil
}

// given computes a value of an event; whole numbers are exact.
func (r *runner) given(x syntax.Expr) (types.Given, error) {
	if n, ok := x.(*syntax.Int); ok {
		return types.Given{Number: n.Value}, nil
	}
	if record, ok := x.(*syntax.Record); ok {
		fields := map[string]types.Given{}
		for i, n := range record.Names {
			v, err := r.given(record.Elems[i])
			if err != nil {
				return v, err
			}
			fields[n.Text] = v
		}
		return types.Given{Fields: fields}, nil
	}
	v, err := r.query.Eval(x)
	switch {
	case err != nil:
		return types.Given{}, r.stop(x, "%s", err)
	case v.Kind == query.Text:
		return types.Given{Text: &v.Text}, nil
	case v.Kind != query.Number || math.IsNaN(v.Num):
		return types.Given{}, r.stop(x, "got '%s', want a number or a text", v)
	}
	return types.Given{Number: uint64(int64(v.Num))}, nil
}

// target is a probe of the script that can be fired, nil when there is none; known tells whether there is the probe.
func (r *runner) target(name string) (t *types.Target, known bool) {
	for _, cl := range r.opt.Object.Checked.Clauses {
		for _, t := range cl.Targets {
			if t.Name == name && t.Hook.Event == name {
				return t, true
			}
			known = known || t.Name == name
		}
	}
	return nil, known
}

func (r *runner) probes() []string {
	var out []string
	for _, cl := range r.opt.Object.Checked.Clauses {
		for _, t := range cl.Targets {
			if t.Hook.Event == t.Name && !slices.Contains(out, t.Name) {
				out = append(out, t.Name)
			}
		}
	}
	return out
}

// assert fails the test, which goes on, when a condition does not hold.
func (r *runner) assert(x syntax.Expr) error {
	v, err := r.query.Eval(x)
	switch {
	case err != nil:
		return r.stop(x, "%s", err)
	case v.Kind != query.Number:
		return r.stop(x, "got '%s', want a condition", v)
	case math.IsNaN(v.Num):
		r.fail(x, "assertion failed, because there is no data: %s", r.explain(x))
		return nil
	case v.Num != 0:
		return nil
	}
	r.fail(x, "assertion failed: %s", r.explain(x))
	return nil
}

// explain says what the sides of the comparisons in a condition are.
func (r *runner) explain(x syntax.Expr) string {
	switch b := x.(type) {
	case *syntax.Binary:
		if b.Op == "&&" || b.Op == "||" {
			return r.explain(b.L) + " " + b.Op + " " + r.explain(b.R)
		}
		return r.side(b.L) + " " + b.Op + " " + r.side(b.R)
	case *syntax.Tuple:
		if len(b.Elems) == 1 {
			return "(" + r.explain(b.Elems[0]) + ")"
		}
	}
	return syntax.ExprString(x)
}

// side is one side of a comparison, with its value.
func (r *runner) side(x syntax.Expr) string {
	text := syntax.ExprString(x)
	switch x.(type) {
	case *syntax.Int, *syntax.String, *syntax.Bool:
		return text
	}
	v, err := r.query.Eval(x)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%s (%s)", text, v)
}

// printed is the function of assertions that tells whether the script has printed a text.
func (r *runner) printed(c *syntax.Call) (v query.Value, ok bool, err error) {
	if c.Name.Text != "printed" {
		return v, false, nil
	}
	if len(c.Args) == 1 {
		if text, ok := c.Args[0].(*syntax.String); ok {
			if strings.Contains(r.m.Output(), text.Value) {
				v.Num = 1
			}
			return v, true, nil
		}
	}
	return v, true, fmt.Errorf("printed() wants a text")
}
