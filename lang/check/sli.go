package check

import (
	"slices"
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

const (
	defaultSchema = 3   // of native histograms: 2^3 buckets per octave
	defaultLimit  = 100 // label sets
	maxLimit      = 100000
	maxSchema     = 5
)

func (c *checker) declareSLI(n *syntax.SLI) {
	s := c.newSLI(n)
	if s == nil {
		return
	}
	if len(n.Probes) == 0 {
		c.errorf(n.Name, "sli '%s' has no probes", s.Name)
	}
	for _, p := range n.Probes {
		c.resolve(p, s)
	}
	c.goroutineEnds(s)
}

// goroutineEnds forgets the spans of goroutines that end inside of them: where a clause has start(goid), it adds one to the end of
// the program's goroutines that has cancel(goid), unless the body has a probe there.
func (c *checker) goroutineEnds(s *SLI) {
	all := c.prog.Clauses
	for _, cl := range all {
		var start *syntax.Call
		syntax.Walk(cl.Probe.Body, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.Call); ok && cl.SLI == s && c.startsGoroutine(call) {
				start = call
			}
			return start == nil
		})
		if start == nil {
			continue
		}
		for _, t := range cl.Targets {
			if t.GoEnd == nil {
				continue
			}
			end, err := t.GoEnd()
			if err != nil {
				c.warnf(start, "spans of goroutines that end inside of them stay open: %s", err)
				continue
			}
			if slices.ContainsFunc(c.prog.Clauses, func(o *Clause) bool { return o.SLI == s && slices.ContainsFunc(o.Targets, end.SamePlace) }) {
				continue
			}
			at := syntax.Range(start.Span())
			call := &syntax.Call{Range: at, Name: &syntax.Name{Range: at, Text: c.verbNamed(types.Cancel)}, Args: syntax.Copy(start.Args, nil, nil)}
			c.prog.Clauses = append(c.prog.Clauses, &Clause{SLI: s, Targets: []*types.Target{end}, Info: newInfo(), Probe: &syntax.Probe{Range: at,
				Attach: []*syntax.AttachPoint{{Range: at, Raw: end.Name, Parts: strings.Split(end.Name, ":")}},
				Body:   &syntax.Block{Range: at, Stmts: []syntax.Stmt{&syntax.ExprStmt{Range: at, X: call}}}}})
		}
	}
}

// startsGoroutine tells whether a call is start(goid).
func (c *checker) startsGoroutine(call *syntax.Call) bool {
	f := c.opt.Universe.Func(call.Name.Text)
	return f != nil && f.Class == types.VerbFunc && f.Verb == types.Start && len(call.Args) == 1 && !isTuple(call.Args[0]) && c.goroutine(call.Args[0]) != nil
}

// isTuple tells whether a key has parts: not all of them need be known where a goroutine ends.
func isTuple(e syntax.Expr) bool {
	_, is := e.(*syntax.Tuple)
	return is
}

// verbNamed is what the recording verb is called.
func (c *checker) verbNamed(v types.Verb) string {
	for _, name := range c.opt.Universe.Names(types.VerbNames) {
		if c.opt.Universe.Func(name).Verb == v {
			return name
		}
	}
	panic("BUG: no verb " + strconv.Itoa(int(v)))
}

// newSLI takes what the head and the properties of an sli say; nil when its name is taken.
func (c *checker) newSLI(n *syntax.SLI) *SLI {
	if old := c.slis[n.Name.Text]; old != nil {
		c.errorf(n.Name, "sli '%s' was already declared", n.Name.Text)
		return nil
	}
	s := &SLI{Name: n.Name.Text, Node: n, Schema: defaultSchema, Limit: defaultLimit, Info: newInfo()}
	if n.Doc != nil {
		s.Doc = n.Doc.Value
	}
	seen := map[string]bool{"value": true, "le": true, "sli": true, "slo": true, "quantile": true}
	for _, l := range n.Labels {
		if seen[l.Text] {
			c.errorf(l, "label '%s' is used twice or reserved", l.Text).
				WithHint("reserved: le, quantile, sli, slo, value")
		}
		seen[l.Text] = true
		s.Labels = append(s.Labels, Label{Name: l.Text})
	}
	for _, p := range n.Props {
		c.sliProperty(s, p)
	}
	c.slis[s.Name] = s
	c.prog.SLIs = append(c.prog.SLIs, s)
	return s
}

