package backend

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/compiler/ir"
)

// The helpers by their number in the kernel's bpf.h.
const (
	fnMapLookup       = 1
	fnMapUpdate       = 2
	fnMapDelete       = 3
	fnMapLookupCPU    = 195
	fnMapEach         = 164
	fnReadUser        = 112
	fnReadKernel      = 113
	fnReadUserStr     = 114
	fnReadKernelStr   = 115
	fnGetStack        = 67
	flagUserStack     = 256
	fnRingbufReserve  = 131
	fnRingbufSubmit   = 132
	fnRingbufDiscard  = 133
	inlineCopyLimit   = 256  // bytes copied by loads and stores
	unrolledZeroLimit = 1024 // bytes cleared without a loop
)

// mayGoto is BPF_JCOND (6.9), which cilium/ebpf has no name for.
const mayGoto = asm.OpCode(0xe5)

var helperNumbers = map[ir.Helper]int64{
	ir.HelperKtimeBoot:    125,
	ir.HelperKtimeMono:    5,
	ir.HelperKtimeTAI:     208,
	ir.HelperPidTgid:      14,
	ir.HelperNsPidTgid:    120,
	ir.HelperUidGid:       15,
	ir.HelperCPU:          8,
	ir.HelperNode:         42,
	ir.HelperJiffies:      118,
	ir.HelperCgroup:       80,
	ir.HelperRandom:       7,
	ir.HelperComm:         16,
	ir.HelperTask:         35,
	ir.HelperTaskBTF:      158,
	ir.HelperTaskRegs:     175,
	ir.HelperCookie:       174,
	ir.HelperFuncIP:       173,
	ir.HelperSeqWrite:     127,
	ir.HelperSeqPrintf:    126,
	ir.HelperSignal:       109,
	ir.HelperSignalThread: 117,
	ir.HelperOverride:     58,
	ir.HelperPath:         147,
	ir.HelperSocketCookie: 46,
	ir.HelperWriteUser:    36,
	ir.HelperTrace:        6,
}

// aluOps are the operations that are one instruction on two operands.
var aluOps = map[ir.Op]asm.ALUOp{
	ir.OpAdd: asm.Add, ir.OpSub: asm.Sub, ir.OpMul: asm.Mul, ir.OpUDiv: asm.Div, ir.OpUMod: asm.Mod,
	ir.OpSDiv: asm.SDiv, ir.OpSMod: asm.SMod,
	ir.OpAnd: asm.And, ir.OpOr: asm.Or, ir.OpXor: asm.Xor, ir.OpShl: asm.LSh, ir.OpShr: asm.RSh, ir.OpSar: asm.ArSh,
}

