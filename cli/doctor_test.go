package cli

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestDoctor holds doctor against what the features say themselves.
func TestDoctor(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	r := slope(t, "doctor")
	f := &bpf.Features{}
	for name, err := range map[string]error{"ring buffer": f.RingBuf(), "tp_btf": f.TPBTF(), "uprobe_multi": f.UprobeMulti(), "privileges": nil} {
		want := name + strings.Repeat(" ", 17-len(name)) + "ok "
		if err != nil {
			want = name + strings.Repeat(" ", 17-len(name)) + "no "
		}
		if !strings.Contains(r.out, "\n"+want) {
			t.Errorf("no line %q in\n%s%s", want, r.out, r.err)
		}
	}
	if wantStatus := map[bool]int{true: 0, false: 1}[f.RingBuf() == nil && f.TestRun() == nil]; r.status != wantStatus {
		t.Errorf("status %d, want %d", r.status, wantStatus)
	}
}
