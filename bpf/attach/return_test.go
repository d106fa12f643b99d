package attach_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/attach"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/symbols"
)

// child is a C program that calls a function 1000 times whenever it is told to. Return probes are tried on it because
// they replace return addresses, which a Go program does not survive.
type child struct {
	path string
	pid  int
	in   io.Writer
	out  *bufio.Reader
	t    *testing.T
}

const childSource = `#include <unistd.h>
__attribute__((noinline)) int probed(int n) { __asm__ volatile(""); return n * 3; }
int main(void) {
	char c;
	while (read(0, &c, 1) == 1) {
		for (int i = 0; i < 1000; i++) probed(i);
		if (write(1, &c, 1) != 1) return 1;
	}
}`

func start(t *testing.T) *child {
	t.Helper()
	gcc, err := exec.LookPath("cc")
	bpftest.Require(t, err)
	dir := t.TempDir()
	c := &child{path: filepath.Join(dir, "child"), t: t}
	source := filepath.Join(dir, "child.c")
	if err := os.WriteFile(source, []byte(childSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(gcc, "-O2", "-o", c.path, source).CombinedOutput(); err != nil {
		t.Skipf("cc: %v\n%s", err, out)
	}
	c.run()
	return c
}

// calls has the child make its 1000 calls and waits for them.
func (c *child) calls() {
	c.t.Helper()
	c.in.Write([]byte{'x'})
	if _, err := c.out.ReadByte(); err != nil {
		c.t.Fatal(err)
	}
}

func TestReturns(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	c := start(t)
	b, err := symbols.Open(c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	fn, err := b.Lookup("probed")
	if err != nil {
		t.Fatal(err)
	}
	points := []attach.Point{{Offset: fn.FileOffset}}
	var f bpf.Features
	for _, test := range []struct {
		name string
		need func() error
		typ  ebpf.AttachType
		pid  int
		want uint64
		join func(p *ebpf.Program, pid int) (attach.Link, error)
	}{
		{"multi", f.UprobeMulti, attach.UprobeMultiType, 0, 1000, func(p *ebpf.Program, pid int) (attach.Link, error) {
			return attach.Uprobe(p, c.path, points, pid, true)
		}},
		{"multi of the process", f.UprobeMulti, attach.UprobeMultiType, c.pid, 1000, func(p *ebpf.Program, pid int) (attach.Link, error) {
			return attach.Uprobe(p, c.path, points, pid, true)
		}},
		{"perf", f.RingBuf, 0, c.pid, 1000, func(p *ebpf.Program, pid int) (attach.Link, error) {
			return attach.Uprobe(p, c.path, points, pid, true)
		}},
		{"session", f.UprobeSession, attach.UprobeSessionType, 0, 2000, func(p *ebpf.Program, pid int) (attach.Link, error) {
			return attach.UprobeSession(p, c.path, points, pid)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bpftest.Require(t, test.need())
			n := countIn(t, c.pid, bpf.ProgSpec{Type: ebpf.Kprobe, AttachType: test.typ})
			link, err := test.join(n.prog, test.pid)
			if err != nil {
				t.Fatal(err)
			}
			c.calls()
			if err := link.Close(); err != nil {
				t.Fatal(err)
			}
			c.calls()
			if got := n.get(); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
