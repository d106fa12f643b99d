package compiler_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/source"
)

// writer makes a random script that type-checks: expressions, variables, conditions and maps of every kind.
type writer struct {
	strings.Builder
	rng   *rand.Rand
	ints  []string // variables in scope
	strs  []string
	next  int
	depth int
	left  int // how many more expressions a statement may have
	loops int // around the statement
	used  int // loops of the script, of at most so many
	most  int
	args  bool // the probe has arguments
	inner int  // members of structs in structs so far

	structs []structure
	objects []object // in scope
	macros  []string
	fns     []string
	calls   int           // of functions and macros in the statement
	before  string        // what the next block begins with
	result  func() string // what the function around returns; nil in a probe
}

var literals = []string{"0", "1", "2", "3", "7", "8", "63", "64", "100", "255", "256", "4095", "65535", "65536", "2147483647",
	"2147483648", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615"}

var texts = []string{`""`, `"a"`, `"abcdefg"`, `"abcdefgh"`, `"a string that is longer"`}

func (w *writer) n(n int) int { return w.rng.IntN(n) }

func (w *writer) pick(list ...string) string { return list[w.n(len(list))] }

// script writes a whole script. The first clause gives every map its type and never runs.
func script(seed uint64) string {
	w := &writer{rng: rand.New(rand.NewPCG(seed, 3))}
	if seed%4 == 0 {
		w.most = 2
	}
	small := seed%8 != 0
	typed := seed%3 != 0
	for range 1 + w.n(3) {
		var ctx []string
		for i := range 9 {
			if typed && i == 1 {
				ctx = append(ctx, "*"+w.memory(reach)+"*"+w.memory(reach))
				continue
			}
			if typed && i == 2 {
				ctx = append(ctx, w.memory(reach))
				continue
			}
			v := literals[w.n(len(literals))]
			if w.n(3) == 0 && len(v) < 19 {
				v = "-" + v
			}
			ctx = append(ctx, v)
		}
		fmt.Fprintf(w, "// ctx: %s\n", strings.Join(ctx, " "))
	}
	if typed {
		w.define()
	}
	w.WriteString("let @small = hash(2);\n")
	w.WriteString(`begin { if (0) { @i0 = 0; @i1 = 0; @k0[0] = 0; @k1[0] = 0; @n["a"] = 0; @s[0] = ""; @t[0, "a"] = 0; @u = (1, "x"); @r = (a = 1, b = "x"); @small[0] = 0; @l[ksym(0), buf("", 1)] = ntop(0); } }` + "\n")
	if typed {
		w.named()
	}
	clauses := 1 + w.n(3)
	if small {
		clauses = 1 + w.n(2)
	}
	for range clauses {
		w.args = w.n(3) != 0
		w.ints, w.strs, w.objects, w.loops = nil, nil, nil, 0
		if !w.args {
			w.WriteString(w.pick("begin", "end"))
		} else {
			w.WriteString("rawtracepoint:x")
		}
		if w.n(3) == 0 {
			fmt.Fprintf(w, " /%s/", w.cond(2))
		}
		w.WriteString(" ")
		n := 2 + w.n(8)
		if small {
			n = 1 + w.n(4)
		}
		w.block(n)
		w.WriteString("\n")
	}
	return w.String()
}

func (w *writer) block(n int) {
	w.WriteString("{\n" + w.before)
	w.before = ""
	ints, strs, objects := len(w.ints), len(w.strs), len(w.objects)
	w.depth++
	for range n {
		w.WriteString(strings.Repeat("  ", w.depth))
		w.stmt()
		w.WriteString("\n")
	}
	w.depth--
	if w.result != nil && w.depth == 0 {
		fmt.Fprintf(w, "return %s;\n", w.result())
	}
	w.ints, w.strs, w.objects = w.ints[:ints], w.strs[:strs], w.objects[:objects]
	w.WriteString(strings.Repeat("  ", w.depth) + "}")
}

func (w *writer) stmt() {
	w.left = 60 >> (3 * w.loops) // the verifier follows a loop turn by turn before 6.9
	w.calls = 0
	switch n := w.n(40); {
	case n >= 30 && (len(w.structs) > 0 || len(w.fns) > 0):
		w.typed()
	case n < 4:
		e := w.expr(3)
		w.next++
		v := fmt.Sprintf("$v%d", w.next)
		fmt.Fprintf(w, "%s = (%s)(%s);", v, w.pick("int64", "uint64", "uint8", "int32"), e) // a bool would not take ++
		w.ints = append(w.ints, v)
	case n == 4:
		e := w.text(2)
		w.next++
		v := fmt.Sprintf("$s%d", w.next)
		fmt.Fprintf(w, "%s = %s;", v, e)
		w.strs = append(w.strs, v)
	case n == 5 && len(w.strs) > 0:
		fmt.Fprintf(w, "%s = %s;", w.pick(w.strs...), w.text(2))
	case n < 9 && len(w.ints) > 0:
		fmt.Fprintf(w, "%s %s %s;", w.pick(w.ints...), w.pick("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="), w.expr(3))
	case n < 12:
		fmt.Fprintf(w, "%s %s %s;", w.place(), w.pick("=", "=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="), w.expr(3))
	case n == 12:
		fmt.Fprintf(w, "%s;", w.bump())
	case n == 13:
		fmt.Fprintf(w, "@s[%s] = %s;", w.key(), w.text(2))
	case n == 14:
		fmt.Fprintf(w, "@u = (%s, %s);", w.expr(2), w.text(1))
	case n == 15:
		fmt.Fprintf(w, "_ = %s;", w.gone())
	case n == 16:
		a := w.n(9)
		fmt.Fprintf(w, "@a%d[%s] = %s;", a, w.key(), w.agg(a))
	case n == 17:
		a := w.n(9)
		fmt.Fprintf(w, "@b%d = %s;", a, w.agg(a))
	case n == 18:
		fmt.Fprintf(w, `printf("%%d %%s %%s\n", %s, %s, @u);`, w.expr(2), w.text(2))
	case n == 20:
		fmt.Fprintf(w, `printf("%%s %%rx\n", %s, %s);`, w.late(), w.buffer())
	case n == 21:
		fmt.Fprintf(w, "@l[ksym(%s), %s] = ntop(%s);", w.key(), w.buffer(), w.expr(1))
	case n == 22 && w.args && w.depth < 3:
		w.WriteString("print(args);")
	case n == 24 && w.depth < 4 && w.loops < 2 && w.room():
		w.next++
		v := fmt.Sprintf("$i%d", w.next)
		fmt.Fprintf(w, "for (%s : %s..%s) ", v, w.bound(), w.bound())
		w.ints = append(w.ints, v)
		w.loop()
		w.ints = w.ints[:len(w.ints)-1]
	case n == 25 && w.depth < 4 && w.loops < 2 && w.room():
		w.next++
		v := fmt.Sprintf("$w%d", w.next)
		fmt.Fprintf(w, "%s = 0; while (%s++ < %d && %s) ", v, v, 1+w.n(5), w.cond(1))
		w.loop()
	case n == 26 && w.loops > 0:
		fmt.Fprintf(w, "if (%s) { %s; }", w.cond(1), w.pick("break", "continue"))
	case n == 27:
		if w.n(2) == 0 {
			fmt.Fprintf(w, "@r = (a = %s, b = %s);", w.expr(2), w.text(1))
		} else {
			fmt.Fprintf(w, "@r = (b = %s, a = %s);", w.text(1), w.expr(2))
		}
	case n == 28:
		e := w.expr(2)
		w.next++
		v := fmt.Sprintf("$t%d", w.next)
		fmt.Fprintf(w, "let %s : %s = %s; %s++; ", v, w.pick("uint8", "int8", "uint16", "int32", "uint64"), "("+e+") + pid - pid", v)
		fmt.Fprintf(w, "%s %s %s; print(%s);", v, w.pick("+=", "-=", "*=", "^=", "<<="), w.expr(1), v)
	case n == 19 && w.depth > 1 && w.n(3) == 0:
		if w.result != nil {
			fmt.Fprintf(w, "return %s;", w.result())
		} else {
			w.WriteString("return;")
		}
	case w.depth < 4:
		fmt.Fprintf(w, "if (%s) ", w.cond(2))
		w.block(1 + w.n(3))
		for w.n(4) == 0 {
			fmt.Fprintf(w, " else if (%s) ", w.cond(2))
			w.block(1 + w.n(2))
		}
		if w.n(2) == 0 {
			w.WriteString(" else ")
			w.block(1 + w.n(3))
		}
	default:
		fmt.Fprintf(w, "print(%s);", w.expr(2))
	}
}

// room tells whether the script may have one more loop.
func (w *writer) room() bool {
	w.used++
	return w.used <= w.most
}

func (w *writer) loop() {
	w.loops++
	depth := w.depth
	w.depth = 3 // no more ifs
	w.block(1 + w.n(2))
	w.depth = depth
	w.loops--
}

// bound is an end of a range.
func (w *writer) bound() string {
	if w.n(2) == 0 {
		return w.pick("0", "1", "2", "4", "7", "9")
	}
	return "(7 & (" + w.expr(1) + "))"
}

func (w *writer) agg(n int) string {
	e := w.expr(2)
	return [...]string{"count()", "sum(" + e + ")", "min((int64)(" + e + "))", "max((int64)(" + e + "))", "avg(" + e + ")", "stats(" + e + ")",
		"hist(" + e + ", 2)", "lhist(" + e + ", -10, 100, 10)", "dist(" + e + ", 1)"}[n]
}

// place is a scalar map or an entry of one.
func (w *writer) place() string {
	switch w.n(7) {
	case 0, 1:
		return w.pick("@i0", "@i1")
	case 2, 3:
		return w.pick("@k0", "@k1") + "[" + w.key() + "]"
	case 4:
		return "@n[" + w.text(1) + "]"
	case 5:
		return "@small[" + w.key() + "]"
	}
	return "@t[" + w.key() + ", " + w.text(1) + "]"
}

func (w *writer) key() string {
	if w.n(2) == 0 {
		return w.pick("0", "1", "2", "3")
	}
	return "(3 & (" + w.expr(1) + "))"
}

func (w *writer) bump() string {
	what := w.place()
	if len(w.ints) > 0 && w.n(2) == 0 {
		what = w.pick(w.ints...)
	}
	if w.n(2) == 0 {
		return w.pick("++", "--") + what
	}
	return what + w.pick("++", "--")
}

func (w *writer) gone() string {
	switch w.n(4) {
	case 0:
		return "delete(@" + w.pick("k0", "k1", "s", "small") + ", " + w.key() + ")"
	case 1:
		return "delete(@n, " + w.text(1) + ")"
	case 2:
		return "delete(@t, (" + w.key() + ", " + w.text(1) + "))"
	}
	return "has_key(@" + w.pick("k0", "k1", "s", "small") + ", " + w.key() + ")"
}

func (w *writer) cond(depth int) string {
	if w.left--; w.left < 0 {
		return "1"
	}
	switch n := w.n(10); {
	case n == 5:
		return w.buffer() + w.pick(" == ", " != ") + w.buffer()
	case n == 6:
		return "ksym(" + w.expr(1) + ")" + w.pick(" == ", " != ") + "ksym(" + w.expr(1) + ")"
	case depth > 0 && n == 0:
		return "(" + w.cond(depth-1) + w.pick(" && ", " || ") + w.cond(depth-1) + ")"
	case depth > 0 && n == 1:
		return "!(" + w.cond(depth-1) + ")"
	case n == 2:
		return w.text(1) + w.pick(" == ", " != ") + w.text(1)
	case n == 3:
		return w.gone()
	case n == 7 && depth > 0:
		return "strcontains(" + w.text(1) + ", " + w.text(1) + ")"
	case n == 4:
		return "(" + w.expr(1) + ", " + w.text(1) + ")" + w.pick(" == ", " != ") + "(" + w.expr(1) + ", " + w.text(1) + ")"
	}
	return w.expr(depth)
}

// late is a value that is made text of when it is printed.
func (w *writer) late() string {
	e := w.expr(1)
	switch w.n(9) {
	case 0:
		return "ksym(" + e + ")"
	case 1:
		return "usym(" + e + ")"
	case 2:
		return "ntop(" + e + ")"
	case 3:
		return "macaddr((uint8[6])(uint64)(" + e + "))"
	case 4:
		return `strftime("%H:%M", ` + e + ")"
	case 5:
		return "cgroup_path(" + e + ")"
	case 6:
		return "(" + w.buffer() + ", ksym(" + e + "), username)"
	case 7:
		return "@l[ksym(" + w.key() + "), " + w.buffer() + "]"
	}
	return "(username_t)(" + e + ")"
}

func (w *writer) buffer() string {
	t := w.text(1)
	switch w.n(4) {
	case 0:
		return "(buffer[" + w.pick("1", "4", "8", "13") + "])" + t
	case 1:
		return "buf(" + t + ", (31 & (" + w.expr(1) + ")))"
	case 2:
		return "buf((uint8[8])(uint64)(" + w.expr(1) + "))"
	}
	return "buf(" + t + ", " + w.pick("0", "1", "3", "8", "16") + ")"
}

func (w *writer) text(depth int) string {
	if w.left--; w.left < 0 {
		return texts[w.n(len(texts))]
	}
	switch n := w.n(8); {
	case n < 2 && len(w.strs) > 0:
		return w.pick(w.strs...)
	case n == 2:
		return "@s[" + w.key() + "]"
	case n == 3 && w.args && len(w.structs) > 0 && w.n(2) == 0:
		return "str(args.u + " + w.pick("0", "3", "200") + ", " + w.pick("17", "24", "40") + ")"
	case n == 3:
		return w.pick("comm", "probe", "@u.1")
	case n == 4 && depth > 0:
		return "(" + w.cond(depth-1) + " ? " + w.text(depth-1) + " : " + w.text(depth-1) + ")"
	case n == 7 && depth > 0:
		return "str_concat(" + w.text(depth-1) + ", " + w.text(depth-1) + ")"
	}
	return w.pick(texts...)
}

func (w *writer) expr(depth int) string {
	if w.left--; w.left < 0 {
		return literals[w.n(len(literals))]
	}
	if depth > 0 && w.n(3) > 0 {
		a, b := w.expr(depth-1), w.expr(depth-1)
		switch w.n(18) {
		case 0:
			return "(" + w.cond(depth-1) + " ? " + a + " : " + b + ")"
		case 1:
			return "(" + a + " ?: " + b + ")"
		case 2:
			return w.pick("- ", "~", "!", "+ ") + "(" + a + ")"
		case 3:
			return "(" + w.pick("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64") + ")(" + a + ")"
		case 4:
			return "(" + w.cond(depth-1) + w.pick(" && ", " || ") + w.cond(depth-1) + ")"
		case 6:
			return "(if (" + w.cond(depth-1) + ") { " + a + " } else { " + b + " })"
		case 7:
			if len(w.ints) > 0 {
				return "({ " + w.pick(w.ints...) + " = " + a + "; " + b + " })"
			}
		case 8:
			return "((" + w.pick("uint8[8]", "int8[8]", "int16[4]", "uint32[2]") + ")(uint64)(" + a + "))[" + w.pick("0", "1", "(3 & (uid() * 0 + "+b+"))") + "]"
		case 9:
			return "(" + w.text(1) + ")[" + w.pick("0", "2", "(15 & (uid() * 0 + "+b+"))") + "]"
		case 10:
			return "bswap((" + w.pick("uint8", "int16", "uint32", "int64", "uint64") + ")(" + a + "))"
		case 11:
			return "strlen(" + w.text(1) + ")"
		case 12:
			return "strncmp(" + w.text(1) + ", " + w.text(1) + ", " + w.pick("0", "1", "3", "8", "9", "100") + ")"
		case 13:
			return "strstr(" + w.text(1) + ", " + w.text(1) + ")"
		case 14:
			return "memcmp(" + w.text(1) + ", " + w.text(1) + ", " + w.pick("0", "1", "3", "8", "(7 & (pid * 0 + "+b+"))") + ")"
		case 15:
			return "memcmp(" + a + ", " + b + ", 1)"
		case 5:
			return "(" + w.gone() + " + " + b + ")"
		}
		return "(" + a + " " + w.pick("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "==", "!=", "<", "<=", ">", ">=") + " " + b + ")"
	}
	switch n := w.n(12); {
	case n < 4 && len(w.ints) > 0:
		return w.pick(w.ints...)
	case n < 6 && w.args && len(w.structs) > 0 && w.n(2) == 0:
		return w.field()
	case n == 10 && len(w.fns) > 0 && w.result == nil && w.loops == 0 && w.n(2) == 0:
		return w.call(0)
	case n < 6 && w.args:
		return w.pick("args.a", "args.a", "args.i", "args.w", "args.s", "args.t", "args.y", "args.z", "arg0", "arg3", "arg8")
	case n == 6:
		return w.place()
	case n == 7:
		return "(" + w.bump() + ")"
	case n == 8:
		return w.pick("pid", "tid", "uid()", "@u.0", "@r.a")
	}
	return literals[w.n(len(literals))]
}

// TestRandom runs generated scripts as TestRun does, each in the interpreter and most in one of the ways of the kernel,
// some in all: 2000, or as many as 100 s are enough for. SLOPE_RANDOM=n makes it n scripts from seed SLOPE_SEED on. SLOPE_SOAK=1 makes it 100 000 on all CPUs, or
// as many as there is time for. What fails is made smaller first.
func TestRandom(t *testing.T) {
	number := func(name string, otherwise int) int {
		s := os.Getenv(name)
		if s == "" {
			return otherwise
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	n, workers, soak := 2000, 1, os.Getenv("SLOPE_SOAK") != ""
	if testing.Short() {
		n = 200
	}
	if soak {
		n, workers = 100_000, runtime.NumCPU()
	}
	n = number("SLOPE_RANDOM", n)
	first := number("SLOPE_SEED", 0)
	end := time.Now().Add(24 * time.Hour)
	if !soak && os.Getenv("SLOPE_RANDOM") == "" {
		end = time.Now().Add(100 * time.Second) // on a machine that others use
	}
	if at, ok := t.Deadline(); ok {
		if at = at.Add(-time.Until(at) / 4); at.Before(end) { // the other tests need time too
			end = at
		}
	}
	useKernel(t)
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	start := time.Now()
	var done, bad atomic.Int64
	t.Cleanup(func() { t.Logf("%d programs in %s", done.Load(), time.Since(start).Round(time.Second)) })
	for w := range workers {
		t.Run(fmt.Sprint("cpu", w), func(t *testing.T) {
			if workers > 1 {
				t.Parallel()
			}
			k := useCPU(t, w)
			for seed := first + w; seed < first+n && time.Now().Before(end); seed += workers {
				text := script(uint64(seed))
				way := seed / workers % 4
				if seed%32 == 0 || soak && way == 0 {
					way = 0 // all
				} else if way == 0 {
					way = none
				}
				attempt := func(text string) error {
					h := readHeader(t, text, k.world)
					h.loops, h.only = true, way
					_, err := runAll(t, k, k.world, source.NewFile("random.slo", text), h)
					k.world.pin.Unpin()
					k.world.text = nil
					return err
				}
				if err := attempt(text); err != nil {
					text = shrink(text, 400, attempt)
					t.Errorf("seed %d: %v\n%s", seed, attempt(text), text)
					if bad.Add(1) >= 5 {
						t.Fatal("enough")
					}
				}
				if d := done.Add(1); d%5000 == 0 || d == 100 {
					t.Logf("%d programs, %.0f a second", d, float64(d)/time.Since(start).Seconds())
				}
			}
		})
	}
}
