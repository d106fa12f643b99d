package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/stdlib"
)

// TestTask reads the running task of the kernel: the shell is the parent of what it runs, and leads its own process.
func TestTask(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", "sh -c '"+path+" count=0 2>/dev/null; true'", "-e", `
		tracepoint:sched:sched_process_exit /comm == "COMM"/ {
			printf("%d %d %s %s %d\n", ppid == cpid, curtask.tgid == pid, pcomm, leader_comm, leader_tid(curtask) == tid);
			printf("%s %d\n", leader_comm(curtask.real_parent), ppid(curtask.real_parent) != 0);
		}`, comm)
	want(t, r, "1 1 sh "+comm+" 1", "sh 1")
}

// TestSignal stops a program that would run for long.
func TestSignal(t *testing.T) {
	_, err := exec.LookPath("sleep")
	bpftest.Require(t, err)
	r := script(t, "--unsafe", "-c", "sleep 600", "-e", `
		tracepoint:syscalls:sys_enter_clock_nanosleep /pid == cpid/ { signal("SIGKILL"); @killed = count(); }
		tracepoint:sched:sched_process_exit /pid == cpid/ { @name[signal_name(curtask.exit_code)] = count(); }`)
	want(t, r, "@killed: 1", "@name[Killed]: 1")
	for _, call := range []string{"signal(9)", "signal_thread(9)", `write_user(arg0, arg1, 1)`} {
		r := slope(t, "-e", "uprobe:libc:malloc { "+call+"; }")
		if name, _, _ := strings.Cut(call, "("); r.status != 1 || !strings.Contains(r.err, name+"() is an unsafe function") {
			t.Errorf("%s without --unsafe: status %d\n%s", call, r.status, r.err)
		}
	}
}

// TestUserAddress reads variables of a shell by their names, where the process has them.
func TestUserAddress(t *testing.T) {
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip(err)
	}
	r := script(t, "-c", "/bin/bash -c 'true; :'", "-e",
		`uprobe:/bin/bash:execute_command { printf("<%s>\n", str(*uaddr("shell_name"))); $r = (struct pt_regs *)ctx;
			@[reg("ip") - (uint64)uaddr("execute_command"), usermode, $r->ip == reg("ip"), ((struct pt_regs *)ctx)->di == arg0] = count(); exit(); }`)
	want(t, r, "</bin/bash>")
	if !regexp.MustCompile(`(?m)^@\[0, 1, true, true\]: [1-9]`).MatchString(r.out) {
		t.Errorf("the function is not where uaddr says:\n%s", r.out)
	}
}

// TestUserAddressOfEach has one probe on functions of two programs, the second run by the first, that have the variable at different places.
func TestUserAddressOfEach(t *testing.T) {
	source := `#include <unistd.h>
		int before[COUNT] = {1}, v = 4000 + COUNT;
		__attribute__((noinline)) int place1(int a) { asm volatile(""); return a + 1; }
		__attribute__((noinline)) int place2(int a) { asm volatile(""); return a + 2; }
		int main(int n, char **arg) { return before[0] + place1(n) + place2(n) > 0 && n > 1 ? execv(arg[1], arg + 1) : 0; }`
	a, b := buildC(t, source, "-DCOUNT=10"), buildC(t, source, "-DCOUNT=20", "-no-pie")
	r := script(t, "-c", a+" "+b, "-e",
		"macro value() { *uaddr(\"v\") } uprobe:"+a+":place1, uprobe:"+a+":place2, uprobe:"+b+":place* { @[value()] = count(); }")
	want(t, r, "@[4010]: 2", "@[4020]: 2")
}

// TestStringsInKernel searches the longest strings there are.
func TestStringsInKernel(t *testing.T) {
	path, comm := ownDD(t)
	long := strings.Repeat("x", 900)
	r := named(t, "-c", "sh -c '"+path+" if="+long+"needle 2>/dev/null; true'", "-e", `
		tracepoint:syscalls:sys_enter_openat /comm == "COMM"/ {
			$s = str(args.filename); $n = str_concat("xneed", "le");
			if (strlen($s) > 800) { printf("%d %d %d %d\n", strlen($s), strstr($s, "needle"), strstr($s, $n), strcontains($s, "nope")); }
		}`, comm)
	want(t, r, fmt.Sprintf("%d 900 899 0", 906))
}

// TestPidNamespace runs slope in a pid namespace of its own, whose numbers are those that probes see.
func TestPidNamespace(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	bpftest.Require(t, err, bpf.CheckPrivileges())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := func(args ...string) ([]byte, error) {
		c := exec.Command(unshare, append([]string{"-pf", "--mount-proc", self, "-q"}, args...)...)
		c.Env = append(os.Environ(), beSlope+"=1")
		return c.CombinedOutput()
	}
	for _, args := range [][]string{{"-c", "sleep 0.1"}, {"-p", "1"}} {
		out, err := inside(append(args, "-e", `
			begin { if (pid < 10 && pid(init) != pid) { printf("inside %d\n", cpid > 0 && cpid < 10); } }
			tracepoint:raw_syscalls:sys_enter /pid == cpid || pid == 1/ { @n[pid] = count(); }
			interval:ms:100 { exit(); }`)...)
		if err != nil || !regexp.MustCompile(`(?m)^inside [01]$`).Match(out) || !regexp.MustCompile(`(?m)^@n\[\d\]: [1-9]`).Match(out) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	target := buildC(t, `#include <unistd.h>
		__attribute__((noinline)) int found(int a) { asm volatile(""); return a; } int main(int n, char **_) { found(n); return pause(); }`) // until slope ends it
	out, err := inside("-c", target, "-e", "uprobe:"+target+":found { @[func, usym(reg(\"ip\")), ustack(1)] = count(); exit(); }")
	if err != nil || !regexp.MustCompile(`(?m)^@\[found, found,\s+found\+0\s+\]: 1$`).Match(out) {
		t.Errorf("functions: %v\n%s", err, out)
	}
}

// TestKernelAddress reads variables of the kernel by their names, where it tells them.
func TestKernelAddress(t *testing.T) {
	r := script(t, "-e", `begin { printf("%d %d\n", kaddr("vfs_read") != 0, (uint64)kaddr("vfs_read") == (uint64)kaddr("vfs_read")); exit(); }`)
	want(t, r, "1 1")
	m := &stdlib.Machine{}
	if _, err := m.KernelSymbol("avenrun"); err != nil {
		t.Skip(err) // CONFIG_KALLSYMS_ALL
	}
	r = script(t, "-e", `begin {
		$n = (uint64)0; for ($i : 0..ncpus) { $n += (uint64)*(uint32 *)percpu_kaddr("process_counts", $i); }
		printf("%d %d %d\n", $n > 0 && $n < 100000, percpu_kaddr("process_counts", 1000000) == 0, *kaddr("avenrun") < 1000 * 2048);
		exit(); }`)
	want(t, r, "1 1 1")
}

// askPriority in the environment makes this binary do one system call.
const askPriority = "SLOPE_TEST_GETPRIORITY"

// TestOverride lets a system call return early.
func TestOverride(t *testing.T) {
	f := &bpf.Features{}
	bpftest.Require(t, bpf.CheckPrivileges())
	if err := errors.Join(f.Kprobe(), f.Override()); err != nil {
		t.Skip(err) // the kernel matrix has kernels with them
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(askPriority, "1")
	r := script(t, "--unsafe", "-c", self, "-e", `
		kprobe:__x64_sys_getpriority /pid == cpid/ { override(-95); @n = count(); }
		tracepoint:raw_syscalls:sys_exit /pid == cpid && args.id == 140/ { @ret[args.ret, strerror(args.ret), syscall_name(args.id)] = count(); }`)
	want(t, r, "@n: 1", "@ret[-95, Operation not supported on transport endpoint, getpriority]: 1")
}
