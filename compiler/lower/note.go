package lower

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// maxNoted is how many processes are remembered as told of.
const maxNoted = 4096

// note tells user space of a process when it is first seen, and again when it has become another program, which has another
// address space; so that what is mapped can be read while the process lives.
// It is at most told of too often: where the ring buffer is full, the process is told of the next time.
func (f *fn) note(pid *ir.Value) {
	l := f.l
	l.makeRing()
	if l.noted == nil {
		l.noted = &ir.Map{Name: "noted", Kind: ir.LRUHash, KeySize: 16, ValueSize: 8, MaxEntries: maxNoted}
		l.out.Maps = append(l.out.Maps, l.noted)
		l.noteEvent = &ir.Event{ID: len(l.out.Events), Kind: ir.EventNote, Size: 2 * headerSize, Span: f.Builder.Span,
			Args: []ir.EventArg{{Type: types.Uint64, Offset: headerSize}}}
		l.out.Events = append(l.out.Events, l.noteEvent)
	}
	key, space := f.Addr(f.Slot("noted", 16)), l.opt.Kernel.Space(f.Builder)
	f.Store(key, 0, 8, pid)
	f.Store(key, 8, 8, space)
	fresh, full, next := f.Block(), f.Block(), f.Block()
	f.NullCheck(f.Lookup(l.noted, key), fresh)
	f.Jump(next)
	f.SetBlock(fresh)
	f.Update(l.noted, key, key, ir.UpdateAny)
	p := f.NullCheck(f.Reserve(l.noteEvent.Size), full)
	f.Store(p, 0, 8, f.Const(int64(l.noteEvent.ID)))
	f.Store(p, headerSize, 8, pid)
	f.Submit(p, ir.ForceWakeup)
	f.Jump(next)
	f.SetBlock(full)
	f.Delete(l.noted, key)
	f.Jump(next)
	f.SetBlock(next)
}
