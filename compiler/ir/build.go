package ir

import "github.com/slopebpf/slope/lang/source"

// Builder appends instructions to the current block of a function. It folds nothing: passes do.
// Instructions after a terminator go nowhere visible: once the current block has ended, Unreachable is true and the
// builder writes into a block that Verify's reachability pass drops.
type Builder struct {
	Prog *Program
	Func *Func
	Span source.Span // given to every new instruction

	cur *Block
}

// NewFunc adds a function to the program and returns a builder at its entry block.
func NewFunc(p *Program, name string, t ProgType, hook string) *Builder {
	f := &Func{Name: name, Type: t, Hook: hook, Preemptible: t == Uprobe}
	p.Funcs = append(p.Funcs, f)
	b := &Builder{Prog: p, Func: f}
	b.SetBlock(b.Block())
	return b
}

// Block makes a new block with n scalar parameters; SetBlock makes it current.
func (b *Builder) Block(params ...Class) *Block {
	blk := &Block{ID: len(b.Func.Blocks)}
	for _, c := range params {
		v := b.value(OpParam)
		v.Class = c
		blk.Params = append(blk.Params, v)
	}
	b.Func.Blocks = append(b.Func.Blocks, blk)
	return blk
}

// SetBlock makes blk current.
func (b *Builder) SetBlock(blk *Block) { b.cur = blk }

// Current returns the current block.
func (b *Builder) Current() *Block { return b.cur }

// Ended tells whether the current block already has a terminator.
func (b *Builder) Ended() bool { return b.cur.Term.Kind != TermNone }

// Slot makes a memory slot of size bytes, rounded up to a multiple of 8.
func (b *Builder) Slot(name string, size int) *Slot {
	s := &Slot{ID: len(b.Func.Slots), Name: name, Size: (size + 7) &^ 7}
	b.Func.Slots = append(b.Func.Slots, s)
	return s
}

// StoreAddress stores where a pointer points to as a number, by which the kernel then reads.
func (b *Builder) StoreAddress(dst *Value, off int, p *Value) {
	for q := p; ; q = q.Args[0] {
		if q.Op == OpSlot {
			q.Slot.Pinned = true
		}
		if q.Op != OpOffset && q.Op != OpIndex {
			break
		}
	}
	b.Store(dst, off, 8, p)
}

func (b *Builder) value(op Op, args ...*Value) *Value {
	v := &Value{ID: b.Func.nextValue, Op: op, Class: opTable[op].class, Args: args, Span: b.Span}
	b.Func.nextValue++
	return v
}

// emit appends to the current block; after its terminator, to a fresh unreachable one.
func (b *Builder) emit(v *Value) *Value {
	if b.Ended() {
		b.SetBlock(b.Block())
	}
	b.cur.Insts = append(b.cur.Insts, v)
	return v
}

func (b *Builder) end(t Term) {
	if b.Ended() {
		b.SetBlock(b.Block())
	}
	t.Span = b.Span
	b.cur.Term = t
}

// Jump ends the block.
func (b *Builder) Jump(to *Block, args ...*Value) {
	b.end(Term{Kind: TermJump, Then: to, ThenArgs: args})
}

// If ends the block: cond != 0 goes to then. Neither target takes arguments; use Jump in between.
func (b *Builder) If(cond *Value, then, els *Block) {
	b.end(Term{Kind: TermIf, Cond: cond, Then: then, Else: els})
}

// MayGoto ends the block: it goes on with then, or with over when the kernel has no more patience.
func (b *Builder) MayGoto(then, over *Block) {
	b.end(Term{Kind: TermMayGoto, Then: then, Else: over})
}

// Values is how many values the function has so far.
func (b *Builder) Values() int { return b.Func.nextValue }

// Ret ends the block.
func (b *Builder) Ret(v *Value) { b.end(Term{Kind: TermRet, Cond: v}) }

// NullCheck ends the block and goes on where p is not null, with the checked pointer; null is where it is.
func (b *Builder) NullCheck(p *Value, null *Block) *Value {
	ok := b.Block()
	b.end(Term{Kind: TermNullCheck, Cond: p, Then: ok, Else: null})
	b.SetBlock(ok)
	v := b.value(OpNonNull, p)
	v.Class = p.Class.nonNull()
	return b.emit(v)
}

// Const is a constant.
func (b *Builder) Const(n int64) *Value {
	v := b.value(OpConst)
	v.Imm = n
	return b.emit(v)
}

// Bin is a two-operand operation, Add to SLe.
func (b *Builder) Bin(op Op, x, y *Value) *Value { return b.emit(b.value(op, x, y)) }

// Un is Neg or Not.
func (b *Builder) Un(op Op, x *Value) *Value { return b.emit(b.value(op, x)) }

