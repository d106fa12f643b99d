package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/repl"
	"github.com/slopebpf/slope/repl/ptytest"
)

// shellOn starts the shell on a terminal.
func shellOn(t *testing.T, cols, rows int, env ...string) *ptytest.Terminal {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), beSlope+"=1", "TERM=xterm-256color", "SLOPE_HISTORY="+filepath.Join(t.TempDir(), "history"), "TMPDIR="+t.TempDir())
	c.Env = append(c.Env, env...)
	s := ptytest.Start(t, cols, rows, c)
	s.Wait(strings.TrimSpace(repl.Prompt))
	return s
}

// enter types a line and waits for what it prints.
func enter(s *ptytest.Terminal, line, want string) string {
	s.Send(line + "\r")
	return s.Wait(want)
}

// ticks is a clause whose map counts without anyone else's doing.
const ticks = "interval:ms:10 { @n = count(); }"

func TestShell(t *testing.T) {
	s := shellOn(t, 100, 40)
	enter(s, ticks, "#1 attached in ")
	s.Send("\x0c")
	enter(s, "begin { @x = 5; printf(\"hello %d\\n\", 1); }", "hello 1")
	s.Wait("#2 attached in ")
	enter(s, "@x, @x * 2 + 1, @x > 4", "5, 11, 1")
	enter(s, "@nosuch", "there is no map '@nosuch'")
	enter(s, "tracepoint:nosuch:event { }", "ERROR: ")
	enter(s, "interval:ms:20 { @n = sum(1); }", "type mismatch for @n")
	s.Send("\x0c")
	enter(s, ":probes", "#2 begin")
	enter(s, ":maps", "@n: count_t")
	enter(s, "len(@n)", "1")
	s.Send(":quit\r")
	if status := s.Exit(); status != 0 {
		t.Errorf("status %d", status)
	}
	out := s.Screen()
	if !strings.Contains(out, "@x: 5") || !regexp.MustCompile(`@n: \d+`).MatchString(out) {
		t.Errorf("the maps were not printed:\n%s", out)
	}
	if n := strings.Count(s.Wrote(), "hello 1\r"); n != 1 {
		t.Errorf("begin ran %d times", n)
	}
}

// shellNumber waits until an expression has a value that is as wanted.
func shellNumber(t *testing.T, s *ptytest.Terminal, x string, ok func(n int) bool) int {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		s.Send("\x0c\x15")
		s.Until("a clear screen", func(sc string) bool { return sc == strings.TrimSpace(repl.Prompt) })
		s.Send(x + "\r")
		sc := s.Until("an answer", func(sc string) bool { return strings.HasSuffix(sc, "\n"+strings.TrimSpace(repl.Prompt)) })
		lines := strings.Split(sc, "\n")
		if n, err := strconv.Atoi(lines[len(lines)-2]); err == nil && ok(n) {
			return n
		}
	}
	t.Fatalf("%s is not as wanted:\n%s", x, s.Screen())
	return 0
}

func TestShellReplaceKeepsMaps(t *testing.T) {
	s := shellOn(t, 100, 30)
	enter(s, ticks, "#1 attached")
	before := shellNumber(t, s, "@n", func(n int) bool { return n > 20 })
	enter(s, "interval:ms:10 { @n = count(); @m = count(); }", "#1 replaced")
	shellNumber(t, s, "@m", func(n int) bool { return n > 1 })
	shellNumber(t, s, "@n", func(n int) bool { return n > before })
	enter(s, ":pause", "paused")
	at := shellNumber(t, s, "@n", func(int) bool { return true })
	shellNumber(t, s, "@n", func(n int) bool { return n == at })
	enter(s, ":resume", "resumed")
	shellNumber(t, s, "@n", func(n int) bool { return n > at })
	s.Send("\x0c")
	enter(s, ":drop 9", "there is no #9")
	enter(s, "begin { @two = 2; }", "#2 attached")
	enter(s, ":drop 2", "dropped in")
	enter(s, "@two", "there is no map '@two'")
	s.Send(":drop 1\r\x0c")
	enter(s, "@n", "nothing was entered yet")
	s.Send("\x04")
	s.Exit()
}

func TestShellSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	s := shellOn(t, 100, 30)
	enter(s, "interval:ms:50 {@n=count();}", "#1 attached")
	enter(s, "begin { @x=1 }", "#2 attached")
	enter(s, "sli calls { unit=seconds; interval:ms:20 { observe(5) } }", "#3 attached")
	enter(s, "slo fast=99% of calls<=10ms over 7d;", "#4 entered")
	enter(s, "config = { max_map_keys = 100 }", "#5 entered")
	file := filepath.Join(dir, "out.slo")
	enter(s, ":save "+file, "lines")
	enter(s, ":save "+file, "exists already")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r := slope(t, "fmt", "--check", file); r.status != 0 {
		t.Errorf("fmt would change it:\n%s", text)
	}
	if strings.Contains(string(text), "/0/") {
		t.Errorf("the session's predicates are saved:\n%s", text)
	}
	s.Send(":quit\r")
	s.Exit()

	s = shellOn(t, 100, 30)
	enter(s, ":load "+file, "#5 ")
	enter(s, "slo", "fast")
	enter(s, ":load /nosuch", "load: ")
	s.Send(":quit\r")
	s.Exit()
}

func TestShellCommands(t *testing.T) {
	s := shellOn(t, 100, 45)
	for _, c := range []struct{ line, want string }{
		{":probes", "nothing was entered yet"},
		{":help", ":quit"},
		{":nosuch", "unknown command ':nosuch'"},
		{":quti", "did you mean ':quit'?"},
		{":s", "may be :slos, :save, :stats"},
		{":doctor", "ring buffer"},
		{"help printf", "printf(format[, args…])"},
		{"help tracepoint", "tracepoint:subsystem:event"},
		{"help prinft", "did you mean 'printf'?"},
		{"help nosuchthing", "nothing has the name"},
		{"slo", "nothing was entered yet"},
		{ticks, "#1 attached"},
		{":clear @m", "did you mean '@n'?"},
		{":stats", "records in the ring buffer"},
		{":asm", "exit"},
		{":slos", "there are no objectives"},
		{"@n = 5", "ERROR"},
		{"printf(\"x\")", "stands in a probe"},
		{"@n / 0", "division by zero"},
		{"p99(@n)", "it has no distribution"},
		{"sli reads { unit = seconds; interval:ms:20 { observe(3000000) } }", "#2 attached"},
		{":explain", "// programs"},
		{"p99(reads) > 1ms, p50(reads) < 10ms", "1, 1"},
	} {
		s.Send("\x0c")
		s.Until("a clear screen", func(sc string) bool {
			return strings.HasPrefix(sc, strings.TrimSpace(repl.Prompt)) && !strings.Contains(sc, "\n")
		})
		if c.want == "1, 1" {
			shellNumber(t, s, "count(reads)", func(n int) bool { return n > 3 })
		}
		enter(s, c.line, c.want)
	}
	s.Send(":quit\r")
	s.Exit()
}

// TestShellSwap replaces a clause again and again while events flow: each event is counted once, or told as missed.
func TestShellSwap(t *testing.T) {
	swaps := 50
	if os.Getenv("SLOPE_SOAK") != "" {
		swaps = 1000
	}
	s := shellOn(t, 120, 30)
	pid := os.Getpid()
	clause := func(i int) string {
		return fmt.Sprintf("tracepoint:syscalls:sys_enter_getpgid /pid == %d/ { @n = count(); @v = %d; }", pid, i)
	}
	enter(s, clause(0), "#1 attached")
	stop, made := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				made <- n
				return
			default:
				unix.Getpgid(0)
			}
		}
	}()
	for i := 1; i <= swaps; i++ {
		s.Send("\x0c")
		s.Send(clause(i) + "\r")
		s.Until("the replacement", func(sc string) bool {
			return strings.Contains(sc, fmt.Sprintf("@v = %d; }\n#1 replaced", i)) && strings.HasSuffix(sc, strings.TrimSpace(repl.Prompt))
		})
	}
	close(stop)
	want := <-made
	if strings.Contains(s.Wrote(), "nothing was attached") {
		t.Error("there was a gap")
	}
	got := shellNumber(t, s, "@n", func(int) bool { return true })
	if got != want {
		t.Errorf("%d swaps: %d calls were counted of %d", swaps, got, want)
	}
	t.Logf("%d swaps, %d calls", swaps, want)
	s.Send(":quit\r")
	s.Exit()
}

