package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/lang/syntax"
)

// newFmt is "slope fmt".
func newFmt(s Streams) *cobra.Command {
	var check, write bool
	c := &cobra.Command{
		Use:   "fmt [flags] [FILE...]",
		Short: "Format scripts",
		Long: "Format scripts in the canonical style. Comments stay, the meaning does not change. Needs no privileges.\n" +
			"Without a file, or with -, the standard input is formatted.",
		Example: `  slope fmt script.slo             print it formatted
  slope fmt -w *.slo               rewrite the files
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
				tree, diags := syntax.Parse(file)
				if diags.HasErrors() {
					diags.Render(s.Err, s.Color)
					status = 1
					continue
				}
				var out bytes.Buffer
				if err := syntax.Print(&out, tree); err != nil {
					return err
				}
				same := out.String() == file.Text
				switch {
				case check:
					if !same {
						fmt.Fprintln(s.Out, file.Name)
						status = 1
					}
				case write && name != "-":
					if !same {
						if err := rewrite(name, out.Bytes()); err != nil {
							return err
						}
					}
				default:
					if _, err := s.Out.Write(out.Bytes()); err != nil {
						return err
					}
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
	return c
}

// rewrite replaces a file at once, keeping its mode; of a link, the file it leads to.
func rewrite(name string, text []byte) error {
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
