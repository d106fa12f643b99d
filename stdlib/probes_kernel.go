package stdlib

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/bpf/tracefs"
	"github.com/slopebpf/slope/lang/types"
)

func kernelProbes() []Probe {
	return []Probe{
		{
			Probe: types.Probe{Doc: types.Doc{Name: "tracepoint", Text: "A tracepoint of the kernel: a stable place with named arguments.",
				Examples: []string{"tracepoint:sched:sched_switch { @[args.next_comm] = count(); }"}},
				Aliases: []string{"t"}, Forms: []string{"tracepoint:subsystem:event"}},
			resolve: resolveTracepoint, list: listTracepoints,
			stand: &types.Target{Hook: types.Hook{Kind: types.HookTracepoint}, Form: types.RecordArgs},
		},
		{
			Probe: types.Probe{Doc: types.Doc{Name: "rawtracepoint", Text: "A tracepoint with the kernel's own arguments: arg0, arg1, or args.name.",
				Examples: []string{"rawtracepoint:sched_switch { @[args.next.comm] = count(); }"}, Since: "typed raw tracepoints (tp_btf)"},
				Aliases: []string{"rt"}, Forms: []string{"rawtracepoint:event", "rawtracepoint:module:event"}},
			resolve: resolveRawTracepoint, list: listRawTracepoints,
			stand: &types.Target{Hook: types.Hook{Kind: types.HookRaw}, Form: types.WordArgs},
		},
	}
}

