package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/runtime/supervisor"
)

// log is what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// fleet is a supervisor of scripts that do what their text says: "run", "fail", "end", "panic", "stuck".
type fleet struct {
	t   *testing.T
	v   *supervisor.Supervisor
	log log
}

func start(t *testing.T, paths ...string) *fleet {
	t.Helper()
	f := &fleet{t: t}
	f.v = supervisor.New(supervisor.Options{Paths: paths, Suffix: ".slo", Run: run, Retry: time.Millisecond, Log: slog.New(slog.NewTextHandler(&f.log, nil))})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.v.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return f
}

func run(ctx context.Context, s *supervisor.Script, text string) error {
	switch {
	case strings.HasPrefix(text, "run"):
	case strings.HasPrefix(text, "end"):
		s.Attached(1)
		return nil
	case strings.HasPrefix(text, "panic"):
		panic("of the script")
	case strings.HasPrefix(text, "stuck"):
		<-ctx.Done()
		return nil
	default:
		return errors.New("it is no script: " + text)
	}
	s.Attached(len(text))
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.Changes():
			switch {
			case strings.HasPrefix(c.Text, "run"):
				s.Attached(len(c.Text))
				c.Told(nil)
			case strings.HasPrefix(c.Text, "break"):
				c.Told(errors.New("it breaks"))
				return errors.New("broken")
			default:
				c.Told(errors.New("bad text"))
			}
		}
	}
}

// is waits until scripts are as told, each as "name state error".
func (f *fleet) is(ready bool, want ...string) {
	f.t.Helper()
	got := ""
	defer func() {
		if f.t.Failed() {
			f.t.Logf("got %s\n%s", got, f.log.b.String())
		}
	}()
	bpftest.Eventually(f.t, 10*time.Second, fmt.Sprintf("ready %t, %q", ready, want), func() bool {
		all, r := f.v.Status()
		var lines []string
		for _, s := range all {
			lines = append(lines, strings.TrimSpace(fmt.Sprint(s.Name, " ", s.State, " ", s.Error)))
		}
		got = fmt.Sprintf("%t %q", r, lines)
		return got == fmt.Sprintf("%t %q", ready, want)
	})
}

// TestIsolation has one script of each kind: none hinders another, and each gets well with its text.
func TestIsolation(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"run", "fail", "end", "panic", "stuck"} {
		put(t, dir+"/"+text+".slo", text)
	}
	f := start(t, dir+"/run.slo", dir+"/fail.slo", dir+"/end.slo", dir+"/panic.slo", dir+"/stuck.slo", dir+"/missing.slo")
	f.is(false, "end ended", "fail failed it is no script: fail", "missing failed failed to open file '"+dir+"/missing.slo': no such file or directory",
		"panic failed BUG: of the script", "run running", "stuck starting")
	bpftest.Eventually(t, 10*time.Second, "it is tried again", func() bool {
		all, _ := f.v.Status()
		return all[1].Starts > 5
	})
	if n := f.log.count(`"script failed" script=fail`); n != 1 {
		t.Errorf("the same failure was told %d times", n)
	}
	put(t, dir+"/run.slo", "bad")
	f.is(false, "end ended", "fail failed it is no script: fail", "missing failed failed to open file '"+dir+"/missing.slo': no such file or directory",
		"panic failed BUG: of the script", "run running bad text", "stuck starting")
	put(t, dir+"/run.slo", "break") // a new text breaks what ran: then it is started with it
	f.is(false, "end ended", "fail failed it is no script: fail", "missing failed failed to open file '"+dir+"/missing.slo': no such file or directory",
		"panic failed BUG: of the script", "run failed it is no script: break", "stuck starting")
	os.Remove(dir + "/stuck.slo") // named on the command line: it stays
	for _, name := range []string{"fail", "panic", "missing", "end", "run"} {
		put(t, dir+"/"+name+".slo", "run well")
	}
	f.is(false, "end running", "fail running", "missing running", "panic running", "run running", "stuck starting")
}

// TestDirectory finds new scripts and stops those that are gone.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	f := start(t, dir)
	f.is(true)
	put(t, dir+"/a.slo", "run")
	put(t, dir+"/.hidden.slo", "run")
	put(t, dir+"/notes.txt", "run")
	f.is(true, "a running")
	put(t, dir+"/b.slo", "fail")
	f.is(false, "a running", "b failed it is no script: fail")
	os.Remove(dir + "/b.slo")
	f.is(true, "a running")
	// Taken away for a moment, it runs on.
	os.Remove(dir + "/a.slo")
	put(t, dir+"/a.slo", "run 2")
	bpftest.Eventually(t, 10*time.Second, "reloaded", func() bool { all, _ := f.v.Status(); return len(all) == 1 && all[0].Reloads == 1 })
	if all, _ := f.v.Status(); all[0].Starts != 1 || all[0].Probes != len("run 2") {
		t.Errorf("got %+v", all[0])
	}
}

// TestNames are one each: they are labels and file names.
func TestNames(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	put(t, a+"/x.slo", "run")
	f := start(t, a, b)
	f.is(true, "x running")
	put(t, b+"/x.slo", "run")
	f.is(false, b+"/x.slo failed the name 'x' is taken by "+a+"/x.slo", "x running")
	os.Remove(a + "/x.slo")
	bpftest.Eventually(t, 20*time.Second, "the other one runs", func() bool {
		all, ready := f.v.Status()
		return ready && len(all) == 1 && all[0].Path == b+"/x.slo"
	})
}

// TestReload asks all scripts, and tells what became of it.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/a.slo", "run")
	put(t, dir+"/b.slo", "end")
	f := start(t, dir)
	f.is(true, "a running", "b ended")
	if err := f.v.Reload(context.Background()); err != nil {
		t.Error(err)
	}
	all, _ := f.v.Status()
	if all[0].Reloads != 1 || all[0].Starts != 1 || all[1].Starts != 2 {
		t.Errorf("got %+v", all)
	}
	put(t, dir+"/a.slo", "bad")
	put(t, dir+"/c.slo", "fail")
	if err := f.v.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "a: bad text") || !strings.Contains(err.Error(), "c: it is no script: fail") {
		t.Errorf("got %v", err)
	}
}
