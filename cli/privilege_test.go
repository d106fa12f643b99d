package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// nobody is the user that has no rights.
const nobody = 65534

// TestLeastPrivilege runs slope as a user who has nothing but some capabilities: what is enough works, and what is not says in
// one error what is missing.
func TestLeastPrivilege(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	if os.Getuid() != 0 {
		bpftest.Require(t, fmt.Errorf("giving capabilities to a user needs root"))
	}
	bin := buildC(t, `
#include <unistd.h>
__attribute__((noinline)) int add(int n) { __asm__ volatile(""); return n + 1; }
int main(void) { for (;;) { usleep(add(1000)); } }
`)
	self := command(t)
	own := filepath.Join(t.TempDir(), "slope")
	if err := os.Link(self.Path, own); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{own, bin} { // which the user must be able to reach
		for dir := filepath.Dir(path); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	target := start(t, exec.Command(bin))
	pid := target.cmd.Process.Pid
	run := func(script string, caps ...uintptr) (out string, status int) {
		t.Helper()
		c := exec.Command(own, "-e", script)
		c.Dir, c.Env = "/", self.Env
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: caps}
		var text []byte
		var err error
		done := make(chan struct{})
		go func() { // on a thread of its own, which ends with it
			defer close(done)
			runtime.LockOSThread()
			if err = errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
				unix.Mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, "")); err == nil { // not every machine has it mounted
				text, err = c.CombinedOutput()
			}
		}()
		<-done
		if err != nil && c.ProcessState == nil {
			t.Fatal(err)
		}
		return string(text), c.ProcessState.ExitCode()
	}
	scripts := map[string]string{
		"tracepoint": fmt.Sprintf(`tracepoint:syscalls:sys_enter_clock_nanosleep /pid == %d/ { printf("seen %%s\n", comm); exit(); }`, pid),
		"event":      `tracepoint:sched:sched_switch { printf("seen %s\n", args.next_comm); exit(); }`,
		"uprobe":     fmt.Sprintf(`uprobe:%s:add /pid == %d/ { printf("seen %%s %%d\n", comm, arg0); exit(); }`, bin, pid),
		"profile":    `profile:hz:99 { @[kstack(3)] = count(); @n++; } interval:ms:200 /@n > 0/ { printf("seen\n"); exit(); }`,
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			out, status := run(script, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_DAC_READ_SEARCH)
			if status != 0 || !strings.Contains(out, "seen") {
				t.Errorf("with all that it needs: status %d\n%s", status, out)
			}
			for missing, caps := range map[string][]uintptr{
				"CAP_BPF and CAP_PERFMON": nil,
				"CAP_BPF":                 {unix.CAP_PERFMON, unix.CAP_DAC_READ_SEARCH},
				"CAP_PERFMON":             {unix.CAP_BPF, unix.CAP_DAC_READ_SEARCH},
			} {
				out, status := run(script, caps...)
				if status == 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, missing+", which this process does not have") {
					t.Errorf("without %s: status %d\n%s", missing, status, out)
				}
			}
			switch out, status = run(script, unix.CAP_BPF, unix.CAP_PERFMON); {
			case name == "uprobe" || name == "profile": // nothing to read that only root may
				if status != 0 || !strings.Contains(out, "seen") {
					t.Errorf("without CAP_DAC_READ_SEARCH: status %d\n%s", status, out)
				}
			case status == 0 || strings.Count(out, "ERROR") != 1 || !strings.Contains(out, "CAP_DAC_READ_SEARCH"):
				t.Errorf("without CAP_DAC_READ_SEARCH: status %d\n%s", status, out)
			}
			if name == "profile" && strings.Contains(out, "0xffffffff") != strings.Contains(out, "CAP_SYSLOG") {
				t.Errorf("it does not say why there are no names\n%s", out)
			}
		})
	}
}
