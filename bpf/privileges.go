package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
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

// standing is what decides about privileges.
type standing struct {
	effective     uint64 // capabilities
	last          int    // the highest capability that the kernel knows
	unprivileged  string // kernel.unprivileged_bpf_disabled
	lockdown      string // the chosen mode
	userNamespace bool
}

// CheckPrivileges returns nil when the process may load and attach tracing programs, else a *PrivilegeError.
func CheckPrivileges() error {
	s := standing{last: unix.CAP_BPF}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	s.effective = uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	if b := content("/proc/sys/kernel/cap_last_cap"); b != "" {
		fmt.Sscan(b, &s.last)
	}
	s.unprivileged = content("/proc/sys/kernel/unprivileged_bpf_disabled")
	if _, rest, ok := strings.Cut(content("/sys/kernel/security/lockdown"), "["); ok {
		s.lockdown, _, _ = strings.Cut(rest, "]")
	}
	if m := strings.Fields(content("/proc/self/uid_map")); len(m) == 3 {
		s.userNamespace = m[0] != "0" || m[1] != "0" || m[2] != "4294967295"
	}
	return s.check()
}

func content(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

func (s standing) check() error {
	has := func(c int) bool { return s.effective>>c&1 != 0 }
	e := &PrivilegeError{}
	switch {
	case s.last < unix.CAP_BPF: // before 5.8
		if !has(unix.CAP_SYS_ADMIN) {
			e.Missing = append(e.Missing, "CAP_SYS_ADMIN")
		}
	case !has(unix.CAP_SYS_ADMIN):
		if !has(unix.CAP_BPF) {
			e.Missing = append(e.Missing, "CAP_BPF")
		}
		if !has(unix.CAP_PERFMON) {
			e.Missing = append(e.Missing, "CAP_PERFMON")
		}
	}
	if s.userNamespace {
		e.Notes = append(e.Notes, "it runs in a user namespace, where capabilities do not count for BPF")
	}
	if s.lockdown == "confidentiality" {
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
