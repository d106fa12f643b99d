package cli

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/runtime/export"
)

// unknown counts the events of an indicator whose outcome nobody knows: spans that were lost or still run, and what went
// wrong in the indicator's text, in its objectives' or with a map that it uses. A run of a program that the kernel skipped
// counts against every indicator, because it could have been any clause.
func (g *gate) unknown(l *lower.SLILayout) (u export.Unknown, open uint64, err error) {
	spans, err := g.run.eng.Spans(l)
	if err != nil {
		return u, 0, err
	}
	u.Missing = spans.Lost() + spans.Open
	losses, _, err := g.run.eng.Losses()
	if err != nil {
		return u, 0, err
	}
	maps := usedMaps(g.run.obj.Checked, l.SLI)
	for _, loss := range losses {
		c := loss.Counter
		if !within(l.SLI, c.Span) && (c.Map == nil || !maps[c.Map.Name]) {
			continue
		}
		switch c.Loss {
		case ir.LossScratchBusy:
			u.Missing += loss.N
		case ir.LossMapFull: // what was to be remembered for an event: it is not counted, or wrongly
			u.Missing += loss.N
			u.Doubtful += loss.N
		case ir.LossReadFault, ir.LossDivideByZero, ir.LossNegative: // counted, by a value that is none
			u.Doubtful += loss.N
		}
	}
	programs, err := g.run.eng.Programs()
	for _, p := range programs {
		u.Missing += p.Missed
	}
	return u, spans.Open, err
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
