package main

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

func TestMain(m *testing.M) { bpftest.Main(m) }

// TestBrief measures everything for a moment: no figure is judged, but each must be there.
func TestBrief(t *testing.T) {
	var f bpf.Features
	bpftest.Require(t, bpf.CheckPrivileges(), f.TestRun(), f.RingBuf(), f.TPBTF())
	opt := brief()
	opt.slope = ""       // what is in bin may be of another day
	t.Setenv("PATH", "") // neither clang nor bpftrace is needed
	r, err := run(opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Events) != len(rows()) {
		t.Errorf("got %d rows, want %d", len(r.Events), len(rows()))
	}
	for _, e := range r.Events {
		if e.Slope == nil || e.Slope.Insns <= 2 || math.IsNaN(e.Slope.Nanos) || math.IsInf(e.Slope.Nanos, 0) {
			t.Errorf("%s: got %+v", e.Name, e.Slope)
		}
		if e.C != nil || e.Traced != nil {
			t.Errorf("%s: measured a compiler that is not there", e.Name)
		}
	}
	if len(r.Compile) != 3 {
		t.Errorf("got %d scripts compiled, want 3", len(r.Compile))
	}
	for _, c := range r.Compile {
		if c.Time <= 0 || c.Insns < 100 {
			t.Errorf("compile: got %+v", c)
		}
	}
	if lines := strings.Count(sixty(), "\n"); lines != 60 {
		t.Errorf("the script of 60 lines has %d", lines)
	}
	if r.Ring.Records <= 0 || r.Ring.PerSecond <= 0 || r.Ring.Records > r.Ring.Events {
		t.Errorf("ring: got %+v", r.Ring)
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil || !strings.Contains(out.String(), rows()[0].name) {
		t.Errorf("print: %v\n%s", err, out.String())
	}
}

// TestRows looks for mistakes in the table.
func TestRows(t *testing.T) {
	text, err := sources.ReadFile("c/programs.c")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows() {
		if !strings.Contains(string(text), "PROG "+r.c+"(") {
			t.Errorf("%s: c/programs.c has no function %s", r.name, r.c)
		}
		if r.per <= 0 || r.slope == "" {
			t.Errorf("%s: incomplete", r.name)
		}
	}
}

// TestLinked tells programs apart that Go makes with and without the loader.
func TestLinked(t *testing.T) {
	src := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gotool, err := exec.LookPath("go")
	bpftest.Require(t, err)
	for flag, want := range map[string]bool{"": false, "-linkmode=external": true} {
		bin := filepath.Join(t.TempDir(), "bin")
		c := exec.Command(gotool, "build", "-ldflags="+flag, "-o", bin, src)
		c.Env = append(os.Environ(), "CGO_ENABLED="+map[bool]string{false: "0", true: "1"}[want])
		if out, err := c.CombinedOutput(); err != nil && want {
			t.Skipf("no linker: %v\n%s", err, out)
		} else if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got, err := linked(bin); got != want || err != nil {
			t.Errorf("%q: got %t, %v", flag, got, err)
		}
	}
}
