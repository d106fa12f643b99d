package stdlib

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// counter is an event of perf_event_open with the number of events between two runs, unless the script says another.
type counter struct {
	name   string
	alias  string
	config uint64
	count  uint64
}

func softwareCounters() []counter {
	return []counter{
		{"alignment-faults", "", unix.PERF_COUNT_SW_ALIGNMENT_FAULTS, 1},
		{"bpf-output", "", unix.PERF_COUNT_SW_BPF_OUTPUT, 1},
		{"context-switches", "cs", unix.PERF_COUNT_SW_CONTEXT_SWITCHES, 1000},
		{"cpu-clock", "cpu", unix.PERF_COUNT_SW_CPU_CLOCK, 1_000_000},
		{"cpu-migrations", "", unix.PERF_COUNT_SW_CPU_MIGRATIONS, 1},
		{"dummy", "", unix.PERF_COUNT_SW_DUMMY, 1},
		{"emulation-faults", "", unix.PERF_COUNT_SW_EMULATION_FAULTS, 1},
		{"major-faults", "", unix.PERF_COUNT_SW_PAGE_FAULTS_MAJ, 1},
		{"minor-faults", "", unix.PERF_COUNT_SW_PAGE_FAULTS_MIN, 100},
		{"page-faults", "faults", unix.PERF_COUNT_SW_PAGE_FAULTS, 100},
		{"task-clock", "", unix.PERF_COUNT_SW_TASK_CLOCK, 1},
	}
}

func hardwareCounters() []counter {
	return []counter{
		{"backend-stalls", "", unix.PERF_COUNT_HW_STALLED_CYCLES_BACKEND, 1_000_000},
		{"branch-instructions", "branches", unix.PERF_COUNT_HW_BRANCH_INSTRUCTIONS, 100_000},
		{"branch-misses", "", unix.PERF_COUNT_HW_BRANCH_MISSES, 100_000},
		{"bus-cycles", "", unix.PERF_COUNT_HW_BUS_CYCLES, 100_000},
		{"cache-misses", "", unix.PERF_COUNT_HW_CACHE_MISSES, 1_000_000},
		{"cache-references", "", unix.PERF_COUNT_HW_CACHE_REFERENCES, 1_000_000},
		{"cpu-cycles", "cycles", unix.PERF_COUNT_HW_CPU_CYCLES, 1_000_000},
		{"frontend-stalls", "", unix.PERF_COUNT_HW_STALLED_CYCLES_FRONTEND, 1_000_000},
		{"instructions", "", unix.PERF_COUNT_HW_INSTRUCTIONS, 1_000_000},
		{"ref-cycles", "", unix.PERF_COUNT_HW_REF_CPU_CYCLES, 1_000_000},
	}
}

