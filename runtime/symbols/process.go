package symbols

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// Processes finds the functions of running programs by address. What is mapped is read from /proc when a process is
// noted, and again when an address is not in what was read; it is kept after the process ends. The files are opened when
// a function of theirs is first looked up.
//
// At most maxProcesses are kept, the oldest go first; and the functions of at most maxFiles files.
type Processes struct {
	Mangled bool // names of C++ and Rust are left as they are in the files

	byID  map[int]*process
	order []int
	files map[string]*functions
	used  []string // the files in the order of their first use
}

const (
	maxProcesses = 4096
	maxFiles     = 256
)

// process is what a process has mapped.
type process struct {
	regions []Mapping
	started string   // when, in ticks since boot: another process of the same number has started later
	jit     *perfMap // nil until needed
}

// Mapping is code of a file that a process has mapped.
type Mapping struct {
	Start, End uint64 // in the process
	Offset     uint64 // in the file
	Path       string // in the process's own root, or what it was there
	Inode      uint64
	Deleted    bool // the file has no name any more, or another file has it
}

// Place is where the file of a mapping of a process that lives can be opened.
func (m *Mapping) Place(pid int) string {
	if m.Deleted {
		return fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.Start, m.End)
	}
	return fmt.Sprintf("/proc/%d/root%s", pid, m.Path)
}

// Mappings are those of a process that lives, by address; none of one that has gone.
func Mappings(pid int) []Mapping {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil
	}
	return parseMaps(text)
}

// functions are those of one file, by address.
type functions struct {
	addrs []uint64
	sizes []uint64
	names []string
	file  *Binary // for its segments; closed
	build []byte  // its build ID, nil for none
}

// Note reads what a process has mapped. It does nothing for a process that is gone.
func (p *Processes) Note(pid int) { p.read(pid) }

// Loader is the one of a process's mappings that is the code of its dynamic loader, nil for a program that needs none.
func Loader(pid int, mappings []Mapping) (*Mapping, error) {
	aux, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return nil, err
	}
	const atBase = 7 // AT_BASE of getauxval(3)
	for ; len(aux) >= 16; aux = aux[16:] {
		base := binary.LittleEndian.Uint64(aux[8:])
		if binary.LittleEndian.Uint64(aux) != atBase || base == 0 {
			continue
		}
		for i := range mappings {
			if m := &mappings[i]; m.Start-m.Offset == base {
				return m, nil
			}
		}
	}
	return nil, nil
}

// Running are the numbers of all processes that /proc shows.
func Running() (pids []int) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (p *Processes) read(pid int) *process {
	proc := &process{regions: Mappings(pid), started: startOf(pid)}
	if len(proc.regions) == 0 { // it is ending
		return nil
	}
	if p.byID == nil {
		p.byID = map[int]*process{}
	}
	if p.byID[pid] == nil {
		if p.order = append(p.order, pid); len(p.order) > maxProcesses {
			delete(p.byID, p.order[0])
			p.order = p.order[1:]
		}
	}
	if old := p.byID[pid]; old != nil && old.started == proc.started {
		proc.jit = old.jit
	}
	p.byID[pid] = proc
	return proc
}

// startOf is when a process started, in ticks since boot; "" for one that is gone.
func startOf(pid int) string { return stat(pid, 22) }

// Space tells the address spaces of a process apart, one for each program that it runs: it is where the stack began, which the
// kernel chooses at random. 0 where it is not known: the process is gone, or that of somebody else who cannot be traced.
func Space(pid int) uint64 {
	n, err := strconv.ParseUint(stat(pid, 28), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// stat is a field of /proc/PID/stat, by its number in proc(5); "" for a process that is gone. The second, a name in parentheses,
// may contain anything.
func stat(pid, field int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	const from = 3
	if fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); len(fields) > field-from {
		return fields[field-from]
	}
	return ""
}

// parseMaps reads the executable mappings of files, in the form of /proc/PID/maps.
func parseMaps(text []byte) []Mapping {
	var out []Mapping
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		fields := strings.Fields(scan.Text())
		if len(fields) < 6 || len(fields[1]) != 4 || fields[1][2] != 'x' || fields[5][0] != '/' {
			continue
		}
		from, to, ok := strings.Cut(fields[0], "-")
		start, ok1 := hex([]byte(from))
		end, ok2 := hex([]byte(to))
		offset, ok3 := hex([]byte(fields[2]))
		if ok && ok1 && ok2 && ok3 && start < end {
			path, deleted := strings.CutSuffix(strings.Join(fields[5:], " "), " (deleted)")
			inode, _ := strconv.ParseUint(fields[4], 10, 64)
			out = append(out, Mapping{start, end, offset, path, inode, deleted})
		}
	}
	return out
}

