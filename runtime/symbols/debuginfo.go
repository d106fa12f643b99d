package symbols

import (
	"bytes"
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ianlancetaylor/demangle"

	"github.com/slopebpf/slope/lang/types"
)

// ErrNoArgs says that a function has debug information, but none about its arguments.
var ErrNoArgs = errors.New("no debug information about its arguments")

// ErrDebug says that debug information contradicts itself, or is of a form that is not read.
var ErrDebug = errors.New("debug information that cannot be read")

// DebugInfo is the debug information (DWARF 2 to 5) of a program: the arguments of its functions and its types. It is safe
// for concurrent use.
//
// Nothing is indexed ahead. A function is sought by its address in the one compile unit whose ranges hold it, all of which are
// then known; a type by its name first in that unit, then in the others, and only when the name is in the sections at all. A
// struct's fields are read when they are asked for. What was split off (-gsplit-dwarf) is read from its file when it is asked for,
// see split.
type DebugInfo struct {
	mu      sync.Mutex
	parts   []*part
	units   []debugUnit
	signed  map[uint64]dwarf.Offset           // types with units of their own
	split   split                             // what was split off
	code    []unitCode                        // by address; nil until it is asked for
	funcs   map[int]map[uint64][]dwarf.Offset // of the units that were asked for, by the address
	inlined map[dwarf.Offset][]dwarf.Offset   // of these: what is inlined, and the functions that have it
	typed   map[dwarf.Offset]bool             // of these, by the first entry: whether anything in them has a type
	types   map[dwarf.Offset]*types.Type      // of structs and enums
	named   map[string]namedType
	abi     ABI
	visits  int // left of the entries that one question may look at below others
}

// maxVisits bounds them: damaged debug information can have types that contain themselves.
const maxVisits = 1 << 16

// begin starts to answer a question; what it returns ends that.
func (d *DebugInfo) begin() (end func()) {
	d.mu.Lock()
	d.visits = maxVisits
	return d.mu.Unlock
}

// part is what debug/dwarf takes for the whole debug information: that of the program itself, or of one object whose debug
// information was split off.
type part struct {
	data  *dwarf.Data
	base  dwarf.Offset // what is added to the offsets in it, so that those of all parts differ
	texts [][]byte     // the sections that names are in
}

// own makes the offsets of an entry, which are those in its part, unique.
func (p *part) own(e *dwarf.Entry) *dwarf.Entry {
	if e == nil || e.Tag == 0 || p.base == 0 {
		return e
	}
	e.Offset += p.base
	for i, f := range e.Field {
		if to, ok := f.Val.(dwarf.Offset); ok {
			e.Field[i].Val = to + p.base
		}
	}
	return e
}

// partAt is the part with the entry at an offset.
func (d *DebugInfo) partAt(off dwarf.Offset) *part {
	i, _ := slices.BinarySearchFunc(d.parts[1:], off, func(p *part, off dwarf.Offset) int { return cmp.Compare(p.base, off+1) })
	return d.parts[i]
}

// debugUnit is where the entries of a unit are. One that has a type has its signature, which other units refer to the type by. One
// that was split off, and what is left of it, have the same ID.
type debugUnit struct {
	first, end dwarf.Offset
	id         uint64
	typ        dwarf.Offset
	kind       uint8
	abbrev     uint64 // where its abbreviations are
}

// unitCode is a range of addresses with code of a unit.
type unitCode struct {
	low, high uint64
	unit      int
}

// namedType is what a search for a type gave.
type namedType struct {
	exact *types.Type // nil where there is none
	short *types.Type // the only one that a shortened name can mean
	names []string    // all that it can mean
	// unread is why some of the debug information was not searched.
	unread error
}

// Debug is the binary's debug information, or that of the file with what was stripped from it. It is read once; afterwards
// it needs the file no more, but those that were split off from it.
func (b *Binary) Debug() (*DebugInfo, error) {
	if b.debug == nil && b.debugErr == nil {
		b.debug, b.debugErr = b.readDebug()
	}
	return b.debug, b.debugErr
}

