package cli

import (
	"bytes"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/slopebpf/slope/lang/syntax"
)

// newFmt is "slope fmt".
func newFmt(s Streams) *cobra.Command {
	var check, write bool
	c := &cobra.Command{
		Use:   "fmt [flags] FILE...",
		Short: "Format scripts",
		Long:  "Format scripts in the canonical style. Comments stay, the meaning does not change. Needs no privileges.",
		Example: `  slope fmt script.slo             print it formatted
  slope fmt -w *.slo               rewrite the files
  slope fmt --check *.slo          exit with 1 if any file would change`,
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return usagef("fmt: got no file")
			}
			changed := false
			for _, name := range files {
				file, err := s.readScript("", name)
				if err != nil {
					return err
				}
				tree, diags := syntax.Parse(file)
				if diags.HasErrors() {
					return diags
				}
				var out bytes.Buffer
				if err := syntax.Print(&out, tree); err != nil {
					return err
				}
				same := out.String() == file.Text
				changed = changed || !same
				switch {
				case check:
					if !same {
						fmt.Fprintln(s.Out, name)
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
			if check && changed {
				return exitStatus(1)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "list the files that would change, and exit with 1 if there are any")
	c.Flags().BoolVarP(&write, "write", "w", false, "write the result back to the files")
	return c
}

// rewrite replaces a file at once, keeping its mode.
func rewrite(name string, text []byte) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, text, st.Mode().Perm()); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}
