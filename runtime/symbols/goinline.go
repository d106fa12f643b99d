package symbols

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// What a record of the function table refers to, see internal/abi/funcdata.go of Go: by PCDATA_InlTreeIndex, which of the calls in
// FUNCDATA_InlTree an instruction comes from.
const (
	inlineIndex = 2
	inlineTree  = 3
)

// inlineForm is how a release of Go keeps inlined calls: the size of a record before its lists, where the length of the second
// list is, the size of a call and where its name is, and where runtime.moduledata has the address of go:func.*.
type inlineForm struct {
	record, lists, call, name, module uint64
}

var (
	inline118 = inlineForm{record: 40, lists: 39, call: 20, name: 12, module: 304} // 1.18 and 1.19
	inline120 = inlineForm{record: 44, lists: 43, call: 16, name: 4, module: 320}  // since 1.20
)

// InlinedIn are the functions of a Go program that have a copy of a function instead of a call of it, as the function table tells
// them: also of a stripped program. It goes through the calls of all functions, which takes milliseconds.
func (b *Binary) InlinedIn(function string) (callers []string, err error) {
	t, err := b.goFuncs()
	if err != nil {
		return nil, err
	}
	at := bytes.Index(t.names, append(append([]byte{0}, function...), 0))
	if t.wide || at < 0 {
		return nil, fmt.Errorf("%w: inlined calls", ErrGoTable)
	}
	calls, err := b.inlinedCalls(t)
	if err != nil {
		return nil, err
	}
	form, want, le := t.inline(), uint32(at+1), binary.LittleEndian
	t.eachInlined(func(record []byte, index uint32, tree uint64) {
		if tree >= uint64(len(calls)) {
			return
		}
		eachValue(t.values[index:], func(call int32) bool {
			from := tree + form.call*uint64(call) + form.name
			if call < 0 || from+4 > uint64(len(calls)) || le.Uint32(calls[from:]) != want {
				return true
			}
			callers = append(callers, string(cString(t.names, uint64(le.Uint32(record[4:])))))
			return false
		})
	})
	return callers, nil
}

// maxInlined is how many inlined calls the last function is expected to have at most.
const maxInlined = 1 << 16

// eachInlined calls f with the records of the functions that have inlined calls, and with where the table of the instructions that
// come from them and the calls themselves are.
func (t *funcTable) eachInlined(f func(record []byte, index uint32, tree uint64)) {
	form, le := t.inline(), binary.LittleEndian
	for i := range t.count {
		_, offset := t.pair(i)
		if offset > uint64(len(t.records)) || offset+form.record > uint64(len(t.records)) {
			continue
		}
		r := t.records[offset:]
		tables, lists := uint64(le.Uint32(r[28:])), uint64(r[form.lists])
		if tables <= inlineIndex || lists <= inlineTree || form.record+4*(tables+lists) > uint64(len(r)) {
			continue
		}
		index, tree := le.Uint32(r[form.record+4*inlineIndex:]), le.Uint32(r[form.record+4*(tables+inlineTree):])
		if index != 0 && uint64(index) < uint64(len(t.values)) && tree != ^uint32(0) {
			f(r, index, uint64(tree))
		}
	}
}

func (t *funcTable) inline() inlineForm {
	if t.old {
		return inline118
	}
	return inline120
}

// inlinedCalls is what the inlined calls of all functions are in, which is read once: the symbol go:func.*, up to the calls of the last.
func (b *Binary) inlinedCalls(t *funcTable) ([]byte, error) {
	if t.calls != nil {
		return t.calls, nil
	}
	module, ok := b.goModule(t)
	if !ok {
		return nil, fmt.Errorf("%w: no runtime.moduledata", ErrGoTable)
	}
	last := uint64(0)
	t.eachInlined(func(_ []byte, _ uint32, tree uint64) { last = max(last, tree) })
	form := t.inline()
	addr, size := b.word(module+form.module), last+maxInlined*form.call
	for _, s := range b.file.Sections {
		if addr == 0 || s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS || addr < s.Addr || addr-s.Addr >= s.Size {
			continue
		}
		raw := make([]byte, min(size, s.Size-(addr-s.Addr), maxSection))
		if _, err := s.ReadAt(raw, int64(addr-s.Addr)); err != nil {
			return nil, fmt.Errorf("%w: go:func.*: %w", ErrGoTable, err)
		}
		t.calls = raw
		return raw, nil
	}
	return nil, fmt.Errorf("%w: no go:func.*", ErrGoTable)
}

// goModule finds runtime.moduledata, which has a section since Go 1.26.
func (b *Binary) goModule(t *funcTable) (addr uint64, ok bool) {
	if s := b.file.Section(".go.module"); s != nil {
		return s.Addr, true
	}
	return b.seekModule(t)
}

// seekModule finds runtime.moduledata by the address of the function table, which it begins with.
func (b *Binary) seekModule(t *funcTable) (addr uint64, ok bool) {
	word := binary.LittleEndian.AppendUint64(nil, t.addr)
	for _, s := range b.file.Sections {
		if s.Flags&elf.SHF_WRITE == 0 || s.Type != elf.SHT_PROGBITS {
			continue
		}
		raw, err := data(s)
		if err != nil {
			continue
		}
		for at := 0; ; at += 8 {
			i := bytes.Index(raw[at:], word)
			if i < 0 {
				break
			}
			if at += i; at%8 == 0 {
				return s.Addr + uint64(at), true
			}
			at -= at % 8
		}
	}
	b.eachRelative(func(at, to uint64) bool { // position-independent: the word is relocated
		if to == t.addr {
			addr, ok = at, true
		}
		return !ok
	})
	return addr, ok
}

// eachValue calls f with the values of a table of values by instructions, until it returns false: pairs of differences, of the value
// and of the address, that end with a zero.
func eachValue(table []byte, f func(value int32) bool) {
	value := int32(-1)
	for first := true; ; first = false {
		step, n := binary.Uvarint(table)
		if n <= 0 || step == 0 && !first {
			return
		}
		table = table[n:]
		if value += int32(step>>1) ^ -int32(step&1); !f(value) {
			return
		}
		if _, n = binary.Uvarint(table); n <= 0 {
			return
		}
		table = table[n:]
	}
}
