package compiler

import (
	"fmt"
	"io"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Explain prints what the declarations of a script became: the maps and words of every indicator, the condition behind
// every counter, what the verbs of each probe do, and the programs with their hooks and sizes.
func Explain(w io.Writer, o *Object) {
	for _, l := range o.Layout.SLIs {
		explainSLI(w, l)
		for _, c := range o.Checked.Clauses {
			if c.SLI == l.SLI {
				explainClause(w, c, l)
			}
		}
		fmt.Fprintln(w)
	}
	explainSLOs(w, o.Checked.SLOs)
	fmt.Fprintln(w, "// maps")
	for _, m := range o.IR.Maps {
		if m.Name[0] == '@' {
			fmt.Fprintf(w, "let %s = %s(%d);%s\n", m.Name, m.Kind, m.MaxEntries, explainKey(m))
		}
	}
	fmt.Fprintln(w, "\n// programs")
	for i, f := range o.IR.Funcs {
		slots := len(o.Code[i].Spans)
		fmt.Fprintf(w, "%s %s: %d instructions, %d bytes of stack, %d attach point(s)", f.Type, f.Hook, slots, o.Code[i].Stack, points(f))
		if asked := f.Hooks[0].Asked; asked != "" {
			fmt.Fprintf(w, ", serves %s", asked)
		}
		if f.Burning >= 0 {
			fmt.Fprintf(w, ", attached only while %s burns", o.Checked.SLOs[f.Burning].Name)
		}
		fmt.Fprintln(w)
	}
}

// explainSLOs prints when the alerts of every objective fire.
func explainSLOs(w io.Writer, all []*check.SLO) {
	for _, o := range all {
		of := ""
		for i, p := range o.Parts {
			if i > 0 {
				of += " + "
			}
			of += fmt.Sprintf("%d * burn rate of %s", p.Weight, p.SLO.Name)
		}
		if of != "" {
			of = ": (" + of + ") / the sum of the weights"
		}
		fmt.Fprintf(w, "// slo %s%s\n", o.Name, of)
		for _, a := range []struct {
			name  string
			burns []check.Burn
		}{{"page", o.Page}, {"ticket", o.Ticket}} {
			for _, b := range a.burns {
				fmt.Fprintf(w, "//   %s: burns at more than %s over %s and over %s\n", a.name, b.Factor(), b.Long, b.Short)
			}
		}
	}
	if len(all) > 0 {
		fmt.Fprintln(w)
	}
}

func points(f *ir.Func) int {
	n := 0
	for _, h := range f.Hooks {
		n += max(len(h.Points), 1)
	}
	return n
}

func explainKey(m *ir.Map) string {
	if m.Key == nil {
		return fmt.Sprintf(" // %s", m.Value)
	}
	return fmt.Sprintf(" // [%s]: %s", m.Key, m.Value)
}

func explainSLI(w io.Writer, l *lower.SLILayout) {
	s := l.SLI
	fmt.Fprintf(w, "// sli %s: %s in %s\n", s.Name, s.Kind, s.Unit)
	if l.Spans != nil {
		fmt.Fprintf(w, "let @%s = %s(%d); // [%s]: start times\n", l.Spans.Name, l.Spans.Kind, l.Spans.MaxEntries, l.Spans.Key)
	}
	fmt.Fprintf(w, "let @%s = %s(%d); //", l.Value.Name, l.Value.Kind, l.Value.MaxEntries)
	if l.Value.Key != nil {
		fmt.Fprintf(w, " [%s]:", l.Value.Key)
	}
	fmt.Fprintf(w, " %d words per CPU\n", l.Words)
	if l.Other != nil {
		fmt.Fprintf(w, "let @%s = %s(1); // label sets beyond the first %d\n", l.Other.Name, l.Other.Kind, s.Limit)
	}
	if l.Counters != nil {
		fmt.Fprintf(w, "let @%s = %s(%d); // the counters as they were last seen\n", l.Counters.Name, l.Counters.Kind, l.Counters.MaxEntries)
	}
	fmt.Fprintf(w, "//   word %d: events\n", lower.WordCount)
	if s.Kind == check.Gauge {
		fmt.Fprintf(w, "//   words %d, %d: the last value and its time\n", lower.WordValue, lower.WordTime)
	}
	if s.Kind == check.Distribution {
		fmt.Fprintf(w, "//   word %d: sum of the values\n", lower.WordSum)
	}
	for _, o := range l.Objectives {
		if o.SLO == nil {
			fmt.Fprintf(w, "//   word %d: bad events\n", o.Bad)
			continue
		}
		if o.Total != lower.WordCount {
			fmt.Fprintf(w, "//   word %d: %s, events that count: %s\n", o.Total, o.SLO.Name, filters(o.SLO))
		}
		fmt.Fprintf(w, "//   word %d: %s, bad events: !(%s)\n", o.Bad, o.SLO.Name, condition(o.SLO, s))
	}
	if l.Exemplar > 0 {
		fmt.Fprintf(w, "//   words %d to %d: who was behind the last bad event\n", l.Exemplar, l.Exemplar+lower.ExemplarWords-1)
	}
	if s.Kind == check.Distribution {
		fmt.Fprintf(w, "//   word %d: zeros; then %d buckets of a native histogram, schema %d\n", l.Histogram, l.Words-l.Histogram-1, s.Schema)
	}
}

func filters(o *check.SLO) string {
	var out []string
	for _, f := range o.Filters {
		out = append(out, syntax.ExprString(f))
	}
	return strings.Join(out, " && ")
}

// condition is what makes an event good.
func condition(o *check.SLO, s *check.SLI) string {
	var out []string
	if s.Kind == check.Ratio || s.Kind == check.Counters {
		out = append(out, "good")
	}
	if o.Op != "" {
		out = append(out, fmt.Sprintf("value %s %s", o.Op, syntax.ExprString(o.Node.Sentence.Limit)))
	}
	if o.Where != nil {
		out = append(out, syntax.ExprString(o.Where))
	}
	return strings.Join(out, " && ")
}

// explainClause prints a probe with its verbs spelled out.
func explainClause(w io.Writer, c *check.Clause, l *lower.SLILayout) {
	for i, t := range c.Targets {
		if i == 3 {
			fmt.Fprintf(w, "/* and %d more */\n", len(c.Targets)-i)
			break
		}
		fmt.Fprintf(w, "%s\n", t.Name)
	}
	if c.Probe.Pred != nil {
		fmt.Fprintf(w, "/%s/\n", syntax.ExprString(c.Probe.Pred))
	}
	fmt.Fprintln(w, "{")
	for _, s := range c.Probe.Body.Stmts {
		explainVerbs(w, c, l, s)
		fmt.Fprintf(w, "\t%s\n", strings.ReplaceAll(syntax.StmtString(s), "\n", "\n\t"))
	}
	if e := c.Probe.Body.Result; e != nil {
		explainVerbs(w, c, l, e)
		fmt.Fprintf(w, "\t%s;\n", syntax.ExprString(e))
	}
	fmt.Fprintln(w, "}")
}

// explainVerbs says in core operations what the verbs inside a statement do, in the order they happen.
func explainVerbs(w io.Writer, c *check.Clause, l *lower.SLILayout, n syntax.Node) {
	var lines []string
	syntax.Walk(n, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.Call); ok && c.Info.Funcs[call] != nil {
			if text := explainVerb(c.Info.Funcs[call].Verb, call, c.Info, l); text != "" {
				lines = append([]string{text}, lines...) // arguments first
			}
		}
		return true
	})
	for _, line := range lines {
		fmt.Fprintf(w, "\t// %s\n", line)
	}
}

