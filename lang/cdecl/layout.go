package cdecl

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

// structure reads "struct [name] [{ members }]" and returns its type.
func (p *parser) structure() *types.Type {
	p.enter()
	defer func() { p.depth-- }()
	keyword := p.tok
	p.next()
	var pack packing
	p.attributes(&pack)
	name := ""
	if p.isName() {
		name = p.name("a name")
		p.attributes(&pack)
	}
	if p.tok != "{" {
		if name == "" {
			p.fail("got '%s', want a name or '{'", p.tok)
		}
		return p.find(keyword, name)
	}
	p.next()
	t := p.scope.ahead[keyword+" "+name] // what named it before becomes whole with it
	if t == nil {
		t = &types.Type{Kind: types.Struct, Name: name, Union: keyword == "union"}
	}
	if name != "" {
		p.once(keyword, name)
		p.scope.named[keyword+" "+name] = t // for pointers to itself
	}
	l := &layout{scope: p.scope, union: keyword == "union"}
	var members []member
	for !p.accept("}") {
		if p.tok == "" {
			p.fail("the definition ends, want '}'")
		}
		members = append(members, p.members()...)
	}
	p.attributes(&pack)
	l.pack = pack
	for _, m := range members {
		if !l.add(m) {
			p.fail("the %s is larger than %d bytes", keyword, maxSize)
		}
	}
	names := map[string]bool{}
	for _, f := range l.fields {
		if names[f.Name] {
			p.fail("the %s has two members with the name '%s'", keyword, f.Name)
		}
		names[f.Name] = true
	}
	l.finish(t)
	return t
}

// member is one declarator; bits is -1 unless it is a bit field.
type member struct {
	name string
	typ  *types.Type
	bits int
	pack packing
}

// members reads one declaration of a struct.
func (p *parser) members() []member {
	base := p.specifiers()
	if p.accept(";") {
		if base.Kind == types.Struct {
			return []member{{typ: base, bits: -1}}
		}
		return nil // an enum, or nothing
	}
	var out []member
	for {
		m := member{bits: -1}
		m.name, m.typ = p.declarator(base, "the name of a member")
		if p.accept(":") {
			n := p.value(0)
			if m.typ.Kind != types.Int && m.typ.Kind != types.Bool || n < 0 || n > int64(8*m.typ.Size) || n == 0 && m.name != "" {
				p.fail("a bit field of %d bits in '%s'", n, m.typ)
			}
			m.bits = int(n)
		}
		p.attributes(&m.pack)
		if elem := element(m.typ); elem.Kind == types.Void || elem.Kind == types.Struct && elem.Size == 0 && elem.Layout == nil {
			p.fail("member '%s' has the incomplete type '%s'", m.name, m.typ)
		}
		out = append(out, m)
		if !p.accept(",") {
			break
		}
	}
	p.want(";")
	return out
}

// element is what an array is of, and any other type itself.
func element(t *types.Type) *types.Type {
	for t.Kind == types.Array {
		t = t.Elem
	}
	return t
}

// declarator reads what is declared to be of a type or of one made of it; a bit field needs no name.
func (p *parser) declarator(t *types.Type, what string) (name string, _ *types.Type) {
	for p.tok == "*" || qualifier(p.tok) {
		if p.accept("*") {
			t = types.PointerTo(t, false)
		} else {
			p.next()
		}
	}
	switch {
	case p.accept("("): // a pointer to a function
		p.want("*")
		name = p.name(what)
		p.want(")")
		p.want("(")
		for depth := 1; depth > 0; p.next() {
			switch p.tok {
			case "":
				p.fail("the definition ends, want ')'")
			case "(":
				depth++
			case ")":
				depth--
			}
		}
		return name, types.PointerTo(types.None, false)
	case p.tok == ":":
		return "", t
	}
	name = p.name(what)
	return name, p.arrays(t)
}

// typedef reads "typedef type name, *other;". What has no name of its own gets the first of them.
func (p *parser) typedef() {
	p.next()
	base := p.specifiers()
	for {
		name, t := p.declarator(base, "a name")
		var pack packing
		p.attributes(&pack)
		if pack.align > 0 {
			aligned := *t
			t = &aligned
			p.scope.align[t] = pack.align
		}
		switch old, own := p.scope.named[" "+name], Typedef(name); {
		case old != nil && !old.Equal(t):
			p.fail("'%s' is defined twice", name)
		case own != nil && !own.Equal(t):
			p.fail("'%s' is a name of the language's own and means '%s'", name, own)
		}
		if t.Kind == types.Struct && t.Name == "" {
			t.Name = name
		}
		p.scope.named[" "+name] = t
		if !p.accept(",") {
			return
		}
	}
}

