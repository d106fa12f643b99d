// Package types holds the types of the language, their layouts, the rules of promotion, and the Universe: what the
// checker is told about the functions, aggregations, variables and probe types that exist.
//
// Layout: every scalar takes 8 bytes in keys, map values and events, strings are padded to a multiple of 8, tuples
// are their elements one after the other. So nothing has padding that could hold garbage. Struct layouts come from
// outside (BTF, tracefs) and are kept as they are.
package types

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is the kind of a type.
type Kind uint8

// The kinds.
const (
	Invalid Kind = iota // after an error; suppresses further errors
	Void
	Bool
	Int
	String
	Buffer
	Tuple
	Struct
	Pointer
	Array
	Aggregate
	Stack // of calls: a word that names its return addresses in a map of their own, a word with the process of user code
	Late  // words that user space makes text of when they are printed: Late says how
)

// Type is a type of the language. Types are compared with Equal, not ==.
type Type struct {
	Kind    Kind
	Size    int // bytes: of an Int 1, 2, 4 or 8; of a String its capacity with the NUL; of a Buffer its capacity; of a Struct or Array all of it
	Signed  bool
	Elem    *Type    // Pointer, Array
	Len     int      // Array
	Elems   []*Type  // Tuple
	Names   []string // Tuple: the fields' names of a record, nil otherwise
	Name    string   // Struct, Enum-typed Int
	Enum    Enum     // Int: what its values are called, nil otherwise
	Layout  Layout   // Struct
	Union   bool     // Struct: its members share their place
	Args    bool     // Struct: the arguments of a probe, which are no value in memory
	Counted bool     // Struct: the address of a text and its length, as Go keeps strings; String: read from one, which is Elem
	Guarded bool     // Pointer: the kernel's verifier follows it under conditions only (RCU, per CPU)
	User    bool     // Pointer (and its pointee) or Stack: lives in user space
	Mode    string   // Stack: how it is printed; Len is how many frames are kept
	Late    LateKind // Late; Int: TAITimestamp of a time of that clock
	Text    string   // Late: the format of a Timestamp, the hierarchies that a CgroupPath tells of
	Agg     *Agg     // Aggregate
}

// Enum gives the names of an enum's values; it may look them up late.
type Enum interface {
	// Lookup returns the name of a value, "" when it has none.
	Lookup(v int64) string
}

// Enumerators is an Enum known in full.
type Enumerators map[int64]string

// Lookup implements Enum.
func (e Enumerators) Lookup(v int64) string { return e[v] }

// Layout gives the fields of a struct; it may look them up late.
type Layout interface {
	Fields() []Field
}

// Field is a field of a struct. Offsets are in bytes; BitSize is 0 unless it is a bit field.
type Field struct {
	Name    string
	Type    *Type
	Offset  int
	BitOff  int    // from Offset
	BitSize int    // 0: not a bit field
	DataLoc bool   // a __data_loc word: low half the offset of the bytes in the record, high half their length
	Lost    string // why it cannot be read, "" when it can
}

// FieldAt makes a field of a position in bits. A bit field is described from the start of the smallest aligned unit that has all of
// it, or from its first byte where it crosses units of its type.
func FieldAt(name string, t *Type, bit, bits int) Field {
	f := Field{Name: name, Type: t, Offset: bit / 8}
	if bits == 0 {
		return f
	}
	f.BitSize, f.BitOff = bits, bit%8
	for size := 1; size <= t.Size; size *= 2 {
		if unit := 8 * size; bit%unit+bits <= unit {
			f.Offset, f.BitOff = bit/unit*size, bit%unit
			break
		}
	}
	return f
}

// LateKind is what the words of a Late value say.
type LateKind uint8

// The kinds of late values.
const (
	KernelSymbol LateKind = iota // an address
	UserSymbol                   // an address, the process
	Inet                         // the address family, the address in 16 bytes
	MACAddress                   // its 6 bytes
	UserName                     // a user ID
	Timestamp                    // nanoseconds of the boot clock
	TAITimestamp                 // nanoseconds of International Atomic Time
	CgroupPath                   // a cgroup ID
)

// lateKinds has their names and sizes in bytes.
var lateKinds = [...]struct {
	name string
	size int
}{KernelSymbol: {"ksym_t", 8}, UserSymbol: {"usym_t", 16}, Inet: {"inet", 24}, MACAddress: {"mac_address", 8},
	UserName: {"username_t", 8}, Timestamp: {"timestamp", 8}, TAITimestamp: {"timestamp", 8}, CgroupPath: {"cgroup_path_t", 8}}

