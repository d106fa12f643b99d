package syntax

import "github.com/slopebpf/slope/lang/source"

// Kind is the class of a token. It is what a painter colours by.
type Kind uint8

// The kinds of tokens.
const (
	Whitespace    Kind = iota
	Comment            // "// …" or "/* … */"
	DirectiveLine      // a line that starts with "#", its continuation lines included
	AttachWord         // one attach point, or the alias in "name = attach"
	DeclWord           // a word that opens a declaration at the top level: sli, macro, struct, …
	Keyword            // a reserved word in a body: if, let, sizeof, …
	Ident
	VarName         // $x
	PositionalParam // $1, $#
	MapName         // @x, @
	Number
	Quoted // a string literal with its quotes
	Op     // operators, brackets, braces
	Bad    // what the lexer could not read: the parser reports it
)

var kindNames = [...]string{"whitespace", "comment", "directive", "attach", "decl", "keyword", "ident", "var",
	"param", "map", "number", "string", "op", "bad"}

func (k Kind) String() string { return kindNames[k] }

// Token is a piece of the source. The texts of all tokens joined are the source.
type Token struct {
	Kind Kind
	Text string
	Span source.Span
}

// bodyKeywords are reserved in bodies, except as a field name after '.' or '->'.
var bodyKeywords = map[string]bool{
	"break": true, "comptime": true, "continue": true, "else": true, "enum": true, "false": true, "for": true,
	"if": true, "import": true, "let": true, "offsetof": true, "return": true, "sizeof": true, "struct": true,
	"true": true, "typeinfo": true, "typeof": true, "union": true, "unroll": true, "while": true,
}

// declWords open a declaration wherever an item may start.
var declWords = map[string]bool{
	"__attribute__": true, "config": true, "enum": true, "fn": true, "import": true, "let": true,
	"macro": true, "struct": true, "typedef": true, "union": true,
}

// contextualWords open a declaration only before a name, a string or a map: probes and labels may have these names.
var contextualWords = map[string]bool{"export": true, "sli": true, "slo": true, "test": true}

// providers are the words that can only start a probe when they stand in column one before a ':'.
// They let the lexer find its way back after a missing '}'. The short aliases are left out on purpose.
var providers = map[string]bool{
	"alert": true, "bench": true, "fentry": true, "fexit": true, "goret": true, "hardware": true, "interval": true,
	"iter": true, "kfunc": true, "kprobe": true, "kretfunc": true, "kretprobe": true, "poll": true, "profile": true,
	"rawtracepoint": true, "self": true, "software": true, "tracepoint": true, "uprobe": true, "uretprobe": true,
	"usdt": true, "watchpoint": true,
}

// edgeProbes are the providers without a ':'.
var edgeProbes = map[string]bool{"begin": true, "end": true, "BEGIN": true, "END": true}

// operators, longest first for each first byte.
var operators = [...]string{
	"<<=", ">>=",
	"<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "++", "--", "->", "..",
	"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
	"+", "-", "*", "/", "%", "&", "|", "^", "<", ">", "=", "!", "~", "?", ":", ";", ",", ".",
	"(", ")", "[", "]", "{", "}",
}
