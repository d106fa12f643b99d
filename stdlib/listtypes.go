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
	ix, err := m.BTF()
	if err != nil {
		return err
	}
	kinds := map[string][]btf.Kind{"struct": {btf.KindStruct}, "union": {btf.KindUnion}, "enum": {btf.KindEnum, btf.KindEnum64}}[keyword]
	names := map[string]bool{}
	for _, k := range kinds {
		ix.Each(k, func(_ uint32, name string) bool {
			if name != "" && match(pattern, name) {
				names[name] = true
			}
			return true
		})
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !f(Listed{Name: keyword + " " + name, Definition: func() []string {
			lines, err := ix.Define(keyword, name)
			if err != nil {
				return nil
			}
			return lines
		}}) {
			return nil
		}
	}
	return nil
}
