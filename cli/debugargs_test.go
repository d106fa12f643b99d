package cli

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// value is a parameter or a part of one: how the program's language declares and makes it, and the numbers in it.
type value struct {
	typ   string
	made  string
	parts []string // what follows the name to reach its numbers: "", ".a", ".b[1]"
	float bool     // it has a floating-point number somewhere
}

// signatures makes random functions and calls of them.
type signatures struct {
	*rand.Rand
	types  []string // declarations of structs
	funcs  []string
	calls  []string
	script []string
	packed int // structs around what is made that are packed
}

// vectorsC are vectors, as code declares that is written for units of floating-point numbers. tiny is passed as a number.
const vectorTypes = "typedef unsigned char tiny __attribute__((vector_size(4)));\ntypedef int full __attribute__((vector_size(16)));\n" +
	"typedef double two __attribute__((vector_size(16)));\ntypedef short half __attribute__((vector_size(8)));\n"

var vectorsC = []string{"full", "two", "half"}

var cNumbers = []string{"signed char", "unsigned char", "short", "unsigned short", "int", "unsigned int", "long", "unsigned long", "long long"}

func (s *signatures) number() string { return fmt.Sprint(s.Intn(1<<31) - 1<<30) }

// scalarC is a number, a floating-point one now and then.
func (s *signatures) scalarC() value {
	switch s.Intn(14) {
	case 0:
		return value{typ: "double", made: "1.5", float: true}
	case 1:
		return value{typ: "float", made: "2.5f", float: true}
	case 4:
		if s.packed > 0 { // whether a struct is, is only seen where its members are not aligned
			break
		}
		v := vectorsC[s.Intn(len(vectorsC))]
		return value{typ: v, made: "(" + v + "){2, 3}", float: true}
	case 5:
		return value{typ: "tiny", made: "(tiny){2, 3, 4, 5}", parts: []string{"[1]", "[3]"}}
	case 2:
		return value{typ: "_Bool", made: "1", parts: []string{""}}
	case 3:
		return value{typ: "enum kind", made: []string{"LOW", "HIGH"}[s.Intn(2)], parts: []string{""}}
	}
	t := cNumbers[s.Intn(len(cNumbers))]
	return value{typ: t, made: "(" + t + ")" + s.number(), parts: []string{""}}
}

// structC is a struct of some members: with arrays, others inside, bit fields, packed now and then.
func (s *signatures) structC(depth int) value {
	name := fmt.Sprint("s", len(s.types))
	s.types = append(s.types, "")
	at := len(s.types) - 1
	v := value{typ: "struct " + name}
	packed := ""
	if s.Intn(6) == 0 {
		packed = " __attribute__((packed))"
		s.packed++
		defer func() { s.packed-- }()
	}
	var members, made []string
	for i := range 1 + s.Intn(4) {
		field := fmt.Sprint("m", i)
		m := s.scalarC()
		switch {
		case depth > 0 && s.Intn(4) == 0:
			m = s.structC(depth - 1)
		case m.typ == "int" && s.Intn(2) == 0:
			members = append(members, "int "+field+" : 5")
			made = append(made, "."+field+" = 7")
			v.parts = append(v.parts, "."+field)
			continue
		case s.Intn(5) == 0 && m.typ != "tiny":
			n := 1 + s.Intn(3)
			members = append(members, fmt.Sprintf("%s %s[%d]", m.typ, field, n))
			made = append(made, "."+field+" = {"+strings.Repeat(m.made+",", n)+"}")
			v.float = v.float || m.float
			for k := range n {
				if !m.float && m.typ != "signed char" { // that is text
					v.parts = append(v.parts, fmt.Sprintf(".%s[%d]", field, k))
				}
			}
			continue
		}
		members = append(members, m.typ+" "+field)
		made = append(made, "."+field+" = "+m.made)
		v.float = v.float || m.float
		for _, p := range m.parts {
			v.parts = append(v.parts, "."+field+p)
		}
	}
	s.types[at] = fmt.Sprintf("struct %s { %s; }%s;", name, strings.Join(members, "; "), packed)
	for i := at + 1; i < len(s.types); i++ { // those inside come first
		s.types[i-1], s.types[i] = s.types[i], s.types[i-1]
	}
	v.made = "(" + v.typ + "){" + strings.Join(made, ", ") + "}"
	return v
}

func (s *signatures) anyC() value {
	switch s.Intn(8) {
	case 0, 1, 2:
		return s.structC(1)
	case 3:
		return value{typ: "__int128", made: "((__int128)7 << 64 | 9)", parts: []string{}}
	case 4:
		return value{typ: "long double", made: "3.5L", float: true}
	case 5:
		v := s.structC(0)
		global := fmt.Sprint("g", len(s.types))
		s.types = append(s.types, fmt.Sprintf("%s %s;", v.typ, global))
		s.calls = append(s.calls, fmt.Sprintf("%s = %s;", global, v.made))
		out := value{typ: v.typ + " *", made: "&" + global}
		for _, p := range v.parts {
			out.parts = append(out.parts, "->"+p[1:])
		}
		return out
	}
	return s.scalarC()
}

