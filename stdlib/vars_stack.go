package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/types"
)

// maxFrames is how many frames a stack has at most, and unless a limit is given.
const maxFrames = 127

// stackModes are the ways to print a stack.
func stackModes(user bool) []string {
	if user {
		return types.StackModes()
	}
	return types.StackModes()[:3]
}

// stacks are the variables that hold calls.
func stacks() []Var {
	row := func(name, text, example string, user bool, unwind bool) Var {
		depth := func(n int) int {
			if d := n % (maxFrames + 1); d > 0 {
				return d
			}
			return maxFrames
		}
		doc := types.Doc{Name: name, Text: text, Examples: []string{example}}
		if unwind {
			doc.Since = name + ": calls without frame pointers"
		}
		return Var{
			Var: types.Var{Doc: doc,
				Modes: stackModes(user), Limit: maxFrames, Once: unwind,
				Type: func(_ *types.Target, n int) (*types.Type, error) {
					return types.StackOf(user, stackModes(user)[n/(maxFrames+1)], depth(n)), nil
				}},
			VarLower: ir.VarLower{Into: func(l ir.Lowering, _ int, t *types.Type, p *ir.Value, off int, _ bool) {
				stackInto(l, t, p, off, unwind)
			}},
		}
	}
	return []Var{
		row("kstack", "The calls in the kernel that led here: kstack, kstack(limit) or kstack(mode, limit). Modes: bpftrace, perf (with addresses), raw (addresses only).",
			"profile:hz:99 { @[kstack(5)] = count(); }", false, false),
		row("ustack", "The calls in user space that led here, found by frame pointers: ustack, ustack(limit) or ustack(mode, limit). Modes as of kstack, and build_id: the build ID of the file and the offset in it.",
			"profile:hz:99 { @[ustack(perf, 5), comm] = count(); }", true, false),
		row("dw_ustack", "As ustack, but found by what compilers write for exceptions and debuggers (.eh_frame), for code without frame pointers, such as the C library. The tables of processes that are running when the script starts are there from the first event with -p and with probes of their functions; otherwise a process's first stacks are found by frame pointers, and counted.",
			"profile:hz:99 { @[dw_ustack(5), comm] = count(); }", true, true),
	}
}

// stackInto writes the two words of a stack: the hash of its return addresses, which are kept under it, or 0 when there
// are none; and the process whose code they are in.
func stackInto(l ir.Lowering, t *types.Type, p *ir.Value, off int, unwind bool) {
	b, depth, user := l.Builder(), t.Kept(), t.User
	m := l.StackMap(depth)
	frames := b.Addr(b.Slot("stack", 8*depth))
	key := b.Addr(b.Slot("stack key", 8))
	some, none, next := b.Block(), b.Block(), b.Block(ir.Scalar)
	process := b.Const(0)
	if user {
		process = b.Bin(ir.OpShr, l.Kernel().PidTgid(b), b.Const(32))
		if unwind || t.Mode != types.RawStack { // which is never looked up
			l.NoteProcess(process)
		}
	}
	var found *ir.Value // greater than 0 where there are any
	if unwind {
		found = byTables(l, frames, process, depth)
	} else {
		found = b.Stack(frames, 8*depth, !user)
	}
	b.If(b.Bin(ir.OpSLt, b.Const(0), found), some, none)
	b.SetBlock(none)
	b.Jump(next, b.Const(0))

	// Four independent products, so that none waits for the one before. What follows the last frame is zeros.
	b.SetBlock(some)
	const lanes = 4
	primes := [lanes]int64{-7046029254386353131, -4417276706812531889, 1609587929392839161, -8796714831421723037}
	var hash [lanes]*ir.Value
	for i := range hash {
		hash[i] = b.Const(int64(i) + 1)
	}
	for i := range depth {
		lane := i % lanes
		mixed := b.Bin(ir.OpMul, b.Bin(ir.OpXor, hash[lane], b.Load(frames, 8*i, 8, false)), b.Const(primes[lane]))
		hash[lane] = b.Bin(ir.OpXor, mixed, b.Bin(ir.OpShr, mixed, b.Const(29)))
	}
	id := b.Bin(ir.OpXor, b.Bin(ir.OpXor, hash[0], hash[1]), b.Bin(ir.OpXor, hash[2], hash[3]))
	id = b.Bin(ir.OpOr, id, b.Const(1)) // never 0
	b.Store(key, 0, 8, id)
	fresh, known := b.Block(), b.Block()
	b.NullCheck(b.Lookup(m, key), fresh)
	b.Jump(known)
	b.SetBlock(fresh)
	b.Update(m, key, frames, ir.UpdateNoExist)
	full := b.Block()
	b.NullCheck(b.Lookup(m, key), full)
	b.Jump(known)
	b.SetBlock(full)
	l.Count(ir.LossStackFull, nil)
	b.Jump(next, b.Const(0))
	b.SetBlock(known)
	b.Jump(next, id)

	b.SetBlock(next)
	b.Store(p, off, 8, next.Params[0])
	b.Store(p, off+8, 8, process)
}
