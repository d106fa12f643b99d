package rules

import (
	"math/big"
	"time"
)

// whole is the number of parts an objective is given in.
const whole = 1_000_000_000

// parts makes a number of parts per billion.
func parts(n uint64) *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(n), big.NewInt(whole))
}

// quotient divides two durations.
func quotient(a, b time.Duration) *big.Rat { return big.NewRat(int64(a), int64(b)) }

// decimal writes a number exactly: as a decimal fraction, or as one divided by a whole number ("2.8 / 3").
func decimal(r *big.Rat) string {
	rest := new(big.Int).Set(r.Denom())
	remove := func(prime int64) int {
		p, q, m, n := big.NewInt(prime), new(big.Int), new(big.Int), 0
		for q.QuoRem(rest, p, m); m.Sign() == 0; q.QuoRem(rest, p, m) {
			rest.Set(q)
			n++
		}
		return n
	}
	places := max(remove(2), remove(5))
	if rest.IsInt64() && rest.Int64() == 1 {
		return r.FloatString(places)
	}
	return new(big.Rat).Mul(r, new(big.Rat).SetInt(rest)).FloatString(places) + " / " + rest.String()
}

// percent writes parts per billion as a per cent.
func percent(ppb uint64) string {
	return decimal(new(big.Rat).Mul(parts(ppb), big.NewRat(100, 1))) + "%"
}
