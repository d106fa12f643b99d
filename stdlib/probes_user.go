package stdlib

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// functionCalled is the probe of a function that is called.
const functionCalled = "uprobe"

func userProbes() []Probe {
	return []Probe{
		{
			Probe: types.Probe{Doc: types.Doc{Name: functionCalled, Text: "A function of a program or library is called: arg0, arg1 and so on; args.name, and the types of the program, where it has debug information. In Go programs after the stack check, so that a call counts once. Functions that have a copy of it instead of a call are told where the script names it, in Go always, elsewhere where its arguments are read. An address is the one as linked, which nm and objdump print. An address or an offset inside of an instruction, or where that cannot be told, would crash the program: it needs --unsafe.",
				Examples: []string{"uprobe:libc:malloc { @[comm] = count(); }"}},
				Aliases: []string{"u"}, Forms: []string{"uprobe:binary:function", "uprobe:binary:function+offset", "uprobe:binary:0xaddress", `uprobe:binary:cpp:"function"`, "uprobe:binary@file:line"}},
			resolve: func(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				return userProbe(m, p, parts, entry)
			},
			stand: &types.Target{Hook: types.Hook{Kind: types.HookUprobe}, Form: types.CArgs},
			list:  listFunctions,
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "uretprobe", Text: "A function of a program or library returns; retval is what it returns. Not for Go programs: see goret.",
				Examples: []string{"uretprobe:libc:malloc { @[comm] = count(); }"}},
				Aliases: []string{"ur"}, Forms: []string{"uretprobe:binary:function"}},
			resolve: func(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				return userProbe(m, p, parts, cReturn)
			},
			stand: &types.Target{Hook: types.Hook{Kind: types.HookUretprobe}, Form: types.CArgs, Return: true},
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "goret", Text: "A function of a Go program returns: a probe on each of its RET instructions, which leaves the goroutine's stack alone.",
				Examples: nil},
				Forms: []string{"goret:binary:function"}},
			resolve: func(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
				return userProbe(m, p, parts, goReturn)
			},
			stand: &types.Target{Hook: types.Hook{Kind: types.HookUprobe}, Form: types.GoArgs, Return: true},
		},
	}
}

// place is where in a function a probe goes.
type place uint8

const (
	entry place = iota
	cReturn
	goReturn
)

// userProbe resolves binary:function, where the function may hold ':' itself.
func userProbe(m *Machine, p *types.Probe, parts []string, at place) ([]*types.Target, error) {
	if len(parts) < 3 || parts[1] == "" {
		return nil, wrong(-1, "write: "+p.Forms[0], "a %s has a binary and a function", p.Name)
	}
	binary, name := parts[1], strings.Join(parts[2:], ":")
	if before, source, ok := strings.Cut(binary, "@"); ok && at == entry {
		binary, name = before, "@"+source+":"+name
	}
	files, err := m.files(binary)
	if err != nil {
		return nil, err
	}
	var out []*types.Target
	var last error
	for _, file := range files {
		targets, err := m.fileProbes(p, file, binary, name, at)
		if err != nil {
			last = err
		}
		out = append(out, targets...)
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(files) > 1:
		return nil, missing(2, "", "no function '%s' in the %d files that match '%s'", name, len(files), binary)
	}
	return nil, last
}

// fileProbes are the targets in one file, which the script calls shown.
func (m *Machine) fileProbes(p *types.Probe, file, shown, name string, at place) ([]*types.Target, error) {
	bin, err := m.binary(file)
	if err != nil {
		return nil, wrong(1, "", "%s", err)
	}
	switch {
	case at == cReturn && bin.IsGo():
		return nil, wrong(-1, fmt.Sprintf("use goret:%s:%s with goid as the key", shown, name),
			"uretprobe on the Go binary %s would corrupt its stacks", shown)
	case at == goReturn && !bin.IsGo():
		return nil, wrong(-1, fmt.Sprintf("use uretprobe:%s:%s", shown, name), "%s is not a Go binary", shown)
	}
	addr, err := strconv.ParseUint(name, 0, 64)
	if err == nil && at == entry {
		return m.addressProbe(p, bin, file, shown, addr)
	}
	if function, offset, plus := strings.Cut(name, "+"); at != entry && (err == nil || plus && offset != "" && isNumber(offset)) {
		return nil, wrong(2, fmt.Sprintf("write: %s:%s:%s", p.Name, shown, cmp.Or(strings.TrimLeft(function, "0123456789"), "function")), "a %s is where a function returns, and takes no address or offset, got '%s'", p.Name, name)
	}
	funcs, offset, err := m.functions(bin, shown, name, at)
	if err != nil {
		return nil, err
	}
	var out []*types.Target
	var last error
	for _, f := range funcs {
		t, err := userTarget(bin, p, f, offset, at, shown)
		if err != nil {
			last = err
			continue
		}
		t.Name = p.Name + ":" + file + ":" + f.Name
		t.Hook.Session = m.session(t.Hook.Kind)
		if d := t.Debug.(*debug); d.no == "" {
			d.exact = exactly(name)
		}
		switch {
		case strings.HasPrefix(name, cpp):
			t.Name = p.Name + ":" + file + ":" + cpp + f.Name
		case strings.HasPrefix(name, "@"):
			t.Name = p.Name + ":" + file + name
		}
		m.ends(t, file, shown)
		if strings.HasPrefix(name, f.Name+"+") && offset == 0 { // this very place, not the one behind what each function begins with
			t.Hook.Points = []types.Point{{Offset: f.FileOffset, Name: name}}
		}
		if offset > 0 {
			t.Unsafe = insideOf(bin, f, offset)
			t.Name += "+" + strconv.FormatUint(offset, 10)
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		return nil, missing(2, "", "cannot probe %s: %s", name, last)
	}
	return out, nil
}

// goEnd is the function that a goroutine ends in, also one that ends inside of another.
const goEnd = "runtime.goexit1"

// ends says where goroutines end, in a program whose goroutines are told apart.
func (m *Machine) ends(t *types.Target, file, shown string) {
	if t.Goid >= 0 {
		t.GoEnd = sync.OnceValues(func() (*types.Target, error) { return m.goEnd(file, shown) })
	}
}

// isNumber tells whether a text is a number as attach points have it.
func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 0, 64)
	return err == nil
}

