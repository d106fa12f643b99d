package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childCommand is the hidden first argument with which slope waits for a byte on descriptor 3 and then becomes
// another program: so that the program of -c does nothing before the probes are attached, and its exec is seen.
const childCommand = "__slope_child"

func childMain(args []string, s Streams) int {
	// The main thread must be the one that executes the program: where another does, the kernel gives the process to a
	// new task, and the probes on this process's functions, which are bound to the old one, would see nothing.
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		err := syscall.Exec("/proc/self/exe", append([]string{os.Args[0], childCommand}, args...), os.Environ())
		fmt.Fprintf(s.Err, "slope: start again: %s\n", err)
		return 127
	}
	ready := os.NewFile(4, "ready")
	ready.Write([]byte{1})
	ready.Close()
	gate := os.NewFile(3, "gate")
	if n, err := gate.Read(make([]byte, 1)); n != 1 || err != nil {
		return 1 // the parent gave up
	}
	gate.Close()
	err := syscall.Exec(args[0], args[1:], os.Environ())
	fmt.Fprintf(s.Err, "slope: execute %s: %s\n", args[0], err)
	return 127
}

// child is the program of -c.
type child struct {
	cmd  *exec.Cmd
	gate *os.File
	done chan struct{} // closed when it has ended, once it is waited for
	wait sync.Once
}

// startChild prepares the program; release lets it go.
func startChild(command string, s Streams) (*child, error) {
	words, err := splitWords(command)
	if err != nil {
		return nil, usagef("-c: %w", err)
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return nil, fmt.Errorf("-c: %w", errors.Unwrap(err))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	ready, started, err := os.Pipe()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer ready.Close()
	c := &child{cmd: exec.Command(self, append([]string{childCommand, path}, words...)...), gate: w, done: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = s.In, s.Out, s.Err
	c.cmd.ExtraFiles = []*os.File{r, started}
	err = c.cmd.Start()
	started.Close()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start %s: %w", words[0], err)
	}
	if n, err := ready.Read(make([]byte, 1)); n != 1 {
		c.end()
		return nil, fmt.Errorf("start %s: %w", words[0], err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// release lets the program start.
func (c *child) release() error {
	_, err := c.gate.Write([]byte{1})
	c.awaitEnd()
	return errors.Join(err, c.gate.Close())
}

// awaitEnd begins to wait for the end. Not earlier than needed: who waits for a process takes away what a tracer waits for.
func (c *child) awaitEnd() {
	c.wait.Do(func() {
		go func() {
			c.cmd.Wait()
			close(c.done)
		}()
	})
}

// childGrace is how long a program may take to end after SIGTERM. Then it is left alone: it may have its reasons.
const childGrace = 3 * time.Second

// end stops the program if it still runs, and waits for it. It tells whether the program has ended.
func (c *child) end() bool {
	c.gate.Close()
	c.awaitEnd()
	select {
	case <-c.done:
		return true
	default:
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
		return true
	case <-time.After(childGrace):
		return false
	}
}

// splitWords splits a command line at blanks, with quotes and backslashes as in a shell.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		case quote == 0 && (c == '\'' || c == '"'):
			quote, in = c, true
		case c == quote && quote != 0:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			in = true
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unclosed quote in '%s'", s)
	}
	if in {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, errors.New("empty command")
	}
	return words, nil
}
