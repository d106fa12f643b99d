package stdlib

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// debug is the debug information of a program, as a target in it sees it: types.Debug.
type debug struct {
	bin   *symbols.Binary
	fn    symbols.Func // Addr is 0 where the target is no function as a whole
	at    place
	shown string // what the script calls the program
	no    string // why there are no arguments, where that is known
	exact bool   // the script names the function, and is told of its copies

	copies func(callers func() []string) // told how to find them once debug information is read; may be nil

	info *symbols.FuncInfo
	err  error
}

// function is what is known of the target's function.
func (d *debug) function() (*symbols.FuncInfo, error) {
	if d.info == nil && d.err == nil {
		d.info, d.err = d.read()
	}
	return d.info, d.err
}

func (d *debug) read() (*symbols.FuncInfo, error) {
	info, err := d.bin.Debug()
	switch {
	case errors.Is(err, symbols.ErrNoDebug):
		return nil, fmt.Errorf("%s has no debug information: it must be compiled with -g, and not stripped", d.shown)
	case err != nil:
		return nil, err
	}
	f, err := info.Func(d.fn.Addr, cmp.Or(d.fn.Symbol, d.fn.Name))
	switch {
	case errors.Is(err, symbols.ErrNoDebug):
		return nil, fmt.Errorf("%s has no debug information about %s", d.shown, d.fn.Name)
	case errors.Is(err, symbols.ErrNoArgs):
		return nil, fmt.Errorf("%s of %s has %w", d.fn.Name, d.shown, err)
	}
	if err == nil && d.copies != nil {
		d.copies(func() []string { return info.InlinedIn(d.fn.Addr, cmp.Or(d.fn.Symbol, d.fn.Name)) })
	}
	return f, err
}

// warnOfCopies tells of the functions that targets name of which callers have copies: what they do is not seen. The function table
// of a Go program knows that; debug information is not read for it.
func (m *Machine) warnOfCopies(targets []*types.Target, at source.Span) {
	if m.copied == nil {
		m.copied = map[string]bool{}
	}
	for _, t := range targets {
		d, ok := t.Debug.(*debug)
		if !ok || !d.exact || m.Warn == nil {
			continue
		}
		m.warnOfChoice(d, at)
		warn := func(find func() []string) {
			key := d.bin.Path + ":" + d.fn.Name
			if m.copied[key] {
				return
			}
			m.copied[key] = true
			callers := find()
			if len(callers) == 0 {
				return
			}
			n, hint := "1 function has", "probe that function too, or keep the compiler from inlining it"
			if len(callers) > 1 {
				n, hint = fmt.Sprintf("%d functions have", len(callers)), "probe those functions too, or keep the compiler from inlining it"
			}
			if d.bin.IsGo() {
				hint += ": //go:noinline, or -gcflags=-l for all"
			}
			some := callers[:min(len(callers), 3)]
			if len(callers) > len(some) {
				some = append(slices.Clip(some), "...")
			}
			m.Warn(at, fmt.Sprintf("%s a copy of '%s' of %s instead of a call, which is not seen: %s", n, d.fn.Name, d.shown, strings.Join(some, ", ")), hint)
		}
		if !d.bin.IsGo() {
			d.copies = warn
			continue
		}
		warn(func() []string {
			callers, _ := d.bin.InlinedIn(d.fn.Name) // of a table that cannot be read nothing is known
			return callers
		})
	}
}

// warnOfChoice tells of a function that only chooses, when a program starts, which one is called by its name.
func (m *Machine) warnOfChoice(d *debug, at source.Span) {
	key := d.bin.Path + ":" + d.fn.Name + " is chosen"
	if m.copied[key] || !d.bin.Indirect(d.fn.Name) {
		return
	}
	m.copied[key] = true
	var names []string
	choices, _ := d.bin.Match("__" + d.fn.Name + "_*")
	for _, f := range choices {
		if kind := strings.TrimPrefix(f.Name, "__"+d.fn.Name+"_"); !strings.HasPrefix(kind, "chk") && !d.bin.Indirect(f.Name) && !strings.HasPrefix(kind, "ifunc") {
			names = append(names, f.Name)
		}
	}
	hint := "which they are is in its debug symbols"
	if len(names) > 0 {
		hint = "probe these: " + strings.Join(names, ", ")
	}
	m.Warn(at, fmt.Sprintf("'%s' of %s is called when a program starts, and chooses which of several functions is called by its name from then on: they are not seen", d.fn.Name, d.shown), hint)
}

// params are the arguments, or where the function returns what it gives: in C retval, in Go by its names, r0, r1 and so on without.
func (d *debug) params() ([]symbols.Param, error) {
	if d.no != "" {
		return nil, errors.New(d.no)
	}
	f, err := d.function()
	if err != nil {
		return nil, err
	}
	list, unnamed := f.Params, givenArg
	switch d.at {
	case cReturn:
		list, unnamed = f.Results, func(int) string { return givenResult }
	case goReturn:
		list, unnamed = f.Results, func(i int) string { return "r" + strconv.Itoa(i) }
	}
	list = slices.Clone(list)
	for i := range list {
		if list[i].Name == "" {
			list[i].Name = unnamed(i)
		}
	}
	return list, nil
}

// Args implements types.Debug.
func (d *debug) Args() (*types.Type, [][]types.Piece, error) {
	params, err := d.params()
	if err != nil {
		return nil, nil, err
	}
	var fields types.Fields
	var places [][]types.Piece
	for i, p := range params {
		fields = append(fields, types.Field{Name: p.Name, Type: p.Type, Offset: 8 * i, Lost: p.Lost})
		places = append(places, p.Places)
	}
	return &types.Type{Kind: types.Struct, Name: d.fn.Name, Layout: fields, Args: true}, places, nil
}

// Result implements types.Debug.
func (d *debug) Result() *types.Type {
	f, err := d.function()
	if err != nil || d.at == entry || len(f.Results) != 1 || f.Results[0].Lost != "" || f.Results[0].Type.Kind != types.Pointer {
		return nil
	}
	return f.Results[0].Type
}

// Named implements types.Debug.
func (d *debug) Named(keyword, name string) (*types.Type, error) {
	return d.search((*symbols.DebugInfo).Named, keyword, name)
}

// Shortened implements types.Debug.
func (d *debug) Shortened(keyword, name string) (*types.Type, error) {
	return d.search((*symbols.DebugInfo).Shortened, keyword, name)
}

func (d *debug) search(how func(d *symbols.DebugInfo, near uint64, keyword, name string) (*types.Type, error), keyword, name string) (*types.Type, error) {
	info, err := d.bin.Debug()
	if err != nil {
		return nil, nil // one without types
	}
	t, err := how(info, d.fn.Addr, keyword, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.shown, err)
	}
	return t, nil
}

// Constant implements types.Debug.
func (d *debug) Constant(name string) (int64, *types.Type, bool) {
	info, err := d.bin.Debug()
	if err != nil {
		return 0, nil, false
	}
	return info.Constant(d.fn.Addr, name)
}

// declarations are the arguments as the program's source declares them.
func (d *debug) declarations() (out []string) {
	params, err := d.params()
	if err != nil {
		return nil
	}
	for _, p := range params {
		text := p.Source + " " + p.Name
		if p.Lost != "" {
			text += " (unreadable: " + p.Lost + ")"
		}
		out = append(out, text)
	}
	return out
}
