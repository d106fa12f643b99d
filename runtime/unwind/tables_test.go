package unwind

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/symbols"
)

// notes is a Memory that keeps what it is given.
type notes struct {
	rows  []byte
	procs map[int][]byte
	used  uint64
	fail  error
}

func (n *notes) Rows(first int, rows []byte) error {
	if n.fail != nil {
		return n.fail
	}
	if need := 8*first + len(rows); need > len(n.rows) {
		n.rows = append(n.rows, make([]byte, need-len(n.rows))...)
	}
	copy(n.rows[8*first:], rows)
	return nil
}

func (n *notes) Process(pid int, words []byte) error {
	if words == nil {
		delete(n.procs, pid)
		return nil
	}
	n.procs[pid] = words
	return nil
}

func (n *notes) Used(int) (uint64, error) { return n.used, nil }

// sleeper starts a program that lives until its standard input is closed.
func sleeper(t *testing.T) (pid int, end func()) {
	t.Helper()
	c := exec.Command("/bin/cat")
	w, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := c.Process
	var over bool
	end = func() {
		if !over {
			over = true
			w.Close()
			c.Wait()
		}
	}
	t.Cleanup(end)
	bpftest.Eventually(t, 10*time.Second, "mapped", func() bool { // its libraries too
		return slices.ContainsFunc(symbols.Mappings(p.Pid), func(m symbols.Mapping) bool { return strings.Contains(m.Path, "libc") })
	})
	return p.Pid, end
}

// TestTables writes the tables of two processes of one program, reads them back, and takes them away when both have gone.
func TestTables(t *testing.T) {
	memory := &notes{procs: map[int][]byte{}}
	tables := New(memory, maxRows, func(err error) { t.Error(err) })
	defer tables.Close()
	pid, end := sleeper(t)
	other, endOther := sleeper(t)
	tables.Add(pid)
	size := len(memory.rows)
	tables.Add(other)
	if len(memory.rows) != size || size == 0 {
		t.Errorf("the second process of the same program took %d bytes beside %d", len(memory.rows)-size, size)
	}
	word := func(pid, i int) uint64 { return binary.LittleEndian.Uint64(memory.procs[pid][8*i:]) }
	if one, two := word(pid, ir.UnwindSpace), word(other, ir.UnwindSpace); one != symbols.Space(pid) || one == 0 || one == two {
		t.Errorf("the address spaces are %#x and %#x", one, two)
	}
	mappings := symbols.Mappings(pid)
	if n := int(word(pid, ir.UnwindCount)); n != len(mappings) {
		t.Errorf("got %d mappings of %d", n, len(mappings))
	}
	for i, m := range mappings {
		at := ir.UnwindFirst + i*ir.MappingWords
		if word(pid, at+ir.MappingStart) != m.Start || word(pid, at+ir.MappingEnd) != m.End {
			t.Errorf("mapping %d is %#x to %#x, want %#x to %#x", i, word(pid, at), word(pid, at+1), m.Start, m.End)
		}
		f, err := elf.Open(m.Path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Read(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		first := int(word(pid, at+ir.MappingRow))
		var got []Row
		for j := range int(word(pid, at+ir.MappingRows)) {
			got = append(got, Row(binary.LittleEndian.Uint64(memory.rows[8*(first+j):])))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d rows differ from the %d of the file", m.Path, len(got), len(want))
		}
	}
	end()
	tables.refresh()
	if memory.procs[pid] != nil || memory.procs[other] == nil || len(tables.files) == 0 {
		t.Error("what has gone is still there, or what has not is gone")
	}
	endOther()
	tables.refresh()
	if len(memory.procs) > 0 || len(tables.files) > 0 || len(tables.free) != 1 || tables.free[0] != (extent{0, maxRows}) {
		t.Errorf("left: %d processes, %d files, free %v", len(memory.procs), len(tables.files), tables.free)
	}
}

// TestTablesFull has no room for more, or none that works.
func TestTablesFull(t *testing.T) {
	pid, _ := sleeper(t)
	for name, c := range map[string]struct {
		set  func(*notes, *Tables)
		want string
	}{
		"rows":      {func(_ *notes, t *Tables) { t.free = []extent{{0, 3}} }, "raise max_unwind_rows"},
		"processes": {func(_ *notes, t *Tables) { fill(t.procs) }, "more than 1024 processes"},
		"memory":    {func(n *notes, _ *Tables) { n.fail = errors.New("no memory") }, "no memory"},
	} {
		memory, told := &notes{procs: map[int][]byte{}}, ""
		tables := New(memory, maxRows, func(err error) { told += err.Error() + "\n" })
		c.set(memory, tables)
		tables.Add(pid)
		if !strings.Contains(told, c.want) {
			t.Errorf("%s: told %q, want %q", name, told, c.want)
		}
		once := told
		tables.Add(pid)
		if told != once {
			t.Errorf("%s: told again: %q", name, told)
		}
		tables.Close()
	}
}

// TestTablesAgain tries what did not fit once there is room.
func TestTablesAgain(t *testing.T) {
	pid, _ := sleeper(t)
	mappings := func(m *notes) uint64 {
		if m.procs[pid] == nil {
			return 0
		}
		return binary.LittleEndian.Uint64(m.procs[pid][8*ir.UnwindCount:])
	}
	for name, c := range map[string]struct{ full, free func(*Tables) }{
		"processes": {func(t *Tables) { fill(t.procs) }, func(t *Tables) { clear(t.procs) }},
		"rows":      {func(t *Tables) { t.free = []extent{{0, 3}} }, func(t *Tables) { t.release(&file{users: 1, rows: extent{3, maxRows - 3}}) }},
	} {
		memory := &notes{procs: map[int][]byte{}}
		tables := New(memory, maxRows, func(error) {})
		c.full(tables)
		tables.Add(pid)
		if n := mappings(memory); n != 0 {
			t.Errorf("%s: %d mappings without room", name, n)
		}
		c.free(tables)
		tables.refresh()
		if n := mappings(memory); n != uint64(len(symbols.Mappings(pid))) {
			t.Errorf("%s: %d mappings once there is room", name, n)
		}
		tables.Close()
	}
}

func fill(procs map[int]*process) {
	for i := range ir.UnwindProcesses {
		procs[-i-1] = &process{}
	}
}

// TestBias takes the segment with the code, where one before it ends in the same page.
func TestBias(t *testing.T) {
	f := &file{loads: []elf.ProgHeader{
		{Type: elf.PT_LOAD, Flags: elf.PF_R, Off: 0, Vaddr: 0, Filesz: 0x1a30},
		{Type: elf.PT_LOAD, Flags: elf.PF_R | elf.PF_X, Off: 0x1a30, Vaddr: 0x2a30, Filesz: 0x5000},
	}}
	if bias, ok := f.bias(&symbols.Mapping{Start: 0x555555556000, End: 0x55555555c000, Offset: 0x1000}); !ok || bias != 0x555555554000 {
		t.Errorf("got %#x, %v", bias, ok)
	}
	if _, ok := f.bias(&symbols.Mapping{Start: 0x1000, End: 0x2000, Offset: 0x10000}); ok {
		t.Error("there is no such segment")
	}
}
