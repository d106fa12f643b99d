package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

// Cat prints a file. One that cannot be read is told of, and the script goes on.
func (r *session) Cat(path string) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(f, int64(r.obj.Checked.Config.MaxCat))); err == nil {
			r.format.Cat(text)
		}
	}
	if err != nil {
		var number syscall.Errno
		if errors.As(err, &number) {
			err = number
		}
		fmt.Fprintf(r.streams.Err, "ERROR: failed to open file '%s': %s\n", path, err)
	}
}

// System runs a shell command and prints what it prints. What goes wrong in it is its own to tell.
func (r *session) System(command string) {
	c := exec.Command("sh", "-c", command)
	c.Stdin, c.Stderr = r.streams.In, r.streams.Err
	text, err := c.Output()
	if c.ProcessState == nil {
		fmt.Fprintf(r.streams.Err, "ERROR: system: %s\n", err)
		return
	}
	r.format.System(text)
}

// Message prints an error or a warning of the script.
func (r *session) Message(e *ir.Event, text string) {
	if e.Kind == ir.EventError {
		r.errors++
	}
	d := source.Diagnostic{Severity: source.Error, File: r.obj.IR.Source, Span: e.Span, Message: text}
	if e.Kind == ir.EventWarning {
		if d.Severity = source.Warning; r.flags.noWarnings {
			return
		}
	}
	r.format.Diagnose(d)
}
