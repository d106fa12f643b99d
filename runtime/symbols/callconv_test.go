package symbols

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// told is what debug information tells of the arguments of functions: "type name" of each, with the reason where it cannot be read.
func told(t *testing.T, b *Binary, f Func) string {
	t.Helper()
	d, err := b.Debug()
	if err != nil {
		t.Fatal(err)
	}
	symbol := f.Symbol
	if symbol == "" {
		symbol = f.Name
	}
	info, err := d.Func(f.Addr, symbol)
	if err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	var out []string
	for _, p := range info.Params {
		out = append(out, strings.TrimSuffix(p.Source+" "+p.Name+": "+p.Lost, ": "))
	}
	return strings.Join(out, "; ")
}

const copies = `
namespace shop {
struct point { long x, y; };
volatile long sum;
static __attribute__((noinline)) long area(point *p, int unused, long scale) { sum = scale; return p->x * scale; }
static __attribute__((noinline)) long fixed(long a, long k, long b) { sum = a; return a * k + b; }
__attribute__((cold, noinline)) void rare() { sum = 3; }
__attribute__((noinline)) long partly(long n) { if (__builtin_expect(n > 1000, 0)) { rare(); __builtin_abort(); } return sum + n; }
}
int main(int argc, char **argv) {
	shop::point p = {argc, 2};
	for (int i = 0; i < 3; i++) shop::sum = shop::area(&p, argc, i + argc) + shop::fixed(argc, 7, i) + shop::partly(argc);
	return shop::sum == 3;
}
`

// TestCopies finds functions whose arguments the compiler changed by the names that they have in the source, and leaves out parts of
// functions.
func TestCopies(t *testing.T) {
	for _, c := range []struct{ flag, function, symbol string }{
		{"-fno-ipa-cp", "shop::area", "_ZN4shopL4areaEPNS_5pointEil.isra.0"},
		{"-fno-ipa-sra", "shop::fixed", "_ZN4shopL5fixedElll.constprop.0"},
	} {
		b := open(t, compile(t, "g++", "main.cc", copies, "-O2", "-g", c.flag))
		found, err := b.MatchDemangled(c.function)
		if err != nil || len(found) != 1 || found[0].Symbol != c.symbol {
			t.Fatalf("%s: got %+v, %v", c.function, found, err)
		}
		for _, p := range strings.Split(told(t, b, found[0]), "; ") {
			if !strings.HasSuffix(p, ": the compiler changed how the function takes its arguments") {
				t.Errorf("%s: %s", c.function, p)
			}
		}
		for _, pattern := range []string{"_ZN4shop6partly*", "*partly*"} {
			if found, err := b.Match(pattern); err != nil || len(found) != 1 {
				t.Errorf("%s: got %+v, %v", pattern, found, err)
			}
		}
		if found, err := b.MatchDemangled("shop::partly"); err != nil || len(found) != 1 || told(t, b, found[0]) != "long int n" {
			t.Errorf("got %+v, %v", found, err)
		}
		const part = "_ZN4shop6partlyEl.cold"
		if _, there := b.symbol(part); !there {
			t.Fatalf("the compiler made no %s", part)
		}
		if f, err := b.Lookup(part); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %+v, %v", f, err)
		}
		if of, is := b.PartOf(part); !is || of != "_ZN4shop6partlyEl" {
			t.Errorf("a part of %s, %v", of, is)
		}
	}
}

func TestChanged(t *testing.T) {
	for symbol, want := range map[string]bool{"f": false, "f.isra.0": true, "f.constprop.0": true, "f.part.1": true, "f.lto_priv.0": false,
		"f.lto_priv.0.constprop.0": true, "isra": false, "f.localalias": false} {
		if got := changed(symbol); got != want {
			t.Errorf("%s: got %t", symbol, got)
		}
	}
}

const same = `
struct a { long x; };
static __attribute__((noinline)) long second(long *beta, int m) { __asm__ volatile("" ::: "memory"); return *beta + m; }
__attribute__((noinline)) long first(struct a *alpha, int n) { __asm__ volatile("" ::: "memory"); return alpha->x + n; }
long elsewhere(long *gamma, int k);
int main(int argc, char **argv) { struct a a = {4}; return first(&a, argc) + second(&a.x, 7) + elsewhere(&a.x, argc); }
`

