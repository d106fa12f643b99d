package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	notify   = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
	patience = 20 * time.Second // with another program
	tracefs  = "/sys/kernel/tracing"
)

// tool is a running tracer.
type tool struct {
	cmd      *exec.Cmd
	started  time.Time
	attached time.Duration
	done     chan error
}

// traceCommand is how bpftrace is called; nil when it is not installed. It insists on a mounted tracefs: where there
// is none, it gets one in a mount namespace of its own.
func traceCommand(text string) []string {
	path, err := exec.LookPath("bpftrace")
	if err != nil {
		return nil
	}
	command := []string{path, "-e", text}
	if _, err := os.Stat(tracefs + "/events"); err != nil {
		command = append([]string{"unshare", "-m", "sh", "-c", "mount -t tracefs nodev " + tracefs + " && exec \"$@\"", "sh"}, command...)
	}
	return command
}

// start runs a tracer and waits until it says that its probes are attached.
func start(command []string) (*tool, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), notify+"=1")
	cmd.Stdout, cmd.Stderr = write, write // bpftrace tells it on the latter
	t := &tool{cmd: cmd, started: time.Now(), done: make(chan error, 1)}
	err = cmd.Start()
	write.Close()
	if err != nil {
		read.Close()
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	said := make(chan string, 1)
	go func() {
		defer read.Close()
		lines := bufio.NewScanner(read)
		var output strings.Builder
		for lines.Scan() {
			if strings.Contains(lines.Text(), notify) {
				t.attached = time.Since(t.started)
				said <- ""
				break
			}
			output.WriteString("\n" + lines.Text())
		}
		said <- output.String()
		io.Copy(io.Discard, read)
		t.done <- cmd.Wait()
	}()
	select {
	case output := <-said:
		if output == "" && t.attached > 0 {
			return t, nil
		}
		return nil, fmt.Errorf("run %s: %w, it said:%s", command[0], errors.Join(<-t.done), output)
	case <-time.After(patience):
		cmd.Process.Kill()
		return nil, fmt.Errorf("run %s: not attached within %s", command[0], patience)
	}
}

// stop interrupts the tracer and returns how long it took to end.
func (t *tool) stop() (time.Duration, error) {
	begun := time.Now()
	if err := t.cmd.Process.Signal(unix.SIGINT); err != nil {
		return 0, fmt.Errorf("stop %s: %w", t.cmd.Path, err)
	}
	select {
	case <-t.done:
		return time.Since(begun), nil
	case <-time.After(patience):
		t.cmd.Process.Kill()
		<-t.done
		return 0, fmt.Errorf("stop %s: it does not end", t.cmd.Path)
	}
}

// resident is the tracer's memory in bytes.
func (t *tool) resident() (int64, error) {
	text, err := os.ReadFile("/proc/" + t.pid() + "/status")
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", t.cmd.Path, err)
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("memory of %s: not told", t.cmd.Path)
}

func (t *tool) pid() string { return strconv.Itoa(t.cmd.Process.Pid) }

// traced is a script run by bpftrace. Attaching it takes long, so it is measured in a few turns of many runs.
type traced struct {
	text string
	last Size // when it ran last
}

func (t *traced) size() (Size, error) { return t.last, nil }

func (t *traced) attached(f func() error) error {
	tool, err := start(traceCommand(t.text))
	if err != nil {
		return err
	}
	ids, err := programIDs(tool.pid())
	if err == nil {
		t.last, err = sizeOf(ids)
	}
	if err == nil {
		err = f()
	}
	_, stopped := tool.stop()
	return errors.Join(err, stopped)
}
