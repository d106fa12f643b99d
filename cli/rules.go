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
		Long: `Write the objectives of scripts as a Prometheus rule file: the part of bad events over 5m to 3d and over the window of
the objective, burn rates, the error budget that is left, and alerts. The rules add up what all hosts export, so they judge
the service and not a host. Needs no privileges: only declarations are read, the bodies of probes are not checked.

A page fires when 2 % of the budget burn in an hour or 5 % in 6 hours, a ticket when 10 % burn in a day or in 3 days, as
long as it goes on. Over 30 days these are burn rates of 14.4, 6, 3 and 1. What cannot fire is left out.

--style sloth gives rules and labels the names that Sloth's dashboards look for.
--test also writes a unit test for promtool: beside the rules of -o, otherwise alone, for rules in rules.yaml.`,
		Example: `  slope rules checkout.slo
  slope rules --test -o checkout.yaml checkout.slo && promtool test rules checkout_test.yaml
  slope rules --style sloth --service shop -o shop.yaml *.slo`,
		RunE: func(_ *cobra.Command, files []string) error { return s.rules(&f, files) },
	}
	fl := c.Flags()
	fl.StringVar(&f.style, "style", "slope", "names of the rules: slope or sloth")
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
		return usagef("invalid style '%s': want slope or sloth", f.style)
	}
	var all []rules.Objective
	failed := false
	for _, name := range files {
		list, diags, err := s.objectives(f, name)
		if err != nil {
			return err
		}
		diags.Render(s.Err, s.Color)
		failed = failed || diags.HasErrors()
		all = append(all, list...)
	}
	if failed {
		return exitStatus(1)
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

// objectives are those of one script.
func (s Streams) objectives(f *rulesFlags, name string) ([]rules.Objective, source.Diagnostics, error) {
	file, err := s.readScript("", name)
	if err != nil {
		return nil, nil, err
	}
	service := f.service
	if service == "" {
		service = strings.TrimSuffix(filepath.Base(file.Name), filepath.Ext(file.Name))
	}
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		return nil, diags, nil
	}
	list, more := rules.Read(file, tree, service)
	if diags = append(diags, more...); len(list) == 0 && !diags.HasErrors() {
		return nil, nil, fmt.Errorf("the script '%s' has no objective to write rules for", name)
	}
	return list, diags, nil
}
