package ir

import "math"

// pointer is what Verify knows of a pointer: what it points into and between which offsets.
// A nil root means that the place is not known; only the class is checked then.
type pointer struct {
	root   any // *Slot, *Map or the reserving *Value
	size   int64
	lo, hi int64
}

// pointers follows every pointer from where it is made and checks the accesses through it.
func (vf *verifier) pointers() {
	vf.ptr = map[*Value]pointer{}
	for _, b := range vf.dom.Order {
		for _, v := range b.Insts {
			if v.Class.Pointer() {
				vf.ptr[v] = vf.derive(v)
			}
			vf.access(v)
		}
	}
}

func (vf *verifier) derive(v *Value) pointer {
	switch v.Op {
	case OpSlot:
		return pointer{root: v.Slot, size: int64(v.Slot.Size)}
	case OpMapValue, OpMapLookup, OpMapLookupCPU:
		return pointer{root: v.Map, size: int64(v.Map.ValueSize)}
	case OpRingReserve:
		return pointer{root: v, size: v.Imm}
	case OpHelper:
		if helperTable[v.Helper].acquires {
			return pointer{root: v, size: math.MaxInt32} // the kernel knows the size
		}
	case OpNonNull:
		return vf.ptr[v.Args[0]]
	case OpOffset:
		p := vf.ptr[v.Args[0]]
		p.lo += v.Imm
		p.hi += v.Imm
		return p
	case OpIndex:
		p := vf.ptr[v.Args[0]]
		x := v.Args[1]
		if x.Op == OpConst {
			p.lo += x.Imm * v.Imm
		}
		p.hi += x.Imm * v.Imm
		return p
	}
	return pointer{}
}

func (vf *verifier) access(v *Value) {
	switch v.Op {
	case OpLoad, OpStore:
		if p := v.Args[0]; p.Op == OpIndex && p.Class == Ctx {
			vf.fail(v.Span, "v%d: %s of the context at an offset that is computed", v.ID, v.Op)
		}
		vf.inside(v, 0, int64(v.Off), int64(v.Width))
	case OpForget:
		vf.inside(v, 1, 0, 8)
	case OpZero:
		vf.inside(v, 0, int64(v.Off), v.Imm)
	case OpBytes:
		vf.inside(v, 0, int64(v.Off), int64(len(v.Data)))
	case OpCopy:
		vf.inside(v, 0, int64(v.Off), v.Imm)
		vf.inside(v, 1, 0, v.Imm)
	case OpAddMem, OpAtomic, OpFetchAdd, OpCmpXchg:
		vf.inside(v, 0, int64(v.Off), 8)
	case OpMapEach:
		vf.inside(v, 0, 0, 8)
	case OpMapLookup, OpMapDelete, OpMapLookupCPU:
		vf.inside(v, 0, 0, int64(v.Map.KeySize))
	case OpMapUpdate:
		vf.inside(v, 0, 0, int64(v.Map.KeySize))
		vf.inside(v, 1, 0, int64(v.Map.ValueSize))
	case OpRead, OpReadN, OpReadStr, OpStack:
		vf.inside(v, 0, 0, v.Imm)
		if v.Imm <= 0 {
			vf.fail(v.Span, "v%d: %s of %d bytes", v.ID, v.Op, v.Imm)
		}
	case OpHelper:
		size := int64(helperTable[v.Helper].bytes)
		for i, kind := range helperTable[v.Helper].args {
			switch {
			case kind == 'p':
				vf.inside(v, i, 0, size)
			case kind == 's' && v.Args[i].Op == OpConst:
				vf.inside(v, i-1, 0, v.Args[i].Imm)
			}
		}
	}
}

// inside checks that size bytes at off of operand i lie in what it points into.
func (vf *verifier) inside(v *Value, i int, off, size int64) {
	p := vf.ptr[v.Args[i]]
	if p.root == nil {
		return
	}
	if p.lo+off < 0 || p.hi+off+size > p.size {
		vf.fail(v.Span, "v%d: %s reaches bytes %d to %d of %d", v.ID, v.Op, p.lo+off, p.hi+off+size, p.size)
	}
}

// given tells whether a pointer leads to what is to be given back, and what that is.
func (p pointer) given() (what string, ok bool) {
	v, is := p.root.(*Value)
	switch {
	case !is:
		return "", false
	case v.Op == OpRingReserve:
		return "ring-buffer record", true
	}
	return "reference of " + v.Helper.String(), v.Op == OpHelper && helperTable[v.Helper].acquires
}

// records follows the reserved ring-buffer records and the acquired references along every path.
func (vf *verifier) records() {
	open := map[*Block]map[any]bool{vf.f.Blocks[0]: {}}
	for _, b := range vf.dom.Order {
		in, ok := open[b]
		if !ok {
			continue
		}
		now := make(map[any]bool, len(in))
		for k := range in {
			now[k] = true
		}
		for _, v := range b.Insts {
			vf.record(v, now)
		}
		t := &b.Term
		for root := range now {
			if what, _ := (pointer{root: root}).given(); t.Kind == TermRet {
				vf.fail(t.Span, "b%d: a %s is not given back", b.ID, what)
			}
		}
		for _, s := range t.Successors() {
			if old, seen := open[s]; !seen {
				open[s] = now
			} else if !sameSet(old, now) {
				vf.fail(t.Span, "b%d → b%d: a record or a reference is open on one way only", b.ID, s.ID)
			}
		}
	}
}

func (vf *verifier) record(v *Value, now map[any]bool) {
	if _, ok := vf.ptr[v].given(); ok && v.Op == OpNonNull {
		now[vf.ptr[v].root] = true
		return
	}
	for _, a := range v.Args {
		if what, ok := vf.ptr[a].given(); ok && !now[vf.ptr[a].root] {
			vf.fail(v.Span, "v%d: %s of a %s that is already gone", v.ID, v.Op, what)
		}
	}
	if v.Op == OpHelper && helperTable[v.Helper].releases {
		delete(now, vf.ptr[v.Args[0]].root)
	}
	if v.Op == OpRingSubmit || v.Op == OpRingDiscard {
		p := vf.ptr[v.Args[0]]
		if p.lo != 0 || p.hi != 0 {
			vf.fail(v.Span, "v%d: %s at offset %d of the record", v.ID, v.Op, p.hi)
		}
		delete(now, p.root)
	}
}

func sameSet(a, b map[any]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}
