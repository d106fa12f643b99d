package export

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slopebpf/slope/lang/check"
)

func TestQuantities(t *testing.T) {
	for _, c := range []struct {
		u    check.Unit
		v    float64
		want string
	}{
		{check.Seconds, 0, "0 ns"}, {check.Seconds, 612, "612 ns"}, {check.Seconds, 999.7, "1.00 µs"}, {check.Seconds, 612_000, "612 µs"},
		{check.Seconds, 999_600, "1.00 ms"}, {check.Seconds, 1_950_000, "1.95 ms"}, {check.Seconds, 21_400_000, "21.4 ms"},
		{check.Seconds, 402_000_000, "402 ms"}, {check.Seconds, 9_999_000, "10.0 ms"}, {check.Seconds, 1.5e9, "1.50 s"}, {check.Seconds, 3.6e12, "3 600 s"},
		{check.Bytes, 0, "0 B"}, {check.Bytes, 512, "512 B"}, {check.Bytes, 4096, "4.00 KiB"}, {check.Bytes, 1.5 * (1 << 30), "1.50 GiB"},
		{check.NoUnit, 0, "0"}, {check.NoUnit, 7, "7"}, {check.NoUnit, 2.5, "2.5"}, {check.NoUnit, 48213, "48 213"}, {check.NoUnit, 999_999, "999 999"},
		{check.NoUnit, 12_300_000, "12.3 M"}, {check.NoUnit, 1 << 63, "9.22 E"},
	} {
		if got := Quantity(c.u, c.v); got != c.want {
			t.Errorf("%s %v: got %q, want %q", c.u, c.v, got, c.want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1 000", 48213: "48 213", 1 << 63: "9 223 372 036 854 775 808"} {
		if got := Grouped(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestSLIBlock(t *testing.T) {
	r := SLIReport{Name: "checkout", Doc: "Time to serve one checkout request", Kind: check.Distribution, Unit: check.Seconds,
		Labels: []string{"path"}, Elapsed: 10 * time.Second, Events: 48213,
		Rows: []SLIRow{
			{Labels: []string{"/cart/pay"}, Summary: Summary{12022, 1, 21.4e6, 18.1e6, 39.6e6, 118e6, 402e6, 611e6}},
			{Labels: []string{"/a/path/that/is/long"}, Summary: Summary{Count: 1}},
			{Other: true}},
		Buckets: []DistBucket{{1_950_000, 2_129_999, 1204}, {2_130_000, 2_319_999, 3377}}}
	var out bytes.Buffer
	NewText(TextOptions{Out: &out}).SLIs([]SLIReport{r})
	pad := strings.Repeat(" ", 45)
	want := "sli checkout  Time to serve one checkout request\n" + pad + "    10.0 s · 48 213 events · 0 lost\n" +
		`                     count     mean      p50      p90      p99    p99.9      max
  /cart/pay         12 022  21.4 ms  18.1 ms  39.6 ms   118 ms   402 ms   611 ms
  /a/path/that/is/long
                         1     0 ns     0 ns     0 ns     0 ns     0 ns     0 ns
  (other)                0        -        -        -        -        -        -

  [1.95 ms, 2.13 ms)      1 204 |@@@@@@@@@@@@@@                          |
  [2.13 ms, 2.32 ms)      3 377 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|

`
	fits(t, out.String())
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func fits(t *testing.T, s string) {
	t.Helper()
	for _, line := range strings.Split(s, "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestRatioBlock(t *testing.T) {
	var out bytes.Buffer
	NewText(TextOptions{Out: &out}).SLIs([]SLIReport{{Name: "works", Kind: check.Ratio, Elapsed: 90 * time.Second, Events: 1, Lost: 3,
		Rows: []SLIRow{{Bad: 1, Summary: Summary{Count: 1}}}}})
	want := "sli works" + strings.Repeat(" ", 80-9-26) + "1m30s · 1 event · 3 lost\n"
	fits(t, out.String())
	if !strings.HasSuffix(strings.SplitAfter(out.String(), "\n")[0], want[len(want)-25:]) {
		t.Errorf("got\n%s", out.String())
	}
}

func TestSLOTable(t *testing.T) {
	reports := []SLOReport{
		{Name: "fast", Sentence: "99.9 % of checkout <= 200 ms / 30d", PPB: 999_000_000, Bad: 25, Total: 100_000},
		{Name: "works", Sentence: "99.95 % where code < 500 / 28d", PPB: 999_500_000, Bad: 29, Total: 10_000},
		{Name: "idle", Sentence: "99.5 % of retransmits / 7d", PPB: 995_000_000},
	}
	for i := range reports {
		reports[i].Judge()
	}
	reports[0].Burn1h, reports[0].Coverage = 449, 123_456
	reports[1].State, reports[1].Burn1h, reports[1].Burn6h = Page, 15_200, 5_850
	reports[1].Uncertainty, reports[1].Lost = "99.71 % ± 0.02", 12
	var out bytes.Buffer
	NewText(TextOptions{Out: &out}).SLOs(reports)
	fits(t, out.String())
	want := `objective                            sli budget left     burn 1h     6h state
fast      99.9 % of checkout <= 200 ms / 30d · 12.34 % observed
                                 99.97 % ██████░░   75 %     0.4    0.0 ok
works     99.95 % where code < 500 / 28d
                                 99.71 % ░░░░░░░░ -480 %    15.2    5.8 page
          99.71 % ± 0.02 from 12 lost of 10 012
idle      99.5 % of retransmits / 7d
                                       -               -       -      - no data
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	NewText(TextOptions{Out: &out, Colour: true}).SLOs(reports)
	if !strings.Contains(out.String(), "\x1b[31mpage\x1b[0m") {
		t.Errorf("no colour in\n%s", out.String())
	}
}
