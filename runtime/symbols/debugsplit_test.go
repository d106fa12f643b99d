package symbols

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// splitSources are two files with types that both have, and some of their own. Part of a function's code is elsewhere, as it rarely runs.
var splitSources = map[string]string{
	"shop.h": `enum colour { RED = 3, BLUE = -7 };
struct cart { long total; short items[3]; };
struct node { int id; struct cart *cart; struct node *next; enum colour colour; };
int far(struct node *n, struct cart *c, int k);
`,
	"a.c": `#include "shop.h"
#include <stdio.h>
#include <stdlib.h>
typedef struct { char first, second; } pair;
struct twice { int ofA; } *twice;
static inline __attribute__((always_inline)) int once(struct node *n) { __asm__ volatile("nop" ::: "memory"); return n->id + 1; }
__attribute__((noinline)) int take(struct node *n, pair p, enum colour c) { __asm__ volatile("" ::: "memory"); return n->id + p.second + c + once(n); }
__attribute__((noinline, cold)) void bad(long v) { exit(v); }
__attribute__((noinline)) int part(int v, struct node *n) { if (__builtin_expect(v > 1000, 0)) { bad(v); return n->id * v; } return v + n->id; }
int main(int argc, char **argv) { if (argc > 1) { puts("here"); fflush(stdout); getchar(); } struct node n = {5}; pair p = {1, 2}; return take(&n, p, RED) + part(argc, &n) + far(&n, 0, argc); }
`,
	"b.c": `#include "shop.h"
struct secret { short s; int deep; struct cart cart; };
static struct secret z; struct twice { long ofB; } *again;
__attribute__((noinline)) int far(struct node *n, struct cart *c, int k) { z.deep += k; return c ? c->total : z.deep + n->id; }
`,
}

// buildSplit builds them; of each source there is a .dwo file in the folder.
func buildSplit(t testing.TB, compiler, flags string) (dir, bin string) {
	t.Helper()
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("no %s", compiler)
	}
	dir = t.TempDir()
	for name, text := range splitSources {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"a.c", "b.c"} {
		in(t, dir, compiler, slices.Concat([]string{"-O2", "-gsplit-dwarf", "-c", file}, strings.Fields(flags))...)
	}
	in(t, dir, compiler, "-o", "prog", "a.o", "b.o")
	for _, name := range []string{"a.dwo", "b.dwo"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(dir, "prog")
}

