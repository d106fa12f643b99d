// Package btf reads the kernel's type information (BTF, /sys/kernel/btf/vmlinux) without parsing all of it.
//
// Algorithm. The blob is mapped into memory and never copied. A name is first sought in the string section; its
// offset is then compared with the name word of every type in one walk over the type section, so a lookup costs a few
// microseconds for an early type and below two milliseconds for the last one. Types follow each other with varying
// lengths, so the way from an id to its bytes leads over marks: the offset of every sixteenth type, recorded as far as
// some walk has come. Structs become types.Type with a Layout that is read when it is first asked for; what a pointer
// points to is named at once, its fields are not.
//
// The types of a module are an Index of their own, whose ids and offsets of strings go on where those of the kernel end,
// and which refers to the kernel's.
//
// Invariants. Nothing read from the blob is trusted: every offset is checked, every recursion has a depth or a budget,
// and a damaged blob gives ErrMalformed or less types, never a panic. An Index is safe for concurrent use.
// Typedefs, const, volatile, restrict and type tags never appear in results.
//
// It must not load all types, keep types by name, or know about programs. Start at Open and Index.Struct.
package btf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Kind is a kind of type in BTF, numbered as in include/uapi/linux/btf.h.
type Kind uint8

// The kinds.
const (
	KindInt Kind = iota + 1
	KindPtr
	KindArray
	KindStruct
	KindUnion
	KindEnum
	KindFwd
	KindTypedef
	KindVolatile
	KindConst
	KindRestrict
	KindFunc
	KindFuncProto
	KindVar
	KindDatasec
	KindFloat
	KindDeclTag
	KindTypeTag
	KindEnum64
)

var (
	// ErrNotFound says that there is no type of the name and kind.
	ErrNotFound = errors.New("not found in BTF")
	// ErrMalformed says that the blob contradicts itself.
	ErrMalformed = errors.New("malformed BTF")
	// ErrNoBTF says that the kernel was built without BTF.
	ErrNoBTF = errors.New("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")
)

// The kernel shows types in files of a directory: its own in vmlinux, those of each module in one of its name (5.11).
const (
	directory = "/sys/kernel/btf/"
	vmlinux   = "vmlinux"
)

// markEvery is the distance of marks in ids: 126 000 types take 32 kB, and a lookup walks over 8 types on average.
const markEvery = 16

// Index finds types in one BTF blob. Close it when neither it nor any type made by it is in use.
type Index struct {
	types, strs []byte
	unmap       []byte // what Close unmaps
	base        *Index // of a module: the kernel's
	first       uint32 // id of the first type
	baseStrs    uint32 // offset of the first string

	mu    sync.Mutex
	marks []uint32 // marks[i] is the offset of type first+i*markEvery
	next  int      // offset of the first type that no walk has passed; len(types) when all are known
	last  uint32   // id of that type
}

// Open maps the running kernel's types. Kernels before 6.16 cannot map the file: they have it read into memory
// outside of the Go heap.
func Open() (*Index, error) {
	ix, err := openFile(directory+vmlinux, nil)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("open %s: %w", directory+vmlinux, ErrNoBTF)
	}
	return ix, err
}

// OpenModule maps the types of a module of the running kernel, whose own are base, which must be closed later.
func OpenModule(base *Index, module string) (*Index, error) {
	ix, err := openFile(directory+module, base)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("open types of module %s: %w", module, ErrNotFound)
	}
	return ix, err
}

