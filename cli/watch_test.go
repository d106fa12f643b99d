package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
)

// reads makes 1-byte reads, a known number at a time, under a name of its own, until it is stopped.
type reads struct {
	comm, dir string
	cmd       *exec.Cmd
}

// startReads prepares a process whose name scripts ask for, by COMM in them.
func startReads(t *testing.T) *reads {
	t.Helper()
	bpftest.Require(t, bpf.CheckPrivileges())
	path, comm := ownDD(t)
	r := &reads{comm: comm, dir: t.TempDir()}
	r.cmd = exec.Command("sh", "-c", `while [ ! -e stop ]; do `+path+` if=/dev/zero of=/dev/null bs=1 count=50000 status=none && echo >>rounds; done`)
	r.cmd.Dir = r.dir
	return r
}

func (r *reads) start(t *testing.T) {
	t.Helper()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop(t) })
}

// stop waits for the end of the round, and tells how many reads there were.
func (r *reads) stop(t *testing.T) int {
	t.Helper()
	if err := os.WriteFile(r.dir+"/stop", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.cmd.Wait()
	return 50000 * len(read(t, r.dir+"/rounds"))
}

// reloaded waits until so many reloads were told.
func (p *process) reloaded(t *testing.T, n int) {
	t.Helper()
	p.told(t, "is reloaded in ", n)
}

// told waits until a text was told so many times.
func (p *process) told(t *testing.T, text string, n int) {
	t.Helper()
	bpftest.Eventually(t, 20*time.Second, fmt.Sprintf("%q told %d times", text, n), func() bool {
		select {
		case <-p.done:
			t.Fatalf("ended\n%s%s", p.out.String(), p.err.String())
		default:
		}
		return strings.Count(p.err.String(), text) >= n
	})
}

func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const watchedScript = `begin { printf("begin\n"); }
sli ones { tracepoint:syscalls:sys_exit_read /comm == "COMM" && args.ret == 1/ { event(args.ret == 1); } }
slo good = 99% of ones over 30d;
tracepoint:syscalls:sys_exit_read /comm == "COMM" && args.ret == 1/ { @n = count(); @by[comm]++; }
end { printf("end\n"); }
`

// TestWatch changes a script in every way a file is changed, and by SIGHUP, while it counts: nothing is lost.
func TestWatch(t *testing.T) {
	load := startReads(t)
	text := strings.ReplaceAll(watchedScript, "COMM", load.comm)
	dir := t.TempDir()
	// As in a ConfigMap: the file is a link into a directory that is a link.
	version := func(n int, text string) string {
		d := fmt.Sprintf("%s/..v%d", dir, n)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		replaceFile(t, d+"/a.slo", text)
		return d
	}
	swap := func(d string) {
		if err := os.Symlink(d, dir+"/..tmp"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"/..tmp", dir+"/..data"); err != nil {
			t.Fatal(err)
		}
	}
	swap(version(1, text))
	path := dir + "/a.slo"
	if err := os.Symlink("..data/a.slo", path); err != nil {
		t.Fatal(err)
	}
	p := trace(t, "run", "--watch", "--listen", "127.0.0.1:0", path)
	load.start(t)
	url := p.address(t)
	events := regexp.MustCompile(`(?m)^slope_sli_events_total\{sli="ones"\} (\S+)$`)
	last := 0.0
	scrape := func() {
		t.Helper()
		body, _ := fetch(t, url, acceptText)
		m := events.FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no events in\n%s", body)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil || n < last {
			t.Errorf("events went from %f to %s", last, m[1])
		}
		last = n
	}
	bpftest.Eventually(t, 10*time.Second, "events", func() bool {
		body, _ := fetch(t, url, acceptText)
		return events.MatchString(body)
	})
	scrape()

	os.RemoveAll(dir + "/..v1")
	swap(version(2, text+"// link swapped\n"))
	p.reloaded(t, 1)
	scrape()
	swap(version(3, text+"begin { nonsense }\n"))
	p.told(t, "unknown identifier: 'nonsense'", 1)
	p.told(t, "is not reloaded: the program that runs goes on", 1)
	scrape()
	replaceFile(t, dir+"/..v3/a.slo", text+"// written in place\n")
	p.reloaded(t, 2)
	scrape()
	os.Remove(path) // an editor: the file is a file now, renamed over
	p.told(t, "no such file or directory", 1)
	scrape()
	replaceFile(t, dir+"/new", strings.ReplaceAll(text, "99%", "99.9%"))
	if err := os.Rename(dir+"/new", path); err != nil {
		t.Fatal(err)
	}
	p.reloaded(t, 3)
	scrape()
	p.signal(t, syscall.SIGHUP)
	p.reloaded(t, 4)
	scrape()
	// What cannot be attached leaves no trace either.
	replaceFile(t, path, text+"uprobe:/no/such/file:main { }\n")
	p.told(t, "is not reloaded: the program that runs goes on", 3)
	scrape()

	want := load.stop(t)
	p.signal(t, syscall.SIGTERM)
	r := p.wait(t)
	if n := number(t, r.out, `(?m)^@n: (\d+)$`); n != want {
		t.Errorf("@n: counted %d of %d", n, want)
	}
	if n := number(t, r.out, `(?m)^@by\[.*\]: (\d+)$`); n != want {
		t.Errorf("@by: counted %d of %d", n, want)
	}
	if n := number(t, strings.ReplaceAll(r.out, " ", ""), `·(\d+)events·0lost`); n != want {
		t.Errorf("sli: counted %d of %d", n, want)
	}
	if r.status != 0 || strings.Count(r.out, "begin\n") != 1 || strings.Count(r.out, "end\n") != 1 || !strings.Contains(r.out, "99.9 % of ones") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
	}
}

