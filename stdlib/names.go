package stdlib

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// nameSize is the capacity of the names of numbers.
const nameSize = 64

// errorNames are the kernel's words for errors that the C library has other words for (include/uapi/asm-generic/errno.h).
var errorNames = map[int]string{
	5: "I/O error", 9: "Bad file number", 11: "Try again (operation would block)", 12: "Out of memory", 18: "Cross-device link",
	23: "File table overflow", 25: "Not a typewriter", 33: "Math argument out of domain of func", 34: "Math result not representable",
	35: "Resource deadlock would occur", 37: "No record locks available", 38: "Invalid system call number",
	40: "Too many symbolic links encountered", 74: "Not a data message", 84: "Illegal byte sequence",
	95: "Operation not supported on transport endpoint", 102: "Network dropped connection because of reset", 122: "Quota exceeded",
	125: "Operation Canceled", 133: "Memory page has hardware error",
}

func errorName(n int) string {
	name := errorNames[n]
	if name == "" {
		name = capital(syscall.Errno(n).Error())
	}
	switch {
	case n == 0:
		return "Success"
	case strings.HasPrefix(name, "Errno "): // there is none of this number
		return "Unknown error"
	}
	return name
}

func signalName(n int) string {
	const firstRealTime = 34 // of the C library, which keeps two for itself
	switch {
	case n == 0 || n == firstRealTime-2 || n == firstRealTime-1:
		return fmt.Sprintf("Unknown signal %d", n)
	case n >= firstRealTime:
		return fmt.Sprintf("Real-time signal %d", n-firstRealTime)
	}
	return capital(syscall.Signal(n).String())
}

func capital(s string) string { return string(unicode.ToUpper(rune(s[0]))) + s[1:] }

// tracepointNames are names of system calls that only their tracepoints have.
var tracepointNames = []string{"newstat", "newfstat", "newlstat", "sendfile64", "newuname", "sysctl", "umount"}

// syscallNames are the names of system calls by number, "" where there is none.
func syscallNames() []string {
	last := 0
	for _, n := range syscallNumbers {
		last = max(last, n)
	}
	out := make([]string, last+1)
	for name, n := range syscallNumbers {
		if !slices.Contains(tracepointNames, name) {
			out[n] = name
		}
	}
	return out
}

func listOf(n int, name func(int) string) func() []string {
	return func() []string {
		out := make([]string, n)
		for i := range out {
			out[i] = name(i)
		}
		return out
	}
}

// nameFuncs give numbers their names.
func nameFuncs() []Func {
	row := func(name, text, example, unknown string, abs bool, names func() []string) Func {
		return Func{
			Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}},
				Params: []types.Param{{Name: "n", Kind: types.IntParam}},
				Result: func(*types.Call) *types.Type { return types.StringOf(nameSize) }},
			FuncLower: ir.FuncLower{Into: func(l ir.Lowering, c *syntax.Call, t *types.Type, p *ir.Value, off int, pad bool) {
				n := l.Scalar(c.Args[0])
				if abs {
					b := l.Builder()
					sign := b.Bin(ir.OpSar, n, b.Const(63))
					n = b.Bin(ir.OpSub, b.Bin(ir.OpXor, n, sign), sign)
				}
				nameInto(l, append(names(), unknown), n, t, p, off, pad)
			}},
		}
	}
	return []Func{
		row("strerror", "The words for an error number, of either sign.", `tracepoint:raw_syscalls:sys_exit /args.ret < 0/ { @[strerror(args.ret)] = count(); }`,
			"Unknown error", true, listOf(134, errorName)),
		row("signal_name", "The words for a signal.", `tracepoint:signal:signal_generate { @[signal_name(args.sig)] = count(); }`,
			"N/A", false, listOf(65, signalName)),
		row("syscall_name", "The name of a system call of x86-64.", `tracepoint:raw_syscalls:sys_enter { @[syscall_name(args.id)] = count(); }`,
			"Unknown syscall", false, syscallNames),
	}
}

// nameInto writes the nth of some names, for numbers that have none the last. The names lie one after the other, and a
// table says where each begins.
func nameInto(l ir.Lowering, names []string, n *ir.Value, t *types.Type, p *ir.Value, off int, pad bool) {
	b := l.Builder()
	unknown := names[len(names)-1]
	var all strings.Builder
	at := map[string]int{}
	var table []byte
	for _, name := range names {
		if name == "" {
			name = unknown
		}
		if _, ok := at[name]; !ok {
			at[name] = all.Len()
			all.WriteString(name + "\x00")
		}
		table = binary.LittleEndian.AppendUint16(table, uint16(at[name]))
	}
	where := b.Load(b.Index(l.Rodata(string(table)), b.Bound(n, int64(len(names)-1)), 2), 0, 2, false)
	if pad {
		b.Zero(p, off, t.Memory())
	}
	dst := p
	if off != 0 {
		dst = b.Offset(p, int64(off))
	}
	b.ReadStr(dst, b.Index(l.Rodata(all.String()), b.Bound(where, int64(all.Len()-1)), 1), b.Const(nameSize), nameSize, true)
}
