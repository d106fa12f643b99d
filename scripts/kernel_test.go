// Package scripts holds the ready-made tools. Its tests attach them to the kernel at hand, also to others (bpf/vmtest).
package scripts

import (
	"bytes"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/cli"
)

//go:embed *.slo
var tools embed.FS

// TestMain makes this binary slope, and the program of works, when it is called as one of them.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		if w, ok := works[os.Args[1]]; ok {
			if err := w.do(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
		os.Exit(cli.Main(os.Args[1:], cli.Standard()))
	}
	bpftest.Main(m)
}

// Why a tool may not attach on a machine.
const (
	noTrampoline = `this kernel cannot run .*: its trampolines refuse it`
	noFunction   = `the kernel has no function '\w+'`
	noBinary     = `find "(libc|libssl|/bin/bash)": no such executable or library`
	noReason     = `unknown field 'reason' of tracepoint:skb:kfree_skb`
)

// particular are the tools that attach to what not every machine has, and what slope says then.
var particular = map[string]string{
	"capable":        noTrampoline,
	"dcsnoop":        noTrampoline,
	"swapin":         noTrampoline,
	"tcpsynbl":       noTrampoline,
	"undump":         noTrampoline + "|" + noFunction,
	"vfscount":       noTrampoline,
	"vfsstat":        noTrampoline,
	"xfsdist":        noTrampoline + "|" + noFunction,
	"bashreadline":   noBinary,
	"gethostlatency": noBinary,
	"ssllatency":     noBinary,
	"sslsnoop":       noBinary,
	"threadsnoop":    noBinary,
	"tcpdrop":        noReason,
}

// files writes the tools to a directory and returns their paths by name.
func files(t *testing.T) map[string]string {
	t.Helper()
	list, err := tools.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := map[string]string{}
	for _, f := range list {
		text, err := tools.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, f.Name())
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(f.Name(), ".slo")] = path
	}
	return out
}

// locked is a buffer that slope and the program of -c write to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func slope(args ...string) (status int, out, errs string) {
	var o, e locked
	status = cli.Main(args, cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return status, o.b.String(), e.b.String()
}

// TestAttach attaches every tool and detaches it again: the verifier takes its programs. Where a machine lacks something,
// the tool says so; and compiles, when it is only the kernel's trampolines that lack.
func TestAttach(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range files(t) {
		t.Run(name, func(t *testing.T) {
			status, _, errs := slope("--dry-run", "--listen", "off", file, self, "github.com/slopebpf/slope/cli.Main")
			if status == 0 {
				if !strings.Contains(errs, "ttached ") || strings.Contains(errs, "WARNING") {
					t.Errorf("got %s", errs)
				}
				return
			}
			why := regexp.MustCompile(particular[name]).FindString(errs)
			if why == "" {
				t.Fatalf("status %d, not for a known reason\n%s", status, errs)
			}
			t.Log("compiled only:", why)
			if regexp.MustCompile(noTrampoline).MatchString(why) {
				if status, out, errs := slope("explain", file); status != 0 || !strings.Contains(out, " instructions, ") {
					t.Errorf("explain: status %d\n%s%s", status, out, errs)
				}
			}
		})
	}
}

// works are programs that do what a tool with probes in the kernel's functions looks for, and what it then prints.
var works = map[string]struct {
	do   func() error
	want string
}{
	"capable": {func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -1) }, `(?m)^\S+  0 +\d+ +\S+ +23   CAP_SYS_NICE +1$`},
	"dcsnoop": {func() error {
		if _, err := os.Stat("/tmp/slope-not-here"); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	}, `(?m)^\d+ +\d+ +\S+ +R tmp\n\d+ +\d+ +\S+ +R slope-not-here\n\d+ +\d+ +\S+ +M slope-not-here$`},
	"vfsstat":  {readFiles, `(?m)^@\[vfs_read\]: \d{4,}`},
	"vfscount": {readFiles, `(?m)^@\[vfs_read\]: \d{4,}`},
	"undump": {func() error {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fds[0], []byte("hello, socket")); err != nil {
			return err
		}
		b := make([]byte, 5)
		for range 2 {
			if _, err := unix.Read(fds[1], b); err != nil {
				return err
			}
		}
		return nil
	}, `(?m)^\S+  \S+ +\d+ +5 hello\n(.*\n)*\S+  \S+ +\d+ +5 , soc$`},
	"tcpsynbl": {func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			return err
		}
		for waiting := range uint32(3) {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return err
			}
			defer c.Close()
			for queued := false; !queued; { // the client may know before the server does
				if err := raw.Control(func(fd uintptr) {
					info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
					queued = err != nil || info.Unacked > waiting // of a listener: the length of its queue
				}); err != nil {
					return err
				}
			}
		}
		return l.Close()
	}, `(?m)^@backlog\[\d+\]:\n\[0\] +1 .*\n\[1\] +1 .*\n\[2, 4\) +1 `},
}

// readFiles reads from a file, for longer than the second after which tools print.
func readFiles() error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	for begun := time.Now(); time.Since(begun) < 1200*time.Millisecond; {
		if _, err := f.Read(b); err != nil {
			return err
		}
	}
	return nil
}

// TestSee runs tools with probes in the kernel's functions on programs that do what they look for.
func TestSee(t *testing.T) {
	bpftest.Require(t, bpf.CheckPrivileges(), loopback())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range files(t) {
		w, ok := works[name]
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			status, out, errs := slope("--listen", "off", "-c", self+" "+name, file)
			if why := regexp.MustCompile(noTrampoline).FindString(errs); status != 0 && why != "" {
				t.Skip(why) // the kernel matrix has kernels that can
			}
			if status != 0 || !regexp.MustCompile(w.want).MatchString(out) {
				t.Errorf("status %d, want %s\n%s%s", status, w.want, out, errs)
			}
			t.Logf("%.1500s%s", out, errs)
		})
	}
}

// loopback turns the loopback interface on, which is off on a machine that only runs tests.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	if req.Uint16()&unix.IFF_UP != 0 {
		return nil
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
