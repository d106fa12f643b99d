package openslo_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/OpenSLO/go-sdk/pkg/openslo"
	v1 "github.com/OpenSLO/go-sdk/pkg/openslo/v1"
	"github.com/OpenSLO/go-sdk/pkg/openslosdk"

	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/syntax"
	mine "github.com/slopebpf/slope/runtime/openslo"
	"github.com/slopebpf/slope/runtime/rules"
	"github.com/slopebpf/slope/stdlib"
)

func read(t *testing.T, name, text string) []rules.Objective {
	t.Helper()
	tree, diags := syntax.Parse(source.NewFile(name, text))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	list, diags := rules.Read(tree, stdlib.New(), "shop")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return list
}

func write(t *testing.T, list []rules.Objective) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := mine.Write(&out, list); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decode reads the file with OpenSLO's own library, which validates every object.
func decode(t *testing.T, text []byte) map[openslo.Kind]map[string]openslo.Object {
	t.Helper()
	objects, err := openslosdk.Decode(bytes.NewReader(text), openslosdk.FormatYAML)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := openslosdk.Validate(objects...); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	out := map[openslo.Kind]map[string]openslo.Object{}
	for _, o := range objects {
		if out[o.GetKind()] == nil {
			out[o.GetKind()] = map[string]openslo.Object{}
		}
		out[o.GetKind()][o.GetName()] = o
	}
	return out
}

// TestGolden compares with testdata; UPDATE=1 renews it.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("../rules/testdata/shop.slo")
	if err != nil {
		t.Fatal(err)
	}
	got := write(t, read(t, "shop.slo", string(text)))
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/shop.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the file differs, renew it with UPDATE=1:\n%s", got)
	}
}

// TestValid checks what OpenSLO's library reads: kinds, references, windows, targets.
func TestValid(t *testing.T) {
	text, err := os.ReadFile("../rules/testdata/shop.slo")
	if err != nil {
		t.Fatal(err)
	}
	all := decode(t, write(t, read(t, "shop.slo", string(text))))
	if len(all[openslo.KindService]) != 1 || len(all[openslo.KindDataSource]) != 1 || len(all[openslo.KindSLI]) != 6 || len(all[openslo.KindSLO]) != 7 {
		t.Errorf("%d services, %d sources, %d indicators, %d objectives", len(all[openslo.KindService]), len(all[openslo.KindDataSource]), len(all[openslo.KindSLI]), len(all[openslo.KindSLO]))
	}
	for name, o := range all[openslo.KindSLO] {
		s := o.(v1.SLO)
		refs := []*string{s.Spec.IndicatorRef}
		for _, x := range s.Spec.Objectives {
			refs = append(refs, x.IndicatorRef)
		}
		for _, ref := range refs {
			if ref != nil && all[openslo.KindSLI][*ref] == nil {
				t.Errorf("%s refers to the indicator %s", name, *ref)
			}
		}
		for _, p := range s.Spec.AlertPolicies {
			if all[openslo.KindAlertPolicy][p.AlertPolicyRef] == nil {
				t.Errorf("%s refers to the policy %s", name, p.AlertPolicyRef)
			}
		}
		if all[openslo.KindService][s.Spec.Service] == nil {
			t.Errorf("%s belongs to the service %s", name, s.Spec.Service)
		}
	}
	fast := all[openslo.KindSLO]["fast"].(v1.SLO)
	if x := fast.Spec.Objectives[0]; *x.Target != 0.999 || fast.Spec.BudgetingMethod != v1.SLOBudgetingMethodOccurrences || len(fast.Spec.AlertPolicies) != 4 {
		t.Errorf("%+v", fast.Spec)
	}
	month := all[openslo.KindSLO]["month"].(v1.SLO).Spec.TimeWindow[0]
	if month.IsRolling || month.Calendar.TimeZone != "Europe/Berlin" || month.Duration != v1.NewDurationShorthand(1, v1.DurationShorthandUnitMonth) {
		t.Errorf("%+v", month)
	}
	fresh := all[openslo.KindSLO]["fresh"].(v1.SLO).Spec
	if fresh.BudgetingMethod != v1.SLOBudgetingMethodTimeslices || *fresh.Objectives[0].TimeSliceTarget != 1 || *fresh.Objectives[0].TimeSliceWindow != v1.NewDurationShorthand(1, v1.DurationShorthandUnitMinute) {
		t.Errorf("%+v", fresh)
	}
	journey := all[openslo.KindSLO]["journey"].(v1.SLO)
	if !journey.IsComposite() || *journey.Spec.Objectives[0].CompositeWeight != 2 || *journey.Spec.Objectives[1].Target != 0.99 {
		t.Errorf("%+v", journey.Spec)
	}
	rare := all[openslo.KindAlertPolicy]["rare-page-1"].(v1.AlertPolicy)
	if c := rare.Spec.Conditions[0].Spec; !rare.Spec.AlertWhenNoData || *c.Condition.Threshold != 10 || c.Severity != "page" || c.Condition.LookbackWindow != v1.NewDurationShorthand(30, v1.DurationShorthandUnitMinute) {
		t.Errorf("%+v", rare.Spec)
	}
}

// TestNames: names that OpenSLO does not allow are changed, and two that become one are refused.
func TestNames(t *testing.T) {
	const sli = "sli s { interval:s:1 { good(); } }\n"
	all := decode(t, write(t, read(t, "x.slo", sli+"slo Very_Fast = 99.9999999% of s over calendar week { runbook = \"https://x/'{{y}}'\"; labels = (_t = \"a b\"); }")))
	if o := all[openslo.KindSLO]["very-fast"]; o == nil || o.(v1.SLO).Metadata.DisplayName != "Very_Fast" || *o.(v1.SLO).Spec.Objectives[0].Target != 0.999999999 {
		t.Errorf("%+v", o)
	}
	for text, want := range map[string]string{
		"slo a_b = 9% of s over 1d; slo A_B = 9% of s over 1d;":  "'a_b' and 'A_B' are both called a-b in OpenSLO",
		"slo a = 9% of s over 330s;":                             "slo 'a': got a window of 5m30s, OpenSLO knows whole minutes only",
		"slo a = 99% of s over 1d { page = burn(2, 90s, 60s); }": "got a window of 1m30s",
		"slo a = 100% of s over 1d;":                             "",
	} {
		var out bytes.Buffer
		err := mine.Write(&out, read(t, "x.slo", sli+text))
		if got := ""; want != "" {
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q", text, got, want)
			}
		} else if err != nil || !strings.Contains(out.String(), "# slo a = 100% of s over 1d is left out") || len(decode(t, out.Bytes())[openslo.KindSLO]) != 0 {
			t.Errorf("%s: %v\n%s", text, err, out.String())
		}
	}
}