// TestShellCompletion asks for what comes from the machine: it is looked up beside the typing.
func TestShellCompletion(t *testing.T) {
	s := shellOn(t, 100, 30)
	prompt := strings.TrimSpace(repl.Prompt) + " "
	complete := func(typed, want string) {
		t.Helper()
		s.Until(fmt.Sprintf("%q completed to %q", typed, want), func(sc string) bool {
			if strings.HasSuffix(sc, want) {
				return true
			}
			s.Send("\x15" + typed + "\t")
			end := time.Now().Add(100 * time.Millisecond)
			for time.Now().Before(end) {
				if strings.HasSuffix(s.Screen(), want) {
					return true
				}
				time.Sleep(5 * time.Millisecond)
			}
			return false
		})
		s.Send("\x15")
		s.Last(strings.TrimSpace(prompt))
	}
	complete("tracep", prompt+"tracepoint:")
	complete("tracepoint:raw_sys", prompt+"tracepoint:raw_syscalls:sys_e")
	complete("interval:s:1 { pri", prompt+"interval:s:1 { print")
	complete("tracepoint:syscalls:sys_enter_read { @x = args.cou", "args.count")
	complete(":pro", prompt+":probes")
	complete("hea", prompt+"heat")
	enter(s, "interval:s:1 { @latency = count(); }", "#1 attached")
	complete("@lat", prompt+"@latency")
	complete("watch @lat", prompt+"watch @latency")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	complete("uprobe:"+self+":runtime.goexi", "runtime.goexit")
	s.Send(":quit\r")
	s.Exit()
}

func TestShellLooking(t *testing.T) {
	s := shellOn(t, 80, 24)
	enter(s, "interval:ms:20 { @lat = hist(nsecs % 1000000); @reqs[\"a\"] = count(); @reqs[\"b\"] = count(); @reqs[\"b\"] = count(); }", "#1 attached")
	enter(s, "rate(@reqs)", "/s")
	for _, c := range []struct{ line, want string }{
		{"watch @lat", "p99   "}, {"watch @reqs", "rate "}, {"heat @lat", "│"}, {"top @reqs by count", "b      "}, {"top @reqs by rate", "/s █"},
	} {
		s.Send("\x0c" + c.line + "\r")
		s.Wait("q leaves")
		s.Until("a second picture", func(sc string) bool { return strings.Contains(sc, c.want) && !strings.Contains(sc, "no values yet") })
		s.Send("q")
		s.Last(strings.TrimSpace(repl.Prompt))
	}
	enter(s, "heat @reqs", "it has no distribution")
	enter(s, "top @lat", "has no keys")
	enter(s, "watch", "got nothing to look at")
	enter(s, "watch 5", "want a map or an sli")
	enter(s, "@reqs[\"b\"] / 2 > 1, @reqs[\"b\"] >= @reqs[\"a\"]", "1, 1")
	enter(s, "@reqs[\"c\"]", "has no entry")
	s.Send("\x0c")
	enter(s, "sli work { unit = seconds; interval:ms:20 { observe(3000000) } }", "#2 attached")
	enter(s, "slo fast = 99% of work <= 10ms over 7d;", "#3 entered")
	s.Until("a budget", func(sc string) bool {
		if strings.Contains(sc, "█ 100 %  ok") {
			return true
		}
		s.Send("\x0cslo\r")
		time.Sleep(50 * time.Millisecond)
		return strings.Contains(s.Screen(), "█ 100 %  ok")
	})
	s.Send(":quit\r")
	s.Exit()
}

func TestShellOutput(t *testing.T) {
	s := shellOn(t, 80, 24)
	s.Send("interval:ms:100 { printf(\"evil \\033[2Jline\\n\"); }\r")
	s.Wait("evil ^[[2Jline")
	s.Send("typed text stays")
	s.Last(strings.TrimSpace(repl.Prompt) + " typed text stays")
	s.Send("\x15:drop 1\r\x0c")
	// More than can be shown: what is held back is counted.
	s.Send("begin { unroll (10) { unroll (20) { unroll(20) { printf(\"line\\n\"); } } } }\r")
	s.Until("the count", func(string) bool {
		return strings.Contains(s.Wrote(), " held back") || strings.Contains(s.Screen(), "ERROR")
	})
	s.Send(":quit\r")
	s.Exit()
}

