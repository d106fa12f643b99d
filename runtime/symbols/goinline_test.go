package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"os/exec"
	"slices"
	"testing"
)

// inlinedByDWARF are the functions that have copies of others, by the name of these, as the debug information has them.
func inlinedByDWARF(t *testing.T, path string) map[string][]string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := f.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	names, in, origin := map[dwarf.Offset]string{}, map[dwarf.Offset][]dwarf.Offset{}, map[dwarf.Offset]dwarf.Offset{}
	var function dwarf.Offset
	for r := d.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		of, _ := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		switch e.Tag {
		case dwarf.TagSubprogram:
			function = e.Offset
			names[function], _ = e.Val(dwarf.AttrName).(string)
			origin[function] = of
		case dwarf.TagInlinedSubroutine:
			in[of] = append(in[of], function)
		}
	}
	out := map[string][]string{}
	for of, functions := range in {
		for _, f := range functions {
			name := names[f]
			if name == "" {
				name = names[origin[f]]
			}
			if !slices.Contains(out[names[of]], name) {
				out[names[of]] = append(out[names[of]], name)
			}
		}
	}
	for _, callers := range out {
		slices.Sort(callers)
	}
	return out
}

// TestInlinedIn compares what the function table tells of inlined calls with the debug information, also of stripped programs and
// of position-independent ones.
func TestInlinedIn(t *testing.T) {
	plain := build(t)
	want := inlinedByDWARF(t, plain)
	var names []string
	b := open(t, plain)
	for name := range want {
		if _, err := b.Lookup(name); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) < 20 {
		t.Fatalf("%d functions are inlined in some callers only", len(names))
	}
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}, {"-buildmode=pie", "-ldflags=-s -w"}} {
		bin, same := plain, true
		if flags != nil {
			bin = build(t, flags...)
			same = flags[0] != "-buildmode=pie"
		}
		b := open(t, bin)
		for i, name := range names {
			got, err := b.InlinedIn(name)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if same && !slices.Equal(got, want[name]) || len(got) == 0 {
				t.Errorf("%v: %s is inlined in %q, want %q", flags, name, got, want[name])
			}
			if i > 150 {
				break
			}
		}
		for _, name := range []string{"main.small", "main.leaf", "main.(*T).Medium"} {
			if got, err := b.InlinedIn(name); err != nil || len(got) > 0 {
				t.Errorf("%v: %s is inlined in %q, %v", flags, name, got, err)
			}
		}
		table, err := b.goFuncs()
		if err != nil {
			t.Fatal(err)
		}
		at, ok := b.goModule(table)
		if sought, found := b.seekModule(table); !ok || !found || sought != at {
			t.Errorf("%v: runtime.moduledata is at %#x, %t, found at %#x, %t", flags, at, ok, sought, found)
		}
	}
}

func TestEachValue(t *testing.T) {
	var table []byte
	for _, n := range []uint64{2, 4, 1, 8, 6, 16, 0} { // up 1, down 1, up 3
		table = binary.AppendUvarint(table, n)
	}
	var got []int32
	eachValue(table, func(v int32) bool { got = append(got, v); return true })
	if !slices.Equal(got, []int32{0, -1, 2}) {
		t.Errorf("got %v", got)
	}
	for n := range table { // cut anywhere it ends
		eachValue(table[:n], func(int32) bool { return true })
	}
}

// TestInlinedInC has a function of C that is inlined in one caller and called by another.
func TestInlinedInC(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip(err)
	}
	b := open(t, compile(t, "cc", "main.c", `
int work(int n) { __asm__ volatile("" ::: "memory"); return n * 3; }
__attribute__((noinline)) int never(int n) { __asm__ volatile(""); return n * 5; }
__attribute__((noinline)) int caller(int n) { return work(n) ^ never(n); }
int (*volatile other)(int) = work;
int main(int argc, char **argv) { return caller(argc) + other(argc); }
`, "-O2", "-finline", "-g"))
	d, err := b.Debug()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"work": {"caller"}, "never": nil, "caller": nil} {
		f, err := b.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.InlinedIn(f.Addr, name); !slices.Equal(got, want) {
			t.Errorf("%s is inlined in %q, want %q", name, got, want)
		}
	}
}
