package lower

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// operand is a value of the language: a scalar, or a pointer to memory laid out as typ.
type operand struct {
	v   *ir.Value
	typ *types.Type
}

// scalar lowers an expression of a scalar type to a 64-bit value, extended according to its type.
func (f *fn) scalar(e syntax.Expr) *ir.Value {
	saved := f.Builder.Span
	f.Builder.Span = e.Span()
	defer func() { f.Builder.Span = saved }()
	if v, ok := f.info.Consts[e]; ok {
		return f.Const(v)
	}
	if x := f.info.Expanded[e]; x != nil {
		return f.scalar(x)
	}
	switch e := e.(type) {
	case *syntax.Name:
		if o, ok := f.labels[e.Text]; ok {
			return o.v
		}
		return f.builtin(e)
	case *syntax.Var:
		return f.variable(f.info.Locals[e])
	case *syntax.Map:
		return f.readMapScalar(f.l.maps[f.info.Maps[e]], e)
	case *syntax.Unary:
		switch e.Op {
		case "++", "--":
			return f.increment(e, true)
		case "+":
			return f.scalar(e.X)
		case "-":
			return f.Un(ir.OpNeg, f.scalar(e.X))
		case "~":
			return f.Un(ir.OpNot, f.scalar(e.X))
		case "!":
			return f.Bin(ir.OpEq, f.scalar(e.X), f.Const(0))
		case "&":
			if m, is := e.X.(*syntax.Map); is {
				return f.number(f.MapPtr(f.l.maps[f.info.Maps[m]]))
			}
			l := f.info.Locals[e.X.(*syntax.Var)]
			p := f.local(l)
			f.slots[l].Pinned = true
			return f.number(p)
		case "*":
			pl, fld := f.placeOf(e)
			return f.loadPlace(pl, f.info.Type(e), fld)
		}
	case *syntax.Binary:
		return f.binary(e)
	case *syntax.Ternary:
		return f.ternary(e)
	case *syntax.Field:
		return f.fieldScalar(e)
	case *syntax.Call:
		return f.call(e)
	case *syntax.Cast:
		return f.castScalar(e)
	case *syntax.Index:
		return f.indexScalar(e)
	case *syntax.Comptime:
		return f.scalar(e.X)
	case syntax.IfExpr:
		return f.ifScalar(e.If)
	case syntax.BlockExpr:
		return f.blockScalar(e.Block)
	}
	bug("scalar %T", e)
	return nil
}

// builtin reads a variable such as pid, written bare or with ().
func (f *fn) builtin(e syntax.Expr) *ir.Value {
	row := f.info.Vars[e]
	if row == nil {
		bug("no row for %s", syntax.ExprString(e))
	}
	low := f.l.opt.Library.VarLower(row.Name)
	if low.Scalar == nil {
		bug("%s is not a scalar", row.Name)
	}
	return low.Scalar(f.site(), f.info.Numbers[e])
}

// truthValue makes 1 or 0 of control flow.
func (f *fn) truthValue(e syntax.Expr) *ir.Value {
	yes, no, join := f.Block(), f.Block(), f.Block(ir.Scalar)
	cache := f.cache.save()
	f.cond(e, yes, no)
	f.cache.restore(cache)
	f.SetBlock(yes)
	f.Jump(join, f.Const(1))
	f.SetBlock(no)
	f.Jump(join, f.Const(0))
	f.SetBlock(join)
	return join.Params[0]
}

func (f *fn) binary(e *syntax.Binary) *ir.Value {
	switch e.Op {
	case "&&", "||":
		return f.truthValue(e)
	case "==", "!=", "<", "<=", ">", ">=":
		if !f.info.Type(e.L).Scalar() {
			return f.truthValue(e)
		}
		return f.compare(e.Op, f.scalar(e.L), f.scalar(e.R), f.info.Signed(e.L, e.R))
	}
	x := f.scalar(e.L)
	y := f.scalar(e.R)
	if lt, rt := f.info.Type(e.L), f.info.Type(e.R); lt.Kind == types.Pointer || rt.Kind == types.Pointer {
		return f.pointerArith(e.Op, f.number(x), f.number(y), lt, rt)
	}
	return f.arith(e.Op, x, y, f.info.Type(e).Signed && (e.Op == ">>" || e.Op == "<<" || f.info.Signed(e.L, e.R)))
}

