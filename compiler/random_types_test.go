package compiler_test

import (
	"fmt"
	"strings"
)

// structure is a C type that the script defines.
type structure struct {
	name string   // with its keyword
	size int      // at most
	ints []string // paths of its integers, with a %s where an index belongs
	strs []string // of its arrays of characters
}

// reach is how many bytes of memory args.u points to, and each pointer of what args.b points to.
const reach = 256

// memory is a word of the context that points to memory.
func (w *writer) memory(n int) string {
	var b strings.Builder
	for range n {
		c := w.n(256)
		if w.n(3) == 0 {
			c = 'a' + w.n(4)
		}
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return `"` + b.String() + `"`
}

// define writes C definitions.
func (w *writer) define() {
	w.WriteString("enum e0 { E0, E1 = 5, E2 }; enum e1 { F0 = 1, F1 = 0x80000000 };\n#define SEVEN 7\n#define TWICE (SEVEN * 2)\n")
	for i := range 1 + w.n(3) {
		s := structure{name: fmt.Sprintf("%s s%d", w.pick("struct", "struct", "struct", "union"), i)}
		body := w.fields(&s, 0)
		if s.size > reach/2 || len(s.ints) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s { %s}%s;\n", s.name, body, w.pick("", "", "", " __attribute__((packed))"))
		w.structs = append(w.structs, s)
	}
	if len(w.structs) > 0 {
		s := w.structs[0]
		fmt.Fprintf(w, "struct head { %s *first; %s *second; };\n", s.name, s.name)
	}
}

var fieldTypes = []string{"char", "unsigned char", "short", "unsigned short", "int", "unsigned int", "long", "unsigned long long", "int8_t", "uint16_t",
	"u32", "s64", "uint64_t", "enum e0", "enum e1"}

// fields is the inside of a structure, of which it notes the paths.
func (w *writer) fields(s *structure, depth int) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"; ", args...) }
	for i := range 1 + w.n(5) {
		f := fmt.Sprintf("f%d", i)
		if depth > 0 {
			w.inner++ // those of unnamed structs are members of what is around them
			f = fmt.Sprintf("g%d", w.inner)
		}
		s.size += 8
		switch w.n(9) {
		case 0:
			n := 1 + w.n(20)
			add("char %s[%d]", f, n)
			s.size += n
			s.strs = append(s.strs, "."+f)
			s.ints = append(s.ints, fmt.Sprintf(".%s[%d]", f, w.n(n)))
		case 1:
			n := 1 << (1 + w.n(2))
			add("%s %s[%d]", w.pick(fieldTypes[:13]...), f, n)
			s.size += 8 * n
			s.ints = append(s.ints, fmt.Sprintf(".%s[%d]", f, w.n(n)), "."+f+fmt.Sprintf("[(%d & (%%s))]", n-1))
		case 2, 3:
			add("%s %s : %d", w.pick("int", "unsigned int", "u32", "s32", "unsigned int"), f, 1+w.n(31))
			s.ints = append(s.ints, "."+f)
		case 4:
			add("%s %s : %d", w.pick("long", "unsigned long", "u64"), f, 1+w.n(63))
			s.ints = append(s.ints, "."+f)
		case 5:
			if depth == 2 {
				add("int %s", f)
				s.ints = append(s.ints, "."+f)
				continue
			}
			in := structure{}
			body, name, n := w.fields(&in, depth+1), "", 1+w.n(2)
			kind := w.pick("struct", "union")
			if w.n(3) > 0 {
				name = f
			}
			dot, array := "", ""
			if name != "" {
				dot = "." + f
				if n > 1 {
					dot, array = "."+f+fmt.Sprintf("[%d]", w.n(n)), fmt.Sprintf("[%d]", n)
				}
			}
			add("%s { %s} %s%s", kind, body, name, array)
			s.size += n * in.size
			for _, p := range in.ints {
				s.ints = append(s.ints, dot+p)
			}
			for _, p := range in.strs {
				s.strs = append(s.strs, dot+p)
			}
		default:
			add("%s %s", w.pick(fieldTypes...), f)
			s.ints = append(s.ints, "."+f)
		}
	}
	return b.String()
}

// object is a structure that is read: from memory, from a pointer in memory, by a pointer variable, or a copy.
func (w *writer) object() (text string, s structure) {
	if len(w.objects) > 0 && w.n(2) == 0 {
		o := w.objects[w.n(len(w.objects))]
		return o.text, o.s
	}
	s = w.structs[w.n(len(w.structs))]
	at := "args.u"
	if n := reach/s.size - 1; n > 0 && w.n(3) == 0 {
		at = fmt.Sprintf("(args.u + sizeof(%s) * (%d & (%s)))", s.name, n&1, w.expr(0))
	}
	switch w.n(12) {
	case 0:
		return fmt.Sprintf("(*uptr((struct head *)args.b)).%s->", w.pick("first", "second")), w.structs[0]
	case 1:
		return "(*uptr((" + s.name + " *)" + at + "))", s
	case 2:
		return fmt.Sprintf("uptr((%s *)args.u)[%d]", s.name, w.n(max(1, reach/s.size))), s
	case 3:
		if w.n(4) == 0 {
			return "uptr((" + s.name + " *)" + w.pick("0", "1", "args.a") + ")->", s // which fails
		}
	}
	return "uptr((" + s.name + " *)" + at + ")->", s
}

