package cli

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// beSlope makes the test binary the slope binary: what main does is one call of Main.
const beSlope = "SLOPE_TEST_BE_SLOPE"

// command is a command line of the binary, in a process of its own.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), beSlope+"=1", "GORACE=atexit_sleep_ms=0", "NO_COLOR=", "BPFTRACE_COLOR=", "__BPFTRACE_NOTIFY_PROBES_ATTACHED=")
	return cmd
}

// binary runs a command line to its end.
func binary(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd := command(t, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return start(t, cmd).wait(t)
}

// process is a running slope.
type process struct {
	cmd      *exec.Cmd
	out, err syncBuffer
	done     chan struct{}
}

// start starts a command; it is killed when the test ends.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.err
	}
	cmd.WaitDelay = time.Second // what it started may keep its pipes open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.done
	})
	return p
}

// trace starts a script on the live kernel and returns when its probes are attached.
func trace(t *testing.T, args ...string) *process {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	p := start(t, command(t, args...))
	p.attached(t)
	return p
}

// attached waits for the message that probes are attached.
func (p *process) attached(t *testing.T) {
	t.Helper()
	bpftest.Eventually(t, 10*time.Second, "attached", func() bool {
		select {
		case <-p.done:
			t.Fatalf("ended before it attached:\n%s%s", p.out.String(), p.err.String())
		default:
		}
		return strings.Contains(p.err.String(), "ttached ") || strings.Contains(p.out.String(), `"attached_probes"`)
	})
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the end. The status of a process that a signal killed is 128 and the signal.
func (p *process) wait(t *testing.T) result {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.signal(t, syscall.SIGQUIT)
		<-p.done
		t.Fatalf("%q does not end\n%s%s", p.cmd.Args[1:], p.out.String(), p.err.String())
	}
	status := p.cmd.ProcessState.ExitCode()
	if w, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		status = 128 + int(w.Signal())
	}
	return result{p.out.String(), p.err.String(), status}
}

// is checks a whole result.
func (r result) is(t *testing.T, what string, status int, out, err string) {
	t.Helper()
	if r.status != status || r.out != out || r.err != err {
		t.Errorf("%s: status %d, want %d\nout %q\nwant %q\nerr %q\nwant %q", what, r.status, status, r.out, out, r.err, err)
	}
}

// lines splits text that ends with a line end.
func lines(s string) []string {
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// read reads a file of the test.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write writes a file into a new directory and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := t.TempDir() + "/" + name
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
