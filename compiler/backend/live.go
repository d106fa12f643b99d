package backend

import (
	"math/bits"
	"slices"
)

// Positions: instruction number i reads at 2i and writes at 2i+1. A range [from, to) that ends with a read of
// instruction i ends at 2i+1, one that starts with its write starts there: the two sides of a copy do not overlap.

// interval is where one virtual register holds a value that is still needed.
type interval struct {
	reg   reg
	spans []span
	reads []int32 // positions of the instructions that read or write it, in order
	depth []int8  // their loop depth
	hints []reg   // machine registers it is copied from or to
	defs  int
	again *inst // the load that makes the value, when it is its only definition
	temp  bool  // made by spilling: cannot be spilled
	phys  reg
}

func (iv *interval) start() int32 { return iv.spans[0].from }
func (iv *interval) end() int32   { return iv.spans[len(iv.spans)-1].to }

type bitset []uint64

func (s bitset) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s bitset) set(i int)      { s[i/64] |= 1 << (i % 64) }

// add joins two sets into s and tells whether s grew.
func (s bitset) add(a, b bitset) bool {
	grew := false
	for w := range s {
		n := s[w] | a[w] | b[w]
		grew = grew || n != s[w]
		s[w] = n
	}
	return grew
}

func (s bitset) each(fn func(i int)) {
	for w, word := range s {
		for word != 0 {
			fn(w*64 + bits.TrailingZeros64(word))
			word &= word - 1
		}
	}
}

// sight is a register that a block reads or writes.
type sight struct{ reg, block int32 }

// liveOut computes which virtual registers live at the end of every block: each is followed from the blocks that read it
// before they write it, back to those that write it. Most never leave their block and cost nothing.
func liveOut(m *mach) [][]int32 {
	num := make(map[*block]int32, len(m.blocks))
	for n, b := range m.blocks {
		num[b] = int32(n)
	}
	preds := make([][]int32, len(m.blocks))
	var reads, writes []sight
	written, crosses := make([]int32, m.nreg), make([]bool, m.nreg) // the last block, from 1, that writes it
	for n, b := range m.blocks {
		n := int32(n)
		for _, s := range b.succs() {
			preds[num[s]] = append(preds[num[s]], n)
		}
		for j := range b.insts {
			b.insts[j].uses(func(r reg) {
				if i := r - firstVirtual; r.virtual() && written[i] != n+1 {
					reads = append(reads, sight{int32(i), n})
					crosses[i] = true
				}
			})
			b.insts[j].defs(func(r reg) {
				if r.virtual() {
					written[r-firstVirtual] = n + 1
				}
			})
		}
	}
	for n, b := range m.blocks {
		for j := range b.insts {
			b.insts[j].defs(func(r reg) {
				if i := r - firstVirtual; r.virtual() && crosses[i] {
					writes = append(writes, sight{int32(i), int32(n)})
				}
			})
		}
	}
	byReg := func(a, b sight) int { return int(a.reg - b.reg) }
	slices.SortFunc(reads, byReg)
	slices.SortFunc(writes, byReg)
	out := make([][]int32, len(m.blocks))
	// The last register, from 1, that lives at the start of a block, at its end, and that it writes.
	in, end, writer := make([]int32, len(m.blocks)), make([]int32, len(m.blocks)), make([]int32, len(m.blocks))
	var todo []int32
	for len(reads) > 0 {
		r := reads[0].reg
		for ; len(writes) > 0 && writes[0].reg <= r; writes = writes[1:] {
			writer[writes[0].block] = writes[0].reg + 1
		}
		for ; len(reads) > 0 && reads[0].reg == r; reads = reads[1:] {
			if n := reads[0].block; in[n] != r+1 {
				in[n] = r + 1
				todo = append(todo, n)
			}
		}
		for len(todo) > 0 {
			n := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, p := range preds[n] {
				if end[p] != r+1 {
					end[p] = r + 1
					out[p] = append(out[p], r)
				}
				if in[p] != r+1 && writer[p] != r+1 {
					in[p] = r + 1
					todo = append(todo, p)
				}
			}
		}
	}
	return out
}

