package edit_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// tmux is a server of its own with one window in which the editor runs. It wraps backwards at the edge, reflows, and knows
// wide runes, none of which the virtual terminal of the other tests does.
type tmux struct {
	t      *testing.T
	socket string
}

func (x *tmux) run(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (x *tmux) screen() string { return strings.TrimRight(x.run("capture-pane", "-p"), "\n") }

func (x *tmux) wait(sub string) string {
	x.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s := x.screen(); strings.Contains(s, sub) {
			return s
		}
	}
	x.t.Fatalf("no %q on the screen:\n%s", sub, x.screen())
	return ""
}

func (x *tmux) cursor() string {
	return strings.TrimSpace(x.run("display", "-p", "#{cursor_x},#{cursor_y}"))
}

func (x *tmux) waitCursor(want string) {
	x.t.Helper()
	got := ""
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = x.cursor(); got == want {
			return
		}
	}
	x.t.Errorf("cursor at %s, want %s:\n%s", got, want, x.screen())
}

func underTmux(t *testing.T, f func(*tmux)) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux")
	}
	x := &tmux{t, t.TempDir() + "/s"}
	x.run("new-session", "-d", "-x", "60", "-y", "14", fmt.Sprintf("%s=1 LC_ALL=C.UTF-8 HIST= %s", childEnv, os.Args[0]))
	t.Cleanup(func() { exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	x.wait(">")
	f(x)
}

func tmuxWrap(x *tmux) {
	for i := range 4 {
		x.run("send-keys", "-l", fmt.Sprintf("line%d", i))
		x.run("send-keys", "Enter")
	}
	x.wait(`got "line3"`)
	x.run("send-keys", "-l", strings.Repeat("a", 68))
	x.wait("\n" + strings.Repeat("a", 10))
	for range 20 {
		x.run("send-keys", "Left")
	}
	x.run("send-keys", "Home")
	x.run("send-keys", "-l", "Z")
	s := x.wait("> Zaaa")
	for i := range 4 {
		if !strings.Contains(s, fmt.Sprintf(`got "line%d"`, i)) {
			x.t.Errorf("line %d is gone:\n%s", i, s)
		}
	}
	x.waitCursor("3,8")
}

func tmuxWide(x *tmux) {
	x.run("send-keys", "-l", "漢字かな")
	x.wait("> 漢字かな")
	x.waitCursor("10,0")
	x.run("send-keys", "Left")
	x.waitCursor("8,0")
	x.run("send-keys", "-l", strings.Repeat("漢", 40))
	x.waitCursor("28,1")
	x.run("send-keys", "Home")
	x.waitCursor("2,0")
	x.run("send-keys", "End")
	x.run("send-keys", "-l", "🎉x")
	x.wait("🎉x")
	x.run("send-keys", "Enter")
	s := x.wait("got")
	if strings.Count(s, "> 漢字か漢") != 1 {
		x.t.Errorf("drawn more than once:\n%s", s)
	}
}