// inst selects one instruction.
func (s *selector) inst(v *ir.Value) {
	if s.uses[v] == 0 && (v.Effect() == ir.Pure || v.Effect() == ir.Read || v.Effect() == ir.Guard) || s.fused[v] {
		return
	}
	switch v.Op {
	case ir.OpConst, ir.OpCtx, ir.OpSlot, ir.OpMapValue, ir.OpOffset, ir.OpNonNull:
		// Made where they are used.
	case ir.OpMapPtr:
		s.mapPtr(s.reg(v), v.Map)
	case ir.OpNeg:
		d := s.copyOf(v)
		s.emit(inst{ins: asm.Instruction{OpCode: asm.Neg.Op(asm.ImmSource)}, dst: d, src: noReg, dstUse: true, dstDef: true})
	case ir.OpNot:
		s.aluImm(asm.Xor, s.copyOf(v), -1)
	case ir.OpExt:
		s.extend(v)
	case ir.OpEq, ir.OpNe, ir.OpULt, ir.OpULe, ir.OpSLt, ir.OpSLe:
		s.compare(v)
	case ir.OpBound:
		s.bound(s.reg(v), v.Args[0], v.Imm)
	case ir.OpMask:
		masked := s.shifted(v.Args[0], v.Imm)
		s.into(s.reg(v), v.Args[0])
		if !masked {
			s.and(s.reg(v), v.Imm)
		}
	case ir.OpForget:
		base, off := s.memory(v.Args[1], 0)
		t := s.m.newReg()
		s.loadMem(t, base, off, 8)
		s.alu(asm.Add, s.copyOf(v), t)
	case ir.OpIndex:
		s.index(v)
	case ir.OpLoad:
		s.load(v)
	case ir.OpStore:
		s.store(v.Args[0], int64(v.Off), v.Width, v.Args[1])
	case ir.OpZero:
		s.zero(v)
	case ir.OpBytes:
		for i := 0; i < len(v.Data); i += 8 {
			n := int64(binary.NativeEndian.Uint64([]byte(v.Data[i : i+8])))
			s.storeConst(v.Args[0], int64(v.Off)+int64(i), 8, n)
		}
	case ir.OpCopy:
		s.copyMem(v)
	case ir.OpAddMem:
		base, off := s.memory(v.Args[0], int64(v.Off))
		t := s.m.newReg()
		s.loadMem(t, base, off, 8)
		s.arith(asm.Add, t, v.Args[1])
		s.storeMem(base, off, 8, t)
	case ir.OpAtomic:
		base, off := s.memory(v.Args[0], int64(v.Off))
		s.emit(inst{ins: atomic(asm.AddAtomic, off), dst: base, src: s.reg(v.Args[1]), dstUse: true})
	case ir.OpFetchAdd:
		base, off := s.memory(v.Args[0], int64(v.Off))
		d := s.reg(v)
		s.into(d, v.Args[1])
		s.emit(inst{ins: atomic(asm.FetchAdd, off), dst: base, src: d, dstUse: true, srcDef: true})
	case ir.OpCmpXchg:
		base, off := s.memory(v.Args[0], int64(v.Off))
		y := s.reg(v.Args[2])
		s.into(0, v.Args[1])
		s.emit(inst{ins: atomic(asm.CmpXchg, off), dst: base, src: y, dstUse: true, fixed0: true})
		if s.uses[v] > 0 {
			s.move(s.reg(v), 0)
		}
	default:
		if op, ok := aluOps[v.Op]; ok {
			s.binary(op, v)
		} else if v.IsCall() {
			s.call(v)
		} else {
			panic(fmt.Sprintf("BUG: no selection for %s", v))
		}
	}
}

// atomic is an atomic operation on 8 bytes. The operation is in the constant too: Instruction.Marshal of cilium/ebpf
// v0.22.0 takes it from there before it sets it from the opcode, and would write a plain addition.
func atomic(op asm.AtomicOp, off int16) asm.Instruction {
	return asm.Instruction{OpCode: op.OpCode(asm.DWord), Offset: off, Constant: int64(op >> 8)}
}

// copyOf puts the first operand into the result's register.
func (s *selector) copyOf(v *ir.Value) reg {
	d := s.reg(v)
	s.into(d, v.Args[0])
	return d
}

func (s *selector) binary(op asm.ALUOp, v *ir.Value) {
	x, y := v.Args[0], v.Args[1]
	if v.Op.Commutative() && x.Op == ir.OpConst && y.Op != ir.OpConst {
		x, y = y, x
	}
	d := s.reg(v)
	if y.Op == ir.OpConst {
		switch {
		case op == asm.And && y.Imm == 0xffffffff:
			s.emit(inst{ins: asm.Instruction{OpCode: asm.Mov.Op32(asm.RegSource)}, dst: d, src: s.reg(x), dstDef: true})
			return
		case y.Imm == 0 && op == asm.Div: // the kernel refuses a constant 0
			s.constant(d, 0)
			return
		case y.Imm == 0 && op == asm.Mod:
			s.into(d, x)
			return
		}
	}
	s.into(d, x)
	s.arith(op, d, y)
}

// arith does d op= y.
func (s *selector) arith(op asm.ALUOp, d reg, y *ir.Value) {
	if y.Op != ir.OpConst {
		s.alu(op, d, s.reg(y))
		return
	}
	n := y.Imm
	switch op {
	case asm.LSh, asm.RSh, asm.ArSh:
		n &= 63
		if n == 0 {
			return
		}
	case asm.And:
		s.and(d, n)
		return
	}
	if fits32(n) {
		s.aluImm(op, d, n)
	} else {
		s.alu(op, d, s.number(n))
	}
}

// and does d &= n.
func (s *selector) and(d reg, n int64) {
	switch {
	case fits32(n):
		s.aluImm(asm.And, d, n)
	case n == int64(uint32(n)): // clears the upper half too
		s.emit(inst{ins: asm.Instruction{OpCode: asm.And.Op32(asm.ImmSource), Constant: int64(int32(n))}, dst: d, src: noReg, dstUse: true, dstDef: true})
	default:
		s.alu(asm.And, d, s.number(n))
	}
}