// hasDebug tells whether the binary itself has debug information.
func (b *Binary) hasDebug() bool {
	return b.file.Section(infoSection) != nil || b.file.Section(packedSection) != nil
}

func (b *Binary) readDebug() (d *DebugInfo, err error) {
	err = ErrNoDebug
	if b.hasDebug() {
		d, err = parseSections(b.file, b.ABI(), b.splitPlaces(""))
	} else if f := b.openDebug(); f != nil {
		b.withStripped(f, func(file *elf.File) { d, err = parseSections(file, b.ABI(), b.splitPlaces(f.Name())) })
		f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", b.Path, err)
	}
	return d, nil
}

func parseSections(file *elf.File, abi ABI, places splitPlaces) (*DebugInfo, error) {
	sections, err := debugSections(file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDebug, err)
	case len(sections[infoSection]) == 0:
		return nil, ErrNoDebug
	}
	return parseDebug(sections, abi, places)
}

// debugSections reads those that arguments and types are in: neither lines nor locations.
func debugSections(file *elf.File) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, s := range file.Sections {
		switch s.Name {
		case infoSection, abbrevSection, textSection, typesSection, rangesSection, ".debug_line_str", listsSection, addrSection, offsetsSection, pubSection:
			raw, err := data(s)
			if err != nil {
				return nil, fmt.Errorf("section %s: %w", s.Name, err)
			}
			out[s.Name] = raw
		case packedSection:
			return nil, errors.New("sections compressed in the old form (.zdebug)")
		}
	}
	return out, nil
}

const (
	infoSection    = ".debug_info"
	packedSection  = ".zdebug_info"
	abbrevSection  = ".debug_abbrev"
	textSection    = ".debug_str"
	typesSection   = ".debug_types" // the units of types of DWARF 4 (-fdebug-types-section)
	rangesSection  = ".debug_ranges"
	listsSection   = ".debug_rnglists" // the ranges of DWARF 5
	addrSection    = ".debug_addr"
	offsetsSection = ".debug_str_offsets"
	pubSection     = ".debug_gnu_pubtypes" // the names of types that were split off
)

// parseDebug makes a DebugInfo of sections by their names.
func parseDebug(sections map[string][]byte, abi ABI, places splitPlaces) (d *DebugInfo, err error) {
	defer guard(&err)
	d = &DebugInfo{signed: map[uint64]dwarf.Offset{}, funcs: map[int]map[uint64][]dwarf.Offset{}, typed: map[dwarf.Offset]bool{},
		inlined: map[dwarf.Offset][]dwarf.Offset{}, types: map[dwarf.Offset]*types.Type{}, named: map[string]namedType{}, abi: abi}
	p, units, err := parsePart(sections)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDebug, err)
	}
	d.split = newSplit(sections, units, places)
	if err := d.add(p, units); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDebug, err)
	}
	return d, nil
}

// parsePart makes a part of sections by their names. What its units have is at the offsets in the part.
//
// The standard library visits units of types only in .debug_info, and so those of DWARF 4 are put behind the others, which refer to
// them by signatures alone. It takes the rest of their headers for entries, but is never asked for what is at such an offset.
func parsePart(sections map[string][]byte) (*part, []debugUnit, error) {
	info, apart := sections[infoSection], sections[typesSection]
	units := debugUnits(info, len(info))
	if len(apart) > 0 {
		whole := slices.Concat(info, apart)
		units = debugUnits(whole, len(info))
		info = whole
	}
	abbrevs, err := plainAbbrevs(sections[abbrevSection], units)
	if err != nil {
		return nil, nil, err
	}
	data, err := dwarf.New(abbrevs, nil, nil, info, nil, nil, sections[rangesSection], sections[textSection])
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{addrSection, ".debug_line_str", offsetsSection, listsSection} {
		if raw := sections[name]; raw != nil {
			if err := data.AddSection(name, raw); err != nil {
				return nil, nil, err
			}
		}
	}
	return &part{data: data, texts: [][]byte{info, sections[textSection], sections[".debug_line_str"]}}, units, nil
}

