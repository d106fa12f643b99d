package cli

import (
	"github.com/slopebpf/slope/compiler/lower"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/judge"
)

// unknown counts the events of an indicator whose outcome nobody knows. To a gate, spans that still run are missing too.
func (g *gate) unknown(l *lower.SLILayout) (u export.Unknown, open uint64, err error) {
	missing, doubtful, open, err := judge.Unknown(g.run.obj, g.run.eng, l)
	return export.Unknown{Missing: missing + open, Doubtful: doubtful}, open, err
}
