package backend

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

// selector makes machine instructions of IR instructions, block by block. What costs one or two instructions to make
// and needs no register of another value is made again at every use: constants, slot addresses, map references.
// 64-bit constants and addresses of map values are shared between two calls.
type selector struct {
	m     *mach
	prog  *ir.Program
	f     *ir.Func
	feat  Features
	frame map[*ir.Slot]int // offsets from the start of the frame
	size  int              // of the frame, so that a slot is at r10 - size + offset

	regs   map[*ir.Value]reg
	blocks map[*ir.Block]*block
	uses   map[*ir.Value]int  // of values, not counting what is folded into branches
	fused  map[*ir.Value]bool // compares that exist only inside branches
	ctx    reg
	cache  map[cacheKey]reg // since the last call
	cur    *block
	span   source.Span

	careful bool // bounded values may be spilled: see bound
}

type cacheKey struct {
	m *ir.Map
	n int64
}

func selectFunc(p *ir.Program, f *ir.Func, feat Features, frame map[*ir.Slot]int, careful bool) *mach {
	s := &selector{m: &mach{temp: map[reg]bool{}, bounded: map[reg]bool{}}, prog: p, f: f, feat: feat, frame: frame, careful: careful,
		regs: map[*ir.Value]reg{}, blocks: map[*ir.Block]*block{}, uses: map[*ir.Value]int{}, fused: map[*ir.Value]bool{}}
	for slot, off := range frame {
		s.size = max(s.size, off+slot.Size)
	}
	dom := f.Dominators()
	depth := loopDepth(dom)
	for _, b := range dom.Order {
		s.blocks[b] = s.newBlock()
		s.blocks[b].depth = depth[b]
	}
	s.count(dom.Order)
	unlikely := s.unlikely(dom)
	var layout []*block
	for i, b := range dom.Order {
		first := len(s.m.blocks)
		s.cur, s.cache = s.blocks[b], map[cacheKey]reg{}
		s.cur.depth = depth[b]
		if i == 0 {
			s.span = f.Span
			s.ctx = s.m.newReg()
			s.move(s.ctx, 1)
		}
		for _, v := range b.Insts {
			s.span = v.Span
			s.inst(v)
		}
		s.span = b.Term.Span
		s.term(b)
		s.blocks[b].cold = unlikely[b]
		for _, n := range s.m.blocks[first:] {
			n.depth = depth[b]
			n.cold = n.cold || unlikely[b]
		}
		layout = append(append(layout, s.blocks[b]), s.m.blocks[first:]...)
	}
	// Cold blocks go to the end.
	s.m.blocks = nil
	for _, cold := range []bool{false, true} {
		for _, b := range layout {
			if b.cold == cold {
				s.m.blocks = append(s.m.blocks, b)
			}
		}
	}
	for i, b := range s.m.blocks {
		b.id = i
	}
	return s.m
}

// newBlock makes a block; selectFunc lays out those made for IR blocks itself, the others follow where they arise.
func (s *selector) newBlock() *block { return &block{} }

// startBlock ends the current block, falling through, and goes on in b.
func (s *selector) startBlock(b *block) {
	s.m.blocks = append(s.m.blocks, b)
	s.cur = b
}

// loopDepth counts for every block the loops it is in, by their back edges.
func loopDepth(dom *ir.DomTree) map[*ir.Block]int {
	depth := map[*ir.Block]int{}
	preds := ir.Preds(dom.Order)
	for _, head := range dom.Order {
		body := map[*ir.Block]bool{}
		var list []*ir.Block
		for _, p := range preds[head] {
			if dom.Dominates(head, p) {
				list = append(list, p)
			}
		}
		if len(list) == 0 {
			continue
		}
		body[head] = true
		for len(list) > 0 {
			b := list[len(list)-1]
			list = list[:len(list)-1]
			if !body[b] {
				body[b] = true
				list = append(list, preds[b]...)
			}
		}
		for b := range body {
			depth[b]++
		}
	}
	return depth
}

