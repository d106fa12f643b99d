package ir

import (
	"fmt"

	"github.com/slopebpf/slope/lang/source"
)

// Error is what Verify and Parse find: a broken rule at a place of the source.
type Error struct {
	File    *source.File
	Span    source.Span
	Message string
}

func (e *Error) Error() string {
	if e.File == nil {
		return e.Message
	}
	return e.File.Place(e.Span) + ": " + e.Message
}

// Verify checks what the kernel's verifier will check, and what the passes and the back end rely on:
// every reachable block ends; definitions dominate uses; arguments match parameters in number and class; operands
// have the class the operation needs; …OrNull pointers go nowhere but to NullCheck and NonNull; an Index is bounded;
// accesses through pointers whose offset is known stay inside their slot, map value or record; keys and values handed
// to the kernel are long enough; a ring-buffer record is submitted or discarded exactly once on every path.
// Unreachable blocks are not looked at.
func Verify(p *Program, f *Func) error {
	vf := &verifier{prog: p, f: f, dom: f.Dominators()}
	vf.shape()
	if vf.err == nil {
		vf.dominance()
	}
	if vf.err == nil {
		vf.pointers()
	}
	if vf.err == nil {
		vf.records()
	}
	if vf.err != nil {
		return vf.err
	}
	return nil
}

// VerifyAll verifies every function of a program.
func VerifyAll(p *Program) error {
	for _, f := range p.Funcs {
		if err := Verify(p, f); err != nil {
			return fmt.Errorf("verify %s: %w", f.Name, err)
		}
	}
	return nil
}

type verifier struct {
	prog *Program
	f    *Func
	dom  *DomTree
	ptr  map[*Value]pointer
	err  *Error
}

// fail keeps the first error.
func (vf *verifier) fail(s source.Span, format string, args ...any) {
	if vf.err == nil {
		vf.err = &Error{File: vf.prog.Source, Span: s, Message: fmt.Sprintf(format, args...)}
	}
}

// shape checks the table's columns, the terminators and the classes.
func (vf *verifier) shape() {
	preds := Preds(vf.dom.Order)
	for _, b := range vf.dom.Order {
		for i, v := range b.Insts {
			vf.inst(v)
			if v.Op == OpNonNull {
				ps := preds[b]
				if i != 0 || len(ps) != 1 || ps[0].Term.Kind != TermNullCheck || ps[0].Term.Then != b ||
					ps[0].Term.Else == b || ps[0].Term.Cond != v.Args[0] {
					vf.fail(v.Span, "v%d: nonnull must be first after the nullcheck of v%d", v.ID, v.Args[0].ID)
				}
			}
		}
		vf.term(b)
	}
	if len(vf.f.Blocks[0].Params) > 0 || len(preds[vf.f.Blocks[0]]) > 0 {
		vf.fail(vf.f.Span, "the entry block has parameters or predecessors")
	}
}

func (vf *verifier) term(b *Block) {
	t := &b.Term
	class := Void
	if t.Cond != nil {
		class = t.Cond.Class
	}
	switch {
	case t.Kind == TermNone:
		vf.fail(t.Span, "b%d has no end", b.ID)
	case (t.Kind == TermJump || t.Kind == TermMayGoto) && t.Cond != nil:
		vf.fail(t.Span, "b%d: a jump has no condition", b.ID)
	case (t.Kind == TermIf || t.Kind == TermRet) && class != Scalar:
		vf.fail(t.Span, "b%d: got %s, want scalar", b.ID, class)
	case t.Kind == TermNullCheck && !class.MayBeNull():
		vf.fail(t.Span, "b%d: nullcheck of %s, want a pointer that may be null", b.ID, class)
	}
	check := func(to *Block, args []*Value) {
		if to == nil {
			return
		}
		if len(args) != len(to.Params) {
			vf.fail(t.Span, "b%d → b%d: got %d arguments, want %d", b.ID, to.ID, len(args), len(to.Params))
			return
		}
		for i, a := range args {
			if a.Class != to.Params[i].Class || a.Class.MayBeNull() {
				vf.fail(t.Span, "b%d → b%d: argument v%d is %s, want %s", b.ID, to.ID, a.ID, a.Class, to.Params[i].Class)
			}
		}
	}
	check(t.Then, t.ThenArgs)
	check(t.Else, t.ElseArgs)
}