// arrays reads "[n][m]" after a name. The first number may be missing: nothing follows such a member.
func (p *parser) arrays(t *types.Type) *types.Type {
	var lens []int
	for p.accept("[") {
		n := int64(0)
		if p.tok != "]" {
			n = p.value(0)
		}
		if n < 0 || n > maxSize {
			p.fail("got an array of %d elements, want at most %d", n, maxSize)
		}
		p.want("]")
		lens = append(lens, int(n))
	}
	for i := len(lens) - 1; i >= 0; i-- {
		if t.Size > 0 && lens[i] > maxSize/t.Size {
			p.fail("the array is larger than %d bytes", maxSize)
		}
		t = types.ArrayOf(t, lens[i])
	}
	return t
}

func qualifier(s string) bool {
	switch s {
	case "const", "volatile", "restrict", "__user", "__kernel", "__rcu", "__percpu":
		return true
	}
	return false
}

// specifiers reads the type that a declaration starts with.
func (p *parser) specifiers() *types.Type {
	for qualifier(p.tok) {
		p.next()
	}
	var t *types.Type
	switch p.tok {
	case "struct", "union":
		t = p.structure()
	case "enum":
		t = p.enum()
	default:
		t = p.basic()
	}
	for qualifier(p.tok) {
		p.next()
	}
	return t
}

// basic reads the integer types of C, in any order of their words, and names of types.
func (p *parser) basic() *types.Type {
	signed, unsigned, long, size := false, false, 0, 0
	words := 0
	for ; ; words++ {
		switch p.tok {
		case "signed", "__signed__":
			signed = true
		case "unsigned":
			unsigned = true
		case "long":
			long++
		case "short":
			size = 2
		case "char":
			size = 1
		case "int":
		default:
			if words > 0 {
				if long > 0 {
					size = 8
				} else if size == 0 {
					size = 4
				}
				return types.IntOf(size, !unsigned)
			}
			_ = signed
			return p.find("", p.name("a type"))
		}
		p.next()
		for qualifier(p.tok) {
			p.next()
		}
	}
}

// find looks a type up. A struct that nobody defines can still be pointed to.
func (p *parser) find(keyword, name string) *types.Type {
	if t, ok := p.scope.named[keyword+" "+name]; ok {
		return t
	}
	if keyword == "" {
		if t := Typedef(name); t != nil {
			return t
		}
	}
	if p.scope.Outside != nil {
		if t, ok := p.scope.Outside(keyword, name); ok {
			return t
		}
	}
	if keyword == "struct" || keyword == "union" {
		t := p.scope.ahead[keyword+" "+name]
		if t == nil {
			t = &types.Type{Kind: types.Struct, Name: name, Union: keyword == "union"}
			p.scope.ahead[keyword+" "+name] = t
		}
		return t
	}
	panic(&Error{Start: p.nameStart, End: p.nameEnd, Message: fmt.Sprintf("unknown type '%s'", strings.TrimPrefix(keyword+" "+name, " "))})
}

// Typedef knows the usual names of integers that headers define: size_t, u8, __u8, uint8_t, __le32; nil for others.
func Typedef(name string) *types.Type {
	switch name {
	case "void":
		return types.None
	case "bool", "_Bool":
		return types.Boolean
	case "size_t", "uintptr_t":
		return types.Uint64
	case "ssize_t", "intptr_t", "loff_t":
		return types.Int64
	}
	stem := strings.TrimPrefix(name, "__")
	for _, f := range [...]struct {
		form string
		size int
	}{{"8", 1}, {"16", 2}, {"32", 4}, {"64", 8}} {
		switch stem {
		case "u" + f.form, "uint" + f.form + "_t", "le" + f.form, "be" + f.form:
			return types.IntOf(f.size, false)
		case "s" + f.form, "int" + f.form + "_t":
			return types.IntOf(f.size, true)
		}
	}
	return nil
}

// once refuses a second definition of a type.
func (p *parser) once(keyword, name string) {
	if p.scope.named[keyword+" "+name] != nil {
		p.fail("'%s %s' is defined twice", keyword, name)
	}
}

