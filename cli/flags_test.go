package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestWithoutPrivileges are the command lines that need no kernel.
func TestWithoutPrivileges(t *testing.T) {
	const program = "begin { printf(\"%d\\n\", 1); }"
	ugly := "begin{printf(\"%d\\n\",1);}\n"
	pretty := binary(t, ugly, "fmt").out
	file := write(t, "a.slo", ugly)
	good := write(t, "good.slo", pretty)
	for _, c := range []struct {
		stdin  string
		args   []string
		status int
		out    string // pattern
		err    string // pattern
	}{
		{"", []string{"-V"}, 0, `^slope v\S+\n$`, `^$`},
		{"", []string{"--version"}, 0, `^slope v\S+\n$`, `^$`},
		{"", []string{"version"}, 0, `^slope v\S+\n$`, `^$`},
		{"", []string{"--help"}, 0, `(?s)^slope runs .*Examples:\n  slope -e .*Available Commands:.*--dry-run.*`, `^$`},
		{"", []string{"-h"}, 0, `Usage:`, `^$`},
		{"", []string{"help", "fmt"}, 0, `slope fmt --check`, `^$`},
		{"", []string{"fmt", "--help"}, 0, `slope fmt --check`, `^$`},
		{"", []string{"explain", "--help"}, 0, `slope explain checkout.slo`, `^$`},
		{"", []string{"completion", "bash"}, 0, `^# bash completion`, `^$`},
		{"", []string{"completion", "zsh"}, 0, `^#compdef slope`, `^$`},
		{"", []string{"completion", "fish"}, 0, `^# fish completion for slope`, `^$`},
		{"", []string{"__complete", "fm"}, 0, `(?m)^fmt\t`, ``},
		{"", nil, 2, `^$`, `^slope: got no script: .*\nHINT: see slope --help\n$`},
		{"", []string{"-e", ""}, 1, `^$`, `no probes to attach`},
		{"", []string{"--no-such"}, 2, `^$`, `^slope: unknown flag: --no-such\nHINT: see slope --help\n$`},
		{"", []string{"-f", "xml", "-e", program}, 2, `^$`, `want text or json`},
		{"", []string{"-B", "some", "-e", program}, 2, `^$`, `want line, full or none`},
		{"", []string{"-p", "-3", "-e", program}, 2, `^$`, `invalid argument "-3" for "-p, --pid" flag: want a process ID`},
		{"", []string{"-p", "x", "-e", program}, 2, `^$`, `invalid argument "x"`},
		{"", []string{"-p", "1", "-c", "true", "-e", program}, 2, `^$`, `-p and -c exclude each other`},
		{"", []string{"-d", "nothing", "-e", program}, 2, `^$`, `unknown stage 'nothing' for -d: want one of ast, types, ir, opt, ra, asm, all`},
		{"", []string{"-d", "ast", "-e", program}, 0, `^Probe\n  AttachPoint Raw="begin"`, `^$`},
		{"", []string{"-d", "types", "-e", program}, 0, `(?m)^probe begin`, `^$`},
		{"", []string{"-d", "ir", "-e", program}, 0, `(?m)^func .*begin`, `^$`},
		{"", []string{"-d", "opt", "-e", program}, 0, `(?m)^func .*begin`, `^$`},
		{"", []string{"-d", "ra", "-e", program}, 0, `(?m)^m0:`, `^$`},
		{"", []string{"-d", "asm", "-e", program}, 0, `(?i)exit`, `^$`},
		{"", []string{"-d", "all", "-e", program}, 0, `(?s)^Probe.*func`, `^$`},
		{"", []string{"-d", "ast,asm", "-e", program}, 0, `(?s)^Probe.*(?i)exit`, `^$`},
		{"", []string{"explain", "-e", "sli a { event(true); }"}, 1, `^$`, `ERROR`},
		{"", []string{"explain"}, 2, `^$`, `explain: got no script`},
		{"", []string{"explain", "-e", "sli n { unit = seconds; interval:s:1 { observe(1); } } slo s = 99% of n <= 1s over 30d;"}, 0, `(?s)n.*<=`, `^$`},
		{"", []string{"explain", "/no/such.slo"}, 1, `^$`, `failed to open file '/no/such.slo'`},
		{ugly, []string{"fmt"}, 0, "^" + regexp.QuoteMeta(pretty) + "$", `^$`},
		{ugly, []string{"fmt", "-"}, 0, "^" + regexp.QuoteMeta(pretty) + "$", `^$`},
		{ugly, []string{"fmt", "--check"}, 1, "^stdin\n$", `^$`},
		{pretty, []string{"fmt", "--check", "-"}, 0, "^$", `^$`},
		{"begin {", []string{"fmt"}, 1, `^$`, `^stdin:1:\d+.*ERROR: syntax`},
		{"", []string{"fmt", file}, 0, "^" + regexp.QuoteMeta(pretty) + "$", `^$`},
		{"", []string{"fmt", "--check", file, good}, 1, "^" + file + "\n$", `^$`},
		{"", []string{"fmt", "-w", file, good}, 0, "^$", `^$`},
		{"", []string{"fmt", "--check", file, good}, 0, "^$", `^$`},
		{"", []string{"fmt", "/no/such.slo"}, 1, "^$", `failed to open file '/no/such.slo'`},
		{"", []string{"-l", "nothing:*"}, 1, `^$`, `unknown probe type 'nothing'`},
		{"", []string{"-e", "begin { foo }"}, 1, `^$`, "^stdin:1:9-12: ERROR: unknown identifier: 'foo'\nbegin { foo }\n        ~~~\n$"},
		{"begin { foo }", []string{"-"}, 1, `^$`, "^stdin:1:9-12: ERROR"},
		{"", []string{write(t, "bad.bt", "begin { foo }")}, 1, `^$`, `/bad\.bt:1:9-12: ERROR`},
	} {
		r := binary(t, c.stdin, c.args...)
		if r.status != c.status || !regexp.MustCompile(c.out).MatchString(r.out) || !regexp.MustCompile(c.err).MatchString(r.err) {
			t.Errorf("slope %q: status %d, want %d\nout %q\nwant %s\nerr %q\nwant %s", c.args, r.status, c.status, r.out, c.out, r.err, c.err)
		}
	}
}

