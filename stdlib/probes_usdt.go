package stdlib

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// usdtProbes are on the static probes that programs carry.
func usdtProbes() []Probe {
	return []Probe{{
		Probe: types.Probe{Doc: types.Doc{Name: "usdt", Text: "A static probe that a program or library carries, with arguments arg0, arg1 and so on. With -p the binary may be left out.",
			Examples: nil},
			Aliases: []string{"U"}, Forms: []string{"usdt:binary:provider:probe", "usdt:binary:probe", "usdt:probe"}},
		resolve: resolveUSDT, list: listUSDT,
	}}
}

// place of a static probe in a file.
type usdtPlace struct {
	file string
	bin  *symbols.Binary
	symbols.USDT
}

func (u *usdtPlace) name() string { return "usdt:" + u.file + ":" + u.Provider + ":" + u.Name }

func resolveUSDT(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
	binary, provider, probe := "", "", parts[len(parts)-1]
	switch {
	case len(parts) == 2 && m.Pid > 0:
		binary = "*"
	case len(parts) == 2:
		return nil, wrong(-1, "write: usdt:binary:probe, or give the process with -p", "a usdt probe has a binary")
	case len(parts) == 3:
		binary = parts[1]
	case len(parts) == 4:
		binary, provider = parts[1], parts[2]
	default:
		return nil, wrong(-1, "write: "+p.Forms[0], "a usdt probe has a binary, a provider and a name, got %d part(s)", len(parts)-1)
	}
	all, err := m.staticProbes(binary)
	if err != nil {
		return nil, err
	}
	var found []usdtPlace
	providers := map[string]bool{}
	for _, u := range all {
		if (provider == "" || match(provider, u.Provider)) && match(probe, u.Name) {
			found = append(found, u)
			providers[u.Provider] = true
		}
	}
	if len(found) == 0 {
		return nil, noStaticProbe(binary, provider, probe, len(parts)-1, all)
	}
	if provider == "" && len(providers) > 1 && !wild(probe) && !wild(binary) {
		return nil, wrong(-1, "providers: "+strings.Join(slices.Sorted(maps.Keys(providers)), ", "), "several providers of %s have a probe '%s': name one", binary, probe)
	}
	var out []*types.Target
next:
	for i := range found {
		u := &found[i]
		point := types.Point{Offset: u.Offset, RefCtr: u.Semaphore, Name: u.Provider + ":" + u.Name}
		for _, t := range out { // places with the same operands are served by one program
			if t.Name == u.name() && slices.EqualFunc(t.Operands, u.Args, types.Operand.Same) {
				t.Hook.Points = append(t.Hook.Points, point)
				continue next
			}
		}
		out = append(out, &types.Target{Probe: p, Name: u.name(), Form: types.PlacedArgs, Operands: u.Args, Goid: -1, Syscall: -1,
			Debug: &debug{bin: u.bin, shown: u.file, no: "a usdt probe has arg0, arg1 and so on"},
			Hook:  types.Hook{Kind: types.HookUprobe, Path: u.file, Points: []types.Point{point}}})
	}
	return out, nil
}

// noStaticProbe says what a binary has instead.
func noStaticProbe(binary, provider, probe string, part int, all []usdtPlace) error {
	if len(all) == 0 {
		return missing(1, "it was perhaps built without them", "no static probes in %s", binary)
	}
	names, providers := map[string]bool{}, map[string]bool{}
	for _, u := range all {
		names[u.Name], providers[u.Provider] = true, true
	}
	if provider != "" && !slices.ContainsFunc(all, func(u usdtPlace) bool { return match(provider, u.Provider) }) {
		return missing(2, closest(provider, slices.Sorted(maps.Keys(providers))), "no provider '%s' of static probes in %s", provider, binary)
	}
	return missing(part, closest(probe, slices.Sorted(maps.Keys(names))), "no static probe '%s' in %s", probe, binary)
}