// AddImm is x + n.
func (b *Builder) AddImm(x *Value, n int64) *Value { return b.Bin(OpAdd, x, b.Const(n)) }

// Ext narrows x to width bytes and extends it again.
func (b *Builder) Ext(x *Value, width int, signed bool) *Value {
	v := b.value(OpExt, x)
	v.Width, v.Signed = uint8(width), signed
	return b.emit(v)
}

// Bound limits x to at most limit, unsigned.
func (b *Builder) Bound(x *Value, limit int64) *Value {
	v := b.value(OpBound, x)
	v.Imm = limit
	return b.emit(v)
}

// Mask is x & mask, kept for the kernel's verifier.
func (b *Builder) Mask(x *Value, mask int64) *Value {
	v := b.value(OpMask, x)
	v.Imm = mask
	return b.emit(v)
}

// Forget is x, of which the kernel's verifier then knows nothing; zero points to 8 bytes that are zero.
func (b *Builder) Forget(x, zero *Value) *Value { return b.emit(b.value(OpForget, x, zero)) }

// Ctx is the context pointer.
func (b *Builder) Ctx() *Value { return b.emit(b.value(OpCtx)) }

// Addr is the address of a slot.
func (b *Builder) Addr(s *Slot) *Value {
	v := b.value(OpSlot)
	v.Slot = s
	return b.emit(v)
}

// MapValue is the address of the only entry of an Array map.
func (b *Builder) MapValue(m *Map) *Value {
	v := b.value(OpMapValue)
	v.Map = m
	return b.emit(v)
}

// MapPtr is the address of a map itself.
func (b *Builder) MapPtr(m *Map) *Value {
	v := b.value(OpMapPtr)
	v.Map = m
	return b.emit(v)
}

// Offset is p + n.
func (b *Builder) Offset(p *Value, n int64) *Value {
	v := b.value(OpOffset, p)
	v.Imm, v.Class = n, p.Class
	return b.emit(v)
}

// Index is p + x*scale; x must be a Bound or Mask.
func (b *Builder) Index(p, x *Value, scale int64) *Value {
	v := b.value(OpIndex, p, x)
	v.Imm, v.Class = scale, p.Class
	return b.emit(v)
}

// Load reads width bytes at p+off.
func (b *Builder) Load(p *Value, off, width int, signed bool) *Value {
	v := b.value(OpLoad, p)
	v.Off, v.Width, v.Signed = int32(off), uint8(width), signed
	return b.emit(v)
}

// LoadBTF reads the pointer at p+off; the result is a BTF pointer again.
func (b *Builder) LoadBTF(p *Value, off int) *Value {
	v := b.Load(p, off, 8, false)
	v.Class = BTFPtr
	return v
}

// LoadBTFOrNull reads a pointer of the context that may be null.
func (b *Builder) LoadBTFOrNull(off int) *Value {
	v := b.Load(b.Ctx(), off, 8, false)
	v.Class = BTFPtrOrNull
	return v
}

// Store writes the low width bytes of x at p+off.
func (b *Builder) Store(p *Value, off, width int, x *Value) {
	v := b.value(OpStore, p, x)
	v.Off, v.Width = int32(off), uint8(width)
	b.emit(v)
}

// Zero clears size bytes at p+off, both multiples of 8.
func (b *Builder) Zero(p *Value, off, size int) {
	v := b.value(OpZero, p)
	v.Off, v.Imm = int32(off), int64(size)
	b.emit(v)
}

// Bytes stores constant data at p+off, padded with NUL to a multiple of 8.
func (b *Builder) Bytes(p *Value, off int, data string) {
	v := b.value(OpBytes, p)
	for len(data)%8 != 0 {
		data += "\x00"
	}
	v.Off, v.Data = int32(off), data
	b.emit(v)
}

// Copy copies size bytes from src to p+off, both multiples of 8.
func (b *Builder) Copy(p *Value, off int, src *Value, size int) {
	v := b.value(OpCopy, p, src)
	v.Off, v.Imm = int32(off), int64(size)
	b.emit(v)
}

// AddMem adds x to the u64 at p+off, not atomically: for memory of one CPU.
func (b *Builder) AddMem(p *Value, off int, x *Value) {
	v := b.value(OpAddMem, p, x)
	v.Off = int32(off)
	b.emit(v)
}

// Atomic adds x to the u64 at p+off atomically.
func (b *Builder) Atomic(p *Value, off int, x *Value) {
	v := b.value(OpAtomic, p, x)
	v.Off = int32(off)
	b.emit(v)
}

// FetchAdd adds x to the u64 at p+off atomically and returns what was there before.
func (b *Builder) FetchAdd(p *Value, off int, x *Value) *Value {
	v := b.value(OpFetchAdd, p, x)
	v.Off = int32(off)
	return b.emit(v)
}