func (p *process) find(addr uint64) *Mapping {
	for i := range p.regions {
		if r := &p.regions[i]; addr >= r.Start && addr < r.End {
			return r
		}
	}
	return nil
}

// Lookup finds the function of a process that an address is in, how far, and the file. The name is empty when only the
// file is known. The file of a function that the process has compiled itself is the list that it is in.
func (p *Processes) Lookup(pid int, addr uint64) (name string, offset uint64, path string, ok bool) {
	proc := p.byID[pid]
	var r *Mapping
	if proc != nil {
		r = proc.find(addr)
	}
	if r == nil {
		if proc != nil && proc.jit != nil {
			if name, offset, path = proc.generated(pid, addr); name != "" {
				return p.source(name), offset, path, true
			}
		}
		if now := p.read(pid); now != nil {
			proc = now
		}
		if proc == nil {
			return "", 0, "", false
		}
		if r = proc.find(addr); r == nil {
			name, offset, path = proc.generated(pid, addr)
			return p.source(name), offset, path, name != ""
		}
	}
	f := p.functions(pid, r)
	if f == nil {
		if name, offset, path = proc.generated(pid, addr); name != "" { // memory that it has given a name
			return p.source(name), offset, path, true
		}
		return "", 0, r.Path, true
	}
	if at, known := f.file.address(addr - r.Start + r.Offset); known {
		name, offset = f.find(at)
	}
	return p.source(name), offset, r.Path, true
}

// buildID is how many bytes the kernel takes of a build ID; shorter ones it pads with zeros, longer ones it does not take.
const buildID = 20

// File finds the build ID of the file of a process that an address is in, and where in the file; nil when it is not known.
func (p *Processes) File(pid int, addr uint64) (build []byte, offset uint64) {
	var r *Mapping
	if proc := p.byID[pid]; proc != nil {
		r = proc.find(addr)
	}
	if r == nil {
		proc := p.read(pid)
		if proc == nil {
			return nil, 0
		}
		if r = proc.find(addr); r == nil {
			return nil, 0
		}
	}
	f := p.functions(pid, r)
	if f == nil || len(f.build) == 0 || len(f.build) > buildID {
		return nil, 0
	}
	return append(f.build[:len(f.build):len(f.build)], make([]byte, buildID-len(f.build))...), addr - r.Start + r.Offset
}

// source is a function's name as it is in the source.
func (p *Processes) source(name string) string {
	if p.Mangled || !mangled([]byte(name)) {
		return name
	}
	return demangle.Filter(name)
}

// find finds the function at an address of the file; the name is empty where there is none.
func (f *functions) find(at uint64) (name string, offset uint64) {
	i := sort.Search(len(f.addrs), func(i int) bool { return f.addrs[i] > at }) - 1
	if i < 0 || f.sizes[i] > 0 && at >= f.addrs[i]+f.sizes[i] {
		return "", 0
	}
	return f.names[i], at - f.addrs[i]
}

// functions reads the symbols of a file that a process has mapped, through the process's own root while it lives.
func (p *Processes) functions(pid int, m *Mapping) *functions {
	key, places := m.Path, []string{m.Place(pid), m.Path}
	if m.Deleted {
		key, places = fmt.Sprint(m.Path, " ", m.Inode), places[:1]
	}
	if f, ok := p.files[key]; ok {
		return f
	}
	if p.files == nil {
		p.files = map[string]*functions{}
	}
	if p.used = append(p.used, key); len(p.used) > maxFiles {
		delete(p.files, p.used[0])
		p.used = p.used[1:]
	}
	p.files[key] = nil
	for _, place := range places {
		b, err := Open(place)
		if err != nil {
			continue
		}
		p.files[key] = b.functions()
		b.Close()
		break
	}
	return p.files[key]
}

// functions lists the functions of a file by address. Of several names for one address the first is kept.
func (b *Binary) functions() *functions {
	type entry struct {
		addr, size uint64
		name       string
	}
	var all []entry
	if err := b.each(func(name []byte, addr, size uint64) bool {
		all = append(all, entry{addr, size, string(name)})
		return true
	}); err != nil && len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.addr, b.addr) })
	f := &functions{file: b, build: b.BuildID()}
	for i, e := range all {
		if i > 0 && e.addr == all[i-1].addr {
			continue
		}
		f.addrs, f.sizes, f.names = append(f.addrs, e.addr), append(f.sizes, e.size), append(f.names, e.name)
	}
	return f
}

// address is where a place in the file is linked to.
func (b *Binary) address(offset uint64) (uint64, bool) {
	for _, s := range b.file.Progs {
		if offset >= s.Off && offset-s.Off < s.Filesz && s.Type == elf.PT_LOAD {
			return offset - s.Off + s.Vaddr, true
		}
	}
	return 0, false
}
