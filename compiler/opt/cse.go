package opt

import "github.com/slopebpf/slope/compiler/ir"

// cse replaces a computation by an equal one that dominates it. Pure operations and helpers that give the same value
// during one run qualify everywhere; loads from the context and from kernel memory too: a run reads a field once,
// as the language says. Other loads qualify within their block while nothing is written.
func cse(p *ir.Program, f *ir.Func) bool {
	c := &finder{table: map[key]*ir.Value{}, same: replacer{}}
	dom := f.Dominators()
	c.walk(dom, f.Blocks[0])
	return c.same.apply(dom.Order)
}

// key is all that makes two instructions equal.
type key struct {
	op      ir.Op
	args    [3]*ir.Value
	nargs   int
	imm     int64
	off     int32
	width   uint8
	signed  bool
	class   ir.Class
	m       *ir.Map
	slot    *ir.Slot
	helper  ir.Helper
	version int // of memory, for loads
}

type finder struct {
	table   map[key]*ir.Value
	same    replacer
	version int
}

// walk goes down the dominator tree; what a block adds is forgotten when its subtree is done.
func (c *finder) walk(dom *ir.DomTree, b *ir.Block) {
	c.version++
	var added []key
	for _, v := range b.Insts {
		for i, a := range v.Args {
			v.Args[i] = c.same.find(a)
		}
		switch v.Effect() {
		case ir.Write, ir.Call:
			c.version++
			continue
		case ir.Guard:
			continue
		}
		if v.Op == ir.OpHelper && !v.Helper.Once() || v.Op == ir.OpParam || len(v.Args) > 3 {
			continue
		}
		k := key{op: v.Op, nargs: len(v.Args), imm: v.Imm, off: v.Off, width: v.Width, signed: v.Signed,
			class: v.Class, m: v.Map, slot: v.Slot, helper: v.Helper}
		copy(k.args[:], v.Args)
		if v.Op == ir.OpLoad && v.Args[0].Class != ir.Ctx && v.Args[0].Class != ir.BTFPtr {
			k.version = c.version
		}
		if old := c.table[k]; old != nil {
			c.same[v] = old
			continue
		}
		c.table[k] = v
		added = append(added, k)
	}
	for _, child := range dom.Children[b] {
		c.walk(dom, child)
	}
	for _, k := range added {
		delete(c.table, k)
	}
}
