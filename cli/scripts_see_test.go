package cli

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/repl/ptytest"
)

// TestScriptsSee runs each tool on a program that does what it looks for.
func TestScriptsSee(t *testing.T) {
	goBin := build(t, goTarget)
	for _, c := range []struct {
		script, command, want string
		params                []string
	}{
		{"syscalls", "dd if=/dev/zero of=/dev/null bs=1 count=2000", `(?s)sli syscall .*\n  0 +\d+ \d\d\d .*sli answered .*\n  dd +[4-9] \d\d\d .*quick +99 %`, nil},
		{"iosize", "dd if=/dev/zero of=/dev/null bs=512 count=2000", `(?s)@read_bytes\[dd\]:.*\n\[512, 1K\) +\d{4} .*@read_total\[dd\]: 10[23]\d{4}\n`, nil},
		{"runqlat", "sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 0.001; done'", `(?s)sli runqueue .*\n  sleep +\d.*prompt `, nil},
		{"openerrors", "cat /no/such/file", `(?m)^\d+ +cat +2 /no/such/file$`, nil},
		{"throttling", "true", `(?s)sli throttled .*unthrottled +95 % of throttled / 7d`, nil},
		{"memory", "true", `(?s)sli headroom .*\n +2 +\d+(\.\d+)? %.*sli stalled .*\n +2 +\d+(\.\d+)? %`, nil},
		{"gofunc", goBin, `sli call .* 100 events · 0 lost`, []string{goBin, "main.work"}},
	} {
		args := append([]string{"--listen", "off", "-c", c.command, scripts + c.script + ".slo"}, c.params...)
		r := script(t, args...)
		for range 4 { // they see the whole machine: what others do at the time may push this one off the list
			if regexp.MustCompile(c.want).MatchString(r.out) {
				break
			}
			r = script(t, args...)
		}
		if !regexp.MustCompile(c.want).MatchString(r.out) {
			t.Errorf("%s: no %s in\n%s%s", c.script, c.want, r.out, r.err)
		}
	}
}

