package stdlib

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/bpf"
	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// functionProbes are on functions of the kernel. Where the kernel has no kprobes, a trampoline serves the whole function.
func functionProbes() []Probe {
	row := func(name, since, text, example string, kind types.HookKind, form types.ArgsForm, aliases []string, forms ...string) Probe {
		return Probe{
			Probe: types.Probe{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}, Since: since}, Aliases: aliases, Forms: forms},
			resolve: func(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				return functionProbe(m, p, kind, parts)
			},
			list: func(m *Machine, p *types.Probe, rest string) listing {
				return listKernelFunctions(m, p, kind, rest)
			},
			stand: &types.Target{Hook: types.Hook{Kind: kind}, Form: form, Return: kind == types.HookKretprobe || kind == types.HookFexit},
		}
	}
	return []Probe{
		row("kprobe", "kprobes", "A function of the kernel is called, or an instruction of it is reached; its arguments are arg0, arg1 and so on.", "kprobe:do_nanosleep { @[comm] = count(); }",
			types.HookKprobe, types.CArgs, []string{"k"}, "kprobe:function", "kprobe:function+offset", "kprobe:module:function", "kprobe:0xaddress"),
		row("kretprobe", "kprobes", "A function of the kernel returns; retval is what it returns.", "kretprobe:do_nanosleep { @[retval] = count(); }",
			types.HookKretprobe, types.CArgs, []string{"kr"}, "kretprobe:function", "kretprobe:module:function"),
		row("fentry", "function entry programs (fentry)", "A function of the kernel is called: args.name, with the kernel's types. Cheaper than kprobe.", "fentry:do_nanosleep { @[args.mode] = count(); }",
			types.HookFentry, types.WordArgs, []string{"f", "kfunc"}, "fentry:function", "fentry:module:function", "fentry:bpf:program", "fentry:bpf:id:program"),
		row("fexit", "function entry programs (fentry)", "A function of the kernel returns: args.name and retval, with the kernel's types.", "fexit:do_nanosleep { @[retval] = count(); }",
			types.HookFexit, types.WordArgs, []string{"fr", "kretfunc"}, "fexit:function", "fexit:module:function", "fexit:bpf:program", "fexit:bpf:id:program"),
	}
}

func functionProbe(m *Machine, p *types.Probe, kind types.HookKind, parts []string) ([]*types.Target, error) {
	if len(parts) != 2 && len(parts) != 3 && !(len(parts) == 4 && parts[1] == ofPrograms) || parts[len(parts)-1] == "" {
		return nil, wrong(-1, "write: "+p.Forms[0], "a %s has a function, got %d part(s)", p.Name, len(parts)-1)
	}
	if len(parts) > 2 && parts[1] == ofPrograms && kind != types.HookKprobe && kind != types.HookKretprobe {
		return programProbe(p, kind, parts)
	}
	last := len(parts) - 1
	pattern, offset := parts[last], uint64(0)
	if name, digits, ok := strings.Cut(pattern, "+"); ok {
		n, err := strconv.ParseUint(digits, 0, 32)
		if err != nil || kind != types.HookKprobe {
			return nil, wrong(last, "write: kprobe:function+offset", "invalid function '%s' of a %s", pattern, p.Name)
		}
		pattern, offset = name, n
	}
	if strings.HasPrefix(pattern, "0x") && kind == types.HookKprobe {
		return addressProbe(m, p, pattern, last)
	}
	way := m.functionWay(kind)
	if way.noKprobes != nil && (m.Kprobe && !way.probed || m.Forced && way.probed) {
		return nil, wrong(-1, "", "--attach asks for kprobes to serve %s: %s", strings.Join(parts, ":"), way.noKprobes)
	}
	if way.probed && way.trampoline && offset > 0 {
		return nil, wrong(-1, "", "this kernel cannot run %s: %s", strings.Join(parts, ":"), way.noKprobes)
	}
	found := []kernelFunction{{name: pattern}}
	if last > 1 || !way.trampoline || wild(pattern) || !m.typedItself(pattern) { // else its types are enough: no list is read
		var err error
		if found, err = m.functionsOf(parts, pattern); err != nil {
			return nil, err
		}
	}
	var out []*types.Target
	left := leftOut{all: len(found)}
	for _, f := range found {
		name, whole := f.name, inModule(f.module, f.name)
		if len(parts) == 3 {
			name = whole
		}
		t := types.Target{Probe: p, Name: p.Name + ":" + name, Goid: -1, Syscall: -1, Form: types.CArgs,
			Return: kind == types.HookKretprobe || kind == types.HookFexit, Hook: types.Hook{Kind: kind, Event: whole, Offset: offset}}
		if way.probed && way.trampoline {
			t.Hook.Asked = t.Name
		}
		if way.typed() {
			typed, why, err := m.fit(f, way, last, wild(pattern))
			switch {
			case err != nil && wild(pattern): // the others of the pattern may do
				left.add(f, why, err)
				continue
			case err != nil:
				return nil, err
			case way.trampoline:
				trampoline(&t, f, typed)
			default:
				typedKprobe(&t, f, typed)
			}
		}
		if way.trampoline {
			out = append(out, &t)
			continue
		}
		t.Hook.Traced = f.traced && offset == 0
		t.Hook.Session = way.probed && t.Hook.Traced && m.traceable && m.session(kind)
		out = append(out, places(t, f.addresses)...)
	}
	switch point := strings.Join(parts, ":"); {
	case len(out) == 0:
		return nil, m.unfit(&left, point, last)
	case m.Verbose != nil && len(left.why) > 0:
		m.Verbose(left.describe(point))
	}
	return out, nil
}

