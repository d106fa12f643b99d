package symbols

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/ianlancetaylor/demangle"
)

// MatchDemangled finds the functions of C++ and Rust whose names, as they are in the source, match a pattern with *. A
// pattern without "(" leaves the parameters out, so that it finds all overloads. Func.Name is the name in the source with
// its parameters; Func.Symbol tells copies that the compiler made. Functions of one name and address, such as two kinds of a constructor, count once.
func (b *Binary) MatchDemangled(pattern string) ([]Func, error) {
	short := !bytes.ContainsRune([]byte(pattern), '(')
	var out []Func
	err := b.whole(func(raw []byte, addr, size uint64) bool {
		if !mangled(raw) {
			return true
		}
		full, err := demangle.ToString(string(raw), demangle.NoClones)
		if err != nil {
			return true
		}
		name := full
		if short {
			if name, err = demangle.ToString(string(raw), demangle.NoClones, demangle.NoParams); err != nil {
				return true
			}
		}
		if matches(pattern, []byte(name)) {
			if f, err := b.place(Func{Name: full, Symbol: string(raw), Addr: addr, Size: size}); err == nil {
				out = append(out, f)
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("search %s: %w", b.Path, err)
	}
	slices.SortFunc(out, func(x, y Func) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Addr, y.Addr)) })
	return slices.CompactFunc(out, func(x, y Func) bool { return x.Addr == y.Addr && x.Name == y.Name }), nil
}

// mangled tells whether a name may be one that C++ or Rust made.
func mangled(name []byte) bool {
	return bytes.HasPrefix(name, []byte("_Z")) || bytes.HasPrefix(name, []byte("_R"))
}
