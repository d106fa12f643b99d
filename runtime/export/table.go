package export

import "strconv"

// State is the verdict on an objective.
type State string

// The states.
const (
	OK       State = "ok"
	Breached State = "breached"
	NoData   State = "no data"
	Ticket   State = "ticket"
	Page     State = "page"
)

// SLOReport is what is known of an objective. The decimals are exact: see runtime/slo.
type SLOReport struct {
	Name       string
	SLI        string
	Sentence   string // "99.9 % of checkout <= 200 ms / 30d"
	Labels     []string
	PPB        uint64 // the objective in parts per billion
	Total, Bad uint64
	Compliance string // per cent, "99.962"; "" without data
	BudgetLeft int64  // parts per million of the budget; negative when overspent
	State      State

	Burn1h, Burn6h uint64 // burn rates in thousandths
	BurnRate       uint64 // over the shortest window of the alerts
	Coverage       uint32 // the observed part of the window, in ppm
	Lost           uint64 // events of the window whose outcome is not known
	Uncertainty    string // the compliance with how far off it may be for them, "" when nothing was lost
	Minutes        bool   // Total and Bad are minutes
	Composite      bool   // there is no compliance: parts have burn rates and a budget together
}

// budgetCells is the width of the drawn budget, sliCells that of the compliance.
const (
	budgetCells = 8
	sliCells    = 9
	burnCells   = 7
)

// SLOs prints the table of objectives.
func (t *Text) SLOs(reports []SLOReport) {
	if len(reports) == 0 {
		return
	}
	names := 9
	for i := range reports {
		names = max(names, columns(reports[i].Name))
	}
	names = min(names, 16)
	sentence := screen - names - 1 - sliCells - 1 - budgetCells - 7 - 1 - 2*burnCells - 1 - 8
	dst := padRight(t.buf, "objective", names+1+sentence)
	dst = padLeft(dst, "sli", sliCells)
	dst = append(dst, ' ')
	dst = padRight(dst, "budget left", budgetCells+7)
	dst = padLeft(padLeft(dst, "burn 1h", burnCells+1), "6h", burnCells)
	dst = append(dst, " state\n"...)
	for i := range reports {
		dst = t.appendSLO(dst, &reports[i], names, sentence)
	}
	t.buf = dst
	t.flush(t.Out)
}

func (t *Text) appendSLO(dst []byte, r *SLOReport, names, sentence int) []byte {
	dst = padRight(dst, shorten(r.Name, names), names+1)
	text := r.Sentence
	for i, l := range r.Labels {
		if i == 0 {
			text += " · "
		} else {
			text += ", "
		}
		text += l
	}
	if r.Coverage > 0 && r.Coverage < 1_000_000 {
		text += " · " + strconv.FormatFloat(float64(r.Coverage/100)/100, 'f', 2, 64) + " % observed"
	}
	if columns(text) >= sentence { // too long for the column: a line of its own
		dst = append(append(dst, shorten(text, screen-names-1)...), '\n')
		dst, text = appendRepeated(dst, ' ', names+1), ""
	}
	dst = padRight(dst, text, sentence)
	if r.State == NoData {
		dst = append(padLeft(dst, "-", sliCells), ' ')
		dst = append(padRight(dst, "", budgetCells), "      -"...)
		dst = append(padLeft(padLeft(dst, "-", burnCells+1), "-", burnCells), ' ')
		return append(append(dst, r.State...), '\n')
	}
	compliance := r.Compliance + " %"
	if r.Composite {
		compliance = "-"
	}
	dst = append(padLeft(dst, compliance, sliCells), ' ')
	left := min(max(r.BudgetLeft, 0), 1_000_000)
	filled := int(left * budgetCells / 1_000_000)
	meter := ""
	for i := range budgetCells {
		if i < filled {
			meter += "█"
		} else {
			meter += "░"
		}
	}
	c := green
	switch r.State {
	case Breached, Page:
		c = red
	case Ticket:
		c = yellow
	}
	dst = t.colour(dst, c, meter)
	dst = padLeft(dst, percent(r.BudgetLeft)+" %", 7)
	dst = append(padLeft(padLeft(dst, burn(r.Burn1h), burnCells+1), burn(r.Burn6h), burnCells), ' ')
	dst = append(t.colour(dst, c, string(r.State)), '\n')
	if r.Uncertainty != "" {
		note := r.Uncertainty + " from " + Grouped(r.Lost) + " lost of " + Grouped(r.Total+r.Lost)
		dst = append(append(appendRepeated(dst, ' ', names+1), t.colour(nil, yellow, note)...), '\n')
	}
	return dst
}

// burn writes a rate in thousandths with one digit after the point, rounded down.
func burn(milli uint64) string {
	if milli >= 100_000_000 {
		return ">99999"
	}
	return Tenths(int64(milli / 100))
}

// percent writes parts per million as whole per cents, rounded down; far below zero it stops at -999.
func percent(ppm int64) string {
	p := ppm / 10_000
	if ppm < 0 && ppm%10_000 != 0 {
		p--
	}
	if p < -999 {
		return "<-999"
	}
	return Tenths(p * 10)[:len(Tenths(p*10))-2]
}