// functionWay is how a kind of probe on functions is served.
type functionWay struct {
	probed     bool  // kprobe or kretprobe; else fentry or fexit
	trampoline bool  // by a trampoline; else by a kprobe
	noKprobes  error // why kprobes cannot serve
}

func (m *Machine) functionWay(kind types.HookKind) functionWay {
	w := functionWay{probed: kind == types.HookKprobe || kind == types.HookKretprobe, noKprobes: new(bpf.Features).Kprobe()}
	if m.Fentry && w.probed {
		w.noKprobes = errors.New("--attach asks for fentry, which is at the entry of functions only")
	}
	w.trampoline = w.noKprobes != nil || !w.probed && !m.Kprobe && new(bpf.Features).Fentry() == nil
	return w
}

// typed tells whether the types of a function must be known.
func (w functionWay) typed() bool { return w.trampoline || !w.probed }

// functionsOf finds the functions that an attach point names, whose last part is pattern.
func (m *Machine) functionsOf(parts []string, pattern string) ([]kernelFunction, error) {
	last := len(parts) - 1
	switch {
	case len(parts) == 3:
		return m.matchingFunctions(parts[1], pattern, last)
	case wild(pattern):
		return m.matchingFunctions(kernelItself, pattern, last)
	}
	return m.functionsNamed(pattern, last)
}

// fit finds the types of a function, and whether it can be served so: why not is short for messages about many, and err is about
// this one.
func (m *Machine) fit(f kernelFunction, way functionWay, part int, many bool) (typed functionTypes, why string, err error) {
	if typed, err = m.typedFunction(f, part, many); err != nil {
		return typed, "has no type information", err
	}
	if !way.trampoline {
		return typed, "", nil
	}
	if m.trampolines == nil {
		ix, err := m.BTF()
		if err != nil {
			return typed, "", wrong(-1, "", "%s", err)
		}
		take := ix.Trampolines()
		m.trampolines = &take
	}
	if why = m.trampolines.Refuse(typed.Function); why != "" {
		hint := ""
		if !way.probed && way.noKprobes == nil {
			hint = "try --attach fentry=kprobe"
		}
		return typed, why, missing(part, hint, "'%s' %s, so the kernel has no trampoline for it", f.name, why)
	}
	return typed, "", nil
}

// leftOut are functions that a pattern matches and leaves out, by the reason.
type leftOut struct {
	all   int // that it matches
	why   []string
	names map[string][]string
	of    []string // the modules that they are of, "" for the kernel itself
	hint  string
}

func (l *leftOut) add(f kernelFunction, why string, err error) {
	if !slices.Contains(l.of, f.module) {
		l.of = append(l.of, f.module)
	}
	var re *types.ResolveError
	if errors.As(err, &re) {
		l.hint = cmp.Or(l.hint, re.Hint)
	}
	if l.names == nil {
		l.names = map[string][]string{}
	}
	if l.names[why] == nil {
		l.why = append(l.why, why)
	}
	l.names[why] = append(l.names[why], inModule(f.module, f.name))
}

