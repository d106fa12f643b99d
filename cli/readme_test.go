package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestReadme attaches every one-liner of the README on this kernel.
func TestReadme(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "slope -") {
			continue
		}
		n++
		words, err := splitWords(line)
		if err != nil {
			t.Fatal(err)
		}
		r := slope(t, append(words[1:], "--dry-run")...)
		if r.status != 0 || !strings.Contains(r.err, "Attached") || strings.Contains(r.err, "WARNING") {
			t.Errorf("%s\nstatus %d\n%s", line, r.status, r.err)
		}
	}
	if n < 10 {
		t.Errorf("the README has %d one-liners, want at least 10", n)
	}
}
