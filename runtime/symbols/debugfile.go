package symbols

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// debugDir is where distributions put what they strip from programs and libraries.
const debugDir = "/usr/lib/debug"

// openDebug opens the file with what was stripped from this one, nil where there is none: by the build ID, or by the
// name in .gnu_debuglink, which must have the checksum that is noted with it. dir is the folder of such files.
func (b *Binary) openDebug(dir string) *os.File {
	root := processRoot(b.Path)
	dirs := []string{root + dir}
	if root != "" {
		dirs = append(dirs, dir)
	}
	if id := b.BuildID(); len(id) > 1 {
		name := fmt.Sprintf("%x", id)
		for _, d := range dirs {
			if f, err := os.Open(filepath.Join(d, ".build-id", name[:2], name[2:]+".debug")); err == nil {
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
		f, err := os.Open(place)
		if err != nil {
			continue
		}
		if h := crc32.NewIEEE(); regular(place) != "" && copied(h, f) && h.Sum32() == sum {
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

// openStripped opens the file with what was stripped from this one, nil where there is none. One of a file with other
// segments is not taken.
func (b *Binary) openStripped(dir string) (*elf.File, *os.File) {
	f := b.openDebug(dir)
	if f == nil {
		return nil, nil
	}
	file, err := elf.NewFile(f)
	if err != nil || file.Machine != b.file.Machine || file.Class != b.file.Class || file.Type != b.file.Type {
		f.Close()
		return nil, nil
	}
	return file, f
}

// loadDebug reads the symbol table that was stripped from this file.
func (b *Binary) loadDebug(dir string) {
	if file, f := b.openStripped(dir); file != nil {
		defer f.Close()
		b.addTable(file, elf.SHT_SYMTAB)
	}
}
