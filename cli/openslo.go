package cli

import (
	"bytes"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/runtime/openslo"
)

// newOpenSLO is "slope openslo".
func newOpenSLO(s Streams) *cobra.Command {
	var output, service string
	c := &cobra.Command{
		Use:   "openslo [flags] FILE...",
		Short: "Write the objectives of scripts as OpenSLO v1",
		Long: `Write the objectives of scripts as OpenSLO v1: services, a data source of the type ebpf, and for each objective an
indicator (the ratio of the counters that slope exports, as PromQL), the objective, and an alert policy for each of its
burn rates. Needs no privileges: only declarations are read.

Objectives over minutes become time slices, composites weighted objectives, calendar windows keep their time zone. What
OpenSLO cannot say stands in annotations: labels that an objective is kept by, short windows of burn rates, min_events.
Names become DNS labels. An objective of 100% is left out, because OpenSLO wants less; a comment says so.`,
		Example: `  slope openslo checkout.slo
  slope openslo --service shop -o shop.yaml *.slo`,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usagef("openslo: got no script")
			}
			list, err := s.allObjectives(service, files)
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if err := openslo.Write(&out, list); err != nil {
				return err
			}
			return s.writeFile(output, out.Bytes())
		},
	}
	fl := c.Flags()
	fl.StringVarP(&output, "output", "o", "", "write to this file")
	fl.StringVar(&service, "service", "", "the service of the objectives, instead of the script's name")
	return c
}

// writeFile writes text to a file, or to the standard output without a name.
func (s Streams) writeFile(name string, text []byte) error {
	if name == "" {
		if _, err := s.Out.Write(text); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
