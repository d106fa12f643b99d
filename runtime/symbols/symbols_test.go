package symbols

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"github.com/slopebpf/slope/bpf/bpftest"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

const program = `package main

import (
	"fmt"
	"os"
)

type T struct{ n int }

//go:noinline
func small(n int) int { if n == 0 { return 1 }; return small(n-1) + n }

//go:noinline
func (t *T) Medium(n int) int {
	var a [300]int
	for i := range a { a[i] = n + i }
	if n == 0 { return a[0] }
	return t.Medium(n-1) + a[n%300]
}

//go:noinline
func large(n int) int {
	var a [20000]int
	for i := range a { a[i] = n ^ i }
	if n == 0 { return a[1] }
	return large(n-1) + a[n%20000]
}

//go:noinline
func leaf(n int) int { return n * 3 }

func main() {
	fmt.Fprintln(os.Stderr, small(10), (&T{}).Medium(3), large(2), leaf(4))
}
`

// build builds the program with flags and returns its path.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x\ngo 1.21\n", "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", append([]string{"build", "-o", "out"}, flags...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "out")
}

func open(t *testing.T, path string) *Binary {
	t.Helper()
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestGoProgram(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("x86-64 only")
	}
	for name, flags := range map[string][]string{"symbols": nil, "stripped": {"-ldflags=-s -w"},
		"position-independent": {"-buildmode=pie", "-ldflags=-s -w"}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, build(t, flags...))
			if !b.IsGo() || b.GoVersion() != runtime.Version() {
				t.Errorf("got version %q", b.GoVersion())
			}
			for fn, checked := range map[string]bool{"main.small": true, "main.(*T).Medium": true, "main.large": true, "main.leaf": false} {
				f, err := b.Lookup(fn)
				if err != nil {
					t.Error(err)
					continue
				}
				entry, err := b.Entry(f)
				if err != nil || checked != (entry > f.FileOffset) || entry-f.FileOffset > 48 {
					t.Errorf("%s at %#x: got entry %#x, %v", fn, f.FileOffset, entry, err)
				}
				returns, err := b.Returns(f)
				if err != nil || len(returns) == 0 {
					t.Errorf("%s: got returns %x, %v", fn, returns, err)
				}
				raw, err := os.ReadFile(b.Path)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range returns {
					if raw[r] != 0xc3 {
						t.Errorf("%s: got %#x at %#x", fn, raw[r], r)
					}
				}
				if checked && raw[entry] != 0x55 { // PUSHQ BP
					t.Errorf("%s: got %#x at the entry", fn, raw[entry])
				}
			}
			if _, err := b.Lookup("main.nothing"); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
			if got := b.Similar("main.smal"); !slices.Contains(got, "main.small") {
				t.Errorf("got %q", got)
			}
			if got := b.Similar("Medium"); !slices.Contains(got, "main.(*T).Medium") {
				t.Errorf("got %q", got)
			}
			all, err := b.Match("main.*")
			if err != nil || len(all) < 5 {
				t.Errorf("got %v, %v", all, err)
			}
		})
	}
}

// TestTableAgainstSymbols compares the function table with the symbols of the same program.
func TestTableAgainstSymbols(t *testing.T) {
	b := open(t, build(t))
	table, err := b.goFuncs()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]uint64{}
	table.each(func(name []byte, addr, _ uint64) bool { byName[string(name)] = addr; return true })
	n := 0
	b.each(func(name []byte, addr, _ uint64) bool {
		if got, ok := byName[string(name)]; ok && !strings.HasSuffix(string(name), "abi0") {
			n++
			if got != addr && strings.HasPrefix(string(name), "main.") {
				t.Errorf("%s: got %#x, want %#x", name, got, addr)
			}
		}
		return true
	})
	if n < 1000 {
		t.Errorf("only %d names in common", n)
	}
}

// TestDecodeEverything decodes every function of this test and of libc.
func TestDecodeEverything(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	libc, err := ResolvePath("libc", 0)
	if err != nil {
		t.Logf("no libc: %v", err)
	}
	for _, path := range []string{exe, libc} {
		if path == "" {
			continue
		}
		b := open(t, path)
		all, err := b.Match("*")
		if err != nil {
			t.Fatal(err)
		}
		bad, returns, checked := 0, 0, 0
		for _, f := range all {
			if f.Size == 0 {
				continue
			}
			r, err := b.Returns(f)
			if err != nil {
				if bad++; bad < 10 {
					t.Log(err)
				}
				continue
			}
			returns += len(r)
			if e, err := b.Entry(f); err == nil && e > f.FileOffset {
				checked++
			}
		}
		t.Logf("%s: %d functions, %d returns, %d with a later entry, %d not decoded", path, len(all), returns, checked, bad)
		if bad*100 > len(all) {
			t.Errorf("%s: %d of %d not decoded", path, bad, len(all))
		}
	}
}

