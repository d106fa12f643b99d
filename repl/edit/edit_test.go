package edit_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"

	"github.com/slopebpf/slope/repl/edit"
)

// The test binary is an editor itself when this is set: it echoes what is entered.
const childEnv = "EDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	os.Exit(m.Run())
}

func child() {
	t, release := edit.Standard(os.Stdin, os.Stdout)
	defer release()
	h, err := edit.OpenHistory(os.Getenv("HIST"))
	if err != nil {
		fmt.Println(err)
	}
	names := []string{"alpha", "beta", "betamax"}
	for i := range 500 {
		names = append(names, fmt.Sprintf("many%03d", i))
	}
	names = append(names, "wide_"+strings.Repeat("x", 120), "wide_"+strings.Repeat("y", 120))
	hooks := edit.Hooks{
		Complete: func(line string, offset int) edit.Completion {
			if strings.Contains(line, "panic") {
				panic("in a callback")
			}
			from := strings.LastIndexAny(line[:offset], " \n") + 1
			c := edit.Completion{From: from}
			for _, n := range names {
				if strings.HasPrefix(n, line[from:offset]) {
					c.List = append(c.List, edit.Candidate{Text: n})
				}
			}
			return c
		},
		More: func(line string) (bool, int) {
			open := strings.Count(line, "{") - strings.Count(line, "}")
			return open > 0, 2 * open
		},
		Hint: func(line string, _ int) string {
			if strings.HasSuffix(line, "(") {
				return "hint: a function"
			}
			return ""
		},
		Styles: func(line string) []edit.Style {
			if i := strings.Index(line, "if"); i >= 0 {
				return []edit.Style{{Start: i, End: i + 2, SGR: "1;34"}}
			}
			return nil
		},
	}
	e, err := edit.New(edit.Options{Terminal: t, Hooks: hooks, History: h, Colour: os.Getenv("NO_COLOR") == ""})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		line, err := e.ReadLine("> ")
		switch {
		case errors.Is(err, edit.ErrInterrupt):
			e.Print(fmt.Sprintf("interrupt %q", line))
			continue
		case errors.Is(err, io.EOF):
			e.Print("eof")
			e.Close()
			os.Exit(0)
		case err != nil:
			e.Print("failed: " + err.Error())
			e.Close()
			os.Exit(4)
		}
		if err := h.Add(line); err != nil {
			e.Print(err.Error())
		}
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "tick":
			n, _ := strconv.Atoi(rest)
			go func() {
				for i := range n {
					e.Print(fmt.Sprintf("tick %d", i))
				}
				e.Print("ticked")
			}()
		case "later": // printed when the line being typed holds an x
			go func() { time.Sleep(300 * time.Millisecond); e.Print("partial without end") }()
		case "close":
			go func() { e.Close(); fmt.Print("closed\r\n"); os.Exit(0) }()
		default:
			e.Print(fmt.Sprintf("got %q", line))
		}
	}
}

type terminal struct {
	t    *testing.T
	pty  *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex
	vt   vt10x.Terminal
	raw  []byte
	done chan error
}

func start(t *testing.T, cols, rows int, env ...string) *terminal {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), append([]string{childEnv + "=1", "TERM=xterm-256color", "HIST=" + filepath.Join(t.TempDir(), "history")}, env...)...)
	f, err := pty.StartWithSize(c, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)})
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{t: t, pty: f, cmd: c, vt: vt10x.New(vt10x.WithSize(cols, rows)), done: make(chan error, 1)}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := f.Read(b)
			s.mu.Lock()
			s.raw = append(s.raw, b[:n]...)
			s.vt.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				break
			}
		}
		s.done <- c.Wait()
	}()
	t.Cleanup(func() { c.Process.Kill(); f.Close() })
	s.wait(">")
	return s
}

func (s *terminal) send(x string) { s.pty.WriteString(x) }

func (s *terminal) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range strings.Split(s.vt.String(), "\n") {
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.TrimRight(strings.Join(out, "\n"), "\n")
}

func (s *terminal) until(what string, ok func(screen string) bool) string {
	s.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if sc := s.screen(); ok(sc) {
			return sc
		}
	}
	s.t.Fatalf("no %s on the screen:\n%s", what, s.screen())
	return ""
}

func (s *terminal) wait(sub string) string {
	s.t.Helper()
	return s.until(strconv.Quote(sub), func(sc string) bool { return strings.Contains(sc, sub) })
}

// wrote tells whether the editor ever wrote this.
func (s *terminal) wrote(sub string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(string(s.raw), sub)
}

