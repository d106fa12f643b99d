package cli

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/export"
)

// ddReads measures the reads of a dd of our own, COMM.
const ddReads = `
sli reads[fd] { unit = seconds;
	tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { start(tid); @fd[tid] = args.fd; }
	tracepoint:syscalls:sys_exit_read /comm == "COMM" && args.ret == 1/ { observe(stop(tid), @fd[tid]); delete(@fd, tid); }
}
`

const (
	sloFast  = "slo fast = 99% of reads <= 10s over 30d by fd;\n"
	sloNever = "slo never = 99.9% of reads < 0ns over 30d;\n"
)

// ddCommand is a command of n reads; DD is that dd's path.
func ddCommand(n int) []string {
	return []string{"--", "DD", "if=/dev/zero", "of=/dev/null", "bs=1", fmt.Sprintf("count=%d", n)}
}

// withDD puts a dd's path and name where DD and COMM stand.
func withDD(dd, comm string, words ...string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.NewReplacer("DD", dd, "COMM", comm).Replace(w)
	}
	return out
}

// scriptFile writes a script and returns its path.
func scriptFile(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/test.slo"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCheckVerdicts runs a gate for every outcome, and looks at the exit status and what is said.
func TestCheckVerdicts(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	dd, comm := ownDD(t)
	never := `never    99\.9 % < 0ns .* observed 0\.000 % of 20 000, at most 0\.015 % with 95 % confidence +FAIL\n`
	few := `observed 100\.000 % of 100, at least 97\.048 % and at most 100\.000 %, each with 95 % confidence +INCONCLUSIVE\n +too few events: it takes at least 299\n`
	for _, c := range []struct {
		name, script string
		args         []string
		status       int
		out, err     string
	}{
		{"pass", ddReads + sloFast, ddCommand(20000), 0,
			`^fast    99 % <= 10s · fd=0    observed 100\.000 % of 20 000, at least 99\.985 % with 95 % confidence    PASS\n$`, ""},
		{"both limits", ddReads + sloFast, append([]string{"--for", "1m", "--confidence", "99"}, ddCommand(20000)...), 0, `with 99 % confidence    PASS\n$`, ""},
		{"fail", ddReads + sloFast + sloNever, ddCommand(20000), 1, never, ""},
		{"few events", ddReads + sloFast, ddCommand(100), 3, few, ""},
		{"few events pass", ddReads + sloFast, append([]string{"--inconclusive", "pass"}, ddCommand(100)...), 0, few, ""},
		{"few events fail", ddReads + sloFast, append([]string{"--inconclusive", "fail"}, ddCommand(100)...), 1, few, ""},
		{"no events", ddReads + sloFast, []string{"--for", "50ms"}, 3, `^fast    99 % <= 10s    no events    INCONCLUSIVE\n$`, ""},
		{"still running", `sli reads { tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 2/ { start(tid); }
			tracepoint:syscalls:sys_exit_read /comm == "COMM" && args.ret == 2/ { stop(tid); good(); }
			tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { good(); } }
			slo ok = 99% of reads over 30d;`,
			[]string{"--for", "500ms", "--", "sh", "-c", "DD if=/dev/zero of=/dev/null bs=1 count=300; mkfifo DD.f; exec DD bs=2 <>DD.f"}, 3,
			`INCONCLUSIVE\n +would be PASS, but for 1 events whose outcome is unknown\n`, ""},
		{"command fails", ddReads + sloFast, []string{"--", "sh", "-c", "exit 7"}, 3, "no events", "the command ended with exit status 7"},
		{"script exits", ddReads + sloFast + "interval:ms:10 { exit(); }", []string{"--for", "1m"}, 3, "no events", ""},
		{"parameters", ddReads + sloFast + "begin { printf(\"got %d\\n\", $1); }", []string{"7", "--for", "20ms"}, 3, "^got 7\nfast ", ""},
		{"script error", "sli a { begin { goood(); } }", []string{"--for", "1s"}, 2, `^$`, "unknown function: 'goood'"},
		{"no objective", "begin { @x = 1; }", []string{"--for", "1s"}, 2, `^$`, "no objective to decide"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := slope(t, append([]string{"check", scriptFile(t, withDD(dd, comm, c.script)[0])}, withDD(dd, comm, c.args...)...)...)
			if r.status != c.status || !regexp.MustCompile(c.out).MatchString(r.out) || !strings.Contains(r.err, c.err) {
				t.Errorf("status %d, want %d\n%s%s", r.status, c.status, r.out, r.err)
			}
		})
	}
}

