// Package export turns numbers into what leaves the program: bpftrace's text and JSON, our tables of indicators and
// objectives, and Prometheus metrics.
//
// Algorithm: values are printed straight from their memory layout (values.go) into one reused buffer per output, which
// is handed to the writer once per call: what is buffered how long is the writer's business. Reports (report.go) are
// plain data that every output and the metrics share.
//
// Invariants: text and JSON of what bpftrace has are equal to bpftrace's to the byte; an exact number is never rounded
// into the other verdict; nothing here reads a map or keeps state between calls but the first write error, and Expiry.
//
// Start at Output; text.go, json.go implement it, prometheus.go is the scrape.
package export

import (
	"github.com/slopebpf/slope/lang/source"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
)

// Output is where a running script's output goes. It is for one goroutine. The first error of the writer sticks and
// silences the output; Err returns it.
type Output interface {
	AttachedProbes(n int)
	Printf(text []byte)
	Time(text []byte)
	Join(text []byte)
	Cat(text []byte)
	System(text []byte)           // what a command printed
	Diagnose(d source.Diagnostic) // an error or a warning of the script
	Value(t *types.Type, raw []byte)
	Map(s *agg.Snapshot, top, div int64) // sorts the snapshot; 0 means all entries, undivided
	Entry(s *agg.Snapshot, r agg.Row)    // the value of one row, which may be none of the snapshot's
	End()                                // between the last event and the maps that are printed at the end
	LostEvents(n uint64)
	Losses(l []Loss)
	SLIs(r []SLIReport)
	SLOs(r []SLOReport)
	Notice(n Notice)
	Err() error
}

// Loss is one line on what was lost: how often, why, and where.
type Loss struct {
	Cause  string // of ir.Loss
	Map    string // the map concerned, "" for none
	Place  string // file:line:col, "" for none
	Count  uint64
	Detail string // more to say, "" for nothing
}
