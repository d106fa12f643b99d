package cli

import (
	"slices"
	"strings"
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
	told := func(name string, err error) {
		t.Helper()
		line := "  ok  " + name
		if err != nil {
			line = "  no  " + name + ": "
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
	if r.status != status {
		t.Errorf("status %d, want %d", r.status, status)
	}
}
