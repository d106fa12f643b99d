package lower

import (
	"slices"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

func (f *fn) block(b *syntax.Block) {
	f.scope(b, func() {
		if b.Result != nil {
			f.effect(b.Result)
		}
	})
}

// scope lowers the statements of a block and then result; the variables of the block end with it.
func (f *fn) scope(b *syntax.Block, result func()) {
	outside := len(f.fresh)
	for _, s := range b.Stmts {
		f.stmt(s)
	}
	result()
	for _, l := range f.fresh[outside:] {
		delete(f.vars, l)
	}
	f.fresh = f.fresh[:outside]
}

// drop ends a variable.
func (f *fn) drop(l *check.Local) { delete(f.vars, l) }

func (f *fn) stmt(s syntax.Stmt) {
	f.Builder.Span = s.Span()
	switch s := s.(type) {
	case *syntax.Block:
		f.block(s)
	case *syntax.ExprStmt:
		f.effect(s.X)
	case *syntax.Assign:
		f.assign(s)
	case *syntax.Let:
		f.let(s)
	case *syntax.If:
		f.ifStmt(s)
	case *syntax.Jump:
		f.jump(s)
	case *syntax.Loop:
		f.loopStmt(s)
	case *syntax.For:
		f.forStmt(s)
	default:
		bug("statement %T", s)
	}
}

// effect lowers an expression whose value is dropped.
func (f *fn) effect(e syntax.Expr) {
	f.Builder.Span = e.Span()
	if x := f.info.Expanded[e]; x != nil {
		f.effect(x)
		return
	}
	switch e := e.(type) {
	case *syntax.Ternary:
		if e.Then != nil {
			f.branch(e.Cond, func() { f.effect(e.Then) }, func() { f.effect(e.Else) })
			return
		}
	case *syntax.Unary:
		if e.Op == "++" || e.Op == "--" {
			f.increment(e, false)
			return
		}
	case syntax.BlockExpr:
		f.block(e.Block)
		return
	case syntax.IfExpr:
		f.ifStmt(e.If)
		return
	case *syntax.Call:
		f.call(e)
		return
	}
	if f.info.Type(e).Scalar() {
		f.scalar(e)
		return
	}
	if t := f.info.Type(e); t.Memory() > 0 && t.Kind != types.Struct && t.Kind != types.Array {
		f.memory(e, t, false)
	}
}

func (f *fn) ifStmt(s *syntax.If) {
	els := func() {}
	if s.Else != nil {
		els = func() { f.stmt(s.Else) }
	}
	f.branch(s.Cond, func() { f.block(s.Then) }, els)
}

// branch lowers both sides of a condition.
func (f *fn) branch(cond syntax.Expr, then, els func()) {
	f.choose(cond, func() *ir.Value { then(); return nil }, func() *ir.Value { els(); return nil })
}

// choose lowers both sides of a condition and joins scalar variables by block parameters; so it does with the values
// of the sides, if they have any.
func (f *fn) choose(cond syntax.Expr, then, els func() *ir.Value) *ir.Value {
	yes, no := f.Block(), f.Block()
	cache := f.cache.save() // what the condition finds is known on its true side only
	f.cond(cond, yes, no)
	return f.join(yes, no, cache, then, els)
}

// join lowers what follows a condition that has led to yes or no.
func (f *fn) join(yes, no *ir.Block, cache []cachedKey, then, els func() *ir.Value) *ir.Value {
	join := f.Block()
	before, fresh := f.copyVars(), len(f.fresh)

	f.SetBlock(yes)
	yesValue := then()
	yesEnd, yesVars := f.Current(), f.vars
	yesOpen := !f.Ended()

	f.vars, f.fresh = before, f.fresh[:fresh]
	f.cache.restore(cache)
	before = f.copyVars()
	f.SetBlock(no)
	noValue := els()
	noEnd, noVars := f.Current(), f.vars
	noOpen := !f.Ended()
	f.fresh = f.fresh[:fresh]
	f.cache.restore(cache)

	var yesArgs, noArgs []*ir.Value
	meet := func(a, b *ir.Value) *ir.Value {
		switch {
		case a == b || !noOpen:
			return a
		case !yesOpen:
			return b
		}
		if a.Class != b.Class { // only one of them is a pointer that the kernel tracks
			f.SetBlock(yesEnd)
			a = f.number(a)
			f.SetBlock(noEnd)
			b = f.number(b)
		}
		yesArgs, noArgs = append(yesArgs, a), append(noArgs, b)
		return f.Param(join, a.Class)
	}
	f.vars = before
	for _, v := range f.sortedVars(before) {
		f.vars[v] = meet(yesVars[v], noVars[v])
	}
	var value *ir.Value
	if yesValue != nil && noValue != nil {
		value = meet(yesValue, noValue)
	}
	if yesOpen {
		f.SetBlock(yesEnd)
		f.Jump(join, yesArgs...)
	}
	if noOpen {
		f.SetBlock(noEnd)
		f.Jump(join, noArgs...)
	}
	f.SetBlock(join)
	if !yesOpen && !noOpen {
		f.Jump(f.end) // unreachable; the block must still end
	}
	return value
}

func (f *fn) copyVars() map[*check.Local]*ir.Value {
	out := make(map[*check.Local]*ir.Value, len(f.vars))
	for k, v := range f.vars {
		out[k] = v
	}
	return out
}

// sortedVars orders variables by declaration, so that output is deterministic.
func (f *fn) sortedVars(vars map[*check.Local]*ir.Value) []*check.Local {
	var out []*check.Local
	for v := range vars {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b *check.Local) int { return a.ID - b.ID })
	return out
}

