package cli

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == childCommand || os.Args[1] == guardCommand) || os.Getenv(beSlope) != "" { // this binary is slope, or a process of its own
		os.Exit(Main(os.Args[1:], Standard()))
	}
	if os.Getenv(askPriority) != "" {
		unix.Getpriority(unix.PRIO_PROCESS, 0)
		os.Exit(0)
	}
	bpftest.Main(m)
}

// syncBuffer is a buffer that a command writes while a test looks.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// result is what a command left.
type result struct {
	out, err string
	status   int
}

// slope runs a command line in this process.
func slope(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs syncBuffer
	status := Main(args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return result{out.String(), errs.String(), status}
}

// script runs a script on the live kernel and wants success.
func script(t *testing.T, args ...string) result {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	r := slope(t, args...)
	if r.status != 0 {
		t.Fatalf("slope %q: status %d\n%s%s", args, r.status, r.out, r.err)
	}
	return r
}

// build compiles a Go program and returns its path.
func build(t *testing.T, source string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.go", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/go.mod", []byte("module target\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", "target"}, flags...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir + "/target"
}

// buildC compiles a C program and returns its path.
func buildC(t *testing.T, source string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	bpftest.Require(t, err)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.c", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, append([]string{"-O1", "-fno-inline", "-o", dir + "/target", dir + "/main.c"}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return dir + "/target"
}

// want checks that a line is in the output.
func want(t *testing.T, r result, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+r.out, "\n"+l+"\n") {
			t.Errorf("no line %q in\n%s%s", l, r.out, r.err)
		}
	}
}

// ownDD copies dd under a name of its own, since others on this machine run dd too: its path, and its name.
func ownDD(t *testing.T) (path, comm string) {
	t.Helper()
	dd, err := exec.LookPath("dd")
	bpftest.Require(t, err)
	b, err := os.ReadFile(dd)
	if err != nil {
		t.Fatal(err)
	}
	comm = "dd" + strconv.Itoa(os.Getpid())
	path = t.TempDir() + "/" + comm
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path, comm
}
