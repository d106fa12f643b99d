package export_test

import (
	"fmt"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/slopebpf/slope/runtime/export"
)

func TestMerge(t *testing.T) {
	family := func(name string, kind dto.MetricType, n int) *dto.MetricFamily {
		return &dto.MetricFamily{Name: &name, Type: &kind, Help: &name, Metric: make([]*dto.Metric, n)}
	}
	a := []*dto.MetricFamily{family("a", dto.MetricType_COUNTER, 1), family("b", dto.MetricType_GAUGE, 2)}
	b := []*dto.MetricFamily{family("b", dto.MetricType_GAUGE, 3), family("a", dto.MetricType_GAUGE, 4)}
	got, clashes := export.Merge(a, b, []*dto.MetricFamily{family("0", dto.MetricType_GAUGE, 1)})
	text := ""
	for _, f := range got {
		text += fmt.Sprint(f.GetName(), " ", f.GetType(), " ", len(f.Metric), "; ")
	}
	if text != "0 GAUGE 1; a COUNTER 1; b GAUGE 5; " || fmt.Sprint(clashes) != "[a]" {
		t.Errorf("got %s, clashes %q", text, clashes)
	}
	if len(a[1].Metric) != 2 || len(b[0].Metric) != 3 {
		t.Error("what was merged has changed")
	}
}
