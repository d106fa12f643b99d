package export

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// GateOptions is how a run is judged.
type GateOptions struct {
	Confidence float64
	Values     Values
	Sentence   func(*check.SLO) string
	Tally      *GateTally // how events spread over the run; without it they are taken for independent
	Early      bool       // the run was looked at while it went: half of the error is for those looks
	Stopped    bool       // and was stopped, because the verdict was clear
	Cut        bool       // somebody interrupted the run
}

// Unknown is the events of an indicator whose outcome nobody knows, as slo.Counts has them.
type Unknown struct {
	Missing  uint64 `json:"missing"`
	Doubtful uint64 `json:"doubtful"`
}

// GateObjective is the verdict on one objective. The worst of its groups decides.
type GateObjective struct {
	Name      string         `json:"name"`
	SLI       string         `json:"sli"`
	Sentence  string         `json:"sentence"`
	PPB       uint64         `json:"objective_ppb"` // good events per billion
	Outcome   string         `json:"outcome"`       // PASS, FAIL or INCONCLUSIVE
	Reason    string         `json:"reason,omitempty"`
	MinEvents uint64         `json:"min_events"`          // without a bad one; 0 when no number of events can pass
	Minutes   bool           `json:"minutes,omitempty"`   // all events here are minutes
	Groups    []GateGroup    `json:"groups"`              // the worst first; one without labels unless the objective is kept by labels
	Composite *GateComposite `json:"composite,omitempty"` // then there are no groups

	outcome slo.Outcome
	whole   slo.Counts // all groups together
}

// GateGroup is one sample. AtLeast and AtMost bound the part of good events, each with the whole confidence. They and the
// outcome are those of Effective independent events, which vary as much as the events of the sample do.
type GateGroup struct {
	Labels    []string     `json:"labels,omitempty"` // name=value
	Other     bool         `json:"other,omitempty"`  // of the label sets beyond the limit
	Bad       uint64       `json:"bad"`
	Total     uint64       `json:"total"`
	Effect    float64      `json:"design_effect,omitempty"` // at least 1; absent when it cannot be told
	Effective uint64       `json:"n_eff"`
	Observed  string       `json:"observed_percent"` // rounded down; "" without events
	AtLeast   float64      `json:"at_least"`
	AtMost    float64      `json:"at_most"`
	Outcome   string       `json:"outcome"`
	Reason    string       `json:"reason,omitempty"`
	Warning   string       `json:"warning,omitempty"`
	Batches   *GateBatches `json:"batches,omitempty"`
	Unknown

	outcome slo.Outcome
	spread  slo.Spread
	batches int // that had events
}

// Result is what the gate says of the objective.
func (o *GateObjective) Result() slo.Outcome { return o.outcome }

// NewGateObjectives judges the objectives of an indicator.
func NewGateObjectives(l *lower.SLILayout, series []agg.Series, u Unknown, opt GateOptions) []GateObjective {
	var out []GateObjective
	for _, w := range l.Objectives {
		if w.SLO == nil {
			continue
		}
		o := GateObjective{Name: w.SLO.Name, SLI: l.SLI.Name, Sentence: opt.Sentence(w.SLO), PPB: w.SLO.PPB, Minutes: w.SLO.Minutes,
			MinEvents: slo.MinEvents(w.SLO.PPB, opt.Confidence), Groups: measuredGroups(l, w, series, u, opt)}
		for i := range o.Groups {
			g := &o.Groups[i]
			o.whole.Bad, o.whole.Total = o.whole.Bad+g.Bad, o.whole.Total+g.Total
			o.whole.Missing, o.whole.Doubtful = g.Missing, g.Doubtful // the same everywhere
			g.judge(&o, slo.ErrorsOf(opt.Confidence, len(o.Groups), opt.Early), earlyErrors(l, w.SLO, opt), opt)
		}
		if !o.Minutes {
			o.whole.Spread = opt.Tally.whole(w.SLO).spread()
		}
		worst := 0
		for i := range o.Groups {
			if g, b := &o.Groups[i], &o.Groups[worst]; g.outcome.Worse(b.outcome) || g.outcome == b.outcome && g.AtLeast < b.AtLeast {
				worst = i
			}
		}
		o.Groups[0], o.Groups[worst] = o.Groups[worst], o.Groups[0]
		first := &o.Groups[0]
		o.outcome, o.Outcome, o.Reason = first.outcome, first.Outcome, first.Reason
		out = append(out, o)
	}
	return out
}

