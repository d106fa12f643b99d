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

// checkup is one thing that doctor looks at.
type checkup struct {
	name   string
	needed bool // without it no script runs
	serves string
	err    func() error
}

// doctor prints every check and returns whether scripts can run.
func (s Streams) doctor(f *bpf.Features) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		fmt.Fprintf(s.Out, "kernel %s %s\n", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	w := newWorkshop(0)
	defer w.close()
	checks := []checkup{
		{"privileges", true, "everything", bpf.CheckPrivileges},
		{"BTF", false, "rawtracepoint, fields of kernel structures", func() error { _, err := w.machine.BTF(); return err }},
		{"tracefs", false, "tracepoints", func() error {
			fs, err := tracefs.Open()
			if err != nil {
				return err
			}
			return fs.Close()
		}},
		{"test runs", true, "begin, end, interval", f.TestRun},
		{"ring buffer", true, "printf, print, exit", f.RingBuf},
		{"tp_btf", false, "direct reads in raw tracepoints; probe_read serves without it", f.TPBTF},
		{"task_btf", false, "comm by two loads; a helper serves without it", f.TaskBTF},
		{"padded comm", false, "comm by two loads; a helper serves without it", f.CommPadded},
		{"atomic fetch", false, "the value of @x++, strings of uprobes", f.AtomicFetch},
		{"signed division", false, "one instruction; several serve without it", f.SDiv},
		{"uprobe_multi", false, "uprobe, uretprobe, goret; perf events serve without it", f.UprobeMulti},
		{"perf links", false, "tracepoint, profile; an ioctl serves without it", f.PerfLink},
		{"batch lookup", false, "reading per-CPU maps; one by one serves without it", f.BatchPerCPU},
	}
	fine := true
	for _, c := range checks {
		err := c.err()
		if err == nil {
			fmt.Fprintf(s.Out, "%-16s ok   %s\n", c.name, c.serves)
			continue
		}
		fine = fine && !c.needed
		fmt.Fprintf(s.Out, "%-16s no   %s: %s\n", c.name, c.serves, reason(err))
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
