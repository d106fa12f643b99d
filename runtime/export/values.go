package export

import (
	"bytes"
	"math"
	"strconv"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// Values prints values of the language from their memory layout. MaxStrlen is the capacity of str(): a string that
// fills one as large, or larger, was cut and ends with ".."; 0 marks none.
type Values struct {
	MaxStrlen int
	Stacks    Stacks // nil where there are none
	Names     Names  // nil: numbers are printed instead

	compact bool // no blanks after the commas of tuples, as in the keys of JSON
}

const trailer = ".."

// String is the bytes of a string before its end, and whether it was cut.
func (v Values) String(t *types.Type, raw []byte) (s []byte, cut bool) {
	s = raw[:min(len(raw), t.Size)]
	if i := bytes.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return s, v.MaxStrlen > 0 && t.Size >= v.MaxStrlen && len(s) >= t.Size-1
}

// AppendText appends a value as bpftrace prints it.
func (v Values) AppendText(dst []byte, t *types.Type, raw []byte) []byte {
	switch t.Kind {
	case types.Void, types.Invalid:
		return append(dst, "null"...)
	case types.Tuple:
		if t.Names != nil {
			return v.appendRecord(dst, t, raw)
		}
		dst = append(dst, '(')
		dst = v.appendElems(dst, t, raw)
		return append(dst, ')')
	case types.Struct:
		return v.appendStruct(dst, t, raw)
	case types.Array:
		dst = append(dst, '[')
		for i := range t.Len {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.appendPacked(dst, t.Elem, element(t, raw, i))
		}
		return append(dst, ']')
	}
	if len(raw) < t.Memory() {
		return dst
	}
	switch t.Kind {
	case types.Bool:
		return strconv.AppendBool(dst, agg.Number(raw) != 0)
	case types.Int:
		if t.Enum != nil {
			if name := t.Enum.Lookup(int64(agg.Number(raw))); name != "" {
				return append(dst, name...)
			}
		}
		return appendInt(dst, agg.Number(raw), t.Signed)
	case types.Pointer:
		return strconv.AppendUint(append(dst, "0x"...), agg.Number(raw), 16)
	case types.String:
		s, cut := v.String(t, raw)
		dst = append(dst, s...)
		if cut {
			dst = append(dst, trailer...)
		}
		return dst
	case types.Buffer:
		return AppendBuffer(dst, BufferBytes(t, raw), "r")
	case types.Stack:
		return v.appendStack(dst, t, raw, 8)
	case types.Late:
		return v.appendLate(dst, t, raw)
	}
	return dst
}

// AppendKey appends the key of a map entry as it stands between the brackets: a tuple without its parentheses.
func (v Values) AppendKey(dst []byte, t *types.Type, raw []byte) []byte {
	switch t.Kind {
	case types.Tuple:
		if t.Names != nil {
			return v.AppendText(dst, t, raw)
		}
		return v.appendElems(dst, t, raw)
	case types.Stack:
		return v.appendStack(dst, t, raw, 4)
	}
	return v.AppendText(dst, t, raw)
}

func (v Values) appendElems(dst []byte, t *types.Type, raw []byte) []byte {
	for i, e := range t.Elems {
		if i > 0 {
			dst = append(dst, ',')
			if !v.compact {
				dst = append(dst, ' ')
			}
		}
		n := min(e.Memory(), len(raw))
		if e.Kind == types.Stack && n == e.Memory() {
			dst = v.appendStack(dst, e, raw[:n], 4)
		} else {
			dst = v.AppendText(dst, e, raw[:n])
		}
		raw = raw[n:]
	}
	return dst
}

// appendRecord appends a record as a struct is printed.
func (v Values) appendRecord(dst []byte, t *types.Type, raw []byte) []byte {
	dst = append(dst, "{ "...)
	for i, e := range t.Elems {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		n := min(e.Memory(), len(raw))
		dst = append(append(append(dst, '.'), t.Names[i]...), " = "...)
		dst = v.AppendText(dst, e, raw[:n])
		raw = raw[n:]
	}
	return append(dst, " }"...)
}

func (v Values) appendStruct(dst []byte, t *types.Type, raw []byte) []byte {
	var fields []types.Field
	if t.Layout != nil {
		fields = t.Layout.Fields()
	}
	if len(fields) == 0 {
		return append(dst, "{}"...)
	}
	dst = append(dst, "{ "...)
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(append(append(dst, '.'), f.Name...), " = "...)
		dst = v.appendField(dst, f, raw)
	}
	return append(dst, " }"...)
}