func (c *checker) sliProperty(s *SLI, p *syntax.Property) {
	switch p.Name.Text {
	case "unit":
		switch name, _ := p.Value.(*syntax.Name); {
		case name != nil && name.Text == "seconds":
			s.Unit = Seconds
		case name != nil && name.Text == "bytes":
			s.Unit = Bytes
		case name != nil && name.Text == "ratio":
			s.Unit = RatioUnit
		case name != nil && name.Text == "none":
			s.Unit = NoUnit
		default:
			c.errorf(p.Value, "unknown unit").WithHint("units: seconds (observed in ns), bytes, ratio (observed in millionths), none")
		}
	case "limit":
		s.Limit = c.intProperty(p, 1, maxLimit)
	case "resolution":
		s.Schema = c.intProperty(p, 0, maxSchema)
	case "valid":
		s.Valid = p.Value
	default:
		d := c.errorf(p.Name, "unknown property '%s' of an sli", p.Name.Text)
		suggest(d, p.Name.Text, []string{"unit", "limit", "resolution", "valid"})
		if d.Hint == "" {
			d.WithHint("properties: unit, limit, resolution, valid")
		}
	}
}

func (c *checker) intProperty(p *syntax.Property, least, most int) int {
	v, ok := p.Value.(*syntax.Int)
	if !ok || v.Value < uint64(least) || v.Value > uint64(most) {
		c.errorf(p.Value, "invalid value for '%s': want an integer from %d to %d", p.Name.Text, least, most)
		return least
	}
	return int(v.Value)
}

func labelNames(s *SLI) []string {
	var out []string
	for _, l := range s.Labels {
		out = append(out, l.Name)
	}
	return out
}

// verb types a recording verb inside an sli body.
func (c *checker) verb(e *syntax.Call, f *types.Func, tc *types.Call) *types.Type {
	s := c.clause.SLI
	if s == nil {
		c.errorf(e, "%s() can only be used inside the body of an sli", f.Name)
		return types.Bad
	}
	switch f.Verb {
	case types.Start, types.Stop, types.Cancel:
		return c.spanVerb(s, e, f, tc)
	case types.Trace:
		if tc.Args[0].Kind != types.String {
			c.errorf(e.Args[0], "%s() got '%s', want a text", f.Name, tc.Args[0])
		}
		return types.None
	}
	own := map[types.Verb]int{types.Observe: 1, types.EventIf: 1, types.Advance: 2, types.Level: 1}[f.Verb]
	if kind := recorded(f.Verb); s.Kind != kind {
		c.errorf(e, "sli '%s' is of the kind %s elsewhere and %s here: one sli has one kind", s.Name, s.Kind, kind)
		return types.Bad
	}
	got := tc.Args[own:]
	if len(got) != len(s.Labels) {
		want := "no labels"
		if len(s.Labels) > 0 {
			want = plural(len(s.Labels), "label") + " (" + strings.Join(labelNames(s), ", ") + ")"
		}
		c.errorf(e, "%s() got %s, want %s as sli '%s' declares", f.Name, plural(len(got), "label"), want, s.Name)
		return types.Bad
	}
	for i, t := range got {
		c.labelType(s, i, e.Args[own+i], t)
	}
	return types.None
}

// recorded is the kind of sli that a verb makes.
func recorded(v types.Verb) SLIKind {
	switch v {
	case types.Observe:
		return Distribution
	case types.Good, types.BadVerb, types.EventIf:
		return Ratio
	case types.Advance:
		return Counters
	case types.Level:
		return Gauge
	}
	return UnknownSLI
}

