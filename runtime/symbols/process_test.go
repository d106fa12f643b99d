package symbols

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// compile makes a program with a C or C++ compiler and returns its path.
func compile(t testing.TB, compiler, file, source string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath(compiler)
	bpftest.Require(t, err)
	dir := t.TempDir()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, cc, append([]string{"-O1", "-fno-inline", "-o", dir + "/target", path}, flags...)...)
	return dir + "/target"
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	bpftest.Require(t, err)
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// teller prints the address of a function of its own and waits until its input ends.
const teller = `
#include <stdio.h>
static int hidden(int n) { return n * 3; }
int main(int argc, char **argv) {
	printf("%p\n", (void *)(argc > 99 ? 0 : hidden));
	fflush(stdout);
	return getchar() == 'x' ? hidden(argc) : 0;
}
`

// tell starts a program that prints an address; it ends with the test.
func tell(t *testing.T, c *exec.Cmd) (pid int, addr uint64) {
	t.Helper()
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); c.Wait() })
	if _, err := fmt.Fscanf(out, "0x%x\n", &addr); err != nil {
		t.Fatal(err)
	}
	return c.Process.Pid, addr
}

// TestDebugFiles finds a static function of a stripped program in the file that it was stripped to, by its name, by its line
// and by the address in a process.
func TestDebugFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		put  func(t *testing.T, bin, debug, dir string) // the file where it belongs
		ok   bool
	}{
		{"build ID", func(t *testing.T, bin, debug, dir string) {
			move(t, debug, byBuildID(t, bin, dir))
		}, true},
		{"build ID, a pipe", func(t *testing.T, bin, debug, dir string) {
			pipe(t, byBuildID(t, bin, dir))
		}, false},
		{"build ID, of other code", func(t *testing.T, bin, _, dir string) {
			other := compile(t, "cc", "main.c", teller+"int more(int n) { return n * n; }", "-g")
			command(t, "objcopy", "--only-keep-debug", other, other+".dbg")
			move(t, other+".dbg", byBuildID(t, bin, dir))
		}, false},
		{"link, a pipe", func(t *testing.T, bin, debug, _ string) {
			command(t, "objcopy", "--add-gnu-debuglink="+debug, bin)
			os.Remove(debug)
			pipe(t, debug)
		}, false},
		{"link, beside the program", func(t *testing.T, bin, debug, _ string) {
			command(t, "objcopy", "--add-gnu-debuglink="+debug, bin)
		}, true},
		{"link, .debug", func(t *testing.T, bin, debug, _ string) {
			command(t, "objcopy", "--add-gnu-debuglink="+debug, bin)
			move(t, debug, filepath.Join(filepath.Dir(bin), ".debug", filepath.Base(debug)))
		}, true},
		{"link, the folder of debug files", func(t *testing.T, bin, debug, dir string) {
			command(t, "objcopy", "--add-gnu-debuglink="+debug, bin)
			move(t, debug, filepath.Join(dir, filepath.Dir(bin), filepath.Base(debug)))
		}, true},
		{"link, another checksum", func(t *testing.T, bin, debug, _ string) {
			command(t, "objcopy", "--add-gnu-debuglink="+debug, bin)
			f, err := os.OpenFile(debug, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("x"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"nothing", func(t *testing.T, bin, debug, dir string) { os.Remove(debug) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, dir := compile(t, "cc", "main.c", teller, "-g", "-Wl,--build-id=sha1"), t.TempDir()
			command(t, "objcopy", "--only-keep-debug", bin, bin+".dbg")
			command(t, "strip", "--strip-all", bin)
			c.put(t, bin, bin+".dbg", dir)
			b, err := Open(bin)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			b.debugDir = dir
			f, err := b.Lookup("hidden")
			if (err == nil) != c.ok {
				t.Fatalf("got %+v, %v", f, err)
			}
			line, err := b.Line("main.c", 3, 0)
			if !c.ok {
				if !errors.Is(err, ErrNoDebug) {
					t.Errorf("line 3: got %+v, %v", line, err)
				}
				return
			}
			if err != nil || len(line) != 1 || line[0].Name != "hidden" || line[0].FileOffset != f.FileOffset {
				t.Errorf("line 3: got %+v, %v, want %+v", line, err, f)
			}
			funcs := b.functions()
			if name, offset := funcs.find(f.Addr + 2); name != "hidden" || offset != 2 {
				t.Errorf("got %s+%d", name, offset)
			}
			if !strings.HasPrefix(c.name, "link, b") {
				return
			}
			pid, addr := tell(t, exec.Command(bin))
			var p Processes
			if name, offset, path, ok := p.Lookup(pid, addr+1); !ok || name != "hidden" || offset != 1 || path != bin {
				t.Errorf("in the process: got %s+%d, %s, %t", name, offset, path, ok)
			}
		})
	}
}

// byBuildID is where the debug file of a program belongs.
func byBuildID(t *testing.T, bin, dir string) string {
	t.Helper()
	b, err := Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	id := fmt.Sprintf("%x", b.BuildID())
	if len(id) != 40 {
		t.Fatalf("build ID %q", id)
	}
	return filepath.Join(dir, ".build-id", id[:2], id[2:]+".debug")
}

// pipe makes one that nobody writes to: it blocks who opens it.
func pipe(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestDemangled(t *testing.T) {
	bin := compile(t, "g++", "main.cc", `
#include <cstdio>
namespace shop { template <class T> struct Cart { int add(T n, const char *) { return int(n) + (getchar() == 'x'); } }; }
int main() {
	int (shop::Cart<long>::*f)(long, const char *) = &shop::Cart<long>::add;
	printf("%p\n", *(void **)&f);
	fflush(stdout);
	return shop::Cart<long>().add(1, "") > 9;
}
`)
	pid, addr := tell(t, exec.Command(bin))
	for mangled, want := range map[bool]string{false: "shop::Cart<long>::add(long, char const*)", true: "_ZN4shop4CartIlE3addElPKc"} {
		p := Processes{Mangled: mangled}
		if name, offset, _, ok := p.Lookup(pid, addr+4); !ok || name != want || offset != 4 {
			t.Errorf("got %s+%d, %t, want %s", name, offset, ok, want)
		}
	}
}

func TestParsePerfMap(t *testing.T) {
	f := parsePerfMap(strings.NewReader("2000 10 LazyCompile:~work /app/x.js:3:14\n0x1000 20 first\nnonsense\n1000 8 again\n3000 0 empty\n4000 10 half"))
	if want := []string{"again", "LazyCompile:~work /app/x.js:3:14"}; !slices.Equal(f.names, want) {
		t.Errorf("got %q, want %q", f.names, want)
	}
	for addr, want := range map[uint64]string{0xfff: "", 0x1000: "again", 0x1007: "again", 0x1008: "", 0x200f: "LazyCompile:~work /app/x.js:3:14", 0x2010: "", 0x4001: ""} {
		if name, _ := f.find(addr); name != want {
			t.Errorf("%#x: got %q, want %q", addr, name, want)
		}
	}
}

// TestPerfMap names functions that a process writes to memory as it runs: the list grows while it does, and lasts when it is
// gone.
func TestPerfMap(t *testing.T) {
	bin := compile(t, "cc", "main.c", `
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
	void *code = mmap(0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("%p\n", code);
	fflush(stdout);
	return getchar() == 'x';
}
`)
	pid, addr := tell(t, exec.Command(bin))
	path := fmt.Sprintf("/tmp/perf-%d.map", pid)
	t.Cleanup(func() { os.Remove(path) })
	put := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var p Processes
	expect := func(addr uint64, want string, at uint64) {
		t.Helper()
		name, offset, from, ok := p.Lookup(pid, addr)
		if name != want || ok != (want != "") || want != "" && (offset != at || filepath.Base(from) != filepath.Base(path)) {
			t.Errorf("got %q+%d of %q, %t, want %q+%d", name, offset, from, ok, want, at)
		}
	}
	expect(addr, "", 0)
	put(fmt.Sprintf("%x 40 first\n", addr))
	expect(addr+0x3f, "first", 0x3f)
	expect(addr+0x40, "", 0)
	put(fmt.Sprintf("%x 40 _ZN4shop3addEi\n", addr+0x40))
	expect(addr+0x48, "shop::add(int)", 8)
	put(fmt.Sprintf("%x 40 second\n", addr))
	expect(addr+1, "second", 1)
	os.Remove(path)
	p.Note(pid)
	expect(addr+1, "second", 1) // the process is the same
	p.byID[pid].started = "1"   // as if it were that of an earlier one
	p.Note(pid)
	expect(addr+1, "", 0)
}

// TestStartOf compares when processes have started with how long they have been running by another clock.
func TestStartOf(t *testing.T) {
	first, err := strconv.Atoi(startOf(1))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("cat")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := ticks(t)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer in.Close()
	after := ticks(t)
	if at, err := strconv.Atoi(startOf(c.Process.Pid)); err != nil || at < before || at > after || at <= first {
		t.Errorf("got %d, %v, want from %d to %d", at, err, before, after)
	}
	if got := startOf(1 << 30); got != "" {
		t.Errorf("no process: got %q", got)
	}
}

// ticks is the time since boot in hundredths of a second, as /proc counts it.
func ticks(t *testing.T) int {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return int(now.Nano() / 1e7)
}

// TestPerfMapOfContainer reads the list of a process that has a file system and numbers of its own: it is 1 there.
func TestPerfMapOfContainer(t *testing.T) {
	if os.Getuid() != 0 {
		bpftest.Require(t, errors.New("namespaces need root"))
	}
	bin, err := os.Open(compile(t, "cc", "main.c", `
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
	void *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FILE *map = fopen("/tmp/perf-1.map", "w");
	fprintf(map, "%lx 40 inside\n", (long)code);
	fclose(map);
	printf("%p\n", code);
	fflush(stdout);
	return getchar() == 'x';
}
`))
	if err != nil {
		t.Fatal(err)
	}
	defer bin.Close()
	c := exec.Command("sh", "-c", "mount -t tmpfs none /tmp && exec /proc/self/fd/3")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	c.ExtraFiles = []*os.File{bin}
	pid, addr := tell(t, c)
	var p Processes
	if name, offset, path, ok := p.Lookup(pid, addr+3); !ok || name != "inside" || offset != 3 || path != fmt.Sprintf("/proc/%d/root/tmp/perf-1.map", pid) {
		t.Errorf("got %s+%d, %s, %t", name, offset, path, ok)
	}
	if _, err := os.Stat("/tmp/perf-1.map"); err == nil {
		t.Error("the list is in our own file system")
	}
}

// TestPipesAreNotOpened looks for programs in a folder with a pipe: who waits for a reader goes on waiting.
func TestPipesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	pipe(t, dir+"/pipe")
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir+"/pipe", unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	if found, err := MatchPaths(dir+"/*", 0); err != nil || len(found) > 0 {
		t.Errorf("got %q, %v", found, err)
	}
	if _, err := Open(dir + "/pipe"); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
	var events [256]byte
	if n, err := unix.Read(watch, events[:]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("it was opened: %d bytes of events, %v", n, err)
	}
}
