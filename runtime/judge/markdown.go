package judge

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/runtime/export"
)

// markdown is the report as a person reads it.
func (rep *Incident) markdown() []byte {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	const clock = "2006-01-02 15:04:05 UTC"
	line("# %s burned\n", rep.Objective)
	line("`%s`\n", rep.Sentence)
	line("- began about %s, alerted %s", rep.Began.Format(clock), rep.Fired.Format(clock))
	if rep.Ongoing {
		line("- still burning at %s, when the run ended", rep.Ended.Format(clock))
	} else {
		line("- over at %s", rep.Ended.Format(clock))
	}
	line("- %s of %s events were bad", export.Grouped(rep.Bad), export.Grouped(rep.Total))
	line("- error budget left: %s when it alerted, %s at the end", percent(rep.Budget.Before), percent(rep.Budget.After))
	for _, l := range rep.Labels {
		line("- %s: %s", l.Name, l.Value)
	}
	if rep.Runbook != "" {
		line("- runbook: %s", rep.Runbook)
	}
	line("\n## Alerts\n")
	line("| time | group | from | to | burn rate |\n|---|---|---|---|---|")
	for _, c := range rep.Changes {
		burn := milli(c.BurnMilli)
		if c.LongWindow != "" {
			burn += " over " + c.LongWindow + ", alert at " + c.Factor
		}
		line("| %s | %s | %s | %s | %s |", c.At.UTC().Format(clock), cell(strings.Join(c.Group, ", ")), c.From, c.To, burn)
	}
	if len(rep.Rates) > 0 {
		line("\n## Burn rates at the end\n")
		line("| window | burn rate | bad | events |\n|---|---|---|---|")
		for _, w := range rep.Rates {
			line("| %s | %s | %s | %s |", w.Window, milli(w.Milli), export.Grouped(w.Bad), export.Grouped(w.Total))
		}
	}
	if len(rep.Worst) > 0 {
		line("\n## Worst label sets\n")
		line("| labels | bad | events |\n|---|---|---|")
		for _, w := range rep.Worst {
			line("| %s | %s | %s |", cell(strings.Join(w.Labels, ", ")), export.Grouped(w.Bad), export.Grouped(w.Total))
		}
	}
	if rep.Before != nil {
		line("\n## Distribution before and during\n")
		line("| | events | mean | p50 | p90 | p99 | p99.9 | max |\n|---|---|---|---|---|---|---|---|")
		for _, d := range []struct {
			name string
			*Distribution
		}{{"before", rep.Before}, {"during", rep.During}} {
			cells := ""
			for _, v := range []float64{d.Mean, d.P50, d.P90, d.P99, d.P999, d.Max} {
				cells += " " + export.Quantity(rep.unit, v) + " |"
			}
			line("| %s | %s |%s", d.name, export.Grouped(d.Events), cells)
		}
		line("\n```\n%s```", rep.compare())
	}
	if len(rep.Examples) > 0 {
		line("\n## Bad events\n")
		line("| labels | value | pid | tid | goid | trace |\n|---|---|---|---|---|---|")
		for _, e := range rep.Examples {
			value := ""
			if rep.During != nil {
				value = export.Quantity(rep.unit, float64(e.Value))
			}
			line("| %s | %s | %d | %d | %d | %s |", cell(strings.Join(e.Labels, ", ")), value, e.Pid, e.Tid, e.Goid, cell(e.Trace))
		}
	}
	if len(rep.Maps) > 0 {
		line("\n## Captured while it burned\n")
		for _, m := range rep.Maps {
			line("```\n%s\n```\n", m.Text)
		}
	}
	return b.Bytes()
}

// compare draws both distributions, each relative to its own largest bucket.
func (rep *Incident) compare() string {
	var b strings.Builder
	const width = 30
	bars := func(name string, d *Distribution) {
		fmt.Fprintln(&b, name)
		most := uint64(1)
		for _, x := range d.Buckets {
			most = max(most, x.Count)
		}
		for _, x := range d.Buckets {
			label := "[" + export.Quantity(rep.unit, float64(x.Lower)) + ", " + export.Quantity(rep.unit, float64(x.Upper)+1) + ")"
			fmt.Fprintf(&b, "  %-24s %10s |%-*s|\n", label, export.Grouped(x.Count), width, strings.Repeat("@", int(x.Count*width/most)))
		}
	}
	bars("before", rep.Before)
	bars("during", rep.During)
	return b.String()
}

// cell keeps a text inside its column.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s)
}

func percent(ppm int64) string { return strconv.FormatFloat(float64(ppm)/1e4, 'f', 2, 64) + " %" }

func milli(n uint64) string { return strconv.FormatFloat(float64(n)/1000, 'f', 1, 64) }
