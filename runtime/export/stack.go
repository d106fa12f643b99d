package export

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// Frame is one call of a stack.
type Frame struct {
	Addr   uint64
	Name   string // of the function, "" when unknown
	Offset uint64 // into it
	Path   string // of the program or library, "" of the kernel's
	Build  []byte // the build ID of that file, nil when unknown
	Place  uint64 // in that file, with Build
}

// Stacks finds the calls of a stack, innermost first. id is the first word of its value, pid the second.
type Stacks func(t *types.Type, id, pid uint64) []Frame

// text is how bpftrace writes a frame.
func (f Frame) text(mode string) string {
	addr := strconv.FormatUint(f.Addr, 16)
	sym := f.Name + "+" + strconv.FormatUint(f.Offset, 10)
	if f.Name == "" {
		sym = "0x" + addr
	}
	switch mode {
	case types.RawStack:
		return addr
	case "build_id":
		if f.Build == nil {
			return addr
		}
		return fmt.Sprintf("%x 0x%02x", f.Build, f.Place)
	case "perf":
		line := "\t" + addr + " " + sym
		if f.Path != "" {
			line += " (" + f.Path + ")"
		}
		return line
	}
	return sym
}

// frames are the calls of a value, nil when none were recorded.
func (v Values) frames(t *types.Type, raw []byte) []Frame {
	id, pid := agg.Number(raw), agg.Number(raw[8:])
	if id == 0 || v.Stacks == nil {
		return nil
	}
	return v.Stacks(t, id, pid)
}

// appendStack appends a stack: each call on a line of its own, with names indented.
func (v Values) appendStack(dst []byte, t *types.Type, raw []byte, indent int) []byte {
	dst = append(dst, '\n')
	for _, f := range v.frames(t, raw) {
		if t.Mode == "bpftrace" {
			dst = append(dst, strings.Repeat(" ", indent)...)
		}
		dst = append(append(dst, f.text(t.Mode)...), '\n')
	}
	return dst
}

// Folded is a stack on one line, outermost first, as flame graphs want it.
func (v Values) Folded(t *types.Type, raw []byte) string {
	frames := v.frames(t, raw)
	names := make([]string, len(frames))
	for i, f := range frames {
		name := f.Name
		if name == "" {
			name = "0x" + strconv.FormatUint(f.Addr, 16)
		}
		names[len(frames)-1-i] = name
	}
	return strings.Join(names, ";")
}
