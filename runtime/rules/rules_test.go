package rules_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/rules"
)

func read(t *testing.T, name, text string) ([]rules.Objective, source.Diagnostics) {
	t.Helper()
	file := source.NewFile(name, text)
	tree, diags := syntax.Parse(file)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return rules.Read(file, tree, strings.TrimSuffix(filepath.Base(name), ".slo"))
}

func objectives(t *testing.T, name string) []rules.Objective {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	list, diags := read(t, name, string(text))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	return list
}

// outputs are the two files of a style.
func outputs(t *testing.T, list []rules.Objective, s rules.Style, name string) map[string][]byte {
	t.Helper()
	var out, unit bytes.Buffer
	if err := rules.Write(&out, list, s); err != nil {
		t.Fatal(err)
	}
	if err := rules.WriteTest(&unit, list, s, name+".yaml"); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{name + ".yaml": out.Bytes(), name + "_test.yaml": unit.Bytes()}
}

// styles are the names of both styles.
func styles(t *testing.T, f func(t *testing.T, name string, s rules.Style)) {
	for _, name := range []string{"slope", "sloth"} {
		s, ok := rules.ParseStyle(name)
		if !ok {
			t.Fatalf("no style %s", name)
		}
		t.Run(name, func(t *testing.T) { f(t, name, s) })
	}
}

// TestGolden compares both styles with testdata; UPDATE=1 renews it.
func TestGolden(t *testing.T) {
	styles(t, func(t *testing.T, name string, s rules.Style) {
		for file, got := range outputs(t, objectives(t, "testdata/shop.slo"), s, name) {
			path := filepath.Join("testdata", file)
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs, renew it with UPDATE=1:\n%s", path, got)
			}
		}
	})
}

// TestPromtool lets promtool check the rules and run their unit tests.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	run := func(t *testing.T, dir string, args ...string) (string, error) {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	styles(t, func(t *testing.T, name string, s rules.Style) {
		dir := t.TempDir()
		list := objectives(t, "testdata/shop.slo")
		for file, text := range outputs(t, list, s, name) {
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"check", "rules", name + ".yaml"}, {"test", "rules", name + "_test.yaml"}} {
			if out, err := run(t, dir, args...); err != nil {
				t.Errorf("promtool %q: %v\n%s", args, err, out)
			}
		}
		// The unit test must be able to fail: without its alerts, and with thresholds that are never or always exceeded.
		files := outputs(t, list[:1], s, name)
		text := files[name+".yaml"]
		if err := os.WriteFile(filepath.Join(dir, name+"_test.yaml"), files[name+"_test.yaml"], 0o644); err != nil {
			t.Fatal(err)
		}
		for _, change := range [][2]string{{"SlopeErrorBudgetPage", "Other"}, {" > 0.0", " > 1 + 0.0"}, {"> 0.01344", "> -1"}} {
			broken := strings.ReplaceAll(string(text), change[0], change[1])
			if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(broken), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := run(t, dir, "test", "rules", name+"_test.yaml"); err == nil {
				t.Errorf("%q: the unit test does not notice\n%s", change, out)
			}
		}
	})
}

// TestWeighted adds up a busy host and an idle one: the ratio is that of the events, not the average of the hosts'.
func TestWeighted(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	list, _ := read(t, "x.slo", "sli s { interval:s:1 { good(); } }\nslo o = 99.9% of s over 28d;")
	dir := t.TempDir()
	files := outputs(t, list, rules.Slope, "x")
	files["x_test.yaml"] = []byte(`rule_files: [x.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'slope_slo_events_total{slo="o",sli="s",instance="busy"}', values: '0+900x100'}
      - {series: 'slope_slo_bad_events_total{slo="o",sli="s",instance="busy"}', values: '0+0x100'}
      - {series: 'slope_slo_events_total{slo="o",sli="s",instance="idle"}', values: '0+100x100'}
      - {series: 'slope_slo_bad_events_total{slo="o",sli="s",instance="idle"}', values: '0+50x100'}
      - {series: 'slope_slo_events_total{slo="other",sli="s",instance="idle"}', values: '0+100x100'}
    promql_expr_test:
      - {expr: 'round(slope:slo_error:ratio_rate5m, 1e-9)', eval_time: 90m, exp_samples: [{labels: '{slo="o", sli="s"}', value: 0.05}]}
      - {expr: 'round(slope:slo_error:ratio_rate4w, 1e-9)', eval_time: 90m, exp_samples: [{labels: '{slo="o", sli="s"}', value: 0.05}]}
      - {expr: 'round(slope:slo_current_burn_rate:ratio, 1e-6)', eval_time: 90m, exp_samples: [{labels: '{slo="o", sli="s"}', value: 50}]}
      - {expr: 'round(slope:slo_period_error_budget_remaining:ratio, 1e-6)', eval_time: 90m, exp_samples: [{labels: '{slo="o", sli="s"}', value: -49}]}
  - interval: 1m
    input_series:
      - {series: 'slope_slo_events_total{slo="o",sli="s"}', values: '0+0x100'}
      - {series: 'slope_slo_bad_events_total{slo="o",sli="s"}', values: '0+0x100'}
    promql_expr_test:
      - {expr: 'slope:slo_error:ratio_rate5m or slope:slo_current_burn_rate:ratio or slope:slo_period_error_budget_remaining:ratio', eval_time: 90m, exp_samples: []}
`)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(promtool, "test", "rules", "x_test.yaml")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNumbers(t *testing.T) {
	for sentence, want := range map[string][]string{
		"99.9% of s over 30d":      {"vector(0.999)", "vector(0.001)", "/ 0.001'", "> 0.0144\n", "> 0.006\n", "> 0.003\n", "> 0.001\n", "page at 14.4 times"},
		"99.9% of s over 28d":      {"page at 13.44 times", "page at 5.6 times", "ticket at 2.8 times", "ticket at 2.8 / 3 times", "> 0.01344\n", "> 0.0028 / 3\n", "vector(28)"},
		"99.999% of s over 90m":    {"no ticket", "vector(0.0625)", "/ 0.00001'", "> 0.0000003\n"},
		"99.9999999% of s over 7d": {"vector(0.999999999)", "vector(0.000000001)", "> 0.00000000336\n"},
		"90% of s over 30d":        {"no page for burn over 1h and 5m: 14.4 times the budget of 10% is no less than all events", "> 0.6\n"},
		"100% of s over 30d":       {"vector(1)", "vector(0)", "no error budget", "rules: []"},
		"0% of s over 1d":          {"vector(0)", "the window of the objective is only 1d"},
	} {
		list, diags := read(t, "x.slo", "sli s { interval:s:1 { good(); } }\nslo o = "+sentence+";")
		if len(diags) > 0 {
			t.Errorf("%s: %v", sentence, diags)
			continue
		}
		text := string(outputs(t, list, rules.Slope, "x")["x.yaml"])
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", sentence, w, text)
			}
		}
		if strings.Contains(text, "/ 0'") || strings.Contains(text, "/ 0\n") {
			t.Errorf("%s: divides by zero\n%s", sentence, text)
		}
	}
}

