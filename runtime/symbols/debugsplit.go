package symbols

import (
	"bytes"
	"cmp"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// split is the debug information that was split off from that of a program (-gsplit-dwarf): of each compile unit the program has a
// skeleton, with the addresses of its code and an ID, and a .dwo file beside its object has all the rest, and the same ID. A package,
// which is called as the program with .dwp, has all such files in one.
//
// A file is read when a function of its unit is asked for, or when a name is sought that is in none before it. What it has is a part
// of the debug information. It refers to the program's tables of addresses and ranges from where the skeleton says on, and to
// its own tables from their beginning.
type split struct {
	may       bool // there may be skeletons, which are not known before the units' code is
	skeletons []*skeleton
	unit      map[int]*skeleton
	ids       map[uint64]*skeleton
	read      map[uint64]int // of units that were read, by their IDs
	addrs     []byte         // the program's sections that files refer to
	ranges    []byte
	types     []byte
	places    splitPlaces
	pack      *pack // nil for none, or before it is sought
	packErr   error
	sought    bool
	size      int64 // of what was read
	next      int   // skeleton that a search goes on at
	tried     int   // of files, in searches
}

// Bounds of what is read of files that were split off: of one function's, and of those in which a name is sought.
const (
	maxSplit    = 1 << 30
	maxSearch   = 256 << 20
	maxSearched = 1 << 14 // files
)

// skeleton is what a program itself has of a unit.
type skeleton struct {
	unit          int
	name, dir     string // of the file, and what the name is relative to
	id            uint64
	addrs, ranges int64 // where its own begin
	err           error // why it was not read
}

func newSplit(sections map[string][]byte, units []debugUnit, places splitPlaces) split {
	s := split{unit: map[int]*skeleton{}, ids: map[uint64]*skeleton{}, read: map[uint64]int{}, addrs: sections[addrSection], ranges: sections[rangesSection], types: sections[pubSection], places: places}
	s.may = len(s.addrs) > 0 || slices.ContainsFunc(units, func(u debugUnit) bool { return u.kind == unitSkeleton })
	return s
}

// note notes a unit of the program, by its first entry, where it is a skeleton.
func (s *split) note(i int, u debugUnit, top *dwarf.Entry) {
	k := &skeleton{unit: i, id: u.id}
	id, addrs, name := dwarf.Attr(0), dwarf.AttrAddrBase, attrDwoName
	if top.AttrField(name) == nil {
		id, addrs, name = attrGNUDwoID, attrGNUAddrBase, attrGNUDwoName
	}
	if k.name, _ = top.Val(name).(string); k.name == "" {
		return
	}
	if v, ok := top.Val(id).(int64); ok {
		k.id = uint64(v)
	}
	k.dir, _ = top.Val(dwarf.AttrCompDir).(string)
	k.addrs, _ = top.Val(addrs).(int64)
	k.ranges, _ = top.Val(attrGNURangesBase).(int64)
	s.skeletons = append(s.skeletons, k)
	s.unit[i], s.ids[k.id] = k, k
}

// splitPlaces are where files that were split off from a program may be.
type splitPlaces struct {
	root     string   // of the process's file system
	homes    []string // where the program is, in it
	packages []string
	program  string // as it is called
}

// splitPlaces are those of this program, whose debug information is in another file where that has a name.
func (b *Binary) splitPlaces(debugFile string) splitPlaces {
	path := b.Path
	if process, is := strings.CutSuffix(path, "/exe"); is && filepath.Dir(process) == "/proc" {
		if exe, err := os.Readlink(path); err == nil {
			path = process + "/root" + exe
		}
	}
	p := splitPlaces{root: processRoot(path), program: filepath.Base(path)}
	files := []string{path, debugFile}
	if real, err := filepath.EvalSymlinks(path); err == nil && p.root == "" {
		files = append(files, real)
	}
	for _, file := range files {
		if file == "" {
			continue
		}
		p.packages = append(p.packages, file+".dwp")
		if home, in := strings.CutPrefix(filepath.Dir(file), p.root); in && !slices.Contains(p.homes, home) {
			p.homes = append(p.homes, home)
		}
	}
	return p
}

// files are where a file may be: where it was made, or beside the program.
func (p splitPlaces) files(dir, name string) (out []string) {
	add := func(parts ...string) {
		path := p.root + filepath.Join(append([]string{"/"}, parts...)...)
		if p.root == "" && !filepath.IsAbs(parts[0]) {
			path = filepath.Join(parts...)
		}
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	absolute := filepath.IsAbs(name)
	switch {
	case absolute:
		add(name)
	case filepath.IsAbs(dir):
		add(dir, name)
	}
	for _, home := range p.homes {
		if !absolute {
			if !filepath.IsAbs(dir) {
				add(home, dir, name)
			}
			add(home, name)
		}
		add(home, filepath.Base(name))
	}
	return out
}

// whole is the unit that a unit of the program is a skeleton of, which is read; others are whole.
func (d *DebugInfo) whole(i int) (int, error) {
	k := d.split.unit[i]
	if k == nil {
		return i, nil
	}
	if _, read := d.split.read[k.id]; !read && k.err == nil {
		if err := d.readSplit(k); err != nil {
			k.err = fmt.Errorf("it is kept in files of its own (-gsplit-dwarf), and %w", err)
		}
	}
	return d.split.read[k.id], k.err
}

// readMore reads the next file that a name is sought in; false when there is none, or it would be too many.
func (d *DebugInfo) readMore() bool {
	if !d.split.may {
		return false
	}
	d.index()
	for s := &d.split; s.next < len(s.skeletons) && s.size < maxSearch && s.tried < maxSearched; {
		k := s.skeletons[s.next]
		s.next++
		if _, read := s.read[k.id]; read {
			continue
		}
		s.tried++
		if _, err := d.whole(k.unit); err == nil {
			return true
		}
	}
	return false
}

// unread is why not all files were searched, nil when they were.
func (s *split) unread() (err error) {
	failed := 0
	for _, k := range s.skeletons {
		if k.err != nil {
			failed++
			err = cmp.Or(err, k.err)
		}
	}
	switch {
	case failed > 1:
		return fmt.Errorf("%w; and %d more files", err, failed-1)
	case failed == 0 && s.next < len(s.skeletons):
		return fmt.Errorf("it is kept in files of its own (-gsplit-dwarf), of which %d MiB in %d files are searched at most", maxSearch>>20, maxSearched)
	}
	return err
}

// names tells whether the program itself has a name in its list of the types that were split off, which linkers may leave out. Before
// each name there is what it is: a type, which other units see or do not.
func (s *split) names(name string) bool {
	const global, local = 0x10, 0x90
	for _, is := range []byte{global, local} {
		if bytes.Contains(s.types, append(append([]byte{is}, name...), 0)) {
			return true
		}
	}
	return false
}

// readSplit reads a skeleton's unit, and what is in a file with it.
func (d *DebugInfo) readSplit(k *skeleton) (err error) {
	defer func() {
		if r := recover(); r != nil { // as guard
			err = fmt.Errorf("%s is damaged: %v", k.name, r)
		}
	}()
	if d.openPack(); d.split.pack != nil {
		if o, has := d.split.pack.units[k.id]; has {
			if err := d.readPacked(o); err != nil {
				return fmt.Errorf("%s cannot be read: %w", d.split.pack.path, err)
			}
			if _, read := d.split.read[k.id]; !read {
				return fmt.Errorf("%s is damaged: it has no unit with the ID %#x", d.split.pack.path, k.id)
			}
			return nil
		}
	}
	for _, path := range d.split.places.files(k.dir, k.name) {
		switch e := d.readObject(path, k); {
		case e == nil:
			return nil
		case err == nil, missing(err) && !missing(e):
			err = e
		}
	}
	switch p := d.split.places.program; {
	case missing(err) && d.split.packErr != nil:
		return d.split.packErr
	case missing(err) && d.split.pack != nil:
		return fmt.Errorf("%s is of another build than the program: it has no unit with the ID %#x", d.split.pack.path, k.id)
	case missing(err):
		return fmt.Errorf("there is no %s: keep the .dwo files where they were made or beside the program, or make %s.dwp of them: dwp -e %s -o %s.dwp", d.split.places.files(k.dir, k.name)[0], p, p, p)
	}
	return err
}

// missing tells whether an error says that there is no such file.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// openSplit opens a file that was split off. Empty ones are not touched: those of /proc look so.
func openSplit(path string) (*os.File, *elf.File, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err == nil {
		var file *elf.File
		if file, err = elf.NewFile(f); err == nil {
			return f, file, nil
		}
		err = fmt.Errorf("%s cannot be read: %w", path, err)
	}
	f.Close()
	return nil, nil, err
}

// splitSections are those that are read of a file.
var splitSections = []string{infoSection, abbrevSection, textSection, typesSection, offsetsSection, listsSection}

// readObject reads a .dwo file, which must have the skeleton's unit.
func (d *DebugInfo) readObject(path string, k *skeleton) error {
	f, file, err := openSplit(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sections := map[string][]byte{}
	for _, s := range file.Sections {
		name, is := strings.CutSuffix(s.Name, ".dwo")
		if !is || !slices.Contains(splitSections, name) {
			continue
		}
		err := d.split.take(s.Size)
		if err == nil {
			var raw []byte
			raw, err = data(s)
			sections[name] = append(sections[name], raw...) // units of types have sections of their own
		}
		if err != nil {
			return fmt.Errorf("%s cannot be read: section %s: %w", path, s.Name, err)
		}
	}
	if len(sections[infoSection]) == 0 {
		return fmt.Errorf("%s has no debug information", path)
	}
	if err := d.addSplit(sections, k); errors.Is(err, errOther) {
		return fmt.Errorf("%s is of another build than the program: %w", path, err)
	} else if err != nil {
		return fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return nil
}

// take counts what is about to be read.
func (s *split) take(size uint64) error {
	if size > maxSplit || s.size+int64(size) > maxSplit {
		return fmt.Errorf("more than %d MiB of debug information in files of its own", maxSplit>>20)
	}
	s.size += int64(size)
	return nil
}

// errOther says that a file is not the one that was split off.
var errOther = errors.New("no unit with the ID")

// addSplit adds the sections of an object to what was read. k is the skeleton of one of its units, which must be there, or nil.
func (d *DebugInfo) addSplit(sections map[string][]byte, k *skeleton) error {
	const offsetsHeader, listsHeader = 8, 12
	sections[offsetsSection] = behindHeader(sections[infoSection], sections[offsetsSection], offsetsHeader)
	sections[listsSection] = behindHeader(sections[infoSection], sections[listsSection], listsHeader)
	if k != nil {
		sections[addrSection], sections[rangesSection] = from(d.split.addrs, k.addrs), from(d.split.ranges, k.ranges)
	}
	p, units, err := parsePart(sections)
	if err != nil {
		return err
	}
	ids := map[uint64]int{}
	for i, u := range units {
		id := u.id
		switch u.kind {
		case unitSplit:
		case 0: // before DWARF 5
			r := p.data.Reader()
			r.Seek(u.first)
			top, err := r.Next()
			if err != nil || top == nil {
				return fmt.Errorf("its unit at %#x: %w", u.first, cmp.Or(err, errors.New("no entries")))
			}
			v, _ := top.Val(attrGNUDwoID).(int64)
			id = uint64(v)
		default:
			continue
		}
		ids[id] = i
	}
	if k != nil {
		if _, has := ids[k.id]; !has {
			return fmt.Errorf("%w %#x", errOther, k.id)
		}
	}
	first := len(d.units)
	if err := d.add(p, units); err != nil {
		return err
	}
	for id, i := range ids {
		if _, read := d.split.read[id]; !read {
			d.split.read[id] = first + i
		}
	}
	return nil
}

// from is what is in a section from an offset on.
func from(section []byte, offset int64) []byte {
	if offset < 0 || offset > int64(len(section)) {
		return nil
	}
	return section[offset:]
}

// behindHeader cuts off the header that a table has in DWARF 5: its length, the version, and more. size is that of the header in 32 bits.
func behindHeader(info, table []byte, size int) []byte {
	le := binary.LittleEndian
	word := 4
	if len(table) >= 4 && le.Uint32(table) == 0xffffffff {
		word = 12
	}
	unit := 4
	if len(info) >= 4 && le.Uint32(info) == 0xffffffff {
		unit = 12
	}
	size += word - 4
	if len(info) < unit+2 || le.Uint16(info[unit:]) < 5 || len(table) < size || le.Uint16(table[word:]) != 5 {
		return table
	}
	return table[size:]
}

// The forms of DWARF 5 for texts and addresses by their numbers, which are at once those that GNU had before.
const (
	formStrx         = 0x1a
	formAddrx        = 0x1b
	formGNUAddrIndex = 0x1f01
	formGNUStrIndex  = 0x1f02
	formImplicit     = 0x21
	maxAbbrevs       = 64 << 20
)

// plainAbbrevs are the abbreviations of units in forms that the standard library knows. It reads each table for itself, and so tables
// that overlap are bounded.
func plainAbbrevs(abbrevs []byte, units []debugUnit) ([]byte, error) {
	out, changed := abbrevs, false
	done := map[uint64]bool{}
	left, damaged := maxAbbrevs, false
	for _, u := range units {
		if done[u.abbrev] || u.abbrev >= uint64(len(abbrevs)) {
			continue
		}
		done[u.abbrev] = true
		at := int(u.abbrev)
		number := func() uint64 {
			v, n := binary.Uvarint(abbrevs[at:])
			at, damaged = at+max(n, 0), damaged || n < 0
			return v
		}
		for {
			before := at
			if number() == 0 {
				break
			}
			number() // the tag
			at++     // whether it has children
			for at < len(abbrevs) {
				attr := number()
				form := at
				kind := number()
				if kind == formImplicit {
					number()
				}
				if attr == 0 && kind == 0 {
					break
				}
				if kind != formGNUAddrIndex && kind != formGNUStrIndex {
					continue
				}
				if !changed {
					out, changed = slices.Clone(abbrevs), true
				}
				plain := byte(formAddrx)
				if kind == formGNUStrIndex {
					plain = formStrx
				}
				for ; out[form] >= 0x80; form++ { // as many bytes as before
					out[form], plain = plain|0x80, 0
				}
				out[form] = plain
			}
			if left -= at - before; left < 0 || damaged {
				return nil, errors.New("damaged or too many abbreviations")
			}
			if at > len(abbrevs) {
				break
			}
		}
	}
	return out, nil
}