func explainVerb(v types.Verb, call *syntax.Call, info *check.Info, l *lower.SLILayout) string {
	exprs := call.Args
	if of := info.SpanKeys[call]; of != nil {
		exprs = of
	}
	args := make([]string, len(exprs))
	for i, a := range exprs {
		args[i] = syntax.ExprString(a)
	}
	key := strings.Join(args, ", ")
	labels := func(own int) string {
		if l.Value.Key == nil {
			return "@" + l.Value.Name
		}
		return "@" + l.Value.Name + "[" + strings.Join(args[own:], ", ") + "]"
	}
	switch v {
	case types.Start:
		return fmt.Sprintf("@%s[%s] = nsecs", l.Spans.Name, key)
	case types.Stop:
		return fmt.Sprintf("nsecs - @%s[%s], or leave without it; delete(@%s, (%s))", l.Spans.Name, key, l.Spans.Name, key)
	case types.Cancel:
		return fmt.Sprintf("delete(@%s, (%s))", l.Spans.Name, key)
	case types.Observe:
		valid := ""
		if l.SLI.Valid != nil {
			valid = "if " + syntax.ExprString(l.SLI.Valid) + ": "
		}
		return fmt.Sprintf("%svalue = %s; words of %s: events, sum, objectives, bucket", valid, args[0], labels(1))
	case types.Good, types.BadVerb:
		return fmt.Sprintf("words of %s: events, objectives", labels(0))
	case types.Advance:
		return fmt.Sprintf("bad, total = what %s, %s grew by; words of %s: events, objectives", args[0], args[1], labels(2))
	case types.Level:
		return fmt.Sprintf("value = %s; words of %s: events, value, objectives", args[0], labels(1))
	case types.Trace:
		return fmt.Sprintf("trace ID of a bad event = %s", args[0])
	case types.EventIf:
		return fmt.Sprintf("good = %s; words of %s: events, objectives", args[0], labels(1))
	}
	return ""
}
