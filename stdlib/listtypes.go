package stdlib

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/types"
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
	err := m.allTypes(func(_ string, ix *btf.Index) bool {
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
		if !f(Listed{Name: keyword + " " + name, Definition: func() []string { return definition(names[name], keyword, name) }}) {
			return nil
		}
	}
	return nil
}

func definition(ix *btf.Index, keyword, name string) []string {
	t, err := ix.Named(keyword, name)
	if err != nil {
		return nil
	}
	out := []string{keyword + " " + name + " {"}
	if named, ok := t.Enum.(types.Enumerators); ok {
		values := slices.Collect(maps.Keys(named))
		sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
		for _, v := range values {
			out = append(out, fmt.Sprintf("        %s = %d,", named[v], v))
		}
	} else if t.Layout != nil {
		for _, fld := range t.Layout.Fields() {
			line := "        " + declaration(fld.Type, fld.Name)
			if fld.BitSize > 0 {
				line += fmt.Sprintf(" : %d", fld.BitSize)
			}
			out = append(out, line+";")
		}
	}
	return append(out, "};")
}

// declaration is a member as C declares it.
func declaration(t *types.Type, name string) string {
	switch t.Kind {
	case types.Pointer:
		return declaration(t.Elem, "*"+name)
	case types.Array:
		if strings.HasPrefix(name, "*") {
			name = "(" + name + ")"
		}
		return declaration(t.Elem, fmt.Sprintf("%s[%d]", name, t.Len))
	}
	return t.String() + " " + name
}
