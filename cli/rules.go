package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/rules"
	"github.com/slopebpf/slope/stdlib"
)

// rulesFlags are the flags of rules.
type rulesFlags struct {
	style, output, service string
	test                   bool
}

// newRules is "slope rules".
func newRules(s Streams) *cobra.Command {
	var f rulesFlags
	c := &cobra.Command{
		Use:   "rules [flags] FILE...",
		Short: "Write the objectives of scripts as Prometheus rules",
		Long: `Write the objectives of scripts as a Prometheus rule file: the part of bad events over the windows of the alerts and of
the objective, burn rates, the error budget that is left, and alerts. The rules add up what all hosts export, so they judge
the service and not a host. Needs no privileges: only declarations are read, the bodies of probes are not checked.

The alerts are those of the script's page and ticket. Without them a page fires when 2 % of the budget burn in an hour or
5 % in 6 hours, a ticket when 10 % burn in a day or in 3 days, as long as it goes on. Over 30 days these are burn rates of
14.4, 6, 3 and 1. What cannot fire is left out. min_events holds an alert back while the short window has fewer events, or
minutes where those are counted. Without it the long window must have 3 bad ones for a page, 2 for a ticket. labels stand
on every rule, runbook is an annotation of every alert.

nodata says what a window is in which hosts that export the objective count no event: ignore, nothing; good or bad, just
that; alert, nothing, but an alert of its own fires once no host has counted an event for 20 minutes or none exports it.
It looks at all label sets together, and needs no events in one of them.

Minutes are judged by a rule that runs each minute, for each host: one bad sample makes a bad minute. A composite's ratio
is the weighted mean of its parts' burn rates, times its budget. PromQL knows no calendar: the budget of a calendar window
is that of the last 7, 30 or 90 days; what each host exports itself goes by the calendar.

--style sloth gives rules and labels the names that Sloth's dashboards look for, pyrra those of Pyrra's.
--test also writes a unit test for promtool: beside the rules of -o, otherwise alone, for rules in rules.yaml.`,
		Example: `  slope rules checkout.slo
  slope rules --test -o checkout.yaml checkout.slo && promtool test rules checkout_test.yaml
  slope rules --style sloth --service shop -o shop.yaml *.slo`,
		RunE: func(_ *cobra.Command, files []string) error { return s.rules(&f, files) },
	}
	fl := c.Flags()
	fl.StringVar(&f.style, "style", "slope", "names of the rules: slope, sloth or pyrra")
	fl.StringVarP(&f.output, "output", "o", "", "write the rules to this file")
	fl.StringVar(&f.service, "service", "", "the service in Sloth's labels, instead of the script's name")
	fl.BoolVar(&f.test, "test", false, "write a unit test for promtool")
	return c
}

// rules reads scripts and writes the rules of their objectives.
func (s Streams) rules(f *rulesFlags, files []string) error {
	style, ok := rules.ParseStyle(f.style)
	switch {
	case len(files) == 0:
		return usagef("rules: got no script")
	case !ok:
		return usagef("invalid style '%s': want slope, sloth or pyrra", f.style)
	}
	all, err := s.allObjectives(f.service, files)
	if err != nil {
		return err
	}
	test := "rules.yaml"
	if f.output != "" {
		test = filepath.Base(f.output)
	}
	var out, unit bytes.Buffer
	if err := rules.Write(&out, all, style); err != nil {
		return err
	}
	if f.test {
		if err := rules.WriteTest(&unit, all, style, test); err != nil {
			return err
		}
	}
	switch {
	case f.output == "" && f.test:
		return writeRules(s.Out, unit.Bytes())
	case f.output == "":
		return writeRules(s.Out, out.Bytes())
	}
	if err := os.WriteFile(f.output, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	if !f.test {
		return nil
	}
	ext := filepath.Ext(f.output)
	if err := os.WriteFile(strings.TrimSuffix(f.output, ext)+"_test"+ext, unit.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write unit test: %w", err)
	}
	return nil
}

func writeRules(w io.Writer, text []byte) error {
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

// allObjectives are those of several scripts; their diagnostics are printed.
func (s Streams) allObjectives(service string, files []string) ([]rules.Objective, error) {
	var all []rules.Objective
	failed := false
	for _, name := range files {
		list, diags, err := s.objectives(service, name)
		if err != nil {
			return nil, err
		}
		diags.Render(s.Err, s.Color)
		failed = failed || diags.HasErrors()
		all = append(all, list...)
	}
	if failed {
		return nil, exitStatus(1)
	}
	return all, nil
}

// objectives are those of one script. service is what they have in common, by default the script's name.
func (s Streams) objectives(service, name string) ([]rules.Objective, source.Diagnostics, error) {
	file, err := s.readScript("", name)
	if err != nil {
		return nil, nil, err
	}
	if service == "" {
		service = strings.TrimSuffix(filepath.Base(file.Name), filepath.Ext(file.Name))
	}
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		return nil, diags, nil
	}
	list, more := rules.Read(tree, stdlib.New(), service)
	if diags = append(diags, more...); len(list) == 0 && !diags.HasErrors() {
		return nil, nil, fmt.Errorf("the script '%s' has no objective", name)
	}
	return list, diags, nil
}
