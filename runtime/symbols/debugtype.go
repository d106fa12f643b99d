package symbols

import (
	"cmp"
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/slopebpf/slope/lang/types"
)

const (
	maxTypeDepth = 32      // of typedefs, qualifiers, pointers and arrays around one type
	maxNested    = 16      // of anonymous structs, unions and base classes
	maxMembers   = 1 << 16 // of one struct
	maxTypeSize  = 1 << 30
)

// The encodings of base types (DW_ATE).
const (
	encodeBoolean = 2
	encodeComplex = 3
	encodeFloat   = 4
	encodeSigned  = 5
	encodeChar    = 6
	encodeImag    = 9
	encodeDecimal = 15
)

// goString is the kind of strings in Go (reflect.String), which the compiler notes.
const goString = 24

// strip follows typedefs and qualifiers; named is the last typedef's name. Nil for void, and for what leads nowhere.
func (d *DebugInfo) strip(e *dwarf.Entry) (_ *dwarf.Entry, named string) {
	for range maxTypeDepth {
		if e == nil {
			return nil, named
		}
		switch e.Tag {
		case dwarf.TagTypedef:
			named = name(e)
			fallthrough
		case dwarf.TagConstType, dwarf.TagVolatileType, dwarf.TagRestrictType, dwarf.TagPackedType, dwarf.TagSharedType, tagAtomic, tagImmutable, dwarf.TagSubrangeType:
			e = d.ref(e, dwarf.AttrType)
		default:
			return e, named
		}
	}
	return nil, named
}

// typeOf is a type of the program as the language has it. Of structs the fields are read when they are asked for.
func (d *DebugInfo) typeOf(e *dwarf.Entry, depth int) *types.Type {
	e, named := d.strip(e)
	if e == nil || depth > maxTypeDepth {
		return types.None
	}
	size := byteSize(e)
	switch e.Tag {
	case dwarf.TagBaseType:
		return baseType(e, size)
	case dwarf.TagEnumerationType:
		return d.enumType(e, size, named)
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType:
		return types.PointerTo(d.pointee(e, depth), true)
	case dwarf.TagSubroutineType: // as Go has values that are functions
		return types.PointerTo(types.None, true)
	case dwarf.TagPtrToMemberType:
		if to, _ := d.strip(d.ref(e, dwarf.AttrType)); to != nil && to.Tag == dwarf.TagSubroutineType {
			return types.ArrayOf(types.Uint64, 2)
		}
		return types.Int64
	case dwarf.TagUnspecifiedType:
		if name(e) == "decltype(nullptr)" {
			return types.PointerTo(types.None, true)
		}
	case dwarf.TagArrayType:
		return d.arrayType(e, depth)
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType, dwarf.TagInterfaceType:
		return d.structType(e, size, named)
	}
	return types.None
}

func byteSize(e *dwarf.Entry) int {
	n, _ := e.Val(dwarf.AttrByteSize).(int64)
	if n < 0 || n > maxTypeSize {
		return 0
	}
	return int(n)
}

// opaque is memory without a type that the language knows.
func opaque(size int) *types.Type { return types.ArrayOf(types.Uint8, size) }

func integer(size int) bool { return size == 1 || size == 2 || size == 4 || size == 8 }

// floating tells whether an encoding is one of numbers that are no integers.
func floating(encoding int64) bool {
	return encoding == encodeComplex || encoding == encodeFloat || encoding >= encodeImag && encoding <= encodeDecimal
}

func baseType(e *dwarf.Entry, size int) *types.Type {
	switch encoding, _ := e.Val(dwarf.AttrEncoding).(int64); {
	case size == 0:
		return types.None
	case floating(encoding):
		return opaque(size)
	case size == 16:
		return types.ArrayOf(types.Uint64, 2)
	case !integer(size):
		return opaque(size)
	case encoding == encodeBoolean && size == 1:
		return types.Boolean
	default:
		return types.IntOf(size, encoding == encodeSigned || encoding == encodeChar)
	}
}

