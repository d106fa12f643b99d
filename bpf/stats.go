package bpf

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cilium/ebpf"
)

// runTime is BPF_STATS_RUN_TIME.
const runTime = 0

// EnableStats makes the kernel count runs of programs and their time until it is closed, which costs every run of any
// program some 35 ns. It takes CAP_SYS_ADMIN.
func EnableStats() (io.Closer, error) {
	c, err := ebpf.EnableStats(runTime)
	if err != nil {
		return nil, fmt.Errorf("measure the run time of programs: %w", err)
	}
	return c, nil
}

// StatsEnabled tells whether the kernel counts runs in any case (kernel.bpf_stats_enabled).
func StatsEnabled() bool {
	b, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
