package btf

import (
	"fmt"
	"strconv"

	"github.com/slopebpf/slope/lang/types"
)

const (
	maxParams  = 32
	maxWords   = 12 // arguments that a kernel's program can have (MAX_BPF_FUNC_ARGS)
	inRegister = 6  // arguments that x86-64 passes in registers
)

// Function is what the types tell of a function.
type Function struct {
	ID     uint32
	Args   types.Fields // as the words of an fentry context: a struct of up to 16 bytes takes two
	Words  int          // that they take
	Result *types.Type  // types.None for void

	Variadic bool // it takes more arguments
	structs  bool // one of them is a struct, by value
	refused  string
}

// Func returns a kernel function by its name.
func (ix *Index) Func(name string) (*Function, error) {
	id, err := ix.Find(name, KindFunc)
	if err != nil {
		return nil, fmt.Errorf("find function %s: %w", name, ErrNotFound)
	}
	return ix.FuncOf(id)
}

// FuncOf returns a kernel function by its id.
func (ix *Index) FuncOf(id uint32) (*Function, error) {
	r, _ := ix.record(id)
	p, ok := ix.strip(r.sizeType)
	if r.kind() != KindFunc || !ok || p.kind() != KindFuncProto {
		return nil, fmt.Errorf("read function %s: %w", ix.name(r.name), ErrMalformed)
	}
	f := &Function{ID: id, Result: ix.typeOf(p.sizeType, 0), Variadic: p.vlen() > 0 && p.word(2*p.vlen()-1) == 0}
	f.Args, f.Words, _ = ix.params(p, 0)
	if result, ok := ix.strip(p.sizeType); ok && !ix.inWord(result) {
		f.refused = "returns a struct, a union or a floating-point number"
	}
	for i := 0; i < p.vlen() && i < maxParams; i++ {
		arg, ok := ix.strip(p.word(2*i + 1))
		switch {
		case !ok || ix.inWord(arg):
		case arg.kind() != KindStruct || arg.sizeType > 16 || arg.sizeType == 0:
			f.refused = "takes a struct of more than 16 bytes, a union or a floating-point number by value"
		default:
			f.structs = true
		}
	}
	return f, nil
}

// inWord tells whether a type is an integer or an address.
func (ix *Index) inWord(r record) bool {
	return r.kind() == KindInt || r.kind() == KindPtr || r.kind() == KindEnum || r.kind() == KindEnum64
}

// Trampolines is what the kernel's trampolines take of arguments, on x86-64.
type Trampolines struct {
	Words   int  // how many words
	Structs bool // structs by value
}

// Trampolines tells by what the kernel has for them: structs are described by the flags of arguments (6.1), and what has more
// arguments than there are registers is tested by a function of the kernel (6.6).
func (ix *Index) Trampolines() Trampolines {
	out := Trampolines{Words: inRegister}
	if model, err := ix.Struct("btf_func_model"); err == nil {
		_, out.Structs = model.Field("arg_flags")
	}
	if _, err := ix.Find("bpf_modify_return_test2", KindFunc); err == nil {
		out.Words = maxWords
	}
	return out
}

// Refuse tells why there is no trampoline for a function, as far as its types tell; "" where they tell nothing.
func (t Trampolines) Refuse(f *Function) string {
	switch {
	case f.Variadic:
		return "takes any number of arguments"
	case f.refused != "":
		return f.refused
	case f.structs && !t.Structs:
		return "takes a struct by value, which trampolines know since Linux 6.1"
	case f.Words > maxWords:
		return fmt.Sprintf("takes more than %d arguments", maxWords)
	case f.Words > t.Words:
		return fmt.Sprintf("takes more than %d arguments, which trampolines know since Linux 6.6", t.Words)
	}
	return ""
}

// params lists the parameters of a prototype from the skip-th on, and how many words they take; named is false when none has
// a name.
func (ix *Index) params(p record, skip int) (fields types.Fields, words int, named bool) {
	for i := skip; i < p.vlen() && i < maxParams; i++ {
		id := p.word(2*i + 1)
		if id == 0 && i == p.vlen()-1 { // variadic
			break
		}
		name := ix.name(p.word(2 * i))
		if name != "" {
			named = true
		} else {
			name = "arg" + strconv.Itoa(i-skip)
		}
		t := ix.typeOf(id, 0)
		fields = append(fields, types.Field{Name: name, Type: t, Offset: 8 * words})
		words += min(max((t.Size+7)/8, 1), maxWords+1)
	}
	return fields, words, named || len(fields) == 0
}
