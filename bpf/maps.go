package bpf

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/bpf/internal/sys"
)

const (
	flagNoPrealloc = 1 << 0
	flagMmapable   = 1 << 10
)

// MapSpec describes a map. Sizes are in bytes; a ring buffer has neither key nor value and MaxEntries is its size.
type MapSpec struct {
	Name       string
	Type       ebpf.MapType
	KeySize    int
	ValueSize  int
	MaxEntries int
	NoPrealloc bool // hash maps only: allocate entries when they appear
	Mapped     bool // arrays only: the value can be mapped into memory (5.5)
}

// NewMap creates a map. Its name is shortened to what the kernel keeps.
func NewMap(spec MapSpec) (*ebpf.Map, error) {
	attr := sys.MapCreateAttr{Type: uint32(spec.Type), KeySize: uint32(spec.KeySize), ValueSize: uint32(spec.ValueSize),
		MaxEntries: uint32(spec.MaxEntries), Name: sys.Name(spec.Name)}
	if spec.NoPrealloc {
		attr.Flags |= flagNoPrealloc
	}
	if spec.Mapped {
		attr.Flags |= flagMmapable
	}
	fd, err := sys.BPF(sys.MapCreate, &attr)
	if errors.Is(err, unix.EPERM) && raiseMemlock() {
		fd, err = sys.BPF(sys.MapCreate, &attr)
	}
	if err != nil {
		return nil, fmt.Errorf("create map %s (%s, key %d, value %d, %d entries): %w", spec.Name, spec.Type,
			spec.KeySize, spec.ValueSize, spec.MaxEntries, explainMap(err, spec))
	}
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("create map %s: %w", spec.Name, err)
	}
	return m, nil
}

func explainMap(err error, spec MapSpec) error {
	switch {
	case errors.Is(err, unix.EPERM):
		if p := CheckPrivileges(); p != nil {
			return fmt.Errorf("%w: %w", err, p)
		}
	case errors.Is(err, unix.EINVAL):
		if probeMapType(spec.Type) != nil {
			return &FeatureError{Feature: spec.Type.String() + " maps", Err: err}
		}
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("too large for this kernel: %w", err)
	}
	return err
}

// probeMapType creates the smallest map of a type.
func probeMapType(t ebpf.MapType) error {
	attr := sys.MapCreateAttr{Type: uint32(t), KeySize: 4, ValueSize: 8, MaxEntries: 1}
	if t == ebpf.RingBuf {
		attr.KeySize, attr.ValueSize, attr.MaxEntries = 0, 0, uint32(os.Getpagesize())
	}
	fd, err := sys.BPF(sys.MapCreate, &attr)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// PossibleCPUs returns how many CPUs the kernel keeps per-CPU values for.
func PossibleCPUs() (int, error) {
	const path = "/sys/devices/system/cpu/possible"
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("count CPUs: %w", err)
	}
	cpus := sys.ParseCPUList(string(b))
	if len(cpus) == 0 {
		return 0, fmt.Errorf("count CPUs: %s says %q", path, b)
	}
	return cpus[len(cpus)-1] + 1, nil
}

// perCPU tells whether a map's values are one per CPU.
func perCPU(t ebpf.MapType) bool {
	return t == ebpf.PerCPUHash || t == ebpf.PerCPUArray || t == ebpf.LRUCPUHash
}

func array(t ebpf.MapType) bool { return t == ebpf.Array || t == ebpf.PerCPUArray }

// batchMissing tells whether an errno says that the map type has no batch operations.
func batchMissing(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, sys.ENOTSUPP)
}

// Reader reads a whole map again and again with the same buffers.
type Reader struct {
	m            *ebpf.Map
	key, value   int // bytes of one key and of one value with all its CPUs
	keys, values []byte
	cursor       [2][]byte
	noBatch      bool
}

// batchBytes bounds the buffer of values; batchKeys the number of entries per system call.
const (
	batchBytes = 256 << 10
	batchKeys  = 4096
)

// NewReader makes a reader. The map must outlive it.
func NewReader(m *ebpf.Map) (*Reader, error) {
	r := &Reader{m: m, key: int(m.KeySize()), value: int(m.ValueSize())}
	if perCPU(m.Type()) {
		cpus, err := PossibleCPUs()
		if err != nil {
			return nil, err
		}
		r.value = (r.value + 7) &^ 7 * cpus
	}
	if r.key == 0 || r.value == 0 {
		return nil, fmt.Errorf("read map: a %s has no entries to read", m.Type())
	}
	r.resize(min(batchKeys, max(1, batchBytes/r.value), int(m.MaxEntries())))
	cursor := max(r.key, 8)
	r.cursor = [2][]byte{make([]byte, cursor), make([]byte, cursor)}
	return r, nil
}

func (r *Reader) resize(n int) {
	r.keys, r.values = make([]byte, n*r.key), make([]byte, n*r.value)
}

// ValueBytes returns the length of the values that All passes on: for a per-CPU map the values of all possible CPUs,
// each rounded up to a multiple of 8.
func (r *Reader) ValueBytes() int { return r.value }

// All calls f with every entry; key and value are valid during the call only. An entry that programs add or remove
// meanwhile may be missed; an error of f ends the reading and is returned.
func (r *Reader) All(f func(key, value []byte) error) error {
	if !r.noBatch {
		done, err := r.batch(f)
		if done {
			return err
		}
		r.noBatch = true
	}
	if array(r.m.Type()) {
		return r.indices(f)
	}
	return r.iterate(f)
}

