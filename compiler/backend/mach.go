package backend

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/source"
)

// reg is a register: 0 to 10 are the machine's, from firstVirtual on they are virtual.
type reg int32

const (
	noReg        reg = -1
	fp           reg = 10
	firstVirtual reg = 16
)

func (r reg) virtual() bool { return r >= firstVirtual }

func (r reg) String() string {
	switch {
	case r.virtual():
		return fmt.Sprintf("t%d", r-firstVirtual)
	case r == noReg:
		return "-"
	}
	return fmt.Sprintf("r%d", int32(r))
}

// kind tells the instructions that are more than an opcode with two registers.
type kind uint8

const (
	plain   kind = iota
	move         // dst = src, a whole register
	load         // dst = constant, map or map value: can be done again anywhere
	ctxLoad      // dst = a field of the context: can be done again wherever src, the context pointer, is
	branch       // conditional jump to the block's other successor
	call
	exit
)

// inst is a machine instruction before registers are known.
type inst struct {
	kind   kind
	ins    asm.Instruction // Dst and Src are filled in at the end
	dst    reg
	src    reg
	dstUse bool // reads dst
	dstDef bool // writes dst
	srcDef bool // writes src too: atomic fetch
	fixed0 bool // reads and writes r0 besides: compare-and-exchange
	nargs  int  // of a call: r1 to nargs
	span   source.Span
}

// block is a machine block: a branch, if there is one, is its last instruction.
type block struct {
	id    int
	insts []inst
	other *block // where the branch goes
	next  *block // where it goes on otherwise; nil after exit
	depth int    // of loops
	cold  bool   // laid out at the end
}

// mach is a function on machine instructions.
type mach struct {
	blocks    []*block     // in layout order
	nreg      int          // virtual registers
	temp      map[reg]bool // cannot be spilled, is not joined with others
	callbacks []*ir.Value  // OpMapEach, in the order of their code after the function's own
	bounded   map[reg]bool // holds a value the kernel's verifier must know the bound of
}

func (m *mach) newReg() reg {
	m.nreg++
	return firstVirtual + reg(m.nreg-1)
}

// uses calls fn for every register the instruction reads.
func (in *inst) uses(fn func(r reg)) {
	if in.src != noReg {
		fn(in.src)
	}
	if in.dstUse {
		fn(in.dst)
	}
	if in.fixed0 || in.kind == exit {
		fn(0)
	}
	for r := 1; r <= in.nargs; r++ {
		fn(reg(r))
	}
}

// defs calls fn for every register the instruction writes or destroys.
func (in *inst) defs(fn func(r reg)) {
	if in.dstDef {
		fn(in.dst)
	}
	if in.srcDef {
		fn(in.src)
	}
	if in.fixed0 {
		fn(0)
	}
	if in.kind == call {
		for r := reg(0); r <= 5; r++ {
			fn(r)
		}
	}
}

func (b *block) succs() []*block {
	var out []*block
	if b.next != nil {
		out = append(out, b.next)
	}
	if b.other != nil {
		out = append(out, b.other)
	}
	return out
}

// dump prints the function; name gives a register its text.
func (m *mach) dump(name func(reg) string) string {
	var b strings.Builder
	for _, blk := range m.blocks {
		fmt.Fprintf(&b, "m%d:\n", blk.id)
		for i := range blk.insts {
			in := &blk.insts[i]
			fmt.Fprintf(&b, "  %s", formatOp(&in.ins, name(in.dst), name(in.src)))
			if in.kind == branch {
				fmt.Fprintf(&b, " goto m%d", blk.other.id)
			}
			b.WriteByte('\n')
		}
		if blk.next != nil {
			fmt.Fprintf(&b, "  goto m%d\n", blk.next.id)
		}
	}
	return b.String()
}

