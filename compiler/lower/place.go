package lower

import (
	"strconv"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// space says what the base of a place is.
type space uint8

const (
	inMemory space = iota // a pointer into a slot, a map's value or the context
	inKernel              // an address
	inUser                // an address
	inEither              // an address that tells itself: those of the kernel have the highest bit
	inBTF                 // a pointer that the kernel knows the type of: loads need no helper
)

// place is where a value lies: off bytes after p. Packed values lie as C has them, the others take 8 bytes.
type place struct {
	p      *ir.Value
	off    int
	space  space
	packed bool
	copied bool // of inBTF: by a helper, since the kernel's verifier sees something else there, or a pointer that it does not follow
}

// at is a place further on.
func (pl place) at(off int, packed bool) place {
	pl.off += off
	pl.packed = packed
	return pl
}

// pointee is where a pointer points.
func (f *fn) pointee(v *ir.Value, t *types.Type) place {
	pl := place{p: v, packed: true, space: inKernel}
	switch {
	case v.Class == ir.BTFPtr:
		pl.space = inBTF
	case v.Class == ir.Ctx:
		pl.space = inMemory
	case t.User:
		pl.space = inUser
	}
	return pl
}

// numberSpace is where a number that is used as an address points.
func (f *fn) numberSpace() space {
	switch f.target().Hook.Kind {
	case types.HookKprobe, types.HookKretprobe, types.HookFentry, types.HookFexit:
		return inKernel
	case types.HookUprobe, types.HookUretprobe:
		return inUser
	}
	return inEither
}

// placeOf finds where the value of an expression lies; what lies nowhere is built in memory. fld describes it when it
// is a field of a struct.
func (f *fn) placeOf(e syntax.Expr) (pl place, fld types.Field) {
	if x := f.info.Expanded[e]; x != nil {
		return f.placeOf(x)
	}
	switch e := e.(type) {
	case *syntax.Field:
		return f.fieldPlace(e)
	case *syntax.Index:
		return f.indexPlace(e), fld
	case *syntax.Unary:
		if e.Op == "*" {
			at := f.info.Type(e.X)
			if at.Kind == types.Int {
				return place{p: f.scalar(e.X), packed: true, space: f.numberSpace()}, fld
			}
			return f.pointee(f.scalar(e.X), at), fld
		}
	}
	return place{p: f.memory(e, f.info.Type(e), true)}, fld
}

func (f *fn) fieldPlace(e *syntax.Field) (place, types.Field) {
	if f.isArgs(e.X) {
		return f.recordField(e)
	}
	xt := f.info.Type(e.X)
	if xt.Kind == types.Tuple {
		pl, _ := f.placeOf(e.X)
		return pl.at(elementOffset(xt, e.Name.Text), false), types.Field{}
	}
	st, base := xt, place{}
	if xt.Kind == types.Pointer {
		st, base = xt.Elem, f.pointee(f.scalar(e.X), xt)
	} else {
		base, _ = f.placeOf(e.X)
	}
	fld, ok := st.Field(e.Name.Text)
	if !ok {
		bug("field %s of %s", e.Name.Text, st)
	}
	base.copied = base.copied || base.space == inBTF && (shared(st, fld) || fld.Type.Guarded || ir.MayBeNull(f.target().Hook.Kind, st.Name, fld.Name))
	return base.at(fld.Offset, true), fld
}

// shared tells whether a field has its place with another one of the struct.
func shared(st *types.Type, fld types.Field) bool {
	size := max(fld.Type.Size, 1)
	if fld.BitSize > 0 {
		size = fieldWord(fld)
	}
	for _, o := range st.Layout.Fields() {
		if o.Name != fld.Name && o.BitSize == 0 && o.Offset < fld.Offset+size && fld.Offset < o.Offset+o.Type.Size {
			return true
		}
	}
	return false
}

// recordField is a field of args that is not a scalar.
func (f *fn) recordField(e *syntax.Field) (place, types.Field) {
	t := f.target()
	fld, _ := t.Args.Field(e.Name.Text)
	switch {
	case t.Form == types.CArgs || t.Form == types.GoArgs:
		return f.gathered(t.Places[fld.Offset/8], fld.Type), fld
	case t.Form == types.WordArgs: // in words of the context, one after the other
		p, words := f.Addr(f.Slot("argument", (fld.Type.Size+7)&^7)), (fld.Type.Size+7)/8
		for i := range words {
			f.Store(p, 8*i, 8, f.Word(fld.Offset/8+i))
		}
		return place{p: p, packed: true}, fld
	case t.Form != types.RecordArgs:
		bug("argument of form %d that is not a scalar", t.Form)
	case fld.DataLoc:
		return place{p: f.Index(f.Ctx(), f.Mask(f.Load(f.Ctx(), fld.Offset, 4, false), 0xffff), 1), packed: true}, fld
	}
	return place{p: f.Ctx(), off: fld.Offset, packed: true}, fld
}

// gathered is where an argument lies: in the memory of the process, or its parts put together.
func (f *fn) gathered(places []types.Piece, t *types.Type) place {
	if o := places[0]; o.Kind == types.MemoryOperand {
		return place{p: f.Word(o.Base), off: int(o.Value), space: inUser, packed: true}
	}
	size := (t.Size + 7) &^ 7
	p := f.Addr(f.Slot("argument", size))
	f.Zero(p, 0, size)
	for _, o := range places {
		f.Store(p, o.At, o.Operand.Size, f.Word(o.Base))
	}
	return place{p: p, packed: true}
}

// elementOffset is where a tuple's field lies.
func elementOffset(t *types.Type, name string) int {
	n, err := strconv.Atoi(name)
	if t.Names != nil {
		n, err = t.Element(name), nil
	}
	if err != nil || n < 0 {
		bug("tuple field %s", name)
	}
	off := 0
	for _, e := range t.Elems[:n] {
		off += e.Memory()
	}
	return off
}

// indexPlace is x[i]. An index out of bounds is that of the last element.
func (f *fn) indexPlace(e *syntax.Index) place {
	xt := f.info.Type(e.X)
	n, constant := f.info.Consts[e.Keys[0]]
	base := f.indexBase(e)
	switch {
	case xt.Kind == types.Tuple:
		return base.at(elementOffset(xt, strconv.FormatInt(n, 10)), false)
	case constant:
		return base.at(int(n)*elementSize(xt), true)
	}
	return f.element(base, xt, f.scalar(e.Keys[0]))
}

// indexBase is where x of x[i] begins.
func (f *fn) indexBase(e *syntax.Index) place {
	switch xt := f.info.Type(e.X); {
	case xt.Kind == types.Pointer:
		return f.pointee(f.scalar(e.X), xt)
	case xt.Kind == types.String && xt.Counted:
		return place{p: f.memory(e.X, xt, true)}
	}
	base, _ := f.placeOf(e.X)
	return base
}

// element is the element i of what begins at base.
func (f *fn) element(base place, xt *types.Type, i *ir.Value) place {
	size := elementSize(xt)
	if base.space == inMemory {
		return place{p: f.Index(base.p, f.Bound(i, int64(max(bounds(xt), 1)-1)), int64(size)), off: base.off, packed: true}
	}
	base.p = f.Bin(ir.OpAdd, f.number(base.p), f.Bin(ir.OpMul, i, f.Const(int64(size))))
	if base.space == inBTF {
		base.space = inKernel
	}
	base.packed = true
	return base
}

// bounds is how many elements a string or an array has, 0 when that is not known.
func bounds(t *types.Type) int {
	switch t.Kind {
	case types.String:
		return t.Size
	case types.Array:
		return t.Len
	}
	return 0
}

func elementSize(t *types.Type) int {
	if t.Kind == types.String {
		return 1
	}
	return t.Elem.Size
}

// indexScalar reads x[i]; what is out of bounds is 0.
func (f *fn) indexScalar(e *syntax.Index) *ir.Value {
	t, xt := f.info.Type(e), f.info.Type(e.X)
	if f.isConst(e.Keys[0]) || bounds(xt) == 0 {
		return f.loadPlace(f.indexPlace(e), t, types.Field{})
	}
	base := f.indexBase(e)
	i := f.scalar(e.Keys[0])
	inside, outside, join := f.Block(), f.Block(), f.Block(ir.Scalar)
	f.If(f.Bin(ir.OpULt, i, f.Const(int64(bounds(xt)))), inside, outside)
	f.SetBlock(inside)
	f.Jump(join, f.number(f.loadPlace(f.element(base, xt, i), t, types.Field{})))
	f.SetBlock(outside)
	f.Jump(join, f.Const(0))
	f.SetBlock(join)
	return join.Params[0]
}

func (f *fn) isConst(e syntax.Expr) bool {
	_, ok := f.info.Consts[e]
	return ok
}

// loadPlace reads a scalar.
func (f *fn) loadPlace(pl place, t *types.Type, fld types.Field) *ir.Value {
	size, signed := 8, false
	if pl.packed {
		size, signed = scalarSize(t)
	}
	if n := (fld.BitOff + fld.BitSize + 7) / 8; fld.BitSize > 0 && (n > 8 || pl.space != inMemory && n != fieldWord(fld)) {
		return f.packedBits(pl, n, fld, signed)
	} else if fld.BitSize > 0 {
		return f.bitField(f.loadWord(pl, fieldWord(fld), false, nil), fld, signed)
	}
	return f.loadWord(pl, size, signed, t)
}

func (f *fn) loadWord(pl place, size int, signed bool, t *types.Type) *ir.Value {
	switch pl.space {
	case inMemory:
		if indexed := pl.p.Op == ir.OpIndex; pl.off%size != 0 || indexed && pl.p.Imm%int64(size) != 0 || // the stack takes no such loads
			indexed && pl.p.Class == ir.Ctx {
			return f.readAt(f.address(pl), size, signed, true)
		}
		return f.Load(pl.p, pl.off, size, signed)
	case inBTF:
		if pl.copied {
			return f.readAt(f.address(pl), size, signed, true)
		}
		switch {
		case t == nil || t.Kind != types.Pointer:
		case !t.User && t.Elem.Kind == types.Struct:
			return f.LoadBTF(pl.p, pl.off)
		default: // newer kernels take it for a pointer that they know something of
			return f.readAt(f.address(pl), size, signed, true)
		}
		return f.Load(pl.p, pl.off, size, signed)
	case inEither:
		return f.readEither(f.AddImm(pl.p, int64(pl.off)), size, signed)
	}
	return f.readAt(f.AddImm(pl.p, int64(pl.off)), size, signed, pl.space == inKernel)
}

// fieldWord is how many bytes hold a bit field.
func fieldWord(fld types.Field) int {
	size := 1
	for fld.BitOff+fld.BitSize > 8*size && size < 8 {
		size *= 2
	}
	return size
}

// bitField cuts a bit field out of its word.
func (f *fn) bitField(v *ir.Value, fld types.Field, signed bool) *ir.Value {
	v = f.Bin(ir.OpShl, v, f.Const(int64(64-fld.BitOff-fld.BitSize)))
	op := ir.OpShr
	if signed {
		op = ir.OpSar
	}
	return f.Bin(op, v, f.Const(int64(64-fld.BitSize)))
}

// packedBits is a bit field in so many bytes that no load has them: nothing behind them is read.
func (f *fn) packedBits(pl place, n int, fld types.Field, signed bool) *ir.Value {
	p := f.Addr(f.Slot("bits", 16))
	f.Zero(p, 0, 16)
	addr := f.address(pl)
	if pl.space == inEither {
		kernel := f.Bin(ir.OpSLt, addr, f.Const(0))
		f.when(kernel, func() { f.mustRead(p, addr, n, true) })
		f.when(f.Bin(ir.OpEq, kernel, f.Const(0)), func() { f.mustRead(p, addr, n, false) })
	} else {
		f.mustRead(p, addr, n, pl.space != inUser)
	}
	v := f.Bin(ir.OpShr, f.Load(p, 0, 8, false), f.Const(int64(fld.BitOff)))
	if fld.BitOff+fld.BitSize > 64 {
		v = f.Bin(ir.OpOr, v, f.Bin(ir.OpShl, f.Load(p, 8, 8, false), f.Const(int64(64-fld.BitOff))))
	}
	fld.BitOff = 0
	return f.bitField(v, fld, signed)
}

// address is a place as the address of a read.
func (f *fn) address(pl place) *ir.Value {
	if pl.space == inMemory {
		if pl.off == 0 {
			return pl.p
		}
		return f.Offset(pl.p, int64(pl.off))
	}
	return f.AddImm(pl.p, int64(pl.off))
}

// copyPlace copies a value that is not a scalar to p+off, laid out as t.
func (f *fn) copyPlace(pl place, from, t *types.Type, p *ir.Value, off int, pad bool) {
	if pl.space == inMemory && !pl.packed {
		src := pl.p
		if pl.off != 0 {
			src = f.Offset(pl.p, int64(pl.off))
		}
		f.convert(p, off, t, src, from)
		return
	}
	if from.Counted {
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) { f.readCounted(pl, t, p, off, pad) })
		return
	}
	if from.Kind == types.String {
		f.resized(from, t, p, off, pad, func(t *types.Type, p *ir.Value, off int) {
			f.readString(f.address(pl), f.Const(int64(t.Size)), t, p, off, pad, pl.space != inUser)
		})
		return
	}
	size := from.Size
	if from.Kind == types.Buffer || from.Kind == types.Tuple { // which C has not
		size = from.Memory()
	}
	if rest := from.Memory(); rest != size {
		f.Zero(p, off+rest-8, 8)
	}
	dst := p
	if off != 0 {
		dst = f.Offset(p, int64(off))
	}
	f.mustRead(dst, f.address(pl), size, pl.space != inUser)
}