func TestGoid(t *testing.T) {
	b := open(t, build(t))
	want, err := b.goidFromDWARF()
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.GoidOffset()
	if err != nil || got != want {
		t.Errorf("%s: got %d, %v; DWARF says %d", b.GoVersion(), got, err, want)
	}
	b.version = "go1.99"
	if got, err := b.GoidOffset(); err != nil || got != want {
		t.Errorf("from DWARF: got %d, %v", got, err)
	}
	stripped := open(t, build(t, "-ldflags=-s -w"))
	stripped.version = "go1.99"
	if _, err := stripped.GoidOffset(); !errors.Is(err, ErrGoid) {
		t.Errorf("got %v", err)
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{{"*", "", true}, {"a*c", "abc", true}, {"a*c", "abcd", false}, {"*bc*", "abcbd", true}, {"", "", true}, {"a", "", false},
		{"a**", "a", true}, {"*a*b", "aab", true}, {"vfs_*", "vfs_read", true}} {
		if got := matches(test.pattern, []byte(test.name)); got != test.want {
			t.Errorf("%q %q: got %v", test.pattern, test.name, got)
		}
	}
}

func TestInstructionLengths(t *testing.T) {
	for _, test := range []struct {
		code []byte
		n    int
	}{
		{[]byte{0xc5, 0xf8, 0x77}, 3},                                // vzeroupper
		{[]byte{0xc5, 0xfe, 0x6f, 0x06}, 4},                          // vmovdqu ymm0, [rsi]
		{[]byte{0xc5, 0xfe, 0x6f, 0x4e, 0x20}, 5},                    // vmovdqu ymm1, [rsi+0x20]
		{[]byte{0xc4, 0xe2, 0x7d, 0x78, 0xc0}, 5},                    // vpbroadcastb ymm0, xmm0
		{[]byte{0xc4, 0xe3, 0x7d, 0x39, 0xc8, 0x01}, 6},              // vextracti128 xmm0, ymm1, 1
		{[]byte{0x62, 0xe1, 0xfe, 0x28, 0x6f, 0x06}, 6},              // vmovdqu64 ymm16, [rsi]
		{[]byte{0x62, 0xf3, 0x7d, 0x20, 0x3f, 0xc0, 0x00}, 7},        // vpcmpb k0, ymm16, ymm0, 0
		{[]byte{0xc5, 0xfd, 0x74, 0x0d, 1, 2, 3, 4}, 8},              // vpcmpeqb ymm1, ymm0, [rip+x]
		{[]byte{0xf3, 0x0f, 0x1e, 0xfa}, 4},                          // endbr64
		{[]byte{0x66, 0x0f, 0x3a, 0x0f, 0xc1, 0x08}, 6},              // palignr
		{[]byte{0xf3, 0x48, 0x0f, 0x38, 0xf6, 0xc1}, 6},              // adox
		{[]byte{0x0f, 0x38, 0xcb, 0xd1}, 4},                          // sha256rnds2
		{[]byte{0x66, 0x0f, 0x38, 0xf6, 0x84, 0x24, 0, 1, 0, 0}, 10}, // adcx eax, [rsp+0x100]
	} {
		if in, err := step(append(test.code, 0x90, 0x90)); err != nil || in.size != test.n {
			t.Errorf("%x: got %d, %v", test.code, in.size, err)
		}
	}
}

func TestStackCheckOfOldGo(t *testing.T) {
	code := []byte{0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10, 0x76, 0x20, 0x48, 0x83, 0xec, 0x18}
	if got := stackCheck(code, true); got != 15 {
		t.Errorf("got %d", got)
	}
	if got := stackCheck(code, false); got != 0 {
		t.Errorf("as new Go: got %d", got)
	}
}

func TestResolvePath(t *testing.T) {
	self := os.Getpid()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ResolvePath("", self); err != nil || !strings.HasSuffix(got, "/exe") {
		t.Error(got, err)
	}
	for _, pid := range []int{0, self} {
		if got, err := ResolvePath(exe, pid); err != nil || got != exe {
			t.Error(got, err)
		}
		if got, err := ResolvePath("sh", pid); err != nil || !filepath.IsAbs(got) {
			t.Error(got, err)
		}
		if _, err := ResolvePath("no-such-command", pid); !errors.Is(err, ErrNoFile) {
			t.Error(err)
		}
		if libc, err := ResolvePath("libc", pid); err != nil {
			t.Log(err)
		} else if full, err := ResolvePath(filepath.Base(libc), pid); err != nil || !isELF(full) {
			t.Error(libc, full, err)
		}
	}
	t.Chdir(filepath.Dir(exe))
	if got, err := ResolvePath("./"+filepath.Base(exe), self); err != nil || got != exe {
		t.Error(got, err)
	}
	if _, err := ResolvePath("sh", 1<<22+1); !errors.Is(err, ErrNoFile) {
		t.Error(err)
	}
}

func TestLibraryNames(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       bool
	}{{"libc", "libc.so.6", true}, {"libc", "libcrypt.so.1", false}, {"libssl.so.3", "libssl.so.3", true},
		{"libssl.so", "libssl.so.3", true}, {"libssl.so.3", "libssl.so.30", false}, {"libc", "libc.a", false}} {
		if got := means(test.name, test.file); got != test.want {
			t.Errorf("%s %s: got %v", test.name, test.file, got)
		}
	}
}

