// Package events turns ring-buffer records into output.
//
// Algorithm: the first word of a record is the index of its ir.Event. Formats are split once, in New; a record is then
// formatted straight from its bytes into one reused buffer, so that printing allocates nothing.
//
// Invariants: a record is never trusted: one that is short, or has an unknown number, is an error and counted as
// damaged, and nothing of it is printed. Records are valid during Handle only. What needs more than the record (maps,
// ending the script) goes to the Host.
//
// This package reads no ring buffer and no map. Start at Handler.Handle.
package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/agg"
	"github.com/slopebpf/slope/runtime/export"
)

// Host does what a record asks for beyond output. Calls come in the order of the records.
type Host interface {
	PrintMap(m *ir.Map, top, div int64)
	PrintEntry(m *ir.Map, key []byte)
	Clear(m *ir.Map)
	Zero(m *ir.Map)
	Exit(status int)
	Cat(path string)
	System(command string)
	Note(pid int)                     // a process was seen whose code will be looked up
	Unwatch(address uint64)           // what watches the address ends
	Message(e *ir.Event, text string) // an error or a warning of the script
}

// Sink is where output goes; every export.Output is one.
type Sink interface {
	Printf(text []byte)
	Time(text []byte)
	Join(text []byte)
	Value(t *types.Type, raw []byte)
}

// ErrDamaged is wrapped by the errors for records that cannot be what the program sent.
var ErrDamaged = errors.New("damaged record")

// Options is what New needs besides the events.
type Options struct {
	Sink   Sink
	Host   Host
	Values export.Values
	Now    func() time.Time // nil for time.Now
}

// Handler handles the records of one program. It is for one goroutine.
type Handler struct {
	opt     Options
	events  []event
	buf     []byte
	scratch []byte
	damaged uint64
}

type event struct {
	*ir.Event
	size   int
	format []types.Directive
}

// New prepares the events of a program.
func New(events []*ir.Event, opt Options) (*Handler, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	h := &Handler{opt: opt, events: make([]event, len(events))}
	for i, ev := range events {
		e := event{Event: ev, size: max(ev.Size, 8)}
		for _, a := range ev.Args {
			if a.Offset < 8 || a.Offset+a.Type.Memory() > e.size {
				return nil, fmt.Errorf("prepare event %d: argument at %d of a record of %d bytes", i, a.Offset, e.size)
			}
		}
		if n := len(ev.Args); ev.Kind == ir.EventPrintMap && n > 0 && (ev.Map.Key == nil || ev.Args[0].Offset+ev.Map.Key.Memory() > e.size) {
			return nil, fmt.Errorf("prepare event %d: got %d arguments, want a key", i, n)
		}
		switch {
		case ev.Kind.Printf():
			var err error
			if e.format, err = types.ParseFormat(ev.Format); err != nil {
				return nil, fmt.Errorf("prepare event %d: %w", i, err)
			}
			if got, want := len(ev.Args), arguments(e.format); got != want {
				return nil, fmt.Errorf("prepare event %d: got %d arguments, want %d", i, got, want)
			}
		case ev.Kind == ir.EventPrintValue || ev.Kind == ir.EventJoin || ev.Kind == ir.EventNote || ev.Kind == ir.EventUnwatch:
			if len(ev.Args) != 1 {
				return nil, fmt.Errorf("prepare event %d: got %d values, want 1", i, len(ev.Args))
			}
		}
		h.events[i] = e
	}
	return h, nil
}

// arguments is how many a format takes.
func arguments(format []types.Directive) (n int) {
	for _, d := range format {
		if d.Verb == "" {
			continue
		}
		if n++; d.StarW {
			n++
		}
		if d.StarP {
			n++
		}
	}
	return n
}

// Damaged is how many records could not be read.
func (h *Handler) Damaged() uint64 { return h.damaged }

// Handle does what a record says.
func (h *Handler) Handle(record []byte) error {
	if len(record) < 8 {
		h.damaged++
		return fmt.Errorf("read record of %d bytes: %w", len(record), ErrDamaged)
	}
	id := binary.LittleEndian.Uint64(record)
	if id >= uint64(len(h.events)) || len(record) < h.events[id].size {
		h.damaged++
		return fmt.Errorf("read record of %d bytes, event %d: %w", len(record), id, ErrDamaged)
	}
	e := &h.events[id]
	if e.Kind.Printf() {
		h.buf = h.appendFormat(h.buf[:0], e, record)
	}
	switch e.Kind {
	case ir.EventPrintf:
		h.opt.Sink.Printf(h.buf)
	case ir.EventCat:
		h.opt.Host.Cat(string(h.buf))
	case ir.EventSystem:
		h.opt.Host.System(string(h.buf))
	case ir.EventError, ir.EventWarning:
		h.opt.Host.Message(e.Event, string(h.buf))
	case ir.EventNote:
		h.opt.Host.Note(int(number(e.Args[0], record)))
	case ir.EventUnwatch:
		h.opt.Host.Unwatch(uint64(number(e.Args[0], record)))
	case ir.EventJoin:
		h.buf = appendJoin(h.buf[:0], e, record[e.Args[0].Offset:])
		h.opt.Sink.Join(h.buf)
	case ir.EventPrintValue:
		a := &e.Args[0]
		h.opt.Sink.Value(a.Type, record[a.Offset:a.Offset+a.Type.Memory()])
	case ir.EventTime:
		h.buf = export.AppendTime(h.buf[:0], e.Format, h.opt.Now())
		h.opt.Sink.Time(h.buf)
	case ir.EventPrintMap:
		if len(e.Args) > 0 {
			at := e.Args[0].Offset
			h.opt.Host.PrintEntry(e.Map, record[at:at+e.Map.Key.Memory()])
			break
		}
		h.opt.Host.PrintMap(e.Map, e.Top, e.Div)
	case ir.EventClear:
		h.opt.Host.Clear(e.Map)
	case ir.EventZero:
		h.opt.Host.Zero(e.Map)
	case ir.EventExit:
		status := e.Status
		if len(e.Args) > 0 {
			status = int(int32(binary.LittleEndian.Uint64(record[e.Args[0].Offset:])))
		}
		h.opt.Host.Exit(status)
	default:
		h.damaged++
		return fmt.Errorf("read record of event %d, unknown kind %d: %w", id, e.Kind, ErrDamaged)
	}
	return nil
}

// appendJoin appends the texts of a record.
func appendJoin(dst []byte, e *event, raw []byte) []byte {
	for i := range min(agg.Number(raw), ir.JoinTexts) {
		if i > 0 {
			dst = append(dst, e.Format...)
		}
		text := raw[8+i*ir.JoinSize:][:ir.JoinSize]
		if end := bytes.IndexByte(text, 0); end >= 0 {
			text = text[:end]
		}
		dst = append(dst, text...)
	}
	return dst
}
