package dashboard_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/dashboard"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/rules"
	"github.com/slopebpf/slope/stdlib"
)

func shop(t *testing.T) []rules.Objective {
	t.Helper()
	text, err := os.ReadFile("../rules/testdata/shop.slo")
	if err != nil {
		t.Fatal(err)
	}
	tree, diags := syntax.Parse(source.NewFile("shop.slo", string(text)))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	list, diags := rules.Read(tree, stdlib.New(), "shop")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return list
}

func write(t *testing.T, title string, list []rules.Objective) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := dashboard.Write(&out, title, list); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// grafana is what the tests look at.
type grafana struct {
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ RefID, Expr string }
	}
}

func read(t *testing.T, text []byte) (d grafana) {
	t.Helper()
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestGolden compares with testdata; UPDATE=1 renews it.
func TestGolden(t *testing.T) {
	got := write(t, "", shop(t))
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/shop.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the dashboard differs, renew it with UPDATE=1")
	}
}

// expressions are all queries, with Grafana's variables as they may be.
func expressions(d grafana) (out []string) {
	values := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h")
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			out = append(out, values.Replace(q.Expr))
		}
	}
	for _, v := range d.Templating.List {
		if q, ok := strings.CutPrefix(v.Query, "label_values("); ok {
			out = append(out, q[:strings.LastIndex(q, ",")])
		}
	}
	return out
}

// TestParses lets promtool parse every query, as the expression of a rule.
func TestParses(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	bpftest.Require(t, err)
	file := "groups:\n- name: x\n  rules:\n"
	for i, e := range expressions(read(t, write(t, "", shop(t)))) {
		file += fmt.Sprintf("  - record: x%d\n    expr: %q\n", i, e)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, file)
	}
}

// TestNames: every metric in a query is one that the exporter's text names, an indicator's own, or one that the rules record.
func TestNames(t *testing.T) {
	list := shop(t)
	known := map[string]bool{}
	files, err := filepath.Glob("../export/prom*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			for _, m := range regexp.MustCompile(`"(slope_[a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
				known[m[1]] = true
			}
		}
	}
	var recorded bytes.Buffer
	if err := rules.Write(&recorded, list, rules.Slope); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`record: (\S+)`).FindAllStringSubmatch(recorded.String(), -1) {
		known[m[1]] = true
	}
	for _, o := range list {
		if o.SLI != nil {
			known[export.HistogramName(o.SLI)] = true
		}
	}
	n := 0
	for _, e := range expressions(read(t, write(t, "", list))) {
		for _, m := range regexp.MustCompile(`\bslope[_:][a-zA-Z0-9_:]*`).FindAllString(e, -1) {
			if n++; !known[m] {
				t.Errorf("nobody exports or records %s, which is in %s", m, e)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d names", n)
	}
}

// TestLayout: a row for each objective and one for slope itself, panels that do not overlap and have the plain types, and a
// variable for every label.
func TestLayout(t *testing.T) {
	list := shop(t)
	d := read(t, write(t, "Shop", list))
	if d.Title != "Shop" || len(d.UID) > 40 || !strings.HasPrefix(d.UID, "slope-") || d.SchemaVersion < 40 {
		t.Errorf("%q, %q, %d", d.Title, d.UID, d.SchemaVersion)
	}
	if again := read(t, write(t, "", list[:3])); again.UID != d.UID || again.Title != "Objectives of shop" {
		t.Errorf("%q, %q", again.Title, again.UID)
	}
	types := map[string]bool{"row": true, "gauge": true, "stat": true, "timeseries": true, "heatmap": true, "table": true}
	taken := map[[2]int]string{}
	rows := 0
	for i, p := range d.Panels {
		if p.ID != i+1 || !types[p.Type] {
			t.Errorf("panel %d is number %d, a %s", i, p.ID, p.Type)
		}
		if p.Type == "row" {
			rows++
		} else if len(p.Targets) == 0 {
			t.Errorf("%s has no query", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x > 23 {
					t.Errorf("%s is where %s is", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if rows != len(list)+1 {
		t.Errorf("%d rows for %d objectives", rows, len(list))
	}
	names := ""
	for _, v := range d.Templating.List {
		names += v.Name + " "
	}
	if names != "datasource instance route code queue host " {
		t.Errorf("variables %s", names)
	}
}
