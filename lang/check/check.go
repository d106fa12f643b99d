package check

import (
	"errors"
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/cdecl"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Options is what the checker needs besides the tree.
type Options struct {
	Universe types.Universe
	Resolver types.Resolver
	Config   types.Config
	Params   []string          // positional parameters
	Named    map[string]string // named parameters, "" for one without a value

	Environment map[string]string // settings that win over those of the script, by their names there

	// Import reads the file that the file from imports by a path; nil when there are no files to import.
	Import func(from, path string) (*syntax.File, error)
}

// maxWalks bounds the search for a fixed point; types only grow, so a script needs as many walks as its longest chain
// of maps that take their type from one another, against the order of the text.
const maxWalks = 256

// checker is the state of one walk over the script; maps and locals outlive it.
type checker struct {
	opt     Options
	file    *syntax.File
	prog    *Program
	diags   source.Diagnostics
	maps    map[string]*Map
	slis    map[string]*SLI
	changed bool
	final   bool

	clause    *Clause
	lacking   *Clause       // the last one whose args do not exist
	target    *types.Target // the first of the clause's targets
	info      *Info
	scope     *scope
	labels    map[string]*types.Type      // names inside the conditions of an sli
	loops     int                         // around the statement
	expanded  map[syntax.Expr]syntax.Expr // of Info, kept from walk to walk so that nodes stay the same
	dead      int                         // sides of ifs around it whose condition is known not to lead there
	locals    map[localKey]*Local
	imported  map[syntax.Range]*syntax.Import // the script's own imports by where what they bring lies
	ctypes    *cdecl.Scope                    // of the script's C definitions
	cOrigins  map[syntax.Node]cOrigin         // of definitions that were imported
	cmacros   map[string]*syntax.Macro        // those of them with parameters, nil when they stand for no expression
	kernel    map[string]cdecl.Constant       // that were looked up; without a type when there is none
	named     map[string]*types.Type          // by keyword and name; nil when there is none
	within    map[*syntax.Call]*syntax.Name   // what the goroutine of a span is in, kept from walk to walk
	functions map[function]bool               // of the kernel that need a program each, so far
}

// localKey identifies a local across walks.
type localKey struct {
	clause *Clause
	decl   *syntax.Var
}

// scope is a block; variables live until its end.
type scope struct {
	up   *scope
	vars map[string]*Local
}

// Check resolves and types a parsed script. The Program is only fit for lowering when the diagnostics hold no error.
func Check(file *syntax.File, opt Options) (*Program, source.Diagnostics) {
	c := &checker{opt: opt, file: file, maps: map[string]*Map{}, slis: map[string]*SLI{}, locals: map[localKey]*Local{},
		kernel: map[string]cdecl.Constant{}, named: map[string]*types.Type{}, expanded: map[syntax.Expr]syntax.Expr{}, functions: map[function]bool{},
		within: map[*syntax.Call]*syntax.Name{}}
	c.prog = &Program{File: file, Universe: opt.Universe, Config: opt.Config}
	c.imports()
	c.cDefinitions()
	c.expand()
	c.prog.File = c.file
	c.bind()
	c.declare()
	declared := c.diags
	for walk := 0; ; walk++ {
		c.diags, c.changed = nil, false
		c.walk()
		if c.final {
			break
		}
		if !c.changed {
			c.settle()
		}
		c.final = !c.changed || walk == maxWalks
	}
	return c.prog, append(declared, c.diags...).Sort()
}

// settle makes integers of the variables declared without a value that nothing gave a type.
func (c *checker) settle() {
	for _, l := range c.locals {
		if l.open && l.Type.Kind == types.Invalid {
			l.Type, c.changed = types.Int64, true
		}
	}
}

func (c *checker) errorf(n syntax.Node, format string, args ...any) *source.Diagnostic {
	return c.diags.Errorf(c.file.Source, n.Span(), format, args...)
}

func (c *checker) warnf(n syntax.Node, format string, args ...any) *source.Diagnostic {
	return c.diags.Warnf(c.file.Source, n.Span(), format, args...)
}

// notYet reports a part of the language that this version parses but cannot run.
func (c *checker) notYet(n syntax.Node, what string) {
	c.errorf(n, "%s not supported by this version of slope", what)
}

// declare registers what has a name and resolves attach points; it runs once.
func (c *checker) declare() {
	c.environment()
	for _, it := range c.file.Items {
		switch it := it.(type) {
		case *syntax.Probe:
			c.resolve(it, nil)
		case *syntax.SLI:
			c.declareSLI(it)
		case *syntax.MapDecl:
			c.declareMap(it)
		case *syntax.Config:
			c.config(it)
		case *syntax.Export:
			c.export(it)
		case *syntax.Test:
			c.test(it)
		}
	}
	c.alone()
	c.declareSLOs()
	for _, cl := range c.prog.Clauses {
		c.bindObjectives(cl)
	}
	nothing := len(c.file.Items) == 0 || c.prog.Config.Missing != types.MissingError
	if len(c.prog.Clauses) == 0 && !c.diags.HasErrors() && nothing {
		end := int32(len(c.file.Source.Text))
		c.diags.Errorf(c.file.Source, source.Span{Start: 0, End: end}, "no probes to attach").
			WithHint("a script needs at least one probe, for example: begin { printf(\"hello\\n\"); }")
	}
}

// alone reports the probes that can have no others beside them.
func (c *checker) alone() {
	for _, cl := range c.prog.Clauses {
		if row := cl.Targets[0].Probe; row.Alone && (len(c.prog.Clauses) > 1 || len(cl.Targets) > 1) {
			d := c.errorf(cl.Probe.Attach[0], "%s probes cannot be mixed with other probes", row.Name)
			d.WithHint("a script has either one %s probe and nothing else, or none", row.Name)
			return
		}
	}
}

func (c *checker) declareMap(d *syntax.MapDecl) {
	name := "@" + d.Name.Text
	if c.maps[name] != nil {
		c.errorf(d.Name, "map '%s' was already declared", name)
		return
	}
	switch d.Type.Text {
	case "hash", "lruhash", "percpuhash", "percpulruhash":
	default:
		c.errorf(d.Type, "unknown map type '%s'", d.Type.Text).
			WithHint("map types: hash, lruhash, percpuhash, percpulruhash")
		return
	}
	if d.Max.Value == 0 || d.Max.Value > 1<<26 {
		c.errorf(d.Max, "got %d map entries, want 1 to %d", d.Max.Value, 1<<26)
		return
	}
	m := c.mapNamed(name, d.Span())
	m.Kind, m.Max = d.Type.Text, int(d.Max.Value)
}

// resolve expands the attach points of a probe into clauses.
func (c *checker) resolve(p *syntax.Probe, sli *SLI) {
	var clauses []*Clause
	reads, debug, apart := c.meaning(p)
	known := 0
	for _, a := range p.Attach {
		if len(a.Parts) == 0 {
			continue
		}
		row := c.opt.Universe.Probe(a.Parts[0])
		if row == nil {
			d := c.errorf(part(a, 0), "invalid probe type: %s", a.Parts[0])
			suggest(d, a.Parts[0], c.opt.Universe.Names(types.ProbeNames))
			continue
		}
		targets, err := c.opt.Resolver.Resolve(row, a)
		if all, ok := err.(interface{ Unwrap() []error }); ok {
			for _, err := range all.Unwrap() {
				c.unresolved(a, err)
			}
		} else if err != nil {
			c.unresolved(a, err)
		}
		if err != nil && (len(targets) == 0 || c.prog.Config.Missing == types.MissingError) {
			continue
		}
		known++
		if c.tooMany(a, targets) {
			continue
		}
		if i := slices.IndexFunc(targets, func(t *types.Target) bool { return t.Unsafe != "" }); i >= 0 && !c.prog.Config.Unsafe {
			c.errorf(a, "%s", targets[i].Unsafe).WithHint("run with --unsafe to allow it")
		}
	next:
		for _, t := range targets {
			if debug {
				_ = t.ReadDebug() // what is wrong is said where args is read
			}
			for _, cl := range clauses {
				if cl.Targets[0].Probe == t.Probe && !apart && (!reads || sameShape(cl.Targets[0], t)) {
					cl.Targets = append(cl.Targets, t)
					continue next
				}
			}
			clauses = append(clauses, &Clause{Probe: p, SLI: sli, Targets: []*types.Target{t}, Info: newInfo()})
		}
	}
	c.prog.Clauses = append(c.prog.Clauses, clauses...)
	if sli != nil && known == 0 {
		sli.lacks = true
	}
}

// tooMany tells whether the functions of an attach point are more than a script may have a program for each of: to load and to
// attach them takes the kernel milliseconds each. It is told once.
func (c *checker) tooMany(a *syntax.AttachPoint, targets []*types.Target) bool {
	before, most := len(c.functions), c.prog.Config.MaxProbes
	for _, t := range targets {
		if t.Hook.Kind == types.HookFentry || t.Hook.Kind == types.HookFexit {
			c.functions[function{t.Hook.Kind, t.Hook.Prog, t.Hook.Event}] = true
		}
	}
	if len(c.functions) == before || len(c.functions) <= most {
		return false
	}
	if before <= most {
		c.errorf(a, "got %d functions of the kernel, each of which needs a program of its own: the limit is %d", len(c.functions), most).
			WithHint("narrow the pattern, or raise max_probes; a kprobe attaches to functions together, where the kernel has it")
	}
	return true
}

// function is one that a program is attached to.
type function struct {
	kind types.HookKind
	prog uint32 // the id of the BPF program that it is in, 0 for the kernel
	name string
}

// unresolved tells why there is nothing at an attach point, as the script wants it told of what is missing.
func (c *checker) unresolved(a *syntax.AttachPoint, err error) {
	var re *types.ResolveError
	if !errors.As(err, &re) {
		c.errorf(a, "%s", err)
		return
	}
	var n syntax.Node = a
	if re.Part >= 0 {
		n = part(a, re.Part)
	}
	switch policy := c.prog.Config.Missing; {
	case re.Missing && policy == types.MissingIgnore:
	case re.Missing && policy == types.MissingWarn:
		c.warnf(n, "%s", re.Message).Hint = re.Hint
	default:
		c.errorf(n, "%s", re.Message).Hint = re.Hint
	}
}

// bindObjectives finds the objectives that the probe of a clause depends on: that of an alert, and that of a predicate
// which is nothing but a call of a Gate.
func (c *checker) bindObjectives(cl *Clause) {
	for _, t := range cl.Targets {
		if t.Hook.Kind == types.HookAlert && c.sloNamed(t.Hook.Event) == nil {
			for _, a := range cl.Probe.Attach {
				if len(a.Parts) > 1 && a.Parts[1] == t.Hook.Event {
					c.unknownSLO(part(a, 1), t.Hook.Event)
				}
			}
		}
	}
	call, ok := cl.Probe.Pred.(*syntax.Call)
	if !ok || len(call.Args) != 1 {
		return
	}
	name, ok := call.Args[0].(*syntax.Name)
	if f := c.opt.Universe.Func(call.Name.Text); ok && f != nil && f.Gate {
		cl.Burning = c.sloNamed(name.Text)
	}
}

// meaning tells whether a probe names anything whose meaning depends on the target's arguments, on the debug information about
// them, or on the target itself.
func (c *checker) meaning(p *syntax.Probe) (args, debug, target bool) {
	look := func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Name:
			row, _ := c.builtin(n.Text)
			args = args || row != nil && row.Args
			debug = debug || row != nil && row.Debug
		case *syntax.Call:
			row := c.opt.Universe.Func(n.Name.Text)
			target = target || row != nil && row.PerTarget
		}
		return true
	}
	if p.Pred != nil {
		syntax.Walk(p.Pred, look)
	}
	syntax.Walk(p.Body, look)
	return args, debug, target
}