func (v Values) appendField(dst []byte, f types.Field, raw []byte) []byte {
	if f.Offset < 0 || f.Offset > len(raw) {
		return append(dst, "null"...)
	}
	raw = raw[f.Offset:]
	if f.BitSize > 0 {
		return appendInt(dst, bitField(f, raw), f.Type.Signed)
	}
	return v.appendPacked(dst, f.Type, raw)
}

// bitField cuts a bit field out of its bytes.
func bitField(f types.Field, raw []byte) uint64 {
	var n uint64
	for i := 0; i < f.BitSize && i < 64; i++ {
		at := f.BitOff + i
		if at>>3 >= len(raw) {
			break
		}
		n |= uint64(raw[at>>3]>>(at&7)&1) << i
	}
	if f.Type.Signed && f.BitSize < 64 && n>>(f.BitSize-1)&1 == 1 {
		n |= ^uint64(0) << f.BitSize
	}
	return n
}

// appendPacked appends a value inside a struct or array, where scalars take no more than their size.
func (v Values) appendPacked(dst []byte, t *types.Type, raw []byte) []byte {
	if s, ok := chars(t, raw); ok {
		return append(dst, s...)
	}
	if t.Scalar() {
		var word [8]byte
		return v.AppendText(dst, t, widen(word[:], t, raw))
	}
	return v.AppendText(dst, t, raw)
}

// chars is the text in an array of char.
func chars(t *types.Type, raw []byte) ([]byte, bool) {
	if t.Kind != types.Array || !t.Elem.Char() || !t.Elem.Signed {
		return nil, false
	}
	raw = raw[:min(t.Len, len(raw))]
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	return raw, true
}

// widen makes the 8-byte form of a packed scalar.
func widen(word []byte, t *types.Type, raw []byte) []byte {
	n := copy(word, raw[:min(len(raw), max(t.Size, 1), 8)])
	if t.Kind == types.Int && t.Signed && n > 0 && n < 8 && word[n-1]&0x80 != 0 {
		for ; n < 8; n++ {
			word[n] = 0xff
		}
	}
	return word
}

// element is the memory of an array's element.
func element(t *types.Type, raw []byte, i int) []byte {
	size := packedSize(t.Elem)
	return raw[min(i*size, len(raw)):min((i+1)*size, len(raw))]
}

func packedSize(t *types.Type) int {
	if t.Kind == types.Array && t.Size == 0 {
		return t.Len * packedSize(t.Elem)
	}
	return max(t.Size, 1)
}

func appendInt(dst []byte, n uint64, signed bool) []byte {
	if signed {
		return strconv.AppendInt(dst, int64(n), 10)
	}
	return strconv.AppendUint(dst, n, 10)
}

const hexDigits = "0123456789abcdef"

// BufferBytes are the bytes that a buffer holds.
func BufferBytes(t *types.Type, raw []byte) []byte {
	return raw[8 : 8+min(agg.Number(raw), uint64(t.Size))]
}