// add adds a part with its units to the others.
func (d *DebugInfo) add(p *part, units []debugUnit) error {
	size := uint64(len(p.texts[0]))
	if len(d.parts) > 0 {
		last := d.parts[len(d.parts)-1]
		p.base = last.base + dwarf.Offset(len(last.texts[0]))
	}
	if uint64(p.base)+size > 1<<32-1 {
		return errors.New("more than 4 GiB of debug information")
	}
	d.parts = append(d.parts, p)
	for _, u := range units {
		u.first, u.end = u.first+p.base, u.end+p.base
		if u.typ > 0 {
			if u.typ += p.base; d.signed[u.id] == 0 {
				d.signed[u.id] = u.typ
			}
		}
		d.units = append(d.units, u)
	}
	return nil
}

// guard makes an error of a panic: the standard library does not promise that damaged debug information causes none.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrDebug, r)
	}
}

// The types of units of DWARF 5 that have more in their header.
const (
	unitType      = 2
	unitSkeleton  = 4
	unitSplit     = 5
	unitSplitType = 6
)

// debugUnits finds the units by their headers. From an offset on they are units of types of DWARF 4, if they are of this version.
func debugUnits(info []byte, apart int) (out []debugUnit) {
	le := binary.LittleEndian
	for at := uint64(0); at+12 <= uint64(len(info)); {
		length, head, word := uint64(le.Uint32(info[at:])), at+4, uint64(4)
		if length == 0xffffffff {
			if at+24 > uint64(len(info)) {
				break
			}
			length, head, word = le.Uint64(info[at+4:]), at+12, 8
		}
		end := head + length
		if end <= head || end > uint64(len(info)) || end > 1<<32-1 {
			break
		}
		first := head + 2 + word + 1
		u := debugUnit{end: dwarf.Offset(end)}
		abbrev := head + 2
		switch version := le.Uint16(info[head:]); {
		case version >= 5:
			first++
			abbrev += 2
			u.kind = info[head+2]
		case at >= uint64(apart):
			u.kind = unitType
		}
		if first > end {
			return out
		}
		if u.abbrev = uint64(le.Uint32(info[abbrev:])); word == 8 {
			u.abbrev = le.Uint64(info[abbrev:])
		}
		switch u.kind {
		case unitType, unitSplitType:
			if first+8+word > end {
				return out
			}
			u.id = le.Uint64(info[first:])
			u.typ = dwarf.Offset(at + uint64(le.Uint32(info[first+8:])))
			first += 8 + word
		case unitSkeleton, unitSplit:
			if first+8 > end {
				return out
			}
			u.id = le.Uint64(info[first:])
			first += 8
		}
		if u.first = dwarf.Offset(first); first < end {
			out = append(out, u)
		}
		at = end
	}
	return out
}

// walker goes over the entries of a unit, forwards only, whatever the entries say of their siblings.
type walker struct {
	part  *part
	r     *dwarf.Reader
	next  dwarf.Offset // the least that the next entry's offset may be
	end   dwarf.Offset
	depth int // of the next entry below the first
}

func (d *DebugInfo) walk(from, end dwarf.Offset) *walker {
	p := d.partAt(from)
	w := &walker{part: p, r: p.data.Reader(), next: from, end: end}
	w.r.Seek(from - p.base)
	return w
}

// raw is the next entry, or the end of a list of children; nil at the end of the unit.
func (w *walker) raw() *dwarf.Entry {
	e, err := w.r.Next()
	switch e = w.part.own(e); {
	case err != nil || e == nil:
		return nil
	case e.Tag == 0: // has no offset
		w.depth--
		return e
	case e.Offset < w.next || e.Offset >= w.end:
		return nil
	case e.Children:
		w.depth++
	}
	w.next = e.Offset + 1
	return e
}