// TestCheckEarly stops a run that would go on for a minute: when an objective fails, and when all pass. Its seconds are
// shorter here.
func TestCheckEarly(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	dd, comm := ownDD(t)
	for _, c := range []struct {
		name, script string
		status       int
		out          string
	}{
		{"fail", ddReads + sloFast + sloNever, 1, `(?s)(INCONCLUSIVE\n +the run was stopped early by another objective|PASS)\nnever .* at most 99\.900 % with 95 % confidence +FAIL\n`},
		{"pass", ddReads + sloFast + "slo works = 90% of reads <= 20s over 30d; slo both = all(fast: 2, works: 1);", 0,
			`(?s)^fast .* at least 99\.000 % .*PASS\nworks .* at least 90\.000 % .*PASS\nboth +all\(fast: 2, works: 1\) +burns 0 of its budget, .*PASS\n$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs syncBuffer
			s := Streams{In: strings.NewReader(""), Out: &out, Err: &errs}
			f := &checkFlags{tick: 10 * time.Millisecond, early: true, length: time.Minute, confidence: "95%",
				command: withDD(dd, comm, "DD", "if=/dev/zero", "of=/dev/null", "bs=1")}
			began := time.Now()
			status := s.report(s.check(f, []string{scriptFile(t, withDD(dd, comm, c.script)[0])}))
			if status != c.status || !regexp.MustCompile(c.out).MatchString(out.String()) || time.Since(began) > 50*time.Second {
				t.Errorf("status %d after %s\n%s%s", status, time.Since(began), out.String(), errs.String())
			}
		})
	}
}

// TestCheckUsage is what is wrong before anything runs.
func TestCheckUsage(t *testing.T) {
	path := scriptFile(t, ddReads+sloFast)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{path}, "got neither --for nor a command"},
		{[]string{"--for", "1s"}, "got no script"},
		{[]string{path, "--"}, "got no command after --"},
		{[]string{path, "--for", "-1s"}, "invalid --for -1s"},
		{[]string{path, "--for", "often"}, "invalid argument"},
		{[]string{path, "--for", "1s", "--confidence", "100%"}, "invalid confidence '100%'"},
		{[]string{path, "--for", "1s", "--confidence", "NaN"}, "invalid confidence 'NaN'"},
		{[]string{path, "--for", "1s", "--inconclusive", "maybe"}, "invalid --inconclusive 'maybe'"},
		{[]string{path, "--for", "1s", "--report", "/no/such/folder/x.json"}, "open report"},
		{[]string{path, "--", "/no/such/command"}, "no such file"},
		{[]string{path, "--", "no-such-command"}, "not found"},
		{[]string{"/no/such/script.slo", "--for", "1s"}, "failed to open file"},
	} {
		if r := slope(t, append([]string{"check"}, c.args...)...); r.status != 2 || !strings.Contains(r.err, c.want) {
			t.Errorf("check %q: status %d, want 2 and %q in\n%s%s", c.args, r.status, c.want, r.out, r.err)
		}
	}
	out := filepath.Join(t.TempDir(), "out.json")
	if r := slope(t, "check", scriptFile(t, "sli"), "--for", "1s", "--report", out); r.status != 2 {
		t.Errorf("status %d, want 2\n%s", r.status, r.err)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run that did not begin left a report: %v", err)
	}
}

// TestCheckNotAttached asks for a probe that the kernel refuses: on an instruction with a lock prefix, of a program that
// runs. One that does not run is refused later and silently, so the script is fine as far as the compiler can see.
func TestCheckNotAttached(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	bin := buildC(t, `
#include <unistd.h>
__attribute__((naked)) void locked(long *p) { __asm__("lock incq (%rdi)\n\tret"); }
int main(void) { long n = 0; char c; locked(&n); write(1, "\n", 1); return read(0, &c, 1); }`)
	cmd := exec.Command(bin)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	path := scriptFile(t, fmt.Sprintf("sli calls { uprobe:%s:locked { good(); } } slo ok = 99%% of calls over 30d;", bin))
	r := slope(t, "check", path, "--for", "1m")
	if r.status != 4 || !strings.Contains(r.err, "attach uprobe") || r.out != "" {
		t.Errorf("status %d, want 4\n%s%s", r.status, r.out, r.err)
	}
}

// TestCheckReports reads both reports back and compares them with what dd did.
func TestCheckReports(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	dd, comm := ownDD(t)
	dir := t.TempDir()
	args := []string{"check", scriptFile(t, withDD(dd, comm, ddReads+sloFast+sloNever)[0]), "--report", dir + "/out.json", "--junit", dir + "/out.xml"}
	r := slope(t, append(args, withDD(dd, comm, ddCommand(20000)...)...)...)
	if r.status != 1 || !strings.HasSuffix(r.out, "report: "+dir+"/out.json\nreport: "+dir+"/out.xml\n") {
		t.Fatalf("status %d\n%s%s", r.status, r.out, r.err)
	}
	text, err := os.ReadFile(dir + "/out.json")
	if err != nil {
		t.Fatal(err)
	}
	var rep export.GateReport
	if err := json.Unmarshal(text, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Version != export.GateVersion || rep.Outcome != "FAIL" || rep.EndedBy != "command" || rep.Command == nil || rep.Command.Status != 0 || rep.Confidence != 0.95 ||
		len(rep.Script.SHA256) != 64 || rep.Kernel == "" || rep.Seconds <= 0 || len(rep.Objectives) != 2 || len(rep.Indicators) != 1 || rep.Losses == nil {
		t.Fatalf("wrong report:\n%s", text)
	}
	fast, never := rep.Objectives[0], rep.Objectives[1]
	if fast.Outcome != "PASS" || fast.Groups[0].Total != 20000 || fast.Groups[0].Bad != 0 || !slices.Equal(fast.Groups[0].Labels, []string{"fd=0"}) ||
		fast.Groups[0].AtLeast < 0.99985 || fast.Groups[0].Effective != 20000 || fast.Groups[0].Batches == nil || fast.MinEvents != 299 || never.Outcome != "FAIL" || never.Groups[0].Bad != 20000 {
		t.Errorf("wrong objectives: %+v", rep.Objectives)
	}
	sli := rep.Indicators[0]
	n := uint64(0)
	for _, b := range sli.Series[0].Buckets {
		n += b.Count
	}
	if sli.Kind != "distribution" || sli.Unit != "seconds" || len(sli.Series) != 1 || sli.Series[0].Events != 20000 || n+sli.Series[0].Zeros != 20000 || *sli.Series[0].Sum == 0 {
		t.Errorf("wrong indicator: %+v", sli)
	}

	var suites struct {
		Suite []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Case     []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if text, err = os.ReadFile(dir + "/out.xml"); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatal(err)
	}
	if len(suites.Suite) != 1 || suites.Suite[0].Tests != 2 || suites.Suite[0].Failures != 1 || len(suites.Suite[0].Case) != 2 ||
		suites.Suite[0].Case[0].Failure != nil || suites.Suite[0].Case[1].Failure == nil || !strings.HasPrefix(suites.Suite[0].Case[0].Name, "fast: 99 % <= 10s") {
		t.Errorf("wrong JUnit report:\n%s", text)
	}
}

// TestCheckReadme takes the README's command lines as far as to what they lack here.
func TestCheckReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^\$ slope (check .*)$`).FindAllStringSubmatch(string(text), -1)
	if len(lines) == 0 {
		t.Fatal("the README does not show check")
	}
	t.Chdir(t.TempDir())
	for _, l := range lines {
		words, err := splitWords(l[1])
		if err != nil {
			t.Fatal(err)
		}
		if r := slope(t, words...); r.status != 2 || !strings.Contains(r.err, "failed to open file") {
			t.Errorf("%s: status %d\n%s", l[1], r.status, r.err)
		}
	}
}

// TestQuoteWords: what is quoted is split again into the same words.
func TestQuoteWords(t *testing.T) {
	for _, words := range [][]string{{"a"}, {"a b", "", "c"}, {`it's`, `"q"`, `\`, `'`, "\n\t$x"}} {
		if got, err := splitWords(quoteWords(words)); err != nil || !slices.Equal(got, words) {
			t.Errorf("%q became %q, %v", words, got, err)
		}
	}
}
