package export

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slopebpf/slope/lang/check"
)

// Label is a label of a series.
type Label struct{ Name, Value string }

// ownLabels are the names that mean something in a metric of ours besides those that Prometheus itself reserves.
func ownLabels() []string {
	return []string{"cause", "doc", "kind", "map", "probe", "revision", "severity", "sli", "slo", "target", "unit", "version", "window"}
}

// ParseLabel reads a constant label, NAME=VALUE.
func ParseLabel(s string) (Label, error) {
	name, value, ok := strings.Cut(s, "=")
	switch {
	case !ok:
		return Label{}, fmt.Errorf("invalid label '%s': want NAME=VALUE", s)
	case !labelName(name):
		return Label{}, fmt.Errorf("invalid label name '%s': want letters, digits and underscores, no digit first", name)
	case strings.HasPrefix(name, "__") || name == "le" || name == "quantile" || slices.Contains(ownLabels(), name):
		return Label{}, fmt.Errorf("the label name '%s' is reserved", name)
	case value == "":
		return Label{}, fmt.Errorf("the label '%s' has no value", name)
	case !utf8.ValidString(value):
		return Label{}, fmt.Errorf("the value of the label '%s' is not valid UTF-8", name)
	}
	return Label{name, value}, nil
}

func labelName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// CheckLabels tells when constant labels clash with each other or with a label of an indicator.
func CheckLabels(labels []Label, slis []*check.SLI) error {
	for i, l := range labels {
		for _, o := range labels[:i] {
			if o.Name == l.Name {
				return fmt.Errorf("the label '%s' is given twice", l.Name)
			}
		}
		for _, s := range slis {
			if slices.Contains(labelNames(s), l.Name) {
				return fmt.Errorf("the label '%s' is one of sli %s too", l.Name, s.Name)
			}
		}
	}
	return nil
}

// sanitise makes a part of a metric's or label's name: letters, digits and single underscores.
func sanitise(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b = append(b, c)
		} else if len(b) == 0 || b[len(b)-1] != '_' {
			b = append(b, '_')
		}
	}
	return string(b)
}

// LabelNames are the names that an indicator's labels have in the metrics. Names that mean something else there, or
// that two labels would share, get a tail.
func LabelNames(labels []string) []string {
	taken := map[string]bool{"le": true, "quantile": true, "sli": true, "slo": true}
	out := make([]string, len(labels))
	for i, l := range labels {
		name := strings.TrimLeft(sanitise(l), "_")
		if name == "" || name[0] >= '0' && name[0] <= '9' {
			name = "label_" + name
		}
		for base, n := name, 2; taken[name]; n++ {
			if name = base + "_label"; taken[name] {
				name = base + "_label" + strconv.Itoa(n)
			}
		}
		taken[name] = true
		out[i] = name
	}
	return out
}

func labelNames(s *check.SLI) []string {
	labels := make([]string, len(s.Labels))
	for i, l := range s.Labels {
		labels[i] = l.Name
	}
	return LabelNames(labels)
}

// HistogramName is the metric of a distribution: its name and its unit.
func HistogramName(s *check.SLI) string {
	name := "slope_sli_" + sanitise(s.Name)
	if s.Unit != check.NoUnit && !strings.HasSuffix(name, "_"+s.Unit.String()) {
		name += "_" + s.Unit.String()
	}
	switch name { // OpenMetrics knows the counters by these names, without _total
	case "slope_sli_events", "slope_sli_bad_events", "slope_sli_unknown_events", "slope_sli_info":
		name += "_values"
	}
	return name
}

// valid makes a text that the exposition accepts.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
