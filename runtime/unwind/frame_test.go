package unwind

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os/exec"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
)

// at finds what a table says of an address.
func at(rows []Row, addr uint64) Rule {
	i := sort.Search(len(rows), func(i int) bool { return rows[i].Addr() > addr })
	if i == 0 {
		return Rule(KindNone)
	}
	return rows[i-1].Rule()
}

// TestAgainstBinutils compares the tables of what is installed, row by row, with what objdump says of them.
func TestAgainstBinutils(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	bpftest.Require(t, err)
	compared := 0
	for _, path := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/bin/bash", objdump} {
		f, err := elf.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		rows, err := Read(f)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out, err := exec.Command(objdump, "--dwarf=frames-interp", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var columns []string
		wrong := 0
		for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
			f := strings.Fields(scan.Text())
			switch {
			case len(f) > 1 && f[0] == "LOC":
				columns = f
				continue
			case len(f) == 0 || len(f) != len(columns) || len(f[0]) != 16:
				continue
			}
			addr, err := strconv.ParseUint(f[0], 16, 64)
			if err != nil || addr == 0 { // of the common entries
				continue
			}
			row := map[string]string{"rbp": "u"}
			for i, c := range columns {
				row[c] = f[i]
			}
			want, ok := said(row)
			if !ok {
				continue
			}
			compared++
			if got := at(rows, addr); got != want {
				if wrong++; wrong < 10 {
					t.Errorf("%s at %#x: got %#x, want %#x for %q", path, addr, got, want, scan.Text())
				}
			}
		}
	}
	if compared < 1000 {
		t.Errorf("compared %d rows", compared)
	}
}

// said is the rule of a row of objdump; ok is false for those with expressions, and for frames of signals, which it does not tell.
func said(row map[string]string) (r Rule, ok bool) {
	if row["ra"] == "u" {
		return Rule(KindEnd), true
	}
	if row["CFA"] == "exp" || row["rbp"] == "exp" || row["ra"] == "exp" {
		return 0, false
	}
	reg, text, _ := strings.Cut(row["CFA"], "+")
	cfa, _ := strconv.ParseInt(text, 10, 64)
	kind, known := map[string]Kind{"rsp": KindStack, "rbp": KindFrame}[reg]
	saved := int64(0)
	if n, is := strings.CutPrefix(row["rbp"], "c"); is {
		saved, _ = strconv.ParseInt(n, 10, 64)
	}
	if known {
		if r, ok := rule(kind, cfa/8, saved/8); ok {
			return r, true
		}
	}
	return Rule(KindUnknown), true
}