// batch reads by MAP_LOOKUP_BATCH. done is false when the kernel has no batches for this map, before any call of f.
func (r *Reader) batch(f func(key, value []byte) error) (done bool, err error) {
	var in unsafe.Pointer
	for turn := 0; ; turn ^= 1 {
		attr := sys.MapBatchAttr{InBatch: in, OutBatch: sys.Ptr(r.cursor[turn]), Keys: sys.Ptr(r.keys),
			Values: sys.Ptr(r.values), Count: uint32(len(r.keys) / r.key), MapFD: uint32(r.m.FD())}
		_, err := sys.BPF(sys.MapLookupBatch, &attr)
		last := errors.Is(err, unix.ENOENT)
		switch {
		case err == nil || last:
		case errors.Is(err, unix.ENOSPC) && len(r.keys)/r.key <= int(r.m.MaxEntries()):
			r.resize(2 * len(r.keys) / r.key) // one hash bucket holds more than the buffers
			turn ^= 1
			continue
		case in == nil && batchMissing(err):
			return false, nil
		default:
			return true, fmt.Errorf("read map: %w", err)
		}
		n := min(int(attr.Count), len(r.keys)/r.key)
		for i := range n {
			if err := f(r.keys[i*r.key:(i+1)*r.key:(i+1)*r.key], r.values[i*r.value:(i+1)*r.value:(i+1)*r.value]); err != nil {
				return true, err
			}
		}
		if last {
			return true, nil
		}
		in = sys.Ptr(r.cursor[turn])
	}
}

// lookup reads one entry into the first place of the buffers.
func (r *Reader) lookup(key []byte) error {
	attr := sys.MapElemAttr{MapFD: uint32(r.m.FD()), Key: sys.Ptr(key), Value: sys.Ptr(r.values)}
	_, err := sys.BPF(sys.MapLookup, &attr)
	return err
}

func (r *Reader) indices(f func(key, value []byte) error) error {
	key := r.keys[:4]
	for i := range r.m.MaxEntries() {
		*(*uint32)(sys.Ptr(key)) = i
		if err := r.lookup(key); err != nil {
			return fmt.Errorf("read map: %w", err)
		}
		if err := f(key, r.values[:r.value]); err != nil {
			return err
		}
	}
	return nil
}

// iterate walks from key to key. When the present key is deleted meanwhile the kernel starts again from the first, so
// keys seen are remembered, and the number of steps is bounded.
func (r *Reader) iterate(f func(key, value []byte) error) error {
	seen := map[string]bool{}
	var key []byte
	next := make([]byte, r.key)
	for range 4*int(r.m.MaxEntries()) + 16 {
		attr := sys.MapElemAttr{MapFD: uint32(r.m.FD()), Key: sys.Ptr(key), Value: sys.Ptr(next)}
		_, err := sys.BPF(sys.MapNextKey, &attr)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read map: %w", err)
		}
		key = append(key[:0], next...)
		if seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		if err := r.lookup(key); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("read map: %w", err)
		}
		if err := f(key, r.values[:r.value]); err != nil {
			return err
		}
	}
	return nil
}

// ReadAll reads a map once; see Reader.All.
func ReadAll(m *ebpf.Map, f func(key, value []byte) error) error {
	r, err := NewReader(m)
	if err != nil {
		return err
	}
	return r.All(f)
}

// Clear deletes the entries of a map; those of an array, which cannot be deleted, become zero.
func Clear(m *ebpf.Map) error {
	if array(m.Type()) {
		return Zero(m)
	}
	keys, n, err := allKeys(m)
	if err != nil {
		return fmt.Errorf("clear map: %w", err)
	}
	size := int(m.KeySize())
	for n > 0 {
		attr := sys.MapBatchAttr{Keys: sys.Ptr(keys), Count: uint32(n), MapFD: uint32(m.FD())}
		_, err := sys.BPF(sys.MapDeleteBatch, &attr)
		if err == nil {
			return nil
		}
		// Count is what was deleted before the failing key, which is one that is gone already. Kernels without
		// batches leave Count alone: then keys are deleted one by one.
		done := int(attr.Count)
		if !errors.Is(err, unix.ENOENT) || done >= n {
			break
		}
		keys, n = keys[(done+1)*size:], n-done-1
	}
	for i := range n {
		attr := sys.MapElemAttr{MapFD: uint32(m.FD()), Key: sys.Ptr(keys[i*size:])}
		if _, err := sys.BPF(sys.MapDelete, &attr); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("clear map: %w", err)
		}
	}
	return nil
}

// Zero sets the values of all entries to zero in place, on all CPUs.
func Zero(m *ebpf.Map) error {
	r, err := NewReader(m)
	if err != nil {
		return fmt.Errorf("zero map: %w", err)
	}
	keys, n, err := allKeys(m)
	if err != nil {
		return fmt.Errorf("zero map: %w", err)
	}
	zero := make([]byte, r.value)
	const exist = 2 // an entry deleted meanwhile must not come back
	for i := range n {
		attr := sys.MapElemAttr{MapFD: uint32(m.FD()), Key: sys.Ptr(keys[i*r.key:]), Value: sys.Ptr(zero), Flags: exist}
		if _, err := sys.BPF(sys.MapUpdate, &attr); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("zero map: %w", err)
		}
	}
	return nil
}

// allKeys copies the keys of a map.
func allKeys(m *ebpf.Map) (keys []byte, n int, err error) {
	err = ReadAll(m, func(key, _ []byte) error {
		keys = append(keys, key...)
		n++
		return nil
	})
	return keys, n, err
}