// liveness is the result of one analysis: the interval of every virtual register, nil when it is not there, and the
// ranges of the machine's.
type liveness struct {
	virtual []*interval
	fixed   [10][]span
}

func analyse(m *mach) *liveness {
	l := &liveness{virtual: make([]*interval, m.nreg)}
	out := liveOut(m)
	total := int32(0)
	for _, b := range m.blocks {
		total += int32(len(b.insts))
	}
	until := make([]int32, m.nreg) // where the range open at the moment ends; 0: none
	var open []int                 // what has or had one in the block
	extend := func(r int, to int32) {
		if until[r] == 0 {
			open = append(open, r)
		}
		until[r] = max(until[r], to)
	}
	end := 2 * total
	// Backwards, so spans are collected in descending order.
	for i := len(m.blocks) - 1; i >= 0; i-- {
		b := m.blocks[i]
		start := end - 2*int32(len(b.insts))
		for _, r := range out[i] {
			extend(int(r), end)
		}
		var fixed [11]int32
		for j := len(b.insts) - 1; j >= 0; j-- {
			in, at := &b.insts[j], start+2*int32(j)
			in.defs(func(r reg) {
				if !r.virtual() {
					l.fixed[r] = append(l.fixed[r], span{at + 1, max(fixed[r], at+2)})
					fixed[r] = 0
					return
				}
				iv := l.get(r)
				iv.defs++
				iv.again = nil
				if in.kind == load || in.kind == ctxLoad {
					iv.again = in
				}
				iv.add(span{at + 1, max(until[r-firstVirtual], at+2)})
				until[r-firstVirtual] = 0
				iv.touch(at, b.depth)
			})
			in.uses(func(r reg) {
				if !r.virtual() {
					fixed[r] = max(fixed[r], at+1)
					return
				}
				extend(int(r-firstVirtual), at+1)
				l.get(r).touch(at, b.depth)
			})
			if in.kind == move {
				if in.dst.virtual() && !in.src.virtual() && in.src != fp {
					l.get(in.dst).hints = append(l.get(in.dst).hints, in.src)
				}
				if in.src.virtual() && !in.dst.virtual() {
					l.get(in.src).hints = append(l.get(in.src).hints, in.dst)
				}
			}
		}
		for _, r := range open {
			if until[r] != 0 {
				l.get(firstVirtual + reg(r)).add(span{start, until[r]})
				until[r] = 0
			}
		}
		open = open[:0]
		for r, to := range fixed[:10] {
			if to != 0 {
				l.fixed[r] = append(l.fixed[r], span{start, to})
			}
		}
		end = start
	}
	for r := range l.fixed {
		slices.Reverse(l.fixed[r])
	}
	for _, iv := range l.virtual {
		if iv != nil {
			slices.Reverse(iv.spans)
			slices.Reverse(iv.reads)
			slices.Reverse(iv.depth)
			slices.Reverse(iv.hints)
			iv.temp = m.temp[iv.reg]
			if iv.defs != 1 {
				iv.again = nil
			}
		}
	}
	return l
}

func (l *liveness) get(r reg) *interval {
	iv := l.virtual[r-firstVirtual]
	if iv == nil {
		iv = &interval{reg: r, phys: noReg}
		l.virtual[r-firstVirtual] = iv
	}
	return iv
}

// add prepends a range, joined with the one after it when they touch.
func (iv *interval) add(s span) {
	if s.from >= s.to {
		return
	}
	if n := len(iv.spans); n > 0 && iv.spans[n-1].from <= s.to {
		iv.spans[n-1].from = s.from
		return
	}
	iv.spans = append(iv.spans, s)
}

func (iv *interval) touch(at int32, depth int) {
	if n := len(iv.reads); n == 0 || iv.reads[n-1] != at {
		iv.reads = append(iv.reads, at)
		iv.depth = append(iv.depth, int8(min(depth, 100)))
	}
}

// at tells whether the value is needed at a position.
func (iv *interval) at(pos int32) bool {
	for _, s := range iv.spans {
		if pos < s.to {
			return pos >= s.from
		}
	}
	return false
}
