package agg

import "encoding/binary"

// fold adds one CPU's words to the merged value; the merged value starts as zeros. add tells whether the CPU had
// recorded anything.
type fold interface {
	width() int // words of the merged value
	add(dst []uint64, cpu []byte) bool
}

// adds adds word by word: counts, sums with counts, and every kind of histogram.
type adds struct{ n int }

func (f adds) width() int { return f.n }

func (f adds) add(dst []uint64, cpu []byte) bool {
	var any uint64
	for i := range dst {
		w := binary.LittleEndian.Uint64(cpu[8*i:])
		dst[i] += w
		any |= w
	}
	return any != 0
}

// flaggedSum adds the first word; the second tells whether the CPU ever added anything.
type flaggedSum struct{}

func (flaggedSum) width() int { return 1 }

func (flaggedSum) add(dst []uint64, cpu []byte) bool {
	dst[0] += binary.LittleEndian.Uint64(cpu)
	return binary.LittleEndian.Uint64(cpu[8:]) != 0
}

// extreme keeps the least or greatest of the CPUs that have one. Its merged value is the number and, while merging,
// whether there is one.
type extreme[I int64 | uint64] struct{ greatest bool }

func (extreme[I]) width() int { return 2 }

func (f extreme[I]) add(dst []uint64, cpu []byte) bool {
	if binary.LittleEndian.Uint64(cpu[8:]) == 0 {
		return false
	}
	v := binary.LittleEndian.Uint64(cpu)
	if dst[1] == 0 || (I(v) > I(dst[0])) == f.greatest {
		dst[0], dst[1] = v, 1
	}
	return true
}

// Sum adds the words of all CPUs of value, each of len(dst) words, to dst. It tells whether any was not zero.
func Sum(dst []uint64, value []byte) bool {
	f, touched := adds{len(dst)}, false
	for stride := 8 * len(dst); stride > 0 && len(value) >= stride; value = value[stride:] {
		if f.add(dst, value) {
			touched = true
		}
	}
	return touched
}
