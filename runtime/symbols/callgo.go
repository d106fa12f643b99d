package symbols

import (
	"debug/dwarf"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

// dictName is what the compiler calls the parameter with the dictionary of a generic function, which tells it about the types. It
// is in the debug information of programs that are not optimised.
const dictName = ".dict"

// noDict is the place of a dictionary that a function does not take, or that is among its parameters.
const noDict = -1

// dictionary tells before which parameter a function takes its dictionary. One that is compiled for types of one shape has their names
// in its own, such as pkg.F[go.shape.int], pkg.T[go.shape.int].Method and pkg.(*T[go.shape.int]).Method: a method takes it after the
// receiver. A closure in such a function has it with what it captured; called where it is made, it takes all that as parameters.
// unknown says why the debug information does not suffice, "" when it does.
func dictionary(function, producer string) (at int, unknown string) {
	version := goRelease.FindStringSubmatch(producer)
	if version == nil {
		return noDict, "it was not compiled by Go's own compiler"
	}
	if n, err := strconv.Atoi(version[1]); err != nil || n < 22 {
		return noDict, "Go before 1.22 leaves parameters without names out of its debug information"
	}
	if !strings.Contains(function, "[go.shape.") {
		return noDict, ""
	}
	rest := function[strings.LastIndexByte(function, ']')+1:]
	method, is := strings.CutPrefix(strings.TrimPrefix(rest, ")"), ".")
	switch {
	case rest == "":
		return 0, ""
	case is && !strings.ContainsAny(method, ".-") && !closure.MatchString(method):
		return 1, ""
	case strings.Contains(producer, " -N"):
		return noDict, "" // or it is in the debug information
	}
	return noDict, "optimised programs do not tell whether a closure in a generic function takes a dictionary"
}

// goRelease is in what units say of their compiler: "Go cmd/compile go1.26.8; regabi".
var goRelease = regexp.MustCompile(`^Go cmd/compile .*go1\.(\d+)`)

// closure are the names of closures.
var closure = regexp.MustCompile(`^(func|gowrap|deferwrap)\d+$`)

// placeGo places by ABIInternal of Go: each part of a value has a register of its own, and what does not fit as a whole is on the
// stack, the results after the arguments. dict is where the function takes a dictionary, unknown as there.
func (d *DebugInfo) placeGo(params, results []param, dict int, unknown string) {
	if slices.ContainsFunc(params, func(p param) bool { return p.raw == dictName }) {
		dict = noDict // it has its place among them
	}
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
		for j := range len(list) + 1 {
			if i == 0 && j == dict {
				if len(g.ints) > 0 {
					g.ints = g.ints[1:]
				} else {
					stack = alignUp(stack, 8) + 8
				}
			}
			if j == len(list) {
				break
			}
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
	if unknown == "" {
		return
	}
	lose(params, unknown)
	for i := range results {
		if r := &results[i]; slices.ContainsFunc(r.Places, func(p types.Piece) bool { return p.Kind == types.MemoryOperand }) {
			r.lose("it is behind arguments whose places are not known")
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
