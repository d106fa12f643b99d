package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestProgress attaches 1000 probes fast and slowly: what takes long is shown now and then, and leaves nothing.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		each time.Duration
		want int // times shown
	}{{100 * time.Microsecond, 0}, {time.Millisecond, 5}, {10 * time.Millisecond, 95}} {
		var out strings.Builder
		now := time.Unix(1e9, 0)
		p := &progress{to: &out, now: func() time.Time { return now }}
		for i := range 1000 {
			p.show(i+1, 1000)
			now = now.Add(c.each)
		}
		got := out.String()
		if n := strings.Count(got, "attaching "); n < c.want-1 || n > c.want+1 {
			t.Errorf("%s each: shown %d times, want %d", c.each, n, c.want)
		}
		if c.want > 0 && (!strings.HasPrefix(got, "\rattaching 502 of 1000 probes\x1b[K") && !strings.HasPrefix(got, "\rattaching 52 of") || !strings.HasSuffix(got, "\r\x1b[K")) {
			t.Errorf("%s each: %q", c.each, got[:40])
		}
	}
	(*progress)(nil).clear()
	// What is no terminal sees nothing of it.
	bpftest.Require(t, bpf.CheckPrivileges())
	if r := slope(t, "--dry-run", "-e", "tracepoint:syscalls:sys_enter_r* { @[probe] = count(); }"); strings.Contains(r.err, "attaching") || r.status != 0 {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
