package tracefs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/types"
)

// ErrFormat says that a format file lacks its essential lines.
var ErrFormat = errors.New("unknown form of a tracepoint format")

// Format is the layout of a tracepoint's record, as a program of type tracepoint sees it.
type Format struct {
	Name    string
	ID      uint64       // for perf_event_open
	Fields  types.Fields // in the order of the file, without the common_ fields
	Size    int          // bytes up to the end of the last field
	Skipped []string     // fields that could not be described
}

// ParseFormat parses a format file. In the system "syscalls" pointers are user pointers, and an argument of a C
// integer type is the low half of its 8-byte word: the system call itself sees no more of it, and what the upper half
// holds is up to the caller (a negative int is sign-extended by one libc and not by another).
func ParseFormat(text, system string) (*Format, error) {
	f := &Format{}
	haveID := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "name:"):
			f.Name = strings.TrimSpace(line[len("name:"):])
		case strings.HasPrefix(line, "ID:"):
			id, err := strconv.ParseUint(strings.TrimSpace(line[len("ID:"):]), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("id: %w", ErrFormat)
			}
			f.ID, haveID = id, true
		case strings.HasPrefix(line, "print fmt:"):
			if !haveID {
				return nil, fmt.Errorf("no id: %w", ErrFormat)
			}
			return f, nil // only text follows
		case strings.HasPrefix(line, "field:"):
			f.add(line, system == "syscalls")
		}
	}
	if !haveID {
		return nil, fmt.Errorf("no id: %w", ErrFormat)
	}
	return f, nil
}

// add parses one line: "field:const char * filename;	offset:24;	size:8;	signed:0;".
func (f *Format) add(line string, syscall bool) {
	decl, rest, _ := strings.Cut(line[len("field:"):], ";")
	c := column{offset: -1, size: -1}
	for part := range strings.SplitSeq(rest, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), ":")
		n, err := strconv.ParseUint(value, 10, 24)
		if err != nil {
			continue
		}
		switch key {
		case "offset":
			c.offset = int(n)
		case "size":
			c.size = int(n)
		case "signed":
			c.signed = n != 0
		}
	}
	d := declare(decl)
	if d.name == "" || c.offset < 0 || c.size < 0 {
		f.Skipped = append(f.Skipped, strings.TrimSpace(decl))
		return
	}
	f.Size = max(f.Size, c.offset+c.size)
	if strings.HasPrefix(d.name, "common_") {
		return
	}
	field := types.Field{Name: d.name, Offset: c.offset, DataLoc: d.loc == "__data_loc"}
	field.Type = d.typeOf(c, syscall)
	if d.loc == "__rel_loc" || field.DataLoc && c.size != 4 || field.Type == nil {
		f.Skipped = append(f.Skipped, d.name)
		return
	}
	f.Fields = append(f.Fields, field)
}

// column is what the file says besides the C declaration.
type column struct {
	offset, size int
	signed       bool
}

// declaration is a C declaration taken apart: "const char *const * argv", "u8 saddr[4]", "__data_loc char[] name".
type declaration struct {
	name  string
	base  string // without qualifiers and struct
	tag   string // struct, union or enum
	stars int
	array bool
	count int // of array elements; 0 when not written or symbolic
	loc   string
}

func declare(s string) (d declaration) {
	s = strings.TrimSpace(s)
	if open := strings.LastIndexByte(s, '['); open >= 0 {
		if end := strings.IndexByte(s[open:], ']'); end >= 0 {
			d.array = true
			d.count, _ = strconv.Atoi(strings.TrimSpace(s[open+1 : open+end]))
			// "char[] name" of a dynamic array has the brackets in the middle
			s = s[:open] + " " + s[open+end+1:]
			if other := strings.IndexByte(s, '['); other >= 0 { // of several dimensions the size column tells all
				d.count = 0
				s = s[:other]
			}
		}
	}
	words := strings.Fields(strings.ReplaceAll(s, "*", " * "))
	if len(words) == 0 || words[len(words)-1] == "*" {
		return declaration{}
	}
	d.name = words[len(words)-1]
	var base []string
	for _, w := range words[:len(words)-1] {
		switch w {
		case "*":
			d.stars++
		case "const", "volatile", "__user", "__rcu", "restrict":
		case "__data_loc", "__rel_loc":
			d.loc = w
		case "struct", "union", "enum":
			d.tag = w
		default:
			base = append(base, w)
		}
	}
	d.base = strings.Join(base, " ")
	if d.base == "" {
		return declaration{}
	}
	return d
}