// operandClass says what an operation's i-th operand must be; Void stands for any pointer that can be accessed.
func operandClass(op Op, i int) Class {
	switch op {
	case OpStore, OpAddMem, OpAtomic, OpFetchAdd, OpCmpXchg, OpIndex, OpRead, OpReadN, OpReadStr:
		if i > 0 {
			return Scalar
		}
		return Void
	case OpMapLookupCPU:
		if i > 0 {
			return Scalar
		}
		return Void
	case OpLoad, OpZero, OpBytes, OpCopy, OpOffset, OpMapEach, OpMapLookup, OpMapUpdate, OpMapDelete, OpStack:
		return Void
	case OpForget:
		if i > 0 {
			return Void
		}
	case OpRingSubmit, OpRingDiscard:
		return RingPtr
	}
	return Scalar
}

func (vf *verifier) inst(v *Value) {
	info := &opTable[v.Op]
	want := info.args
	if v.Op == OpHelper {
		want = len(helperTable[v.Helper].args)
		if v.Helper == HelperNone || v.Class != helperTable[v.Helper].class {
			vf.fail(v.Span, "v%d: bad helper %s", v.ID, v.Helper)
		}
	}
	if v.Op == OpInvalid || v.Op == OpParam || len(v.Args) != want {
		vf.fail(v.Span, "v%d: %s has %d operands, want %d", v.ID, v.Op, len(v.Args), want)
		return
	}
	for i, a := range v.Args {
		need := operandClass(v.Op, i)
		if v.Op == OpHelper {
			need = map[byte]Class{'p': Void, 'b': BTFPtr, 'x': Scalar, 's': Scalar, 'a': a.Class}[helperTable[v.Helper].args[i]]
		}
		switch {
		case v.Op == OpNonNull:
			if !a.Class.MayBeNull() {
				vf.fail(v.Span, "v%d: nonnull of %s", v.ID, a.Class)
			}
		case a.Class.MayBeNull():
			vf.fail(v.Span, "v%d: %s of v%d, which may be null", v.ID, v.Op, a.ID)
		case need == Void && !a.Class.Pointer(), need != Void && a.Class != need && !a.Class.Pointer():
			vf.fail(v.Span, "v%d: operand v%d of %s is %s, want %s", v.ID, a.ID, v.Op, a.Class, need.want())
		case need == Scalar && a.Class.Pointer() && !mayLeak(v, i, a):
			vf.fail(v.Span, "v%d: operand v%d of %s is %s, want scalar", v.ID, a.ID, v.Op, a.Class)
		}
	}
	vf.fieldsOf(v)
}

// mayLeak allows the one use of a pointer as a number: a kernel address that is stored, compared or read through. The
// program's own memory is at kernel addresses too.
func mayLeak(v *Value, i int, a *Value) bool {
	read := (v.Op == OpRead || v.Op == OpReadN || v.Op == OpReadStr) && i == 1
	return (a.Class == Ctx || a.Class == SlotPtr || a.Class == MapValue) && read || (a.Class == Ctx || a.Class == SlotPtr || a.Class == MapValue) && v.Op == OpStore && i == 1 || a.Class == BTFPtr && (v.Op == OpStore || read || v.Op == OpAdd || v.Op == OpSub || v.Op.Compare())
}

func (c Class) want() string {
	if c == Void {
		return "a pointer"
	}
	return c.String()
}

