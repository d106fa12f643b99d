package cli

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// usdtTarget carries static probes of its own making: the notes that SystemTap's header would write. It fires loop:step
// 1000 times at one place and 500 times at another that keeps its arguments elsewhere, loop:armed as often as its
// semaphore is set, and other:step once. It reports how often it saw the semaphore.
const usdtTarget = `
#include <stdio.h>
#include <stdint.h>
#define STR(x) #x
#define PROBE(provider, name, semaphore, args, ...) __asm__ volatile( \
	"771: nop\n" \
	".pushsection .note.stapsdt,\"\",\"note\"\n" \
	".balign 4\n.4byte 773f-772f, 775f-774f, 3\n" \
	"772: .asciz \"stapsdt\"\n773: .balign 4\n" \
	"774: .8byte 771b, marker, " semaphore "\n.asciz \"" provider "\", \"" name "\"\n.asciz \"" args "\"\n775: .balign 4\n" \
	".popsection\n" :: __VA_ARGS__ : "memory")

__asm__(".pushsection .stapsdt.base,\"a\",\"progbits\"\n.globl marker\nmarker: .space 1\n.popsection\n"
	".pushsection .probes,\"aw\",\"progbits\"\n.globl armed_semaphore\n.balign 2\narmed_semaphore: .2byte 0\n.popsection\n");
extern volatile uint16_t armed_semaphore;
static volatile int16_t counter = -1;
static int32_t table[8] = {10, 20, 30, 40, 50, 60, 70, 80};

int main(void) {
	char text[8] = "hello";
	int seen = 0;
	for (int32_t i = 0; i < 1000; i++) {
		int32_t minus = -(i % 3);
		volatile int64_t on_stack[2] = {i % 2, 7};
		counter = (int16_t)(i % 4 - 5);
		PROBE("loop", "step", "0", "-4@%k0 8@%1 -8@$-42 -2@counter(%%rip) 4@(%2,%3,4) -8@8+%4 1@%b5 8f@%%xmm0 -1@%%ah",
			"r"(minus), "r"(text), "r"(table), "r"((uint64_t)(i % 8)), "m"(*on_stack), "q"(i % 2 + 254), "a"(0xfe00));
		if (armed_semaphore) {
			seen++;
			PROBE("loop", "armed", "armed_semaphore", "");
		}
	}
	for (int i = 0; i < 500; i++) {
		volatile int32_t minus = -9;
		PROBE("loop", "step", "0", "-4@%0 8@%1 4@$0x2a -2@counter(%%rip) 4@$1 -4@$1 1@$1 4@$1 -4@$1", "m"(minus), "r"(text));
	}
	PROBE("other", "step", "0", "");
	printf("seen %d\n", seen);
	return 0;
}
`

// TestUSDT counts the hits of static probes against the program's own loop, by the values of all forms of arguments.
func TestUSDT(t *testing.T) {
	for _, flags := range []string{"-O2", "-O0", "-O2 -no-pie"} {
		t.Run(flags, func(t *testing.T) {
			bin := buildC(t, usdtTarget, strings.Fields(flags)...)
			r := script(t, "-c", bin, "-e", fmt.Sprintf(`
				usdt:%[1]s:loop:step { @n = count(); @a0[arg0] = count(); @text[str(arg1)] = count(); @a2[arg2] = count(); @a3[arg3] = count(); @a4[arg4] = count(); @a5[arg5] = count(); @a6[arg6] = count(); @a8[arg8] = count(); @p[probe] = count(); }
				U:%[1]s:loop:armed { @armed = count(); }
				usdt:%[1]s:o*er:s* { @other = count(); }`, bin))
			want(t, r, "@n: 1500", "@text[hello]: 1500", "@armed: 1000", "@other: 1", "seen 1000", "@p[usdt:"+bin+":loop:step]: 1500",
				"@a0[0]: 334", "@a0[-1]: 333", "@a0[-2]: 333", "@a0[-9]: 500", "@a2[-42]: 1000", "@a2[42]: 500", "@a3[-5]: 250", "@a3[-4]: 250", "@a3[-3]: 250", "@a3[-2]: 750",
				"@a4[1]: 500", "@a4[10]: 125", "@a4[80]: 125", "@a5[7]: 1000", "@a5[1]: 500", "@a6[254]: 500", "@a6[255]: 500", "@a6[1]: 500", "@a8[-2]: 1000", "@a8[1]: 500")
			perf := script(t, "--attach", "uprobe=single", "-c", bin, "-e", fmt.Sprintf("usdt:%[1]s:loop:armed { @armed = count(); } usdt:%[1]s:loop:step { @n = count(); }", bin))
			want(t, perf, "@armed: 1000", "@n: 1500", "seen 1000")
			if plain := slope(t, "-e", "usdt:"+bin+":loop:armed { @ = count(); } interval:ms:1 { exit(); }"); plain.status != 0 {
				t.Errorf("status %d\n%s", plain.status, plain.err)
			}
			if out, err := exec.Command(bin).Output(); err != nil || string(out) != "seen 0\n" { // it is set while attached only
				t.Errorf("got %q, %v", out, err)
			}
		})
	}
}