// entry is the next entry, nil after the last below the first.
func (w *walker) entry() *dwarf.Entry {
	for e := w.raw(); e != nil && (e.Tag != 0 || w.depth > 0); e = w.raw() {
		if e.Tag != 0 {
			return e
		}
	}
	return nil
}

// skip passes the children of the entry that was read last.
func (w *walker) skip(e *dwarf.Entry) {
	if !e.Children {
		return
	}
	outside := w.depth - 1
	if sibling, ok := e.Val(dwarf.AttrSibling).(dwarf.Offset); ok && sibling >= w.next && sibling < w.end {
		w.r.Seek(sibling - w.part.base)
		w.next, w.depth = sibling, outside
	}
	for w.depth > outside && w.raw() != nil {
	}
}

// unitOf finds the unit that an entry is in, -1 without one.
func (d *DebugInfo) unitOf(off dwarf.Offset) int {
	i, _ := slices.BinarySearchFunc(d.units, off, func(u debugUnit, off dwarf.Offset) int { return cmp.Compare(u.end, off+1) })
	if i == len(d.units) || off < d.units[i].first {
		return -1
	}
	return i
}

// at reads one entry, nil where there is none.
func (d *DebugInfo) at(off dwarf.Offset) *dwarf.Entry {
	p := d.partAt(off)
	r := p.data.Reader()
	r.Seek(off - p.base)
	e, err := r.Next()
	if e = p.own(e); err != nil || e == nil || e.Offset != off {
		return nil
	}
	return e
}

// children calls f with the entries right below one, until it returns false.
func (d *DebugInfo) children(e *dwarf.Entry, f func(*dwarf.Entry) bool) {
	if !e.Children {
		return
	}
	u := d.unitOf(e.Offset)
	if u < 0 {
		return
	}
	w := d.walk(e.Offset, d.units[u].end)
	w.entry()
	for c := w.entry(); c != nil; c = w.entry() {
		if d.visits--; d.visits < 0 {
			panic("a type has too many parts") // to guard
		}
		if !f(c) {
			return
		}
		w.skip(c)
	}
}

// ref is what an attribute of an entry refers to. A type that has a unit of its own is there also where only a place holder is referred
// to.
func (d *DebugInfo) ref(e *dwarf.Entry, attr dwarf.Attr) *dwarf.Entry {
	to := d.direct(e, attr)
	if to != nil && to != unread && to.AttrField(dwarf.AttrSignature) != nil {
		return d.direct(to, dwarf.AttrSignature)
	}
	return to
}

func (d *DebugInfo) direct(e *dwarf.Entry, attr dwarf.Attr) *dwarf.Entry {
	switch v := e.Val(attr).(type) {
	case dwarf.Offset:
		return d.at(v)
	case uint64:
		if f := e.AttrField(attr); f.Class != dwarf.ClassReferenceSig {
			return nil
		}
		if off, ok := d.signedType(v); ok {
			return d.at(off)
		}
		return unread
	}
	return nil
}

// unread stands for types whose units are not there.
var unread = &dwarf.Entry{Tag: dwarf.TagStructType, Field: []dwarf.Field{{Attr: dwarf.AttrName, Val: "<unknown>"}, {Attr: dwarf.AttrDeclaration, Val: true}}}

func name(e *dwarf.Entry) string {
	s, _ := e.Val(dwarf.AttrName).(string)
	return s
}

// has tells whether a name, or the end of one, is anywhere in the sections.
func (p *part) has(name string) bool {
	return slices.ContainsFunc(p.texts, func(text []byte) bool { return bytes.Contains(text, append([]byte(name), 0)) })
}

// Languages as DWARF numbers them, of those that keep their arguments in their own ways.
const (
	languageGo   = 0x16
	languageRust = 0x1c
	languageC    = 0x02
	languageC89  = 0x01
	languageC99  = 0x0c
	languageC11  = 0x1d
	languageAsm  = 0x8001
)

