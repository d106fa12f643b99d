package simulate

import (
	"errors"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
)

// process is who runs when an event happens: an interp.Env.
type process struct {
	pid, tid, uid, gid, cpu, cgroup uint64
	comm                            [16]byte

	now    time.Duration // since the beginning
	random uint64
	memory []byte
	at     map[string]uint64 // addresses of what is in memory
	lacks  error             // what a program asked for that a test has not
}

// memoryBase is the address of the first byte of memory.
const memoryBase = 1 << 20

// tick is how long a jiffy is.
const tick = 4 * time.Millisecond

func newProcess() *process {
	p := &process{random: 1, at: map[string]uint64{}}
	p.identify()
	return p
}

// identify makes it the usual process, in the root of all cgroups.
func (p *process) identify() {
	p.pid, p.tid, p.uid, p.gid, p.cpu, p.cgroup = 1000, 1000, 1000, 1000, 0, 1
	p.comm = [16]byte{'t', 'e', 's', 't'}
}

// Put places bytes in the memory of the process; equal ones have one address.
func (p *process) Put(b []byte) uint64 {
	if at, ok := p.at[string(b)]; ok {
		return at
	}
	at := memoryBase + uint64(len(p.memory))
	p.memory = append(p.memory, b...)
	p.at[string(b)] = at
	return at
}

// Helper implements interp.Env. The machine has one node, and nothing happens to a process that is sent a signal.
func (p *process) Helper(h ir.Helper) int64 {
	switch h {
	case ir.HelperPidTgid:
		return int64(p.pid<<32 | p.tid&0xffffffff)
	case ir.HelperUidGid:
		return int64(p.gid<<32 | p.uid&0xffffffff)
	case ir.HelperCPU:
		return int64(p.cpu)
	case ir.HelperCgroup:
		return int64(p.cgroup)
	case ir.HelperJiffies:
		return int64((firstBoot + p.now) / tick)
	case ir.HelperKtimeBoot, ir.HelperKtimeMono:
		return int64(firstBoot + p.now)
	case ir.HelperKtimeTAI:
		return firstWall.Add(p.now).Add(names{}.TAI()).UnixNano()
	case ir.HelperRandom: // xorshift: the same numbers in every run
		p.random ^= p.random << 13
		p.random ^= p.random >> 7
		p.random ^= p.random << 17
		return int64(uint32(p.random))
	case ir.HelperTask, ir.HelperTaskBTF:
		p.lacks = errors.New("the current task")
	case ir.HelperTaskRegs:
		p.lacks = errors.New("the registers of user space")
	case ir.HelperPath, ir.HelperSocketCookie:
		p.lacks = errors.New("an object of the kernel")
	case ir.HelperFuncIP:
		p.lacks = errors.New("the address of its function")
	}
	return 0
}

// Task implements interp.Env.
func (p *process) Task(int64) uint64 {
	p.lacks = errors.New("the name of another process")
	return 0
}

// Comm implements interp.Env.
func (p *process) Comm() [16]byte { return p.comm }

// Stack implements interp.Env: tests have no stacks.
func (p *process) Stack(bool) []uint64 { return nil }

// Read implements interp.Env.
func (p *process) Read(addr uint64, buf []byte, kernel bool) bool {
	at := addr - memoryBase
	if kernel || at >= uint64(len(p.memory)) || at+uint64(len(buf)) > uint64(len(p.memory)) {
		return false
	}
	copy(buf, p.memory[at:])
	return true
}

// names is the export.Names of a test, where there are clocks and nothing else: other numbers stay numbers.
type names struct{}

// Symbol finds nothing.
func (names) Symbol(bool, uint64, uint64) string { return "" }

// User finds nothing.
func (names) User(uint64) string { return "" }

// Cgroup finds nothing.
func (names) Cgroup(uint64, string) string { return "" }

// Boot is an hour before the test.
func (names) Boot() time.Time { return firstWall.Add(-firstBoot) }

// TAI is as far ahead as it has been since 2017.
func (names) TAI() time.Duration { return 37 * time.Second }

// Kernel is what scripts are compiled for to be run here.
func Kernel() ir.Kernel {
	return ir.Kernel{CommOffset: -1, MayGoto: true, MapEach: true, PerCPU: true, TAI: int64(names{}.TAI()) + names{}.Boot().UnixNano()}
}
