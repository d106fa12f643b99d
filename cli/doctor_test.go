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
	for _, c := range bpf.Capabilities() {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "  no  "+c.Name+": ") })
		if i < 0 {
			continue
		}
		if !strings.Contains(lines[i], "Linux "+c.Since.String()) || !strings.Contains(lines[i], c.Config) {
			t.Errorf("%q does not tell what it wants: Linux %s, %s", lines[i], c.Since, c.Config)
		}
		serves := c.Instead != "" && !slices.Contains(without, c.Instead)
		if strings.Contains(lines[i], "instead: "+c.Instead) != serves {
			t.Errorf("%q: that %s serves instead is %v", lines[i], c.Instead, serves)
		}
	}
	if r.status != status {
		t.Errorf("status %d, want %d", r.status, status)
	}
}
