package btf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"github.com/slopebpf/slope/lang/types"
)

const (
	maxDepth  = 32      // of typedefs, qualifiers, pointers and arrays around one type
	maxNested = 16      // of anonymous structs and unions
	maxVisits = 1 << 17 // of members while flattening one struct
)

// Struct returns a struct or union by its name; a typedef of an anonymous one serves as well. Fields are read when
// the layout is first asked for.
func (ix *Index) Struct(name string) (*types.Type, error) {
	if r, ok := ix.find(1<<KindStruct|1<<KindUnion, name); ok {
		return ix.structOf(r, name), nil
	}
	if r, ok := ix.find(1<<KindTypedef, name); ok {
		if s, ok := ix.strip(r.sizeType); ok && (s.kind() == KindStruct || s.kind() == KindUnion) {
			return ix.structOf(s, name), nil
		}
	}
	return nil, fmt.Errorf("find struct %s: %w", name, ErrNotFound)
}

// Type returns the type with an id. Void and functions are types.None.
func (ix *Index) Type(id uint32) *types.Type { return ix.typeOf(id, 0) }

func (ix *Index) structOf(r record, name string) *types.Type {
	if n := ix.name(r.name); n != "" {
		name = n
	}
	return &types.Type{Kind: types.Struct, Name: name, Size: int(r.sizeType & 0x7fffffff), Union: r.kind() == KindUnion, Layout: &layout{ix: ix, id: r.id}}
}

// layout reads the fields of one struct once.
type layout struct {
	ix     *Index
	id     uint32
	once   sync.Once
	fields []types.Field
}

// Fields implements types.Layout.
func (l *layout) Fields() []types.Field {
	l.once.Do(func() {
		visits := maxVisits
		if r, ok := l.ix.record(l.id); ok {
			l.fields = l.ix.members(r, 0, 0, &visits)
		}
	})
	return l.fields
}

// members lists the fields of a struct at an offset in bits, those of anonymous members included.
func (ix *Index) members(r record, base int, depth int, visits *int) []types.Field {
	if depth > maxNested {
		return nil
	}
	var out []types.Field
	if depth == 0 {
		out = make([]types.Field, 0, r.vlen())
	}
	for i := range r.vlen() {
		if *visits--; *visits < 0 {
			return out
		}
		nameOff, id, word := r.word(3*i), r.word(3*i+1), r.word(3*i+2)
		bit, bits := int(word), 0
		if r.flag() {
			bit, bits = int(word&0xffffff), int(word>>24)
		}
		bit += base
		name := ix.name(nameOff)
		if name == "" {
			if s, ok := ix.strip(id); ok && (s.kind() == KindStruct || s.kind() == KindUnion) {
				out = append(out, ix.members(s, bit, depth+1, visits)...)
			}
			continue
		}
		if !r.flag() { // bit fields of old blobs sit in the integer
			if s, ok := ix.strip(id); ok && s.kind() == KindInt {
				if n := int(s.word(0) & 0xff); n != 8*int(s.sizeType) {
					bits = n
					bit += int(s.word(0) >> 16 & 0xff)
				}
			}
		}
		out = append(out, types.FieldAt(name, ix.typeOf(id, 0), bit, bits))
	}
	return out
}

// strip follows typedefs, qualifiers and tags. ok is false for void.
func (ix *Index) strip(id uint32) (record, bool) {
	for range maxDepth {
		r, ok := ix.record(id)
		if !ok {
			return record{}, false
		}
		switch r.kind() {
		case KindTypedef, KindVolatile, KindConst, KindRestrict, KindTypeTag:
			id = r.sizeType
		default:
			return r, true
		}
	}
	return record{}, false
}

// tags tells whether a pointee is tagged as user memory, or as what is guarded by RCU or there per CPU.
func (ix *Index) tags(id uint32) (user, guarded bool) {
	for range maxDepth {
		r, ok := ix.record(id)
		if !ok {
			break
		}
		switch r.kind() {
		case KindTypeTag:
			switch ix.name(r.name) {
			case "user":
				user = true
			case "rcu", "percpu":
				guarded = true
			}
			fallthrough
		case KindTypedef, KindVolatile, KindConst, KindRestrict:
			id = r.sizeType
		default:
			return user, guarded
		}
	}
	return user, guarded
}

// typeOf translates a type. depth counts pointers and arrays, so that a blob that refers to itself ends.
func (ix *Index) typeOf(id uint32, depth int) *types.Type {
	r, ok := ix.strip(id)
	if !ok || depth > maxDepth {
		return types.None
	}
	size := int(r.sizeType)
	switch r.kind() {
	case KindInt:
		return ix.intOf(r, size)
	case KindEnum, KindEnum64:
		if !integer(size) {
			return opaque(size)
		}
		return &types.Type{Kind: types.Int, Size: size, Signed: r.flag(), Name: strings.TrimSpace("enum " + ix.name(r.name)), Enum: ix.enumerators(r)}
	case KindPtr:
		user, guarded := ix.tags(r.sizeType)
		t := types.PointerTo(ix.typeOf(r.sizeType, depth+1), user)
		t.Guarded = guarded
		return t
	case KindArray:
		elem, n := ix.typeOf(r.word(0), depth+1), int(r.word(2)&0x7fffffff)
		if elem.Size != 0 && n > (1<<31-1)/elem.Size {
			n = 0
		}
		return &types.Type{Kind: types.Array, Elem: elem, Len: n, Size: n * elem.Size}
	case KindStruct, KindUnion:
		return ix.structOf(r, "")
	case KindFwd:
		return &types.Type{Kind: types.Struct, Name: ix.name(r.name), Union: r.flag(), Layout: types.Fields(nil)}
	case KindFloat:
		return opaque(size)
	}
	return types.None
}

