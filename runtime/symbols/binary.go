// Package symbols answers what probes on executables and libraries need: where a function starts in the file, where
// it may be probed, where it returns, where its arguments are, and which file a name means.
//
// Algorithm. Functions are sought in .symtab, here or in the file that it was stripped to, or in what was left of it in
// .gnu_debugdata, then .dynsym, then, in stripped Go programs, in the function table that
// every Go program carries (.gopclntab, Go 1.16 to 1.26). The tables are read when first needed and searched in
// place; no list of all symbols is built. Code is decoded with x86asm, and by its length only where x86asm does not
// know an instruction (AVX).
//
// Entry and Returns exist because of Go: a Go function whose stack is too small is started again from its first
// instruction, so a probe there fires twice; and a return probe that replaces the return address breaks when the
// stack moves. So the entry is the instruction after the stack check, and returns are probed at each RET.
//
// Names and types of arguments come from debug information: see DebugInfo.
//
// Invariants. Files are not trusted: a damaged one gives an error, never a panic. Offsets are offsets in the file,
// which is what uprobes want; addresses are as linked. x86-64 only. The package must not talk to BPF.
// Start at Open and Binary.Lookup.
package symbols

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/slopebpf/slope/lang/source"
)

var (
	// ErrNotFound says that there is no function of the name.
	ErrNotFound = errors.New("no such function")
	// ErrFormat says that the file is not an executable or library for this machine.
	ErrFormat = errors.New("not an x86-64 ELF file")
)

const (
	symbolBytes = 24
	maxSection  = 1 << 30
	maxFunction = 16 << 20
)

// Func is a function in a file.
type Func struct {
	Name       string
	Symbol     string // its name in the symbol table, where Name is the one in the source
	Addr, Size uint64 // as linked; Size is 0 when unknown
	FileOffset uint64 // of its first instruction
}

// Binary is an open executable or library. It is not safe for concurrent use.
type Binary struct {
	Path     string
	file     *elf.File
	closer   *os.File
	version  string // of Go; empty for other languages
	debugDir string // the folder of files with what was stripped from others
	tables   []symbolTable
	loaded   bool
	pcln     *funcTable
	pclnErr  error

	debug    *DebugInfo
	debugErr error
}

// symbolTable is one ELF symbol table with its strings.
type symbolTable struct{ symbols, strings []byte }

// Open opens a file.
func Open(path string) (*Binary, error) {
	path = within(path) // what is read is what is attached to: the kernel would follow links elsewhere
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	b := &Binary{Path: path, closer: f, debugDir: debugDir}
	if b.file, err = elf.NewFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w: %w", path, ErrFormat, err)
	}
	if b.file.Machine != elf.EM_X86_64 || b.file.Class != elf.ELFCLASS64 || b.file.ByteOrder != binary.LittleEndian {
		f.Close()
		return nil, fmt.Errorf("open %s: %w, but %s", path, ErrFormat, b.file.Machine)
	}
	if b.file.Section(".go.buildinfo") != nil || b.file.Section(".gopclntab") != nil {
		b.version = "unknown"
		if info, err := buildinfo.Read(f); err == nil {
			b.version = info.GoVersion
		}
	}
	return b, nil
}

// OpenRegular opens a file. What is no file, such as a pipe or a device, is an error and is not opened, which could block
// or set something off; unless it comes to the place of a file at that moment. Links below the root of a process stay there.
func OpenRegular(path string) (*os.File, error) {
	path = within(path)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: %w", path, ErrFormat)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, ErrFormat))
	}
	return f, nil
}

// Close closes the file.
func (b *Binary) Close() error {
	b.tables, b.pcln = nil, nil
	return b.closer.Close()
}

// IsGo tells whether the program is written in Go.
func (b *Binary) IsGo() bool { return b.version != "" }

// GoVersion is the Go release that built the program ("go1.26.8"), "unknown" for a Go program that does not tell, or "".
func (b *Binary) GoVersion() string { return b.version }

// Lookup finds a function by its exact name.
func (b *Binary) Lookup(name string) (Func, error) {
	var found Func
	err := b.whole(func(raw []byte, addr, size uint64) bool {
		if string(raw) != name {
			return true
		}
		found = Func{Name: name, Addr: addr, Size: size}
		return false
	})
	if err != nil {
		return Func{}, fmt.Errorf("find %s in %s: %w", name, b.Path, err)
	}
	if found.Name == "" {
		return Func{}, fmt.Errorf("find %s in %s: %w", name, b.Path, ErrNotFound)
	}
	return b.place(found)
}

