package symbols

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrGoid says that the place of the goroutine's number is not known.
var ErrGoid = errors.New("unknown offset of the goroutine's number")

// GoidOffset returns the offset of the field goid in runtime.g. Releases in the table are not looked up in DWARF,
// whose sections can take long to read; others are, when the program was not stripped.
func (b *Binary) GoidOffset() (int, error) {
	if !b.IsGo() {
		return 0, fmt.Errorf("find goid in %s: %w: it is not a Go program", b.Path, ErrGoid)
	}
	if minor, ok := minorVersion(b.version); ok {
		if off, ok := goidByRelease(minor); ok {
			return off, nil
		}
	}
	off, err := b.goidFromDWARF()
	if err != nil {
		return 0, fmt.Errorf("find goid in %s (%s): %w: %w", b.Path, b.version, ErrGoid, err)
	}
	return off, nil
}

// goidByRelease is the offset on 64-bit machines by the minor version. 1.23 added g.syscallbp before goid, 1.25 took
// gobuf.ret away.
func goidByRelease(minor int) (int, bool) {
	switch {
	case minor >= 16 && minor <= 22:
		return 152, true
	case minor == 23 || minor == 24:
		return 160, true
	case minor == 25 || minor == 26:
		return 152, true
	}
	return 0, false
}

// minorVersion reads 26 from "go1.26.8", "go1.26rc1" or "go1.26.8 X:experiment". Development versions are not releases.
func minorVersion(version string) (int, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	return n, err == nil && !strings.Contains(rest, "devel")
}

// goidFromDWARF finds the type runtime.g in the unit of package runtime.
func (b *Binary) goidFromDWARF() (int, error) {
	d, err := b.dwarf()
	if err != nil {
		return 0, err
	}
	inG := false
	r := d.Reader()
	for {
		e, err := r.Next()
		if err != nil {
			return 0, err
		}
		if e == nil {
			return 0, errors.New("no runtime.g in DWARF")
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch {
		case e.Tag == dwarf.TagCompileUnit:
			if name != "runtime" {
				r.SkipChildren()
			}
		case e.Tag == dwarf.TagStructType:
			if inG = name == "runtime.g"; !inG {
				r.SkipChildren()
			}
		case inG && e.Tag == dwarf.TagMember && name == "goid":
			if off, ok := e.Val(dwarf.AttrDataMemberLoc).(int64); ok {
				return int(off), nil
			}
		case e.Children:
			r.SkipChildren()
		}
	}
}
