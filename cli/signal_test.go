package cli

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// TestInterrupt ends a script by a signal: it detaches, runs end, prints everything and succeeds.
func TestInterrupt(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := trace(t, "-e", `begin { @x = 1; printf("begin\n"); } interval:s:100 { printf("never\n"); } end { @y = 2; printf("end\n"); }`)
		p.signal(t, sig)
		p.wait(t).is(t, sig.String(), 0, "begin\nend\n\n\n@x: 1\n@y: 2\n", "Attached 3 probes\n")
	}
	p := trace(t, "--listen", "off", "-e", `sli n { unit = seconds; interval:ms:1 { observe(1); } } slo s = 99% of n <= 1s over 30d; end { printf("end\n"); }`)
	p.signal(t, syscall.SIGTERM)
	if r := p.wait(t); r.status != 0 || !regexp.MustCompile(`(?s)^end\n.*sli n.*s +99 % of n <= 1s`).MatchString(r.out) {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestSecondInterruptKills has a reader that never reads: the script cannot print what it has, and the user insists.
func TestSecondInterruptKills(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := command(t, "-e", `interval:us:100 { printf("0123456789012345678901234567890123456789012345678901234567890123456789\n"); }`)
	cmd.Stdout = w
	p := start(t, cmd)
	w.Close()
	p.attached(t)
	// It is stuck when its only thread that prints waits for the pipe.
	bpftest.Eventually(t, 10*time.Second, "blocked in write", func() bool {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", cmd.Process.Pid))
		for _, task := range tasks {
			if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", cmd.Process.Pid, task.Name())); strings.HasPrefix(string(b), "1 0x1 ") {
				return true
			}
		}
		return false
	})
	bpftest.Eventually(t, 10*time.Second, "killed", func() bool { // the first one asks, another kills
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-p.done:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	})
	if got := p.wait(t); got.status != 128+int(syscall.SIGINT) {
		t.Errorf("status %d\n%s", got.status, got.err)
	}
}

