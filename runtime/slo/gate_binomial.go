package slo

import "math"

// Tails of the binomial distribution, which are the regularised incomplete beta function at whole numbers. They are summed
// from their largest term outwards: all terms are positive, so nothing cancels, and they shrink at least geometrically
// outside of the standard deviation, so about that many of them count. The largest term is computed by the deviance form
// (Loader 2000), which has no large numbers that nearly cancel, as the factorials of millions of events do.

// lowerTail is the chance of at most k of n events at rate p.
func lowerTail(k, n uint64, p float64) float64 {
	switch {
	case k >= n || p <= 0:
		return 1
	case p >= 1:
		return 0
	case float64(k) > float64(n)*p:
		return 1 - sumUp(k+1, n, p)
	}
	return sumDown(k, n, p)
}

// upperTail is the chance of at least k of n events at rate p.
func upperTail(k, n uint64, p float64) float64 {
	switch {
	case k == 0 || p >= 1:
		return 1
	case p <= 0 || k > n:
		return 0
	case float64(k) < float64(n)*p:
		return 1 - sumDown(k-1, n, p)
	}
	return sumUp(k, n, p)
}

// negligible is the share of a sum below which further terms do not change it.
const negligible = 1e-18

// sumDown adds up the chances of k, k-1, … of n, where k is at most the mean or next to it.
func sumDown(k, n uint64, p float64) float64 {
	term, sum, odds := 1.0, 1.0, (1-p)/p
	for j := k; j > 0 && term > sum*negligible; j-- {
		term *= float64(j) / float64(n-j+1) * odds
		sum += term
	}
	return min(sum*chance(k, n, p), 1)
}

// sumUp adds up the chances of k, k+1, … of n, where k is at least the mean or next to it.
func sumUp(k, n uint64, p float64) float64 {
	term, sum, odds := 1.0, 1.0, p/(1-p)
	for j := k; j < n && term > sum*negligible; j++ {
		term *= float64(n-j) / float64(j+1) * odds
		sum += term
	}
	return min(sum*chance(k, n, p), 1)
}

// chance is the probability of exactly k of n events at rate p, 0 < p < 1.
func chance(k, n uint64, p float64) float64 {
	x, all, rest := float64(k), float64(n), float64(n-k)
	switch k {
	case 0:
		return math.Exp(all * math.Log1p(-p))
	case n:
		return math.Exp(all * math.Log(p))
	}
	e := stirlingError(all) - stirlingError(x) - stirlingError(rest) - deviance(x, all*p) - deviance(rest, all*(1-p))
	return math.Exp(e) * math.Sqrt(all/(2*math.Pi*x*rest))
}

// stirlingError is ln n! less Stirling's approximation of it.
func stirlingError(n float64) float64 {
	if n < 16 {
		l, _ := math.Lgamma(n + 1)
		return l - (n+0.5)*math.Log(n) + n - 0.5*math.Log(2*math.Pi)
	}
	q := 1 / (n * n)
	return (1./12 - q*(1./360-q*(1./1260-q*(1./1680-q/1188)))) / n
}

// deviance is x ln(x/m) + m - x, also where x and m are nearly the same.
func deviance(x, m float64) float64 {
	v := (x - m) / (x + m)
	if math.Abs(v) > 0.1 {
		return x*math.Log(x/m) + m - x
	}
	// ln(x/m) = 2 artanh v, whose first term is taken together with m-x.
	sum, power := (x-m)*v, 2*x*v
	for k := 3.0; ; k += 2 {
		power *= v * v
		next := sum + power/k
		if next == sum {
			return sum
		}
		sum = next
	}
}

// upperBound is the smallest rate at which at most bad of n events have a chance of at most err.
func upperBound(bad, n uint64, err float64) float64 {
	if bad >= n {
		return 1
	}
	_, high := bisect(float64(bad)/float64(n), 1, func(p float64) bool { return lowerTail(bad, n, p) <= err })
	return high
}

// lowerBound is the largest rate at which at least bad of n events have a chance of at most err.
func lowerBound(bad, n uint64, err float64) float64 {
	if bad == 0 {
		return 0
	}
	low, _ := bisect(0, float64(bad)/float64(n), func(p float64) bool { return upperTail(bad, n, p) > err })
	return low
}

// bisect narrows the place between low and high from where on holds is true.
func bisect(low, high float64, holds func(p float64) bool) (float64, float64) {
	for high-low > 1e-14*high {
		mid := low + (high-low)/2
		if mid <= low || mid >= high {
			break
		}
		if holds(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return low, high
}
