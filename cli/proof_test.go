package cli

import (
	"regexp"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

const proofs = `test:sums { if (1 + 1 != 2) { return 1; } }
test:wrong { $x = 3; if ($x == 3) { return $x; } }
test:errs { errorf("no %d", 5); }
test:leaves { exit(3); }
test:asserts { assert(1 == 1, "x"); return 0; }
bench:update { @[rand % 100] = count(); }
bench:nothing { }
begin { printf("never\n"); }
`

// TestProofs runs test and bench probes, and nothing else of their script.
func TestProofs(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	file := scriptFile(t, proofs)
	for _, c := range []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{"--test"}, 1, `\[==========\] Running 5 tests\.
\[ RUN      \] sums
\[       OK \] sums \(\d+ ms\)
\[ RUN      \] wrong
\[  FAILED  \] wrong \(\d+ ms\)
\[ RUN      \] errs
\[  FAILED  \] errs \(\d+ ms\)
\[ RUN      \] leaves
\[  FAILED  \] leaves \(\d+ ms\)
\[ RUN      \] asserts
\[       OK \] asserts \(\d+ ms\)
\[==========\] 5 tests ran\.
\[  PASSED  \] 2 tests\.
\[  FAILED  \] wrong
\[  FAILED  \] errs
\[  FAILED  \] leaves
`},
		{[]string{"--bench"}, 0, `Benchmark   Time \(ns\)  Iterations
update +\d+ +\d+
nothing +\d+ +\d+
`},
		{[]string{"-f", "json", "--bench"}, 0, `\{"type": "benchmark_result", "data": \{"update": \{"time": \d+, "iterations": \d+\}\}\}
\{"type": "benchmark_result", "data": \{"nothing": .*
`},
		{[]string{"-f", "json", "--test"}, 1, `(?s)\{"type": "test_result", "data": \{"sums": \{"passed": true, "time": \d+\}\}\}
.*\{"type": "errorf", "msg": "no 5",.*`},
	} {
		if r := slope(t, append(c.args, file)...); r.status != c.status || !regexp.MustCompile("^"+c.out+"$").MatchString(r.out) {
			t.Errorf("%q: status %d\n%s%s", c.args, r.status, r.out, r.err)
		}
	}
	slope(t, "-q", "-e", `test:x { return 1; } begin { printf("b\n"); exit(); }`).is(t, "without --test", 0, "b\n\n\n", "")
	if r := slope(t, "--test", "-e", "begin { }"); r.status != 1 || r.err != "slope: the script has no test probes\n" {
		t.Errorf("status %d, %s", r.status, r.err)
	}
	if r := slope(t, "--test", "--bench", file); r.status != 2 {
		t.Errorf("both: status %d", r.status)
	}
}