// shifted tells whether x was only just shifted right so far that a mask changes nothing. The kernel's verifier knows
// it then too, as nothing lies between that could make it forget.
func (s *selector) shifted(x *ir.Value, mask int64) bool {
	if x.Op != ir.OpShr || len(s.cur.insts) == 0 || mask&(mask+1) != 0 {
		return false
	}
	last := &s.cur.insts[len(s.cur.insts)-1]
	return last.ins.OpCode == asm.RSh.Op(asm.ImmSource) && last.dst == s.reg(x) && ^uint64(0)>>last.ins.Constant <= uint64(mask)
}

func (s *selector) extend(v *ir.Value) {
	x, d := v.Args[0], s.reg(v)
	bits := int64(v.Width) * 8
	switch {
	case bits == 64:
		s.into(d, x)
	case !v.Signed && bits == 32:
		s.emit(inst{ins: asm.Instruction{OpCode: asm.Mov.Op32(asm.RegSource)}, dst: d, src: s.reg(x), dstDef: true})
	case !v.Signed:
		s.into(d, x)
		s.and(d, 1<<bits-1)
	case s.feat.MovSX:
		op := map[int64]asm.ALUOp{8: asm.MovSX8, 16: asm.MovSX16, 32: asm.MovSX32}[bits]
		s.emit(inst{ins: asm.Instruction{OpCode: op.Op(asm.RegSource)}, dst: d, src: s.reg(x), dstDef: true})
	default:
		s.into(d, x)
		s.signExtend(d, bits)
	}
}

func (s *selector) signExtend(d reg, bits int64) {
	s.aluImm(asm.LSh, d, 64-bits)
	s.aluImm(asm.ArSh, d, 64-bits)
}

// compare makes a 0 or a 1 of a compare that is used as a number.
func (s *selector) compare(v *ir.Value) {
	if y := v.Args[1]; v.Op == ir.OpSLt && y.Op == ir.OpConst && y.Imm == 0 { // the sign bit
		s.into(s.reg(v), v.Args[0])
		s.aluImm(asm.RSh, s.reg(v), 63)
		return
	}
	d := s.m.newReg()
	zero, done := s.newBlock(), s.newBlock()
	s.fused[v] = true
	s.constant(d, 1)
	s.branchIf(v, done, zero)
	s.fused[v] = false
	s.startBlock(zero)
	s.constant(d, 0)
	zero.next = done
	s.startBlock(done)
	s.move(s.reg(v), d)
	s.cache = map[cacheKey]reg{}
}

// bound sets d to x, or to limit when x is greater. The saturating path is out of line: the kernel's verifier follows
// the fall-through first and then finds the constant to be a case it has already seen. A careful selector writes d only
// when the bound is known: a copy that went to the stack before the compare has no bound for kernels before 5.11.
func (s *selector) bound(d reg, x *ir.Value, limit int64) {
	if x.Op == ir.OpConst {
		s.constant(d, ir.EvalBound(x.Imm, limit))
		return
	}
	s.m.bounded[d] = true
	t := d
	if s.careful {
		t = s.m.newReg()
		s.m.temp[t] = true
	}
	s.into(t, x)
	over, done := s.newBlock(), s.newBlock()
	s.branch(asm.JGT, t, &ir.Value{Op: ir.OpConst, Imm: limit}, over, done)
	s.startBlock(over)
	over.cold = true
	s.constant(t, limit)
	over.next = done
	s.startBlock(done)
	s.move(d, t)
}

// index leaves the constant offset of its base to whoever uses the pointer.
func (s *selector) index(v *ir.Value) {
	base, m, _ := s.root(v.Args[0])
	if m != nil {
		base = s.cached(cacheKey{m, 0}, func(t reg) { s.mapValue(t, m, 0) })
	}
	d := s.raw(v)
	s.into(d, v.Args[1])
	s.scale(d, v.Imm)
	s.alu(asm.Add, d, base)
}

func sizeOf(width uint8) asm.Size {
	switch width {
	case 1:
		return asm.Byte
	case 2:
		return asm.Half
	case 4:
		return asm.Word
	}
	return asm.DWord
}