// cond lowers a condition as control flow.
func (f *fn) cond(e syntax.Expr, yes, no *ir.Block) {
	if v, known := f.info.Consts[e]; known { // the other way may be code that cannot run here
		if v == 0 {
			yes = no
		}
		f.Jump(yes)
		return
	}
	switch e := e.(type) {
	case *syntax.Binary:
		switch e.Op {
		case "&&":
			mid := f.Block()
			f.cond(e.L, mid, no)
			f.SetBlock(mid)
			f.cond(e.R, yes, no)
			return
		case "||":
			mid := f.Block()
			cache := f.cache.save()
			f.cond(e.L, yes, mid)
			f.cache.restore(cache)
			f.SetBlock(mid)
			f.cond(e.R, yes, no)
			f.cache.restore(cache)
			return
		case "==", "!=":
			if !f.info.Type(e.L).Scalar() {
				if e.Op == "!=" {
					yes, no = no, yes
				}
				f.compareMemory(e.L, e.R, yes, no)
				return
			}
		}
	case *syntax.Unary:
		if e.Op == "!" {
			cache := f.cache.save()
			f.cond(e.X, no, yes)
			f.cache.restore(cache)
			return
		}
	case *syntax.Map:
		if m := f.l.maps[f.info.Maps[e]]; m.Key != nil && m.Value.Scalar() {
			p := f.lookup(m, e, no)
			f.If(f.Load(p, 0, 8, false), yes, no)
			return
		}
	}
	v := f.scalar(e)
	if v.Class.Pointer() {
		v = f.Bin(ir.OpNe, v, f.Const(0))
	}
	f.If(v, yes, no)
}

func (f *fn) let(s *syntax.Let) {
	l := f.info.Locals[s.Name]
	if s.Value == nil {
		if l.Type.Scalar() {
			f.setVariable(l, f.Const(0))
		} else {
			f.Zero(f.local(l), 0, l.Type.Memory())
		}
		return
	}
	f.setLocal(l, s.Value)
}

// keepInMemory finds the scalar variables that change inside an operand that may not be evaluated (of && and ||), and
// those whose address is taken. The former have no single value where the paths meet again, so they live in a slot.
func (f *fn) keepInMemory(p *syntax.Probe) {
	f.kept = map[*check.Local]bool{}
	maybe := func(e syntax.Expr) {
		if e == nil {
			return
		}
		syntax.Walk(e, func(n syntax.Node) bool {
			if v, ok := f.assigned(n).(*syntax.Var); ok {
				f.kept[f.info.Locals[v]] = true
			}
			return true
		})
	}
	syntax.Walk(p, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Binary:
			if n.Op == "&&" || n.Op == "||" {
				maybe(n.R)
			}
		case *syntax.Unary:
			if v, ok := n.X.(*syntax.Var); ok && n.Op == "&" {
				f.kept[f.info.Locals[v]] = true
			}
		}
		return true
	})
}

// assigned is what a node assigns to, nil for most.
func (f *fn) assigned(n syntax.Node) syntax.Expr {
	switch n := n.(type) {
	case *syntax.Unary:
		if n.Op == "++" || n.Op == "--" {
			return n.X
		}
	case *syntax.Assign:
		return n.Target
	case *syntax.Let:
		return n.Name
	case *syntax.For:
		return n.Var
	case *syntax.Call:
		if row := f.info.Funcs[n]; row != nil {
			for i, p := range row.Params {
				if p.Kind == types.OutParam {
					return n.Args[i]
				}
			}
		}
	}
	return nil
}

// variable is the value of a scalar variable.
func (f *fn) variable(l *check.Local) *ir.Value {
	if f.kept[l] {
		return f.Load(f.local(l), 0, 8, false)
	}
	if f.vars[l] == nil {
		bug("variable $%s has no value", l.Name)
	}
	return f.vars[l]
}

