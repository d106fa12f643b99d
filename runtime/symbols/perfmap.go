package symbols

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// maxPerfMap bounds what is read of a list of functions that a process has made.
const maxPerfMap = 256 << 20

// perfMap is what a process says about the functions that it has compiled itself, as runtimes with a JIT do when they are
// asked to: a line with address, size and name for each, in /tmp/perf-PID.map.
type perfMap struct {
	functions
	path string
	size int64
	time time.Time
}

// generated finds a function that the process has compiled itself. The list is read again when it has changed; of a
// process that is gone what was read stays.
func (p *process) generated(pid int, addr uint64) (name string, offset uint64, path string) {
	if p.jit != nil {
		if name, offset = p.jit.find(addr); name != "" && !p.jit.changed() {
			return name, offset, p.jit.path
		}
	}
	if m := readPerfMap(perfMapPlaces(pid), p.jit); m != nil {
		p.jit = m
	}
	if p.jit == nil {
		return "", 0, ""
	}
	name, offset = p.jit.find(addr)
	return name, offset, p.jit.path
}

// perfMapPlaces are where the list of a process may be: in its own file system by the number that it knows itself by,
// or in ours.
func perfMapPlaces(pid int) []string {
	own := fmt.Sprint(pid)
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		for line := range strings.Lines(string(status)) {
			if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
				if all := strings.Fields(ids); len(all) > 0 {
					own = all[len(all)-1]
				}
			}
		}
	}
	return []string{fmt.Sprintf("/proc/%d/root/tmp/perf-%s.map", pid, own), fmt.Sprintf("/tmp/perf-%d.map", pid)}
}

func (m *perfMap) changed() bool {
	st, err := os.Stat(m.path)
	return err == nil && (st.Size() != m.size || !st.ModTime().Equal(m.time))
}

// readPerfMap reads the first list that there is; nil when there is none or it is the one that is known.
func readPerfMap(places []string, known *perfMap) *perfMap {
	for _, path := range places {
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if known != nil && known.path == path && st.Size() == known.size && st.ModTime().Equal(known.time) {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		m := &perfMap{functions: parsePerfMap(io.LimitReader(f, maxPerfMap)), path: path, size: st.Size(), time: st.ModTime()}
		f.Close()
		return m
	}
	return nil
}

// parsePerfMap reads "address size name" lines, the numbers in hexadecimal. Memory is used again: of two functions at an
// address the later holds. The last line may be half written and is then left out.
func parsePerfMap(r io.Reader) functions {
	type entry struct {
		addr, size uint64
		name       string
	}
	var all []entry
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		from, rest, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(" "))
		size, name, ok := bytes.Cut(rest, []byte(" "))
		a, ok1 := hex(bytes.TrimPrefix(bytes.ToLower(from), []byte("0x")))
		n, ok2 := hex(bytes.TrimPrefix(bytes.ToLower(size), []byte("0x")))
		if ok && ok1 && ok2 && n > 0 && len(name) > 0 {
			all = append(all, entry{a, n, string(name)})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.addr, b.addr) })
	var f functions
	for i, e := range all {
		if i+1 < len(all) && all[i+1].addr == e.addr {
			continue
		}
		f.addrs, f.sizes, f.names = append(f.addrs, e.addr), append(f.sizes, e.size), append(f.names, e.name)
	}
	return f
}
