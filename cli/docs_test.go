package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/export"
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

// TestMetricsPage looks for every metric that the sources name, and every cause of losses, in the page about them.
func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, dir := range []string{".", "../runtime/export"} {
		in, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, in...)
	}
	named := regexp.MustCompile(`(?:send|gauge|counter|set|family)\("(slope_[a-z_]+)"`)
	metrics := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			metrics++
			if !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("%s: the page has no %s", file, m[1])
			}
		}
	}
	if metrics < 30 {
		t.Errorf("found %d metrics in the sources", metrics)
	}
	for loss := range ir.NumLosses {
		if !slices.ContainsFunc(export.Causes(), func(c export.Cause) bool { return c.Name == loss.String() }) {
			t.Errorf("nothing explains %s", loss)
		}
	}
	for _, c := range export.Causes() {
		text := c.Text
		if head, _, cut := strings.Cut(text, ": {"); cut {
			text = head
		}
		if row := "| `" + c.Name + "` | " + strings.ReplaceAll(text, " {map}", "") + " |\n"; !strings.Contains(string(page), row) {
			t.Errorf("the page has no row %q", row)
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
