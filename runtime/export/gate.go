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
	Early      bool // the run was looked at while it went: half of the error of a FAIL is for those looks
	Stopped    bool // and was stopped, because an objective already failed
	Cut        bool // somebody interrupted the run
}

// Unknown is the events of an indicator whose outcome nobody knows, as slo.Counts has them.
type Unknown struct {
	Missing  uint64 `json:"missing"`
	Doubtful uint64 `json:"doubtful"`
}

// GateObjective is the verdict on one objective. The worst of its groups decides.
type GateObjective struct {
	Name      string      `json:"name"`
	SLI       string      `json:"sli"`
	Sentence  string      `json:"sentence"`
	PPB       uint64      `json:"objective_ppb"` // good events per billion
	Outcome   string      `json:"outcome"`       // PASS, FAIL or INCONCLUSIVE
	Reason    string      `json:"reason,omitempty"`
	MinEvents uint64      `json:"min_events"` // without a bad one; 0 when no number of events can pass
	Groups    []GateGroup `json:"groups"`     // the worst first; one without labels unless the objective is kept by labels

	outcome slo.Outcome
}

// GateGroup is one sample. AtLeast and AtMost bound the part of good events, each with the whole confidence.
type GateGroup struct {
	Labels   []string `json:"labels,omitempty"` // name=value
	Other    bool     `json:"other,omitempty"`  // of the label sets beyond the limit
	Bad      uint64   `json:"bad"`
	Total    uint64   `json:"total"`
	Observed string   `json:"observed_percent"` // rounded down; "" without events
	AtLeast  float64  `json:"at_least"`
	AtMost   float64  `json:"at_most"`
	Outcome  string   `json:"outcome"`
	Reason   string   `json:"reason,omitempty"`
	Unknown

	outcome slo.Outcome
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
		o := GateObjective{Name: w.SLO.Name, SLI: l.SLI.Name, Sentence: opt.Sentence(w.SLO), PPB: w.SLO.PPB,
			MinEvents: slo.MinEvents(w.SLO.PPB, opt.Confidence), Groups: gateGroups(l, w, series, u, opt)}
		tests := len(o.Groups)
		if opt.Early {
			tests *= 2
		}
		worst := 0
		for i := range o.Groups {
			g := &o.Groups[i]
			g.judge(&o, tests, earlyTests(l, w.SLO), opt)
			if b := &o.Groups[worst]; g.outcome.Worse(b.outcome) || g.outcome == b.outcome && g.AtLeast < b.AtLeast {
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

// FailsEarly tells whether an objective of the indicator already fails, however often it is asked.
func FailsEarly(l *lower.SLILayout, series []agg.Series, u Unknown, opt GateOptions) bool {
	for _, w := range l.Objectives {
		if w.SLO == nil {
			continue
		}
		for _, g := range gateGroups(l, w, series, u, opt) {
			if slo.Early(g.counts(), w.SLO.PPB, opt.Confidence, earlyTests(l, w.SLO)) {
				return true
			}
		}
	}
	return false
}

// earlyTests is among how many tests the error of looking early is divided: how many groups there will be is not known
// yet, but how many there can be is; and the other half is for the end.
func earlyTests(l *lower.SLILayout, o *check.SLO) int {
	if len(o.By) == 0 {
		return 2
	}
	return 2 * (l.SLI.Limit + 1)
}

// gateGroups adds up the samples of an objective: at least one, and none without events beside others.
func gateGroups(l *lower.SLILayout, w lower.ObjectiveWords, series []agg.Series, u Unknown, opt GateOptions) []GateGroup {
	var out []GateGroup
	place := map[string]int{}
	for _, x := range series {
		if x.Words[w.Total] == 0 {
			continue
		}
		labels := byLabels(l, w.SLO, x, opt.Values)
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

func (g *GateGroup) counts() slo.Counts {
	return slo.Counts{Bad: g.Bad, Total: g.Total, Missing: g.Missing, Doubtful: g.Doubtful}
}

// judge fills in what follows from the counts.
func (g *GateGroup) judge(o *GateObjective, tests, earlyTests int, opt GateOptions) {
	g.Bad = min(g.Bad, g.Total)
	g.Observed = slo.Compliance(g.Bad, g.Total, o.PPB)
	d := slo.Decide(g.counts(), o.PPB, opt.Confidence, tests)
	g.outcome, g.AtLeast, g.AtMost = d.Outcome, d.AtLeast, d.AtMost
	known := slo.Decide(slo.Counts{Bad: g.Bad, Total: g.Total}, o.PPB, opt.Confidence, tests).Outcome
	withhold := func(format string, args ...any) {
		g.outcome, g.Reason = slo.Inconclusive, fmt.Sprintf(format, args...)
	}
	switch {
	case opt.Early && slo.Early(g.counts(), o.PPB, opt.Confidence, earlyTests):
		// The bounds are for runs of a fixed length; all that this says is which side of the objective it is.
		g.outcome, g.AtLeast, g.AtMost = slo.Fail, 0, float64(o.PPB)/slo.Billion
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
		withhold("too few events: it takes at least %s", Grouped(o.MinEvents))
	default:
		withhold("too close to the objective for so many events")
	}
	g.Outcome = g.outcome.String()
}

// Confidence writes a confidence in per cent.
func Confidence(c float64) string {
	return strconv.FormatFloat(c*100, 'g', 10, 64) + " %"
}

// evidence tells what was seen, and what follows from it.
func (o *GateObjective) evidence(confidence float64) string {
	g := &o.Groups[0]
	if g.Total == 0 {
		return "no events"
	}
	text := "observed " + g.Observed + " % of " + Grouped(g.Total)
	least, most := slo.BoundText(g.AtLeast, o.PPB, false)+" %", slo.BoundText(g.AtMost, o.PPB, true)+" %"
	with := " with " + Confidence(confidence) + " confidence"
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
	if g := &o.Groups[0]; len(g.Labels) > 0 {
		s += " · " + strings.Join(g.Labels, ", ")
		if len(o.Groups) > 1 {
			s += " (worst of " + Grouped(uint64(len(o.Groups))) + ")"
		}
	}
	return s
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
		if o.Reason != "" && o.Groups[0].Total > 0 {
			dst = padRight(dst, "", names+4)
			dst = append(append(dst, o.Reason...), '\n')
		}
	}
	_, err := w.Write(dst)
	return err
}