// noteVerb notes what a verb says of its sli whatever becomes of its arguments: one error is enough for them.
func (c *checker) noteVerb(e *syntax.Call, v types.Verb) {
	s := c.clause.SLI
	if s == nil {
		return
	}
	if kind := recorded(v); s.Kind == UnknownSLI && kind != UnknownSLI {
		s.Kind, c.changed = kind, true
	}
	switch v {
	case types.Start:
		s.start = e
	case types.Stop:
		s.stop = e
	}
}

// labelType fixes the type of a label: an integer, or a string of bounded length.
func (c *checker) labelType(s *SLI, i int, at syntax.Node, t *types.Type) {
	l := &s.Labels[i]
	switch t.Kind {
	case types.Int, types.Bool:
		t = normalize(t)
	case types.String:
		t = types.StringOf(c.prog.Config.LabelLen)
	default:
		c.errorf(at, "label '%s' got type '%s', want an integer or a string", l.Name, t)
		return
	}
	if l.Type == nil {
		l.Type, c.changed = t, true
		return
	}
	u, ok := types.Unify(l.Type, t)
	if !ok {
		c.errorf(at, "label '%s' is a '%s' elsewhere and a '%s' here", l.Name, l.Type, t)
		return
	}
	if !u.Equal(l.Type) {
		l.Type, c.changed = u, true
	}
}

func (c *checker) spanVerb(s *SLI, e *syntax.Call, f *types.Func, tc *types.Call) *types.Type {
	if len(e.Args) == 0 {
		c.errorf(e, "%s() got no key", f.Name).WithHint("for example: %s(tid), or %s(goid) in a Go program", f.Name, f.Name)
		return types.Bad
	}
	args := c.spanKey(e)
	key := c.keyType(args)
	if key.Kind == types.Invalid {
		return key
	}
	if s.SpanKey == nil {
		s.SpanKey, c.changed = key, true
	} else if u, ok := types.Unify(s.SpanKey, key); !ok {
		d := c.errorf(e, "%s() got a key of type '%s', and '%s' elsewhere in sli '%s'", f.Name, key, s.SpanKey, s.Name)
		if len(args) > len(e.Args) || s.process {
			d.WithHint("a key that names a goroutine has the process in it, too: name it in all of them, not by a variable")
		}
		return types.Bad
	} else if !u.Equal(s.SpanKey) {
		s.SpanKey, c.changed = u, true
	}
	if f.Verb == types.Stop {
		return types.Uint64
	}
	return types.None
}

// spanKey is the key of a span: the arguments of the call, and the process where one of them is a goroutine, since processes number
// theirs alike.
func (c *checker) spanKey(e *syntax.Call) []syntax.Expr {
	args := e.Args
	for _, a := range e.Args {
		if row := c.goroutine(a); row != nil {
			if c.within[e] == nil {
				c.within[e] = &syntax.Name{Range: syntax.Range(a.Span()), Text: row.Within}
			}
			args = append(slices.Clip(args), c.within[e])
			c.clause.SLI.process = true
			break
		}
	}
	c.info.SpanKeys[e] = args
	return args
}

// goroutine is the row of a variable that identifies a goroutine, where an expression is it, also cast, as the value of a macro or as
// a part of a tuple; nil of anything else.
func (c *checker) goroutine(e syntax.Expr) *types.Var {
	switch e := e.(type) {
	case *syntax.Name:
		if row, _ := c.builtin(e.Text); row != nil && row.Role == types.GoroutineRole {
			return row
		}
	case *syntax.Cast:
		return c.goroutine(e.X)
	case syntax.BlockExpr:
		if e.Block.Result != nil {
			return c.goroutine(e.Block.Result)
		}
	case *syntax.Tuple:
		for _, x := range e.Elems {
			if row := c.goroutine(x); row != nil {
				return row
			}
		}
	}
	return nil
}

