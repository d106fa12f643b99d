package symbols

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// debugDir is where distributions put what they strip from programs and libraries.
const debugDir = "/usr/lib/debug"

// openDebug opens the file with what was stripped from this one, nil where there is none: by the build ID, or by the
// name in .gnu_debuglink, which must have the checksum that is noted with it.
func (b *Binary) openDebug() *os.File {
	root := processRoot(b.Path)
	dirs := []string{root + b.debugDir}
	if root != "" {
		dirs = append(dirs, b.debugDir)
	}
	if id := b.BuildID(); len(id) > 1 {
		name := fmt.Sprintf("%x", id)
		for _, d := range dirs {
			if f, err := OpenRegular(filepath.Join(d, ".build-id", name[:2], name[2:]+".debug")); err == nil {
				return f
			}
		}
	}
	name, sum := b.debugLink()
	if name == "" {
		return nil
	}
	path, err := filepath.EvalSymlinks(b.Path)
	if err != nil || root != "" {
		path = b.Path
	}
	home := filepath.Dir(path)
	places := []string{filepath.Join(home, name), filepath.Join(home, ".debug", name)}
	for _, d := range dirs {
		places = append(places, filepath.Join(d, strings.TrimPrefix(home, root), name))
	}
	for _, place := range places {
		f, err := OpenRegular(place)
		if err != nil {
			continue
		}
		if h := crc32.NewIEEE(); copied(h, f) && h.Sum32() == sum {
			return f
		}
		f.Close()
	}
	return nil
}

func copied(to io.Writer, f *os.File) bool {
	_, err := io.Copy(to, f)
	return err == nil
}

// processRoot is "/proc/PID/root" of a path below one, else "".
func processRoot(path string) string {
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return ""
	}
	pid, rest, _ := strings.Cut(rest, "/")
	if !strings.HasPrefix(rest, "root/") {
		return ""
	}
	return "/proc/" + pid + "/root"
}

// debugLink is the name in .gnu_debuglink and the checksum of the file that it means: the name ends with a NUL, and after
// padding to four bytes the checksum follows.
func (b *Binary) debugLink() (name string, sum uint32) {
	s := b.file.Section(".gnu_debuglink")
	if s == nil {
		return "", 0
	}
	raw, err := data(s)
	if err != nil {
		return "", 0
	}
	text, _, ok := bytes.Cut(raw, []byte{0})
	at := (len(text) + 4) &^ 3
	if !ok || len(text) == 0 || bytes.IndexByte(text, '/') >= 0 || at+4 > len(raw) {
		return "", 0
	}
	return string(text), binary.LittleEndian.Uint32(raw[at:])
}

// noteBuildID is the type of the note with a build ID (NT_GNU_BUILD_ID).
const noteBuildID = 3

// BuildID is what the linker noted to tell builds apart, nil for none.
func (b *Binary) BuildID() []byte {
	s := b.file.Section(".note.gnu.build-id")
	if s == nil {
		return nil
	}
	raw, err := data(s)
	le := binary.LittleEndian
	if err != nil || len(raw) < 16 || le.Uint32(raw) != 4 || le.Uint32(raw[8:]) != noteBuildID || string(raw[12:16]) != "GNU\x00" {
		return nil
	}
	if n := uint64(le.Uint32(raw[4:])); n <= uint64(len(raw)-16) {
		return raw[16 : 16+n]
	}
	return nil
}

// withDebug hands over the file with what was stripped from this one, where there is one that has the same code.
func (b *Binary) withDebug(use func(*elf.File)) {
	if f := b.openDebug(); f != nil {
		b.withStripped(f, use)
		f.Close()
	}
}

// withStripped hands over a file with what was stripped from this one. One of another program is not taken.
func (b *Binary) withStripped(r io.ReaderAt, use func(*elf.File)) {
	file, err := elf.NewFile(r)
	if err == nil && file.Machine == b.file.Machine && file.Class == b.file.Class && file.Type == b.file.Type && slices.Equal(codeOf(file), codeOf(b.file)) {
		use(file)
	}
}

// codeOf is where the code of a file is linked to, and how much there is.
func codeOf(file *elf.File) (out [][2]uint64) {
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			out = append(out, [2]uint64{p.Vaddr, p.Memsz})
		}
	}
	return out
}

// dwarf is the debug information of this file, or of the one with what was stripped from it.
func (b *Binary) dwarf() (d *dwarf.Data, err error) {
	read := func(file *elf.File) {
		if file.Section(".debug_info") != nil || file.Section(".zdebug_info") != nil {
			d, err = file.DWARF()
		}
	}
	if read(b.file); d == nil && err == nil {
		b.withDebug(read)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w: %w", b.Path, ErrNoDebug, err)
	case d == nil:
		return nil, fmt.Errorf("read %s: %w", b.Path, ErrNoDebug)
	}
	return d, nil
}
