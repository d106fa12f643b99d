package compare

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slopebpf/slope/lang/check"
	"github.com/slopebpf/slope/runtime/export"
)

// Text prints a line for every comparison, and one that sums them up.
func (r *Result) Text(w io.Writer) error {
	var lines [][4]string
	var width [4]int
	for i := range r.Rows {
		x := &r.Rows[i]
		line := [4]string{x.subject(), x.What, x.change(), x.says()}
		for j := range line {
			width[j] = max(width[j], utf8.RuneCountInString(line[j]))
		}
		lines = append(lines, line)
	}
	var out strings.Builder
	before := ""
	for _, line := range lines {
		subject := line[0]
		if subject == before {
			line[0] = ""
		}
		before = subject
		text := ""
		for j, cell := range line {
			text += cell + strings.Repeat(" ", width[j]-utf8.RuneCountInString(cell)+3)
		}
		out.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	for _, n := range r.Notes {
		out.WriteString(n + "\n")
	}
	out.WriteString(r.summary() + "\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func (r *Result) summary() string {
	counts := map[Verdict]int{}
	for i := range r.Rows {
		counts[r.Rows[i].Verdict]++
	}
	var parts []string
	for _, v := range []Verdict{Worse, Better, Different, Slight} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	if len(parts) == 0 {
		parts = []string{"none differs"}
	}
	return fmt.Sprintf("%s: of %d comparisons %s, with %s confidence for all together", strings.ToUpper(string(r.Outcome)), r.Comparisons, strings.Join(parts, ", "), export.Confidence(r.Confidence))
}

func (x *Row) subject() string {
	s := x.Objective + x.SLI
	if len(x.Labels) > 0 {
		s += " · " + strings.Join(x.Labels, ", ")
	}
	return s
}

// change is both values.
func (x *Row) change() string {
	if x.A.Value == nil || x.B.Value == nil {
		return ""
	}
	return x.value(*x.A.Value) + " → " + x.value(*x.B.Value)
}

// value writes a value of one side.
func (x *Row) value(v float64) string {
	if x.Objective != "" {
		return strconv.FormatFloat(v*100, 'g', 3, 64) + " %"
	}
	for _, u := range []check.Unit{check.Seconds, check.Bytes} {
		if x.Unit == u.String() {
			return export.Quantity(u, v*x.observed)
		}
	}
	if x.Unit == check.RatioUnit.String() {
		return strconv.FormatFloat(v*100, 'g', 3, 64) + " %"
	}
	return export.Quantity(check.NoUnit, v*x.observed)
}

// says is the verdict in words.
func (x *Row) says() string {
	if x.Verdict == Incomparable {
		return string(x.Verdict) + ": " + x.Reason
	}
	if x.Verdict == TooFew || x.Verdict == Same {
		return string(x.Verdict)
	}
	up := x.more < x.less
	word := map[bool]string{true: "higher", false: "lower"}[up]
	switch {
	case x.Objective != "":
		word = map[bool]string{true: "more", false: "fewer"}[up]
	case x.Unit == check.Seconds.String():
		word = map[bool]string{true: "slower", false: "faster"}[up]
	}
	significant := "(significant)"
	if x.Verdict == Slight {
		significant = "(significant, within the tolerance)"
	}
	switch {
	case x.What == "distribution":
		g := percent(math.Abs(*x.Change))
		return fmt.Sprintf("%s %s: %s %s within %s", word, significant, g, map[bool]string{true: "fewer", false: "more"}[up], x.value(*x.At))
	case x.Change == nil || math.IsInf(*x.Change, 0):
		return word + " " + significant
	}
	if *x.Change == 0 { // both are in one bucket
		return word + " by little " + significant
	}
	return word + " by " + percent(math.Abs(*x.Change)) + " " + significant
}

func percent(part float64) string {
	if part >= 1 {
		return strconv.FormatFloat(part*100, 'f', 0, 64) + " %"
	}
	return strconv.FormatFloat(part*100, 'g', 2, 64) + " %"
}