// cases adds a function, what it prints of itself, and the probes that print the same.
func (s *signatures) functionC() {
	name := fmt.Sprint("f", len(s.funcs))
	var params, args, formats, values, texts []string
	for i := range 1 + s.Intn(9) {
		v, p := s.anyC(), fmt.Sprint("p", i)
		params, args = append(params, v.typ+" "+p), append(args, v.made)
		for _, part := range v.parts {
			formats = append(formats, p+part+"=%lld")
			values = append(values, "(long long)"+p+part)
			texts = append(texts, p+part)
		}
	}
	r := s.anyC()
	body := fmt.Sprintf(`if (tell) printf("%s %s\n"%s); `, name, strings.Join(formats, " "), strings.Join(append([]string{""}, values...), ", "))
	s.funcs = append(s.funcs, fmt.Sprintf("__attribute__((noinline)) %s %s(%s) { %s%s r = %s; __asm__ volatile(\"\" ::: \"memory\"); return r; }", r.typ, name, strings.Join(params, ", "), body, r.typ, r.made))
	s.calls = append(s.calls, fmt.Sprintf("{ %s r = %s(%s); (void)r; ", r.typ, name, strings.Join(args, ", ")))
	formats, values = nil, nil
	for _, part := range r.parts {
		formats, values = append(formats, "r"+part+"=%lld"), append(values, "(long long)r"+part)
	}
	s.calls[len(s.calls)-1] += fmt.Sprintf(`if (tell) printf("%s returned %s\n"%s); }`, name, strings.Join(formats, " "), strings.Join(append([]string{""}, values...), ", "))
	s.script = append(s.script, probeText("uprobe", name, name, "args.", texts), probeText("uretprobe", name, name+" returned", "args.retval", ofResult(r.parts)))
}

// ofResult marks the parts of a result, which is called r where the program prints it.
func ofResult(parts []string) (out []string) {
	for _, p := range parts {
		out = append(out, "r"+p)
	}
	return out
}

// probeText is a probe that prints parts as the program does: the name, then name=value.
func probeText(kind, function, title, args string, parts []string) string {
	var formats, values []string
	for _, p := range parts {
		formats = append(formats, p+"=%lld")
		if args != "args." {
			p = p[1:]
		}
		values = append(values, "(int64)"+args+p)
	}
	return fmt.Sprintf(`%s:BIN:%s { printf("%s %s\n"%s); }`, kind, function, title, strings.Join(formats, " "), strings.Join(append([]string{""}, values...), ", "))
}

// seeds are those of random programs: more in a soak.
func seeds() int {
	if os.Getenv("SLOPE_SOAK") != "" {
		return 50
	}
	return 1
}

// TestCallingConventionC reads the arguments and results of random functions of C, at several levels of optimisation and in several
// forms of DWARF, and compares with what the program prints of them.
func TestCallingConventionC(t *testing.T) {
	for i, flags := range []string{"-O0 -gdwarf-5", "-O2 -gdwarf-4 -fno-ipa-sra -fno-ipa-cp", "-O1 -gdwarf-4 -gsplit-dwarf -fdebug-types-section"} {
		for round := range seeds() {
			seed := int64(3*round + i)
			t.Run(fmt.Sprint(flags, " ", seed), func(t *testing.T) {
				s := &signatures{Rand: rand.New(rand.NewSource(seed))}
				for range 40 {
					s.functionC()
				}
				source := "#include <stdio.h>\nenum kind { LOW = -3, HIGH = 4 };\n" + vectorTypes + strings.Join(s.types, "\n") + "\nvolatile int tell;\n" + strings.Join(s.funcs, "\n") +
					"\nint main(int argc, char **argv) { tell = argc > 1;\n" + strings.Join(s.calls, "\n") + "\nreturn 0; }\n"
				compareCalls(t, buildC(t, source, strings.Fields(flags)...), s.script)
			})
		}
	}
}

