package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// Release is a release of Linux: 5.10 is {5, 10}.
type Release struct{ Major, Minor int }

// String is the release as it is written.
func (r Release) String() string { return fmt.Sprintf("%d.%d", r.Major, r.Minor) }

// Compare is negative when r is older than o.
func (r Release) Compare(o Release) int {
	return cmp.Or(cmp.Compare(r.Major, o.Major), cmp.Compare(r.Minor, o.Minor))
}

// ParseRelease reads the release off what a kernel calls itself: "6.1.0-56-cloud-amd64".
func ParseRelease(text string) (r Release, err error) {
	if _, err := fmt.Sscanf(text, "%d.%d", &r.Major, &r.Minor); err != nil {
		return r, fmt.Errorf("read the kernel's release %q: %w", text, err)
	}
	return r, nil
}

// Need is what a capability is for.
type Need string

// The needs.
const (
	ForProbes    Need = "probe types"
	ForMechanism Need = "mechanisms"
	ForFunctions Need = "functions and statements"
)

// Capability is something that scripts, or what loads them, need of the kernel.
type Capability struct {
	Need    Need
	Name    string // that a row of stdlib calls it by
	Since   Release
	Config  string    // what a kernel may be built without, so that a newer one lacks it too; "" for nothing
	Unbuilt []Release // the kernels of the matrix that are
	Instead string    // what serves where it is missing, which may begin with the name of another; "" for nothing: it is an error
	Has     func(*Features) error
}

// Capabilities is the table of them all.
func Capabilities() []Capability {
	iterator := func(name string, since Release, config string) Capability {
		has := func(f *Features) error { return f.Iterator(strings.TrimPrefix(name, "iter:")) }
		return Capability{ForProbes, name, since, config, nil, "", has}
	}
	return []Capability{
		{ForProbes, "typed raw tracepoints (tp_btf)", Release{5, 5}, "CONFIG_DEBUG_INFO_BTF", nil, "raw tracepoints", (*Features).TPBTF},
		{ForProbes, "function entry programs (fentry)", Release{5, 5}, "CONFIG_DEBUG_INFO_BTF, CONFIG_FUNCTION_TRACER", nil, "kprobes", (*Features).Fentry},
		{ForProbes, "kprobes", Release{4, 17}, "CONFIG_KPROBES, CONFIG_KPROBE_EVENTS", nil, "function entry programs (fentry)", (*Features).Kprobe},
		iterator("iter:task", Release{5, 8}, "CONFIG_DEBUG_INFO_BTF"),
		iterator("iter:task_file", Release{5, 8}, "CONFIG_DEBUG_INFO_BTF"),
		iterator("iter:task_vma", Release{5, 12}, "CONFIG_DEBUG_INFO_BTF"),
		iterator("iter:cgroup", Release{6, 1}, "CONFIG_DEBUG_INFO_BTF, CONFIG_CGROUPS"),

		{ForMechanism, "ring buffers", Release{5, 8}, "", nil, "", (*Features).RingBuf},
		{ForMechanism, "test runs of raw tracepoint programs", Release{5, 10}, "", nil, "", (*Features).TestRun},
		{ForMechanism, "bpf_get_current_task_btf", Release{5, 11}, "", nil, "another helper", (*Features).TaskBTF},
		{ForMechanism, "atomic fetch-and-add: the value of @x++, texts of uprobes", Release{5, 12}, "", nil, "", (*Features).AtomicFetch},
		{ForMechanism, "batch lookup in per-CPU maps", Release{5, 13}, "", nil, "one entry at a time", (*Features).BatchPerCPU},
		{ForMechanism, "perf event links", Release{5, 15}, "", nil, "an ioctl", (*Features).PerfLink},
		{ForMechanism, "padded task names", Release{5, 17}, "", nil, "another helper", (*Features).CommPadded},
		{ForMechanism, "kprobe_multi links", Release{5, 18}, "CONFIG_FPROBE", []Release{{6, 1}}, "kprobes, a perf event for each function", (*Features).KprobeMulti},
		{ForMechanism, "uprobe_multi links", Release{6, 6}, "", nil, "a perf event for each place", (*Features).UprobeMulti},
		{ForMechanism, "counts of missed calls", Release{6, 7}, "CONFIG_DEBUG_INFO_BTF", nil, "fentry, or --attach kprobe=fentry, which miss no return", (*Features).Missed},
		{ForMechanism, "kprobe_session links", Release{6, 10}, "CONFIG_FPROBE", nil, "kprobes, a program for the entry and one for the return", (*Features).KprobeSession},
		{ForMechanism, "uprobe_session links", Release{6, 13}, "", nil, "a program for the entry and one for the return", (*Features).UprobeSession},
		{ForMechanism, "return addresses by task", Release{6, 14}, "CONFIG_FPROBE", nil, "kprobe_session links only where asked for, with a pool", (*Features).ReturnStacks},
		{ForMechanism, "signed division", Release{6, 6}, "", nil, "several instructions", (*Features).SDiv},
		{ForMechanism, "loops without a known end (may_goto)", Release{6, 9}, "", nil, "a limit of turns, which counts what it cuts off", (*Features).MayGoto},

		{ForFunctions, "write_user()", Release{4, 8}, "no lockdown", nil, "", (*Features).WriteUser},
		{ForFunctions, "override()", Release{4, 16}, "CONFIG_BPF_KPROBE_OVERRIDE", []Release{{5, 10}, {6, 1}, {6, 12}}, "", (*Features).Override},
		{ForFunctions, "path()", Release{5, 12}, "CONFIG_DEBUG_INFO_BTF", nil, "", (*Features).DPath},
		{ForFunctions, "socket_cookie()", Release{5, 12}, "CONFIG_DEBUG_INFO_BTF", nil, "", (*Features).SocketCookie},
		{ForFunctions, "for over a map, len(@map)", Release{5, 13}, "", nil, "", (*Features).MapEach},
		{ForFunctions, "func in a kprobe or kretprobe", Release{5, 15}, "", nil, "", func(f *Features) error { return f.FuncIP(false) }},
		{ForFunctions, "an aggregation read in a probe", Release{5, 19}, "", nil, "", (*Features).PerCPULookup},
		{ForFunctions, "nsecs(tai)", Release{6, 1}, "", nil, "", (*Features).KtimeTAI},
		{ForFunctions, "comm(pid)", Release{6, 2}, "CONFIG_DEBUG_INFO_BTF", nil, "", func(f *Features) error { return f.KernelFunc(ebpf.Tracing, "bpf_task_from_pid") }},
		{ForFunctions, "dw_ustack: calls without frame pointers", Release{6, 9}, "", nil, "ustack, by frame pointers", func(f *Features) error { return errors.Join(f.TaskRegs(), f.MayGoto()) }},
		{ForFunctions, "func in a uretprobe", Release{6, 6}, "", nil, "", func(f *Features) error { return f.FuncIP(true) }},
		{ForFunctions, "comm(pid) in tracepoint, profile, software and hardware probes", Release{6, 12}, "CONFIG_DEBUG_INFO_BTF", nil, "rawtracepoints", func(f *Features) error { return f.KernelFunc(ebpf.TracePoint, "bpf_task_from_pid") }},
	}
}

