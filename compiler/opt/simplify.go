package opt

import (
	"math/bits"

	"github.com/slopebpf/slope/compiler/ir"
)

// simplify folds constants and applies identities, and decides branches on constants. Instructions are changed in
// place, so their numbers and places stay; what has become equal to another value is replaced by it.
func simplify(p *ir.Program, f *ir.Func) bool {
	s := &simplifier{prog: p, f: f, same: replacer{}, fresh: map[*ir.Value][]*ir.Value{}}
	order := f.RPO()
	s.params(order)
	for _, b := range order {
		for _, v := range b.Insts {
			for i, a := range v.Args {
				v.Args[i] = s.same.find(a)
			}
			s.cur = v
			if w := s.value(v); w != nil {
				s.same[v] = w
			}
		}
		if b.Term.Cond != nil {
			b.Term.Cond = s.same.find(b.Term.Cond)
		}
		s.term(b)
	}
	s.insert(order)
	s.same.apply(order)
	return s.changed || len(s.same) > 0
}

type simplifier struct {
	prog    *ir.Program
	f       *ir.Func
	same    replacer
	fresh   map[*ir.Value][]*ir.Value // new constants to put before an instruction
	cur     *ir.Value
	changed bool
}

// params replaces parameters that get the same value from everywhere.
func (s *simplifier) params(order []*ir.Block) {
	preds := ir.Preds(order)
	for _, b := range order[1:] {
		for i := len(b.Params) - 1; i >= 0; i-- {
			var only *ir.Value
			same := true
			each := func(args []*ir.Value) {
				a := s.same.find(args[i])
				if a == b.Params[i] {
					return // a loop hands it on
				}
				same = same && (only == nil || only == a)
				only = a
			}
			for _, p := range preds[b] {
				if p.Term.Then == b {
					each(p.Term.ThenArgs)
				}
				if p.Term.Else == b {
					each(p.Term.ElseArgs)
				}
			}
			if !same || only == nil {
				continue
			}
			s.same[b.Params[i]] = only
			for _, p := range unique(preds[b]) {
				if p.Term.Then == b {
					p.Term.ThenArgs = drop(p.Term.ThenArgs, i)
				}
				if p.Term.Else == b {
					p.Term.ElseArgs = drop(p.Term.ElseArgs, i)
				}
			}
			b.Params = drop(b.Params, i)
			s.changed = true
		}
	}
}

func unique(list []*ir.Block) []*ir.Block {
	var out []*ir.Block
	seen := map[*ir.Block]bool{}
	for _, b := range list {
		if !seen[b] {
			seen[b] = true
			out = append(out, b)
		}
	}
	return out
}

func drop(list []*ir.Value, i int) []*ir.Value {
	return append(append([]*ir.Value(nil), list[:i]...), list[i+1:]...)
}

// insert puts the new constants where they are needed.
func (s *simplifier) insert(order []*ir.Block) {
	if len(s.fresh) == 0 {
		return
	}
	for _, b := range order {
		var out []*ir.Value
		for _, v := range b.Insts {
			out = append(append(out, s.fresh[v]...), v)
		}
		b.Insts = out
	}
}

func isConst(v *ir.Value) bool { return v.Op == ir.OpConst }

// constant makes a constant before the current instruction.
func (s *simplifier) constant(n int64) *ir.Value {
	ed := ir.Edit(s.prog, s.f, nil)
	ed.Span = s.cur.Span
	c := ed.Detached(ir.OpConst)
	c.Imm = n
	s.fresh[s.cur] = append(s.fresh[s.cur], c)
	return c
}

// become changes an instruction in place.
func (s *simplifier) become(v *ir.Value, op ir.Op, args ...*ir.Value) *ir.Value {
	v.Op, v.Args, v.Imm, v.Off, v.Width, v.Signed = op, args, 0, 0, 0, false
	s.changed = true
	return nil
}

func (s *simplifier) becomeConst(v *ir.Value, n int64) *ir.Value {
	s.become(v, ir.OpConst)
	v.Imm = n
	return nil
}