func TestShellSmall(t *testing.T) {
	s := shellOn(t, 40, 10, "NO_COLOR=1")
	enter(s, ticks, "attached")
	enter(s, "begin { @[\"漢字 wide\"] = count(); @[\"🎉\"] = count(); }", "#2")
	enter(s, ":probes", "#2 begin")
	enter(s, "@", "漢字")
	s.Send("watch @n\r")
	s.Wait("q leaves")
	s.Resize(25, 8)
	s.Resize(60, 12)
	s.Send("q")
	s.Send("\x0c:maps\r")
	s.Wait("@n: count_t")
	if regexp.MustCompile(`\x1b\[[0-9;]+m`).MatchString(s.Wrote()) {
		t.Error("colours in spite of NO_COLOR")
	}
	s.Send(":quit\r")
	s.Exit()
}

func TestShellDumb(t *testing.T) {
	s := shellOn(t, 80, 24, "TERM=dumb")
	enter(s, ticks, "#1 attached")
	enter(s, "begin {\r@x = 7\r}", "#2 attached")
	enter(s, "@x + 1", "8")
	s.Send(":quit\r")
	s.Exit()
	if strings.Contains(s.Wrote(), "\x1b") {
		t.Errorf("escape sequences on a dumb terminal: %q", s.Wrote())
	}
}

// TestShellPipe: without a terminal it is a reader of scripts.
func TestShellPipe(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), beSlope+"=1")
	c.Stdin = strings.NewReader("begin { printf(\"from a pipe\\n\"); exit(3); }\n")
	out, err := c.CombinedOutput()
	if c.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "from a pipe\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestShellLeaving(t *testing.T) {
	maps := regexp.MustCompile(`(?m)^@n: \d+`)
	for name, leave := range map[string]func(s *ptytest.Terminal){
		"Ctrl-D":       func(s *ptytest.Terminal) { s.Send("\x04") },
		"Ctrl-C twice": func(s *ptytest.Terminal) { s.Send("\x03"); s.Wait("Ctrl-C again"); s.Send("\x03") },
		"SIGTERM":      func(s *ptytest.Terminal) { unix.Kill(s.Pid(), unix.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			s := shellOn(t, 80, 24)
			enter(s, ticks, "#1 attached")
			shellNumber(t, s, "@n", func(n int) bool { return n > 0 })
			leave(s)
			if status := s.Exit(); status != 0 || !maps.MatchString(s.Screen()) {
				t.Errorf("status %d:\n%s", status, s.Screen())
			}
			if !s.Cooked() {
				t.Error("the terminal is not as it was")
			}
		})
	}
	t.Run("the terminal is gone", func(t *testing.T) {
		dir := t.TempDir()
		s := shellOn(t, 80, 24, "TMPDIR="+dir)
		enter(s, ticks, "#1 attached")
		shellNumber(t, s, "@n", func(n int) bool { return n > 0 })
		unix.Kill(s.Pid(), unix.SIGHUP)
		s.Exit()
		files, _ := filepath.Glob(dir + "/slope-maps-*.txt")
		if len(files) != 1 {
			t.Fatalf("saved maps: %v\n%s", files, s.Screen())
		}
		if b, err := os.ReadFile(files[0]); err != nil || !maps.Match(b) {
			t.Errorf("%v: %s", err, b)
		}
	})
	t.Run("exit() from a script", func(t *testing.T) {
		s := shellOn(t, 80, 24)
		enter(s, "interval:ms:50 { @n = count(); exit(4); }", "exit() was called")
		before := shellNumber(t, s, "@n", func(n int) bool { return n > 0 }) // one, unless it took longer than the next tick to end
		enter(s, "interval:ms:50 { @n = count(); }", "#1 replaced")
		shellNumber(t, s, "@n", func(n int) bool { return n > before+2 })
		s.Send(":quit\r")
		s.Exit()
	})
}

