package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/types"
)

// layouts prints the size of its struct and the offsets of the fields that have some.
const layouts = `#include <stddef.h>
#include <stdio.h>
enum colour { RED = 3, BLUE = -7 };
typedef struct { short s; char name[12]; } inner;
struct node { int id; unsigned lo : 3, hi : 5; union { long u1; char u2[4]; }; inner in; struct node *next; enum colour c; int grid[2][3]; double ratio; void (*call)(int); struct { int deep; } sub; unsigned char late : 2; const volatile long long last; };
struct hidden;
static __attribute__((noinline, unused)) int once(struct node *n) { return n->id + 1; }
__attribute__((noinline)) int take(struct node *n, struct hidden *h, double d, inner i, unsigned char b) { __asm__ volatile("" ::: "memory"); return n->id + i.s + b + (h != 0) + (d > 1); }
#define TELL(f) printf(#f "=%zu\n", offsetof(struct node, f))
int main(void) {
	struct node n = {0}; inner i = {0};
	printf("size=%zu\n", sizeof n);
	TELL(id); TELL(u1); TELL(u2); TELL(in); TELL(next); TELL(c); TELL(grid); TELL(ratio); TELL(call); TELL(sub); TELL(last);
	return take(&n, 0, 1, i, 2) == 77;
}
`

func fieldNames(t *types.Type) (out []string) {
	for _, f := range t.Layout.Fields() {
		out = append(out, f.Name)
	}
	return out
}

// TestDebugTypes compares the types that debug information tells of, in all of its versions, with what the program itself prints.
func TestDebugTypes(t *testing.T) {
	for _, version := range []string{"2", "3", "4", "4 -fdebug-types-section", "5", "5 -fdebug-types-section"} {
		bin := compile(t, "cc", "main.c", layouts, append(strings.Fields("-gdwarf-"+version), "-O1", "-gstrict-dwarf")...)
		said, err := exec.Command(bin).Output()
		if err != nil {
			t.Fatal(err)
		}
		b, err := Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		d, err := b.Debug()
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.Lookup("take")
		if err != nil {
			t.Fatal(err)
		}
		node, err := d.Named(f.Addr, "struct", "node")
		if node == nil {
			t.Fatalf("DWARF %s: no struct node: %v", version, err)
		}
		for _, line := range strings.Fields(string(said)) {
			name, n, _ := strings.Cut(line, "=")
			got := node.Size
			if name != "size" {
				field, _ := node.Field(name)
				got = field.Offset
			}
			if fmt.Sprint(got) != n {
				t.Errorf("DWARF %s: %s: got %d, want %s", version, name, got, n)
			}
		}
		want := "id lo hi u1 u2 in next c grid ratio call sub late last"
		if got := strings.Join(fieldNames(node), " "); got != want {
			t.Errorf("DWARF %s: fields %s, want %s", version, got, want)
		}
		for name, want := range map[string]string{"id": "int32", "lo": "uint32", "u2": "int8[4]", "in": "struct inner", "next": "struct node *", "c": "enum colour",
			"grid": "int32[3][2]", "ratio": "uint8[8]", "call": "void *", "last": "int64"} {
			if f, _ := node.Field(name); f.Type == nil || f.Type.String() != want {
				t.Errorf("DWARF %s: %s is of type %s, want %s", version, name, f.Type, want)
			}
		}
		lo, _ := node.Field("lo")
		hi, _ := node.Field("hi")
		if lo.BitSize != 3 || lo.BitOff != 0 || hi.BitSize != 5 || hi.BitOff+8*(hi.Offset-lo.Offset) != 3 {
			t.Errorf("DWARF %s: bit fields %+v, %+v", version, lo, hi)
		}
		if v, e, ok := d.Constant(f.Addr, "BLUE"); !ok || v != -7 || e.Name != "enum colour" || e.Enum.Lookup(3) != "RED" {
			t.Errorf("DWARF %s: BLUE is %d of %v, %v", version, v, e, ok)
		}
		if got, _ := d.Named(0, "", "inner"); got == nil || got.Size != 14 {
			t.Errorf("DWARF %s: inner is %+v", version, got)
		}
		for _, missing := range []string{"hidden", "nosuch", ""} {
			for _, find := range []func(uint64, string, string) (*types.Type, error){d.Named, d.Shortened} {
				if got, err := find(0, "struct", missing); got != nil || err != nil {
					t.Errorf("DWARF %s: struct %s is %v, %v", version, missing, got, err)
				}
			}
		}
		info, err := d.Func(f.Addr, "take")
		if err != nil {
			t.Fatal(err)
		}
		var params []string
		for _, p := range info.Params {
			params = append(params, strings.TrimSpace(p.Source+" "+p.Name+" "+p.Lost))
		}
		if got, want := strings.Join(params, "; "), "struct node* n; struct hidden* h; double d it is a floating-point number; inner i; unsigned char b"; got != want {
			t.Errorf("DWARF %s: got %s, want %s", version, got, want)
		}
		if n := len(info.Results); n != 1 || info.Results[0].Type.String() != "int32" {
			t.Errorf("DWARF %s: results %+v", version, info.Results)
		}
		if _, err := d.Func(f.Addr+1, "take"); !errors.Is(err, ErrNoDebug) {
			t.Errorf("DWARF %s: in the middle of a function: %v", version, err)
		}
	}
}