// TestRuns are command lines that attach: what is printed where, and the status.
func TestRuns(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	hello := write(t, "hello.slo", "#!/usr/bin/env slope\nbegin { printf(\"%s %d %d\\n\", str($1), $2, $#); }\n")
	const attached = "Attached 1 probe\n"
	for _, c := range []struct {
		args   []string
		status int
		out    string
		err    string
	}{
		{[]string{"-e", `begin { printf("hi\n"); }`}, 0, "hi\n\n\n", attached},
		{[]string{hello, "one", "2"}, 0, "one 2 2\n\n\n", attached},
		{[]string{hello, "version", "0x10"}, 0, "version 16 2\n\n\n", attached},
		{[]string{hello, "fmt"}, 0, "fmt 0 1\n\n\n", attached},
		{[]string{hello, "--", "-x", "-3"}, 0, "-x -3 2\n\n\n", attached},
		{[]string{"-e", `begin { printf("%s\n", str($1)); }`, "version"}, 0, "version\n\n\n", attached},
		{[]string{"-q", "-e", `begin { printf("hi\n"); }`}, 0, "hi\n\n\n", ""},
		{[]string{"-q", "-e", `config = { max_map_keys = 1 } begin { @[1] = 1; @[2] = 1; clear(@); }`}, 0, "\n\n",
			"stdin:1:49-57: WARNING: 1 new keys lost: map @ is full; declare it larger or raise max_map_keys\n"},
		{[]string{"-q", "-f", "json", "-e", `begin { printf("hi\n"); }`}, 0, `{"type": "printf", "data": "hi\n"}` + "\n", ""},
		{[]string{"-f", "json", "-e", `begin { @x[1, "a"] = 2; exit(3); }`}, 3,
			`{"type": "attached_probes", "count": 1, "data": {"probes": 1}}` + "\n" + `{"type": "map", "data": {"@x": {"1,a": 2}}}` + "\n", ""},
		{[]string{"-B", "none", "-e", `begin { printf("a"); printf("b\n"); }`}, 0, "ab\n\n\n", attached},
		{[]string{"-B", "full", "-e", `begin { printf("a"); printf("b\n"); }`}, 0, "ab\n\n\n", attached},
		{[]string{"-B", "line", "-e", `begin { printf("a"); printf("b\n"); }`}, 0, "ab\n\n\n", attached},
		{[]string{"-e", `begin { @x = 1; exit(7); } end { printf("end\n"); }`}, 7, "end\n\n\n@x: 1\n", "Attached 2 probes\n"},
		{[]string{"-e", `begin { printf("1\n"); exit(); printf("2\n"); }`}, 0, "1\n\n\n", attached},
		{[]string{"-e", `begin { exit(); } tracepoint:sched:sched_switch { printf("late\n"); } interval:us:100 { printf("late\n"); }`}, 0, "\n\n", "Attached 3 probes\n"},
		{[]string{"-e", `begin { exit(); } end { printf("end\n"); exit(4); }`}, 0, "end\n\n\n", "Attached 2 probes\n"},
		{[]string{"--dry-run", "-e", `begin { printf("b\n"); } interval:s:100 { }`}, 0, "b\n\n\n", "Attached 2 probes\n"},
		{[]string{"-e", `begin { @a = 1; @b = 2; clear(@a); zero(@b); @c[1] = 5; zero(@c); @d[1] = 1; clear(@d); @e = count(); zero(@e); }`}, 0,
			"\n\n@b: 0\n@c[1]: 0\n@e: 0\n", attached},
		{[]string{"-e", `begin { @x = 5; print(@x); clear(@x); print((1, "a")); }`}, 0, "@x: 5\n(1, a)\n\n\n", attached},
		{[]string{"-c", "sh -c 'sleep 0.05; : >" + t.TempDir() + "/ended'", "-e", `begin { printf("b\n"); }`}, 0, "b\n\n\n", attached},
		{[]string{"-c", "sh -c 'exit 9'", "-e", `interval:s:100 { }`}, 0, "\n\n", attached},
		{[]string{"-p", "4194304", "-e", `interval:s:100 { }`}, 1, "", "slope: no process with ID 4194304\n"},
		{[]string{"--no-warnings", "-e", `begin { printf("%d\n", $1); }`}, 0, "0\n\n\n", attached},
		{[]string{"-o", "/no/such/dir/out", "-e", `begin { }`}, 1, "", "slope: open output: open /no/such/dir/out: no such file or directory\n"},
		{[]string{"-o", "/dev/full", "-e", `begin { printf("x\n"); }`}, 1, "", attached + "slope: write /dev/full: no space left on device\n"},
		{[]string{"-o", "/dev/full", "-e", `interval:ms:1 { printf("x\n"); }`}, 1, "", attached + "slope: write /dev/full: no space left on device\n"},
	} {
		r := binary(t, "", c.args...)
		r.is(t, fmt.Sprintf("slope %q", c.args), c.status, c.out, c.err)
	}
}