// At finds the function that has the code at an address: one that begins there, or else that of those around it which begins last.
// Of several with the same code it is any.
func (b *Binary) At(addr uint64) (Func, error) {
	var found Func
	err := b.each(func(raw []byte, start, size uint64) bool {
		if addr == start || start < addr && addr-start < size && start >= found.Addr {
			found = Func{Name: string(raw), Addr: start, Size: size}
		}
		return addr != start
	})
	if err == nil && found.Name == "" {
		err = ErrNotFound
	}
	if err != nil {
		return Func{}, fmt.Errorf("find %#x in %s: %w", addr, b.Path, err)
	}
	return b.place(found)
}

// Code is where the code at an address is in the file; false where there is none.
func (b *Binary) Code(addr uint64) (offset uint64, ok bool) {
	for _, p := range b.file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// Indirect tells whether a name is that of a function which chooses at the start of a program which of several is called by it
// (STT_GNU_IFUNC): it is called itself, once, and they are called after.
func (b *Binary) Indirect(name string) bool {
	b.load()
	for _, t := range b.tables {
		for s := t.symbols; len(s) >= symbolBytes; s = s[symbolBytes:] {
			if elf.SymType(s[4]&0xf) == elf.STT_GNU_IFUNC && string(cString(t.strings, uint64(binary.LittleEndian.Uint32(s)))) == name {
				return true
			}
		}
	}
	return false
}

// Match finds all functions whose names match a pattern, in which * stands for any characters; sorted by name.
func (b *Binary) Match(pattern string) ([]Func, error) {
	var out []Func
	err := b.whole(func(raw []byte, addr, size uint64) bool {
		if matches(pattern, raw) {
			if f, err := b.place(Func{Name: string(raw), Addr: addr, Size: size}); err == nil {
				out = append(out, f)
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("search %s: %w", b.Path, err)
	}
	slices.SortFunc(out, func(x, y Func) int { return strings.Compare(x.Name, y.Name) })
	out = slices.CompactFunc(out, func(x, y Func) bool { return x.Name == y.Name && x.Addr == y.Addr })
	return out, nil
}

// matches is wildcard matching without backtracking over more than the last star.
func matches(pattern string, name []byte) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// whole visits the functions without their parts for what rarely happens: those are jumped to, so that they have neither arguments
// nor an address that they return to.
func (b *Binary) whole(f func(name []byte, addr, size uint64) bool) error {
	return b.each(func(name []byte, addr, size uint64) bool {
		_, part := b.partOf(name)
		return part || f(name, addr, size)
	})
}

// partOf tells which function a name is that of a part of. A function of Go may be called cold.
func (b *Binary) partOf(name []byte) (function []byte, is bool) {
	function, rest, found := bytes.Cut(name, []byte(".cold"))
	return function, found && !b.IsGo() && (len(rest) == 0 || rest[0] == '.')
}

// PartOf tells which function a name is that of a part of that rarely runs, where the program has the function.
func (b *Binary) PartOf(name string) (function string, is bool) {
	of, is := b.partOf([]byte(name))
	if is {
		_, err := b.Lookup(string(of))
		is = err == nil
	}
	return string(of), is
}

// each visits all functions until f returns false. Names are valid during the call only.
func (b *Binary) each(f func(name []byte, addr, size uint64) bool) error {
	b.load()
	any := false
	for _, t := range b.tables {
		for s := t.symbols; len(s) >= symbolBytes; s = s[symbolBytes:] {
			le := binary.LittleEndian
			kind, section, addr := elf.SymType(s[4]&0xf), le.Uint16(s[6:]), le.Uint64(s[8:])
			if kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC || section == 0 || addr == 0 {
				continue
			}
			any = true
			if name := cString(t.strings, uint64(le.Uint32(s))); len(name) > 0 && !f(name, addr, le.Uint64(s[16:])) {
				return nil
			}
		}
	}
	// A Go program with cgo keeps dynamic symbols when it is stripped, so "any" does not say that all are known.
	if b.IsGo() && (!any || b.file.Section(".symtab") == nil) {
		t, err := b.goFuncs()
		if err != nil {
			return err
		}
		t.each(f)
	}
	return nil
}

// load reads the symbol tables. A table that cannot be read counts as missing.
func (b *Binary) load() {
	if b.loaded {
		return
	}
	b.loaded = true
	b.addTable(b.file, elf.SHT_SYMTAB)
	stripped := func(file *elf.File) { b.addTable(file, elf.SHT_SYMTAB) }
	if b.tables == nil {
		b.withDebug(stripped)
	}
	if b.tables == nil {
		b.withMini(stripped)
	}
	b.addTable(b.file, elf.SHT_DYNSYM)
}

// addTable reads a symbol table of this file, or of the one with what was stripped from it.
func (b *Binary) addTable(file *elf.File, typ elf.SectionType) {
	s := file.SectionByType(typ)
	if s == nil || s.Link == 0 || int(s.Link) >= len(file.Sections) {
		return
	}
	symbols, err1 := data(s)
	names, err2 := data(file.Sections[s.Link])
	if err1 == nil && err2 == nil {
		b.tables = append(b.tables, symbolTable{symbols, names})
	}
}

func data(s *elf.Section) ([]byte, error) {
	if s.Size > maxSection || s.Type == elf.SHT_NOBITS {
		return nil, ErrFormat
	}
	return s.Data()
}

// cString cuts a NUL-terminated string out of a table.
func cString(table []byte, off uint64) []byte {
	if off >= uint64(len(table)) {
		return nil
	}
	s := table[off:]
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return nil
}

// place fills in where the function is in the file.
func (b *Binary) place(f Func) (Func, error) {
	off, ok := b.fileOffset(f.Addr)
	if !ok {
		return Func{}, fmt.Errorf("find %s in %s: address %#x is not in the file", f.Name, b.Path, f.Addr)
	}
	f.FileOffset = off
	return f, nil
}

func (b *Binary) fileOffset(addr uint64) (uint64, bool) {
	for _, p := range b.file.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			return addr - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}

// read reads bytes at an address, as many as the file has there.
func (b *Binary) read(addr, n uint64) ([]byte, error) {
	for _, p := range b.file.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			buf := make([]byte, min(n, p.Filesz-(addr-p.Vaddr), maxFunction))
			if _, err := p.ReadAt(buf, int64(addr-p.Vaddr)); err != nil {
				return nil, fmt.Errorf("read %s at %#x: %w", b.Path, addr, err)
			}
			return buf, nil
		}
	}
	return nil, fmt.Errorf("read %s: address %#x is not in the file", b.Path, addr)
}

// symbol returns the address of a symbol, of data too, as linked.
func (b *Binary) symbol(name string) (uint64, bool) {
	b.load()
	for _, t := range b.tables {
		for s := t.symbols; len(s) >= symbolBytes; s = s[symbolBytes:] {
			le := binary.LittleEndian
			if le.Uint16(s[6:]) != 0 && string(cString(t.strings, uint64(le.Uint32(s)))) == name {
				return le.Uint64(s[8:]), true
			}
		}
	}
	return 0, false
}

// maxSimilar bounds the number of suggestions.
const maxSimilar = 5

// Similar suggests functions whose names are close to one that was not found, the closest first: by edit distance of
// the whole name, or because only the package or the case differs.
func (b *Binary) Similar(name string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var best []candidate
	limit := max(2, len(name)/4)
	last := strings.ToLower(base(name))
	b.whole(func(raw []byte, _, _ uint64) bool {
		if len(raw) > 256 {
			return true
		}
		distance := limit + 1
		if diff := len(raw) - len(name); diff <= limit && -diff <= limit {
			distance = source.Distance(name, string(raw), limit)
		}
		if distance > limit && len(last) > 2 && strings.ToLower(base(string(raw))) == last {
			distance = limit
		}
		if distance <= limit {
			best = append(best, candidate{string(raw), distance})
			if len(best) >= 64*maxSimilar {
				best = best[:0:0]
				limit-- // too common: be stricter
			}
		}
		return limit > 0
	})
	slices.SortStableFunc(best, func(x, y candidate) int {
		if x.distance != y.distance {
			return x.distance - y.distance
		}
		return strings.Compare(x.name, y.name)
	})
	var out []string
	for _, c := range best {
		if !slices.Contains(out, c.name) && len(out) < maxSimilar {
			out = append(out, c.name)
		}
	}
	return out
}

// base is the part of a name after its package and receiver.
func base(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
