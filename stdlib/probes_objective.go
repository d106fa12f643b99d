package stdlib

import (
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

// siteText is the capacity of the name of a cgroup or a group, NUL included.
const siteText = 256

// textArgs are args with a single text.
func textArgs(name string) *types.Type {
	char := types.IntOf(1, true)
	return &types.Type{Kind: types.Struct, Name: "args", Layout: types.Fields{{Name: name, Type: &types.Type{Kind: types.Array, Elem: char, Len: siteText}}}}
}

// objectiveProbes run in user space: poll reads what others count, alert follows objectives.
func objectiveProbes() []Probe {
	return []Probe{
		{
			Probe: types.Probe{Doc: types.Doc{Name: "poll", Text: "Every so often, once for the machine or once for each cgroup that matches: for what the kernel or a service counts itself. args.name is the cgroup.",
				Examples: []string{"poll:1s { @free = read(\"/proc/meminfo\", \"MemFree\"); }"}}, Forms: []string{"poll:1s", "poll:1s:cgroup:PATTERN"}},
			resolve: func(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				if len(parts) < 2 {
					return nil, wrong(-1, "for example poll:1s or poll:10s:cgroup:/kubepods/*", "poll wants a period")
				}
				period, err := parsePeriod(parts[1:2])
				if err != nil {
					return nil, err
				}
				t := &types.Target{Probe: p, Name: strings.Join(parts, ":"), Hook: types.Hook{Kind: types.HookPoll, Period: period}, Goid: -1, Syscall: -1}
				switch {
				case len(parts) == 2:
					return []*types.Target{t}, nil
				case parts[2] != "cgroup":
					return nil, wrong(2, "sources: cgroup", "unknown source '%s' of a poll probe", parts[2])
				case len(parts) != 4 || !strings.HasPrefix(parts[3], "/"):
					return nil, wrong(-1, "for example poll:10s:cgroup:/kubepods/*", "a poll of cgroups wants their path below the root of the hierarchy")
				}
				t.Hook.Path, t.Form, t.Args = parts[3], types.InputArgs, textArgs("name")
				return []*types.Target{t}, nil
			},
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "alert", Text: "When an objective enters a state: page, ticket, ok, or nodata. args.group is the labels of an objective by labels.",
				Examples: []string{"sli calls { tracepoint:raw_syscalls:sys_exit { event(args.ret >= 0); } }\nslo fine = 90% of calls over 1d;\nalert:fine:page { printf(\"burning at %d\\n\", burnrate(fine)); }"}},
				Forms: []string{"alert:SLO:page", "alert:SLO:ticket", "alert:SLO:ok", "alert:SLO:nodata"}},
			resolve: func(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				if len(parts) != 3 {
					return nil, wrong(-1, "for example alert:fast:page", "alert wants an objective and a state")
				}
				switch parts[2] {
				case "page", "ticket", "ok", "nodata":
				default:
					return nil, wrong(2, "states: page, ticket, ok, nodata", "unknown state '%s' of an alert", parts[2])
				}
				return []*types.Target{{Probe: p, Name: strings.Join(parts, ":"), Form: types.InputArgs, Args: textArgs("group"),
					Hook: types.Hook{Kind: types.HookAlert, Event: parts[1], State: parts[2]}, Goid: -1, Syscall: -1}}, nil
			},
		},
	}
}
