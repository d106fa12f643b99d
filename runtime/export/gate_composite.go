package export

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/slo"
)

// GateComposite is what a gate knows of a composite: how fast its parts together spend their error budgets, each part by its
// weight. 1 spends them exactly, so up to 1 the composite is met. Parts that allow no bad event have no budget to spend
// and are left out.
type GateComposite struct {
	Parts    []GatePart `json:"parts"`
	Observed float64    `json:"observed_burn"`
	AtLeast  float64    `json:"burn_at_least"`
	AtMost   float64    `json:"burn_at_most"`
}

// GatePart is one part.
type GatePart struct {
	Name   string `json:"name"`
	Weight uint64 `json:"weight"`
}

// NewGateComposite decides a composite from the verdicts on its parts. It passes when all of them pass and fails when all
// of them fail; otherwise the bounds on its burn rate decide, among which the error is divided. A part that is kept by
// labels counts as a whole there.
func NewGateComposite(o *check.SLO, judged []GateObjective, opt GateOptions) GateObjective {
	out := GateObjective{Name: o.Name, Groups: []GateGroup{}, Composite: &GateComposite{}}
	c := out.Composite
	var texts []string
	var parts []*GateObjective
	weights := 0.0
	for _, p := range o.Parts {
		texts = append(texts, p.SLO.Name+": "+strconv.FormatUint(p.Weight, 10))
		c.Parts = append(c.Parts, GatePart{p.SLO.Name, p.Weight})
		for i := range judged {
			if j := &judged[i]; j.Name == p.SLO.Name && j.PPB < slo.Billion {
				parts = append(parts, j)
				weights += float64(p.Weight)
			}
		}
	}
	out.Sentence = "all(" + strings.Join(texts, ", ") + ")"
	e := slo.ErrorsOf(opt.Confidence, 1, opt.Early)
	each := slo.Errors{Pass: e.Pass / float64(max(len(parts), 1)), Fail: e.Fail / float64(max(len(parts), 1))}
	outcomes := map[slo.Outcome]int{}
	silent := ""
	for _, p := range parts {
		outcomes[p.outcome]++
		budget := 1 - float64(p.PPB)/slo.Billion
		w := c.weight(p.Name) / weights / budget
		d := slo.Decide(p.whole, p.PPB, each)
		c.AtLeast, c.AtMost = c.AtLeast+w*(1-d.AtMost), c.AtMost+w*(1-d.AtLeast)
		if p.whole.Total == 0 {
			silent = "no events of " + p.Name
			if p.Minutes {
				silent = "no minutes of " + p.Name
			}
		} else {
			c.Observed += w * float64(min(p.whole.Bad, p.whole.Total)) / float64(p.whole.Total)
		}
	}
	switch {
	case len(parts) == 0:
		out.Reason = "no part has an error budget"
	case outcomes[slo.Pass] == len(parts):
		out.outcome = slo.Pass
	case outcomes[slo.Fail] == len(parts):
		out.outcome = slo.Fail
	case silent != "":
		out.Reason = silent
	case opt.Stopped:
		out.Reason = "the run was stopped early by another objective"
	case c.AtLeast > 1:
		out.outcome = slo.Fail
	case c.AtMost > 1:
		out.Reason = "its parts are too close to their objectives for so many events"
	case opt.Cut:
		out.Reason = "the run was interrupted"
	default:
		out.outcome = slo.Pass
	}
	out.Outcome = out.outcome.String()
	return out
}

func (c *GateComposite) weight(name string) float64 {
	for _, p := range c.Parts {
		if p.Name == name {
			return float64(p.Weight)
		}
	}
	return 0
}

func (c *GateComposite) evidence(with string) string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }
	return "burns " + number(c.Observed) + " of its budget, at least " + number(c.AtLeast) + " and at most " + number(c.AtMost) + ", each" + with
}
