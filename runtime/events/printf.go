package events

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/export"
)

// maxField bounds widths and precisions, which may come from the script's data.
const maxField = 1 << 16

// spec is a conversion with the widths that came as arguments filled in.
type spec struct {
	verb               string
	length             string
	left, plus, blank  bool
	alternative, zeros bool
	width, prec        int // prec is -1 when absent
}

// appendFormat prints a record as printf(3) does.
func (h *Handler) appendFormat(dst []byte, e *event, record []byte) []byte {
	args := e.Args
	for i := range e.format {
		d := &e.format[i]
		if d.Verb == "" {
			dst = append(dst, d.Literal...)
			continue
		}
		s := spec{verb: d.Verb, length: d.Length, width: max(d.Width, 0), prec: d.Prec}
		for k := range len(d.Flags) {
			switch d.Flags[k] {
			case '-':
				s.left = true
			case '+':
				s.plus = true
			case ' ':
				s.blank = true
			case '#':
				s.alternative = true
			case '0':
				s.zeros = true
			}
		}
		if d.StarW {
			s.width = int(int32(number(args[0], record)))
			if args = args[1:]; s.width < 0 {
				s.left, s.width = true, -s.width
			}
		}
		if d.StarP {
			s.prec = max(int(int32(number(args[0], record))), -1)
			args = args[1:]
		}
		s.width, s.prec = min(s.width, maxField), min(s.prec, maxField)
		dst = h.appendArg(dst, &s, args[0], record)
		args = args[1:]
	}
	return dst
}

// number reads a scalar argument.
func number(a ir.EventArg, record []byte) uint64 {
	if len(record) < a.Offset+8 {
		return 0
	}
	return binary.LittleEndian.Uint64(record[a.Offset:])
}

func (h *Handler) appendArg(dst []byte, s *spec, a ir.EventArg, record []byte) []byte {
	raw := record[a.Offset : a.Offset+a.Type.Memory()]
	switch s.verb {
	case "s":
		return h.appendString(dst, s, a.Type, raw)
	case "r", "rx", "rh":
		b := raw
		if a.Type.Kind == types.Buffer {
			b = export.BufferBytes(a.Type, raw)
		} else if a.Type.Size < len(b) {
			b = b[:a.Type.Size]
		}
		if a.Type.Kind == types.String {
			if end := bytes.IndexByte(b, 0); end >= 0 {
				b = b[:end]
			}
		}
		if s.prec >= 0 {
			b = b[:min(s.prec, len(b))]
		}
		h.scratch = export.AppendBuffer(h.scratch[:0], b, s.verb)
		return appendPadded(dst, s, h.scratch)
	case "c":
		h.scratch = append(h.scratch[:0], byte(number(a, record)))
		return appendPadded(dst, s, h.scratch)
	}
	return h.appendNumber(dst, s, number(a, record))
}

func (h *Handler) appendString(dst []byte, s *spec, t *types.Type, raw []byte) []byte {
	if t.Kind == types.String && s.width == 0 && s.prec < 0 {
		return h.opt.Values.AppendText(dst, t, raw)
	}
	h.scratch = h.opt.Values.AppendText(h.scratch[:0], t, raw)
	if s.prec >= 0 && s.prec < len(h.scratch) {
		h.scratch = h.scratch[:s.prec]
	}
	return appendPadded(dst, s, h.scratch)
}

func appendPadded(dst []byte, s *spec, text []byte) []byte {
	fill := s.width - len(text)
	if !s.left {
		dst = appendFill(dst, ' ', fill)
	}
	dst = append(dst, text...)
	if s.left {
		dst = appendFill(dst, ' ', fill)
	}
	return dst
}

func appendFill(dst []byte, c byte, n int) []byte {
	for range n {
		dst = append(dst, c)
	}
	return dst
}

// bits is the width of the C type that a length modifier names.
func (s *spec) bits() int {
	switch {
	case s.verb == "p" || strings.ContainsAny(s.length, "lLjzt"):
		return 64
	case s.length == "hh":
		return 8
	case s.length == "h":
		return 16
	}
	return 32
}

// appendNumber prints an integer: sign or prefix, zeros up to the precision or width, digits.
func (h *Handler) appendNumber(dst []byte, s *spec, n uint64) []byte {
	shift := 64 - s.bits()
	sign, base, signed := "", 10, s.verb == "d" || s.verb == "i"
	if signed {
		v := int64(n<<shift) >> shift
		switch {
		case v < 0:
			sign, n = "-", uint64(-v)
		case s.plus:
			sign, n = "+", uint64(v)
		case s.blank:
			sign, n = " ", uint64(v)
		default:
			n = uint64(v)
		}
	} else {
		n = n << shift >> shift
	}
	switch s.verb {
	case "x", "X":
		if base = 16; s.alternative && n != 0 {
			sign = "0" + s.verb
		}
	case "p":
		base, sign = 16, "0x"
	case "o":
		base = 8
	}
	digits := strconv.AppendUint(h.scratch[:0], n, base)
	h.scratch = digits
	if s.verb == "X" {
		for i, c := range digits {
			if c >= 'a' {
				digits[i] = c - 'a' + 'A'
			}
		}
	}
	if s.prec == 0 && n == 0 {
		digits = digits[:0]
	}
	zeros := max(s.prec-len(digits), 0)
	if s.verb == "o" && s.alternative && zeros == 0 && (len(digits) == 0 || digits[0] != '0') {
		zeros = 1
	}
	fill := s.width - len(sign) - zeros - len(digits)
	if s.zeros && !s.left && s.prec < 0 {
		zeros, fill = zeros+max(fill, 0), 0
	}
	if !s.left {
		dst = appendFill(dst, ' ', fill)
	}
	dst = append(dst, sign...)
	dst = appendFill(dst, '0', zeros)
	dst = append(dst, digits...)
	if s.left {
		dst = appendFill(dst, ' ', fill)
	}
	return dst
}
