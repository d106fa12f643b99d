// Package compare tells whether two reports of slope check differ by more than chance: whether a service got slower or
// worse between two runs.
//
// Algorithm: of each objective and label set, the bad events of both runs are compared by Fisher's exact test. Of each
// distribution and label set, four quantiles are compared by how many values of either run are above the quantile of both
// together, by the same test, and the whole by the largest gap between both cumulative distributions, which two bounds of
// Dvoretzky, Kiefer and Wolfowitz (with Massart's constant) limit. A quantile's own bounds are order statistics, found from
// the counts of values in buckets. No test assumes a shape. Bursts are taken into account as the gate
// does: by the design effect of the seconds in the reports. Every test is two-sided; which of all differences are
// significant is decided by Holm's method, so that two runs of the same service differ in anything at all with a chance of
// at most one minus the confidence.
//
// Invariants: what could not differ significantly, because there are too few events, is said to be that, and never the
// same. A difference is worse only where it is known which direction is worse. The package reads no file and runs nothing.
// Start at Compare; dist.go has distributions, text.go what people read.
package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/slo"
)

// Version is the version of Result's JSON. It grows when a field changes its meaning or goes.
const Version = 1

// Verdict is what is said of one comparison.
type Verdict string

// The verdicts.
const (
	Worse        Verdict = "worse"
	Better       Verdict = "better"
	Different    Verdict = "different"        // and nobody said which is better
	Slight       Verdict = "within tolerance" // significant, and smaller than is asked for
	Same         Verdict = "no significant difference"
	TooFew       Verdict = "too few events"
	Incomparable Verdict = "not comparable"
)

// decided tells whether events were enough.
func (v Verdict) decided() bool { return v != TooFew && v != Incomparable }

// Result is the comparison of a report A with a later one B.
type Result struct {
	Version     int      `json:"version"`
	Confidence  float64  `json:"confidence"` // that no difference is claimed of two runs that are alike
	Tolerance   float64  `json:"tolerance"`  // the part of a value that a difference must exceed to matter
	Outcome     Verdict  `json:"outcome"`
	Comparisons int      `json:"comparisons"` // that could have been significant
	Notes       []string `json:"notes"`
	Rows        []Row    `json:"rows"`
}

