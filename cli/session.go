package cli

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/slopebpf/slope/compiler"
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/engine"
	"github.com/slopebpf/slope/runtime/events"
	"github.com/slopebpf/slope/runtime/export"
	"github.com/slopebpf/slope/runtime/symbols"
)

// session is one run of a script, or of one generation of it: what it prints, and the state that its events change. It is
// the events.Host.
type session struct {
	streams Streams
	flags   *runFlags
	script  string // its name
	obj     *compiler.Object
	eng     *engine.Engine
	out     *output // its mutex guards format, too
	began   time.Time
	taken   chan error // what became of the attempt to take over
	carried carried    // from the generations before

	wrap func(export.Output) export.Output // where messages do not belong to the output; nil where they do

	values   export.Values
	follows  *objectives // nil without any
	scalesMu sync.Mutex  // guards scales
	scales   map[int]*agg.Scale
	format   export.Output
	stacks   *stackReader
	decoder  *events.Handler
	start    time.Time            // attached
	since    map[string]time.Time // when an indicator of a later generation began to count
	exited   bool
	status   int
	errors   int // that the script has reported
	packets  *packetFiles
	err      error
}

func (r *session) setup() error {
	r.stacks = &stackReader{eng: r.eng, diag: r.streams.Err, program: onlyProgram(r.obj.IR.Funcs), processes: symbols.Processes{Mangled: r.obj.Checked.Config.Mangled}}
	values := export.Values{MaxStrlen: r.obj.Checked.Config.MaxStrlen, Stacks: r.stacks.frames, Names: newNames(r.stacks)}
	r.values = values
	if r.flags.format == "json" {
		r.format = export.NewJSON(r.out, values)
	} else {
		o := export.TextOptions{Out: r.out, Diag: r.streams.Err, Values: values, Colour: r.streams.Color && r.streams.Terminal && r.flags.output == ""}
		r.format = export.NewText(o)
	}
	if r.wrap != nil {
		r.format = r.wrap(r.format)
	}
	if err := r.openPackets(); err != nil {
		return err
	}
	var err error
	r.decoder, err = events.New(r.obj.IR.Events, events.Options{Sink: r.format, Host: r, Values: values})
	return err
}

// attached tells the user, and whoever waits for it, that probes run.
func (r *session) attached(addr string) {
	r.start = time.Now()
	r.keep(r.packets.begin())
	r.follows.attached()
	n := r.eng.Attached()
	switch {
	case r.flags.quiet:
	case len(r.obj.Checked.SLIs) > 0 && r.flags.format == "text":
		at := ""
		if addr != "" {
			at = " · /metrics on " + addr
		}
		fmt.Fprintf(r.streams.Err, "attached %d probes in %s%s · Ctrl-C to stop\n", n, milliseconds(r.start.Sub(r.began)), at)
	default:
		if addr != "" {
			fmt.Fprintf(r.streams.Err, "/metrics on %s\n", addr)
		}
		r.format.AttachedProbes(n)
	}
	r.out.idle()
	switch pin := r.eng.Pinned(); {
	case pin == "":
	case r.flags.format == "json":
		r.notice("pinned", pin)
	default:
		fmt.Fprintln(r.streams.Out, "Program pinned to", pin)
	}
	if os.Getenv("__BPFTRACE_NOTIFY_PROBES_ATTACHED") == "1" { // on the standard output, wherever output goes
		fmt.Fprintln(r.streams.Out, "__BPFTRACE_NOTIFY_PROBES_ATTACHED")
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%d ms", (d+time.Millisecond/2)/time.Millisecond)
}

// snapshot reads one of the script's maps.
func (r *session) snapshot(m *ir.Map) (*agg.Snapshot, error) {
	s, err := agg.Read(m, func(f func(key, value []byte) error) error { return r.eng.Read(m, f) })
	if err == nil && len(s.Rows) == 0 && r.eng.Zeroed(m) {
		s.Rows = []agg.Row{{Words: make([]uint64, m.ValueSize/8)}}
	}
	return s, err
}

// keep remembers the first error of something the script did asynchronously.
func (r *session) keep(err error) {
	if err != nil && r.err == nil {
		r.err, r.exited = err, true
	}
}

// PrintMap implements events.Host.
func (r *session) PrintMap(m *ir.Map, top, div int64) {
	s, err := r.snapshot(m)
	r.keep(err)
	if err == nil {
		r.format.Map(s, top, div)
	}
}

// Clear implements events.Host.
func (r *session) Clear(m *ir.Map) { r.keep(r.eng.Clear(m)) }

// PrintEntry prints the value under a key; that of nothing where there is none.
func (r *session) PrintEntry(m *ir.Map, key []byte) {
	s, err := r.snapshot(m)
	r.keep(err)
	if err != nil {
		return
	}
	r.format.Entry(s, s.Row(key, m.ValueSize/8))
}

// Zero implements events.Host.
func (r *session) Zero(m *ir.Map) { r.keep(r.eng.Zero(m)) }

// Unwatch implements events.Host.
func (r *session) Unwatch(address uint64) { r.keep(r.eng.Unwatch(address)) }

// Exit implements events.Host.
func (r *session) Exit(status int) {
	if !r.exited {
		r.exited, r.status = true, status
	}
}

// finish prints what the script leaves: maps, indicators, objectives, and what was lost.
func (r *session) finish() error {
	if err := r.follows.finish(); err != nil {
		r.keep(err)
	}
	if r.err != nil {
		return r.err
	}
	r.format.End()
	for _, m := range r.obj.IR.Maps {
		if !scriptMap(m) || r.obj.Checked.Config.HideMaps {
			continue
		}
		s, err := r.snapshot(m)
		if err != nil {
			return err
		}
		if len(s.Rows) > 0 {
			r.format.Map(s, 0, 0)
		}
	}
	rep, err := r.report()
	if err != nil {
		return err
	}
	r.format.SLIs(rep.slis)
	r.format.SLOs(rep.slos)
	r.out.idle()
	if n := rep.lostEvents(); n > 0 {
		r.format.LostEvents(n)
	}
	r.format.Losses(rep.losses)
	return r.format.Err()
}

// scriptMap tells whether a map is one that the script named.
func scriptMap(m *ir.Map) bool { return m.Name[0] == '@' && m.Value != nil }
