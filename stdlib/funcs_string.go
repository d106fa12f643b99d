package stdlib

import (
	"github.com/slopebpf/slope/compiler/ir"
	"github.com/slopebpf/slope/lang/syntax"
	"github.com/slopebpf/slope/lang/types"
)

// textual tells whether a value is text: a string, or a pointer to characters, which is read.
func textual(t *types.Type) bool {
	return t.Kind == types.String || t.Kind == types.Pointer && t.Elem.Char() || t.Kind == types.Array && t.Elem.Char()
}

// checkTexts wants the first n arguments to be text.
func checkTexts(n int) func(c *types.Call) {
	return func(c *types.Call) {
		for i, t := range c.Args[:n] {
			if !textual(t) {
				c.Errorf(i, "%s() got '%s', want a string, or an array or a pointer of characters", c.Node.Name.Text, t).
					WithHint("str(address) makes a string of an address")
			}
		}
	}
}

// textOf is the type of a text once it is in memory.
func textOf(t *types.Type, config *types.Config) *types.Type {
	switch t.Kind {
	case types.Pointer:
		return types.StringOf(config.MaxStrlen)
	case types.Array: // has no NUL when it is full
		return types.StringOf(t.Size + 1)
	}
	return t
}

// text is a text in memory, with zeros after its end.
func text(l ir.Lowering, e syntax.Expr) (*ir.Value, *types.Type) {
	at := l.Type(e)
	t := textOf(at, l.Config())
	switch at.Kind {
	case types.Pointer:
		b := l.Builder()
		addr := l.Scalar(e)
		p := b.Addr(b.Slot("text", t.Memory()))
		b.Zero(p, 0, t.Memory())
		readString(l, at, p, addr, b.Const(int64(t.Size)), t, fills(b, t))
		return p, t
	case types.Array:
		b := l.Builder()
		raw, p := b.Addr(b.Slot("array", t.Memory())), b.Addr(b.Slot("text", t.Memory()))
		b.Zero(raw, 0, t.Memory())
		b.Zero(p, 0, t.Memory())
		b.Copy(raw, 0, l.Memory(e, at), at.Memory())
		b.ReadStr(p, raw, b.Const(int64(t.Size)), t.Size, true)
		return p, t
	}
	return l.Memory(e, t), t
}

func textParam(name string) types.Param { return types.Param{Name: name, Kind: types.AnyParam} }

