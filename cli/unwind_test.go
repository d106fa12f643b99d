package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// unwoundTarget calls leaf in ways that are hard to follow, one for each letter that it reads, and prints what the C
// library's own unwinder says of the callers: a line of addresses for every call.
const unwoundTarget = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 300 };

__attribute__((noinline)) int leaf(int n) {
	void *at[MOST];
	int found = backtrace(at, MOST);
	for (int i = 1; i < found; i++) printf("%p ", at[i]);
	printf("\n");
	syscall(SYS_getpgid, 4711);
	return n + 1;
}
static int compare(const void *a, const void *b) { return leaf(*(int *)a) - *(int *)b; }
static void handler(int s) { leaf(s); }
static void *thread(void *p) { return leaf(1) ? p : 0; }
__attribute__((noinline)) int deep(int n) {
	int below = n == 0 ? leaf(n) : deep(n - 1);
	__asm__ volatile("" ::: "memory"); // or it becomes a loop
	return below + 1;
}
__attribute__((noinline)) int sized(int n) { // a frame whose size is not known
	char *p = __builtin_alloca(n * 100 + 16);
	memset(p, n, n * 100);
	return leaf(n) + p[n];
}
__attribute__((noinline)) int signalled(int n) { // the same, when the kernel calls
	char *p = __builtin_alloca(n * 100 + 16);
	memset(p, n, n * 100);
	__asm__ volatile("int3");
	return p[n];
}
__attribute__((noinline)) int aligned(int n, int b, int c, int d, int e, int f, int g, int h) { // a frame at an address of its own
	volatile char p[256] __attribute__((aligned(64)));
	char *q = __builtin_alloca(n * 100 + 16);
	p[n] = q[n] = n;
	return leaf(n) + p[n] + q[n] + g + h;
}
__attribute__((noinline)) int within(int n) { // which needs its own frame pointer again
	char *p = __builtin_alloca(n * 100 + 16);
	memset(p, n, n * 100);
	return aligned(n, 2, 3, 4, 5, 6, 7, 8) + p[n];
}
int main(int argc, char **argv) {
	setvbuf(stdout, 0, _IONBF, 0);
	backtrace((void *[1]){0}, 1); // which loads its library
	int n = 0, v[] = {3, 1, 2};
	pthread_t other;
	if (argc == 1) { qsort(v, 3, sizeof *v, compare); return 0; }
	if (strcmp(argv[1], "deep") == 0) return deep(20) == 0;
	for (char c; read(0, &c, 1) == 1;) {
		switch (c) {
		case 'q': qsort(v, 3, sizeof *v, compare); break;
		case 's': signal(SIGTRAP, handler); n += signalled(argc * 7); break;
		case 't': n += pthread_create(&other, 0, thread, 0); n += pthread_join(other, 0); break;
		case 'f': if (fork() == 0) { leaf(1); _exit(0); } wait(0); break;
		case 'd': n += deep(argc * 20); break;
		case 'D': n += deep(argc * 200); break;
		case 'z': n += sized(argc * 7); break;
		case 'a': n += within(argc); break;
		case 'l': ((int (*)(int (*)(int)))dlsym(dlopen(argv[1], RTLD_NOW), "callback"))(leaf); break;
		}
		printf("done\n");
	}
	return n > 100000;
}
`

// TestUnwound holds the stacks of dw_ustack against those that the C library finds in the program itself, address by
// address: at the entry of a function, in a system call, and of a program that loads a library while it is traced.
func TestUnwound(t *testing.T) {
	features := new(bpf.Features)
	bpftest.Require(t, features.TaskRegs())
	if err := features.MayGoto(); err != nil {
		t.Skip(err)
	}
	bin := buildC(t, unwoundTarget, "-O2", "-fomit-frame-pointer", "-lpthread")
	t.Run("command", func(t *testing.T) { // from its first call on
		r := script(t, "-q", "-c", bin, "-e", `uprobe:`+bin+`:leaf { print(dw_ustack(raw)); }`)
		want, printed := programsOwn(r.out)
		if got := stacks(printed, 1); !slices.Equal(got, want) || len(want) < 3 || r.err != "" {
			t.Errorf("got\n%q\nwant\n%q\n%s", got, want, r.err)
		}
	})
	t.Run("return probes", func(t *testing.T) { // which replace addresses on the stack
		r := script(t, "-q", "-c", bin+" deep", "-e", `
			uretprobe:`+bin+`:deep { @returns = count(); }
			uretprobe:`+bin+`:main { @returns = count(); }
			uprobe:`+bin+`:leaf { print(dw_ustack); }`)
		frames := strings.Fields(regexp.MustCompile(`\+\d+`).ReplaceAllString(r.out, ""))
		calls := strings.Join(frames[slices.Index(frames, "leaf"):], " ")
		if want := "leaf" + strings.Repeat(" deep", 21) + " main "; !strings.HasPrefix(calls, want) || r.err != "" {
			t.Errorf("got %s\nwant %s\n%s", calls, want, r.err)
		}
		want(t, r, "@returns: 22")
	})
	lib := buildC(t, `int callback(int (*f)(int)) { char p[100]; p[f(1)] = 1; return f(p[2]) + p[1]; }`, "-O2", "-fomit-frame-pointer", "-shared", "-fPIC")
	for name, c := range map[string]struct {
		probe string
		own   int // frames of leaf, and of what it calls
	}{
		"entry":       {`uprobe:` + bin + `:leaf`, 1},
		"any process": {`uprobe:` + bin + `:leaf`, 1},
		"system call": {`tracepoint:syscalls:sys_enter_getpgid /args.pid == 4711/`, 2},
		"replaced":    {`tracepoint:syscalls:sys_enter_getpgid /args.pid == 4711/`, 2}, // its file, by another one
	} {
		t.Run(name, func(t *testing.T) {
			own := filepath.Join(t.TempDir(), "target")
			if err := os.Link(bin, own); err != nil {
				t.Fatal(err)
			}
			target := startTarget(t, own, lib)
			if name == "replaced" {
				if err := os.Rename(buildC(t, "int main(void) { return 0; }"), own); err != nil {
					t.Fatal(err)
				}
			}
			from := bufio.NewReader(target.out)
			var want []string // stacks, as the program itself sees them
			run := func(way string) {
				t.Helper()
				if _, err := io.WriteString(target.in, way); err != nil {
					t.Fatal(err)
				}
				for {
					line, err := from.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if line == "done\n" {
						return
					}
					f := strings.Fields(strings.ReplaceAll(line, "0x", ""))
					want = append(want, strings.Join(f[:min(len(f), 127-c.own)], " "))
				}
			}
			args := []string{"-e", c.probe + ` { print(dw_ustack(raw)); }`}
			if name != "any process" {
				args = append(args, "-p", target.pid())
			}
			p := trace(t, args...)
			var seen []string
			compare := func() (wrong string) { // the stacks that came since it was called before
				t.Helper()
				bpftest.Eventually(t, 20*time.Second, "all stacks", func() bool {
					seen = stacks(p.out.String(), c.own)
					return len(seen) == len(want)
				})
				for i, w := range want {
					if w != "" && seen[i] != w {
						wrong += fmt.Sprintf("stack %d: got %s, want %s\n", i, seen[i], w)
					}
					want[i] = ""
				}
				return wrong
			}
			ways := []string{"q", "q", "s", "t", "d", "D", "z", "a"}
			if name == "any process" {
				ways = append(ways, "f")
			}
			for _, way := range ways {
				run(way)
				if wrong := compare(); wrong != "" {
					t.Errorf("%s: %s", way, wrong)
				}
			}
			// What the library has is not mapped at the start, but it is once the tables are read anew.
			wrong := ""
			bpftest.Eventually(t, 20*time.Second, "the stacks through the library", func() bool {
				run("l")
				wrong = compare()
				return wrong == ""
			})
			p.signal(t, syscall.SIGINT)
			r := p.wait(t)
			if r.status != 0 {
				t.Errorf("status %d\n%s", r.status, r.err)
			}
		})
	}
}

// programsOwn are the stacks that the program itself has printed, and the rest of the output.
func programsOwn(out string) (own []string, rest string) {
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "0x") {
			own = append(own, strings.TrimSpace(strings.ReplaceAll(line, "0x", "")))
		} else {
			rest += line + "\n"
		}
	}
	return own, rest
}

// TestUnwoundByFrames has code that no table is for: frame pointers lead on, also to another stack; where there are none that is
// counted, and 32-bit code is the kernel's to read.
func TestUnwoundByFrames(t *testing.T) {
	features := new(bpf.Features)
	bpftest.Require(t, features.TaskRegs())
	if err := features.MayGoto(); err != nil {
		t.Skip(err)
	}
	const lost = "WARNING: 1 stacks of dw_ustack that are incomplete"
	for name, c := range map[string]struct {
		source string
		flags  []string
		calls  string // of leaf
		lost   bool
	}{
		"other stacks": {`