func (f *fn) compare(op string, x, y *ir.Value, signed bool) *ir.Value {
	less, lessEq := ir.OpULt, ir.OpULe
	if signed {
		less, lessEq = ir.OpSLt, ir.OpSLe
	}
	switch op {
	case "==":
		return f.Bin(ir.OpEq, x, y)
	case "!=":
		return f.Bin(ir.OpNe, x, y)
	case "<":
		return f.Bin(less, x, y)
	case "<=":
		return f.Bin(lessEq, x, y)
	case ">":
		return f.Bin(less, y, x)
	case ">=":
		return f.Bin(lessEq, y, x)
	}
	bug("comparison %s", op)
	return nil
}

func (f *fn) arith(op string, x, y *ir.Value, signed bool) *ir.Value {
	switch op {
	case "+":
		return f.Bin(ir.OpAdd, x, y)
	case "-":
		return f.Bin(ir.OpSub, x, y)
	case "*":
		return f.Bin(ir.OpMul, x, y)
	case "&":
		return f.Bin(ir.OpAnd, x, y)
	case "|":
		return f.Bin(ir.OpOr, x, y)
	case "^":
		return f.Bin(ir.OpXor, x, y)
	case "<<":
		return f.Bin(ir.OpShl, x, y)
	case ">>":
		if signed {
			return f.Bin(ir.OpSar, x, y)
		}
		return f.Bin(ir.OpShr, x, y)
	case "/":
		return f.divide(ir.OpUDiv, ir.OpSDiv, x, y, signed)
	case "%":
		return f.divide(ir.OpUMod, ir.OpSMod, x, y, signed)
	}
	bug("operator %s", op)
	return nil
}

// divide guards against a divisor of 0: the result is then 1, and counted, as bpftrace does.
func (f *fn) divide(unsigned, withSign ir.Op, x, y *ir.Value, signed bool) *ir.Value {
	op := unsigned
	if signed {
		op = withSign
	}
	if y.Op == ir.OpConst && y.Imm != 0 {
		return f.Bin(op, x, y)
	}
	good, zero, join := f.Block(), f.Block(), f.Block(ir.Scalar)
	f.If(y, good, zero)
	f.SetBlock(good)
	f.Jump(join, f.Bin(op, x, y))
	f.SetBlock(zero)
	f.count(ir.LossDivideByZero, nil)
	f.Jump(join, f.Const(1))
	f.SetBlock(join)
	return join.Params[0]
}

func (f *fn) ternary(e *syntax.Ternary) *ir.Value {
	if e.Then == nil { // c ?: b evaluates c once
		c := f.scalar(e.Cond)
		yes, no := f.Block(), f.Block()
		f.If(c, yes, no)
		return f.join(yes, no, f.cache.save(), func() *ir.Value { return c }, func() *ir.Value { return f.scalar(e.Else) })
	}
	return f.choose(e.Cond, func() *ir.Value { return f.scalar(e.Then) }, func() *ir.Value { return f.scalar(e.Else) })
}

func (f *fn) ifScalar(s *syntax.If) *ir.Value {
	return f.choose(s.Cond, func() *ir.Value { return f.blockScalar(s.Then) }, func() *ir.Value {
		if els, ok := s.Else.(*syntax.If); ok {
			return f.ifScalar(els)
		}
		return f.blockScalar(s.Else.(*syntax.Block))
	})
}

func (f *fn) blockScalar(b *syntax.Block) (v *ir.Value) {
	f.scope(b, func() { v = f.scalar(b.Result) })
	return v
}

// castScalar is (type)x for a scalar type.
func (f *fn) castScalar(e *syntax.Cast) *ir.Value {
	t, from := f.info.Type(e), f.info.Type(e.X)
	if !from.Scalar() { // an array of as many bytes
		return f.Ext(f.Load(f.memory(e.X, from, true), 0, 8, false), t.Size, t.Signed)
	}
	v := f.scalar(e.X)
	switch {
	case t.Kind == types.Bool:
		return f.Bin(ir.OpNe, v, f.Const(0))
	case t.Kind == types.Pointer:
		if from.Kind == types.Pointer && from.Elem.Equal(t.Elem) || v.Class == ir.Ctx {
			return v
		}
		return f.number(v)
	}
	return f.Ext(f.number(v), t.Size, t.Signed)
}