// finishSLI checks what needs the whole body: kinds, spans, conditions of the objectives.
func (c *checker) finishSLI(s *SLI) {
	if c.final && !s.lacks {
		if s.Kind == UnknownSLI && len(s.Node.Probes) > 0 {
			c.errorf(s.Node.Name, "sli '%s' records nothing", s.Name).
				WithHint("a probe of the body must call observe(), good(), bad(), event(), advance() or level()")
			return
		}
		if s.start != nil && s.stop == nil {
			c.errorf(s.start, "start() without stop() in sli '%s'", s.Name)
		}
		if s.stop != nil && s.start == nil {
			c.errorf(s.stop, "stop() without start() in sli '%s'", s.Name)
		}
	}
	c.info = newInfo()
	s.Info = c.info
	c.labels = map[string]*types.Type{}
	for _, l := range s.Labels {
		if l.Type == nil {
			c.labels[l.Name] = types.Bad
		} else {
			c.labels[l.Name] = l.Type
		}
	}
	switch s.Kind {
	case Distribution:
		c.labels["value"] = types.Uint64
	case Gauge:
		c.labels["value"] = types.Int64
	}
	if s.Valid != nil {
		if !s.Kind.Valued() && c.final {
			c.errorf(s.Valid, "'valid' works on the observed value; sli '%s' records good and bad events", s.Name)
		}
		c.labelCondition(s.Valid)
	}
	for _, o := range s.Objectives {
		if c.final {
			c.fitsKind(o, s)
		}
		for _, f := range o.Filters {
			c.labelCondition(f)
		}
		if o.Where != nil {
			c.labelCondition(o.Where)
		}
	}
	c.info, c.labels = nil, nil
}

// fitsKind checks that an objective asks what its indicator can answer.
func (c *checker) fitsKind(o *SLO, s *SLI) {
	n := o.Node.Sentence
	if o.Op != "" && !s.Kind.Valued() {
		c.errorf(n.Limit, "sli '%s' records good and bad events and has no value to compare", s.Name).
			WithHint("write: slo %s = %s of %s over …", o.Name, n.Objective.Raw, s.Name)
	}
	if o.Op == "" && o.Where == nil && s.Kind.Valued() {
		c.errorf(o.Node, "objective '%s' needs a condition: sli '%s' records values, and nothing says which are good", o.Name, s.Name).
			WithHint("for example: slo %s = %s of %s <= 200ms over 30d", o.Name, n.Objective.Raw, s.Name)
	}
	if s.Kind == Gauge && !o.Minutes {
		c.errorf(n.SLI, "sli '%s' is a gauge, of which there are no events: its objectives count minutes", s.Name).
			WithHint("write: slo %s = %s of minutes of %s …", o.Name, n.Objective.Raw, s.Name)
	}
}

// labelCondition types a condition on value and labels. It is evaluated wherever an event is recorded, so nothing of a
// probe can be used in it.
func (c *checker) labelCondition(e syntax.Expr) {
	var wrong syntax.Node
	syntax.Walk(e, func(n syntax.Node) bool {
		switch n.(type) {
		case *syntax.Call, *syntax.Map, *syntax.Var, *syntax.Block, *syntax.If:
			if wrong == nil {
				wrong = n
			}
			return false
		}
		return true
	})
	if wrong != nil {
		c.errorf(wrong, "the condition of an objective or 'valid' can only use value, labels and literals")
		return
	}
	c.condition(e)
}

// LabelTypes is the type of the tuple of labels, nil without labels.
func (s *SLI) LabelTypes() *types.Type {
	if len(s.Labels) == 0 {
		return nil
	}
	elems := make([]*types.Type, len(s.Labels))
	for i, l := range s.Labels {
		elems[i] = l.Type
	}
	return types.TupleOf(elems...)
}