func (d *DebugInfo) enumType(e *dwarf.Entry, size int, named string) *types.Type {
	if t := d.types[e.Offset]; t != nil {
		return t
	}
	t := &types.Type{Kind: types.Int, Size: size, Name: named}
	if own := name(e); own != "" {
		t.Name = "enum " + own
	}
	under, _ := d.strip(d.ref(e, dwarf.AttrType))
	if under != nil && under.Tag == dwarf.TagBaseType {
		if t.Size == 0 {
			t.Size = byteSize(under)
		}
		encoding, _ := under.Val(dwarf.AttrEncoding).(int64)
		t.Signed = encoding == encodeSigned || encoding == encodeChar
	}
	if !integer(t.Size) {
		return opaque(size)
	}
	names := types.Enumerators{}
	d.children(e, func(c *dwarf.Entry) bool {
		if v, ok := c.Val(dwarf.AttrConstValue).(int64); ok && c.Tag == dwarf.TagEnumerator {
			t.Signed = t.Signed || v < 0
			if names[v] == "" {
				names[v] = name(c)
			}
		}
		return len(names) < maxMembers
	})
	t.Enum = names
	d.types[e.Offset] = t
	return t
}

// pointee is what a pointer leads to; functions are nothing that could be read.
func (d *DebugInfo) pointee(e *dwarf.Entry, depth int) *types.Type {
	to, _ := d.strip(d.ref(e, dwarf.AttrType))
	if to == nil || to.Tag == dwarf.TagSubroutineType {
		return types.None
	}
	return d.typeOf(d.ref(e, dwarf.AttrType), depth+1)
}

func (d *DebugInfo) arrayType(e *dwarf.Entry, depth int) *types.Type {
	t := d.typeOf(d.ref(e, dwarf.AttrType), depth+1)
	dims := d.dimensions(e)
	for _, n := range slices.Backward(dims) {
		if t.Size != 0 && n > maxTypeSize/t.Size {
			n = 0
		}
		t = types.ArrayOf(t, n)
	}
	return t
}

// dimensions are how many elements an array has, the outermost first; 0 where it does not tell.
func (d *DebugInfo) dimensions(e *dwarf.Entry) (out []int) {
	d.children(e, func(c *dwarf.Entry) bool {
		if c.Tag != dwarf.TagSubrangeType {
			return true
		}
		n, ok := c.Val(dwarf.AttrCount).(int64)
		if !ok {
			if n, ok = c.Val(dwarf.AttrUpperBound).(int64); ok {
				n++
			}
		}
		if n < 0 || n > maxTypeSize {
			n = 0
		}
		out = append(out, int(n))
		return len(out) < maxTypeDepth
	})
	return out
}

// structType is a struct, union or class. One that is only declared is known by its name.
func (d *DebugInfo) structType(e *dwarf.Entry, size int, named string) *types.Type {
	if t := d.types[e.Offset]; t != nil {
		return t
	}
	t := &types.Type{Kind: types.Struct, Name: name(e), Size: size, Union: e.Tag == dwarf.TagUnionType}
	if t.Name == "" {
		t.Name = named
	}
	if declared, _ := e.Val(dwarf.AttrDeclaration).(bool); !declared {
		t.Layout = &debugLayout{d: d, e: e}
		kind, _ := e.Val(attrGoKind).(int64)
		t.Counted = kind == goString && size == 16
	}
	d.types[e.Offset] = t
	return t
}

// debugLayout reads the fields of one struct once.
type debugLayout struct {
	d      *DebugInfo
	e      *dwarf.Entry
	once   sync.Once
	fields []types.Field
}

// Fields implements types.Layout.
func (l *debugLayout) Fields() []types.Field {
	l.once.Do(func() {
		defer l.d.begin()()
		var err error // of damaged entries those before are the fields
		defer guard(&err)
		l.d.fields(l.e, 0, 0, &l.fields)
	})
	return l.fields
}

// fields lists the fields of a struct that begins at a bit, with those of anonymous members, and of base classes as long as it has
// none of the name itself. Those that several base classes have are lost.
func (d *DebugInfo) fields(e *dwarf.Entry, base, depth int, out *[]types.Field) {
	if depth > maxNested {
		return
	}
	const own = -1
	first := len(*out)
	var from []int // of each from the first on: the base class that has it
	var bases []string
	d.children(e, func(c *dwarf.Entry) bool {
		if len(*out) >= maxMembers {
			return false
		}
		t, _ := d.strip(d.ref(c, dwarf.AttrType))
		bit, bits, ok := memberPlace(c, t)
		if !ok || t == nil {
			return true
		}
		bit += base
		whose := own
		switch {
		case c.Tag == dwarf.TagInheritance:
			whose = len(bases)
			bases = append(bases, name(t))
			d.fields(t, bit, depth+1, out)
		case c.Tag == dwarf.TagMember && name(c) == "" && t.Tag != dwarf.TagBaseType:
			d.fields(t, bit, depth+1, out)
		case c.Tag == dwarf.TagMember && name(c) != "":
			*out = append(*out, types.FieldAt(name(c), d.typeOf(d.ref(c, dwarf.AttrType), 0), bit, bits))
		}
		from = append(from, slices.Repeat([]int{whose}, len(*out)-first-len(from))...)
		return true
	})
	if len(bases) > 0 {
		*out = append((*out)[:first], inherit((*out)[first:], from, bases)...)
	}
}

