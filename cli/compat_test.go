package cli

import (
	"os/exec"
	"testing"
)

// compatTarget makes a thousand 32-bit system calls with the number that close has among the 64-bit ones, and ten closes.
const compatTarget = `
#include <unistd.h>
int main(void) {
	for (int i = 0; i < 1000; i++) {
		long r;
		__asm__ volatile("int $0x80" : "=a"(r) : "a"(3), "b"(-1), "c"(0), "d"(0) : "memory");
	}
	for (int i = 0; i < 10; i++)
		close(999);
	return 0;
}
`

// TestCompat leaves out the system calls of 32-bit programs, whose numbers mean others, as the tracepoints do.
func TestCompat(t *testing.T) {
	bin := buildC(t, compatTarget)
	if err := exec.Command(bin).Run(); err != nil {
		t.Skipf("the kernel feature IA32 emulation is missing: %v", err)
	}
	r := script(t, "-c", bin, "-e", `
		tracepoint:syscalls:sys_enter_close /comm == "target"/ { @close[args.fd == 999] = count(); }
		tracepoint:syscalls:sys_exit_close /comm == "target"/ { @left = count(); }
		tracepoint:raw_syscalls:sys_enter /comm == "target" && args.id == 3/ { @raw = count(); }`)
	want(t, r, "@close[true]: 10")
	if n := number(t, r.out, `@left: (\d+)`); n < 10 || n > 100 {
		t.Errorf("%d closes returned, want the program's 10 and a few of its start", n)
	}
	if n := number(t, r.out, `@raw: (\d+)`); n < 1010 {
		t.Errorf("the raw event counts %d calls with the number, want all 1010 and a few", n)
	}
}