// TestWatchWants a file.
func TestWatchWants(t *testing.T) {
	for _, args := range [][]string{{"run", "--watch", "-e", "begin { }"}, {"--watch", "-"}} {
		if r := slope(t, args...); r.status != 2 || !strings.Contains(r.err, "--watch wants a script that is a file") {
			t.Errorf("%q: status %d\n%s", args, r.status, r.err)
		}
	}
}

// objectiveReport finds an objective in JSON output.
func objectiveReport(t *testing.T, out, name string) (found struct{ Total, Bad, Lost uint64 }) {
	t.Helper()
	for _, l := range lines(out) {
		var o struct {
			Type string
			Data struct {
				Name             string
				Total, Bad, Lost uint64
			}
		}
		if json.Unmarshal([]byte(l), &o) == nil && o.Type == "slo" && o.Data.Name == name {
			found.Total, found.Bad, found.Lost = o.Data.Total, o.Data.Bad, o.Data.Lost
			return found
		}
	}
	t.Fatalf("no objective %s in\n%s", name, out)
	return found
}

// TestObjectivesGoOn keeps what objectives counted over reloads, where the indicator's maps are kept and where they are not, over
// a restart, and not where something else is counted.
func TestObjectivesGoOn(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	const script = `sli n[who] { tracepoint:syscalls:sys_exit_read /comm == "COMM" && args.ret == 1/ { event(1 == 2, 7); } }
slo kept = 99% of n over 30d;
`
	for _, state := range []string{"", t.TempDir()} {
		path, comm := ownDD(t)
		text := strings.ReplaceAll(script, "COMM", comm)
		calls := func(n int) {
			t.Helper()
			if out, err := exec.Command(path, "if=/dev/zero", "of=/dev/null", "bs=1", fmt.Sprint("count=", n), "status=none").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		file := write(t, "go_on.slo", text)
		run := func() *process {
			args := []string{"run", "--watch", "--listen", "off", "-f", "json", file}
			if state != "" {
				args = append([]string{"run", "--state", state}, args[1:]...)
			}
			return trace(t, args...)
		}
		reloads := func(p *process, n int) {
			t.Helper()
			bpftest.Eventually(t, 10*time.Second, "reloaded", func() bool { return strings.Count(p.out.String(), "is reloaded in") >= n })
		}
		p := run()
		calls(100)
		replaceFile(t, file, text+"// nothing\n")
		reloads(p, 1)
		calls(100)
		// Another objective makes other words: the map is a new one.
		more := text + "slo other = 50% of n[who == 7] over 7d;\n"
		replaceFile(t, file, more)
		reloads(p, 2)
		calls(100)
		replaceFile(t, file, more+"// nothing\n")
		reloads(p, 3)
		calls(100)
		replaceFile(t, file, text)
		reloads(p, 4)
		calls(100)
		p.signal(t, syscall.SIGTERM)
		r := p.wait(t)
		if o := objectiveReport(t, r.out, "kept"); o.Total != 500 || o.Bad != 500 || o.Lost != 0 || r.status != 0 {
			t.Errorf("state %q, after 4 reloads: %+v\n%s%s", state, o, r.out, r.err)
		}
		if state == "" {
			continue
		}
		p = run()
		calls(100)
		// What counts something else starts anew.
		replaceFile(t, file, strings.ReplaceAll(text, "1 == 2", "2 == 2"))
		reloads(p, 1)
		calls(10)
		p.signal(t, syscall.SIGTERM)
		r = p.wait(t)
		if o := objectiveReport(t, r.out, "kept"); o.Total != 10 || o.Bad != 0 || !strings.Contains(r.out, "counts something else than before") {
			t.Errorf("another text: %+v\n%s%s", o, r.out, r.err)
		}
		p = run()
		calls(10)
		p.signal(t, syscall.SIGTERM)
		r = p.wait(t)
		if o := objectiveReport(t, r.out, "kept"); o.Total != 20 {
			t.Errorf("after a restart: %+v\n%s%s", o, r.out, r.err)
		}
	}
}

// TestReloadAndTerm ends scripts at any moment of a reload.
func TestReloadAndTerm(t *testing.T) {
	load := startReads(t)
	load.start(t)
	text := strings.ReplaceAll(watchedScript, "COMM", load.comm)
	name := fmt.Sprintf("term_%d", os.Getpid())
	for i := range 8 {
		file := write(t, "term.slo", text+"begin { @"+name+" = 1; }")
		p := trace(t, "run", "--watch", "--listen", "off", file)
		p.signal(t, syscall.SIGHUP)
		for range i * 2000 { // a little later each time
			os.Getpid()
		}
		if i%2 == 1 {
			p.reloaded(t, 1)
			p.signal(t, syscall.SIGHUP)
		}
		p.signal(t, syscall.SIGTERM)
		if r := p.wait(t); r.status != 0 || !strings.Contains(r.out, "end\n") || strings.Contains(r.err, "slope:") {
			t.Errorf("status %d\n%s%s", r.status, r.out, r.err)
		}
	}
	bpftest.Eventually(t, 5*time.Second, "the kernel frees everything", func() bool {
		maps, _, _ := kernelObjects(t, name)
		return maps == 0
	})
}

// TestReloadLoop reloads again and again under load: the counts are exact, and nothing piles up, in the process or in the kernel.
func TestReloadLoop(t *testing.T) {
	load := startReads(t)
	name := fmt.Sprintf("loop_%d", os.Getpid())
	text := strings.ReplaceAll(watchedScript, "COMM", load.comm) + "begin { @" + name + " = 1; }\n"
	file := write(t, "loop.slo", text)
	p := trace(t, "run", "--watch", "--listen", "off", file)
	load.start(t)
	n := 30
	if os.Getenv("SLOPE_SOAK") != "" {
		n = 1000
	}
	size := func() (rss, descriptors, threads int) {
		status := read(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return number(t, status, `VmRSS:\s+(\d+) kB`), len(fds), number(t, status, `Threads:\s+(\d+)`)
	}
	var rss, descriptors int
	for i := range n {
		replaceFile(t, file, fmt.Sprintf("%s// %d\ninterval:s:%d { @other%d[1] = 1; }\n", text, i, 100+i, i%3))
		p.reloaded(t, i+1)
		if i == 9 {
			rss, descriptors, _ = size()
		}
	}
	nowRSS, nowDescriptors, threads := size()
	// One generation may still be closing.
	maps, programs, links := kernelObjects(t, name)
	if nowDescriptors > descriptors+30 || nowRSS > rss+32<<10 || threads > 60 || maps > 1 || programs > 12 || links > 2 {
		t.Errorf("after %d reloads: %d descriptors (%d after 10), %d kB (%d), %d threads, %d maps, %d programs, %d links", n, nowDescriptors, descriptors,
			nowRSS, rss, threads, maps, programs, links)
	}
	want := load.stop(t)
	p.signal(t, syscall.SIGTERM)
	r := p.wait(t)
	if got := number(t, r.out, `(?m)^@n: (\d+)$`); got != want || r.status != 0 {
		t.Errorf("status %d, counted %d of %d\n%s", r.status, got, want, r.err)
	}
	bpftest.Eventually(t, 5*time.Second, "the kernel frees everything", func() bool {
		maps, _, _ := kernelObjects(t, name)
		return maps == 0
	})
	t.Logf("%d reloads under %d reads; %d kB and %d descriptors after 10, %d kB and %d at the end", n, want, rss, descriptors, nowRSS, nowDescriptors)
}
