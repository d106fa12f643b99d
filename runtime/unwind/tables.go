package unwind

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/symbols"
)

// Memory is where programs read the tables from.
type Memory interface {
	// Rows writes rows from a number on.
	Rows(first int, rows []byte) error
	// Process writes the words of a process; nil takes it away.
	Process(pid int, words []byte) error
	// Missed is how often a process ran code that is in none of its mappings.
	Missed(pid int) (uint64, error)
}

// Tables holds the tables of all files that known processes have mapped. It is safe for concurrent use.
type Tables struct {
	memory Memory
	most   int // rows that there is room for
	warn   func(error)

	mu    sync.Mutex
	files map[fileID]*file
	procs map[int]*process
	free  []extent // by first row
	told  map[string]bool

	queue   chan struct{} // that there is something in waits
	waiting sync.Mutex    // guards waits
	waits   []request
	ended   chan struct{}
	over    sync.WaitGroup
}

type request struct {
	pid   int
	space uint64
}

// fileID is a file of a device, as it is.
type fileID struct {
	dev, inode uint64
	changed    syscall.Timespec
}

// file is one with its table in Memory.
type file struct {
	id    fileID
	rows  extent
	loads []elf.ProgHeader // the segments
	users int              // processes
}

// extent is rows in Memory.
type extent struct{ first, count int }

type process struct {
	space  uint64
	files  []*file
	missed uint64
}

// rereads is how often what processes have mapped is looked at again where they run code that is in no mapping.
const rereads = time.Second

// New makes tables that are empty, with room for so many rows. warn is told, once, of every file whose code cannot be
// followed.
func New(memory Memory, rows int, warn func(error)) *Tables {
	t := &Tables{memory: memory, most: rows, warn: warn, files: map[fileID]*file{}, procs: map[int]*process{}, told: map[string]bool{},
		free: []extent{{0, rows}}, queue: make(chan struct{}, 1), ended: make(chan struct{})}
	t.over.Go(t.serve)
	return t
}

// Close ends the work.
func (t *Tables) Close() {
	close(t.ended)
	t.over.Wait()
}

// Note asks for a process that has been seen, with its address space. It returns at once.
func (t *Tables) Note(pid int, space uint64) {
	t.waiting.Lock()
	t.waits = append(t.waits, request{pid, space})
	t.waiting.Unlock()
	select {
	case t.queue <- struct{}{}:
	default: // it is told already
	}
}

func (t *Tables) serve() {
	again := time.NewTicker(rereads)
	defer again.Stop()
	for {
		select {
		case <-t.ended:
			return
		case <-again.C:
			t.refresh()
		case <-t.queue:
			t.waiting.Lock()
			now := t.waits
			t.waits = nil
			t.waiting.Unlock()
			for _, r := range now {
				t.Add(r.pid, r.space)
			}
		}
	}
}

// refresh reads what those processes have mapped that ran code in no mapping, and forgets the ones that are gone.
func (t *Tables) refresh() {
	t.mu.Lock()
	var stale []request
	for pid, p := range t.procs {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			t.drop(pid)
			continue
		}
		if n, err := t.memory.Missed(pid); err == nil && n != p.missed {
			p.missed = n
			stale = append(stale, request{pid, p.space})
		}
	}
	t.mu.Unlock()
	for _, r := range stale {
		t.Add(r.pid, r.space)
	}
}

// drop forgets a process.
func (t *Tables) drop(pid int) {
	p := t.procs[pid]
	if p == nil {
		return
	}
	delete(t.procs, pid)
	t.complain(t.memory.Process(pid, nil))
	for _, f := range p.files {
		t.release(f)
	}
}

func (t *Tables) release(f *file) {
	if f.users--; f.users > 0 {
		return
	}
	delete(t.files, f.id)
	if f.rows.count == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(t.free, f.rows.first, func(e extent, first int) int { return cmp.Compare(e.first, first) })
	t.free = slices.Insert(t.free, i, f.rows)
	if i+1 < len(t.free) && t.free[i].first+t.free[i].count == t.free[i+1].first {
		t.free[i].count += t.free[i+1].count
		t.free = slices.Delete(t.free, i+1, i+2)
	}
	if i > 0 && t.free[i-1].first+t.free[i-1].count == t.free[i].first {
		t.free[i-1].count += t.free[i].count
		t.free = slices.Delete(t.free, i, i+1)
	}
}

func (t *Tables) complain(err error) {
	if err == nil || t.told[err.Error()] {
		return
	}
	t.told[err.Error()] = true
	t.warn(err)
}

