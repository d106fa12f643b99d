package cli

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/engine"
)

// attachTrampoline serves kprobes by the programs of fentry, attachKprobe the other way round.
const (
	attachTrampoline = "kprobe=fentry"
	attachKprobe     = "fentry=kprobe"
)

// attachWays are what --attach takes besides those: for a type of probe links to one place each, to many, or to many with
// one program for the entry and the return of a function.
func attachWays() map[string]engine.Way {
	return map[string]engine.Way{"single": engine.SingleWay, "multi": engine.MultiWay, "session": engine.SessionWay}
}

// way is how a type of probe is to be attached.
func (f *runFlags) way(probe string) engine.Way {
	for _, choice := range f.attach {
		if way, ok := strings.CutPrefix(choice, probe+"="); ok {
			return attachWays()[way]
		}
	}
	return engine.BestWay
}

// session tells whether one program may serve the entries and returns of functions. It makes a call of a function of the
// kernel cheaper by a quarter, where no more entries are missed than without. For those of programs it gains nothing.
func (f *runFlags) session(feat *bpf.Features) func(types.HookKind) bool {
	return func(kind types.HookKind) bool {
		probe := "kprobe"
		if kind == types.HookUprobe || kind == types.HookUretprobe {
			probe = "uprobe"
		}
		switch f.way(probe) {
		case engine.SessionWay:
			return true
		case engine.BestWay:
			return probe == "kprobe" && feat.KprobeSession() == nil && feat.ReturnStacks() == nil
		}
		return false
	}
}

// served tells whether a choice was made.
func (f *runFlags) served(choice string) bool { return slices.Contains(f.attach, choice) }

func (f *runFlags) attachError() error {
	for _, choice := range f.attach {
		probe, way, _ := strings.Cut(choice, "=")
		if choice != attachTrampoline && choice != attachKprobe && (probe != "kprobe" && probe != "uprobe" || attachWays()[way] == engine.BestWay) {
			return usagef("invalid --attach '%s': want kprobe=fentry, fentry=kprobe, or kprobe or uprobe with =single, =multi or =session", choice)
		}
	}
	return nil
}