func (ix *Index) intOf(r record, size int) *types.Type {
	const signed, boolean = 1, 4
	encoding := r.word(0) >> 24
	switch {
	case size == 16:
		return &types.Type{Kind: types.Array, Elem: types.Uint64, Len: 2, Size: 16}
	case !integer(size):
		return opaque(size)
	case encoding&boolean != 0 && size == 1:
		return types.Boolean
	case size == 1 && ix.name(r.name) == "char": // unsigned on some machines, text on all
		return types.Int8
	}
	return types.IntOf(size, encoding&signed != 0)
}

func integer(size int) bool { return size == 1 || size == 2 || size == 4 || size == 8 }

// opaque is memory without a type that the language knows.
func opaque(size int) *types.Type {
	size &= 0xffff
	return &types.Type{Kind: types.Array, Elem: types.Uint8, Len: size, Size: size}
}

// RawTracepoint returns the id of a raw tracepoint's type, the attach target of a tp_btf program.
func (ix *Index) RawTracepoint(event string) (uint32, error) {
	id, err := ix.Find(tracepointPrefix+event, KindTypedef)
	if err != nil {
		return 0, fmt.Errorf("find raw tracepoint %s: %w", event, ErrNotFound)
	}
	return id, nil
}

// RawTracepointArgs returns the words of a raw tracepoint's context: argument i at offset 8*i. The names are those of
// the event's probe function where BTF has it, else arg0, arg1 and so on.
func (ix *Index) RawTracepointArgs(event string) (types.Fields, error) {
	_, args, err := ix.RawTracepointTarget(event)
	return args, err
}

// A raw tracepoint is a typedef of a pointer to a prototype without names. The names are those of the function that
// calls the probes (5.10, the only one that all kernels since have), or of the glue function.
const (
	tracepointPrefix = "btf_trace_"
	iterPrefix       = "__traceiter_"
	gluePrefix       = "__bpf_trace_"
)

// RawTracepointTarget returns what RawTracepoint and RawTracepointArgs do by one search.
func (ix *Index) RawTracepointTarget(event string) (id uint32, args types.Fields, err error) {
	def, f := ix.tracepoint(event)
	if def.id == 0 {
		return 0, nil, fmt.Errorf("find raw tracepoint %s: %w", event, ErrNotFound)
	}
	return ix.tracepointArgs(event, def, f)
}

// tracepointArgs reads the arguments of a raw tracepoint from its typedef and from a function that knows their names.
func (ix *Index) tracepointArgs(event string, def, f record) (id uint32, args types.Fields, err error) {
	r, ok := ix.strip(def.sizeType)
	if ok && r.kind() == KindPtr {
		r, ok = ix.strip(r.sizeType)
	}
	if !ok || r.kind() != KindFuncProto {
		return 0, nil, fmt.Errorf("read raw tracepoint %s: %w", event, ErrMalformed)
	}
	args, _, named := ix.params(r, 1)
	if named || f.id == 0 {
		return def.id, args, nil
	}
	if p, ok := ix.strip(f.sizeType); ok && p.kind() == KindFuncProto && p.vlen() == r.vlen() {
		for i := range args {
			if name := ix.name(p.word(2 * (i + 1))); name != "" {
				args[i].Name = name
			}
		}
	}
	return def.id, args, nil
}

// tracepoint finds the typedef of a raw tracepoint and a function that knows its arguments' names, in one pass over
// the strings and one over the types. What is missing has id 0.
func (ix *Index) tracepoint(event string) (def, f record) {
	var typedef, iter, glue uint32
	needle := []byte("_" + event + "\x00")
	for at := 0; event != ""; {
		i := bytes.Index(ix.strs[at:], needle)
		if i < 0 {
			break
		}
		end := at + i + 1 // of the prefix
		for _, c := range [...]struct {
			prefix string
			off    *uint32
		}{{tracepointPrefix, &typedef}, {iterPrefix, &iter}, {gluePrefix, &glue}} {
			if from := end - len(c.prefix); (from > 0 && ix.strs[from-1] == 0 || from == 0 && ix.base != nil) && string(ix.strs[from:end]) == c.prefix {
				*c.off = ix.baseStrs + uint32(from)
			}
		}
		at = end
	}
	if typedef == 0 {
		return def, f
	}
	want := iter
	if want == 0 {
		want = glue
	}
	t, le := ix.types, binary.LittleEndian
	for id, off := ix.first, 0; off+12 <= len(t) && (def.id == 0 || f.id == 0 && want != 0); id++ {
		name, info := le.Uint32(t[off:]), le.Uint32(t[off+4:])
		switch {
		case name == typedef && Kind(info>>24&0x1f) == KindTypedef && def.id == 0:
			def, _ = ix.at(id, off)
		case want != 0 && name == want && Kind(info>>24&0x1f) == KindFunc:
			f, _ = ix.at(id, off)
		}
		off += length(info)
	}
	return def, f
}
