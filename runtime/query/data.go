package query

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

// Data is what a map, an entry of one, or an indicator holds now.
type Data struct {
	Name   string
	Snap   *agg.Snapshot // of a map, nil of an indicator
	Keyed  bool          // all entries of a map with keys
	Values export.Values
	Unit   check.Unit

	series []agg.Series // of an indicator
	words  sliWords
}

// sliWords tells where the numbers of an indicator are.
type sliWords struct {
	dist func(agg.Series) agg.Dist
	kind check.SLIKind
}

// Data reads what an expression names.
func (e *Evaluator) Data(x syntax.Expr) (*Data, error) {
	switch x := x.(type) {
	case *syntax.Map:
		return e.mapData(x)
	case *syntax.Name:
		return e.sliData(x.Text)
	}
	return nil, fmt.Errorf("got '%s', want a map or an sli", syntax.ExprString(x))
}

func (e *Evaluator) mapData(x *syntax.Map) (*Data, error) {
	name := "@" + x.Text
	m, err := FindMap(e.Source, name)
	if err != nil {
		return nil, err
	}
	snap, err := e.Source.Snapshot(m)
	if err != nil {
		return nil, err
	}
	d := &Data{Name: name, Snap: snap, Values: e.Source.Values(), Unit: mapUnit(e.Source, name), Keyed: m.Key != nil && x.Index == nil}
	if x.Index == nil {
		return d, nil
	}
	if m.Key == nil {
		return nil, fmt.Errorf("map '%s' has no keys", name)
	}
	key, err := e.key(d.Values, m.Key, x.Index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d.Name = syntax.ExprString(x)
	var rows []agg.Row
	for _, r := range snap.Rows {
		if string(d.Values.AppendKey(nil, snap.Key, r.Key)) == key {
			rows = append(rows, r)
		}
	}
	snap.Rows = rows
	return d, nil
}

// FindMap finds a map of the script by its name.
func FindMap(p Source, name string) (*ir.Map, error) {
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
func mapUnit(p Source, name string) check.Unit {
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

func (e *Evaluator) sliData(name string) (*Data, error) {
	obj := e.Source.Object()
	var names []string
	for _, l := range obj.Layout.SLIs {
		names = append(names, l.SLI.Name)
		if l.SLI.Name != name {
			continue
		}
		series, err := e.Source.Series(l)
		if err != nil {
			return nil, err
		}
		d := &Data{Name: name, series: series, Unit: l.SLI.Unit, words: sliWords{kind: l.SLI.Kind}}
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
func (d *Data) value(e *Evaluator) (Value, error) {
	if d.series != nil || d.Snap == nil {
		return Value{Text: d.Name + ": " + export.Counted(uint64(d.Total()), "event") + "\n", Kind: Printed}, nil
	}
	if d.Keyed || len(d.Snap.Rows) != 1 {
		if !d.Keyed && d.Snap.Key != nil {
			return Value{}, fmt.Errorf("%s has no entry", d.Name)
		}
		if n, ok := d.unset(); ok && !d.Keyed {
			return Value{Num: n, Unit: d.Unit}, nil
		}
		return Value{Text: d.mapText(e.Colour), Kind: Printed}, nil
	}
	if n, ok := d.Scalar(d.Snap.Rows[0]); ok {
		return Value{Num: n, Unit: d.Unit, Text: ""}, nil
	}
	r := d.Snap.Rows[0]
	if d.Snap.Value.Kind != types.Aggregate {
		return Value{Text: string(d.Values.AppendText(nil, d.Snap.Value, r.Raw)), Kind: Text}, nil
	}
	return Value{Text: d.mapText(e.Colour), Kind: Printed}, nil
}

// unset is what a map without keys reads as that nothing was assigned to.
func (d *Data) unset() (float64, bool) {
	t := d.Snap.Value
	switch {
	case t.Kind == types.Int, t.Kind == types.Bool, t.Kind == types.Aggregate && (t.Agg.Kind == types.CountAgg || t.Agg.Kind == types.SumAgg):
		return 0, true
	case t.Kind == types.Aggregate && (t.Agg.Kind == types.MinAgg || t.Agg.Kind == types.MaxAgg || t.Agg.Kind == types.AvgAgg || t.Agg.Kind == types.StatsAgg):
		return math.NaN(), true
	}
	return 0, false
}

// Scalar is a row as one number, where it is one.
func (d *Data) Scalar(r agg.Row) (float64, bool) {
	t := d.Snap.Value
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

// Count is how many values a row has taken in; ok is false when it does not know.
func (d *Data) Count(r agg.Row) (n float64, ok bool) {
	if d.Snap.Value.Kind != types.Aggregate {
		return 0, false
	}
	switch d.Snap.Value.Agg.Kind {
	case types.CountAgg, types.DistAgg:
		return float64(r.Words[0]), true
	case types.AvgAgg, types.StatsAgg:
		return float64(r.Words[1]), true
	case types.HistAgg, types.LHistAgg:
		return float64(agg.Total(r.Words)), true
	}
	return 0, false
}

// Sums tells whether the data is a sum, whose rate is in its unit.
func (d *Data) Sums() bool {
	return d.Snap != nil && d.Snap.Value.Kind == types.Aggregate && d.Snap.Value.Agg.Kind == types.SumAgg
}

// RowTotal is the number of a row that grows with events: how many there were, else their sum, else the number itself.
func (d *Data) RowTotal(r agg.Row) float64 {
	if n, ok := d.Count(r); ok {
		return n
	}
	n, _ := d.Scalar(r)
	return n
}

// Total adds up the rows.
func (d *Data) Total() float64 {
	sum := 0.0
	for _, s := range d.series {
		sum += float64(s.Words[0])
	}
	if d.Snap != nil {
		for _, r := range d.Snap.Rows {
			sum += d.RowTotal(r)
		}
	}
	return sum
}

// Spread is a distribution of any kind.
type Spread struct {
	Buckets []Bucket
	Count   uint64
	Sum     float64
	Summed  bool // Sum is known
}

// Bucket is the values from lower to upper, both included.
type Bucket struct {
	Lower, Upper float64
	N            uint64
}

// Spread adds up the distributions of all rows.
func (d *Data) Spread() (*Spread, error) {
	if d.words.dist != nil {
		var all *agg.Dist
		for _, s := range d.series {
			all = addDist(all, d.words.dist(s))
		}
		if all == nil {
			return &Spread{}, nil
		}
		return fromDist(*all), nil
	}
	if d.Snap == nil || d.Snap.Value.Kind != types.Aggregate {
		return nil, errors.New("it has no distribution; hist(), lhist() and dist() keep one")
	}
	a := d.Snap.Value.Agg
	words := make([]uint64, a.Words)
	for _, r := range d.Snap.Rows {
		for i := range min(len(words), len(r.Words)) {
			words[i] += r.Words[i]
		}
	}
	switch a.Kind {
	case types.DistAgg:
		return fromDist(agg.NewDist(agg.NewScale(int(a.Args[0]), 1), words)), nil
	case types.HistAgg:
		h := agg.Hist{Bits: int(a.Args[0]), Buckets: words}
		s := &Spread{Count: agg.Total(words)}
		for i, n := range words {
			if n > 0 {
				b := Bucket{Lower: -1, Upper: -1, N: n}
				if i > 0 {
					lower, upper := h.Range(i)
					b.Lower, b.Upper = float64(lower), float64(upper)
				}
				s.Buckets = append(s.Buckets, b)
			}
		}
		return s, nil
	case types.LHistAgg:
		low, high, step := float64(a.Args[0]), float64(a.Args[1]), float64(a.Args[2])
		s := &Spread{Count: agg.Total(words)}
		for i, n := range words {
			if n == 0 {
				continue
			}
			b := Bucket{Lower: low + float64(i-1)*step, Upper: low + float64(i)*step, N: n}
			if i == 0 {
				b.Lower, b.Upper = low, low
			} else if i == len(words)-1 {
				b.Lower, b.Upper = high, high
			}
			s.Buckets = append(s.Buckets, b)
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

func fromDist(d agg.Dist) *Spread {
	s := &Spread{Count: d.Observed(), Sum: float64(d.Sum), Summed: true}
	if d.Zeros > 0 {
		s.Buckets = append(s.Buckets, Bucket{N: d.Zeros})
	}
	for i, n := range d.Buckets {
		if n > 0 {
			lower, upper := d.Scale.Range(i)
			s.Buckets = append(s.Buckets, Bucket{float64(lower), float64(upper), n})
		}
	}
	return s
}

// Quantile is the geometric middle of the bucket where a quantile lies; NaN of nothing.
func (s *Spread) Quantile(q float64) float64 {
	if s.Count == 0 {
		return math.NaN()
	}
	rank := agg.Rank(q, s.Count)
	for _, b := range s.Buckets {
		if rank <= b.N {
			if b.Lower <= 0 || b.Lower == b.Upper {
				return (b.Lower + b.Upper) / 2
			}
			return math.Sqrt(b.Lower) * math.Sqrt(b.Upper)
		}
		rank -= b.N
	}
	return math.NaN()
}

// Since is what came after an earlier state of the same data, without its sum; all of it when it was cleared meanwhile.
func (s *Spread) Since(before *Spread) *Spread {
	if before == nil || before.Count > s.Count {
		return s
	}
	old := map[float64]uint64{}
	for _, b := range before.Buckets {
		old[b.Lower] = b.N
	}
	out := &Spread{}
	for _, b := range s.Buckets {
		if o := old[b.Lower]; o > b.N {
			return s
		} else if b.N -= o; b.N > 0 {
			out.Buckets = append(out.Buckets, b)
			out.Count += b.N
		}
	}
	return out
}

// Measure is the function of a name over data, of those besides percentiles and rates; nil without one.
func Measure(name string) func(d *Data) (Value, error) {
	switch name {
	case "count":
		return func(d *Data) (Value, error) { return Value{Num: d.counted()}, nil }
	case "len":
		return func(d *Data) (Value, error) {
			if d.Snap == nil {
				return Value{Num: float64(len(d.series))}, nil
			}
			return Value{Num: float64(len(d.Snap.Rows))}, nil
		}
	case "sum", "avg", "min", "max":
		return func(d *Data) (Value, error) { return d.fold(name) }
	}
	return nil
}

// functions are the names of all functions besides percentiles.
func functions() []string {
	out := []string{"avg()", "count()", "len()", "max()", "min()", "rate()", "sum()"}
	for _, f := range objectiveFuncs() {
		out = append(out, f.name+"()")
	}
	slices.Sort(out)
	return out
}

// counted is how many values were taken in, or how many entries there are where that is not known.
func (d *Data) counted() float64 {
	if d.Snap == nil {
		return d.Total()
	}
	sum := 0.0
	for _, r := range d.Snap.Rows {
		n, ok := d.Count(r)
		if !ok {
			return float64(len(d.Snap.Rows))
		}
		sum += n
	}
	return sum
}

// fold makes one number of all rows, or of a distribution.
func (d *Data) fold(name string) (Value, error) {
	if s, err := d.Spread(); err == nil {
		v := Value{Unit: d.Unit, Num: math.NaN()}
		switch n := len(s.Buckets); {
		case n == 0:
		case name == "max":
			v.Num = s.Buckets[n-1].Upper
		case name == "min":
			v.Num = s.Buckets[0].Lower
		case !s.Summed:
			return v, fmt.Errorf("%s() of %s: histograms keep no sum; dist() does", name, d.Name)
		case name == "sum":
			v.Num = s.Sum
		default:
			v.Num = s.Sum / float64(s.Count)
		}
		return v, nil
	}
	if d.Snap == nil {
		return Value{}, fmt.Errorf("%s() of %s: it has no values", name, d.Name)
	}
	v := Value{Unit: d.Unit, Num: math.NaN()}
	n := 0.0
	for _, r := range d.Snap.Rows {
		x, ok := d.Scalar(r)
		if !ok {
			return v, fmt.Errorf("%s() of %s: its values are no numbers", name, d.Name)
		}
		n++
		switch {
		case n == 1:
			v.Num = x
		case name == "max":
			v.Num = max(v.Num, x)
		case name == "min":
			v.Num = min(v.Num, x)
		default:
			v.Num += x
		}
	}
	if name == "avg" && n > 0 {
		v.Num /= n
	}
	return v, nil
}
