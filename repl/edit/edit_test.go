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
	"testing"
	"time"

	"github.com/slopebpf/slope/repl/edit"
	"github.com/slopebpf/slope/repl/ptytest"
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

func start(t *testing.T, cols, rows int, env ...string) *ptytest.Terminal {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), append([]string{childEnv + "=1", "TERM=xterm-256color", "HIST=" + filepath.Join(t.TempDir(), "history")}, env...)...)
	s := ptytest.Start(t, cols, rows, c)
	s.Wait(">")
	return s
}

// alive enters a line and waits for its echo.
func alive(t *testing.T, s *ptytest.Terminal) {
	t.Helper()
	s.Send("\x03")
	s.Send("still here\r")
	s.Wait(`got "still here"`)
}

// TestKnownBugs goes through what is wrong with readline by itself, one case for each number of the list of findings.
func TestKnownBugs(t *testing.T) {
	t.Run("1 search without history, then Ctrl-C or Ctrl-G", func(t *testing.T) {
		s := start(t, 60, 12, "HIST=")
		for _, keys := range []string{"\x12\x03", "\x12\x07", "\x12x\x03", "\x13\x03", "\x13\x07", "\x12\x1b"} {
			s.Send(keys)
		}
		alive(t, s)
	})
	t.Run("2 transpose behind the end", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("a\x14\x14b\r")
		s.Wait(`got "ab"`)
		s.Send("ab\x14\r")
		s.Wait(`got "ba"`)
	})
	t.Run("3 candidates wider than the terminal", func(t *testing.T) {
		s := start(t, 40, 12)
		s.Send("wide\t\t\t\x1b[B")
		s.Wait("…")
		alive(t, s)
	})
	t.Run("4 asynchronous output during completion", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("tick 3000\r")
		for range 50 {
			s.Send("be\t\t\x7f\t\x7f\x7f\x7f\x7f")
		}
		s.Until("end of the ticks", func(string) bool { return strings.Contains(s.Wrote(), "ticked") })
		alive(t, s)
	})
	t.Run("5 five hundred candidates keep the screen", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("many\t\t")
		s.Wait("more")
		s.Last("> many")
	})
	t.Run("6 Close while a line is being read", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("close\r")
		if status := s.Exit(); status != 0 {
			t.Error(status)
		}
	})
	t.Run("7 Ctrl-Space and Delete on an empty line", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("\x00\x1b[3~\x00")
		s.Send("ab\x01\x1b[3~\r")
		s.Wait(`got "b"`)
		s.Send("\x04")
		s.Wait("eof")
		s.Exit()
	})
	t.Run("8 Home, End, words, Shift-Tab", func(t *testing.T) {
		s := start(t, 60, 12)
		for _, home := range []string{"\x1b[H", "\x1b[1~", "\x1b[7~", "\x1bOH"} {
			s.Send("bc" + home + "a\r")
			s.Wait(`got "abc"`)
		}
		for _, end := range []string{"\x1b[F", "\x1b[4~", "\x1b[8~", "\x1bOF"} {
			s.Send("bc\x01a" + end + "d\r")
			s.Wait(`got "abcd"`)
		}
		s.Send("one two\x1b[1;5Dx \x1b[Z\r")
		s.Wait(`got "one x two"`)
		s.Send("one two\x01\x1b[1;5Cs\x1bf3\r")
		s.Wait(`got "ones two3"`)
	})
	t.Run("9 a cursor across a wrapped line leaves the rows above alone", func(t *testing.T) { underTmux(t, tmuxWrap) })
	t.Run("10 wide runes", func(t *testing.T) { underTmux(t, tmuxWide) })
	t.Run("11 Ctrl-W on the first word", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("first second\x01\x1bf\x17\r")
		s.Wait(`got " second"`)
	})
	t.Run("12 output without a line end", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("later\r")
		s.Send("typed")
		s.Wait("partial without end")
		s.Last("> typed")
	})
	t.Run("13 a large paste is drawn once", func(t *testing.T) {
		s := start(t, 60, 12)
		before := len(s.Wrote())
		s.Send("\x1b[200~" + strings.Repeat("0123456789abcdef ", 212) + "end\x1b[201~")
		s.Wait("end")
		drawn := len(s.Wrote()) - before
		if drawn > 20_000 {
			t.Errorf("a paste of 3.6 KB wrote %d bytes", drawn)
		}
		s.Send("\r")
		s.Wait(`end"`)
	})
	t.Run("14 several rows are one line", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("\x1b[200~one {\n\n\ttwo\r\n}\n\x1b[201~\r")
		s.Wait(`got "one {\n\n  two\n}"`)
		s.Send("a\x1b\rb\r")
		s.Wait(`got "a\nb"`)
		s.Send("x {\ry\r}\r")
		s.Wait(`got "x {\n  y\n  }"`)
		s.Send("open {\r\r") // a blank row ends it
		s.Wait(`got "open {\n  "`)
	})
	t.Run("15 history: mode, rows", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "h")
		s := start(t, 60, 12, "HIST="+file)
		s.Send("a \\ b\x1b\rc\r")
		s.Wait(`got "a \\ b\nc"`)
		s.Send("\x04")
		s.Exit()
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("history: %v %v", st, err)
		}
		s = start(t, 60, 12, "HIST="+file)
		s.Send("\x1b[A\r")
		s.Wait(`got "a \\ b\nc"`)
	})
	t.Run("16 output, completion, search and sizes at once", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("tick 2000\r")
		for i := range 40 {
			s.Send("be\t\t\x12a\x07\x15")
			s.Resize(30+i, 12)
		}
		s.Until("end of the ticks", func(string) bool { return strings.Contains(s.Wrote(), "ticked") })
		alive(t, s)
	})
	t.Run("17 a new size is drawn at once", func(t *testing.T) {
		s := start(t, 40, 12)
		s.Send(strings.Repeat("a", 50))
		s.Wait("\naaaaaaaaaaaa")
		s.Resize(80, 12)
		s.Wait("> " + strings.Repeat("a", 50))
	})
	t.Run("18 Ctrl-L clears, Ctrl-Z stops only us", func(t *testing.T) {
		s := start(t, 60, 12)
		s.Send("old\r")
		s.Wait("got")
		s.Send("keep\x0c")
		s.Until("a clear screen", func(sc string) bool { return sc == "> keep" })
		s.Send("\x1a") // an orphaned process group is not stopped: it goes on
		s.Send("\r")
		s.Wait(`got "keep"`)
	})
}

