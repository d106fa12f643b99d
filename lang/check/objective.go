package check

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

const (
	billion = 1_000_000_000
	day     = 24 * time.Hour
)

// MaxWindow is the longest rolling window: the history that is kept.
const MaxWindow = 30 * day

// Declarations checks what a script declares of indicators, objectives and tests and nothing else: attach points are not looked
// up and the bodies of probes are not checked. The Program has no clauses and cannot be lowered.
func Declarations(file *syntax.File, universe types.Universe) (*Program, source.Diagnostics) {
	c := &checker{opt: Options{Universe: universe}, file: file, maps: map[string]*Map{}, slis: map[string]*SLI{}}
	c.prog = &Program{File: file, Universe: universe, Config: types.DefaultConfig()}
	for _, it := range file.Items {
		switch it := it.(type) {
		case *syntax.SLI:
			if s := c.newSLI(it); s != nil {
				s.Kind = c.kindOf(it)
			}
		case *syntax.Test:
			c.test(it)
		}
	}
	c.declareSLOs()
	for _, s := range c.prog.SLIs {
		if s.Kind == UnknownSLI {
			continue // the body says so when it is checked
		}
		for _, o := range s.Objectives {
			c.fitsKind(o, s)
		}
	}
	return c.prog, c.diags.Sort()
}

// kindOf is what the first recording verb in the text of an sli makes of it.
func (c *checker) kindOf(n *syntax.SLI) SLIKind {
	kind := UnknownSLI
	for _, p := range n.Probes {
		syntax.Walk(p.Body, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.Call); ok && kind == UnknownSLI {
				if f := c.opt.Universe.Func(call.Name.Text); f != nil {
					kind = recorded(f.Verb)
				}
			}
			return true
		})
	}
	return kind
}

// declareSLOs declares all objectives; composites last, since they name others.
func (c *checker) declareSLOs() {
	for _, composite := range []bool{false, true} {
		for _, it := range c.file.Items {
			if n, ok := it.(*syntax.SLO); ok && (n.Composite != nil) == composite {
				c.declareSLO(n)
			}
		}
	}
}

func (c *checker) sloNamed(name string) *SLO {
	for _, o := range c.prog.SLOs {
		if o.Name == name {
			return o
		}
	}
	return nil
}

func (c *checker) declareSLO(n *syntax.SLO) {
	if c.sloNamed(n.Name.Text) != nil {
		c.errorf(n.Name, "slo '%s' was already declared", n.Name.Text)
		return
	}
	o := &SLO{Name: n.Name.Text, Node: n}
	switch {
	case n.Composite != nil:
		if !c.composite(o, n.Composite) {
			return
		}
	case n.Sentence != nil:
		if !c.sentence(o, n.Sentence) {
			return
		}
		o.SLI.Objectives = append(o.SLI.Objectives, o)
	default:
		return // its error was told by the parser
	}
	for _, p := range n.Props {
		c.sloProperty(o, p)
	}
	c.policies(o)
	o.Index = len(c.prog.SLOs)
	c.prog.SLOs = append(c.prog.SLOs, o)
}

// sentence takes "99.9% of [minutes of] checkout[…] <= 200ms over 30d by route"; false when there is no objective left.
func (c *checker) sentence(o *SLO, s *syntax.Sentence) bool {
	o.PPB, o.Filters, o.Op, o.Where, o.Minutes = s.Objective.PPB, s.Filters, s.Op, s.Where, s.Minutes
	if o.PPB > billion {
		c.errorf(s.Objective, "got an objective of %s, want at most 100%%", s.Objective.Raw)
		return false
	}
	if o.PPB == billion {
		c.warnf(s.Objective, "an objective of 100%% has no error budget: any bad event breaks it")
	}
	if o.SLI = c.slis[s.SLI.Text]; o.SLI == nil {
		d := c.errorf(s.SLI, "unknown sli '%s'", s.SLI.Text)
		var names []string
		for name := range c.slis {
			names = append(names, name)
		}
		suggest(d, s.SLI.Text, names)
		return false
	}
	c.window(o, s.Window)
	for _, by := range s.By {
		found := false
		for i, l := range o.SLI.Labels {
			if l.Name == by.Text {
				o.By, found = append(o.By, i), true
			}
		}
		if !found {
			d := c.errorf(by, "unknown label '%s' of sli '%s'", by.Text, o.SLI.Name)
			suggest(d, by.Text, labelNames(o.SLI))
		}
	}
	if s.Op != "" {
		c.threshold(o, s)
	}
	return true
}

