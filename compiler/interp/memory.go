package interp

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/slopebpf/slope/compiler/ir"
)

// The states of a byte of a slot or record.
const (
	unwritten = iota
	unknown   // a helper may have written it, or not: the kernel lets it be read, its content means nothing
	written
)

// region is a piece of memory that pointers point into.
type region struct {
	name     string
	data     []byte
	state    []byte // per byte; nil when all is written
	readOnly bool
	gone     string // why it can no longer be accessed
}

func newRegion(name string, size int) *region {
	return &region{name: name, data: make([]byte, size), state: make([]byte, size)}
}

func (r *run) slot(s *ir.Slot) *region {
	if r.slots[s] == nil {
		r.slots[s] = newRegion(fmt.Sprintf("slot s%d %s", s.ID, s.Name), s.Size)
	}
	return r.slots[s]
}

// at checks an access and returns the region and where in it.
func (r *run) at(p *ir.Value, off, size int64) (*region, int64) {
	v := r.val(p)
	if v.reg == nil {
		r.fail("v%d is no pointer to memory or null", p.ID)
	}
	if p.Class.MayBeNull() {
		r.fail("v%d may be null", p.ID)
	}
	from := v.n + off
	if from < 0 || size < 0 || from+size > int64(len(v.reg.data)) {
		r.fail("bytes %d to %d of %s, which has %d", from, from+size, v.reg.name, len(v.reg.data))
	}
	if v.reg.gone != "" {
		r.fail("%s was %s", v.reg.name, v.reg.gone)
	}
	return v.reg, from
}

// read returns bytes that must all have been written.
func (r *run) read(p *ir.Value, off, size int64) []byte {
	reg, from := r.at(p, off, size)
	if reg.state != nil {
		for i := from; i < from+size; i++ {
			if reg.state[i] != written {
				r.fail("byte %d of %s was never written", i, reg.name)
			}
		}
	}
	return reg.data[from : from+size]
}

// write returns bytes that the caller fills.
func (r *run) write(p *ir.Value, off, size int64) []byte {
	reg, from := r.at(p, off, size)
	if reg.readOnly {
		r.fail("%s is read-only", reg.name)
	}
	if reg.state != nil {
		for i := from; i < from+size; i++ {
			reg.state[i] = written
		}
	}
	return reg.data[from : from+size]
}

func (r *run) load(v *ir.Value) int64 {
	var b [8]byte
	base := v.Args[0]
	if base.Class == ir.BTFPtr {
		addr := uint64(r.val(base).n) + uint64(int64(v.Off))
		if !r.m.Env.Read(addr, b[:v.Width], true) {
			b = [8]byte{}
		}
	} else {
		copy(b[:], r.read(base, int64(v.Off), int64(v.Width)))
	}
	return ir.EvalExt(int64(le.Uint64(b[:])), v.Width, v.Signed)
}

// copy moves bytes with their states. Only slots and records may take bytes whose content is unknown.
func (r *run) copy(v *ir.Value, off, size int64) {
	src, from := r.at(v.Args[1], 0, size)
	dst, to := r.at(v.Args[0], off, size)
	if dst.readOnly {
		r.fail("%s is read-only", dst.name)
	}
	for i := range size {
		state := byte(written)
		if src.state != nil {
			state = src.state[from+i]
		}
		switch {
		case state == unwritten:
			r.fail("byte %d of %s was never written", from+i, src.name)
		case state == unknown && dst.state == nil:
			r.fail("byte %d of %s, which is unknown, goes to %s", from+i, src.name, dst.name)
		}
		if dst.state != nil {
			dst.state[to+i] = state
		}
	}
	copy(dst.data[to:to+size], bytes.Clone(src.data[from:from+size]))
}

// The addresses that the program's own memory has as numbers: nothing else is there.
const (
	firstAddress = 0xffffc90000000000
	regionStride = 1 << 24
)

// address is the number that a region's address is.
func (r *run) address(reg *region) uint64 {
	at := slices.Index(r.numbered, reg)
	if at < 0 {
		at = len(r.numbered)
		r.numbered = append(r.numbered, reg)
	}
	return firstAddress + uint64(at)*regionStride
}

// source is an operand that is read through: a number, or the context, whose bytes are then at hand.
func (r *run) source(p *ir.Value, buf []byte, kernel bool) bool {
	v := r.val(p)
	if kernel {
		v = r.own(v)
	}
	if v.reg == nil {
		return r.m.Env.Read(uint64(v.n), buf, kernel)
	}
	if v.n < 0 || v.n+int64(len(buf)) > int64(len(v.reg.data)) {
		return false
	}
	copy(buf, v.reg.data[v.n:])
	return true
}

// own is a pointer of the program where a number is the address of its own memory.
func (r *run) own(v value) value {
	if at := (uint64(v.n) - firstAddress) / regionStride; v.reg == nil && at < uint64(len(r.numbered)) {
		return value{n: int64((uint64(v.n) - firstAddress) % regionStride), reg: r.numbered[at]}
	}
	return v
}

// probeRead is bpf_probe_read_user and _kernel: on a fault the destination is zeroed.
func (r *run) probeRead(v *ir.Value, size int64) int64 {
	dst := r.write(v.Args[0], 0, size)
	if r.source(v.Args[1], dst, v.Signed) {
		return 0
	}
	clear(dst)
	return errFault
}

// probeReadStr is bpf_probe_read_user_str and _kernel_str. What follows the NUL stays as it was, but counts as
// unknown where it was never written.
func (r *run) probeReadStr(v *ir.Value) int64 {
	size := r.scalar(v.Args[2])
	if size < 1 || size > v.Imm {
		r.fail("a size of %d, want 1 to %d", size, v.Imm)
	}
	reg, from := r.at(v.Args[0], 0, v.Imm)
	for i := from; i < from+v.Imm && reg.state != nil; i++ {
		reg.state[i] = max(reg.state[i], unknown)
	}
	dst := r.writeOnly(reg, from, size)
	src := r.val(v.Args[1])
	one := ir.Value{ID: v.ID}
	for n := int64(0); n < size; n++ {
		b := dst[n : n+1]
		if n == size-1 {
			b[0] = 0
		} else {
			r.vals[&one] = value{n: src.n + n, reg: src.reg}
			if !r.source(&one, b, v.Signed) {
				clear(dst)
				r.written(reg, from, size)
				return errFault
			}
		}
		r.written(reg, from, n+1)
		if b[0] == 0 {
			return n + 1
		}
	}
	return size
}

func (r *run) writeOnly(reg *region, from, size int64) []byte {
	if reg.readOnly {
		r.fail("%s is read-only", reg.name)
	}
	return reg.data[from : from+size]
}

func (r *run) written(reg *region, from, size int64) {
	for i := from; i < from+size && reg.state != nil; i++ {
		reg.state[i] = written
	}
}

// stack is bpf_get_stack.
func (r *run) stack(v *ir.Value) int64 {
	dst := r.write(v.Args[0], 0, v.Imm)
	clear(dst)
	frames := r.m.Env.Stack(v.Signed)
	if frames == nil {
		return errFault
	}
	n := min(len(frames), len(dst)/8)
	for i, pc := range frames[:n] {
		le.PutUint64(dst[8*i:], pc)
	}
	return int64(8 * n)
}
