package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/compare"
	"github.com/slopebpf/slope/runtime/export"
)

// gateFile writes a report with one objective.
func gateFile(t *testing.T, bad, total uint64) string {
	t.Helper()
	r := export.GateReport{Version: export.GateVersion, EndedBy: "duration", Indicators: []export.GateIndicator{},
		Objectives: []export.GateObjective{{Name: "fast", SLI: "reads", Sentence: "99 % <= 1ms", PPB: 990_000_000, Groups: []export.GateGroup{{Bad: bad, Total: total}}}}}
	path := filepath.Join(t.TempDir(), "report.json")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := r.JSON(file); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	good, worse, few := gateFile(t, 10, 10000), gateFile(t, 90, 10000), gateFile(t, 0, 20)
	script := scriptFile(t, "begin { }")
	for _, c := range []struct {
		args     []string
		status   int
		out, err string
	}{
		{[]string{good, good}, 0, "fast   bad events   0.1 % → 0.1 %   no significant difference\nNO SIGNIFICANT DIFFERENCE: of 1 comparisons none differs, with 95 % confidence", ""},
		{[]string{good, worse}, 1, "more by 800 % (significant)", ""},
		{[]string{"--fail-on", "none", good, worse}, 0, "WORSE: of 1 comparisons 1 worse", ""},
		{[]string{worse, good}, 0, "fewer by 89 % (significant)", ""},
		{[]string{"--fail-on", "different", worse, good}, 1, "BETTER", ""},
		{[]string{good, few}, 3, "too few events", ""},
		{[]string{"--format", "json", "--confidence", "99", good, worse}, 1, `"confidence": 0.99`, ""},
		{[]string{good}, 2, "", "got 1 files, want two reports"},
		{[]string{"--tolerance", "900", good, worse}, 0, "WITHIN TOLERANCE: of 1 comparisons 1 within tolerance", ""},
		{[]string{"--tolerance", "-3%", good, worse}, 2, "", "invalid tolerance '-3%'"},
		{[]string{"--confidence", "30%", good, worse}, 2, "", "invalid confidence '30%'"},
		{[]string{"-f", "xml", good, worse}, 2, "", "invalid output format 'xml'"},
		{[]string{"--fail-on", "luck", good, worse}, 2, "", "invalid --fail-on 'luck'"},
		{[]string{good, "/no/such/file"}, 2, "", "open report: open /no/such/file"},
		{[]string{good, script}, 2, "", "no report of slope check"},
		{[]string{"--help"}, 0, "Exit status:", ""},
	} {
		r := slope(t, append([]string{"compare"}, c.args...)...)
		if r.status != c.status || !strings.Contains(r.out, c.out) || !strings.Contains(r.err, c.err) {
			t.Errorf("%q: status %d, want %d\n%s%s", c.args, r.status, c.status, r.out, r.err)
		}
	}
}

// TestCompareRuns compares two runs of the same command, and one with a run whose reads take longer.
func TestCompareRuns(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	dd, comm := ownDD(t)
	dir := t.TempDir()
	check := func(name, script string) string {
		path := filepath.Join(dir, name)
		args := []string{"check", scriptFile(t, withDD(dd, comm, script)[0]), "--report", path}
		if r := slope(t, append(args, withDD(dd, comm, ddCommand(20000)...)...)...); r.status != 0 {
			t.Fatalf("status %d\n%s%s", r.status, r.out, r.err)
		}
		return path
	}
	before := check("before.json", ddReads+sloFast)
	// A tenfold time is a slow-down that a busy machine does not bring about by itself.
	slower := check("slower.json", strings.Replace(ddReads, "observe(stop(tid)", "observe(stop(tid) * 10", 1)+sloFast)
	// The middle tells; the rarest values are the machine's as much as the command's.
	for _, c := range []struct{ a, b, want string }{{before, slower, "worse"}, {slower, before, "better"}} {
		r := slope(t, "compare", "--format=json", c.a, c.b)
		var back compare.Result
		if err := json.Unmarshal([]byte(r.out), &back); err != nil {
			t.Fatalf("%v: status %d\n%s%s", err, r.status, r.out, r.err)
		}
		at := slices.IndexFunc(back.Rows, func(x compare.Row) bool { return x.What == "p50" })
		if at < 0 || string(back.Rows[at].Verdict) != c.want || c.want == "worse" && r.status != 1 {
			t.Errorf("status %d, want %s\n%s%s", r.status, c.want, r.out, r.err)
		}
	}
}
