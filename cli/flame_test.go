package cli

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

const spinner = `package main

//go:noinline
func spin(n uint64) uint64 {
	for {
		n = n*6364136223846793005 + 1
	}
}

func main() { spin(1) }
`

// TestFlame samples a program that does nothing but spin in one function.
func TestFlame(t *testing.T) {
	p := start(t, exec.Command(build(t, spinner)))
	pid := strconv.Itoa(p.cmd.Process.Pid)
	ticks := func() int { // of its time on CPUs, in hundredths of a second
		return number(t, read(t, "/proc/"+pid+"/stat"), `\) [A-Z](?: \S+){10} (\d+)`)
	}
	before := ticks()
	r := script(t, "flame", "--for", "1s", "-p", pid, "--format", "folded")
	ran := ticks() - before
	total, spinning := 0, 0
	for _, line := range lines(r.out) {
		at := strings.LastIndexByte(line, ' ')
		n, err := strconv.Atoi(line[at+1:])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		total += n
		if strings.Contains(line, "main.spin") {
			spinning += n
		}
	}
	// It runs while slope starts and ends, too; 99 samples are a second. A hypervisor takes time that is sampled and not counted.
	if total < 1 || total < ran/4 || total > ran*3/2+2 || spinning < total*9/10 {
		t.Errorf("%d of %d samples are in main.spin, it ran for %d0 ms:\n%s", spinning, total, ran, r.out)
	}
	folded := write(t, "stacks", r.out)
	if r := slope(t, "flame", folded); r.status != 0 || !strings.HasPrefix(r.out, "<svg ") || !strings.Contains(r.out, "<title>main.spin: ") {
		t.Errorf("the picture: %d %s%s", r.status, r.err, r.out)
	}
	r = slope(t, "flame", "--format", "pprof", folded)
	prof, err := profile.ParseData([]byte(r.out))
	if err != nil || len(prof.Sample) == 0 {
		t.Errorf("the profile: %v", err)
	}
	for _, c := range []struct {
		args   []string
		status int
		err    string
	}{
		{[]string{"flame", "--format", "png"}, 2, "invalid format 'png'"},
		{[]string{"flame", "--for", "1s", "x"}, 2, "exclude each other"},
		{[]string{"flame", "/no/such/file"}, 1, "no such file"},
		{[]string{"flame", write(t, "empty", "")}, 1, "HINT: count by a stack"},
		{[]string{"flame", write(t, "bad", "a;b c\n")}, 1, "line 1: got"},
	} {
		if r := slope(t, c.args...); r.status != c.status || !strings.Contains(r.err, c.err) {
			t.Errorf("%q: status %d, %s", c.args, r.status, r.err)
		}
	}
}

// TestFlameOfMaps makes profiles of maps that are keyed by stacks of the kernel, of a process, and of both, with counts and
// sums.
func TestFlameOfMaps(t *testing.T) {
	bin := buildC(t, `
#include <unistd.h>
#include <fcntl.h>
__attribute__((noinline)) long inner(int fd, char *buf) { long n = read(fd, buf, 7); __asm__ volatile("" ::: "memory"); return n; }
__attribute__((noinline)) long outer(int fd, char *buf) { long n = inner(fd, buf); __asm__ volatile("" ::: "memory"); return n; }
int main(void) {
	char buf[8];
	int fd = open("/dev/zero", O_RDONLY);
	for (int i = 0; i < 100; i++) outer(fd, buf);
	sleep(1);
	return 0;
}
`, "-fno-omit-frame-pointer", "-no-pie")
	for _, c := range []struct {
		name, key, value string
		total            int64
		calls            []string // some of a stack, innermost first; libc keeps no frame of its own, which hides its caller
	}{
		{"kernel", "kstack", "count()", 100, []string{"do_syscall_64"}},
		{"process", "ustack", "sum(args.ret)", 700, []string{"outer", "main"}},
		{"both", "comm, ustack, kstack", "sum(args.ret)", 700, []string{"do_syscall_64", "outer", "main", "target"}},
		{"perf", "ustack(perf), kstack(perf)", "count()", 100, []string{"do_syscall_64", "outer", "main"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := script(t, "-f", "json", "-c", bin, "-e", `tracepoint:syscalls:sys_exit_read /pid == cpid && args.ret == 7/ { @[`+c.key+`] = `+c.value+`; }`)
			out := slope(t, "flame", "--format", "pprof", write(t, "stacks.json", r.out))
			if out.status != 0 {
				t.Fatalf("status %d\n%s\n%s", out.status, out.err, r.out)
			}
			prof, err := profile.ParseData([]byte(out.out))
			if err != nil {
				t.Fatal(err)
			}
			total, found := int64(0), false
			for _, s := range prof.Sample {
				total += s.Value[0]
				var names []string
				for _, l := range s.Location {
					names = append(names, l.Line[0].Function.Name)
				}
				at := 0
				for _, n := range names {
					if at < len(c.calls) && strings.HasPrefix(n, c.calls[at]) {
						at++
					}
				}
				found = found || at == len(c.calls)
			}
			if total != c.total || !found {
				t.Errorf("%d of %d, the calls %q: %t\n%s", total, c.total, c.calls, found, prof)
			}
		})
	}
}
