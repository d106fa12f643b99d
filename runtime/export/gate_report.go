package export

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strconv"
	"time"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/slo"
)

// GateVersion is the version of GateReport's JSON. It grows when a field changes its meaning or goes.
const GateVersion = 2

// GateReport is all that a gate's run tells, for machines: enough to compare two runs later.
type GateReport struct {
	Version    int             `json:"version"`
	Slope      string          `json:"slope"`
	Kernel     string          `json:"kernel"`
	Script     GateScript      `json:"script"`
	Start      time.Time       `json:"start"`
	Seconds    float64         `json:"seconds"`
	EndedBy    string          `json:"ended_by"` // duration, command, exit, interrupt or early
	Command    *GateCommand    `json:"command,omitempty"`
	Confidence float64         `json:"confidence"`
	Outcome    string          `json:"outcome"` // the worst
	Objectives []GateObjective `json:"objectives"`
	Indicators []GateIndicator `json:"indicators"`
	Losses     []GateLoss      `json:"losses"`
}

// GateScript names what was run.
type GateScript struct {
	File   string   `json:"file"`
	SHA256 string   `json:"sha256"`
	Params []string `json:"params,omitempty"`
}

// GateCommand is the program that ran meanwhile. Status is -1 when it was stopped or killed.
type GateCommand struct {
	Args   []string `json:"args"`
	Status int      `json:"status"`
}

// GateIndicator is what an indicator recorded. Bucket i of a schema holds the values above 2^((i-1)/2^schema) and up to
// 2^(i/2^schema) base units, as in a Prometheus native histogram. Sums are in observed units: nanoseconds, bytes.
type GateIndicator struct {
	Name    string       `json:"name"`
	Kind    string       `json:"kind"` // distribution, ratio, counters or gauge
	Unit    string       `json:"unit,omitempty"`
	PerBase uint64       `json:"observed_per_base_unit,omitempty"`
	Schema  *int         `json:"schema,omitempty"`
	Better  string       `json:"better,omitempty"` // lower or higher: which values are better, if that is known
	Labels  []string     `json:"labels,omitempty"`
	Open    uint64       `json:"open_spans"` // still running at the end; part of missing
	Series  []GateSeries `json:"series"`
	Unknown
}

// GateSeries is one label set.
type GateSeries struct {
	Labels  []string     `json:"labels,omitempty"`
	Other   bool         `json:"other,omitempty"`
	Events  uint64       `json:"events"`
	Bad     *uint64      `json:"bad,omitempty"` // of a ratio
	Sum     *uint64      `json:"sum,omitempty"` // of a distribution, as are the following
	Zeros   uint64       `json:"zeros,omitempty"`
	Buckets []GateBucket `json:"buckets,omitempty"` // those with events
}

// GateBucket is one bucket of a native histogram.
type GateBucket struct {
	Index int    `json:"index"`
	Count uint64 `json:"count"`
}

// GateLoss is a Loss with its explanation.
type GateLoss struct {
	Cause string `json:"cause"`
	Map   string `json:"map,omitempty"`
	Place string `json:"place,omitempty"`
	Count uint64 `json:"count"`
	Text  string `json:"text"`
}

// NewGateIndicator takes over what an indicator recorded. scale is nil for a ratio.
func NewGateIndicator(l *lower.SLILayout, series []agg.Series, scale *agg.Scale, u Unknown, open uint64, v Values) GateIndicator {
	s := l.SLI
	out := GateIndicator{Name: s.Name, Kind: s.Kind.String(), Better: better(s), Unknown: u, Open: open, Series: []GateSeries{}}
	for _, label := range s.Labels {
		out.Labels = append(out.Labels, label.Name)
	}
	if scale != nil {
		out.Unit, out.PerBase, out.Schema = s.Unit.String(), scale.Unit, &scale.Schema
	}
	for _, one := range series {
		row := GateSeries{Labels: LabelValues(l, one.Labels, v), Other: one.Other, Events: one.Words[lower.WordCount]}
		if scale != nil {
			d := one.Dist(l, scale)
			row.Sum, row.Zeros = &d.Sum, d.Zeros
			for i, n := range d.Buckets {
				if n > 0 {
					row.Buckets = append(row.Buckets, GateBucket{scale.First + i, n})
				}
			}
		} else if at := badWord(l); at >= 0 {
			row.Bad = &one.Words[at]
		}
		out.Series = append(out.Series, row)
	}
	return out
}

// better tells which values of an indicator are better: as its objectives say, and of times the lower ones.
func better(s *check.SLI) string {
	said := map[string]bool{}
	for _, o := range s.Objectives {
		switch o.Op {
		case "<", "<=":
			said["lower"] = true
		case ">", ">=":
			said["higher"] = true
		}
	}
	switch {
	case said["lower"] && said["higher"] || !s.Kind.Valued():
		return ""
	case said["higher"]:
		return "higher"
	case said["lower"] || s.Unit == check.Seconds:
		return "lower"
	}
	return ""
}

// NewGateLosses explains losses.
func NewGateLosses(losses []Loss) []GateLoss {
	out := []GateLoss{}
	for _, l := range losses {
		out = append(out, GateLoss{l.Cause, l.Map, l.Place, l.Count, Explain(l)})
	}
	return out
}

// Result is the worst outcome of the objectives.
func (r *GateReport) Result() slo.Outcome {
	worst := slo.Pass
	for i := range r.Objectives {
		if o := r.Objectives[i].outcome; o.Worse(worst) {
			worst = o
		}
	}
	return worst
}

// JSON writes the report.
func (r *GateReport) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

type junitSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suite   junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Time    string       `xml:"time,attr"`
	Failure *junitResult `xml:"failure"`
	Error   *junitResult `xml:"error"`
	Skipped *junitResult `xml:"skipped"`
	Out     string       `xml:"system-out"`
}

type junitResult struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
}

// JUnit writes the report as JUnit's XML, one test case per objective. inconclusive says what an objective without a
// verdict is: slo.Fail a failure, slo.Pass a skipped test, otherwise an error.
func (r *GateReport) JUnit(w io.Writer, inconclusive slo.Outcome) error {
	seconds := strconv.FormatFloat(r.Seconds, 'f', 3, 64)
	s := junitSuite{Name: "slope check " + r.Script.File, Tests: len(r.Objectives), Time: seconds,
		Stamp: r.Start.UTC().Format("2006-01-02T15:04:05")}
	for i := range r.Objectives {
		o := &r.Objectives[i]
		c := junitCase{Name: o.Name + ": " + o.subject(), Class: o.SLI, Time: seconds, Out: o.evidence(r.Confidence)}
		result := &junitResult{Message: c.Out, Type: o.Outcome}
		if o.Reason != "" {
			result.Message = o.Reason
		}
		switch {
		case o.outcome == slo.Pass:
		case o.outcome == slo.Fail || inconclusive == slo.Fail:
			c.Failure = result
			s.Failures++
		case inconclusive == slo.Pass:
			c.Skipped = &junitResult{Message: result.Message}
			s.Skipped++
		default:
			c.Error = result
			s.Errors++
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Suite: s}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
