package check_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/stdlib"
)

// TestImport imports from a table of files.
func TestImport(t *testing.T) {
	files := map[string]string{
		"a.bt":     "import \"b.bt\";\nmacro twice(x) { once(x) * 2 }\nbegin { @a = 1; }",
		"b.bt":     "struct s { int x; };\nmacro once(x) { x }",
		"bad.bt":   "begin { nothing(); }",
		"cfg.bt":   "config = { max_strlen = 5; }",
		"outer.bt": "import \"inner.bt\" (which = $which, n = $n);",
		"inner.bt": "$which { @[$n] = 1; }",
		"let.bt":   "begin { let $n = 1; @ = $n; }",
	}
	for _, c := range []struct{ script, want string }{
		{"import \"a.bt\";\nimport \"a.bt\";\nbegin { @x = twice(3) + sizeof(struct s); }", ""},
		{"import \"missing.bt\";\nbegin { }", "1:1-21: ERROR: cannot import \"missing.bt\": no such file"},
		{"import \"bad.bt\";\nbegin { }", "1:1-17: ERROR: unknown function: 'nothing'"},
		{"import \"cfg.bt\";\nbegin { }", "1:1-17: ERROR: an imported file may not have a config"},
		{"import \"outer.bt\" (which = \"begin\", n = 3);\nend { @[4] = 1; }", ""},
		{"import \"inner.bt\" (which = \"begin\", n = 3);\nimport \"inner.bt\" (which = \"end\", n = 3);", ""},
		{"import \"inner.bt\" (which = \"begin\", n = 3, n = 4);\nbegin { }", "1:44-45: ERROR: parameter 'n' is given twice"},
		{"import \"let.bt\" (n = 3);\nbegin { }", "1:1-25: ERROR: import \"let.bt\": '$n' is a parameter and has a variable's place"},
		{"import \"inner.bt\" (which = \"begin\");\nbegin { }", "1:1-37: ERROR: undefined or undeclared variable: '$n'\nimport \"inner.bt\" (which = \"begin\");\n~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~\nHINT: a parameter of \"inner.bt\" is given as (n = …)"},
	} {
		tree, diags := syntax.Parse(source.NewFile("script", c.script))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		items := len(tree.Items)
		reg := stdlib.New()
		prog, diags := check.Check(tree, check.Options{Universe: reg, Resolver: fixture{&stdlib.Machine{Registry: reg}}, Config: types.DefaultConfig(),
			Import: func(from, path string) (*syntax.File, error) {
				text, ok := files[path]
				if !ok {
					return nil, fmt.Errorf("no such file")
				}
				f, diags := syntax.Parse(source.NewFile(path, text))
				if diags.HasErrors() {
					return nil, diags
				}
				return f, nil
			}})
		var b strings.Builder
		diags.Render(&b, false)
		if c.want == "" && diags.HasErrors() || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.script, b.String(), c.want)
		}
		if c.want == "" && len(prog.Clauses) != 2 {
			t.Errorf("got %d clauses, want 2", len(prog.Clauses))
		}
		if len(tree.Items) != items {
			t.Error("the tree has changed")
		}
	}
}
