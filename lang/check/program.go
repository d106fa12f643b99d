// Package check gives meaning to a parsed script: it resolves names and attach points, types every expression, fixes
// the types of maps and variables, and applies the rules of sli and slo declarations.
//
// The tree stays untouched; the result is a Program of side tables. Map and variable types depend on each other across
// probes, so the whole script is walked repeatedly until no type changes any more; only the last walk reports. What
// exists besides the language comes in as a types.Universe, attach points are looked up by a types.Resolver: this
// package opens no file and knows no kernel. Start at Check.
package check

import (
	"strconv"
	"time"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// Program is a checked script.
type Program struct {
	File     *syntax.File
	Universe types.Universe
	Config   types.Config
	Maps     []*Map // in order of appearance, which is the order they print in
	Clauses  []*Clause
	SLIs     []*SLI
	SLOs     []*SLO
	Exports  []*Export
	Tests    []*syntax.Test
	Named    []Named // parameters that the script declares, in order of appearance
}

// Map is one of the script's maps.
type Map struct {
	Name  string      // with '@'
	Keys  int         // number of key expressions, 0 for an unkeyed map
	Key   *types.Type // nil for an unkeyed map; a tuple for several keys
	Value *types.Type
	Kind  string // of a let declaration, "" otherwise
	Max   int    // of a let declaration, 0 otherwise
	Span  source.Span
}

// Clause is the action of one probe for a group of targets whose arguments look the same.
type Clause struct {
	Probe   *syntax.Probe
	SLI     *SLI // nil outside sli bodies
	Targets []*types.Target
	Info    *Info
	Burning *SLO // attached only while it burns; nil always
}

// Info holds what is known of the expressions of a clause, or of the conditions of an sli.
type Info struct {
	Types  map[syntax.Expr]*types.Type
	Funcs  map[*syntax.Call]*types.Func
	Vars   map[syntax.Expr]*types.Var // builtin variables, written bare or with ()
	Locals map[*syntax.Var]*Local
	Maps   map[*syntax.Map]*Map
	Aggs   map[*syntax.Call]*types.Agg
	Consts map[syntax.Expr]int64

	SpanKeys map[*syntax.Call][]syntax.Expr // of start, stop and cancel: their arguments, and the process where they name a goroutine

	Numbers map[syntax.Expr]int // of numbered builtin variables: arg3 has 3

	Notes    map[*syntax.Call][]int64    // what the checks of rows found out
	Expanded map[syntax.Expr]syntax.Expr // what stands for an expression: a call for a function written bare, or its expansion
}

func newInfo() *Info {
	return &Info{
		Types: map[syntax.Expr]*types.Type{}, Funcs: map[*syntax.Call]*types.Func{}, Vars: map[syntax.Expr]*types.Var{},
		Locals: map[*syntax.Var]*Local{}, Maps: map[*syntax.Map]*Map{}, Aggs: map[*syntax.Call]*types.Agg{},
		Consts: map[syntax.Expr]int64{}, Numbers: map[syntax.Expr]int{}, Expanded: map[syntax.Expr]syntax.Expr{}, Notes: map[*syntax.Call][]int64{},
		SpanKeys: map[*syntax.Call][]syntax.Expr{},
	}
}

// Local is a $variable.
type Local struct {
	ID       int // in the order of their first sight
	Name     string
	Type     *types.Type
	Decl     *syntax.Var
	Declared bool        // with a type, which is kept: integers are cut to its width
	address  *types.Type // of & on it: the one pointer grows with what the variable holds
	read     bool
	open     bool // declared without a value: the first assignment gives the type
}

// SLIKind is what an sli records.
type SLIKind uint8

// The kinds; the verbs used in the body decide.
const (
	UnknownSLI SLIKind = iota
	Distribution
	Ratio
	Counters // cumulative counters that are kept elsewhere
	Gauge    // a level now; its objectives count good minutes
)

func (k SLIKind) String() string {
	return [...]string{"unknown", "distribution", "ratio", "counters", "gauge"}[k]
}

// Valued tells whether the indicator has values that an objective compares.
func (k SLIKind) Valued() bool { return k == Distribution || k == Gauge }

// SLI is a checked indicator.
type SLI struct {
	Name       string
	Doc        string
	Node       *syntax.SLI
	Kind       SLIKind
	Labels     []Label
	Unit       Unit
	Schema     int // of the native histogram: resolution
	Limit      int // label sets kept
	Valid      syntax.Expr
	SpanKey    *types.Type // nil without start
	Objectives []*SLO
	Info       *Info // of Valid and of the objectives' conditions

	start   *syntax.Call
	stop    *syntax.Call
	process bool // spans are keyed by goroutines, and so by the process
	lacks   bool // a probe was not found: what seems to be missing may stand there
}

// Label is one export label.
type Label struct {
	Name string
	Type *types.Type
}

// Unit is what an sli observes and exports.
type Unit uint8

// The units. Seconds are observed in nanoseconds, ratios in millionths.
const (
	NoUnit Unit = iota
	Seconds
	Bytes
	RatioUnit
)

func (u Unit) String() string { return [...]string{"none", "seconds", "bytes", "ratio"}[u] }

// PerBase returns how many observed units make one exported base unit.
func (u Unit) PerBase() uint64 { return [...]uint64{1, 1e9, 1, 1e6}[u] }

// SLO is a checked objective: a sentence about one indicator, or a composite of such.
type SLO struct {
	Name    string
	Node    *syntax.SLO
	Index   int           // in Program.SLOs
	PPB     uint64        // the objective in parts per billion; of a composite 0
	SLI     *SLI          // nil of a composite
	Parts   []Part        // of a composite, nil otherwise
	Minutes bool          // counts good minutes, not good events
	Filters []syntax.Expr // all must hold for an event to count at all
	Op      string        // condition on the value: < <= > >= , "" for none
	Limit   int64
	Where   syntax.Expr // condition on labels and value, nil for none
	By      []int       // indexes of labels

	Window   uint64 // rolling, in ns; 0 with a calendar
	Calendar string // month, week or quarter; "" with a rolling window
	Zone     string // IANA name of the calendar's time zone, "" for UTC

	MinEvents    uint64 // no alert on fewer events in the short window
	NoData       NoData
	Page, Ticket []Burn // an alert fires when one of them does; none without alerts
	Labels       []Pair // of the rules, the metrics and the reports
	Runbook      string

	ownPage, ownTicket bool // written in the script
}

// Part is one objective of a composite.
type Part struct {
	SLO    *SLO
	Weight uint64
}

// Pair is a label with its value.
type Pair struct{ Name, Value string }

// Burn fires while the budget burns faster than Num/Den times what the objective allows, over the long and the short window.
type Burn struct {
	Num, Den    uint64
	Long, Short time.Duration
	At          source.Span // where it is written, empty for a default
}

// Factor writes the burn rate as a decimal number.
func (b Burn) Factor() string {
	return strconv.FormatFloat(float64(b.Num)/float64(b.Den), 'g', 6, 64)
}

// NoData says what a time without events is for an objective.
type NoData uint8

// What a time without events is.
const (
	IgnoreNoData NoData = iota // nothing: it counts neither as good nor as bad
	GoodNoData
	BadNoData
	AlertNoData // a state of its own, which alerts
)

var noDataNames = [...]string{"ignore", "good", "bad", "alert"}

func (n NoData) String() string { return noDataNames[n] }

// Nominal is how long the window is: of a calendar month 30 days, of a quarter 90.
func (o *SLO) Nominal() time.Duration {
	switch o.Calendar {
	case "week":
		return 7 * day
	case "month":
		return 30 * day
	case "quarter":
		return 90 * day
	}
	return time.Duration(o.Window)
}

// Local finds the type recorded for an expression.
func (i *Info) Type(e syntax.Expr) *types.Type {
	if t := i.Types[e]; t != nil {
		return t
	}
	return types.Bad
}
