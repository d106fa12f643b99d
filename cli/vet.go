package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/vet"
	"github.com/slopebpf/slope/stdlib"
)

// newVet is "slope vet".
func newVet(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "vet FILE...",
		Short: "Look for what is allowed in a script and probably not meant",
		Long: `Look for what is allowed in a script and probably not meant: alerts that can never fire, objectives without an alert or an
indicator without an objective, labels without bound, spans keyed by thread in a Go program, objectives that no window can
judge. Declarations are checked, too. Needs no privileges: attach points are not looked up, and the bodies of probes are
read but not compiled.

The exit status is 0 when there is nothing to say, 1 otherwise.`,
		Example: `  slope vet checkout.slo
  slope vet scripts/*.slo
  cat checkout.slo | slope vet -`,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usagef("vet: got no script")
			}
			found := false
			for _, name := range files {
				diags, err := s.vet(name)
				if err != nil {
					return err
				}
				diags.Render(s.Err, s.Color)
				found = found || len(diags) > 0
			}
			if found {
				return exitStatus(1)
			}
			return nil
		},
	}
}

func (s Streams) vet(name string) (source.Diagnostics, error) {
	file, err := s.readScript("", name)
	if err != nil {
		return nil, fmt.Errorf("vet: %w", err)
	}
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		return diags, nil
	}
	registry := stdlib.New()
	prog, more := check.Declarations(tree, registry)
	if diags = append(diags, more...); diags.HasErrors() {
		return diags, nil
	}
	return append(diags, vet.Script(prog)...).Sort(), nil
}