func (c *checker) window(o *SLO, w *syntax.Window) {
	switch {
	case w == nil:
		return
	case w.Calendar != "":
		o.Calendar = w.Calendar
		if w.Zone == nil {
			return
		}
		if _, err := time.LoadLocation(w.Zone.Value); err != nil || w.Zone.Value == "" {
			c.errorf(w.Zone, "unknown time zone '%s'", w.Zone.Value).WithHint("want a name such as \"Europe/Berlin\" or \"UTC\"")
		}
		o.Zone = w.Zone.Value
	case w.Length != nil:
		if w.Length.Unit != syntax.DurationUnit || w.Length.Value == 0 {
			c.errorf(w, "invalid window: want a duration such as 30d")
		} else if w.Length.Value > uint64(MaxWindow) {
			c.errorf(w, "got a window of %s, want at most 30d: no longer history is kept", w.Length.Raw).
				WithHint("a calendar window may be longer: over calendar quarter")
		}
		o.Window = w.Length.Value
	}
}

// threshold takes the literal that values are compared with.
func (c *checker) threshold(o *SLO, s *syntax.Sentence) {
	unit := o.SLI.Unit
	if p, ok := s.Limit.(*syntax.Percent); ok {
		const perMillionth = billion / 1_000_000
		switch {
		case unit != RatioUnit:
			c.errorf(p, "sli '%s' is measured in %s, got the percentage %s", o.SLI.Name, unit, p.Raw)
		case p.PPB%perMillionth != 0:
			c.errorf(p, "got a threshold of %s, want at most four digits after the point: ratios are counted in millionths", p.Raw)
		}
		o.Limit = int64(p.PPB / perMillionth)
		return
	}
	lit, ok := s.Limit.(*syntax.Int)
	if !ok {
		c.errorf(s.Limit, "the threshold of an objective must be a literal")
		return
	}
	o.Limit = int64(lit.Value)
	switch {
	case unit == Seconds && lit.Unit != syntax.DurationUnit && lit.Value != 0:
		c.errorf(lit, "sli '%s' is measured in seconds, got the plain number %s", o.SLI.Name, lit.Raw).
			WithHint("write a duration: %sns, %sms or %ss", lit.Raw, lit.Raw, lit.Raw)
	case unit == Bytes && lit.Unit == syntax.DurationUnit:
		c.errorf(lit, "sli '%s' is measured in bytes, got the duration %s", o.SLI.Name, lit.Raw)
	case unit == NoUnit && lit.Unit != syntax.NoUnit:
		c.errorf(lit, "sli '%s' has no unit, got %s", o.SLI.Name, lit.Raw).
			WithHint("give the sli a unit: unit = seconds;")
	case unit == RatioUnit && lit.Value != 0:
		c.errorf(lit, "sli '%s' is a ratio, got %s", o.SLI.Name, lit.Raw).WithHint("write a percentage such as 10%%")
	}
}

// composite takes "all(fast: 2, works: 1)". It is kept over the window that its parts have in common.
func (c *checker) composite(o *SLO, n *syntax.Composite) bool {
	for _, p := range n.Parts {
		part := c.sloNamed(p.Name.Text)
		switch {
		case part == nil:
			c.unknownSLO(p.Name, p.Name.Text)
			return false
		case part.Parts != nil:
			c.errorf(p.Name, "slo '%s' is a composite itself, want objectives of indicators", p.Name.Text)
			return false
		}
		for _, other := range o.Parts {
			if other.SLO == part {
				c.errorf(p.Name, "slo '%s' is there twice", p.Name.Text)
				return false
			}
		}
		weight := uint64(1)
		if p.Weight != nil {
			if weight = p.Weight.Value; weight == 0 || weight > 1_000_000 || p.Weight.Unit != syntax.NoUnit {
				c.errorf(p.Weight, "got the weight %s, want a number from 1 to 1000000", p.Weight.Raw)
				return false
			}
		}
		if first := o.Parts; len(first) > 0 && !sameWindow(first[0].SLO, part) {
			c.errorf(p.Name, "slo '%s' is kept over another window than '%s'", part.Name, first[0].SLO.Name).
				WithHint("the parts of a composite share one window")
			return false
		}
		o.Parts = append(o.Parts, Part{part, weight})
	}
	first := o.Parts[0].SLO
	o.Window, o.Calendar, o.Zone = first.Window, first.Calendar, first.Zone
	return true
}