// TestShellTmux runs a session where the terminal is not a virtual one.
func TestShellTmux(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	x := ptytest.StartTmux(t, 70, 20, fmt.Sprintf("%s=1 SLOPE_HISTORY= %s", beSlope, os.Args[0]))
	x.Wait(strings.TrimSpace(repl.Prompt))
	x.Send("interval:ms:300 { @n = count(); printf(\"漢字 tick\\n\"); }", "Enter")
	x.Wait("\n漢字 tick")
	x.Send("a line that is being typed while the script prints, and which wraps")
	s := x.Wait("\nraps")
	if strings.Count(s, "a line that is being typed") != 1 {
		t.Errorf("drawn twice:\n%s", s)
	}
	x.Run("resize-window", "-x", "50", "-y", "15")
	x.Send("", "C-u")
	x.Send("watch @n", "Enter")
	x.Wait("q leaves")
	x.Send("", "q")
	x.Send("@n > 0", "Enter")
	x.Wait("> 0\n1\n")
	x.Send(":quit", "Enter")
}

// guardOf is the guard of a shell, which is its only child.
func guardOf(t *testing.T, s *ptytest.Terminal) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	children := ""
	for _, l := range lists {
		children += read(t, l)
	}
	guard, err := strconv.Atoi(strings.TrimSpace(children))
	if err != nil {
		t.Fatalf("children: %q", children)
	}
	return guard
}

// TestShellCrash kills the shell, as a crash of any of its goroutines does: what it counted is printed, and the terminal is
// as it was. Nothing stays behind after an orderly end.
func TestShellCrash(t *testing.T) {
	s := shellOn(t, 100, 40)
	enter(s, "begin { @kept[\"a\"] = 5; }", "#1 attached in ")
	enter(s, "sli ticks { interval:ms:10 { good(); } } slo most = 90% of ticks over 1d;", "attached in ")
	enter(s, ":drop 99", "99")
	if err := unix.Kill(s.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Wait("its maps hold:")
	s.Wait("@kept[a]: 5")
	s.Until("the objective", func(sc string) bool { return regexp.MustCompile(`most +90 % of ticks`).MatchString(sc) })
	if !s.Cooked() {
		t.Error("the terminal is still raw")
	}

	// A guard that was killed is told of once, and nothing else changes.
	s = shellOn(t, 200, 40)
	gone := guardOf(t, s)
	if err := unix.Kill(gone, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	bpftest.Eventually(t, 10*time.Second, "end of the guard", func() bool { // of its last thread: until then it has its end of the connection
		left, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", gone))
		return err == nil && len(left) == 1 && strings.Contains(read(t, left[0]), ") Z ")
	})
	enter(s, "begin { @kept = 7; }", "#1 attached in ")
	s.Wait("lost should the shell crash")
	enter(s, "begin { @kept = 8; }", "#1 replaced in ")
	s.Send(":quit\r")
	if status := s.Exit(); status != 0 || strings.Count(s.Wrote(), "lost should the shell crash") != 1 {
		t.Errorf("status %d\n%s", status, s.Screen())
	}
	s.Wait("@kept: 8")

	// An orderly end leaves nothing behind.
	s = shellOn(t, 100, 40)
	guard := guardOf(t, s)
	enter(s, "begin { @kept = 5; }", "#1 attached in ")
	s.Send(":quit\r")
	s.Exit()
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", guard)); err == nil {
		t.Error("the guard is still there")
	}
	if strings.Contains(s.Wrote(), "has crashed") {
		t.Error("the guard spoke")
	}
}

// TestShellIterator goes through all tasks, and again.
func TestShellIterator(t *testing.T) {
	s := shellOn(t, 100, 30)
	enter(s, "iter:task { @t = count(); }", "all objects were gone through")
	first := shellNumber(t, s, "@t", func(n int) bool { return n > 0 })
	enter(s, ":resume", "all objects were gone through")
	shellNumber(t, s, "@t", func(n int) bool { return n > first })
	enter(s, "begin { @y = 2; }", "cannot be mixed")
	enter(s, ":drop 1", "dropped in")
	enter(s, "begin { @y = 2; }", "attached in")
}