// run runs a program to its end, however that is, and returns its process ID.
func run(t *testing.T, name string, args ...string) int {
	t.Helper()
	path, err := exec.LookPath(name)
	bpftest.Require(t, err)
	cmd := exec.Command(path, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return cmd.Process.Pid
}

// rows is a check: every one of some regular expressions matches a whole line.
func rows(want ...string) func(string) error {
	return func(out string) error {
		for _, w := range want {
			if !regexp.MustCompile("(?m)^" + w + "$").MatchString(out) {
				return fmt.Errorf("no line %s", w)
			}
		}
		return nil
	}
}

// atLeast is a check: the numbers that a regular expression finds add up to so much, or more.
func atLeast(n int, pattern string) func(string) error {
	return func(out string) error {
		sum := 0
		for _, m := range regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(out, -1) {
			x, _ := strconv.Atoi(m[1])
			sum += x
		}
		if sum < n {
			return fmt.Errorf("%s add up to %d, want %d", pattern, sum, n)
		}
		return nil
	}
}

// both is a check of several.
func both(checks ...func(string) error) func(string) error {
	return func(out string) error {
		for _, c := range checks {
			if err := c(out); err != nil {
				return err
			}
		}
		return nil
	}
}

const clock = `\d\d:\d\d:\d\d  `

// tools do what a tool looks for, and return a check of what it prints.
var tools = map[string]func(t *testing.T) func(string) error{
	"opensnoop": func(t *testing.T) func(string) error {
		file := write(t, "known", "text")
		pid := run(t, "cat", file, file+".not")
		return rows(fmt.Sprintf(`%-7d cat +[3-9]   0 %s`, pid, regexp.QuoteMeta(file)), fmt.Sprintf(`%-7d cat +-1   2 %s.not`, pid, regexp.QuoteMeta(file)))
	},
	"statsnoop": func(t *testing.T) func(string) error {
		dir := t.TempDir()
		var st unix.Stat_t
		var stx unix.Statx_t
		var fs unix.Statfs_t
		for _, err := range []error{unix.Fstatat(unix.AT_FDCWD, dir, &st, 0), unix.Statx(unix.AT_FDCWD, dir+"/..", 0, 0, &stx), unix.Statfs(dir+"/.", &fs)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		os.Stat(dir + "/not")
		who := fmt.Sprintf(`%-7d \S+ +`, os.Getpid())
		dir = regexp.QuoteMeta(dir)
		return rows(who+"0 "+dir, who+`0 `+dir+`/\.\.`, who+`0 `+dir+`/\.`, who+"2 "+dir+"/not")
	},
	"killsnoop": func(t *testing.T) func(string) error {
		gone := run(t, "true")
		unix.Kill(os.Getpid(), 0)
		unix.Kill(gone, unix.SIGUSR1)
		return rows(fmt.Sprintf(`%s%-7d \S+ +0    %-7d 0`, clock, os.Getpid(), os.Getpid()), fmt.Sprintf(`%s%-7d \S+ +10   %-7d -3`, clock, os.Getpid(), gone))
	},
	"syncsnoop": func(t *testing.T) func(string) error {
		f, err := os.Create(t.TempDir() + "/f")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		fd := int(f.Fd())
		for _, err := range []error{unix.Fsync(fd), unix.Fdatasync(fd), unix.Syncfs(fd), unix.SyncFileRange(fd, 0, 0, 0), unix.Msync(page, unix.MS_ASYNC), unix.Munmap(page)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		who := fmt.Sprintf(`%s%-7d \S+ +`, clock, os.Getpid())
		return rows(who+"fsync", who+"fdatasync", who+"syncfs", who+"sync_file_range", who+"msync")
	},
	"syscount": func(t *testing.T) func(string) error {
		dd, comm := ownDD(t)
		run(t, dd, "if=/dev/zero", "of=/dev/null", "bs=1", "count=20000")
		return both(rows("Top 10 system calls:", "Top 10 programs:", `@program\[`+comm+`\]: 40\d\d\d`), atLeast(20000, `^@call\[read\]: (\d+)$`), atLeast(20000, `^@call\[write\]: (\d+)$`))
	},
	"naptime": func(t *testing.T) func(string) error {
		pid := run(t, "sleep", "0.25")
		return rows(fmt.Sprintf(`%s\S+ +%-7d sleep            %-7d 0\.250`, clock, os.Getpid(), pid))
	},
	"threadsnoop": func(t *testing.T) func(string) error {
		// It lives until its functions have been looked up: what ends at once may have no names.
		cmd := exec.Command(buildC(t, `#include <pthread.h>
#include <stdio.h>
void *serve(void *x) { return x; }
int main(void) {
	for (int i = 0; i < 3; i++) { pthread_t t; pthread_create(&t, 0, serve, 0); pthread_join(t, 0); }
	puts("done"); fflush(stdout);
	return getchar() == EOF ? 0 : 1;
}`, "-lpthread"))
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		if _, err := io.ReadFull(stdout, make([]byte, len("done\n"))); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		return func(out string) error {
			if n := len(regexp.MustCompile(fmt.Sprintf(`(?m)^\d+ +%d +target +serve$`, pid)).FindAllString(out, -1)); n != 3 {
				return fmt.Errorf("%d threads, want 3", n)
			}
			return nil
		}
	},
	"gethostlatency": func(t *testing.T) func(string) error {
		pid := run(t, "getent", "ahosts", "localhost")
		return rows(fmt.Sprintf(`%s%-7d getent +\d+\.\d\d\d localhost`, clock, pid))
	},
	"setuids": func(t *testing.T) func(string) error {
		pid := run(t, buildC(t, `#define _GNU_SOURCE
#include <sys/fsuid.h>
#include <unistd.h>
int main(void) { setfsuid(7); setreuid(-1, 0); setresuid(0, 8, -1); return setuid(9); }`))
		who := fmt.Sprintf(`%s%-7d target           `, clock, pid)
		return rows(who+`0      setfsuid\(7\) = 0`, who+`0      setreuid\(-1, 0\) = 0`, who+`0      setresuid\(0, 8, -1\) = 0`, who+`0      setuid\(9\) = -1`)
	},
	"mountsnoop": func(t *testing.T) func(string) error {
		ns, err := os.Readlink("/proc/thread-self/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		unix.Mount("none", "/no/such", "tmpfs", unix.MS_RDONLY, "")
		unix.Unmount("/no/such", unix.MNT_DETACH)
		who := fmt.Sprintf(`%s%-7d \S+ +%s  `, clock, os.Getpid(), strings.Trim(ns, "mnt:[]"))
		return rows(who+`mount\("none", "/no/such", "tmpfs", 0x1\) = -2`, who+`umount\("/no/such", 0x2\) = -2`)
	},
	"bashreadline": func(t *testing.T) func(string) error {
		bash := ptytest.Start(t, 80, 24, exec.Command("/bin/bash", "--norc", "--noprofile", "-i"))
		bash.Send("echo $((6 * 7))\n")
		bash.Wait("42")
		return rows(fmt.Sprintf(`%s%-7d echo \$\(\(6 \* 7\)\)`, clock, bash.Pid()))
	},
	"sslsnoop": func(t *testing.T) func(string) error {
		pid := readTLS(t, 12345)
		return atLeast(12345, fmt.Sprintf(`^\d+ +openssl +%d +SSL_read +\d+ (\d+)$`, pid))
	},
	"ssllatency": func(t *testing.T) func(string) error {
		readTLS(t, 12345)
		return rows(`@us\[SSL_read\]:`, `@us\[SSL_write\]:`, `@calls_us\[SSL_read\]: \{ \.count = \d+, \.average = \d+, \.total = \d+ \}`)
	},
	"tcpconnect": func(t *testing.T) func(string) error {
		return talk(t, func(local, remote *net.TCPAddr) string {
			return fmt.Sprintf(`%s%-7d \S+ +%s +%s +%d`, clock, os.Getpid(), local.IP, remote.IP, remote.Port)
		})
	},
	"tcpaccept": func(t *testing.T) func(string) error {
		return talk(t, func(local, remote *net.TCPAddr) string {
			return fmt.Sprintf(`%s%-7d \S+ +%s +%d +%s +%d +0/\d+`, clock, os.Getpid(), local.IP, local.Port, remote.IP, remote.Port)
		})
	},
	"tcplife": func(t *testing.T) func(string) error {
		return talk(t, func(local, remote *net.TCPAddr) string {
			return fmt.Sprintf(`%-7d \S+ +%s +%d +%s +%d +50 +3 \d+`, os.Getpid(), local.IP, local.Port, remote.IP, remote.Port)
		}, func(local, remote *net.TCPAddr) string {
			return fmt.Sprintf(`%-7d \S+ +%s +%d +%s +%d +3 +50 \d+`, os.Getpid(), remote.IP, remote.Port, local.IP, local.Port)
		})
	},
	"tcpdrop": func(t *testing.T) func(string) error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		if c, err := net.Dial("tcp4", addr); err == nil {
			c.Close()
			t.Fatal("somebody listens")
		}
		return rows(fmt.Sprintf(`%s\d+ +\S+ +127\.0\.0\.1:\d+ +%s +SKB_DROP_REASON_NO_SOCKET`, clock, addr), ` +tcp_v4_rcv\+\d+`)
	},
	"execsnoop": func(t *testing.T) func(string) error {
		pid := run(t, "/bin/true")
		return rows(fmt.Sprintf(`%s%-7d true             /bin/true`, clock, pid))
	},
	"pidpersec": func(t *testing.T) func(string) error {
		for range 20 {
			run(t, "true")
		}
		return atLeast(20, `PIDs/sec: @: (\d+)$`)
	},
	"loads": func(t *testing.T) func(string) error {
		return rows(`\d\d:\d\d:\d\d load averages: \d+\.\d\d \d+\.\d\d \d+\.\d\d \d+/\d+ \d+`)
	},
	"cpuwalk": func(t *testing.T) func(string) error {
		run(t, "timeout", "0.6", "taskset", "-c", "0", "sh", "-c", "while :; do :; done")
		return atLeast(30, `^\[0\] +(\d+) `)
	},
	"runqlen": func(t *testing.T) func(string) error {
		run(t, "timeout", "0.6", "taskset", "-c", "0", "sh", "-c", "while :; do :; done & while :; do :; done")
		return atLeast(30, `^\[[1-9]\d*\] +(\d+) `)
	},
	"bitesize": func(t *testing.T) func(string) error {
		comm := direct(t)
		return both(rows(`@bytes\[`+comm+`\]:`), atLeast(5, `^\[64K, 128K\) +(\d+) `))
	},
	"biosnoop": func(t *testing.T) func(string) error {
		comm := direct(t)
		return atLeast(5*65536, `^\d+ +\d+:\d+ +`+comm+` +\d+ +WS\w* +\d+ +(65536) +\d+\.\d\d\d$`)
	},
	"biostacks": func(t *testing.T) func(string) error {
		direct(t)
		return rows(`@us\[`, `    vfs_write\+\d+`)
	},
	"biolatency": func(t *testing.T) func(string) error {
		direct(t)
		return atLeast(5, ` (\d+) events `)
	},
	"writeback": func(t *testing.T) func(string) error {
		file := write(t, "changed", strings.Repeat("x", 4<<20))
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		onDisk(t, file)
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		return atLeast(1024, `^`+clock+`\S+ +(\d+) WB_REASON_\w+ +\d+\.\d\d\d$`)
	},
	"oomkill": func(t *testing.T) func(string) error {
		eat := buildC(t, "#include <stdlib.h>\nint main(void) { volatile char *p = malloc(200 << 20); for (int i = 0; i < 200 << 20; i += 4096) p[i] = 1; return 0; }")
		pid := run(t, "sh", "-c", "echo $$ >"+smallGroup(t)+"/cgroup.procs && exec "+eat)
		return rows(fmt.Sprintf(`\d\d:\d\d:\d\d PID %d \(target\) needed memory; killed PID %d; load averages: [\d. /]+`, pid, pid))
	},
}

// readTLS has openssl read n bytes from a server that then ends the connection, and returns its process ID.
func readTLS(t *testing.T, n int) int {
	t.Helper()
	dir := t.TempDir()
	run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", dir+"/key", "-out", dir+"/cert", "-days", "2", "-subj", "/CN=localhost")
	cert, err := tls.LoadX509KeyPair(dir+"/cert", dir+"/key")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write(make([]byte, n))
			c.Close()
		}
		sent <- err
	}()
	pid := run(t, "openssl", "s_client", "-quiet", "-connect", l.Addr().String())
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return pid
}

// talk opens a connection on loopback by each family, sends 50 KB one way and 3 the other, and closes it, the client's end
// first. The check has a line of every form for both connections.
func talk(t *testing.T, forms ...func(local, remote *net.TCPAddr) string) func(string) error {
	t.Helper()
	var want []string
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for _, way := range []struct {
			from, to net.Conn
			n        int
		}{{client, server, 50}, {server, client, 3}} {
			if _, err := way.from.Write(make([]byte, way.n<<10)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way.to, make([]byte, way.n<<10)); err != nil {
				t.Fatal(err)
			}
		}
		client.Close()
		io.Copy(io.Discard, server)
		server.Close()
		l.Close()
		for _, f := range forms {
			want = append(want, f(client.LocalAddr().(*net.TCPAddr), client.RemoteAddr().(*net.TCPAddr)))
		}
	}
	return rows(want...)
}