var goNumbers = []string{"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "int", "uint", "uintptr"}

func (s *signatures) scalarGo() value {
	switch s.Intn(10) {
	case 0:
		return value{typ: "float64", made: "1.5", float: true}
	case 1:
		return value{typ: "bool", made: "true", parts: []string{""}}
	case 2:
		return value{typ: "complex64", made: "2i", float: true}
	}
	t := goNumbers[s.Intn(len(goNumbers))]
	return value{typ: t, made: fmt.Sprintf("%s(small(%d))", t, s.Intn(100)), parts: []string{""}}
}

// anyGo is a value of Go: a number, a text, a slice, an array, an interface, a function, a struct or a pointer to one.
func (s *signatures) anyGo(depth int) value {
	switch n := s.Intn(12); {
	case n == 0:
		return value{typ: "string", made: fmt.Sprintf("text(%d)", s.Intn(100)), parts: []string{"#", ".len"}}
	case n == 1:
		return value{typ: "[]int16", made: "[]int16{5, int16(small(6)), 7}", parts: []string{".len", ".array[1]"}}
	case n == 2:
		k := s.Intn(4)
		v := value{typ: fmt.Sprintf("[%d]int32", k), made: fmt.Sprintf("[%d]int32{}", k)}
		if k > 0 {
			v.made = fmt.Sprintf("[%d]int32{%d: int32(small(8))}", k, k-1)
			v.parts = []string{fmt.Sprintf("[%d]", k-1)}
		}
		return v
	case n == 3:
		return value{typ: "error", made: "failure"}
	case n == 4:
		return value{typ: "func(int) int", made: "small"}
	case n < 8 && depth > 0:
		name := fmt.Sprint("S", len(s.types))
		s.types = append(s.types, "")
		at := len(s.types) - 1
		v := value{typ: name}
		var members, made []string
		for i := range s.Intn(5) {
			m, field := s.anyGo(depth-1), fmt.Sprint("m", i)
			members, made = append(members, field+" "+m.typ), append(made, field+": "+m.made)
			v.float = v.float || m.float
			for _, p := range m.parts {
				v.parts = append(v.parts, "."+field+p)
			}
		}
		s.types[at] = fmt.Sprintf("type %s struct { %s }", name, strings.Join(members, "; "))
		v.made = name + "{" + strings.Join(made, ", ") + "}"
		if s.Intn(3) == 0 {
			v.typ, v.made, v.float = "*"+v.typ, "&"+v.made, false
		}
		return v
	}
	return s.scalarGo()
}

// partsGo are the parts as the script prints them, and as the program does: a text by itself, after "#".
func partsGo(name string, parts []string) (formats, script, program []string) {
	for _, p := range parts {
		reach := name + strings.TrimSuffix(p, "#")
		switch {
		case strings.HasSuffix(p, "#"):
			formats, script, program = append(formats, reach+"=%s"), append(script, reach), append(program, reach)
		case strings.HasSuffix(p, ".len"):
			formats, script, program = append(formats, reach+"=%d"), append(script, reach), append(program, "len("+strings.TrimSuffix(reach, ".len")+")")
		default:
			formats, script = append(formats, reach+"=%d"), append(script, reach)
			program = append(program, "number("+strings.Replace(reach, ".array[", "[", 1)+")")
		}
	}
	return formats, script, program
}

// functionGo is a function, a generic one, or a method of a generic type.
func (s *signatures) functionGo() {
	name := fmt.Sprint("f", len(s.funcs))
	var params, args, formats, script, program []string
	add := func(p string, v value) {
		params, args = append(params, p+" "+v.typ), append(args, v.made)
		f, x, y := partsGo(p, v.parts)
		formats, script, program = append(formats, f...), append(script, x...), append(program, y...)
	}
	symbol, head, call := "main."+name, name, name
	kind := s.Intn(6)
	of, t := "int", value{typ: "T", made: "small(5)", parts: []string{""}}
	if s.Intn(2) == 0 {
		of, t = "string", value{typ: "T", made: "text(6)", parts: []string{"#"}}
	}
	switch kind {
	case 0:
		symbol, head, call = symbol+"[go.shape."+of+"]", name+"[T any]", name+"["+of+"]"
	case 1, 2:
		typ := fmt.Sprint("G", len(s.types))
		v, m := value{typ: typ + "[T]"}, s.anyGo(2)
		s.types = append(s.types, fmt.Sprintf("type %s[T any] struct { m0 %s; m1 T }", typ, m.typ))
		for _, p := range m.parts {
			v.parts = append(v.parts, ".m0"+p)
		}
		v.parts = append(v.parts, ".m1"+t.parts[0])
		v.made = fmt.Sprintf("%s[%s]{%s, %s}", typ, of, m.made, t.made)
		symbol = fmt.Sprintf("main.%s[go.shape.%s].%s", typ, of, name)
		if kind == 2 {
			v.typ, v.made = "*"+v.typ, "(&"+v.made+")"
			symbol = fmt.Sprintf("main.(*%s[go.shape.%s]).%s", typ, of, name)
		}
		add("p", v)
		head, call = "("+params[0]+") "+name, args[0]+"."+name
		params, args = nil, nil
	}
	for i := range 1 + s.Intn(6) {
		v, p := s.anyGo(2), fmt.Sprint("p", i)
		switch s.Intn(8) {
		case 0:
			p, v.parts = "_", nil
		case 1:
			if kind < 3 {
				v = t
			}
		}
		add(p, v)
	}
	var results, made, rets, rformats, rscript, rprogram []string
	for i := range 1 + s.Intn(3) {
		v, r := s.anyGo(2), fmt.Sprint("r", i)
		results, made, rets = append(results, v.typ), append(made, v.made), append(rets, r)
		f, x, y := partsGo(r, v.parts)
		rformats, rscript, rprogram = append(rformats, f...), append(rscript, x...), append(rprogram, y...)
	}
	tell := func(title string, formats, program []string) string {
		return fmt.Sprintf(`if tell { fmt.Printf("%s %s\n"%s) }`, title, strings.Join(formats, " "), strings.Join(append([]string{""}, program...), ", "))
	}
	probe := func(kind, title string, formats, script []string) string {
		values := ""
		for _, x := range script {
			values += ", (int64)args." + x
			if strings.Contains(formats[0]+strings.Join(formats, " ")+" ", x+"=%s ") {
				values = strings.TrimSuffix(values, "(int64)args."+x) + "args." + x
			}
		}
		return fmt.Sprintf(`%s:BIN:"%s" { printf("%s %s\n"%s); }`, kind, symbol, title, strings.Join(formats, " "), values)
	}
	s.funcs = append(s.funcs, fmt.Sprintf("//go:noinline\nfunc %s(%s) (%s) { %s; return %s }", head, strings.Join(params, ", "), strings.Join(results, ", "),
		tell(name, formats, program), strings.Join(made, ", ")))
	s.calls = append(s.calls, fmt.Sprintf("{ %s := %s(%s); use(%s); %s }", strings.Join(rets, ", "), call, strings.Join(args, ", "), strings.Join(rets, ", "), tell(name+" returned", rformats, rprogram)))
	s.script = append(s.script, probe("uprobe", name, formats, script), probe("goret", name+" returned", rformats, rscript))
}

// TestCallingConventionGo is the same for Go, optimised and not.
func TestCallingConventionGo(t *testing.T) {
	for i, flags := range [][]string{nil, {"-gcflags=all=-N -l"}} {
		for round := range seeds() {
			seed := int64(2*round + i)
			t.Run(fmt.Sprint(flags, seed), func(t *testing.T) {
				s := &signatures{Rand: rand.New(rand.NewSource(seed))}
				for range 40 {
					s.functionGo()
				}
				bin := build(t, `package main
import ("errors"; "fmt"; "os")
var tell = len(os.Args) > 1
var failure = errors.New("failure")
var used []any
//go:noinline
func small(n int) int { return n }
//go:noinline
func text(n int) string { return fmt.Sprint("text", n) }
//go:noinline
func use(x ...any) { used = x }
func number(x any) any { if b, ok := x.(bool); ok { if b { return 1 }; return 0 }; return x }
`+strings.Join(s.types, "\n")+"\n"+strings.Join(s.funcs, "\n")+"\nfunc main() {\n"+strings.Join(s.calls, "\n")+"\n}\n", flags...)
				compareCalls(t, bin, s.script)
			})
		}
	}
}

const stackGo = `package main
import "fmt"
var used []any
//go:noinline
func onStack(a [3]int8, b [2]int32, c [3]int8) (r [2]int8, s [3]int32) { used = append(used, a, b, c); return [2]int8{41, 42}, [3]int32{43, 44, 45} }
//go:noinline
func full[T any](a [9]int, x T) (r [2]int8) { used = append(used, a, x); return [2]int8{46, 47} }
type nine[T any] struct { a, b, c, d, e, f, g, h, i int }
//go:noinline
func (n nine[T]) take(x T, k [3]int8) (r [2]int8) { used = append(used, n, x, k); return [2]int8{48, 49} }
//go:noinline
func outer[T any](a int, x T) int { // its closure is called where it is made
	return func(d int) int { defer func() { recover() }(); used = append(used, x); return a + d }(a + 1)
}
//go:noinline
func later[T any](x T) func(d int) [2]int8 { return func(d int) [2]int8 { used = append(used, x); return [2]int8{50, int8(d)} } }
func main() {
	r, s := onStack([3]int8{1, 2, 3}, [2]int32{4, 5}, [3]int8{6, 7, 8})
	fmt.Println(r, s, full([9]int{8: 9}, "text"), nine[string]{i: 10}.take("more", [3]int8{11, 12, 13}), outer(14, "x"), later("y")(16))
}
`

// TestStackGo has arguments and results on the stack, those behind the dictionary of a generic function, and closures in such.
func TestStackGo(t *testing.T) {
	for _, flags := range [][]string{nil, {"-gcflags=all=-N -l"}} {
		bin := build(t, stackGo, flags...)
		r := script(t, "-q", "-c", bin, "-e", strings.ReplaceAll(`
			uprobe:BIN:main.onStack { print((args.a[2], args.b[1], args.c[0], args.c[2])); }
			goret:BIN:main.onStack { print((args.r[0], args.r[1], args.s[0], args.s[2])); }
			uprobe:BIN:"main.full[go.shape.string]" { print((args.a[8], args.x)); }
			goret:BIN:"main.full[go.shape.string]" { print((args.r[0], args.r[1])); }
			uprobe:BIN:"main.nine[go.shape.string].take" { print((args.n.i, args.x, args.k[0], args.k[2])); }
			goret:BIN:"main.nine[go.shape.string].take" { print((args.r[0], args.r[1])); }`, "BIN", bin))
		want(t, r, "(3, 5, 6, 8)", "(41, 42, 43, 45)", "(9, text)", "(46, 47)", "(10, more, 11, 13)", "(48, 49)")
		for symbol, wanted := range map[string]string{"main.outer[go.shape.string].func1": "(14, 15)", "main.later[go.shape.string].func1": "(16, 16)"} {
			first := "a"
			if strings.Contains(symbol, "later") {
				first = "d"
			}
			r := slope(t, "-q", "-c", bin, "-e", "uprobe:"+bin+`:"`+symbol+`" { print((args.`+first+", args.d)); }")
			if flags != nil {
				want(t, r, wanted)
			} else if !strings.Contains(r.err, "'d' of uprobe:"+bin+":"+symbol+" cannot be read: optimised programs do not tell") {
				t.Errorf("%s: status %d\n%s%s", symbol, r.status, r.out, r.err)
			}
		}
		r = slope(t, "-q", "-c", bin, "-e", "goret:"+bin+`:"main.later[go.shape.string].func1" { print((args.r0[0], args.r0[1])); }`)
		if flags != nil {
			want(t, r, "(50, 16)")
		} else if !strings.Contains(r.err, "it is behind arguments whose places are not known") {
			t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
		}
		if r := slope(t, "-lv", "uprobe:"+bin+":main.outer[*]"); !strings.Contains(r.out, ":main.outer[go.shape.string]\n    int a\n    go.shape.string x\n") {
			t.Errorf("listed:\n%s%s", r.out, r.err)
		}
	}
}

// compareCalls runs a program that tells of its calls, then probes it, and compares. What slope refuses must be of floating-point
// numbers.
func compareCalls(t *testing.T, bin string, script []string) {
	t.Helper()
	said, err := exec.Command(bin, "tell").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(strings.Join(script, "\n"), "BIN", bin)
	file := t.TempDir() + "/script.bt"
	functionName := regexp.MustCompile(`\bf\d+\b`)
	unreadable := regexp.MustCompile(`'(\w+)' of (\w+:\S+) cannot be read: (.*)`)
	lost := map[string]bool{} // function and parameter
	for round := 0; ; round++ {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r := slope(t, "-q", "-c", bin, file)
		if r.status == 0 {
			if got, want := numbers(r.out, nil), numbers(string(said), lost); got != want {
				t.Errorf("got\n%s\nwant\n%s\n%s", got, want, r.err)
			}
			return
		}
		found := unreadable.FindAllStringSubmatch(r.err, -1)
		if len(found) == 0 || round > 0 {
			t.Fatalf("status %d\n%s", r.status, r.err)
		}
		for _, f := range found {
			if !strings.Contains(f[3], "floating-point") {
				t.Errorf("%s", f[0])
			}
			kind, _, _ := strings.Cut(f[2], ":")
			title := functionName.FindString(f[2][strings.LastIndexByte(f[2], ':'):])
			if kind != "uprobe" {
				title += " returned"
			}
			lost[title+" "+strings.Replace(f[1], "retval", "r", 1)] = true
		}
		var lines []string
		for _, l := range strings.Split(text, "\n") {
			lines = append(lines, without(l, lost))
		}
		text = strings.Join(lines, "\n")
	}
}

// without drops what is lost from a probe.
func without(line string, lost map[string]bool) string {
	head, rest, ok := strings.Cut(line, `printf("`)
	format, values, ok2 := strings.Cut(rest, `\n"`)
	if !ok || !ok2 {
		return line
	}
	fields := strings.Fields(format)
	title, fields := titleOf(fields)
	args := strings.Split(strings.TrimSuffix(values, "); }"), ", ")
	var keptFormats, keptArgs []string
	for i, f := range fields {
		if !lost[title+" "+paramOf(f)] {
			keptFormats, keptArgs = append(keptFormats, f), append(keptArgs, args[i+1])
		}
	}
	out := head + `printf("` + title + " " + strings.Join(keptFormats, " ") + `\n"`
	for _, a := range keptArgs {
		out += ", " + a
	}
	return out + "); }"
}

func titleOf(fields []string) (string, []string) {
	if len(fields) > 1 && fields[1] == "returned" {
		return fields[0] + " returned", fields[2:]
	}
	return fields[0], fields[1:]
}

var endOfParam = regexp.MustCompile(`[.=>\[-]`)

// paramOf is the parameter that "p1.a=5" tells of.
func paramOf(field string) string { return endOfParam.Split(field, 2)[0] }

// numbers are the lines without what is lost.
func numbers(text string, lost map[string]bool) string {
	var out []string
	for _, l := range filled(text) {
		title, fields := titleOf(strings.Fields(l))
		line := title
		for _, f := range fields {
			if !lost[title+" "+paramOf(f)] {
				line += " " + f
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

const debugTarget = `#include <stddef.h>
#include <unistd.h>
#include <stdio.h>
enum colour { RED = 3, BLUE = -7 };
struct point { long x; int y; };
struct node { int id; char text[8]; unsigned lo : 3, hi : 5; union { int u1; char u2[4]; }; enum colour c; struct node *next; struct point at; };
struct mixed { double d; int i; };
_Static_assert(sizeof(struct node) == 48 && offsetof(struct node, at.y) == 40, "as the test has it");
#define KEEP __asm__ volatile("" ::: "memory")
__attribute__((noinline)) struct node *find(struct node *n, int depth) { KEEP; return n->next; }
__attribute__((noinline)) int fallback(int depth, double ratio, struct mixed m) { KEEP; return -depth + (ratio > 1) + (m.i > 0); }
static inline __attribute__((always_inline)) int copied(int n) { return n * 2; }
int main(int argc, char **argv) {
	static struct node second = {77, "second"}, first = {42, "first", 5, 17, .u1 = 7, .c = BLUE, .next = &second, .at = {123456789012, -5}};
	int n = find(&first, 9)->id;
	fallback(copied(n), 1.5, (struct mixed){2.5, 6});
	return pause(); // until its functions are looked up
}
`

// checkDebugArgs reads arguments and types of debugTarget.
func checkDebugArgs(t *testing.T, bin string) {
	t.Helper()
	r := script(t, "-c", bin, "-e", strings.ReplaceAll(`
		uprobe:BIN:find { print(args.depth); print(args.n->text); print((args.n.id, args.n->lo, args.n->hi, args.n->u1, args.n->c, args.n->next->text));
			print(args.n->at); @[args.n->text, args.n->c] = count(); print((sizeof(struct node), offsetof(struct node, at.y), RED));
			print(((struct node *)arg0)->next->id); $next = args.n->next; print($next->text); }
		uretprobe:BIN:find { print(retval->text); print(args.retval->id); }
		uprobe:BIN:f{ind,allback} { @depth[func] = sum(args.depth); }
		uretprobe:BIN:fallback { print(args.retval); print(args); exit(); }
		begin { print(sizeof(struct task_struct) > 1000); }`, "BIN", bin))
	want(t, r, "9", "first", "(42, 5, 17, 7, BLUE, second)", "{ .x = 123456789012, .y = -5 }", "@[first, BLUE]: 1", "(48, 40, RED)", "77", "second", "77",
		"@depth[find]: 9", "@depth[fallback]: 154", "-152", "{ .retval = -152 }", "true")
}

// TestDebugSplit reads them from files that debug information was split off to, from a package of such, and from sections of types; and
// tells which file is missing.
func TestDebugSplit(t *testing.T) {
	for _, flags := range []string{"-gdwarf-4 -fdebug-types-section", "-gdwarf-5 -gsplit-dwarf", "-gdwarf-4 -gsplit-dwarf -fdebug-types-section"} {
		bin := buildC(t, debugTarget, append(strings.Fields(flags), "-O0")...)
		checkDebugArgs(t, bin)
		if !strings.Contains(flags, "-gsplit-dwarf") {
			continue
		}
		if dwp, err := exec.LookPath("dwp"); strings.Contains(flags, "-gdwarf-5") {
			t.Log("dwp of binutils makes no packages of DWARF 5")
		} else if err != nil {
			t.Log("no dwp")
		} else if out, err := exec.Command(dwp, "-e", bin).CombinedOutput(); err != nil {
			t.Errorf("dwp: %v\n%s", err, out)
		}
		files, err := filepath.Glob(filepath.Dir(bin) + "/*.dwo")
		if err != nil || len(files) != 1 {
			t.Fatalf("%s has %v, %v", flags, files, err)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(bin + ".dwp"); err == nil {
			checkDebugArgs(t, bin)
			if err := os.Remove(bin + ".dwp"); err != nil {
				t.Fatal(err)
			}
		}
		r := slope(t, "-e", "uprobe:"+bin+":find { print(args.depth); }")
		if wanted := "(-gsplit-dwarf), and there is no " + files[0] + ": keep the .dwo files"; r.status != 1 || !strings.Contains(r.err, wanted) {
			t.Errorf("%s: want %q, got status %d\n%s", flags, wanted, r.status, r.err)
		}
		r = slope(t, "-e", "uprobe:"+bin+":find { print(sizeof(struct task_struct)); print(sizeof(struct node)); }")
		if wanted := "the type 'node' is in debug information that cannot be read: "; r.status != 1 || strings.Count(r.err, "ERROR") != 1 || !strings.Contains(r.err, wanted) {
			t.Errorf("%s: want %q, got status %d\n%s", flags, wanted, r.status, r.err)
		}
	}
}

// TestDebugArgs reads arguments by their names, and names types of the program where it is probed.
func TestDebugArgs(t *testing.T) {
	bin := buildC(t, debugTarget, "-g", "-O0")
	checkDebugArgs(t, bin)
	// What the script defines wins.
	r := script(t, "-c", bin, "-e", "struct node { short low; char rest; } uprobe:"+bin+":find { print(((struct node *)arg0)->low); print(sizeof(struct node)); exit(); }")
	want(t, r, "42", "4")
	r = slope(t, "-lv", "uprobe:"+bin+":f*l*")
	if wanted := "uprobe:" + bin + ":fallback\n    int depth\n    double ratio (unreadable: it is a floating-point number)\n    struct mixed m (unreadable: some of it is in registers of floating-point numbers)\n"; r.out != wanted {
		t.Errorf("listed:\n%s%s\nwant\n%s", r.out, r.err, wanted)
	}
	plain := buildC(t, debugTarget)
	for _, c := range []struct{ script, want string }{
		{"uprobe:" + bin + ":fallback { print(args.ratio); }", "'ratio' of uprobe:" + bin + ":fallback cannot be read: it is a floating-point number"},
		{"uprobe:" + bin + ":fallback { print(args.m.i); }", "'m' of uprobe:" + bin + ":fallback cannot be read: some of it is in registers"},
		{"uprobe:" + bin + ":fallback { print(args); }", "print() cannot print the whole args: the field 'ratio' cannot be read: it is a floating-point number"},
		{"uprobe:" + bin + ":find { print(args.deph); }", "did you mean 'depth'? fields: n, depth"},
		{"uprobe:" + bin + ":find+4 { print(args.depth); }", "args exist where a function begins"},
		{"uprobe:" + bin + "@main.c:10 { print(args.n); }", "args exist where a function begins"},
		{"uprobe:" + bin + ":copied { print(args.n); }", "the compiler inlined it"},
		{"uprobe:" + bin + ":f{ind,allback} { print(args.n); }", "unknown field 'n' of uprobe:" + bin + ":fallback"},
		{"uprobe:" + bin + ":find { print(sizeof(struct nosuch)); }", "neither the script, nor the debug information of the program, nor the kernel's BTF"},
		{"uprobe:" + plain + ":find { print(args.depth); print(args.n); }", plain + " has no debug information: it must be compiled with -g"},
		{"uprobe:" + bin + ":_start { print(args.x); }", "has no debug information about _start"},
		{"uretprobe:" + plain + ":find { print(retval->id); }", "cannot access field 'id' of type 'uint64'"},
		{"begin { print(sizeof(struct node_of_ours)); }", "neither the script nor the kernel's BTF defines it"},
	} {
		if r := slope(t, "-e", c.script); r.status != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: want %q, got status %d\n%s", c.script, c.want, r.status, r.err)
		} else if n := strings.Count(r.err, "ERROR"); n != 1 {
			t.Errorf("%s: %d errors\n%s", c.script, n, r.err)
		}
	}
	// What debug information is not asked for is not read: a damaged one is no error.
	damaged := buildC(t, debugTarget, "-g")
	if out, err := exec.Command("objcopy", "--update-section", ".debug_info=/bin/true", damaged).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script(t, "--dry-run", "-e", "uprobe:"+damaged+":find { print(arg0); } uretprobe:"+damaged+":find { print(retval); }")
	if r := slope(t, "-e", "uprobe:"+damaged+":find { print(args.depth); }"); r.status != 1 || !strings.Contains(r.err, "debug information") {
		t.Errorf("damaged: status %d\n%s", r.status, r.err)
	}
}

const debugCpp = `#include <cstdio>
#include <string>
namespace shop {
struct Base { int x; virtual ~Base() {} };
class Cart : public Base { public: long y; enum class Kind : char { Small, Large = 5 } kind; static int all; unsigned f1 : 3, f2 : 5; union { int u1; char u2[8]; };
	int add(const std::string &name, Kind k, int &times) const; };
int Cart::all = 3;
__attribute__((noinline)) int Cart::add(const std::string &name, Kind k, int &times) const { __asm__ volatile("" :: "r"(this) : "memory"); return name.size() + (int)k + times; }
template <typename T> __attribute__((noinline)) T twice(T v) { __asm__ volatile("" ::: "memory"); return v + v; }
template <typename... A> __attribute__((noinline)) int many(A... a) { __asm__ volatile("" ::: "memory"); return sizeof...(a); }
}
struct Empty { };
struct Copied { Copied(const Copied &o) : a(o.a) {} Copied(int a) : a(a) {} int a; };
struct Member { Copied c; int b; };
struct Plain { Plain(const Plain &) = default; Plain(int a) : a(a) {} int a; };
namespace other { struct Cart { char c; }; }
__attribute__((noinline)) Copied byAddress(Copied v, Empty, Plain p, Member m, std::string s, int w) { __asm__ volatile("" ::: "memory"); return Copied(v.a + p.a + m.b + w + s.size()); }
int main() {
	shop::Cart c; c.x = 7; c.y = 9; c.kind = shop::Cart::Kind::Large; c.f1 = 2; c.f2 = 9; c.u1 = 77;
	other::Cart o = {1}; int times = 4;
	int n = c.add("hello", shop::Cart::Kind::Large, times) + shop::twice<long>(21) + shop::many(1, 2L, 'x') + o.c;
	return byAddress(Copied(3), Empty(), Plain(5), Member{Copied(6), 7}, "four", n).a == 0;
}
`

// buildCpp compiles a program of C++ and returns its path.
func buildCpp(t *testing.T, source string, flags ...string) string {
	t.Helper()
	cxx, err := exec.LookPath("c++")
	bpftest.Require(t, err)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.cc", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cxx, append([]string{"-o", dir + "/target", dir + "/main.cc"}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir + "/target"
}

// TestDebugArgsCpp reads arguments of C++: this, references, objects that are passed by their address, packs of parameters.
func TestDebugArgsCpp(t *testing.T) {
	var bin string
	for _, flags := range []string{"-O1 -gdwarf-4 -fdebug-types-section", "-O0 -gdwarf-5 -gsplit-dwarf -fdebug-types-section", "-O0 -gdwarf-5", "-O1 -gdwarf-4"} {
		bin = buildCpp(t, debugCpp, strings.Fields(flags)...)
		r := script(t, "-c", bin, "-e", strings.ReplaceAll(`
			uprobe:BIN:cpp:shop::Cart::add { print((args.this->x, args.this->y, args.this->kind, args.this->f1, args.this->f2, args.this->u1));
				print((args.k, *args.times, args.name->_M_string_length, str(args.name->_M_dataplus._M_p)));
				print((((struct shop::Cart *)arg0)->y, ((struct Base *)arg0)->x, sizeof(struct other::Cart))); }
			uprobe:BIN:cpp:"shop::twice<*>" { print(args.v); }
			uprobe:BIN:cpp:"shop::many<*>" { print(args); }
			uprobe:BIN:cpp:byAddress { print((args.v.a, args.p.a, args.m.c.a, args.m.b, args.s._M_string_length, args.w > 50)); }
			uretprobe:BIN:cpp:byAddress { print(args.retval.a > 60); }`, "BIN", bin))
		want(t, r, "(7, 9, Large, 2, 9, 77)", "(Large, 4, 5, hello)", "(9, 7, 1)", "21", "(3, 5, 6, 7, 4, true)", "true")
		if !strings.Contains(r.out, "= 1, ") || !strings.Contains(r.out, "= 120 }") {
			t.Errorf("%s: the pack:\n%s", flags, r.out)
		}
	}
	if r := slope(t, "-e", "uprobe:"+bin+":cpp:byAddress { print(sizeof(struct Cart)); }"); !strings.Contains(r.err, "several types are called 'Cart': other::Cart, shop::Cart") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestDebugCopies has functions whose arguments the compiler changed, by the names in the source, and parts of functions.
func TestDebugCopies(t *testing.T) {
	bin := buildCpp(t, `
long volatile sum;
static __attribute__((noinline)) long fixed(long a, long k, long b) { sum = a; return a * k + b; }
__attribute__((cold, noinline)) void rare() { sum = 3; }
extern "C" __attribute__((noinline)) long partly(long n) { if (__builtin_expect(n > 1000, 0)) { rare(); __builtin_abort(); } return sum + n; }
int main(int argc, char **argv) { for (int i = 0; i < 3; i++) sum = fixed(argc, 7, i) + partly(argc); return 0; }
`, "-O2", "-g", "-fno-ipa-sra")
	r := script(t, "-c", bin, "-e", strings.ReplaceAll(`uprobe:BIN:partly* { print(args.n); } uretprobe:BIN:partly* { @ = count(); }`, "BIN", bin))
	want(t, r, "1", "@: 3")
	for script, want := range map[string]string{
		"uprobe:" + bin + ":cpp:fixed { print(args.b); }": "'b' of uprobe:" + bin + ":cpp:fixed(long, long, long) cannot be read: the compiler changed how the function takes its arguments",
		"uretprobe:" + bin + ":partly.cold { }":           "'partly.cold' of " + bin + " is no function, but code of 'partly' that rarely runs",
	} {
		if r := slope(t, "-e", script); r.status != 1 || !strings.Contains(r.err, want) {
			t.Errorf("%s: want %q, got status %d\n%s", script, want, r.status, r.err)
		}
	}
}

const namesGo = `package main
import ("fmt"; "os")
type file struct { one int32 }
type order struct { id int64; f *file; name string }
type holder struct { m map[string]order; s []order; a [4]order }
//go:noinline
func serve(o *order, f *os.File, h *holder) { fmt.Println(o.id, f.Name(), len(h.m)) }
func main() { serve(&order{id: 42, f: &file{7}, name: "abc"}, os.Stdout, &holder{}) }
`

const namesCpp = `
namespace one { struct file { char c; }; struct Cart { char c; }; }
namespace two { struct file { int n; }; struct Cart { long l; }; struct Only { int n[3]; }; }
struct task_struct { int of_the_program; };
struct First { int id, n; };
struct Second { int id; };
struct Both : First, Second { long n; };
Both both;
__attribute__((noinline)) int serve(one::file *a, two::file *b, one::Cart *c, two::Cart *d, two::Only *o, task_struct *t) { __asm__ volatile("" ::: "memory"); return a->c + b->n + c->c + d->l + o->n[1] + t->of_the_program; }
int main() { one::file a = {1}; two::file b = {2}; one::Cart c = {3}; two::Cart d = {4}; two::Only o = {}; task_struct t = {5}; return serve(&a, &b, &c, &d, &o, &t) == 0; }
`

// TestTypeNames has the order in which a name of a type is sought: the script, the program, the kernel, then the program without
// packages or namespaces.
func TestTypeNames(t *testing.T) {
	goBin, cppBin := build(t, namesGo), buildCpp(t, namesCpp, "-g", "-O1")
	kernel := strings.TrimSpace(script(t, "-q", "-e", "begin { print(sizeof(struct file)); exit(); }").out)
	for _, c := range []struct{ function, text, want string }{
		{goBin + ":main.serve", "print(sizeof(struct file))", kernel},
		{goBin + ":main.serve", "print(sizeof(struct main.file))", "4"},
		{goBin + ":main.serve", "print((sizeof(struct order), sizeof(order), ((struct order *)arg0)->id))", "(32, 32, 42)"},
		{cppBin + ":cpp:serve", "print(sizeof(struct file))", kernel},
		{cppBin + ":cpp:serve", "print((sizeof(struct one::file), sizeof(struct task_struct), sizeof(struct Only)))", "(1, 4, 12)"},
		{cppBin + ":cpp:serve", "print((offsetof(struct Both, n), offsetof(struct Second, id)))", "(16, 0)"},
		{cppBin + ":cpp:serve", "print(((struct Both *)arg0)->id)", "'id' of struct Both cannot be read: both First and Second have one"},
		{cppBin + ":cpp:serve", "print(offsetof(struct Both, id))", "'id' of struct Both cannot be read: both First and Second have one"},
		{cppBin + ":cpp:serve", "print(sizeof(struct Cart))", "several types are called 'Cart': one::Cart, two::Cart"},
	} {
		bin, _, _ := strings.Cut(c.function, ":")
		r := slope(t, "-q", "-c", bin, "-e", "uprobe:"+c.function+" { "+c.text+"; exit(); }")
		if !strings.Contains("\n"+r.out+r.err, "\n"+c.want+"\n") && (r.status == 0 || !strings.Contains(r.err, c.want)) {
			t.Errorf("%s: want %s, got status %d\n%s%s", c.text, c.want, r.status, r.out, r.err)
		}
	}
	r := script(t, "-q", "-c", cppBin, "-e", "struct task_struct { short s; } uprobe:"+cppBin+":cpp:serve { print(sizeof(struct task_struct)); exit(); }")
	want(t, r, "2")
}

// TestUntoldArgs has functions about whose arguments there is nothing: of little debug information, and of assembly.
func TestUntoldArgs(t *testing.T) {
	const source = `int take(int alpha) { __asm__ volatile("" ::: "memory"); return alpha; }
void none(void) { __asm__ volatile("" ::: "memory"); }
int main(int argc, char **argv) { none(); return take(argc); }
`
	little, full := buildC(t, source, "-g1"), buildC(t, source, "-g")
	assembly := t.TempDir() + "/f.s"
	if err := os.WriteFile(assembly, []byte("\t.globl main\n\t.type main,@function\nmain:\n\tmov %edi,%eax\n\tret\n\t.size main,.-main\n\t.section .note.GNU-stack,\"\",@progbits\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	written := t.TempDir() + "/written"
	if out, err := exec.Command("cc", "-g", "-o", written, assembly).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct{ script, want string }{
		{"uprobe:" + little + ":take { print(args.alpha); print(args); }", "args: take of " + little + " has no debug information about its arguments: its file was compiled with -g1, or has no arguments and results at all"},
		{"uretprobe:" + little + ":take { print(args.retval); }", "args: take of " + little + " has no debug information about its arguments"},
		{"uprobe:" + written + ":main { print(args.x); }", "args: main of " + written + " has no debug information about its arguments: it is written in assembly"},
		{"uprobe:" + full + ":none { print(args.x); }", "HINT: it has no fields\n"},
	} {
		if r := slope(t, "--dry-run", "-e", c.script); r.status != 1 || !strings.Contains(r.err+"\n", c.want) || strings.Count(r.err, "ERROR") != 1 {
			t.Errorf("%s: want %q, got status %d\n%s", c.script, c.want, r.status, r.err)
		}
	}
	if r := slope(t, "-lv", "uprobe:"+little+":take"); r.status != 0 || r.out != "uprobe:"+little+":take\n" {
		t.Errorf("listed: status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestLongText has a text of a Go program that is longer than texts may be: it is cut, and counted.
func TestLongText(t *testing.T) {
	bin := build(t, `package main
var used string
//go:noinline
func take(s string, n int) { used = s }
func main() { take("0123456789abcdefghij", 1); take("0123456789abcde", 2); take("", 3) }
`)
	r := script(t, "-c", bin, "-e", "config = { max_strlen = 16 } uprobe:"+bin+":main.take { @[args.s] = args.n; }")
	want(t, r, "@[]: 3", "@[0123456789abcde..]: 2")
	if !strings.Contains(r.err, "WARNING: 1 strings cut at their capacity") {
		t.Errorf("%s", r.err)
	}
}

// TestPackedBits reads bit fields that no load has: of 3 bytes, and of 60 bits across 9 bytes.
func TestPackedBits(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	const fields = `struct __attribute__((packed)) few { unsigned a : 4; unsigned b : 20; };
struct __attribute__((packed)) many { unsigned a : 7; unsigned long b : 60; long c : 64; int d : 11; };
`
	bin := buildC(t, `#include <sys/mman.h>
`+fields+`
__attribute__((noinline)) long show(struct few *f, struct many *m) { __asm__ volatile("" ::: "memory"); return f->b + m->b + m->c + m->d; }
int main(void) {
	char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 4096, 4096);
	struct few *f = (struct few *)(page + 4096 - sizeof *f); // nothing is behind it
	f->a = 9, f->b = 703710;
	struct many m = {101, 1147797409030816545, -77777777777, -1000};
	return !show(f, &m);
}
`, "-g")
	const want = "9 703710 101 1147797409030816545 -77777777777 -1000\n"
	for name, script := range map[string]string{
		"debug information": "uprobe:" + bin + `:show { $f = args.f; $m = args.m; PRINT }`,
		"C definitions":     fields + "uprobe:" + bin + `:show { $f = (struct few *)arg0; $m = (struct many *)arg1; PRINT }`,
		"a copy":            "uprobe:" + bin + `:show { $f = args.f; $c = *args.m; $m = &$c; PRINT }`,
	} {
		script = strings.ReplaceAll(script, "PRINT", `printf("%d %d %d %lu %ld %d\n", $f.a, $f.b, $m.a, $m.b, $m.c, $m.d);`)
		if r := slope(t, "-e", script, "-c", bin); r.status != 0 || !strings.Contains(r.out, want) || strings.Contains(r.err, "WARNING") {
			t.Errorf("%s: status %d, want %s%s%s", name, r.status, want, r.out, r.err)
		}
	}
}
