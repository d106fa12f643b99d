package cli

import (
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/runtime/poll"
)

// names tells the text of numbers that programs record; it implements export.Names together with the stackReader.
type names struct {
	*stackReader
	boot time.Time
	tai  time.Duration

	mu      sync.Mutex
	users   map[uint64]string
	cgroups map[cgroupQuery]string
}

type cgroupQuery struct {
	id     uint64
	filter string
}

// newNames takes the moment of boot from the clocks as they are now: later steps of the wall clock change nothing.
func newNames(s *stackReader) *names {
	n := &names{stackReader: s, users: map[uint64]string{}, cgroups: map[cgroupQuery]string{}}
	var wall, boot, tai unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &wall) == nil && unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) == nil {
		n.boot = time.Unix(0, wall.Nano()-boot.Nano())
	}
	if unix.ClockGettime(unix.CLOCK_REALTIME, &wall) == nil && unix.ClockGettime(unix.CLOCK_TAI, &tai) == nil {
		n.tai = time.Duration(tai.Nano() - wall.Nano()).Round(time.Second)
	}
	return n
}

// Boot implements export.Names.
func (n *names) Boot() time.Time { return n.boot }

// TAI implements export.Names.
func (n *names) TAI() time.Duration { return n.tai }

// Symbol implements export.Names.
func (n *names) Symbol(ofProcess bool, addr, pid uint64) string {
	n.stackReader.mu.Lock()
	defer n.stackReader.mu.Unlock()
	if ofProcess {
		name, _, _ := n.userSymbol(int(pid), addr)
		return name
	}
	if k := n.kernelSymbols(); k != nil {
		name, _, _ := k.Lookup(addr)
		return name
	}
	return ""
}

// User implements export.Names.
func (n *names) User(id uint64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, known := n.users[id]
	if !known {
		if u, err := user.LookupId(strconv.FormatUint(id, 10)); err == nil {
			name = u.Username
		}
		n.users[id] = name
	}
	return name
}

// Cgroup implements export.Names. What is found is kept, since a cgroup's ID is not used again; one that is not there may
// come.
func (n *names) Cgroup(id uint64, filter string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := cgroupQuery{id, filter}
	if text := n.cgroups[q]; text != "" {
		return text
	}
	text := strings.Join(poll.CgroupPaths(id, filter), ",")
	n.cgroups[q] = text
	return text
}
