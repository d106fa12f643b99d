package judge

import (
	"fmt"
	"os"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/slo"
)

// Where a script is replaced while it runs, the judge of the new generation goes on with the history of the old one's:
// windows, budgets, alerts and open incidents. The history passes through a store, which knows what may go on; what
// counts something else now starts anew.
//
// Kernel counters are handed over too, or not: where a map was not kept, the new one begins at 0, and what the old one
// counted to its end is added to what the new one shows. So the tracker sees one counter that never goes back.

// takeOver takes the history of the generation before, whose Run has returned. Until Continue nothing has changed for
// that one, which may go on instead.
func (j *Judge) takeOver(before *Judge) (notes []string, err error) {
	before.Tick() // what is saved has to have a reading
	store := before.store
	if store == nil {
		dir, err := os.MkdirTemp("", "slope-history-")
		if err != nil {
			return nil, fmt.Errorf("hand over history: %w", err)
		}
		defer os.RemoveAll(dir)
		if store, err = slo.OpenStore(dir, "history"); err != nil {
			return nil, err
		}
		defer store.Close()
	}
	before.mu.Lock()
	err = store.Save(before.tracker)
	before.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("hand over history: %w", err)
	}
	loaded, err := store.Load(j.tracker, j.opt.Clock())
	if err != nil {
		return nil, fmt.Errorf("hand over history: %w", err)
	}
	j.saved = before.saved
	j.resumed = map[string]bool{}
	for _, name := range loaded.Resumed {
		j.resumed[name] = true
	}
	if before.store != nil {
		return loaded.Notes(), nil
	}
	for _, name := range loaded.Archived {
		notes = append(notes, fmt.Sprintf("%q counts something else than before: it starts anew", name))
	}
	return notes, nil
}

// Continue is called before Start, once the generation before counts no more and its engine can still be read.
func (j *Judge) Continue(before *Judge) error {
	j.store, before.store = before.store, nil
	j.opt.Previous = nil // or every generation would keep all before it
	final, err := before.read()
	if err != nil {
		return err
	}
	lost, kept := map[string]uint64{}, map[string]bool{} // by indicator
	for _, l := range j.opt.Object.Layout.SLIs {
		if lost[l.SLI.Name], _, _, err = Unknown(j.opt.Object, j.opt.Engine, l); err != nil {
			return err
		}
		if !j.opt.Engine.Inherits(l) {
			continue
		}
		kept[l.SLI.Name] = true
		for old, list := range before.history.of {
			if old.SLI.Name == l.SLI.Name && j.history.keep {
				j.history.carry(l, list)
			}
		}
	}
	j.base = map[string]slo.Reading{}
	for _, r := range final {
		o := before.slos[r.Objective]
		if !j.resumed[o.Name] {
			continue
		}
		k := baseKey(o, r.Group)
		if kept[o.SLI.Name] {
			r.Bad, r.Total = before.base[k].Bad, before.base[k].Total
		}
		r.Lost -= min(r.Lost, lost[o.SLI.Name])
		j.base[k] = r
	}
	for _, o := range j.slos {
		for index, in := range before.open {
			if before.slos[index].Name == o.Name && j.resumed[o.Name] {
				j.open[o.Index] = in
				delete(before.open, index)
			}
		}
	}
	return nil
}

func baseKey(o *check.SLO, group string) string { return o.Name + "\x00" + group }

// Pause stops and resumes the observation, as where probes are detached for a while: time in which nothing was observed
// counts for nothing once it is longer than the tracker's gap of 30 s, and never as good.
func (j *Judge) Pause(on bool) {
	if on {
		j.Tick() // up to here it was
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.paused = on
}