// fieldsOf checks widths, sizes, maps and slots.
func (vf *verifier) fieldsOf(v *Value) {
	switch v.Op {
	case OpLoad, OpStore, OpExt:
		if v.Width != 1 && v.Width != 2 && v.Width != 4 && v.Width != 8 {
			vf.fail(v.Span, "v%d: bad width %d", v.ID, v.Width)
		}
		if v.Op == OpLoad && v.Class != Scalar && v.Args[0].Class != Ctx && (v.Class != BTFPtr || v.Args[0].Class != BTFPtr) ||
			v.Op == OpLoad && v.Class != Scalar && v.Class != BTFPtr && v.Class != BTFPtrOrNull {
			vf.fail(v.Span, "v%d: a load of %s from %s", v.ID, v.Class, v.Args[0].Class)
		}
	case OpZero, OpCopy:
		if v.Imm <= 0 || v.Imm%8 != 0 || v.Off%8 != 0 {
			vf.fail(v.Span, "v%d: %s of %d bytes at %d", v.ID, v.Op, v.Imm, v.Off)
		}
	case OpBytes:
		if len(v.Data)%8 != 0 || v.Off%8 != 0 {
			vf.fail(v.Span, "v%d: %d bytes at %d", v.ID, len(v.Data), v.Off)
		}
	case OpMapLookup, OpMapUpdate, OpMapDelete, OpMapLookupCPU, OpMapLen, OpMapEach, OpMapValue, OpMapPtr, OpRingReserve:
		if v.Map == nil {
			vf.fail(v.Span, "v%d: %s without a map", v.ID, v.Op)
			return
		}
		if v.Op == OpMapValue && v.Map.Kind != Array || v.Op == OpMapDelete && !v.Map.Kind.Keyed() ||
			(v.Op == OpRingReserve) != (v.Map.Kind == RingBuf) {
			vf.fail(v.Span, "v%d: %s of a %s map", v.ID, v.Op, v.Map.Kind)
		}
	case OpSlot:
		if v.Slot == nil || v.Slot.Size <= 0 || v.Slot.Size%8 != 0 {
			vf.fail(v.Span, "v%d: bad slot", v.ID)
		}
	case OpIndex:
		if x := v.Args[1]; x.Op != OpBound && x.Op != OpMask && x.Op != OpConst {
			vf.fail(v.Span, "v%d: index v%d is %s, want bound, mask or const", v.ID, x.ID, x.Op)
		}
	case OpBound, OpMask:
		if v.Imm < 0 {
			vf.fail(v.Span, "v%d: negative %s", v.ID, v.Op)
		}
	}
	switch v.Op {
	case OpStore, OpZero, OpBytes, OpCopy, OpAddMem, OpAtomic, OpFetchAdd, OpCmpXchg, OpRead, OpReadN, OpReadStr, OpStack:
		if c := v.Args[0].Class; c == BTFPtr || c == Ctx {
			vf.fail(v.Span, "v%d: %s to %s memory", v.ID, v.Op, c)
		}
	}
}

// dominance checks that every definition comes before its uses on every path.
func (vf *verifier) dominance() {
	type place struct {
		b *Block
		i int
	}
	at := map[*Value]place{}
	for _, b := range vf.dom.Order {
		for _, v := range b.Params {
			at[v] = place{b, -1}
		}
		for i, v := range b.Insts {
			if old, ok := at[v]; ok {
				vf.fail(v.Span, "v%d is defined in b%d and b%d", v.ID, old.b.ID, b.ID)
			}
			at[v] = place{b, i}
		}
	}
	for _, b := range vf.dom.Order {
		i := 0
		b.Operands(func(user *Value, arg **Value) {
			span := b.Term.Span
			n := len(b.Insts)
			if user != nil {
				for b.Insts[i] != user {
					i++
				}
				n, span = i, user.Span
			}
			d, ok := at[*arg]
			if !ok || d.b == b && d.i >= n || d.b != b && !vf.dom.Dominates(d.b, b) {
				vf.fail(span, "b%d: v%d is used where it is not defined", b.ID, (*arg).ID)
			}
		})
	}
}