// sameShape tells whether one body that reads arguments serves both targets.
func sameShape(a, b *types.Target) bool {
	if a.Form != b.Form || a.Return != b.Return || a.Goid != b.Goid || (a.Raw == nil) != (b.Raw == nil) {
		return false
	}
	if a.Raw != nil && (a.Raw.Form != b.Raw.Form || (a.Raw.Args == nil) != (b.Raw.Args == nil)) {
		return false
	}
	return sameFields(a.Args, b.Args) && slices.EqualFunc(a.Operands, b.Operands, types.Operand.Same) &&
		slices.EqualFunc(a.Places, b.Places, slices.Equal)
}

func sameFields(a, b *types.Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	fa, fb := a.Layout.Fields(), b.Layout.Fields()
	if len(fa) != len(fb) {
		return false
	}
	for i := range fa {
		if fa[i].Name != fb[i].Name || fa[i].Offset != fb[i].Offset || fa[i].Lost != fb[i].Lost || !fa[i].Type.Equal(fb[i].Type) {
			return false
		}
	}
	return true
}

// part is the node of one ':'-separated part of an attach point.
func part(a *syntax.AttachPoint, n int) syntax.Node {
	start := a.Span().Start
	if a.Alias != "" {
		start += int32(len(a.Alias)) + 1
	}
	raw := a.Raw
	for i := 0; i < n && i < len(a.Parts); i++ {
		at := strings.Index(raw, a.Parts[i])
		if at < 0 {
			return a
		}
		colon := strings.IndexByte(raw[at+len(a.Parts[i]):], ':')
		if colon < 0 {
			return a
		}
		skip := at + len(a.Parts[i]) + colon + 1
		start, raw = start+int32(skip), raw[skip:]
	}
	if n >= len(a.Parts) {
		return a
	}
	at := strings.Index(raw, a.Parts[n])
	if at < 0 { // it was a parameter
		return a
	}
	return syntax.Range{Start: start + int32(at), End: start + int32(at+max(len(a.Parts[n]), 1))}
}

