package syntax

import "github.com/slopebpf/slope/lang/source"

// The tree is a value without types or symbols: passes return side tables keyed by node.
// Every node knows its span in bytes; broken parts are BadItem, BadStmt and BadExpr.

// Node is any part of the tree.
type Node interface{ Span() source.Span }

// Range is the span of a node, embedded by every node type.
type Range source.Span

// Span implements Node.
func (r Range) Span() source.Span { return source.Span(r) }

// File is a parsed script. Tokens holds every token, blanks and comments included; joined they are the source.
type File struct {
	Source *source.File
	Items  []Item
	Tokens []Token
}

// Item is a top-level declaration.
type Item interface {
	Node
	item()
}

// Probe is "[name=]attach[, attach…] [/predicate/] { body }". The same node serves in the body of an sli.
type Probe struct {
	Range
	Attach []*AttachPoint
	Pred   Expr // nil without a predicate
	Body   *Block
}

// AttachPoint is one attach point as written, split at ':' outside quotes. Parts[0] is the provider.
// Alternations {a,b} are expanded by the checker, not here.
type AttachPoint struct {
	Range
	Alias string // "name=" prefix, without '='
	Raw   string // as written, without the alias
	Parts []string
}

// SLI is "sli name[labels] "doc" { properties and probes }".
type SLI struct {
	Range
	Name   *Name
	Labels []*Name
	Doc    *String // nil when absent
	Props  []*Property
	Probes []*Probe
}

// SLO is "slo name = …". Exactly one of Sentence and Composite is set, unless the item is broken.
type SLO struct {
	Range
	Name      *Name
	Sentence  *Sentence
	Composite *Composite
	Props     []*Property // of the optional { block }
}

// Sentence is "PERCENT of [minutes of] SLI[label == value,…] [OP VALUE | where EXPR] over WINDOW [by labels]".
type Sentence struct {
	Range
	Objective *Percent
	Minutes   bool
	SLI       *Name
	Filters   []Expr // each a comparison on a label
	Op        string // "<" "<=" ">" ">=" or ""
	Limit     Expr   // with Op
	Where     Expr   // with "where"
	Window    *Window
	By        []*Name
}

// Window is a rolling duration (Length) or a calendar period (Calendar is month, week or quarter).
type Window struct {
	Range
	Length   *Int
	Calendar string
	Zone     *String
}

// Composite is "all(name: weight, …)".
type Composite struct {
	Range
	Parts []*Weighted
}

// Weighted is one part of a composite; Weight is nil when left out.
type Weighted struct {
	Range
	Name   *Name
	Weight *Int
}

// Property is "name = value;". In an sli or slo body.
type Property struct {
	Range
	Name  *Name
	Value Expr
}

// MapDecl is "let @m = type(N);".
type MapDecl struct {
	Range
	Name *Map
	Type *Name
	Max  *Int
}

// Config is "config = { key = value; … }".
type Config struct {
	Range
	Props []*Property
}

// Import is "import "path" [(name = value, …)];".
type Import struct {
	Range
	Path   *String
	Params []*Property
}

// Macro is "macro name(args) block". Each parameter is a Var, Map or Name.
type Macro struct {
	Range
	Name   *Name
	Params []Expr
	Body   *Block
}

// Fn is "fn name($a : type, …) : type block".
type Fn struct {
	Range
	Name   *Name
	Params []*Param
	Result *TypeRef
	Body   *Block
}

// Param is one parameter of an Fn.
type Param struct {
	Range
	Name *Var
	Type *TypeRef
}

// Export is "export @map[labels] as kind "help";".
type Export struct {
	Range
	Map    *Map
	Labels []*Name
	Kind   *Name
	Help   *String
}

// Test is "test "name" { … }", slope's own test block.
type Test struct {
	Range
	Name *String
	Body *Block
}

// CDef is a C definition of a struct, union, enum or typedef, kept verbatim.
type CDef struct {
	Range
	Keyword string
	Text    string
}

// Directive is a line that starts with '#': shebang, #include, #define. Kept verbatim.
type Directive struct {
	Range
	Text string
}

// BadItem is what could not be parsed; its error is in the diagnostics.
type BadItem struct{ Range }

func (*Probe) item()     {}
func (*SLI) item()       {}
func (*SLO) item()       {}
func (*MapDecl) item()   {}
func (*Config) item()    {}
func (*Import) item()    {}
func (*Macro) item()     {}
func (*Fn) item()        {}
func (*Export) item()    {}
func (*Test) item()      {}
func (*CDef) item()      {}
func (*Directive) item() {}
func (*BadItem) item()   {}

// Stmt is a statement.
type Stmt interface {
	Node
	stmt()
}

// Block is "{ stmts }". As an expression its value is Result, the last expression without ';'.
type Block struct {
	Range
	Stmts  []Stmt
	Result Expr // nil unless the block ends in an expression without ';'
}

// ExprStmt is an expression for its effect.
type ExprStmt struct {
	Range
	X Expr
}

// Assign is "target op value": op is "=", "+=", … Discard "_ = x" has a Name "_" as target.
type Assign struct {
	Range
	Target Expr
	Op     string
	Value  Expr
}

// Let is "let $x [: type] [= value];".
type Let struct {
	Range
	Name  *Var
	Type  *TypeRef
	Value Expr
}

// If is a statement and, inside IfExpr, an expression. Else is nil, *Block or *If.
type If struct {
	Range
	Cond Expr
	Then *Block
	Else Stmt
}

