package cli

import (
	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/compiler"
)

// newExplain is "slope explain".
func newExplain(s Streams) *cobra.Command {
	var program string
	c := &cobra.Command{
		Use:   "explain FILE | explain -e 'program'",
		Short: "Show what a script's sli and slo declarations become",
		Long: `Show what a script's sli and slo declarations become: the maps with their layout, the core operations of
each probe, the counters of each objective with the condition that is compiled into the kernel, and where each probe is attached.`,
		Example: `  slope explain checkout.slo
  slope explain -e 'sli reads { unit = seconds; tracepoint:syscalls:sys_enter_read { start(tid); } tracepoint:syscalls:sys_exit_read { observe(stop(tid)); } }'`,
		RunE: func(_ *cobra.Command, args []string) error {
			if program == "" && len(args) == 0 {
				return usagef("explain: got no script")
			}
			name := ""
			if program == "" {
				name, args = args[0], args[1:]
			}
			file, err := s.readScript(program, name)
			if err != nil {
				return err
			}
			w := newWorkshop(0)
			defer w.close()
			o := w.options(args, 0)
			o.Config.Unsafe = true // nothing runs
			obj, diags := compiler.Compile(file, o)
			s.render(diags, false)
			if obj == nil {
				return exitStatus(1)
			}
			compiler.Explain(s.Out, obj)
			return nil
		},
	}
	c.Flags().StringVarP(&program, "execute", "e", "", "explain this program text")
	return c
}
