package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenSLO(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.yaml")
	for _, c := range []struct {
		args   []string
		status int
		want   string // in the output for 0, otherwise in the errors
	}{
		{[]string{checkoutScript}, 0, "kind: SLO\nmetadata:\n  name: fast\n"},
		{[]string{"--service", "shop", checkoutScript}, 0, "service: shop"},
		{[]string{"-o", out, checkoutScript}, 0, ""},
		{[]string{"--help"}, 0, "Examples:"},
		{nil, 2, "openslo: got no script"},
		{[]string{checkoutScript, checkoutScript}, 1, "is there twice"},
		{[]string{"/no/such.slo"}, 1, "failed to open file"},
		{[]string{"-o", "/no/such/folder/x", checkoutScript}, 1, "write output: "},
		{[]string{scriptFile(t, "slo o = 99% of nothing over 30d;")}, 1, "unknown sli 'nothing'"},
	} {
		r := slope(t, append([]string{"openslo"}, c.args...)...)
		got := r.out
		if c.status != 0 {
			got = r.err
		}
		if r.status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%q: status %d, want %d and %q\n%s%s", c.args, r.status, c.status, c.want, r.out, r.err)
		}
	}
	if b, err := os.ReadFile(out); err != nil || !strings.Contains(string(b), "apiVersion: openslo/v1") {
		t.Errorf("%v\n%s", err, b)
	}
}
