package btf

import (
	"fmt"
	"strings"
)

// Define returns the definition of a struct, union or enum as C has it, line by line, with its typedefs and unnamed
// members as they are; keyword is as in Named.
func (ix *Index) Define(keyword, name string) ([]string, error) {
	t, err := ix.named(keyword, name)
	if err != nil {
		return nil, err
	}
	d := definer{ix: ix, visits: maxVisits}
	return strings.Split(keyword+" "+name+" "+d.body(t, 0)+";", "\n"), nil
}

// definer writes types as C has them.
type definer struct {
	ix     *Index
	visits int // that are left
	level  int // of braces
}

// body is what stands between the braces of a type, and the braces.
func (d *definer) body(r record, depth int) string {
	d.level++
	defer func() { d.level-- }()
	indent := strings.Repeat("\t", d.level)
	var b strings.Builder
	b.WriteString("{\n")
	for i := range r.vlen() {
		switch r.kind() {
		case KindEnum, KindEnum64:
			fmt.Fprintf(&b, "%s%s = %d,\n", indent, d.ix.name(r.word(r.enumWords()*i)), r.enumerator(i))
		default:
			fmt.Fprintf(&b, "%s%s", indent, d.declare(r.word(3*i+1), d.ix.name(r.word(3*i)), depth))
			if bits := r.word(3*i+2) >> 24; r.flag() && bits > 0 {
				fmt.Fprintf(&b, ": %d", bits)
			}
			b.WriteString(";\n")
		}
	}
	return b.String() + indent[1:] + "}"
}

// declare is a declaration of what a declarator names.
func (d *definer) declare(id uint32, declarator string, depth int) string {
	r, ok := d.ix.record(id)
	if d.visits--; !ok || d.visits < 0 || depth > maxDepth {
		return after("void", declarator)
	}
	name := d.ix.name(r.name)
	within := func(declarator string) string {
		if strings.HasPrefix(declarator, "*") { // arrays and functions bind closer than pointers
			return "(" + declarator + ")"
		}
		return declarator
	}
	qualified := func(qualifier string) string {
		if inner, ok := d.ix.record(r.sizeType); ok && inner.kind() == KindPtr {
			return d.declare(r.sizeType, after(qualifier, declarator), depth+1)
		}
		return qualifier + " " + d.declare(r.sizeType, declarator, depth+1)
	}
	tagged := func(keyword string) string {
		if name == "" {
			if d.level > maxNested {
				return after(keyword+" {}", declarator)
			}
			return after(keyword+" "+d.body(r, depth+1), declarator)
		}
		return after(keyword+" "+name, declarator)
	}
	switch r.kind() {
	case KindPtr:
		return d.declare(r.sizeType, "*"+declarator, depth+1)
	case KindArray:
		return d.declare(r.word(0), fmt.Sprintf("%s[%d]", within(declarator), r.word(2)), depth+1)
	case KindFuncProto:
		args := make([]string, r.vlen())
		for i := range args {
			args[i] = d.declare(r.word(2*i+1), "", depth+1)
			if r.word(2*i+1) == 0 { // the rest of printf's
				args[i] = "..."
			}
		}
		if len(args) == 0 {
			args = []string{"void"}
		}
		return d.declare(r.sizeType, within(declarator)+"("+strings.Join(args, ", ")+")", depth+1)
	case KindConst:
		return qualified("const")
	case KindVolatile:
		return qualified("volatile")
	case KindRestrict:
		return qualified("restrict")
	case KindTypeTag:
		return d.declare(r.sizeType, declarator, depth+1)
	case KindStruct:
		return tagged("struct")
	case KindUnion:
		return tagged("union")
	case KindEnum, KindEnum64:
		return tagged("enum")
	case KindFwd:
		keyword := "struct "
		if r.flag() {
			keyword = "union "
		}
		return after(keyword+name, declarator)
	}
	return after(name, declarator)
}

// after puts a declarator after what it declares.
func after(t, declarator string) string {
	if declarator == "" {
		return t
	}
	return t + " " + declarator
}