func (s *selector) load(v *ir.Value) {
	base, off := s.memory(v.Args[0], int64(v.Off))
	d := s.reg(v)
	if !v.Signed || v.Width == 8 {
		s.loadMem(d, base, off, v.Width)
		if base == s.ctx && !v.Class.MayBeNull() { // that one would not be the one that was compared
			s.cur.insts[len(s.cur.insts)-1].kind = ctxLoad
		}
		return
	}
	if c := v.Args[0].Class; s.feat.MovSX && c != ir.BTFPtr && c != ir.Ctx {
		s.emit(inst{ins: asm.Instruction{OpCode: asm.LoadMemSXOp(sizeOf(v.Width)), Offset: off}, dst: d, src: base, dstDef: true})
		return
	}
	s.loadMem(d, base, off, v.Width)
	s.signExtend(d, int64(v.Width)*8)
}

func (s *selector) loadMem(d, base reg, off int16, width uint8) {
	s.emit(inst{ins: asm.Instruction{OpCode: asm.LoadMemOp(sizeOf(width)), Offset: off}, dst: d, src: base, dstDef: true})
}

func (s *selector) storeMem(base reg, off int16, width uint8, x reg) {
	s.emit(inst{ins: asm.Instruction{OpCode: asm.StoreMemOp(sizeOf(width)), Offset: off}, dst: base, src: x, dstUse: true})
}

func (s *selector) store(p *ir.Value, off int64, width uint8, x *ir.Value) {
	if x.Op == ir.OpConst {
		s.storeConst(p, off, width, x.Imm)
		return
	}
	base, o := s.memory(p, off)
	s.storeMem(base, o, width, s.reg(x))
}

func (s *selector) storeConst(p *ir.Value, off int64, width uint8, n int64) {
	base, o := s.memory(p, off)
	if width < 8 {
		n = ir.EvalExt(n, width, true)
	}
	if !fits32(n) {
		s.storeMem(base, o, width, s.number(n))
		return
	}
	s.emit(inst{ins: asm.Instruction{OpCode: asm.StoreImmOp(sizeOf(width)), Offset: o, Constant: n}, dst: base, src: noReg, dstUse: true})
}

// zero clears memory, by a loop when it is much.
func (s *selector) zero(v *ir.Value) {
	if v.Imm <= unrolledZeroLimit {
		for i := int64(0); i < v.Imm; i += 8 {
			s.storeConst(v.Args[0], int64(v.Off)+i, 8, 0)
		}
		return
	}
	base, off := s.address(v.Args[0])
	n, body, done := s.m.newReg(), s.newBlock(), s.newBlock()
	s.constant(n, 0)
	s.cur.next = body
	s.startBlock(body)
	p := s.m.newReg()
	s.move(p, base)
	s.addTo(p, off+int64(v.Off))
	s.alu(asm.Add, p, n)
	s.emit(inst{ins: asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord)}, dst: p, src: noReg, dstUse: true})
	s.aluImm(asm.Add, n, 8)
	s.branchImm(asm.JNE, n, v.Imm, body, done)
	s.startBlock(done)
	s.cache = map[cacheKey]reg{}
}

// copyMem copies memory, by the kernel's own copy when it is much.
func (s *selector) copyMem(v *ir.Value) {
	if v.Imm > inlineCopyLimit {
		s.into(1, &ir.Value{Op: ir.OpOffset, Imm: int64(v.Off), Args: v.Args[:1]})
		s.constant(2, v.Imm)
		s.into(3, v.Args[1])
		s.helper(fnReadKernel, 3)
		return
	}
	for i := int64(0); i < v.Imm; i += 8 {
		src, so := s.memory(v.Args[1], i)
		dst, do := s.memory(v.Args[0], int64(v.Off)+i)
		t := s.m.newReg()
		s.loadMem(t, src, so, 8)
		s.storeMem(dst, do, 8, t)
	}
}

// helper calls a kernel helper whose arguments are in place.
func (s *selector) helper(number int64, nargs int) {
	s.emit(inst{kind: call, ins: asm.BuiltinFunc(number).Call(), dst: noReg, src: noReg, nargs: nargs})
	s.cache = map[cacheKey]reg{}
}

// function calls a function of the kernel whose arguments are in place.
func (s *selector) function(name string, nargs int) {
	id := int64(0)
	if s.feat.Function != nil {
		id = s.feat.Function(name)
	}
	s.emit(inst{kind: call, ins: asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall,
		Constant: id}, dst: noReg, src: noReg, nargs: nargs})
	s.cache = map[cacheKey]reg{}
}

