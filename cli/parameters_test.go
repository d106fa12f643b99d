package cli

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

func TestParameters(t *testing.T) {
	positional, named := parameters([]string{"a", "--x=5", "-1", "--flag", "--", "--e=a=b"})
	if want := []string{"a", "-1", "--"}; !slices.Equal(positional, want) {
		t.Errorf("positional %q, want %q", positional, want)
	}
	if want := map[string]string{"x": "5", "flag": "", "e": "a=b"}; !maps.Equal(named, want) {
		t.Errorf("named %q, want %q", named, want)
	}
}

// TestEnvironment sets what a script may set too: the environment wins.
func TestEnvironment(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	t.Setenv("BPFTRACE_MAX_STRLEN", "16")
	t.Setenv("BPFTRACE_KERNEL_SOURCE", "/src")
	r := slope(t, "-q", "-e", `config = { max_strlen = 64; max_map_keys = 7 } begin { printf("%d\n", sizeof(str($1))); exit(); }`, "x")
	r.is(t, "of the environment", 0, "16\n\n\n", "")
	t.Setenv("BPFTRACE_MAX_STRLEN", "many")
	if r := slope(t, "-e", "begin { }"); r.status != 1 || !strings.Contains(r.err, "environment:1:21-25: ERROR: invalid value for 'BPFTRACE_MAX_STRLEN': want a positive integer up to 16384\nBPFTRACE_MAX_STRLEN=many\n                    ~~~~\n") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	t.Setenv("BPFTRACE_MAX_STRLEN", "64")
	t.Setenv("BPFTRACE_MAX_STRLN", "1")
	if r := slope(t, "-e", "begin { }"); r.status != 0 || !strings.Contains(r.err, "environment:1:1-19: WARNING: unknown environment variable 'BPFTRACE_MAX_STRLN'") ||
		!strings.Contains(r.err, "HINT: did you mean 'BPFTRACE_MAX_STRLEN'?") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	t.Setenv("BPFTRACE_STRLEN", "64")
	if r := slope(t, "-e", "begin { }"); r.status != 1 || !strings.Contains(r.err, "'BPFTRACE_STRLEN' has been renamed") || !strings.Contains(r.err, "use 'BPFTRACE_MAX_STRLEN'") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
