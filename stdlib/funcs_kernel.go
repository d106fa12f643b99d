package stdlib

import (
	"debug/elf"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
	"github.com/slopebpf/slope/runtime/symbols"
)

// registers are the words of the pt_regs of x86-64 by the names of what they hold.
var registers = map[string]int{
	"r15": wordR15, "r14": wordR14, "r13": wordR13, "r12": wordR12, "bp": wordBP, "bx": wordBX, "r11": wordR11, "r10": wordR10,
	"r9": wordR9, "r8": wordR8, "ax": wordAX, "cx": wordCX, "dx": wordDX, "si": wordSI, "di": wordDI, "orig_ax": wordOrigAX,
	"ip": wordIP, "pc": wordIP, "cs": wordCS, "flags": wordFlags, "sp": wordSP, "ss": wordSS,
}

// perCPUOffsets is the kernel's array of what is added to the address of a variable that every CPU has, by CPU.
const perCPUOffsets = "__per_cpu_offset"

// addressFuncs are about registers, and addresses that are known when the script is compiled.
func addressFuncs() []Func {
	word := func(*types.Call) *types.Type { return types.Uint64 }
	symbol := types.Param{Name: "symbol", Kind: types.TextParam}
	return []Func{
		{
			Func: types.Func{Doc: types.Doc{Name: "reg", Text: "A register, by its name in the kernel's pt_regs: ip, sp, ax, di and so on.", Examples: []string{`profile:hz:99 { @[reg("ip")] = count(); }`}},
				Pure: true, Params: []types.Param{{Name: "name", Kind: types.TextParam}}, Result: word,
				Check: func(c *types.Call) {
					n, ok := registers[c.Text(0)]
					switch {
					case !hasRegisters(c.Target):
						c.Errorf(-1, "reg() cannot be used in a probe of type %s", c.Target.Probe.Name)
					case !ok:
						c.Errorf(0, "unknown register '%s'", c.Text(0)).WithHint("%s", "registers of x86-64: ax, bx, cx, dx, si, di, bp, sp, r8 to r15, ip, flags, orig_ax, cs, ss")
					}
					c.Notes = []int64{int64(n)}
				}},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value { return l.Word(int(l.Notes(c)[0])) }},
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "kaddr", Text: "The address of a variable or function of the kernel, from /proc/kallsyms.", Examples: []string{`interval:s:1 { printf("%p\n", kaddr("vfs_read")); }`}},
				Pure: true, Params: []types.Param{symbol}, Result: word,
				Check: func(c *types.Call) {
					if at, ok := kernelAddressOf(c, c.Text(0)); ok {
						c.Fold(int64(at))
					}
				}},
			FuncLower: nothing,
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "percpu_kaddr", Text: "The address of a variable of the kernel that every CPU has: of this CPU, or of another; 0 when there is no such CPU.",
				Examples: nil},
				Pure: true, Params: []types.Param{symbol, {Name: "cpu", Kind: types.IntParam, Optional: true}}, Result: word,
				Check: func(c *types.Call) {
					at, ok := kernelAddressOf(c, c.Text(0))
					if !ok {
						return
					}
					if offsets, ok := kernelAddressOf(c, perCPUOffsets); ok {
						c.Notes = []int64{int64(at), int64(offsets)}
					}
				}},
			FuncLower: ir.FuncLower{Scalar: perCPUAddress},
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "uaddr", Text: "The address of a variable or function of the probed program, where the process has it.", Examples: nil},
				Pure: true, PerTarget: true, Params: []types.Param{symbol},
				Result: func(c *types.Call) *types.Type {
					size := 8
					switch c.Notes[noteSize] {
					case 1, 2, 4:
						size = int(c.Notes[noteSize])
					}
					return types.PointerTo(types.IntOf(size, false), true)
				},
				Check: checkUaddr},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b, n := l.Builder(), l.Notes(c)
				if n[noteFixed] != 0 {
					return b.Const(n[noteAddress])
				}
				return b.AddImm(l.Word(wordIP), n[noteAddress]-n[noteProbe])
			}},
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "cgroupid", Text: "The ID of a cgroup of version 2, by its path when the script is compiled.", Examples: nil},
				Pure: true, Params: []types.Param{{Name: pathName, Kind: types.TextParam}}, Result: word,
				Check: func(c *types.Call) {
					id, err := cgroupID(c.Text(0))
					if err != nil && !c.Dead {
						c.Errorf(0, "cgroupid(): %s", err)
					}
					c.Fold(int64(id))
				}},
			FuncLower: nothing,
		},
		{
			Func: types.Func{Doc: types.Doc{Name: "pton", Text: "The bytes of an IPv4 or IPv6 address: uint8[4] or uint8[16].", Examples: []string{`begin { print(pton("192.168.0.1")); }`}},
				Pure: true, Params: []types.Param{{Name: "address", Kind: types.TextParam}},
				Check: func(c *types.Call) {
					if a, err := netip.ParseAddr(c.Text(0)); err != nil || a.Zone() != "" {
						c.Errorf(0, "pton() expects a string literal of an IP address, got \"%s\"", c.Text(0))
					}
				},
				Result: func(c *types.Call) *types.Type {
					return types.ArrayOf(types.Uint8, len(netip.MustParseAddr(c.Text(0)).AsSlice()))
				}},
			FuncLower: ir.FuncLower{Into: func(l ir.Lowering, c *syntax.Call, _ *types.Type, p *ir.Value, off int, _ bool) {
				l.Builder().Bytes(p, off, string(netip.MustParseAddr(c.Args[0].(*syntax.String).Value).AsSlice()))
			}},
		},
	}
}