// Row is one comparison.
type Row struct {
	Objective string   `json:"objective,omitempty"` // or
	SLI       string   `json:"sli,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	What      string   `json:"what"` // bad events, p50, p90, p99, p99.9 or distribution
	Unit      string   `json:"unit,omitempty"`
	A         Side     `json:"a"`
	B         Side     `json:"b"`
	Verdict   Verdict  `json:"verdict"`
	Change    *float64 `json:"change,omitempty"` // of the value, as a part of A's; of a distribution, the gap
	At        *float64 `json:"at,omitempty"`     // the value at which the gap of a distribution is
	P         float64  `json:"p"`                // corrected for the number of comparisons
	Reason    string   `json:"reason,omitempty"`

	more, less float64 // the chances of B's being so much higher or lower
	tested     bool
	slight     bool   // smaller than the tolerance
	better     string // lower or higher
	observed   float64
}

// Side is what one report says: a part of bad events or a quantile, and its bounds, each with half of the error.
type Side struct {
	Events    uint64   `json:"events"`
	Effective uint64   `json:"n_eff"`
	Value     *float64 `json:"value,omitempty"`
	AtLeast   *float64 `json:"at_least,omitempty"`
	AtMost    *float64 `json:"at_most,omitempty"`
}

// Read reads a report of slope check.
func Read(r io.Reader) (*export.GateReport, error) {
	var out export.GateReport
	if err := json.NewDecoder(r).Decode(&out); err != nil {
		return nil, fmt.Errorf("no report of slope check: %w", err)
	}
	switch {
	case out.Version == 0 || out.Objectives == nil:
		return nil, errors.New("no report of slope check")
	case out.Version > export.GateVersion:
		return nil, fmt.Errorf("got version %d of the report, want at most %d", out.Version, export.GateVersion)
	}
	return &out, nil
}

// Compare compares two reports. Significant differences of at most the tolerance, a part of the first report's value, count
// as slight.
func Compare(a, b *export.GateReport, confidence, tolerance float64) *Result {
	r := &Result{Version: Version, Confidence: confidence, Tolerance: tolerance, Notes: []string{}, Rows: []Row{}}
	c := comparer{Result: r, err: 1 - confidence}
	for _, x := range []struct {
		name string
		rep  *export.GateReport
	}{{"first", a}, {"second", b}} {
		if x.rep.EndedBy == "early" {
			c.note("the %s run was stopped by its verdict, so its rates are biased: compare runs without --early", x.name)
		}
	}
	c.objectives(a, b)
	c.indicators(a, b)
	c.holm()
	c.conclude(a.EndedBy == "early" || b.EndedBy == "early")
	return r
}

type comparer struct {
	*Result
	err float64
}

func (c *comparer) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// objectives compares the bad events of the objectives that both reports have.
func (c *comparer) objectives(a, b *export.GateReport) {
	for i := range a.Objectives {
		x := &a.Objectives[i]
		if x.Composite != nil {
			continue // its parts are compared
		}
		at := slices.IndexFunc(b.Objectives, func(y export.GateObjective) bool { return y.Name == x.Name })
		if at < 0 {
			c.add(Row{Objective: x.Name, What: "bad events", Verdict: Incomparable, Reason: "it is not in the second report"})
			continue
		}
		y := &b.Objectives[at]
		if condition(x) != condition(y) {
			c.add(Row{Objective: x.Name, What: "bad events", Verdict: Incomparable, Reason: "it reads otherwise in the second report"})
			continue
		}
		for j := range x.Groups {
			for k := range y.Groups {
				if slices.Equal(x.Groups[j].Labels, y.Groups[k].Labels) {
					c.ratio(x, &x.Groups[j], &y.Groups[k])
				}
			}
		}
		c.alone("objective "+x.Name, len(x.Groups), len(y.Groups), func(j, k int) bool { return slices.Equal(x.Groups[j].Labels, y.Groups[k].Labels) })
	}
	for _, y := range b.Objectives {
		if y.Composite == nil && !slices.ContainsFunc(a.Objectives, func(x export.GateObjective) bool { return x.Name == y.Name }) {
			c.add(Row{Objective: y.Name, What: "bad events", Verdict: Incomparable, Reason: "it is not in the first report"})
		}
	}
}

// condition is what makes an event of an objective good, whatever part of them must be.
func condition(o *export.GateObjective) string {
	_, after, _ := strings.Cut(o.Sentence, "%")
	return o.SLI + "\x00" + after
}

// alone notes label sets that only one report has.
func (c *comparer) alone(of string, a, b int, same func(i, j int) bool) {
	both := 0
	for i := range a {
		for j := range b {
			if same(i, j) {
				both++
			}
		}
	}
	if n := a + b - 2*both; n > 0 {
		c.note("%s: %d label sets are in one report only", of, n)
	}
}

func (c *comparer) add(r Row) { c.Rows = append(c.Rows, r) }

// spread is the design effect of a group.
func spread(g *export.GateGroup) slo.Spread {
	if g.Batches == nil {
		return slo.Spread{}
	}
	return slo.NewSpread(g.Batches.Bad, g.Batches.Events)
}

// ratio compares one group of an objective.
func (c *comparer) ratio(o *export.GateObjective, a, b *export.GateGroup) {
	row := Row{Objective: o.Name, Labels: a.Labels, What: "bad events", better: "lower"}
	if o.Minutes {
		row.What = "bad minutes"
	}
	var counts [2]slo.Counts
	sides := [...]*Side{&row.A, &row.B}
	for i, g := range []*export.GateGroup{a, b} {
		counts[i] = slo.Counts{Bad: g.Bad, Total: g.Total, Missing: g.Missing, Doubtful: g.Doubtful, Spread: spread(g)}
		side := Side{Events: g.Total, Effective: uint64(counts[i].Spread.Effective(g.Total, c.err/2))}
		if g.Total > 0 {
			d := slo.Decide(counts[i], o.PPB, slo.Errors{Pass: c.err / 2, Fail: c.err / 2})
			value, least, most := float64(g.Bad)/float64(g.Total), 1-d.AtMost, 1-d.AtLeast
			side.Value, side.AtLeast, side.AtMost = &value, &least, &most
		}
		*sides[i] = side
	}
	row.more, row.less = slo.Differ(counts[0], counts[1], c.err/2)
	row.tested = a.Total > 0 && b.Total > 0
	if row.tested && a.Bad > 0 {
		row.setChange(c.Tolerance)
	}
	// A sample that could not even prove the objective without a bad event says little when nothing differs.
	if few := min(row.A.Effective, row.B.Effective); few < max(slo.MinEvents(o.PPB, 1-c.err), 1) {
		row.Reason = "few"
	}
	c.add(row)
}

// setChange sets how much the value changed.
func (r *Row) setChange(tolerance float64) {
	change := *r.B.Value / *r.A.Value - 1
	r.Change, r.slight = &change, tolerance > 0 && math.Abs(change) <= tolerance
}

// holm corrects the error of each comparison for their number, and says what follows.
func (c *comparer) holm() {
	var order []int
	for i := range c.Rows {
		c.Rows[i].P = 1
		if c.Rows[i].tested {
			order = append(order, i)
		}
	}
	raw := func(i int) float64 { return min(1, 2*min(c.Rows[i].more, c.Rows[i].less)) }
	sort.SliceStable(order, func(i, j int) bool { return raw(order[i]) < raw(order[j]) })
	c.Comparisons = len(order)
	last := 0.0
	for rank, i := range order {
		last = max(last, min(1, raw(i)*float64(len(order)-rank)))
		c.Rows[i].P = last
	}
	for i := range c.Rows {
		r := &c.Rows[i]
		few := r.Reason == "few"
		if few {
			r.Reason = ""
		}
		switch up := r.more < r.less; {
		case r.Verdict != "":
		case !r.tested || few && r.P > c.err:
			r.Verdict = TooFew
		case r.P > c.err:
			r.Verdict = Same
		case r.slight:
			r.Verdict = Slight
		case r.better == "":
			r.Verdict = Different
		case up == (r.better == "lower"):
			r.Verdict = Worse
		default:
			r.Verdict = Better
		}
	}
}

// conclude finds the outcome: the worst row, but not comparable as a whole when for an objective or indicator nothing could
// be said.
func (c *comparer) conclude(biased bool) {
	known := map[string]bool{}
	seen := map[Verdict]bool{}
	for i := range c.Rows {
		r := &c.Rows[i]
		id := r.Objective + "\x00" + r.SLI
		known[id] = known[id] || r.Verdict.decided()
		seen[r.Verdict] = true
	}
	unknown := len(c.Rows) == 0
	for _, k := range known {
		unknown = unknown || !k
	}
	switch {
	case biased:
		c.Outcome = Incomparable
	case seen[Worse]:
		c.Outcome = Worse
	case len(c.Rows) == 0, unknown && seen[Incomparable]:
		c.Outcome = Incomparable
	case unknown:
		c.Outcome = TooFew
	case seen[Different]:
		c.Outcome = Different
	case seen[Better]:
		c.Outcome = Better
	case seen[Slight]:
		c.Outcome = Slight
	default:
		c.Outcome = Same
	}
}

// JSON writes the result.
func (r *Result) JSON(w io.Writer) error {
	for i := range r.Rows { // JSON has no infinities
		for _, p := range []**float64{&r.Rows[i].Change, &r.Rows[i].A.AtMost, &r.Rows[i].B.AtMost} {
			if *p != nil && math.IsInf(**p, 0) {
				*p = nil
			}
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
