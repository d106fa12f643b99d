package cli

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestSelfSignal signals slope and waits for what the probe prints, each time.
func TestSelfSignal(t *testing.T) {
	p := trace(t, "-e", `self:signal:SIGUSR1 { @n++; printf("got %d %s\n", @n, probe); if (@n == 3) { exit(); } } end { printf("end\n"); }`)
	for _, line := range []string{"got 1 self:signal:SIGUSR1\n", "got 2 self:signal:SIGUSR1\n", "got 3 self:signal:SIGUSR1\n"} {
		p.signal(t, syscall.SIGUSR1)
		bpftest.Eventually(t, 10*time.Second, line, func() bool { return strings.Contains(p.out.String(), line) })
	}
	r := p.wait(t)
	want(t, r, "end", "@n: 3")
	for _, c := range []struct{ script, want string }{
		{"self:signal:SIGUSR2 { }", "no probe on the signal 'SIGUSR2'"},
		{"self:signals:SIGUSR1 { }", "HINT: want signal"},
		{"self { }", "HINT: write: self:signal:SIGUSR1"},
	} {
		if r := slope(t, "-e", c.script); r.status != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: status %d, want %q\n%s", c.script, r.status, c.want, r.err)
		}
	}
}
