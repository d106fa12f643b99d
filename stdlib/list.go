package stdlib

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/bpf/btf"
	"github.com/slopebpf/slope/lang/types"
)

// Listed is a probe that exists on this machine.
type Listed struct {
	Name string
	Args func() []string // "type name"; nil where there are none

	Definition func() []string // of a type: lines that stand for its name

	chosen bool        // by the pattern, in which the binary may have another name
	fits   func() bool // whether it can be attached to, which is asked of those that match; nil: it can
}

// List calls f with every probe that matches a pattern such as "tracepoint:sched:*", "*read*" or "uprobe:/bin/sh:*", or with
// every type that matches one such as "struct task_*", until f returns false. An empty pattern matches every probe of the kernel.
func (m *Machine) List(pattern string, f func(Listed) bool) error {
	if keyword, name, ok := typePattern(pattern); ok {
		return m.listTypes(keyword, name, f)
	}
	kind, rest, typed := strings.Cut(pattern, ":")
	row := m.Registry.Probe(kind)
	if typed && row == nil && !wild(kind) {
		return fmt.Errorf("unknown probe type '%s'", kind)
	}
	for _, name := range m.Registry.Names(types.ProbeNames) {
		p := m.Registry.probes[name]
		if p.list == nil || typed && row != nil && row.Name != name || typed && row == nil && !match(kind, name) {
			continue
		}
		for l, err := range p.list(m, &p.Probe, rest) {
			if err != nil {
				return err
			}
			matches := pattern == "" || l.chosen || typed && matchParts(rest, strings.TrimPrefix(l.Name, name+":")) ||
				!typed && matchAnywhere(pattern, l.Name)
			if matches && (l.fits == nil || l.fits()) && !f(l) {
				return nil
			}
		}
	}
	return nil
}

// matchParts matches the parts after the probe type; those that the pattern does not have may be any.
func matchParts(pattern, parts string) bool {
	return pattern == "" || match(pattern, parts) || match(pattern+":*", parts)
}

// matchAnywhere matches a pattern without a probe type against a name: all of it, or what follows one of its colons.
func matchAnywhere(pattern, name string) bool {
	if !wild(pattern) {
		return strings.Contains(name, pattern)
	}
	for {
		if match(pattern, name) {
			return true
		}
		_, rest, more := strings.Cut(name, ":")
		if !more {
			return false
		}
		name = rest
	}
}

type listing = func(yield func(Listed, error) bool)

// fieldList prints fields as "type name".
func fieldList(t *types.Type) []string {
	if t == nil {
		return nil
	}
	var out []string
	for _, f := range t.Layout.Fields() {
		out = append(out, f.Type.String()+" "+f.Name)
	}
	return out
}

func listTracepoints(m *Machine, p *types.Probe, _ string) listing {
	return func(yield func(Listed, error) bool) {
		fs, err := m.tracefs()
		if err != nil {
			yield(Listed{}, err)
			return
		}
		systems, err := fs.Systems()
		if err != nil {
			yield(Listed{}, err)
			return
		}
		for _, system := range systems {
			events, err := fs.Events(system)
			if err != nil {
				yield(Listed{}, err)
				return
			}
			for _, event := range events {
				l := Listed{Name: p.Name + ":" + system + ":" + event, Args: func() []string {
					format, err := fs.Format(system, event)
					if err != nil {
						return nil
					}
					return fieldList(&types.Type{Kind: types.Struct, Layout: format.Fields})
				}}
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

func listRawTracepoints(m *Machine, p *types.Probe, _ string) listing {
	return func(yield func(Listed, error) bool) {
		err := m.allTypes("*", func(mod string, ix *btf.Index) (more bool) {
			ix.EachRawTracepoint(func(event string, _ uint32, args func() types.Fields) bool {
				more = yield(Listed{Name: p.Name + ":" + inModule(mod, event), Args: func() []string {
					return fieldList(&types.Type{Kind: types.Struct, Layout: args()})
				}}, nil)
				return more
			})
			return more
		})
		if err != nil {
			yield(Listed{}, err)
		}
	}
}

// listFunctions lists the functions of the binaries that the pattern names.
func listFunctions(m *Machine, p *types.Probe, rest string) listing {
	return func(yield func(Listed, error) bool) {
		binary, pattern, ok := strings.Cut(rest, ":")
		if binary == "" || wild(binary) && !strings.Contains(binary, "/") && m.Pid == 0 {
			return // there are too many
		}
		if !ok || pattern == "" {
			pattern = "*"
		}
		targets, err := userProbe(m, p, []string{p.Name, binary, pattern}, entry)
		if err != nil {
			yield(Listed{}, err)
			return
		}
		for _, t := range targets {
			if !yield(Listed{Name: t.Name, chosen: true, Args: t.Debug.(*debug).declarations}, nil) {
				return
			}
		}
	}
}
