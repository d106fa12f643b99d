package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mapRow  = regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\|(.*)\\| (.*) \\|$")
	ticked  = regexp.MustCompile("`([A-Za-z/_.]+)`")
	declare = `(?m)^(func(?: \([^)]*\))? |type |\t)`
)

// TestArchitecture checks that the folders and names of ARCHITECTURE.md's code map exist.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := mapRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 15 {
		t.Fatalf("the code map has %d rows", len(rows))
	}
	for _, row := range rows {
		folder := row[1]
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Errorf("there is no Go file in %s", folder)
			continue
		}
		var code strings.Builder
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(b)
		}
		for _, name := range ticked.FindAllStringSubmatch(row[2]+row[3], -1) {
			n := name[1]
			if strings.Contains(n, "/") {
				if _, err := os.Stat(n); err != nil {
					t.Errorf("%s: %s does not exist", folder, n)
				}
			} else if strings.HasSuffix(n, ".go") {
				if _, err := os.Stat(folder + "/" + n); err != nil {
					t.Errorf("%s: %s does not exist", folder, n)
				}
			} else if strings.ToUpper(n[:1]) == n[:1] && !regexp.MustCompile(declare+n+`\b`).MatchString(code.String()) {
				t.Errorf("%s declares no %s", folder, n)
			}
		}
	}
}
