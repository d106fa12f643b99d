package check

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// The functions that a test calls for their effect.
const (
	FireName   = "fire"   // fire(probe, name = value, …): one event
	WaitName   = "wait"   // wait(duration): time passes
	AssertName = "assert" // assert(condition): what must hold
)

// AtName is the argument of fire() that is not the event's: the time since the test began.
const AtName = "at"

// test checks the form of a test block: what it may say is less than a probe. What its events are and its conditions mean is
// found when it runs.
func (c *checker) test(t *syntax.Test) {
	for _, other := range c.prog.Tests {
		if other.Name.Value == t.Name.Value {
			c.errorf(t.Name, "there are two tests \"%s\"", t.Name.Value)
			return
		}
	}
	c.prog.Tests = append(c.prog.Tests, t)
	c.testBlock(t.Body)
}

func (c *checker) testBlock(b *syntax.Block) {
	for _, s := range b.Stmts {
		c.testStmt(s)
	}
	if b.Result != nil {
		c.testExpr(b.Result)
	}
}

func (c *checker) testStmt(s syntax.Stmt) {
	switch s := s.(type) {
	case *syntax.ExprStmt:
		c.testExpr(s.X)
		return
	case *syntax.Let:
		if s.Type == nil && s.Value != nil {
			return
		}
	case *syntax.Assign:
		if _, ok := s.Target.(*syntax.Var); ok {
			return
		}
	case *syntax.For:
		if s.To != nil {
			c.testBlock(s.Body)
			return
		}
	case *syntax.If:
		c.testBlock(s.Then)
		if s.Else != nil {
			c.testStmt(s.Else)
		}
		return
	case *syntax.Block:
		c.testBlock(s)
		return
	case *syntax.BadStmt:
		return
	}
	c.errorf(s, "this is no statement of a test").
		WithHint("a test has fire(), wait() and assert(), $variables with values, for over ranges, and if")
}

func (c *checker) testExpr(x syntax.Expr) {
	call, ok := x.(*syntax.Call)
	if !ok {
		c.errorf(x, "this is no statement of a test").WithHint("write assert(%s)", syntax.ExprString(x))
		return
	}
	switch name, n := call.Name.Text, len(call.Args); name {
	case FireName:
		c.testFire(call)
	case WaitName:
		if n != 1 {
			c.errorf(call, "wait() got %d arguments, want how long: wait(10s)", n)
		}
	case AssertName:
		if n != 1 {
			c.errorf(call, "assert() got %d arguments, want a condition", n)
		}
	default:
		d := c.errorf(call.Name, "unknown function '%s' in a test", name)
		suggest(d, name, []string{FireName, WaitName, AssertName})
	}
}

// testFire checks that an event names a type of probe, and each of its values once.
func (c *checker) testFire(call *syntax.Call) {
	if len(call.Args) == 0 {
		c.errorf(call, "fire() got no probe")
		return
	}
	probe, ok := call.Args[0].(*syntax.String)
	if !ok {
		c.errorf(call.Args[0], "fire() got '%s', want a probe", syntax.ExprString(call.Args[0]))
		return
	}
	if typ, _, _ := strings.Cut(probe.Value, ":"); c.opt.Universe.Probe(typ) == nil {
		suggest(c.errorf(probe, "invalid probe type: %s", typ), typ, c.opt.Universe.Names(types.ProbeNames))
	}
	for _, a := range call.Args[1:] {
		r, ok := a.(*syntax.Record)
		if !ok {
			c.errorf(a, "fire() got '%s', want name = value", syntax.ExprString(a))
			continue
		}
		for i, n := range r.Names {
			if slices.ContainsFunc(r.Names[:i], func(o *syntax.Name) bool { return o.Text == n.Text }) {
				c.errorf(n, "fire() got '%s' twice", n.Text)
			}
		}
	}
}
