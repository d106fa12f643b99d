package symbols

import (
	"cmp"
	"debug/dwarf"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrNoDebug says that a file has no debug information.
var ErrNoDebug = errors.New("no debug information")

// LineError says that a line of a source file has no code.
type LineError struct {
	File string
	Line int
	Near []int // lines of the file that have code, the closest first; none where the program has no such file
}

// Error names the line.
func (e *LineError) Error() string {
	if len(e.Near) == 0 {
		return fmt.Sprintf("no source file '%s'", e.File)
	}
	return fmt.Sprintf("no code at line %d of %s", e.Line, e.File)
}

const (
	maxNear   = 3
	maxLines  = 1 << 24
	nearLines = 50
)

// Line finds where the code of a line begins, by the debug information: the first instruction in each function that has
// code of it, in order of the addresses. file is a path or its last parts; column is 0 for any.
func (b *Binary) Line(file string, line, column int) ([]Func, error) {
	with := b.file
	if !b.hasDebug() {
		if apart, f := b.openStripped(debugDir); apart != nil {
			defer f.Close()
			with = apart
		}
	}
	d, err := with.DWARF()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", b.Path, ErrNoDebug, err)
	}
	var addrs []uint64
	near, units := map[int]bool{}, 0
	for r := d.Reader(); ; r.SkipChildren() {
		unit, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("read debug information of %s: %w", b.Path, err)
		}
		if unit == nil {
			break
		}
		units++
		lines, err := d.LineReader(unit)
		if err != nil {
			return nil, fmt.Errorf("read line table of %s: %w", b.Path, err)
		}
		if lines == nil || !slices.ContainsFunc(lines.Files(), func(f *dwarf.LineFile) bool { return f != nil && sameFile(f.Name, file) }) {
			continue
		}
		var e dwarf.LineEntry
		for range maxLines {
			if err := lines.Next(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read line table of %s: %w", b.Path, err)
			}
			if e.EndSequence || !e.IsStmt || e.File == nil || !sameFile(e.File.Name, file) {
				continue
			}
			switch {
			case e.Line == line && (column == 0 || e.Column == column):
				addrs = append(addrs, e.Address)
			case e.Line > line-nearLines && e.Line < line+nearLines:
				near[e.Line] = true
			}
		}
	}
	if units == 0 {
		return nil, fmt.Errorf("read %s: %w", b.Path, ErrNoDebug)
	}
	if len(addrs) == 0 {
		missing := &LineError{File: file, Line: line}
		for l := range near {
			missing.Near = append(missing.Near, l)
		}
		slices.SortFunc(missing.Near, func(x, y int) int { return cmp.Or(cmp.Compare(abs(x-line), abs(y-line)), cmp.Compare(x, y)) })
		missing.Near = missing.Near[:min(len(missing.Near), maxNear)]
		return nil, missing
	}
	return b.firstInEach(addrs)
}

func abs(n int) int { return max(n, -n) }

// sameFile tells whether a path ends with all parts of another.
func sameFile(path, tail string) bool {
	rest, ok := strings.CutSuffix(path, tail)
	return ok && (rest == "" || strings.HasSuffix(rest, "/") || strings.HasPrefix(tail, "/"))
}

// firstInEach keeps the first address of each function; one outside of all functions stands for itself.
func (b *Binary) firstInEach(addrs []uint64) ([]Func, error) {
	var funcs []Func
	if err := b.each(func(name []byte, addr, size uint64) bool {
		funcs = append(funcs, Func{Name: string(name), Addr: addr, Size: size})
		return true
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(funcs, func(x, y Func) int { return cmp.Compare(x.Addr, y.Addr) })
	slices.Sort(addrs)
	var out []Func
	last := -1
	for _, a := range addrs {
		i, exact := slices.BinarySearchFunc(funcs, a, func(f Func, a uint64) int { return cmp.Compare(f.Addr, a) })
		if !exact {
			i--
		}
		for i > 0 && funcs[i-1].Addr == funcs[i].Addr { // names of one function
			i--
		}
		inside := i >= 0 && (a < funcs[i].Addr+funcs[i].Size)
		if inside && i == last {
			continue
		}
		if last = -1; inside {
			last = i
		}
		f, err := b.place(Func{Addr: a})
		if err != nil {
			continue // code that the linker left out
		}
		if inside {
			f.Name = funcs[i].Name
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("find line in %s: %w", b.Path, ErrNotFound)
	}
	return out, nil
}
