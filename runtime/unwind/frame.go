// Package unwind finds the callers of functions that keep no frame pointers: it makes tables of what compilers write
// into .eh_frame, by which a program in the kernel walks the stack of a process, and keeps them up to date there.
//
// Algorithm. .eh_frame says for every instruction where the frame of its function starts (the canonical frame address,
// CFA) and where the caller's registers are, as a program for a small machine (DWARF 5, 6.4). It is run once, for all
// functions of a file, and what it says is kept as rows of eight bytes: a row holds from its address to that of the next.
// Of the registers only the stack pointer, the frame pointer and the return address are followed; on x86-64 that is
// enough for what compilers and the C library write. What else there is becomes a row that says so.
//
// Invariants. Files are not trusted: a damaged one gives an error, never a panic. Addresses are as linked. x86-64 only.
// The package must not talk to BPF: Memory is how it writes. Start at Read and Tables.
package unwind

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrNone says that a file has no .eh_frame.
var ErrNone = errors.New("no .eh_frame")

// Row is the address from which on it holds, in the upper 32 bits, and a Rule in the lower ones.
type Row uint64

// Rule says how to get to the caller: a Kind in the lowest 3 bits; the offset of the CFA in units of 8 bytes, signed, in
// 21 bits; and where the caller's frame pointer is kept from the CFA on, in the same units and signed, in 8 bits: 0 for
// still in its register, SavedAtFrame for where it points to.
type Rule uint32

// Kind is how the CFA is found. The return address is the word before it.
type Kind uint32

// The kinds.
const (
	KindEnd     Kind = iota // nobody has called: the outermost function
	KindStack               // stack pointer + offset
	KindFrame               // frame pointer + offset
	KindDeref               // the word at frame pointer + offset
	KindPLT                 // of a jump to another file: stack pointer + 8, and 8 more behind its push, which starts at the offset within 16 bytes
	KindSignal              // the kernel has called: what was interrupted is in a frame on the stack (struct rt_sigframe)
	KindUnknown             // something that is not followed
	KindNone                // nothing is said: code without a table
)

// The places of the parts of a Rule.
const (
	KindBits     = 3
	CFABits      = 21
	CFAShift     = KindBits
	SavedBits    = 8
	SavedShift   = CFAShift + CFABits
	SavedAtFrame = -1 << (SavedBits - 1)
)

// rule puts one together; ok is false when an offset does not fit.
func rule(kind Kind, cfa, saved int64) (Rule, bool) {
	fits := func(n int64, bits int) bool { return n >= -1<<(bits-1) && n < 1<<(bits-1) }
	ok := fits(cfa, CFABits) && fits(saved, SavedBits)
	return Rule(kind) | Rule(cfa&(1<<CFABits-1))<<CFAShift | Rule(saved&(1<<SavedBits-1))<<SavedShift, ok
}

// Kind is the rule's.
func (r Rule) Kind() Kind { return Kind(r & (1<<KindBits - 1)) }

// Addr is where the row begins to hold.
func (r Row) Addr() uint64 { return uint64(r >> 32) }

// Rule is the row's.
func (r Row) Rule() Rule { return Rule(r) }

// The registers that are followed, by their numbers in DWARF for x86-64.
const (
	regFrame  = 6
	regStack  = 7
	regReturn = 16
)

// maxRows bounds what is read of one file.
const maxRows = 8 << 20

// Read makes the table of a file: rows by address, of which each differs from the one before. Code that .eh_frame says
// nothing of has a row of KindNone. Errors: ErrNone, or that the section is damaged.
func Read(f *elf.File) ([]Row, error) {
	s := f.Section(".eh_frame")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil, ErrNone
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read .eh_frame: %w", err)
	}
	p := &parser{data: data, base: s.Addr, ciesAt: map[int]*cie{}}
	if err := p.all(); err != nil {
		return nil, fmt.Errorf("read .eh_frame: %w", err)
	}
	return p.table(), nil
}

// reader takes numbers from bytes; once one was missing it gives zeros.
type reader struct {
	data []byte
	at   int
	bad  bool
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || r.at+n > len(r.data) || r.bad {
		r.bad = true
		return make([]byte, max(0, min(n, 8)))
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *reader) u8() uint64  { return uint64(r.bytes(1)[0]) }
func (r *reader) u16() uint64 { return uint64(binary.LittleEndian.Uint16(r.bytes(2))) }
func (r *reader) u32() uint64 { return uint64(binary.LittleEndian.Uint32(r.bytes(4))) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

func (r *reader) uleb() (n uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := r.u8()
		n |= b & 0x7f << shift
		if b < 0x80 {
			return n
		}
	}
	r.bad = true
	return 0
}

func (r *reader) sleb() int64 {
	var n int64
	for shift := 0; shift < 64; shift += 7 {
		b := r.u8()
		n |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift+7 < 64 {
				n |= -1 << (shift + 7)
			}
			return n
		}
	}
	r.bad = true
	return 0
}

// text is up to the next NUL.
func (r *reader) text() string {
	n := bytes.IndexByte(r.data[min(r.at, len(r.data)):], 0)
	if n < 0 {
		r.bad = true
		return ""
	}
	return string(r.bytes(n + 1)[:n])
}

// cie is what the entries of several functions have in common.
type cie struct {
	code    uint64 // alignment factors
	data    int64
	pointer byte // encoding of addresses
	sized   bool // there is augmentation data
	signal  bool
	first   state
}

type parser struct {
	data   []byte
	base   uint64 // of the section, as linked
	ciesAt map[int]*cie
	rows   []Row
	ranges []span
}

// span is the code of one function.
type span struct{ from, to uint64 }