// TestRegisters compares the table with the layout the kernel documents.
func TestRegisters(t *testing.T) {
	for i, r := range Registers() {
		if r.Offset != 8*i {
			t.Errorf("%s: got %d", r.Name, r.Offset)
		}
	}
	for _, abi := range []ABI{ArgRegs(), GoArgRegs()} {
		for _, r := range abi.Args {
			if !slices.Contains(Registers(), r) {
				t.Errorf("%v is not in the table", r)
			}
		}
	}
}

func TestNotELF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := Open(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	pipe(t, path+"p")
	if _, err := Open(path + "p"); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func FuzzStep(f *testing.F) {
	f.Add([]byte{0xc5, 0xfe, 0x6f, 0x4e, 0x20})
	f.Add([]byte{0x66, 0x0f, 0x3a})
	f.Fuzz(func(t *testing.T, code []byte) {
		for rest := code; len(rest) > 0; {
			step, err := step(rest)
			n := step.size
			if err != nil {
				break
			}
			if n <= 0 || n > len(rest) {
				t.Fatalf("%x: length %d", rest, n)
			}
			if in, err := x86asm.Decode(rest, 64); err == nil && in.Op != 0 && vectorLength(rest) == 0 && in.Len != n {
				t.Fatalf("%x: got %d, want %d", rest, n, in.Len)
			}
			rest = rest[n:]
		}
		stackCheck(code, true)
		stackCheck(code, false)
	})
}

func FuzzTables(f *testing.F) {
	head := binary.LittleEndian.AppendUint32(nil, magic120)
	f.Add(append(head, append([]byte{0, 0, 1, 8}, make([]byte, 200)...)...))
	f.Add([]byte("glibc-ld.so.cache1.1" + strings.Repeat("\x03", 100)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if table, _, err := parseFuncTable(raw); err == nil {
			table.each(func(_ []byte, _, _ uint64) bool { return true })
		}
		lookupCache(raw, "libc")
	})
}

// TestArguments keeps the order of Go's argument registers.
func TestArguments(t *testing.T) {
	var names []string
	for _, r := range GoArgRegs().Args {
		names = append(names, r.Name)
	}
	if want := []string{"ax", "bx", "cx", "di", "si", "r8", "r9", "r10", "r11"}; !reflect.DeepEqual(names, want) {
		t.Errorf("got %q", names)
	}
}

// TestLinksInRoot finds files by links of a process whose root is another directory: none leads out of it.
func TestLinksInRoot(t *testing.T) {
	root := t.TempDir()
	goTool, err := exec.LookPath("go")
	bpftest.Require(t, err)
	if err := os.WriteFile(root+"/main.go", []byte("package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"up\\n\"); os.Stdin.Read(make([]byte, 1)) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"real/bin", "etc", "lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command(goTool, "build", "-o", root+"/real/bin/prog", root+"/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for link, target := range map[string]string{"absolute": "/real/bin/prog", "dir": "/real", "etc/alternative": "/absolute", "up": "../../../../../../real/bin/prog", "out": "/etc/passwd",
		"loop": "/loop", "relative": "etc/../dir/bin/prog"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("/real/bin/prog")
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	c.Dir = "/"
	end, err1 := c.StdinPipe()
	said, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer end.Close()
	if _, err := said.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("/proc/%d/root/real/bin/prog", c.Process.Pid)
	for _, name := range []string{"/real/bin/prog", "/absolute", "/dir/bin/prog", "/etc/alternative", "/up", "/relative", "/../absolute", "/nowhere/../absolute", "./absolute", "etc/alternative", "dir/bin/prog"} {
		if got, err := ResolvePath(name, c.Process.Pid); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"/out", "/loop", "/nowhere", "/dir"} {
		if got, err := ResolvePath(name, c.Process.Pid); err == nil {
			t.Errorf("%s: got %s", name, got)
		}
	}
	linked := fmt.Sprintf("/proc/%d/root/etc/alternative", c.Process.Pid)
	if got, err := ResolvePath(linked, 0); err != nil || got != want {
		t.Errorf("%s: got %s, %v, want %s", linked, got, err, want)
	}
	if b := open(t, linked); b.Path != want { // else the kernel would attach to another file than is read
		t.Errorf("opened %s as %s", linked, b.Path)
	}
	if f, err := OpenRegular(fmt.Sprintf("/proc/%d/root/out", c.Process.Pid)); err == nil {
		t.Errorf("opened %s out of the root", f.Name())
	}
	if got, err := MatchPaths("/ab*", c.Process.Pid); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %v, %v", got, err)
	}
}
