package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

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
	var release bpf.Release
	if err := unix.Uname(&u); err == nil {
		release, _ = bpf.ParseRelease(unix.ByteSliceToString(u.Release[:]))
		fmt.Fprintf(s.Out, "kernel %s %s\n", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	w := newWorkshop(0)
	defer w.close()
	fine := true
	tell := func(name, remedy string, err error) {
		if err == nil {
			fmt.Fprintf(s.Out, "  ok  %s\n", name)
			return
		}
		if remedy != "" {
			remedy = " (" + remedy + ")"
		}
		fmt.Fprintf(s.Out, "  no  %s: %s%s\n", name, reason(err), remedy)
	}
	standing, err := bpf.ReadStanding()
	if err == nil {
		err = standing.Check()
	}
	unprivileged := err
	tell("privileges", "", unprivileged)
	for _, c := range bpf.CapabilityUses() {
		err := error(nil)
		switch {
		case standing.UserNamespace:
			err = errors.New("it does not count in a user namespace")
		case !standing.Has(c.Number):
			err = errors.New("this process does not have it")
		}
		tell(c.Name+": "+c.For, "AmbientCapabilities= in systemd, or setcap with all that are wanted at once", err)
	}
	if standing.Lockdown != "" && standing.Lockdown != "none" {
		tell("without lockdown: "+lockedDown[standing.Lockdown], "boot with lockdown=none, or without Secure Boot", fmt.Errorf("the kernel is in mode %s", standing.Lockdown))
	}
	_, err = w.machine.BTF()
	tell("type information (BTF): fields of kernel structures", "a kernel with CONFIG_DEBUG_INFO_BTF", err)
	fs, err := tracefs.Open()
	if err == nil {
		err = fs.Close()
	}
	tell("tracefs: tracepoints", "mount -t tracefs tracefs /sys/kernel/tracing, and CAP_DAC_READ_SEARCH to read it", err)
	s.limits()
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
		err := c.Has(f)
		var remedies []string
		if wants := c.Wants(release); wants != "" {
			remedies = append(remedies, "wants "+wants)
		}
		if c.Serves(f) {
			remedies = append(remedies, "instead: "+c.Instead)
		}
		tell(c.Name, strings.Join(remedies, "; "), err)
		fine = fine && (err == nil || !c.Required())
	}
	return fine
}

// lockedDown is what the modes of the kernel's lockdown refuse, even to root.
var lockedDown = map[string]string{
	"integrity":       "write_user()",
	"confidentiality": "probes, and reading the memory of the kernel",
}

// limits prints what bounds scripts that are allowed to run.
func (s Streams) limits() {
	fmt.Fprintln(s.Out, "limits")
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil {
		fmt.Fprintf(s.Out, "      %d open files: two for each place of a probe, where no multi link serves\n", files.Cur)
	}
	for _, l := range []struct{ name, text string }{
		{"perf_event_max_stack", "frames of kstack and ustack"},
		{"perf_event_max_sample_rate", "samples of profile in a second"},
		{"perf_cpu_time_max_percent", "per cent of the time of a CPU for samples"},
	} {
		if b, err := os.ReadFile("/proc/sys/kernel/" + l.name); err == nil {
			fmt.Fprintf(s.Out, "      %s %s (kernel.%s)\n", bytes.TrimSpace(b), l.text, l.name)
		}
	}
}

// reason is what the kernel said, without the name of the feature that stands before it already.
func reason(err error) string {
	var missing *bpf.FeatureError
	if errors.As(err, &missing) {
		return missing.Err.Error()
	}
	return err.Error()
}
