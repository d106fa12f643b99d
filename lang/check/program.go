// Package check gives meaning to a parsed script: it resolves names and attach points, types every expression, fixes
// the types of maps and variables, and applies the rules of sli and slo declarations.
//
// The tree stays untouched; the result is a Program of side tables. Map and variable types depend on each other across
// probes, so the whole script is walked repeatedly until no type changes any more; only the last walk reports. What
// exists besides the language comes in as a types.Universe, attach points are looked up by a types.Resolver: this
// package opens no file and knows no kernel. Start at Check.
package check

import (
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

	Numbers map[syntax.Expr]int // of numbered builtin variables: arg3 has 3
}

func newInfo() *Info {
	return &Info{
		Types: map[syntax.Expr]*types.Type{}, Funcs: map[*syntax.Call]*types.Func{}, Vars: map[syntax.Expr]*types.Var{},
		Locals: map[*syntax.Var]*Local{}, Maps: map[*syntax.Map]*Map{}, Aggs: map[*syntax.Call]*types.Agg{},
		Consts: map[syntax.Expr]int64{}, Numbers: map[syntax.Expr]int{},
	}
}

// Local is a $variable.
type Local struct {
	Name string
	Type *types.Type
	Decl *syntax.Var
	read bool
	open bool // declared without a value: the first assignment gives the type
}

// SLIKind is what an sli records.
type SLIKind uint8

// The kinds; the verbs used in the body decide.
const (
	UnknownSLI SLIKind = iota
	Distribution
	Ratio
)

func (k SLIKind) String() string { return [...]string{"unknown", "distribution", "ratio"}[k] }

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

	start *syntax.Call
	stop  *syntax.Call
}

// Label is one export label.
type Label struct {
	Name string
	Type *types.Type
}

// Unit is what an sli observes and exports.
type Unit uint8

// The units. Seconds are observed in nanoseconds.
const (
	NoUnit Unit = iota
	Seconds
	Bytes
)

func (u Unit) String() string { return [...]string{"none", "seconds", "bytes"}[u] }

// PerBase returns how many observed units make one exported base unit.
func (u Unit) PerBase() uint64 {
	if u == Seconds {
		return 1e9
	}
	return 1
}

// SLO is a checked objective.
type SLO struct {
	Name    string
	Node    *syntax.SLO
	PPB     uint64 // the objective in parts per billion
	SLI     *SLI
	Filters []syntax.Expr // all must hold for an event to count at all
	Op      string        // condition on the value: < <= > >= , "" for none
	Limit   int64
	Where   syntax.Expr // condition on labels and value, nil for none
	Window  uint64      // rolling, in ns
	By      []int       // indexes of labels
}

// Local finds the type recorded for an expression.
func (i *Info) Type(e syntax.Expr) *types.Type {
	if t := i.Types[e]; t != nil {
		return t
	}
	return types.Bad
}
