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
	// Used is how many stacks of a process were found.
	Used(pid int) (uint64, error)
}

// Tables holds the tables of all files that known processes have mapped. It is safe for concurrent use.
type Tables struct {
	memory Memory
	most   int // rows that there is room for
	warn   func(error)

	mu      sync.Mutex
	files   map[fileID]*file
	procs   map[int]*process
	refused map[int]bool // processes that there was no room for
	free    []extent     // by first row
	freed   bool         // rows, since what did not fit was tried the last time
	told    map[string]bool

	queue   chan struct{} // that there is something in waits
	waiting sync.Mutex    // guards waits
	waits   []int         // processes
	ended   chan struct{}
	over    sync.WaitGroup
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
	unfit bool             // there was no room for its table
}

// extent is rows in Memory.
type extent struct{ first, count int }

type process struct {
	space    uint64
	mappings []symbols.Mapping
	files    []*file
	used     uint64
}

// rereads is how often what processes have mapped is looked at again, of those whose stacks are found.
const rereads = time.Second

// New makes tables that are empty, with room for so many rows. warn is told, once, of every file whose code cannot be
// followed.
func New(memory Memory, rows int, warn func(error)) *Tables {
	t := &Tables{memory: memory, most: rows, warn: warn, files: map[fileID]*file{}, procs: map[int]*process{}, refused: map[int]bool{},
		told: map[string]bool{}, free: []extent{{0, rows}}, queue: make(chan struct{}, 1), ended: make(chan struct{})}
	t.over.Go(t.serve)
	return t
}

// Close ends the work.
func (t *Tables) Close() {
	close(t.ended)
	t.over.Wait()
}

// Note asks for a process that has been seen. It returns at once.
func (t *Tables) Note(pid int) {
	t.waiting.Lock()
	t.waits = append(t.waits, pid)
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
			for _, pid := range now {
				t.Add(pid)
			}
		}
	}
}

// refresh forgets the processes that are gone, reads anew what those have mapped whose stacks are found, and tries again what
// did not fit.
func (t *Tables) refresh() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pid, p := range t.procs {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			t.drop(pid)
			continue
		}
		n, err := t.memory.Used(pid)
		if err != nil || n == p.used {
			continue
		}
		p.used = n
		switch now := symbols.Mappings(pid); {
		case len(now) == 0: // it is ending
			t.drop(pid)
		case !slices.Equal(now, p.mappings):
			t.add(pid)
		}
	}
	for pid := range t.refused {
		if len(t.procs) >= ir.UnwindProcesses {
			break
		}
		delete(t.refused, pid)
		t.add(pid)
	}
	if !t.freed {
		return
	}
	t.freed = false
	for pid, p := range t.procs {
		if slices.ContainsFunc(p.files, func(f *file) bool { return f.unfit }) {
			t.add(pid)
		}
	}
}

// drop forgets a process.
func (t *Tables) drop(pid int) {
	p := t.procs[pid]
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
	if t.files[f.id] == f {
		delete(t.files, f.id)
	}
	if f.rows.count == 0 {
		return
	}
	t.freed = true
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
func (t *Tables) Add(pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(pid)
}

func (t *Tables) add(pid int) {
	space := symbols.Space(pid)
	mappings := symbols.Mappings(pid)
	if len(mappings) == 0 || symbols.Space(pid) != space { // it is gone, or has just become another program: it will be told of
		return
	}
	now := &process{space: space, mappings: mappings}
	old := t.procs[pid]
	if old != nil {
		now.used = old.used
	} else if len(t.procs) >= ir.UnwindProcesses {
		t.complain(fmt.Errorf("there are more than %d processes with dw_ustack: the calls of others are found by frame pointers until some end", ir.UnwindProcesses))
		if len(t.refused) < 4*ir.UnwindProcesses {
			t.refused[pid] = true
		}
		return
	}
	words := make([]uint64, ir.UnwindWords)
	words[ir.UnwindSpace], words[ir.UnwindUsed] = space, now.used
	n := 0
	for i := range mappings {
		m := &mappings[i]
		f := t.file(pid, m)
		if f == nil {
			continue
		}
		now.files = append(now.files, f)
		bias, ok := f.bias(m)
		if !ok || f.rows.count == 0 {
			continue
		}
		if n == ir.UnwindMappings {
			t.complain(fmt.Errorf("a process has mapped code of more than %d files: what is behind them is found by frame pointers", n))
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
func (f *file) bias(m *symbols.Mapping) (uint64, bool) {
	for _, s := range f.loads {
		if s.Type == elf.PT_LOAD && s.Flags&elf.PF_X != 0 && m.Offset < s.Off+s.Filesz && m.Offset+(m.End-m.Start) > s.Off {
			return m.Start - m.Offset + s.Off - s.Vaddr, true
		}
	}
	return 0, false
}

// file is the table of a file that a process has mapped, nil where it cannot be read; the process is counted as a user.
func (t *Tables) file(pid int, m *symbols.Mapping) *file {
	in, err := symbols.OpenRegular(m.Place(pid))
	if err != nil {
		return nil
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil
	}
	st := info.Sys().(*syscall.Stat_t)
	id := fileID{st.Dev, st.Ino, st.Mtim}
	f := t.files[id]
	if f == nil || f.unfit {
		f = t.load(in, id, m.Path)
		t.files[id] = f
	}
	f.users++
	return f
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
		f.unfit = true
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
