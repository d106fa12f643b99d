package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/runtime/flame"
)

// flameFlags are the flags of flame.
type flameFlags struct {
	length    time.Duration
	frequency int
	pid       int
	format    string
	output    string
	title     string
	dwarf     bool
}

// newFlame is "slope flame".
func newFlame(s Streams) *cobra.Command {
	var f flameFlags
	c := &cobra.Command{
		Use:   "flame [FILE] | flame --for DURATION",
		Short: "Draw counted stacks as a flame graph, or write them for pprof",
		Long: `Draw counted stacks as a flame graph. They come from a file or the standard input: the JSON lines of a run whose map is
keyed by kstack or ustack, an incident report, or folded lines. With --for, all CPUs are sampled for so long first.

The output is an SVG picture, folded lines, or a profile that go tool pprof reads.`,
		Example: `  slope flame --for 10s -o cpu.svg
  slope flame --for 10s --dwarf -o cpu.svg
  slope flame --for 30s -p 4711 --format pprof -o cpu.pb.gz
  slope -f json -e 'tracepoint:block:block_rq_issue { @[kstack, comm] = count(); }' | slope flame -o io.svg
  slope flame incident-fast-20261125T025300Z.json -o why.svg`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.flame(&f, args) },
	}
	fl := c.Flags()
	fl.DurationVar(&f.length, "for", 0, "sample all CPUs for so long")
	fl.IntVarP(&f.frequency, "frequency", "F", 99, "how often to sample each CPU, in Hz")
	fl.VarP((*pidFlag)(&f.pid), "pid", "p", "sample only this process")
	fl.BoolVar(&f.dwarf, "dwarf", false, "find the calls in user space without frame pointers, by .eh_frame (dw_ustack)")
	fl.StringVar(&f.format, "format", "svg", "svg, folded or pprof")
	fl.StringVarP(&f.output, "output", "o", "", "write to this file")
	fl.StringVar(&f.title, "title", "", "title of the picture")
	return c
}

func (s Streams) flame(f *flameFlags, args []string) error {
	switch {
	case f.format != "svg" && f.format != "folded" && f.format != "pprof":
		return usagef("invalid format '%s': want svg, folded or pprof", f.format)
	case f.length < 0 || f.length > 0 && f.length < time.Millisecond:
		return usagef("invalid --for %s: want a time", f.length)
	case f.dwarf && f.length == 0:
		return usagef("--dwarf is for --for")
	case f.length > 0 && len(args) > 0:
		return usagef("a file and --for exclude each other")
	case f.frequency < 1 || f.frequency > 10_000:
		return usagef("invalid frequency %d: want 1 to 10000 Hz", f.frequency)
	}
	title, input, err := s.flameInput(f, args)
	if err != nil {
		return err
	}
	stacks, err := flame.Read(input)
	if err != nil {
		if errors.Is(err, flame.ErrNoStacks) {
			return hinted{err, "count by a stack, for example: profile:hz:99 { @[kstack, ustack, comm] = count(); }"}
		}
		return fmt.Errorf("read stacks: %w", err)
	}
	var out bytes.Buffer
	switch f.format {
	case "svg":
		err = flame.SVG(&out, stacks, title)
	case "folded":
		err = flame.Folded(&out, stacks)
	case "pprof":
		err = flame.Pprof(&out, stacks)
	}
	if err != nil {
		return err
	}
	if f.output == "" {
		_, err = s.Out.Write(out.Bytes())
		return err
	}
	return os.WriteFile(f.output, out.Bytes(), 0o644)
}

// flameInput opens the file or samples.
func (s Streams) flameInput(f *flameFlags, args []string) (title string, r io.Reader, err error) {
	if f.length > 0 {
		title = fmt.Sprintf("%d Hz for %s", f.frequency, f.length)
		calls := "ustack"
		if f.dwarf {
			calls = "dw_ustack"
		}
		script := fmt.Sprintf("profile:hz:%d { @[comm, %s, kstack] = count(); } interval:ms:%d { exit(); }", f.frequency, calls, f.length.Milliseconds())
		var b bytes.Buffer
		inner := s
		inner.Out = &b
		err = inner.run(&runFlags{program: script, given: true, pid: f.pid, format: "json", buffering: "full", quiet: true,
			export: exportFlags{pushInterval: time.Second}}, nil)
		r = &b
	} else if title = "stdin"; len(args) == 0 || args[0] == "-" {
		r = bufio.NewReader(s.In)
	} else {
		var text []byte
		title = args[0]
		if text, err = os.ReadFile(args[0]); err != nil {
			err = fmt.Errorf("open stacks: %w", err)
		}
		r = bytes.NewReader(text)
	}
	if f.title != "" {
		title = f.title
	}
	return title, r, err
}
