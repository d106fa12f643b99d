package query_test

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/backend"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/query"
	"github.com/slopebpf/slope/runtime/simulate"
	"github.com/slopebpf/slope/stdlib"
)

// counted is a script whose begin has counted everything by the time that it is asked.
const counted = `enum color { RED = 3 }
begin {
	@one = (uint64)9; @minus = (int64)-5; @text = "a text"; @yes = true;
	@n[1] = count(); @n[2] = count(); @n[2] = count();
	@big[9007199254740993] = (uint64)1; @big[9007199254740992] = (uint64)2; @big[18446744073709551615] = (uint64)3;
	@signed[-7] = (uint64)4; @bools[true] = (uint64)5; @bools[false] = (uint64)6; @names["x", 3] = (uint64)7; @enums[RED] = (uint64)8;
	@nested[(1, 2), "y"] = (uint64)9; @pointers[(void*)0x1f] = (uint64)10;
	@sum = sum(3); @sum = sum(4); @avg = avg(3); @avg = avg(4); @min = min(3); @max = max(3); @max = max(4); @stats = stats(6); @stats = stats(2);
	@zeros = dist(0); @zeros = dist(0); @dist[1] = dist(4); @dist[1] = dist(4); @dist[2] = dist(16);
	@hist = hist(5); @hist = hist(6); @lhist = lhist(15, 0, 100, 10);  
	@ns = sum(nsecs - nsecs + 1500);
}
end { @nothing = max(1); }
sli calls { begin { good(); good(); bad(); } }
slo fine = 50% of calls over 1d;
slo never = 99.9% of calls over 1d;
`

