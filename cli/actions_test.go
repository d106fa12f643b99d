package cli

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestActions does what records ask for, in text and in JSON: files, commands, messages with their place.
func TestActions(t *testing.T) {
	file := t.TempDir() + "/ten"
	if err := os.WriteFile(file, []byte("0123456789\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	program := `begin { cat("` + file[:len(file)-3] + `%s", "ten"); system("echo out %d; echo err >&2", 7); errorf("e%d", 1); warnf("w%s", "x"); cat("/nowhere"); exit(); }`
	place := func(word string) string { return "stdin:1:" + span(program, word) }
	r := script(t, "--unsafe", "-q", "-e", program)
	if want := "0123456789\nout 7\n\n\n\n"; r.out != want {
		t.Errorf("text: got %q, want %q", r.out, want)
	}
	for _, line := range []string{"err", place(`errorf("e%d", 1)`) + ": ERROR: e1", place(`warnf("w%s", "x")`) + ": WARNING: wx", program, "ERROR: failed to open file '/nowhere': no such file or directory"} {
		if !strings.Contains("\n"+r.err, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, r.err)
		}
	}
	r = script(t, "--unsafe", "-q", "--no-warnings", "-f", "json", "-e", "config = { max_cat_bytes = 4 }\n"+program)
	if want := `{"type": "cat", "data": "0123"}
{"type": "syscall", "data": "out 7\n"}
{"type": "errorf", "msg": "e1", "filename": "stdin", "line": 2, "col": ` + strings.SplitN(span(program, "errorf"), "-", 2)[0] + `}
`; r.out != want {
		t.Errorf("JSON: got\n%swant\n%s", r.out, want)
	}
	r = slope(t, "-e", program)
	if r.status != 1 || !strings.Contains(r.err, "system() is an unsafe function being used in safe mode") || !strings.Contains(r.err, "HINT: run with --unsafe") {
		t.Errorf("safe mode: status %d\n%s", r.status, r.err)
	}
}

// span is where a part of a line is, as diagnostics write it.
func span(line, part string) string {
	at := strings.Index(line, part) + 1
	return strconv.Itoa(at) + "-" + strconv.Itoa(at+len(part))
}

// TestAssert ends the script with its message.
func TestAssert(t *testing.T) {
	r := slope(t, "-q", "-e", `begin { assert(1 == 1, "fine"); assert(pid == 0, "50% of it"); print("never"); } end { print("end"); }`)
	if r.status != 1 || strings.Contains(r.out, "never") || !strings.Contains(r.err, "stdin:1:33-62: ERROR: 50% of it\n") || strings.Contains(r.err, "ERROR: fine") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestJoin prints the arguments of a program.
func TestJoin(t *testing.T) {
	r := script(t, "-q", "-f", "json", "-c", "/bin/echo one 'two three'", "-e", `tracepoint:syscalls:sys_enter_execve /pid == 0/ { join(args.argv); }
		tracepoint:syscalls:sys_enter_execve { if (str(args.filename) == "/bin/echo") { join(args.argv); join(args.argv, "|"); } }`)
	for _, line := range []string{`{"type": "join", "data": "/bin/echo one two three"}`, `{"type": "join", "data": "/bin/echo|one|two three"}`} {
		if !strings.Contains(r.out, line+"\n") {
			t.Errorf("no %s in\n%s", line, r.out)
		}
	}
}

// TestPrintEntry prints single values of aggregations, as a map has them when they are printed.
func TestPrintEntry(t *testing.T) {
	bars := strings.Repeat("@", 52)
	program := `begin { @h[1, "x"] = hist(5); @s["a"] = stats(4); print(@h[1, "x"]); print(@s["a"]); print(@s["b"]); @s["a"] = stats(6); print(@h[2, "x"]); exit(); }`
	r := script(t, "-q", "-e", program)
	first := "[4, 8)                 1 |" + bars + "|\n\n{ .count = 2, .average = 5, .total = 10 }\n{ .count = 0, .average = 0, .total = 0 }\n\n"
	if !strings.HasPrefix(r.out, first) {
		t.Errorf("got\n%s\nwant\n%s", r.out, first)
	}
	r = script(t, "-q", "-f", "json", "-e", program)
	want(t, r, `{"type": "value", "data": [{"min": 4, "max": 7, "count": 1}]}`, `{"type": "value", "data": {"count": 2, "average": 5, "total": 10}}`, `{"type": "value", "data": []}`)
}

// TestDebugfCut: the kernel's trace takes 512 bytes of values, and what is cut is told.
func TestDebugfCut(t *testing.T) {
	long := strings.Repeat("x", 700)
	r := script(t, "-e", `begin { $s = "`+long+`"; debugf("%s", "short"); debugf("%s", $s); debugf("%s %d %s", $s, 1, "x"); exit(); }`)
	if n := strings.Count(r.err, "1 strings cut at their capacity"); n != 2 || strings.Contains(r.err, "did not take") {
		t.Errorf("it tells of %d texts that were cut\n%s%s", n, r.out, r.err)
	}
}