// staticProbes lists those of the binaries that a name or pattern means.
func (m *Machine) staticProbes(binary string) ([]usdtPlace, error) {
	files, err := m.files(binary)
	if err != nil {
		return nil, err
	}
	var out []usdtPlace
	for _, file := range files {
		bin, err := m.binary(file)
		if err != nil {
			if len(files) > 1 {
				continue // not all that a pattern matches are programs
			}
			return nil, wrong(1, "", "%s", err)
		}
		places, err := bin.USDT()
		if err != nil {
			return nil, wrong(1, "", "%s", err)
		}
		for _, u := range places {
			out = append(out, usdtPlace{file, bin, u})
		}
	}
	return out, nil
}

// files are those that a binary's name or pattern means.
func (m *Machine) files(binary string) ([]string, error) {
	if !wild(binary) {
		file, err := symbols.ResolvePath(binary, m.Pid)
		if err != nil {
			return nil, missing(1, "", "%s", err)
		}
		return []string{file}, nil
	}
	files, err := symbols.MatchPaths(binary, m.Pid)
	if err != nil {
		return nil, wrong(1, "", "%s", err)
	}
	if len(files) == 0 {
		where := "no executable or library matches '%s'"
		if m.Pid > 0 {
			where = "no file that the process has mapped matches '%s'"
		}
		return nil, missing(1, "", where, binary)
	}
	return files, nil
}

// listUSDT lists the static probes of the binary that the pattern names, or of all that the process has mapped.
func listUSDT(m *Machine, p *types.Probe, rest string) listing {
	return func(yield func(Listed, error) bool) {
		binary, pattern, _ := strings.Cut(rest, ":")
		if wild(binary) && !strings.Contains(binary, "/") && m.Pid == 0 || binary == "" {
			return // of which there are too many
		}
		all, err := m.staticProbes(binary)
		if err != nil {
			yield(Listed{}, err)
			return
		}
		seen := map[string]bool{}
		for i := range all {
			name := all[i].name()
			if seen[name] || !matchParts(pattern, all[i].Provider+":"+all[i].Name) {
				continue
			}
			seen[name] = true
			if !yield(Listed{Name: name, chosen: true, Args: func() []string { return operandList(all[i].Args) }}, nil) {
				return
			}
		}
	}
}

func operandList(args []types.Operand) []string {
	var out []string
	for i, o := range args {
		t := "unreadable (" + o.Text + ")"
		if o.Kind != types.UnreadableOperand {
			t = types.IntOf(o.Size, o.Signed).String()
		}
		out = append(out, fmt.Sprintf("%s arg%d", t, i))
	}
	return out
}

// placedType is the type of an argument of a static probe.
func placedType(t *types.Target, n int) (*types.Type, error) {
	if n >= len(t.Operands) {
		if len(t.Operands) == 0 {
			return nil, fmt.Errorf("arg%d does not exist: %s has no arguments", n, t.Name)
		}
		return nil, fmt.Errorf("arg%d does not exist: the highest is arg%d", n, len(t.Operands)-1)
	}
	o := t.Operands[n]
	if o.Kind == types.UnreadableOperand {
		return nil, fmt.Errorf("arg%d of %s cannot be read: the program keeps it in %s", n, t.Name, o.Text)
	}
	return types.IntOf(o.Size, o.Signed), nil
}

// placedArg reads an argument of a static probe.
func placedArg(l ir.Lowering, n int) *ir.Value {
	b, o := l.Builder(), l.Target().Operands[n]
	var v *ir.Value
	switch o.Kind {
	case types.ConstantOperand:
		v = b.Const(o.Value)
	case types.RegisterOperand:
		if v = l.Word(o.Base); o.Shift > 0 {
			v = b.Bin(ir.OpShr, v, b.Const(int64(o.Shift)))
		}
	case types.MemoryOperand:
		addr := b.Const(o.Value)
		if o.Base >= 0 {
			addr = b.AddImm(l.Word(o.Base), o.Value)
		}
		if o.Index >= 0 {
			addr = b.Bin(ir.OpAdd, addr, b.Bin(ir.OpMul, l.Word(o.Index), b.Const(int64(o.Scale))))
		}
		p := b.Addr(b.Slot("operand", 8))
		failed := b.Read(p, addr, o.Size, false)
		l.When(failed, func() { l.Count(ir.LossReadFault, nil) })
		return b.Load(p, 0, o.Size, o.Signed)
	}
	if o.Size < 8 {
		v = b.Ext(v, o.Size, o.Signed)
	}
	return v
}