func stringFuncs() []Func {
	scalar := func(name, text, example string, result *types.Type, check func(*types.Call), low func(l ir.Lowering, c *syntax.Call) *ir.Value, params ...types.Param) Func {
		return Func{
			Func: types.Func{Doc: types.Doc{Name: name, Text: text, Examples: []string{example}}, Pure: true, Params: params, Check: check,
				Result: func(*types.Call) *types.Type { return result }},
			FuncLower: ir.FuncLower{Scalar: low},
		}
	}
	return []Func{
		scalar("strlen", "The length of a string.", `tracepoint:syscalls:sys_enter_openat { @ = hist(strlen(str(args.filename))); }`, types.Uint64, checkTexts(1),
			func(l ir.Lowering, c *syntax.Call) *ir.Value {
				p, t := text(l, c.Args[0])
				return length(l, p, t)
			}, textParam("text")),
		{
			Func: types.Func{Doc: types.Doc{Name: "strcap", Text: "The capacity of a string or array in bytes, the end included. Of a pointer to characters the length of the string.",
				Examples: []string{`begin { print(strcap(comm)); }`}},
				Pure: true, Params: []types.Param{textParam("text")},
				Check: func(c *types.Call) {
					checkTexts(1)(c)
					if c.Args[0].Kind != types.Pointer {
						c.Fold(int64(c.Args[0].Size))
					}
				},
				Result: func(*types.Call) *types.Type { return types.Uint64 },
			},
			FuncLower: ir.FuncLower{Scalar: func(l ir.Lowering, c *syntax.Call) *ir.Value {
				p, t := text(l, c.Args[0])
				return length(l, p, t)
			}},
		},
		scalar("strncmp", "Whether the first n characters of two strings differ: 0 when they are the same, otherwise 1.",
			`tracepoint:syscalls:sys_enter_openat /strncmp(comm, "ssh", 3) == 0/ { @ = count(); }`, types.Int64,
			func(c *types.Call) {
				checkTexts(2)(c)
				if n, _ := c.Const(2); n < 0 {
					c.Errorf(2, "strncmp() got %d for 'n', want 0 or more", n)
				}
			}, func(l ir.Lowering, c *syntax.Call) *ir.Value {
				n, _ := l.Const(c.Args[2])
				x, xt := text(l, c.Args[0])
				y, yt := text(l, c.Args[1])
				b := l.Builder()
				differ, join := b.Block(), b.Block(ir.Scalar)
				firstDifference(b, x, y, min(n, int64(min(xt.Memory(), yt.Memory()))), func(_, _ *ir.Value) { b.Jump(differ) })
				b.Jump(join, b.Const(0))
				b.SetBlock(differ)
				b.Jump(join, b.Const(1))
				b.SetBlock(join)
				return join.Params[0]
			}, textParam("a"), textParam("b"), types.Param{Name: "n", Kind: types.LiteralParam}),
		scalar("strstr", "Where a string first occurs in another, from 0; -1 when it does not.",
			`begin { print(strstr("haystack", "stack")); }`, types.Int64, checkTexts(2), search, textParam("haystack"), textParam("needle")),
		scalar("strcontains", "Whether a string occurs in another.",
			`tracepoint:syscalls:sys_enter_openat /strcontains(str(args.filename), "/etc/")/ { @[comm] = count(); }`, types.Boolean, checkTexts(2),
			func(l ir.Lowering, c *syntax.Call) *ir.Value {
				b := l.Builder()
				return b.Bin(ir.OpSLe, b.Const(0), search(l, c))
			}, textParam("haystack"), textParam("needle")),
		{
			Func: types.Func{Doc: types.Doc{Name: "str_concat", Text: "A string and another after it, at most max_strlen bytes.",
				Examples: []string{`begin { print(str_concat("con", "cat")); }`}},
				Pure: true, Params: []types.Param{textParam("a"), textParam("b")}, Check: checkTexts(2),
				Result: func(c *types.Call) *types.Type {
					a, b := textOf(c.Args[0], c.Config), textOf(c.Args[1], c.Config)
					return types.StringOf((min(a.Size+b.Size-1, max(c.Config.MaxStrlen, 8)) + 7) &^ 7)
				}},
			FuncLower: ir.FuncLower{Into: concat},
		},
		scalar("memcmp", "Compare the first n bytes of two values: 0 when they are the same, negative when the first byte that differs is less in a.",
			`begin { print(memcmp("abc", "abd", 3)); }`, types.Int32, checkMemcmp, memcmp,
			types.Param{Name: "a", Kind: types.AnyParam}, types.Param{Name: "b", Kind: types.AnyParam}, types.Param{Name: "n", Kind: types.IntParam}),
	}
}

// length is the length of a string in memory. The kernel finds its end by copying it onto itself.
func length(l ir.Lowering, p *ir.Value, t *types.Type) *ir.Value {
	b := l.Builder()
	return b.AddImm(b.ReadStr(p, p, b.Const(int64(t.Size)), t.Size, true), -1)
}