// unlikely finds the blocks that are reached only where a pointer turned out null or a loss is counted.
func (s *selector) unlikely(dom *ir.DomTree) map[*ir.Block]bool {
	out := map[*ir.Block]bool{}
	preds := ir.Preds(dom.Order)
	for _, b := range dom.Order[1:] { // dominators come first; the entry stays where it is
		out[b] = len(preds[b]) > 0
		for _, p := range preds[b] {
			out[b] = out[b] && (out[p] || p.Term.Kind == ir.TermNullCheck && p.Term.Else == b)
		}
		for _, v := range b.Insts {
			out[b] = out[b] || v.Op == ir.OpAtomic && v.Args[0].Op == ir.OpMapValue && v.Args[0].Map == s.prog.Health
		}
	}
	return out
}

// count finds out what is used by more than branches.
func (s *selector) count(order []*ir.Block) {
	branches := map[*ir.Value]int{}
	for _, b := range order {
		b.Operands(func(_ *ir.Value, arg **ir.Value) { s.uses[*arg]++ })
		if b.Term.Kind == ir.TermIf {
			branches[b.Term.Cond]++
		}
	}
	for v, n := range branches {
		if n == s.uses[v] && (v.Op.Compare() || v.Op == ir.OpAnd) {
			s.fused[v] = true
		}
	}
}

func (s *selector) emit(in inst) {
	in.span = s.span
	s.cur.insts = append(s.cur.insts, in)
}

func fits32(n int64) bool { return n == int64(int32(n)) }
func fits16(n int64) bool { return n == int64(int16(n)) }

// move copies a register.
func (s *selector) move(dst, src reg) {
	if dst != src {
		s.emit(inst{kind: move, ins: asm.Instruction{OpCode: asm.Mov.Op(asm.RegSource)}, dst: dst, src: src, dstDef: true})
	}
}

// constant sets dst to n.
func (s *selector) constant(dst reg, n int64) {
	op := asm.LoadImmOp(asm.DWord)
	switch {
	case fits32(n):
		op = asm.Mov.Op(asm.ImmSource)
	case n == int64(uint32(n)):
		op, n = asm.Mov.Op32(asm.ImmSource), int64(int32(n))
	}
	s.emit(inst{kind: load, ins: asm.Instruction{OpCode: op, Constant: n}, dst: dst, src: noReg, dstDef: true})
}

// alu does dst op= src.
func (s *selector) alu(op asm.ALUOp, dst, src reg) {
	s.emit(inst{ins: asm.Instruction{OpCode: op.Op(asm.RegSource)}, dst: dst, src: src, dstUse: true, dstDef: true})
}

// aluImm does dst op= n, a number of 32 bits.
func (s *selector) aluImm(op asm.ALUOp, dst reg, n int64) {
	if n == 0 && op == asm.Add {
		return
	}
	s.emit(inst{ins: asm.Instruction{OpCode: op.Op(asm.ImmSource), Constant: n}, dst: dst, src: noReg, dstUse: true, dstDef: true})
}

// addTo does dst += n for any n.
func (s *selector) addTo(dst reg, n int64) {
	if fits32(n) {
		s.aluImm(asm.Add, dst, n)
	} else {
		s.alu(asm.Add, dst, s.number(n))
	}
}

// number returns a register that holds a constant.
func (s *selector) number(n int64) reg {
	if fits32(n) || n == int64(uint32(n)) {
		t := s.m.newReg()
		s.constant(t, n)
		return t
	}
	return s.cached(cacheKey{nil, n}, func(t reg) { s.constant(t, n) })
}

// cached shares a value that must not live across calls.
func (s *selector) cached(k cacheKey, make func(t reg)) reg {
	if t, ok := s.cache[k]; ok {
		return t
	}
	t := s.m.newReg()
	make(t)
	s.cache[k] = t
	return t
}

// reg returns the register of a value, made here if it is one of those that are made at every use.
// The caller must not write to it.
func (s *selector) reg(v *ir.Value) reg {
	switch v.Op {
	case ir.OpConst:
		return s.number(v.Imm)
	case ir.OpSlot, ir.OpMapValue, ir.OpOffset, ir.OpIndex:
		root, off := s.address(v)
		if off == 0 {
			return root
		}
		t := s.m.newReg()
		s.move(t, root)
		s.addTo(t, off)
		return t
	case ir.OpNonNull:
		return s.reg(v.Args[0])
	case ir.OpCtx:
		return s.ctx
	}
	return s.raw(v)
}