// inherit leaves out what is hidden by a member of the class itself. from has of each field the base class, -1 without one.
func inherit(fields []types.Field, from []int, bases []string) []types.Field {
	own := map[string]bool{}
	has := map[string]int{}
	for i, f := range fields {
		own[f.Name] = own[f.Name] || from[i] < 0
	}
	lost := map[string]string{}
	for i, f := range fields {
		if other, again := has[f.Name]; again && other != from[i] {
			lost[f.Name] = "both " + bases[other] + " and " + bases[from[i]] + " have one"
		} else if !own[f.Name] {
			has[f.Name] = from[i]
		}
	}
	kept := fields[:0]
	for i, f := range fields {
		if from[i] >= 0 && own[f.Name] {
			continue
		}
		f.Lost = cmp.Or(f.Lost, lost[f.Name])
		kept = append(kept, f)
	}
	return kept
}

// memberPlace is the first bit of a member of type t, and how many a bit field has. ok is false for what no object holds, and for
// base classes whose place is only known at run time.
func memberPlace(c, t *dwarf.Entry) (bit, bits int, ok bool) {
	if external, _ := c.Val(dwarf.AttrExternal).(bool); external {
		return 0, 0, false
	}
	if declared, _ := c.Val(dwarf.AttrDeclaration).(bool); declared {
		return 0, 0, false
	}
	at := int64(0)
	switch v := c.Val(dwarf.AttrDataMemberLoc).(type) {
	case int64:
		at = v
	case []byte: // up to DWARF 3: the address of the struct, plus
		const plusConstant = 0x23
		if len(v) < 2 || v[0] != plusConstant {
			return 0, 0, false
		}
		n, size := binary.Uvarint(v[1:])
		if size <= 0 {
			return 0, 0, false
		}
		at = int64(n)
	}
	width, _ := c.Val(dwarf.AttrBitSize).(int64)
	first, later := c.Val(dwarf.AttrDataBitOffset).(int64)
	fromTop, earlier := c.Val(dwarf.AttrBitOffset).(int64)
	if at < 0 || at > maxTypeSize || first < 0 || first > 8*maxTypeSize || width < 0 || width > 64 || fromTop < -128 || fromTop > 128 {
		return 0, 0, false
	}
	at *= 8
	switch {
	case later:
		at = first
	case earlier && width > 0: // up to DWARF 3: from the highest bit of a word
		word := byteSize(c)
		if word == 0 && t != nil {
			word = byteSize(t)
		}
		at += 8*int64(word) - fromTop - width
	}
	return int(at), int(width), at >= 0
}

// Named returns a type of the program by the whole name that its language gives it; the types of the unit with the code at an
// address come first. keyword is struct, union, enum, or empty. It is nil where there is none.
func (d *DebugInfo) Named(near uint64, keyword, name string) (t *types.Type, err error) {
	found, err := d.search(near, keyword, name)
	if found.exact == nil && found.unread != nil && err == nil && d.split.names(name) {
		err = fmt.Errorf("the type '%s' is in debug information that cannot be read: %w", name, found.unread)
	}
	return found.exact, err
}

// Shortened is the same by a name without namespaces or packages. The error names those that could be meant.
func (d *DebugInfo) Shortened(near uint64, keyword, name string) (t *types.Type, err error) {
	found, err := d.search(near, keyword, name)
	if len(found.names) == 0 && found.unread != nil && err == nil {
		err = fmt.Errorf("the type '%s' may be in debug information that cannot be read: %w", name, found.unread)
	}
	if len(found.names) > 1 {
		err = fmt.Errorf("several types are called '%s': %s", name, strings.Join(found.names, ", "))
	}
	return found.short, err
}

