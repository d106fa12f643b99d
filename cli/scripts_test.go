package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const scripts = "../scripts/"

// untested are the scripts without a test block, and why their events cannot be made up.
var untested = map[string]string{
	"memory":     "polls",
	"throttling": "polls",
	"dcsnoop":    "reads structures of the kernel",
	"mountsnoop": "reads structures of the kernel",
	"naptime":    "reads structures of the kernel",
	"runqlen":    "reads structures of the kernel",
	"tcpaccept":  "reads structures of the kernel",
	"tcpdrop":    "reads structures of the kernel",
	"tcplife":    "reads structures of the kernel",
	"tcpsynbl":   "reads structures of the kernel",
	"undump":     "reads structures of the kernel",
	"writeback":  "reads structures of the kernel",
}

// TestScripts checks every ready-made tool: its header, its format, its tests, its section of the guide. That they attach is for the tests of scripts.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(scripts + "*.slo")
	if err != nil || len(files) < 45 {
		t.Fatalf("got %d scripts, %v", len(files), err)
	}
	guide := read(t, "../docs/tools.md")
	tested := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".slo")
		text := read(t, file)
		for _, part := range []string{"#!/usr/bin/env slope\n// " + name + ".slo: ", "\n// Usage: slope ", "\n// Look at: "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q in its header", name, part)
			}
		}
		if at := strings.Index(guide, "\n### "+name+"\n"); at < 0 || !strings.Contains(strings.SplitN(guide[at+1:], "\n### ", 2)[0], "scripts/"+name+".slo") {
			t.Errorf("docs/tools.md does not tell how to run %s", name)
		}
		slope(t, "fmt", "--check", file).is(t, name, 0, "", "")
		if untested[name] != "" {
			if strings.Contains(text, "\ntest \"") {
				t.Errorf("%s has a test, and the table says that it %s", name, untested[name])
			}
			continue
		}
		tested++
		args := []string{"test", file}
		if name == "gofunc" {
			args = append(args, "--", "./server", "main.handle")
		}
		if r := slope(t, args...); r.status != 0 || !strings.HasPrefix(r.out, "ok ") || r.err != "" {
			t.Errorf("%s: its tests: status %d\n%s%s", name, r.status, r.out, r.err)
		}
	}
	if tested+len(untested) != len(files) {
		t.Errorf("%d tested, %d not, of %d", tested, len(untested), len(files))
	}
}

// TestExamples formats and explains the examples without their programs.
func TestExamples(t *testing.T) {
	err := filepath.WalkDir("../examples", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".slo") {
			slope(t, "fmt", "--check", path).is(t, path, 0, "", "")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
