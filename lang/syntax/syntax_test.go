package syntax

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/source"
)

var kindNames = [...]string{"Whitespace", "Comment", "Directive", "Attach", "Decl", "Keyword", "Ident", "Var",
	"Positional", "Map", "Number", "Quoted", "Op", "Bad"}

func TestTokens(t *testing.T) {
	tests := []struct{ text, want string }{
		{"kprobe:vfs_* /pid==1/{@x=1}", "Attach(kprobe:vfs_*) Op(/) Ident(pid) Op(==) Number(1) Op(/) Op({) Map(@x) Op(=) Number(1) Op(})"},
		{"uprobe:/srv/x:main.(*Server).serve {}", "Attach(uprobe:/srv/x:main.(*Server).serve) Op({) Op(})"},
		{"u:/x:main.F[go.shape.int,a] {}", "Attach(u:/x:main.F[go.shape.int,a]) Op({) Op(})"},
		{`u:/x:cpp:"f(int, char)"{}`, `Attach(u:/x:cpp:"f(int, char)") Op({) Op(})`},
		{"t:a:{b,c},t:d:$1{}", "Attach(t:a:{b,c}) Op(,) Attach(t:d:$1) Op({) Op(})"},
		{"poll:1s:cgroup:/kubepods/* {}", "Attach(poll:1s:cgroup:/kubepods/*) Op({) Op(})"},
		{"a = k:f, b=k:g {}", "Attach(a) Op(=) Attach(k:f) Op(,) Attach(b=k:g) Op({) Op(})"},
		{"sli x[a] { unit = s; k:f { } a=k:g { b } }", "Decl(sli) Ident(x) Op([) Ident(a) Op(]) Op({) Ident(unit) Op(=) Ident(s) Op(;) Attach(k:f) Op({) Op(}) Attach(a=k:g) Op({) Ident(b) Op(}) Op(})"},
		{"test:sli {} test \"x\" {}", "Attach(test:sli) Op({) Op(}) Decl(test) Quoted(\"x\") Op({) Op(})"},
		{"sli {}", "Attach(sli) Op({) Op(})"},
		{"begin { sli = 1 }", "Attach(begin) Op({) Ident(sli) Op(=) Number(1) Op(})"},
		{"begin { 0..10; $t.0.1; 200ms; 10MiB; 0x1f }", "Attach(begin) Op({) Number(0) Op(..) Number(10) Op(;) Var($t) Op(.) Number(0) Op(.) Number(1) Op(;) Number(200ms) Op(;) Number(10MiB) Op(;) Number(0x1f) Op(})"},
		{"begin { if x->if.let $1 $# @ @a_1 }", "Attach(begin) Op({) Keyword(if) Ident(x) Op(->) Ident(if) Op(.) Ident(let) Positional($1) Positional($#) Map(@) Map(@a_1) Op(})"},
		{"#!/usr/bin/slope\n#define A \\\n 1\nBEGIN{}", "Directive(#!/usr/bin/slope) Directive(#define A \\\n 1) Attach(BEGIN) Op({) Op(})"},
		{"begin { \"a\\\"b\" \"open\n }", "Attach(begin) Op({) Quoted(\"a\\\"b\") Bad(\"open) Op(})"},
		{"begin { ` /* open", "Attach(begin) Op({) Bad(`) Bad(/* open)"},
		{"k:f { if (1) {\nkprobe:g { }", "Attach(k:f) Op({) Keyword(if) Op(() Number(1) Op()) Op({) Attach(kprobe:g) Op({) Op(})"},
		{"k:f / {1} / {} k:g {}", "Attach(k:f) Op(/) Op({) Number(1) Op(}) Op(/) Op({) Op(}) Attach(k:g) Op({) Op(})"},
		{"struct a { int b:1; } __attribute__((packed)); k:f {}", "Decl(struct) Ident(a) Op({) Ident(int) Ident(b) Op(:) Number(1) Op(;) Op(}) Decl(__attribute__) Op(() Op(() Ident(packed) Op()) Op()) Op(;) Attach(k:f) Op({) Op(})"},
		{"test \"a\" { fire(k:/x:(*T).f, a = 1); fire(x) }", "Decl(test) Quoted(\"a\") Op({) Ident(fire) Op(() Attach(k:/x:(*T).f) Op(,) Ident(a) Op(=) Number(1) Op()) Op(;) Ident(fire) Op(() Ident(x) Op()) Op(})"},
		{"begin { $x <<= 1 ?: a||b }", "Attach(begin) Op({) Var($x) Op(<<=) Number(1) Op(?) Op(:) Ident(a) Op(||) Ident(b) Op(})"},
	}
	for _, test := range tests {
		tokens := Lex(test.text)
		if joined(tokens) != test.text {
			t.Errorf("%q: tokens join to %q", test.text, joined(tokens))
		}
		var got []string
		for _, tok := range tokens {
			if tok.Kind != Whitespace {
				got = append(got, fmt.Sprintf("%s(%s)", kindNames[tok.Kind], tok.Text))
			}
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%q:\ngot  %s\nwant %s", test.text, s, test.want)
		}
	}
}

