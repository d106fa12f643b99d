package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slopebpf/slope/bpf"
)

// TestCommandLine runs the scripts of testdata/script: every command, its errors and its exit statuses. In them, slope is
// this binary; the condition [bpf] holds where scripts can be attached.
func TestCommandLine(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "slope")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv(beSlope, "1")
			return nil
		},
		Condition: func(name string) (bool, error) {
			return name == "bpf" && bpf.CheckPrivileges() == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"status": wantStatus},
	})
}

// wantStatus is "status N command…": the exit status of a command.
func wantStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command args…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = err.Error()
		if code, ok := err.(interface{ ExitCode() int }); ok {
			got = string(rune('0' + code.ExitCode()))
		}
	}
	if got != args[0] {
		ts.Fatalf("%q: exit status %s, want %s", args[1:], got, args[0])
	}
}
