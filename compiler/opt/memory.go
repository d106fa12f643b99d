package opt

import (
	"maps"

	"github.com/slopebpf/slope/compiler/ir"
)

// memory replaces a load from a slot by what was stored there, within a block and on into blocks with no other
// predecessor, and then drops the stores to slots that nothing reads.
func memory(p *ir.Program, f *ir.Func) bool {
	order := f.RPO()
	preds := ir.Preds(order)
	same := replacer{}
	changed := false
	end := map[*ir.Block]contents{}
	follow := map[*ir.Block]int{}
	for _, b := range order {
		if ps := preds[b]; len(ps) == 1 {
			follow[ps[0]]++
		}
	}
	for _, b := range order {
		m := contents{}
		if ps := preds[b]; len(ps) == 1 {
			m = end[ps[0]]
			if follow[ps[0]]--; follow[ps[0]] > 0 { // the last that goes on with it needs no copy
				m = maps.Clone(m)
			}
		}
		for _, v := range b.Insts {
			for i, a := range v.Args {
				v.Args[i] = same.find(a)
			}
			if v.Op == ir.OpLoad {
				changed = m.load(v, same) || changed
			} else {
				m.write(v)
			}
		}
		end[b] = m
	}
	same.apply(order)
	return dropStores(order) || changed || len(same) > 0
}

// cell is a part of a slot that was accessed as a whole.
type cell struct {
	slot  *ir.Slot
	off   int64
	width int64
}

// contents is what is known of the slots: the scalar whose low bytes are there; nil stands for zeroes.
type contents map[cell]*ir.Value

// place finds the slot a pointer points into. known is false when only the slot is known, or, with a nil slot, when
// it may point anywhere.
func place(v *ir.Value) (slot *ir.Slot, off int64, known bool) {
	known = true
	for {
		switch v.Op {
		case ir.OpSlot:
			return v.Slot, off, known
		case ir.OpOffset:
			off += v.Imm
		case ir.OpIndex:
			known = false
		default:
			return nil, 0, false
		}
		v = v.Args[0]
	}
}

func (m contents) load(v *ir.Value, same replacer) bool {
	slot, off, known := place(v.Args[0])
	if slot == nil || !known || v.Class != ir.Scalar {
		return false
	}
	off += int64(v.Off)
	c := cell{slot, off, int64(v.Width)}
	x, ok := m[c]
	if zero, there := m[cell{slot, off &^ 7, 8}]; !ok && there && zero == nil && off&7+c.width <= 8 {
		x, ok = nil, true
	}
	switch {
	case !ok:
		m[c] = v
		return false
	case x == nil:
		*v = ir.Value{ID: v.ID, Op: ir.OpConst, Class: ir.Scalar, Span: v.Span}
		return true
	case v.Width == 8:
		same[v] = x
		return true
	}
	*v = ir.Value{ID: v.ID, Op: ir.OpExt, Class: ir.Scalar, Args: []*ir.Value{x}, Width: v.Width, Signed: v.Signed, Span: v.Span}
	return true
}

// forget drops what a write of size bytes destroys.
func (m contents) forget(p *ir.Value, off, size int64) {
	slot, at, known := place(p)
	if slot == nil && p.Class != ir.SlotPtr {
		return
	}
	at += off
	for c := range m {
		if slot == nil || c.slot == slot && (!known || c.off < at+size && at < c.off+c.width) {
			delete(m, c)
		}
	}
}

// write follows an instruction that may change a slot.
func (m contents) write(v *ir.Value) {
	off := int64(v.Off)
	switch v.Op {
	case ir.OpStore:
		m.forget(v.Args[0], off, int64(v.Width))
		if slot, at, known := place(v.Args[0]); slot != nil && known && v.Args[1].Class == ir.Scalar {
			m[cell{slot, at + off, int64(v.Width)}] = v.Args[1]
		}
	case ir.OpZero:
		m.forget(v.Args[0], off, v.Imm)
		if slot, at, known := place(v.Args[0]); slot != nil && known && (at+off)%8 == 0 {
			for i := int64(0); i < v.Imm; i += 8 {
				m[cell{slot, at + off + i, 8}] = nil
			}
		}
	case ir.OpBytes:
		m.forget(v.Args[0], off, int64(len(v.Data)))
	case ir.OpCopy:
		m.forget(v.Args[0], off, v.Imm)
	case ir.OpAddMem, ir.OpAtomic, ir.OpFetchAdd, ir.OpCmpXchg:
		m.forget(v.Args[0], off, 8)
	case ir.OpRead, ir.OpReadN, ir.OpReadStr, ir.OpStack:
		m.forget(v.Args[0], 0, v.Imm)
	case ir.OpHelper:
		for _, a := range v.Args {
			if a.Class.Pointer() {
				m.forget(a, 0, int64(v.Helper.Writes()))
			}
		}
	}
}

// dropStores removes plain stores to slots that are only ever stored to.
func dropStores(order []*ir.Block) bool {
	read := map[*ir.Slot]bool{}
	all := false
	use := func(a *ir.Value) {
		if slot, _, _ := place(a); slot != nil {
			read[slot] = true
		} else if a.Class == ir.SlotPtr {
			all = true
		}
	}
	onlyWrites := func(v *ir.Value) bool {
		return v.Op == ir.OpStore || v.Op == ir.OpZero || v.Op == ir.OpBytes || v.Op == ir.OpCopy
	}
	for _, b := range order {
		for _, v := range b.Insts {
			for i, a := range v.Args {
				if v.Op != ir.OpOffset && v.Op != ir.OpIndex && !(i == 0 && onlyWrites(v)) {
					use(a)
				}
			}
		}
		for _, a := range b.Term.ThenArgs {
			use(a)
		}
		for _, a := range b.Term.ElseArgs {
			use(a)
		}
	}
	if all {
		return false
	}
	changed := false
	for _, b := range order {
		out := b.Insts[:0]
		for _, v := range b.Insts {
			if onlyWrites(v) {
				if slot, _, _ := place(v.Args[0]); slot != nil && !read[slot] {
					changed = true
					continue
				}
			}
			out = append(out, v)
		}
		b.Insts = out
	}
	return changed
}
