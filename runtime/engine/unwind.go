package engine

import (
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
	"github.com/slopebpf/slope/runtime/unwind"
)

// unwindMaps writes the tables into the maps of the script.
type unwindMaps struct {
	processes *ebpf.Map
	rows      *ebpf.Memory
}

// Rows implements unwind.Memory.
func (m unwindMaps) Rows(first int, rows []byte) error {
	if _, err := m.rows.WriteAt(rows, int64(first*ir.UnwindRow)); err != nil {
		return fmt.Errorf("write unwind rows: %w", err)
	}
	return nil
}

// Process implements unwind.Memory.
func (m unwindMaps) Process(pid int, words []byte) error {
	var err error
	if words == nil {
		err = m.processes.Delete(uint64(pid))
	} else {
		err = m.processes.Put(uint64(pid), words)
	}
	if err != nil {
		return fmt.Errorf("write unwind tables of process %d: %w", pid, err)
	}
	return nil
}

// Used implements unwind.Memory.
func (m unwindMaps) Used(pid int) (uint64, error) {
	value := make([]byte, 8*ir.UnwindWords)
	if err := m.processes.Lookup(uint64(pid), &value); err != nil {
		return 0, err
	}
	return le.Uint64(value[8*ir.UnwindUsed:]), nil
}

// openTables begins to keep the tables of a script that unwinds stacks, with those of the processes that are known already:
// the one asked for, and those that have mapped a binary that is probed.
func (e *Engine) openTables() error {
	u := e.obj.IR.Unwind
	if u == nil {
		return nil
	}
	rows, err := e.maps[u.Rows].Memory()
	if err != nil {
		return fmt.Errorf("map unwind rows: %w", err)
	}
	e.tables = unwind.New(unwindMaps{e.maps[u.Processes], rows}, u.Rows.ValueSize/ir.UnwindRow, e.WarnUnwind)
	if e.opt.Pid > 0 {
		if !ourselves(e.opt.Pid) { // or it is the command that this process is about to run: Follow then is for it
			e.Follow(e.opt.Pid)
		}
		return nil
	}
	probed := map[uint64]bool{} // files
	for _, f := range e.obj.IR.Funcs {
		for _, h := range f.Hooks {
			var st unix.Stat_t
			if (h.Kind == types.HookUprobe || h.Kind == types.HookUretprobe) && unix.Stat(h.Path, &st) == nil {
				probed[st.Ino] = true
			}
		}
	}
	if len(probed) == 0 {
		return nil
	}
	for _, pid := range symbols.Running() {
		if slices.ContainsFunc(symbols.Mappings(pid), func(m symbols.Mapping) bool { return probed[m.Inode] }) {
			e.Follow(pid)
		}
	}
	return nil
}

// ourselves tells whether a process runs the program that this one runs.
func ourselves(pid int) bool {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	other, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && os.SameFile(own, other)
}

// Unwinds tells whether the script finds the callers of code without frame pointers.
func (e *Engine) Unwinds() bool { return e.tables != nil }

// WarnUnwind tells of stacks that are not found by tables.
func (e *Engine) WarnUnwind(err error) {
	if e.opt.Warn != nil {
		var d source.Diagnostics
		d.Warnf(e.obj.IR.Source, e.obj.IR.Unwind.Span, "%s", err)
		e.opt.Warn(d)
	}
}

// Follow reads the tables of a process, as it is now, before its code is met; where the script unwinds stacks.
func (e *Engine) Follow(pid int) {
	if e.tables != nil {
		e.tables.Add(pid)
	}
}

// Noted says that a process was seen whose code will be looked up.
func (e *Engine) Noted(pid int) {
	if e.tables != nil {
		e.tables.Note(pid)
	}
}
