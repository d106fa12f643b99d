// Guest is the first and only process of a test machine: it mounts what the tests need, runs one test binary, tells how
// that ended, and switches the machine off.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

func main() {
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"bpf", "/sys/fs/bpf"},
		{"tmpfs", "/tmp"}, {"cgroup2", "/sys/fs/cgroup"}} {
		os.MkdirAll(m[1], 0o755)
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			fmt.Println("guest: mount", m[1], err)
		}
	}
	status := run()
	fmt.Printf("GUEST status=%d\n", status)
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// run runs /tests/test with the arguments in /tests/args.
func run() int {
	args, err := os.ReadFile("/tests/args")
	if err != nil {
		fmt.Println("guest:", err)
		return 1
	}
	c := exec.Command("/tests/test", strings.Fields(string(args))...)
	c.Dir = "/tests"
	c.Env = []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "KERNEL_MATRIX=1"}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Println("guest:", err)
	return 1
}