// LateOf is the type of late values; text as in Type.Text.
func LateOf(k LateKind, text string) *Type {
	return &Type{Kind: Late, Size: lateKinds[k].size, Late: k, Text: text}
}

// LateNamed finds a type of late values by its name, nil when there is none.
func LateNamed(name string) *Type {
	for k, info := range lateKinds {
		if info.name == name {
			return LateOf(LateKind(k), "")
		}
	}
	return nil
}

// AggKind says how the words of an aggregation's value in the kernel are read and merged over the CPUs.
type AggKind uint8

// The aggregation kinds, with the words of a value.
const (
	CountAgg   AggKind = iota // count
	SumAgg                    // sum, 1 once set
	MinAgg                    // least, 1 once set
	MaxAgg                    // greatest, 1 once set
	AvgAgg                    // sum, count
	StatsAgg                  // sum, count
	HistAgg                   // Args[0] = k bits: negatives; 0 … 2^k-1; then 2^k linear parts of every octave
	LHistAgg                  // Args = min, max, step: below min; each step; max and above
	TSeriesAgg                // Args = interval in ns, number of intervals, TSeriesMode; for each interval: 1 + its number since the epoch of TAI, value, count or time
	DistAgg                   // Args[0] = schema: count, sum, zeros, native buckets from native.Table.First
)

// TSeriesWords are the words of an interval of a time series.
const TSeriesWords = 3

// TSeriesMode is what a time series keeps of the values of an interval.
type TSeriesMode int64

// The modes.
const (
	TSeriesLast TSeriesMode = iota
	TSeriesAvg
	TSeriesMax
	TSeriesMin
	TSeriesSum
)

// Agg is what an aggregation was called with: its row's name and the constant arguments after the value.
type Agg struct {
	Kind   AggKind
	Func   string
	Args   []int64 // as its AggKind says
	Signed bool    // of the aggregated value
	Words  int     // of one value in the kernel, 8 bytes each
}

// Equal tells whether two aggregations may share a map.
func (a *Agg) Equal(o *Agg) bool {
	if a.Func != o.Func || len(a.Args) != len(o.Args) {
		return false
	}
	for i := range a.Args {
		if a.Args[i] != o.Args[i] {
			return false
		}
	}
	return true
}

// Fields is a Layout known in full.
type Fields []Field

// Fields implements Layout.
func (f Fields) Fields() []Field { return f }