func sameWindow(a, b *SLO) bool {
	return a.Window == b.Window && a.Calendar == b.Calendar && a.Zone == b.Zone
}

var sloProperties = []string{"labels", "min_events", "nodata", "page", "runbook", "ticket"}

func (c *checker) sloProperty(o *SLO, p *syntax.Property) {
	switch p.Name.Text {
	case "runbook":
		s, ok := p.Value.(*syntax.String)
		if !ok {
			c.errorf(p.Value, "invalid value for 'runbook': want a string")
			return
		}
		o.Runbook = s.Value
	case "min_events":
		v, ok := p.Value.(*syntax.Int)
		if !ok || v.Unit != syntax.NoUnit {
			c.errorf(p.Value, "invalid value for 'min_events': want a number of events")
			return
		}
		o.MinEvents = v.Value
	case "nodata":
		name, _ := p.Value.(*syntax.Name)
		for i, known := range noDataNames {
			if name != nil && name.Text == known {
				o.NoData = NoData(i)
				return
			}
		}
		c.errorf(p.Value, "unknown value for 'nodata'").WithHint("want one of: %s", strings.Join(noDataNames[:], ", "))
	case "labels":
		c.sloLabels(o, p)
	case "page":
		o.Page, o.ownPage = c.burns(o, p), true
	case "ticket":
		o.Ticket, o.ownTicket = c.burns(o, p), true
	default:
		d := c.errorf(p.Name, "unknown property '%s' of an slo", p.Name.Text)
		suggest(d, p.Name.Text, sloProperties)
		if d.Hint == "" {
			d.WithHint("properties: %s", strings.Join(sloProperties, ", "))
		}
	}
}

// sloLabels takes "labels = (team = "payments", tier = 1);".
func (c *checker) sloLabels(o *SLO, p *syntax.Property) {
	r, ok := p.Value.(*syntax.Record)
	if !ok {
		c.errorf(p.Value, "invalid value for 'labels': want names with values").WithHint(`for example: labels = (team = "payments", tier = 1);`)
		return
	}
	reserved := map[string]bool{"slo": true, "sli": true, "le": true, "quantile": true, "window": true, "severity": true, "alertname": true}
	for i, name := range r.Names {
		if reserved[name.Text] || strings.HasPrefix(name.Text, "__") {
			c.errorf(name, "label '%s' is used twice or reserved", name.Text)
			continue
		}
		reserved[name.Text] = true
		switch v := r.Elems[i].(type) {
		case *syntax.String:
			o.Labels = append(o.Labels, Pair{name.Text, v.Value})
		case *syntax.Int:
			o.Labels = append(o.Labels, Pair{name.Text, v.Raw})
		case *syntax.Bool:
			o.Labels = append(o.Labels, Pair{name.Text, strconv.FormatBool(v.Value)})
		default:
			c.errorf(v, "invalid value for label '%s': want a string or a number", name.Text)
		}
	}
}

// burns takes "burn(14.4, 1h, 5m) || burn(6, 6h, 30m)", or "none" for no alert.
func (c *checker) burns(o *SLO, p *syntax.Property) []Burn {
	if name, ok := p.Value.(*syntax.Name); ok && name.Text == "none" {
		return nil
	}
	var out []Burn
	var take func(e syntax.Expr)
	take = func(e syntax.Expr) {
		if b, ok := e.(*syntax.Binary); ok && b.Op == "||" {
			take(b.L)
			take(b.R)
			return
		}
		call, ok := e.(*syntax.Call)
		if !ok || call.Name.Text != "burn" || len(call.Args) != 3 {
			c.errorf(e, "invalid value for '%s': want burn(FACTOR, LONG, SHORT), several joined by ||, or none", p.Name.Text).
				WithHint("for example: %s = burn(14.4, 1h, 5m) || burn(6, 6h, 30m);", p.Name.Text)
			return
		}
		if b, ok := c.burn(o, call); ok {
			out = append(out, b)
		}
	}
	take(p.Value)
	return out
}

