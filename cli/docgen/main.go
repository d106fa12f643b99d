// Docgen writes a page for every command into docs/commands, a man page into docs/man, and the table of what works of
// bpftrace into docs/compatibility.md. It runs in the folder of the command line.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/slopebpf/slope/cli"
	"github.com/slopebpf/slope/cli/corpus"
)

func main() {
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

func generate(docs string) error {
	root := cli.Commands()
	root.DisableAutoGenTag = true
	pages, man := filepath.Join(docs, "commands"), filepath.Join(docs, "man")
	for _, dir := range []string{pages, man} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	chapters, err := corpus.Read("testdata/corpus")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(docs, "compatibility.md"), []byte(corpus.Table(chapters)), 0o644); err != nil {
		return err
	}
	if err := doc.GenMarkdownTree(root, pages); err != nil {
		return err
	}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // the same bytes every time
	return doc.GenManTree(root, &doc.GenManHeader{Title: "SLOPE", Section: "1", Source: "slope", Date: &day}, man)
}
