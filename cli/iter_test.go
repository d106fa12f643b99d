package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// threads are the IDs of all threads as /proc has them, but for those of process 1: some sandboxes hide it from BPF
// programs.
func threads(t *testing.T) map[string]bool {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/task/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("got %d threads, %v", len(dirs), err)
	}
	out := map[string]bool{}
	for _, d := range dirs {
		if strings.HasPrefix(d, "/proc/1/") {
			continue
		}
		out[filepath.Base(d)] = true
	}
	return out
}

// TestIterTask compares the tasks that the script saw with those in /proc before and after.
func TestIterTask(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	before := threads(t)
	r := script(t, "-e", `iter:task { printf("%d %d\n", ctx->task->pid, ctx.task.tgid); @all = count(); }`)
	after := threads(t)
	seen := map[string]bool{}
	for line := range strings.Lines(r.out) {
		if tid, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "@") {
			if seen[tid] {
				t.Errorf("thread %s twice", tid)
			}
			seen[tid] = true
		}
	}
	for tid := range before {
		if after[tid] && !seen[tid] {
			t.Errorf("thread %s was not seen", tid)
		}
	}
	want(t, r, fmt.Sprintf("@all: %d", len(seen)))
}

// TestIterOfProcess compares files and mappings of one process with /proc.
func TestIterOfProcess(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	target := exec.Command("sh", "-c", "exec 7</dev/null 8</dev/zero; echo; read x")
	in, err := target.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := target.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); target.Wait() }()
	out.Read(make([]byte, 1))
	pid := fmt.Sprint(target.Process.Pid)
	fds, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	r := script(t, "-p", pid, "-e", `iter:task_file { @files[ctx.fd] = ctx.task.tgid; @path[ctx.fd] = path(ctx.file.f_path); @n = count(); }`)
	if r.status == 0 && strings.Contains(r.err, "6.1") {
		t.Skip(r.err)
	}
	want(t, r, fmt.Sprintf("@n: %d", len(fds)))
	for _, fd := range fds {
		want(t, r, fmt.Sprintf("@files[%s]: %s", fd.Name(), pid))
		if to, err := os.Readlink("/proc/" + pid + "/fd/" + fd.Name()); err != nil {
			t.Error(err)
		} else {
			want(t, r, fmt.Sprintf("@path[%s]: %s", fd.Name(), to))
		}
	}
	maps := strings.Count(strings.ReplaceAll(read(t, "/proc/"+pid+"/maps"), "[vsyscall]\n", ""), "\n")
	r = script(t, "-p", pid, "-e", `iter:task_vma { @n = count(); @bytes = sum(ctx.vma.vm_end - ctx.vma.vm_start); }`)
	want(t, r, fmt.Sprintf("@n: %d", maps))
	r = script(t, "-p", pid, "-e", `iter:task /ctx.task.tgid == 1/ { @n = count(); }`)
	if strings.Contains(r.out, "@n") {
		t.Errorf("a task of another process: %s", r.out)
	}
}

// TestIterAll walks over more objects than the ring buffer has room for records.
func TestIterAll(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	r := script(t, "-e", `iter:ksym { printf("%s %0500d\n", ctx.ksym.name, 1); @n = count(); }`)
	lines := strings.Count(r.out, " 000000")
	want(t, r, fmt.Sprintf("@n: %d", lines))
	if lines < 10000 || strings.Contains(r.err, "lost") || strings.Contains(r.err, "Lost") {
		t.Errorf("%d lines\n%s", lines, r.err)
	}
}

func TestIterErrors(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"iter:task { } begin { }", "iter probes cannot be mixed with other probes"},
		{"iter:task, iter:task_file { }", "iter probes cannot be mixed with other probes"},
		{"iter:tsak { }", "did you mean 'task'?"},
		{"iter:task* { }", "wildcards are not allowed for iter probes"},
		{"iter:bpf_map_elem { }", "needs a map"},
		{"iter:sockmap { }", "needs a map"},
		{`iter:task:"/nowhere/tasks" { }`, "no directory /nowhere"},
		{"iter:task { print(ctx.tsk); }", "unknown field 'tsk' of iter:task"},
		{"iter:task { print(args.task); }", "no args here"},
		{"iter:task { $x = ctx; }", "cannot be kept in a variable"},
		{"begin { print(ctx); }", "ctx does not exist in a begin probe"},
	} {
		if r := slope(t, "-e", c.script); r.status != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: status %d, want %q\n%s", c.script, r.status, c.want, r.err)
		}
	}
	if r := slope(t, "-l", "iter:*"); !strings.Contains(r.out, "iter:task\n") || !strings.Contains(r.out, "iter:task_vma\n") || strings.Contains(r.out, "safe_trusted") {
		t.Errorf("got\n%s", r.out)
	}
}

// TestPinnedIterator pins an iterator: slope says where and ends, and the file prints. A dry run leaves no file.
func TestPinnedIterator(t *testing.T) {
	feat := &bpf.Features{}
	bpftest.Require(t, feat.TestRun(), feat.Iterator("task"))
	dir := bpftest.FileSystem(t, "bpf", "")
	file := filepath.Join(dir, "tasks")
	script := "iter:task:" + file + ` /ctx.task.pid == 2/ { printf("%s is %d\n", ctx.task.comm, ctx.task.pid); }`
	for _, c := range []struct {
		flag, want, text string
	}{
		{"--dry-run", "\n", ""},
		{"-q", "Program pinned to " + file + "\n", "kthreadd is 2\n"},
		{"-fjson", `{"type": "pinned", "data": {"time": `, "kthreadd is 2\n"},
	} {
		r := slope(t, c.flag, "-e", script)
		if r.status != 0 || !strings.Contains(r.out, c.want) || (strings.Contains(r.out, file) == (c.text == "")) {
			t.Errorf("%s: status %d\n%s%s", c.flag, r.status, r.out, r.err)
		}
		text, err := os.ReadFile(file)
		if string(text) != c.text || (err == nil) != (c.text != "") {
			t.Errorf("%s: %v, the file has %q", c.flag, err, text)
		}
		os.Remove(file)
	}
	if r := slope(t, "--dry-run", "-e", "iter:task:/nowhere/x { }"); r.status != 1 || !strings.Contains(r.err, "no directory /nowhere") {
		t.Errorf("a dry run: status %d\n%s%s", r.status, r.out, r.err)
	}
	if r := slope(t, "-c", "true", "-e", script); r.status != 1 || !strings.Contains(r.err, "-c has no use with an iterator that is pinned to "+file) {
		t.Errorf("-c: status %d\n%s%s", r.status, r.out, r.err)
	}
}
