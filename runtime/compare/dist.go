package compare

import (
	"math"
	"slices"
	"sort"
	"strconv"

	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// dist is a distribution as counts of values up to the bounds of buckets. The last bound has all values below it.
type dist struct {
	index []int    // of buckets with values, rising; zero for those of value 0
	upTo  []uint64 // how many values are in them and the ones before
	n     uint64
	slo.Spread
}

// zero is the index of the bucket of zeros: below all others.
const zero = math.MinInt32

func newDist(s *export.GateSeries, spread slo.Spread) *dist {
	d := &dist{Spread: spread}
	put := func(index int, count uint64) {
		if count > 0 {
			d.n += count
			d.index, d.upTo = append(d.index, index), append(d.upTo, d.n)
		}
	}
	put(zero, s.Zeros)
	buckets := slices.Clone(s.Buckets)
	sort.Slice(buckets, func(i, j int) bool { return buckets[i].Index < buckets[j].Index })
	for _, b := range buckets {
		put(b.Index, b.Count)
	}
	return d
}

// below is how many values are in the buckets up to one.
func (d *dist) below(index int) uint64 {
	at := sort.SearchInts(d.index, index+1)
	if at == 0 {
		return 0
	}
	return d.upTo[at-1]
}

// shifted is the distribution of values that are so many buckets higher. Zeros stay.
func (d *dist) shifted(steps int) *dist {
	out := *d
	out.index = slices.Clone(d.index)
	for i, index := range out.index {
		if index != zero {
			out.index[i] = index + steps
		}
	}
	return &out
}

// high is the chance of so many values up to a bucket, or more, if the quantile q is above it.
func (d *dist) high(index int, q, err float64) float64 {
	k, n := d.Shrunk(d.below(index), d.n, err, false)
	return slo.AtLeast(k, n, q)
}

// low is the chance of so few values up to a bucket, or fewer, if the quantile q is in it or below.
func (d *dist) low(index int, q, err float64) float64 {
	k, n := d.Shrunk(d.below(index), d.n, err, true)
	return slo.AtMost(k, n, q)
}

// quantile is the bucket of a quantile and the buckets of its bounds, each wrong with a chance of err; known tells whether
// there are enough values for a bound on either side.
func (d *dist) quantile(q, err float64) (at, low, high int, known bool) {
	rank := uint64(math.Ceil(q * float64(d.n)))
	i := sort.Search(len(d.index), func(i int) bool { return d.upTo[i] >= max(rank, 1) })
	at = d.index[i]
	l := sort.Search(len(d.index), func(i int) bool { return d.low(d.index[i], q, err) > err })
	h := sort.Search(len(d.index), func(i int) bool { return d.high(d.index[i], q, err) <= err })
	n := uint64(math.Ceil(d.Effective(d.n, err)))
	known = slo.AtLeast(n, n, q) <= err && slo.AtMost(0, n, q) <= err
	return at, d.index[min(l, len(d.index)-1)], d.index[min(h, len(d.index)-1)], known
}

// tail compares how many values of both are above the bucket of the quantile q of all of them together. Given that
// bucket, the values above it are dealt to both at random if the distributions are one (the quantile test of Johnson,
// Verrill and Moore, Biometrics 43, 1987). tested tells whether any way to deal them could be significant.
func (c *comparer) tail(a, b *dist, q float64) (more, less float64, tested bool) {
	rank := uint64(math.Ceil(q * float64(a.n+b.n)))
	all := slices.Concat(a.index, b.index)
	slices.Sort(all)
	at := all[sort.Search(len(all), func(i int) bool { return a.below(all[i])+b.below(all[i]) >= rank })]
	above := func(d *dist) uint64 { return d.n - d.below(at) }
	counts := func(d *dist, above uint64) slo.Counts { return slo.Counts{Bad: above, Total: d.n, Spread: d.Spread} }
	more, less = slo.Differ(counts(a, above(a)), counts(b, above(b)), c.err/2)
	sum := above(a) + above(b)
	most, _ := slo.Differ(counts(a, sum-min(sum, b.n)), counts(b, min(sum, b.n)), c.err/2)
	_, least := slo.Differ(counts(a, min(sum, a.n)), counts(b, sum-min(sum, a.n)), c.err/2)
	return more, less, min(most, least) <= c.err/2
}

// gap is the largest difference between two cumulative distributions, positive where more values of a than of b are up to
// a bucket: there b has the higher values.
func gap(a, b *dist) (d float64, at int) {
	for _, index := range slices.Concat(a.index, b.index) {
		g := float64(a.below(index))/float64(a.n) - float64(b.below(index))/float64(b.n)
		if math.Abs(g) > math.Abs(d) {
			d, at = g, index
		}
	}
	return d, at
}

// chance is that of a gap as large between two samples of one distribution, at most: both must then be as far from it, in
// all, as the gap is wide. It is one-sided; the other side has as much.
func (c *comparer) chance(a, b *dist, gap float64) float64 {
	x := gap / (1/math.Sqrt(a.Effective(a.n, c.err/2)) + 1/math.Sqrt(b.Effective(b.n, c.err/2)))
	return min(1, 2*math.Exp(-2*x*x))
}

// bounds are those of a bucket in base units.
func bounds(index, schema int) (low, high float64) {
	if index == zero {
		return 0, 0
	}
	return math.Exp2(math.Ldexp(float64(index-1), -schema)), math.Exp2(math.Ldexp(float64(index), -schema))
}

// middle is the value that stands for a bucket.
func middle(index, schema int) float64 {
	low, high := bounds(index, schema)
	return math.Sqrt(low * high)
}

// indicators compares the distributions that both reports have.
func (c *comparer) indicators(a, b *export.GateReport) {
	for i := range a.Indicators {
		x := &a.Indicators[i]
		if x.Schema == nil {
			continue
		}
		at := slices.IndexFunc(b.Indicators, func(y export.GateIndicator) bool { return y.Name == x.Name })
		switch {
		case at < 0:
			c.add(Row{SLI: x.Name, What: "distribution", Verdict: Incomparable, Reason: "it is not in the second report"})
			continue
		case b.Indicators[at].Schema == nil || *b.Indicators[at].Schema != *x.Schema || b.Indicators[at].Unit != x.Unit:
			c.add(Row{SLI: x.Name, What: "distribution", Verdict: Incomparable, Reason: "it has another unit or resolution in the second report"})
			continue
		}
		y := &b.Indicators[at]
		same := func(j, k int) bool {
			return slices.Equal(x.Series[j].Labels, y.Series[k].Labels) && x.Series[j].Other == y.Series[k].Other
		}
		sa, sb := burstiness(a, x.Name), burstiness(b, x.Name)
		for j := range x.Series {
			for k := range y.Series {
				if same(j, k) {
					c.distribution(x, &x.Series[j], newDist(&x.Series[j], sa), newDist(&y.Series[k], sb))
				}
			}
		}
		c.alone("sli "+x.Name, len(x.Series), len(y.Series), same)
	}
}

// burstiness is the largest design effect of an indicator's objectives: how its values hang together is not in a report,
// but how the events beyond a threshold do is.
func burstiness(r *export.GateReport, sli string) (out slo.Spread) {
	for i := range r.Objectives {
		o := &r.Objectives[i]
		if o.SLI != sli || o.Minutes {
			continue
		}
		for j := range o.Groups {
			if s := spread(&o.Groups[j]); s.Effect > out.Effect {
				out = s
			}
		}
	}
	return out
}

// distribution compares one label set.
func (c *comparer) distribution(x *export.GateIndicator, s *export.GateSeries, a, b *dist) {
	row := Row{SLI: x.Name, Labels: s.Labels, Unit: x.Unit, better: x.Better, observed: float64(x.PerBase)}
	if s.Other {
		row.Labels = []string{export.OtherLabel}
	}
	err := c.err / 2
	row.A = Side{Events: a.n, Effective: uint64(a.Effective(a.n, err))}
	row.B = Side{Events: b.n, Effective: uint64(b.Effective(b.n, err))}
	enough := a.n > 0 && b.n > 0
	for _, q := range [...]float64{0.5, 0.9, 0.99, 0.999} {
		r := row
		r.What = "p" + strconv.FormatFloat(q*100, 'g', 4, 64)
		r.tested = enough
		if enough {
			sides := [...]*Side{&r.A, &r.B}
			for i, d := range []*dist{a, b} {
				at, low, high, known := d.quantile(q, err)
				value := middle(at, *x.Schema)
				sides[i].Value = &value
				if known {
					least, _ := bounds(low, *x.Schema)
					_, most := bounds(high, *x.Schema)
					sides[i].AtLeast, sides[i].AtMost = &least, &most
				}
			}
			r.more, r.less, r.tested = c.tail(a, b, q)
			if *r.A.Value > 0 {
				r.setChange(c.Tolerance)
			}
		}
		c.add(r)
	}
	row.What = "distribution"
	row.more, row.less = 1, 1
	if enough {
		g, at := gap(a, b)
		_, value := bounds(at, *x.Schema)
		row.Change, row.At = &g, &value
		// The difference is slight when values of the later run that are less off by the tolerance hide it.
		steps := int(math.Ldexp(math.Log2(1+c.Tolerance), *x.Schema))
		if g > 0 {
			row.more = c.chance(a, b, g)
			near, _ := gap(a, b.shifted(-steps))
			row.slight = near <= 0 || c.chance(a, b, near)*2 > c.err
		} else {
			row.less = c.chance(a, b, -g)
			near, _ := gap(a, b.shifted(steps))
			row.slight = near >= 0 || c.chance(a, b, -near)*2 > c.err
		}
		row.tested = c.chance(a, b, 1)*2 <= c.err // could the widest gap be significant?
	}
	c.add(row)
}