// value changes v in place, or returns what v is equal to.
func (s *simplifier) value(v *ir.Value) *ir.Value {
	switch v.Op {
	case ir.OpExt:
		x := v.Args[0]
		bound := uint64(1)<<(v.Width*8) - 1
		if v.Signed {
			bound >>= 1
		}
		switch {
		case v.Width == 8:
			return x
		case isConst(x):
			return s.becomeConst(v, ir.EvalExt(x.Imm, v.Width, v.Signed))
		case maximum(x) <= bound:
			return x
		case x.Op == ir.OpExt && x.Width >= v.Width, x.Op == ir.OpAnd && isConst(x.Args[1]) && uint64(x.Args[1].Imm)&bound == bound && !v.Signed:
			v.Args[0] = x.Args[0]
			s.changed = true
		case x.Op == ir.OpExt && x.Signed && v.Signed: // the narrower one is inside
			return x
		}
	case ir.OpBound:
		if x := v.Args[0]; isConst(x) {
			return s.becomeConst(v, ir.EvalBound(x.Imm, v.Imm))
		}
	case ir.OpMask:
		if x := v.Args[0]; isConst(x) {
			return s.becomeConst(v, x.Imm&v.Imm)
		}
	case ir.OpOffset:
		x := v.Args[0]
		switch {
		case v.Imm == 0:
			return x
		case x.Op == ir.OpOffset:
			v.Args[0], v.Imm = x.Args[0], v.Imm+x.Imm
			s.changed = true
		}
	case ir.OpIndex:
		if x := v.Args[1]; isConst(x) {
			n := x.Imm * v.Imm
			s.become(v, ir.OpOffset, v.Args[0])
			v.Imm = n
		}
	case ir.OpLoad:
		if x := v.Args[0]; x.Op == ir.OpOffset && x.Imm+int64(v.Off) == int64(int16(x.Imm+int64(v.Off))) {
			v.Args[0], v.Off = x.Args[0], v.Off+int32(x.Imm)
			s.changed = true
		}
	case ir.OpStore:
		if x := v.Args[1]; x.Op == ir.OpExt && x.Width >= v.Width || x.Op == ir.OpAnd && isConst(x.Args[1]) && low(x.Args[1].Imm, v.Width) {
			v.Args[1] = x.Args[0]
			s.changed = true
		}
	default:
		if v.Op.Scalar() {
			return s.scalar(v)
		}
	}
	return nil
}

// low tells whether a mask keeps all of the low width bytes.
func low(mask int64, width uint8) bool { return ir.EvalExt(mask, width, true) == -1 }

func (s *simplifier) scalar(v *ir.Value) *ir.Value {
	x := v.Args[0]
	if len(v.Args) == 1 {
		switch {
		case isConst(x):
			return s.becomeConst(v, ir.Eval(v.Op, x.Imm, 0))
		case x.Op == v.Op: // -(-x), ~(~x)
			return x.Args[0]
		}
		return nil
	}
	y := v.Args[1]
	switch {
	case isConst(x) && isConst(y):
		return s.becomeConst(v, ir.Eval(v.Op, x.Imm, y.Imm))
	case isConst(x) && v.Op.Commutative():
		v.Args[0], v.Args[1] = y, x
		s.changed = true
		x, y = y, x
	case x == y:
		switch v.Op {
		case ir.OpSub, ir.OpXor, ir.OpNe, ir.OpULt, ir.OpSLt:
			return s.becomeConst(v, 0)
		case ir.OpEq, ir.OpULe, ir.OpSLe:
			return s.becomeConst(v, 1)
		case ir.OpAnd, ir.OpOr:
			return x
		}
	}
	if isConst(x) && x.Imm == 0 {
		switch v.Op {
		case ir.OpSub:
			return s.become(v, ir.OpNeg, y)
		case ir.OpShl, ir.OpShr, ir.OpSar, ir.OpUDiv, ir.OpUMod, ir.OpSDiv, ir.OpSMod:
			return s.becomeConst(v, 0)
		case ir.OpULe:
			return s.becomeConst(v, 1)
		case ir.OpULt: // 0 < y
			return s.become(v, ir.OpNe, y, x)
		}
	}
	if isConst(y) {
		if v.Op.Compare() {
			return s.compare(v, x, y.Imm)
		}
		return s.withConst(v, x, y.Imm)
	}
	return nil
}