// formatInsn prints a finished instruction at an offset.
func formatInsn(ins *asm.Instruction, at int) string {
	s := formatOp(ins, reg(ins.Dst).String(), reg(ins.Src).String())
	if op := ins.OpCode.JumpOp(); ins.OpCode.Class().IsJump() && op != asm.Call && op != asm.Exit {
		distance := int(ins.Offset)
		if ins.OpCode == longJump {
			distance = int(ins.Constant)
		}
		s += fmt.Sprintf(" goto %d", at+1+distance)
	}
	return s
}

// operators are how arithmetic and comparisons are printed.
var operators = map[string]string{
	"Add": "+=", "Sub": "-=", "Mul": "*=", "Div": "/=", "SDiv": "s/=", "Or": "|=", "And": "&=", "LSh": "<<=", "RSh": ">>=", "ArSh": "s>>=",
	"Mod": "%=", "SMod": "s%=", "Xor": "^=", "Mov": "=", "MovSX8": "= s8", "MovSX16": "= s16", "MovSX32": "= s32",
	"JEq": "==", "JNE": "!=", "JGT": ">", "JGE": ">=", "JLT": "<", "JLE": "<=", "JSGT": "s>", "JSGE": "s>=", "JSLT": "s<", "JSLE": "s<=", "JSet": "&",
}

// formatOp prints an instruction in the style of the kernel's verifier log.
func formatOp(ins *asm.Instruction, dst, src string) string {
	op := ins.OpCode
	wide := func(s string) string { return s }
	switch op.Class() {
	case asm.ALUClass:
		wide = func(s string) string { return strings.Replace(s, "r", "w", 1) }
		fallthrough
	case asm.ALU64Class:
		if op.ALUOp() == asm.Neg {
			return fmt.Sprintf("%s = -%s", dst, dst)
		}
		sign := operators[op.ALUOp().String()]
		if op.Source() == asm.RegSource {
			return fmt.Sprintf("%s %s %s", wide(dst), sign, wide(src))
		}
		return fmt.Sprintf("%s %s %d", wide(dst), sign, ins.Constant)
	case asm.JumpClass, asm.Jump32Class:
		if op == mayGoto {
			return "may_goto"
		}
		switch op.JumpOp() {
		case asm.Exit:
			return "exit"
		case asm.Call:
			if ins.Src == asm.PseudoKfuncCall {
				return fmt.Sprintf("call function %d of the kernel", ins.Constant)
			}
			return "call " + asm.BuiltinFunc(ins.Constant).String()
		case asm.Ja:
			return "ja"
		}
		sign := operators[op.JumpOp().String()]
		if op.Source() == asm.RegSource {
			return fmt.Sprintf("if %s %s %s", dst, sign, src)
		}
		return fmt.Sprintf("if %s %s %d", dst, sign, ins.Constant)
	case asm.LdXClass:
		sign := "u"
		if op.Mode() == asm.MemSXMode {
			sign = "s"
		}
		return fmt.Sprintf("%s = *(%s%d *)(%s %+d)", dst, sign, op.Size().Sizeof()*8, src, ins.Offset)
	case asm.StClass:
		return fmt.Sprintf("*(u%d *)(%s %+d) = %d", op.Size().Sizeof()*8, dst, ins.Offset, ins.Constant)
	case asm.StXClass:
		if op.Mode() == asm.AtomicMode {
			return fmt.Sprintf("%s *(u64 *)(%s %+d), %s", op.AtomicOp(), dst, ins.Offset, src)
		}
		return fmt.Sprintf("*(u%d *)(%s %+d) = %s", op.Size().Sizeof()*8, dst, ins.Offset, src)
	case asm.LdClass:
		switch ins.Src {
		case asm.PseudoFunc:
			return fmt.Sprintf("%s = function %+d", dst, ins.Constant)
		case asm.PseudoMapFD:
			return fmt.Sprintf("%s = map %s", dst, ins.Reference())
		case asm.PseudoMapValue:
			return fmt.Sprintf("%s = value %s %+d", dst, ins.Reference(), ins.Constant>>32)
		}
		return fmt.Sprintf("%s = %#x ll", dst, uint64(ins.Constant))
	}
	return fmt.Sprintf("%v", *ins)
}