// TestDebugApart reads debug information that was stripped to a file of its own.
func TestDebugApart(t *testing.T) {
	bin := compile(t, "cc", "main.c", layouts, "-O1", "-g")
	command(t, "objcopy", "--only-keep-debug", bin, bin+".dbg")
	command(t, "strip", "--strip-all", bin)
	open := func() *Binary {
		b, err := Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	if _, err := open().Debug(); !errors.Is(err, ErrNoDebug) {
		t.Errorf("stripped: %v", err)
	}
	command(t, "objcopy", "--add-gnu-debuglink="+bin+".dbg", bin)
	b := open()
	d, err := b.Debug()
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Lookup("take")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := d.Func(f.Addr, "take"); err != nil || len(info.Params) != 5 {
		t.Errorf("got %+v, %v", info, err)
	}
	if funcs, err := b.Line("main.c", 8, 0); err != nil || len(funcs) != 1 || funcs[0].Name != "take" {
		t.Errorf("line 8: %+v, %v", funcs, err)
	}
}

// small keeps the inputs of the fuzzer short.
const small = `enum colour { RED, BLUE = -7 };
typedef struct { int a : 3; union { int b; char c[4]; }; } inner;
struct node { inner in; struct node *next; enum colour c; };
int main(int n, char **v) { struct node x = { .c = BLUE }; return x.c == n; }
int take(struct node n, double d) { return n.c + (d > 1); }
`

// FuzzDebug asks damaged debug information for everything: it must answer, with what there is.
func FuzzDebug(f *testing.F) {
	for _, version := range []string{"3", "4", "4 -fdebug-types-section", "5", "5 -fdebug-types-section"} {
		bin := compile(f, "cc", "main.c", small, append(strings.Fields("-gdwarf-"+version), "-O1")...)
		file, err := elf.Open(bin)
		if err != nil {
			f.Fatal(err)
		}
		s, err := debugSections(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s[infoSection], s[abbrevSection], s[textSection], s[typesSection], s[rangesSection], s[addrSection], uint64(0))
		file.Close()
	}
	f.Fuzz(func(t *testing.T, info, abbrev, text, apart, ranges, addr []byte, near uint64) {
		d, err := parseDebug(map[string][]byte{infoSection: info, abbrevSection: abbrev, textSection: text, typesSection: apart, rangesSection: ranges, addrSection: addr}, ArgRegs(), splitPlaces{})
		if err != nil {
			return
		}
		askAll(d, near)
	})
}

// askAll asks for everything.
func askAll(d *DebugInfo, near uint64) {
	d.Func(near, "f")
	for _, u := range d.units[max(0, len(d.units)-4):] {
		for i, w := 0, d.walk(u.first, u.end); i < 200; i++ {
			e := entryOf(w)
			if e == nil {
				break
			}
			if low, ok := e.Val(dwarf.AttrLowpc).(uint64); ok {
				d.Func(low, "f")
			}
		}
	}
	for _, name := range []string{"node", "inner", "colour"} {
		for _, keyword := range []string{"struct", ""} {
			if typ, _ := d.Named(near, keyword, name); typ != nil {
				readAll(typ, 3)
			}
		}
	}
	d.Constant(near, "BLUE")
	d.Inlined("once")
}

// entryOf reads an entry, nil where the standard library panics.
func entryOf(w *walker) (e *dwarf.Entry) {
	var err error
	defer guard(&err)
	return w.entry()
}

func readAll(t *types.Type, depth int) {
	_ = t.String()
	for t.Elem != nil {
		t = t.Elem
	}
	if t.Layout == nil || depth == 0 {
		return
	}
	fields := t.Layout.Fields()
	for _, f := range slices.Clone(fields[:min(len(fields), 20)]) {
		readAll(f.Type, depth-1)
	}
}
