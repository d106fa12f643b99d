package ir

import "slices"

// RPO returns the reachable blocks in reverse postorder: a block comes before its successors, loops aside, and Then
// directly follows its block when nothing forces something else in between.
func (f *Func) RPO() []*Block {
	seen := make(map[*Block]bool, len(f.Blocks))
	var out []*Block
	type frame struct {
		b    *Block
		next int
	}
	stack := []frame{{b: f.Blocks[0]}}
	seen[f.Blocks[0]] = true
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		succ := top.b.Term.Successors()
		if top.next == len(succ) {
			out = append(out, top.b)
			stack = stack[:len(stack)-1]
			continue
		}
		// The last successor visited comes first in the result: visit Else before Then.
		s := succ[len(succ)-1-top.next]
		top.next++
		if !seen[s] {
			seen[s] = true
			stack = append(stack, frame{b: s})
		}
	}
	slices.Reverse(out)
	return out
}

// Preds returns the predecessors of every block of order; a block that reaches another by both ways is there twice.
func Preds(order []*Block) map[*Block][]*Block {
	preds := make(map[*Block][]*Block, len(order))
	for _, b := range order {
		for _, s := range b.Term.Successors() {
			preds[s] = append(preds[s], b)
		}
	}
	return preds
}

// DomTree is the dominator tree of the reachable blocks (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance
// Algorithm", 2001).
type DomTree struct {
	Order    []*Block // reverse postorder
	Children map[*Block][]*Block
	num      map[*Block]int
	idom     []int
}

// Dominators computes the dominator tree.
func (f *Func) Dominators() *DomTree {
	order := f.RPO()
	preds := Preds(order)
	t := &DomTree{Order: order, Children: map[*Block][]*Block{}, num: make(map[*Block]int, len(order)), idom: make([]int, len(order))}
	for i, b := range order {
		t.num[b] = i
		t.idom[i] = -1
	}
	t.idom[0] = 0
	for changed := true; changed; {
		changed = false
		for i := 1; i < len(order); i++ {
			dom := -1
			for _, p := range preds[order[i]] {
				switch n := t.num[p]; {
				case t.idom[n] < 0:
				case dom < 0:
					dom = n
				default:
					dom = t.meet(dom, n)
				}
			}
			if dom != t.idom[i] {
				t.idom[i], changed = dom, true
			}
		}
	}
	for i := 1; i < len(order); i++ {
		p := order[t.idom[i]]
		t.Children[p] = append(t.Children[p], order[i])
	}
	return t
}

func (t *DomTree) meet(a, b int) int {
	for a != b {
		for a > b {
			a = t.idom[a]
		}
		for b > a {
			b = t.idom[b]
		}
	}
	return a
}

// Dominates tells whether every path to b goes through a; both must be reachable.
func (t *DomTree) Dominates(a, b *Block) bool {
	x, y := t.num[a], t.num[b]
	for y > x {
		y = t.idom[y]
	}
	return x == y
}

// Reachable tells whether b is reachable from the entry.
func (t *DomTree) Reachable(b *Block) bool { _, ok := t.num[b]; return ok }

// Operands calls fn with the address of every operand of the block's instructions and terminator, in order.
func (b *Block) Operands(fn func(user *Value, arg **Value)) {
	for _, v := range b.Insts {
		for i := range v.Args {
			fn(v, &v.Args[i])
		}
	}
	if b.Term.Cond != nil {
		fn(nil, &b.Term.Cond)
	}
	for i := range b.Term.ThenArgs {
		fn(nil, &b.Term.ThenArgs[i])
	}
	for i := range b.Term.ElseArgs {
		fn(nil, &b.Term.ElseArgs[i])
	}
}

// Edit returns a builder on an existing function, at block blk.
func Edit(p *Program, f *Func, blk *Block) *Builder {
	return &Builder{Prog: p, Func: f, cur: blk}
}

// Detached makes an instruction with a fresh number that is in no block yet.
func (b *Builder) Detached(op Op, args ...*Value) *Value { return b.value(op, args...) }

// Clone copies a function down to its instructions; maps are shared.
func (f *Func) Clone() *Func {
	n := *f
	slots := make(map[*Slot]*Slot, len(f.Slots))
	n.Slots = nil
	for _, s := range f.Slots {
		c := *s
		slots[s] = &c
		n.Slots = append(n.Slots, &c)
	}
	blocks := make(map[*Block]*Block, len(f.Blocks))
	values := map[*Value]*Value{}
	copyValue := func(v *Value) *Value {
		c := *v
		if c.Slot != nil {
			c.Slot = slots[c.Slot]
		}
		values[v] = &c
		return &c
	}
	n.Blocks = nil
	for _, b := range f.Blocks {
		c := &Block{ID: b.ID, Term: b.Term}
		for _, v := range b.Params {
			c.Params = append(c.Params, copyValue(v))
		}
		for _, v := range b.Insts {
			c.Insts = append(c.Insts, copyValue(v))
		}
		blocks[b] = c
		n.Blocks = append(n.Blocks, c)
	}
	for _, c := range n.Blocks {
		for _, v := range c.Insts {
			v.Args = slices.Clone(v.Args)
		}
		c.Term.Then, c.Term.Else = blocks[c.Term.Then], blocks[c.Term.Else]
		c.Term.ThenArgs, c.Term.ElseArgs = slices.Clone(c.Term.ThenArgs), slices.Clone(c.Term.ElseArgs)
		c.Operands(func(_ *Value, arg **Value) {
			if w := values[*arg]; w != nil {
				*arg = w
			}
		})
	}
	return &n
}