func TestRefused(t *testing.T) {
	for decl, want := range map[string]string{
		"slo o = 101% of s over 30d;":                            "want at most 100%",
		"slo o = 99% of t over 30d;":                             "unknown sli 't'",
		"slo o = 99% of s over calendar month;":                  "calendar windows are not supported yet",
		"slo o = 99% of s over 10s;":                             "rules need at least 5m",
		"slo o = 99% of s over 30d by x;":                        "unknown label 'x' of sli 's'",
		"slo o = 99% of s over 30d; slo o = 9% of s over 30d;":   "slo 'o' was already declared",
		"slo o = 99% of minutes of s over 30d;":                  "objectives over good minutes are not supported yet",
		"slo p = 99% of s over 30d; slo o = all(p: 1);":          "composite objectives are not supported yet",
		"slo o = 99% of s over 30d by severity, route;":          "which the rules set themselves",
		"slo o = 99% of s over 30d; slo p = 99% of s over 1000;": "invalid window",
	} {
		list, diags := read(t, "x.slo", "sli s[route, severity] { interval:s:1 { good(\"a\", \"b\"); } }\n"+decl)
		got := ""
		if len(diags) > 0 {
			got = diags.Error()
		} else if err := rules.Valid(list, rules.Slope); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", decl, got, want)
		}
	}
	list := objectives(t, "testdata/shop.slo")
	if err := rules.Write(&bytes.Buffer{}, append(list, list[0]), rules.Slope); err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Errorf("got %v", err)
	}
}

// TestLabels makes sure that labels are called as the exporter calls them.
func TestLabels(t *testing.T) {
	names := []string{"route", "le", "slo", "sli_label", "sli", "a__b", "__c", "d_", "_7", "quantile", "_", "e_é_f", "le_label"}
	s := &check.SLI{Name: "s", Kind: check.Ratio}
	for _, n := range names {
		s.Labels = append(s.Labels, check.Label{Name: n})
	}
	c := export.NewCollector(func() (*export.Scrape, error) {
		return &export.Scrape{Indicators: []export.Indicator{{Layout: &lower.SLILayout{SLI: s},
			Series: []agg.Series{{Other: true, Words: make([]uint64, 64)}}}}}, nil
	})
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{}
	for _, f := range families {
		if f.GetName() == "slope_sli_events_total" {
			for _, l := range f.Metric[0].Label {
				if l.GetValue() == export.OtherLabel {
					want = append(want, l.GetName())
				}
			}
		}
	}
	node := &syntax.SLI{Name: &syntax.Name{Text: "s"}}
	for _, n := range names {
		node.Labels = append(node.Labels, &syntax.Name{Text: n})
	}
	got := rules.ExportedLabels(node)
	slices.Sort(got)
	if len(want) != len(names) || !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTwice refuses an objective of two scripts even where their services differ: the counters are the same.
func TestTwice(t *testing.T) {
	list := objectives(t, "testdata/shop.slo")
	other := list[0]
	other.Service = "other"
	styles(t, func(t *testing.T, _ string, s rules.Style) {
		if err := rules.Valid(append(slices.Clone(list), other), s); err == nil || !strings.Contains(err.Error(), "is there twice") {
			t.Errorf("got %v", err)
		}
	})
}
