package opt

import "github.com/slopebpf/slope/compiler/ir"

// cse replaces a computation by an equal one that dominates it. Pure operations and helpers that give the same value
// during one run qualify everywhere; loads from the context and from kernel memory too: a run reads a field once,
// as the language says. Other loads qualify while nothing is written, within their block and on into blocks with no
// other predecessor.
func cse(p *ir.Program, f *ir.Func) bool {
	dom := f.Dominators()
	c := &finder{table: map[key]*ir.Value{}, same: replacer{}, preds: ir.Preds(dom.Order)}
	c.walk(dom, f.Blocks[0], 0)
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
	table    map[key]*ir.Value
	same     replacer
	preds    map[*ir.Block][]*ir.Block
	versions int // that there were
}

// write makes a new version of memory.
func (c *finder) write() int {
	c.versions++
	return c.versions
}

// walk goes down the dominator tree; what a block adds is forgotten when its subtree is done. version is that of
// memory at the end of the dominator.
func (c *finder) walk(dom *ir.DomTree, b *ir.Block, version int) {
	if len(c.preds[b]) != 1 {
		version = c.write()
	}
	var added []key
	for _, v := range b.Insts {
		for i, a := range v.Args {
			v.Args[i] = c.same.find(a)
		}
		switch v.Effect() {
		case ir.Write, ir.Call:
			version = c.write()
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
			k.version = version
		}
		if old := c.table[k]; old != nil {
			c.same[v] = old
			continue
		}
		c.table[k] = v
		added = append(added, k)
	}
	for _, child := range dom.Children[b] {
		c.walk(dom, child, version)
	}
	for _, k := range added {
		delete(c.table, k)
	}
}
