package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestPages runs every command that the pages on gates and on many hosts show, in a folder that has what they name. check is
// taken as far as to its script, which is not there.
func TestPages(t *testing.T) {
	checkout, err := os.ReadFile(checkoutScript)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, page := range []string{"../docs/gate.md", "../docs/fleet.md", "../deploy/README.md", "../README.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		pattern := `(?m)^(?:\$ )?((?:slope (?:check|compare|rules|dashboard|openslo)|promtool) .*)$`
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			lines = append(lines, m[1])
		}
	}
	if len(lines) < 12 {
		t.Errorf("found %d commands", len(lines))
	}
	reports := map[string]string{"before.json": gateFile(t, 10, 10000), "after.json": gateFile(t, 12, 10000)}
	t.Chdir(t.TempDir())
	for _, dir := range []string{"examples/checkout", "rules"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("examples/checkout/checkout.slo", checkout, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, path := range reports {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range lines {
		words, err := splitWords(line)
		if err != nil {
			t.Fatal(err)
		}
		if words[0] == "promtool" {
			promtool, err := exec.LookPath("promtool")
			bpftest.Require(t, err)
			if out, err := exec.Command(promtool, words[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
			continue
		}
		want, said := 0, ""
		if words[1] == "check" {
			want, said = 2, "failed to open file"
		}
		if r := slope(t, words[1:]...); r.status != want || !strings.Contains(r.err, said) {
			t.Errorf("%s: status %d\n%s%s", line, r.status, r.out, r.err)
		}
		for i, w := range words { // what a page says is written is there
			if w == "-o" {
				if _, err := os.Stat(filepath.Clean(words[i+1])); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		}
	}
}