// in runs a command in a folder.
func in(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// compilers are those of C that may be there: the first one must be.
func compilers() []string {
	out := []string{"gcc"}
	for _, name := range []string{"clang", "clang-14", "clang-16", "clang-19"} {
		if _, err := exec.LookPath(name); err == nil {
			return append(out, name)
		}
	}
	return out
}

// debugForms are those that compilers split off.
var debugForms = []string{"-gdwarf-4", "-gdwarf-4 -fdebug-types-section", "-gdwarf-5", "-gdwarf-5 -fdebug-types-section", "-gdwarf-5 -gz"}

// checkSplit compares what debug information tells with the sources.
func checkSplit(t *testing.T, path string) {
	t.Helper()
	b := open(t, path)
	d, err := b.Debug()
	if err != nil {
		t.Fatal(err)
	}
	addr := map[string]uint64{}
	for name, want := range map[string]string{"take": "struct node* n; pair p; enum colour c", "part": "int v; struct node* n", "bad": "long int v",
		"far": "struct node* n; struct cart* c; int k", "main": "int argc; char** argv"} {
		f, err := b.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		addr[name] = f.Addr
		if got := strings.ReplaceAll(told(t, b, f), "long v", "long int v"); got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
	for _, near := range []string{"take", "far"} {
		for name, want := range map[string]string{"secret": "24: s int16, deep int32, cart struct cart", "node": "32: id int32, cart struct cart *, next struct node *, colour enum colour",
			"cart": "16: total int64, items int16[3]", "twice": map[string]string{"take": "4: ofA int32", "far": "8: ofB int64"}[near]} {
			typ, err := d.Named(addr[near], "struct", name)
			if typ == nil || err != nil {
				t.Errorf("struct %s near %s: %v, %v", name, near, typ, err)
				continue
			}
			var fields []string
			for _, f := range typ.Layout.Fields() {
				fields = append(fields, f.Name+" "+f.Type.String())
			}
			if got := fmt.Sprint(typ.Size, ": ", strings.Join(fields, ", ")); got != want {
				t.Errorf("struct %s near %s is %s, want %s", name, near, got, want)
			}
		}
		if typ, err := d.Named(addr[near], "", "pair"); err != nil || typ == nil || typ.Size != 2 {
			t.Errorf("pair near %s: %v, %v", near, typ, err)
		}
		if v, _, ok := d.Constant(addr[near], "BLUE"); !ok || v != -7 {
			t.Errorf("BLUE near %s: %d, %v", near, v, ok)
		}
	}
	for _, find := range []func(uint64, string, string) error{
		func(near uint64, keyword, name string) error { _, err := d.Named(near, keyword, name); return err },
		func(near uint64, keyword, name string) error { _, err := d.Shortened(near, keyword, name); return err },
	} {
		if err := find(addr["far"], "struct", "nosuch"); err != nil {
			t.Errorf("struct nosuch: %v", err)
		}
	}
	if !d.Inlined("once") || d.Inlined("take") {
		t.Error("once is inlined, and take is not")
	}
	if funcs, err := b.Line("b.c", 4, 0); err != nil || len(funcs) != 1 || funcs[0].Name != "far" {
		t.Errorf("line 4: %+v, %v", funcs, err)
	}
}

// TestSplit reads what compilers split off, from .dwo files and from packages.
func TestSplit(t *testing.T) {
	for _, compiler := range compilers() {
		for _, flags := range debugForms {
			t.Run(compiler+" "+flags, func(t *testing.T) {
				dir, bin := buildSplit(t, compiler, flags)
				checkSplit(t, bin)
				for _, tool := range []string{"dwp", "llvm-dwp"} {
					switch {
					case tool == "dwp" && strings.Contains(flags, "-gdwarf-5"): // it crashes
						continue
					case tool == "llvm-dwp" && strings.Contains(flags, "-gdwarf-5") && (compiler == "gcc" || strings.Contains(flags, "-gz")): // it never ends, or fails
						continue
					}
					if _, err := exec.LookPath(tool); err != nil {
						t.Logf("no %s", tool)
						continue
					}
					ctx, end := context.WithTimeout(t.Context(), time.Minute)
					defer end()
					c := exec.CommandContext(ctx, tool, "-e", "prog", "-o", "prog.dwp")
					if c.Dir = dir; c.Run() != nil {
						t.Errorf("%s failed", tool)
						continue
					}
					withoutObjects(t, dir, func() { checkSplit(t, bin) })
				}
				if strings.Contains(flags, "-gdwarf-5") {
					packFive(t, dir)
					withoutObjects(t, dir, func() { checkSplit(t, bin) })
				}
			})
		}
	}
}

// withoutObjects runs a function while there are no .dwo files in a folder; packages are gone afterwards.
func withoutObjects(t *testing.T, dir string, f func()) {
	t.Helper()
	away := filepath.Join(dir, "away")
	if err := os.Mkdir(away, 0o755); err != nil {
		t.Fatal(err)
	}
	move := func(from, to string) {
		for _, name := range []string{"a.dwo", "b.dwo"} {
			if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	move(dir, away)
	f()
	move(away, dir)
	if err := errors.Join(os.Remove(away), os.Remove(filepath.Join(dir, "prog.dwp"))); err != nil {
		t.Fatal(err)
	}
}

// packFive makes a package of DWARF 5 of the .dwo files of a folder, as the standard says: tools that can are new. A type that both have
// is kept of the first.
func packFive(t testing.TB, dir string) {
	t.Helper()
	le := binary.LittleEndian
	ids := map[string]uint32{infoSection: 1, abbrevSection: 3, offsetsSection: 6, listsSection: 8}
	names := []string{infoSection, abbrevSection, offsetsSection, listsSection}
	out := map[string][]byte{}
	type row struct {
		id     uint64
		pieces map[string][2]uint32
	}
	var units, types []row
	have := map[uint64]bool{}
	for _, object := range []string{"a.dwo", "b.dwo"} {
		file, err := elf.Open(filepath.Join(dir, object))
		if err != nil {
			t.Fatal(err)
		}
		own := map[string][]byte{}
		for _, s := range file.Sections {
			if name, is := strings.CutSuffix(s.Name, ".dwo"); is {
				raw, err := s.Data()
				if err != nil {
					t.Fatal(err)
				}
				own[name] = append(own[name], raw...)
			}
		}
		file.Close()
		for at := 8; at < len(own[offsetsSection]); at += 4 { // the texts are one section for all
			raw := own[offsetsSection][at:]
			le.PutUint32(raw, le.Uint32(raw)+uint32(len(out[textSection])))
		}
		out[textSection] = append(out[textSection], own[textSection]...)
		tables := map[string][2]uint32{}
		for _, name := range names[1:] {
			tables[name] = [2]uint32{uint32(len(out[name])), uint32(len(own[name]))}
			out[name] = append(out[name], own[name]...)
		}
		for at := 0; at < len(own[infoSection]); {
			unit := own[infoSection][at:]
			unit = unit[:4+le.Uint32(unit)]
			at += len(unit)
			r := row{le.Uint64(unit[12:]), maps.Clone(tables)}
			r.pieces[infoSection] = [2]uint32{uint32(len(out[infoSection])), uint32(len(unit))}
			if unit[6] == unitSplitType {
				if have[r.id] {
					continue
				}
				have[r.id] = true
				types = append(types, r)
			} else {
				units = append(units, r)
			}
			out[infoSection] = append(out[infoSection], unit...)
		}
	}
	index := func(rows []row) []byte {
		slots := uint64(1)
		for slots < 2*uint64(len(rows)) {
			slots *= 2
		}
		hashes, numbers := make([]uint64, slots), make([]uint32, slots)
		for i, r := range rows {
			at := r.id % slots
			for step := r.id>>32%slots | 1; numbers[at] != 0; at = (at + step) % slots {
			}
			hashes[at], numbers[at] = r.id, uint32(i+1)
		}
		words := []uint32{}
		for _, name := range names {
			words = append(words, ids[name])
		}
		for k := range 2 {
			for _, r := range rows {
				for _, name := range names {
					words = append(words, r.pieces[name][k])
				}
			}
		}
		var b bytes.Buffer
		for _, v := range []any{uint16(pack5), uint16(0), uint32(len(names)), uint32(len(rows)), uint32(slots), hashes, numbers, words} {
			if err := binary.Write(&b, le, v); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	args := []string{"-R", ".debug*"}
	add := func(name string, raw []byte) {
		file := filepath.Join(t.TempDir(), "section")
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--add-section", name+"="+file)
	}
	for name, raw := range out {
		add(name+".dwo", raw)
	}
	add(".debug_cu_index", index(units))
	if len(types) > 0 {
		add(".debug_tu_index", index(types))
	}
	in(t, dir, "objcopy", append(args, "b.dwo", "prog.dwp")...)
}

// TestSplitPlaces finds files where they were made, beside the program, and in the file system of a process.
func TestSplitPlaces(t *testing.T) {
	dir, bin := buildSplit(t, "gcc", "-gdwarf-5")
	checkSplit(t, "/proc/self/root"+bin)
	moved := t.TempDir()
	for _, name := range []string{"prog", "a.dwo", "b.dwo"} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(moved, name)); err != nil {
			t.Fatal(err)
		}
	}
	checkSplit(t, filepath.Join(moved, "prog"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(moved, "prog"), link); err != nil {
		t.Fatal(err)
	}
	checkSplit(t, link)
	in(t, moved, "objcopy", "--only-keep-debug", "prog", "prog.debug")
	in(t, moved, "strip", "--strip-debug", "prog")
	in(t, moved, "objcopy", "--add-gnu-debuglink=prog.debug", "prog")
	checkSplit(t, filepath.Join(moved, "prog"))
	packFive(t, moved)
	if err := errors.Join(os.Rename(filepath.Join(moved, "prog.dwp"), filepath.Join(moved, "prog.debug.dwp")), os.Remove(filepath.Join(moved, "a.dwo"))); err != nil {
		t.Fatal(err)
	}
	checkSplit(t, filepath.Join(moved, "prog"))

	for _, c := range []struct {
		places splitPlaces
		dir    string
		name   string
		want   string
	}{
		{splitPlaces{homes: []string{"/bin"}}, "/src/x", "a.dwo", "/src/x/a.dwo /bin/a.dwo"},
		{splitPlaces{homes: []string{"/bin"}}, "/src/x", "../o/a.dwo", "/src/o/a.dwo /o/a.dwo /bin/a.dwo"},
		{splitPlaces{homes: []string{"/bin"}}, "/src", "/o/a.dwo", "/o/a.dwo /bin/a.dwo"},
		{splitPlaces{homes: []string{"/bin"}}, ".", "o/a.dwo", "/bin/o/a.dwo /bin/a.dwo"},
		{splitPlaces{homes: []string{"bin"}}, "o", "a.dwo", "bin/o/a.dwo bin/a.dwo"},
		{splitPlaces{root: "/proc/7/root", homes: []string{"/bin"}}, "/src", "../../../../etc/a.dwo", "/proc/7/root/etc/a.dwo /proc/7/root/bin/a.dwo"},
		{splitPlaces{root: "/proc/7/root", homes: []string{"/bin"}}, "", "/../../a.dwo", "/proc/7/root/a.dwo /proc/7/root/bin/a.dwo"},
	} {
		if got := strings.Join(c.places.files(c.dir, c.name), " "); got != c.want {
			t.Errorf("%s in %s: got %s, want %s", c.name, c.dir, got, c.want)
		}
	}
}

// TestSplitContainer reads files that only a process has, in its own mount namespace.
func TestSplitContainer(t *testing.T) {
	dir, bin := buildSplit(t, "gcc", "-gdwarf-5")
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("no unshare")
	}
	hidden := t.TempDir()
	c := exec.Command(unshare, "-m", "sh", "-c", `mount -t tmpfs none "$1" && cp "$2"/prog "$2"/*.dwo "$1" && exec "$1"/prog wait`, "sh", hidden, dir)
	end, err1 := c.StdinPipe()
	said, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer end.Close()
	if n, err := said.Read(make([]byte, 8)); n == 0 {
		t.Skipf("no mount namespace: %v", err)
	}
	for _, name := range []string{"a.dwo", "b.dwo"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(hidden, "prog")); err == nil {
		t.Fatal("the files are in this namespace, too")
	}
	checkSplit(t, fmt.Sprintf("/proc/%d/root%s/prog", c.Process.Pid, hidden))
	checkSplit(t, fmt.Sprintf("/proc/%d/exe", c.Process.Pid))
	b := open(t, bin)
	f, err := b.Lookup("take")
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.Debug()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Func(f.Addr, "take"); err == nil {
		t.Error("read without its files")
	}
}

// splitError asks for the arguments of take, and for a type that is in the same file.
func splitError(t *testing.T, bin string) (named, args error) {
	t.Helper()
	b := open(t, bin)
	d, err := b.Debug()
	if err != nil {
		t.Fatal(err)
	}
	take, err1 := b.Lookup("take")
	far, err2 := b.Lookup("far")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	_, args = d.Func(take.Addr, "take")
	if _, err := d.Func(far.Addr, "far"); err != nil {
		t.Errorf("far, whose file is there: %v", err)
	}
	_, named = d.Named(far.Addr, "", "pair")
	return named, args
}

// TestSplitErrors has files that are missing, of another build and damaged.
func TestSplitErrors(t *testing.T) {
	dir, bin := buildSplit(t, "gcc", "-gdwarf-4")
	file := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) []byte {
		raw, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	write := func(name string, raw []byte) {
		if err := os.WriteFile(file(name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, b := read("a.dwo"), read("b.dwo")
	check := func(what string, wants ...string) {
		t.Helper()
		named, args := splitError(t, bin)
		for _, want := range append(wants, "files of its own (-gsplit-dwarf)") {
			if args == nil || !errors.Is(args, ErrDebug) || !strings.Contains(args.Error(), want) {
				t.Errorf("%s: got %v, want %s", what, args, want)
			}
			if named == nil || !strings.Contains(named.Error(), want) || !strings.Contains(named.Error(), "'pair'") {
				t.Errorf("%s: a type: got %v, want %s", what, named, want)
			}
		}
	}
	write("a.dwo", b)
	check("another build", file("a.dwo")+" is of another build than the program: no unit with the ID 0x")
	write("a.dwo", []byte("text"))
	check("no ELF file", file("a.dwo")+" cannot be read")
	write("a.dwo", a[:len(a)/2])
	check("half of a file", file("a.dwo")+" cannot be read")
	write("a.dwo", nil)
	check("an empty file", file("a.dwo")+" is empty")
	if err := os.Remove(file("a.dwo")); err != nil {
		t.Fatal(err)
	}
	check("no file", "there is no "+file("a.dwo"), "dwp -e prog -o prog.dwp")
	write("prog.dwp", []byte("text"))
	check("a package that is damaged", file("prog.dwp")+" cannot be read")
	write("b2.dwo", b)
	if _, err := exec.LookPath("dwp"); err != nil {
		t.Skip("no dwp")
	}
	in(t, dir, "dwp", "-o", "prog.dwp", "b2.dwo")
	check("a package without the unit", file("prog.dwp")+" is of another build than the program: it has no unit with the ID 0x")
	write("a.dwo", a)
	checkSplit(t, bin)

	d, err := open(t, bin).Debug()
	if err != nil {
		t.Fatal(err)
	}
	d.split.size = maxSearch
	if typ, err := d.Shortened(0, "struct", "secret"); typ != nil || err == nil || !strings.Contains(err.Error(), "256 MiB in 16384 files are searched at most") {
		t.Errorf("a search that was not whole: %v, %v", typ, err)
	}
	d.split.size = maxSplit
	take, err := open(t, bin).Lookup("take")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Func(take.Addr, "take"); err == nil || !strings.Contains(err.Error(), "more than 1024 MiB") {
		t.Errorf("too much: %v", err)
	}
}

// TestSplitDamage changes bytes of files and packages: that may give wrong types, or errors, and must end.
func TestSplitDamage(t *testing.T) {
	for _, flags := range []string{"-gdwarf-4 -fdebug-types-section", "-gdwarf-5 -fdebug-types-section"} {
		dir, bin := buildSplit(t, "gcc", flags)
		if strings.Contains(flags, "5") {
			packFive(t, dir)
		} else if _, err := exec.LookPath("dwp"); err == nil {
			in(t, dir, "dwp", "-e", "prog")
		}
		r := rand.New(rand.NewSource(1))
		for _, name := range []string{"prog.dwp", "a.dwo", "prog"} {
			path := filepath.Join(dir, name)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Logf("no %s", name)
				continue
			}
			for range 150 {
				raw := slices.Clone(whole)
				for range 1 + r.Intn(8) {
					raw[r.Intn(len(raw))] = byte(r.Intn(256))
				}
				if err := os.WriteFile(path, raw, 0o755); err != nil {
					t.Fatal(err)
				}
				b, err := Open(bin)
				if err != nil {
					continue
				}
				if d, err := b.Debug(); err == nil {
					for _, function := range []string{"take", "far"} {
						if f, err := b.Lookup(function); err == nil {
							d.Func(f.Addr, function)
							askAll(d, f.Addr)
						}
					}
				}
				b.Close()
			}
			if err := os.Remove(path); err != nil && name != "prog" {
				t.Fatal(err)
			}
		}
	}
}

// FuzzSplit asks a program for everything whose files that were split off are damaged.
func FuzzSplit(f *testing.F) {
	program := map[string]map[string][]byte{}
	for i, flags := range debugForms[:4] {
		dir, bin := buildSplit(f, "gcc", flags)
		file, err := elf.Open(bin)
		if err != nil {
			f.Fatal(err)
		}
		if program[flags], err = debugSections(file); err != nil {
			f.Fatal(err)
		}
		file.Close()
		if file, err = elf.Open(filepath.Join(dir, "a.dwo")); err != nil {
			f.Fatal(err)
		}
		s := map[string][]byte{}
		for _, section := range file.Sections {
			if raw, err := section.Data(); err == nil {
				s[section.Name] = append(s[section.Name], raw...)
			}
		}
		file.Close()
		f.Add(s[infoSection+".dwo"], s[abbrevSection+".dwo"], s[textSection+".dwo"], s[typesSection+".dwo"], s[offsetsSection+".dwo"], s[listsSection+".dwo"], i)
	}
	f.Fuzz(func(t *testing.T, info, abbrev, text, apart, offsets, lists []byte, i int) {
		d, err := parseDebug(maps.Clone(program[debugForms[uint(i)%4]]), ArgRegs(), splitPlaces{})
		if err != nil {
			t.Fatal(err)
		}
		d.index()
		k := d.split.skeletons[0]
		if err := d.addFuzzed(map[string][]byte{infoSection: info, abbrevSection: abbrev, textSection: text, typesSection: apart, offsetsSection: offsets, listsSection: lists}, k); err == nil {
			askAll(d, d.code[0].low)
		}
	})
}

// addFuzzed is addSplit, where the standard library may panic.
func (d *DebugInfo) addFuzzed(sections map[string][]byte, k *skeleton) (err error) {
	defer guard(&err)
	return d.addSplit(sections, k)
}

// FuzzPack reads damaged indices of packages.
func FuzzPack(f *testing.F) {
	dir, _ := buildSplit(f, "gcc", "-gdwarf-5 -fdebug-types-section")
	packFive(f, dir)
	file, err := elf.Open(filepath.Join(dir, "prog.dwp"))
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for _, name := range []string{".debug_cu_index", ".debug_tu_index"} {
		raw, err := file.Section(name).Data()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, units := &pack{}, map[uint64]int{}
		if p.indexUnits(raw, map[uint32]int{}, units) != nil {
			return
		}
		for _, o := range units {
			_ = p.objects[o]
		}
	})
}
