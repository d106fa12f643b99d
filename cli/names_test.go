package cli

import (
	"strings"
	"testing"
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