// raw copies bytes of a value in memory, at most limit: the text in an array of char does not end at its NUL here.
func (f *fn) raw(e syntax.Expr, dst, size *ir.Value, limit int) *ir.Value {
	pl := place{}
	field, ok := e.(*syntax.Field)
	if f.info.Type(e).Counted || ok && f.isArgs(field.X) && f.target().Form == types.InputArgs {
		pl.p = f.memory(e, f.info.Type(e), true)
	} else {
		pl, _ = f.placeOf(e)
	}
	return f.ReadN(dst, f.address(pl), size, limit, pl.space != inUser)
}

// tracked is a pointer that the kernel knows the type of, to the struct that e is or points to; nil without one.
func (f *fn) tracked(e syntax.Expr) *ir.Value {
	var pl place
	if t := f.info.Type(e); t.Kind == types.Pointer {
		pl = f.pointee(f.scalar(e), t)
	} else {
		pl, _ = f.placeOf(e)
	}
	switch {
	case pl.space != inBTF:
		return nil
	case pl.off == 0:
		return pl.p
	}
	return f.Offset(pl.p, int64(pl.off))
}

// number makes a plain number of a pointer that the kernel tracks: only its bytes go through memory.
func (f *fn) number(v *ir.Value) *ir.Value {
	if !v.Class.Pointer() {
		return v
	}
	from, to := f.Addr(f.Slot("pointer", 8)), f.Addr(f.Slot("number", 8))
	f.Store(from, 0, 8, v)
	f.Read(to, from, 8, true)
	return f.Load(to, 0, 8, false)
}