// withConst simplifies x op n.
func (s *simplifier) withConst(v, x *ir.Value, n int64) *ir.Value {
	power := n > 0 && n&(n-1) == 0 || n == -1<<63
	shift := int64(bits.TrailingZeros64(uint64(n)))
	switch v.Op {
	case ir.OpAdd, ir.OpOr, ir.OpXor, ir.OpSub, ir.OpShl, ir.OpShr, ir.OpSar:
		if n == 0 {
			return x
		}
	}
	switch v.Op {
	case ir.OpSub:
		return s.become(v, ir.OpAdd, x, s.constant(-n))
	case ir.OpAdd, ir.OpXor, ir.OpMul:
		if v.Op == ir.OpMul {
			switch {
			case n == 0:
				return s.becomeConst(v, 0)
			case n == 1:
				return x
			case n == -1:
				return s.become(v, ir.OpNeg, x)
			case power:
				return s.become(v, ir.OpShl, x, s.constant(shift))
			}
		}
		if v.Op == ir.OpXor && n == -1 {
			return s.become(v, ir.OpNot, x)
		}
		if x.Op == v.Op && isConst(x.Args[1]) {
			return s.become(v, v.Op, x.Args[0], s.constant(ir.Eval(v.Op, x.Args[1].Imm, n)))
		}
	case ir.OpAnd, ir.OpOr:
		switch {
		case n == 0: // or with 0 is gone already
			return s.becomeConst(v, 0)
		case n == -1 && v.Op == ir.OpAnd:
			return x
		case n == -1:
			return s.becomeConst(v, -1)
		case v.Op == ir.OpAnd && n >= 0 && n&(n+1) == 0 && maximum(x) <= uint64(n):
			return x
		case x.Op == v.Op && isConst(x.Args[1]):
			return s.become(v, v.Op, x.Args[0], s.constant(ir.Eval(v.Op, x.Args[1].Imm, n)))
		}
	case ir.OpShl, ir.OpShr, ir.OpSar:
		if n&63 != n {
			return s.become(v, v.Op, x, s.constant(n&63))
		}
		if v.Op == ir.OpShr && maximum(x)>>n == 0 {
			return s.becomeConst(v, 0)
		}
		if x.Op == v.Op && isConst(x.Args[1]) && x.Args[1].Imm&63+n < 64 {
			return s.become(v, v.Op, x.Args[0], s.constant(x.Args[1].Imm&63+n))
		}
	case ir.OpUDiv:
		switch {
		case n == 0:
			return s.becomeConst(v, 0)
		case power:
			return s.become(v, ir.OpShr, x, s.constant(shift))
		}
	case ir.OpUMod:
		switch {
		case n == 0:
			return x
		case power:
			return s.become(v, ir.OpAnd, x, s.constant(n-1))
		}
	case ir.OpSDiv:
		switch n {
		case 0:
			return s.becomeConst(v, 0)
		case 1:
			return x
		case -1:
			return s.become(v, ir.OpNeg, x)
		}
		if n > 0 && maximum(x) <= 1<<63-1 {
			return s.become(v, ir.OpUDiv, x, s.constant(n))
		}
	case ir.OpSMod:
		switch n {
		case 0:
			return x
		case 1, -1:
			return s.becomeConst(v, 0)
		}
		if n > 0 && maximum(x) <= 1<<63-1 {
			return s.become(v, ir.OpUMod, x, s.constant(n))
		}
	}
	return nil
}

