package slo

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestExamples(t *testing.T) {
	for _, c := range []struct {
		bad, total, ppb uint64
		verdict         Verdict
		compliance      string
		left            int64
		burn            uint64
	}{
		{0, 0, 999_000_000, NoData, "", 1_000_000, 0},
		{0, 10, 999_000_000, Met, "100.00", 1_000_000, 0},
		{1, 1000, 999_000_000, Met, "99.90", 0, 1000},
		{105, 100_000, 999_000_000, Breached, "99.89", -50_000, 1050},
		{1, 999, 999_000_000, Breached, "99.89", -1002, 1001},
		{29, 10_000, 999_500_000, Breached, "99.71", -4_800_000, 5800},
		{95, 100_000, 999_050_000, Met, "99.905", 0, 1000},
		{96, 100_000, 999_050_000, Breached, "99.904", -10_527, 1010},
		{1, math.MaxUint64, 999_999_999, Met, "99.9999999", 999_999, 0},
		{0, 5, Billion, Met, "100.00", 1_000_000, 0},
		{1, math.MaxUint64, Billion, Breached, "99.99", math.MinInt64, math.MaxUint64},
		{7, 5, 500_000_000, Breached, "0.00", -1_000_000, 2000},
		{5, 5, 0, Met, "0.00", 0, 1000},
	} {
		if got := Judge(c.bad, c.total, c.ppb); got != c.verdict {
			t.Errorf("Judge(%d, %d, %d): got %s, want %s", c.bad, c.total, c.ppb, got, c.verdict)
		}
		if got := Compliance(c.bad, c.total, c.ppb); got != c.compliance {
			t.Errorf("Compliance(%d, %d, %d): got %s, want %s", c.bad, c.total, c.ppb, got, c.compliance)
		}
		if got := BudgetLeft(c.bad, c.total, c.ppb); got != c.left {
			t.Errorf("BudgetLeft(%d, %d, %d): got %d, want %d", c.bad, c.total, c.ppb, got, c.left)
		}
		if got := BurnRate(c.bad, c.total, c.ppb); got != c.burn {
			t.Errorf("BurnRate(%d, %d, %d): got %d, want %d", c.bad, c.total, c.ppb, got, c.burn)
		}
	}
}

func TestAgainstRationals(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	u := func(n uint64) *big.Int { return new(big.Int).SetUint64(n) }
	for range 100_000 {
		total := rng.Uint64()>>rng.IntN(64) | 1
		bad := rng.Uint64N(total)
		if rng.IntN(2) == 0 {
			bad >>= rng.IntN(64)
		}
		ppb := rng.Uint64N(Billion)
		switch rng.IntN(4) {
		case 0: // on the edge
			q := new(big.Int).Div(new(big.Int).Mul(u(total), u(Billion-ppb)), u(Billion))
			bad = q.Uint64() + rng.Uint64N(2)
			bad = min(bad, total)
		case 1:
			ppb = ppb / 1_000_000 * 1_000_000
		}
		good := new(big.Rat).SetFrac(u(total-bad), u(total))
		target := new(big.Rat).SetFrac(u(ppb), u(Billion))
		met := good.Cmp(target) >= 0
		if got := Judge(bad, total, ppb); (got == Met) != met {
			t.Fatalf("Judge(%d, %d, %d): got %s, want met=%v", bad, total, ppb, got, met)
		}
		text := Compliance(bad, total, ppb)
		shown, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("Compliance(%d, %d, %d): got %q", bad, total, ppb, text)
		}
		shown.Quo(shown, big.NewRat(100, 1))
		if shown.Cmp(good) > 0 || (shown.Cmp(target) >= 0) != met || len(text)-strings.IndexByte(text, '.') < 3 {
			t.Fatalf("Compliance(%d, %d, %d): got %s, exactly %s", bad, total, ppb, text, good.FloatString(12))
		}
		num := new(big.Int).Mul(u(bad), u(Billion))
		den := new(big.Int).Mul(u(total), u(Billion-ppb))
		burn := new(big.Int).Div(new(big.Int).Mul(num, u(1000)), den)
		if burn.IsUint64() && BurnRate(bad, total, ppb) != burn.Uint64() {
			t.Fatalf("BurnRate(%d, %d, %d): got %d, want %s", bad, total, ppb, BurnRate(bad, total, ppb), burn)
		}
		million := big.NewInt(1_000_000)
		left := new(big.Int).Sub(new(big.Int).Mul(den, million), new(big.Int).Mul(num, million))
		left.Div(left, den) // Euclidean: rounds down
		if left.IsInt64() && BudgetLeft(bad, total, ppb) != left.Int64() {
			t.Fatalf("BudgetLeft(%d, %d, %d): got %d, want %s", bad, total, ppb, BudgetLeft(bad, total, ppb), left)
		}
	}
}

func FuzzDivision(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint64(0), uint64(3))
	f.Fuzz(func(t *testing.T, ahi, alo, bhi, blo uint64) {
		wide := func(hi, lo uint64) *big.Int {
			return new(big.Int).Or(new(big.Int).Lsh(new(big.Int).SetUint64(hi), 64), new(big.Int).SetUint64(lo))
		}
		want := uint64(math.MaxUint64)
		if b := wide(bhi, blo); b.Sign() != 0 {
			if q := new(big.Int).Div(wide(ahi, alo), b); q.IsUint64() {
				want = q.Uint64()
			}
		}
		if got := (u128{ahi, alo}).over(u128{bhi, blo}, false); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	})
}