// firstDifference compares n bytes word by word; found goes on where two words differ, and must end the block. The
// current block is then where none does.
func firstDifference(b *ir.Builder, x, y *ir.Value, n int64, found func(x, y *ir.Value)) {
	for off := int64(0); off < n; off += 8 {
		v, w := b.Load(x, int(off), 8, false), b.Load(y, int(off), 8, false)
		if rest := n - off; rest < 8 {
			mask := b.Const(1<<(8*rest) - 1)
			v, w = b.Bin(ir.OpAnd, v, mask), b.Bin(ir.OpAnd, w, mask)
		}
		differ, next := b.Block(), b.Block()
		b.If(b.Bin(ir.OpEq, v, w), next, differ)
		b.SetBlock(differ)
		found(v, w)
		b.SetBlock(next)
	}
}

// byteAt is a byte of a value in memory of size bytes.
func byteAt(b *ir.Builder, p *ir.Value, size int, i *ir.Value) *ir.Value {
	if size&(size-1) == 0 {
		i = b.Mask(i, int64(size-1))
	} else {
		i = b.Bound(i, int64(size-1))
	}
	return b.Load(b.Index(p, i, 1), 0, 1, false)
}

// isZero is 1 for 0 and 0 for any other number below 1<<63, without a branch: in a loop that counts its turns each
// branch of each turn is one more way that the kernel's verifier keeps in mind, and it keeps 8192.
func isZero(b *ir.Builder, x *ir.Value) *ir.Value {
	return b.Bin(ir.OpShr, b.AddImm(x, -1), b.Const(63))
}

// search looks for the needle at every place of the haystack. Its state is the place and how much of the needle was
// found there.
func search(l ir.Lowering, c *syntax.Call) *ir.Value {
	b := l.Builder()
	hay, ht := masked(l, c.Args[0])
	needle, nt := masked(l, c.Args[1])
	most := int64(ht.Size) * int64(nt.Size)
	return l.Scan(most, []*ir.Value{b.Const(0), b.Const(0)}, -1, func(state []*ir.Value, again, done func(...*ir.Value)) {
		place, matched := state[0], state[1]
		want := byteAt(b, needle, nt.Size, matched)
		got := byteAt(b, hay, ht.Size, b.Bin(ir.OpAdd, place, matched))
		next, end := b.Block(), b.Block()
		b.If(b.Bin(ir.OpMul, want, got), next, end) // one of them has ended
		b.SetBlock(end)
		found := isZero(b, want)
		done(b.Bin(ir.OpOr, b.Bin(ir.OpAnd, place, b.Un(ir.OpNeg, found)), b.AddImm(found, -1)))
		b.SetBlock(next)
		same := isZero(b, b.Bin(ir.OpXor, got, want))
		again(b.Bin(ir.OpSub, b.AddImm(place, 1), same), b.Bin(ir.OpAnd, b.AddImm(matched, 1), b.Un(ir.OpNeg, same)))
	})
}

// masked is a text in memory whose size is a power of two.
func masked(l ir.Lowering, e syntax.Expr) (*ir.Value, *types.Type) {
	at := l.Type(e)
	t := textOf(at, l.Config())
	size := 8
	for size < t.Size {
		size *= 2
	}
	if at.Kind == types.String {
		return l.Memory(e, types.StringOf(size)), types.StringOf(size)
	}
	p, t := text(l, e)
	if t.Size == size {
		return p, t
	}
	b := l.Builder()
	wide := b.Addr(b.Slot("text", size))
	b.Zero(wide, 0, size)
	b.Copy(wide, 0, p, t.Memory())
	return wide, types.StringOf(size)
}

