package ir

import "math"

// Eval computes a scalar operation (Add to SLe) as the kernel defines it; unary operations ignore y.
// It is what constant folding and the interpreter share.
func Eval(op Op, x, y int64) int64 {
	ux, uy := uint64(x), uint64(y)
	switch op {
	case OpAdd:
		return x + y
	case OpSub:
		return x - y
	case OpMul:
		return x * y
	case OpUDiv:
		if y == 0 {
			return 0
		}
		return int64(ux / uy)
	case OpUMod:
		if y == 0 {
			return x
		}
		return int64(ux % uy)
	case OpSDiv:
		switch {
		case y == 0:
			return 0
		case y == -1 && x == math.MinInt64:
			return x
		}
		return x / y
	case OpSMod:
		switch {
		case y == 0:
			return x
		case y == -1:
			return 0
		}
		return x % y
	case OpAnd:
		return x & y
	case OpOr:
		return x | y
	case OpXor:
		return x ^ y
	case OpShl:
		return x << (uy & 63)
	case OpShr:
		return int64(ux >> (uy & 63))
	case OpSar:
		return x >> (uy & 63)
	case OpNeg:
		return -x
	case OpNot:
		return ^x
	case OpEq:
		return flag(x == y)
	case OpNe:
		return flag(x != y)
	case OpULt:
		return flag(ux < uy)
	case OpULe:
		return flag(ux <= uy)
	case OpSLt:
		return flag(x < y)
	case OpSLe:
		return flag(x <= y)
	}
	panic("BUG: ir.Eval of " + op.String())
}

// EvalExt narrows x to width bytes and extends it again.
func EvalExt(x int64, width uint8, signed bool) int64 {
	switch {
	case width == 1 && signed:
		return int64(int8(x))
	case width == 2 && signed:
		return int64(int16(x))
	case width == 4 && signed:
		return int64(int32(x))
	case width == 1:
		return int64(uint8(x))
	case width == 2:
		return int64(uint16(x))
	case width == 4:
		return int64(uint32(x))
	}
	return x
}

// EvalBound computes OpBound.
func EvalBound(x, limit int64) int64 {
	if uint64(x) <= uint64(limit) {
		return x
	}
	return limit
}

// Scalar tells whether Eval knows the operation.
func (o Op) Scalar() bool { return o >= OpAdd && o <= OpNot || o >= OpEq && o <= OpSLe }

// Compare tells whether the operation gives 0 or 1.
func (o Op) Compare() bool { return o >= OpEq && o <= OpSLe }

// Commutative tells whether x and y may be exchanged.
func (o Op) Commutative() bool {
	switch o {
	case OpAdd, OpMul, OpAnd, OpOr, OpXor, OpEq, OpNe:
		return true
	}
	return false
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
