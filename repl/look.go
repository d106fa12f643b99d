package repl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/repl/edit"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/query"

	"github.com/slopebpf/slope/lang/source"
)

// look does what a word of the shell says.
func (sh *shell) look(ctx context.Context, word, args string) error {
	switch word {
	case wordHelp:
		return sh.help(args)
	case wordSLO:
		return sh.slos()
	}
	p, err := sh.running()
	if err != nil {
		return err
	}
	if args == "" {
		return fmt.Errorf("got nothing to look at: %s @x", word)
	}
	name, by := args, ""
	if word == wordTop {
		if n, b, ok := strings.Cut(args, " by "); ok {
			name, by = strings.TrimSpace(n), strings.TrimSpace(b)
		}
	}
	x, err := parseExpr(name)
	if err != nil {
		return err
	}
	e := &query.Evaluator{Source: p, Universe: sh.machine()}
	read := func() (*query.Data, error) { return e.Data(x) }
	if _, err := read(); err != nil {
		return err
	}
	var frame func(width, height int) ([]string, bool)
	var failed error
	switch word {
	case wordWatch:
		w := &watcher{read: read}
		frame, failed = w.frame, nil
		defer func() { failed = w.err }()
	case wordHeat:
		d, _ := read()
		if _, err := d.Spread(); err != nil {
			return fmt.Errorf("heat %s: %w", name, err)
		}
		frame = (&heater{read: read, colour: sh.opt.Colour}).frame
	case wordTop:
		t := &topper{read: read, by: cmp.Or(by, "count")}
		if err := t.check(); err != nil {
			return err
		}
		frame = t.frame
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	return errors.Join(sh.ed.Live(ctx, tick.C, frame), failed)
}

// parseExpr reads the name of a map or indicator.
func parseExpr(text string) (syntax.Expr, error) {
	tree, diags := syntax.Parse(source.NewFile("line", "begin { f("+text+"); }"))
	if !diags.HasErrors() && len(tree.Items) == 1 {
		if p, ok := tree.Items[0].(*syntax.Probe); ok && len(p.Body.Stmts) == 1 {
			if s, ok := p.Body.Stmts[0].(*syntax.ExprStmt); ok {
				if c, ok := s.X.(*syntax.Call); ok && len(c.Args) == 1 {
					return c.Args[0], nil
				}
			}
		}
	}
	return nil, fmt.Errorf("got '%s', want a map or an sli", text)
}

// spark draws numbers as a row of bars, the newest at the right.
func spark(values []float64, width int) string {
	if width <= 0 {
		return ""
	}
	values = values[max(len(values)-width, 0):]
	most := 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case most == 0:
			b.WriteRune(levels[0])
		default:
			b.WriteRune(levels[min(int(v/most*float64(len(levels))), len(levels)-1)])
		}
	}
	return b.String()
}

// remembered is how many ticks of a watched map are kept.
const remembered = 600

// watcher draws a map's rate and percentiles over time.
type watcher struct {
	read   func() (*query.Data, error)
	err    error
	last   time.Time
	total  float64
	spread *query.Spread
	lines  map[string][]float64
}

func (w *watcher) frame(width, height int) ([]string, bool) {
	d, err := w.read()
	if err != nil {
		w.err = err
		return []string{err.Error()}, false
	}
	now, total := time.Now(), d.Total()
	s, noSpread := d.Spread()
	rate, p50, p99, level := math.NaN(), math.NaN(), math.NaN(), math.NaN()
	if !w.last.IsZero() {
		if total >= w.total { // else it was cleared
			rate = (total - w.total) / now.Sub(w.last).Seconds()
		}
		if noSpread == nil {
			recent := s.Since(w.spread)
			p50, p99 = recent.Quantile(0.5), recent.Quantile(0.99)
		}
	}
	if noSpread != nil && d.Snap != nil && !d.Keyed && len(d.Snap.Rows) == 1 {
		if n, ok := d.Scalar(d.Snap.Rows[0]); ok {
			level = n
		}
	}
	w.last, w.total, w.spread = now, total, s
	if w.lines == nil {
		w.lines = map[string][]float64{}
	}
	note := func(name string, v float64) []float64 {
		l := append(w.lines[name], v)
		w.lines[name] = l[max(len(l)-remembered, 0):]
		return w.lines[name]
	}
	row := func(name string, v query.Value) string {
		values := note(name, v.Num)
		right := v.String()
		room := max(min(width-edit.Width(name)-14, 60), 1)
		return fmt.Sprintf("%-5s %s %s", name, spark(values, room), right)
	}
	rows := []string{edit.Fit(d.Name+"   q leaves", width-1)}
	if noSpread == nil {
		rows = append(rows, row("p50", numeric(p50, d.Unit)), row("p99", numeric(p99, d.Unit)))
	}
	if !math.IsNaN(level) {
		rows = append(rows, row("value", numeric(level, d.Unit)))
	}
	r := numeric(rate, check.NoUnit)
	r.PerSecond = true
	if d.Sums() {
		r.Unit = d.Unit
	}
	return append(rows, row("rate", r)), true
}

