// Package tracefs reads the kernel's list of tracepoints and the layout of their records.
//
// Nothing needs to be mounted: where neither /sys/kernel/tracing nor /sys/kernel/debug/tracing is a tracefs, a private
// mount that only this process sees is made with fsopen and fsmount, and everything is opened relative to it.
//
// Invariants. A format file is text from the kernel but is parsed as if it were hostile: a line that is not understood
// is listed in Format.Skipped, never guessed. Fields keep the order of the file, which is the order to print them in.
//
// It must not attach anything (bpf/attach does) and must not write to tracefs. Start at Open and FS.Format.
package tracefs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound says that the kernel has no such event.
	ErrNotFound = errors.New("no such tracepoint")
	// ErrUnavailable says that tracefs is neither mounted nor can be.
	ErrUnavailable = errors.New("tracefs is not available")
)

// maxFormat bounds the size of a format file; the largest of a 6.18 kernel has 9 kB.
const maxFormat = 1 << 20

// maxList bounds the list of functions; a distribution's kernel has 60 000 of them, in 2 MB.
const maxList = 64 << 20

// FS is an open tracefs.
type FS struct {
	dir     int
	private bool
}

// Open opens the mounted tracefs or makes a private mount.
func Open() (*FS, error) {
	hidden := ""
	for _, path := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EACCES) {
			hidden = path
		}
		if err != nil {
			continue
		}
		var st unix.Statfs_t
		if unix.Fstatfs(fd, &st) == nil && st.Type == unix.TRACEFS_MAGIC {
			return &FS{dir: fd}, nil
		}
		unix.Close(fd)
	}
	fs, err := openPrivate()
	if err != nil && hidden != "" {
		err = fmt.Errorf("open tracefs: %w: only root may read %s; without root it needs CAP_DAC_READ_SEARCH", ErrUnavailable, hidden)
	}
	return fs, err
}

// openPrivate mounts a tracefs that has no place in the tree. It ends with the last descriptor into it.
func openPrivate() (*FS, error) {
	fail := func(what string, err error) (*FS, error) {
		reason := ""
		switch err {
		case unix.EPERM:
			reason = "; mounting it needs CAP_SYS_ADMIN"
		case unix.ENOSYS:
			reason = "; mount it at /sys/kernel/tracing (the kernel is older than fsopen)"
		case unix.ENODEV:
			reason = "; the kernel was built without CONFIG_TRACING"
		}
		return nil, fmt.Errorf("%s tracefs: %w: %w%s", what, ErrUnavailable, err, reason)
	}
	fsfd, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail("open", err)
	}
	defer unix.Close(fsfd)
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return fail("create", err)
	}
	dir, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fail("mount", err)
	}
	return &FS{dir: dir, private: true}, nil
}

// Close closes the file system.
func (fs *FS) Close() error {
	if fs.dir < 0 {
		return nil
	}
	fd := fs.dir
	fs.dir = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close tracefs: %w", err)
	}
	return nil
}

// Systems lists the groups of events ("sched", "syscalls"), sorted.
func (fs *FS) Systems() ([]string, error) { return fs.dirs("events") }

// Events lists the events of a group, sorted.
func (fs *FS) Events(system string) ([]string, error) {
	if !plain(system) {
		return nil, fmt.Errorf("list tracepoints of %q: %w", system, ErrNotFound)
	}
	return fs.dirs("events/" + system)
}

// Format reads the layout of an event's record.
func (fs *FS) Format(system, event string) (*Format, error) {
	if !plain(system) || !plain(event) {
		return nil, fmt.Errorf("read format of %q: %w", system+":"+event, ErrNotFound)
	}
	text, err := fs.read("events/"+system+"/"+event+"/format", maxFormat)
	if err != nil {
		return nil, fmt.Errorf("read format of %s:%s: %w", system, event, err)
	}
	f, err := ParseFormat(text, system)
	if err != nil {
		return nil, fmt.Errorf("parse format of %s:%s: %w", system, event, err)
	}
	return f, nil
}

// plain tells whether a name stays inside its directory.
func plain(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func (fs *FS) openAt(path string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(fs.dir, path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		switch err {
		case unix.EINTR:
			continue
		case unix.ENOENT, unix.ENOTDIR:
			return -1, ErrNotFound
		}
		return fd, err
	}
}

func (fs *FS) read(path string, limit int) (string, error) {
	fd, err := fs.openAt(path, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 4096)
	for len(buf) < limit {
		buf = slices.Grow(buf, 2048)
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return string(buf), nil
}

func (fs *FS) dirs(path string) ([]string, error) {
	fd, err := fs.openAt(path, unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// Functions lists the functions that can be traced by the module that they are in, "" for the kernel itself; none where the
// kernel keeps no list.
func (fs *FS) Functions() (map[string][]string, error) {
	text, err := fs.read("available_filter_functions", maxList)
	if err != nil {
		return nil, err
	}
	return parseFunctions(text), nil
}

// invalidAddress starts the name that the kernel gives to a function that it has thrown away.
const invalidAddress = "__ftrace_invalid_address__"

// parseFunctions reads lines of a name and, in brackets, perhaps its module.
func parseFunctions(text string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		module := ""
		if len(fields) == 2 && strings.HasPrefix(fields[1], "[") {
			module = strings.Trim(fields[1], "[]")
		} else if len(fields) != 1 {
			continue
		}
		if !strings.HasPrefix(fields[0], invalidAddress) {
			out[module] = append(out[module], fields[0])
		}
	}
	return out
}
