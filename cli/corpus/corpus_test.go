package corpus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse: any text is refused with its line, or gives cases in order, with no line lost.
func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("../testdata/corpus/*.txt")
	if err != nil || len(names) == 0 {
		f.Fatal("no chapters")
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("# t\n== a\nx\n=> 1\n=~ [\n!> no\n^> w\n?> d\n-- args: a b\n-- status: 3\n-- load\n")
	f.Fuzz(func(t *testing.T, text string) {
		ch, err := parse("fuzz", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "read corpus: fuzz.txt:") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		lines := strings.Split(text, "\n")
		last := 0
		for _, c := range ch.Cases {
			if c.Line <= last || !strings.HasPrefix(lines[c.Line-1], "==") {
				t.Fatalf("%q: %+v", text, c)
			}
			for _, l := range strings.Split(strings.Trim(c.Script, "\n"), "\n") {
				if !strings.Contains(text, l) {
					t.Fatalf("%q: %q is not in it", text, l)
				}
			}
			last = c.Line
		}
		Table([]Chapter{ch})
	})
}

// TestTitles: titles are unique in their chapter.
func TestTitles(t *testing.T) {
	chapters, err := Read("../testdata/corpus")
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range chapters {
		seen := map[string]bool{}
		for _, c := range ch.Cases {
			if seen[c.Title] {
				t.Errorf("%s.txt:%d: there is another '%s'", c.File, c.Line, c.Title)
			}
			seen[c.Title] = true
		}
	}
}
