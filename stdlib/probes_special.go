package stdlib

import (
	"strconv"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/types"
)

func specialProbes() []Probe {
	once := func(kind types.HookKind) func(*Machine, *types.Probe, []string) ([]*types.Target, error) {
		return func(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
			if len(parts) > 1 && !(len(parts) == 2 && parts[1] == "*") {
				return nil, wrong(1, "write: "+p.Name, "%s probes should not have a target", p.Name)
			}
			return []*types.Target{{Probe: p, Name: p.Name, Hook: types.Hook{Kind: kind}, Goid: -1}}, nil
		}
	}
	timer := func(kind types.HookKind) func(*Machine, *types.Probe, []string) ([]*types.Target, error) {
		return func(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
			period, err := parsePeriod(parts[1:])
			if err != nil {
				return nil, err
			}
			name := p.Name + ":" + strings.Join(parts[1:], ":")
			return []*types.Target{{Probe: p, Name: name, Hook: types.Hook{Kind: kind, Period: period}, Goid: -1}}, nil
		}
	}
	forms := func(name string) []string {
		return []string{name + ":1s", name + ":hz:N", name + ":s:N", name + ":ms:N", name + ":us:N"}
	}
	return []Probe{
		{
			Probe: types.Probe{Doc: types.Doc{Name: "begin", Text: "Before any other probe is attached.",
				Examples: []string{`begin { printf("hello\n"); }`}}, Aliases: nil, Forms: []string{"begin"}},
			resolve: once(types.HookBegin),
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "end", Text: "After all other probes are detached, before maps are printed.",
				Examples: []string{`end { printf("bye\n"); }`}}, Forms: []string{"end"}},
			resolve: once(types.HookEnd),
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "interval", Text: "Every so often, once for the whole machine.",
				Examples: []string{"interval:s:1 { @seconds++; }"}}, Aliases: []string{"i"}, Forms: forms("interval")},
			resolve: timer(types.HookInterval),
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "profile", Text: "Every so often on every CPU, in whatever runs there.",
				Examples: []string{"profile:hz:99 { @[comm] = count(); }"}}, Aliases: []string{"p"}, Forms: forms("profile")},
			resolve: timer(types.HookProfile),
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "self", Text: "The running slope gets a signal: SIGUSR1, sent with kill -USR1.",
				Examples: []string{"self:signal:SIGUSR1 { print(@); clear(@); } tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }"}}, Forms: []string{"self:signal:SIGUSR1"}},
			resolve: func(_ *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				switch {
				case len(parts) != 3:
					return nil, wrong(-1, "write: "+p.Forms[0], "a %s probe has a kind of event and its name, got %d part(s)", p.Name, len(parts)-1)
				case parts[1] != "signal":
					return nil, wrong(1, "want signal", "unknown event '%s' of a %s probe", parts[1], p.Name)
				case parts[2] != "SIGUSR1":
					return nil, wrong(2, "want SIGUSR1", "slope has no probe on the signal '%s'", parts[2])
				}
				return []*types.Target{{Probe: p, Name: strings.Join(parts, ":"), Hook: types.Hook{Kind: types.HookSignal, Event: parts[2]}, Goid: -1}}, nil
			},
		},
	}
}

// parsePeriod reads "1s", or a unit and a number: "hz", "99".
func parsePeriod(parts []string) (time.Duration, error) {
	const hint = "for example 1s, 100ms, or hz:99"
	units := map[string]time.Duration{"ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour}
	var period time.Duration
	switch len(parts) {
	case 1:
		digits := strings.TrimRight(parts[0], "nsumh")
		n, err := strconv.ParseUint(digits, 10, 32)
		unit := units[parts[0][len(digits):]]
		if err != nil || n == 0 || unit == 0 {
			return 0, wrong(1, hint, "invalid period '%s'", parts[0])
		}
		period = time.Duration(n) * unit
	case 2:
		n, err := strconv.ParseUint(parts[1], 10, 32)
		if err != nil || n == 0 {
			return 0, wrong(2, hint, "invalid number '%s' of a period", parts[1])
		}
		switch unit := units[parts[0]]; {
		case parts[0] == "hz":
			period = time.Second / time.Duration(n)
		case unit == 0:
			return 0, wrong(1, hint, "invalid unit '%s' of a period", parts[0])
		default:
			period = time.Duration(n) * unit
		}
	default:
		return 0, wrong(-1, hint, "a timer wants a period")
	}
	if period < time.Microsecond {
		return 0, wrong(-1, "", "the period %s is too short: want at least 1us", period)
	}
	return period, nil
}
