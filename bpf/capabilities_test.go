package bpf

import (
	"os"
	"testing"

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
