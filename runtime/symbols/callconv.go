package symbols

import (
	"debug/dwarf"
	"fmt"
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

// Param is a parameter of a function, or something that it returns.
type Param struct {
	Name   string // "" without one
	Source string // its type as in the program's source
	Type   *types.Type
	Places []types.Piece // where its value is
	Lost   string        // why it cannot be read, "" when it can
}

// FuncInfo is what debug information tells of a function: where its arguments are when it is called, and where its results are
// when it returns.
type FuncInfo struct {
	Params, Results []Param
}

// Func finds a function by the address of its first instruction. symbol is its name in the symbol table: the compiler marks
// there the copies of a function whose arguments it has changed.
func (d *DebugInfo) Func(addr uint64, symbol string) (f *FuncInfo, err error) {
	defer d.begin()()
	defer guard(&err)
	e, unit, err := d.function(addr, symbol)
	if err != nil {
		return nil, err
	}
	language, _ := unit.Val(dwarf.AttrLanguage).(int64)
	params, results := d.signature(e, language)
	switch {
	case language == languageAsm:
		return nil, fmt.Errorf("%w: it is written in assembly", ErrNoArgs)
	case len(params)+len(results) == 0 && !d.typed[unit.Offset]:
		return nil, fmt.Errorf("%w: its file was compiled with -g1, or has no arguments and results at all", ErrNoArgs)
	}
	if language == languageGo {
		producer, _ := unit.Val(dwarf.AttrProducer).(string)
		dict, unknown := dictionary(name(e), producer)
		d.placeGo(params, results, dict, unknown)
	} else {
		d.placeC(params, results, language)
		const normal, program = 1, 2
		if cc, noted := e.Val(dwarf.AttrCalling).(int64); noted && cc != normal && cc != program || changed(symbol) {
			lose(params, "the compiler changed how the function takes its arguments")
			lose(results, "the compiler changed how the function returns")
		}
	}
	f = &FuncInfo{}
	for _, p := range params {
		if p.raw != dictName {
			f.Params = append(f.Params, p.Param)
		}
	}
	for _, r := range results {
		f.Results = append(f.Results, r.Param)
	}
	return f, nil
}

// changed tells whether a symbol is that of a copy of a function that the compiler made for some of its callers.
func changed(symbol string) bool {
	for _, part := range strings.Split(symbol, ".")[1:] {
		switch part {
		case "isra", "constprop", "part":
			return true
		}
	}
	return false
}

// param is a Param with the entry of its type, stripped.
type param struct {
	Param
	typ   *dwarf.Entry
	raw   string // its name in the debug information
	empty bool   // it takes no place
}

func lose(list []param, why string) {
	for i := range list {
		list[i].lose(why)
	}
}

func (p *param) lose(why string) { p.Places, p.Lost = nil, why }

// maxParams bounds the parameters of a function.
const maxParams = 256

// signature lists the parameters and results of a function. A copy of a function leads to the original, which has all of them; of
// those that the compiler adds, as to constructors, the copy has what there is.
func (d *DebugInfo) signature(e *dwarf.Entry, language int64) (params, results []param) {
	whole := e
	for range maxOrigins {
		origin := d.ref(whole, dwarf.AttrAbstractOrigin)
		if origin == nil {
			break
		}
		whole = origin
	}
	own := map[dwarf.Offset]bool{}
	d.children(e, func(c *dwarf.Entry) bool {
		origin, _ := c.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		own[origin] = true
		return true
	})
	var add func(c *dwarf.Entry) bool
	add = func(c *dwarf.Entry) bool {
		if c.Tag == tagGNUParameterPack {
			d.children(c, add)
			return true
		}
		artificial, _ := c.Val(dwarf.AttrArtificial).(bool)
		if c.Tag != dwarf.TagFormalParameter || artificial && whole.Offset != e.Offset && !own[c.Offset] {
			return true
		}
		p := param{typ: d.typeEntry(c)}
		p.Name = d.nameOf(c)
		result, _ := c.Val(dwarf.AttrVarParam).(bool)
		list := &params
		if result {
			list = &results
		}
		if language == languageGo && slices.ContainsFunc(*list, func(o param) bool { return o.raw == p.Name }) {
			return true // Go tells of some results twice
		}
		if p.raw = p.Name; language == languageGo && strings.HasPrefix(p.Name, "~") { // as Go calls those that have no name
			p.Name = ""
		}
		*list = append(*list, p)
		return len(params)+len(results) < maxParams
	}
	d.children(whole, add)
	if t := d.typeEntry(whole); t != nil {
		results = append(results, param{typ: t})
	}
	for _, list := range [][]param{params, results} {
		for i := range list {
			p := &list[i]
			p.Type, p.Source = d.typeOf(p.typ, 0), d.spell(p.typ, 0)
			switch p.typ, _ = d.strip(p.typ); {
			case p.Type.Kind == types.Struct && p.Type.Layout != nil && p.Type.Size == 0, p.Type.Kind == types.Array && p.Type.Size == 0:
				p.empty, p.Lost = true, "it is empty"
			case p.typ == unread:
				p.Lost = "its type is in a unit of types that is not there"
			case p.Type.Size == 0:
				p.Lost = "its type is not known"
			case float(p.typ):
				p.Lost = "it is a floating-point number"
			}
		}
	}
	return params, results
}

// typeEntry is the type of an entry, or of the one that it completes. Nil is void.
func (d *DebugInfo) typeEntry(e *dwarf.Entry) *dwarf.Entry {
	for range maxOrigins {
		if e == nil {
			break
		}
		if e.AttrField(dwarf.AttrType) != nil {
			return d.ref(e, dwarf.AttrType)
		}
		next := d.ref(e, dwarf.AttrAbstractOrigin)
		if next == nil {
			next = d.ref(e, dwarf.AttrSpecification)
		}
		e = next
	}
	return nil
}

// class says in what kind of register eight bytes are passed.
type class uint8

const (
	noClass class = iota
	integerClass
	floatClass
	memoryClass // the whole value is on the stack
)

const (
	spWord    = 19 // of the pt_regs: the stack pointer
	floatRegs = 8  // for arguments

	partlyFloat = "some of it is in registers of floating-point numbers"
	noRust      = "the calling convention of Rust is not fixed"

	wideVector   = "where a vector of more than 16 bytes is passed depends on how the program was compiled"
	behindVector = "it is behind a vector of more than 16 bytes, whose place depends on how the program was compiled"
)

// placeC places by the System V convention for x86-64. The first word on the stack is the return address.
func (d *DebugInfo) placeC(params, results []param, language int64) {
	abi := ArgRegs()
	ints, floats, stack := words(abi.Args), floatRegs, 8
	unknown := ""   // why the places of what follows are not known
	pushed := false // what is on the stack may be behind a vector
	vectors := 0    // in registers, or on the stack
	for i := range results {
		r := &results[i]
		classes := d.classify(r.typ)
		switch {
		case d.wide(r.typ, 0):
			unknown = wideVector
			r.lose(unknown)
		case language == languageRust && !r.Type.Scalar():
			unknown = noRust
			r.lose(unknown)
		case float(r.typ):
		case r.Type.Size == 0 && !r.empty:
			unknown = "the type of what the function returns is not known"
		case classes[0] == memoryClass: // its address was handed in, and is handed back
			ints = ints[1:]
			r.Places = []types.Piece{inMemory(words(abi.Results)[0], 0)}
		default:
			in, left := words(abi.Results), floatRegs
			r.take(classes, &in, &left)
		}
	}
	for i := range params {
		p := &params[i]
		switch {
		case unknown != "":
		case language == languageRust && !p.Type.Scalar():
			unknown = noRust
		case p.Type.Size == 0 && !p.empty:
			unknown = fmt.Sprintf("where it is depends on parameter %d, whose type is not known", i+1)
			continue
		}
		if unknown != "" {
			p.lose(unknown)
			continue
		}
		if d.byReference(p.typ, 0) {
			if len(ints) == 0 {
				p.lose("its address is on the stack")
				stack += 8
				continue
			}
			p.Places = []types.Piece{inMemory(ints[0], 0)}
			ints = ints[1:]
			continue
		}
		if d.wide(p.typ, 0) { // on the stack its alignment depends on that, too
			p.lose(wideVector)
			pushed = true
			if floats > 0 {
				floats--
				vectors++
			}
			continue
		}
		classes := d.classify(p.typ)
		if classes[0] != memoryClass && p.take(classes, &ints, &floats) {
			continue
		}
		left, most := ints, floats+vectors
		if classes[0] != memoryClass && (&param{}).take(classes, &left, &most) {
			unknown = behindVector
		}
		if pushed {
			p.lose(behindVector)
			continue
		}
		stack = alignUp(stack-8, d.alignOf(p.typ, 0)) + 8
		p.Places = []types.Piece{inMemory(spWord, stack)}
		stack += alignUp(p.Type.Size, 8)
	}
}

func alignUp(n, to int) int { return (n + to - 1) / to * to }

func words(regs []Register) (out []int) {
	for _, r := range regs {
		out = append(out, r.Offset/8)
	}
	return out
}

// inMemory is a whole value at an offset from an address in a register.
func inMemory(word, offset int) types.Piece {
	return types.Piece{Operand: types.Operand{Kind: types.MemoryOperand, Base: word, Index: -1, Value: int64(offset)}}
}

func inRegister(at, size, word int) types.Piece {
	return types.Piece{At: at, Operand: types.Operand{Kind: types.RegisterOperand, Size: size, Base: word, Index: -1}}
}

// take takes registers for a value, all or none.
func (p *param) take(classes [2]class, ints *[]int, floats *int) bool {
	left, some := *ints, *floats
	var pieces []types.Piece
	for i, c := range classes {
		switch c {
		case integerClass:
			if len(left) == 0 {
				return false
			}
			pieces = append(pieces, inRegister(8*i, 8, left[0]))
			left = left[1:]
		case floatClass:
			if some--; some < 0 {
				return false
			}
		}
	}
	if p.Places = pieces; some < *floats && p.Lost == "" {
		p.lose(partlyFloat)
	}
	if len(pieces) == 0 && p.Lost == "" {
		p.lose("it is empty")
	}
	*ints, *floats = left, some
	return true
}

// byReference tells whether objects of a class of C++ are passed by their address, as those are that cannot be copied byte by
// byte: it has a destructor or constructor of copies that somebody wrote, virtual functions, or something in it that has.
func (d *DebugInfo) byReference(e *dwarf.Entry, depth int) (is bool) {
	const byReference, byValue = 4, 5
	if e == nil || depth > maxNested {
		return false
	}
	switch cc, _ := e.Val(dwarf.AttrCalling).(int64); cc {
	case byReference, byValue:
		return cc == byReference
	}
	switch e.Tag {
	case dwarf.TagArrayType:
		of, _ := d.strip(d.ref(e, dwarf.AttrType))
		return d.byReference(of, depth+1)
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
	default:
		return false
	}
	stem, _, _ := strings.Cut(name(e), "<")
	copies, deleted := 0, 0
	d.children(e, func(c *dwarf.Entry) bool {
		switch c.Tag {
		case dwarf.TagSubprogram:
			const inClass = 1
			artificial, _ := c.Val(dwarf.AttrArtificial).(bool)
			defaulted, _ := c.Val(attrDefaulted).(int64)
			gone, _ := c.Val(attrDeleted).(bool)
			copying := name(c) == stem && stem != "" && d.copies(c, e)
			switch {
			case artificial:
			case gone && copying:
				deleted++
			case copying && defaulted == inClass:
				copies++
			case copying, strings.HasPrefix(name(c), "~") && defaulted != inClass:
				is = true
			}
		case dwarf.TagInheritance, dwarf.TagMember:
			if external, _ := c.Val(dwarf.AttrExternal).(bool); external {
				break
			}
			virtual, _ := c.Val(dwarf.AttrVirtuality).(int64)
			of, _ := d.strip(d.ref(c, dwarf.AttrType))
			is = virtual != 0 || strings.HasPrefix(name(c), "_vptr") || d.byReference(of, depth+1)
		}
		return !is
	})
	return is || deleted > 0 && copies == 0
}

// copies tells whether a constructor makes a copy of an object of the class, or moves one.
func (d *DebugInfo) copies(constructor, class *dwarf.Entry) (is bool) {
	d.children(constructor, func(c *dwarf.Entry) bool {
		if artificial, _ := c.Val(dwarf.AttrArtificial).(bool); c.Tag != dwarf.TagFormalParameter || artificial {
			return true
		}
		r, _ := d.strip(d.ref(c, dwarf.AttrType))
		if r != nil && (r.Tag == dwarf.TagReferenceType || r.Tag == dwarf.TagRvalueReferenceType) {
			to, _ := d.strip(d.ref(r, dwarf.AttrType))
			is = to != nil && to.Offset == class.Offset
		}
		return false
	})
	return is
}

// classify says how a value is passed: the class of each of its eight bytes.
func (d *DebugInfo) classify(e *dwarf.Entry) (out [2]class) {
	if e == nil || d.typeOf(e, 0).Size > 16 || d.byReference(e, 0) || !d.classifyAt(e, 0, &out, 0) {
		return [2]class{memoryClass}
	}
	return out
}

// wide tells whether a type is a vector of more than 16 bytes, or has nothing else in it. Such is in one register where the program was
// compiled for a processor that has registers of the size (-mavx), else on the stack.
func (d *DebugInfo) wide(e *dwarf.Entry, depth int) (is bool) {
	e, _ = d.strip(e)
	if e == nil || depth > maxNested {
		return false
	}
	size := d.typeOf(e, 0).Size
	switch {
	case size <= 16 || depth == 0 && d.byReference(e, 0):
		return false
	case vector(e):
		return true
	case e.Tag == dwarf.TagArrayType:
		elem := d.ref(e, dwarf.AttrType)
		return d.typeOf(elem, 0).Size == size && d.wide(elem, depth+1)
	case e.Tag == dwarf.TagStructType || e.Tag == dwarf.TagClassType || e.Tag == dwarf.TagUnionType:
		d.children(e, func(c *dwarf.Entry) bool {
			if c.Tag == dwarf.TagMember || c.Tag == dwarf.TagInheritance {
				t := d.ref(c, dwarf.AttrType)
				is = d.typeOf(t, 0).Size == size && d.wide(t, depth+1)
			}
			return !is
		})
	}
	return is
}

// vector tells whether a type is one of the compiler's vectors, which are in one register each.
func vector(e *dwarf.Entry) bool {
	if e == nil || e.Tag != dwarf.TagArrayType {
		return false
	}
	is, _ := e.Val(attrGNUVector).(bool)
	return is
}

// classifyAt classifies what lies at a byte of a value. The result is false for what goes to the stack.
func (d *DebugInfo) classifyAt(e *dwarf.Entry, at int, out *[2]class, depth int) bool {
	e, _ = d.strip(e)
	if e == nil || depth > maxNested || at < 0 {
		return false
	}
	size := d.typeOf(e, 0).Size
	mark := func(c class) bool {
		if size == 0 || at+size > 16 || at%min(size, 8) != 0 {
			return false
		}
		for i := at / 8; i <= (at+size-1)/8; i++ {
			if out[i] != integerClass {
				out[i] = c
			}
		}
		return true
	}
	ok := true
	switch {
	case e.Tag == dwarf.TagBaseType && float(e):
		one := size == 16 && !complexNumber(e) && out[1] == noClass // in one register
		if ok = !strings.Contains(name(e), "long double") && mark(floatClass); one {
			out[1] = noClass
		}
	case vector(e):
		elem, _ := d.strip(d.ref(e, dwarf.AttrType))
		one := size == 16 && out[1] == noClass
		switch {
		case float(elem) && byteSize(elem) == size:
			ok = false
		case size < 8:
			ok = mark(integerClass)
		default:
			ok = mark(floatClass)
		}
		if one {
			out[1] = noClass
		}
	case e.Tag == dwarf.TagArrayType:
		elem := d.ref(e, dwarf.AttrType)
		step := d.typeOf(elem, 0).Size
		for o := 0; ok && step > 0 && o < size; o += step {
			ok = d.classifyAt(elem, at+o, out, depth+1)
		}
	case e.Tag == dwarf.TagStructType || e.Tag == dwarf.TagClassType || e.Tag == dwarf.TagUnionType:
		d.children(e, func(c *dwarf.Entry) bool {
			if c.Tag != dwarf.TagMember && c.Tag != dwarf.TagInheritance {
				return true
			}
			t, _ := d.strip(d.ref(c, dwarf.AttrType))
			switch bit, bits, has := memberPlace(c, t); {
			case !has: // a member of the class itself, or a base class that moves
				ok = c.Tag == dwarf.TagMember
			case bits > 0 && at*8+bit+bits > 128:
				ok = false
			case bits > 0:
				out[(at*8+bit)/64], out[(at*8+bit+bits-1)/64] = integerClass, integerClass
			case t == nil:
				ok = false
			case d.typeOf(t, 0).Size > 0:
				ok = d.classifyAt(t, at+bit/8, out, depth+1)
			}
			return ok
		})
	default:
		ok = mark(integerClass)
	}
	return ok
}

// float tells whether a type is a floating-point number, a complex one too.
func float(e *dwarf.Entry) bool {
	if e == nil || e.Tag != dwarf.TagBaseType {
		return false
	}
	encoding, _ := e.Val(dwarf.AttrEncoding).(int64)
	return floating(encoding)
}

func complexNumber(e *dwarf.Entry) bool {
	encoding, _ := e.Val(dwarf.AttrEncoding).(int64)
	return encoding == encodeComplex
}

// alignOf is the alignment of an argument on the stack in bytes: at least that of a word. That a struct is packed is only seen where
// its members are not aligned.
func (d *DebugInfo) alignOf(e *dwarf.Entry, depth int) int {
	most := 8
	for range maxTypeDepth {
		if e == nil || depth > maxNested {
			return most
		}
		if n, ok := e.Val(attrAlignment).(int64); ok && n > 8 && n <= 4096 && n&(n-1) == 0 {
			most = max(most, int(n))
		}
		if s, _ := d.strip(e); s == nil || s.Offset == e.Offset {
			break
		}
		e = d.ref(e, dwarf.AttrType)
	}
	switch {
	case e.Tag == dwarf.TagBaseType && byteSize(e) >= 16 && !(complexNumber(e) && byteSize(e) == 16):
		most = max(most, 16)
	case vector(e):
		most = max(most, min(d.typeOf(e, 0).Size, 64))
	case e.Tag == dwarf.TagArrayType:
		most = max(most, d.alignOf(d.ref(e, dwarf.AttrType), depth+1))
	case e.Tag == dwarf.TagStructType || e.Tag == dwarf.TagClassType || e.Tag == dwarf.TagUnionType:
		inside := 8
		packed := false
		d.children(e, func(c *dwarf.Entry) bool {
			if bit, _, has := memberPlace(c, nil); has && (c.Tag == dwarf.TagMember || c.Tag == dwarf.TagInheritance) {
				n := d.alignOf(d.ref(c, dwarf.AttrType), depth+1)
				inside, packed = max(inside, n), packed || n > 8 && bit/8%n != 0
			}
			return true
		})
		if !packed && byteSize(e)%inside == 0 {
			most = max(most, inside)
		}
	}
	return most
}