// TestUSDTNames are the ways to name static probes, and what is said where there are none.
func TestUSDTNames(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	bin := buildC(t, usdtTarget)
	list := func(args ...string) string {
		t.Helper()
		r := slope(t, args...)
		if r.status != 0 {
			t.Errorf("slope %q: status %d\n%s", args, r.status, r.err)
		}
		return r.out
	}
	all := "usdt:" + bin + ":loop:step\nusdt:" + bin + ":loop:armed\nusdt:" + bin + ":other:step\n"
	if got := list("-l", "usdt:"+bin+":*"); got != all {
		t.Errorf("got\n%s", got)
	}
	if got := list("-l", "usdt:"+bin+":loop:a*"); got != "usdt:"+bin+":loop:armed\n" {
		t.Errorf("got\n%s", got)
	}
	if got := list("-l", "usdt:"+bin); got != all {
		t.Errorf("got\n%s", got)
	}
	if got := list("-lv", "usdt:"+bin+":loop:step"); !strings.Contains(got, "    int32 arg0\n    uint64 arg1\n") || !strings.Contains(got, "    unreadable (8f@%xmm0) arg7\n") {
		t.Errorf("got\n%s", got)
	}
	for _, c := range []struct{ probe, want string }{
		{"usdt:" + bin + ":step { }", "several providers of " + bin + " have a probe 'step': name one\n"},
		{"usdt:" + bin + ":step { }", "HINT: providers: loop, other"},
		{"usdt:" + bin + ":loop:stpe { }", "HINT: did you mean 'step'?"},
		{"usdt:" + bin + ":lop:step { }", "HINT: did you mean 'loop'?"},
		{"usdt:" + bin + ":loop:armed { print(arg0); }", "arg0 does not exist: usdt:" + bin + ":loop:armed has no arguments"},
		{"usdt:" + bin + ":loop:step { print(arg7); }", "arg7 of usdt:" + bin + ":loop:step cannot be read: the program keeps it in 8f@%xmm0"},
		{"usdt:" + bin + ":loop:step { print(arg9); }", "arg9 does not exist: the highest is arg8"},
		{"usdt:/bin/true:a:b { }", "no static probes in /bin/true"},
		{"usdt:step { }", "a usdt probe has a binary"},
		{"usdt:/no/such*:a:b { }", "no executable or library matches '/no/such*'"},
	} {
		if r := slope(t, "-e", c.probe); r.status != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: want %q, got status %d\n%s", c.probe, c.want, r.status, r.err)
		}
	}
}

// TestUSDTOfProcess names no binary, or a pattern, with -p.
func TestUSDTOfProcess(t *testing.T) {
	bin := buildC(t, strings.Replace(usdtTarget, "char text", "getchar(); char text", 1))
	for _, probe := range []string{"usdt:*:loop:step", "usdt:targ*:loop:step", "usdt:*:armed", "usdt:armed"} {
		target := exec.Command(bin)
		in, err := target.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := target.Start(); err != nil {
			t.Fatal(err)
		}
		p := trace(t, "-p", fmt.Sprint(target.Process.Pid), "-e", probe+` { @n = count(); }`)
		in.Write([]byte("x"))
		r := p.wait(t)
		if err := target.Wait(); err != nil {
			t.Error(err)
		}
		n := "@n: 1500"
		if strings.HasSuffix(probe, "armed") {
			n = "@n: 1000"
		}
		want(t, r, n)
	}
}
