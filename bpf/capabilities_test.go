package bpf

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestCapabilities compares the table with the running kernel: what it says about older releases must be missing, and
// everything else there. Only the kernels of the matrix are known to be built with all of it.
func TestCapabilities(t *testing.T) {
	bpftest.Require(t, CheckPrivileges())
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release, err := ParseRelease(unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		t.Fatal(err)
	}
	f := &Features{}
	matrix := os.Getenv("KERNEL_MATRIX") != ""
	for _, c := range Capabilities() {
		err := c.Has(f)
		old, unbuilt := c.Lacks(release)
		switch {
		case err == nil && old:
			t.Errorf("%s: the table says %s, but %s has it", c.Name, c.Since, release)
		case err == nil && unbuilt && matrix:
			t.Errorf("%s: the table says that %s is built without it, but it has it", c.Name, release)
		case err != nil && !old && !matrix && c.Config != "":
			t.Logf("%s: this kernel is built without (%s): %v", c.Name, c.Config, err)
		case err != nil && !old && !unbuilt:
			t.Errorf("%s: the table says %s, but %s lacks it: %v", c.Name, c.Since, release, err)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for text, want := range map[string]Release{"5.10.0-32-cloud-amd64": {5, 10}, "6.18.5": {6, 18}, "6.12.117+deb12": {6, 12}} {
		if r, err := ParseRelease(text); err != nil || r != want {
			t.Errorf("%s: got %s, %v", text, r, err)
		}
	}
	if _, err := ParseRelease("Linux"); err == nil {
		t.Error("no error for a text without a number")
	}
}

// TestKernelFunc: a type of program may call some functions of the kernel. Which these are a newer kernel may say otherwise, but
// not that a function which is for programs of another kind is for these, or one that is for none.
func TestKernelFunc(t *testing.T) {
	f := &Features{}
	bpftest.Require(t, CheckPrivileges(), f.TPBTF(), f.KernelFunc(ebpf.Tracing, "bpf_task_from_pid"))
	for name, want := range map[string]struct {
		typ  ebpf.ProgramType
		want bool
	}{
		"bpf_rcu_read_lock":      {ebpf.RawTracepoint, true},  // for all programs
		"bpf_task_release":       {ebpf.Tracing, true},        // its argument is missing, which is another matter
		"bpf_task_from_pid":      {ebpf.RawTracepoint, false}, // for tracing programs
		"bpf_session_is_return":  {ebpf.Tracing, false},       // for those of kprobe_session links
		"bpf_copy_from_user_str": {ebpf.Tracing, false},       // may sleep
		"vfs_read":               {ebpf.Tracing, false},       // for no program
		"no_such_function":       {ebpf.Tracing, false},
	} {
		if err := f.KernelFunc(want.typ, name); (err == nil) != want.want {
			t.Errorf("%s in %s: got %v, want %v", name, want.typ, err, want.want)
		}
	}
}