// TestFolded has a linker that makes one of functions with the same code, in one file and in two: each has the arguments of its own.
func TestFolded(t *testing.T) {
	_, err := exec.LookPath("ld.gold")
	bpftest.Require(t, err)
	arguments := map[string]string{"first": "struct a* alpha; int n", "second": "long int* beta; int m", "elsewhere": "long int* gamma; int k"}
	for _, c := range []struct{ compiler, file, other, flag, folded string }{
		{"gcc", "main.c", "other.c", "-g", "second"},
		{"gcc", "main.c", "other.c", "-fno-asynchronous-unwind-tables", "elsewhere"}, // the linker compares these tables as they are in a file
		{"g++", "main.cc", "other.cc", "-g", "second"},
		{"g++", "main.cc", "other.cc", "-fno-asynchronous-unwind-tables", "elsewhere"},
	} {
		other := t.TempDir() + "/" + c.other
		if err := os.WriteFile(other, []byte(`long elsewhere(long *gamma, int k) { __asm__ volatile("" ::: "memory"); return *gamma + k; }`), 0o644); err != nil {
			t.Fatal(err)
		}
		b := open(t, compile(t, c.compiler, c.file, same, other, "-O2", "-g", "-ffunction-sections", "-fno-ipa-icf", "-fno-ipa-sra", "-fno-ipa-cp",
			"-fno-exceptions", "-fuse-ld=gold", "-Wl,--icf=all", c.flag))
		addrs := map[uint64]bool{}
		for _, name := range []string{"first", c.folded} {
			found, err := b.Match(name)
			if c.compiler == "g++" {
				found, err = b.MatchDemangled(name)
			}
			if err != nil || len(found) != 1 {
				t.Fatalf("%v: %s: got %+v, %v", c, name, found, err)
			}
			addrs[found[0].Addr] = true
			if got := told(t, b, found[0]); got != arguments[name] {
				t.Errorf("%v: %s: got %s, want %s", c, name, got, arguments[name])
			}
		}
		if len(addrs) != 1 {
			t.Errorf("%v: the linker did not fold them", c)
		}
	}
}

const derived = `
struct A { int same; int a; };
struct B { long twice; int b; };
struct C : A { char twice; union { int inside; char text[4]; }; };
struct D : B, C { int same; short d; };
struct E : D { long twice; };
__attribute__((noinline)) int take(D *d, E *e) { return d->same + e->a; }
int main() { D d; E e; return take(&d, &e); }
`

// TestInheritedMembers has members of base classes of the same name: those of the class itself hide them, others are lost.
func TestInheritedMembers(t *testing.T) {
	for _, flags := range []string{"-g", "-gdwarf-5 -fdebug-types-section"} {
		b := open(t, compile(t, "g++", "main.cc", derived, strings.Fields(flags)...))
		d, err := b.Debug()
		if err != nil {
			t.Fatal(err)
		}
		inherited(t, d)
	}
}

