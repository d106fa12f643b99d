package stdlib

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// kernelItself is the name that stands for the kernel without its modules.
const kernelItself = "vmlinux"

// inModule is a function or an event of a module as hooks name it; module is "" for the kernel itself.
func inModule(module, name string) string {
	if module == "" {
		return name
	}
	return module + ":" + name
}

// module is what is known of a loaded module of the kernel.
type module struct {
	name      string
	types     *btf.Index       // nil until they are asked for
	functions []kernelFunction // in order of their names; nil until they are asked for
}

// kernelModules are the modules that are loaded, in order of their names.
func (m *Machine) kernelModules() []*module {
	if m.modules != nil {
		return m.modules
	}
	m.modules = []*module{}
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil // a kernel without any
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		m.modules = append(m.modules, &module{name: name})
	}
	slices.SortFunc(m.modules, func(a, b *module) int { return strings.Compare(a.name, b.name) })
	return m.modules
}

// matchingModules are those whose names match a part of an attach point.
func (m *Machine) matchingModules(pattern string, part int) ([]*module, error) {
	var out []*module
	var names []string
	for _, mod := range m.kernelModules() {
		names = append(names, mod.name)
		if match(pattern, mod.name) {
			out = append(out, mod)
		}
	}
	if len(out) == 0 && !match(pattern, kernelItself) {
		return nil, missing(part, closest(pattern, names), "no module '%s' of the kernel is loaded", pattern)
	}
	return out, nil
}

// moduleTypes is the type information of a module.
func (m *Machine) moduleTypes(mod *module) (*btf.Index, error) {
	if mod.types != nil {
		return mod.types, nil
	}
	base, err := m.BTF()
	if err != nil {
		return nil, err
	}
	if mod.types, err = btf.OpenModule(base, mod.name); errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("there is no type information of the module '%s': the kernel has it since Linux 5.11, if it is built with CONFIG_DEBUG_INFO_BTF_MODULES", mod.name)
	}
	return mod.types, err
}

// allTypes are the kernel's types, and after them those of the modules that have some, as far as their names, or vmlinux,
// match a pattern.
func (m *Machine) allTypes(of string, f func(mod string, ix *btf.Index) (more bool)) error {
	base, err := m.BTF()
	if err != nil {
		return err
	}
	if match(of, kernelItself) && !f("", base) {
		return nil
	}
	for _, mod := range m.kernelModules() {
		if !match(of, mod.name) {
			continue
		}
		if ix, err := m.moduleTypes(mod); err == nil && !f(mod.name, ix) {
			break
		}
	}
	return nil
}

