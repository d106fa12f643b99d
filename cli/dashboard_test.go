package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDashboard(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		want   string // in the output for 0, otherwise in the errors
	}{
		{[]string{checkoutScript}, 0, `"title": "Objectives of checkout"`},
		{[]string{"--title", "Shop", checkoutScript}, 0, `"title": "Shop"`},
		{[]string{"-o", t.TempDir() + "/out.json", checkoutScript}, 0, ""},
		{[]string{"--help"}, 0, "Examples:"},
		{nil, 2, "dashboard: got no script"},
		{[]string{checkoutScript, checkoutScript}, 1, "is there twice"},
		{[]string{"-o", "/no/such/folder/x", checkoutScript}, 1, "write output: "},
		{[]string{scriptFile(t, "slo o = 99% of nothing over 30d;")}, 1, "unknown sli 'nothing'"},
	} {
		r := slope(t, append([]string{"dashboard"}, c.args...)...)
		got := r.out
		if c.status != 0 {
			got = r.err
		}
		if r.status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%q: status %d, want %d and %q\n%s%s", c.args, r.status, c.status, c.want, r.out, r.err)
		}
		if strings.HasPrefix(r.out, "{") && !json.Valid([]byte(r.out)) {
			t.Errorf("%q: no JSON", c.args)
		}
	}
}