// enum reads "enum [name] [{ a, b = 2 }]".
func (p *parser) enum() *types.Type {
	p.next()
	var pack packing
	p.attributes(&pack)
	name := ""
	if p.isName() {
		name = p.name("a name")
	}
	if p.tok != "{" {
		if name == "" {
			p.fail("got '%s', want a name or '{'", p.tok)
		}
		return p.find("enum", name)
	}
	p.next()
	names := types.Enumerators{}
	t := &types.Type{Kind: types.Int, Size: 4, Name: strings.TrimSpace("enum " + name), Enum: names}
	if name == "" {
		t.Name = "enum"
	} else {
		p.once("enum", name)
		p.scope.named["enum "+name] = t
	}
	n := int64(0)
	for !p.accept("}") {
		id := p.name("the name of a constant")
		if _, ok := p.scope.constants[id]; ok {
			p.fail("constant '%s' was already defined", id)
		}
		if p.accept("=") {
			n = p.value(0)
		}
		p.scope.constants[id] = Constant{n, t}
		if _, ok := names[n]; !ok {
			names[n] = id
		}
		if n < 0 {
			t.Signed = true
		}
		if n < -1<<31 || n > 1<<32-1 {
			t.Size = 8
		}
		n++
		if !p.accept(",") {
			p.want("}")
			break
		}
	}
	return t
}

// layout places the members of one struct or union. Positions are in bits.
type layout struct {
	scope  *Scope
	union  bool
	pack   packing
	fields types.Fields
	at     int // the end of what was placed
	size   int // of a union, or the end of a struct
	align  int // bytes
}

// alignOf is the alignment of a type.
func (l *layout) alignOf(t *types.Type, depth int) int {
	if n, ok := l.scope.align[t]; ok {
		return n
	}
	switch {
	case depth > maxNested:
	case t.Kind == types.Array:
		return l.alignOf(t.Elem, depth+1)
	case t.Kind == types.Struct && t.Layout != nil:
		n := 1
		for _, f := range t.Layout.Fields() {
			n = max(n, l.alignOf(f.Type, depth+1))
		}
		return n
	case t.Size > 0:
		return t.Size
	}
	return 1
}

func (l *layout) add(m member) bool {
	align := l.alignOf(m.typ, 0)
	if l.pack.packed || m.pack.packed {
		align = 1
	}
	align = max(align, m.pack.align)
	if l.union {
		l.at = 0
	}
	bits := 8 * m.typ.Size
	switch {
	case m.bits == 0: // ends the unit
		l.at = roundUp(l.at, 8*m.typ.Size)
		return true
	case m.bits > 0:
		bits = m.bits
		if !l.pack.packed && !m.pack.packed && l.at/(8*m.typ.Size) != (l.at+bits-1)/(8*m.typ.Size) {
			l.at = roundUp(l.at, 8*m.typ.Size)
		}
		if m.pack.align > 0 {
			l.at = roundUp(l.at, 8*m.pack.align)
		}
	default:
		l.at = roundUp(l.at, 8*align)
	}
	switch {
	case m.name != "" && m.bits > 0:
		l.fields = append(l.fields, bitField(m, l.at))
	case m.name != "":
		l.fields = append(l.fields, types.Field{Name: m.name, Type: m.typ, Offset: l.at / 8})
	case m.typ.Kind == types.Struct && m.typ.Layout != nil: // its members are ours
		for _, f := range m.typ.Layout.Fields() {
			f.Offset += l.at / 8
			l.fields = append(l.fields, f)
		}
	}
	l.at += bits
	l.size = max(l.size, l.at)
	l.align = max(l.align, align)
	return l.size <= 8*maxSize
}

// bitField describes a bit field from its aligned unit, or from its first byte where it crosses units.
func bitField(m member, at int) types.Field {
	f := types.Field{Name: m.name, Type: m.typ, Offset: at / 8, BitOff: at % 8, BitSize: m.bits}
	if unit := 8 * m.typ.Size; at%unit+m.bits <= unit {
		f.Offset, f.BitOff = at/unit*m.typ.Size, at%unit
	}
	return f
}

func (l *layout) finish(t *types.Type) {
	align := max(l.align, l.pack.align, 1)
	t.Size = roundUp(roundUp(l.size, 8)/8, align)
	t.Layout = l.fields
	l.scope.align[t] = align
}

func roundUp(n, to int) int {
	if to <= 1 {
		return n
	}
	return (n + to - 1) / to * to
}