// Loop is "while (cond) block" or "unroll (n) block".
type Loop struct {
	Range
	Keyword string
	Cond    Expr
	Body    *Block
}

// For is "for ($x : over) block"; over a range both From and To are set, over a map only From.
type For struct {
	Range
	Var      *Var
	From, To Expr
	Body     *Block
}

// Jump is break, continue or return [value].
type Jump struct {
	Range
	Keyword string
	Value   Expr
}

// ImportStmt is an import inside a block.
type ImportStmt struct{ *Import }

// BadStmt is what could not be parsed.
type BadStmt struct{ Range }

func (*Block) stmt()     {}
func (*ExprStmt) stmt()  {}
func (*Assign) stmt()    {}
func (*Let) stmt()       {}
func (*If) stmt()        {}
func (*Loop) stmt()      {}
func (*For) stmt()       {}
func (*Jump) stmt()      {}
func (ImportStmt) stmt() {}
func (*BadStmt) stmt()   {}

// Expr is an expression.
type Expr interface {
	Node
	expr()
}

// Name is a bare identifier: a builtin, a macro argument, a label, a property name.
type Name struct {
	Range
	Text string
}

// Var is "$x"; Text is without '$'. Positional parameters are Positional.
type Var struct {
	Range
	Text string
}

// Positional is "$1" (N = 1) or "$#" (N = 0).
type Positional struct {
	Range
	N int
}

// Map is "@x" (Text "x") or "@" (Text ""), with its keys when indexed.
type Map struct {
	Range
	Text  string
	Index []Expr // nil when not indexed
}

// Unit is what an integer literal was written with.
type Unit uint8

// The units of literals. Durations are in nanoseconds, sizes in bytes.
const (
	NoUnit Unit = iota
	DurationUnit
	SizeUnit
)

// Int is an integer, duration (200ms) or byte-size (10MiB) literal.
// Unsigned marks values above the int64 range. Raw is as written.
type Int struct {
	Range
	Raw   string
	Value uint64
	Unit  Unit
}

// String is a string literal; Value is unescaped.
type String struct {
	Range
	Value string
}

// Bool is true or false.
type Bool struct {
	Range
	Value bool
}

// Percent is "99.9%", exact in parts per billion.
type Percent struct {
	Range
	Raw string
	PPB uint64
}

// Unary is a prefix or postfix operator: ! ~ - + * & ++ --.
type Unary struct {
	Range
	Op      string
	Postfix bool
	X       Expr
}

// Binary is a binary operator.
type Binary struct {
	Range
	Op     string
	OpSpan source.Span
	L, R   Expr
}

// Ternary is "c ? a : b", or "c ?: b" with Then nil.
type Ternary struct {
	Range
	Cond, Then, Else Expr
}

// Field is "x.name" or "x->name"; tuple fields have a decimal name.
type Field struct {
	Range
	X     Expr
	Arrow bool
	Name  *Name
}

// Index is "x[i]" on anything but a map.
type Index struct {
	Range
	X    Expr
	Keys []Expr
}

// Call is "name(args)".
type Call struct {
	Range
	Name *Name
	Args []Expr
}

// Cast is "(type)x".
type Cast struct {
	Range
	Type *TypeRef
	X    Expr
}

// TypeExpr is sizeof, offsetof, typeof or typeinfo of a type or an expression; without a keyword it is a type as an
// argument.
type TypeExpr struct {
	Range
	Keyword string
	Type    *TypeRef // or X
	X       Expr
	Fields  []*Name // of offsetof
}

// Comptime is "comptime x".
type Comptime struct {
	Range
	X Expr
}

// Tuple is "(a, b)", "(a,)" or "()".
type Tuple struct {
	Range
	Elems []Expr
}

// Record is "(name = x, …)".
type Record struct {
	Range
	Names []*Name
	Elems []Expr
}

// IfExpr is an if used as an expression.
type IfExpr struct{ *If }

// BlockExpr is a block used as an expression.
type BlockExpr struct{ *Block }

// BadExpr is what could not be parsed.
type BadExpr struct{ Range }

func (*Name) expr()       {}
func (*Var) expr()        {}
func (*Positional) expr() {}
func (*Map) expr()        {}
func (*Int) expr()        {}
func (*String) expr()     {}
func (*Bool) expr()       {}
func (*Percent) expr()    {}
func (*Unary) expr()      {}
func (*Binary) expr()     {}
func (*Ternary) expr()    {}
func (*Field) expr()      {}
func (*Index) expr()      {}
func (*Call) expr()       {}
func (*Cast) expr()       {}
func (*TypeExpr) expr()   {}
func (*Comptime) expr()   {}
func (*Tuple) expr()      {}
func (*Record) expr()     {}
func (IfExpr) expr()      {}
func (BlockExpr) expr()   {}
func (*BadExpr) expr()    {}

// TypeRef is a type as written: "uint64", "struct task_struct *", "int32[4]", "typeof(x)".
type TypeRef struct {
	Range
	Keyword string // struct, union, enum or ""
	Name    string
	Suffix  []TypeSuffix
	Typeof  Expr // with typeof(expr)
}

// Bare tells whether it is a name and nothing else, which may be that of anything.
func (t *TypeRef) Bare() bool { return t.Keyword == "" && len(t.Suffix) == 0 && t.Typeof == nil }

// TypeSuffix is "*" (Pointer) or "[N]".
type TypeSuffix struct {
	Pointer bool
	Len     int // -1 for "[]"
}