// perfProbes run at every so many events of a counter, or when an address is accessed.
func perfProbes() []Probe {
	counters := func(typ uint64, all []counter) (resolve func(*Machine, *types.Probe, []string) ([]*types.Target, error),
		list func(*Machine, *types.Probe, string) listing) {
		names := make([]string, len(all))
		for i, c := range all {
			names[i] = c.name
		}
		resolve = func(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
			if len(parts) != 2 && len(parts) != 3 {
				return nil, wrong(-1, "write: "+p.Forms[0], "%s wants an event", p.Name)
			}
			for _, c := range all {
				if parts[1] != c.name && parts[1] != c.alias {
					continue
				}
				count := c.count
				if len(parts) == 3 {
					n, err := strconv.ParseUint(parts[2], 10, 64)
					if err != nil || n == 0 {
						return nil, wrong(2, "", "invalid count '%s': want a number of events", parts[2])
					}
					count = n
				}
				name := strings.Join(parts, ":")
				return []*types.Target{{Probe: p, Name: name, Goid: -1, Syscall: -1,
					Hook: types.Hook{Kind: types.HookPerf, Event: name, Perf: types.PerfEvent{Type: typ, Config: c.config, Count: count}}}}, nil
			}
			return nil, wrong(1, closest(parts[1], names), "unknown %s event '%s'", p.Name, parts[1])
		}
		list = func(_ *Machine, p *types.Probe, _ string) listing {
			return func(yield func(Listed, error) bool) {
				for _, n := range names {
					if !yield(Listed{Name: p.Name + ":" + n + ":"}, nil) {
						return
					}
				}
			}
		}
		return resolve, list
	}
	software, listSoftware := counters(unix.PERF_TYPE_SOFTWARE, softwareCounters())
	hardware, listHardware := counters(unix.PERF_TYPE_HARDWARE, hardwareCounters())
	return []Probe{
		{
			Probe: types.Probe{Doc: types.Doc{Name: "software", Text: "Every so many events that the kernel counts, such as page faults, on every CPU or in the process of -p.",
				Examples: []string{"software:page-faults:1 { @[comm] = count(); }"}},
				Aliases: []string{"s"}, Forms: []string{"software:event", "software:event:count"}},
			resolve: software, list: listSoftware,
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "hardware", Text: "Every so many events that the processor counts, such as cache misses. Virtual machines often have none.",
				Examples: []string{"hardware:cache-misses:1000000 { @[comm] = count(); }"}},
				Aliases: []string{"h"}, Forms: []string{"hardware:event", "hardware:event:count"}},
			resolve: hardware, list: listHardware,
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "watchpoint", Text: "An address is read, written or executed: of the process of -p or -c, or of the kernel. Lengths: 1, 2, 4, 8; modes: w, rw, x.",
				Examples: []string{"watchpoint:0x10000000:8:w { printf(\"hit\\n\"); }"}},
				Aliases: []string{"w"}, Forms: []string{"watchpoint:address:length:mode"}},
			resolve: resolveWatchpoint,
		},
	}
}

// watchFuncs are about watchpoints.
func watchFuncs() []Func {
	return []Func{{
		Func: types.Func{Doc: types.Doc{Name: "unwatch", Text: "End the watchpoints at an address. Happens in user space, in order with what is printed.",
			Examples: []string{"watchpoint:0x10000000:8:w { printf(\"hit\\n\"); unwatch(0x10000000); }"}},
			Params: []types.Param{{Name: "address", Kind: types.AddressParam}}},
		FuncLower: void(func(l ir.Lowering, c *syntax.Call) {
			l.Emit(&ir.Event{Kind: ir.EventUnwatch, Args: []ir.EventArg{{Type: types.Uint64}}}, c.Args, ir.ForceWakeup)
		}),
	}}
}

func resolveWatchpoint(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
	if len(parts) != 4 {
		return nil, wrong(-1, "write: "+p.Forms[0], "a watchpoint has an address, a length and a mode, got %d part(s)", len(parts)-1)
	}
	addr, err := strconv.ParseUint(parts[1], 0, 64)
	if err != nil {
		return nil, wrong(1, "", "invalid address '%s'", parts[1])
	}
	length, err := strconv.ParseUint(parts[2], 10, 8)
	if err != nil || length != 1 && length != 2 && length != 4 && length != 8 {
		return nil, wrong(2, "lengths: 1, 2, 4, 8", "invalid length '%s' of a watchpoint", parts[2])
	}
	if addr%length != 0 {
		return nil, wrong(1, "", "the address '%s' is no multiple of the length %d", parts[1], length)
	}
	// HW_BREAKPOINT_… of include/uapi/linux/hw_breakpoint.h; x86 cannot watch for reads alone.
	modes := map[string]uint32{"w": 2, "rw": 3, "wr": 3, "x": 4}
	mode, ok := modes[parts[3]]
	if !ok {
		return nil, wrong(3, "modes: w, rw, x", "invalid mode '%s' of a watchpoint on this processor", parts[3])
	}
	return []*types.Target{{Probe: p, Name: strings.Join(parts, ":"), Goid: -1, Syscall: -1,
		Hook: types.Hook{Kind: types.HookPerf, Event: strings.Join(parts, ":"),
			Perf: types.PerfEvent{Address: addr, Len: length, Mode: mode}}}}, nil
}