// TestOutputFile writes what would be on the standard output into a file.
func TestOutputFile(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	file := t.TempDir() + "/out"
	for _, mode := range []string{"line", "full", "none"} {
		r := binary(t, "", "-B", mode, "-o", file, "-e", `begin { printf("hi\n"); @x = 1; }`)
		r.is(t, mode, 0, "", "Attached 1 probe\n")
		if got := read(t, file); got != "hi\n\n\n@x: 1\n" {
			t.Errorf("-B %s: the file holds %q", mode, got)
		}
	}
	binary(t, "", "-f", "json", "-o", file, "-e", `begin { printf("hi\n"); @x = hist(3); @s = stats(4); }`)
	for _, line := range lines(read(t, file)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// TestNotify tells a waiting test harness that probes are attached, on the standard output wherever output goes.
func TestNotify(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	for _, args := range [][]string{{"-q"}, {"-q", "-f", "json"}, {"-q", "-o", t.TempDir() + "/out"}} {
		cmd := command(t, append(args, "-e", "interval:s:100 { }")...)
		cmd.Env = append(cmd.Env, "__BPFTRACE_NOTIFY_PROBES_ATTACHED=1")
		p := start(t, cmd)
		bpftest.Eventually(t, 10*1e9, "notified", func() bool { return p.out.String() != "" })
		if got := p.out.String(); got != "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n" {
			t.Errorf("%q: got %q", args, got)
		}
		p.signal(t, unix.SIGINT)
		if r := p.wait(t); r.status != 0 {
			t.Errorf("%q: status %d\n%s", args, r.status, r.err)
		}
	}
}

// TestListing lists probes and their arguments.
func TestListing(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	r := binary(t, "", "-l", "tracepoint:sched:sched_swi*")
	r.is(t, "-l", 0, "tracepoint:sched:sched_switch\n", "")
	if r = binary(t, "", "-lv", "tracepoint:syscalls:sys_enter_openat"); !strings.HasPrefix(r.out, "tracepoint:syscalls:sys_enter_openat\n    ") ||
		!strings.Contains(r.out, "filename") || r.status != 0 {
		t.Errorf("-lv: status %d\n%s%s", r.status, r.out, r.err)
	}
	if r = binary(t, "", "-l"); r.status != 0 || !strings.Contains(r.out, "\nrawtracepoint:") || !strings.Contains(r.out, "\ntracepoint:syscalls:sys_exit_read\n") {
		t.Errorf("-l: status %d, %d bytes\n%s", r.status, len(r.out), r.err)
	}
	if r = binary(t, "", "-l", "tracepoint:sched:no_such_event"); r.status != 1 || r.out != "" {
		t.Errorf("-l of what does not exist: status %d\n%s%s", r.status, r.out, r.err)
	}
	if r = binary(t, "", "-l", "tracepoint:sched:no_such_*"); r.status != 0 || r.out != "" {
		t.Errorf("-l of a pattern that matches nothing: status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestColours are only on a terminal.
func TestColours(t *testing.T) {
	const escape = "\x1b["
	for _, c := range []struct {
		env      string
		terminal bool
		want     bool
	}{
		{"", true, true}, {"", false, false}, {"NO_COLOR=1", true, false}, {"TERM=dumb", true, false},
		{"BPFTRACE_COLOR=always", false, true}, {"BPFTRACE_COLOR=never", true, false},
	} {
		cmd := command(t, "-e", "begin { foo }")
		cmd.Env = append(cmd.Env, "TERM=xterm", c.env)
		var got string
		if c.terminal {
			pty, tty := terminal(t)
			cmd.Stderr = tty
			p := start(t, cmd)
			p.wait(t)
			tty.Close()
			buf := make([]byte, 4096)
			n, _ := pty.Read(buf)
			got = string(buf[:n])
		} else {
			got = start(t, cmd).wait(t).err
		}
		if !strings.Contains(got, "foo") || strings.Contains(got, escape) != c.want {
			t.Errorf("%q, on a terminal %v: colours %v, want %v\n%q", c.env, c.terminal, !c.want, c.want, got)
		}
	}
}

// terminal opens a pseudo terminal.
func terminal(t *testing.T) (pty, tty *os.File) {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	bpftest.Require(t, err)
	t.Cleanup(func() { pty.Close() })
	if err := unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	bpftest.Require(t, err)
	t.Cleanup(func() { tty.Close() })
	return pty, tty
}
