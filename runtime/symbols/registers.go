package symbols

// Register is a register as the kernel saves it: its name and the offset of its word in struct pt_regs of x86-64.
type Register struct {
	Name   string
	Offset int
}

// Registers lists struct pt_regs of x86-64 in its order.
func Registers() []Register {
	return []Register{{"r15", 0}, {"r14", 8}, {"r13", 16}, {"r12", 24}, {"bp", 32}, {"bx", 40}, {"r11", 48}, {"r10", 56},
		{"r9", 64}, {"r8", 72}, {"ax", 80}, {"cx", 88}, {"dx", 96}, {"si", 104}, {"di", 112}, {"orig_ax", 120},
		{"ip", 128}, {"cs", 136}, {"flags", 144}, {"sp", 152}, {"ss", 160}}
}

// ABI is how functions get their integer and pointer arguments and give their result.
type ABI struct {
	Args    []Register
	Results []Register // Go returns several values in registers
	// Goroutine is the register that holds the running goroutine, nil outside of Go.
	Goroutine *Register
}

// ArgRegs returns the System V convention, used by C and most others.
func ArgRegs() ABI {
	return ABI{Args: []Register{{"di", 112}, {"si", 104}, {"dx", 96}, {"cx", 88}, {"r8", 72}, {"r9", 64}},
		Results: []Register{{"ax", 80}, {"dx", 96}}}
}

// GoArgRegs returns Go's ABIInternal (since Go 1.17). A string or interface takes two registers, a slice three.
func GoArgRegs() ABI {
	regs := []Register{{"ax", 80}, {"bx", 40}, {"cx", 88}, {"di", 112}, {"si", 104}, {"r8", 72}, {"r9", 64}, {"r10", 56}, {"r11", 48}}
	return ABI{Args: regs, Results: regs, Goroutine: &Register{"r14", 8}}
}

// ABI returns the convention of the binary's own functions. Go programs before 1.17 pass everything on the stack.
func (b *Binary) ABI() ABI {
	if !b.IsGo() {
		return ArgRegs()
	}
	if minor, ok := minorVersion(b.version); ok && minor < 17 {
		return ABI{}
	}
	return GoArgRegs()
}
