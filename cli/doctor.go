package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/tracefs"
)

// newDoctor is "slope doctor".
func newDoctor(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Tell what this machine offers to probes, and why not what it does not",
		Long: `Tell what this machine offers: privileges, type information, kinds of programs and maps. Everything is tried, no
version is compared. The exit status is 1 when scripts cannot run here at all.`,
		Example: "  slope doctor",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !s.doctor(&bpf.Features{}) {
				return exitStatus(1)
			}
			return nil
		},
	}
}

// doctor prints what there is and what is not, and returns whether scripts can run.
func (s Streams) doctor(f *bpf.Features) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		fmt.Fprintf(s.Out, "kernel %s %s\n", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	w := newWorkshop(0)
	defer w.close()
	fine := true
	tell := func(name, instead string, needed bool, err error) {
		if err == nil {
			fmt.Fprintf(s.Out, "  ok  %s\n", name)
			return
		}
		fine = fine && !needed
		if instead != "" {
			instead = "; instead: " + instead
		}
		fmt.Fprintf(s.Out, "  no  %s: %s%s\n", name, reason(err), instead)
	}
	unprivileged := bpf.CheckPrivileges()
	tell("privileges", "", true, unprivileged)
	_, err := w.machine.BTF()
	tell("type information (BTF): fields of kernel structures", "", false, err)
	fs, err := tracefs.Open()
	if err == nil {
		err = fs.Close()
	}
	tell("tracefs: tracepoints", "", false, err)
	if unprivileged != nil {
		fmt.Fprintln(s.Out, "what else there is cannot be tried without privileges")
		return false
	}
	need := bpf.Need("")
	for _, c := range bpf.Capabilities() {
		if c.Need != need {
			need = c.Need
			fmt.Fprintln(s.Out, need)
		}
		tell(c.Name, c.Instead, c.Required(), c.Has(f))
	}
	return fine
}

// reason is what the kernel said, without the name of the feature that stands before it already.
func reason(err error) string {
	var missing *bpf.FeatureError
	if errors.As(err, &missing) {
		return missing.Err.Error()
	}
	return err.Error()
}
