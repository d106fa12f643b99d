package ide

import (
	"slices"
	"sort"
	"strings"
)

// Names are sorted names, for quick answers to prefixes.
type Names struct{ sorted []string }

// NewNames takes names in any order.
func NewNames(names []string) *Names {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return &Names{slices.Compact(sorted)}
}

// Len is how many there are.
func (n *Names) Len() int { return len(n.sorted) }

// Prefix returns up to limit names that begin with a prefix, and how many more there are.
func (n *Names) Prefix(prefix string, limit int) (names []string, more int) {
	from := sort.SearchStrings(n.sorted, prefix)
	to := from + sort.Search(len(n.sorted)-from, func(i int) bool { return !strings.HasPrefix(n.sorted[from+i], prefix) })
	end := min(to, from+limit)
	return n.sorted[from:end:end], to - end
}
