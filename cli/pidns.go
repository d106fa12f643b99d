package cli

import (
	"errors"
	"os"
)

// initPidNamespace is the link of the initial pid namespace, whose inode is fixed (PROC_PID_INIT_INO, include/linux/proc_ns.h).
const initPidNamespace = "pid:[4026531836]"

// checkPidNamespace tells what does not hold inside a pid namespace: pid and tid are those of the initial one, so a
// process given by the number it has here would be another one there.
func checkPidNamespace(pid int, command string) (warning string, err error) {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil || ns == initPidNamespace {
		return "", nil
	}
	if pid != 0 {
		return "", hinted{errors.New("-p does not work inside a pid namespace: probes see the process IDs of the initial one"),
			"run slope in the host's pid namespace (docker run --pid=host, hostPID: true)"}
	}
	if command != "" {
		return "", nil
	}
	return "this is not the initial pid namespace: pid and tid are those of the host", nil
}
