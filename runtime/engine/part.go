package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

// Part is a program that the kernel runs, for whoever decides whether it may.
type Part struct {
	Index      int
	Hook       string
	Span       source.Span   // of its probe in the script
	Indicators []string      // that need it
	Held       bool          // taken off by Hold
	Attached   bool          // otherwise held, or gated by an objective that does not burn
	Time       time.Duration // spent in it while the kernel measured
}

// Parts are the programs that the kernel runs, in the script's order. A closed engine has none.
func (e *Engine) Parts() ([]Part, error) {
	e.closing.RLock()
	defer e.closing.RUnlock()
	var out []Part
	for i, p := range e.all {
		if !kernelCalled(p.fn) || p.leftOut() {
			continue
		}
		s, err := p.stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of %s: %w", p.fn.Name, err)
		}
		p.mu.Lock()
		out = append(out, Part{Index: i, Hook: p.fn.Hook, Span: p.fn.Span, Indicators: e.needs[p.fn], Held: p.held, Attached: len(p.links) > 0, Time: s.Time})
		p.mu.Unlock()
	}
	return out, nil
}

// Hold takes a program off the kernel, or lets it back. A gated one comes back when its objective burns.
func (e *Engine) Hold(index int, on bool) error {
	e.closing.RLock()
	defer e.closing.RUnlock()
	if e.all == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.all[index]
	if !e.running || p.isHeld() == on {
		return nil
	}
	var err error
	if on || p.fn.Burning < 0 {
		err = e.gate(p, !on)
	}
	if err == nil || on {
		p.mu.Lock()
		p.held = on
		p.mu.Unlock()
	}
	return err
}

// leftOut tells whether the script goes on without the program.
func (p *program) leftOut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.prog == nil
}

func (p *program) isHeld() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// indicatorsOf finds which indicators need which program: because it writes one of an indicator's maps, or a map of the
// script that a program which does uses too, such as one that remembers a label.
func (e *Engine) indicatorsOf() map[*ir.Func][]string {
	uses := map[*ir.Func]map[*ir.Map]bool{}
	for _, f := range e.obj.IR.Funcs {
		uses[f] = map[*ir.Map]bool{}
		for _, b := range f.Blocks {
			for _, v := range b.Insts {
				if v.Map != nil {
					uses[f][v.Map] = true
				}
			}
		}
	}
	out := map[*ir.Func][]string{}
	for _, l := range e.obj.Layout.SLIs {
		shared := map[*ir.Map]bool{}
		for _, m := range indicatorMaps(l) {
			if m != nil {
				shared[m] = true
			}
		}
		for _, direct := range []bool{true, false} {
			for _, f := range e.obj.IR.Funcs {
				touches := func(m *ir.Map) bool { return shared[m] }
				if slices.Contains(out[f], l.SLI.Name) || !anyMap(uses[f], touches) {
					continue
				}
				out[f] = append(out[f], l.SLI.Name)
			}
			if !direct {
				break
			}
			for f, names := range out {
				if !slices.Contains(names, l.SLI.Name) {
					continue
				}
				for m := range uses[f] {
					if m.Name[0] == '@' {
						shared[m] = true
					}
				}
			}
		}
	}
	return out
}

func anyMap(maps map[*ir.Map]bool, is func(*ir.Map) bool) bool {
	for m := range maps {
		if is(m) {
			return true
		}
	}
	return false
}
