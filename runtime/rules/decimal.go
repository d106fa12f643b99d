package rules

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

const day = 24 * time.Hour

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

// atom writes a number so that an operator may stand beside it.
func atom(r *big.Rat) string {
	s := decimal(r)
	if strings.Contains(s, " ") {
		return "(" + s + ")"
	}
	return s
}

// percent writes a part as a per cent, rounded where that takes more than nine digits.
func percent(r *big.Rat) string {
	r = new(big.Rat).Mul(r, big.NewRat(100, 1))
	if s := decimal(r); !strings.Contains(s, " ") {
		return s + "%"
	}
	return strings.TrimRight(r.FloatString(9), "0") + "%"
}

// Decimal writes a number exactly: as a decimal fraction, or as one divided by a whole number ("2.8 / 3").
func Decimal(r *big.Rat) string { return decimal(r) }

// Percent writes a part as a per cent, rounded where that takes more than nine digits.
func Percent(r *big.Rat) string { return percent(r) }

// Duration writes a duration for PromQL: 28 days are 4w.
func Duration(d time.Duration) string { return duration(d) }

func duration(d time.Duration) string { return model.Duration(d).String() }

// written is a duration for people: in days where it is whole days.
func written(d time.Duration) string {
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return duration(d)
}
