package cli

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

const spinner = `package main

//go:noinline
func spin(n uint64) uint64 {
	for {
		n = n*6364136223846793005 + 1
	}
}

func main() { spin(1) }
`

// TestFlame samples a program that does nothing but spin in one function.
func TestFlame(t *testing.T) {
	p := start(t, exec.Command(build(t, spinner)))
	pid := strconv.Itoa(p.cmd.Process.Pid)
	r := script(t, "flame", "--for", "1s", "-p", pid, "--format", "folded")
	total, spinning := 0, 0
	for _, line := range lines(r.out) {
		at := strings.LastIndexByte(line, ' ')
		n, err := strconv.Atoi(line[at+1:])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		total += n
		if strings.Contains(line, "main.spin") {
			spinning += n
		}
	}
	if total < 10 || spinning < total*9/10 {
		t.Errorf("%d of %d samples are in main.spin:\n%s", spinning, total, r.out)
	}
	folded := write(t, "stacks", r.out)
	if r := slope(t, "flame", folded); r.status != 0 || !strings.HasPrefix(r.out, "<svg ") || !strings.Contains(r.out, "<title>main.spin: ") {
		t.Errorf("the picture: %d %s%s", r.status, r.err, r.out)
	}
	r = slope(t, "flame", "--format", "pprof", folded)
	prof, err := profile.ParseData([]byte(r.out))
	if err != nil || len(prof.Sample) == 0 {
		t.Errorf("the profile: %v", err)
	}
	for _, c := range []struct {
		args   []string
		status int
		err    string
	}{
		{[]string{"flame", "--format", "png"}, 2, "invalid format 'png'"},
		{[]string{"flame", "--for", "1s", "x"}, 2, "exclude each other"},
		{[]string{"flame", "/no/such/file"}, 1, "no such file"},
		{[]string{"flame", write(t, "empty", "")}, 1, "HINT: count by a stack"},
		{[]string{"flame", write(t, "bad", "a;b c\n")}, 1, "line 1: got"},
	} {
		if r := slope(t, c.args...); r.status != c.status || !strings.Contains(r.err, c.err) {
			t.Errorf("%q: status %d, %s", c.args, r.status, r.err)
		}
	}
}