// moduleFunctions are the functions of a module. Those of all modules are read at once.
func (m *Machine) moduleFunctions(mod *module) ([]kernelFunction, error) {
	if mod.functions != nil {
		return mod.functions, nil
	}
	all := map[string]map[string][]uint64{}
	for _, o := range m.kernelModules() {
		all[o.name] = map[string][]uint64{}
	}
	err := symbols.EachKernelFunction(func(in, name []byte, addr uint64) bool {
		if functions := all[string(in)]; functions != nil {
			at := functions[string(name)]
			if addr != 0 && !slices.Contains(at, addr) {
				at = append(at, addr)
			}
			functions[string(name)] = at
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, o := range m.kernelModules() {
		traced := m.tracedFunctions(o.name)
		slices.Sort(traced)
		o.functions = []kernelFunction{}
		for _, name := range slices.Sorted(maps.Keys(all[o.name])) {
			_, listed := slices.BinarySearch(traced, name)
			at := all[o.name][name]
			o.functions = append(o.functions, kernelFunction{module: o.name, name: name, addresses: at, traced: listed || len(m.traced) == 0})
		}
	}
	return mod.functions, nil
}

// findFunction finds a function by its name in a list that is in order.
func findFunction(all []kernelFunction, name string) (int, bool) {
	return slices.BinarySearchFunc(all, name, func(f kernelFunction, name string) int { return strings.Compare(f.name, name) })
}

// doubtful tells whether an argument of a raw tracepoint may be null.
func (m *Machine) doubtful(h *types.Hook, arg int) bool {
	key := fmt.Sprint(h.Event, " ", arg)
	if d, ok := m.doubts[key]; ok {
		return d
	}
	mod, _, ok := strings.Cut(h.Event, ":")
	id := uint32(h.ID)
	if !ok {
		mod = ""
		if ix, err := m.BTF(); err == nil {
			id, _ = ix.RawTracepoint(h.Event)
		}
	}
	if m.doubts == nil {
		m.doubts = map[string]bool{}
	}
	m.doubts[key] = bpf.Doubtful(mod, id, arg)
	return m.doubts[key]
}

// Named implements types.Source by the BTF of the kernel and its modules.
func (m *Machine) Named(keyword, name string) (t *types.Type, ok bool) {
	_ = m.allTypes("*", func(_ string, ix *btf.Index) bool { // without BTF no type is known
		found, err := ix.Named(keyword, name)
		t, ok = found, err == nil
		return !ok
	})
	return t, ok
}

// TypeID implements types.Numbers. The types of modules have numbers of their own.
func (m *Machine) TypeID(keyword, name string) (uint32, bool) {
	ix, err := m.BTF()
	if err != nil {
		return 0, false
	}
	id, err := ix.NamedID(keyword, name)
	return id, err == nil
}

// Constant implements types.Source by the BTF of the kernel and its modules.
func (m *Machine) Constant(name string) (v int64, t *types.Type, ok bool) {
	_ = m.allTypes("*", func(_ string, ix *btf.Index) bool {
		found, of, err := ix.Enumerator(name)
		v, t, ok = found, of, err == nil
		return !ok
	})
	return v, t, ok
}

// functionTypes are the types of a function of the kernel.
type functionTypes struct {
	*btf.Function
	module string // "" for the kernel itself
}

// functionIDs are the ids of a kernel's or module's functions by their names, from one pass over its types: for patterns, where
// a search for each function would walk over the types as often.
func (m *Machine) functionIDs(ix *btf.Index) map[string]uint32 {
	if ids := m.ids[ix]; ids != nil {
		return ids
	}
	ids := map[string]uint32{}
	ix.Each(btf.KindFunc, func(id uint32, name string) bool {
		if ids[name] == 0 { // of several the first, as a search finds it
			ids[name] = id
		}
		return true
	})
	if m.ids == nil {
		m.ids = map[*btf.Index]map[string]uint32{}
	}
	m.ids[ix] = ids
	return ids
}

// typedItself tells whether the types of the kernel itself have a function of the name.
func (m *Machine) typedItself(name string) bool {
	ix, err := m.BTF()
	if err != nil {
		return false
	}
	_, err = ix.Find(name, btf.KindFunc)
	return err == nil
}

// typedFunction finds the types of a function, one of many for a pattern.
func (m *Machine) typedFunction(f kernelFunction, part int, many bool) (functionTypes, error) {
	var out functionTypes
	of := cmp.Or(f.module, kernelItself)
	if f.anywhere {
		of = "*"
	}
	err := m.allTypes(of, func(mod string, ix *btf.Index) bool {
		var found *btf.Function
		var err error
		if !many {
			found, err = ix.Func(f.name)
		} else if id := m.functionIDs(ix)[f.name]; id != 0 {
			found, err = ix.FuncOf(id)
		}
		if found != nil && err == nil {
			out = functionTypes{found, mod}
		}
		return out.Function == nil
	})
	switch {
	case err != nil:
		return out, wrong(-1, "", "%s", err)
	case out.Function != nil:
		return out, nil
	case many: // of the others there are some
		return out, missing(part, "", "the type of '%s' is not known", f.name)
	}
	i := slices.IndexFunc(m.kernelModules(), func(o *module) bool { return o.name == f.module })
	if i < 0 {
		return out, m.noFunction(f.name, part)
	}
	if _, err := m.moduleTypes(m.modules[i]); err != nil {
		return out, wrong(part-1, "", "%s", err)
	}
	return out, m.noModuleFunction(m.modules[i], f.name, part)
}

func (m *Machine) noModuleFunction(mod *module, name string, part int) error {
	var names []string
	if all, err := m.moduleFunctions(mod); err == nil {
		for _, f := range all {
			names = append(names, f.name)
		}
	}
	return missing(part, closest(name, names), "the module '%s' has no function '%s'", mod.name, name)
}
