package attach_test

import (
	"bufio"
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

// goSource calls deep 1000 times in each of 5 new goroutines, whose stacks have to grow several times.
const goSource = `package main

import "os"

//go:noinline
func deep(n int) int {
	var a [64]int
	for i := range a { a[i] = n + i }
	if n == 1 { return a[0] }
	return deep(n-1) + a[n%64]
}

func main() {
	b := make([]byte, 1)
	for {
		if n, _ := os.Stdin.Read(b); n != 1 { return }
		for range 5 {
			done := make(chan int)
			go func() { done <- deep(1000) }()
			<-done
		}
		os.Stdout.Write(b)
	}
}
`

// startGo builds and starts the program, stripped as releases are.
func startGo(t *testing.T) *child {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x\ngo 1.22\n", "main.go": goSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", "child")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("go build: %v\n%s", err, out)
	}
	c := &child{path: filepath.Join(dir, "child"), t: t}
	c.run()
	return c
}

// TestGoFunction counts a Go function exactly, although its stack is moved while it runs.
func TestGoFunction(t *testing.T) {
	var f bpf.Features
	bpftest.Require(t, f.UprobeMulti())
	c := startGo(t)
	b, err := symbols.Open(c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	fn, err := b.Lookup("main.deep")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := b.Entry(fn)
	if err != nil {
		t.Fatal(err)
	}
	returns, err := b.Returns(fn)
	if err != nil {
		t.Fatal(err)
	}
	points := func(offsets ...uint64) (out []attach.Point) {
		for _, o := range offsets {
			out = append(out, attach.Point{Offset: o})
		}
		return out
	}
	const calls = 5 * 1000
	for _, test := range []struct {
		name   string
		points []attach.Point
		typ    ebpf.AttachType
		again  bool // counts restarted calls twice
	}{
		{"entry", points(entry), attach.UprobeMultiType, false},
		{"entry by perf", points(entry), 0, false},
		{"returns", points(returns...), attach.UprobeMultiType, false},
		{"returns by perf", points(returns...), 0, false},
		{"first instruction", points(fn.FileOffset), attach.UprobeMultiType, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := countIn(t, c.pid, bpf.ProgSpec{Type: ebpf.Kprobe, AttachType: test.typ})
			link, err := attach.Uprobe(n.prog, c.path, test.points, c.pid, false)
			if err != nil {
				t.Fatal(err)
			}
			c.calls()
			if err := link.Close(); err != nil {
				t.Fatal(err)
			}
			c.calls()
			if got := n.get(); got != calls && !test.again || got < calls {
				t.Errorf("got %d, want %d", got, calls)
			} else {
				t.Logf("%d", got)
			}
		})
	}
}

// run starts the child.
func (c *child) run() {
	c.t.Helper()
	cmd := exec.Command(c.path)
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { in.Close(); cmd.Wait() })
	c.pid, c.in, c.out = cmd.Process.Pid, in, bufio.NewReader(out)
}