// Lookup finds the value of a key: a MapValueOrNull for NullCheck.
func (b *Builder) Lookup(m *Map, key *Value) *Value {
	v := b.value(OpMapLookup, key)
	v.Map = m
	return b.emit(v)
}

// The flags of Update.
const (
	UpdateAny     = 0
	UpdateNoExist = 1
	UpdateExist   = 2
)

// Update stores a value under a key and returns 0 or -errno.
func (b *Builder) Update(m *Map, key, value *Value, flags int64) *Value {
	v := b.value(OpMapUpdate, key, value)
	v.Map, v.Imm = m, flags
	return b.emit(v)
}

// Delete removes a key and returns 0 or -errno.
func (b *Builder) Delete(m *Map, key *Value) *Value {
	v := b.value(OpMapDelete, key)
	v.Map = m
	return b.emit(v)
}

// LookupCPU finds the value that a CPU has of a key: a MapValueOrNull for NullCheck.
func (b *Builder) LookupCPU(m *Map, key, cpu *Value) *Value {
	v := b.value(OpMapLookupCPU, key, cpu)
	v.Map = m
	return b.emit(v)
}

// MapLen is how many entries a map has.
func (b *Builder) MapLen(m *Map) *Value {
	v := b.value(OpMapLen)
	v.Map = m
	return b.emit(v)
}

// MapEach copies the entries of a map to an area of e's buffer, whose offset is at p.
func (b *Builder) MapEach(m *Map, p *Value, e *Each) {
	v := b.value(OpMapEach, p)
	v.Map, v.Each = m, e
	b.emit(v)
}

// Read copies size bytes from a user or kernel address to dst and returns 0 or -errno; on a fault dst is zeroed.
func (b *Builder) Read(dst, addr *Value, size int, kernel bool) *Value {
	v := b.value(OpRead, dst, addr)
	v.Imm, v.Signed = int64(size), kernel
	return b.emit(v)
}

// ReadN is Read of size bytes, a scalar from 0 to limit.
func (b *Builder) ReadN(dst, addr, size *Value, limit int, kernel bool) *Value {
	switch {
	case size.Op != OpConst:
	case size.Imm == 0:
		return b.Const(0)
	default:
		return b.Read(dst, addr, int(size.Imm), kernel)
	}
	v := b.value(OpReadN, dst, addr, size)
	v.Imm, v.Signed = int64(limit), kernel
	return b.emit(v)
}

// ReadStr copies a string of at most size-1 bytes and a NUL to dst; size is a scalar from 1 to limit.
// It returns the length with the NUL, or -errno.
func (b *Builder) ReadStr(dst, addr, size *Value, limit int, kernel bool) *Value {
	v := b.value(OpReadStr, dst, addr, size)
	v.Imm, v.Signed = int64(limit), kernel
	return b.emit(v)
}

// Stack writes the return addresses of the running kernel or user code to dst, as many as fit into size bytes, then zeros.
// It returns how many bytes they are, or -errno.
func (b *Builder) Stack(dst *Value, size int, kernel bool) *Value {
	v := b.value(OpStack, dst)
	v.Imm, v.Signed = int64(size), kernel
	return b.emit(v)
}

// Reserve takes size bytes of the ring buffer: a RingPtrOrNull for NullCheck.
func (b *Builder) Reserve(size int) *Value {
	v := b.value(OpRingReserve)
	v.Imm, v.Map = int64(size), b.Prog.Ring
	return b.emit(v)
}

// The flags of Submit.
const (
	NoWakeup    = 1
	ForceWakeup = 2
)

// Submit hands a record to user space.
func (b *Builder) Submit(p *Value, flags int64) {
	v := b.value(OpRingSubmit, p)
	v.Imm = flags
	b.emit(v)
}

// Discard gives a record back unseen.
func (b *Builder) Discard(p *Value) { b.emit(b.value(OpRingDiscard, p)) }

// CmpXchg stores y into the u64 at p+off if it is x, atomically, and returns what was there before.
func (b *Builder) CmpXchg(p *Value, off int, x, y *Value) *Value {
	v := b.value(OpCmpXchg, p, x, y)
	v.Off = int32(off)
	return b.emit(v)
}

// Help calls a kernel helper.
func (b *Builder) Help(h Helper, args ...*Value) *Value {
	v := b.value(OpHelper, args...)
	v.Helper, v.Class = h, helperTable[h].class
	return b.emit(v)
}

// Param adds a parameter to a block that nothing jumps to yet.
func (b *Builder) Param(blk *Block, c Class) *Value {
	v := b.value(OpParam)
	v.Class = c
	blk.Params = append(blk.Params, v)
	return v
}
