package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/slopebpf/slope/bpf"
)

// skip is a test that is skipped on kernels of the matrix.
type skip struct {
	pkg, test string
	before    bpf.Release // only on older kernels; zero: on all
	why       string
}

// skips are all tests that are skipped. A test that is skipped and not here fails the matrix, and so does one that is here
// and runs.
func skips() []skip {
	const (
		noLibc = "the machine has no libc"
		noCC   = "the machine has no C compiler"
		noGo   = "the machine has no Go"
	)
	since := func(major, minor int) bpf.Release { return bpf.Release{Major: major, Minor: minor} }
	out := []skip{
		{"./bpf", "TestAtomics", since(5, 12), "atomic fetch-and-add"},
		{"./bpf/attach", "TestUprobe/multi", since(6, 6), "uprobe_multi links"},
		{"./bpf/attach", "TestUprobe/multi_of_a_process", since(6, 6), "uprobe_multi links"},
		{"./bpf/attach", "TestUprobe/perf", since(5, 15), "attach cookies, by which the test tells places apart"},
		{"./bpf/attach", "TestUprobe/perf_of_a_process", since(5, 15), "attach cookies, by which the test tells places apart"},
		{"./bpf/attach", "TestKprobeSession", since(6, 10), "kprobe_session links"},
		{"./bpf/attach", "TestGoFunction", bpf.Release{}, noGo},
		{"./bpf/attach", "TestReturns", bpf.Release{}, noCC},
		{"./compiler/backend", "TestScratch", since(5, 12), "compare-and-exchange"},
		{"./compiler/backend", "TestLongJumps", since(6, 6), "jumps over more than 32767 instructions"},
		{"./compiler/backend", "TestJumps", since(6, 6), "jumps over more than 32767 instructions"},
		{"./compiler/backend", "TestFarMayGoto", since(6, 9), "may_goto"},
		{"./compiler/backend", "TestCallbacks", since(5, 13), "bpf_for_each_map_elem"},
		{"./compiler/backend", "TestAtomics", since(5, 12), "atomic fetch-and-add"},
		{"./compiler", "TestScratchBusy", since(5, 12), "compare-and-exchange: preemption is off instead"},
		{"./stdlib", "TestExamples/len", since(5, 13), "len(@map)"},
		{"./stdlib", "TestExamples/dw_ustack", since(6, 9), "stacks without frame pointers"},
		{"./stdlib", "TestExamples/path", since(5, 12), "path()"},
		{"./stdlib", "TestExamples/socket_cookie", since(5, 12), "socket_cookie()"},
		{"./runtime/engine", "TestIterators/iter:cgroup", since(6, 1), "iter:cgroup"},
	}
	for name := range strings.FieldsSeq("signal signal_thread usym func retval uprobe uretprobe") {
		out = append(out, skip{"./stdlib", "TestExamples/" + name, bpf.Release{}, noLibc})
	}
	return out
}

var (
	skipped = regexp.MustCompile(`(?m)^ *--- SKIP: (\S+)`)
	ran     = regexp.MustCompile(`(?m)^ *--- (?:PASS|FAIL|SKIP): (\S+)`)
)

// compareSkips tells how the tests that were skipped on a kernel differ from the table, "" when they do not. Of tests that
// did not run nothing is said.
func compareSkips(pkg, kernel, out string) (string, error) {
	release, err := bpf.ParseRelease(strings.TrimPrefix(kernel, "vmlinuz-"))
	if err != nil {
		return "", err
	}
	names := func(re *regexp.Regexp) (list []string) {
		for _, m := range re.FindAllStringSubmatch(out, -1) {
			list = append(list, m[1])
		}
		return list
	}
	var diff strings.Builder
	var want []string
	for _, s := range skips() {
		if s.pkg == pkg && (s.before == (bpf.Release{}) || release.Compare(s.before) < 0) {
			want = append(want, s.test)
		}
	}
	got := names(skipped)
	for _, name := range got {
		if !slices.Contains(want, name) {
			fmt.Fprintf(&diff, "     %s is skipped, and the table does not say so\n", name)
		}
	}
	all := names(ran)
	for _, name := range want {
		if slices.Contains(all, name) && !slices.Contains(got, name) {
			fmt.Fprintf(&diff, "     %s runs, and the table says that it is skipped\n", name)
		}
	}
	return diff.String(), nil
}
