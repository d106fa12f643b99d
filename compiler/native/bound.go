package native

import "math"

// bound is 2^(index/2^schema), the upper bound of a bucket in base units.
func bound(index, schema int) float64 {
	octave := index >> schema
	return math.Ldexp(math.Exp2(float64(index-octave<<schema)/float64(int(1)<<schema)), octave)
}
