package cli

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// stepper waits for a line, touches 2000 fresh pages and writes a variable 1000 times, says how many page faults it had
// meanwhile, and waits for another line, which may be to write as often again.
const stepper = `
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
volatile long counter;
int main() {
	char line[8];
	struct rusage before, after;
	printf("%p\n", (void *)&counter);
	fflush(stdout);
	fgets(line, sizeof line, stdin);
	getrusage(RUSAGE_SELF, &before);
	char *p = mmap(0, 2000 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(p, 2000 * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < 2000; i++) p[i * 4096] = 1;
	for (int i = 0; i < 1000; i++) counter++;
	getrusage(RUSAGE_SELF, &after);
	printf("%ld\n", after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt);
	fflush(stdout);
	while (fgets(line, sizeof line, stdin) && line[0] == 'a') {
		for (int i = 0; i < 1000; i++) counter++;
		printf("again\n");
		fflush(stdout);
	}
	return 0;
}
`

// stepping is a stepper: its process, what it is told and what it says, and where its variable is.
func stepping(t *testing.T) (pid string, in io.Writer, answers *bufio.Reader, address string) {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	cmd := exec.Command(buildC(t, stepper))
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { orders.Close(); cmd.Wait() })
	answers = bufio.NewReader(out)
	return fmt.Sprint(cmd.Process.Pid), orders, answers, answer(t, answers)
}

func answer(t *testing.T, from *bufio.Reader) string {
	t.Helper()
	line, err := from.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestCounters compares what software events and a watchpoint count with what the program knows.
func TestCounters(t *testing.T) {
	pid, in, answers, address := stepping(t)
	p := trace(t, "-p", pid, "-e", fmt.Sprintf(
		"watchpoint:%s:8:w { @writes = count(); } software:page-faults:1 { @faults = count(); } software:faults:100 { @hundreds = count(); }",
		address))
	io.WriteString(in, "go\n")
	faults := answer(t, answers)
	io.WriteString(in, "end\n")
	r := p.wait(t)
	if n := number(t, r.out, `@writes: (\d+)`); n != 1000 {
		t.Errorf("%d writes, want 1000", n)
	}
	var own int
	fmt.Sscan(faults, &own)
	// What the program does before and after it counts itself may fault a few times more.
	if n := number(t, r.out, `@faults: (\d+)`); own < 2000 || n < own || n > own+20 {
		t.Errorf("%d page faults, the program had %d", n, own)
	}
	if n := number(t, r.out, `@hundreds: (\d+)`); n < 20 || n > 21 {
		t.Errorf("%d hundreds of page faults, the program had %d", n, own)
	}
	for _, c := range [][2]string{
		{"software:page-fault { @ = count(); }", `unknown software event 'page-fault'.*did you mean 'page-faults'`},
		{"software:cs:0 { @ = count(); }", `invalid count '0'`},
		{"watchpoint:0x1001:8:w { @ = count(); }", `no multiple of the length 8`},
		{"watchpoint:0x1000:8:r { @ = count(); }", `invalid mode 'r'`},
		{"watchpoint:0x1000:3:w { @ = count(); }", `invalid length '3'`},
	} {
		if r := slope(t, "-e", c[0]); r.status != 1 || !regexp.MustCompile("(?s)"+c[1]).MatchString(r.err) {
			t.Errorf("%s: status %d\n%s", c[0], r.status, r.err)
		}
	}
}

// TestUnwatch ends a watchpoint from its own action; another probe of the script goes on.
func TestUnwatch(t *testing.T) {
	pid, in, answers, address := stepping(t)
	p := trace(t, "-p", pid, "-e", fmt.Sprintf(
		`watchpoint:%s:8:w { @writes = count(); if (@seen++ == 500) { unwatch(%s); printf("ended\n"); } } software:page-faults:1 { @faults = count(); }`, address, address))
	io.WriteString(in, "go\n")
	answer(t, answers)
	bpftest.Eventually(t, 10*time.Second, "unwatched", func() bool { return strings.Contains(p.out.String(), "ended") })
	io.WriteString(in, "again\n")
	answer(t, answers)
	io.WriteString(in, "end\n")
	r := p.wait(t)
	// The first thousand may all have been written by the time that the watchpoint ends.
	if n := number(t, r.out, `@writes: (\d+)`); n < 501 || n > 1000 {
		t.Errorf("%d writes, want 501 to 1000", n)
	}
	if n := number(t, r.out, `@faults: (\d+)`); n < 2000 {
		t.Errorf("%d page faults, want 2000", n)
	}
}