// describe tells how many are left out of an attach point, and some of their names.
func (l *leftOut) describe(point string) string {
	n := 0
	var reasons []string
	for _, why := range l.why {
		names := l.names[why]
		n += len(names)
		some := names[:min(len(names), 3)]
		if len(names) > len(some) {
			some = append(slices.Clip(some), "...")
		}
		reasons = append(reasons, fmt.Sprintf("%s: %d (%s)", why, len(names), strings.Join(some, ", ")))
	}
	return fmt.Sprintf("%s leaves out %d of %d functions; %s", point, n, l.all, strings.Join(reasons, "; "))
}

// unfit tells why nothing is left of a pattern: that the only module has no types, or what is wrong with its functions.
func (m *Machine) unfit(l *leftOut, point string, part int) error {
	for _, mod := range m.kernelModules() {
		if len(l.of) > 1 || l.of[0] != mod.name {
			continue
		}
		if _, err := m.moduleTypes(mod); err != nil {
			return wrong(part-1, "", "%s", err)
		}
	}
	return missing(part, l.hint, "%s", l.describe(point))
}

// places is the target of a kprobe at each of the addresses of a function: a module may have several of a name.
func places(t types.Target, addresses []uint64) []*types.Target {
	if len(addresses) == 0 {
		return []*types.Target{&t}
	}
	var out []*types.Target
	for _, at := range addresses {
		one := t
		if one.Hook.Address = at; len(addresses) > 1 {
			one.Hook.Event = fmt.Sprintf("%#x", at)
		}
		out = append(out, &one)
	}
	return out
}

// kernelFunction is a function of the kernel or of a module.
type kernelFunction struct {
	module    string // "" for the kernel itself
	anywhere  bool   // in the kernel itself or else in any module: which one is not known
	name      string
	addresses []uint64 // of a module's: where the functions of the name are, none where the kernel hides it
	traced    bool     // it can be attached to together with others, as far as is known
}

// matchingFunctions finds functions by patterns of the module, or vmlinux, and of the name. Those that match a pattern are as
// many as can be traced.
func (m *Machine) matchingFunctions(of, pattern string, part int) (out []kernelFunction, err error) {
	modules, err := m.matchingModules(of, part-1)
	if err != nil {
		return nil, err
	}
	if match(of, kernelItself) {
		all, err := m.kernelFunctions()
		if err != nil && wild(pattern) {
			return nil, wrong(-1, "", "%s", err)
		}
		for _, name := range all {
			if match(pattern, name) {
				out = append(out, kernelFunction{name: name, traced: true})
			}
		}
		if len(out) == 0 && !wild(pattern) {
			there, err := m.untraced(pattern)
			if there || err != nil { // else the kernel will say
				out = append(out, kernelFunction{name: pattern})
			} else if !wild(of) {
				return nil, m.noFunction(pattern, part)
			}
		}
	}
	for _, mod := range modules {
		all, err := m.moduleFunctions(mod)
		if err != nil {
			return nil, wrong(-1, "", "%s", err)
		}
		for _, f := range all {
			if match(pattern, f.name) && (f.traced || !wild(pattern)) {
				out = append(out, f)
			}
		}
		if len(out) == 0 && !wild(pattern) && !wild(of) {
			return nil, m.noModuleFunction(mod, pattern, part)
		}
	}
	if len(out) == 0 {
		return nil, missing(part, "", "no function of the kernel matches '%s'", pattern)
	}
	return out, nil
}

// functionsNamed finds a function by its name alone, in the kernel itself or else in the only module that has it.
func (m *Machine) functionsNamed(name string, part int) ([]kernelFunction, error) {
	all, err := m.kernelFunctions()
	unsure := []kernelFunction{{name: name, anywhere: true}}
	if err != nil {
		return unsure, nil // the kernel will say
	}
	if _, found := slices.BinarySearch(all, name); found {
		return []kernelFunction{{name: name, traced: true}}, nil
	}
	if there, err := m.untraced(name); err != nil {
		return unsure, nil
	} else if there {
		return []kernelFunction{{name: name}}, nil
	}
	var out []kernelFunction
	for _, mod := range m.kernelModules() {
		all, err := m.moduleFunctions(mod)
		if err != nil {
			return unsure, nil
		}
		if i, found := findFunction(all, name); found {
			out = append(out, all[i])
		}
	}
	switch len(out) {
	case 0:
		return nil, m.noFunction(name, part)
	case 1:
		return out, nil
	}
	return unsure, nil // it is for the kernel to choose
}