// TestDrain interrupts a script in the middle of a stream: what was sent is printed, all of it, in order.
func TestDrain(t *testing.T) {
	p := trace(t, "-B", "full", "-e", `interval:us:50 { @n++; printf("%ld\n", @n); } end { printf("end %ld\n", @n); }`)
	bpftest.Eventually(t, 15*time.Second, "the first 64 KiB", func() bool { return p.out.String() != "" })
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	body, rest, ok := strings.Cut(r.out, "end ")
	if !ok || r.status != 0 {
		t.Fatalf("status %d, no end\n%s", r.status, r.err)
	}
	got := lines(body)
	for i, l := range got {
		if l != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
	if want := fmt.Sprintf("%d\n\n\n@n: %d\n", len(got), len(got)); rest != want {
		t.Errorf("after the stream: got %q, want %q", rest, want)
	}
}

// TestBrokenPipe is "slope | head": quiet.
func TestBrokenPipe(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	for _, args := range [][]string{
		{"-q", "-c", "sleep 100", "-e", `interval:ms:1 { printf("x\n"); } end { printf("end\n"); }`},
		{"-l"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(t, args...)
		cmd.Stdout = w
		p := start(t, cmd)
		w.Close()
		r.Read(make([]byte, 1))
		r.Close()
		if got := p.wait(t); got.status != 128+int(syscall.SIGPIPE) || got.err != "" {
			t.Errorf("%q: status %d\n%s", args, got.status, got.err)
		}
	}
}

// TestCommand is -c: the program starts when everything is attached, its end ends the script, and the script's end
// terminates it.
func TestCommand(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	dir := t.TempDir()
	trap := write(t, "trap.sh", fmt.Sprintf("trap 'echo terminated >%[1]s/told; exit 0' TERM\necho $$ >%[1]s/pid\nwhile :; do sleep 0.01; done\n", dir))
	for _, end := range []string{"signal", "exit"} {
		os.Remove(dir + "/pid")
		os.Remove(dir + "/told")
		script := `interval:s:100 { }`
		if end == "exit" {
			script = `tracepoint:sched:sched_process_exec /comm == "sleep"/ { exit(5); }`
		}
		p := trace(t, "-c", "sh "+trap, "-e", script)
		status := 5
		if end == "signal" {
			bpftest.Eventually(t, 10*time.Second, "the program runs", func() bool {
				b, _ := os.ReadFile(dir + "/pid")
				return len(b) > 0
			})
			p.signal(t, syscall.SIGINT)
			status = 0
		}
		if r := p.wait(t); r.status != status {
			t.Errorf("%s: status %d, want %d\n%s", end, r.status, status, r.err)
		}
		if read(t, dir+"/told") != "terminated\n" {
			t.Errorf("%s: the program was not terminated", end)
		}
	}
	// Nothing of the program is missed: its exec is the first event.
	r := binary(t, "", "-c", "sh -c 'exit 3'", "-e", `tracepoint:sched:sched_process_exec /pid == $1/ { @ = count(); } tracepoint:sched:sched_process_exec /comm == "sh"/ { @execs = count(); }`, "0")
	if r.status != 0 || !strings.Contains(r.out, "@execs: ") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
	if r := binary(t, "", "-c", "/no/such/program", "-e", "interval:s:100 { }"); r.status != 1 || r.out != "" || !strings.Contains(r.err, "-c: ") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
	// What cannot be executed is found late, by the child.
	if r := binary(t, "", "-c", write(t, "script", "no program"), "-e", "interval:s:100 { }"); r.status != 1 || r.out != "" {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestPid ends with the process of -p, and sees only that one.
func TestPid(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	target := exec.Command("sh", "-c", "read line; exec dd if=/dev/zero of=/dev/null bs=1 count=1000")
	in, err := target.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	p := trace(t, "-p", strconv.Itoa(target.Process.Pid), "-e", `tracepoint:syscalls:sys_enter_read /args.count == 1 && comm == "dd"/ { @[pid] = count(); } tracepoint:raw_syscalls:sys_enter { @pids[pid] = count(); }`)
	in.Write([]byte("\n"))
	target.Wait()
	r := p.wait(t)
	if want := fmt.Sprintf("\n\n@[%d]: 1000\n@pids[%d]: ", target.Process.Pid, target.Process.Pid); r.status != 0 || !strings.HasPrefix(r.out, want) || strings.Count(r.out, "@pids") != 1 {
		t.Errorf("status %d, want\n%sgot\n%s%s", r.status, want, r.out, r.err)
	}
	// It ends as well when another ends it first.
	other := exec.Command("sleep", "100")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	before := bpftest.Descriptors()
	if r := script(t, "-p", strconv.Itoa(other.Process.Pid), "-e", "interval:ms:1 { exit(); }"); r.status != 0 {
		t.Error(r.err)
	}
	if n := bpftest.Descriptors()["anon_inode:[pidfd]"]; n > before["anon_inode:[pidfd]"] {
		t.Error("the descriptor of the process stays open")
	}
}

// kernelObjects counts the kernel's maps of a name, the programs that use them, and the links of these.
func kernelObjects(t *testing.T, name string) (maps, programs, links int) {
	t.Helper()
	ours := map[ebpf.MapID]bool{}
	for id, err := ebpf.MapGetNextID(0); err == nil; id, err = ebpf.MapGetNextID(id) {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		if info, err := m.Info(); err == nil && info.Name == name {
			ours[id] = true
			maps++
		}
		m.Close()
	}
	using := map[ebpf.ProgramID]bool{}
	for id, err := ebpf.ProgramGetNextID(0); err == nil && len(ours) > 0; id, err = ebpf.ProgramGetNextID(id) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		if info, err := p.Info(); err == nil {
			ids, _ := info.MapIDs()
			for _, m := range ids {
				if ours[m] && !using[id] {
					using[id] = true
					programs++
				}
			}
		}
		p.Close()
	}
	it := new(link.Iterator)
	for it.Next() {
		if info, err := it.Link.Info(); err == nil && using[info.Program] {
			links++
		}
	}
	it.Close()
	return maps, programs, links
}

// TestNothingStays looks for what a script leaves in the kernel, whatever its end: the map of its name lives as long as
// a program that uses it, which lives as long as it is attached.
func TestNothingStays(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	bin := buildC(t, cTarget)
	name := fmt.Sprintf("left_%d", os.Getpid())
	probes := fmt.Sprintf(`tracepoint:sched:sched_switch { @%[1]s = count(); } tracepoint:syscalls:sys_enter_read { @%[1]s = count(); }
		tracepoint:sched:sched_process_exec { if (args.pid > 0) { @%[1]s = count(); } } profile:hz:9 { @%[1]s = count(); } uprobe:%[2]s:work { @%[1]s = count(); }`, name, bin)
	gone := func(what string) {
		t.Helper()
		bpftest.Eventually(t, 5*time.Second, "the kernel frees everything after "+what, func() bool { // RCU takes its time
			maps, _, _ := kernelObjects(t, name)
			return maps == 0
		})
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		p := trace(t, "-e", probes)
		if maps, programs, links := kernelObjects(t, name); maps != 1 || programs < 5 || links < 3 {
			t.Errorf("attached, but found %d maps, %d programs, %d links", maps, programs, links)
		}
		p.signal(t, sig)
		p.wait(t)
		gone(sig.String())
	}
	before := bpftest.Descriptors()
	if r := slope(t, "-e", probes+" interval:ms:1 { exit(); }"); r.status != 0 {
		t.Error(r.err)
	}
	gone("exit()")
	slope(t, "-e", probes, "--dry-run")
	gone("--dry-run")
	// The last program to be attached is the script's first: by then the others are.
	if r := slope(t, "-p", "1", "-e", fmt.Sprintf("uprobe:%s:work { @%s = count(); } %s", "/proc/self/exe", name, probes)); r.status == 0 {
		t.Error("an unattachable probe was attached")
	}
	gone("an error")
	for kind, n := range bpftest.Descriptors() {
		if strings.HasPrefix(kind, "anon_inode:") && n > before[kind] {
			t.Errorf("%d more %s than before", n-before[kind], kind)
		}
	}
}
