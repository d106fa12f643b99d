package rules

import (
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/export"
)

// shortest is the shortest window an objective can have: a rate needs a few scrapes.
const shortest = 5 * time.Minute

// Objective is a checked objective and what the metrics call it.
type Objective struct {
	*check.SLO
	Service  string   // for Sloth: what a script's objectives have in common
	Text     string   // the sentence, as written
	Exported []string // names that the sli's labels have in the metrics
	By       []string // those that the objective is kept by
}

// Read takes the objectives of a parsed script. The bodies of probes are not checked.
func Read(tree *syntax.File, universe types.Universe, service string) ([]Objective, source.Diagnostics) {
	prog, diags := check.Declarations(tree, universe)
	var out []Objective
	for _, o := range prog.SLOs {
		writable(tree.Source, o, &diags)
		out = append(out, newObjective(tree.Source, o, service))
	}
	return out, diags.Sort()
}

func newObjective(file *source.File, o *check.SLO, service string) Objective {
	out := Objective{SLO: o, Service: service}
	var at syntax.Node = o.Node
	if o.Parts != nil {
		at = o.Node.Composite
	} else {
		at = o.Node.Sentence
		var names []string
		for _, l := range o.SLI.Labels {
			names = append(names, l.Name)
		}
		out.Exported = export.LabelNames(names)
	}
	for _, by := range o.By {
		if !slices.Contains(out.By, out.Exported[by]) {
			out.By = append(out.By, out.Exported[by])
		}
	}
	out.Text = strings.Join(strings.Fields(file.Slice(at.Span())), " ")
	return out
}

// writable reports a window that PromQL cannot write or a server cannot judge.
func writable(file *source.File, o *check.SLO, diags *source.Diagnostics) {
	w, name := o.Nominal(), o.Node.Name.Span()
	switch {
	case w == 0:
		diags.Errorf(file, name, "slo '%s' has no window: want one such as over 30d", o.Name)
	case o.Parts != nil: // told of its parts
	case w < shortest:
		diags.Errorf(file, o.Node.Sentence.Window.Span(), "got a window of %s, rules need at least 5m", duration(w))
	case w%time.Second != 0:
		diags.Errorf(file, o.Node.Sentence.Window.Span(), "got a window of %s, rules need whole seconds", duration(w))
	}
	for _, b := range slices.Concat(o.Page, o.Ticket) {
		if b.Short < time.Minute {
			diags.Warnf(file, b.At, "a server that scrapes every 15 s or more sees too little in %s", duration(b.Short))
		}
	}
}

// key is what the counters call an objective: no two scripts may have the same.
func (o Objective) key() string { return o.indicator() + "-" + o.Name }

// indicator is the name of the sli, empty for a composite.
func (o Objective) indicator() string {
	if o.SLI == nil {
		return ""
	}
	return o.SLI.Name
}

// counted is the objectives whose counters the rules read: the objective itself, or its parts. A part is taken over all
// label sets together.
func (o Objective) counted() []Objective {
	if o.Parts == nil {
		return []Objective{o}
	}
	var out []Objective
	for _, p := range o.Parts {
		out = append(out, Objective{SLO: p.SLO})
	}
	return out
}

// part is a part of a composite that has an error budget, and its weight.
type part struct {
	Objective
	weight uint64
}

func (o Objective) burning() (out []part) {
	for _, p := range o.Parts {
		if p.SLO.PPB < whole {
			out = append(out, part{Objective{SLO: p.SLO}, p.Weight})
		}
	}
	return out
}

// budget is the part of events that may be bad. Of a composite it is the weighted mean of its parts' budgets: a burn rate
// times this budget is a ratio that everything here can handle like one of events.
func (o Objective) budget() *big.Rat {
	if o.Parts == nil {
		return parts(whole - o.PPB)
	}
	sum, weights := new(big.Rat), new(big.Rat)
	for _, p := range o.burning() {
		w := new(big.Rat).SetUint64(p.weight)
		sum.Add(sum, new(big.Rat).Mul(w, p.budget()))
		weights.Add(weights, w)
	}
	if weights.Sign() == 0 {
		return weights
	}
	return sum.Quo(sum, weights)
}

// Budget is the part of events that may be bad, and Goal the part that must be good.
func (o Objective) Budget() *big.Rat { return o.budget() }

// Goal is the other of Budget.
func (o Objective) Goal() *big.Rat { return new(big.Rat).Sub(big.NewRat(1, 1), o.budget()) }

// worst is the largest ratio that there can be: 1, of a composite that of the part with the least budget, alone.
func (o Objective) worst() *big.Rat {
	if o.Parts == nil {
		return big.NewRat(1, 1)
	}
	worst := new(big.Rat)
	for _, p := range o.burning() {
		one := o.burn(func(x Objective) bool { return x.SLO == p.SLO })
		if one.Cmp(worst) > 0 {
			worst = one
		}
	}
	return worst
}

// full is the ratio when all events are bad.
func (o Objective) full() *big.Rat {
	if o.Parts == nil {
		return big.NewRat(1, 1)
	}
	return o.burn(func(Objective) bool { return true })
}

// burn is a composite's ratio when all events of the parts given are bad, and the others have none: their burn rate times
// its budget.
func (o Objective) burn(bad func(part Objective) bool) *big.Rat {
	sum, weights := new(big.Rat), new(big.Rat)
	for _, p := range o.burning() {
		if bad(p.Objective) {
			w := new(big.Rat).SetUint64(p.weight)
			sum.Add(sum, new(big.Rat).Quo(w, p.budget()))
			weights.Add(weights, w)
		}
	}
	if weights.Sign() == 0 {
		return weights
	}
	return sum.Mul(sum.Quo(sum, weights), o.budget())
}

// window is how long the objective's window is; of a calendar window, about.
func (o Objective) window() time.Duration { return o.Nominal() }