// all reads every entry.
func (p *parser) all() error {
	for at := 0; at+4 <= len(p.data); {
		r := &reader{data: p.data, at: at}
		length := r.u32()
		if length == 0xffffffff {
			length = r.u64()
		}
		if length == 0 { // the end of what one linked file had
			at = r.at
			continue
		}
		if length > uint64(len(p.data)-r.at) {
			return fmt.Errorf("the entry at %#x is longer than the section", at)
		}
		start := r.at
		end := start + int(length)
		r.data = p.data[:end]
		back := r.u32()
		switch {
		case r.bad:
			return fmt.Errorf("the entry at %#x is too short", at)
		case back != 0:
			c, err := p.cie(start - int(back))
			if err != nil {
				return err
			}
			if err := p.fde(r, c); err != nil {
				return fmt.Errorf("the entry at %#x: %w", at, err)
			}
		}
		if len(p.rows) > maxRows {
			return fmt.Errorf("got more than %d rows", maxRows)
		}
		at = end
	}
	return nil
}

// cie reads the common part at an offset, once.
func (p *parser) cie(at int) (*cie, error) {
	if c := p.ciesAt[at]; c != nil {
		return c, nil
	}
	fail := func(what string) error { return fmt.Errorf("the common entry at %#x: %s", at, what) }
	if at < 0 || at+8 > len(p.data) {
		return nil, fail("it is not in the section")
	}
	r := &reader{data: p.data, at: at}
	length := r.u32()
	if length == 0xffffffff {
		length = r.u64()
	}
	if length > uint64(len(p.data)-r.at) {
		return nil, fail("it is longer than the section")
	}
	r.data = p.data[:r.at+int(length)]
	if id := r.u32(); id != 0 {
		return nil, fail("it is none")
	}
	c := &cie{}
	version := r.u8()
	augmentation := r.text()
	c.code, c.data = r.uleb(), r.sleb()
	ra := uint64(0)
	if version == 1 {
		ra = r.u8()
	} else {
		ra = r.uleb()
	}
	if r.bad || version != 1 && version != 3 || ra != regReturn {
		return nil, fail(fmt.Sprintf("version %d, return address in register %d", version, ra))
	}
	if len(augmentation) > 0 && augmentation[0] == 'z' {
		c.sized = true
		end := int(r.uleb())
		if end < 0 || end > len(r.data)-r.at {
			return nil, fail("its augmentation is longer than it")
		}
		end += r.at
		for _, a := range augmentation[1:] {
			switch a {
			case 'R':
				c.pointer = byte(r.u8())
			case 'L':
				r.u8()
			case 'P':
				p.pointer(r, byte(r.u8()))
			case 'S':
				c.signal = true
			}
		}
		r.at = end
	} else if augmentation != "" {
		return nil, fail(fmt.Sprintf("augmentation %q is not known", augmentation))
	}
	c.first = state{ra: -1}
	m := machine{c: c, now: c.first}
	if err := m.run(r, nil); err != nil {
		return nil, fail(err.Error())
	}
	c.first = m.now
	p.ciesAt[at] = c
	return c, nil
}

// The encodings of addresses (DW_EH_PE).
const (
	peOmit     = 0xff
	peSigned   = 0x08
	pePCRel    = 0x10
	peIndirect = 0x80
)

// pointer reads an encoded address.
func (p *parser) pointer(r *reader, enc byte) uint64 {
	if enc == peOmit {
		return 0
	}
	at := p.base + uint64(r.at)
	var n uint64
	switch enc & 0x0f {
	case 0x00, 0x04, 0x0c:
		n = r.u64()
	case 0x01:
		n = r.uleb()
	case 0x09:
		n = uint64(r.sleb())
	case 0x02:
		n = r.u16()
	case 0x02 | peSigned:
		n = uint64(int16(r.u16()))
	case 0x03:
		n = r.u32()
	case 0x03 | peSigned:
		n = uint64(int32(r.u32()))
	default:
		r.bad = true
	}
	switch enc & 0x70 {
	case 0:
	case pePCRel:
		n += at
	default:
		r.bad = true
	}
	return n
}

// fde reads the entry of a function.
func (p *parser) fde(r *reader, c *cie) error {
	from := p.pointer(r, c.pointer&^peIndirect)
	size := p.pointer(r, c.pointer&0x0f)
	if c.sized {
		r.bytes(int(min(r.uleb(), maxRows)))
	}
	if r.bad {
		return errors.New("it is too short, or its addresses are encoded in a way that is not known")
	}
	if from == 0 || size == 0 { // of code that the linker has left out
		return nil
	}
	to := from + size
	if to < from || to > 1<<32 {
		return fmt.Errorf("the code from %#x on, of %#x bytes, is beyond 32 bits", from, size)
	}
	m := machine{c: c, now: c.first, at: from, end: to}
	if err := m.run(r, func(at uint64, s *state) { p.rows = append(p.rows, Row(at<<32)|Row(s.rule(c))) }); err != nil {
		return err
	}
	p.ranges = append(p.ranges, span{from, to})
	return nil
}

// table sorts the rows, says where code has none, and leaves out those that say what the one before does.
func (p *parser) table() []Row {
	slices.SortFunc(p.ranges, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i, s := range p.ranges {
		if i+1 == len(p.ranges) || p.ranges[i+1].from > s.to {
			p.rows = append(p.rows, Row(s.to<<32)|Row(KindNone))
		}
	}
	slices.SortStableFunc(p.rows, func(a, b Row) int { return cmp.Compare(a.Addr(), b.Addr()) })
	out := p.rows[:0]
	for i, r := range p.rows {
		if i+1 < len(p.rows) && p.rows[i+1].Addr() == r.Addr() { // the last one counts
			continue
		}
		if len(out) > 0 && out[len(out)-1].Rule() == r.Rule() {
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}
