package rules_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slopebpf/slope/bpf/bpftest"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/runtime/rules"
	"github.com/slopebpf/slope/stdlib"
)

func read(t *testing.T, name, text string) ([]rules.Objective, source.Diagnostics) {
	t.Helper()
	tree, diags := syntax.Parse(source.NewFile(name, text))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return rules.Read(tree, stdlib.New(), strings.TrimSuffix(filepath.Base(name), ".slo"))
}

func objectives(t *testing.T, name string) []rules.Objective {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	list, diags := read(t, name, string(text))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return list
}

// promtool runs promtool on files, each under its name.
func promtool(t *testing.T, files map[string][]byte, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	bpftest.Require(t, err)
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
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

// styles tries every style.
func styles(t *testing.T, f func(t *testing.T, name string, s rules.Style)) {
	for _, name := range rules.Styles() {
		s, ok := rules.ParseStyle(name)
		if !ok {
			t.Fatalf("no style %s", name)
		}
		t.Run(name, func(t *testing.T) { f(t, name, s) })
	}
}

// TestGolden compares all styles with testdata; UPDATE=1 renews it.
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

// pick is some of the objectives.
func pick(list []rules.Objective, names ...string) (out []rules.Objective) {
	for _, o := range list {
		if slices.Contains(names, o.Name) {
			out = append(out, o)
		}
	}
	return out
}

// TestPromtool lets promtool check the rules and run their unit tests, a few objectives at a time: a part of a test
// evaluates the rules of all others too.
func TestPromtool(t *testing.T) {
	styles(t, func(t *testing.T, name string, s rules.Style) {
		list := objectives(t, "testdata/shop.slo")
		if out, err := promtool(t, outputs(t, list, s, name), "check", "rules", name+".yaml"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		for _, some := range [][]string{{"fast", "done"}, {"nightly"}, {"month"}, {"rare"}, {"answers", "fresh", "journey"}} {
			if out, err := promtool(t, outputs(t, pick(list, some...), s, name), "test", "rules", name+"_test.yaml"); err != nil {
				t.Errorf("%q: %v\n%s", some, err, out)
			}
		}
	})
}

// TestUnitTestsFail: the unit tests must be able to fail: without the alerts, with thresholds that are never or always
// exceeded, without the guard against few events, and where nobody tells that there are none.
func TestUnitTestsFail(t *testing.T) {
	const name = "slope"
	list := objectives(t, "testdata/shop.slo")
	for _, change := range []struct{ slo, from, to string }{
		{"fast", "SlopeErrorBudgetPage", "Other"},
		{"fast", " > 0.0", " > 1 + 0.0"},
		{"fast", "> 0.01344", "> -1"},
		{"fast", " >= 2.5", " >= 0"},
		{"rare", " >= 100", " >= 0"},
		{"rare", " == 0\n", " == 1\n"},
		{"rare", "absent(", "(0 * "},
		{"fresh", " > bool 0", " > bool 1e18"},
		{"answers journey", " * 2", " * 0"},
	} {
		files := outputs(t, pick(list, strings.Fields(change.slo)...), rules.Slope, name)
		text := string(files[name+".yaml"])
		if !strings.Contains(text, change.from) {
			t.Errorf("%s: no %q in\n%s", change.slo, change.from, text)
		}
		files[name+".yaml"] = []byte(strings.ReplaceAll(text, change.from, change.to))
		if out, err := promtool(t, files, "test", "rules", name+"_test.yaml"); err == nil {
			t.Errorf("%q: the unit test does not notice\n%s", change, out)
		}
	}
}

// TestWeighted adds up a busy host and an idle one: the ratio is that of the events, not the average of the hosts'.
func TestWeighted(t *testing.T) {
	list, _ := read(t, "x.slo", "sli s { interval:s:1 { good(); } }\nslo o = 99.9% of s over 28d;")
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
	if out, err := promtool(t, files, "test", "rules", "x_test.yaml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestMinutesAndComposites compares what is recorded with numbers worked out by hand: minutes of two hosts, on one of
// which a label set is bad and a counter begins anew, and a composite of those and of a ratio, one of whose parts may have
// no events.
func TestMinutesAndComposites(t *testing.T) {
	list, _ := read(t, "x.slo", `sli s { interval:s:1 { good(); } }
sli l[q] { interval:s:1 { level(1, 1); } }
slo works = 99% of s over 1d;
slo fresh = 90% of minutes of l <= 5 over 1d;
slo both = all(works: 3, fresh: 1);`)
	files := outputs(t, list, rules.Slope, "x")
	files["x_test.yaml"] = []byte(`rule_files: [x.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'slope_slo_events_total{slo="fresh",sli="l",instance="a",q="1"}', values: '0+60x10'}
      - {series: 'slope_slo_bad_events_total{slo="fresh",sli="l",instance="a",q="1"}', values: '5 5 5 5 7 7 7 7 7 7 7'}
      - {series: 'slope_slo_events_total{slo="fresh",sli="l",instance="a",q="2"}', values: '0 60 120 180 240 300 360 30 90 150 210'}
      - {series: 'slope_slo_bad_events_total{slo="fresh",sli="l",instance="a",q="2"}', values: '0 0 0 0 1 1 9 3 3 3 3'}
      - {series: 'slope_slo_events_total{slo="fresh",sli="l",instance="b",q="1"}', values: '0+60x5 300x4'}
      - {series: 'slope_slo_bad_events_total{slo="fresh",sli="l",instance="b",q="1"}', values: '0+0x10'}
      - {series: 'slope_slo_events_total{slo="works",sli="s",instance="a"}', values: '0+100x10'}
      - {series: 'slope_slo_bad_events_total{slo="works",sli="s",instance="a"}', values: '0+2x10'}
    promql_expr_test:
      # a: minutes 4, 6 and 7 of 10 are bad, b: none of 5 that have samples.
      - {expr: 'sum_over_time(slope:slo_bad_minute:bool{instance="a"}[1d])', eval_time: 12m, exp_samples: [{labels: '{slo="fresh", sli="l", instance="a"}', value: 3}]}
      - {expr: 'count_over_time(slope:slo_bad_minute:bool[1d])', eval_time: 12m, exp_samples: [{labels: '{slo="fresh", sli="l", instance="a"}', value: 10}, {labels: '{slo="fresh", sli="l", instance="b"}', value: 5}]}
      - {expr: 'round(slope:slo_error:ratio_rate1d{slo="fresh"}, 1e-9)', eval_time: 12m, exp_samples: [{labels: '{slo="fresh", sli="l"}', value: 0.2}]}
      # burn rates 2 and 2; then the composite's: (3*2 + 1*2) / 4 = 2
      - {expr: 'round(slope:slo_period_burn_rate:ratio{slo="both"}, 1e-6)', eval_time: 12m, exp_samples: [{labels: '{slo="both"}', value: 2}]}
  - interval: 1m
    input_series:
      - {series: 'slope_slo_events_total{slo="fresh",sli="l",instance="a",q="1"}', values: '0+60x10'}
      - {series: 'slope_slo_bad_events_total{slo="fresh",sli="l",instance="a",q="1"}', values: '0+0x5 0+1x4'}
      - {series: 'slope_slo_events_total{slo="works",sli="s",instance="a"}', values: '0+100x10'}
      - {series: 'slope_slo_bad_events_total{slo="works",sli="s",instance="a"}', values: '0+1x10'}
    promql_expr_test: # 4 of 10 minutes are a burn rate of 4, the events one of 1
      - {expr: 'round(slope:slo_period_burn_rate:ratio{slo="both"}, 1e-6)', eval_time: 12m, exp_samples: [{labels: '{slo="both"}', value: 1.75}]}
  - interval: 1m
    input_series:
      - {series: 'slope_slo_events_total{slo="works",sli="s",instance="a"}', values: '0+100x10'}
      - {series: 'slope_slo_bad_events_total{slo="works",sli="s",instance="a"}', values: '0+5x10'}
    promql_expr_test:
      - {expr: 'round(slope:slo_period_burn_rate:ratio{slo="both"}, 1e-6)', eval_time: 12m, exp_samples: [{labels: '{slo="both"}', value: 5}]}
      - {expr: 'slope:slo_error:ratio_rate1d{slo="fresh"}', eval_time: 12m, exp_samples: []}
`)
	for _, args := range [][]string{{"check", "rules", "x.yaml"}, {"test", "rules", "x_test.yaml"}} {
		if out, err := promtool(t, files, args...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestNumbers(t *testing.T) {
	for sentence, want := range map[string][]string{
		"99.9% of s over 30d;":      {"vector(0.999)", "vector(0.001)", "/ 0.001'", "> 0.0144\n", "> 0.006\n", "> 0.003\n", "> 0.001\n", "page at 14.4 times"},
		"99.9% of s over 28d;":      {"page at 13.44 times", "page at 5.6 times", "ticket at 2.8 times", "ticket at 2.8 / 3 times", "> 0.01344\n", "> 0.0028 / 3\n", "vector(28)"},
		"99.999% of s over 90m;":    {"no ticket", "vector(0.0625)", "/ 0.00001'", "> 0.0000003\n"},
		"99.9999999% of s over 7d;": {"vector(0.999999999)", "vector(0.000000001)", "> 0.00000000336\n"},
		"90% of s over 30d;":        {"page at 6 times", "> 0.6\n"},
		"100% of s over 30d;":       {"vector(1)", "vector(0)", "no error budget", "page for any bad event: burn over 1h and 5m", "ratio_rate1h{slo=\"o\", sli=\"s\"} > 0\n"},
		"0% of s over 1d;":          {"vector(0)", "no ticket: the script wants none, or none of the usual can fire within 1d"},
		"90% of s over 30d { page = burn(14.4, 1h, 5m) || burn(1.25, 2h, 10m); ticket = none; }": {"no page for burn over 1h and 5m: 14.4 times the budget of 10% is no less than all events", "page at 1.25 times", "> 0.125\n", "no ticket"},
	} {
		list, diags := read(t, "x.slo", "sli s { interval:s:1 { good(); } }\nslo o = "+sentence)
		if diags.HasErrors() {
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

// TestRefused: what a check of the declarations refuses is refused here, and so is what no server could judge.
func TestRefused(t *testing.T) {
	for decl, want := range map[string]string{
		"slo o = 101% of s over 30d;":                                         "want at most 100%",
		"slo o = 99% of t over 30d;":                                          "unknown sli 't'",
		"slo o = 99% of s over 31d;":                                          "want at most 30d: no longer history is kept",
		"slo o = 99% of s over calendar month \"Mars/Olympus\";":              "unknown time zone",
		"slo o = 99% of s over 10s;":                                          "rules need at least 5m",
		"slo o = 99% of s over 30d by x;":                                     "unknown label 'x' of sli 's'",
		"slo o = 99% of s over 30d; slo o = 9% of s over 30d;":                "slo 'o' was already declared",
		"slo o = all(p: 1);":                                                  "unknown slo 'p'",
		"slo p = 99% of s over 30d; slo o = all(p: 0);":                       "got the weight 0",
		"slo p = 99% of s over 30d; slo q = 9% of s over 7d; slo o=all(p,q);": "is kept over another window",
		"slo o = 99% of s over 30d by severity, route;":                       "which the rules set themselves",
		"slo o = 99% of s over 30d by route { labels = (route = \"x\"); }":    "which the rules set themselves",
		"slo o = 99% of s over 30d { labels = (slo = \"x\"); }":               "label 'slo' is used twice or reserved",
		"slo o = 99% of s over 30d { page = burn(0, 1h, 5m); }":               "invalid burn rate",
		"slo o = 99% of s over 30d { page = burn(1, 5m, 1h); }":               "the short window of a burn rate is longer",
		"slo o = 99% of s over 30d { min_events = 5s; }":                      "invalid value for 'min_events'",
		"slo o = 99% of s over 30d { nodata = maybe; }":                       "unknown value for 'nodata'",
		"slo o = 99% of s over 30d { rnubook = \"x\"; }":                      "unknown property 'rnubook'",
		"slo o = 99% of s <= 5s over 30d;":                                    "sli 's' has no unit",
		"slo o = 99% of s over 30d; slo p = 99% of s over 1000;":              "invalid window",
	} {
		text := "sli s[route, severity] { interval:s:1 { good(\"a\", \"b\"); } }\n" + decl
		tree, diags := syntax.Parse(source.NewFile("x.slo", text))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		list, diags := rules.Read(tree, stdlib.New(), "x")
		got := diags.Error()
		if _, declared := check.Declarations(tree, stdlib.New()); declared.HasErrors() && !diags.HasErrors() {
			t.Errorf("%s: refused by check, not here", decl)
		}
		if !diags.HasErrors() {
			got = ""
			if err := rules.Valid(list, rules.Slope); err != nil {
				got = err.Error()
			}
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
