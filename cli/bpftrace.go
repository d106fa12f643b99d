package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// borrowed are the flags that bpftrace has and slope does not need: they are taken, not shown, and do as much as there is to
// do.
type borrowed struct {
	format     bool
	info       bool
	mode       string
	noFeatures []string
}

// noop are flags that ask for what slope always does, or for the headers and the code generator that it does not have.
func noop(fl *pflag.FlagSet) {
	fl.BoolP("btf", "b", false, "types come from BTF anyway")
	fl.StringArrayP("I", "I", nil, "headers are not read: their types come from BTF")
	fl.StringArray("include", nil, "headers are not read: their types come from BTF")
	fl.Bool("usdt-file-activation", false, "semaphores are the kernel's matter")
	fl.Bool("verify-llvm-ir", false, "there is no LLVM")
	for _, name := range []string{"btf", "I", "include", "usdt-file-activation", "verify-llvm-ir"} {
		fl.Lookup(name).Hidden = true
	}
}

// add adds them to a command, whose run they may replace.
func (b *borrowed) add(s Streams, c *cobra.Command, f *runFlags) {
	fl := c.Flags()
	noop(fl)
	fl.BoolVar(&b.format, "fmt", false, "format the script, as slope fmt does; -o rewrites a file")
	fl.BoolVar(&b.info, "info", false, "tell what this machine offers, as slope doctor does")
	fl.StringVar(&b.mode, "mode", "", "test, bench or format")
	fl.StringSliceVar(&b.noFeatures, "no-feature", nil, "kprobe_multi, kprobe_session, uprobe_multi")
	for _, name := range []string{"fmt", "info", "mode", "no-feature"} {
		fl.Lookup(name).Hidden = true
	}
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		switch b.mode {
		case "":
		case "test":
			f.test = true
		case "bench":
			f.bench = true
		case "format":
			b.format = true
		default:
			return usagef("invalid --mode '%s': want test, bench or format", b.mode)
		}
		for _, feature := range b.noFeatures {
			switch probe, _, _ := strings.Cut(feature, "_"); feature {
			case "kprobe_multi", "uprobe_multi":
				f.attach = append(f.attach, probe+"=single")
			case "kprobe_session": // is not used
			default:
				return usagef("invalid --no-feature '%s': want kprobe_multi, kprobe_session or uprobe_multi", feature)
			}
		}
		switch {
		case b.info:
			return newDoctor(s).RunE(c, nil)
		case b.format:
			return s.formatScript(f, args)
		}
		return run(c, args)
	}
}

// formatScript is --fmt.
func (s Streams) formatScript(f *runFlags, args []string) error {
	name := ""
	if f.program == "" {
		if len(args) == 0 {
			return usagef("--fmt: got no script")
		}
		name = args[0]
	}
	file, err := s.readScript(f.program, name)
	if err != nil {
		return err
	}
	text, ok := s.formatted(file)
	switch {
	case !ok:
		return exitStatus(1)
	case f.output != "":
		if err := rewrite(f.output, text); err != nil {
			return fmt.Errorf("write formatted script: %w", err)
		}
		return nil
	}
	_, err = bytes.NewReader(text).WriteTo(s.Out)
	return err
}
