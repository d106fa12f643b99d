package rules

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/slopebpf/slope/lang/check"
)

// pace is a speed of burning that alerts when it is seen over a long and a short window.
type pace struct {
	severity string
	check.Burn
}

// severities are the urgencies of alerts, the most urgent first.
func severities() []string { return []string{"page", "ticket"} }

// paces are those of one severity that can be reached; notes say what of the others is left out, and why.
func (o Objective) paces(severity string) (out []pace, notes []string) {
	burns := map[string][]check.Burn{"page": o.Page, "ticket": o.Ticket}[severity]
	for _, b := range burns {
		p := pace{severity, b}
		if p.threshold(o).Cmp(o.worst()) >= 0 {
			notes = append(notes, fmt.Sprintf("no %s for %s: %s times the budget of %s is no less than all events",
				severity, p, decimal(p.factor()), percent(o.budget())))
			continue
		}
		out = append(out, p)
		if o.budget().Sign() == 0 {
			notes = append(notes, fmt.Sprintf("%s for any bad event: %s", severity, p))
			continue
		}
		notes = append(notes, fmt.Sprintf("%s at %s times the rate that spends the budget: %s", severity, decimal(p.factor()), p))
	}
	if len(burns) == 0 {
		notes = append(notes, fmt.Sprintf("no %s: the script wants none, or none of the usual can fire within %s", severity, written(o.window())))
	}
	return out, notes
}

// all are the paces of every severity.
func (o Objective) all() (out []pace) {
	for _, s := range severities() {
		some, _ := o.paces(s)
		out = append(out, some...)
	}
	return out
}

// factor is the burn rate at which a pace is reached.
func (p pace) factor() *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(p.Num), new(big.Int).SetUint64(p.Den))
}

// threshold is the ratio of bad events at which a pace is reached.
func (p pace) threshold(o Objective) *big.Rat { return new(big.Rat).Mul(p.factor(), o.budget()) }

func (p pace) String() string {
	return fmt.Sprintf("burn over %s and %s", duration(p.Long), duration(p.Short))
}

// exhaustion is how long the budget lasts at a pace, to the minute.
func (p pace) exhaustion(o Objective) time.Duration {
	q := new(big.Rat).Quo(new(big.Rat).SetInt64(int64(o.window()/time.Minute)), p.factor())
	minutes, _ := q.Float64()
	return max(time.Duration(minutes+0.5), 1) * time.Minute
}

// current is the window of what a burn rate is now.
const current = 5 * time.Minute

// windows are those of the ratios, in rising order: the ones that alerts look at, the objective's, and the current one.
func (o Objective) windows() []time.Duration {
	out := []time.Duration{current, o.window()}
	for _, p := range o.all() {
		out = append(out, p.Short, p.Long)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// guard is what keeps a pace from firing on few events: as many events as the script wants in the short window, otherwise
// a few bad ones in the long window, as every host has it too. One bad event an hour is above most factors.
func (o Objective) guard(p pace) (bad bool, w time.Duration, least string) {
	switch {
	case o.budget().Sign() == 0: // any bad event is too many
		return true, p.Long, ""
	case o.MinEvents > 0:
		return false, p.Short, strconv.FormatUint(o.MinEvents, 10)
	case p.severity == "page":
		return true, p.Long, "2.5" // 3, but for rounding
	}
	return true, p.Long, "1.5"
}

// guarded are the windows in which an alert wants enough events, or bad ones.
func (o Objective) guarded() (out []time.Duration, bad bool) {
	for _, p := range o.all() {
		var w time.Duration
		least := ""
		if bad, w, least = o.guard(p); least != "" {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), bad
}
