package stdlib

import (
	"maps"
	"slices"
	"strings"

	"github.com/slopebpf/slope/bpf/btf"
)

// typePattern tells whether a pattern asks for types: "struct task_struct", "enum *state".
func typePattern(pattern string) (keyword, name string, ok bool) {
	keyword, name, ok = strings.Cut(strings.TrimSpace(pattern), " ")
	return keyword, strings.TrimSpace(name), ok && (keyword == "struct" || keyword == "union" || keyword == "enum")
}

// listTypes lists the kernel's types that match, with their definitions as C has them.
func (m *Machine) listTypes(keyword, pattern string, f func(Listed) bool) error {
	kinds := map[string][]btf.Kind{"struct": {btf.KindStruct}, "union": {btf.KindUnion}, "enum": {btf.KindEnum, btf.KindEnum64}}[keyword]
	names := map[string]*btf.Index{}
	err := m.allTypes("*", func(_ string, ix *btf.Index) bool {
		for _, k := range kinds {
			ix.Each(k, func(_ uint32, name string) bool {
				if name != "" && names[name] == nil && match(pattern, name) {
					names[name] = ix
				}
				return true
			})
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !f(Listed{Name: keyword + " " + name, Definition: func() []string { return define(names[name], keyword, name) }}) {
			return nil
		}
	}
	return nil
}

func define(ix *btf.Index, keyword, name string) []string {
	lines, err := ix.Define(keyword, name)
	if err != nil {
		return nil
	}
	return lines
}
