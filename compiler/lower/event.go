package lower

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// headerSize is the event's ID, the first word of every record.
const headerSize = 8

// emit sends an event: the record is reserved in the ring buffer and filled in place. Scalars are computed before,
// since a reserved record must be submitted on every path and an expression may end the action (stop). So is whatever
// changes something: it happens whether or not the ring buffer has room.
func (f *fn) emit(ev *ir.Event, args []syntax.Expr, flags int64) {
	f.declare(ev)
	ready := make([]*ir.Value, len(args))
	changes := false // then all are evaluated before, in order
	for _, a := range args {
		changes = changes || f.changes(a)
	}
	for i, a := range args {
		switch t := ev.Args[i].Type; {
		case t.Scalar():
			ready[i] = f.scalar(a)
		case changes, t.UserCode(): // whose process user space is told of by a record before
			ready[i] = f.memory(a, t, true)
		}
	}
	f.send(ev, flags, func(p *ir.Value) *ir.Value {
		for i, a := range args {
			arg := ev.Args[i]
			switch {
			case ready[i] == nil:
				f.into(a, arg.Type, p, arg.Offset, ev.Kind == ir.EventPrintMap) // a key is compared by its bytes
			case arg.Type.Scalar():
				f.Store(p, arg.Offset, 8, ready[i])
			default:
				f.Copy(p, arg.Offset, ready[i], arg.Type.Memory())
			}
		}
		return nil
	})
}

// declare gives an event its number and its arguments their places.
func (f *fn) declare(ev *ir.Event) {
	l := f.l
	l.makeRing()
	ev.ID, ev.Span = len(l.out.Events), f.Builder.Span
	l.out.Events = append(l.out.Events, ev)
	off := headerSize
	for i := range ev.Args {
		ev.Args[i].Offset = off
		off += ev.Args[i].Type.Memory()
	}
	ev.Size = off
}

// send sends an event that is declared; fill writes its arguments. Where what it returns is there and not 0 the event is not sent.
func (f *fn) send(ev *ir.Event, flags int64, fill func(p *ir.Value) (failed *ir.Value)) {
	full, next := f.Block(), f.Block()
	p := f.NullCheck(f.Reserve(ev.Size), full)
	f.Store(p, 0, 8, f.Const(int64(ev.ID)))
	cache := f.cache.save()
	if failed := fill(p); failed != nil {
		void, whole := f.Block(), f.Block()
		f.If(failed, void, whole)
		f.SetBlock(void)
		f.Discard(p)
		f.Jump(next)
		f.SetBlock(whole)
	}
	f.Submit(p, flags)
	f.cache.restore(cache)
	f.Jump(next)
	f.SetBlock(full)
	f.count(ir.LossRingFull, nil)
	f.Jump(next)
	f.SetBlock(next)
}

// makeRing makes the ring buffer, once.
func (l *lowerer) makeRing() {
	if l.out.Ring == nil {
		l.out.Ring = &ir.Map{Name: "events", Kind: ir.RingBuf, MaxEntries: l.in.Config.RingSize}
		l.out.Maps = append(l.out.Maps, l.out.Ring)
	}
}

// changes tells whether evaluating e may change a variable or a map, or leave the action.
func (f *fn) changes(e syntax.Expr) bool {
	found := false
	syntax.Walk(e, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Block: // its statements may do anything
			found = true
		case *syntax.Unary:
			found = found || n.Op == "++" || n.Op == "--"
		case *syntax.Call:
			row := f.info.Funcs[n]
			if row == nil {
				break
			}
			found = found || row.Class == types.VerbFunc
			for _, p := range row.Params {
				found = found || p.Kind == types.MapParam || p.Kind == types.PrintableParam
			}
		}
		return !found
	})
	return found
}
