package export

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Merge puts the families of several gatherings together, by name: that of the first says what it is for. A family
// whose type is another one there is left out, since one name has one type, and told of.
func Merge(all ...[]*dto.MetricFamily) (merged []*dto.MetricFamily, clashes []string) {
	byName := map[string]*dto.MetricFamily{}
	for _, families := range all {
		for _, f := range families {
			m := byName[f.GetName()]
			switch {
			case m == nil:
				m = &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type, Unit: f.Unit, Metric: f.Metric}
				byName[f.GetName()] = m
				merged = append(merged, m)
			case m.GetType() != f.GetType():
				clashes = append(clashes, f.GetName())
			default:
				m.Metric = append(slices.Clip(m.Metric), f.Metric...)
			}
		}
	}
	slices.SortFunc(merged, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return merged, clashes
}