func (f *fn) setVariable(l *check.Local, v *ir.Value) {
	if l.Declared && l.Type.Kind == types.Int && l.Type.Size < 8 {
		v = f.Ext(v, l.Type.Size, l.Type.Signed)
	}
	if f.kept[l] {
		f.Store(f.local(l), 0, 8, f.number(v))
		return
	}
	if f.vars[l] == nil {
		f.fresh = append(f.fresh, l)
	}
	f.vars[l] = v
}

// local is the memory of a variable that is not a scalar.
func (f *fn) local(l *check.Local) *ir.Value {
	s := f.slots[l]
	if s == nil {
		s = f.Slot("$"+l.Name, l.Type.Memory())
		f.slots[l] = s
	}
	return f.Addr(s)
}

func (f *fn) setLocal(l *check.Local, e syntax.Expr) {
	if l.Type.Scalar() {
		f.setVariable(l, f.scalar(e))
		return
	}
	// The value may depend on the variable itself: build it aside unless it plainly does not.
	if readsLocal(e, l.Name) {
		tmp := f.memory(e, l.Type, true)
		f.Copy(f.local(l), 0, tmp, l.Type.Memory())
		return
	}
	f.into(e, l.Type, f.local(l), 0, true)
}

func readsLocal(e syntax.Expr, name string) bool {
	found := false
	syntax.Walk(e, func(n syntax.Node) bool {
		if v, ok := n.(*syntax.Var); ok && v.Text == name {
			found = true
		}
		return !found
	})
	return found
}

func (f *fn) assign(s *syntax.Assign) {
	if n, ok := s.Target.(*syntax.Name); ok && n.Text == "_" {
		f.effect(s.Value)
		return
	}
	switch target := s.Target.(type) {
	case *syntax.Var:
		l := f.info.Locals[target]
		if s.Op == "=" {
			f.setLocal(l, s.Value)
			return
		}
		old := f.variable(l)
		f.setVariable(l, f.compound(s, f.number(old), f.scaled(f.scalar(s.Value), l.Type), l.Type))
	case *syntax.Map:
		f.assignMap(target, s)
	default:
		bug("assignment to %T", target)
	}
}

func (f *fn) assignMap(target *syntax.Map, s *syntax.Assign) {
	m := f.l.maps[f.info.Maps[target]]
	if call, ok := s.Value.(*syntax.Call); ok && f.info.Aggs[call] != nil {
		f.aggregate(m, target, call)
		return
	}
	if s.Op == "=" {
		f.store(m, target, s.Value)
		return
	}
	op := s.Op[:len(s.Op)-1]
	x := f.scaled(f.scalar(s.Value), m.Value)
	switch op {
	case "+":
		f.addTo(m, target, x, false)
	case "-":
		f.addTo(m, target, f.Un(ir.OpNeg, x), false)
	default:
		if m.Key == nil {
			f.storeScalar(m, target, f.compound(s, f.readMapScalar(m, target), x, m.Value))
			return
		}
		key := f.key(m, target.Index)
		f.storeKey(m, target, key, f.compound(s, f.readKey(m, target, key), x, m.Value))
	}
}

// compound computes old op= x. A shift keeps the sign of what is shifted, a literal has no sign of its own.
func (f *fn) compound(s *syntax.Assign, old, x *ir.Value, t *types.Type) *ir.Value {
	op := s.Op[:len(s.Op)-1]
	signed := t.Signed
	if op != ">>" && op != "<<" {
		signed = signed || f.info.Signed(s.Value, s.Value)
	}
	return f.arith(op, old, x, signed)
}

// increment is ++ and --; wanted tells whether its value is used.
func (f *fn) increment(e *syntax.Unary, wanted bool) *ir.Value {
	step := f.Const(pointerStep(f.info.Type(e.X)))
	if e.Op == "--" {
		step = f.Const(-step.Imm)
	}
	switch x := e.X.(type) {
	case *syntax.Var:
		l := f.info.Locals[x]
		old := f.variable(l)
		f.setVariable(l, f.Bin(ir.OpAdd, f.number(old), step))
		if e.Postfix {
			return old
		}
		return f.variable(l)
	case *syntax.Map:
		old := f.addTo(f.l.maps[f.info.Maps[x]], x, step, wanted)
		if !wanted || e.Postfix {
			return old
		}
		return f.Bin(ir.OpAdd, old, step)
	}
	bug("++ on %T", e.X)
	return nil
}

// call lowers a call for its effect, and its scalar value if it has one.
func (f *fn) call(e *syntax.Call) *ir.Value {
	row := f.info.Funcs[e]
	if row == nil { // a builtin variable written with ()
		if f.info.Type(e).Scalar() {
			return f.builtin(e)
		}
		f.memory(e, f.info.Type(e), false)
		return nil
	}
	if row.Class == types.VerbFunc {
		return f.verb(row.Verb, e)
	}
	low := f.l.opt.Library.FuncLower(row.Name)
	if low.Scalar == nil {
		f.memory(e, f.info.Type(e), false)
		return nil
	}
	return low.Scalar(f.site(), e)
}