// body parses one expression in a probe.
func body(t *testing.T, text string) Expr {
	t.Helper()
	f, ds := Parse(source.NewFile("stdin", "begin { "+text+" }"))
	if len(ds) > 0 {
		t.Fatalf("%s: %v", text, ds)
	}
	b := f.Items[0].(*Probe).Body
	if b.Result == nil {
		t.Fatalf("%s: no value", text)
	}
	return b.Result
}

// grouped writes an expression with all its parentheses.
func grouped(x Expr) string {
	switch n := x.(type) {
	case *Binary:
		return "(" + grouped(n.L) + n.Op + grouped(n.R) + ")"
	case *Unary:
		if n.Postfix {
			return "(" + grouped(n.X) + n.Op + ")"
		}
		return "(" + n.Op + grouped(n.X) + ")"
	case *Cast:
		return "(<" + (&printer{}).typeText(n.Type) + ">" + grouped(n.X) + ")"
	case *Field:
		return "(" + grouped(n.X) + "." + n.Name.Text + ")"
	case *Ternary:
		if n.Then == nil {
			return "(" + grouped(n.Cond) + "?:" + grouped(n.Else) + ")"
		}
		return "(" + grouped(n.Cond) + "?" + grouped(n.Then) + ":" + grouped(n.Else) + ")"
	}
	return ExprString(x)
}

func (p *printer) typeText(t *TypeRef) string {
	p.typeRef(t)
	return p.out.String()
}

func TestPrecedence(t *testing.T) {
	tests := []struct{ text, want, printed string }{
		{"a & b == c", "(a&(b==c))", "a & b == c"},
		{"(a & b) == c", "((a&b)==c)", "(a & b) == c"},
		{"a | b ^ c & d", "(a|(b^(c&d)))", "a | b ^ c & d"},
		{"a || b && c | d", "(a||(b&&(c|d)))", "a || b && c | d"},
		{"a < b == c << d + e * f", "((a<b)==(c<<(d+(e*f))))", "a < b == c << d + e * f"},
		{"a - b - c", "((a-b)-c)", "a - b - c"},
		{"a - (b - c)", "(a-(b-c))", "a - (b - c)"},
		{"-a.b", "(-(a.b))", "-a.b"},
		{"(-a).b", "((-a).b)", "(-a).b"},
		{"- -$a", "(-(-$a))", "- -$a"},
		{"!$a++", "(!($a++))", "!$a++"},
		{"*$p++ + 1", "((*($p++))+1)", "*$p++ + 1"},
		{"(uint8)a.b + 1", "((<uint8>(a.b))+1)", "(uint8)a.b + 1"},
		{"((struct t *)a)->b", "((<struct t *>a).b)", "((struct t *)a)->b"},
		{"(nsecs) - 1", "(nsecs-1)", "nsecs - 1"},
		{"(x) - 1", "(<x>(-1))", "(x)-1"},
		{"a ? b : c ? d : e", "(a?b:(c?d:e))", "a ? b : c ? d : e"},
		{"(a ? b : c) ? d : e", "((a?b:c)?d:e)", "(a ? b : c) ? d : e"},
		{"a ? : b || c", "(a?:(b||c))", "a ?: b || c"},
		{"a / b / c % d", "(((a/b)/c)%d)", "a / b / c % d"},
	}
	for _, test := range tests {
		x := body(t, test.text)
		if got := grouped(x); got != test.want {
			t.Errorf("%s: got %s, want %s", test.text, got, test.want)
		}
		if got := ExprString(x); got != test.printed {
			t.Errorf("%s: printed %s, want %s", test.text, got, test.printed)
		}
	}
}

