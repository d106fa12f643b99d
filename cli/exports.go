package cli

import (
	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
)

// exportKind is a kind of the language as the exporter knows it.
func exportKind(word string) export.ExportKind {
	for _, k := range []export.ExportKind{export.ExportCounter, export.ExportGauge, export.ExportHistogram} {
		if k.String() == word {
			return k
		}
	}
	return export.ExportGauge
}

// checkExports finds maps that cannot be exported as the script wants it.
func checkExports(obj *compiler.Object) source.Diagnostics {
	var diags source.Diagnostics
	for _, e := range obj.Checked.Exports {
		if err := export.CheckExport(e.Map.Name[1:], exportKind(e.Kind), e.Map.Value); err != nil {
			diags.Errorf(obj.IR.Source, e.Node.Span(), "map '%s' cannot be exported: %s", e.Map.Name, err)
		}
	}
	return diags
}

// exports reads the maps that are exported.
func (r *session) exports() ([]export.ExportedMap, error) {
	var out []export.ExportedMap
	for _, e := range r.obj.Checked.Exports {
		for _, m := range r.obj.IR.Maps {
			if m.Name != e.Map.Name {
				continue
			}
			rows, err := r.snapshot(m)
			if err != nil {
				return nil, err
			}
			out = append(out, export.ExportedMap{Name: m.Name[1:], Help: helpOf(e), Kind: exportKind(e.Kind), Labels: e.Labels, Rows: rows,
				Scale: r.distScale(m.Value)})
		}
	}
	return out, nil
}

func helpOf(e *check.Export) string {
	if e.Help != "" {
		return e.Help
	}
	return "The map " + e.Map.Name + " of the script."
}

// distScale is the bounds of a dist(), computed once; nil for other values.
func (r *session) distScale(t *types.Type) *agg.Scale {
	if t.Kind != types.Aggregate || t.Agg.Kind != types.DistAgg {
		return nil
	}
	schema := int(t.Agg.Args[0])
	r.scalesMu.Lock()
	defer r.scalesMu.Unlock()
	if r.scales == nil {
		r.scales = map[int]*agg.Scale{}
	}
	if r.scales[schema] == nil {
		r.scales[schema] = agg.NewScale(schema, 1)
	}
	return r.scales[schema]
}