// evaluator is that of a script that has run.
func evaluator(t *testing.T, script string) *query.Evaluator {
	t.Helper()
	file := source.NewFile("t.slo", script)
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	reg := stdlib.New()
	obj, diags := compiler.Compile(file, compiler.Options{Universe: reg, Library: reg, Resolver: stdlib.NewStand(reg, tree), Config: types.DefaultConfig(), CPUs: 1,
		Kernel: simulate.Kernel(), Backend: backend.Features{AtomicFetch: true}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	m, err := simulate.New(obj, func(*check.SLO) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return &query.Evaluator{Source: m, Universe: reg}
}

// expr parses an expression as the prompt does.
func expr(t *testing.T, text string) syntax.Expr {
	t.Helper()
	tree, diags := syntax.Parse(source.NewFile("expr", "begin { print("+text+"); }"))
	if diags.HasErrors() {
		t.Fatalf("%s: %s", text, diags)
	}
	return tree.Items[0].(*syntax.Probe).Body.Stmts[0].(*syntax.ExprStmt).X.(*syntax.Call).Args[0]
}

// TestEval has expressions with their results, which are worked out from what the script counts.
func TestEval(t *testing.T) {
	e := evaluator(t, counted)
	e.Vars = map[string]query.Value{"i": {Num: 2}, "word": {Kind: query.Text, Text: "x"}}
	for text, want := range map[string]string{
		// numbers
		`1 + 2 * 3`: "7", `(1 + 2) * 3`: "9", `7 / 2`: "3.5", `-7 % 4`: "-3", `2s / 500ms`: "4", `1500ms`: "1.50 s", `2KiB + 24`: "2.02 KiB", `-1500`: "-1500",
		`1 < 2`: "1", `2 <= 1`: "0", `2 > 1`: "1", `1 >= 2`: "0", `1 == 1`: "1", `1 != 1`: "0", `!0`: "1", `!7`: "0", `true`: "1", `false`: "0", `1 > 2 ? 3 : 4`: "4", `1 ? 3 : 4`: "3",
		`"a" == "a"`: "1", `"a" != "a"`: "0", `1 << 4 | 3`: "19", `0xff & ~0xf`: "240", `~0`: "-1", `~-1`: "0", `6 ^ 3`: "5", `-16 >> 2`: "-4", `$i * 3`: "6",
		// no data
		`@nothing`: "no data", `-@nothing`: "no data", `!@nothing`: "no data", `@nothing + 1`: "no data", `@nothing != 1`: "no data", `@nothing == @nothing`: "no data", `@nothing / 0`: "no data",
		`@nothing << 1`: "no data", `~@nothing`: "no data", `@nothing ? 1 : 2`: "no data", `@nothing && 1`: "no data", `@nothing && 0`: "0", `0 && @nothing`: "0", `@nothing || 0`: "no data", `1 || @nothing`: "1", `@nothing || 1`: "1",
		// maps
		`@one`: "9", `@minus`: "-5", `@text`: "a text", `@yes`: "1", `@n[2]`: "2", `@n`: "@n[1]: 1\n@n[2]: 2\n", `len(@n)`: "2", `count(@n)`: "3", `sum(@n)`: "3", `avg(@n)`: "1.5", `min(@n)`: "1", `max(@n)`: "2",
		`@sum`: "7", `@avg`: "3.5", `@min`: "3", `@max`: "4", `@stats`: "4", `count(@stats)`: "2", `@ns`: "1.50 µs", `count(@n[7])`: "0",
		`max(@hist)`: "7", `min(@lhist)`: "10", `max(@lhist)`: "20", `count(@hist)`: "2", `p50(@hist)`: "5.292", `p50(@lhist)`: "14.14", // √(4·7), √(10·20)
		`sum(@dist)`: "24", `avg(@dist)`: "8", `count(@dist)`: "3", `p50(@dist)`: "4", `p99(@dist)`: "15.49", `sum(@dist[2])`: "16", // √(15·16)
		`sum(@zeros)`: "0", `avg(@zeros)`: "0", `max(@zeros)`: "0", `p50(@zeros)`: "0", `sum(@dist[3])`: "no data", `p50(@dist[3])`: "no data",
		// keys
		`@big[9007199254740992]`: "2", `@big[9007199254740993]`: "1", `@big[18446744073709551615]`: "3", `@big[-1]`: "3", `@signed[-7]`: "4", `@signed[-(7)]`: "4", `@signed[3 - 10]`: "4", `@bools[true]`: "5", `@bools[1 == 2]`: "6",
		`@names["x", 3]`: "7", `@names[("x", 1 + 2)]`: "7", `@names[$word, $i + 1]`: "7", `@enums["RED"]`: "8", `@enums[3]`: "8", `@nested[(1, 2), "y"]`: "9", `@nested[((1, 2), "y")]`: "9", `@pointers[0x1f]`: "10", `@n[$i]`: "2",
		// indicators and objectives
		`calls`: "calls: 3 events\n", `count(calls)`: "3", `good(fine)`: "2", `bad(fine)`: "1", `total(fine)`: "3", `state(never)`: "breached", `budget(fine)`: "333333", `burning(fine)`: "0",
	} {
		if v, err := e.Eval(expr(t, text)); err != nil || v.String() != want {
			t.Errorf("%s: got %q, %v, want %q", text, v, err, want)
		}
	}
}

// TestEvalErrors has what cannot be computed, and what is said of it.
func TestEvalErrors(t *testing.T) {
	e := evaluator(t, counted)
	for text, want := range map[string]string{
		`1 / 0`: "division by zero: '0' is 0", `1 % (2 - 2)`: "division by zero", `(7 / 2) << 1`: "'<<' wants whole numbers of up to 53 bits", `~(7 / 2)`: "'~' wants a whole number of up to 53 bits",
		`(1 << 53) & 1`: "'&' wants whole numbers of up to 53 bits", `1 + "a"`: "'+' of what are not both numbers", `-"a"`: "'\"a\"' is not a number", `@n + 1`: "'+' of what are not both numbers",
		`$i`: "variable $i has no value here", `@m`: "there is no map '@m'; did you mean '@n'?", `call`: "'call' is neither a map nor an sli; did you mean 'calls'?", `good(fin)`: "there is no slo 'fin'; did you mean 'fine'?",
		`good(fine, 1)`: "good() got 1 labels, want none or the 0 that fine is kept by", `good(1)`: "good() got '1', want an slo", `good()`: "good() wants an slo", `p50()`: "p50() wants one argument here, got 0", `sum(1)`: "got '1', want a map or an sli",
		`p50(@sum)`: "p50() of @sum: it has no distribution; hist(), lhist() and dist() keep one", `sum(@hist)`: "sum() of @hist: histograms keep no sum; dist() does", `avg(@lhist)`: "histograms keep no sum", `sum(@text)`: "sum() of @text: its values are no numbers",
		`sum(calls)`: "sum() of calls: it has no values", `rate(@n)`: "rate() is only measured at the prompt", `hist(1)`: "hist() stands in a probe; here there are p50() to p999(), avg()", `what(@n)`: "unknown function 'what'; here there are",
		`@n[7]`: "@n[7] has no entry", `@sum[1]`: "map '@sum' has no keys", `@n[1, 2]`: "@n: got 2 keys, want 1: int64", `count(@names["x"])`: "@names: got 1 key, want 2: (string[", `@nested[1, "y"]`: "@nested: got 1 key, want 2: (int64,int64)",
		`@n["x"]`: "@n: key '\"x\"' is a text, want int64", `@names[1, 3]`: "@names: key '1' is a number, want string[", `@n[1 / 2]`: "@n: key '1 / 2' is 0.5, want a literal or a whole number of up to 53 bits", `@big[9007199254740993 + 0]`: "want a literal or a whole number of up to 53 bits",
		`@big[18446744073709551614 + 1]`: "want a literal or a whole number of up to 53 bits", `@n[@nothing]`: "@n: key '@nothing' is no data, want",
	} {
		if v, err := e.Eval(expr(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v, want %q", text, v, err, want)
		}
	}
}
