package cli

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/runtime/engine"
)

// attachTrampoline serves kprobes by the programs of fentry, attachKprobe the other way round.
const (
	attachTrampoline = "kprobe=fentry"
	attachKprobe     = "fentry=kprobe"
)

// attachWays are what --attach takes besides those: for a type of probe links to one place each, or to many.
func attachWays() map[string]engine.Way {
	return map[string]engine.Way{"single": engine.SingleWay, "multi": engine.MultiWay}
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

// served tells whether a choice was made.
func (f *runFlags) served(choice string) bool { return slices.Contains(f.attach, choice) }

func (f *runFlags) attachError() error {
	for _, choice := range f.attach {
		probe, way, _ := strings.Cut(choice, "=")
		if choice != attachTrampoline && choice != attachKprobe && (probe != "kprobe" && probe != "uprobe" || attachWays()[way] == engine.BestWay) {
			return usagef("invalid --attach '%s': want kprobe=fentry, fentry=kprobe, or kprobe or uprobe with =single or =multi", choice)
		}
	}
	return nil
}
