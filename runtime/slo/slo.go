// Package slo decides objectives: exact arithmetic on counts of events.
//
// Algorithm: an objective is N parts per billion of good events. It is met iff bad*10^9 <= total*(10^9-N); both sides
// are 128-bit products, so no count of events is too large and nothing is rounded. What people see is rounded, always
// towards the worse: a compliance below the target never reads as the target, a budget never reads as more than is left.
//
// The tracker (tracker.go) is all about time: windows, alerts, and what is kept over a restart (store.go). It decides by the
// same products.
//
// A gate (gate.go) is about more than what was counted: it decides from a sample, with a confidence.
//
// Invariants: no floating point but in gates; without events there is no verdict. bad above total, which counters that are read
// while they count can show, is taken as total.
//
// This package reads no clock, no kernel and writes no output. Start at Judge, Tracker and Decide.
package slo

import (
	"math"
	"math/bits"
	"strconv"
)

// Billion is the objective that allows no bad event.
const Billion = 1_000_000_000

// Verdict is whether an objective is met.
type Verdict uint8

// The verdicts.
const (
	NoData Verdict = iota
	Met
	Breached
)

func (v Verdict) String() string { return [...]string{"no data", "ok", "breached"}[v] }

// Judge decides an objective of ppb good parts per billion.
func Judge(bad, total, ppb uint64) Verdict {
	bad, ppb = min(bad, total), min(ppb, Billion)
	if total == 0 {
		return NoData
	}
	if product(total, Billion-ppb).less(product(bad, Billion)) {
		return Breached
	}
	return Met
}

// Compliance is the per cent of good events as a decimal number, rounded down, with as many digits as it takes to
// compare with the objective: at least two after the point. It is empty without events.
func Compliance(bad, total, ppb uint64) string {
	bad, ppb = min(bad, total), min(ppb, Billion)
	if total == 0 {
		return ""
	}
	return percentDown(bad, total, digits(ppb))
}

// digits is how many digits after the point tell an objective's per cent: at least two.
func digits(ppb uint64) int {
	n := 7 // ppb counts units of the seventh digit
	for p := ppb; n > 2 && p%10 == 0; p /= 10 {
		n--
	}
	return n
}

// percentDown is the per cent of good events, rounded down to at most 16 digits after the point.
func percentDown(bad, total uint64, digits int) string {
	one := uint64(1)
	for range digits {
		one *= 10
	}
	hi, lo := bits.Mul64(total-bad, 100*one)
	q, _ := bits.Div64(hi, lo, total) // fits: at most 100*one
	s := strconv.FormatUint(q/one, 10) + "."
	frac := strconv.FormatUint(q%one, 10)
	for range digits - len(frac) {
		s += "0"
	}
	return s + frac
}

// BudgetLeft is the part of the error budget that is left, in parts per million, rounded down; negative when more than
// the budget is spent. Without events all is left; where the objective allows none, the first bad event overspends
// without bound.
func BudgetLeft(bad, total, ppb uint64) int64 {
	spent := ratio(bad, total, ppb, 1_000_000, true)
	if spent >= math.MaxInt64 {
		return math.MinInt64
	}
	return 1_000_000 - int64(spent)
}

// BurnRate is how fast the budget is spent, in thousandths: 1000 spends it exactly, rounded down. It is 0 without
// events, and math.MaxUint64 for a bad event where none is allowed.
func BurnRate(bad, total, ppb uint64) uint64 {
	return ratio(bad, total, ppb, 1000, false)
}

// ratio is scale * (bad/total) / (1-ppb/10^9), at most math.MaxUint64.
func ratio(bad, total, ppb, scale uint64, up bool) uint64 {
	bad, ppb = min(bad, total), min(ppb, Billion)
	if bad == 0 {
		return 0
	}
	return product(bad, Billion*scale).over(product(total, Billion-ppb), up)
}

// u128 is an unsigned integer of 128 bits.
type u128 struct{ hi, lo uint64 }

func product(a, b uint64) u128 {
	hi, lo := bits.Mul64(a, b)
	return u128{hi, lo}
}

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// over divides bit by bit. What does not fit becomes math.MaxUint64, and so does a division by zero.
func (a u128) over(b u128, up bool) uint64 {
	if b == (u128{}) {
		return math.MaxUint64
	}
	var q, rest u128
	for i := 127; i >= 0; i-- {
		carry := rest.hi >> 63
		bit := a.lo >> i & 1
		if i >= 64 {
			bit = a.hi >> (i - 64) & 1
		}
		rest = u128{rest.hi<<1 | rest.lo>>63, rest.lo<<1 | bit}
		q = u128{q.hi<<1 | q.lo>>63, q.lo << 1}
		if carry == 1 || !rest.less(b) {
			lo, borrow := bits.Sub64(rest.lo, b.lo, 0)
			hi, _ := bits.Sub64(rest.hi, b.hi, borrow)
			rest = u128{hi, lo}
			q.lo |= 1
		}
	}
	if up && rest != (u128{}) {
		if q.lo++; q.lo == 0 {
			q.hi++
		}
	}
	if q.hi != 0 {
		return math.MaxUint64
	}
	return q.lo
}