func (c *checker) burn(o *SLO, call *syntax.Call) (b Burn, ok bool) {
	b.At = call.Span()
	if b.Num, b.Den, ok = factor(call.Args[0]); !ok || b.Num == 0 {
		c.errorf(call.Args[0], "invalid burn rate: want a number above 0 such as 14.4")
		return b, false
	}
	for i, to := range []*time.Duration{&b.Long, &b.Short} {
		lit, is := call.Args[i+1].(*syntax.Int)
		const slot = 10 * time.Second
		if !is || lit.Unit != syntax.DurationUnit || lit.Value == 0 || lit.Value%uint64(slot) != 0 {
			c.errorf(call.Args[i+1], "invalid window of a burn rate: want a duration in steps of 10s, such as 5m")
			return b, false
		}
		if lit.Value > uint64(MaxWindow) {
			c.errorf(lit, "got a window of %s, want at most 30d: no longer history is kept", lit.Raw)
			return b, false
		}
		*to = time.Duration(lit.Value)
	}
	if b.Short > b.Long {
		c.errorf(call, "the short window of a burn rate is longer than the long one").WithHint("write: burn(FACTOR, LONG, SHORT)")
		return b, false
	}
	if o.Window > 0 && uint64(b.Long) > o.Window {
		c.warnf(call, "the long window of this burn rate is longer than that of the objective")
	}
	if o.Parts == nil && neverFires(b, o.PPB) {
		c.warnf(call, "this alert can never fire: %s times the error budget is more than all events", b.Factor())
	}
	return b, true
}

// factor reads a decimal number as a fraction.
func factor(e syntax.Expr) (num, den uint64, ok bool) {
	den = 1
	switch e := e.(type) {
	case *syntax.Int:
		return e.Value, 1, e.Unit == syntax.NoUnit && e.Value <= billion
	case *syntax.Percent: // "14.4" is read as one, without the sign
		raw := strings.ReplaceAll(e.Raw, "_", "")
		if strings.HasSuffix(raw, "%") {
			return 0, 0, false
		}
		whole, frac, _ := strings.Cut(raw, ".")
		frac = strings.TrimRight(frac, "0")
		if len(frac) > 6 {
			return 0, 0, false
		}
		for range frac {
			den *= 10
		}
		n, err := strconv.ParseUint(whole+frac, 10, 64)
		return n, den, err == nil && n/den <= billion
	}
	return 0, 0, false
}

// neverFires tells whether a burn rate cannot be exceeded even if every event is bad.
func neverFires(b Burn, ppb uint64) bool {
	ahi, alo := bits.Mul64(b.Num, billion-ppb)
	bhi, blo := bits.Mul64(b.Den, billion)
	return ppb < billion && (ahi > bhi || ahi == bhi && alo >= blo)
}

// policies fills in the alerts that a script does not write: a page when 2 % of the budget burn in an hour or 5 % in six, a
// ticket when 10 % burn in a day or in three. Over 30 days these are the burn rates 14.4, 6, 3 and 1. What could never fire
// or looks further back than the window is left out.
func (c *checker) policies(o *SLO) {
	window := o.Nominal()
	for _, d := range []struct {
		to          *[]Burn
		own         bool
		percent     uint64
		long, short time.Duration
	}{
		{&o.Page, o.ownPage, 2, time.Hour, 5 * time.Minute},
		{&o.Page, o.ownPage, 5, 6 * time.Hour, 30 * time.Minute},
		{&o.Ticket, o.ownTicket, 10, day, 2 * time.Hour},
		{&o.Ticket, o.ownTicket, 10, 3 * day, 6 * time.Hour},
	} {
		b := Burn{Num: d.percent * uint64(window/time.Second), Den: 100 * uint64(d.long/time.Second), Long: d.long, Short: d.short}
		if d.own || d.long >= window || b.Num == 0 || o.Parts == nil && neverFires(b, o.PPB) {
			continue
		}
		g := gcd(b.Num, b.Den)
		b.Num, b.Den = b.Num/g, b.Den/g
		*d.to = append(*d.to, b)
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
