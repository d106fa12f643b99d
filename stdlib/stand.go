package stdlib

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Stand stands in for the machine while a script is tested: it resolves attach points without a kernel, tracefs or
// binaries. An event has the fields that the tests give it and those that the script reads; numbers are int64, texts are
// arrays of char in the records of tracepoints, pointers in system calls and elsewhere; the arguments of functions of programs
// are in standprogram.go. It implements types.Resolver.
type Stand struct {
	Registry *Registry

	read  []string                  // all names X of args.X in the script
	goid  bool                      // it reads goid
	texts map[string]map[string]int // by full name of every probe that is fired: the capacity of its texts, by field

	reads  []reading                   // of args and retval
	given  map[string][]*syntax.Record // to every probe that is fired
	events map[string]*event           // of programs
}

// What a test may give an event besides the fields of args.
const (
	givenArgs   = "args"
	givenGoid   = "goid"
	givenResult = "retval"
)

func givenArg(n int) string { return "arg" + strconv.Itoa(n) }

// pad is how many arguments by number an event has besides those with names.
const pad = 12

// NewStand reads off a script what its events look like.
func NewStand(r *Registry, tree *syntax.File) *Stand {
	s := &Stand{Registry: r, texts: map[string]map[string]int{}, given: map[string][]*syntax.Record{}, events: map[string]*event{}}
	read := map[string]bool{}
	note := func(n syntax.Node, in *syntax.Probe) {
		switch n := n.(type) {
		case *syntax.Field:
			if x, ok := n.X.(*syntax.Name); ok && x.Text == givenArgs {
				read[n.Name.Text] = true
			}
			s.reads = append(s.reads, reading{n, in})
		case *syntax.Name:
			s.goid = s.goid || n.Text == givenGoid
			s.reads = append(s.reads, reading{n, in})
		case *syntax.Call:
			if n.Name.Text == "fire" && len(n.Args) > 0 {
				s.fired(n)
			}
		}
	}
	syntax.WalkFile(tree, func(n syntax.Node) bool {
		p, is := n.(*syntax.Probe)
		if is {
			syntax.Walk(p, func(n syntax.Node) bool { note(n, p); return true })
		} else {
			note(n, nil)
		}
		return !is
	})
	s.read = slices.Sorted(maps.Keys(read))
	return s
}

// fired notes an event of a test.
func (s *Stand) fired(c *syntax.Call) {
	probe, ok := c.Args[0].(*syntax.String)
	if !ok {
		return
	}
	name := s.Canonical(probe.Value)
	if s.texts[name] == nil {
		s.texts[name] = map[string]int{}
	}
	for _, a := range c.Args[1:] {
		r, ok := a.(*syntax.Record)
		if !ok {
			continue
		}
		s.given[name] = append(s.given[name], r)
		for i, n := range r.Names {
			if text, ok := r.Elems[i].(*syntax.String); ok {
				s.texts[name][n.Text] = max(s.texts[name][n.Text], len(text.Value)+1)
			}
		}
	}
}

// Canonical is a probe's full name as targets have it: an alias becomes the name of the type.
func (s *Stand) Canonical(probe string) string {
	typ, rest, more := strings.Cut(probe, ":")
	row := s.Registry.Probe(typ)
	if row == nil {
		return probe
	}
	if more {
		return row.Name + ":" + rest
	}
	return row.Name
}

// Resolve implements types.Resolver. A pattern stands for the events of the tests that it matches.
func (s *Stand) Resolve(p *types.Probe, a *syntax.AttachPoint) ([]*types.Target, error) {
	row := s.Registry.probes[p.Name]
	var out []*types.Target
	for _, parts := range alternatives(a.Parts) {
		if row.stand == nil {
			targets, err := row.resolve(&Machine{Registry: s.Registry}, p, parts)
			if err != nil {
				return nil, err
			}
			for _, t := range targets {
				if t.Hook.Kind == types.HookProfile || t.Hook.Kind == types.HookPerf {
					t.Hook.Event = t.Name // by which tests fire it
				}
			}
			out = append(out, targets...)
			continue
		}
		name := strings.Join(append([]string{p.Name}, parts[1:]...), ":")
		names := []string{name}
		if wild(strings.ReplaceAll(name, "(*", "")) {
			names = slices.DeleteFunc(slices.Sorted(maps.Keys(s.texts)), func(event string) bool { return !match(name, event) })
			if len(names) == 0 {
				names = []string{name} // no test fires it
			}
		}
		for _, n := range names {
			out = append(out, s.target(row, p, n))
		}
	}
	return out, nil
}

