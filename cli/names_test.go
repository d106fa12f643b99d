package cli

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/symbols"
)

// TestDemangledOutput prints the functions of a program whose names are as a C++ compiler makes them.
func TestDemangledOutput(t *testing.T) {
	bin := buildC(t, `
int add(int n) __asm__("_ZN4shop4Cart3addEi");
__attribute__((noinline)) int add(int n) { __asm__ volatile(""); return n + 1; }
int main(int argc, char **argv) { return add(argc) == 77; }
`, "-no-pie")
	text := `uprobe:` + bin + `:_ZN4shop4Cart3addEi { @stack[ustack(1)] = count(); @sym[usym(reg("ip"))] = count(); @func[func] = count(); }`
	r := script(t, "-c", bin, "-e", text)
	want(t, r, "@func[shop::Cart::add(int)]: 1", "@sym[shop::Cart::add(int)]: 1")
	if !strings.Contains(r.out, "@stack[\n    shop::Cart::add(int)+") {
		t.Errorf("the stack:\n%s", r.out)
	}
	for _, off := range []string{"false", "0"} {
		r = script(t, "-c", bin, "-e", "config = { cpp_demangle = "+off+" } "+text)
		want(t, r, "@func[_ZN4shop4Cart3addEi]: 1", "@sym[_ZN4shop4Cart3addEi]: 1")
		if !strings.Contains(r.out, "@stack[\n    _ZN4shop4Cart3addEi+") {
			t.Errorf("the stack:\n%s", r.out)
		}
	}
	if r := slope(t, "-e", `config = { cpp_demangle = maybe } begin { exit(); }`); r.status == 0 || !strings.Contains(r.err, "invalid value for 'cpp_demangle'") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestBuildID prints the calls of a program by its build ID and their places in its file, as readelf and its symbols tell
// them.
func TestBuildID(t *testing.T) {
	bin := buildC(t, `
#include <unistd.h>
__attribute__((noinline)) int add(int n) { __asm__ volatile(""); return n + 1; }
int main(int argc, char **argv) { for (;;) { usleep(add(1000)); } }
`, "-Wl,--build-id=sha1")
	readelf, err := exec.LookPath("readelf")
	bpftest.Require(t, err)
	notes, err := exec.Command(readelf, "-n", bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, id, _ := strings.Cut(string(notes), "Build ID: ")
	id, _, _ = strings.Cut(id, "\n")
	b, err := symbols.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f, err := b.Lookup("add")
	if err != nil {
		t.Fatal(err)
	}
	at, err := b.Entry(f)
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("\n%s 0x%x\n", id, at)
	text := `uprobe:` + bin + `:add { printf("<%s>", MODE); exit(); }`
	r := script(t, "-c", bin, "-e", strings.Replace(text, "MODE", "ustack(build_id, 1)", 1))
	if len(id) != 40 || !strings.Contains(r.out, "<"+line+">") {
		t.Errorf("want %q in\n%s", line, r.out)
	}
	r = script(t, "-c", bin, "-e", `config = { stack_mode = build_id } `+strings.Replace(text, "MODE", "ustack(1)", 1))
	if !strings.Contains(r.out, "<"+line+">") {
		t.Errorf("want %q in\n%s", line, r.out)
	}
	r = script(t, "-e", `config = { stack_mode = build_id } tracepoint:sched:sched_switch { printf("<%s>", kstack(1)); exit(); }`)
	if !strings.Contains(r.err, "WARNING: kstack has no mode 'build_id'") || !regexp.MustCompile(`<\n[0-9a-f]{16}\n>`).MatchString(r.out) {
		t.Errorf("%s%s", r.err, r.out)
	}
	if r := slope(t, "-e", `begin { print(kstack(build_id)); }`); r.status == 0 || !strings.Contains(r.err, "unknown mode 'build_id' of kstack") || !strings.Contains(r.err, "bpftrace, perf, raw") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