// raw returns the register an instruction writes; of an Index that is the pointer without constant offsets.
func (s *selector) raw(v *ir.Value) reg {
	if r, ok := s.regs[v]; ok {
		return r
	}
	r := s.m.newReg()
	s.regs[v] = r
	return r
}

// into sets dst to a value.
func (s *selector) into(dst reg, v *ir.Value) {
	switch v.Op {
	case ir.OpConst:
		s.constant(dst, v.Imm)
	case ir.OpSlot, ir.OpMapValue, ir.OpOffset, ir.OpIndex, ir.OpNonNull:
		if root, m, off := s.root(v); m != nil {
			s.mapValue(dst, m, off)
		} else {
			s.move(dst, root)
			s.addTo(dst, off)
		}
	default:
		s.move(dst, s.reg(v))
	}
}

// root follows constant offsets down to a register, or to the value of an array map.
func (s *selector) root(v *ir.Value) (r reg, m *ir.Map, off int64) {
	for {
		switch v.Op {
		case ir.OpOffset:
			off += v.Imm
			v = v.Args[0]
		case ir.OpNonNull:
			v = v.Args[0]
		case ir.OpSlot:
			at, ok := s.frame[v.Slot]
			if !ok {
				at = s.size - v.Slot.Size // never accessed
			}
			return fp, nil, off + int64(at-s.size)
		case ir.OpMapValue:
			return noReg, v.Map, off
		case ir.OpIndex:
			_, _, more := s.root(v.Args[0])
			return s.raw(v), nil, off + more
		default:
			return s.reg(v), nil, off
		}
	}
}

// address returns a register and an offset that together are a pointer.
func (s *selector) address(v *ir.Value) (reg, int64) {
	root, m, off := s.root(v)
	if m != nil {
		root = s.cached(cacheKey{m, 0}, func(t reg) { s.mapValue(t, m, 0) })
	}
	return root, off
}

// memory is address with extra more bytes of offset, and an offset that a load or store can hold.
func (s *selector) memory(v *ir.Value, extra int64) (reg, int16) {
	root, off := s.address(v)
	if off += extra; fits16(off) {
		return root, int16(off)
	}
	t := s.m.newReg()
	s.move(t, root)
	s.addTo(t, off)
	return t, 0
}

func (s *selector) mapValue(dst reg, m *ir.Map, off int64) {
	s.emit(inst{kind: load, ins: asm.LoadMapValue(0, 0, uint32(off)).WithReference(m.Name), dst: dst, src: noReg, dstDef: true})
}

func (s *selector) mapPtr(dst reg, m *ir.Map) {
	s.emit(inst{kind: load, ins: asm.LoadMapPtr(0, 0).WithReference(m.Name), dst: dst, src: noReg, dstDef: true})
}

// jumpOps are the jumps of the compares, with the operands as they are and exchanged.
var jumpOps = map[ir.Op][2]asm.JumpOp{
	ir.OpEq:  {asm.JEq, asm.JEq},
	ir.OpNe:  {asm.JNE, asm.JNE},
	ir.OpULt: {asm.JLT, asm.JGT},
	ir.OpULe: {asm.JLE, asm.JGE},
	ir.OpSLt: {asm.JSLT, asm.JSGT},
	ir.OpSLe: {asm.JSLE, asm.JSGE},
}

// branchIf ends the current block: to other when cond is not 0, else to next.
func (s *selector) branchIf(cond *ir.Value, other, next *block) {
	switch {
	case cond.Op.Compare() && s.fused[cond]:
		x, y := cond.Args[0], cond.Args[1]
		op := jumpOps[cond.Op][0]
		if x.Op == ir.OpConst && fits32(x.Imm) && y.Op != ir.OpConst {
			x, y, op = y, x, jumpOps[cond.Op][1]
		}
		s.branch(op, s.reg(x), y, other, next)
	case cond.Op == ir.OpAnd && s.fused[cond]:
		x, y := cond.Args[0], cond.Args[1]
		if x.Op == ir.OpConst {
			x, y = y, x
		}
		s.branch(asm.JSet, s.reg(x), y, other, next)
	default:
		s.branchImm(asm.JNE, s.reg(cond), 0, other, next)
	}
}