func resolveTracepoint(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
	if len(parts) == 2 && wild(parts[1]) { // the name of the event, most likely
		parts = []string{parts[0], "*", parts[1]}
	}
	if len(parts) != 3 {
		return nil, wrong(-1, "write: tracepoint:subsystem:event", "a tracepoint has a subsystem and an event, got %d part(s)", len(parts)-1)
	}
	fs, err := m.tracefs()
	if err != nil {
		return nil, wrong(-1, "", "%s", err)
	}
	if !wild(parts[1]) && !wild(parts[2]) {
		t, err := m.tracepoint(p, parts[1], parts[2])
		if errors.Is(err, tracefs.ErrNotFound) {
			return nil, m.noTracepoint(fs, parts)
		}
		if err != nil {
			return nil, wrong(-1, "", "%s", err)
		}
		return []*types.Target{t}, nil
	}
	systems, err := fs.Systems()
	if err != nil {
		return nil, wrong(-1, "", "%s", err)
	}
	m.rawEvents()
	var out []*types.Target
	for _, system := range systems {
		if !match(parts[1], system) || system == "ftrace" { // those are no events but the tracer's own records
			continue
		}
		events, err := fs.Events(system)
		if err != nil {
			return nil, wrong(1, "", "%s", err)
		}
		for _, event := range events {
			if !match(parts[2], event) {
				continue
			}
			t, err := m.tracepoint(p, system, event)
			if err != nil {
				continue // a directory that is not an event
			}
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, missing(-1, "", "no tracepoint matches '%s:%s'", parts[1], parts[2])
	}
	return out, nil
}

// noTracepoint explains which part is unknown.
func (m *Machine) noTracepoint(fs *tracefs.FS, parts []string) error {
	systems, err := fs.Systems()
	if err != nil {
		return wrong(-1, "", "%s", err)
	}
	if !slices.Contains(systems, parts[1]) {
		return missing(1, closest(parts[1], systems), "tracepoint not found: no subsystem '%s'", parts[1])
	}
	events, err := fs.Events(parts[1])
	if err != nil {
		return wrong(1, "", "%s", err)
	}
	return missing(2, closest(parts[2], events), "tracepoint not found: %s:%s", parts[1], parts[2])
}

// tracepoint reads one event's format and finds the raw tracepoint that serves it more cheaply.
func (m *Machine) tracepoint(p *types.Probe, system, event string) (*types.Target, error) {
	fs, err := m.tracefs()
	if err != nil {
		return nil, err
	}
	f, err := fs.Format(system, event)
	if err != nil {
		return nil, err
	}
	m.nameEnums(f.Fields)
	name := system + ":" + event
	t := &types.Target{Probe: p, Name: p.Name + ":" + name, Form: types.RecordArgs, Goid: -1, Syscall: -1,
		Hook: types.Hook{Kind: types.HookTracepoint, Event: name, ID: f.ID},
		Args: &types.Type{Kind: types.Struct, Name: event, Size: f.Size, Layout: f.Fields, Args: true}}
	enter, isEnter := strings.CutPrefix(event, "sys_enter_")
	exit, isExit := strings.CutPrefix(event, "sys_exit_")
	switch {
	case system == "syscalls" && isEnter:
		if nr, ok := syscallNumbers[enter]; ok {
			t.Syscall = nr
			t.Raw = &types.Raw{Event: "sys_enter", Form: types.SyscallEnter, Args: wordArgs(event, f.Fields, "__syscall_nr")}
		}
	case system == "syscalls" && isExit:
		if nr, ok := syscallNumbers[exit]; ok {
			t.Syscall = nr
			t.Raw = &types.Raw{Event: "sys_exit", Form: types.SyscallExit, Args: wordArgs(event, f.Fields, "__syscall_nr")}
		}
	case system == "raw_syscalls" && event == "sys_enter":
		t.Raw = &types.Raw{Event: event, Form: types.SyscallEnter, Args: wordArgs(event, f.Fields, "id")}
	case system == "raw_syscalls" && event == "sys_exit":
		t.Raw = &types.Raw{Event: event, Form: types.SyscallExit, Args: wordArgs(event, f.Fields, "id")}
	case m.hasRaw(event):
		t.Raw = &types.Raw{Event: event, Form: types.WordArgs}
	}
	return t, nil
}

// nameEnums gives fields that are enums the names of their values, which tracefs does not have.
func (m *Machine) nameEnums(fields types.Fields) {
	for i := range fields {
		t := fields[i].Type
		if t.Kind != types.Int || t.Name == "" || t.Enum != nil {
			continue
		}
		named, known := m.enums[t.Name]
		if !known {
			named, _ = m.Named("enum", t.Name) // nil when BTF does not have it
			if m.enums == nil {
				m.enums = map[string]*types.Type{}
			}
			m.enums[t.Name] = named
		}
		if named != nil && named.Kind == types.Int && named.Size == t.Size {
			fields[i].Type = named
		}
	}
}

// wordArgs numbers the fields of a system call's tracepoint in words: number is the call's own number, at -8.
func wordArgs(event string, fields types.Fields, number string) *types.Type {
	out := make(types.Fields, len(fields))
	next := 0
	for i, f := range fields {
		out[i] = f
		if f.Name == number {
			out[i].Offset = -8
			continue
		}
		out[i].Offset = next
		next += 8
	}
	return &types.Type{Kind: types.Struct, Name: event, Layout: out}
}

func resolveRawTracepoint(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error) {
	if len(parts) != 2 && len(parts) != 3 {
		return nil, wrong(-1, "write: rawtracepoint:event", "a raw tracepoint has an event, got %d part(s)", len(parts)-1)
	}
	last := len(parts) - 1
	pattern, of := parts[last], "*"
	if len(parts) == 3 {
		of = parts[1]
		if modules, err := m.matchingModules(of, 1); err != nil {
			return nil, err
		} else if len(modules) == 1 && !wild(of) {
			if _, err := m.moduleTypes(modules[0]); err != nil {
				return nil, wrong(1, "write: tracepoint:subsystem:event", "%s", err)
			}
		}
	}
	var out []*types.Target
	err := m.allTypes(of, func(mod string, ix *btf.Index) bool {
		add := func(event string, id uint32, args types.Layout) {
			whole := inModule(mod, event)
			t := &types.Target{Probe: p, Name: p.Name + ":" + whole, Hook: types.Hook{Kind: types.HookRaw, Event: whole}, Form: types.WordArgs, Goid: -1,
				Syscall: -1, Args: &types.Type{Kind: types.Struct, Name: event, Layout: args}}
			if mod != "" {
				t.Hook.ID = uint64(id)
			}
			out = append(out, t)
		}
		if wild(pattern) {
			ix.EachRawTracepoint(func(event string, id uint32, args func() types.Fields) bool {
				if match(pattern, event) {
					add(event, id, &lateFields{read: args})
				}
				return true
			})
			return true
		}
		id, args, err := ix.RawTracepointTarget(pattern)
		if err == nil {
			add(pattern, id, args)
		}
		return err != nil
	})
	switch {
	case err != nil:
		return nil, wrong(-1, "", "%s", err)
	case len(out) > 0:
		return out, nil
	case wild(pattern):
		return nil, missing(last, "", "no raw tracepoint matches '%s'", pattern)
	}
	return nil, missing(last, closest(pattern, slices.Sorted(maps.Keys(m.rawEvents()))), "raw tracepoint not found: %s", pattern)
}

// lateFields are read when they are first asked for.
type lateFields struct {
	read func() types.Fields
	once sync.Once
	all  types.Fields
}

// Fields implements types.Layout.
func (f *lateFields) Fields() []types.Field {
	f.once.Do(func() { f.all = f.read() })
	return f.all
}
