package symbols

import (
	"debug/dwarf"

	"github.com/slopebpf/slope/lang/types"
)

// goFloatRegs is how many registers Go passes floating-point numbers in.
const goFloatRegs = 15

// goPlaces hands out Go's registers.
type goPlaces struct {
	d      *DebugInfo
	ints   []int
	floats int
	pieces []types.Piece
	lost   bool // some of it is in registers of floating-point numbers
}

// placeGo places by ABIInternal of Go: each part of a value has a register of its own, and what does not fit as a whole is on the
// stack, the results after the arguments.
func (d *DebugInfo) placeGo(params, results []param) {
	stack := 8
	for i, list := range [][]param{params, results} {
		regs := d.abi.Args
		if i == 1 {
			regs = d.abi.Results
			stack = alignUp(stack, 8)
		}
		g := &goPlaces{d: d, ints: words(regs), floats: goFloatRegs}
		if len(regs) == 0 {
			g.floats = 0
		}
		for j := range list {
			p := &list[j]
			if p.Type.Size == 0 {
				stack = alignUp(stack, d.goAlign(p.typ, 0))
				continue
			}
			before := *g
			g.pieces, g.lost = nil, false
			switch fits := g.take(p.typ, 0, 0); {
			case !fits:
				*g = before
				stack = alignUp(stack, d.goAlign(p.typ, 0))
				p.Places = []types.Piece{inMemory(spWord, stack)}
				stack += p.Type.Size
			case g.lost && p.Lost == "":
				p.lose(partlyFloat)
			default:
				p.Places = g.pieces
			}
		}
	}
}

// take takes registers for what lies at a byte of a value; false when there are not enough, or it is never in registers.
func (g *goPlaces) take(e *dwarf.Entry, at, depth int) bool {
	e, _ = g.d.strip(e)
	if e == nil || depth > maxNested {
		return false
	}
	size := g.d.typeOf(e, 0).Size
	switch e.Tag {
	case dwarf.TagBaseType:
		if float(e) {
			n := 1
			if complexNumber(e) {
				n = 2
			}
			g.floats -= n
			g.lost = true
			return g.floats >= 0
		}
	case dwarf.TagArrayType:
		elem := g.d.ref(e, dwarf.AttrType)
		switch n := g.d.dimensions(e); {
		case len(n) != 1 || n[0] > 1:
			return false
		case n[0] == 0:
			return true
		}
		return g.take(elem, at, depth+1)
	case dwarf.TagStructType:
		ok := true
		g.d.children(e, func(c *dwarf.Entry) bool {
			if c.Tag != dwarf.TagMember {
				return true
			}
			bit, _, has := memberPlace(c, nil)
			t := g.d.ref(c, dwarf.AttrType)
			if stripped, _ := g.d.strip(t); stripped != nil && g.d.typeOf(stripped, 0).Size == 0 {
				return true
			}
			ok = has && g.take(t, at+bit/8, depth+1)
			return ok
		})
		return ok
	}
	if len(g.ints) == 0 || !integer(size) {
		return false
	}
	g.pieces = append(g.pieces, inRegister(at, size, g.ints[0]))
	g.ints = g.ints[1:]
	return true
}

// goAlign is the alignment of a type of Go in bytes.
func (d *DebugInfo) goAlign(e *dwarf.Entry, depth int) int {
	e, _ = d.strip(e)
	if e == nil || depth > maxNested {
		return 1
	}
	switch size := d.typeOf(e, 0).Size; e.Tag {
	case dwarf.TagBaseType:
		if complexNumber(e) {
			size /= 2
		}
		return max(1, min(size, 8))
	case dwarf.TagArrayType:
		return d.goAlign(d.ref(e, dwarf.AttrType), depth+1)
	case dwarf.TagStructType:
		most := 1
		d.children(e, func(c *dwarf.Entry) bool {
			if c.Tag == dwarf.TagMember {
				most = max(most, d.goAlign(d.ref(c, dwarf.AttrType), depth+1))
			}
			return true
		})
		return most
	}
	return 8
}
