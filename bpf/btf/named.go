package btf

import (
	"fmt"

	"github.com/slopebpf/slope/lang/types"
)

// Named returns a type by the name that C gives it: keyword is struct, union, enum, or empty for a typedef.
func (ix *Index) Named(keyword, name string) (*types.Type, error) {
	r, err := ix.named(keyword, name)
	if err != nil {
		return nil, err
	}
	return ix.typeOf(r.id, 0), nil
}

// NamedID returns the id of the type that Named returns.
func (ix *Index) NamedID(keyword, name string) (uint32, error) {
	r, err := ix.named(keyword, name)
	return r.id, err
}

func (ix *Index) named(keyword, name string) (record, error) {
	kinds := uint32(0)
	switch keyword {
	case "struct":
		kinds = 1 << KindStruct
	case "union":
		kinds = 1 << KindUnion
	case "enum":
		kinds = 1<<KindEnum | 1<<KindEnum64
	case "":
		kinds = 1 << KindTypedef
	}
	r, ok := ix.find(kinds, name)
	if !ok {
		return r, fmt.Errorf("find %s %s: %w", keyword, name, ErrNotFound)
	}
	return r, nil
}

// enumerators are the names of an enum's values. They are read at once: values are printed after an Index is closed.
func (ix *Index) enumerators(r record) types.Enumerators {
	names := make(types.Enumerators, r.vlen())
	for i := range r.vlen() {
		if v := r.enumerator(i); names[v] == "" {
			names[v] = ix.name(r.word(r.enumWords() * i))
		}
	}
	return names
}

// enumWords is how many words an enumerator takes.
func (r record) enumWords() int {
	if r.kind() == KindEnum64 {
		return 3
	}
	return 2
}

// enumerator is the value of the i-th name of an enum.
func (r record) enumerator(i int) int64 {
	if r.kind() == KindEnum64 {
		return int64(uint64(r.word(3*i+1)) | uint64(r.word(3*i+2))<<32)
	}
	if v := r.word(2*i + 1); r.flag() {
		return int64(int32(v))
	} else {
		return int64(v)
	}
}

// Constant returns the value of an enumerator of any enum.
func (ix *Index) Constant(name string) (int64, error) {
	v, _, err := ix.Enumerator(name)
	return v, err
}

// Enumerator returns the value of an enumerator and its enum.
func (ix *Index) Enumerator(name string) (int64, *types.Type, error) {
	off, ok := ix.nameOffset(name)
	for pos, id := 0, ix.first; ok; id++ {
		r, more := ix.at(id, pos)
		if !more {
			break
		}
		if r.kind() == KindEnum || r.kind() == KindEnum64 {
			for i := range r.vlen() {
				if r.word(r.enumWords()*i) == off {
					return r.enumerator(i), ix.typeOf(r.id, 0), nil
				}
			}
		}
		pos += length(r.info)
	}
	return 0, nil, fmt.Errorf("find constant %s: %w", name, ErrNotFound)
}