// compare simplifies a compare of x with n.
func (s *simplifier) compare(v, x *ir.Value, n int64) *ir.Value {
	limit := maximum(x)
	switch v.Op {
	case ir.OpEq, ir.OpNe:
		if uint64(n) > limit {
			return s.becomeConst(v, ir.Eval(v.Op, 0, 1))
		}
		if x.Op.Compare() && n <= 1 {
			if (v.Op == ir.OpNe) == (n == 0) {
				return x
			}
			s.negate(v, x)
			return nil
		}
		if x.Op == ir.OpAdd && isConst(x.Args[1]) {
			return s.become(v, v.Op, x.Args[0], s.constant(n-x.Args[1].Imm))
		}
	case ir.OpULt:
		switch {
		case limit < uint64(n):
			return s.becomeConst(v, 1)
		case n == 0:
			return s.becomeConst(v, 0)
		case n == 1:
			return s.become(v, ir.OpEq, x, s.constant(0))
		}
	case ir.OpULe:
		switch {
		case limit <= uint64(n):
			return s.becomeConst(v, 1)
		case n == 0:
			return s.become(v, ir.OpEq, x, v.Args[1])
		}
	}
	return nil
}

// negate makes v the opposite of the compare x.
func (s *simplifier) negate(v, x *ir.Value) {
	a, b := x.Args[0], x.Args[1]
	switch x.Op {
	case ir.OpEq:
		s.become(v, ir.OpNe, a, b)
	case ir.OpNe:
		s.become(v, ir.OpEq, a, b)
	case ir.OpULt:
		s.become(v, ir.OpULe, b, a)
	case ir.OpULe:
		s.become(v, ir.OpULt, b, a)
	case ir.OpSLt:
		s.become(v, ir.OpSLe, b, a)
	case ir.OpSLe:
		s.become(v, ir.OpSLt, b, a)
	}
}

// maximum is an upper bound of a value, unsigned, from its instruction and one below.
func maximum(v *ir.Value) uint64 {
	const all = ^uint64(0)
	switch v.Op {
	case ir.OpConst:
		return uint64(v.Imm)
	case ir.OpLoad, ir.OpExt:
		if v.Width < 8 && !v.Signed {
			return 1<<(v.Width*8) - 1
		}
	case ir.OpBound, ir.OpMask:
		return uint64(v.Imm)
	case ir.OpAnd:
		if isConst(v.Args[1]) {
			return uint64(v.Args[1].Imm)
		}
	case ir.OpShr:
		if isConst(v.Args[1]) {
			return all >> (v.Args[1].Imm & 63)
		}
	case ir.OpUMod:
		if y := v.Args[1]; isConst(y) && y.Imm != 0 {
			return uint64(y.Imm) - 1
		}
	case ir.OpUDiv:
		if y := v.Args[1]; isConst(y) && y.Imm != 0 {
			return all / uint64(y.Imm)
		}
	case ir.OpHelper:
		if v.Helper == ir.HelperCPU || v.Helper == ir.HelperRandom {
			return 1<<32 - 1
		}
	}
	if v.Op.Compare() {
		return 1
	}
	return all
}

// term decides and turns branches.
func (s *simplifier) term(b *ir.Block) {
	t := &b.Term
	if t.Kind != ir.TermIf {
		return
	}
	c := t.Cond
	switch {
	case isConst(c):
		to, args := t.Then, t.ThenArgs
		if c.Imm == 0 {
			to, args = t.Else, t.ElseArgs
		}
		*t = ir.Term{Kind: ir.TermJump, Then: to, ThenArgs: args, Span: t.Span}
		s.changed = true
	case c.Op == ir.OpNe && isConst(c.Args[1]) && c.Args[1].Imm == 0 && c.Args[0].Class == ir.Scalar:
		t.Cond = c.Args[0]
		s.changed = true
	case c.Op == ir.OpEq && isConst(c.Args[1]) && c.Args[1].Imm == 0 && c.Args[0].Class == ir.Scalar:
		t.Cond = c.Args[0]
		t.Then, t.ThenArgs, t.Else, t.ElseArgs = t.Else, t.ElseArgs, t.Then, t.ThenArgs
		s.changed = true
	}
}
