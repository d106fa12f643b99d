package cli

import "testing"

// TestExample runs the tests of the example, as the README does.
func TestExample(t *testing.T) {
	if r := slope(t, "test", "../examples/checkout/checkout.slo"); r.status != 0 || r.err != "" {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}