static char heap[65536] __attribute__((aligned(16)));
__attribute__((noinline)) int leaf(void) { __asm__ volatile(""); return 1; }
void on(void *stack, void (*f)(void));
__asm__(".globl on\n.type on,@function\non: push %rbp\nmov %rsp,%rbp\nmov %rdi,%rsp\ncall *%rsi\nleave\nret\n.size on,.-on\n");
static char *above;
__attribute__((noinline)) void inner(void) { leaf(); __asm__ volatile(""); }
__attribute__((noinline)) void outer(void) { on(above, inner); __asm__ volatile(""); }
int main(void) { // the stack that outer runs on is below those before and after it
	char room[8192] __attribute__((aligned(16)));
	__asm__ volatile("" :: "r"(room));
	above = room + sizeof room - 64;
	on(heap + sizeof heap - 64, outer);
	__asm__ volatile("");
	return 0;
}`, []string{"-O2", "-fno-omit-frame-pointer"}, "leaf inner on outer on main", false},
		"no frames": {`
__attribute__((noinline)) int leaf(void) { __asm__ volatile(""); return 1; }
void begin(void) {
	leaf();
	__asm__ volatile("syscall" :: "a"(231), "D"(0)); // exit_group
}`, []string{"-O2", "-static", "-nostdlib", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-Wl,-e,begin"}, "leaf", true},
	} {
		t.Run(name, func(t *testing.T) {
			bin := buildC(t, c.source, c.flags...)
			r := script(t, "-q", "-c", bin, "-e", "uprobe:"+bin+":leaf { print(dw_ustack); }")
			calls := strings.Join(strings.Fields(regexp.MustCompile(`\+\d+`).ReplaceAllString(r.out, "")), " ")
			if !strings.HasPrefix(calls+" ", c.calls+" ") || c.lost && calls != c.calls || strings.Contains(r.err, lost) != c.lost {
				t.Errorf("got %q, want %q\n%s", calls, c.calls, r.err)
			}
		})
	}
}

// TestUnwoundExecuted has a command that becomes another program, which has other frames at the same addresses: what is not known
// of that yet is counted, and all else is right.
func TestUnwoundExecuted(t *testing.T) {
	features := new(bpf.Features)
	bpftest.Require(t, features.TaskRegs())
	if err := features.MayGoto(); err != nil {
		t.Skip(err)
	}
	const source = `
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) int leaf(int n) { return syscall(SYS_getpgid, 4711) + n; }
__attribute__((noinline)) int via(int n) { char p[ROOM]; memset(p, n, sizeof p); __asm__ volatile("" :: "r"(p)); return leaf(n) + p[n]; }
int main(int argc, char **argv) {
	int n = 0;
	for (int i = 0; i < 50; i++) { n += via(i); usleep(argc > 1 ? 0 : 10000); }
	if (argc > 1) execl(argv[1], argv[1], NULL);
	return n == 1;
}`
	build := func(room int) string {
		return buildC(t, source, "-O2", "-fomit-frame-pointer", "-static", "-no-pie", fmt.Sprintf("-DROOM=%d", room))
	}
	r := script(t, "-q", "-c", build(1000)+" "+build(60), "-e", `tracepoint:syscalls:sys_enter_getpgid /args.pid == 4711 && pid == cpid/ { print(dw_ustack(4)); }`)
	seen := stacks(regexp.MustCompile(`\+\d+`).ReplaceAllString(r.out, ""), 0)
	wrong, counted := 0, 0
	for _, s := range seen {
		if s != "syscall leaf via main" {
			wrong++
		}
	}
	if m := regexp.MustCompile(`WARNING: (\d+) stacks of dw_ustack`).FindStringSubmatch(r.err); m != nil {
		counted, _ = strconv.Atoi(m[1])
	}
	if len(seen) != 100 || wrong != counted || wrong > 40 {
		t.Errorf("%d stacks, %d wrong, %d counted\n%s\n%q", len(seen), wrong, counted, r.err, seen)
	}
}

// TestUnwound32 has 32-bit code, whose stacks are what the kernel finds.
func TestUnwound32(t *testing.T) {
	features := new(bpf.Features)
	bpftest.Require(t, features.TaskRegs())
	if err := features.MayGoto(); err != nil {
		t.Skip(err)
	}
	bin := buildC(t, `
__attribute__((noinline)) int leaf(void) { int pid; __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20)); return pid; } // getpid
__attribute__((noinline)) int middle(void) { return leaf() + 1; }
void begin(void) {
	middle();
	__asm__ volatile("int $0x80" :: "a"(252), "b"(0)); // exit_group
}`, "-O0", "-m32", "-static", "-nostdlib", "-fno-pic", "-no-pie", "-Wl,-e,begin")
	r := script(t, "-q", "-c", bin, "-e", `tracepoint:raw_syscalls:sys_enter /pid == cpid && comm == "target" && args.id == 20/ { print(ustack(raw)); print(dw_ustack(raw)); }`)
	if s := stacks(r.out, 0); len(s) != 2 || s[0] != s[1] || len(strings.Fields(s[0])) < 3 || r.err != "" {
		t.Errorf("got %q\n%s", s, r.err)
	}
}

// stacks are those that were printed, each in a line, without the innermost frames.
func stacks(text string, without int) (out []string) {
	for block := range strings.SplitSeq(text, "\n\n") {
		if f := strings.Fields(block); len(f) > 0 {
			out = append(out, strings.Join(f[min(without, len(f)):], " "))
		}
	}
	return out
}
