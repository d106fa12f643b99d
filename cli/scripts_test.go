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

// TestScripts checks every ready-made tool: its header, its format, and that it attaches on this kernel.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(scripts + "*.slo")
	if err != nil || len(files) < 8 {
		t.Fatalf("got %d scripts, %v", len(files), err)
	}
	goBin := build(t, goTarget)
	for _, file := range files {
		name := filepath.Base(file)
		text := read(t, file)
		for _, part := range []string{"#!/usr/bin/env slope\n// " + name + ": ", "\n// Usage: slope ", "\n// Look at: "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q in its header", name, part)
			}
		}
		slope(t, "fmt", "--check", file).is(t, name, 0, "", "")
		args := []string{"test", file}
		if name == "gofunc.slo" {
			args = append(args, "--", "./server", "main.handle")
		}
		switch r := slope(t, args...); {
		case strings.Contains(text, "poll:"): // what those read is not a test's
		case r.status != 0 || !strings.HasPrefix(r.out, "ok ") || r.err != "":
			t.Errorf("%s: its tests: status %d\n%s%s", name, r.status, r.out, r.err)
		}
	}
	bpftest.Require(t, bpf.CheckPrivileges())
	for _, file := range files {
		r := slope(t, "--dry-run", "--listen", "off", file, goBin, "main.work")
		if r.status != 0 || !strings.Contains(r.err, "ttached ") || strings.Contains(r.err, "WARNING") {
			t.Errorf("%s: status %d\n%s", file, r.status, r.err)
		}
	}
}

// TestScriptsSee runs each tool on a program that does what it looks for.
func TestScriptsSee(t *testing.T) {
	goBin := build(t, goTarget)
	for _, c := range []struct {
		script, command, want string
		params                []string
	}{
		{"syscalls", "dd if=/dev/zero of=/dev/null bs=1 count=2000", `(?s)sli syscall .*\n  0 +2 \d\d\d .*sli answered .*\n  dd +[4-9] \d\d\d .*quick +99 %`, nil},
		{"iosize", "dd if=/dev/zero of=/dev/null bs=512 count=2000", `(?s)@read_bytes\[dd\]:.*\n\[512, 1K\) +\d{4} .*@read_total\[dd\]: 10[23]\d{4}\n`, nil},
		{"runqlat", "sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 0.001; done'", `(?s)sli runqueue .*\n  sleep +\d.*prompt `, nil},
		{"execsnoop", "sh -c /bin/true", `(?m)^\d\d:\d\d:\d\d  \d+ +true +/bin/true$`, nil},
		{"openerrors", "cat /no/such/file", `(?m)^\d+ +cat +2 /no/such/file$`, nil},
		{"throttling", "true", `(?s)sli throttled .*unthrottled +95 % of throttled / 7d`, nil},
		{"memory", "true", `(?s)sli headroom .*\n +2 +\d+(\.\d+)? %.*sli stalled .*\n +2 +\d+(\.\d+)? %`, nil},
		{"gofunc", goBin, `sli call .* 100 events · 0 lost`, []string{goBin, "main.work"}},
	} {
		args := append([]string{"--listen", "off", "-c", c.command, scripts + c.script + ".slo"}, c.params...)
		if r := script(t, args...); !regexp.MustCompile(c.want).MatchString(r.out) {
			t.Errorf("%s: no %s in\n%s%s", c.script, c.want, r.out, r.err)
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