// Modules are the names of the loaded modules that have types, in order.
func Modules() ([]string, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.Name() != vmlinux {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func openFile(path string, base *Index) (*Index, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Size <= 0 || st.Size > 1<<30 {
		return nil, fmt.Errorf("open %s: size %d: %w", path, st.Size, ErrMalformed)
	}
	raw, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		if raw, err = readMapped(fd, int(st.Size)); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	ix, err := ParseSplit(raw, base)
	if err != nil {
		unix.Munmap(raw)
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	ix.unmap = raw
	return ix, nil
}

func readMapped(fd, size int) ([]byte, error) {
	raw, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	for n := 0; n < size; {
		k, err := unix.Pread(fd, raw[n:], int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && k <= 0 {
			err = ErrMalformed
		}
		if err != nil {
			unix.Munmap(raw)
			return nil, err
		}
		n += k
	}
	return raw, nil
}

// Parse makes an index over a blob, which it keeps and never writes.
func Parse(raw []byte) (*Index, error) { return ParseSplit(raw, nil) }

// ParseSplit is Parse for the types of a module, whose ids go on after those of base; nil for the kernel's own.
func ParseSplit(raw []byte, base *Index) (*Index, error) {
	le := binary.LittleEndian
	if len(raw) < 24 || le.Uint16(raw) != 0xeb9f || raw[2] != 1 {
		return nil, fmt.Errorf("parse header: %w", ErrMalformed)
	}
	header := uint64(le.Uint32(raw[4:]))
	section := func(at int) ([]byte, bool) {
		from := header + uint64(le.Uint32(raw[at:]))
		to := from + uint64(le.Uint32(raw[at+4:]))
		if header < 24 || to > uint64(len(raw)) {
			return nil, false
		}
		return raw[from:to], true
	}
	t, ok1 := section(8)
	s, ok2 := section(16)
	if !ok1 || !ok2 || base == nil && (len(s) == 0 || s[0] != 0) || len(s) > 0 && s[len(s)-1] != 0 {
		return nil, fmt.Errorf("parse header: %w", ErrMalformed)
	}
	ix := &Index{types: t, strs: s, base: base, first: 1}
	if base != nil {
		ix.first, ix.baseStrs = base.end(), base.baseStrs+uint32(len(base.strs))
	}
	ix.last = ix.first
	return ix, nil
}

// end is the id that the type after the last would have.
func (ix *Index) end() uint32 {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for ix.advance() {
	}
	return ix.last
}

// Close unmaps the blob. Types made by the index must not be asked for fields afterwards.
func (ix *Index) Close() error {
	if ix.unmap == nil {
		return nil
	}
	raw := ix.unmap
	ix.unmap, ix.types, ix.strs = nil, nil, nil
	return unix.Munmap(raw)
}

// record is the head of one type and what follows it.
type record struct {
	id       uint32
	name     uint32 // offset in the strings
	info     uint32
	sizeType uint32
	body     []byte
}

func (r record) kind() Kind { return Kind(r.info >> 24 & 0x1f) }
func (r record) vlen() int  { return int(r.info & 0xffff) }
func (r record) flag() bool { return r.info>>31 != 0 }

func (r record) word(i int) uint32 { return binary.LittleEndian.Uint32(r.body[4*i:]) }

// length is the size of a type's record, from its info word.
func length(info uint32) int {
	vlen := int(info & 0xffff)
	switch Kind(info >> 24 & 0x1f) {
	case KindInt, KindVar, KindDeclTag:
		return 16
	case KindArray:
		return 24
	case KindStruct, KindUnion, KindDatasec, KindEnum64:
		return 12 + 12*vlen
	case KindEnum, KindFuncProto:
		return 12 + 8*vlen
	}
	return 12
}

// at cuts the record at an offset.
func (ix *Index) at(id uint32, off int) (record, bool) {
	if off < 0 || off+12 > len(ix.types) {
		return record{}, false
	}
	b := ix.types[off:]
	r := record{id: id, name: binary.LittleEndian.Uint32(b), info: binary.LittleEndian.Uint32(b[4:]),
		sizeType: binary.LittleEndian.Uint32(b[8:])}
	n := length(r.info)
	if n > len(b) {
		return record{}, false
	}
	r.body = b[12:n]
	return r, true
}

// record finds a record by its id. The second result is false for void (id 0) and for ids out of range.
func (ix *Index) record(id uint32) (record, bool) {
	if id == 0 {
		return record{}, false
	}
	if id < ix.first {
		return ix.base.record(id)
	}
	slot := int((id - ix.first) / markEvery)
	ix.mu.Lock()
	for slot >= len(ix.marks) || id >= ix.last {
		if !ix.advance() {
			break
		}
	}
	if slot >= len(ix.marks) || id >= ix.last {
		ix.mu.Unlock()
		return record{}, false
	}
	off := int(ix.marks[slot])
	ix.mu.Unlock()
	for at := uint32(slot)*markEvery + ix.first; at < id; at++ {
		off += length(binary.LittleEndian.Uint32(ix.types[off+4:]))
	}
	return ix.at(id, off)
}

// advance passes one more type and marks it. The caller holds the lock.
func (ix *Index) advance() bool {
	if ix.next+12 > len(ix.types) {
		return false
	}
	n := length(binary.LittleEndian.Uint32(ix.types[ix.next+4:]))
	if ix.next+n > len(ix.types) {
		return false
	}
	if (ix.last-ix.first)%markEvery == 0 {
		ix.marks = append(ix.marks, uint32(ix.next))
	}
	ix.next += n
	ix.last++
	return true
}

// name reads a string; "" for an offset out of range.
func (ix *Index) name(off uint32) string {
	if off < ix.baseStrs {
		return ix.base.name(off)
	}
	off -= ix.baseStrs
	if int64(off) >= int64(len(ix.strs)) {
		return ""
	}
	s := ix.strs[off:]
	if n := bytes.IndexByte(s, 0); n > 0 {
		return string(s[:n])
	}
	return ""
}

// nameOffset finds a whole string in the string section.
func (ix *Index) nameOffset(name string) (uint32, bool) {
	if name == "" || bytes.IndexByte([]byte(name), 0) >= 0 {
		return 0, false
	}
	if i := bytes.Index(ix.strs, []byte("\x00"+name+"\x00")); i >= 0 {
		return ix.baseStrs + uint32(i+1), true
	}
	if ix.base == nil {
		return 0, false
	}
	if bytes.HasPrefix(ix.strs, []byte(name+"\x00")) { // nothing is before the first string of a module
		return ix.baseStrs, true
	}
	return ix.base.nameOffset(name) // strings that the kernel has are not there once more
}

// Find returns the id of the first type of a kind with a name.
func (ix *Index) Find(name string, kind Kind) (uint32, error) {
	r, ok := ix.find(1<<kind, name)
	if !ok {
		return 0, fmt.Errorf("find %s: %w", name, ErrNotFound)
	}
	return r.id, nil
}

// find walks once over the types for the first whose kind is in the set and whose name is one of the names.
func (ix *Index) find(kinds uint32, names ...string) (record, bool) {
	var offs []uint32
	for _, n := range names {
		if o, ok := ix.nameOffset(n); ok {
			offs = append(offs, o)
		}
	}
	if len(offs) == 0 {
		return record{}, false
	}
	first, second := offs[0], offs[len(offs)-1]
	t, le := ix.types, binary.LittleEndian
	for id, off := ix.first, 0; off+12 <= len(t); id++ {
		info := le.Uint32(t[off+4:])
		if n := le.Uint32(t[off:]); (n == first || n == second) && kinds>>(info>>24&0x1f)&1 != 0 {
			return ix.at(id, off)
		}
		off += length(info)
	}
	return record{}, false
}

// Each calls f with the id and name of every type of a kind that has a name, until f returns false.
func (ix *Index) Each(kind Kind, f func(id uint32, name string) bool) {
	t, le := ix.types, binary.LittleEndian
	for id, off := ix.first, 0; off+12 <= len(t); id++ {
		info := le.Uint32(t[off+4:])
		if Kind(info>>24&0x1f) == kind {
			if name := ix.name(le.Uint32(t[off:])); name != "" && !f(id, name) {
				return
			}
		}
		off += length(info)
	}
}
