// Package ptytest runs programs on terminals for tests: a pseudo terminal with a virtual screen, or a window of tmux.
//
// The virtual screen knows no wide runes and does not wrap backwards; tmux does both. Waiting polls with a deadline.
// Start at Start and StartTmux.
package ptytest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/sys/unix"
)

const (
	deadline = 60 * time.Second
	kept     = 32 << 20 // bytes of what was written, at least
)

// Terminal is a program on a virtual screen.
type Terminal struct {
	t    *testing.T
	pty  *os.File
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	vt  vt10x.Terminal
	raw []byte
}

// Start runs a program. It is killed at the end of the test.
func Start(t *testing.T, cols, rows int, cmd *exec.Cmd) *Terminal {
	t.Helper()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)})
	if err != nil {
		t.Fatal(err)
	}
	s := &Terminal{t: t, pty: f, cmd: cmd, vt: vt10x.New(vt10x.WithSize(cols, rows)), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		b := make([]byte, 64<<10)
		for {
			n, err := f.Read(b)
			s.mu.Lock()
			if s.raw = append(s.raw, b[:n]...); len(s.raw) > 2*kept {
				s.raw = append([]byte(nil), s.raw[kept:]...)
			}
			s.vt.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				break
			}
		}
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-s.done
		f.Close()
	})
	return s
}

// Pid is the program's process.
func (s *Terminal) Pid() int { return s.cmd.Process.Pid }

// Send types text.
func (s *Terminal) Send(text string) { s.pty.WriteString(text) }

// Resize changes the size.
func (s *Terminal) Resize(cols, rows int) {
	s.mu.Lock()
	s.vt.Resize(cols, rows)
	s.mu.Unlock()
	if err := pty.Setsize(s.pty, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)}); err != nil {
		s.t.Error(err)
	}
}

// Screen is what is on the screen, without blanks at the ends of rows.
func (s *Terminal) Screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return trim(s.vt.String())
}

func trim(screen string) string {
	var out []string
	for _, l := range strings.Split(screen, "\n") {
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.TrimRight(strings.Join(out, "\n"), "\n")
}

// Wrote is what was written, of very much the end.
func (s *Terminal) Wrote() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.raw)
}

// Cursor is where the cursor is.
func (s *Terminal) Cursor() (x, y int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.vt.Cursor()
	return c.X, c.Y
}

// Until waits until the screen is as wanted.
func (s *Terminal) Until(what string, ok func(screen string) bool) string {
	s.t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if sc := s.Screen(); ok(sc) {
			return sc
		}
	}
	s.t.Fatalf("no %s on the screen:\n%s", what, s.Screen())
	return ""
}

// Wait waits until text is on the screen.
func (s *Terminal) Wait(text string) string {
	s.t.Helper()
	return s.Until(strconv.Quote(text), func(sc string) bool { return strings.Contains(sc, text) })
}

// Last waits until the last row of the screen is this.
func (s *Terminal) Last(row string) string {
	s.t.Helper()
	return s.Until("last row "+strconv.Quote(row), func(sc string) bool { return strings.HasSuffix("\n"+sc, "\n"+row) })
}

// WaitWrote waits until text was written, whatever became of it on the screen.
func (s *Terminal) WaitWrote(text string) {
	s.t.Helper()
	s.Until("trace of "+strconv.Quote(text), func(string) bool { return strings.Contains(s.Wrote(), text) })
}

// Exit waits for the end of the program and returns its status.
func (s *Terminal) Exit() int {
	s.t.Helper()
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(deadline):
		s.t.Fatalf("does not exit:\n%s", s.Screen())
		return -1
	}
}

// Tmux is a server of its own with one window.
type Tmux struct {
	t      *testing.T
	socket string
}

// StartTmux runs a shell command in a window; without tmux the test is skipped.
func StartTmux(t *testing.T, cols, rows int, command string) *Tmux {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux")
	}
	x := &Tmux{t, t.TempDir() + "/s"}
	x.Run("new-session", "-d", "-x", strconv.Itoa(cols), "-y", strconv.Itoa(rows), "LC_ALL=C.UTF-8 "+command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	return x
}

// Run runs a command of tmux.
func (x *Tmux) Run(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// Send types text, and keys by their names: Enter, Left.
func (x *Tmux) Send(text string, keys ...string) {
	x.t.Helper()
	if text != "" {
		x.Run("send-keys", "-l", text+" ") // it drops a ';' at the end
		x.Run("send-keys", "BSpace")
	}
	for _, k := range keys {
		x.Run("send-keys", k)
	}
}

// Screen is what is on the screen.
func (x *Tmux) Screen() string { return trim(x.Run("capture-pane", "-p")) }

// Wait waits until text is on the screen.
func (x *Tmux) Wait(text string) string {
	x.t.Helper()
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s := x.Screen(); strings.Contains(s, text) {
			return s
		}
	}
	x.t.Fatalf("no %q on the screen:\n%s", text, x.Screen())
	return ""
}

// WaitCursor waits until the cursor is at a place.
func (x *Tmux) WaitCursor(col, row int) {
	x.t.Helper()
	want, got := fmt.Sprintf("%d,%d", col, row), ""
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = strings.TrimSpace(x.Run("display", "-p", "#{cursor_x},#{cursor_y}")); got == want {
			return
		}
	}
	x.t.Errorf("cursor at %s, want %s:\n%s", got, want, x.Screen())
}

// Cooked tells whether the terminal echoes and edits lines by itself, as a shell wants it back.
func (s *Terminal) Cooked() bool {
	s.t.Helper()
	mode, err := unix.IoctlGetTermios(int(s.pty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0 && mode.Lflag&unix.ICANON != 0
}
