package check

import (
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

const maxUnroll = 100

// loop types while and unroll.
func (c *checker) loop(s *syntax.Loop) {
	if s.Keyword == "unroll" {
		t := c.expr(s.Cond)
		n, ok := c.info.Consts[s.Cond]
		switch {
		case t.Kind == types.Invalid:
		case !ok || !t.Integer():
			c.errorf(s.Cond, "unroll wants a constant number")
		case n < 1:
			c.errorf(s.Cond, "unroll minimum value is 1")
		case n > maxUnroll:
			c.errorf(s.Cond, "unroll maximum value is %d", maxUnroll)
		}
	} else {
		if c.final {
			span := s.Span()
			span.End = span.Start + int32(len(s.Keyword))
			c.diags.Warnf(c.file.Source, span, "While loops are deprecated and may be removed in the future").
				WithHint("use a for loop over a range: for ($i : 0..10) { … }")
		}
		c.condition(s.Cond)
	}
	c.loops++
	c.block(s.Body)
	c.loops--
}

// forLoop types a loop over a range or a map.
func (c *checker) forLoop(s *syntax.For) {
	t := types.Int64
	if s.To == nil {
		t = c.loopMap(s)
	} else {
		for _, e := range []syntax.Expr{s.From, s.To} {
			if b := c.expr(e); b.Kind != types.Invalid && !b.Integer() {
				c.errorf(e, "a loop's range wants integers, got '%s'", b)
			}
		}
	}
	if !c.free(s.Var) {
		return
	}
	c.enter()
	l := c.declareLocal(s.Var, t)
	l.read = true
	c.loops++
	c.block(s.Body)
	c.loops--
	c.leave()
}

// free reports a variable that is declared already.
func (c *checker) free(n *syntax.Var) bool {
	if c.lookupLocal(n.Text) == nil {
		return true
	}
	c.errorf(n, "variable '$%s' was already declared. Variable shadowing is not allowed", spelled(n.Text))
	return false
}

// loopMap is the type of what a loop over a map gives: the key and the value.
func (c *checker) loopMap(s *syntax.For) *types.Type {
	c.notYet(s, "for loops over maps are")
	return types.Bad
}