// kernelAddressOf is the address of a symbol of the kernel; what is wrong is reported, but not of code that is never
// reached.
func kernelAddressOf(c *types.Call, name string) (uint64, bool) {
	table, ok := c.Resolver.(interface {
		KernelSymbol(name string) (uint64, error)
	})
	if !ok {
		c.Errorf(0, "the kernel's symbols are not known here")
		return 0, false
	}
	at, err := table.KernelSymbol(name)
	if c.Dead {
		return at, true
	}
	if err != nil {
		c.Errorf(0, "%s(): %s", c.Node.Name.Text, err).WithHint("without CONFIG_KALLSYMS_ALL the kernel lists its functions only")
	}
	return at, err == nil
}

// KernelSymbol is the address of a symbol of the kernel.
func (m *Machine) KernelSymbol(name string) (uint64, error) {
	if at, ok := m.kernelAddresses[name]; ok {
		return at, nil
	}
	at, kind, err := symbols.KernelSymbol(name)
	switch {
	case errors.Is(err, symbols.ErrNotFound):
		return 0, fmt.Errorf("failed to resolve kernel symbol: %s", name)
	case err != nil:
		return 0, err
	case at == 0 && kind|0x20 != 'a': // one that every CPU has may be at 0
		return 0, errors.New("the kernel hides its addresses (kernel.kptr_restrict)")
	}
	if m.kernelAddresses == nil {
		m.kernelAddresses = map[string]uint64{}
	}
	m.kernelAddresses[name] = at
	return at, nil
}

// perCPUAddress adds what the kernel adds for a CPU.
func perCPUAddress(l ir.Lowering, c *syntax.Call) *ir.Value {
	b, n := l.Builder(), l.Notes(c)
	address := func(cpu *ir.Value) *ir.Value {
		p := b.Addr(b.Slot("offset", 8))
		b.Read(p, b.AddImm(b.Bin(ir.OpMul, cpu, b.Const(8)), n[1]), 8, true)
		return b.AddImm(b.Load(p, 0, 8, false), n[0])
	}
	if len(c.Args) == 1 {
		return address(b.Help(ir.HelperCPU))
	}
	cpu := l.Scalar(c.Args[1])
	known, none, join := b.Block(), b.Block(), b.Block(ir.Scalar)
	b.If(b.Bin(ir.OpULt, cpu, b.Const(int64(l.CPUs()))), known, none)
	b.SetBlock(known)
	b.Jump(join, address(cpu))
	b.SetBlock(none)
	b.Jump(join, b.Const(0))
	b.SetBlock(join)
	return join.Params[0]
}

// What checkUaddr notes: the symbol's address in the file and its size, whether the program is always there, and
// otherwise the address of the probe in the file.
const (
	noteAddress = iota
	noteSize
	noteFixed
	noteProbe
)

// checkUaddr finds a symbol of the probed program. A program that is loaded anywhere is as far from its addresses in
// the file as the instruction that was reached.
func checkUaddr(c *types.Call) {
	if c.Dead {
		c.Notes = []int64{noteFixed: 1, noteProbe: 0}
		return
	}
	h := &c.Target.Hook
	if h.Kind != types.HookUprobe && h.Kind != types.HookUretprobe {
		c.Errorf(-1, "uaddr() cannot be used in a probe of type %s", c.Target.Probe.Name).WithHint("use it in a uprobe")
		return
	}
	f, err := elf.Open(h.Path)
	if err != nil {
		c.Errorf(-1, "uaddr(): %s", err)
		return
	}
	defer f.Close()
	s, ok := elfSymbol(f, c.Text(0))
	if !ok {
		c.Errorf(0, "could not resolve symbol: %s:%s", h.Path, c.Text(0))
		return
	}
	c.Notes = []int64{int64(s.Value), int64(s.Size), 0, 0}
	switch {
	case f.Type == elf.ET_EXEC:
		c.Notes[noteFixed] = 1
	case h.Kind == types.HookUretprobe:
		c.Errorf(-1, "uaddr() cannot be used in a uretprobe of a program that is loaded anywhere (PIE)").
			WithHint("keep it in a map in a uprobe of the function")
	case len(h.Points) != 1:
		c.Errorf(-1, "uaddr() got a probe on %d places, want one", len(h.Points))
	default:
		for _, p := range f.Progs {
			if off := h.Points[0].Offset; p.Type == elf.PT_LOAD && off >= p.Off && off < p.Off+p.Filesz {
				c.Notes[noteProbe] = int64(off - p.Off + p.Vaddr)
			}
		}
	}
}

func elfSymbol(f *elf.File, name string) (elf.Symbol, bool) {
	for _, table := range []func() ([]elf.Symbol, error){f.Symbols, f.DynamicSymbols} {
		list, err := table()
		if err != nil {
			continue // there is none
		}
		for _, s := range list {
			if s.Name == name && s.Section != elf.SHN_UNDEF {
				return s, true
			}
		}
	}
	return elf.Symbol{}, false
}

// cgroupID is the number of a directory of the hierarchy of version 2.
func cgroupID(path string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, fmt.Errorf("%s is not a cgroup of version 2", path)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}