func TestLiterals(t *testing.T) {
	tests := []struct {
		text  string
		value uint64
		unit  Unit
		err   string
	}{
		{"0", 0, NoUnit, ""},
		{"017", 15, NoUnit, ""},
		{"0xFFull", 255, NoUnit, ""},
		{"1_000", 1000, NoUnit, ""},
		{"5e3", 5000, NoUnit, ""},
		{"200ms", 200e6, DurationUnit, ""},
		{"30d", 30 * 86400e9, DurationUnit, ""},
		{"10MiB", 10 << 20, SizeUnit, ""},
		{"18446744073709551615", 1<<64 - 1, NoUnit, ""},
		{"18446744073709551616", 0, NoUnit, "overflow error, maximum value is 18446744073709551615"},
		{"18446744073709551615s", 0, NoUnit, "overflow error, maximum value is 18446744073709551615"},
		{"9e19", 0, NoUnit, "overflow error, maximum value is 18446744073709551615"},
		{"12e4", 0, NoUnit, "the coefficient of an exponent must be 1 to 9, got '12'"},
		{"1_", 0, NoUnit, "an integer must not end in '_'"},
		{"0b11", 0, NoUnit, "invalid integer suffix 'b11'"},
		{"10KB", 0, NoUnit, "invalid integer suffix 'KB'"},
		{"09", 0, NoUnit, "invalid digit '9' in octal literal"},
		{"0x", 0, NoUnit, "invalid integer '0x'"},
	}
	for _, test := range tests {
		value, unit, err := parseInt(test.text)
		if value != test.value || unit != test.unit || err != test.err {
			t.Errorf("%s: got %d %d %q", test.text, value, unit, err)
		}
	}
	if s := body(t, `"a\n\t\r\"\\\101\x41z"`).(*String).Value; s != "a\n\t\r\"\\AAz" {
		t.Errorf("got %q", s)
	}
}

func TestPercent(t *testing.T) {
	f, ds := Parse(source.NewFile("stdin", "slo a = 99.95% of b over 30d { x = 14.4; y = 7 % 2; z = 7%2; w = 100%; }"))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	n := f.Items[0].(*SLO)
	if got := n.Sentence.Objective.PPB; got != 999_500_000 {
		t.Errorf("got %d", got)
	}
	if got := n.Props[0].Value.(*Percent).PPB; got != 14_400_000_000 {
		t.Errorf("got %d", got)
	}
	for i, want := range []string{"14.4", "7 % 2", "7 % 2", "100%"} {
		if got := ExprString(n.Props[i].Value); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAttachParts(t *testing.T) {
	tests := []struct {
		raw   string
		parts []string
	}{
		{"BEGIN", []string{"BEGIN"}},
		{"uprobe:/srv/x:main.(*Server).serve", []string{"uprobe", "/srv/x", "main.(*Server).serve"}},
		{`u:/x:cpp:"a::b(int)"`, []string{"u", "/x", "cpp", "a::b(int)"}},
		{"usdt:/x:", []string{"usdt", "/x", ""}},
		{"kprobe:[ab]*", []string{"kprobe", "[ab]*"}},
		{"poll:1s:cgroup:/kubepods/*", []string{"poll", "1s", "cgroup", "/kubepods/*"}},
	}
	for _, test := range tests {
		if got := splitAttach(test.raw); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.parts) {
			t.Errorf("%s: got %q, want %q", test.raw, got, test.parts)
		}
	}
}

// TestDepth feeds what would exhaust the stack of a careless parser, or take it exponential time.
func TestDepth(t *testing.T) {
	const n = 100_000
	for _, unit := range []string{"(", "{", "-", "f(", "@a[", "if (1) {", "typeof(", "(typeof(", "if (1) {} else ", "x ? ", "a.b[", "sizeof(", "comptime "} {
		start := time.Now()
		_, ds := Parse(source.NewFile("deep", "begin { "+strings.Repeat(unit, n)))
		if len(ds) == 0 || len(ds) > 5 || !strings.Contains(ds[0].Message, "nested too deeply") {
			t.Errorf("%q: got %d diagnostics", unit, len(ds))
		}
		t.Logf("%q %v", unit, time.Since(start))
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%q took %v", unit, d)
		}
	}
}

func TestIncomplete(t *testing.T) {
	tests := []struct {
		text string
		want bool
	}{
		{"begin {", true},
		{"begin { if (", true},
		{"begin { /* open", true},
		{"sli x {", true},
		{"struct a {", true},
		{"kprobe:f,", true},
		{"begin { \"open", false},
		{"begin { ) ", false},
		{"begin { }", false},
	}
	for _, test := range tests {
		if _, ds := Parse(source.NewFile("stdin", test.text)); ds.Incomplete() != test.want {
			t.Errorf("%s: got %v, want %v: %v", test.text, !test.want, test.want, ds)
		}
	}
}

func TestStatementStrings(t *testing.T) {
	f, ds := Parse(source.NewFile("stdin", "x=kprobe:f { if ($a) { @x[1] += 2; let $y = { 1 }; } else { exit() } }"))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	p := f.Items[0].(*Probe)
	if got := StmtString(p.Body.Stmts[0]); got != "if ($a) { @x[1] += 2; let $y = { 1 }; } else { exit() }" {
		t.Errorf("got %s", got)
	}
	if got := AttachString(p.Attach[0]); got != "x=kprobe:f" {
		t.Errorf("got %s", got)
	}
}
