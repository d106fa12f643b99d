package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/repl/ptytest"
)

// resources are what a process holds.
func resources(t *testing.T, s *ptytest.Terminal) (mib, files int) {
	t.Helper()
	pid := s.Pid()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		wrote := s.Wrote()
		t.Fatalf("%v\n%q", err, wrote[max(len(wrote)-6000, 0):])
	}
	if m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status); m != nil {
		kib, _ := strconv.Atoi(string(m[1]))
		mib = kib / 1024
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return mib, len(list)
}

// press types something at random, nothing of which leaves the shell.
func press(s *ptytest.Terminal, r *rand.Rand, cols, rows *int) {
	keys := []string{"\t", "\t\t", "\x12", "\x07", "\x1b", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[H", "\x1b[F", "\x1b[3~", "\x1b[1;5D", "\x1b[1;5C",
		"\x01", "\x05", "\x0b", "\x15", "\x17", "\x19", "\x14", "\x0c", "\x00", "\x13", "\x7f", "\x7f\x7f", "a\x03", "\x1b\r", "x\x15\r",
		"tracepoint:sched:", "inter", "@", "@n", "p99(@h", "{ ", "}", "\"", "(", "args.", "漢字", "🎉", "é", "\x1b[200~pasted {\n\ttext\n}\x1b[201~",
		"\x1b[200~", "\x1b[201~", "\xff\xfe", "\x1b[<0;1;1M", "\x1b[999;999;999;999", "@n\r", "\x15:stats\r", "\x15:probes\r", "\x15@h\r", "nonsense {\r\r"}
	switch n := r.IntN(40); {
	case n == 0:
		*cols, *rows = 5+r.IntN(150), 3+r.IntN(50)
		s.Resize(*cols, *rows)
	case n < 6:
		s.Send(string(rune('a' + r.IntN(26))))
	default:
		s.Send(keys[r.IntN(len(keys))])
	}
}

// TestShellSoak types at random, resizes and prints for a while: the shell lives, does not grow, and its maps are right.
func TestShellSoak(t *testing.T) {
	length, lines := 4*time.Second, 2
	if soak := os.Getenv("SLOPE_SOAK"); soak != "" {
		length, lines = 10*time.Minute, 4
		if d, err := time.ParseDuration(soak); err == nil {
			length = d
		}
	}
	s := shellOn(t, 100, 30)
	s.Send("interval:ms:1 { @n = count(); @h = hist(nsecs); " + strings.Repeat(`printf("a line of output, %d\n", cpu); `, lines) + "}\r")
	s.WaitWrote("#1 attached")
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	cols, rows := 100, 30
	var memory, files int
	began := time.Now()
	typed := 0
	for time.Since(began) < length {
		press(s, r, &cols, &rows)
		typed++
		if typed%10 == 0 {
			if memory == 0 && time.Since(began) > length/4 {
				memory, files = resources(t, s)
			}
			time.Sleep(5 * time.Millisecond) // a person's breath: the shell may take in what was typed
		}
	}
	s.Send("\x1b[201~\x07\x03\x15x\x03")
	s.Resize(120, 40)
	s.Send("q\x15:drop 1\r")
	s.Wait("dropped in")
	after, open := resources(t, s)
	if after > memory+64 || open > files+8 {
		t.Errorf("%d MiB and %d files, after a quarter of the time it was %d and %d", after, open, memory, files)
	}
	elapsed := time.Since(began)
	s.Send("\x15begin { @done = 1; }\r")
	entered := regexp.MustCompile(`(?s)@done = 1; \}\n.*#\d+ attached`) // what was printed before and held back may come between
	s.Until("the entry", entered.MatchString)
	s.Send("\x15@done + 41\r")
	s.Until("42", func(sc string) bool { return strings.Contains(sc, "> @done + 41\n") && strings.Contains(sc, "\n42\n") })
	s.Send("\x15\x04")
	if status := s.Exit(); status != 0 {
		t.Errorf("status %d", status)
	}
	t.Logf("%d keys in %v, %d MiB, %d files", typed, elapsed.Round(time.Second), after, open)
}
