package stdlib

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
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
		Probe: types.Probe{Doc: types.Doc{Name: "iter", Text: "Once for each object of a kind that the kernel has now, such as tasks, their open files or their mappings; then the script ends. It must be the only probe. With -p those of one process. " +
			"With a file it is pinned to that, below /sys/fs/bpf unless it begins with '/', and slope ends: whoever reads the file has the script run by the kernel, and reads what it prints, until the file is removed. The kernel makes that text, as for debugf(), of at most 12 values, and of 16 KB for an object: one with more may be gone through twice, and with 32 KB ends the reading with an error. Nothing else than printf() can be seen, and what is cut is not counted.",
			Examples: []string{`iter:task { printf("%s:%d\n", ctx.task.comm, ctx.task.pid); }`, `iter:task:tasks { printf("%s:%d\n", ctx.task.comm, ctx.task.pid); }`}, Since: "iter:task"},
			Aliases: []string{"it"}, Forms: []string{"iter:task", "iter:task_file", "iter:task_vma", "iter:kind", "iter:kind:file"}, Alone: true},
		resolve: resolveIter, list: listIters,
	}}
}

func resolveIter(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
	switch {
	case len(parts) > 3 || len(parts) < 2 || parts[1] == "":
		return nil, wrong(-1, "write: "+p.Forms[0], "an %s probe has a kind of object, and may have a file, got %d part(s)", p.Name, len(parts)-1)
	case len(parts) == 3 && (parts[2] == "" || strings.HasSuffix(parts[2], "/")):
		return nil, wrong(2, "for example: "+p.Forms[0]+":tasks", "got no name of a file")
	case len(parts) == 3 && strings.Contains(filepath.Base(parts[2]), "."):
		return nil, wrong(2, "", "a bpf filesystem takes no '.' in names, got '%s'", parts[2])
	case len(parts) == 3 && wild(parts[2]):
		return nil, wrong(2, "", "wildcards are not allowed for %s probes", p.Name)
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
	hook := types.Hook{Kind: types.HookIter, Event: name, ID: uint64(id), OneRead: slices.Contains(oneReadIters, name)}
	if len(parts) == 3 {
		hook.Pin = parts[2]
		if !filepath.IsAbs(hook.Pin) {
			hook.Pin = filepath.Join(pinDir, hook.Pin)
		}
	}
	return []*types.Target{{Probe: p, Name: strings.Join(append([]string{p.Name}, parts[1:]...), ":"), Form: types.IterArgs, Args: &args, Goid: -1, Syscall: -1,
		Hook: hook}}, nil
}

// pinDir is where files of the bpf filesystem are.
const pinDir = "/sys/fs/bpf"

// maxPinnedValues is the kernel's MAX_BPRINTF_VARARGS.
const maxPinnedValues = 12

// checkPinned wants a text that the kernel can make for the reader of a pinned iterator.
func checkPinned(c *types.Call) {
	if checkKernelFormat(c, "the file of a pinned iterator") && len(c.Args)-1 > maxPinnedValues {
		c.Errorf(-1, "got %d values, a line of a pinned iterator has at most %d", len(c.Args)-1, maxPinnedValues).WithHint("print them by several printf()")
	}
}

// printPinned gives text to the reader of a pinned iterator. One that is longer than what the kernel keeps for a read ends the
// read; where it does not fit behind others the kernel goes on with the same object at the next read.
func printPinned(l ir.Lowering, c *syntax.Call) {
	b := l.Builder()
	format, size := kernelFormat(l, c)
	values := kernelArgs(l, c.Args[1:])
	words := b.Addr(b.Slot("values", 8*max(len(values), 1)))
	b.Store(words, 0, 8, b.Const(0))
	for i, v := range values {
		if v.Class.Pointer() {
			b.StoreAddress(words, 8*i, v)
		} else {
			b.Store(words, 8*i, 8, v)
		}
	}
	b.Help(ir.HelperSeqPrintf, l.Reader(), format, size, words, b.Const(int64(8*len(values))))
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
