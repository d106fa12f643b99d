package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrPrivilege is what every *PrivilegeError is.
var ErrPrivilege = errors.New("missing privilege")

// PrivilegeError says which capabilities are missing and what else stands in the way.
type PrivilegeError struct {
	Missing []string // CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN
	Notes   []string // lockdown, a user namespace, the setting for unprivileged users
}

// Error names what is missing and the way out.
func (e *PrivilegeError) Error() string {
	s := "tracing needs root"
	if len(e.Missing) > 0 {
		s += ", or " + strings.Join(e.Missing, " and ") + ", which this process does not have"
	}
	if len(e.Notes) > 0 {
		s += " (" + strings.Join(e.Notes, "; ") + ")"
	}
	return s
}

// Is makes errors.Is(err, ErrPrivilege) true.
func (e *PrivilegeError) Is(target error) bool { return target == ErrPrivilege }

// CapabilityUse is what a capability of a process (capabilities(7)) is good for.
type CapabilityUse struct {
	Number    int
	Name, For string
}

// CapabilityUses are those of what slope does. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON too.
func CapabilityUses() []CapabilityUse {
	return []CapabilityUse{
		{unix.CAP_BPF, "CAP_BPF", "programs and maps"},
		{unix.CAP_PERFMON, "CAP_PERFMON", "probes, and reading the memory of the kernel"},
		{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "the numbers of tracepoints, and binaries of other users"},
		{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "what processes of other users have mapped: their symbols; and that of a short command of -c"},
		{unix.CAP_SYSLOG, "CAP_SYSLOG", "addresses of the kernel: its symbols"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "write_user(), functions of other BPF programs, costs of probes"},
	}
}

// Standing is what decides about privileges.
type Standing struct {
	effective     uint64 // capabilities
	last          int    // the highest capability that the kernel knows
	unprivileged  string // kernel.unprivileged_bpf_disabled
	Lockdown      string // the mode of the kernel: none, integrity, confidentiality; "" where it has none
	UserNamespace bool   // it runs in one: its capabilities do not count for BPF
}

// CheckPrivileges returns nil when the process may load and attach tracing programs, else a *PrivilegeError.
func CheckPrivileges() error {
	s, err := ReadStanding()
	if err != nil {
		return err
	}
	return s.Check()
}

// ReadStanding reads that of this process.
func ReadStanding() (Standing, error) {
	s := Standing{last: unix.CAP_BPF}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return s, fmt.Errorf("read capabilities: %w", err)
	}
	s.effective = uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	if b := content("/proc/sys/kernel/cap_last_cap"); b != "" {
		fmt.Sscan(b, &s.last)
	}
	s.unprivileged = content("/proc/sys/kernel/unprivileged_bpf_disabled")
	if _, rest, ok := strings.Cut(content("/sys/kernel/security/lockdown"), "["); ok {
		s.Lockdown, _, _ = strings.Cut(rest, "]")
	}
	if m := strings.Fields(content("/proc/self/uid_map")); len(m) == 3 {
		s.UserNamespace = m[0] != "0" || m[1] != "0" || m[2] != "4294967295"
	}
	return s, nil
}

// Has tells whether the process has a capability, or one that allows more.
func (s Standing) Has(c int) bool {
	for _, more := range map[int][]int{unix.CAP_BPF: {unix.CAP_SYS_ADMIN}, unix.CAP_PERFMON: {unix.CAP_SYS_ADMIN}, unix.CAP_DAC_READ_SEARCH: {unix.CAP_DAC_OVERRIDE}}[c] {
		if s.Has(more) {
			return true
		}
	}
	return s.effective>>c&1 != 0
}

func content(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

// Check returns nil when the process may load and attach tracing programs, else a *PrivilegeError.
func (s Standing) Check() error {
	e := &PrivilegeError{}
	needed := []int{unix.CAP_BPF, unix.CAP_PERFMON}
	if s.last < unix.CAP_BPF { // before 5.8
		needed = []int{unix.CAP_SYS_ADMIN}
	}
	for _, use := range CapabilityUses() {
		if slices.Contains(needed, use.Number) && !s.Has(use.Number) {
			e.Missing = append(e.Missing, use.Name)
		}
	}
	if s.UserNamespace {
		e.Notes = append(e.Notes, "it runs in a user namespace, where capabilities do not count for BPF")
	}
	if s.Lockdown == "confidentiality" {
		e.Notes = append(e.Notes, "kernel lockdown is in confidentiality mode: reading kernel memory is refused even to root")
	}
	if len(e.Missing) == 0 && len(e.Notes) == 0 {
		return nil
	}
	if s.unprivileged != "" && s.unprivileged != "0" && len(e.Missing) > 0 {
		e.Notes = append(e.Notes, "kernel.unprivileged_bpf_disabled is "+s.unprivileged)
	}
	return e
}

// raiseMemlock lifts the limit on locked memory if this kernel charges maps and programs against it (before 5.11),
// which it finds out by lowering the limit and creating a small map. It returns whether the limit was lifted.
func raiseMemlock() bool {
	var old unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old) != nil || old.Cur == unix.RLIM_INFINITY {
		return false
	}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 0, Max: old.Max}) != nil {
		return false
	}
	charged := errors.Is(probeMapType(ebpf.Array), unix.EPERM)
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if charged && unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all) == nil {
		if probeMapType(ebpf.Array) == nil { // else the limit was not the reason
			return true
		}
	}
	unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old)
	return false
}
