// Package native computes, exactly and with integers only, the bucket of a Prometheus native histogram that a value
// falls into: once as IR for the kernel and once in Go for everybody else.
//
// For schema n and a metric whose base unit is U observed units (10^9 for ns and seconds), bucket i holds the values v
// with U*2^((i-1)/2^n) < v <= U*2^(i/2^n). With lz the leading zeros of v and M = v<<lz,
//
//	i = First + (63-lz)*2^n + #{ j : M > T_j },   T_j = floor(2^63 * the j-th bound's mantissa)
//
// which is exact: M is an integer, so M > x means M > floor(x), and bounds an octave apart differ by exactly 2.
// Neighbouring bounds are a factor 2^(2^-n) apart and a step of the top n+1 bits after the first is smaller, so each
// such step holds at most one bound: a table of 2^(n+1) entries (threshold, count) needs one comparison and no branch.
// The logarithm is a multiplication by a De Bruijn constant and a table of 64 bytes.
//
// In memory a histogram is Words(n) words: the zeros, then the buckets First..Last.
package native

import (
	"encoding/binary"
	"math/big"
	"math/bits"

	"github.com/slopebpf/slope/compiler/ir"
)

// Buckets is the number of buckets a 64-bit value can fall into with a schema: 64 octaves and one more bound.
func Buckets(schema int) int { return 64<<schema + 1 }

// Words is the size of a histogram: a word for zeros and the buckets.
func Words(schema int) int { return 1 + Buckets(schema) }

// Table is what one schema and unit need.
type Table struct {
	Schema int
	Unit   uint64 // observed units per base unit
	First  int    // index of the bucket of the value 1

	thresholds []uint64 // ascending
	step       []uint64 // by the top Schema+1 bits: the threshold inside, all ones without one
	count      []uint64 // thresholds below the step
}

// New computes a table with big integers.
func New(schema int, unit uint64) *Table {
	t := &Table{Schema: schema, Unit: unit, First: exactIndex(1, schema, unit)}
	n := 1 << schema
	power := new(big.Int).Exp(new(big.Int).SetUint64(unit), big.NewInt(int64(n)), nil)
	for j := range n {
		// The bound with index First+j is unit*2^((First+j)/n), at least 1; T is its mantissa times 2^63: the n-th
		// root of (unit^n * 2^(First+j)) * 2^(63n), scaled by powers of two to 64 bits.
		x := new(big.Int).Lsh(power, uint(63*n))
		if e := t.First + j; e >= 0 {
			x.Lsh(x, uint(e))
		} else {
			x.Rsh(x, uint(-e))
		}
		for shift := 0; ; shift++ {
			if r := root(new(big.Int).Rsh(x, uint(n*shift)), schema); r.BitLen() == 64 {
				t.thresholds = append(t.thresholds, r.Uint64())
				break
			}
		}
	}
	steps := 2 * n
	for s := range steps {
		low := uint64(1)<<63 + uint64(s)<<(62-schema)
		high := low + 1<<(62-schema) - 1
		count, inside := 0, ^uint64(0)
		for _, th := range t.thresholds {
			if th < low {
				count++
			} else if th < high {
				inside = th
			}
		}
		t.step, t.count = append(t.step, inside), append(t.count, uint64(count))
	}
	return t
}

// root is the floor of the 2^k-th root.
func root(x *big.Int, k int) *big.Int {
	for range k {
		x = new(big.Int).Sqrt(x)
	}
	return x
}

