package cli

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestDoctor holds doctor against what the features say themselves.
func TestDoctor(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	r := slope(t, "doctor")
	f, status := &bpf.Features{}, 0
	lines := strings.Split(r.out, "\n")
	var without []string
	told := func(name string, err error) {
		t.Helper()
		line := "  ok  " + name
		if err != nil {
			line = "  no  " + name + ": "
			without = append(without, name)
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return l == line || err != nil && strings.HasPrefix(l, line) }) {
			t.Errorf("no line %q in\n%s%s", line, r.out, r.err)
		}
	}
	told("privileges", nil)
	for _, c := range bpf.Capabilities() {
		err := c.Has(f)
		told(c.Name, err)
		if err != nil && (c.Name == "ring buffers" || c.Name == "test runs of raw tracepoint programs") {
			status = 1
		}
	}
	release, err := bpf.ParseRelease(strings.TrimPrefix(lines[0], "kernel "))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range bpf.Capabilities() {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  no  "+c.Name+": ") })
		if i < 0 {
			continue
		}
		if old := release.Compare(c.Since) < 0; !strings.Contains(lines[i], c.Config) || strings.Contains(lines[i], "wants Linux "+c.Since.String()) != old {
			t.Errorf("%q does not tell what it wants: Linux %s, %s; this is %s", lines[i], c.Since, c.Config, release)
		}
		serves := c.Instead != "" && !slices.Contains(without, c.Instead)
		if slices.Contains(without, "kprobes") && strings.HasPrefix(c.Name, "kprobe_") || c.Name == "return addresses by task" && slices.Contains(without, "kprobe_session links") {
			serves = false // what serves needs kprobes, too
		}
		if strings.Contains(lines[i], "instead: "+c.Instead) != serves {
			t.Errorf("%q: that %s serves instead is %v", lines[i], c.Instead, serves)
		}
	}
	if r.status != status {
		t.Errorf("status %d, want %d", r.status, status)
	}
}

// TestDoctorNamespace runs doctor in a user namespace, where the process has all capabilities and none counts.
func TestDoctorNamespace(t *testing.T) {
	c := command(t, "doctor")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		bpftest.Require(t, err) // hosts may forbid it
	}
	text := string(out)
	if strings.Contains(text, "ok  CAP_") || !strings.Contains(text, "no  CAP_BPF: programs and maps: it does not count in a user namespace") ||
		!strings.Contains(text, "no  privileges: tracing needs root (it runs in a user namespace, where capabilities do not count for BPF)") || c.ProcessState.ExitCode() != 1 {
		t.Errorf("status %d\n%s", c.ProcessState.ExitCode(), text)
	}
}

// TestDoctorLockdown runs doctor where the kernel seems to be locked down.
func TestDoctorLockdown(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	for modes, want := range map[string]string{
		"[none] integrity confidentiality": "",
		"none [integrity] confidentiality": "  no  without lockdown: write_user(): the kernel is in mode integrity (boot with lockdown=none, or without Secure Boot)\n",
		"none integrity [confidentiality]": "  no  without lockdown: probes, and reading the memory of the kernel: the kernel is in mode confidentiality (boot with lockdown=none, or without Secure Boot)\n",
	} {
		c := command(t, "doctor")
		const seems = `mount -t tmpfs tmpfs /sys/kernel/security && echo "$0" > /sys/kernel/security/lockdown && echo mounted && exec "$@"`
		c.Args = append([]string{"unshare", "--mount", "sh", "-c", seems, modes, c.Path}, c.Args[1:]...)
		unshare, err := exec.LookPath("unshare")
		if err != nil {
			t.Skip(err)
		}
		c.Path = unshare
		out, _ := c.Output()
		text, mounted := strings.CutPrefix(string(out), "mounted\n")
		if !mounted {
			t.Skip("a file system cannot be mounted here") // hosts may forbid it
		}
		if got := regexp.MustCompile(`(?m)^.*without lockdown.*\n`).FindString(text); got != want {
			t.Errorf("%s: got %q, want %q\n%s", modes, got, want, text)
		}
		if strings.Contains(text, "\n  ok  privileges\n") == strings.Contains(modes, "[confidentiality]") {
			t.Errorf("%s:\n%s", modes, text)
		}
	}
}