// typeOf finds the type; nil when the columns and the declaration do not fit.
func (d declaration) typeOf(c column, user bool) *types.Type {
	switch {
	case d.loc != "":
		elem := d.pointee(user)
		if d.stars > 0 {
			elem = types.Uint64
		}
		if elem.Kind != types.Int && elem.Kind != types.Bool {
			elem = types.Uint8
		}
		return &types.Type{Kind: types.Array, Elem: elem}
	case d.array:
		elem := d.element(c, user)
		if c.size%elem.Size != 0 {
			elem = types.Uint8
		}
		return &types.Type{Kind: types.Array, Elem: elem, Len: c.size / elem.Size, Size: c.size}
	case d.stars > 0:
		if c.size != 8 {
			return nil
		}
		t := d.pointee(user)
		for range min(d.stars, 8) {
			t = types.PointerTo(t, user)
		}
		return t
	}
	if user {
		if t := known(d.base); t != nil && t.Size <= c.size {
			return t
		}
	}
	return d.scalar(c)
}

func (d declaration) scalar(c column) *types.Type {
	switch {
	case d.base == "bool" && c.size == 1:
		return types.Boolean
	case !word(c.size): // a struct by value, an address
		return &types.Type{Kind: types.Array, Elem: types.Uint8, Len: c.size, Size: c.size}
	case d.tag == "enum":
		return &types.Type{Kind: types.Int, Size: c.size, Signed: c.signed, Name: d.base}
	case c.size == 1 && d.base == "char":
		return types.Int8
	}
	return types.IntOf(c.size, c.signed)
}

// element is the type of an array's element, at least one byte in size.
func (d declaration) element(c column, user bool) *types.Type {
	if d.stars > 0 {
		return types.PointerTo(d.pointee(user), user)
	}
	if t := known(d.base); t != nil {
		return t
	}
	if d.count > 0 && c.size%d.count == 0 && word(c.size/d.count) {
		return types.IntOf(c.size/d.count, c.signed)
	}
	return types.Uint8
}

// pointee is what the innermost star points to. A struct is named; its fields are in BTF, if anywhere.
func (d declaration) pointee(user bool) *types.Type {
	if t := known(d.base); t != nil {
		return t
	}
	if d.tag == "struct" || d.tag == "union" {
		return &types.Type{Kind: types.Struct, Name: d.base, User: user}
	}
	return types.None
}

func word(n int) bool { return n == 1 || n == 2 || n == 4 || n == 8 }

// known maps the C integer types that appear in format files to their width on 64-bit machines.
func known(base string) *types.Type {
	switch base {
	case "char":
		return types.Int8
	case "signed char", "s8", "__s8", "int8_t":
		return types.Int8
	case "unsigned char", "u8", "__u8", "uint8_t":
		return types.Uint8
	case "bool", "_Bool":
		return types.Boolean
	case "short", "short int", "s16", "__s16", "int16_t":
		return types.Int16
	case "unsigned short", "short unsigned int", "unsigned short int", "u16", "__u16", "uint16_t", "umode_t", "__le16", "__be16":
		return types.Uint16
	case "int", "signed int", "s32", "__s32", "int32_t", "pid_t", "key_t", "clockid_t", "timer_t", "mqd_t",
		"key_serial_t", "rwf_t", "__kernel_pid_t", "__kernel_clockid_t":
		return types.Int32
	case "unsigned", "unsigned int", "u32", "__u32", "uint32_t", "uid_t", "gid_t", "qid_t", "__le32", "__be32":
		return types.Uint32
	case "long", "long int", "signed long", "long long", "long long int", "s64", "__s64", "int64_t", "ssize_t", "off_t",
		"loff_t", "time_t", "__kernel_old_time_t":
		return types.Int64
	case "unsigned long", "long unsigned int", "unsigned long int", "unsigned long long", "long long unsigned int",
		"u64", "__u64", "uint64_t", "size_t", "aio_context_t", "cap_user_header_t", "cap_user_data_t":
		return types.Uint64
	}
	return nil
}
