// Package vet finds what is allowed in a script and probably not meant.
//
// It looks at the tree and at the checked declarations (check.Declarations), so it needs neither the kernel nor the files
// that probes are attached to; it does not know types. Every finding is a warning with advice. What must not be is an
// error of the checker, not a finding of this package. Start at Script.
package vet

import (
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// vetter looks at one script.
type vetter struct {
	prog  *check.Program
	diags source.Diagnostics
}

// Script looks at a script whose declarations have no errors.
func Script(prog *check.Program) source.Diagnostics {
	v := &vetter{prog: prog}
	for _, s := range prog.SLIs {
		v.sli(s)
	}
	for _, o := range prog.SLOs {
		v.slo(o)
	}
	return v.diags.Sort()
}

func (v *vetter) warn(n syntax.Node, format string, args ...any) *source.Diagnostic {
	return v.diags.Warnf(v.prog.File.Source, n.Span(), format, args...)
}

func (v *vetter) sli(s *check.SLI) {
	if len(s.Objectives) == 0 {
		v.warn(s.Node.Name, "sli '%s' has no objective: nothing says what is good enough", s.Name).
			WithHint("for example: slo NAME = 99%% of %s over 30d;", s.Name)
	}
	for _, p := range s.Node.Probes {
		v.probe(s, p)
	}
}

// probe looks at the verbs in a probe of an indicator.
func (v *vetter) probe(s *check.SLI, p *syntax.Probe) {
	goProgram := false
	for _, a := range p.Attach {
		path := len(a.Parts) > 2 && strings.Contains(a.Parts[1], "/") // of a binary, whose functions have a package only in Go
		goProgram = goProgram || path && strings.Contains(a.Parts[len(a.Parts)-1], ".")
	}
	syntax.Walk(p.Body, func(n syntax.Node) bool {
		call, ok := n.(*syntax.Call)
		if !ok {
			return true
		}
		f := v.prog.Universe.Func(call.Name.Text)
		if f == nil || f.Class != types.VerbFunc {
			return true
		}
		switch f.Verb {
		case types.Start, types.Stop, types.Cancel:
			if goProgram && len(call.Args) == 1 && v.role(call.Args[0]) == types.ThreadRole {
				v.warn(call.Args[0], "a span of a Go function is keyed by the thread, between which goroutines move").
					WithHint("key it by the goroutine: %s(goid)", f.Name)
			}
			return true
		}
		labels := call.Args
		labels = labels[min(len(labels), max(len(labels)-len(s.Labels), 0)):]
		for i, l := range labels {
			if v.role(l) != types.NoRole && i < len(s.Labels) {
				v.warn(l, "label '%s' has a value of its own for every thread, process, goroutine or moment: label sets beyond the limit of %d are counted as other", s.Labels[i].Name, s.Limit).
					WithHint("use what there are few of, such as comm")
			}
		}
		return true
	})
}

// role is what a bare variable identifies.
func (v *vetter) role(e syntax.Expr) types.Role {
	name := ""
	switch e := e.(type) {
	case *syntax.Name:
		name = e.Text
	case *syntax.Call:
		if len(e.Args) == 0 {
			name = e.Name.Text
		}
	}
	if row := v.prog.Universe.Var(name); row != nil {
		return row.Role
	}
	return types.NoRole
}

func (v *vetter) slo(o *check.SLO) {
	if len(o.Page) == 0 && len(o.Ticket) == 0 {
		v.warn(o.Node.Name, "slo '%s' has no alert: nobody is told when its budget burns", o.Name).
			WithHint("drop 'page = none' or 'ticket = none', or choose a longer window")
	}
	if o.Parts != nil {
		return
	}
	if o.PPB < 500_000_000 {
		v.warn(o.Node.Sentence.Objective, "an objective of %s allows more bad events than good ones", o.Node.Sentence.Objective.Raw).
			WithHint("%s is the share of good events", o.Node.Sentence.Objective.Raw)
	}
	if o.MinEvents == 0 && o.PPB > 999_900_000 {
		v.warn(o.Node.Sentence.Objective, "without min_events, an objective as strict as %s pages on a handful of bad events", o.Node.Sentence.Objective.Raw).
			WithHint("for example: min_events = 1000;")
	}
}