// path joins an object and a path in it.
func (w *writer) path(object, path string) string {
	if strings.HasSuffix(object, "->") {
		path = strings.TrimPrefix(path, ".")
	}
	if strings.Contains(path, "%s") {
		path = fmt.Sprintf(path, w.expr(0))
	}
	return object + path
}

// field is an integer in a structure, or behind a pointer.
func (w *writer) field() string {
	if w.n(6) == 0 {
		t := w.pick("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
		at := fmt.Sprintf("uptr((%s *)(args.u + %d))", t, w.n(reach/2))
		switch w.n(3) {
		case 0:
			return at + fmt.Sprintf("[%d]", w.n(8))
		case 1:
			return fmt.Sprintf("(*(%s + %d))", at, w.n(8)) // "/*" would begin a comment
		}
		return "(*" + at + ")"
	}
	o, s := w.object()
	return w.path(o, w.pick(s.ints...))
}

// variable names one.
func (w *writer) variable(prefix string) string {
	w.next++
	return fmt.Sprintf("$%s%d", prefix, w.next)
}

// typed writes a statement about C types, pointers, arrays, records, macros or functions.
func (w *writer) typed() {
	reads := w.args && len(w.structs) > 0
	switch n := w.n(12); {
	case n == 0 && reads:
		s := w.structs[w.n(len(w.structs))]
		v := w.variable("p")
		fmt.Fprintf(w, "%s = uptr((%s *)args.u);", v, s.name)
		w.objects = append(w.objects, object{v + "->", s})
	case n == 1 && reads:
		s := w.structs[w.n(len(w.structs))]
		v := w.variable("o")
		fmt.Fprintf(w, "%s = *uptr((%s *)args.u);", v, s.name)
		w.objects = append(w.objects, object{v, s})
	case n == 2 && reads:
		s := w.structs[0]
		fmt.Fprintf(w, "@o[%s] = *uptr((%s *)args.u); print(@o[%s]", w.key(), s.name, w.key())
		if w.n(2) == 0 {
			w.WriteString(w.pick(s.ints[0], ""))
		}
		w.WriteString(");")
		if strings.Contains(s.ints[0], "%s") {
			panic("the first path has an index")
		}
	case n == 3 && reads:
		o, s := w.object()
		if strings.HasSuffix(o, "->") {
			o = "(*" + strings.TrimSuffix(o, "->") + ")"
		}
		fmt.Fprintf(w, `printf("%%s %%d %%s\n", %s, sizeof(%s), (1, %s));`, o, s.name, o)
	case n == 4:
		v := w.variable("a")
		t := w.pick("uint8[8]", "int8[4]", "int16[4]", "uint16[2]", "int32[2]", "uint32[1]")
		size := map[string]string{"uint8[8]": "uint64", "int8[4]": "uint32", "int16[4]": "uint64", "uint16[2]": "uint32", "int32[2]": "int64", "uint32[1]": "int32"}[t]
		fmt.Fprintf(w, "%s = (%s)(%s)(%s); @a[%s] = (int16[4])(uint64)(%s); print((%s, %s == (%s)(%s)(%s)));",
			v, t, size, w.expr(2), w.key(), w.expr(1), v, v, t, size, w.expr(1))
		w.ints = append(w.ints[:len(w.ints):len(w.ints)], "(int64)"+v+"[0]")
		w.ints = w.ints[:len(w.ints)-1] // is not assigned to
		fmt.Fprintf(w, " @i0 = %s[0] + @a[%s][%d];", v, w.key(), w.n(4))
	case n == 5:
		v := w.variable("r")
		fmt.Fprintf(w, `%s = (x = %s, y = (%s, %s), z = (k = (uint8)(%s), l = %s)); printf("%%d %%s %%d %%s\n", %s.x, %s.y.1, %s.z.k, %s);`,
			v, w.expr(2), w.expr(1), w.text(1), w.expr(1), w.text(1), v, v, v, w.pick(v, v+".y", v+".z"))
		fmt.Fprintf(w, ` @rec[%s] = %s.z; if (@rec[%s] == %s.z) { @i1 += %s.y.0; }`, w.key(), v, w.key(), v, v)
	case n == 6 && len(w.ints) > 0 && len(w.macros) > 0:
		fmt.Fprintf(w, "%s(%s, %s);", w.pick(w.macros...), w.pick(w.ints...), w.expr(1))
	case n == 7 && len(w.macros) > 0:
		fmt.Fprintf(w, "put_in(@k%d, %s, %s);", w.n(2), w.key(), w.expr(1))
	case n == 8 && len(w.fns) > 0:
		fmt.Fprintf(w, `printf("%%d %%s\n", %s, name0((int64)(%s)));`, w.call(1), w.expr(1))
	case n == 9 && w.loops == 0 && w.room():
		v := w.variable("kv")
		fmt.Fprintf(w, "for (%s : @%s) { ", v, w.pick("k0", "k1", "small"))
		for range 1 + w.n(2) {
			e := fmt.Sprintf("%s.%d %s %s", v, w.n(2), w.pick("*", "+", "^", "&", "|", "-"), w.pick(v+".0", v+".1", literals[w.n(len(literals))]))
			switch w.n(5) {
			case 0:
				fmt.Fprintf(w, "if (%s.1 %s %s) { @each0 += %s; } ", v, w.pick("<", ">", "==", "!="), literals[w.n(len(literals))], e)
			case 1:
				fmt.Fprintf(w, "@each1[%s.0 & %d] ^= %s; ", v, w.n(4), e)
			case 2:
				fmt.Fprintf(w, "delete(@k1, %s.0); ", v)
			case 3:
				fmt.Fprintf(w, "if (%s.0 == %d) { continue; } ", v, w.n(4))
			default:
				fmt.Fprintf(w, "@each0 += %s; ", e)
			}
		}
		w.WriteString("}")
	case n == 10:
		v := w.variable("l")
		t := w.pick("int8", "uint16", "int32", "uint64", "int64")
		fmt.Fprintf(w, "let %s : %s; %s = (%s)(%s); print((%s, sizeof(%s)));", v, t, v, t, w.expr(2), v, v)
		fmt.Fprintf(w, " %s %s %s;", v, w.pick("+=", "-=", "^=", "|="), w.expr(1))
	case n == 11:
		fmt.Fprintf(w, "print(((enum e0)%s, (enum e1)(%s), E2 + F1, TWICE * %d));", w.pick("0", "5", "6", "7"), w.pick("1", "2147483648", w.expr(1)), w.n(9))
	default:
		if o, s := "", (structure{}); reads {
			if o, s = w.object(); len(s.strs) > 0 {
				p := w.path(o, w.pick(s.strs...))
				fmt.Fprintf(w, `@s[%s] = %s; printf("%%s %%d %%d %%r\n", %s, strlen(%s), %s == %s, %s);`, w.key(), p, p, p, p, w.text(1), p)
				return
			}
		}
		fmt.Fprintf(w, "@i0 = (%s)(%s);", w.pick("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"), w.expr(2))
	}
}

// object is a variable that is, or points to, a structure.
type object struct {
	text string
	s    structure
}

// call is a call of a function or macro with a number.
func (w *writer) call(depth int) string {
	if len(w.fns) == 0 || w.calls >= 6 {
		return w.pick(literals...)
	}
	w.calls++
	switch w.n(5) {
	case 0:
		return "square(" + w.expr(depth) + ")"
	case 1:
		return "pick(" + w.expr(depth) + ")"
	case 2:
		return "pick(" + w.expr(depth) + ", " + w.expr(0) + ")"
	}
	return w.pick(w.fns...) + "((int64)(" + w.expr(depth) + "), " + w.text(0) + ")"
}

// named writes macros and functions. What they are made of is random; that $t is theirs and not the caller's is not.
func (w *writer) named() {
	args := w.args
	w.args = false
	defer func() { w.args, w.ints, w.strs, w.result = args, nil, nil, nil }()
	lit := func() string { return w.pick(literals[:12]...) }
	op := func() string { return w.pick("+", "-", "*", "^", "&", "|", "/", "%") }
	fmt.Fprintf(w, "macro square(x) { $t = x; $t %s $t }\n", op())
	fmt.Fprintf(w, "macro bump_it($v, x) { $t = x %s %s; $v %s= $t; }\n", op(), lit(), op())
	fmt.Fprintf(w, "macro pick(x) { if (x > %s) { %s } else { square(x) } }\n", lit(), lit())
	fmt.Fprintf(w, "macro pick(x, y) { $t = y; x %s $t }\n", op())
	fmt.Fprintf(w, "macro put_in(@m, k, v) { @m[k] = v; @m[k & 1] %s= %s; }\n", w.pick("+", "^", "-"), lit())
	w.macros = []string{"bump_it"}
	for i := range 1 + w.n(2) {
		f := fmt.Sprintf("f%d", i)
		w.ints, w.strs, w.loops, w.used = []string{"$n"}, []string{"$s"}, 0, w.most // no loops
		t := w.pick("int64", "uint64", "int32", "uint8")
		fmt.Fprintf(w, "fn %s($x : int64, $y : string[16]) : %s ", f, t)
		w.result = func() string { return "(" + t + ")(" + w.expr(1) + ")" }
		w.before = "$n = (int64)$x; $s = $y;"
		w.block(1 + w.n(3))
		w.fns = append(w.fns, f)
		w.WriteString("\n")
	}
	w.used = 0
	fmt.Fprintf(w, "fn name0($x : int64) : string[16] { if ($x %% %d) { return %s; } return %s; }\n", 2+w.n(3), w.pick(texts...), w.pick(texts...))
}
