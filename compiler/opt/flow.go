package opt

import "github.com/slopebpf/slope/compiler/ir"

// jumps leads jumps past empty blocks, makes an If with one target a jump, and joins a block with its only successor
// when that has no other predecessor.
func jumps(p *ir.Program, f *ir.Func) bool {
	changed := false
	for _, b := range f.RPO() {
		t := &b.Term
		changed = thread(&t.Then, &t.ThenArgs) || changed
		changed = thread(&t.Else, &t.ElseArgs) || changed
		if t.Kind == ir.TermIf && t.Then == t.Else && len(t.ThenArgs) == 0 {
			*t = ir.Term{Kind: ir.TermJump, Then: t.Then, Span: t.Span}
			changed = true
		}
	}
	changed = known(f) || changed
	return join(f) || changed
}

// known takes a block apart that only branches on its own parameter, as the end of an && or || does: every jump to it
// branches itself, mostly on a constant or a compare.
func known(f *ir.Func) bool {
	order := f.RPO()
	preds := ir.Preds(order)
	owner := map[*ir.Value]*ir.Block{}
	for _, b := range order {
		for _, v := range b.Params {
			owner[v] = b
		}
	}
	elsewhere := map[*ir.Block]bool{} // a parameter is used outside the block's end
	for _, b := range order {
		b.Operands(func(user *ir.Value, arg **ir.Value) {
			if o := owner[*arg]; o != nil && (o != b || user != nil) {
				elsewhere[o] = true
			}
		})
	}
	changed := false
	for _, b := range order {
		if b.Term.Kind != ir.TermIf || owner[b.Term.Cond] != b || len(b.Insts) > 0 || elsewhere[b] {
			continue
		}
		for _, p := range preds[b] {
			if p.Term.Kind != ir.TermJump || p == b {
				continue
			}
			at := map[*ir.Value]*ir.Value{}
			for i, v := range b.Params {
				at[v] = p.Term.ThenArgs[i]
			}
			put := func(list []*ir.Value) []*ir.Value {
				out := append([]*ir.Value(nil), list...)
				for i, v := range out {
					if w := at[v]; w != nil {
						out[i] = w
					}
				}
				return out
			}
			t := b.Term
			p.Term = ir.Term{Kind: ir.TermIf, Cond: at[t.Cond], Then: t.Then, ThenArgs: put(t.ThenArgs), Else: t.Else, ElseArgs: put(t.ElseArgs), Span: t.Span}
			changed = true
		}
		if changed {
			return true // the predecessors are no longer what they were
		}
	}
	return false
}

// thread replaces an empty block without parameters that only jumps on by where it goes. A jump that has no
// arguments itself may take over those of the empty block.
func thread(to **ir.Block, args *[]*ir.Value) bool {
	changed := false
	for n := 0; n < 100; n++ {
		b := *to
		if b == nil || len(b.Insts) > 0 || len(b.Params) > 0 || b.Term.Kind != ir.TermJump || b.Term.Then == b ||
			len(b.Term.ThenArgs) > 0 {
			break
		}
		*to = b.Term.Then
		changed = true
	}
	return changed
}

func join(f *ir.Func) bool {
	changed := false
	order := f.RPO()
	preds := ir.Preds(order)
	same := replacer{}
	gone := map[*ir.Block]bool{}
	for _, b := range order {
		if gone[b] {
			continue
		}
		for b.Term.Kind == ir.TermJump && b.Term.Then != b && b.Term.Then != f.Blocks[0] && len(preds[b.Term.Then]) == 1 {
			next := b.Term.Then
			for i, p := range next.Params {
				same[p] = b.Term.ThenArgs[i]
			}
			b.Insts = append(b.Insts, next.Insts...)
			b.Term = next.Term
			gone[next] = true
			changed = true
		}
	}
	same.apply(f.RPO())
	return changed
}

// dce drops unreachable blocks and what nothing needs: unused pure computations and reads, and parameters.
func dce(p *ir.Program, f *ir.Func) bool {
	order := f.RPO()
	changed := len(order) != len(f.Blocks)
	f.Blocks = order
	preds := ir.Preds(order)
	used := map[*ir.Value]bool{}
	var list []*ir.Value
	need := func(v *ir.Value) {
		if v != nil && !used[v] {
			used[v] = true
			list = append(list, v)
		}
	}
	type place struct {
		b *ir.Block
		i int
	}
	param := map[*ir.Value]place{}
	for _, b := range order {
		for i, v := range b.Params {
			param[v] = place{b, i}
		}
		need(b.Term.Cond)
		for _, v := range b.Insts {
			if e := v.Effect(); e != ir.Pure && e != ir.Read && v.Op != ir.OpForget {
				need(v)
			}
		}
	}
	for len(list) > 0 {
		v := list[len(list)-1]
		list = list[:len(list)-1]
		for _, a := range v.Args {
			need(a)
		}
		if at, ok := param[v]; ok {
			for _, p := range preds[at.b] {
				if p.Term.Then == at.b {
					need(p.Term.ThenArgs[at.i])
				}
				if p.Term.Else == at.b {
					need(p.Term.ElseArgs[at.i])
				}
			}
		}
	}
	for _, b := range order {
		out := b.Insts[:0]
		for _, v := range b.Insts {
			if used[v] {
				out = append(out, v)
			}
		}
		changed = changed || len(out) != len(b.Insts)
		b.Insts = out
		for i := len(b.Params) - 1; i >= 0; i-- {
			if used[b.Params[i]] {
				continue
			}
			for _, p := range unique(preds[b]) {
				if p.Term.Then == b {
					p.Term.ThenArgs = drop(p.Term.ThenArgs, i)
				}
				if p.Term.Else == b {
					p.Term.ElseArgs = drop(p.Term.ElseArgs, i)
				}
			}
			b.Params = drop(b.Params, i)
			changed = true
		}
	}
	return changed
}
