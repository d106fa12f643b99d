package symbols

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sort"
)

// Kernel finds the functions of the running kernel by address. Names are kept in one piece: about 6 MB for 150 000
// functions.
type Kernel struct {
	addrs []uint64
	at    []uint32 // where the name starts in names
	names []byte   // each ends with a NUL
}

// OpenKernel reads /proc/kallsyms.
func OpenKernel() (*Kernel, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	return readKernel(f)
}

// KernelSymbol finds a symbol of the running kernel by its name, of data too: its address, and its kind as in nm.
func KernelSymbol(name string) (addr uint64, kind byte, err error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return 0, 0, fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	for s := range kernelSymbols(f) {
		if string(s.name) == name {
			return s.addr, s.kind, nil
		}
	}
	return 0, 0, ErrNotFound
}

// EachKernelFunction calls f with the functions of the running kernel and of its modules, until f returns false. The module is
// "" for the kernel itself, and addr 0 where the kernel hides it; what is handed to f is valid until it returns.
func EachKernelFunction(f func(module, name []byte, addr uint64) bool) error {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return fmt.Errorf("read kernel symbols: %w", err)
	}
	defer file.Close()
	for s := range kernelSymbols(file) {
		if s.function() && !f(s.module, s.name, s.addr) {
			break
		}
	}
	return nil
}

// kernelSymbol is a line of /proc/kallsyms; the names are valid until the next.
type kernelSymbol struct {
	addr   uint64
	kind   byte
	name   []byte
	module []byte // nil for the kernel itself
}

func (s *kernelSymbol) function() bool { return s.kind|0x20 == 't' || s.kind|0x20 == 'w' }

// kernelSymbols reads lines of address, kind, name and perhaps a module.
func kernelSymbols(r io.Reader) iter.Seq[kernelSymbol] {
	return func(yield func(kernelSymbol) bool) {
		for scan := bufio.NewScanner(r); scan.Scan(); {
			digits, rest, _ := bytes.Cut(scan.Bytes(), []byte{' '})
			addr, ok := hex(digits)
			if !ok || len(rest) < 3 {
				continue
			}
			name, module, _ := bytes.Cut(rest[2:], []byte{'\t'})
			if !yield(kernelSymbol{addr, rest[0], name, bytes.Trim(module, "[]")}) {
				return
			}
		}
	}
}

func readKernel(r io.Reader) (*Kernel, error) {
	type symbol struct {
		addr uint64
		at   uint32
	}
	k := &Kernel{}
	var all []symbol
	for s := range kernelSymbols(r) {
		if s.function() && s.addr != 0 {
			all = append(all, symbol{s.addr, uint32(len(k.names))})
			k.names = append(append(k.names, s.name...), 0)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("read kernel symbols: no addresses: kernel.kptr_restrict hides them, reading them needs CAP_SYSLOG")
	}
	slices.SortStableFunc(all, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
	k.addrs, k.at = make([]uint64, len(all)), make([]uint32, len(all))
	for i, s := range all {
		k.addrs[i], k.at[i] = s.addr, s.at
	}
	return k, nil
}

func hex(digits []byte) (n uint64, ok bool) {
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, len(digits) > 0 && len(digits) <= 16
}

// Has tells whether there is a function of the name.
func (k *Kernel) Has(name string) bool {
	whole := append([]byte(name), 0)
	return bytes.HasPrefix(k.names, whole) || bytes.Contains(k.names, append([]byte{0}, whole...))
}

// Lookup finds the function that an address is in, and how far.
func (k *Kernel) Lookup(addr uint64) (name string, offset uint64, ok bool) {
	i := sort.Search(len(k.addrs), func(i int) bool { return k.addrs[i] > addr }) - 1
	if i < 0 {
		return "", 0, false
	}
	for i > 0 && k.addrs[i-1] == k.addrs[i] { // of several names the first
		i--
	}
	name = string(cString(k.names, uint64(k.at[i])))
	if name == "_etext" || name == "_einittext" { // where functions end: what follows is data
		return "", 0, false
	}
	return name, addr - k.addrs[i], true
}
