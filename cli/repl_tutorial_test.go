package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/repl"
)

// TestTutorial types the tutorial of the shell and compares what comes back.
func TestTutorial(t *testing.T) {
	text, err := os.ReadFile("../docs/tutorial-repl.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	type step struct {
		line string
		want []string
	}
	var steps []step
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 0 {
			continue
		}
		for _, l := range strings.Split(strings.TrimSpace(block), "\n") {
			if typed, ok := strings.CutPrefix(l, repl.Prompt); ok {
				steps = append(steps, step{line: typed})
			} else {
				last := &steps[len(steps)-1]
				last.want = append(last.want, l)
			}
		}
	}
	if len(steps) < 20 {
		t.Fatalf("the tutorial has %d lines to type", len(steps))
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { // something to see
		f, err := os.Open("/dev/zero")
		if err != nil {
			return
		}
		defer f.Close()
		b := make([]byte, 4096)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_, _ = f.Read(b)
			}
		}
	}()
	s := shellOn(t, 150, 50)
	prompt := strings.TrimSpace(repl.Prompt)
	for _, st := range steps {
		matches := func(sc string) bool {
			for _, w := range st.want {
				pattern := strings.ReplaceAll(regexp.QuoteMeta(w), "…", ".*")
				if !regexp.MustCompile(`(?m)^` + pattern).MatchString(sc) {
					return false
				}
			}
			return true
		}
		word, _, _ := strings.Cut(st.line, " ")
		looking := word == "watch" || word == "heat" || word == "top"
		again := st.line[0] == '@' || strings.Contains(word, "(") || word == "slo" && !strings.Contains(st.line, " ") || word == ":probes"
		for end := time.Now().Add(15 * time.Second); ; {
			s.Send("\x0c")
			s.Until("a clear screen", func(sc string) bool { return sc == prompt })
			s.Send(st.line + "\r")
			var sc string
			if looking {
				s.Until("picture for "+st.line, func(now string) bool { return matches(now) && !strings.Contains(now, "no values yet") })
				s.Send("q")
				s.Last(prompt)
				break
			}
			sc = s.Until("an answer to "+st.line, func(now string) bool {
				return strings.Contains(now, "\n") && strings.HasSuffix(now, "\n"+prompt) && strings.HasPrefix(now, prompt+" ")
			})
			if matches(sc) {
				break
			}
			if !again || time.Now().After(end) {
				t.Fatalf("%s: want\n%s\ngot\n%s", st.line, strings.Join(st.want, "\n"), sc)
			}
		}
	}
	s.Send("\x04")
	if status := s.Exit(); status != 0 {
		t.Errorf("status %d", status)
	}
	if r := slope(t, "fmt", "--check", "incident.slo"); r.status != 0 {
		t.Error("the saved script is not formatted")
	}
}
