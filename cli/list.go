package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/stdlib"
)

// newList is "slope list".
func newList(s Streams) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List the probes that there are, with their arguments",
		Long: `List the probes of the running kernel, or the functions of a binary, that match a pattern. A pattern with a probe type
is matched from there on, one without anywhere in the name; "struct x", "union x" and "enum x" list types of the kernel. * matches any text, ? one letter, [a-z] one of some.

The exit status is 1 when a name without wildcards matches nothing.`,
		Example: `  slope list 'tcp*'
  slope list -v tracepoint:sched:sched_switch
  slope list 'uprobe:libc:*alloc*'
  slope list -v 'struct task_struct'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.list(&f, args) },
	}
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "print the arguments with their types, too")
	c.Flags().VarP((*pidFlag)(&f.pid), "pid", "p", "functions of what this process has mapped")
	return c
}

// list prints the probes that match a pattern, all kinds without one.
func (s Streams) list(f *runFlags, args []string) error {
	pattern := ""
	if len(args) > 0 {
		pattern = args[0]
	}
	w := newWorkshop(f.pid)
	defer w.close()
	found := 0
	out := bufio.NewWriter(s.Out)
	err := w.machine.List(pattern, func(p stdlib.Listed) bool {
		found++
		if f.verbose && p.Definition != nil {
			fmt.Fprintln(out, strings.Join(p.Definition(), "\n"))
			return true
		}
		fmt.Fprintln(out, p.Name)
		if f.verbose && p.Args != nil {
			for _, a := range p.Args() {
				fmt.Fprintln(out, "    "+a)
			}
		}
		return true
	})
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if found == 0 && pattern != "" && !strings.ContainsAny(pattern, "*?[") {
		return exitStatus(1)
	}
	return nil
}