// maxOrigins bounds how far an entry leads to others for what it does not say itself.
const maxOrigins = 4

// home is the unit with the code at an address, -1 without one that can be read.
func (d *DebugInfo) home(addr uint64) int {
	for _, i := range d.unitsAt(addr) {
		if i, err := d.whole(i); err == nil {
			return i
		}
	}
	return -1
}

// index finds out where the code of the program's units is.
func (d *DebugInfo) index() {
	if d.code != nil {
		return
	}
	d.code = []unitCode{}
	for i, u := range d.units {
		top := d.at(u.first)
		if top == nil || top.Tag != dwarf.TagCompileUnit && top.Tag != tagSkeletonUnit {
			continue
		}
		d.split.note(i, u, top)
		ranges, _ := d.ranges(top) // of damaged ones those before
		for _, r := range ranges {
			d.code = append(d.code, unitCode{r[0], r[1], i})
		}
	}
	d.split.may = len(d.split.skeletons) > 0
	slices.SortFunc(d.code, func(x, y unitCode) int { return cmp.Compare(x.low, y.low) })
}

// unitsAt finds the compile units with the code at an address: several where the linker found the code of their functions the same.
func (d *DebugInfo) unitsAt(addr uint64) (out []int) {
	d.index()
	i, _ := slices.BinarySearchFunc(d.code, addr, func(c unitCode, addr uint64) int {
		if c.low <= addr {
			return -1
		}
		return 1
	})
	for i--; i >= 0 && (len(out) == 0 || d.code[i].low == d.code[i+1].low); i-- {
		if addr >= d.code[i].high {
			break
		}
		out = append(out, d.code[i].unit)
	}
	return out
}

// function finds the entry of the function at an address, and that of its unit. Where there are several, as the linker makes one of
// functions with the same code, it is the one of the symbol.
func (d *DebugInfo) function(addr uint64, symbol string) (found, unit *dwarf.Entry, err error) {
	err = ErrNoDebug
	for _, i := range d.unitsAt(addr) {
		i, apart := d.whole(i)
		if apart != nil {
			err = fmt.Errorf("%w: %w", ErrDebug, apart)
			continue
		}
		w := d.walk(d.units[i].first, d.units[i].end)
		top := w.entry()
		funcs := d.funcs[i]
		if funcs == nil {
			funcs = map[uint64][]dwarf.Offset{}
			var in dwarf.Offset // the function that what follows is in
			for e := w.entry(); e != nil; e = w.entry() {
				if low, ok := d.starts(e); ok {
					funcs[low] = append(funcs[low], e.Offset)
					in = e.Offset
				} else if e.Tag == dwarf.TagSubprogram {
					in = 0
				}
				if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok && e.Tag == dwarf.TagInlinedSubroutine && in > 0 {
					if all := d.inlined[origin]; len(all) == 0 || all[len(all)-1] != in {
						d.inlined[origin] = append(all, in)
					}
				}
				if e.AttrField(dwarf.AttrType) != nil {
					d.typed[top.Offset] = true
				}
			}
			d.funcs[i] = funcs
		}
		for _, off := range funcs[addr] {
			e := d.at(off)
			if is := d.isOf(e, symbol); is || found == nil {
				if found, unit, err = e, top, nil; is {
					return found, unit, nil
				}
			}
		}
	}
	return found, unit, err
}

// isOf tells whether a symbol is that of a function.
func (d *DebugInfo) isOf(e *dwarf.Entry, symbol string) bool {
	whole, _, _ := strings.Cut(symbol, ".") // without what the compiler adds to copies
	if linkage := d.textOf(e, dwarf.AttrLinkageName); linkage != "" {
		return linkage == symbol || linkage == whole
	}
	own := d.nameOf(e)
	if mangled([]byte(symbol)) {
		whole = demangle.Filter(symbol, demangle.NoClones, demangle.NoParams)
		whole = whole[strings.LastIndex(whole, "::")+1:]
		whole = strings.TrimPrefix(whole, ":")
	}
	return own == symbol || own == whole
}