// addressProbe is a kprobe at an address, which the kernel checks only for being an instruction's.
func addressProbe(m *Machine, p *types.Probe, address string, part int) ([]*types.Target, error) {
	if _, err := strconv.ParseUint(address, 0, 64); err != nil {
		return nil, wrong(part, "", "invalid address '%s'", address)
	}
	if err := new(bpf.Features).Kprobe(); err != nil || m.Fentry {
		return nil, wrong(-1, "", "a probe at an address needs kprobes")
	}
	return []*types.Target{{Probe: p, Name: p.Name + ":" + address, Goid: -1, Syscall: -1, Form: types.CArgs, Unsafe: p.Name + ":" + address + " is an unsafe probe being used in safe mode",
		Hook: types.Hook{Kind: types.HookKprobe, Event: address}}}, nil
}

// ofPrograms stands before functions of BPF programs.
const ofPrograms = "bpf"

// programProbe finds functions of BPF programs: bpf:function, or bpf:id:function.
func programProbe(p *types.Probe, kind types.HookKind, parts []string) ([]*types.Target, error) {
	all, unread := bpf.ProgramFuncs()
	last := len(parts) - 1
	var names []string
	var out []*types.Target
	for _, f := range all {
		if len(parts) == 4 && !match(parts[2], strconv.Itoa(int(f.Program))) {
			continue
		}
		if names = append(names, f.Name); match(parts[last], f.Name) {
			out = append(out, &types.Target{Probe: p, Name: fmt.Sprintf("%s:%s:%d:%s", p.Name, ofPrograms, f.Program, f.Name), Goid: -1, Syscall: -1,
				Hook: types.Hook{Kind: kind, Event: f.Name, ID: uint64(f.Type), Prog: f.Program}})
		}
	}
	if len(out) == 0 && unread != nil { // it may be one of theirs
		return nil, wrong(-1, "", "%s", unread)
	}
	if len(out) == 0 {
		return nil, missing(last, closest(parts[last], names), "no BPF program with type information has a function '%s'", parts[last])
	}
	return out, nil
}

// typedKprobe makes a target of a function's entry or return by a kprobe, with the kernel's types: for kernels without
// trampolines. Arguments are in registers, so there are no more than six, and none at the return.
func typedKprobe(t *types.Target, f kernelFunction, typed functionTypes) {
	t.Hook.Asked, t.Hook.Kind = t.Name, types.HookKprobe
	if t.Return {
		t.Hook.Kind = types.HookKretprobe
		t.Result = typed.returned()
		return
	}
	args := typed.Args
	for i, a := range args {
		if !a.Type.Scalar() || i >= len(cArgWords) {
			args = args[:i] // what follows is not where it seems
			break
		}
		t.Places = append(t.Places, []types.Piece{{Operand: types.Operand{Kind: types.RegisterOperand, Size: 8, Base: cArgWords[i], Index: -1}}})
	}
	t.Args = &types.Type{Kind: types.Struct, Name: f.name, Layout: args}
}

// trampoline makes a target of the function's entry or return, with the kernel's types.
func trampoline(t *types.Target, f kernelFunction, typed functionTypes) {
	t.Form, t.Args = types.WordArgs, &types.Type{Kind: types.Struct, Name: f.name, Layout: typed.Args}
	t.Hook.ID, t.Hook.Event = uint64(typed.ID), inModule(typed.module, f.name)
	t.Hook.Kind = types.HookFentry
	if t.Return {
		t.Hook.Kind, t.Word = types.HookFexit, typed.Words
		t.Result = typed.returned()
	}
}

// returned is what retval is: a number where the function returns nothing.
func (f *functionTypes) returned() *types.Type {
	if f.Result.Kind == types.Void {
		return types.Int64
	}
	return f.Result
}

// untraced tells whether the kernel itself has a function that it does not list for tracing: some can be probed.
func (m *Machine) untraced(name string) (there bool, err error) {
	err = symbols.EachKernelFunction(func(mod, f []byte, _ uint64) bool {
		there = len(mod) == 0 && string(f) == name
		return !there
	})
	return there, err
}

func (m *Machine) noFunction(name string, part int) error {
	all, err := m.kernelFunctions()
	if err != nil {
		all = nil
	}
	return missing(part, closest(name, all), "the kernel has no function '%s'", name)
}

