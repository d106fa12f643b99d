package stdlib

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/types"
)

// The kernel has a struct bpf_iter__NAME and a function bpf_iter_NAME for every kind of object that it can walk over.
const (
	iterStruct = "bpf_iter__"
	iterFunc   = "bpf_iter_"
)

// mapIters walk over the entries of one map, which a script has no way to name.
var mapIters = []string{"bpf_map_elem", "bpf_sk_storage_map", "sockmap"}

// oneReadIters are those that the kernel walks to the end in one read, or not at all (types.Hook.OneRead).
var oneReadIters = []string{"cgroup"}

func iterProbes() []Probe {
	return []Probe{{
		Probe: types.Probe{Doc: types.Doc{Name: "iter", Text: "Once for each object of a kind that the kernel has now, such as tasks, their open files or their mappings; then the script ends. It must be the only probe. With -p those of one process.",
			Examples: []string{`iter:task { printf("%s:%d\n", ctx.task.comm, ctx.task.pid); }`}, Since: "iter:task"},
			Aliases: []string{"it"}, Forms: []string{"iter:task", "iter:task_file", "iter:task_vma", "iter:kind"}, Alone: true},
		resolve: resolveIter, list: listIters,
	}}
}

func resolveIter(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
	switch {
	case len(parts) == 3:
		return nil, wrong(2, "leave ':"+parts[2]+"' out, and run the script where the file would be read: it prints once and ends",
			"an iterator cannot be pinned to a file: slope, not the kernel, makes the text that a script prints, so '%s' would be empty", pinned(parts[2]))
	case len(parts) != 2 || parts[1] == "":
		return nil, wrong(-1, "write: "+p.Forms[0], "an %s probe has a kind of object, got %d part(s)", p.Name, len(parts)-1)
	case wild(parts[1]):
		return nil, wrong(1, "", "wildcards are not allowed for %s probes", p.Name)
	}
	ix, err := m.BTF()
	if err != nil {
		return nil, wrong(-1, "", "%s", err)
	}
	name := parts[1]
	ctx, err := ix.Struct(iterStruct + name)
	if err != nil {
		return nil, wrong(1, closest(name, iterKinds(ix)), "the kernel has no iterator over '%s'", name)
	}
	if slices.Contains(mapIters, name) {
		return nil, wrong(1, "", "the iterator over '%s' needs a map, which a script cannot name", name)
	}
	id, err := ix.Find(iterFunc+name, btf.KindFunc)
	if err != nil {
		return nil, wrong(1, "", "the kernel has no iterator over '%s': %s", name, err)
	}
	args := *ctx
	args.Args = true
	return []*types.Target{{Probe: p, Name: p.Name + ":" + name, Form: types.IterArgs, Args: &args, Goid: -1, Syscall: -1,
		Hook: types.Hook{Kind: types.HookIter, Event: name, ID: uint64(id), OneRead: slices.Contains(oneReadIters, name)}}}, nil
}

// pinned is the file that an iterator would be pinned to, as bpftrace has it.
func pinned(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return "/sys/fs/bpf/" + name
}

// iterKinds are the names of what the kernel can walk over, in order.
func iterKinds(ix *btf.Index) []string {
	structs := map[string]bool{}
	ix.Each(btf.KindStruct, func(_ uint32, name string) bool {
		if kind, ok := strings.CutPrefix(name, iterStruct); ok && !slices.Contains(mapIters, kind) {
			structs[kind] = true
		}
		return true
	})
	var out []string
	ix.Each(btf.KindFunc, func(_ uint32, name string) bool {
		if kind, ok := strings.CutPrefix(name, iterFunc); ok && structs[kind] {
			out = append(out, kind)
		}
		return true
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func listIters(m *Machine, p *types.Probe, _ string) listing {
	return func(yield func(Listed, error) bool) {
		ix, err := m.BTF()
		if err != nil {
			yield(Listed{}, err)
			return
		}
		for _, kind := range iterKinds(ix) {
			args := func() []string {
				t, err := ix.Struct(iterStruct + kind)
				if err != nil {
					return nil
				}
				return fieldList(t)
			}
			if !yield(Listed{Name: p.Name + ":" + kind, Args: args}, nil) {
				return
			}
		}
	}
}

// contextType is the type of the whole context, where it has one.
func contextType(t *types.Target, _ int) (*types.Type, error) {
	switch {
	case t.Form == types.IterArgs:
		return t.Args, nil
	case hasRegisters(t):
		return types.PointerTo(types.None, false), nil
	}
	return nil, fmt.Errorf("ctx does not exist in a %s probe: use args", t.Probe.Name)
}
