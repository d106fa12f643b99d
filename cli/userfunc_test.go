package cli

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

const cppTarget = `#include <cstdint>
namespace shop {
struct Cart { int n; Cart(int n); int add(int x); };
__attribute__((noinline)) Cart::Cart(int n) : n(n) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) int Cart::add(int x) { __asm__ volatile("" ::: "memory"); return n += x; }
__attribute__((noinline)) int price(int x) { __asm__ volatile("" ::: "memory"); return x * 2; }
__attribute__((noinline)) int price(int x, int y) { __asm__ volatile("" ::: "memory"); return x * y; }
template <typename T> __attribute__((noinline)) T twice(T x) { __asm__ volatile("" ::: "memory"); return x + x; }
}
int main() {
	int s = 0;
	for (int i = 0; i < 10; i++) {
		shop::Cart c(i);
		s += c.add(1);                // line 14
		s += shop::price(i);
		if (i % 2) s += shop::price(i, 3);
		s += shop::twice<int>(i) + shop::twice<long>(i);
	}
	return s == 0;
}
`

// TestDemangled probes functions of C++ by their names in the source, and one by the name in the file.
func TestDemangled(t *testing.T) {
	cxx, err := exec.LookPath("c++")
	bpftest.Require(t, err)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.cc", []byte(cppTarget), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := dir + "/target"
	if out, err := exec.Command(cxx, "-O1", "-g", "-fno-inline", "-o", bin, dir+"/main.cc").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := script(t, "-c", bin, "-e", fmt.Sprintf(`
		uprobe:%[1]s:cpp:"shop::price" { @all = count(); @names[probe] = count(); }
		uprobe:%[1]s:cpp:"shop::price(int, int)" { @two[arg1] = count(); }
		uprobe:%[1]s:_ZN4shop5priceEi { @mangled = count(); }
		uprobe:%[1]s:cpp:shop::Cart::* { @cart = count(); }
		uretprobe:%[1]s:cpp:"shop::Cart::add" { @sum = sum(retval); }
		uprobe:%[1]s:cpp:"shop::twice<*>" { @twice = count(); }
		uprobe:%[1]s@main.cc:14 { @line = count(); @at[probe] = count(); }
		uprobe:%[1]s@main.cc:16 { @loop = count(); }`, bin))
	want(t, r, "@all: 15", "@two[3]: 5", "@mangled: 10", "@cart: 20", "@sum: 55", "@twice: 20", "@line: 10", "@at[uprobe:"+bin+"@main.cc:14]: 10", "@loop: 10",
		"@names[uprobe:"+bin+":cpp:shop::price(int)]: 10", "@names[uprobe:"+bin+":cpp:shop::price(int, int)]: 5")
	if r := slope(t, "-l", "uprobe:"+bin+":cpp:shop::price"); r.out != "uprobe:"+bin+":cpp:shop::price(int)\nuprobe:"+bin+":cpp:shop::price(int, int)\n" {
		t.Errorf("got\n%s%s", r.out, r.err)
	}
	for _, c := range []struct{ probe, want string }{
		{"uprobe:" + bin + ":cpp:shop::prise { }", "no function 'shop::prise' of C++ or Rust in " + bin},
		{"uprobe:" + bin + "@main.cc:10 { } uprobe:" + bin + "@main.cc:2 { }", "no code at line 2 of main.cc"},
		{"uprobe:" + bin + "@main.cc:2 { }", "HINT: lines with code near by: 4 5 6"},
		{"uprobe:" + bin + "@other.cc:2 { }", "no source file 'other.cc' of " + bin},
		{"uprobe:" + bin + "@main.cc:x { }", "invalid number 'x' of a place in a source file"},
		{"uprobe:/bin/true@true.c:1 { }", "/bin/true has no debug information"},
	} {
		if r := slope(t, "-e", c.probe); r.status != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: want %q, got status %d\n%s", c.probe, c.want, r.status, r.err)
		}
	}
}

