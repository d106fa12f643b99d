package syntax

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slopebpf/slope/lang/source"
)

func TestTokens(t *testing.T) {
	tests := []struct{ text, want string }{
		{"kprobe:vfs_* /pid==1/{@x=1}", "attach(kprobe:vfs_*) op(/) ident(pid) op(==) number(1) op(/) op({) map(@x) op(=) number(1) op(})"},
		{"uprobe:/srv/x:main.(*Server).serve {}", "attach(uprobe:/srv/x:main.(*Server).serve) op({) op(})"},
		{"u:/x:main.F[go.shape.int,a] {}", "attach(u:/x:main.F[go.shape.int,a]) op({) op(})"},
		{`u:/x:cpp:"f(int, char)"{}`, `attach(u:/x:cpp:"f(int, char)") op({) op(})`},
		{"t:a:{b,c},t:d:$1{}", "attach(t:a:{b,c}) op(,) attach(t:d:$1) op({) op(})"},
		{"poll:1s:cgroup:/kubepods/* {}", "attach(poll:1s:cgroup:/kubepods/*) op({) op(})"},
		{"a = k:f, b=k:g {}", "attach(a) op(=) attach(k:f) op(,) attach(b=k:g) op({) op(})"},
		{"sli x[a] { unit = s; k:f { } a=k:g { b } }", "decl(sli) ident(x) op([) ident(a) op(]) op({) ident(unit) op(=) ident(s) op(;) attach(k:f) op({) op(}) attach(a=k:g) op({) ident(b) op(}) op(})"},
		{"test:sli {} test \"x\" {}", "attach(test:sli) op({) op(}) decl(test) string(\"x\") op({) op(})"},
		{"sli {}", "attach(sli) op({) op(})"},
		{"begin { sli = 1 }", "attach(begin) op({) ident(sli) op(=) number(1) op(})"},
		{"begin { 0..10; $t.0.1; 200ms; 10MiB; 0x1f }", "attach(begin) op({) number(0) op(..) number(10) op(;) var($t) op(.) number(0) op(.) number(1) op(;) number(200ms) op(;) number(10MiB) op(;) number(0x1f) op(})"},
		{"begin { if x->if.let $1 $# @ @a_1 }", "attach(begin) op({) keyword(if) ident(x) op(->) ident(if) op(.) ident(let) param($1) param($#) map(@) map(@a_1) op(})"},
		{"#!/usr/bin/slope\n#define A \\\n 1\nBEGIN{}", "directive(#!/usr/bin/slope) directive(#define A \\\n 1) attach(BEGIN) op({) op(})"},
		{"begin { \"a\\\"b\" \"open\n }", "attach(begin) op({) string(\"a\\\"b\") bad(\"open) op(})"},
		{"begin { ` /* open", "attach(begin) op({) bad(`) bad(/* open)"},
		{"k:f { if (1) {\nkprobe:g { }", "attach(k:f) op({) keyword(if) op(() number(1) op()) op({) attach(kprobe:g) op({) op(})"},
		{"k:f / {1} / {} k:g {}", "attach(k:f) op(/) op({) number(1) op(}) op(/) op({) op(}) attach(k:g) op({) op(})"},
		{"struct a { int b:1; } __attribute__((packed)); k:f {}", "decl(struct) ident(a) op({) ident(int) ident(b) op(:) number(1) op(;) op(}) decl(__attribute__) op(() op(() ident(packed) op()) op()) op(;) attach(k:f) op({) op(})"},
		{"test \"a\" { fire(k:/x:(*T).f, a = 1); fire(x) }", "decl(test) string(\"a\") op({) ident(fire) op(() attach(k:/x:(*T).f) op(,) ident(a) op(=) number(1) op()) op(;) ident(fire) op(() ident(x) op()) op(})"},
		{"begin { $x <<= 1 ?: a||b }", "attach(begin) op({) var($x) op(<<=) number(1) op(?) op(:) ident(a) op(||) ident(b) op(})"},
	}
	for _, test := range tests {
		tokens := Lex(test.text)
		if joined(tokens) != test.text {
			t.Errorf("%q: tokens join to %q", test.text, joined(tokens))
		}
		var got []string
		for _, tok := range tokens {
			if tok.Kind != Whitespace {
				got = append(got, fmt.Sprintf("%s(%s)", tok.Kind, tok.Text))
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
	for _, unit := range []string{"(", "{", "-", "f(", "@a[", "if (1) {", "typeof(", "(typeof(", "if (1) {} else ", "x ? ", "a.b[", "sizeof(", "comptime "} {
		n := 20_000
		if unit == "(" {
			n = 100_000
		}
		start := time.Now()
		_, ds := Parse(source.NewFile("deep", "begin { "+strings.Repeat(unit, n)))
		if len(ds) == 0 || len(ds) > 60 || !strings.Contains(ds[0].Message, "nested too deeply") {
			t.Errorf("%q: got %d diagnostics", unit, len(ds))
		}
		if d := time.Since(start); d > 5*time.Second {
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

// TestWalk counts the nodes that Walk reaches in every place an expression can hide in.
func TestWalk(t *testing.T) {
	text := `kprobe:f /x/ { $a = if (x) { x } else if (x) { x } else { x }; $b = { let $c = x; x };
		for ($i : x..x) { f(x, (x, x), (n = x), x ? x : x, (uint8)x, x.y, $q[x], @m[x, x], sizeof(x + x), comptime x, -x); }
		let $d : typeof(x) = x; while (x) { return x; } { x } }
		slo s = 1% of s[x] where x over 1d { p = x; }
		sli t { p = x; kprobe:g { x; } }`
	f, ds := Parse(source.NewFile("stdin", text))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	got := 0
	WalkFile(f, func(n Node) bool {
		if name, ok := n.(*Name); ok && name.Text == "x" {
			got++
		}
		return true
	})
	want := 0
	for _, tok := range f.Tokens {
		if tok.Kind == Ident && tok.Text == "x" {
			want++
		}
	}
	if got != want {
		t.Errorf("reached %d of %d", got, want)
	}
}
