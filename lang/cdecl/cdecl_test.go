package cdecl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/cdecl"
	"github.com/slopebpf/slope/lang/types"
)

// describe prints a layout as C compilers report it.
func describe(t *types.Type) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", t.Size)
	for _, f := range t.Layout.Fields() {
		fmt.Fprintf(&b, " %s:%d", f.Name, f.Offset)
		if f.BitSize > 0 {
			fmt.Fprintf(&b, ".%d/%d", f.BitOff, f.BitSize)
		}
	}
	return b.String()
}

// TestLayout has the layouts that GCC gives.
func TestLayout(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"struct a { char c; int i; short s; long l; }", "24 c:0 i:4 s:8 l:16"},
		{"struct a { char c; int i; } __attribute__((packed));", "5 c:0 i:1"},
		{"struct __attribute__((packed)) a { char c; long i; };", "9 c:0 i:1"},
		{"struct a { char c; } __attribute__((aligned(16)));", "16 c:0"},
		{"struct a { char c; int i __attribute__((aligned(8))); };", "16 c:0 i:8"},
		{"union a { char c; unsigned int i[3]; u64 l; };", "16 c:0 i:0 l:0"},
		{"struct a { int x : 3, y : 5; int z : 30; };", "8 x:0.0/3 y:0.3/5 z:4.0/30"},
		{"struct a { u8 x : 3; u8 : 0; u8 y : 2; };", "2 x:0.0/3 y:1.0/2"},
		{"struct a { u32 x : 20; u32 y : 20; } __attribute__((packed));", "5 x:0.0/20 y:2.4/20"},
		{"struct a { int n; union { int x; char y[8]; }; struct { short s; } in; };", "16 n:0 x:4 y:4 in:12"},
		{"struct a { void (*f)(int, char *); struct a *next; const char *name; };", "24 f:0 next:8 name:16"},
		{"struct a { int n; char tail[]; };", "4 n:0 tail:4"},
		{"struct a { unsigned long long m[2][3]; /* c */ int x; // d\n };", "56 m:0 x:48"},
		{"struct a { enum { ONE = 1, TWO } e; int z[TWO << 2]; };", "36 e:0 z:4"},
		{"struct a { };", "0"},
	} {
		s := cdecl.New()
		if err := s.Define(c.text); err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		keyword, _, _ := strings.Cut(c.text, " ")
		typ, ok := s.Named(keyword, "a")
		if !ok {
			t.Errorf("%s: not defined", c.text)
			continue
		}
		if got := describe(typ); got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"struct a { int x }", "got '}', want ';'"},
		{"struct a { foo x; }", "unknown type 'foo'"},
		{"struct a { struct b x; }", "member 'x' has the incomplete type 'struct b'"},
		{"struct a { int x : 33; }", "a bit field of 33 bits in 'int32'"},
		{"struct a { int x[N]; }", "unknown constant 'N'"},
		{"struct a { int x[1 / 0]; }", "division by zero"},
		{"struct a { int x[0xfffffff]; }", "want at most 1048576"},
		{"enum e { A, A }", "constant 'A' was already defined"},
		{"struct a { int x; ", "the definition ends"},
		{"struct a " + strings.Repeat("{ struct ", 100), "nested too deeply"},
		{"struct a { struct b { int x; } y; struct b { int z; } w; }", "'struct b' is defined twice"},
		{"struct a { int x; struct { long y; }; char y; }", "the struct has two members with the name 'y'"},
		{"int x;", "want struct, union, enum or typedef"},
	} {
		err := cdecl.New().Define(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: got %v, want %s", c.text, err, c.want)
		}
	}
}

func TestValue(t *testing.T) {
	s := cdecl.New()
	s.SetMacro("N", "(M + 1)")
	s.SetMacro("M", "0x10")
	s.SetMacro("LOOP", "LOOP")
	for text, want := range map[string]int64{"1 << 3 | 1": 9, "N * 2": 34, "-010": -8, "~0": -1, "7 - 2 - 1": 4, "100UL % 7": 2} {
		if got, err := s.Value(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	if _, err := s.Value("LOOP"); err == nil {
		t.Error("LOOP has a value")
	}
}

// FuzzDefine: any text gives types with fields inside, or an error inside the text.
func FuzzDefine(f *testing.F) {
	for _, s := range []string{"struct a { char c; int i : 3; union { long x; } u[4]; } __attribute__((packed, aligned(4)));",
		"enum e { A = 1, B = A << 2 };", "union u { void (*f)(int); struct u *n; char t[]; };"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := cdecl.New()
		err := s.Define(text)
		if e, ok := err.(*cdecl.Error); ok && (e.Start < 0 || e.End < e.Start || e.End > len(text)) {
			t.Fatalf("%q: an error at %d to %d", text, e.Start, e.End)
		}
		for _, keyword := range []string{"struct", "union"} {
			typ, ok := s.Named(keyword, "a")
			if !ok || err != nil {
				continue
			}
			for _, f := range typ.Layout.Fields() {
				if f.Offset < 0 || f.Offset+(f.BitOff+f.BitSize+7)/8 > typ.Size || f.BitSize == 0 && f.Offset+f.Type.Size > typ.Size {
					t.Fatalf("%q: %s lies outside of %d bytes", text, f.Name, typ.Size)
				}
			}
		}
	})
}