// GateEarly tells what a run already proves of an indicator's objectives, however often it is asked: FAIL when one fails,
// PASS when all pass.
func GateEarly(l *lower.SLILayout, series []agg.Series, u Unknown, opt GateOptions) slo.Outcome {
	out := slo.Pass
	for _, w := range l.Objectives {
		if w.SLO == nil {
			continue
		}
		for _, g := range measuredGroups(l, w, series, u, opt) {
			switch o := g.early(w.SLO.PPB, earlyErrors(l, w.SLO, opt), opt); {
			case o == slo.Fail:
				return slo.Fail
			case o != slo.Pass || g.Other:
				out = slo.Inconclusive
			}
		}
	}
	return out
}

// early is the verdict of looking while the run goes.
func (g *GateGroup) early(ppb uint64, e slo.Errors, opt GateOptions) slo.Outcome {
	if opt.Tally == nil {
		return slo.Early(g.counts(), ppb, e)
	}
	return slo.EarlyAfter(g.counts(), ppb, e, g.batches)
}

// earlyErrors are those of looking early. How many groups there will be is not known yet, but how many there can be is.
func earlyErrors(l *lower.SLILayout, o *check.SLO, opt GateOptions) slo.Errors {
	groups := 1
	if len(o.By) > 0 {
		groups = l.SLI.Limit + 1
	}
	return slo.ErrorsOf(opt.Confidence, groups, true)
}

// gateGroups adds up the samples of an objective: at least one, and none without events beside others.
func gateGroups(l *lower.SLILayout, w lower.ObjectiveWords, series []agg.Series, u Unknown, v Values) []GateGroup {
	var out []GateGroup
	place := map[string]int{}
	for _, x := range series {
		if x.Words[w.Total] == 0 {
			continue
		}
		labels := byLabels(l, w.SLO, x, v)
		id := strings.Join(labels, "\x00")
		at, ok := place[id]
		if !ok {
			at = len(out)
			place[id], out = at, append(out, GateGroup{Labels: labels, Unknown: u})
		}
		out[at].Bad += x.Words[w.Bad]
		out[at].Total += x.Words[w.Total]
		out[at].Other = out[at].Other || x.Other && len(labels) > 0
	}
	if len(out) == 0 {
		out = []GateGroup{{Unknown: u}}
	}
	return out
}

// measuredGroups are the groups with what the tally knows of them: how their events spread, or their minutes.
func measuredGroups(l *lower.SLILayout, w lower.ObjectiveWords, series []agg.Series, u Unknown, opt GateOptions) []GateGroup {
	out := gateGroups(l, w, series, u, opt.Values)
	for i := range out {
		g := &out[i]
		g.Bad = min(g.Bad, g.Total)
		t := opt.Tally.group(w.SLO, g.Labels)
		if w.SLO.Minutes {
			g.Bad, g.Total = 0, 0
			if t != nil {
				g.Bad, g.Total = t.badMinutes, t.minutes
			}
			// An event whose outcome is unknown may have spoilt a minute.
			g.Unknown = Unknown{Doubtful: min(u.Missing+u.Doubtful, g.Total)}
			g.batches = int(g.Total)
		} else if t != nil {
			g.spread, g.Batches = t.spread(), opt.Tally.batches(t)
			for _, n := range t.total {
				if n > 0 {
					g.batches += t.every
				}
			}
		}
	}
	return out
}

func (g *GateGroup) counts() slo.Counts {
	return slo.Counts{Bad: g.Bad, Total: g.Total, Missing: g.Missing, Doubtful: g.Doubtful, Spread: g.spread}
}