func inherited(t *testing.T, d *DebugInfo) {
	t.Helper()
	for class, want := range map[string]string{
		"C": "same@0 a@4 twice@8 inside@12 text@12",
		"D": "twice@0! b@8 a@20 twice@24! inside@28 text@28 same@32 d@36",
		"E": "b@8 a@20 inside@28 text@28 same@32 d@36 twice@40",
	} {
		typ, err := d.Named(0, "struct", class)
		if err != nil || typ == nil {
			t.Fatalf("%s: %v", class, err)
		}
		var got []string
		for _, f := range typ.Layout.Fields() {
			text := fmt.Sprint(f.Name, "@", f.Offset)
			if f.Lost != "" {
				text += "!"
			}
			if f.Lost != "" && f.Lost != "both B and C have one" {
				t.Errorf("%s: %s", f.Name, f.Lost)
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: got %s, want %s", class, text, want)
		}
	}
}

const vectors = `
typedef int wide __attribute__((vector_size(32)));
typedef double lone __attribute__((vector_size(8)));
typedef char tiny __attribute__((vector_size(4)));
typedef int full __attribute__((vector_size(16)));
struct boxed { wide v; };
struct tail { wide v; int n; };
struct mixed { double d; long i; };
struct three { long a[3]; };
struct odd { char c; full v; char more[15]; } __attribute__((packed));
union one { long l[2]; full v; };
union two { long l[2]; __float128 q; };
struct even { full v; long more; };
#define BODY { __asm__ volatile("" ::: "memory"); return 0; }
int registers(tiny a, int i, full b, int j, lone c, int k, struct three s) BODY
int behind(wide a, int i, struct three s, int j) BODY
int stack(struct three a, struct odd b, struct even c) BODY
int joined(union one a, union two b) BODY
int inside(struct boxed a, struct tail b, int i) BODY
wide result(int i) BODY2
int most(wide a, double, double, double, double, double, double, struct mixed m, int i, struct mixed o, int j) BODY
int main() { return 0; }
`

// TestVectors has vectors in arguments: those of more than 16 bytes are in a register or on the stack, as the program was compiled.
func TestVectors(t *testing.T) {
	b := open(t, compile(t, "gcc", "main.c", strings.Replace(vectors, "BODY2", "{ return (wide){i}; }", 1), "-g", "-Wno-psabi"))
	const where = ": " + wideVector
	const behind = ": " + behindVector
	const float = ": " + partlyFloat
	for function, want := range map[string]string{
		"registers": "tiny a; int i; full b" + float + "; int j; lone c; int k; struct three s",
		"behind":    "wide a" + where + "; int i; struct three s" + behind + "; int j",
		"inside":    "struct boxed a" + where + "; struct tail b" + behind + "; int i",
		"result":    "int i" + where,
		"joined":    "union one a; union two b",
		"stack":     "struct three a; struct odd b; struct even c",
		"most":      "wide a" + where + strings.Repeat("; double : it is a floating-point number", 6) + "; struct mixed m" + float + "; int i; struct mixed o" + behind + "; int j" + behind,
	} {
		f, err := b.Lookup(function)
		if err != nil {
			t.Fatal(err)
		}
		if got := told(t, b, f); got != want {
			t.Errorf("%s: got %s, want %s", function, got, want)
		}
	}
	params := func(name string) []Param {
		f, err := b.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := b.debug.Func(f.Addr, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Params
	}
	for i, p := range params("stack") { // a packed struct is aligned as a word is
		if want := []int64{8, 32, 72}[i]; p.Places[0].Value != want {
			t.Errorf("parameter %d of stack is at %d, want %d", i, p.Places[0].Value, want)
		}
	}
	for i, p := range params("joined") { // in two registers each
		if len(p.Places) != 2 || p.Places[1].Base != words(ArgRegs().Args)[2*i+1] {
			t.Errorf("parameter %d of joined is at %+v", i, p.Places)
		}
	}
}

// TestDictionary has the names of generic functions, and compilers whose debug information does not suffice.
func TestDictionary(t *testing.T) {
	const producer = "Go cmd/compile go1.26.8; regabi"
	for _, c := range []struct {
		function, producer string
		at                 int
		known              bool
	}{
		{"main.f", producer, noDict, true},
		{"main.f[go.shape.int]", producer, 0, true},
		{"slices.Index[go.shape.[]string,go.shape.string]", producer, 0, true},
		{"main.(*T[go.shape.int]).m", producer, 1, true},
		{"example.org/a.b/c.T[go.shape.struct { main.x int }].m", producer, 1, true},
		{"main.(*T[int]).m", producer, noDict, true},
		{"main.f[go.shape.int].func1", producer, noDict, false},
		{"main.(*T[go.shape.int]).m.func2.1", producer, noDict, false},
		{"main.f[go.shape.int]-range1", producer, noDict, false},
		{"main.f[go.shape.int].deferwrap3", "Go cmd/compile go1.26.8; -N -l regabi", noDict, true},
		{"main.f", "Go cmd/compile go1.21.13; regabi", noDict, false},
		{"main.f", "Go cmd/compile go1.9; regabi", noDict, false},
		{"main.f", "Go cmd/compile devel go1.27-0123abcd; regabi", noDict, true},
		{"main.f", "GNU Go 12.2.0", noDict, false},
	} {
		if at, unknown := dictionary(c.function, c.producer); at != c.at || (unknown == "") != c.known {
			t.Errorf("%s of %s: got %d, %q", c.function, c.producer, at, unknown)
		}
	}
}