// last waits until the last row of the screen is this.
func (s *terminal) last(row string) string {
	s.t.Helper()
	return s.until("last row "+strconv.Quote(row), func(sc string) bool { return strings.HasSuffix("\n"+sc, "\n"+row) })
}

func (s *terminal) exit() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(10 * time.Second):
		s.t.Fatalf("did not exit:\n%s", s.screen())
		return nil
	}
}

func (s *terminal) cursor() (x, y int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.vt.Cursor()
	return c.X, c.Y
}

// alive enters a line and waits for its echo.
func (s *terminal) alive() {
	s.t.Helper()
	s.send("\x03")
	s.send("still here\r")
	s.wait(`got "still here"`)
}

// TestKnownBugs goes through what is wrong with readline by itself, one case for each number of the list of findings.
func TestKnownBugs(t *testing.T) {
	t.Run("1 search without history, then Ctrl-C or Ctrl-G", func(t *testing.T) {
		s := start(t, 60, 12, "HIST=")
		for _, keys := range []string{"\x12\x03", "\x12\x07", "\x12x\x03", "\x13\x03", "\x13\x07", "\x12\x1b"} {
			s.send(keys)
		}
		s.alive()
	})
	t.Run("2 transpose behind the end", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("a\x14\x14b\r")
		s.wait(`got "ab"`)
		s.send("ab\x14\r")
		s.wait(`got "ba"`)
	})
	t.Run("3 candidates wider than the terminal", func(t *testing.T) {
		s := start(t, 40, 12)
		s.send("wide\t\t\t\x1b[B")
		s.wait("…")
		s.alive()
	})
	t.Run("4 asynchronous output during completion", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("tick 3000\r")
		for range 50 {
			s.send("be\t\t\x7f\t\x7f\x7f\x7f\x7f")
		}
		s.until("end of the ticks", func(string) bool { return s.wrote("ticked") })
		s.alive()
	})
	t.Run("5 five hundred candidates keep the screen", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("many\t\t")
		s.wait("more")
		s.last("> many")
	})
	t.Run("6 Close while a line is being read", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("close\r")
		if err := s.exit(); err != nil {
			t.Error(err)
		}
	})
	t.Run("7 Ctrl-Space and Delete on an empty line", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("\x00\x1b[3~\x00")
		s.send("ab\x01\x1b[3~\r")
		s.wait(`got "b"`)
		s.send("\x04")
		s.wait("eof")
		s.exit()
	})
	t.Run("8 Home, End, words, Shift-Tab", func(t *testing.T) {
		s := start(t, 60, 12)
		for _, home := range []string{"\x1b[H", "\x1b[1~", "\x1b[7~", "\x1bOH"} {
			s.send("bc" + home + "a\r")
			s.wait(`got "abc"`)
		}
		for _, end := range []string{"\x1b[F", "\x1b[4~", "\x1b[8~", "\x1bOF"} {
			s.send("bc\x01a" + end + "d\r")
			s.wait(`got "abcd"`)
		}
		s.send("one two\x1b[1;5Dx \x1b[Z\r")
		s.wait(`got "one x two"`)
		s.send("one two\x01\x1b[1;5Cs\x1bf3\r")
		s.wait(`got "ones two3"`)
	})
	t.Run("9 a cursor across a wrapped line leaves the rows above alone", func(t *testing.T) { underTmux(t, tmuxWrap) })
	t.Run("10 wide runes", func(t *testing.T) { underTmux(t, tmuxWide) })
	t.Run("11 Ctrl-W on the first word", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("first second\x01\x1bf\x17\r")
		s.wait(`got " second"`)
	})
	t.Run("12 output without a line end", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("later\r")
		s.send("typed")
		s.wait("partial without end")
		s.last("> typed")
	})
	t.Run("13 a large paste is drawn once", func(t *testing.T) {
		s := start(t, 60, 12)
		s.mu.Lock()
		before := len(s.raw)
		s.mu.Unlock()
		s.send("\x1b[200~" + strings.Repeat("0123456789abcdef ", 212) + "end\x1b[201~")
		s.wait("end")
		s.mu.Lock()
		drawn := len(s.raw) - before
		s.mu.Unlock()
		if drawn > 20_000 {
			t.Errorf("a paste of 3.6 KB wrote %d bytes", drawn)
		}
		s.send("\r")
		s.wait(`end"`)
	})
	t.Run("14 several rows are one line", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("\x1b[200~one {\n\n\ttwo\r\n}\n\x1b[201~\r")
		s.wait(`got "one {\n\n  two\n}"`)
		s.send("a\x1b\rb\r")
		s.wait(`got "a\nb"`)
		s.send("x {\ry\r}\r")
		s.wait(`got "x {\n  y\n  }"`)
		s.send("open {\r\r") // a blank row ends it
		s.wait(`got "open {\n  "`)
	})
	t.Run("15 history: mode, rows", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "h")
		s := start(t, 60, 12, "HIST="+file)
		s.send("a \\ b\x1b\rc\r")
		s.wait(`got "a \\ b\nc"`)
		s.send("\x04")
		s.exit()
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("history: %v %v", st, err)
		}
		s = start(t, 60, 12, "HIST="+file)
		s.send("\x1b[A\r")
		s.wait(`got "a \\ b\nc"`)
	})
	t.Run("16 output, completion, search and sizes at once", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("tick 2000\r")
		for i := range 40 {
			s.send("be\t\t\x12a\x07\x15")
			pty.Setsize(s.pty, &pty.Winsize{Cols: uint16(30 + i), Rows: 12})
		}
		s.until("end of the ticks", func(string) bool { return s.wrote("ticked") })
		s.alive()
	})
	t.Run("17 a new size is drawn at once", func(t *testing.T) {
		s := start(t, 40, 12)
		s.send(strings.Repeat("a", 50))
		s.wait("\naaaaaaaaaaaa")
		s.mu.Lock()
		s.vt.Resize(80, 12)
		s.mu.Unlock()
		pty.Setsize(s.pty, &pty.Winsize{Cols: 80, Rows: 12})
		s.wait("> " + strings.Repeat("a", 50))
	})
	t.Run("18 Ctrl-L clears, Ctrl-Z stops only us", func(t *testing.T) {
		s := start(t, 60, 12)
		s.send("old\r")
		s.wait("got")
		s.send("keep\x0c")
		s.until("a clear screen", func(sc string) bool { return sc == "> keep" })
		s.send("\x1a") // an orphaned process group is not stopped: it goes on
		s.send("\r")
		s.wait(`got "keep"`)
	})
}

