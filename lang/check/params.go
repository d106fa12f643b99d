package check

import (
	"strconv"
	"strings"

	"github.com/slopebpf/slope/lang/syntax"
)

// bind puts the positional parameters that are text in their places: into attach points, and into arguments that take
// a word, as in str($1). What was not given is empty.
func (c *checker) bind() {
	text := func(n int) string {
		if n > len(c.opt.Params) {
			return ""
		}
		return c.opt.Params[n-1]
	}
	syntax.WalkFile(c.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AttachPoint:
			for i, p := range n.Parts {
				if k, err := strconv.Atoi(strings.TrimPrefix(p, "$")); err == nil && k > 0 && p[0] == '$' {
					if k > len(c.opt.Params) {
						c.errorf(part(n, i), "positional parameter %s was not given", p).
							WithHint("parameters follow the script: slope FILE [params]")
						n.Parts = nil // said; resolving it would only say more
						break
					}
					n.Parts[i] = text(k)
				}
			}
		case *syntax.Call:
			row := c.opt.Universe.Func(n.Name.Text)
			if row == nil {
				break
			}
			for i := range min(len(n.Args), len(row.Params)) {
				if !row.Params[i].Word {
					continue
				}
				// $1, or what follows its first bytes: $1 + 5
				word, offset := n.Args[i], uint64(0)
				if sum, ok := word.(*syntax.Binary); ok && sum.Op == "+" {
					if skip, ok := sum.R.(*syntax.Int); ok {
						word, offset = sum.L, skip.Value
					}
				}
				if p, ok := word.(*syntax.Positional); ok && p.N > 0 {
					t := text(p.N)
					n.Args[i] = &syntax.String{Range: p.Range, Value: t[min(offset, uint64(len(t))):]}
				}
			}
		}
		return true
	})
}