// AppendBuffer appends bytes: with verb r printable ones as they are and the others as \xNN, with rx all as \xNN, with
// rh all in hexadecimal with blanks between.
func AppendBuffer(dst, b []byte, verb string) []byte {
	for i, c := range b {
		switch {
		case verb == "rh":
			if i > 0 {
				dst = append(dst, ' ')
			}
		case verb == "r" && c >= ' ' && c <= '~':
			dst = append(dst, c)
			continue
		default:
			dst = append(dst, `\x`...)
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// AppendJSON appends a value as a JSON value.
func (v Values) AppendJSON(dst []byte, t *types.Type, raw []byte) []byte {
	switch t.Kind {
	case types.Void, types.Invalid:
		return append(dst, "null"...)
	case types.Tuple:
		if t.Names != nil {
			return v.recordJSON(dst, t, raw)
		}
		dst = append(dst, '[')
		for i, e := range t.Elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			n := min(e.Memory(), len(raw))
			dst = v.AppendJSON(dst, e, raw[:n])
			raw = raw[n:]
		}
		return append(dst, ']')
	case types.Array:
		dst = append(dst, '[')
		for i := range t.Len {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.packedJSON(dst, t.Elem, element(t, raw, i))
		}
		return append(dst, ']')
	case types.Struct:
		return v.structJSON(dst, t, raw)
	}
	if len(raw) < t.Memory() {
		return append(dst, "null"...)
	}
	switch t.Kind {
	case types.Bool:
		return strconv.AppendBool(dst, agg.Number(raw) != 0)
	case types.Int:
		return appendJSONInt(dst, agg.Number(raw), t.Signed)
	case types.Pointer:
		return appendJSONInt(dst, agg.Number(raw), false)
	case types.Buffer:
		dst = append(dst, '[')
		for i, c := range BufferBytes(t, raw) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(int8(c)), 10)
		}
		return append(dst, ']')
	case types.Stack:
		return appendQuoted(dst, v.appendStack(nil, t, raw, 8))
	case types.Late:
		return appendQuoted(dst, v.appendLate(nil, t, raw))
	case types.String:
		s, cut := v.String(t, raw)
		dst = append(dst, '"')
		dst = appendEscaped(dst, s)
		if cut {
			dst = append(dst, trailer...)
		}
		return append(dst, '"')
	}
	return append(dst, "null"...)
}

func (v Values) recordJSON(dst []byte, t *types.Type, raw []byte) []byte {
	dst = append(dst, '{')
	for i, e := range t.Elems {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		n := min(e.Memory(), len(raw))
		dst = append(appendQuoted(dst, t.Names[i]), ": "...)
		dst = v.AppendJSON(dst, e, raw[:n])
		raw = raw[n:]
	}
	return append(dst, '}')
}

func (v Values) structJSON(dst []byte, t *types.Type, raw []byte) []byte {
	dst = append(dst, '{')
	if t.Layout == nil {
		return append(dst, '}')
	}
	for i, f := range t.Layout.Fields() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendQuoted(dst, f.Name), ": "...)
		switch {
		case f.Offset < 0 || f.Offset > len(raw):
			dst = append(dst, "null"...)
		case f.BitSize > 0:
			dst = appendJSONInt(dst, bitField(f, raw[f.Offset:]), f.Type.Signed)
		default:
			dst = v.packedJSON(dst, f.Type, raw[f.Offset:])
		}
	}
	return append(dst, '}')
}

func (v Values) packedJSON(dst []byte, t *types.Type, raw []byte) []byte {
	if s, ok := chars(t, raw); ok {
		return append(appendEscaped(append(dst, '"'), s), '"')
	}
	if t.Scalar() {
		var word [8]byte
		return v.AppendJSON(dst, t, widen(word[:], t, raw))
	}
	return v.AppendJSON(dst, t, raw)
}

// appendJSONInt appends a number, quoted when a double cannot hold it.
func appendJSONInt(dst []byte, n uint64, signed bool) []byte {
	exact := false
	if f := float64(n); signed {
		f = float64(int64(n))
		exact = f < math.MaxInt64 && int64(f) == int64(n)
	} else {
		exact = f < math.MaxUint64 && uint64(f) == n
	}
	if exact {
		return appendInt(dst, n, signed)
	}
	return append(appendInt(append(dst, '"'), n, signed), '"')
}

// appendQuoted appends a JSON string.
func appendQuoted[S string | []byte](dst []byte, s S) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

func appendEscaped[S string | []byte](dst []byte, s S) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
