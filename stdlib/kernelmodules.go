package stdlib

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/types"
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
	types     *btf.Index        // nil until they are asked for
	functions map[string]uint64 // and their addresses; nil until they are asked for
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

// allTypes are the kernel's types, and after them those of the modules that have some.
func (m *Machine) allTypes(f func(mod string, ix *btf.Index) (more bool)) error {
	base, err := m.BTF()
	if err != nil {
		return err
	}
	if !f("", base) {
		return nil
	}
	for _, mod := range m.kernelModules() {
		if ix, err := m.moduleTypes(mod); err == nil && !f(mod.name, ix) {
			break
		}
	}
	return nil
}

// moduleFunctions are the functions of a module with their addresses, which are 0 where the kernel hides them or has two of
// the name.
func (m *Machine) moduleFunctions(mod *module) (map[string]uint64, error) {
	if mod.functions != nil {
		return mod.functions, nil
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	defer f.Close()
	out := map[string]uint64{}
	suffix := []byte("\t[" + mod.name + "]")
	for scan := bufio.NewScanner(f); scan.Scan(); {
		line, ok := bytes.CutSuffix(scan.Bytes(), suffix)
		if !ok {
			continue
		}
		fields := bytes.Fields(line)
		if len(fields) != 3 || fields[1][0]|0x20 != 't' {
			continue
		}
		address, err := strconv.ParseUint(string(fields[0]), 16, 64)
		if err != nil {
			continue
		}
		name := string(fields[2])
		if _, twice := out[name]; twice {
			address = 0
		}
		out[name] = address
	}
	mod.functions = out
	return out, nil
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
	_ = m.allTypes(func(_ string, ix *btf.Index) bool { // without BTF no type is known
		found, err := ix.Named(keyword, name)
		t, ok = found, err == nil
		return !ok
	})
	return t, ok
}

// Constant implements types.Source by the BTF of the kernel and its modules.
func (m *Machine) Constant(name string) (v int64, t *types.Type, ok bool) {
	_ = m.allTypes(func(_ string, ix *btf.Index) bool {
		found, of, err := ix.Enumerator(name)
		v, t, ok = found, of, err == nil
		return !ok
	})
	return v, t, ok
}

// typedFunction finds a function of the kernel with its types: in a module or, where none is named, in the kernel itself
// and then in all modules. in is the module that it is in.
func (m *Machine) typedFunction(mod, name string, part int) (in string, id uint32, args types.Fields, result *types.Type, err error) {
	err = m.allTypes(func(of string, ix *btf.Index) bool {
		if mod != "" && of != mod {
			return true
		}
		var e error
		if id, args, result, e = ix.Func(name); e != nil {
			return true
		}
		in = of
		return false
	})
	switch {
	case err != nil:
		return "", 0, nil, nil, wrong(-1, "", "%s", err)
	case id != 0:
		return in, id, args, result, nil
	case mod == "":
		return "", 0, nil, nil, m.noFunction(name, part)
	}
	for _, one := range m.kernelModules() {
		if one.name != mod {
			continue
		}
		if _, err := m.moduleTypes(one); err != nil {
			return "", 0, nil, nil, wrong(part-1, "", "%s", err)
		}
		return "", 0, nil, nil, m.noModuleFunction(one, name, part)
	}
	return "", 0, nil, nil, missing(part-1, "", "no module '%s' of the kernel is loaded", mod)
}

func (m *Machine) noModuleFunction(mod *module, name string, part int) error {
	var names []string
	if all, err := m.moduleFunctions(mod); err == nil {
		for n := range all {
			names = append(names, n)
		}
		slices.Sort(names)
	}
	return missing(part, closest(name, names), "the module '%s' has no function '%s'", mod.name, name)
}
