package symbols

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
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

// TestInlinedForms has tables as releases of Go write them, in a file without anything else: a caller that has a copy of a function
// behind one of another, and one that has a copy of the other only.
func TestInlinedForms(t *testing.T) {
	const table, module, calls = 0x1000, 0x2000, 0x3000 // where they are in memory
	le := binary.LittleEndian
	names := []byte("\x00main.f\x00main.g\x00main.both\x00main.one\x00")
	at := func(name string) uint32 { return uint32(bytes.Index(names, []byte("\x00"+name+"\x00")) + 1) }
	for release, c := range map[string]struct {
		old               bool
		record, call      int // their sizes
		lists, name, gofn int // offsets
	}{
		"go1.18": {true, 40, 20, 39, 12, 304}, // runtime._func, runtime.inlinedCall and runtime.moduledata there
		"go1.20": {false, 44, 16, 43, 4, 320},
	} {
		record := func(name string, index, tree uint32) []byte {
			r := make([]byte, c.record)
			le.PutUint32(r[4:], at(name))
			le.PutUint32(r[28:], inlineIndex+1)
			r[c.lists] = inlineTree + 1
			for _, word := range []uint32{0, 0, index, ^uint32(0), ^uint32(0), ^uint32(0), tree} {
				r = le.AppendUint32(r, word)
			}
			return r
		}
		tree := make([]byte, 8+3*c.call) // the first caller's is at 8
		for i, name := range []string{"main.g", "main.f", "main.g"} {
			le.PutUint32(tree[8+c.call*i+c.name:], at(name))
		}
		both, one := record("main.both", 1, 8), record("main.one", 6, uint32(8+2*c.call))
		f := &funcTable{names: names, count: 2, old: c.old, addr: table,
			values:  []byte{0, 2, 8, 2, 8, 0, 2, 8, 0}, // the call 0 and then 1; the call 0
			records: append(both, one...), pairs: le.AppendUint32(make([]byte, 12), uint32(len(both)))}
		data := le.AppendUint64(nil, table)
		data = append(data, make([]byte, c.gofn-8)...)
		data = le.AppendUint64(data, calls)
		b := &Binary{file: file(t, section{data, module, elf.SHF_ALLOC | elf.SHF_WRITE}, section{tree, calls, elf.SHF_ALLOC}), pcln: f}
		for name, want := range map[string]string{"main.f": "[main.both]", "main.g": "[main.both main.one]", "main.one": "[]"} {
			for range 2 { // the second time the calls are there
				if got, err := b.InlinedIn(name); err != nil || fmt.Sprint(got) != want {
					t.Errorf("%s: %s is inlined in %v, %v, want %s", release, name, got, err, want)
				}
			}
		}
	}
}

type section struct {
	data  []byte
	addr  uint64
	flags elf.SectionFlag
}

// file is one with sections.
func file(t *testing.T, sections ...section) *elf.File {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Phoff: 64, Phentsize: 56,
		Shentsize: 64, Phnum: uint16(len(sections)), Shnum: uint16(len(sections) + 2), Shstrndx: uint16(len(sections) + 1)}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	segments, table, off := []elf.Prog64{}, []elf.Section64{{}}, uint64(64+56*len(sections))
	var body []byte
	for _, s := range sections {
		size := uint64(len(s.data))
		segments = append(segments, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: off, Vaddr: s.addr, Filesz: size, Memsz: size})
		table = append(table, elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: uint64(s.flags), Addr: s.addr, Off: off, Size: size})
		body, off = append(body, s.data...), off+size
	}
	table = append(table, elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: off, Size: 1}) // of names: they have none
	body, head.Shoff = append(body, 0), off+1
	var out bytes.Buffer
	for _, part := range []any{head, segments, body, table} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	f, err := elf.NewFile(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}
