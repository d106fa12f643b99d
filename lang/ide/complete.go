package ide

import (
	"slices"
	"strings"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// limit is how many completions a List holds.
const limit = 200

// Complete lists what may stand at the cursor and begins with what has been typed of it, in order.
func Complete(text string, offset int, w World) List {
	s := find(text, offset)
	if s.text {
		return List{From: s.from}
	}
	c := &completer{spot: s, world: w, list: List{From: s.from}, whole: text}
	c.run()
	slices.SortStableFunc(c.list.Items, func(a, b Item) int { return strings.Compare(a.Text, b.Text) })
	c.list.Items = slices.CompactFunc(c.list.Items, func(a, b Item) bool { return a.Text == b.Text })
	if n := len(c.list.Items); n > limit {
		c.list.Items, c.list.More = c.list.Items[:limit], c.list.More+n-limit
	}
	return c.list
}

type completer struct {
	*spot
	world World
	whole string
	list  List
}

func (c *completer) run() {
	switch {
	case strings.HasPrefix(c.word, "@"):
		c.maps()
	case strings.HasPrefix(c.word, "$"):
		c.variables()
	case c.last(1) == "." || c.last(1) == "->":
		for _, f := range c.fields() {
			c.offer(Item{Text: f.Name, Kind: FieldName, Detail: f.Type.String()})
		}
	case c.decl == "slo" && c.depth == 0:
		c.sentence()
	case c.decl == "slo":
		c.words("labels", "min_events", "no_data", "page", "runbook", "ticket")
	case c.decl == "export":
		c.words("as", "counter", "gauge", "histogram")
	case c.item && c.depth == c.base():
		c.items()
	case c.sli && c.depth == 1 && c.decl == "sli" && len(c.attach) == 0 || c.sli && c.depth == 1 && !c.inPredicate():
		c.property()
	case c.depth > c.base() || c.inPredicate() || len(c.open) > 0:
		c.body()
	}
}

// inPredicate tells whether the cursor is behind the slash that opens a predicate.
func (c *completer) inPredicate() bool {
	if c.depth != c.base() || len(c.attach) == 0 {
		return false
	}
	for i := len(c.before) - 1; i >= 0; i-- {
		switch t := c.before[i]; {
		case t.Kind == syntax.AttachWord:
			return i+1 < len(c.before) && c.before[i+1].Text == "/"
		case t.Text == "}" || t.Text == ";":
			return false
		}
	}
	return false
}

// offer adds an item that begins with the word.
func (c *completer) offer(i Item) {
	if strings.HasPrefix(i.Text, c.word) {
		c.list.Items = append(c.list.Items, i)
	}
}

func (c *completer) words(words ...string) {
	for _, w := range words {
		c.offer(Item{Text: w, Kind: KeywordName})
	}
}

// items offers types of probes, declarations and, behind a colon, probes.
func (c *completer) items() {
	if alias, rest, ok := strings.Cut(c.word, "="); ok && !strings.Contains(alias, ":") {
		c.word, c.list.From = rest, c.list.From+len(alias)+1
	}
	u := c.world.Universe()
	if kind, rest, ok := strings.Cut(c.word, ":"); ok {
		p := u.Probe(kind)
		if p == nil {
			return
		}
		names, more := c.world.Probes(p.Name+":"+rest, limit)
		for _, n := range names {
			c.list.Items = append(c.list.Items, Item{Text: n, Kind: ProbeName})
		}
		c.list.More += more
		if len(names) == 0 {
			for _, f := range p.Forms { // what cannot be listed still has a form
				if parts := strings.Split(f, ":"); len(parts) > 2 && isWord(parts[1]) {
					c.offer(Item{Text: p.Name + ":" + parts[1] + ":", Kind: ProbeName, Detail: f})
				}
			}
		}
		return
	}
	for _, n := range u.Names(types.ProbeNames) {
		p := u.Probe(n)
		text := n
		if len(p.Forms) > 0 && strings.Contains(p.Forms[0], ":") {
			text += ":"
		}
		c.offer(Item{Text: text, Kind: ProbeName, Detail: strings.Join(p.Forms, ", "), Doc: Sentence(p.Text)})
	}
	if c.sli {
		c.properties()
		return
	}
	if c.last(1) != "," {
		c.words("config", "export", "let", "sli", "slo")
	}
}

// isWord tells whether a part of a form is to be written as it is: "hz" in profile:hz:rate.
func isWord(part string) bool { return len(part) <= 2 && part != "" }

func (c *completer) properties() {
	c.words("limit = ", "resolution = ", "unit = ", "valid = ")
}

// property offers what stands in an sli beside probes.
func (c *completer) property() {
	if c.last(1) == "=" && c.last(2) == "unit" {
		for _, u := range []check.Unit{check.NoUnit, check.Seconds, check.Bytes, check.RatioUnit} {
			c.words(u.String())
		}
		return
	}
	if c.last(1) == "{" || c.last(1) == ";" || c.last(1) == "}" {
		c.items()
	}
}

// sentence offers what comes next in an objective.
func (c *completer) sentence() {
	previous := c.last(1)
	switch {
	case previous == "of" || previous == "of" && c.last(2) == "minutes":
		for _, s := range c.world.SLIs() {
			c.offer(Item{Text: s.Name, Kind: SLIName, Detail: labels(s.Labels), Doc: s.Doc})
		}
		c.words("minutes of ")
	case len(c.open) > 0 || previous == "where" || previous == "by" || previous == "&&" || previous == "||":
		for _, s := range c.world.SLIs() {
			if c.mentions(s.Name) {
				for _, l := range s.Labels {
					c.offer(Item{Text: l, Kind: LabelName})
				}
			}
		}
	case previous == "over":
		c.words("1d", "7d", "28d", "30d", "calendar month", "calendar week", "calendar quarter")
	default:
		c.words("by", "of", "over", "where")
	}
}

// mentions tells whether a name stands before the cursor.
func (c *completer) mentions(name string) bool {
	return slices.ContainsFunc(c.before, func(t syntax.Token) bool { return t.Text == name })
}

func (c *completer) maps() {
	seen := map[string]bool{}
	for _, m := range c.world.Maps() {
		seen[m.Name] = true
		c.offer(Item{Text: m.Name, Kind: MapName, Detail: mapType(m)})
	}
	for _, t := range syntax.Lex(c.whole) { // and those of the text itself
		if t.Kind == syntax.MapName && !seen[t.Text] && int(t.Span.Start) != c.from {
			seen[t.Text] = true
			c.offer(Item{Text: t.Text, Kind: MapName})
		}
	}
}

func (c *completer) variables() {
	seen := map[string]bool{}
	for _, t := range c.before {
		if t.Kind == syntax.VarName && !seen[t.Text] {
			seen[t.Text] = true
			c.offer(Item{Text: t.Text, Kind: VarName})
		}
	}
}

// body offers what stands in an action or a predicate.
func (c *completer) body() {
	u := c.world.Universe()
	if n := len(c.open); n > 0 {
		if f := u.Func(c.open[n-1].name); f != nil && len(f.Params) > 0 {
			switch p := f.Params[min(c.open[n-1].arg, len(f.Params)-1)]; p.Kind {
			case types.ObjectiveParam:
				for _, o := range c.world.SLOs() {
					c.offer(Item{Text: o, Kind: SLOName})
				}
				return
			case types.MapParam:
				c.maps()
				return
			}
		}
	}
	classes := []types.NameClass{types.FuncNames, types.AggNames}
	if c.sli {
		classes = append(classes, types.VerbNames)
	}
	for _, class := range classes {
		for _, n := range u.Names(class) {
			f := u.Func(n)
			c.offer(Item{Text: n + "(", Kind: FuncName, Detail: check.Signature(f), Doc: Sentence(f.Text)})
		}
	}
	for _, n := range u.Names(types.VarNames) {
		v := u.Var(n)
		if v.Numbered {
			n += "0"
		}
		c.offer(Item{Text: n, Kind: VarName, Doc: Sentence(v.Text)})
	}
	c.words("else", "if", "let", "return", "unroll", "while")
	if c.word == "" {
		c.maps()
	}
}

// fields are those that may follow the dot or arrow at the cursor.
func (c *completer) fields() []types.Field {
	end := len(c.before) - 1 // the dot
	return fieldsOf(c.typeBefore(end, 8))
}

// fieldsOf are the fields of a struct or of what a pointer leads to.
func fieldsOf(t *types.Type) []types.Field {
	if t != nil && t.Kind == types.Pointer {
		t = t.Elem
	}
	if t == nil || t.Kind != types.Struct || t.Layout == nil {
		return nil
	}
	return t.Layout.Fields()
}

// typeBefore is the type of the chain of names that ends before a token: args.a->b. Nil when it is not known.
func (c *completer) typeBefore(end, depth int) *types.Type {
	if end < 1 || depth == 0 {
		return nil
	}
	t := c.before[end-1]
	if end >= 3 && (c.before[end-2].Text == "." || c.before[end-2].Text == "->") {
		for _, f := range fieldsOf(c.typeBefore(end-2, depth-1)) {
			if f.Name == t.Text {
				return f.Type
			}
		}
		return nil
	}
	switch t.Kind {
	case syntax.VarName: // the last assignment of a chain to it
		for i := end - 2; i > 1; i-- {
			if c.before[i-1].Text == "=" && c.before[i-2].Kind == syntax.VarName && c.before[i-2].Text == t.Text {
				stop := i + 1
				for stop+1 < end && (c.before[stop].Text == "." || c.before[stop].Text == "->") {
					stop += 2
				}
				return c.typeBefore(stop, depth-1)
			}
		}
	case syntax.MapName:
		for _, m := range c.world.Maps() {
			if m.Name == t.Text && m.Key == nil {
				return m.Value
			}
		}
	case syntax.Ident:
		if v := c.world.Universe().Var(t.Text); v != nil && v.Args && !v.Numbered && len(c.attach) > 0 {
			if fields := c.world.Fields(c.attach[0]); len(fields) > 0 {
				return &types.Type{Kind: types.Struct, Layout: types.Fields(fields)}
			}
		}
	}
	return nil
}
