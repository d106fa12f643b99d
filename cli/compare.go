package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/runtime/compare"
	"github.com/slopebpf/slope/runtime/export"
)

// The exit statuses of compare.
const (
	compareWorse      exitStatus = 1
	compareUnreadable exitStatus = 2 // command line or report
	compareUndecided  exitStatus = 3
)

// compareFlags are the flags of compare.
type compareFlags struct {
	confidence string
	tolerance  string
	format     string
	failOn     string
}

// newCompare is "slope compare".
func newCompare(s Streams) *cobra.Command {
	var f compareFlags
	c := &cobra.Command{
		Use:   "compare [flags] BEFORE.json AFTER.json",
		Short: "Tell whether a service got slower or worse between two reports of check",
		Long: `compare reads two reports of slope check --report and tells which differences are more than chance: of each objective
and label set the part of bad events, of each distribution and label set the quantiles p50, p90, p99 and p99.9 and the
distribution as a whole.

Bad events, and the values above a quantile of both runs together, are compared by Fisher's exact test, distributions by
the widest gap between both, within the bounds of Dvoretzky, Kiefer and Wolfowitz. Events that come in bursts, as the
seconds in the reports show, count as the fewer independent ones that they are worth. All tests are two-sided and Holm's
method corrects for their number: two runs of the same service differ in anything at all with a chance of at most one
minus the confidence. Where a difference could not have been told, it says "too few events" instead of "no difference".

A difference that is significant and at most --tolerance of the earlier value is told and is not worse. The buckets of an
indicator are 9 % wide unless it says otherwise, so a smaller tolerance asks for more than the values of two neighbouring
buckets tell.

Times are better when they are lower, other values as the objectives say; where nothing says which is better a difference
is just one. Runs that --early stopped by their verdict are biased and not comparable.

Exit status:
  0  nothing is significantly worse
  1  something is significantly worse (--fail-on different: or differs; none: never)
  2  wrong command line, or a file that is no report
  3  not worse, but an objective or indicator is not comparable or had too few events`,
		Example: `  slope check checkout.slo --report before.json -- make load
  slope compare before.json after.json
  slope compare --confidence 99% --format json before.json after.json`,
		RunE: func(_ *cobra.Command, args []string) error { return s.compare(&f, args) },
	}
	fl := c.Flags()
	fl.StringVar(&f.confidence, "confidence", "95%", "that runs which are alike do not seem to differ: a per cent from 50% up, below 100%")
	fl.StringVar(&f.tolerance, "tolerance", "10%", "how much a value may change and not count as worse or better: a per cent from 0% up")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text or json")
	fl.StringVar(&f.failOn, "fail-on", "worse", "what makes the exit status 1: worse, different or none")
	return c
}

// compare reads both reports and tells what differs.
func (s Streams) compare(f *compareFlags, files []string) error {
	level, err := strconv.ParseFloat(strings.TrimSuffix(f.confidence, "%"), 64)
	tolerance, errTolerance := strconv.ParseFloat(strings.TrimSuffix(f.tolerance, "%"), 64)
	switch {
	case len(files) != 2:
		return usagef("compare: got %d files, want two reports of slope check", len(files))
	case err != nil || !(level >= 50 && level < 100):
		return usagef("invalid confidence '%s': want a per cent from 50%% up, below 100%%", f.confidence)
	case errTolerance != nil || !(tolerance >= 0 && tolerance <= 1000):
		return usagef("invalid tolerance '%s': want a per cent from 0%% to 1000%%", f.tolerance)
	case f.format != "text" && f.format != "json":
		return usagef("invalid output format '%s': want text or json", f.format)
	case f.failOn != "worse" && f.failOn != "different" && f.failOn != "none":
		return usagef("invalid --fail-on '%s': want worse, different or none", f.failOn)
	}
	var reports [2]*export.GateReport
	for i, name := range files {
		if reports[i], err = readReport(name); err != nil {
			return s.status(err, compareUnreadable)
		}
	}
	r := compare.Compare(reports[0], reports[1], level/100, tolerance/100)
	write := r.Text
	if f.format == "json" {
		write = r.JSON
	}
	if err := write(s.Out); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	switch r.Outcome {
	case compare.Worse:
		if f.failOn != "none" {
			return compareWorse
		}
	case compare.Different, compare.Better:
		if f.failOn == "different" {
			return compareWorse
		}
	case compare.TooFew, compare.Incomparable:
		return compareUndecided
	}
	return nil
}

func readReport(name string) (*export.GateReport, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open report: %w", err)
	}
	defer file.Close()
	r, err := compare.Read(file)
	if err != nil {
		return nil, fmt.Errorf("read report '%s': %w", name, err)
	}
	return r, nil
}