// TestPatterns names functions by alternatives and binaries by patterns, and lists them by the name that was written.
func TestPatterns(t *testing.T) {
	bin := buildC(t, strings.ReplaceAll(cTarget, "int main", `__attribute__((noinline)) int more(int n) { __asm__ volatile("" ::: "memory"); return n; }
int main`)+"__attribute__((constructor)) void early(void) { for (int i = 0; i < 10; i++) more(i); }\n")
	dir, _ := strings.CutSuffix(bin, "/target")
	r := script(t, "-c", bin, "-e", fmt.Sprintf(`
		uprobe:%[1]s:{work,more} { @both = count(); @by[probe] = count(); }
		uprobe:%[2]s/targ*:work { @pattern = count(); }
		uprobe:%[2]s/{target,targe*}:wor* { @question = count(); }`, bin, dir))
	want(t, r, "@both: 1010", "@by[uprobe:"+bin+":more]: 10", "@by[uprobe:"+bin+":work]: 1000", "@pattern: 1000", "@question: 2000")
}

func TestListUser(t *testing.T) {
	for pattern, line := range map[string]string{"uprobe:libc:mallo*": "libc.so.6:malloc\n", "uprobe:libc:malloc": "libc.so.6:malloc\n", "uprobe:libc": "libc.so.6:malloc\n", "u:/lib/*/libc.so.?:mallo*": "libc.so.6:malloc\n"} {
		r := slope(t, "-l", pattern)
		if r.status != 0 || !strings.Contains(r.out, line) {
			t.Errorf("%s: status %d\n%.500s%s", pattern, r.status, r.out, r.err)
		}
	}
}

// TestSession counts the calls and the returns of a function by one program at both and by one at each. The function begins
// with an instruction that costs ten times what the next one does when it is probed.
func TestSession(t *testing.T) {
	bin := buildC(t, cTarget, "-fcf-protection=full")
	for way, mechanism := range map[string]string{"session": " with its return by uprobe_session in ", "multi": " by uprobe_multi in ", "single": " by perf event in "} {
		t.Run(way, func(t *testing.T) {
			if way == "session" {
				bpftest.Require(t, new(bpf.Features).UprobeSession())
			}
			r := script(t, "-v", "--attach", "uprobe="+way, "-c", bin, "-e", fmt.Sprintf(`
				uprobe:%[1]s:work { @in[arg0 & 1] = count(); @entered[func] = count(); @start[tid] = nsecs; }
				uretprobe:%[1]s:work /@start[tid]/ { @out[retval & 3] = count(); @left[func] = count(); delete(@start, tid); }
				uretprobe:%[1]s:work { @again = count(); }`, bin))
			want(t, r, "@in[0]: 500", "@in[1]: 500", "@entered[work]: 1000", "@out[1]: 500", "@out[3]: 500", "@left[work]: 1000", "@again: 1000")
			links := 2
			if way == "session" {
				links = 1
			}
			if strings.Count(r.err, mechanism) != links || !strings.Contains(r.err, fmt.Sprintf("detached %d links", links)) {
				t.Errorf("want %d times %q\n%s", links, mechanism, r.err)
			}
		})
	}
}

// TestLoopToEntry probes a function whose loop goes back to the instruction after its endbr64: a call is entered and left
// once, however often it turns.
func TestLoopToEntry(t *testing.T) {
	bin := buildC(t, `asm(".globl turn\n.type turn, @function\nturn: endbr64\n1: mov %edi, %eax\ndec %edi\njg 1b\nret\n.size turn, .-turn");
		extern int turn(int); int main(void) { int n = 0; for (int i = 0; i < 100; i++) n += turn(7); return n != 100; }`)
	for _, way := range []string{"session", "multi", "single"} {
		if way == "session" && new(bpf.Features).UprobeSession() != nil {
			continue
		}
		r := script(t, "--attach", "uprobe="+way, "-c", bin, "-e", fmt.Sprintf(`uprobe:%[1]s:turn { @in[arg0] = count(); } uretprobe:%[1]s:turn { @out[retval] = count(); }`, bin))
		want(t, r, "@in[7]: 100", "@out[1]: 100")
	}
}
