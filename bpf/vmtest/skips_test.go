package main

import (
	"strings"
	"testing"
)

func TestCompareSkips(t *testing.T) {
	const out = "--- PASS: TestUprobe (0.4s)\n    --- SKIP: TestUprobe/multi (0.01s)\n    --- PASS: TestUprobe/perf (0.01s)\n--- SKIP: TestReturns (0.00s)\n"
	for _, c := range []struct{ kernel, out, want string }{
		{"vmlinuz-6.1.0-56-cloud-amd64", out, ""},
		{"vmlinuz-5.10.0-32-cloud-amd64", out, "TestUprobe/perf runs,"},
		{"vmlinuz-6.12.117+deb12-cloud-amd64", out, "TestUprobe/multi is skipped,"},
		{"vmlinuz-6.1.0-56-cloud-amd64", "--- SKIP: TestAttach (0.00s)\n", "TestAttach is skipped,"},
		{"vmlinuz-6.1.0-56-cloud-amd64", "--- PASS: TestReturns (0.00s)\n", "TestReturns runs,"},
	} {
		got, err := compareSkips("./bpf/attach", c.kernel, c.out)
		if err != nil || (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.kernel, got, err, c.want)
		}
	}
	if _, err := compareSkips("./bpf", "vmlinuz", out); err == nil {
		t.Error("no error for a kernel without a release")
	}
}
