package syntax

// The build methods turn what the grammar read into nodes and collect the problems on the way.

func (g gDirective) build(*builder) Item { return &Directive{span(g.Pos, g.EndPos), g.Text} }

func (g gCDef) build(b *builder) Item {
	n := take(b, g.part)
	n.Text = b.file.Slice(n.Span())
	return n
}

func (g gConfig) build(b *builder) Item {
	return &Config{span(g.Pos, g.EndPos), each(b, g.Props, (*gProperty).node)}
}

// each builds every element of a list.
func each[G, N any](b *builder, list []G, node func(G, *builder) N) []N {
	var out []N
	for _, g := range list {
		out = append(out, node(g, b))
	}
	return out
}

func (g *gProperty) node(b *builder) *Property {
	return &Property{span(g.Pos, g.EndPos), g.Name.node, take(b, g.Value.part)}
}

func (g *gArgument) node(b *builder) *Property {
	return &Property{span(g.Pos, g.EndPos), g.Name.node, take(b, g.Value.part)}
}

func (g *gName) name(*builder) *Name { return g.node }

func (g gImport) build(b *builder) Item {
	return &Import{span(g.Pos, g.EndPos), take(b, g.Path.part), each(b, g.Params, (*gArgument).node)}
}

func (g gMapDecl) build(b *builder) Item {
	return &MapDecl{span(g.Pos, g.EndPos), g.Map.node, g.Type.node, take(b, g.Max.part)}
}

func (g gMacro) build(b *builder) Item {
	params := each(b, g.Params, func(g *gMacroArg, _ *builder) Expr { return g.node })
	return &Macro{span(g.Pos, g.EndPos), g.Name.node, params, take(b, g.Body.part)}
}

func (g gFn) build(b *builder) Item {
	params := each(b, g.Params, func(g *gFnArg, b *builder) *Param {
		return &Param{span(g.Pos, g.EndPos), g.Name.node, take(b, g.Type.part)}
	})
	return &Fn{span(g.Pos, g.EndPos), g.Name.node, params, take(b, g.Result.part), take(b, g.Body.part)}
}

func (g gExport) build(b *builder) Item {
	n := &Export{Range: span(g.Pos, g.EndPos), Map: g.Map.node, Labels: each(b, g.Labels, (*gName).name), Kind: g.Kind.node}
	n.Help = g.Help.optional(b)
	return n
}

// optional returns nil when the grammar did not find the string.
func (g *gString) optional(b *builder) *String {
	if g == nil {
		return nil
	}
	return take(b, g.part)
}

func (g *gInt) optional(b *builder) *Int {
	if g == nil {
		return nil
	}
	return take(b, g.part)
}

func (g *gExpr) optional(b *builder) Expr {
	if g == nil {
		return nil
	}
	return take(b, g.part)
}

func (g gTest) build(b *builder) Item {
	return &Test{span(g.Pos, g.EndPos), take(b, g.Name.part), take(b, g.Body.part)}
}

func (g gProbe) build(b *builder) Item { return g.node(b) }

func (g *gProbe) node(b *builder) *Probe {
	attach := each(b, g.Attach, func(g *gAttach, _ *builder) *AttachPoint { return g.node })
	return &Probe{span(g.Pos, g.EndPos), attach, g.Pred.optional(b), take(b, g.Body.part)}
}

func (g gSLI) build(b *builder) Item {
	n := &SLI{Range: span(g.Pos, g.EndPos), Name: g.Name.node, Labels: each(b, g.Labels, (*gName).name), Doc: g.Doc.optional(b)}
	b.add(g.Body.nested)
	for _, m := range g.Body.members {
		if m.Property != nil {
			n.Props = append(n.Props, m.Property.node(b))
		} else {
			n.Probes = append(n.Probes, m.Probe.node(b))
		}
	}
	return n
}

func (g gSLO) build(b *builder) Item {
	n := &SLO{Range: span(g.Pos, g.EndPos), Name: g.Name.node, Props: each(b, g.Props, (*gProperty).node)}
	if g.Sentence != nil {
		n.Sentence = g.Sentence.node(b)
	}
	if c := g.Composite; c != nil {
		n.Composite = &Composite{span(c.Pos, c.EndPos), each(b, c.Parts, func(g *gWeighted, b *builder) *Weighted {
			return &Weighted{span(g.Pos, g.EndPos), g.Name.node, g.Weight.optional(b)}
		})}
	}
	return n
}

func (g *gSentence) node(b *builder) *Sentence {
	n := &Sentence{
		Range: span(g.Pos, g.EndPos), Objective: take(b, g.Objective.part), Minutes: g.Minutes, SLI: g.SLI.node,
		Filters: each(b, g.Filters, func(g *gExpr, b *builder) Expr { return take(b, g.part) }),
		Op:      g.Op, Where: g.Where.optional(b), By: each(b, g.By, (*gName).name),
	}
	if g.Limit != nil {
		n.Limit = take(b, g.Limit.part)
	}
	w := g.Window
	n.Window = &Window{span(w.Pos, w.EndPos), w.Length.optional(b), w.Calendar, w.Zone.optional(b)}
	return n
}