func (d *DebugInfo) search(near uint64, keyword, name string) (found namedType, err error) {
	defer d.begin()()
	defer guard(&err)
	last := name[strings.LastIndexByte(name, ':')+1:]
	if last == "" || !d.mayHave(last) {
		return found, nil
	}
	home := d.home(near)
	key := fmt.Sprint(keyword, " ", name, " ", home)
	found, seen := d.named[key]
	if !seen {
		found = d.findType(home, keyword, name, last)
		d.named[key] = found
	}
	return found, nil
}

// findType looks for a type in all units with the last part of its name. Of shortened names that of the home wins, if it has only one.
func (d *DebugInfo) findType(home int, keyword, want, last string) (found namedType) {
	var exact, short *dwarf.Entry
	settled := false // which the short name means
	look := func(e *dwarf.Entry, full string) bool {
		if declared, _ := e.Val(dwarf.AttrDeclaration).(bool); declared || !keywordOf(e.Tag, keyword) {
			return true
		}
		if full == want {
			exact = e
			return false
		}
		if rest, ok := strings.CutSuffix(full, want); ok && !settled && scope(rest) && !slices.Contains(found.names, full) {
			found.names = append(found.names, full)
			short = e
		}
		return true
	}
	for u := range d.unitsWith(home, last) {
		if d.eachType(u, look); exact != nil {
			break
		}
		settled = settled || home >= 0 && u.first == d.units[home].first && len(found.names) == 1
	}
	if exact == nil {
		found.unread = d.split.unread()
	}
	slices.Sort(found.names)
	if exact != nil {
		found.exact = d.typeOf(exact, 0)
	}
	if len(found.names) == 1 {
		found.short = d.typeOf(short, 0)
	}
	return found
}

// scope tells whether what stands before a name is the path of a namespace or package, and not the rest of another type, as in
// []os.File.
func scope(path string) bool {
	return (strings.HasSuffix(path, "::") || strings.HasSuffix(path, ".") || strings.HasSuffix(path, "/")) && !strings.ContainsAny(path, "[]*(){} ")
}

// nowhere is the home of what is asked of the whole program.
const nowhere = -1

// mayHave tells whether a name, or the end of one, can be anywhere.
func (d *DebugInfo) mayHave(name string) bool {
	return d.split.may || slices.ContainsFunc(d.parts, func(p *part) bool { return p.has(name) })
}

// unitsWith visits the units whose sections have a name, or the end of one: the home first, then those of its part, as its types may
// have units of their own, then the others, and last those that were split off and not read yet, as many as are read for a search.
func (d *DebugInfo) unitsWith(home int, name string) iter.Seq[debugUnit] {
	return func(yield func(debugUnit) bool) {
		var last *part
		has := false
		visit := func(i int) bool {
			if p := d.partAt(d.units[i].first); p != last {
				last, has = p, p.has(name)
			}
			return !has || yield(d.units[i])
		}
		var own *part
		if home >= 0 {
			if own = d.partAt(d.units[home].first); !visit(home) {
				return
			}
			for i, u := range d.units {
				if i != home && d.partAt(u.first) == own && !visit(i) {
					return
				}
			}
		}
		seen := 0
		for more := true; more; more = d.readMore() {
			for ; seen < len(d.units); seen++ {
				if d.partAt(d.units[seen].first) != own && !visit(seen) {
					return
				}
			}
		}
	}
}

// keywordOf tells whether a type goes by a keyword; without one any type does.
func keywordOf(tag dwarf.Tag, keyword string) bool {
	switch tag {
	case dwarf.TagStructType, dwarf.TagClassType:
		return keyword == "struct" || keyword == ""
	case dwarf.TagUnionType:
		return keyword == "union" || keyword == ""
	case dwarf.TagEnumerationType:
		return keyword == "enum" || keyword == ""
	case dwarf.TagTypedef:
		return keyword == ""
	}
	return false
}