func TestSearch(t *testing.T) {
	s := start(t, 60, 12)
	for _, l := range []string{"first line", "second {\rrow\r}", "third line"} {
		s.Send(l + "\r")
	}
	s.Wait(`got "third line"`)
	s.Send("draft\x12LINE")
	s.Wait("(search) LINE: third line")
	s.Send("\x12")
	s.Wait("(search) LINE: first line")
	s.Send("\x07")
	s.Last("> draft")
	s.Send("\x15\x12row\r")
	s.Wait("> second {")
	s.Send("\r")
	s.Until("the entry again", func(sc string) bool { return strings.Count(sc, `got "second {\n`) == 2 })
	s.Send("\x12nowhere")
	s.Wait("(not found) nowhere:")
	s.Send("\x03")
	alive(t, s)
}

func TestHint(t *testing.T) {
	s := start(t, 40, 6)
	s.Send("f(")
	s.Last("hint: a function")
	if x, _ := s.Cursor(); x != len("> f(") {
		t.Errorf("cursor at %d", x)
	}
	s.Send(")")
	s.Last("> f()")
	alive(t, s)
}

func TestTallLine(t *testing.T) {
	s := start(t, 20, 5)
	s.Send("\x1b[200~" + strings.Repeat("0123456789\n", 40) + "bottom\x1b[201~")
	s.Last("  bottom")
	s.Send("\x01\x1b[A\x1b[A")
	s.Until("the cursor's rows", func(sc string) bool { return strings.Count(sc, "0123456789") >= 4 })
	s.Send("\x03")
	s.Wait("bottom\"")
	alive(t, s)
}

func TestPanicInCallback(t *testing.T) {
	s := start(t, 60, 12)
	s.Send("panic\t")
	s.Wait("failed: the line editor failed: in a callback")
	if status := s.Exit(); status != 4 {
		t.Error(status)
	}
}

func TestNarrowAndNoColor(t *testing.T) {
	s := start(t, 5, 4, "NO_COLOR=1")
	s.Send("if 漢字 word\t\t\r")
	s.Until("rows", func(sc string) bool { return strings.Contains(sc, ">") })
	s.Resize(60, 12)
	if strings.Contains(s.Wrote(), "\x1b[1;34m") {
		t.Error("colours in spite of NO_COLOR")
	}
	alive(t, s)
}