// Add reads what a process has mapped and writes the tables of the files. It does nothing for a process that is gone.
// space is the address space that this is about, 0 for whichever it has.
func (t *Tables) Add(pid int, space uint64) {
	mappings := symbols.Mappings(pid)
	if len(mappings) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := &process{space: space}
	old := t.procs[pid]
	if old != nil {
		now.missed = old.missed
	} else if len(t.procs) >= ir.UnwindProcesses {
		t.complain(fmt.Errorf("there are more than %d processes with dw_ustack: those of others are found by frame pointers", ir.UnwindProcesses))
		return
	}
	words := make([]uint64, ir.UnwindWords)
	words[ir.UnwindSpace], words[ir.UnwindMissed] = space, now.missed
	n := 0
	for _, m := range mappings {
		f := t.file(pid, m.Path)
		if f == nil {
			continue
		}
		now.files = append(now.files, f)
		bias, ok := f.bias(m)
		if !ok || f.rows.count == 0 {
			continue
		}
		if n == ir.UnwindMappings {
			t.complain(fmt.Errorf("process %d has mapped code of more than %d files: what else it has is not followed by dw_ustack", pid, n))
			break
		}
		w := words[ir.UnwindFirst+n*ir.MappingWords:]
		w[ir.MappingStart], w[ir.MappingEnd], w[ir.MappingBias] = m.Start, m.End, bias
		w[ir.MappingRow], w[ir.MappingRows] = uint64(f.rows.first), uint64(f.rows.count)
		n++
	}
	words[ir.UnwindCount] = uint64(n)
	value := make([]byte, 8*len(words))
	for i, w := range words {
		binary.LittleEndian.PutUint64(value[8*i:], w)
	}
	t.complain(t.memory.Process(pid, value))
	t.procs[pid] = now
	if old != nil {
		for _, f := range old.files {
			t.release(f)
		}
	}
}

// bias is how much higher a mapping is than the file was linked.
func (f *file) bias(m symbols.Mapping) (uint64, bool) {
	for _, s := range f.loads {
		if s.Type == elf.PT_LOAD && s.Flags&elf.PF_X != 0 && m.Offset < s.Off+s.Filesz && m.Offset+(m.End-m.Start) > s.Off {
			return m.Start - m.Offset + s.Off - s.Vaddr, true
		}
	}
	return 0, false
}

// file is the table of a file that a process has mapped, nil where it cannot be read; the process is counted as a user.
func (t *Tables) file(pid int, path string) *file {
	for _, place := range []string{fmt.Sprintf("/proc/%d/root%s", pid, path), path} {
		in, err := symbols.OpenRegular(place)
		if err != nil {
			continue
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		id := fileID{st.Dev, st.Ino, st.Mtim}
		f := t.files[id]
		if f == nil {
			f = t.load(in, id, path)
			t.files[id] = f
		}
		f.users++
		return f
	}
	return nil
}

// load writes the table of a file. One that has none, or none that can be read, is found by frame pointers.
func (t *Tables) load(in *os.File, id fileID, path string) *file {
	f := &file{id: id}
	e, err := elf.NewFile(in)
	if err != nil || e.Machine != elf.EM_X86_64 {
		return f
	}
	for _, p := range e.Progs {
		f.loads = append(f.loads, p.ProgHeader)
	}
	rows, err := Read(e)
	if errors.Is(err, ErrNone) {
		return f
	}
	if err != nil {
		t.complain(fmt.Errorf("calls of %s are found by frame pointers: %w", path, err))
		return f
	}
	i := slices.IndexFunc(t.free, func(e extent) bool { return e.count >= len(rows) })
	if i < 0 {
		t.complain(fmt.Errorf("calls of %s are found by frame pointers: its table has %d rows, and there is room for %d of all files: raise max_unwind_rows",
			path, len(rows), t.most))
		return f
	}
	f.rows = extent{t.free[i].first, len(rows)}
	out := make([]byte, 8*len(rows))
	for i, r := range rows {
		binary.LittleEndian.PutUint64(out[8*i:], uint64(r))
	}
	if err := t.memory.Rows(f.rows.first, out); err != nil {
		t.complain(err)
		f.rows = extent{}
		return f
	}
	if t.free[i].first, t.free[i].count = t.free[i].first+len(rows), t.free[i].count-len(rows); t.free[i].count == 0 {
		t.free = slices.Delete(t.free, i, i+1)
	}
	return f
}