// kernelFunctions are the functions of the kernel that can be probed, in order: those that it lists for tracing, else
// those that its type information knows.
func (m *Machine) kernelFunctions() ([]string, error) {
	if m.kernelFuncs != nil {
		return m.kernelFuncs, nil
	}
	out := m.tracedFunctions("")
	if m.traceable = len(out) > 0; !m.traceable {
		ix, err := m.BTF()
		if err != nil {
			return nil, err
		}
		ix.Each(btf.KindFunc, func(_ uint32, name string) bool {
			out = append(out, name)
			return true
		})
	}
	slices.Sort(out)
	m.kernelFuncs = slices.Compact(out)
	return m.kernelFuncs, nil
}

// tracedFunctions are those that the kernel lists for tracing, of a module or, for "", of itself; none where it keeps no list.
func (m *Machine) tracedFunctions(mod string) []string {
	if m.traced == nil {
		m.traced = map[string][]string{}
		if fs, err := m.tracefs(); err == nil {
			if all, err := fs.Functions(); err == nil {
				m.traced = all
			}
		}
	}
	return m.traced[mod]
}

// listKernelFunctions lists what a probe on them would be attached to, and without a pattern all of them. Those of modules
// have the module in their names.
func listKernelFunctions(m *Machine, p *types.Probe, kind types.HookKind, rest string) listing {
	way := m.functionWay(kind)
	if way.trampoline && new(bpf.Features).Fentry() != nil {
		return func(func(Listed, error) bool) {} // there is no way
	}
	return listFunctionsBy(m, p, kind, way, rest)
}

func listFunctionsBy(m *Machine, p *types.Probe, kind types.HookKind, way functionWay, rest string) listing {
	return func(yield func(Listed, error) bool) {
		for _, parts := range alternatives(strings.Split(p.Name+":"+cmp.Or(rest, "*:*"), ":")) {
			if last := len(parts) - 1; parts[last] == "" {
				parts[last] = "*"
			}
			programs := len(parts) > 2 && parts[1] == ofPrograms && !way.probed
			if len(parts) > 4 || len(parts) == 4 && !programs {
				return
			}
			if programs {
				targets, err := programProbe(p, kind, parts)
				for _, t := range targets {
					if !yield(Listed{Name: t.Name, chosen: true}, nil) {
						return
					}
				}
				if !absent(err) && !yield(Listed{}, err) {
					return
				}
				continue
			}
			found, err := m.listedFunctions(parts)
			if !absent(err) {
				yield(Listed{}, err)
				return
			}
			for _, f := range found {
				if !f.traced {
					continue
				}
				fit := func() (functionTypes, error) {
					typed, _, err := m.fit(f, way, len(parts)-1, len(found) > 1)
					return typed, err
				}
				l := Listed{Name: p.Name + ":" + inModule(f.module, f.name), chosen: rest != "", Args: func() []string {
					typed, err := fit()
					if err != nil {
						return nil
					}
					return typed.declarations(kind)
				}}
				if way.typed() {
					l.fits = func() bool {
						_, err := fit()
						return err == nil
					}
				}
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

// absent tells whether an attach point has nothing to be attached to, or no error at all.
func absent(err error) bool {
	var re *types.ResolveError
	return err == nil || errors.As(err, &re) && re.Missing
}

// listedFunctions are the functions that an attach point names. A name without a module that is none of a function's may be a
// module's, all of whose functions it then stands for.
func (m *Machine) listedFunctions(parts []string) ([]kernelFunction, error) {
	last := len(parts) - 1
	found, err := m.functionsOf(parts, parts[last])
	if last == 1 && len(found) == 1 && found[0].anywhere { // in several modules, which a listing tells apart
		found, err = m.matchingFunctions("*", parts[last], last)
	}
	if last == 1 && err != nil && !wild(parts[1]) {
		if of, e := m.matchingFunctions(parts[1], "*", 1); e == nil {
			return of, nil
		}
	}
	return found, err
}

// declarations are what a listing shows of a function: its arguments, at its return what it returns.
func (f *functionTypes) declarations(kind types.HookKind) []string {
	var result []string
	if f.Result.Kind != types.Void {
		result = []string{f.Result.String() + " retval"}
	}
	args := fieldList(&types.Type{Kind: types.Struct, Layout: f.Args})
	switch kind {
	case types.HookKretprobe:
		return result
	case types.HookFexit:
		return append(args, result...)
	}
	return args
}