// pointerStep is how far apart the things are that a pointer points to.
func pointerStep(t *types.Type) int64 {
	if t.Kind == types.Pointer && t.Elem.Size > 0 {
		return int64(t.Elem.Size)
	}
	return 1
}

// scaled makes a distance in bytes of a number that is added to something of type t.
func (f *fn) scaled(x *ir.Value, t *types.Type) *ir.Value {
	if n := pointerStep(t); n != 1 {
		return f.Bin(ir.OpMul, x, f.Const(n))
	}
	return x
}

// pointerArith is +  and - where pointers are involved.
func (f *fn) pointerArith(op string, x, y *ir.Value, xt, yt *types.Type) *ir.Value {
	switch {
	case op == "+":
		return f.Bin(ir.OpAdd, f.scaled(x, yt), f.scaled(y, xt))
	case yt.Kind == types.Pointer:
		return f.Bin(ir.OpSDiv, f.Bin(ir.OpSub, x, y), f.Const(pointerStep(xt)))
	}
	return f.Bin(ir.OpSub, x, f.scaled(y, xt))
}

// fieldScalar reads a scalar field of args, of a struct, or of a tuple.
func (f *fn) fieldScalar(e *syntax.Field) *ir.Value {
	if f.isArgs(e.X) {
		return f.argScalar(e)
	}
	pl, fld := f.fieldPlace(e)
	return f.loadPlace(pl, f.info.Type(e), fld)
}

// isArgs tells whether e is the builtin that stands for the probe's arguments.
func (f *fn) isArgs(e syntax.Expr) bool {
	row := f.info.Vars[e]
	return row != nil && row.Args && !row.Numbered && f.info.Type(e).Kind == types.Struct
}

func scalarSize(t *types.Type) (size int, signed bool) {
	switch t.Kind {
	case types.Int:
		return t.Size, t.Signed
	case types.Bool:
		return 1, false
	case types.Pointer:
		return 8, false
	}
	bug("scalar field of type %s", t)
	return 0, false
}

// registers of the pt_regs of x86-64 that hold system-call arguments, by index.
var syscallRegs = [...]int{112, 104, 96, 56, 72, 64}

// argScalar reads a field of args.
func (f *fn) argScalar(e *syntax.Field) *ir.Value {
	t := f.target()
	fld, ok := t.Args.Field(e.Name.Text)
	if !ok {
		bug("argument %s", e.Name.Text)
	}
	size, signed := scalarSize(fld.Type)
	switch t.Form {
	case types.RecordArgs:
		if fld.BitSize > 0 {
			return f.bitField(f.Load(f.Ctx(), fld.Offset, fieldWord(fld), false), fld, signed)
		}
		v := f.Load(f.Ctx(), fld.Offset, size, signed)
		return v
	case types.WordArgs:
		switch {
		case fld.Type.Kind != types.Pointer:
		case fld.Type.Elem.Kind == types.Struct:
			return f.wordPointer(fld.Offset / 8)
		default: // some of which the kernel does not let a program load
			return f.plainWord(fld.Offset / 8)
		}
		return f.extend(f.Word(fld.Offset/8), size, signed)
	case types.CArgs, types.GoArgs:
		places := t.Places[fld.Offset/8]
		if places[0].Kind == types.RegisterOperand {
			return f.extend(f.Word(places[0].Base), size, signed)
		}
		return f.loadPlace(f.gathered(places, fld.Type), fld.Type, fld)
	case types.IterArgs:
		if p := f.objects[fld.Offset]; p != nil {
			return p
		}
		return f.extend(f.Word(fld.Offset/8), size, signed)
	case types.SyscallEnter:
		if fld.Offset < 0 { // the number itself
			return f.extend(f.Word(1), size, signed)
		}
		return f.extend(f.regs(syscallRegs[fld.Offset/8]), size, signed)
	case types.SyscallExit:
		if fld.Offset < 0 {
			return f.extend(f.regs(origAx), size, signed)
		}
		return f.extend(f.Word(1), size, signed)
	}
	bug("args of form %d", t.Form)
	return nil
}

// extend makes a 64-bit value of a narrow one.
func (f *fn) extend(v *ir.Value, size int, signed bool) *ir.Value {
	if size == 8 {
		return v
	}
	return f.Ext(v, size, signed)
}