func TestSearch(t *testing.T) {
	s := start(t, 60, 12)
	for _, l := range []string{"first line", "second {\rrow\r}", "third line"} {
		s.send(l + "\r")
	}
	s.wait(`got "third line"`)
	s.send("draft\x12LINE")
	s.wait("(search) LINE: third line")
	s.send("\x12")
	s.wait("(search) LINE: first line")
	s.send("\x07")
	s.last("> draft")
	s.send("\x15\x12row\r")
	s.wait("> second {")
	s.send("\r")
	s.until("the entry again", func(sc string) bool { return strings.Count(sc, `got "second {\n`) == 2 })
	s.send("\x12nowhere")
	s.wait("(not found) nowhere:")
	s.send("\x03")
	s.alive()
}

func TestHint(t *testing.T) {
	s := start(t, 40, 6)
	s.send("f(")
	s.last("hint: a function")
	if x, _ := s.cursor(); x != len("> f(") {
		t.Errorf("cursor at %d", x)
	}
	s.send(")")
	s.last("> f()")
	s.alive()
}

func TestTallLine(t *testing.T) {
	s := start(t, 20, 5)
	s.send("\x1b[200~" + strings.Repeat("0123456789\n", 40) + "bottom\x1b[201~")
	s.last("  bottom")
	s.send("\x01\x1b[A\x1b[A")
	s.until("the cursor's rows", func(sc string) bool { return strings.Count(sc, "0123456789") >= 4 })
	s.send("\x03")
	s.wait("bottom\"")
	s.alive()
}

func TestPanicInCallback(t *testing.T) {
	s := start(t, 60, 12)
	s.send("panic\t")
	s.wait("failed: the line editor failed: in a callback")
	if err := s.exit(); err == nil || err.Error() != "exit status 4" {
		t.Error(err)
	}
}

func TestNarrowAndNoColor(t *testing.T) {
	s := start(t, 5, 4, "NO_COLOR=1")
	s.send("if 漢字 word\t\t\r")
	s.until("rows", func(sc string) bool { return strings.Contains(sc, ">") })
	pty.Setsize(s.pty, &pty.Winsize{Cols: 60, Rows: 12})
	s.mu.Lock()
	s.vt.Resize(60, 12)
	if strings.Contains(string(s.raw), "\x1b[1;34m") {
		t.Error("colours in spite of NO_COLOR")
	}
	s.mu.Unlock()
	s.alive()
}
