package cli

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/stdlib"
)

// list is -l: the probes that match a pattern, all kinds without one.
func (s Streams) list(f *runFlags, args []string) error {
	pattern := ""
	if len(args) > 0 {
		pattern = args[0]
	}
	w := newWorkshop(f.pid)
	defer w.close()
	found := 0
	err := w.machine.List(pattern, f.verbose, func(p stdlib.Listed) bool {
		found++
		fmt.Fprintln(s.Out, p.Name)
		for _, a := range p.Args {
			fmt.Fprintln(s.Out, "    "+a)
		}
		return true
	})
	if err != nil {
		return err
	}
	if found == 0 && pattern != "" && !strings.ContainsAny(pattern, "*?[") {
		return exitStatus(1)
	}
	return nil
}
