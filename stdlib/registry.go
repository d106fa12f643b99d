// Package stdlib is the table of everything the language has besides its syntax: functions, aggregations, verbs,
// variables and probe types, one row each in the file of its category.
//
// A row holds all that is particular to the thing: name, parameters, documentation, examples, checks, lowering. The
// checker, the lowering, completion, help and the reference read the rows; nothing else in the project knows a row's
// name. To add one, append it to the slice of its category. This file only concatenates.
package stdlib

import (
	"slices"
	"sort"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// Func is a function, aggregation or verb.
type Func struct {
	types.Func
	ir.FuncLower             // of plain functions
	Update       ir.AggLower // of aggregations
}

// Var is a builtin variable.
type Var struct {
	types.Var
	ir.VarLower
	CalledLower ir.FuncLower // of Called
}

// Probe is a probe type.
type Probe struct {
	types.Probe
	resolve func(m *Machine, p *types.Probe, parts []string) ([]*types.Target, error)
	list    func(m *Machine, p *types.Probe, rest string) listing // nil: nothing to list
	stand   *types.Target                                         // what it looks like in a test: Stand; nil: it needs no machine
}

// Registry finds rows by name. It is both the checker's types.Universe and the lowering's ir.Library.
type Registry struct {
	funcs  map[string]*Func
	vars   map[string]*Var
	probes map[string]*Probe
	names  [types.ProbeNames + 1][]string
}

// New builds the registry of all rows.
func New() *Registry {
	r := &Registry{funcs: map[string]*Func{}, vars: map[string]*Var{}, probes: map[string]*Probe{}}
	for _, rows := range [][]Func{outputFuncs(), traceFuncs(), packetFuncs(), mapFuncs(), memoryFuncs(), stringFuncs(), numberFuncs(), typeFuncs(), kfuncFuncs(), taskFuncs(), nameFuncs(), addressFuncs(), objectFuncs(), watchFuncs(), unsafeFuncs(), textFuncs(), symbolFuncs(), netFuncs(), pointerFuncs(), objectiveFuncs(), pollFuncs(), aggregations(), verbs()} {
		for i := range rows {
			f := &rows[i]
			r.funcs[f.Name] = f
			class := [...]types.NameClass{types.PlainFunc: types.FuncNames, types.AggFunc: types.AggNames, types.VerbFunc: types.VerbNames}[f.Class]
			r.names[class] = append(r.names[class], f.Name)
		}
	}
	vars := slices.Concat(variables(), taskVars(), stacks(), symbolVars())
	for i := range vars {
		r.vars[vars[i].Name] = &vars[i]
		r.names[types.VarNames] = append(r.names[types.VarNames], vars[i].Name)
	}
	for _, rows := range [][]Probe{specialProbes(), kernelProbes(), userProbes(), usdtProbes(), iterProbes(), perfProbes(), functionProbes(), objectiveProbes()} {
		for i := range rows {
			p := &rows[i]
			r.probes[p.Name] = p
			for _, a := range p.Aliases {
				r.probes[a] = p
			}
			r.names[types.ProbeNames] = append(r.names[types.ProbeNames], p.Name)
		}
	}
	for _, n := range r.names {
		sort.Strings(n)
	}
	return r
}

// Func implements types.Universe.
func (r *Registry) Func(name string) *types.Func {
	if f := r.funcs[name]; f != nil {
		return &f.Func
	}
	return nil
}

// Var implements types.Universe.
func (r *Registry) Var(name string) *types.Var {
	if v := r.vars[name]; v != nil {
		return &v.Var
	}
	return nil
}

// Probe implements types.Universe.
func (r *Registry) Probe(name string) *types.Probe {
	p := r.probes[name] // U is not u
	if p == nil {
		p = r.probes[strings.ToLower(name)]
	}
	if p != nil {
		return &p.Probe
	}
	return nil
}

// Names implements types.Universe.
func (r *Registry) Names(class types.NameClass) []string { return r.names[class] }

// FuncLower implements ir.Library.
func (r *Registry) FuncLower(name string) ir.FuncLower {
	if f := r.funcs[name]; f != nil {
		return f.FuncLower
	}
	return r.vars[name].CalledLower
}

// VarLower implements ir.Library.
func (r *Registry) VarLower(name string) ir.VarLower { return r.vars[name].VarLower }

// AggLower implements ir.Library.
func (r *Registry) AggLower(name string) ir.AggLower { return r.funcs[name].Update }
