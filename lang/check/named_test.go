package check_test

import (
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

func TestNamed(t *testing.T) {
	const script = `begin { if (getopt("all")) { @a = getopt("n", 5, "how many"); } @s = getopt("who", "me"); @m = getopt("low", -3); }`
	for _, c := range []struct {
		script string
		named  map[string]string
		want   string
	}{
		{script, nil, ""},
		{script, map[string]string{"all": "", "n": "0x10", "who": "you", "low": "7"}, ""},
		{script, map[string]string{"n": "x"}, "invalid value for parameter 'n': got 'x', want an integer"},
		{script, map[string]string{"all": "maybe"}, "invalid value for parameter 'all': got 'maybe', want true or false"},
		{script, map[string]string{"whom": "x"}, "unexpected named parameter: whom"},
		{"begin { }", map[string]string{"x": "1"}, "unexpected named parameter: x"},
		{`begin { @ = getopt("n", pid); }`, nil, "getopt() wants a literal for 'default'"},
		{`begin { @ = getopt(); }`, nil, "getopt() got 0 arguments, want 1 to 3"},
		{`begin { @ = getopt("n", 1); @ = getopt("n", 2); }`, nil, "parameter 'n' has another default elsewhere"},
	} {
		tree, diags := syntax.Parse(source.NewFile("script", c.script))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		reg := stdlib.New()
		prog, diags := check.Check(tree, check.Options{Universe: reg, Resolver: fixture{&stdlib.Machine{Registry: reg}},
			Config: types.DefaultConfig(), Named: c.named})
		var b strings.Builder
		diags.Render(&b, false)
		if c.want == "" && diags.HasErrors() || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s %v\ngot  %s\nwant %s", c.script, c.named, b.String(), c.want)
		}
		if c.script == script && c.want == "" && (len(prog.Named) != 4 || prog.Named[1] != check.Named{Name: "n", Default: "5", Doc: "how many"}) {
			t.Errorf("got the parameters %+v", prog.Named)
		}
	}
}
