package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
)

// pack is a package of files that were split off (.dwp). Its sections have what the files had, one behind the other, but for the texts,
// which are one for all; and two indices tell of each unit, by its ID or its type's signature, where in the sections what it refers to is.
// Units that refer to the same abbreviations are of the same file, and are read at once.
type pack struct {
	path    string
	closer  *os.File // remains open as long as somebody has the debug information
	file    *elf.File
	text    []byte
	objects []packed
	units   map[uint64]int // the object by the unit's ID
	types   map[uint64]int // by the signature
}

// packed is what was one file.
type packed struct {
	ids    []uint64
	units  []piece
	tables []piece // one of each that they refer to
	read   bool
	err    error
}

// piece is a piece of a section.
type piece struct {
	section      string
	offset, size uint32
}

// The versions of packages: GNU's, which was for DWARF 4, and that of DWARF 5.
const (
	packGNU = 2
	pack5   = 5
)

const (
	maxColumns = 16       // more than there are sections
	maxIndex   = 64 << 20 // millions of units
)

// packSection is what a column of an index is about.
func packSection(id, version uint32) string {
	switch {
	case id == 1:
		return infoSection
	case id == 2 && version == packGNU:
		return typesSection
	case id == 3:
		return abbrevSection
	case id == 6:
		return offsetsSection
	case id == 8 && version == pack5:
		return listsSection
	}
	return ""
}

// openPack opens the program's package, where there is one.
func (d *DebugInfo) openPack() {
	s := &d.split
	if s.sought {
		return
	}
	s.sought = true
	for _, path := range s.places.packages {
		f, file, err := openSplit(path)
		if missing(err) {
			continue
		}
		if err == nil {
			p := &pack{path: path, closer: f, file: file, units: map[uint64]int{}, types: map[uint64]int{}}
			if err = p.index(s); err == nil {
				s.pack = p
				return
			}
			f.Close()
			err = fmt.Errorf("%s cannot be read: %w", path, err)
		}
		s.packErr = err
	}
}

// index reads the texts and the indices.
func (p *pack) index(s *split) error {
	read := func(name string, limit uint64) ([]byte, error) {
		section := p.file.Section(name)
		switch {
		case section == nil:
			return nil, nil
		case section.Size > limit:
			return nil, fmt.Errorf("it has more than %d MiB", limit>>20)
		}
		if err := s.take(section.Size); err != nil {
			return nil, err
		}
		return data(section)
	}
	objects := map[uint32]int{} // by where their abbreviations are
	for _, of := range []struct {
		name  string
		units map[uint64]int
	}{{".debug_cu_index", p.units}, {".debug_tu_index", p.types}} {
		raw, err := read(of.name, maxIndex)
		if err == nil {
			err = p.indexUnits(raw, objects, of.units)
		}
		if err != nil {
			return fmt.Errorf("section %s: %w", of.name, err)
		}
	}
	for id, o := range p.units {
		p.objects[o].ids = append(p.objects[o].ids, id)
	}
	var err error
	p.text, err = read(textSection+".dwo", maxSection)
	return err
}

// indexUnits reads an index: a header, a hash table of IDs, one of the rows that they mean, the columns' names, and then of each row
// where in each column's section its piece begins, and last how long those are.
func (p *pack) indexUnits(raw []byte, objects map[uint32]int, units map[uint64]int) error {
	if len(raw) == 0 {
		return nil
	}
	damaged := errors.New("it is damaged")
	const header = 16
	if len(raw) < header {
		return damaged
	}
	le := binary.LittleEndian
	word := func(at uint64) uint32 { return le.Uint32(raw[at:]) }
	version := uint32(le.Uint16(raw))
	columns, rows, slots := uint64(word(4)), uint64(word(8)), uint64(word(12))
	if version != packGNU && version != pack5 {
		return fmt.Errorf("version %d is not known", version)
	}
	numbers := header + 8*slots
	names := numbers + 4*slots
	if columns > maxColumns || names+4*columns*(1+2*rows) > uint64(len(raw)) {
		return damaged
	}
	for slot := range slots {
		id, row := le.Uint64(raw[header+8*slot:]), uint64(word(numbers+4*slot))
		if row == 0 {
			continue
		}
		if row > rows {
			return damaged
		}
		var tables, own []piece
		at, is := uint32(0), false
		for c := range columns {
			one := piece{packSection(word(names+4*c), version), word(names + 4*(columns*row+c)), word(names + 4*(columns*(rows+row)+c))}
			if one.section == abbrevSection {
				at, is = one.offset, true
			}
			switch {
			case one.section == "" || one.size == 0:
			case one.section == infoSection || one.section == typesSection:
				own = append(own, one)
			default:
				tables = append(tables, one)
			}
		}
		if !is {
			return damaged
		}
		o, seen := objects[at]
		if !seen {
			o = len(p.objects)
			objects[at] = o
			p.objects = append(p.objects, packed{tables: tables})
		}
		units[id] = o
		p.objects[o].units = append(p.objects[o].units, own...)
	}
	return nil
}

// readPacked reads what was one file.
func (d *DebugInfo) readPacked(i int) error {
	o := &d.split.pack.objects[i]
	if !o.read {
		o.read = true
		o.err = d.addPacked(o)
	}
	return o.err
}

func (d *DebugInfo) addPacked(o *packed) error {
	sections := map[string][]byte{}
	for _, one := range slices.Concat(o.tables, o.units) {
		s := d.split.pack.file.Section(one.section + ".dwo")
		switch {
		case s == nil || uint64(one.offset)+uint64(one.size) > s.FileSize:
			return fmt.Errorf("its index is damaged: %s", one.section)
		case s.ReaderAt == nil:
			return fmt.Errorf("section %s is compressed", s.Name)
		}
		if err := d.split.take(uint64(one.size)); err != nil {
			return err
		}
		raw := make([]byte, one.size)
		if _, err := s.ReadAt(raw, int64(one.offset)); err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
		sections[one.section] = append(sections[one.section], raw...)
	}
	sections[textSection] = d.split.pack.text
	var of *skeleton
	for _, id := range o.ids {
		if k := d.split.ids[id]; k != nil {
			of = k
		}
	}
	return d.addSplit(sections, of)
}

// signedType is where the type with a signature is. That of a package may be in what was another file.
func (d *DebugInfo) signedType(signature uint64) (dwarf.Offset, bool) {
	off, ok := d.signed[signature]
	if !ok && d.split.pack != nil {
		if o, has := d.split.pack.types[signature]; has && d.readPacked(o) == nil {
			off, ok = d.signed[signature]
		}
	}
	return off, ok
}