func (m *Machine) goEnd(file, shown string) (*types.Target, error) {
	all, err := m.fileProbes(m.Registry.Probe(functionCalled), file, shown, goEnd, entry)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// addressProbe is at the address of an instruction, as linked: what nm and objdump print.
func (m *Machine) addressProbe(p *types.Probe, bin *symbols.Binary, file, shown string, addr uint64) ([]*types.Target, error) {
	name := fmt.Sprintf("%#x", addr)
	offset, is := bin.Code(addr)
	if !is {
		return nil, missing(2, "addresses are those that nm and objdump print", "%s has no code at %s", shown, name)
	}
	t, err := userTarget(bin, p, symbols.Func{Name: name, FileOffset: offset}, 0, entry, shown)
	if err != nil {
		return nil, missing(2, "", "cannot probe %s: %s", name, err)
	}
	t.Name = p.Name + ":" + file + ":" + name
	t.Hook.Session = m.session(t.Hook.Kind)
	m.ends(t, file, shown)
	if f, err := bin.At(addr); err != nil {
		t.Unsafe = fmt.Sprintf("%s has no function at %s that is known, so that it may be inside of an instruction: a probe there would crash the program", file, name)
	} else if addr > f.Addr {
		t.Unsafe = insideOf(bin, f, addr-f.Addr)
	}
	return []*types.Target{t}, nil
}

// insideOf tells why a probe at an offset of a function would be inside of an instruction, or may be; "" where it is not.
func insideOf(bin *symbols.Binary, f symbols.Func, offset uint64) string {
	switch from, next, err := bin.Instruction(f, offset); {
	case err != nil:
		return fmt.Sprintf("the instructions of %s in %s are not known, so that %s+%d may be inside of one: a probe there would crash the program", f.Name, bin.Path, f.Name, offset)
	case from != offset:
		return fmt.Sprintf("could not add uprobe into middle of instruction: %s:%s+%d would crash the program; instructions begin at %[2]s+%[4]d and %[2]s+%[5]d", bin.Path, f.Name, offset, from, next)
	}
	return ""
}

// functions finds what a name, pattern or name+offset stands for.
func (m *Machine) functions(bin *symbols.Binary, shown, name string, at place) ([]symbols.Func, uint64, error) {
	if pattern, ok := strings.CutPrefix(name, cpp); ok {
		funcs, err := bin.MatchDemangled(pattern)
		if err != nil {
			return nil, 0, wrong(2, "", "%s", err)
		}
		if len(funcs) == 0 {
			return nil, 0, missing(3, "", "no function '%s' of C++ or Rust in %s", pattern, shown)
		}
		return funcs, 0, nil
	}
	if line, ok := strings.CutPrefix(name, "@"); ok {
		funcs, err := sourceLine(bin, shown, line)
		return funcs, 0, err
	}
	if !exactly(name) {
		funcs, err := bin.Match(name)
		if err != nil {
			return nil, 0, wrong(2, "", "%s", err)
		}
		if len(funcs) == 0 {
			return nil, 0, missing(2, "", "no function of %s matches '%s'", shown, name)
		}
		return funcs, 0, nil
	}
	f, err := bin.Lookup(name)
	if err == nil {
		return []symbols.Func{f}, 0, nil
	}
	if plus := strings.LastIndexByte(name, '+'); plus > 0 && at == entry {
		if off, e := strconv.ParseUint(name[plus+1:], 0, 32); e == nil {
			if f, e := bin.Lookup(name[:plus]); e == nil {
				if f.Size > 0 && off >= f.Size {
					return nil, 0, missing(2, "", "offset %d lies outside of %s, which has %d bytes", off, f.Name, f.Size)
				}
				return []symbols.Func{f}, off, nil
			}
		}
	}
	if !errors.Is(err, symbols.ErrNotFound) {
		return nil, 0, wrong(2, "", "%s", err)
	}
	if bin.Inlined(name) {
		return nil, 0, missing(2, "probe a caller, mark it //go:noinline, or build with -gcflags=-l", "every call of '%s' in %s is inlined: it has no code of its own", name, shown)
	}
	if function, ok := bin.PartOf(name); ok {
		return nil, 0, missing(2, fmt.Sprintf("probe %s, or a line of it, as uprobe:binary@file:line", function), "'%s' of %s is no function, but code of '%s' that rarely runs", name, shown, function)
	}
	if copies, err := bin.Match(name + ".*"); err == nil && len(copies) > 0 && !bin.IsGo() {
		return nil, 0, missing(2, fmt.Sprintf("the compiler made copies of it for some callers: %s:%s.*", shown, name), "no function '%s' in %s", name, shown)
	}
	if info, err := bin.Debug(); err == nil && info.Inlined(name) {
		return nil, 0, missing(2, "probe a line of it, as uprobe:binary@file:line", "the function '%s' of %s is only there as copies in those that call it: the compiler inlined it", name, shown)
	}
	hint := ""
	if near := bin.Similar(name); len(near) > 0 {
		hint = "did you mean '" + strings.Join(near[:min(len(near), 3)], "', '") + "'?"
	}
	return nil, 0, missing(2, hint, "no function '%s' in %s", name, shown)
}

// exactly tells whether a name is no pattern; methods of Go have (*T) in theirs.
func exactly(name string) bool { return !wild(strings.ReplaceAll(name, "(*", "")) }

// cpp stands before a name as it is in the source.
const cpp = "cpp:"

// sourceLine finds the code of "file:line" or "file:line:column". The places are addresses of their own: no entries of functions.
func sourceLine(bin *symbols.Binary, shown, text string) ([]symbols.Func, error) {
	parts := strings.Split(text, ":")
	numbers := [2]int{}
	if len(parts) != 2 && len(parts) != 3 {
		return nil, wrong(-1, "write: uprobe:binary@file:line", "a place in a source file has a line, got '%s'", text)
	}
	for i, p := range parts[1:] {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil || n == 0 {
			return nil, wrong(2+i, "", "invalid number '%s' of a place in a source file", p)
		}
		numbers[i] = int(n)
	}
	funcs, err := bin.Line(parts[0], numbers[0], numbers[1])
	var line *symbols.LineError
	switch {
	case errors.As(err, &line) && len(line.Near) > 0:
		return nil, missing(2, fmt.Sprintf("lines with code near by: %s", strings.Trim(fmt.Sprint(line.Near), "[]")), "%s", line)
	case errors.As(err, &line):
		return nil, missing(1, "", "%s of %s", line, shown)
	case errors.Is(err, symbols.ErrNoDebug):
		return nil, missing(1, "it must be compiled with -g, and not stripped", "%s has no debug information", shown)
	case err != nil:
		return nil, wrong(-1, "", "%s", err)
	}
	for i := range funcs {
		funcs[i].Addr = 0
	}
	return funcs, nil
}

// placeName is what people call a place; that of a line has no name.
func placeName(f symbols.Func, offset uint64, at place) string {
	switch {
	case f.Addr == 0:
		return ""
	case at == goReturn:
		return f.Name + " returns"
	case offset > 0:
		return fmt.Sprintf("%s+%d", f.Name, offset)
	}
	return f.Name
}

func userTarget(bin *symbols.Binary, p *types.Probe, f symbols.Func, offset uint64, at place, shown string) (*types.Target, error) {
	t := &types.Target{Probe: p, Form: types.CArgs, Goid: -1, Syscall: -1, Return: at != entry}
	t.Hook = types.Hook{Kind: types.HookUprobe, Path: bin.Path}
	if at == cReturn {
		t.Hook.Kind = types.HookUretprobe
	}
	d := &debug{bin: bin, fn: f, at: at, shown: shown}
	if f.Addr == 0 || offset > 0 {
		d.no = "args exist where a function begins, not in the middle of it"
	}
	t.Debug = d
	if bin.IsGo() {
		t.Form = types.GoArgs
		if g, err := bin.GoidOffset(); err == nil {
			t.Goid = g
		}
	}
	var points []uint64
	switch {
	case at == goReturn:
		var err error
		if points, err = bin.Returns(f); err != nil {
			return nil, err
		}
		if len(points) == 0 {
			return nil, errors.New("it has no return instruction")
		}
	case offset > 0 || f.Addr == 0:
		points = []uint64{f.FileOffset + offset}
	default: // also for the return: behind an endbr64 its address is still on top of the stack
		entry, err := bin.Entry(f)
		if err != nil {
			return nil, err
		}
		points = []uint64{entry}
	}
	for _, o := range points {
		t.Hook.Points = append(t.Hook.Points, types.Point{Offset: o, Name: placeName(f, offset, at)})
	}
	return t, nil
}
