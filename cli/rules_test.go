package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
)

const checkoutScript = "../examples/checkout/checkout.slo"

func TestRules(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain.bt", "BEGIN { exit(); }\n")
	wrong := write("wrong.slo", "slo o = 99% of nothing over 30d;\n")
	for _, c := range []struct {
		args   []string
		status int
		want   string // in the output for 0, otherwise in the errors
	}{
		{[]string{"rules", checkoutScript}, 0, "slope:slo_error:ratio_rate30d"},
		{[]string{"rules", "--style", "sloth", checkoutScript}, 0, "sloth_id: 'checkout-fast'"},
		{[]string{"rules", "--style=sloth", "--service", "shop", checkoutScript}, 0, "sloth_service: 'shop'"},
		{[]string{"rules", "--style", "pyrra", checkoutScript}, 0, "record: pyrra_availability"},
		{[]string{"rules", "--test", checkoutScript}, 0, "rule_files: ['rules.yaml']"},
		{[]string{"rules", "--help"}, 0, "Examples:"},
		{[]string{"rules"}, 2, "slope: rules: got no script\n"},
		{[]string{"rules", "--style", "x", checkoutScript}, 2, "invalid style 'x': want slope, sloth or pyrra"},
		{[]string{"rules", "--bogus"}, 2, "unknown flag"},
		{[]string{"rules", plain}, 1, "slope: the script '" + plain + "' has no objective\n"},
		{[]string{"rules", wrong}, 1, "unknown sli 'nothing'"},
		{[]string{"rules", write("policy.slo", "sli s { interval:s:1 { good(); } } slo o = 99% of s over 30d { page = burn(1, 5m, 1h); }")}, 1, "the short window of a burn rate is longer"},
		{[]string{"rules", checkoutScript, checkoutScript}, 1, "is there twice"},
		{[]string{"rules", filepath.Join(dir, "absent")}, 1, "failed to open file"},
		{[]string{"rules", "-o", filepath.Join(dir, "absent", "x"), checkoutScript}, 1, "write rules: "},
	} {
		r := slope(t, c.args...)
		got := r.out
		if c.status != 0 {
			if got = r.err; r.out != "" {
				t.Errorf("%q: printed %s", c.args, r.out)
			}
		}
		if r.status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%q: status %d, want %d and %q\n%s%s", c.args, r.status, c.status, c.want, r.out, r.err)
		}
	}
}

// TestRulesFiles writes both files, the same ones twice, and lets promtool check them.
func TestRulesFiles(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.yaml")
	before := ""
	for range 2 {
		if r := slope(t, "rules", "--test", "-o", out, checkoutScript, "../scripts/runqlat.slo"); r.status != 0 || r.out != "" {
			t.Fatalf("status %d\n%s%s", r.status, r.out, r.err)
		}
		text := ""
		for _, name := range []string{"out.yaml", "out_test.yaml"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			text += string(b)
		}
		if before != "" && text != before {
			t.Error("the files differ")
		}
		before = text
	}
	promtool, err := exec.LookPath("promtool")
	bpftest.Require(t, err)
	if out, err := exec.Command(promtool, "check", "rules", out).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
