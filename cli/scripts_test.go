package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
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

// Why a script may not attach on a machine.
const (
	noTrampoline = `this kernel cannot run fentry:\w+`
	noFunction   = `the kernel has no function '\w+'`
	noLibrary    = `libssl`
	noBash       = `/bin/bash`
	noReason     = `'reason'|SKB_DROP_REASON`
)

// particular are the scripts that attach to what not every machine has, and what slope says then.
var particular = map[string]string{
	"capable":      noTrampoline,
	"dcsnoop":      noTrampoline + "|" + noFunction,
	"swapin":       noTrampoline,
	"tcpsynbl":     noTrampoline + "|" + noFunction,
	"undump":       noTrampoline + "|" + noFunction,
	"vfscount":     noTrampoline,
	"vfsstat":      noTrampoline,
	"xfsdist":      noTrampoline + "|" + noFunction,
	"ssllatency":   noLibrary,
	"sslsnoop":     noLibrary,
	"bashreadline": noBash,
	"tcpdrop":      noReason,
}

// TestScripts checks every ready-made tool: its header, its format, its tests, and that it attaches on this kernel. Where
// it cannot, for the reason that is known, it is compiled.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(scripts + "*.slo")
	if err != nil || len(files) < 45 {
		t.Fatalf("got %d scripts, %v", len(files), err)
	}
	goBin := build(t, goTarget)
	tested := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".slo")
		text := read(t, file)
		for _, part := range []string{"#!/usr/bin/env slope\n// " + name + ".slo: ", "\n// Usage: slope ", "\n// Look at: "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q in its header", name, part)
			}
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
	bpftest.Require(t, bpf.CheckPrivileges())
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".slo")
		r := slope(t, "--dry-run", "--listen", "off", file, goBin, "main.work")
		if why := particular[name]; why != "" && r.status != 0 {
			if !regexp.MustCompile(why).MatchString(r.err) {
				t.Errorf("%s does not attach, not for the reason %s\n%s", name, why, r.err)
			}
			if regexp.MustCompile(noTrampoline).MatchString(r.err) { // it compiles
				if x := slope(t, "explain", file); x.status != 0 || !strings.Contains(x.out, " instructions, ") {
					t.Errorf("%s: explain: status %d\n%s%s", name, x.status, x.out, x.err)
				}
			}
			t.Logf("%s: compiled only: %s", name, regexp.MustCompile(why).FindString(r.err))
			continue
		}
		if r.status != 0 || !strings.Contains(r.err, "ttached ") || strings.Contains(r.err, "WARNING") {
			t.Errorf("%s: status %d\n%s", name, r.status, r.err)
		}
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
