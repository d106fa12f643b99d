package cli

import (
	"errors"
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

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// manyFunctions is a program of n functions that are each called once a round, and of one that is called 10 times.
func manyFunctions(n int) string {
	var b strings.Builder
	b.WriteString("#include <stdio.h>\n")
	for i := range n {
		fmt.Fprintf(&b, "__attribute__((noinline)) int many_%d(int n) { __asm__ volatile(\"\" ::: \"memory\"); return n + %d; }\n", i, i)
	}
	b.WriteString("__attribute__((noinline)) int work(int n) { __asm__ volatile(\"\" ::: \"memory\"); return n; }\nint main(void) { int c; while ((c = getchar()) == 'x') {\n")
	for i := range n {
		fmt.Fprintf(&b, "many_%d(1);\n", i)
	}
	b.WriteString("for (int i = 0; i < 10; i++) work(i);\nputchar(c); fflush(stdout); } return 0; }\n")
	return b.String()
}

// target is a process that makes its calls when it is told to.
type target struct {
	t   *testing.T
	cmd *exec.Cmd
	in  interface{ Write([]byte) (int, error) }
	out interface{ Read([]byte) (int, error) }
}

func startTarget(t *testing.T, bin string, args ...string) *target {
	t.Helper()
	c := &target{t: t, cmd: exec.Command(bin, args...)}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, out
	t.Cleanup(func() { in.Close(); c.cmd.Wait() })
	return c
}

func (c *target) pid() string { return strconv.Itoa(c.cmd.Process.Pid) }

// calls makes one round of calls and waits for its end.
func (c *target) calls() {
	c.t.Helper()
	if _, err := c.in.Write([]byte("x")); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.out.Read(make([]byte, 1)); err != nil {
		c.t.Fatal(err)
	}
}

// TestManyUprobes attaches to 1000 functions at once. To come and go takes less than a second, by the links that the kernel
// has for that.
func TestManyUprobes(t *testing.T) {
	const functions = 1000
	c := startTarget(t, buildC(t, manyFunctions(functions)))
	p := trace(t, "-v", "-e", `uprobe:`+c.cmd.Path+`:many_* { @n = count(); }`)
	c.calls()
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	want(t, r, fmt.Sprintf("@n: %d", functions))
	if new(bpf.Features).UprobeMulti() != nil {
		return
	}
	attached := regexp.MustCompile(`attached uprobe:\S+/target \(1000 places\) by uprobe_multi in (\d+)\.\d ms\n`).FindStringSubmatch(r.err)
	detached := regexp.MustCompile(`detached 1 links in (\d+)\.\d ms\n`).FindStringSubmatch(r.err)
	if attached == nil || detached == nil || len(attached[1]) > 3 || len(detached[1]) > 3 {
		t.Errorf("want one link within a second, got\n%s", r.err)
	}
	single := slope(t, "-v", "--dry-run", "--attach", "uprobe=single", "-e", `uprobe:`+c.cmd.Path+`:many_1 { }`)
	if !strings.Contains(single.err, "by perf event in") {
		t.Errorf("got\n%s", single.err)
	}
	for way, want := range map[string]string{"single": "got 1000 places, each of which needs a link of its own (as --attach says): the limit is 999", "multi": ""} {
		r := slope(t, "--dry-run", "--attach", "uprobe="+way, "-e", "config = { max_probes = 999 } uprobe:"+c.cmd.Path+":many_* { }")
		if !strings.Contains(r.err, want) || (r.status == 0) != (want == "") {
			t.Errorf("%s: status %d\n%s", way, r.status, r.err)
		}
	}
}

// TestManySyscalls attaches to all system calls, which one program serves.
func TestManySyscalls(t *testing.T) {
	p := trace(t, "-v", "-e", `tracepoint:syscalls:sys_enter_* { @n = count(); }`)
	bpftest.Eventually(t, 10*time.Second, "it tells how many probes are attached", func() bool { return strings.Contains(p.err.String(), "Attached ") })
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	m := regexp.MustCompile(`detached 1 links in (\d+)\.\d ms\n`).FindStringSubmatch(r.err)
	if n := number(t, r.err, `Attached (\d+) probes`); n < 300 || m == nil || len(m[1]) > 2 {
		t.Errorf("%d probes\n%s", n, r.err)
	}
}

// TestManyTracepoints attaches to many perf events, each of which the kernel takes 50 ms to close, one after the other. The
// programs are off and the maps are printed long before, and how long it takes is told.
func TestManyTracepoints(t *testing.T) {
	const events = 60
	bpftest.Require(t, bpf.CheckPrivileges(), new(bpf.Features).PerfLink())
	var names []string
	name := ""
	for line := range strings.Lines(slope(t, "-lv", "tracepoint:*").out) {
		if !strings.HasPrefix(line, " ") {
			name = strings.TrimSpace(line)
		} else if strings.TrimSpace(line) == "uint32 dev" && len(names) < events {
			names = append(names, name)
		}
	}
	if len(names) < events {
		t.Skipf("only %d tracepoints have a device", len(names))
	}
	r := script(t, "-v", "-c", "/bin/true", "-e", strings.Join(names, ",")+` /args.dev == 1/ { @n = count(); } end { @ended = 1; }`)
	want(t, r, "@ended: 1")
	detached := number(t, r.err, `detached 60 links in (\d+)\.\d ms\n`)
	freed := regexp.MustCompile(`freed 60 links in (\d+)\.\d ms\n`).FindStringSubmatch(r.err)
	if detached > 1000 || freed == nil {
		t.Errorf("detached in %d ms\n%s", detached, r.err)
	}
}

// TestFileGone probes a program whose file is deleted, before and after.
func TestFileGone(t *testing.T) {
	c := startTarget(t, buildC(t, manyFunctions(1)))
	before := trace(t, "-e", `uprobe:`+c.cmd.Path+`:work { @n = count(); }`)
	if err := os.Remove(c.cmd.Path); err != nil {
		t.Fatal(err)
	}
	after := trace(t, "-p", c.pid(), "-e", `uprobe:/proc/`+c.pid()+`/exe:work { @n = count(); }`)
	c.calls()
	for _, p := range []*process{before, after} {
		p.signal(t, syscall.SIGINT)
		want(t, p.wait(t), "@n: 10")
	}
	// Another file of the name is another program.
	if r := slope(t, "-e", `uprobe:`+c.cmd.Path+`:work { }`); r.status != 1 || !strings.Contains(r.err, "no such executable or library") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestMissingProbes has one probe that does not exist among others that do, under every policy, and one that exists but
// cannot be attached.
func TestMissingProbes(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	bin := buildC(t, cTarget)
	script := func(policy string) string {
		return policy + fmt.Sprintf(` uprobe:%[1]s:work, uprobe:%[1]s:gone, tracepoint:no:such { @n = count(); } usdt:%[1]s:a:b { }`, bin)
	}
	for policy, c := range map[string]struct {
		status int
		severe string // of what is told about each
	}{
		"":                                       {1, "ERROR"},
		"config = { missing_probes = error }":    {1, "ERROR"},
		"config = { missing_probes = warn }":     {0, "WARNING"},
		"config = { missing_probes = \"warn\" }": {0, "WARNING"},
		"config = { missing_probes = ignore }":   {0, ""},
	} {
		r := slope(t, "-c", bin, "-e", script(policy))
		if r.status != c.status {
			t.Errorf("%s: status %d\n%s", policy, r.status, r.err)
		}
		for _, text := range []string{"no function 'gone'", "tracepoint not found: no subsystem 'no'", "no static probes in"} {
			if told := regexp.MustCompile(c.severe + ": " + text).MatchString(r.err); told != (c.severe != "") {
				t.Errorf("%s: %s: told %t\n%s", policy, text, told, r.err)
			}
		}
		if c.status == 0 {
			want(t, r, "@n: 1000")
		}
	}
	for _, c := range []struct{ script, want string }{
		{`config = { missing_probes = maybe } begin { }`, "invalid value for 'missing_probes': want one of error, warn, ignore"},
		{`config = { missing_probes = warn } uprobe:` + bin + `:gone { }`, "no probes to attach"},
		{`config = { missing_probes = warn } uprob:` + bin + `:gone { }`, "invalid probe type: uprob"},
	} {
		if r := slope(t, "-e", c.script); r.status != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: status %d, want %q\n%s", c.script, r.status, c.want, r.err)
		}
	}
	if r := slope(t, "--attach", "uprobe=fentry", "-e", "begin { }"); r.status != 2 || !strings.Contains(r.err, "invalid --attach 'uprobe=fentry'") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestMissingInOne probes a function in several files, of which one does not have it.
func TestMissingInOne(t *testing.T) {
	bin := buildC(t, cTarget)
	dir := strings.TrimSuffix(bin, "/target")
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/other", b, 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, script(t, "-c", bin, "-e", `uprobe:`+dir+`/*:work { @n = count(); }`), "@n: 1000")
	named := `uprobe:` + dir + `/{target,other}:work { @n = count(); }`
	if r := slope(t, "-c", bin, "-e", named); r.status != 1 || !strings.Contains(r.err, "no function 'work' in "+dir+"/other") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	want(t, script(t, "-c", bin, "-e", "config = { missing_probes = warn } "+named), "@n: 1000")
	if r := slope(t, "-e", `uprobe:`+dir+`/*:none { @n = count(); }`); r.status != 1 || !strings.Contains(r.err, "no function 'none' in the 2 files that match") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestRefusedPlace attaches to all functions of a file but one, where the kernel refuses to put a probe.
func TestRefusedPlace(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	c := startTarget(t, buildC(t, strings.ReplaceAll(manyFunctions(1), "int main", `__asm__(".globl refused\n.type refused, @function\nrefused: lock; nop\nret\n.size refused, .-refused\n");
int main`)))
	c.calls() // it is mapped: the kernel looks at the instructions
	bin := c.cmd.Path
	all := fmt.Sprintf(` uprobe:%[1]s:{work,refused,main} { @n = count(); }`, bin)
	if r := slope(t, "-e", all); r.status != 1 || !strings.Contains(r.err, "cannot put a probe on this instruction") && !strings.Contains(r.err, "refuses the place") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	if r := slope(t, "-e", "config = { missing_probes = warn } uprobe:"+bin+":refused { }"); r.status != 1 || !strings.Contains(r.err, "no probes to attach: the kernel refuses all of them") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
	p := trace(t, "-e", "config = { missing_probes = warn }"+all)
	c.calls()
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	want(t, r, "@n: 10")
	if !strings.Contains(r.err, "Attached 2 probes") || strings.Count(r.err, "WARNING: attach uprobe "+bin) != 1 || !strings.Contains(r.err, "stdin:1:36-") {
		t.Errorf("got\n%s", r.err)
	}
}

// programs are the IDs of the programs in the kernel.
func programs(t *testing.T) map[ebpf.ProgramID]bool {
	t.Helper()
	out := map[ebpf.ProgramID]bool{}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[next], id = true, next
	}
}

// TestKilled ends slope with SIGKILL: nothing stays in the kernel.
func TestKilled(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	bin := buildC(t, usdtTarget)
	before := programs(t)
	p := trace(t, "-e", fmt.Sprintf(`usdt:%[1]s:loop:armed { @a = count(); } uprobe:%[1]s:main { @b = count(); } tracepoint:sched:sched_switch { @c[args.next_comm] = count(); } profile:hz:10 { @d = count(); }`, bin))
	mine := 0
	during := programs(t)
	for id := range during {
		if !before[id] {
			mine++
		}
	}
	if mine < 4 {
		t.Fatalf("%d programs", mine)
	}
	p.signal(t, syscall.SIGKILL)
	p.wait(t)
	bpftest.Eventually(t, 20*time.Second, "the programs are gone", func() bool {
		now := programs(t)
		for id := range during {
			if !before[id] && now[id] {
				return false
			}
		}
		return true
	})
	if out, err := exec.Command(bin).Output(); err != nil || string(out) != "seen 0\n" { // the semaphore is down
		t.Errorf("got %q, %v", out, err)
	}
}

// TestTargetEnds lets the process of -p end at various moments of the start: slope then says that there is no such process,
// or ends as usual.
func TestTargetEnds(t *testing.T) {
	bin := buildC(t, manyFunctions(300))
	for delay := range 8 {
		c := startTarget(t, bin)
		cmd := command(t, "-p", c.pid(), "-e", `uprobe:`+bin+`:many_* { @[probe] = count(); }`)
		p := start(t, cmd)
		time.AfterFunc(time.Duration(delay)*20*time.Millisecond, func() { c.cmd.Process.Kill() })
		r := p.wait(t)
		told := strings.Contains(r.err, "no process") || strings.Contains(r.err, "no such process") || strings.Contains(r.err, "process has ended")
		if r.status != 0 && !(r.status == 1 && told) {
			t.Errorf("after %d ms: status %d\n%s", 20*delay, r.status, r.err)
		}
	}
	if r := slope(t, "-p", "4194303", "-e", "begin { }"); r.status != 1 || !strings.Contains(r.err, "no process with ID 4194303") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}

// TestSmallRing prints more than a ring buffer of one page has room for: what is not printed is counted.
func TestSmallRing(t *testing.T) {
	path, comm := ownDD(t)
	r := named(t, "-c", path+ddArgs, "-e", `config = { perf_rb_pages = 1 }
		tracepoint:syscalls:sys_enter_read /comm == "COMM" && args.count == 1/ { printf("read %d\n", args.fd); @n = count(); }`, comm)
	want(t, r, "@n: 100000")
	lost := number(t, strings.ReplaceAll(r.out+r.err, "\u00a0", " "), `Lost (\d+) events`)
	if printed := strings.Count(r.out, "read 0\n"); printed+lost != 100000 || lost == 0 || printed == 0 {
		t.Errorf("printed %d, lost %d\n%s", printed, lost, r.err)
	}
}
