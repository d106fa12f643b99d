package source

import "strings"

// Distance counts the insertions, deletions, replacements and swaps of neighbours that turn one text into the other,
// case ignored. More than limit is given as limit+1.
func Distance(a, b string, limit int) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if diff := len(a) - len(b); diff > limit || -diff > limit {
		return limit + 1
	}
	// Three rows of the table of distances between beginnings: the one before last, the last, and the next.
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := last[j-1]
			if a[i-1] != b[j-1] {
				cost++
			}
			next[j] = min(cost, last[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
			least = min(least, next[j])
		}
		if least > limit {
			return limit + 1
		}
		before, last, next = last, next, before
	}
	return min(last[len(b)], limit+1)
}

// Nearest returns the name closest to one that was not found, "" when none is close: up to two changes, one for names
// of up to three letters. Of equally close ones a name of the same length wins, then the first.
func Nearest(got string, names []string) string {
	limit := 2
	if len(got) <= 3 {
		limit = 1
	}
	best := ""
	for _, n := range names {
		at := Distance(got, n, limit)
		if at > limit {
			continue
		}
		if best == "" || at < limit || len(best) != len(got) && len(n) == len(got) {
			best, limit = n, at
		}
	}
	return best
}