// onDisk wants a file to be on a block device.
func onDisk(t *testing.T, file string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	if unix.Major(st.Dev) == 0 {
		bpftest.Require(t, fmt.Errorf("%s is on no block device", file))
	}
}

// direct writes five times 64 KiB to a disk, past the page cache, and returns the writer's name.
func direct(t *testing.T) string {
	t.Helper()
	dd, comm := ownDD(t)
	onDisk(t, dd)
	run(t, dd, "if=/dev/zero", "of="+filepath.Dir(dd)+"/out", "oflag=direct", "bs=64k", "count=5")
	return comm
}

// smallGroup makes a cgroup that may have 30 MB of memory, and returns its directory.
func smallGroup(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("slope-test-%d", os.Getpid())
	for root, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
			continue // no file system of cgroups
		}
		dir := root + "/" + name
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if f, err := os.OpenFile(dir+"/"+limit, os.O_WRONLY, 0); err == nil { // never made: it is the kernel's
			_, err = f.WriteString("30000000")
			f.Close()
			if err == nil {
				return dir
			}
		}
	}
	bpftest.Require(t, fmt.Errorf("no cgroup with a limit of memory can be made"))
	return ""
}

// slow are the tools that print after the event: at an interval, or when the kernel has ended a connection.
var slow = map[string]bool{"loads": true, "pidpersec": true, "tcplife": true}

// TestToolsSee runs each tool beside what it looks for, as the whole machine's, and compares what it prints with what is known
// from outside: process IDs, ports, paths, sizes, counts.
func TestToolsSee(t *testing.T) {
	for name, work := range tools {
		t.Run(name, func(t *testing.T) {
			p := trace(t, "--listen", "off", scripts+name+".slo")
			check := work(t)
			if slow[name] {
				bpftest.Eventually(t, 5*time.Second, name+" prints what is known", func() bool { return check(p.out.String()) == nil })
			}
			p.signal(t, syscall.SIGINT)
			r := p.wait(t)
			if err := check(r.out); err != nil || r.status != 0 {
				t.Errorf("status %d, %v\n%s%s", r.status, err, r.out, r.err)
			}
		})
	}
}
