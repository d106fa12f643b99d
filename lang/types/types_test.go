package types

import "testing"

func TestFieldAt(t *testing.T) {
	u32 := IntOf(4, false)
	for _, c := range []struct{ bit, bits, offset, at int }{
		{0, 3, 0, 0}, {3, 5, 0, 3}, {6, 4, 0, 6}, {14, 4, 0, 14}, {0, 32, 0, 0},
		{40, 3, 5, 0}, {43, 1, 5, 3}, {32, 16, 4, 0}, // the last 16 bits of a packed struct of 6 bytes
		{30, 4, 3, 6}, // across two units of its type
	} {
		if f := FieldAt("f", u32, c.bit, c.bits); f.Offset != c.offset || f.BitOff != c.at || f.BitSize != c.bits {
			t.Errorf("%d bits at %d: got %+v", c.bits, c.bit, f)
		}
	}
}