// section builds a file that has nothing but a .eh_frame at an address.
func section(t testing.TB, addr uint64, data []byte) *elf.File {
	const names = "\x00.eh_frame\x00.shstrtab\x00"
	var b bytes.Buffer
	head := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
		Shoff: uint64(64 + len(data) + len(names))}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	sections := []elf.Section64{{}, {Name: 1, Type: uint32(elf.SHT_PROGBITS), Addr: addr, Off: 64, Size: uint64(len(data))},
		{Name: 11, Type: uint32(elf.SHT_STRTAB), Off: uint64(64 + len(data)), Size: uint64(len(names))}}
	binary.Write(&b, binary.LittleEndian, head)
	b.Write(data)
	b.WriteString(names)
	binary.Write(&b, binary.LittleEndian, sections)
	f, err := elf.NewFile(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// entry is one of .eh_frame, with its length before it.
func entry(body ...[]byte) []byte {
	all := slices.Concat(body...)
	for len(all)%4 != 0 {
		all = append(all, 0)
	}
	return slices.Concat(binary.LittleEndian.AppendUint32(nil, uint32(len(all))), all)
}

const (
	codeAt  = 0x1000
	frameAt = 0x8000
)

// frames is a .eh_frame of one function, of 0x40 bytes at codeAt, with the instructions that follow on the usual first ones.
func frames(augmentation string, instructions ...byte) []byte {
	head := []byte{0, 0, 0, 0, 1}
	head = append(append(head, augmentation...), 0, 1, 0x78, 16, 1, 0x1b) // factors 1 and -8, addresses of 32 bits from their place on
	out := entry(head, []byte{0x0c, 7, 8, 0x90, 1})
	at := len(out)
	back := binary.LittleEndian.AppendUint32(nil, uint32(at+4))
	from := binary.LittleEndian.AppendUint32(nil, uint32(codeAt-(frameAt+at+8)&0xffffffff))
	return append(out, entry(back, from, []byte{0x40, 0, 0, 0, 0}, instructions)...)
}

// TestInstructions runs what compilers and linkers write.
func TestInstructions(t *testing.T) {
	must := func(kind Kind, cfa, saved int64) Rule {
		r, ok := rule(kind, cfa, saved)
		if !ok {
			t.Fatalf("%d %d do not fit", cfa, saved)
		}
		return r
	}
	entry := must(KindStack, 1, 0)
	for name, c := range map[string]struct {
		augmentation string
		code         []byte
		want         map[uint64]Rule // by the distance from the begin of the function
	}{
		"nothing":     {"zR", nil, map[uint64]Rule{0: entry, 0x3f: entry, 0x40: Rule(KindNone)}},
		"push":        {"zR", []byte{0x41, 0x0e, 16, 0x86, 2}, map[uint64]Rule{0: entry, 1: must(KindStack, 2, -2)}},
		"frame":       {"zR", []byte{0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6}, map[uint64]Rule{3: must(KindStack, 2, -2), 4: must(KindFrame, 2, -2)}},
		"restore":     {"zR", []byte{0x41, 0x0e, 16, 0x86, 2, 0x41, 0xc6, 0x0e, 8}, map[uint64]Rule{1: must(KindStack, 2, -2), 2: entry}},
		"restored":    {"zR", []byte{0x41, 0x0a, 0x0e, 16, 0x41, 0x0b}, map[uint64]Rule{1: must(KindStack, 2, 0), 2: entry}},
		"long steps":  {"zR", []byte{0x02, 2, 0x0e, 16, 0x03, 3, 0, 0x0e, 24, 0x04, 4, 0, 0, 0, 0x0e, 32}, map[uint64]Rule{1: entry, 2: must(KindStack, 2, 0), 5: must(KindStack, 3, 0), 9: must(KindStack, 4, 0)}},
		"signed":      {"zR", []byte{0x12, 7, 0x7e, 0x11, 6, 2}, map[uint64]Rule{0: must(KindStack, 2, -2)}},
		"outermost":   {"zR", []byte{0x07, 16}, map[uint64]Rule{0: Rule(KindEnd)}},
		"signal":      {"zRS", []byte{0x41, 0x0e, 16}, map[uint64]Rule{0: Rule(KindSignal)}},
		"jump":        {"zR", append([]byte{0x0f, 11}, pltExpr...), map[uint64]Rule{0: must(KindPLT, 11, 0)}},
		"jump by 9":   {"zR", []byte{0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x39, 0x2a, 0x33, 0x24, 0x22}, map[uint64]Rule{0: must(KindPLT, 9, 0)}},
		"aligned":     {"zR", []byte{0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0}, map[uint64]Rule{0: must(KindDeref, -1, SavedAtFrame)}},
		"elsewhere":   {"zR", []byte{0x0c, 10, 0, 0x41, 0x0c, 7, 8}, map[uint64]Rule{0: Rule(KindUnknown), 1: entry}},
		"in register": {"zR", []byte{0x09, 6, 3}, map[uint64]Rule{0: Rule(KindUnknown)}},
		"too far":     {"zR", []byte{0x0e, 0x80, 0x80, 0x80, 0x80, 1}, map[uint64]Rule{0: Rule(KindUnknown)}},
		"others":      {"zR", []byte{0x83, 2, 0x8c, 3, 0x2e, 8, 0xcc, 0x16, 3, 1, 0x30}, map[uint64]Rule{0: entry}},
	} {
		rows, err := Read(section(t, frameAt, frames(c.augmentation, c.code...)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for off, want := range c.want {
			if got := at(rows, codeAt+off); got != want {
				t.Errorf("%s, %#x: got %#x, want %#x: %x", name, off, got, want, rows)
			}
		}
		if got := at(rows, codeAt-1); got != Rule(KindNone) {
			t.Errorf("%s: before the function: %#x", name, got)
		}
	}
}

// TestDamaged reads what no compiler writes.
func TestDamaged(t *testing.T) {
	whole := frames("zR", 0x41, 0x0e, 16)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"longer than the section": {append(slices.Clone(whole), 0xff, 0, 0, 0), "longer than the section"},
		"short":                   {append(slices.Clone(whole), 2, 0, 0, 0, 0, 0), "too short"},
		"no common entry":         {entry([]byte{0x40, 0, 0, 0, 0, 0, 0, 0}), "not in the section"},
		"restores nothing":        {frames("zR", 0x0b), "not kept"},
		"unknown instruction":     {frames("zR", 0x3f), "0x3f"},
		"cut instruction":         {frames("zR", 0, 0, 0x0e), "damaged"},
		"unknown augmentation":    {frames("Q"), "augmentation"},
	} {
		if rows, err := Read(section(t, frameAt, c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want %q", name, rows, err, c.want)
		}
	}
	if _, err := Read(&elf.File{}); !errors.Is(err, ErrNone) {
		t.Errorf("without the section: got %v", err)
	}
}

// FuzzRead reads anything: it gives an error, or rows that are in order.
func FuzzRead(f *testing.F) {
	f.Add(frames("zR", 0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6))
	f.Add(frames("zRS", 0x0a, 0x0b, 0x0f, 3, 0x76, 0x78, 0x06))
	f.Add(frames("zPLR", append([]byte{0x0f, 11}, pltExpr...)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := Read(section(t, frameAt, data))
		if err == nil && !slices.IsSortedFunc(rows, func(a, b Row) int {
			if a.Addr() < b.Addr() {
				return -1
			}
			return 1
		}) {
			t.Errorf("not in order: %x", rows)
		}
	})
}

// TestMain is what the tests of packages with kernel tests have.
func TestMain(m *testing.M) { bpftest.Main(m) }
