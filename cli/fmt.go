package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
)

// newFmt is "slope fmt".
func newFmt(s Streams) *cobra.Command {
	var check, write, differ bool
	c := &cobra.Command{
		Use:   "fmt [flags] [FILE...]",
		Short: "Format scripts",
		Long: "Format scripts in the canonical style. Comments stay, the meaning does not change. Needs no privileges.\n" +
			"Without a file, or with -, the standard input is formatted.",
		Example: `  slope fmt script.slo             print it formatted
  slope fmt -w *.slo               rewrite the files
  slope fmt -d *.slo               show what would change
  slope fmt --check *.slo          exit with 1 if any file would change`,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{"-"}
			}
			status := 0
			for _, name := range files {
				file, err := s.readScript("", name)
				if err != nil {
					return err
				}
				text, ok := s.formatted(file)
				if !ok {
					status = 1
					continue
				}
				same := string(text) == file.Text
				if check && !same {
					fmt.Fprintln(s.Out, file.Name)
					status = 1
				}
				if differ {
					_, err = s.Out.Write(diff.Diff(file.Name+".orig", []byte(file.Text), file.Name, text))
				}
				switch {
				case write && name != "-" && !same:
					err = errors.Join(err, rewrite(name, text))
				case !check && !differ && (!write || name == "-"):
					_, err = s.Out.Write(text)
				}
				if err != nil {
					return err
				}
			}
			if status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "list the files that would change, and exit with 1 if there are any")
	c.Flags().BoolVarP(&write, "write", "w", false, "write the result back to the files")
	c.Flags().BoolVarP(&differ, "diff", "d", false, "show what would change, as a diff")
	return c
}

// formatted is the text of a script in the canonical style; what is wrong with it is told.
func (s Streams) formatted(file *source.File) (text []byte, ok bool) {
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		diags.Render(s.Err, s.Color)
		return nil, false
	}
	var out bytes.Buffer
	if err := syntax.Print(&out, tree); err != nil {
		fmt.Fprintf(s.Err, "slope: format %s: %s\n", file.Name, err)
		return nil, false
	}
	return out.Bytes(), true
}

// rewrite replaces a file at once, keeping its mode; of a link, the file it leads to. A file that is not there is made.
func rewrite(name string, text []byte) error {
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(name, text, 0o644)
	}
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(st.Mode().Perm()), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