// Attributes and tags that debug/dwarf has no names for.
const (
	attrDwoName       dwarf.Attr = 0x76
	attrGNUDwoName    dwarf.Attr = 0x2130
	attrGNUDwoID      dwarf.Attr = 0x2131
	attrGNURangesBase dwarf.Attr = 0x2132
	attrGNUAddrBase   dwarf.Attr = 0x2133
	attrAlignment     dwarf.Attr = 0x88
	attrDeleted       dwarf.Attr = 0x8a
	attrDefaulted     dwarf.Attr = 0x8b
	attrGNUVector     dwarf.Attr = 0x2107
	attrGoKind        dwarf.Attr = 0x2900
	attrGoDictIndex   dwarf.Attr = 0x2906
	tagSkeletonUnit   dwarf.Tag  = 0x4a

	tagGNUParameterPack dwarf.Tag = 0x4108
	tagAtomic           dwarf.Tag = 0x47
	tagImmutable        dwarf.Tag = 0x4b
)

// starts is where the code of a function starts; what is no function, or has no code of its own, does not.
func (d *DebugInfo) starts(e *dwarf.Entry) (uint64, bool) {
	if e.Tag != dwarf.TagSubprogram {
		return 0, false
	}
	if low, ok := e.Val(dwarf.AttrLowpc).(uint64); ok {
		return low, true
	}
	if e.AttrField(dwarf.AttrRanges) == nil {
		return 0, false
	}
	ranges, err := d.ranges(e)
	if err != nil || len(ranges) == 0 {
		return 0, false
	}
	return ranges[0][0], true
}

// ranges are the addresses of the code of an entry.
func (d *DebugInfo) ranges(e *dwarf.Entry) ([][2]uint64, error) {
	p := d.partAt(e.Offset)
	own := *e
	own.Offset -= p.base
	return p.data.Ranges(&own)
}

// Inlined tells whether the program has a function only as copies in those that call it.
func (d *DebugInfo) Inlined(function string) (is bool) {
	defer d.begin()()
	var err error
	defer guard(&err)
	for u := range d.unitsWith(nowhere, function) {
		w := d.walk(u.first, u.end)
		for e := w.entry(); e != nil; e = w.entry() {
			if how, ok := e.Val(dwarf.AttrInline).(int64); ok && (how == 1 || how == 3) && e.Tag == dwarf.TagSubprogram {
				linkage, _ := e.Val(dwarf.AttrLinkageName).(string)
				if d.nameOf(e) == function || linkage == function {
					return true
				}
			}
		}
	}
	return false
}

// InlinedIn are the functions of its unit that have a copy of the function at an address instead of a call of it.
func (d *DebugInfo) InlinedIn(addr uint64, symbol string) (callers []string) {
	defer d.begin()()
	var err error
	defer guard(&err)
	f, _, err := d.function(addr, symbol)
	if err != nil {
		return nil
	}
	origin, ok := f.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
	if !ok {
		return nil
	}
	for _, off := range d.inlined[origin] {
		if off != f.Offset { // not itself, where it calls itself
			callers = append(callers, d.nameOf(d.at(off)))
		}
	}
	return callers
}

// nameOf is the name of an entry, or of the one that it completes.
func (d *DebugInfo) nameOf(e *dwarf.Entry) string { return d.textOf(e, dwarf.AttrName) }

// textOf is a text that an entry has, or the one that it completes.
func (d *DebugInfo) textOf(e *dwarf.Entry, attr dwarf.Attr) string {
	for range maxOrigins {
		if e == nil {
			break
		}
		if text, _ := e.Val(attr).(string); text != "" {
			return text
		}
		if next := d.ref(e, dwarf.AttrAbstractOrigin); next != nil {
			e = next
		} else {
			e = d.ref(e, dwarf.AttrSpecification)
		}
	}
	return ""
}
