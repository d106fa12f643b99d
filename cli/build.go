package cli

import (
	le "encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

// A program made by build is slope itself with the script after it: its name, its text, and a trailer that tells how long
// each of them is.
const trailerMagic = "slope-script-1\n\x00"

const trailerSize = len(trailerMagic) + 16

// newBuild is "slope build".
func newBuild(s Streams) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "build FILE",
		Short: "Make a program of a script, which needs nothing else",
		Long: `Make a program of a script: one static executable that holds slope and the script, for machines on which slope is not
installed. Its command line is that of slope run without the file; the words after the flags are the script's parameters.

The script is parsed, not checked: what it attaches to is looked up where the program runs.`,
		Example: `  slope build runqlat.slo -o runqlat
  slope build checkout.slo && ./checkout --listen :9435`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.build(args[0], output) },
	}
	c.Flags().StringVarP(&output, "output", "o", "", "name of the program (default that of the script without its ending)")
	return c
}

func (s Streams) build(name, output string) error {
	file, err := s.readScript("", name)
	if err != nil {
		return err
	}
	if _, diags := syntax.Parse(file); diags.HasErrors() {
		return diags
	}
	if output == "" {
		if output = strings.TrimSuffix(filepath.Base(file.Name), filepath.Ext(file.Name)); output == filepath.Base(file.Name) {
			return usagef("the script '%s' has no ending: name the program with -o", name)
		}
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	defer self.Close()
	length, err := programLength(self)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(output, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("write program: %w", err)
	}
	script := filepath.Base(file.Name)
	trailer := append([]byte(script+file.Text), trailerMagic...)
	trailer = le.LittleEndian.AppendUint64(trailer, uint64(len(script)))
	trailer = le.LittleEndian.AppendUint64(trailer, uint64(len(file.Text)))
	_, err = io.Copy(out, io.NewSectionReader(self, 0, length))
	if err == nil {
		_, err = out.Write(trailer)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		os.Remove(output)
		return fmt.Errorf("write program: %w", err)
	}
	return nil
}

// programLength is how long slope is in a file, without a script.
func programLength(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read this program: %w", err)
	}
	name, text, ok := readTrailer(f, st.Size())
	if !ok {
		return st.Size(), nil
	}
	return st.Size() - int64(trailerSize) - name - text, nil
}

// readTrailer tells how long the name and the text of the script in a file are; ok is false when it has none.
func readTrailer(f *os.File, size int64) (name, text int64, ok bool) {
	var b [trailerSize]byte
	if size < int64(trailerSize) {
		return 0, 0, false
	}
	if _, err := f.ReadAt(b[:], size-int64(trailerSize)); err != nil || string(b[:len(trailerMagic)]) != trailerMagic {
		return 0, 0, false
	}
	n, t := le.LittleEndian.Uint64(b[len(trailerMagic):]), le.LittleEndian.Uint64(b[len(trailerMagic)+8:])
	room := uint64(size) - uint64(trailerSize)
	if n > room || t > room-n {
		return 0, 0, false
	}
	return int64(n), int64(t), true
}

// ownScript is the script that this program was built with, nil for slope itself.
func ownScript() *source.File {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil
	}
	n, t, ok := readTrailer(f, st.Size())
	if !ok {
		return nil
	}
	b := make([]byte, n+t)
	if _, err := f.ReadAt(b, st.Size()-int64(trailerSize)-n-t); err != nil {
		return nil
	}
	return source.NewFile(string(b[:n]), string(b[n:]))
}

// newScript is the command of a program that was built from a script.
func newScript(s Streams) *cobra.Command {
	c := s.runCommand(new(runFlags), &cobra.Command{
		Use:     strings.TrimSuffix(s.script.Name, filepath.Ext(s.script.Name)) + " [flags] [params]",
		Short:   "Run the script " + s.script.Name,
		Version: Version,
	})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetIn(s.In)
	c.SetOut(s.Out)
	c.SetErr(s.Err)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return c
}
