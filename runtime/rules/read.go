package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/export"
)

// shortest is the shortest window an objective can have: that of the shortest rate.
const shortest = 5 * time.Minute

// Objective is what rules need to know of one slo declaration.
type Objective struct {
	Service string // for Sloth: what a script's objectives have in common
	Name    string
	SLI     string
	Text    string // the sentence, as written
	Runbook string
	PPB     uint64 // the objective in parts per billion
	Window  time.Duration
	By      []string // labels as they are exported
	Span    source.Span
}

// Read takes the objectives of a parsed script. Only declarations are looked at, not the bodies of probes.
func Read(file *source.File, tree *syntax.File, service string) ([]Objective, source.Diagnostics) {
	r := reader{file: file, slis: map[string]*syntax.SLI{}, service: service}
	for _, item := range tree.Items {
		if s, ok := item.(*syntax.SLI); ok && s.Name != nil {
			r.slis[s.Name.Text] = s
		}
	}
	for _, item := range tree.Items {
		if s, ok := item.(*syntax.SLO); ok && s.Name != nil {
			r.slo(s)
		}
	}
	return r.out, r.diags
}

type reader struct {
	file    *source.File
	slis    map[string]*syntax.SLI
	service string
	out     []Objective
	diags   source.Diagnostics
}

func (r *reader) errorf(n syntax.Node, format string, args ...any) {
	r.diags.Errorf(r.file, n.Span(), format, args...)
}

func (r *reader) slo(n *syntax.SLO) {
	s := n.Sentence
	o := Objective{Service: r.service, Name: n.Name.Text, Span: n.Name.Span()}
	switch {
	case slices.ContainsFunc(r.out, func(x Objective) bool { return x.Name == o.Name }):
		r.errorf(n.Name, "slo '%s' was already declared", o.Name)
		return
	case s == nil:
		r.errorf(n, "composite objectives are not supported yet")
		return
	case s.Minutes:
		r.errorf(s, "objectives over good minutes are not supported yet")
		return
	case s.Objective.PPB > whole:
		r.errorf(s.Objective, "got an objective of %s, want at most 100%%", s.Objective.Raw)
		return
	case r.slis[s.SLI.Text] == nil:
		r.errorf(s.SLI, "unknown sli '%s'", s.SLI.Text)
		return
	}
	o.SLI, o.PPB = s.SLI.Text, s.Objective.PPB
	span := s.Span()
	o.Text = strings.Join(strings.Fields(r.file.Text[span.Start:span.End]), " ")
	if !r.window(n, &o) {
		return
	}
	sli := r.slis[o.SLI]
	exported := exportedLabels(sli)
	for _, by := range s.By {
		at := slices.IndexFunc(sli.Labels, func(l *syntax.Name) bool { return l.Text == by.Text })
		if at < 0 {
			r.errorf(by, "unknown label '%s' of sli '%s'", by.Text, o.SLI)
			return
		}
		if !slices.Contains(o.By, exported[at]) {
			o.By = append(o.By, exported[at])
		}
	}
	for _, p := range n.Props {
		if text, ok := p.Value.(*syntax.String); ok && p.Name.Text == "runbook" {
			o.Runbook = text.Value
		}
	}
	r.out = append(r.out, o)
}

// window takes the window of an objective, which must be one that PromQL can write.
func (r *reader) window(n *syntax.SLO, o *Objective) bool {
	w := n.Sentence.Window
	switch {
	case w == nil:
		r.errorf(n.Name, "slo '%s' has no window: want one such as over 30d", o.Name)
	case w.Calendar != "":
		r.errorf(w, "calendar windows are not supported yet")
	case w.Length == nil:
		r.errorf(w, "invalid window: want a duration such as 30d")
	case w.Length.Unit != syntax.DurationUnit || w.Length.Value > uint64(10*365*24*time.Hour):
		r.errorf(w, "invalid window: want a duration such as 30d")
	case time.Duration(w.Length.Value) < shortest:
		r.errorf(w, "got a window of %s, rules need at least 5m", w.Length.Raw)
	case w.Length.Value%uint64(time.Millisecond) != 0:
		r.errorf(w, "got a window of %s, rules need whole milliseconds", w.Length.Raw)
	default:
		o.Window = time.Duration(w.Length.Value)
		return true
	}
	return false
}

// exportedLabels are the names that an indicator's labels have in the metrics.
func exportedLabels(s *syntax.SLI) []string {
	labels := make([]string, len(s.Labels))
	for i, l := range s.Labels {
		labels[i] = l.Text
	}
	return export.LabelNames(labels)
}
