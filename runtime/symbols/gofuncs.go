package symbols

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrGoTable says that a Go program's function table is missing or of an unknown form.
var ErrGoTable = errors.New("unknown Go function table")

// The magic numbers of the function table, see internal/abi/symtab.go of Go.
const (
	magic116 = 0xfffffffa
	magic118 = 0xfffffff0
	magic120 = 0xfffffff1
)

// textInModule is the offset of the field text in runtime.moduledata of Go 1.26, the first release that has the
// section .go.module and does not keep the address in the table's header.
const textInModule = 176

// funcTable is the function table of a Go program: pairs of entry and record offset, sorted by entry; the record
// starts with the entry and the offset of the name.
type funcTable struct {
	names, records []byte
	pairs          []byte
	count          int
	text           uint64
	wide           bool   // 1.16 and 1.17: addresses of 8 bytes instead of offsets of 4
	old            bool   // 1.18 and 1.19
	addr           uint64 // of the table
	values         []byte // tables of values by instructions
	calls          []byte // inlined ones, in go:func.*; nil until they are asked for
}

// goFuncs reads the function table once.
func (b *Binary) goFuncs() (*funcTable, error) {
	if b.pcln == nil && b.pclnErr == nil {
		b.pcln, b.pclnErr = b.readFuncTable()
	}
	return b.pcln, b.pclnErr
}

func (b *Binary) readFuncTable() (*funcTable, error) {
	s := b.file.Section(".gopclntab")
	if s == nil {
		s = b.file.Section(".data.rel.ro.gopclntab")
	}
	if s == nil {
		return nil, fmt.Errorf("%w: no section .gopclntab", ErrGoTable)
	}
	raw, err := data(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGoTable, err)
	}
	t, textStart, err := parseFuncTable(raw)
	if err != nil {
		return nil, err
	}
	if t.addr = s.Addr; t.wide {
		return t, nil
	}
	t.text = textStart
	if m := b.file.Section(".go.module"); m != nil {
		t.text = b.word(m.Addr + textInModule)
	} else if t.text == 0 { // position-independent: the header's word is relocated
		t.text = b.word(s.Addr + 8 + 2*8)
	}
	if t.text == 0 {
		if s := b.file.Section(".text"); s != nil {
			t.text = s.Addr
		}
	}
	return t, nil
}

// parseFuncTable finds the parts of a table.
func parseFuncTable(raw []byte) (t *funcTable, textStart uint64, err error) {
	le := binary.LittleEndian
	if len(raw) < 8+8*8 || raw[7] != 8 {
		return nil, 0, fmt.Errorf("%w: header", ErrGoTable)
	}
	field := func(i int) uint64 { return le.Uint64(raw[8+8*i:]) }
	t = &funcTable{}
	names, pairs, pair := field(3), field(7), uint64(8)
	switch magic := le.Uint32(raw); magic {
	case magic118, magic120:
		textStart, t.old = field(2), magic == magic118
		if at := field(6); at < uint64(len(raw)) {
			t.values = raw[at:]
		}
	case magic116:
		names, pairs, pair, t.wide = field(2), field(6), 16, true
	default:
		return nil, 0, fmt.Errorf("%w: magic number %#x", ErrGoTable, magic)
	}
	size, count := uint64(len(raw)), field(0)
	if names > size || pairs > size || count > size/pair || pairs+count*pair+pair/2 > size {
		return nil, 0, fmt.Errorf("%w: sizes", ErrGoTable)
	}
	t.names, t.records, t.pairs, t.count = raw[names:], raw[pairs:], raw[pairs:], int(count)
	return t, textStart, nil
}

// pair returns the i-th entry, and the offset of its record.
func (t *funcTable) pair(i int) (entry, record uint64) {
	le := binary.LittleEndian
	if t.wide {
		return le.Uint64(t.pairs[16*i:]), le.Uint64(t.pairs[16*i+8:])
	}
	return t.text + uint64(le.Uint32(t.pairs[8*i:])), uint64(le.Uint32(t.pairs[8*i+4:]))
}

// end is the entry after the i-th, at the end of the table the end of the code.
func (t *funcTable) end(i int) uint64 {
	if t.wide {
		return binary.LittleEndian.Uint64(t.pairs[16*(i+1):])
	}
	return t.text + uint64(binary.LittleEndian.Uint32(t.pairs[8*(i+1):]))
}

// each visits the functions. Their sizes include the padding up to the next function.
func (t *funcTable) each(f func(name []byte, addr, size uint64) bool) {
	nameAt := uint64(4)
	if t.wide {
		nameAt = 8
	}
	for i := range t.count {
		addr, record := t.pair(i)
		if record > uint64(len(t.records)) || record+nameAt+4 > uint64(len(t.records)) {
			continue
		}
		name := cString(t.names, uint64(binary.LittleEndian.Uint32(t.records[record+nameAt:])))
		if end := t.end(i); len(name) > 0 && end > addr && !f(name, addr, end-addr) {
			return
		}
	}
}

// Inlined tells whether a function of a Go program exists only inside of its callers: the function table has its name, for
// the lines of stacks, and no code. Lookup has not found it.
func (b *Binary) Inlined(name string) bool {
	if !b.IsGo() || name == "" {
		return false
	}
	t, err := b.goFuncs()
	return err == nil && bytes.Contains(t.names, append(append([]byte{0}, name...), 0))
}

// word reads a pointer as it is after loading at address 0: from the file or, where that is 0, from its relocation.
func (b *Binary) word(addr uint64) uint64 {
	raw, err := b.read(addr, 8)
	if err == nil && len(raw) == 8 {
		if v := binary.LittleEndian.Uint64(raw); v != 0 {
			return v
		}
	}
	found := uint64(0)
	b.eachRelative(func(at, to uint64) bool {
		if at == addr {
			found = to
		}
		return at != addr
	})
	return found
}

// eachRelative calls f with the words that are relocated, until it returns false: where they are, and their values after loading
// at address 0.
func (b *Binary) eachRelative(f func(at, to uint64) bool) {
	for _, s := range b.file.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		rela, err := data(s)
		if err != nil {
			continue
		}
		for le := binary.LittleEndian; len(rela) >= 24; rela = rela[24:] {
			if elf.R_X86_64(le.Uint64(rela[8:])) == elf.R_X86_64_RELATIVE && !f(le.Uint64(rela), le.Uint64(rela[16:])) {
				return
			}
		}
	}
}
