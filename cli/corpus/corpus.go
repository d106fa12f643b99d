// Package corpus reads the scripts that say what of bpftrace's language works, and writes the table of them.
//
// A file is one chapter: a title after "# ", then cases. A case is its title after "== ", which is a line of the checklist,
// the script, and what is expected of it, in lines that begin with one of:
//
//	=>   a line of the standard output, in order; empty lines do not count
//	=~   a regular expression that the output matches, instead
//	!>   the script is refused, and the diagnostics have this text
//	^>   a warning has this text
//	?>   it differs from bpftrace: how, in words
//	--   how it runs: "args: a b", "status: 3", "load" (attached, not waited for), "kernel" (not interpreted), "unsafe"
//
// Start at Read.
package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Chapter is one file.
type Chapter struct {
	Title string
	Cases []Case
}

// Case is one script.
type Case struct {
	File    string // the chapter's, without its ending
	Line    int    // of the title
	Title   string
	Script  string
	Out     []string
	Match   string
	Refused string
	Warning string
	Differs string
	Args    []string
	Status  int
	Load    bool
	Kernel  bool
	Unsafe  bool
}

// Read reads all chapters of a directory, in the order of the files' names.
func Read(dir string) ([]Chapter, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("read corpus in %s: no chapters", dir)
	}
	sort.Strings(files)
	var out []Chapter
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read corpus: %w", err)
		}
		c, err := parse(strings.TrimSuffix(filepath.Base(f), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func parse(name, text string) (Chapter, error) {
	var ch Chapter
	var c *Case
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		mark, rest, _ := strings.Cut(line, " ")
		wrong := func(what string) error { return fmt.Errorf("read corpus: %s.txt:%d: %s", name, i+1, what) }
		switch {
		case mark == "#" && c == nil:
			ch.Title = rest
		case mark == "==":
			ch.Cases = append(ch.Cases, Case{File: name, Line: i + 1, Title: rest})
			c = &ch.Cases[len(ch.Cases)-1]
		case c == nil && line != "":
			return ch, wrong("text before the first case")
		case c == nil:
		case mark == "=>":
			if rest != "" {
				c.Out = append(c.Out, rest)
			}
		case mark == "=~":
			c.Match = rest
		case mark == "!>":
			c.Refused = rest
		case mark == "^>":
			c.Warning = rest
		case mark == "?>":
			c.Differs = rest
		case mark == "--":
			word, value, _ := strings.Cut(rest, ": ")
			switch word {
			case "args":
				c.Args = strings.Fields(value)
			case "status":
				if _, err := fmt.Sscan(value, &c.Status); err != nil {
					return ch, wrong("no status: " + value)
				}
			case "load":
				c.Load = true
			case "kernel":
				c.Kernel = true
			case "unsafe":
				c.Unsafe = true
			default:
				return ch, wrong("unknown way to run: " + word)
			}
		default:
			c.Script += line + "\n"
		}
	}
	for i := range ch.Cases {
		ch.Cases[i].Script = strings.Trim(ch.Cases[i].Script, "\n") + "\n"
	}
	return ch, nil
}

// Table writes the table of all cases.
func Table(chapters []Chapter) string {
	var b strings.Builder
	var works, differs, refused int
	var rows strings.Builder
	for _, ch := range chapters {
		fmt.Fprintf(&rows, "\n## %s\n\n| line | | |\n|---|---|---|\n", ch.Title)
		for _, c := range ch.Cases {
			word, why := "works", ""
			switch {
			case c.Differs != "":
				word, why = "differs", c.Differs
				differs++
			case c.Refused != "":
				word, why = "refused", "`"+strings.ReplaceAll(c.Refused, "|", "\\|")+"`"
				refused++
			default:
				works++
			}
			fmt.Fprintf(&rows, "| %s | %s | %s |\n", strings.ReplaceAll(c.Title, "|", "\\|"), word, why)
		}
	}
	fmt.Fprintf(&b, `# Compatibility with bpftrace, line by line

Each line is a script of slope's own in cli/testdata/corpus, which the tests parse, print, check, compile, load, and run in the
kernel and in the interpreter, with the expected output beside it. "Refused" is what bpftrace refuses too, unless the reason
says that slope does not support it; "differs" says how. %d lines: %d work, %d are refused, %d differ.
%s`, works+refused+differs, works, refused, differs, rows.String())
	return b.String()
}