// target is a probe of the row's form.
func (s *Stand) target(row *Probe, p *types.Probe, name string) *types.Target {
	t := *row.stand
	t.Probe, t.Name, t.Hook.Event, t.Goid, t.Syscall = p, name, name, -1, -1
	if t.Form == types.CArgs && s.goid {
		t.Form = types.GoArgs
	}
	switch t.Form {
	case types.CArgs, types.GoArgs:
		if t.Form == types.GoArgs {
			t.Goid = 0
			if parts := strings.Split(name, ":"); len(parts) > 2 {
				t.GoEnd = func() (*types.Target, error) {
					end := s.Registry.probes[functionCalled]
					return s.target(end, &end.Probe, strings.Join([]string{functionCalled, parts[1], goEnd}, ":")), nil
				}
			}
		}
		s.programArgs(&t)
		return &t
	}
	var fields types.Fields
	names := s.read
	if t.Form == types.WordArgs {
		names = make([]string, pad)
		for i := range names {
			names[i] = givenArg(i)
		}
		names = append(names, s.read...)
	}
	at := 0
	for _, n := range names {
		f := types.Field{Name: n, Type: types.Int64, Offset: at}
		capacity, text := s.texts[name][n]
		char := types.IntOf(1, true)
		switch {
		case text && (t.Form == types.WordArgs || strings.HasPrefix(name, "tracepoint:syscalls:")): // as a system call gets it
			f.Type = types.PointerTo(char, true)
		case text:
			f.Type = types.ArrayOf(char, (capacity+7)&^7)
		}
		fields = append(fields, f)
		at += (f.Type.Size + 7) &^ 7
	}
	t.Args = &types.Type{Kind: types.Struct, Name: row.Name, Size: at, Layout: fields, Args: t.Form == types.RecordArgs}
	if t.Return {
		t.Result, t.Word = types.Int64, len(fields)
	}
	return &t
}

// Context is the words that a program on the target finds, from the values by name. memory puts bytes somewhere in the
// process and returns their address.
func (s *Stand) Context(t *types.Target, values map[string]types.Given, memory func([]byte) uint64) ([]uint64, error) {
	const registers = 21 // of struct pt_regs
	word := func(v types.Given) uint64 {
		if v.Text != nil {
			return memory(append([]byte(*v.Text), 0))
		}
		return v.Number
	}
	ctx := make([]uint64, registers)
	places := map[string]func(types.Given) error{}
	named := map[string]types.Given{} // of args that are in memory
	event := s.event(t.Name)
	register := func(name string, at int) {
		places[name] = func(v types.Given) error { ctx[at] = word(v); return nil }
	}
	switch t.Form {
	case types.CArgs, types.GoArgs:
		words := cArgWords
		if t.Form == types.GoArgs {
			words = goArgWords
			places[givenGoid] = func(v types.Given) error {
				ctx[wordR14] = memory(binary.LittleEndian.AppendUint64(nil, v.Number))
				return nil
			}
		}
		for name := range event.args.all() {
			places[name] = func(v types.Given) error {
				named[name] = v
				return nil
			}
		}
		if t.Return { // the arguments are gone
			places[givenResult] = func(v types.Given) (err error) {
				named[givenResult], ctx[wordAX] = v, word(v)
				if v.Fields != nil {
					var raw []byte
					raw, err = event.ret.bytes(v.Fields, memory)
					ctx[wordAX] = memory(raw)
				}
				return err
			}
			break
		}
		for i, w := range words {
			register(givenArg(i), w)
		}
	case types.WordArgs, types.RecordArgs:
		ctx = make([]uint64, t.Args.Size/8+1)
		for _, f := range t.Args.Layout.Fields() {
			at := f.Offset / 8
			if f.Type.Kind != types.Array {
				register(f.Name, at)
				continue
			}
			places[f.Name] = func(v types.Given) error {
				if v.Text == nil {
					return fmt.Errorf("%s got a number, and a text elsewhere", f.Name)
				}
				raw := make([]byte, f.Type.Size)
				copy(raw, *v.Text)
				for i := 0; i < len(raw); i += 8 {
					ctx[at+i/8] = binary.LittleEndian.Uint64(raw[i:])
				}
				return nil
			}
		}
		if t.Return {
			register(givenResult, t.Word)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		place := places[name]
		if place == nil {
			known := slices.Sorted(maps.Keys(places))
			if near := source.Nearest(name, known); near != "" {
				return nil, fmt.Errorf("%s has no '%s'; did you mean '%s'?", t.Name, name, near)
			}
			return nil, fmt.Errorf("%s has no '%s', and nothing reads it", t.Name, name)
		}
		if err := place(values[name]); err != nil {
			return nil, err
		}
	}
	if t.Args != nil && (t.Form == types.CArgs || t.Form == types.GoArgs) {
		if event.args.all()[givenResult] == nil {
			delete(named, givenResult)
		}
		raw, err := event.args.bytes(named, memory)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		ctx[wordSP] = memory(raw)
	}
	return ctx, nil
}
