package judge

import (
	"strings"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// Reports are the objectives as the table shows them, as of the last boundary.
func (j *Judge) Reports() []export.SLOReport {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []export.SLOReport
	for i, o := range j.slos {
		groups := j.tracker.Status(i)
		if len(groups) == 0 {
			groups = []slo.GroupStatus{{Verdict: slo.NoData, BudgetLeft: 1_000_000}}
		}
		for _, g := range groups {
			out = append(out, j.report(o, &g))
		}
	}
	return out
}

func (j *Judge) report(o *check.SLO, g *slo.GroupStatus) export.SLOReport {
	r := export.SLOReport{Name: o.Name, Sentence: j.opt.Sentence(o), Labels: GroupLabels(o, g.Group), PPB: o.PPB, Composite: o.Parts != nil,
		Bad: g.Over.Bad, Total: g.Over.Total, Lost: g.Over.Lost, BudgetLeft: g.BudgetLeft, Uncertainty: g.Uncertainty,
		Coverage: g.Over.Coverage, Minutes: o.Minutes, BurnRate: j.tracker.Over(o.Index, g.Group, shortest(o)).Burn}
	if o.SLI != nil {
		r.SLI = o.SLI.Name
		r.Compliance = slo.Compliance(g.Over.Bad, g.Over.Total, o.PPB)
	}
	for _, w := range g.Burns {
		switch w.Window {
		case time.Hour:
			r.Burn1h = w.Burn
		case 6 * time.Hour:
			r.Burn6h = w.Burn
		}
	}
	switch {
	case g.State == slo.StatePage:
		r.State = export.Page
	case g.State == slo.StateTicket:
		r.State = export.Ticket
	case g.Verdict == slo.NoData:
		r.State = export.NoData
	case g.Verdict == slo.Breached:
		r.State = export.Breached
	default:
		r.State = export.OK
	}
	return r
}

// Status is the objectives as the metrics show them.
func (j *Judge) Status() []export.ObjectiveStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]export.ObjectiveStatus, len(j.slos))
	for i, o := range j.slos {
		s := export.ObjectiveStatus{SLO: o, Labels: map[string]string{}}
		for _, l := range o.Labels {
			s.Labels[l.Name] = l.Value
		}
		for _, g := range j.tracker.Status(i) {
			s.Groups = append(s.Groups, groupStatus(o, &g))
		}
		out[i] = s
	}
	return out
}

func groupStatus(o *check.SLO, g *slo.GroupStatus) export.GroupStatus {
	var out export.GroupStatus
	if len(o.By) > 0 {
		out.By = strings.Split(g.Group, "\x00")
	}
	if g.Verdict != slo.NoData {
		left := float64(g.BudgetLeft) / 1e6
		out.BudgetRemaining = &left
	}
	for _, w := range g.Burns {
		s := export.WindowStatus{Window: w.Window}
		if w.Total > 0 {
			rate := float64(w.Burn) / 1000
			s.BurnRate = &rate
		}
		coverage := float64(w.Coverage) / 1e6
		s.Coverage = &coverage
		out.Windows = append(out.Windows, s)
	}
	for _, a := range []struct {
		severity string
		burns    []check.Burn
		firing   bool
	}{{"page", o.Page, g.State == slo.StatePage}, {"ticket", o.Ticket, g.State >= slo.StateTicket}} {
		if len(a.burns) > 0 {
			out.Alerts = append(out.Alerts, export.AlertStatus{Severity: a.severity, Firing: a.firing})
		}
	}
	return out
}

// Unknown counts the events of an indicator whose outcome nobody knows: missing ones, which were lost with their spans or
// otherwise not counted; doubtful ones, which were counted by a value that is none; and spans that still run. What went
// wrong in the indicator's text, in its objectives' or with a map that it uses counts; a run of a program that the kernel
// skipped counts against every indicator, because it could have been any clause.
func Unknown(obj *compiler.Object, eng Engine, l *lower.SLILayout) (missing, doubtful, open uint64, err error) {
	spans, err := eng.Spans(l)
	if err != nil {
		return 0, 0, 0, err
	}
	missing = spans.Lost()
	losses, _, err := eng.Losses()
	if err != nil {
		return 0, 0, 0, err
	}
	maps := usedMaps(obj.Checked, l.SLI)
	if l.Counters != nil {
		maps[l.Counters.Name] = true
	}
	for _, loss := range losses {
		c := loss.Counter
		if !within(l.SLI, c.Span) && (c.Map == nil || !maps[c.Map.Name]) {
			continue
		}
		switch c.Loss {
		case ir.LossScratchBusy:
			missing += loss.N
		case ir.LossMapFull: // what was to be remembered for an event: it is not counted, or wrongly
			missing += loss.N
			doubtful += loss.N
		case ir.LossReadFault, ir.LossDivideByZero, ir.LossNegative, ir.LossStackFull: // counted, by a value that is none
			doubtful += loss.N
		}
	}
	programs, err := eng.Programs()
	for _, p := range programs {
		missing += p.Missed + p.Lost
	}
	return missing, doubtful, spans.Open, err
}

// within tells whether a place is in the text of an indicator or of one of its objectives.
func within(s *check.SLI, at source.Span) bool {
	in := func(r source.Span) bool { return r.Start <= at.Start && at.End <= r.End }
	found := in(s.Node.Span())
	for _, o := range s.Objectives {
		found = found || in(o.Node.Span())
	}
	return found
}

// usedMaps is the maps of the script that an indicator's clauses use.
func usedMaps(p *check.Program, s *check.SLI) map[string]bool {
	out := map[string]bool{}
	for _, c := range p.Clauses {
		if c.SLI != s {
			continue
		}
		for m := range c.Info.Maps {
			out["@"+m.Text] = true
		}
	}
	return out
}
