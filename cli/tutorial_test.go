package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestFirstSteps runs every command of the tutorial, with its scripts under the names that it gives them.
func TestFirstSteps(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	text := read(t, "../docs/tutorial.md")
	t.Chdir(t.TempDir())
	scripts := regexp.MustCompile("(?s)Save this as `([^`]+)`:\n\n```slo\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(scripts) != 2 {
		t.Fatalf("%d scripts", len(scripts))
	}
	for _, s := range scripts {
		if err := os.WriteFile(s[1], []byte(s[2]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var commands []string
	fence := ""
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```") && fence == "":
			fence = line
		case line == "```":
			fence = ""
		case fence == "```" && strings.HasPrefix(line, "slope "):
			commands = append(commands, line)
		}
	}
	if len(commands) < 10 {
		t.Errorf("%d commands", len(commands))
	}
	for _, line := range commands {
		words, err := splitWords(line)
		if err != nil {
			t.Fatal(err)
		}
		r := slope(t, words[1:]...)
		compared := words[1] == "compare" && (r.status == 1 || r.status == 3) // the machine is not as quiet in both runs
		if r.status != 0 && !compared {
			t.Errorf("%s: status %d\n%s%s", line, r.status, r.out, r.err)
		}
		if strings.Contains(r.err, "ERROR") {
			t.Errorf("%s\n%s", line, r.err)
		}
	}
	if _, err := os.Stat("history/watched.state"); err != nil {
		t.Errorf("no history: %v", err)
	}
}