func numeric(n float64, unit check.Unit) query.Value { return query.Value{Num: n, Unit: unit} }

// heater scrolls a map of how many values fell into which range at which time.
type heater struct {
	read    func() (*query.Data, error)
	colour  bool
	last    *query.Spread
	columns []map[int]uint64 // by octave pairs of the value
	began   []time.Time
	unit    check.Unit
}

// band is the row of a value: two octaves each.
func band(v float64) int {
	if v < 1 {
		return 0
	}
	return int(math.Log2(v))/2 + 1
}

func (h *heater) frame(width, height int) ([]string, bool) {
	d, err := h.read()
	if err != nil {
		return []string{err.Error()}, false
	}
	s, err := d.Spread()
	if err != nil {
		return []string{err.Error()}, false
	}
	h.unit = d.Unit
	if h.last != nil {
		column := map[int]uint64{}
		for _, b := range s.Since(h.last).Buckets {
			column[band(b.Upper)] += b.N
		}
		h.columns, h.began = append(h.columns, column), append(h.began, time.Now())
		if len(h.columns) > remembered {
			h.columns, h.began = h.columns[1:], h.began[1:]
		}
	}
	h.last = s
	const label = 9
	room := max(width-label-4, 1)
	shown, times := h.columns[max(len(h.columns)-room, 0):], h.began[max(len(h.began)-room, 0):]
	low, high, most := math.MaxInt, math.MinInt, uint64(0)
	for _, c := range shown {
		for b, n := range c {
			low, high, most = min(low, b), max(high, b), max(most, n)
		}
	}
	rows := []string{d.Name + "   q leaves"}
	if most == 0 {
		return append(rows, "no values yet"), true
	}
	low = max(low, high-max(height-4, 1)+1)
	shades := []rune(" ░▒▓█")
	for b := high; b >= low; b-- {
		var r strings.Builder
		top := math.Pow(4, float64(b)) - 1
		if b == 0 {
			top = 0
		}
		fmt.Fprintf(&r, "%*s │", label, export.Quantity(h.unit, math.Round(top+1)))
		for _, c := range shown {
			n := c[b]
			switch {
			case n == 0:
				r.WriteRune('·')
			default:
				r.WriteRune(shades[1+min(int(float64(n)/float64(most)*4), 3)])
			}
		}
		r.WriteRune('│')
		rows = append(rows, r.String())
	}
	first, last := times[0].Format("15:04:05"), times[len(times)-1].Format("15:04:05")
	axis := strings.Repeat(" ", label+2) + first
	if n := len(shown) - 2*len(first); n > 0 {
		axis += strings.Repeat("─", n-1) + "►" + last
	}
	return append(rows, edit.Fit(axis, width-1)), true
}

// topper lists the entries of a map with the greatest numbers.
type topper struct {
	read func() (*query.Data, error)
	by   string
	last map[string]float64
	at   time.Time
}

func (t *topper) check() error {
	d, err := t.read()
	if err != nil {
		return err
	}
	if d.Snap == nil || d.Snap.Key == nil {
		return fmt.Errorf("top: %s has no keys", d.Name)
	}
	if _, ok := query.Percentile(t.by); !ok && t.by != query.Rate && query.Measure(t.by) == nil {
		return fmt.Errorf("top: cannot order by '%s': want count, rate, sum, avg, max or a percentile such as p99", t.by)
	}
	if _, ok := query.Percentile(t.by); ok {
		if _, err := d.Spread(); err != nil {
			return fmt.Errorf("top %s by %s: %w", d.Name, t.by, err)
		}
	}
	return nil
}

// of is the number that a row is ordered by.
func (t *topper) of(d *query.Data, r agg.Row, key string, elapsed time.Duration) query.Value {
	one := &query.Data{Name: d.Name, Snap: &agg.Snapshot{Name: d.Snap.Name, Key: d.Snap.Key, Value: d.Snap.Value, Rows: []agg.Row{r}}, Values: d.Values, Unit: d.Unit}
	if q, ok := query.Percentile(t.by); ok {
		if s, err := one.Spread(); err == nil {
			return query.Value{Num: s.Quantile(q), Unit: d.Unit}
		}
	}
	if t.by == query.Rate {
		before, known := t.last[key]
		if elapsed == 0 || !known && len(t.last) == 0 {
			return query.Value{Num: math.NaN(), PerSecond: true}
		}
		return query.Value{Num: max(one.RowTotal(r)-before, 0) / elapsed.Seconds(), PerSecond: true}
	}
	if _, ok := one.Count(r); !ok && t.by == "count" { // the number itself
		n, _ := one.Scalar(r)
		return query.Value{Num: n}
	}
	v, err := query.Measure(t.by)(one)
	if err != nil {
		return query.Value{Num: math.NaN()}
	}
	return v
}

func (t *topper) frame(width, height int) ([]string, bool) {
	d, err := t.read()
	if err != nil {
		return []string{err.Error()}, false
	}
	now := time.Now()
	var elapsed time.Duration
	if !t.at.IsZero() {
		elapsed = now.Sub(t.at)
	}
	type line struct {
		key string
		v   query.Value
	}
	var lines []line
	totals := map[string]float64{}
	for _, r := range d.Snap.Rows {
		key := string(d.Values.AppendKey(nil, d.Snap.Key, r.Key))
		lines = append(lines, line{key, t.of(d, r, key, elapsed)})
		totals[key] = d.RowTotal(r)
	}
	t.last, t.at = totals, now
	slices.SortStableFunc(lines, func(a, b line) int {
		if c := cmp.Compare(b.v.Num, a.v.Num); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	rows := []string{fmt.Sprintf("%s by %s   %s   q leaves", d.Name, t.by, export.Counted(uint64(len(lines)), "key"))}
	most := 0.0
	for _, l := range lines {
		if !math.IsNaN(l.v.Num) {
			most = max(most, l.v.Num)
		}
	}
	keys := min(width/2, 30)
	for _, l := range lines[:min(len(lines), max(min(height-3, 20), 1))] {
		key := edit.Fit(edit.Strip(strings.ReplaceAll(l.key, "\n", " ")), keys)
		bar := 0
		if most > 0 && !math.IsNaN(l.v.Num) {
			bar = int(l.v.Num / most * float64(max(width-keys-16, 0)))
		}
		rows = append(rows, key+strings.Repeat(" ", keys-edit.Width(key))+fmt.Sprintf(" %12s %s", l.v, strings.Repeat("█", bar)))
	}
	return rows, true
}

// slos shows the objectives with their budgets.
func (sh *shell) slos() error {
	p, err := sh.running()
	if err != nil {
		return err
	}
	reports, err := p.SLOs()
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		return errors.New("there are no objectives; for example: slo fast = 99% of reads <= 10ms over 7d;")
	}
	width := sh.width()
	var b strings.Builder
	for _, r := range reports {
		b.WriteString(edit.Fit(sloRow(&r, width, sh.opt.Colour), width-1) + "\n")
		if r.Sentence != "" {
			b.WriteString(edit.Fit("  "+strings.Join(append([]string{r.Sentence}, r.Labels...), " · "), width-1) + "\n")
		}
	}
	sh.printf("%s", b.String())
	return nil
}

// sloRow is an objective on one row: its budget as a bar, how fast that burns, the verdict.
func sloRow(r *export.SLOReport, width int, colour bool) string {
	name := edit.Fit(r.Name, max(width/5, 4))
	name += strings.Repeat(" ", max(min(max(width/5, 4), 16)-edit.Width(name), 0))
	if r.State == export.NoData {
		return name + " no data"
	}
	cells := max(min(width/4, 24), 4)
	filled := int(min(max(r.BudgetLeft, 0), 1_000_000) * int64(cells) / 1_000_000)
	bar := strings.Repeat("█", filled) + strings.Repeat("░", cells-filled)
	if colour {
		sgr := map[export.State]string{export.OK: "32", export.Ticket: "33", export.Page: "31", export.Breached: "31"}[r.State]
		bar = "\x1b[" + sgr + "m" + bar + "\x1b[0m"
	}
	out := fmt.Sprintf("%s %s %d %%  %s", name, bar, r.BudgetLeft/10_000, r.State)
	if width >= 60 {
		if r.Compliance != "" {
			out += "  " + r.Compliance + " %"
		}
		out += fmt.Sprintf("  burn 1h %s  6h %s", export.Tenths(int64(min(r.Burn1h, 1<<40)/100)), export.Tenths(int64(min(r.Burn6h, 1<<40)/100)))
	}
	return out
}

// examples are those of a row.
func examples(u types.Universe, name string) []string {
	name = strings.TrimSuffix(name, "()")
	if f := u.Func(name); f != nil {
		return f.Examples
	}
	if v := u.Var(name); v != nil {
		return v.Examples
	}
	if p := u.Probe(name); p != nil {
		return p.Examples
	}
	return nil
}

// noHelp is the error for a name that nothing has.
func (sh *shell) noHelp(name string) error {
	u := sh.machine()
	var all []string
	for _, class := range []types.NameClass{types.FuncNames, types.AggNames, types.VerbNames, types.VarNames, types.ProbeNames} {
		all = append(all, u.Names(class)...)
	}
	if near := source.Nearest(name, all); near != "" {
		return fmt.Errorf("nothing has the name '%s'; did you mean '%s'?", name, near)
	}
	return fmt.Errorf("nothing has the name '%s'", name)
}

// samePoints tells whether a target is among the points of a hook, which may be those of several.
func samePoints(hook, target []types.Point) bool {
	return len(target) == 0 && len(hook) == 0 || slices.ContainsFunc(hook, func(p types.Point) bool { return slices.ContainsFunc(target, p.Same) })
}
