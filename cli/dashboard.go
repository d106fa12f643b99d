package cli

import (
	"bytes"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/runtime/dashboard"
)

// newDashboard is "slope dashboard".
func newDashboard(s Streams) *cobra.Command {
	var output, service, title string
	c := &cobra.Command{
		Use:   "dashboard [flags] FILE...",
		Short: "Write a Grafana dashboard of the objectives of scripts",
		Long: `Write a Grafana dashboard of the objectives of scripts: for each the indicator over time, the error budget that is left,
burn rates with the thresholds of the alerts, events, the distribution as a heat map with its quantiles, the state of the
alerts and the worst label sets; at the end what was lost, and how slope itself is. The data source, the hosts and every
label can be chosen. Needs no privileges: only declarations are read.

It queries what every host exports, so the rules of slope rules are not needed, but for objectives of minutes and
composites they are used where they are there; otherwise, and for calendar windows, the worst host's own account is shown.
The heat map and the quantiles need native histograms. The uid follows from the scripts' names: importing the dashboard
again replaces it.`,
		Example: `  slope dashboard checkout.slo
  slope dashboard --title Checkout -o checkout.json checkout.slo`,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usagef("dashboard: got no script")
			}
			list, err := s.allObjectives(service, files)
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if err := dashboard.Write(&out, title, list); err != nil {
				return err
			}
			return s.writeFile(output, out.Bytes())
		},
	}
	fl := c.Flags()
	fl.StringVarP(&output, "output", "o", "", "write to this file")
	fl.StringVar(&title, "title", "", "the title, instead of the scripts' names")
	fl.StringVar(&service, "service", "", "what the uid follows from, instead of the scripts' names")
	return c
}
