package cli

import (
	"debug/elf"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestAddresses probes instructions by their addresses as linked, which are places in the file only in some programs, and by offsets
// into functions. Where one is inside of an instruction, or may be, the program would crash: that needs --unsafe.
func TestAddresses(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	const source = `
__attribute__((noinline)) int f(int x) { __asm__ volatile("lea 1(%%rdi,%%rdi,2), %%eax" ::: "eax"); return x; }
__attribute__((noinline)) int slow(int x) { return x - 1; }
int (*pick(void))(int) { return slow; }
int chosen(int) __attribute__((ifunc("pick")));
int bare(int x); // without a size
__asm__(".globl bare\n.type bare, @function\nbare: nop\n lea 1(%rdi), %eax\n inner: lea 2(%rdi), %eax\n ret\n.type inner, @function\n.size inner, 4");
int main(void) { for (int i = 0; i < 10; i++) bare(chosen(f(i))); return 0; }
`
	for _, flag := range []string{"-no-pie", "-pie"} {
		bin := buildC(t, source, "-g", "-fcf-protection=none", flag)
		file, err := elf.Open(bin)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := file.Symbols()
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		addrs := map[string]uint64{}
		for _, s := range symbols {
			addrs[s.Name] = s.Value
		}
		addr := addrs["f"]
		stripped := bin + ".stripped"
		if out, err := exec.Command("strip", "-s", "-o", stripped, bin).CombinedOutput(); err != nil {
			t.Fatalf("strip: %v: %s", err, out)
		}
		for _, c := range []struct {
			bin, place string
			args       []string
			want       string // "" where it counts the calls
		}{
			{bin, fmt.Sprintf("%#x", addr), nil, ""},
			{bin, "f+0", nil, ""},
			{bin, fmt.Sprintf("%#x", addr+4), nil, ""},
			{bin, "f+4", nil, ""},
			{bin, fmt.Sprintf("%#x", addrs["bare"]), nil, ""},
			{bin, fmt.Sprintf("%#x", addrs["inner"]), nil, ""},
			{bin, "bare+1", nil, ""},
			{bin, "bare+2", nil, "instructions begin at bare+1 and bare+4"},
			{bin, "f+1", nil, "could not add uprobe into middle of instruction: " + bin + ":f+1 would crash the program; instructions begin at f+0 and f+4"},
			{bin, fmt.Sprintf("%#x", addr+3), nil, "middle of instruction: " + bin + ":f+3"},
			{bin, "0x10", nil, "has no code at 0x10"},
			{bin, "0xffffffffffff0000", nil, "has no code at 0xffffffffffff0000"},
			{stripped, fmt.Sprintf("%#x", addr), nil, "has no function at"},
			{stripped, fmt.Sprintf("%#x", addr), []string{"--unsafe"}, ""},
		} {
			r := slope(t, append(c.args, "-e", "uprobe:"+c.bin+":"+c.place+" { @calls = count(); }", "-c", c.bin)...)
			switch {
			case c.want == "" && (r.status != 0 || !strings.Contains(r.out, "@calls: 10\n")),
				c.want != "" && (r.status != 1 || !strings.Contains(r.err, c.want) || strings.Contains(r.err, "Attached")):
				t.Errorf("%s %s: status %d, want %q\n%s%s", flag, c.place, r.status, c.want, r.out, r.err)
			}
		}
		for probe, want := range map[string]string{"uprobe:" + bin + ":f+0 { @sum = sum(args.x); }": "@sum: 45\n", "uretprobe:" + bin + ":f+4 { }": "takes no address or offset, got 'f+4'",
			fmt.Sprintf("uretprobe:%s:%#x { }", bin, addr): "takes no address or offset"} {
			if r := slope(t, "-e", probe, "-c", bin); !strings.Contains(r.out+r.err, want) {
				t.Errorf("%s %s: status %d\n%s%s", flag, probe, r.status, r.out, r.err)
			}
		}
		r := slope(t, "-e", "uprobe:"+bin+":chosen { @chosen = count(); } uprobe:"+bin+":slow { @slow = count(); }", "-c", bin)
		if r.status != 0 || !strings.Contains(r.out, "@chosen: 1\n") || !strings.Contains(r.out, "@slow: 10\n") || strings.Count(r.err, "chooses which of several functions is called by its name") != 1 {
			t.Errorf("%s: status %d\n%s%s", flag, r.status, r.out, r.err)
		}
	}
}
