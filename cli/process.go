package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// oneSignal is how long after the first signal another is the same one: timeout(1) and some terminals send it to the process
// and then to its group.
const oneSignal = 100 * time.Millisecond

// interruptible is a context that the first SIGINT or SIGTERM ends; the second kills as usual. Meanwhile SIGPIPE is an
// error of the write, so that a reader who leaves ends the script in order.
func interruptible() (context.Context, func()) {
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(oneSignal, stop) })
	return ctx, func() {
		stop()
		signal.Stop(pipe)
	}
}

// watchProcess closes the channel when the process of -p or the child of -c has ended; stop ends the watching.
func watchProcess(pid int, c *child) (gone <-chan struct{}, stop func(), err error) {
	if c != nil {
		return c.done, func() {}, nil
	}
	ended := make(chan struct{})
	if pid == 0 {
		return ended, func() {}, nil
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		err := raw.Read(func(fd uintptr) bool { // called again each time the descriptor becomes readable
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err == nil {
			close(ended)
		}
	}()
	return ended, func() {
		file.Close()
		<-stopped
	}, nil
}

// pidFlag is the value of -p: a process ID, 0 while none is given.
type pidFlag int

// String implements pflag.Value.
func (p *pidFlag) String() string {
	if *p == 0 {
		return ""
	}
	return strconv.Itoa(int(*p))
}

// Set implements pflag.Value.
func (p *pidFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return errors.New("want a process ID")
	}
	*p = pidFlag(n)
	return nil
}

// Type implements pflag.Value.
func (p *pidFlag) Type() string { return "int" }