// Field finds a field of a struct.
func (t *Type) Field(name string) (Field, bool) {
	if t == nil || t.Kind != Struct || t.Layout == nil {
		return Field{}, false
	}
	for _, f := range t.Layout.Fields() {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// The common types.
var (
	None    = &Type{Kind: Void}
	Bad     = &Type{Kind: Invalid}
	Boolean = &Type{Kind: Bool, Size: 1}
	Int64   = &Type{Kind: Int, Size: 8, Signed: true}
	Uint64  = &Type{Kind: Int, Size: 8}
	Int32   = &Type{Kind: Int, Size: 4, Signed: true}
	Uint32  = &Type{Kind: Int, Size: 4}
	Int16   = &Type{Kind: Int, Size: 2, Signed: true}
	Uint16  = &Type{Kind: Int, Size: 2}
	Int8    = &Type{Kind: Int, Size: 1, Signed: true}
	Uint8   = &Type{Kind: Int, Size: 1}
)

// IntOf returns the integer type of a width in bytes.
func IntOf(size int, signed bool) *Type {
	for _, t := range [...]*Type{Int64, Uint64, Int32, Uint32, Int16, Uint16, Int8, Uint8} {
		if t.Size == size && t.Signed == signed {
			return t
		}
	}
	panic(fmt.Sprintf("BUG: integer of %d bytes", size))
}

// TimeOfTAI is an integer whose values are nanoseconds of International Atomic Time.
func TimeOfTAI(signed bool) *Type {
	return &Type{Kind: Int, Size: 8, Signed: signed, Late: TAITimestamp}
}

// TAI tells whether the type is one of TimeOfTAI.
func (t *Type) TAI() bool { return t.Kind == Int && t.Late == TAITimestamp }

// StringOf is a string with a capacity in bytes, the NUL included.
func StringOf(capacity int) *Type { return &Type{Kind: String, Size: capacity} }

// BufferOf is bytes of any number up to a capacity: a word with how many, and the bytes.
func BufferOf(capacity int) *Type { return &Type{Kind: Buffer, Size: capacity} }

// TupleOf is a tuple.
func TupleOf(elems ...*Type) *Type { return &Type{Kind: Tuple, Elems: elems} }

// RecordOf is a tuple whose elements have names.
func RecordOf(names []string, elems []*Type) *Type {
	return &Type{Kind: Tuple, Names: names, Elems: elems}
}

// ArrayOf is an array of n elements, which lie as close as in C.
func ArrayOf(elem *Type, n int) *Type {
	return &Type{Kind: Array, Elem: elem, Len: n, Size: n * elem.Size}
}

// ArgsRecord is the record that the arguments of a probe are printed as. Arrays of char are strings, of maxStrlen where
// their length is only known at run time. bad is the first field that no record can have, "" without one.
func ArgsRecord(args *Type, form ArgsForm, maxStrlen int) (t *Type, bad string) {
	t = &Type{Kind: Tuple, Names: []string{}}
	for _, f := range args.Layout.Fields() {
		ft := f.Type
		switch text := ft.Kind == Array && ft.Elem.Char() && ft.Elem.Signed; {
		case f.Lost != "":
			return t, f.Name
		case ft.Scalar() || ft.Kind == String && form == InputArgs:
		case ft.Counted:
			ft = CountedText(ft, maxStrlen)
		case (form == CArgs || form == GoArgs) && (ft.Kind == Array || ft.Kind == Struct && ft.Layout != nil) && ft.Size <= MaxValue:
		case form != RecordArgs || ft.Kind != Array:
			return t, f.Name
		case text && f.DataLoc:
			ft = StringOf((maxStrlen + 7) &^ 7)
		case text:
			ft = StringOf(ft.Len)
		case f.DataLoc || ft.Size == 0:
			return t, f.Name
		}
		t.Names, t.Elems = append(t.Names, f.Name), append(t.Elems, ft)
	}
	return t, ""
}

// Scalars tells whether all fields of a struct are scalars.
func (t *Type) Scalars() bool {
	return !slices.ContainsFunc(t.Layout.Fields(), func(f Field) bool { return !f.Type.Scalar() })
}

// MaxValue is how many bytes a struct or an array may have that is used as a value.
const MaxValue = 4096

// CountedText is the string that a struct with the address of a text and its length is read as.
func CountedText(t *Type, maxStrlen int) *Type {
	return &Type{Kind: String, Size: (maxStrlen + 7) &^ 7, Elem: t, Counted: true}
}

// Element returns the position of a record's field, -1 without one.
func (t *Type) Element(name string) int {
	for i, n := range t.Names {
		if n == name {
			return i
		}
	}
	return -1
}

// Char tells whether the type is what C keeps text in.
func (t *Type) Char() bool { return t.Kind == Int && t.Size == 1 && t.Enum == nil }

// PointerTo is a pointer into kernel or user memory.
func PointerTo(elem *Type, user bool) *Type {
	return &Type{Kind: Pointer, Size: 8, Elem: elem, User: user}
}

// StackOf is the stack of calls, of at most depth frames.
func StackOf(user bool, mode string, depth int) *Type {
	return &Type{Kind: Stack, Size: 16, User: user, Mode: mode, Len: depth}
}

// UserCode tells whether there are addresses of a process's code in values of the type.
func (t *Type) UserCode() bool {
	return t.Kind == Stack && t.User || t.Kind == Late && t.Late == UserSymbol || slices.ContainsFunc(t.Elems, (*Type).UserCode)
}

// Kept is how many return addresses are kept of a stack: of the kernel's some more than are printed, since the innermost
// are those that run the program.
func (t *Type) Kept() int {
	const tracer = 8
	if t.User {
		return t.Len
	}
	return t.Len + tracer
}

// Scalar tells whether values of the type are 64-bit values in the IR rather than memory.
func (t *Type) Scalar() bool { return t.Kind == Int || t.Kind == Bool || t.Kind == Pointer }

// Integer tells whether arithmetic works on the type.
func (t *Type) Integer() bool { return t.Kind == Int || t.Kind == Bool }

// Memory returns the bytes a value of the type takes in keys, map values and events: a multiple of 8.
func (t *Type) Memory() int {
	switch t.Kind {
	case Bool, Int, Pointer:
		return 8
	case Tuple:
		n := 0
		for _, e := range t.Elems {
			n += e.Memory()
		}
		return max(n, 8) // the kernel has no values of no bytes
	case Aggregate:
		return 8 * t.Agg.Words
	case Buffer:
		return 8 + (t.Size+7)&^7
	case Void, Invalid:
		return 0
	}
	return (t.Size + 7) &^ 7
}

// Equal tells whether two types are the same.
func (t *Type) Equal(o *Type) bool {
	if t == o {
		return true
	}
	if t == nil || o == nil || t.Kind != o.Kind {
		return false
	}
	switch t.Kind {
	case Int:
		return t.Size == o.Size && t.Signed == o.Signed && t.Name == o.Name && t.Late == o.Late
	case String, Buffer:
		return t.Size == o.Size
	case Tuple:
		if len(t.Elems) != len(o.Elems) {
			return false
		}
		for i := range t.Elems {
			if !t.Elems[i].Equal(o.Elems[i]) {
				return false
			}
		}
		return slices.Equal(t.Names, o.Names)
	case Struct:
		return t.Name == o.Name && t.Size == o.Size
	case Pointer:
		return t.User == o.User && t.Elem.Equal(o.Elem)
	case Array:
		return t.Len == o.Len && t.Elem.Equal(o.Elem)
	case Stack:
		return t.User == o.User && t.Mode == o.Mode && t.Len == o.Len
	case Late:
		return t.Late == o.Late && t.Text == o.Text
	case Aggregate:
		return t.Agg.Equal(o.Agg)
	}
	return true
}

// Unify returns the type that holds values of both: integers and strings grow, tuples element by element.
// ok is false when there is none.
func Unify(a, b *Type) (t *Type, ok bool) {
	switch {
	case a.Kind == Invalid || b.Kind == Invalid:
		return Bad, true
	case a.Kind == Int && b.Kind == Int:
		return promote(a, b), true
	case a.Kind == Bool && b.Kind == Int:
		return b, true
	case a.Kind == Int && b.Kind == Bool:
		return a, true
	case a.Kind != b.Kind:
		return nil, false
	case a.Kind == String, a.Kind == Buffer:
		if a.Size >= b.Size {
			return a, true
		}
		return b, true
	case a.Kind == Tuple:
		if len(a.Elems) != len(b.Elems) || (a.Names == nil) != (b.Names == nil) {
			return nil, false
		}
		out := make([]*Type, len(a.Elems))
		for i := range a.Elems {
			j := i
			if a.Names != nil {
				if j = b.Element(a.Names[i]); j < 0 {
					return nil, false
				}
			}
			if out[i], ok = Unify(a.Elems[i], b.Elems[j]); !ok {
				return nil, false
			}
		}
		return &Type{Kind: Tuple, Names: a.Names, Elems: out}, true
	case a.Equal(b):
		return a, true
	case a.Kind == Pointer:
		return &Type{Kind: Pointer, Size: 8, Elem: None, User: a.User}, true
	}
	return nil, false
}

// promote is the integer promotion: the larger width; with different signs int64.
func promote(a, b *Type) *Type {
	switch {
	case a == b:
		return a
	case a.TAI() || b.TAI(): // the other is where a variable starts, or what a condition gives otherwise
		return TimeOfTAI(a.Signed || b.Signed)
	case a.Name == b.Name && a.Enum != nil:
		if a.Size >= b.Size {
			return a
		}
		return b
	case a.Signed == b.Signed:
		return IntOf(max(a.Size, b.Size), a.Signed)
	default:
		return Int64
	}
}

// String prints the type as it is written in scripts.
func (t *Type) String() string {
	switch t.Kind {
	case Invalid:
		return "invalid"
	case Void:
		return "void"
	case Bool:
		return "bool"
	case Int:
		if t.Name != "" {
			return t.Name
		}
		if t.Signed {
			return fmt.Sprintf("int%d", t.Size*8)
		}
		return fmt.Sprintf("uint%d", t.Size*8)
	case String:
		return fmt.Sprintf("string[%d]", t.Size)
	case Buffer:
		return fmt.Sprintf("buffer[%d]", t.Size)
	case Tuple:
		names := make([]string, len(t.Elems))
		for i, e := range t.Elems {
			names[i] = e.String()
			if t.Names != nil {
				names[i] = t.Names[i] + "=" + names[i]
			}
		}
		return "(" + strings.Join(names, ",") + ")"
	case Struct:
		if t.Union {
			return strings.TrimSpace("union " + t.Name)
		}
		return strings.TrimSpace("struct " + t.Name)
	case Pointer:
		return t.Elem.String() + " *"
	case Array:
		return fmt.Sprintf("%s[%d]", t.Elem, t.Len)
	case Aggregate:
		return t.Agg.Func + "_t"
	case Late:
		name := lateKinds[t.Late].name
		if t.Text != "" {
			name += fmt.Sprintf("(%q)", t.Text)
		}
		return name
	case Stack:
		if t.User {
			return "ustack_t"
		}
		return "kstack_t"
	}
	panic("BUG: type without a name")
}
