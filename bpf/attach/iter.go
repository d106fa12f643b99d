package attach

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/internal/sys"
)

// TraceIterType is the attach type that a tracing program must be loaded with for Iter.
const TraceIterType = ebpf.AttachType(sys.AttachTraceIter)

// Iterator runs a program for the objects that the kernel has, as it is read. It is a Link.
type Iterator struct {
	links
	buf []byte
}

// iterLink makes an iterator of a program.
func iterLink(prog *ebpf.Program, kind string, pid int) (int, error) {
	attr := sys.LinkIterAttr{ProgFD: uint32(prog.FD()), AttachType: sys.AttachTraceIter}
	info := sys.IterInfo(kind, pid)
	attr.Info, attr.InfoLen = sys.Ptr(info), uint32(len(info)*int(unsafe.Sizeof(uint32(0))))
	link, err := sys.BPF(sys.LinkCreate, &attr)
	runtime.KeepAlive(prog)
	switch {
	case errors.Is(err, unix.ESRCH):
		err = fmt.Errorf("%w: no process %d", ErrNotFound, pid)
	case pid > 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.E2BIG)):
		err = &bpf.FeatureError{Feature: "iterators over the tasks of one process (6.1)", Err: err}
	}
	return link, err
}

// Iter makes an iterator of a program, over the objects it was loaded for: all of them, or with a pid greater than 0 those
// of that process, which only the iterators over tasks know (6.1).
func Iter(prog *ebpf.Program, kind string, pid int) (*Iterator, error) {
	target := "iterator over " + kind
	link, err := iterLink(prog, kind, pid)
	if err != nil {
		return nil, failed(target, err)
	}
	fd, err := sys.BPF(sys.IterCreate, &sys.IterCreateAttr{LinkFD: uint32(link)})
	if err != nil {
		unix.Close(link)
		return nil, failed(target, err)
	}
	return &Iterator{links: links{fds: []int{link, fd}, how: "iterator"}}, nil
}

// Next runs the program until it has given the reader so many bytes, or there are no objects any more: then it returns
// io.EOF. A program that gives nothing runs over up to a million objects; over cgroups the kernel does not go on there.
func (it *Iterator) Next(size int) error {
	if len(it.buf) < size {
		it.buf = make([]byte, size)
	}
	for {
		n, err := unix.Read(it.fds[1], it.buf[:size])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // EAGAIN: a million objects gave the reader nothing
		case errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("read iterator: there are more objects than the kernel walks over in one read: %w", err)
		case err != nil:
			return fmt.Errorf("read iterator: %w", err)
		case n == 0:
			return io.EOF
		default:
			return nil
		}
	}
}

// PinnedIter makes an iterator as Iter does, for whoever reads the file at path. The file is made in a bpf filesystem, and keeps
// the iterator and its program when the Link is closed.
func PinnedIter(prog *ebpf.Program, kind string, pid int, path string) (Link, error) {
	target := "iterator over " + kind + " pinned to " + path
	link, err := iterLink(prog, kind, pid)
	if err != nil {
		return nil, failed(target, err)
	}
	raw, err := unix.ByteSliceFromString(path)
	if err == nil {
		_, err = sys.BPF(sys.ObjPin, &sys.ObjPinAttr{Path: sys.Ptr(raw), FD: uint32(link)})
		runtime.KeepAlive(raw)
	}
	if err == nil {
		return &links{fds: []int{link}, how: "pinned iterator"}, nil
	}
	unix.Close(link)
	return nil, failed(target, cmp.Or(Pinnable(path), err))
}

// Pinnable tells why nothing can be pinned to a path, nil where nothing is seen that would be in the way.
func Pinnable(path string) error {
	dir := filepath.Dir(path)
	var fs unix.Statfs_t
	there, _ := os.Lstat(path)
	switch err := unix.Statfs(dir, &fs); {
	case there != nil && there.IsDir():
		return fmt.Errorf("that is a directory: %w", unix.EEXIST)
	case there != nil:
		return fmt.Errorf("there is a file already, which is to be removed before: %w", unix.EEXIST)
	case err != nil:
		return fmt.Errorf("no directory %s: %w", dir, err)
	case fs.Type != unix.BPF_FS_MAGIC:
		return fmt.Errorf("%s is in no bpf filesystem, which is usually mounted by: mount -t bpf bpf /sys/fs/bpf: %w", dir, unix.EPERM)
	}
	return nil
}
