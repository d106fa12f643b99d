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
		t := f.info.Type(e)
		return f.Ext(f.scalar(e.X), t.Size, t.Signed)
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
		join, other := f.Block(ir.Scalar), f.Block()
		c := f.scalar(e.Cond)
		keep := f.Block()
		f.If(c, keep, other)
		f.SetBlock(keep)
		f.Jump(join, c)
		f.SetBlock(other)
		cache := f.cache.save()
		f.Jump(join, f.scalar(e.Else))
		f.cache.restore(cache)
		f.SetBlock(join)
		return join.Params[0]
	}
	yes, no, join := f.Block(), f.Block(), f.Block(ir.Scalar)
	cache := f.cache.save()
	f.cond(e.Cond, yes, no)
	for _, side := range []struct {
		block *ir.Block
		value syntax.Expr
	}{{yes, e.Then}, {no, e.Else}} {
		f.SetBlock(side.block)
		f.Jump(join, f.scalar(side.value))
		f.cache.restore(cache)
	}
	f.SetBlock(join)
	return join.Params[0]
}

// fieldScalar reads a scalar field of args, of a kernel struct, or of a tuple.
func (f *fn) fieldScalar(e *syntax.Field) *ir.Value {
	if f.isArgs(e.X) {
		return f.argScalar(e)
	}
	xt := f.info.Type(e.X)
	if xt.Kind == types.Tuple {
		p, off := f.tupleField(e)
		return f.Load(p, off, 8, false)
	}
	base, fld := f.structField(e, xt)
	return f.loadField(base, fld, xt)
}

// isArgs tells whether e is the builtin that stands for the probe's arguments.
func (f *fn) isArgs(e syntax.Expr) bool {
	row := f.info.Vars[e]
	return row != nil && row.Args && !row.Numbered && f.info.Type(e).Kind == types.Struct
}

// structField evaluates the pointer and finds the field.
func (f *fn) structField(e *syntax.Field, xt *types.Type) (*ir.Value, types.Field) {
	st := xt
	if xt.Kind == types.Pointer {
		st = xt.Elem
	}
	fld, ok := st.Field(e.Name.Text)
	if !ok {
		bug("field %s of %s", e.Name.Text, st)
	}
	if xt.Kind == types.Pointer {
		return f.scalar(e.X), fld
	}
	// A struct inside a struct: go on from its address.
	inner, ok := e.X.(*syntax.Field)
	if !ok {
		bug("struct value %T", e.X)
	}
	base, outer := f.structField(inner, f.info.Type(inner.X))
	fld.Offset += outer.Offset
	return base, fld
}

// loadField reads a scalar field through a pointer.
func (f *fn) loadField(base *ir.Value, fld types.Field, owner *types.Type) *ir.Value {
	size, signed := scalarSize(fld.Type)
	if base.Class == ir.BTFPtr {
		if fld.Type.Kind == types.Pointer && !fld.Type.User && fld.BitSize == 0 {
			return f.LoadBTF(base, fld.Offset)
		}
		v := f.Load(base, fld.Offset, size, signed && fld.BitSize == 0)
		return f.bitField(v, fld, size, signed)
	}
	user := owner.Kind == types.Pointer && owner.User
	v := f.readAt(f.AddImm(base, int64(fld.Offset)), size, signed && fld.BitSize == 0, !user)
	return f.bitField(v, fld, size, signed)
}

// bitField cuts a bit field out of its word.
func (f *fn) bitField(v *ir.Value, fld types.Field, size int, signed bool) *ir.Value {
	if fld.BitSize == 0 {
		return v
	}
	up := int64(64 - fld.BitOff - fld.BitSize)
	v = f.Bin(ir.OpShl, v, f.Const(up))
	op := ir.OpShr
	if signed {
		op = ir.OpSar
	}
	return f.Bin(op, v, f.Const(int64(64-fld.BitSize)))
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
		v := f.Load(f.Ctx(), fld.Offset, size, signed && fld.BitSize == 0)
		return f.bitField(v, fld, size, signed)
	case types.WordArgs:
		if fld.Type.Kind == types.Pointer && fld.Type.Elem.Kind == types.Struct {
			return f.wordPointer(fld.Offset / 8)
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