// exactIndex is the smallest i with v <= unit*2^(i/2^schema), by big integers.
func exactIndex(v uint64, schema int, unit uint64) int {
	n := int64(1) << schema
	left := new(big.Int).Exp(new(big.Int).SetUint64(v), big.NewInt(n), nil)
	right := new(big.Int).Exp(new(big.Int).SetUint64(unit), big.NewInt(n), nil)
	holds := func(i int) bool { // left <= right * 2^i
		if i >= 0 {
			return left.Cmp(new(big.Int).Lsh(right, uint(i))) <= 0
		}
		return new(big.Int).Lsh(left, uint(-i)).Cmp(right) <= 0
	}
	low, high := -65<<schema, 65<<schema
	for low < high {
		mid := low + (high-low)>>1
		if holds(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// Index is the position of v > 0 among the buckets, from 0: bucket First+Index.
func (t *Table) Index(v uint64) int {
	lz := bits.LeadingZeros64(v)
	m := v << lz
	s := m << 1 >> (63 - t.Schema)
	i := (63-lz)<<t.Schema + int(t.count[s])
	if m > t.step[s] {
		i++
	}
	return i
}

// Bound returns the upper bound of the bucket at a position, in base units.
func (t *Table) Bound(position int) float64 { return bound(t.First+position, t.Schema) }

// deBruijn is a 64-bit sequence in which every 6-bit window differs.
const deBruijn = 0x03f79d71b4cb0a89

// logTable maps (2^(e+1)-1)*deBruijn>>58 to e.
func logTable() string {
	var t [64]byte
	for e := range 64 {
		v := ^uint64(0) >> (63 - e)
		t[v*deBruijn>>58] = byte(e)
	}
	return string(t[:])
}

// stepTable is the table in memory: pairs of threshold (without its top bit) and count.
func (t *Table) stepTable() string {
	var b []byte
	for i := range t.step {
		b = binary.LittleEndian.AppendUint64(b, t.step[i]&^(1<<63))
		b = binary.LittleEndian.AppendUint64(b, t.count[i])
	}
	return string(b)
}

// lengthTable maps 2^n*deBruijn>>58 to n, and 0 to 0.
func lengthTable() string {
	var t [64]byte
	for n := range 64 {
		t[uint64(deBruijn)<<n>>58] = byte(n)
	}
	return string(t[:])
}

// smear emits v with every bit set below the highest.
func smear(b *ir.Builder, v *ir.Value) *ir.Value {
	for _, s := range [...]int64{1, 2, 4, 8, 16, 32} {
		v = b.Bin(ir.OpOr, v, b.Bin(ir.OpShr, v, b.Const(s)))
	}
	return v
}

// find emits the search for v in one of the tables above.
func find(l ir.Lowering, v *ir.Value, table string) *ir.Value {
	b := l.Builder()
	h := b.Bin(ir.OpShr, b.Bin(ir.OpMul, v, b.Const(deBruijn)), b.Const(58))
	return b.Load(b.Index(l.Rodata(table), b.Mask(h, 63), 1), 0, 1, false)
}

// Log2 emits the position of the highest bit of v; 0 for v = 0.
func Log2(l ir.Lowering, v *ir.Value) *ir.Value {
	return find(l, smear(l.Builder(), v), logTable())
}

// Length emits the number of bits of v up to the highest that is set: 0 for v = 0, 64 at most. A signed v must not be
// negative, which makes it shorter.
func Length(l ir.Lowering, v *ir.Value, signed bool) *ir.Value {
	b := l.Builder()
	n := find(l, b.AddImm(smear(b, v), 1), lengthTable())
	if signed {
		return n
	}
	// With the top bit set the sum is 0, as if it were the first of the table.
	top := b.Bin(ir.OpShl, b.Bin(ir.OpShr, v, b.Const(63)), b.Const(6))
	return b.Bin(ir.OpAdd, n, top)
}

// NotNegative emits 0 for a negative value, which it counts, and the value itself otherwise: distributions have no
// buckets below zero.
func NotNegative(l ir.Lowering, v *ir.Value) *ir.Value {
	b := l.Builder()
	join, negative, fine := b.Block(ir.Scalar), b.Block(), b.Block()
	b.If(b.Bin(ir.OpSLt, v, b.Const(0)), negative, fine)
	b.SetBlock(fine)
	b.Jump(join, v)
	b.SetBlock(negative)
	l.Count(ir.LossNegative, nil)
	b.Jump(join, b.Const(0))
	b.SetBlock(join)
	return join.Params[0]
}

// Observe emits the addition of v to the histogram at p+off.
func Observe(l ir.Lowering, p *ir.Value, off int, v *ir.Value, schema int, unit uint64) {
	b := l.Builder()
	zero, positive, next := b.Block(), b.Block(), b.Block()
	b.If(v, positive, zero)
	b.SetBlock(zero)
	l.Add(p, off, b.Const(1))
	b.Jump(next)
	b.SetBlock(positive)
	position := EmitIndex(l, v, schema, unit)
	bucket := b.Index(p, b.Bound(position, int64(Buckets(schema)-1)), 8)
	l.Add(bucket, off+8, b.Const(1))
	b.Jump(next)
	b.SetBlock(next)
}

// EmitIndex emits Index for v > 0.
func EmitIndex(l ir.Lowering, v *ir.Value, schema int, unit uint64) *ir.Value {
	b := l.Builder()
	t := New(schema, unit)
	e := Log2(l, v)
	m := b.Bin(ir.OpShl, v, b.Bin(ir.OpSub, b.Const(63), e))
	m = b.Bin(ir.OpShr, b.Bin(ir.OpShl, m, b.Const(1)), b.Const(1)) // without the top bit
	s := b.Mask(b.Bin(ir.OpShr, m, b.Const(int64(62-schema))), int64(2<<schema-1))
	entry := b.Index(l.Rodata(t.stepTable()), s, 16)
	above := b.Bin(ir.OpShr, b.Bin(ir.OpSub, b.Load(entry, 0, 8, false), m), b.Const(63)) // 1 if m > threshold
	position := b.Bin(ir.OpAdd, b.Bin(ir.OpShl, e, b.Const(int64(schema))), b.Load(entry, 8, 8, false))
	return b.Bin(ir.OpAdd, position, above)
}
