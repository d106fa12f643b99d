package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes the tables. A ratio is slope's time divided by the other's: below 1, slope is faster.
func (r *Report) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "kernel %s\n\nan event: instructions, bytes of machine code, ns; ratio of slope's ns to theirs\n\n", r.Kernel)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tslope\tbytes\tns\tclang\tbytes\tns\tratio\tbpftrace\tbytes\tns\tratio\t")
	for _, e := range r.Events {
		fmt.Fprintf(t, "%s\t%s%s%s%s%s\n", e.Name, e.Slope.cells(), e.C.cells(), ratio(e.Slope, e.C), e.Traced.cells(), ratio(e.Slope, e.Traced))
	}
	t.Flush()
	if len(r.Compile) > 0 {
		fmt.Fprint(&b, "\nfrom text to bytecode, warm\n\n")
		t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "\ttime\tinstructions\t")
		for _, c := range r.Compile {
			fmt.Fprintf(t, "%s\t%s\t%d\t\n", c.Name, ms(c.Time), c.Insns)
		}
		t.Flush()
	}
	if len(r.Process) > 0 {
		fmt.Fprintf(&b, "\n%s\n\n", oneLiner)
		t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "\texec to attached\tresident\tSIGINT to exited\t")
		for _, p := range r.Process {
			if p.Measured {
				fmt.Fprintf(t, "%s\t%s\t%.1f MB\t%s\t\n", p.Tool, ms(p.Attach), float64(p.Resident)/1e6, ms(p.Exit))
			} else {
				fmt.Fprintf(t, "%s\t-\t-\t-\t\n", p.Tool)
			}
		}
		t.Flush()
	}
	if r.Ring.Events > 0 {
		fmt.Fprintf(&b, "\nring buffer, without a pause: %.2f M records/s read, %.1f %% of %.1f M events lost, %.0f ns each\n",
			r.Ring.PerSecond/1e6, 100*r.Ring.Lost, float64(r.Ring.Events)/1e6, r.Ring.Nanos)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Cost) cells() string {
	if c == nil {
		return "-\t-\t-\t"
	}
	return fmt.Sprintf("%d\t%d\t%.1f\t", c.Insns, c.Bytes, c.Nanos)
}

func ratio(ours, theirs *Cost) string {
	if ours == nil || theirs == nil || theirs.Nanos <= 0 {
		return "-\t"
	}
	return fmt.Sprintf("%.2f\t", ours.Nanos/theirs.Nanos)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }
