package repl

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
)

// data is what a map, an entry of one, or an indicator holds now.
type data struct {
	name   string
	snap   *agg.Snapshot // of a map
	keyed  bool          // all entries of a map with keys
	values export.Values
	unit   check.Unit

	series []agg.Series // of an indicator
	words  sliWords
}

// sliWords tells where the numbers of an indicator are.
type sliWords struct {
	dist func(agg.Series) agg.Dist
	kind check.SLIKind
}

// data reads what an expression names.
func (e *evaluator) data(x syntax.Expr) (*data, error) {
	switch x := x.(type) {
	case *syntax.Map:
		return e.mapData(x)
	case *syntax.Name:
		return e.sliData(x.Text)
	}
	return nil, fmt.Errorf("got '%s', want a map or an sli", syntax.ExprString(x))
}

func (e *evaluator) mapData(x *syntax.Map) (*data, error) {
	name := "@" + x.Text
	m, err := findMap(e.prog, name)
	if err != nil {
		return nil, err
	}
	snap, err := e.prog.Snapshot(m)
	if err != nil {
		return nil, err
	}
	d := &data{name: name, snap: snap, values: e.prog.Values(), unit: mapUnit(e.prog, name), keyed: m.Key != nil && x.Index == nil}
	if x.Index == nil {
		return d, nil
	}
	if m.Key == nil {
		return nil, fmt.Errorf("map '%s' has no keys", name)
	}
	key, err := e.evalKey(x.Index)
	if err != nil {
		return nil, err
	}
	d.name = syntax.ExprString(x)
	var rows []agg.Row
	for _, r := range snap.Rows {
		if string(d.values.AppendKey(nil, snap.Key, r.Key)) == key {
			rows = append(rows, r)
		}
	}
	snap.Rows = rows
	return d, nil
}

func findMap(p Program, name string) (*ir.Map, error) {
	var names []string
	for _, m := range p.Object().IR.Maps {
		if m.Name == name && m.Value != nil {
			return m, nil
		}
		if m.Name[0] == '@' && m.Value != nil {
			names = append(names, m.Name)
		}
	}
	if near := source.Nearest(name, names); near != "" {
		return nil, fmt.Errorf("there is no map '%s'; did you mean '%s'?", name, near)
	}
	return nil, fmt.Errorf("there is no map '%s'", name)
}

// mapUnit is nanoseconds for an aggregation whose value is computed from a clock, which the rows of variables tell.
func mapUnit(p Program, name string) check.Unit {
	unit := check.NoUnit
	for _, c := range p.Object().Checked.Clauses {
		syntax.Walk(c.Probe.Body, func(n syntax.Node) bool {
			a, ok := n.(*syntax.Assign)
			if !ok {
				return true
			}
			m, isMap := a.Target.(*syntax.Map)
			call, isCall := a.Value.(*syntax.Call)
			if !isMap || !isCall || "@"+m.Text != name || len(call.Args) == 0 {
				return true
			}
			syntax.Walk(call.Args[0], func(n syntax.Node) bool {
				if v, ok := n.(*syntax.Name); ok {
					if row := p.Object().Checked.Universe.Var(v.Text); row != nil && strings.HasPrefix(row.Text, "Nanoseconds") {
						unit = check.Seconds
					}
				}
				return true
			})
			return true
		})
	}
	return unit
}

func (e *evaluator) sliData(name string) (*data, error) {
	obj := e.prog.Object()
	var names []string
	for _, l := range obj.Layout.SLIs {
		names = append(names, l.SLI.Name)
		if l.SLI.Name != name {
			continue
		}
		series, err := e.prog.Series(l)
		if err != nil {
			return nil, err
		}
		d := &data{name: name, series: series, unit: l.SLI.Unit, words: sliWords{kind: l.SLI.Kind}}
		if l.SLI.Kind == check.Distribution {
			scale := agg.NewScale(l.SLI.Schema, l.SLI.Unit.PerBase())
			d.words.dist = func(s agg.Series) agg.Dist { return s.Dist(l, scale) }
		}
		return d, nil
	}
	hint := ""
	if near := source.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("; did you mean '%s'?", near)
	}
	return nil, fmt.Errorf("'%s' is neither a map nor an sli%s", name, hint)
}

// value is the data as the result of an expression.
func (d *data) value(e *evaluator) (value, error) {
	if d.series != nil || d.snap == nil {
		return value{text: d.name + ": " + plural(uint64(d.total()), "event") + "\n", is: printed}, nil
	}
	if d.keyed || len(d.snap.Rows) != 1 {
		if !d.keyed && d.snap.Key != nil {
			return value{}, fmt.Errorf("%s has no entry", d.name)
		}
		if n, ok := d.unset(); ok && !d.keyed {
			return value{num: n, unit: d.unit}, nil
		}
		return value{text: d.mapText(e.colour), is: printed}, nil
	}
	if n, ok := d.scalar(d.snap.Rows[0]); ok {
		return value{num: n, unit: d.unit, text: ""}, nil
	}
	r := d.snap.Rows[0]
	if d.snap.Value.Kind != types.Aggregate {
		return value{text: string(d.values.AppendText(nil, d.snap.Value, r.Raw)), is: textual}, nil
	}
	return value{text: d.mapText(e.colour), is: printed}, nil
}

// unset is what a map without keys reads as that nothing was assigned to.
func (d *data) unset() (float64, bool) {
	t := d.snap.Value
	switch {
	case t.Kind == types.Int, t.Kind == types.Bool, t.Kind == types.Aggregate && (t.Agg.Kind == types.CountAgg || t.Agg.Kind == types.SumAgg):
		return 0, true
	case t.Kind == types.Aggregate && (t.Agg.Kind == types.MinAgg || t.Agg.Kind == types.MaxAgg || t.Agg.Kind == types.AvgAgg || t.Agg.Kind == types.StatsAgg):
		return math.NaN(), true
	}
	return 0, false
}

// scalar is a row as one number, where it is one.
func (d *data) scalar(r agg.Row) (float64, bool) {
	t := d.snap.Value
	if t.Kind == types.Int || t.Kind == types.Bool {
		return float(agg.Number(r.Raw), t.Signed), true
	}
	if t.Kind != types.Aggregate {
		return 0, false
	}
	switch a := t.Agg; a.Kind {
	case types.CountAgg:
		return float(r.Words[0], false), true
	case types.SumAgg, types.MinAgg, types.MaxAgg:
		return float(r.Words[0], a.Signed), true
	case types.AvgAgg, types.StatsAgg:
		if r.Words[1] == 0 {
			return math.NaN(), true
		}
		return float(r.Words[0], a.Signed) / float64(r.Words[1]), true
	}
	return 0, false
}

func float(n uint64, signed bool) float64 {
	if signed {
		return float64(int64(n))
	}
	return float64(n)
}

// count is how many values a row has taken in; ok is false when it does not know.
func (d *data) count(r agg.Row) (n float64, ok bool) {
	if d.snap.Value.Kind != types.Aggregate {
		return 0, false
	}
	switch d.snap.Value.Agg.Kind {
	case types.CountAgg, types.DistAgg:
		return float64(r.Words[0]), true
	case types.AvgAgg, types.StatsAgg:
		return float64(r.Words[1]), true
	case types.HistAgg, types.LHistAgg:
		return float64(agg.Total(r.Words)), true
	}
	return 0, false
}

// sums tells whether the data is a sum, whose rate is in its unit.
func (d *data) sums() bool {
	return d.snap != nil && d.snap.Value.Kind == types.Aggregate && d.snap.Value.Agg.Kind == types.SumAgg
}

// rowTotal is the number of a row that grows with events: how many there were, else their sum, else the number itself.
func (d *data) rowTotal(r agg.Row) float64 {
	if n, ok := d.count(r); ok {
		return n
	}
	n, _ := d.scalar(r)
	return n
}

// total adds up the rows.
func (d *data) total() float64 {
	sum := 0.0
	for _, s := range d.series {
		sum += float64(s.Words[0])
	}
	if d.snap != nil {
		for _, r := range d.snap.Rows {
			sum += d.rowTotal(r)
		}
	}
	return sum
}

// spread is a distribution of any kind.
type spread struct {
	buckets []bucket
	count   uint64
	sum     float64
}

// bucket is the values from lower to upper, both included.
type bucket struct {
	lower, upper float64
	n            uint64
}

// spread adds up the distributions of all rows.
func (d *data) spread() (*spread, error) {
	if d.words.dist != nil {
		var all *agg.Dist
		for _, s := range d.series {
			all = addDist(all, d.words.dist(s))
		}
		if all == nil {
			return &spread{}, nil
		}
		return fromDist(*all), nil
	}
	if d.snap == nil || d.snap.Value.Kind != types.Aggregate {
		return nil, errors.New("it has no distribution; hist(), lhist() and dist() keep one")
	}
	a := d.snap.Value.Agg
	words := make([]uint64, a.Words)
	for _, r := range d.snap.Rows {
		for i := range min(len(words), len(r.Words)) {
			words[i] += r.Words[i]
		}
	}
	switch a.Kind {
	case types.DistAgg:
		return fromDist(agg.NewDist(agg.NewScale(int(a.Args[0]), 1), words)), nil
	case types.HistAgg:
		h := agg.Hist{Bits: int(a.Args[0]), Buckets: words}
		s := &spread{count: agg.Total(words)}
		for i, n := range words {
			if n > 0 {
				b := bucket{lower: -1, upper: -1, n: n}
				if i > 0 {
					lower, upper := h.Range(i)
					b.lower, b.upper = float64(lower), float64(upper)
				}
				s.buckets = append(s.buckets, b)
			}
		}
		return s, nil
	case types.LHistAgg:
		low, high, step := float64(a.Args[0]), float64(a.Args[1]), float64(a.Args[2])
		s := &spread{count: agg.Total(words)}
		for i, n := range words {
			if n == 0 {
				continue
			}
			b := bucket{lower: low + float64(i-1)*step, upper: low + float64(i)*step, n: n}
			if i == 0 {
				b.lower, b.upper = low, low
			} else if i == len(words)-1 {
				b.lower, b.upper = high, high
			}
			s.buckets = append(s.buckets, b)
		}
		return s, nil
	}
	return nil, errors.New("it has no distribution; hist(), lhist() and dist() keep one")
}

func addDist(all *agg.Dist, d agg.Dist) *agg.Dist {
	if all == nil {
		d.Buckets = slices.Clone(d.Buckets)
		return &d
	}
	all.Count, all.Sum, all.Zeros = all.Count+d.Count, all.Sum+d.Sum, all.Zeros+d.Zeros
	for i, n := range d.Buckets {
		all.Buckets[i] += n
	}
	return all
}

func fromDist(d agg.Dist) *spread {
	s := &spread{count: d.Observed(), sum: float64(d.Sum)}
	if d.Zeros > 0 {
		s.buckets = append(s.buckets, bucket{n: d.Zeros})
	}
	for i, n := range d.Buckets {
		if n > 0 {
			lower, upper := d.Scale.Range(i)
			s.buckets = append(s.buckets, bucket{float64(lower), float64(upper), n})
		}
	}
	return s
}

// quantile is the geometric middle of the bucket where a quantile lies; NaN of nothing.
func (s *spread) quantile(q float64) float64 {
	if s.count == 0 {
		return math.NaN()
	}
	rank := agg.Rank(q, s.count)
	for _, b := range s.buckets {
		if rank <= b.n {
			if b.lower <= 0 || b.lower == b.upper {
				return (b.lower + b.upper) / 2
			}
			return math.Sqrt(b.lower) * math.Sqrt(b.upper)
		}
		rank -= b.n
	}
	return math.NaN()
}

// since is what came after an earlier state of the same data; all of it when it was cleared meanwhile.
func (s *spread) since(before *spread) *spread {
	if before == nil || before.count > s.count {
		return s
	}
	old := map[float64]uint64{}
	for _, b := range before.buckets {
		old[b.lower] = b.n
	}
	out := &spread{}
	for _, b := range s.buckets {
		if o := old[b.lower]; o > b.n {
			return s
		} else if b.n -= o; b.n > 0 {
			out.buckets = append(out.buckets, b)
			out.count += b.n
		}
	}
	return out
}

// measureNamed are the functions over data besides percentiles and rates.
func measureNamed(name string) func(d *data) (value, error) {
	switch name {
	case "count":
		return func(d *data) (value, error) { return value{num: d.counted()}, nil }
	case "len":
		return func(d *data) (value, error) {
			if d.snap == nil {
				return value{num: float64(len(d.series))}, nil
			}
			return value{num: float64(len(d.snap.Rows))}, nil
		}
	case "sum", "avg", "min", "max":
		return func(d *data) (value, error) { return d.fold(name) }
	}
	return nil
}

func measureNames() []string {
	return []string{"avg()", "count()", "len()", "max()", "min()", "rate()", "sum()"}
}

// counted is how many values were taken in, or how many entries there are where that is not known.
func (d *data) counted() float64 {
	if d.snap == nil {
		return d.total()
	}
	sum := 0.0
	for _, r := range d.snap.Rows {
		n, ok := d.count(r)
		if !ok {
			return float64(len(d.snap.Rows))
		}
		sum += n
	}
	return sum
}

// fold makes one number of all rows, or of a distribution.
func (d *data) fold(name string) (value, error) {
	if s, err := d.spread(); err == nil {
		v := value{unit: d.unit, num: math.NaN()}
		switch n := len(s.buckets); {
		case n == 0:
		case name == "max":
			v.num = s.buckets[n-1].upper
		case name == "min":
			v.num = s.buckets[0].lower
		case s.sum == 0:
			return v, fmt.Errorf("%s() of %s: histograms keep no sum; dist() does", name, d.name)
		case name == "sum":
			v.num = s.sum
		default:
			v.num = s.sum / float64(s.count)
		}
		return v, nil
	}
	if d.snap == nil {
		return value{}, fmt.Errorf("%s() of %s: it has no values", name, d.name)
	}
	v := value{unit: d.unit, num: math.NaN()}
	n := 0.0
	for _, r := range d.snap.Rows {
		x, ok := d.scalar(r)
		if !ok {
			return v, fmt.Errorf("%s() of %s: its values are no numbers", name, d.name)
		}
		n++
		switch {
		case n == 1:
			v.num = x
		case name == "max":
			v.num = max(v.num, x)
		case name == "min":
			v.num = min(v.num, x)
		default:
			v.num += x
		}
	}
	if name == "avg" && n > 0 {
		v.num /= n
	}
	return v, nil
}
