// Package cli is the command line: one file per command, flags in, an exit status out.
//
// bpftrace's command line works on the root command; what bpftrace does not have is a subcommand. Exit status: 0, what
// the script gave exit(), 1 for an error in the script or at run time, 2 for a wrong command line.
// Start at Main; run.go is the heart.
package cli

//go:generate go run ./docgen ../docs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slopebpf/slope/lang/source"
)

// Version is set by the build.
var Version = "v0.1.0-dev"

// Streams is where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Color    bool // diagnostics in colour
	Terminal bool // Out is a terminal

	script *source.File // what this program was built with, nil for slope itself

	ErrTerminal bool // Err is one
}

// Standard is the process's own streams; colours only on a terminal and without NO_COLOR, or as BPFTRACE_COLOR says.
func Standard() Streams {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	s := Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Terminal: isTerminal(os.Stdout),
		ErrTerminal: isTerminal(os.Stderr)}
	switch os.Getenv("BPFTRACE_COLOR") {
	case "always":
		s.Color = true
	case "never":
	default:
		s.Color = isTerminal(os.Stderr) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

// exitStatus is an error that only sets the status: everything was said.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a wrong command line: status 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// hinted is an error with advice on a line of its own.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// Main runs one command line and returns the exit status.
func Main(args []string, s Streams) int {
	if len(args) > 0 && args[0] == guardCommand {
		return guardMain(args[1:], s)
	}
	if len(args) > 0 && args[0] == childCommand {
		return childMain(args[1:], s)
	}
	root := newRoot(s, args)
	if s.script = ownScript(); s.script != nil {
		root = newScript(s)
	}
	root.SetArgs(args)
	return s.report(root.Execute())
}

// report prints an error and turns it into an exit status.
func (s Streams) report(err error) int {
	var status exitStatus
	var diags source.Diagnostics
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &diags):
		diags.Render(s.Err, s.Color)
		return 1
	case errors.As(err, &usage):
		fmt.Fprintf(s.Err, "slope: %s\nHINT: see slope --help\n", usage.error)
		return 2
	}
	fmt.Fprintf(s.Err, "slope: %s\n", err)
	var h hinted
	if errors.As(err, &h) {
		fmt.Fprintf(s.Err, "HINT: %s\n", h.hint)
	}
	return 1
}

const completionCommand = "completion"

// newRoot builds the command tree for a command line. A subcommand is only what comes first: in "slope -e '…' version"
// the last word is the script's parameter.
func newRoot(s Streams, args []string) *cobra.Command {
	root := newBpftrace(s)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.Flags().BoolP("version", "V", false, "print the version")
	root.SetVersionTemplate("slope {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = false
	help := len(args) == 0 || args[0] == "-h" || args[0] == "--help"
	if help || !strings.HasPrefix(args[0], "-") {
		root.AddCommand(newBuild(s), newCheck(s), newCompare(s), newDashboard(s), newDoctor(s), newExplain(s), newFlame(s), newFmt(s), newList(s), newOpenSLO(s), newRules(s),
			newRun(s), newServe(s), newTest(s), newVersion(s), newVet(s))
	}
	root.InitDefaultCompletionCmd(args...)
	for _, c := range root.Commands() {
		if c.Name() == completionCommand { // which takes any word, unless it can run
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			c.Example = "  source <(slope completion bash)\n  slope completion zsh > \"${fpath[1]}/_slope\"\n  slope completion fish > ~/.config/fish/completions/slope.fish"
		}
	}
	for _, c := range root.Commands() { // too many words are a wrong command line, as an unknown flag is
		if accepts := c.Args; accepts != nil {
			c.Args = func(c *cobra.Command, args []string) error {
				if err := accepts(c, args); err != nil {
					return usageError{err}
				}
				return nil
			}
		}
	}
	if !help && root.HasSubCommands() && !isCommand(root, args[0]) {
		root.RemoveCommand(root.Commands()...)
	}
	return root
}

// isCommand tells whether a word is a subcommand, one of ours or one that cobra adds.
func isCommand(root *cobra.Command, word string) bool {
	for _, c := range root.Commands() {
		if c.Name() == word {
			return true
		}
	}
	return word == "help" || word == completionCommand || strings.HasPrefix(word, cobra.ShellCompRequestCmd)
}

// newVersion is "slope version".
func newVersion(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Long: "Print the version of slope.", Example: "  slope version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintf(s.Out, "slope %s\n", Version) },
	}
}

// Commands is the tree of all commands, for the pages that are generated from it.
func Commands() *cobra.Command {
	return newRoot(Standard(), nil)
}
