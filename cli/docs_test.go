package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

var sloBlock = regexp.MustCompile("(?s)```slo\n(.*?)```")

// TestDocs attaches every script of the documentation on this kernel, and formats it to itself.
func TestDocs(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) < 2 {
		t.Fatalf("pages: %q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sloBlock.FindAllStringSubmatch(string(text), -1) {
			script := write(t, "doc.slo", m[1])
			r := slope(t, "--listen", "off", "--dry-run", script)
			if r.status != 0 || strings.Contains(r.err, "WARNING") {
				t.Errorf("%s:\n%s\nstatus %d\n%s", file, m[1], r.status, r.err)
			}
			if r := slope(t, "fmt", script); r.status != 0 || r.out != m[1] {
				t.Errorf("%s: a script that is not formatted:\n%s\nwant\n%s", file, m[1], r.out)
			}
		}
	}
}

// TestCommands looks at what every command tells about itself.
func TestCommands(t *testing.T) {
	root := Commands()
	for _, c := range root.Commands() {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s: no short or long text, or no example", c.Name())
		}
		for _, line := range strings.Split(c.Example, "\n") {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "slope ") {
				t.Errorf("%s: an example that is no command: %q", c.Name(), line)
			}
		}
	}
}
