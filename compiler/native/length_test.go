package native

import (
	"math/bits"
	"testing"
)

// TestLengthTable computes in Go what Length emits, around every power of two.
func TestLengthTable(t *testing.T) {
	table := lengthTable()
	for n := range 64 {
		for _, v := range []uint64{0, 1<<n - 1, 1 << n, 1<<n + 1, ^uint64(0) >> n} {
			below := ^uint64(0) >> bits.LeadingZeros64(v)
			if got, want := int(table[(below+1)*deBruijn>>58])+int(v>>63<<6), bits.Len64(v); got != want {
				t.Errorf("%#x: got %d, want %d", v, got, want)
			}
		}
	}
}