// Wants is what a kernel of a release must be to have it, as far as it is not: "Linux 6.6", "CONFIG_DEBUG_INFO_BTF".
func (c *Capability) Wants(r Release) string {
	var wants []string
	if r.Compare(c.Since) < 0 {
		wants = append(wants, "Linux "+c.Since.String())
	}
	if c.Config != "" {
		wants = append(wants, c.Config)
	}
	return strings.Join(wants, ", ")
}

// Serves tells whether there is what serves instead: it may need another capability that is missing too.
func (c *Capability) Serves(f *Features) bool {
	for _, other := range Capabilities() {
		if strings.HasPrefix(c.Instead, other.Name) {
			return other.Has(f) == nil
		}
	}
	return c.Instead != ""
}

// Required tells whether no script runs without it: nothing serves instead, and the oldest kernel that is served has it.
func (c *Capability) Required() bool {
	return c.Need == ForMechanism && c.Instead == "" && c.Since.Compare(Release{5, 10}) <= 0
}

// Lacks tells whether a kernel of the matrix is too old for it, or built without it.
func (c *Capability) Lacks(r Release) (old, unbuilt bool) {
	return r.Compare(c.Since) < 0, slices.Contains(c.Unbuilt, r)
}

// Iterator tells about programs that run once for each object of a kind.
func (f *Features) Iterator(kind string) error {
	return f.probe("iterators over "+kind, func() error {
		ix, err := btf.Open()
		if err != nil {
			return err
		}
		defer ix.Close()
		id, err := ix.Find("bpf_iter_"+kind, btf.KindFunc)
		if err != nil {
			return err
		}
		prog, err := Load(ProgSpec{Name: "probe", Type: ebpf.Tracing, AttachType: ebpf.AttachType(sys.AttachTraceIter), AttachBTFID: id,
			Insns: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			return err
		}
		defer prog.Close()
		info := sys.IterInfo(kind, 0)
		fd, err := sys.BPF(sys.LinkCreate, &sys.LinkIterAttr{ProgFD: uint32(prog.FD()), AttachType: sys.AttachTraceIter,
			Info: sys.Ptr(info), InfoLen: uint32(len(info) * int(unsafe.Sizeof(uint32(0))))})
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}