// call sets r1 to r5, calls and fetches the result from r0.
func (s *selector) call(v *ir.Value) {
	switch v.Op {
	case ir.OpMapLookup:
		s.mapPtr(1, v.Map)
		s.into(2, v.Args[0])
		s.helper(fnMapLookup, 2)
	case ir.OpMapLookupCPU:
		s.mapPtr(1, v.Map)
		s.into(2, v.Args[0])
		s.into(3, v.Args[1])
		s.helper(fnMapLookupCPU, 3)
	case ir.OpMapEach, ir.OpMapLen:
		s.mapPtr(1, v.Map)
		s.m.callbacks = append(s.m.callbacks, v)
		s.emit(inst{kind: load, ins: asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Constant: int64(len(s.m.callbacks) - 1)}.WithReference(callbackRef), dst: 2, src: noReg, dstDef: true})
		if v.Op == ir.OpMapEach {
			s.into(3, v.Args[0])
		} else {
			s.constant(3, 0)
		}
		s.constant(4, 0)
		s.helper(fnMapEach, 4)
	case ir.OpMapUpdate:
		s.mapPtr(1, v.Map)
		s.into(2, v.Args[0])
		s.into(3, v.Args[1])
		s.constant(4, v.Imm)
		s.helper(fnMapUpdate, 4)
	case ir.OpMapDelete:
		s.mapPtr(1, v.Map)
		s.into(2, v.Args[0])
		s.helper(fnMapDelete, 2)
	case ir.OpRead:
		s.into(1, v.Args[0])
		s.constant(2, v.Imm)
		s.into(3, v.Args[1])
		s.helper(pick(v.Signed, fnReadKernel, fnReadUser), 3)
	case ir.OpReadN:
		s.readSized(v, pick(v.Signed, fnReadKernel, fnReadUser))
	case ir.OpReadStr:
		s.readSized(v, pick(v.Signed, fnReadKernelStr, fnReadUserStr))
	case ir.OpStack:
		s.move(1, s.ctx)
		s.into(2, v.Args[0])
		s.constant(3, v.Imm)
		s.constant(4, pick(v.Signed, 0, flagUserStack))
		s.helper(fnGetStack, 4)
	case ir.OpRingReserve:
		s.mapPtr(1, v.Map)
		s.constant(2, v.Imm)
		s.constant(3, 0)
		s.helper(fnRingbufReserve, 3)
	case ir.OpRingSubmit:
		s.into(1, v.Args[0])
		s.constant(2, v.Imm)
		s.helper(fnRingbufSubmit, 2)
	case ir.OpRingDiscard:
		s.into(1, v.Args[0])
		s.constant(2, v.Imm)
		s.helper(fnRingbufDiscard, 2)
	case ir.OpHelper:
		n := reg(1)
		if v.Helper.Context() {
			s.move(1, s.ctx)
			n++
		}
		for _, a := range v.Args {
			s.into(n, a)
			n++
		}
		if size := v.Helper.Writes(); size > 0 { // the pointer is last, its size follows
			s.constant(n, int64(size))
			n++
		}
		if name := v.Helper.Function(); name != "" {
			s.function(name, int(n)-1)
		} else {
			s.helper(helperNumbers[v.Helper], int(n)-1)
		}
	}
	if s.uses[v] > 0 {
		s.move(s.reg(v), 0)
		if v.Op == ir.OpHelper && v.Helper.Truth() {
			s.and(s.reg(v), 1)
		}
	}
}

// readStr makes sure that the kernel's verifier sees a bound on the size.
func (s *selector) readSized(v *ir.Value, fn int64) {
	size := v.Args[2]
	known := size.Op == ir.OpConst || (size.Op == ir.OpBound || size.Op == ir.OpMask) && size.Imm <= v.Imm
	t := noReg
	if !known {
		t = s.m.newReg()
		s.bound(t, size, v.Imm)
	}
	s.into(1, v.Args[0])
	if known {
		s.into(2, size)
	} else {
		s.move(2, t)
	}
	s.into(3, v.Args[1])
	s.helper(fn, 3)
}

func pick(kernel bool, k, u int64) int64 {
	if kernel {
		return k
	}
	return u
}