// walk types the whole script once.
func (c *checker) walk() {
	for _, cl := range c.prog.Clauses {
		c.walkClause(cl)
	}
	for _, s := range c.prog.SLIs {
		c.finishSLI(s)
	}
	if !c.final {
		return
	}
	c.finishExports()
	for _, m := range c.prog.Maps {
		if m.Value == nil && m.Kind != "" {
			c.diags.Warnf(c.file.Source, m.Span, "map '%s' is declared and never used", m.Name)
		}
	}
}

func (c *checker) walkClause(cl *Clause) {
	c.clause, c.target, c.info, c.lacking = cl, cl.Targets[0], newInfo(), nil
	cl.Info = c.info
	c.scope, c.loops, c.dead = nil, 0, 0
	c.enter()
	if cl.Probe.Pred != nil {
		c.condition(cl.Probe.Pred)
	}
	c.side(cl.Probe.Pred, true, func() { c.block(cl.Probe.Body) })
	c.leave()
	c.clause, c.target, c.info = nil, nil, nil
}

// mapNamed finds a map or makes it.
func (c *checker) mapNamed(name string, at source.Span) *Map {
	m := c.maps[name]
	if m == nil {
		m = &Map{Name: name, Keys: -1, Span: at}
		c.maps[name] = m
		c.prog.Maps = append(c.prog.Maps, m)
	}
	return m
}

// suggest adds "did you mean" when one of the names is close; of equally close ones the first of the same length.
func suggest(d *source.Diagnostic, got string, names []string) {
	if near := source.Nearest(got, names); near != "" {
		d.WithHint("did you mean '%s'?", near)
	}
}