// judge fills in what follows from the counts.
func (g *GateGroup) judge(o *GateObjective, e, early slo.Errors, opt GateOptions) {
	g.Observed = slo.ObservedText(g.Bad, g.Total, o.PPB)
	g.Effect, g.Effective = g.spread.Effect, uint64(g.spread.Effective(g.Total, e.Pass))
	if g.Effective < g.Total/2 {
		g.Warning = fmt.Sprintf("bad events come in bursts: these %s events tell as much as %s independent ones", Grouped(g.Total), Grouped(g.Effective))
	}
	d := slo.Decide(g.counts(), o.PPB, e)
	g.outcome, g.AtLeast, g.AtMost = d.Outcome, d.AtLeast, d.AtMost
	known := slo.Decide(slo.Counts{Bad: g.Bad, Total: g.Total, Spread: g.spread}, o.PPB, e).Outcome
	withhold := func(format string, args ...any) {
		g.outcome, g.Reason = slo.Inconclusive, fmt.Sprintf(format, args...)
	}
	soon := slo.Inconclusive
	if opt.Early {
		soon = g.early(o.PPB, early, opt)
	}
	goal := float64(o.PPB) / slo.Billion
	things := "events"
	if o.Minutes {
		things = "minutes"
	}
	switch {
	// The bounds are for runs of a fixed length; all that an early verdict says is which side of the objective it is.
	case soon == slo.Fail:
		g.outcome, g.AtLeast, g.AtMost = slo.Fail, 0, goal
	case soon == slo.Pass && !g.Other:
		g.outcome, g.AtLeast, g.AtMost = slo.Pass, goal, 1
	case g.Total == 0 && o.Minutes && (opt.Tally == nil || opt.Tally.minutes == 0):
		withhold("the run was shorter than a minute, and the objective counts minutes")
	case g.Total == 0 && o.Minutes:
		withhold("no minute had a sample")
	case g.Total == 0:
		withhold("no events")
	case opt.Stopped:
		withhold("the run was stopped early by another objective")
	case g.outcome == slo.Pass && opt.Cut:
		withhold("the run was interrupted")
	case g.outcome == slo.Pass && g.Other:
		withhold("label sets beyond the limit of the sli are judged together")
	case g.outcome != slo.Inconclusive:
	case known != slo.Inconclusive:
		withhold("would be %s, but for %s events whose outcome is unknown", known, Grouped(g.Missing+g.Doubtful))
	case o.MinEvents == 0:
		withhold("no sample can prove an objective of 100 %%")
	case g.Total < o.MinEvents:
		withhold("too few %s: it takes at least %s", things, Grouped(o.MinEvents))
	case slo.Decide(slo.Counts{Bad: g.Bad, Total: g.Total}, o.PPB, e).Outcome != slo.Inconclusive:
		withhold("bad events come in bursts: too close to the objective for what %s independent events would tell", Grouped(g.Effective))
		g.Warning = ""
	default:
		withhold("too close to the objective for so many %s", things)
	}
	g.Outcome = g.outcome.String()
}

// Confidence writes a confidence in per cent.
func Confidence(c float64) string {
	return strconv.FormatFloat(c*100, 'g', 10, 64) + " %"
}

// evidence tells what was seen, and what follows from it.
func (o *GateObjective) evidence(confidence float64) string {
	with := " with " + Confidence(confidence) + " confidence"
	if o.Composite != nil {
		return o.Composite.evidence(with)
	}
	g := &o.Groups[0]
	switch {
	case g.Total == 0 && o.Minutes:
		return "no minutes"
	case g.Total == 0:
		return "no events"
	}
	text := "observed " + g.Observed + " % of " + Grouped(g.Total)
	switch {
	case o.Minutes && g.Total == 1:
		text += " minute"
	case o.Minutes:
		text += " minutes"
	}
	least, most := slo.BoundText(g.AtLeast, o.PPB, false)+" %", slo.BoundText(g.AtMost, o.PPB, true)+" %"
	switch o.outcome {
	case slo.Pass:
		return text + ", at least " + least + with
	case slo.Fail:
		return text + ", at most " + most + with
	}
	return text + ", at least " + least + " and at most " + most + ", each" + with
}

// subject is the objective in short, with the group that decides it.
func (o *GateObjective) subject() string {
	s := o.Sentence
	if o.Composite != nil {
		return s
	}
	if g := &o.Groups[0]; len(g.Labels) > 0 {
		s += " · " + strings.Join(g.Labels, ", ")
		if len(o.Groups) > 1 {
			s += " (worst of " + Grouped(uint64(len(o.Groups))) + ")"
		}
	}
	return s
}

// notes stand below the verdict: why there is none, and what is to be known of it.
func (o *GateObjective) notes() (out []string) {
	if o.Reason != "" && o.Reason != "no events" {
		out = append(out, o.Reason)
	}
	if o.Composite == nil && o.Groups[0].Warning != "" {
		out = append(out, o.Groups[0].Warning)
	}
	return out
}

// GateText prints a line for every objective, with the reason below where there is no verdict.
func GateText(w io.Writer, objectives []GateObjective, confidence float64, coloured bool) error {
	names, subjects, texts := 0, 0, 0
	for i := range objectives {
		o := &objectives[i]
		names, subjects = max(names, columns(o.Name)), max(subjects, columns(o.subject()))
		texts = max(texts, columns(o.evidence(confidence)))
	}
	t := &Text{TextOptions: TextOptions{Colour: coloured}}
	var dst []byte
	for i := range objectives {
		o := &objectives[i]
		dst = padRight(dst, o.Name, names+4)
		dst = padRight(dst, o.subject(), subjects+4)
		dst = padRight(dst, o.evidence(confidence), texts+4)
		dst = append(t.colour(dst, [...]colour{slo.Inconclusive: yellow, slo.Pass: green, slo.Fail: red}[o.outcome], o.Outcome), '\n')
		for _, note := range o.notes() {
			dst = padRight(dst, "", names+4)
			dst = append(append(dst, note...), '\n')
		}
	}
	_, err := w.Write(dst)
	return err
}