// eachType visits the types of a unit, those of namespaces and classes too, until f returns false.
func (d *DebugInfo) eachType(u debugUnit, f func(e *dwarf.Entry, full string) bool) {
	type scope struct {
		depth int
		name  string
	}
	scopes := []scope{{0, ""}}
	declared := map[dwarf.Offset]string{} // what is defined outside of its namespace
	w := d.walk(u.first, u.end)
	top := w.entry()
	if top == nil || !top.Children {
		return
	}
	language, _ := top.Val(dwarf.AttrLanguage).(int64)
	flat := language == languageGo || isC(language)
	for e := w.entry(); e != nil; e = w.entry() {
		depth := w.depth
		if e.Children {
			depth--
		}
		for len(scopes) > 1 && scopes[len(scopes)-1].depth >= depth {
			scopes = scopes[:len(scopes)-1]
		}
		prefix, own := scopes[len(scopes)-1].name, name(e)
		full := prefix + own
		isType := keywordOf(e.Tag, "")
		if of, ok := e.Val(dwarf.AttrSpecification).(dwarf.Offset); ok && declared[of] != "" {
			full = declared[of]
		} else if is, _ := e.Val(dwarf.AttrDeclaration).(bool); is && isType && prefix != "" {
			declared[e.Offset] = full
		}
		if isType && !f(e, full) {
			return
		}
		if e.Children && (e.Tag == dwarf.TagNamespace || isType && !flat && e.Tag != dwarf.TagEnumerationType) && len(scopes) < maxTypeDepth {
			if own != "" {
				prefix = full + "::"
			}
			scopes = append(scopes, scope{depth, prefix})
			continue
		}
		w.skip(e)
	}
}

func isC(language int64) bool {
	return language == languageC || language == languageC89 || language == languageC99 || language == languageC11
}

// Constant returns the value of an enumerator, and its enum; near as for Named.
func (d *DebugInfo) Constant(near uint64, want string) (v int64, t *types.Type, ok bool) {
	defer d.begin()()
	var err error
	defer guard(&err)
	if want == "" || !d.mayHave(want) {
		return 0, nil, false
	}
	look := func(e *dwarf.Entry, _ string) bool {
		if d.visits = maxVisits; e.Tag == dwarf.TagEnumerationType {
			d.children(e, func(c *dwarf.Entry) bool {
				if c.Tag == dwarf.TagEnumerator && name(c) == want {
					if v, ok = c.Val(dwarf.AttrConstValue).(int64); ok {
						t = d.typeOf(e, 0)
					}
				}
				return !ok
			})
		}
		return !ok
	}
	for u := range d.unitsWith(d.home(near), want) {
		if d.eachType(u, look); ok {
			break
		}
	}
	return v, t, ok
}

// spell is a type as the program's source has it, about.
func (d *DebugInfo) spell(e *dwarf.Entry, depth int) string {
	if e == nil {
		return "void"
	}
	if depth > maxTypeDepth {
		return "…"
	}
	inner := func() string { return d.spell(d.ref(e, dwarf.AttrType), depth+1) }
	own := name(e)
	keyword := ""
	switch e.Tag {
	case dwarf.TagPointerType:
		if own != "" {
			return own
		}
		if f := d.ref(e, dwarf.AttrType); f != nil && f.Tag == dwarf.TagSubroutineType {
			return d.spell(d.ref(f, dwarf.AttrType), depth+1) + " (*)()"
		}
		return inner() + "*"
	case dwarf.TagReferenceType:
		return inner() + "&"
	case dwarf.TagRvalueReferenceType:
		return inner() + "&&"
	case dwarf.TagConstType:
		if t := d.ref(e, dwarf.AttrType); t != nil && t.Tag == dwarf.TagPointerType {
			return inner() + " const"
		}
		return "const " + inner()
	case dwarf.TagVolatileType:
		return "volatile " + inner()
	case dwarf.TagRestrictType, tagAtomic, tagImmutable:
		return inner()
	case dwarf.TagArrayType:
		text := inner()
		for _, n := range d.dimensions(e) {
			text += fmt.Sprintf("[%d]", n)
		}
		return text
	case dwarf.TagTypedef:
		if e.AttrField(attrGoDictIndex) != nil { // a parameter of a generic function's types
			return inner()
		}
	case dwarf.TagStructType:
		keyword = "struct "
	case dwarf.TagUnionType:
		keyword = "union "
	case dwarf.TagEnumerationType:
		keyword = "enum "
	}
	if strings.ContainsAny(own, ".[/") || own == "string" { // as Go names them
		keyword = ""
	}
	if own == "" {
		own = "<anonymous>"
	}
	return keyword + own
}