// concat reads the second string to where the first one ends.
func concat(l ir.Lowering, c *syntax.Call, t *types.Type, p *ir.Value, off int, pad bool) {
	b := l.Builder()
	x, xt := text(l, c.Args[0])
	y, yt := text(l, c.Args[1])
	whole := types.StringOf(xt.Size + yt.Size - 1)
	tmp := b.Addr(b.Slot("concat", whole.Memory()))
	b.Zero(tmp, 0, whole.Memory())
	b.ReadStr(tmp, x, b.Const(int64(xt.Size)), xt.Size, true)
	end := b.Index(tmp, b.Bound(length(l, x, xt), int64(xt.Size-1)), 1)
	b.ReadStr(end, y, b.Const(int64(yt.Size)), yt.Size, true)
	if whole.Memory() <= t.Memory() {
		b.Copy(p, off, tmp, whole.Memory())
		if rest := t.Memory() - whole.Memory(); rest > 0 && pad {
			b.Zero(p, off+whole.Memory(), rest)
		}
		return
	}
	last := t.Memory() - 1
	l.When(b.Load(tmp, last, 1, false), func() { l.Count(ir.LossTruncated, nil) })
	b.Store(tmp, last, 1, b.Const(0))
	b.Copy(p, off, tmp, t.Memory())
}

func checkMemcmp(c *types.Call) {
	least := bytesOf(c.Args[0])
	if size := bytesOf(c.Args[1]); size < least {
		least = size
	}
	if n, ok := c.Const(2); ok && (n < 0 || n > int64(least)) {
		c.Errorf(2, "memcmp() got %d for 'n', want 0 to %d: the smaller of '%s' and '%s'", n, least, c.Args[0], c.Args[1])
	}
}

// bytesOf is how many bytes of a value there are to compare.
func bytesOf(t *types.Type) int {
	if t.Kind == types.Tuple {
		return t.Memory()
	}
	return t.Size
}

func memcmp(l ir.Lowering, c *syntax.Call) *ir.Value {
	b := l.Builder()
	at, bt := l.Type(c.Args[0]), l.Type(c.Args[1])
	x, y := l.Memory(c.Args[0], at), l.Memory(c.Args[1], bt)
	least := int64(min(bytesOf(at), bytesOf(bt)))
	n, constant := l.Const(c.Args[2])
	if !constant {
		count := b.Bound(l.Scalar(c.Args[2]), least)
		return l.Scan(least+1, []*ir.Value{b.Const(0)}, 0, func(state []*ir.Value, again, done func(...*ir.Value)) {
			i := state[0]
			v, w := byteAt(b, x, at.Memory(), i), byteAt(b, y, bt.Memory(), i)
			inside := b.Bin(ir.OpShr, b.Bin(ir.OpSub, i, count), b.Const(63))
			stop, next := b.Block(), b.Block()
			b.If(b.Bin(ir.OpOr, b.Bin(ir.OpXor, v, w), b.Bin(ir.OpXor, inside, b.Const(1))), stop, next)
			b.SetBlock(stop)
			done(b.Bin(ir.OpAnd, b.Bin(ir.OpSub, v, w), b.Un(ir.OpNeg, inside)))
			b.SetBlock(next)
			again(b.AddImm(i, 1))
		})
	}
	differ, join := b.Block(ir.Scalar, ir.Scalar), b.Block(ir.Scalar)
	firstDifference(b, x, y, n, func(v, w *ir.Value) { b.Jump(differ, v, w) })
	b.Jump(join, b.Const(0))
	// The first byte is the lowest one: halves that are the same are shifted away.
	b.SetBlock(differ)
	v, w := differ.Params[0], differ.Params[1]
	for bits := 32; bits >= 8; bits /= 2 {
		shift, next := b.Block(), b.Block(ir.Scalar, ir.Scalar)
		keep := b.Block()
		low := b.Const(1<<bits - 1)
		b.If(b.Bin(ir.OpAnd, b.Bin(ir.OpXor, v, w), low), keep, shift)
		b.SetBlock(keep)
		b.Jump(next, v, w)
		b.SetBlock(shift)
		by := b.Const(int64(bits))
		b.Jump(next, b.Bin(ir.OpShr, v, by), b.Bin(ir.OpShr, w, by))
		b.SetBlock(next)
		v, w = next.Params[0], next.Params[1]
	}
	b.Jump(join, b.Bin(ir.OpSub, b.Ext(v, 1, false), b.Ext(w, 1, false)))
	b.SetBlock(join)
	return join.Params[0]
}
