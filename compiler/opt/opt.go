// Package opt improves the intermediate representation before the back end sees it.
//
// Passes is the whole list, in order, with the reason for each place; Run applies it to every function and, when
// asked, verifies between the passes. A pass changes a function in place and says whether it did; the list is gone
// through until nothing changes, within a limit.
//
// Invariants: what the kernel's verifier needs stays (NullCheck with NonNull, Bound, Mask); no effect is lost,
// doubled or reordered; unreachable blocks are gone and blocks are numbered in layout order afterwards; the result
// depends on the input only. A pass must not know anything of machine registers: constants, slot addresses and
// constant offsets cost nothing where they are used, so no pass moves them. Start at Passes.
package opt

import (
	"fmt"
	"strings"

	"github.com/slopebpf/slope/compiler/ir"
)

// Pass is one rewriting of a function.
type Pass struct {
	Name   string
	Reason string
	Run    func(p *ir.Program, f *ir.Func) bool
}

// Passes returns the passes in the order they run.
func Passes() []Pass {
	return []Pass{
		{"simplify", "first: folding constants makes equal what the next pass compares, and decides branches", simplify},
		{"cse", "the same key, pid or time is asked for by predicate and body; before dce, which clears the copies", cse},
		{"memory", "what a slot was just given need not be read back; after cse, so that one value has one name", memory},
		{"jumps", "after simplify, whose decided branches leave empty blocks, and before dce, which drops what is cut off", jumps},
		{"dce", "last: what the others have made useless goes", dce},
	}
}

// Describe prints the list.
func Describe() string {
	var b strings.Builder
	for i, p := range Passes() {
		fmt.Fprintf(&b, "%d. %-9s %s\n", i+1, p.Name, p.Reason)
	}
	return b.String()
}

// rounds limits how often the list is gone through; two or three are usual, a long chain of && takes one per link.
const rounds = 50

// Run optimises every function of a program. With verify it checks the program before the first pass and after each.
func Run(p *ir.Program, verify bool) error {
	for _, f := range p.Funcs {
		if verify {
			if err := ir.Verify(p, f); err != nil {
				return fmt.Errorf("verify %s before optimising: %w", f.Name, err)
			}
		}
		for range rounds {
			changed := false
			for _, pass := range Passes() {
				did := pass.Run(p, f)
				changed = changed || did
				if verify {
					if err := ir.Verify(p, f); err != nil {
						return fmt.Errorf("verify %s after %s: %w", f.Name, pass.Name, err)
					}
				}
			}
			if !changed {
				break
			}
		}
		layout(f)
	}
	return nil
}

// layout drops unreachable blocks and numbers the rest in reverse postorder.
func layout(f *ir.Func) {
	f.Blocks = f.RPO()
	for i, b := range f.Blocks {
		b.ID = i
	}
}

// replacer collects values that stand for others; apply puts them in place everywhere.
type replacer map[*ir.Value]*ir.Value

func (r replacer) find(v *ir.Value) *ir.Value {
	for r[v] != nil {
		v = r[v]
	}
	return v
}

func (r replacer) apply(blocks []*ir.Block) bool {
	if len(r) == 0 {
		return false
	}
	for _, b := range blocks {
		b.Operands(func(_ *ir.Value, arg **ir.Value) { *arg = r.find(*arg) })
	}
	return true
}