func (s *selector) branch(op asm.JumpOp, x reg, y *ir.Value, other, next *block) {
	if y.Op == ir.OpConst && fits32(y.Imm) {
		s.branchImm(op, x, y.Imm, other, next)
		return
	}
	s.emit(inst{kind: branch, ins: asm.Instruction{OpCode: op.Op(asm.RegSource)}, dst: x, src: s.reg(y), dstUse: true})
	s.cur.other, s.cur.next = other, next
}

func (s *selector) branchImm(op asm.JumpOp, x reg, n int64, other, next *block) {
	s.emit(inst{kind: branch, ins: asm.Instruction{OpCode: op.Op(asm.ImmSource), Constant: n}, dst: x, src: noReg, dstUse: true})
	s.cur.other, s.cur.next = other, next
}

func (s *selector) term(b *ir.Block) {
	t := &b.Term
	switch t.Kind {
	case ir.TermJump:
		s.parallel(t.Then.Params, t.ThenArgs)
		s.cur.next = s.blocks[t.Then]
	case ir.TermIf:
		if t.Then == t.Else {
			s.cur.next = s.blocks[t.Then]
			return
		}
		s.branchIf(t.Cond, s.blocks[t.Then], s.blocks[t.Else])
	case ir.TermMayGoto:
		s.emit(inst{kind: branch, ins: asm.Instruction{OpCode: mayGoto}, dst: noReg, src: noReg})
		s.cur.other, s.cur.next = s.blocks[t.Else], s.blocks[t.Then]
	case ir.TermNullCheck:
		s.branchImm(asm.JEq, s.reg(t.Cond), 0, s.blocks[t.Else], s.blocks[t.Then])
	case ir.TermRet:
		s.into(0, t.Cond)
		s.emit(inst{kind: exit, ins: asm.Return(), dst: noReg, src: noReg})
	default:
		panic(fmt.Sprintf("BUG: block b%d of %s has no end", b.ID, s.f.Name))
	}
}

// parallel copies the arguments of a jump into the parameters of its target, all at once: a copy that would destroy
// the source of a later one waits; a cycle is opened with one more register.
func (s *selector) parallel(params, args []*ir.Value) {
	type pair struct {
		dst, src reg
		v        *ir.Value
	}
	var todo []pair
	for i, p := range params {
		dst := s.reg(p)
		src := noReg
		switch args[i].Op {
		case ir.OpConst, ir.OpSlot, ir.OpMapValue:
		default:
			if r, _, off := s.root(args[i]); off == 0 {
				src = r
			} else {
				src = s.reg(args[i])
			}
		}
		if src != dst {
			todo = append(todo, pair{dst, src, args[i]})
		}
	}
	for len(todo) > 0 {
		done := false
		for i, p := range todo {
			blocked := false
			for j, q := range todo {
				blocked = blocked || i != j && q.src == p.dst
			}
			if blocked {
				continue
			}
			if p.src == noReg {
				s.into(p.dst, p.v)
			} else {
				s.move(p.dst, p.src)
			}
			todo = append(todo[:i], todo[i+1:]...)
			done = true
			break
		}
		if !done {
			t := s.m.newReg()
			s.move(t, todo[0].src)
			todo[0].src = t
		}
	}
}

// scale does dst *= n.
func (s *selector) scale(dst reg, n int64) {
	switch {
	case n == 1:
	case n > 0 && n&(n-1) == 0:
		shift := int64(0)
		for ; n > 1; n >>= 1 {
			shift++
		}
		s.aluImm(asm.LSh, dst, shift)
	case n >= math.MinInt32 && n <= math.MaxInt32:
		s.aluImm(asm.Mul, dst, n)
	default:
		s.alu(asm.Mul, dst, s.number(n))
	}
}
