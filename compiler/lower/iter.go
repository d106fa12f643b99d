package lower

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// selectObject ends the action where the iterator has no object any more: it runs once more then. The pointers of its
// context are loaded only once, since the kernel's verifier takes every load for another pointer that may be null.
//
// The reader of the iterator gets one word for each object. So the kernel returns to it after as many objects as it asked
// for, and it can take the records away before the ring buffer is full. Where all objects are walked over in one read, the
// words would not fit into it, and there are none.
func (f *fn) selectObject() {
	f.objects = nil
	if f.entryOf.form() != types.IterArgs {
		return
	}
	f.objects = map[int]*ir.Value{}
	fields := f.entryOf.args().Layout.Fields()
	for i, fld := range fields {
		switch {
		case fld.Type.Kind != types.Pointer || fld.Type.Elem.Kind != types.Struct:
		case i == 0:
			f.objects[fld.Offset] = f.LoadBTF(f.Ctx(), fld.Offset)
		default:
			f.objects[fld.Offset] = f.NullCheck(f.LoadBTFOrNull(fld.Offset), f.end)
		}
	}
	h := f.entryOf.targets[0].Hook
	if h.Pin != "" && !h.OneRead {
		f.leaveFull()
	}
	if h.OneRead || h.Pin != "" {
		return
	}
	p := f.Addr(f.Slot("mark", ir.IterMark))
	f.Store(p, 0, ir.IterMark, f.Const(0))
	f.Help(ir.HelperSeqWrite, f.reader(), p)
}

// leaveFull leaves an object to the next read where what is there for the reader takes more than half of the room. The kernel runs
// the program once more for an object whose text does not fit, and what it counts would be counted twice. That it does not fit is
// said by a text that never does.
func (f *fn) leaveFull() {
	word := func(name string) *ir.Value {
		seq := f.entryOf.args().Layout.Fields()[0].Type.Elem
		file, _ := seq.Field("seq")
		fld, ok := file.Type.Elem.Field(name)
		if !ok {
			bug("reader without %s", name)
		}
		return f.Load(f.reader(), fld.Offset, 8, false)
	}
	const tooLong = "%65536d\x00"
	f.when(f.Bin(ir.OpULt, word("size"), f.Bin(ir.OpMul, word("count"), f.Const(2))), func() {
		zero := f.Addr(f.Slot("none", 8))
		f.Store(zero, 0, 8, f.Const(0))
		f.Help(ir.HelperSeqPrintf, f.reader(), f.rodata(tooLong), f.Const(int64(len(tooLong))), zero, f.Const(8))
		f.Jump(f.end)
		f.SetBlock(f.Block())
	})
}

// reader is the struct seq_file by which the reader of an iterator gets something.
func (f *fn) reader() *ir.Value {
	meta := f.entryOf.args().Layout.Fields()[0]
	seq, ok := meta.Type.Elem.Field("seq")
	if !ok {
		bug("iterator without a reader")
	}
	return f.LoadBTF(f.objects[meta.Offset], seq.Offset)
}
